//! The list against a plain map: whatever is done, in whatever order, both say the same, also after reopening.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use std::collections::BTreeMap;
use suppression::{Batch, Cursor, Entry, Keeper, Key, Kind, Label, Reason, Scope, Second};

const NOW: Second = Second(1_000);

#[derive(Clone, Debug)]
enum Step {
    Put { address: u16, scope: u8, expires: Option<u32> },
    Remove { address: u16, scope: u8 },
    RemoveAll { address: u16 },
    Publish,
    Compact,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let address = 0..300_u16;
    let step = prop_oneof![
        8 => (address.clone(), 0..6_u8, proptest::option::of(900..1_100_u32))
            .prop_map(|(address, scope, expires)| Step::Put { address, scope, expires }),
        3 => (address.clone(), 0..6_u8).prop_map(|(address, scope)| Step::Remove { address, scope }),
        1 => address.prop_map(|address| Step::RemoveAll { address }),
        2 => Just(Step::Publish),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..400)
}

fn key(address: u16) -> Key {
    Key::parse(&format!("user{address}@example.org")).unwrap()
}

fn scope(scope: u8) -> Scope {
    let tenant = (scope >= 3).then(|| Label::new("acme").unwrap());
    Scope { tenant, kind: [Kind::All, Kind::Transactional, Kind::NonTransactional][usize::from(scope % 3)] }
}

type Model = BTreeMap<(Key, Scope), Entry>;

/// Entries, those without that have expired: how long they stay is the list's business.
fn live<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<Entry> {
    let mut live: Vec<Entry> =
        entries.into_iter().filter(|entry| entry.expires.is_none_or(|expires| NOW < expires)).cloned().collect();
    live.sort_by(|a, b| (&a.key, &a.scope).cmp(&(&b.key, &b.scope)));
    live
}

fn compare(keeper: &Keeper, model: &Model) {
    let list = keeper.list();
    let (mut paged, mut cursor) = (Vec::new(), Some(Cursor::default()));
    while let Some(at) = cursor {
        let page = list.page(&Cursor::from_word(&at.to_word()).unwrap(), 7);
        assert!(page.entries.len() <= 7);
        paged.extend(page.entries);
        cursor = page.next;
    }
    assert_eq!(live(&paged), live(model.values()));
    for address in 0..310 {
        let key = key(address);
        let of_key: Vec<Entry> = model.values().filter(|entry| entry.key == key).cloned().collect();
        assert_eq!(live(&list.entries_of(&key)), live(&of_key));
        for (tenant, kind) in [(None, Kind::All), (None, Kind::Transactional), (Some("acme"), Kind::NonTransactional)] {
            let stops = |entry: &Entry| {
                let is_for = entry.scope.tenant.as_ref().is_none_or(|of| Some(of.as_str()) == tenant);
                is_for && entry.scope.kind.covers(kind)
            };
            let expected = live(&of_key).iter().any(stops);
            assert_eq!(list.find(&key, tenant, kind, NOW).is_some(), expected, "{key} {tenant:?} {kind:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_list_is_a_map(steps in steps(), step_size in 1..20_usize) {
        let folder = tempfile::tempdir().unwrap();
        let open = || Keeper::open(folder.path(), [1; 16], NOW).unwrap().0;
        let (mut keeper, mut model) = (open(), Model::new());
        for (number, step) in steps.into_iter().enumerate() {
            let mut batch = Batch::new();
            match step {
                Step::Put { address, scope: at, expires } => {
                    let entry = Entry {
                        key: key(address),
                        scope: scope(at),
                        reason: Reason::Bounce(number as u8),
                        source: Label::new("test").unwrap(),
                        added: Second(number as u32),
                        expires: expires.map(Second),
                    };
                    batch.put(&entry);
                    model.insert((entry.key.clone(), entry.scope.clone()), entry);
                }
                Step::Remove { address, scope: at } => {
                    batch.remove(&key(address), &scope(at));
                    model.remove(&(key(address), scope(at)));
                }
                Step::RemoveAll { address } => {
                    keeper.publish(NOW).unwrap();
                    batch = keeper.removals(&key(address));
                    model.retain(|(key, _), _| *key != self::key(address));
                }
                Step::Publish => {
                    keeper.publish(NOW).unwrap();
                }
                Step::Compact => keeper.compact(NOW).unwrap(),
                Step::Reopen => {
                    drop(keeper);
                    keeper = open();
                }
            }
            keeper.write(&batch).unwrap();
            if number % step_size == 0 {
                keeper.publish(NOW).unwrap();
            }
        }
        keeper.publish(NOW).unwrap();
        compare(&keeper, &model);
        drop(keeper);
        compare(&open(), &model);
    }
}

#[test]
fn changes_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (mut keeper, _) = Keeper::open(folder.path(), [1; 16], NOW).unwrap();
    let entry = |address| Entry {
        key: key(address),
        scope: Scope::default(),
        reason: Reason::Manual,
        source: Label::new("test").unwrap(),
        added: NOW,
        expires: None,
    };
    let mut batch = Batch::new();
    (0..1_000).for_each(|address| batch.put(&entry(address)));
    keeper.write(&batch).unwrap();
    assert_eq!(keeper.publish(NOW).unwrap().added, 1_000);
    assert_eq!(keeper.list().figures().entries, 1_000);
    let mut batch = Batch::new();
    (500..1_500).for_each(|address| batch.put(&entry(address)));
    (0..100).for_each(|address| batch.remove(&key(address), &Scope::default()));
    batch.remove(&key(9_999), &Scope::default());
    keeper.write(&batch).unwrap();
    let changes = keeper.publish(NOW).unwrap();
    assert_eq!((changes.added, changes.replaced, changes.removed), (500, 500, 100));
    assert_eq!(keeper.list().figures().entries, 1_400);
}
