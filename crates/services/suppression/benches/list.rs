//! What the list costs: memory an entry, look-ups, imports and the start, with ten million entries.
//!
//! `cargo bench -p suppression --bench list [ENTRIES]`. Files go below the system's temporary folder.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use message::Address;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;
use suppression::{Batch, Defaults, Format, Keeper, Key, Kind, Label, Lines, Reason, Scope, Second};

const NOW: Second = Second(1_764_061_200);
const LOOKS: usize = 4_000_000;

/// Addresses as they are: 24 octets on average.
fn address(number: usize) -> String {
    let domains = ["gmail.com", "yahoo.com", "outlook.com", "web.de", "example.org", "orange.fr", "qq.com", "mail.ru"];
    let mixed = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("first{}.last{number}@{}", mixed >> 50, domains[(mixed >> 40) as usize % domains.len()])
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn report(what: &str, count: usize, began: Instant) {
    let spent = began.elapsed();
    println!(
        "{what}: {:.2} s, {:.0} a second, {:.1} ns each",
        spent.as_secs_f64(),
        count as f64 / spent.as_secs_f64(),
        spent.as_nanos() as f64 / count as f64
    );
}

fn import(keeper: &mut Keeper, entries: usize) {
    let defaults =
        Defaults { reason: Reason::Manual, source: Label::new("import").unwrap(), scope: Scope::default(), added: NOW };
    let mut text = String::new();
    let mut spent = std::time::Duration::ZERO;
    for start in (0..entries).step_by(100_000) {
        text.clear();
        for number in start..entries.min(start + 100_000) {
            writeln!(text, "{}", address(number)).expect("a string takes everything");
        }
        let began = Instant::now();
        let mut lines = Lines::new(text.as_bytes(), Format::Csv, defaults.clone());
        let mut batch = Batch::new();
        while let Some(line) = lines.next_line().unwrap() {
            batch.put(&line.entry.unwrap());
            if batch.is_full() {
                keeper.write(&std::mem::take(&mut batch)).unwrap();
            }
        }
        keeper.write(&batch).unwrap();
        if keeper.is_due() {
            keeper.publish(NOW).unwrap();
        }
        if keeper.wants_compaction() {
            keeper.compact(NOW).unwrap();
        }
        spent += began.elapsed();
    }
    let began = Instant::now();
    keeper.publish(NOW).unwrap();
    spent += began.elapsed();
    println!("import of CSV lines: {:.2} s, {:.0} a second", spent.as_secs_f64(), entries as f64 / spent.as_secs_f64());
}

fn look_ups(keeper: &Keeper, entries: usize) {
    let list = keeper.list();
    let some = |from: usize| -> Vec<Address> {
        let number = |n: usize| from + (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) as usize % entries;
        (0..LOOKS / 8).map(|n| Address::parse(&address(number(n))).unwrap()).collect()
    };
    for (what, addresses, hits) in [("hits", some(0), true), ("misses", some(entries), false)] {
        let began = Instant::now();
        for _ in 0..8 {
            for address in &addresses {
                let found = list.find(&Key::of(black_box(address)), None, Kind::All, NOW);
                assert_eq!(black_box(found).is_some(), hits);
            }
        }
        report(&format!("look-ups, {what}"), LOOKS, began);
    }
}

fn main() {
    let entries = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(10_000_000);
    let folder = tempfile::tempdir().unwrap();
    let (mut keeper, _) = Keeper::open(folder.path(), [7; 16], NOW).unwrap();
    let before = resident();
    import(&mut keeper, entries);
    let figures = keeper.list().figures();
    let octets = figures.octets as f64 / entries as f64;
    println!(
        "{} entries, {octets:.1} octets each, {:.1} resident, peak {} MiB",
        figures.entries,
        (resident() - before) as f64 / entries as f64,
        peak() >> 20
    );
    look_ups(&keeper, entries);
    let mut batch = Batch::new();
    let entry = keeper.list().entries_of(&Key::parse(&address(1)).unwrap()).remove(0);
    batch.put(&entry);
    let began = Instant::now();
    for _ in 0..200 {
        keeper.write(&batch).unwrap();
        keeper.publish(NOW).unwrap();
    }
    report("one change, durable", 200, began);
    let began = Instant::now();
    keeper.compact(NOW).unwrap();
    report("compaction", entries, began);
    drop(keeper);
    let began = Instant::now();
    let (keeper, _) = Keeper::open(folder.path(), [7; 16], NOW).unwrap();
    report("open", entries, began);
    assert_eq!(keeper.list().figures().entries, entries as u64);
    println!("resident after opening: {:.1} octets an entry", resident() as f64 / entries as f64);
}
