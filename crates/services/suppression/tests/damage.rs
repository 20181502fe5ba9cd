//! What a crash or a bad disk leaves in the files, and what is made of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use suppression::{Batch, Entry, Keeper, Key, Kind, Label, OpenError, Reason, Scope, Second};

const NOW: Second = Second(1_000);

fn open(folder: &Path) -> Result<Keeper, OpenError> {
    Keeper::open(folder, [1; 16], NOW).map(|(keeper, _)| keeper)
}

fn key(number: usize) -> Key {
    Key::parse(&format!("user{number}@example.org")).unwrap()
}

fn add(keeper: &mut Keeper, numbers: std::ops::Range<usize>) {
    let mut batch = Batch::new();
    for number in numbers {
        batch.put(&Entry {
            key: key(number),
            scope: Scope::default(),
            reason: Reason::Manual,
            source: Label::new("test").unwrap(),
            added: NOW,
            expires: None,
        });
    }
    keeper.write(&batch).unwrap();
    keeper.publish(NOW).unwrap();
}

fn has(keeper: &Keeper, number: usize) -> bool {
    keeper.list().find(&key(number), None, Kind::All, NOW).is_some()
}

fn file(folder: &Path, start: &str) -> PathBuf {
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(start)).unwrap()
}

/// A log of ten changes, and where the last begins.
fn ten_changes(folder: &Path) -> (Vec<u8>, usize) {
    let mut keeper = open(folder).unwrap();
    let mut last = 0;
    for number in 0..10 {
        last = std::fs::metadata(file(folder, "log")).unwrap().len() as usize;
        add(&mut keeper, number..number + 1);
    }
    drop(keeper);
    (std::fs::read(file(folder, "log")).unwrap(), last)
}

#[test]
fn a_torn_end_is_cut_off_wherever_it_was_torn() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, last) = ten_changes(folder.path());
    let log = file(folder.path(), "log");
    for end in last..whole.len() {
        for filler in [&[][..], &[0; 40]] {
            std::fs::write(&log, [&whole[..end], filler].concat()).unwrap();
            let (mut keeper, report) = Keeper::open(folder.path(), [1; 16], NOW).unwrap();
            assert_eq!((report.entries, report.torn_octets), (9, (end - last + filler.len()) as u64), "{end}");
            assert!(has(&keeper, 8) && !has(&keeper, 9));
            add(&mut keeper, 20..21);
            drop(keeper);
            let keeper = open(folder.path()).unwrap();
            assert!(has(&keeper, 8) && !has(&keeper, 9) && has(&keeper, 20), "{end}");
        }
    }
}

#[test]
fn damage_within_is_an_error_that_names_file_and_offset() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, last) = ten_changes(folder.path());
    let log = file(folder.path(), "log");
    for at in (0..last).step_by(7) {
        let mut broken = whole.clone();
        broken[at] ^= 0x10;
        std::fs::write(&log, &broken).unwrap();
        let Err(OpenError::Damaged { path, offset, .. }) = open(folder.path()) else {
            panic!("octet {at} is not missed")
        };
        assert!(path == log && offset <= at as u64 && at as u64 - offset < 100, "octet {at}, told {offset}");
    }
    std::fs::write(&log, &whole).unwrap();
    assert!(has(&open(folder.path()).unwrap(), 9));
}

#[test]
fn a_base_file_is_whole_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path()).unwrap();
    add(&mut keeper, 0..2_000);
    keeper.compact(NOW).unwrap();
    add(&mut keeper, 2_000..2_001);
    drop(keeper);
    let base = file(folder.path(), "base");
    let whole = std::fs::read(&base).unwrap();
    for end in [0, 20, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&base, &whole[..end]).unwrap();
        assert!(matches!(open(folder.path()), Err(OpenError::Damaged { .. })), "{end}");
    }
    for at in (0..whole.len()).step_by(997) {
        let mut broken = whole.clone();
        broken[at] ^= 1;
        std::fs::write(&base, &broken).unwrap();
        let error = open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("base-00000001 is damaged at offset"), "octet {at}: {error}");
    }
    std::fs::write(&base, [&whole[..], b"x"].concat()).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::Damaged { .. })));
    std::fs::write(&base, &whole).unwrap();
    let keeper = open(folder.path()).unwrap();
    assert_eq!(keeper.list().figures().entries, 2_001);
    drop(keeper);
    std::fs::remove_file(file(folder.path(), "log")).unwrap();
    assert!(open(folder.path()).is_err(), "a log that is gone is not an empty one");
}

/// What is wrong, and the files of the folder.
type Case<'a> = (&'a str, Vec<(&'a str, &'a [u8])>);

/// A crash between any two steps of a compaction leaves the old generation or the new one.
#[test]
fn a_compaction_that_was_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path()).unwrap();
    add(&mut keeper, 0..100);
    drop(keeper);
    let old_log = std::fs::read(file(folder.path(), "log")).unwrap();
    let mut keeper = open(folder.path()).unwrap();
    keeper.compact(NOW).unwrap();
    drop(keeper);
    let (base, log) =
        (std::fs::read(file(folder.path(), "base")).unwrap(), std::fs::read(file(folder.path(), "log")).unwrap());
    let cases: [Case<'_>; 4] = [
        ("half a base", vec![("log-00000000", &old_log), ("base-00000001.tmp", &base[..base.len() / 2])]),
        ("before the rename", vec![("log-00000000", &old_log), ("base-00000001.tmp", &base), ("log-00000001", &log)]),
        ("behind it", vec![("log-00000000", &old_log), ("base-00000001", &base), ("log-00000001", &log)]),
        ("at the end", vec![("base-00000001", &base), ("log-00000001", &log)]),
    ];
    for (case, files) in cases {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, octets)| std::fs::write(folder.path().join(name), octets).unwrap());
        let mut keeper = open(folder.path()).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(keeper.list().figures().entries, 100, "{case}");
        add(&mut keeper, 100..101);
        keeper.compact(NOW).unwrap();
        drop(keeper);
        assert_eq!(open(folder.path()).unwrap().list().figures().entries, 101, "{case}");
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 3, "{case}: lock, base and log");
    }
}

#[test]
fn one_process_has_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::Locked { .. })));
    drop(first);
    assert!(open(folder.path()).is_ok());
}

#[test]
fn what_has_expired_leaves_with_a_compaction() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = open(folder.path()).unwrap();
    add(&mut keeper, 0..10);
    let mut batch = Batch::new();
    let expired = Entry { expires: Some(Second(2_000)), ..keeper.list().entries_of(&key(0)).remove(0) };
    batch.put(&expired);
    keeper.write(&batch).unwrap();
    keeper.publish(NOW).unwrap();
    let find = |keeper: &Keeper, now| keeper.list().find(&key(0), None, Kind::All, now).is_some();
    assert!(find(&keeper, Second(1_999)) && !find(&keeper, Second(2_000)));
    keeper.compact(Second(1_999)).unwrap();
    assert_eq!(keeper.list().figures().entries, 10);
    keeper.compact(Second(2_000)).unwrap();
    assert_eq!(keeper.list().figures().entries, 9);
}
