//! The writer's thread: what is answered is durable, what is handed over is seen soon, and readers never see half.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use message::{Address, UnixMicros};
use policy::{Cause, MailClass, MailKind, Suppress as _, Suppressed as _, SuppressedBy};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use suppression::{Batch, Changes, Entry, Keeper, Key, Kind, Label, Publish, Reason, Scope, Second, Store, WriteError};

const NOW: Second = Second(1_000);

fn store(folder: &std::path::Path) -> (Store, suppression::Writer) {
    let (keeper, _) = Keeper::open(folder, [1; 16], NOW).unwrap();
    Store::start(keeper, |error| panic!("{error}")).unwrap()
}

fn entry(address: &str) -> Entry {
    Entry {
        key: Key::parse(address).unwrap(),
        scope: Scope::default(),
        reason: Reason::Manual,
        source: Label::new("test").unwrap(),
        added: NOW,
        expires: None,
    }
}

fn change(store: &Store, batch: Batch, publish: Publish) -> Result<Changes, WriteError> {
    let (done, told) = mpsc::channel();
    store.change(batch, publish, NOW, Box::new(move |made| done.send(made).unwrap()));
    told.recv_timeout(Duration::from_secs(30)).unwrap()
}

fn has(store: &Store, address: &str) -> bool {
    store.list().find(&Key::parse(address).unwrap(), None, Kind::All, NOW).is_some()
}

#[test]
fn what_is_answered_is_seen_and_survives() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = self::store(folder.path());
    let mut batch = Batch::new();
    batch.put(&entry("a@example.org"));
    assert_eq!(change(&store, batch, Publish::Now).unwrap().added, 1);
    assert!(has(&store, "A@EXAMPLE.org"));
    // A copy of the files, as a crash at this moment would leave them.
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    assert!(has(&self::store(copy.path()).0, "a@example.org"));
    let (done, told) = mpsc::channel();
    store.remove(&Key::parse("a@example.org").unwrap(), NOW, Box::new(move |made| done.send(made).unwrap()));
    assert_eq!(told.recv().unwrap().unwrap().removed, 1);
    assert!(!has(&store, "a@example.org"));
    drop(writer);
    let closed = change(&store, Batch::new(), Publish::Now);
    assert!(matches!(closed, Err(WriteError::Closed)), "{closed:?}");
    assert!(!has(&self::store(folder.path()).0, "a@example.org"));
}

#[test]
fn what_is_handed_over_is_seen_within_seconds_and_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = self::store(folder.path());
    let (first, second) =
        (Address::new("First", "example.org").unwrap(), Address::new("second", "example.org").unwrap());
    let (at, acme) = (UnixMicros::from_seconds(1_000), MailClass { tenant: Some("acme"), kind: MailKind::All });
    store.suppress(&first, &MailClass::default(), Cause::Bounce { class: 10 }, at);
    let began = Instant::now();
    while store.suppressed(&first, &MailClass::default(), at).is_none() {
        assert!(began.elapsed() < Duration::from_secs(30), "it is never seen");
        std::thread::sleep(Duration::from_millis(5));
    }
    store.suppress(&second, &acme, Cause::Complaint, at);
    drop(writer);
    assert_eq!(store.suppressed(&second, &acme, at), Some(SuppressedBy::Complaint));
    assert_eq!(store.suppressed(&second, &MailClass::default(), at), None);
    drop(store);
    let (store, _writer) = self::store(folder.path());
    assert_eq!(store.suppressed(&first, &acme, at), Some(SuppressedBy::Bounce));
}

/// An address that is always on the list, while others come and go beside it and its own entry is replaced.
#[test]
fn readers_never_miss_an_entry_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _writer) = self::store(folder.path());
    let mut batch = Batch::new();
    batch.put(&entry("always@example.org"));
    change(&store, batch, Publish::Now).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (store, stop) = (store.clone(), stop.clone());
        std::thread::spawn(move || {
            let mut looks = 0_u64;
            while !stop.load(Relaxed) {
                assert!(has(&store, "always@example.org"));
                looks += 1;
            }
            looks
        })
    };
    for round in 0..30 {
        let mut batch = Batch::new();
        for number in 0..20_000 {
            batch.put(&entry(&format!("user{number}x{}@example.org", round % 3)));
        }
        batch.put(&entry("always@example.org"));
        change(&store, batch, Publish::Now).unwrap();
    }
    stop.store(true, Relaxed);
    assert!(reader.join().unwrap() > 0);
    assert_eq!(store.list().figures().entries, 60_001);
}
