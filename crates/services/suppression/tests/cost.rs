//! What a look-up allocates: nothing.

use message::Address;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::hint::black_box;
use suppression::{Batch, Entry, Keeper, Key, Kind, Label, Reason, Scope, Second};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NOW: Second = Second(1_000);

#[test]
fn look_ups_allocate_nothing_and_entries_cost_little() {
    let folder = tempfile::tempdir().unwrap();
    let (mut keeper, _) = Keeper::open(folder.path(), [1; 16], NOW).unwrap();
    let longest = format!("{}@{}b", "L".repeat(64), "b.".repeat(126));
    let mut batch = Batch::new();
    let address = |number: u32| format!("User.Number{number}@host{}.example", number % 10);
    for text in (0..100_000).map(address).chain([longest.clone()]) {
        batch.put(&Entry {
            key: Key::parse(&text).unwrap(),
            scope: Scope::default(),
            reason: Reason::Manual,
            source: Label::new("import").unwrap(),
            added: NOW,
            expires: None,
        });
    }
    keeper.write(&batch).unwrap();
    keeper.publish(NOW).unwrap();
    let figures = keeper.list().figures();
    assert!(figures.octets / figures.entries <= 64, "{figures:?}");
    let addresses: Vec<Address> =
        (90_000..110_000).map(address).chain([longest]).map(|text| Address::parse(&text).unwrap()).collect();
    let region = Region::new(ALLOCATOR);
    let find = |address: &Address| keeper.list().find(&Key::of(address), Some("tenant"), Kind::Transactional, NOW);
    let hits = addresses.iter().filter(|address| black_box(find(address)).is_some()).count();
    let change = region.change();
    assert_eq!((hits, change.allocations, change.reallocations), (10_001, 0, 0));
}
