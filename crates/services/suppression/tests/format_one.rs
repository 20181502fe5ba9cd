//! Files of format 1 as they were first written: every later release reads them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use suppression::{Batch, Entry, Keeper, Key, Kind, Label, Reason, Scope, Second};

fn entries() -> Vec<Entry> {
    let entry = |address: &str, tenant: Option<&str>, kind, reason, expires| Entry {
        key: Key::parse(address).unwrap(),
        scope: Scope { tenant: tenant.map(|tenant| Label::new(tenant).unwrap()), kind },
        reason,
        source: Label::new("fixture").unwrap(),
        added: Second(1_764_061_200),
        expires,
    };
    vec![
        entry("user@example.org", None, Kind::All, Reason::Bounce(10), None),
        entry("user@example.org", Some("acme"), Kind::NonTransactional, Reason::Unsubscribe, Some(Second(u32::MAX))),
        entry("\"o d d\"@[127.0.0.1]", None, Kind::Transactional, Reason::Complaint, None),
        entry("ü@bücher.example", None, Kind::All, Reason::Manual, None),
    ]
}

#[test]
fn files_of_the_first_release_are_read() {
    let now = Second(1_764_061_200);
    let fixture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format_one");
    if std::env::var_os("WRITE_FIXTURE").is_some() {
        let (mut keeper, _) = Keeper::open(&fixture, *b"format one, key.", now).unwrap();
        for (number, entry) in entries().iter().enumerate() {
            let mut batch = Batch::new();
            batch.put(entry);
            keeper.write(&batch).unwrap();
            keeper.publish(now).unwrap();
            if number == 1 {
                keeper.compact(now).unwrap();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["base-00000001", "log-00000001"] {
        std::fs::copy(fixture.join(name), folder.path().join(name)).unwrap();
    }
    let (keeper, report) = Keeper::open(folder.path(), [0; 16], now).unwrap();
    assert_eq!((report.entries, report.changes, report.torn_octets), (4, 2, 0));
    for entry in entries() {
        assert!(keeper.list().entries_of(&entry.key).contains(&entry), "{entry:?}");
    }
}
