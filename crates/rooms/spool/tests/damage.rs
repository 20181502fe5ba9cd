//! What happens to a journal whose bytes were hurt: each case with the outcome that `docs/formats/journal.md` promises.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use message::{Outcome, Spool, StoreError};
use spool::{Journal, RecoveryReport, record};
use std::fs;
use std::path::{Path, PathBuf};
use support::*;

fn options(directory: &Path) -> spool::Options {
    let mut options = small(directory);
    options.volumes.truncate(1);
    options
}

/// A journal of `count` messages in one segment, closed; gives its segment file.
fn journal_of(directory: &Path, count: u32) -> PathBuf {
    with_journal(options(directory), move |_cx, spool, _| async move {
        for n in 0..count {
            spool.store(message(n, 1, 3000)).await.unwrap();
        }
    });
    segments(directory).into_iter().find(|path| !offsets(path).is_empty()).unwrap()
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory.join("v0")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect();
    segments.sort();
    segments
}

fn drop_index_files(directory: &Path) {
    for segment in segments(directory) {
        let _ = fs::remove_file(segment.with_extension("idx"));
    }
}

/// Offsets of the Accept records in a segment, of its newest generation.
fn offsets(segment: &Path) -> Vec<(usize, u32)> {
    let bytes = fs::read(segment).unwrap();
    let serial = u32::from_le_bytes(bytes[16..20].try_into().unwrap());
    record::scan(&bytes, 4096, serial)
        .filter_map(|finding| match finding {
            record::Finding::Sound(at, record) => Some((at, record.header.id.0 as u32)),
            _ => None,
        })
        .collect()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Opens the journal, checks that every message it gives is whole, and returns their numbers and the report.
fn reopen(directory: &Path) -> (Vec<u32>, RecoveryReport) {
    let opened = Journal::open(options(directory), 1).unwrap();
    let report = opened.reports[0].clone();
    opened.journal.close();
    let mut numbers = with_journal(options(directory), |_cx, spool, recovered| async move {
        let mut numbers = Vec::new();
        for found in recovered {
            let n = found.message.id.0 as u32;
            assert_same(&spool.fetch(found.key).await.unwrap(), n, 1, 3000);
            numbers.push(n);
        }
        numbers
    });
    numbers.sort_unstable();
    (numbers, report)
}

fn quarantined(directory: &Path) -> usize {
    fs::read_dir(directory.join("v0/quarantine")).map_or(0, Iterator::count)
}

#[test]
fn a_torn_tail_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let segment = journal_of(dir.path(), 10);
    drop_index_files(dir.path());
    // The last batch reached the disk in part: its last sectors are those of before.
    let (last, _) = *offsets(&segment).last().unwrap();
    change(&segment, |bytes| bytes[last + 1024..last + 3400].fill(0));
    let (numbers, report) = reopen(dir.path());
    assert_eq!(numbers, (0..9).collect::<Vec<_>>());
    assert_eq!((report.torn, report.damaged), (1, 0), "{report:?}");
}

#[test]
fn a_flipped_byte_costs_one_message_and_is_reported() {
    for (part, at) in [("header", 20), ("meta part", 70), ("body", 1000)] {
        let dir = tempfile::tempdir().unwrap();
        let segment = journal_of(dir.path(), 10);
        drop_index_files(dir.path());
        let (offset, number) = offsets(&segment)[4];
        change(&segment, |bytes| bytes[offset + at] ^= 0x10);
        let (numbers, report) = reopen(dir.path());
        let expected: Vec<_> = (0..10).filter(|n| *n != number).collect();
        assert_eq!(numbers, expected, "{part}");
        assert_eq!((report.torn, report.damaged), (0, 1), "{part}: {report:?}");
        assert_eq!(report.damages[0].offset, offset as u64, "{part}");
        assert_eq!(report.damages[0].id.is_some(), part == "body");
        assert_eq!(quarantined(dir.path()), 1, "{part}");
    }
}

#[test]
fn a_flipped_byte_under_an_index_file_is_found_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let segment = journal_of(dir.path(), 10);
    let (offset, number) = offsets(&segment)[4];
    change(&segment, |bytes| bytes[offset + 1000] ^= 0x10);
    with_journal(options(dir.path()), move |_cx, spool, recovered| async move {
        assert_eq!(recovered.len(), 10);
        for found in recovered {
            let read = spool.fetch(found.key).await;
            let is_hurt = found.message.id.0 as u32 == number;
            assert_eq!(read.is_err_and(|error| error == StoreError::Missing), is_hurt);
        }
    });
    assert_eq!(quarantined(dir.path()), 1);
}

#[test]
fn a_truncated_segment_keeps_what_is_before_the_cut() {
    for index_files in ["kept", "dropped"] {
        let dir = tempfile::tempdir().unwrap();
        let segment = journal_of(dir.path(), 10);
        if index_files == "dropped" {
            drop_index_files(dir.path());
        }
        let (offset, number) = offsets(&segment)[6];
        fs::File::options().write(true).open(&segment).unwrap().set_len(offset as u64 + 512).unwrap();
        let (numbers, report) = reopen(dir.path());
        assert_eq!(numbers, (0..number).collect::<Vec<_>>(), "{index_files}");
        // With the index file it is known which messages were there. Without it the one in the cut is the last that is
        // seen, and the missing bytes are one damage of unknown content.
        let expected = if index_files == "kept" { (0, 4) } else { (1, 1) };
        assert_eq!((report.torn, report.damaged), expected, "{index_files}: {report:?}");
    }
}

#[test]
fn a_record_of_an_earlier_generation_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let segment = journal_of(dir.path(), 10);
    drop_index_files(dir.path());
    // The bytes of an old record behind the last one, and in its place the same record under another serial.
    let (first, number) = offsets(&segment)[0];
    let bytes = fs::read(&segment).unwrap();
    let record = record::parse(&bytes[first..], None).unwrap();
    let header = record::Header { serial: record.header.serial - 1, ..record.header };
    let head = header.encode(record.meta);
    change(&segment, |bytes| {
        let len = header.record_len() as usize;
        let mut stale = bytes[first..first + len].to_vec();
        stale[..64].copy_from_slice(&head);
        let end = bytes.len() - 16384;
        bytes[end..end + len].copy_from_slice(&stale);
    });
    let (numbers, report) = reopen(dir.path());
    assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "message {number} once");
    assert_eq!((report.torn, report.damaged), (0, 0), "{report:?}");
}

#[test]
fn a_lost_header_block_costs_nothing_but_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let segment = journal_of(dir.path(), 10);
    change(&segment, |bytes| bytes[..512].fill(0));
    let (numbers, report) = reopen(dir.path());
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    assert_eq!(report.damaged, 1, "{report:?}");
}

#[test]
fn a_hurt_index_file_costs_time_only() {
    let dir = tempfile::tempdir().unwrap();
    let segment = journal_of(dir.path(), 10);
    change(&segment.with_extension("idx"), |bytes| bytes[100] ^= 1);
    let (numbers, report) = reopen(dir.path());
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    assert_eq!((report.scanned, report.damaged), (1, 0), "{report:?}");
}

#[test]
fn two_servers_do_not_share_a_volume() {
    let dir = tempfile::tempdir().unwrap();
    let first = Journal::open(options(dir.path()), 1).unwrap();
    assert!(matches!(Journal::open(options(dir.path()), 1), Err(spool::OpenError::Locked { .. })));
    first.journal.close();
    Journal::open(options(dir.path()), 1).unwrap();
}

#[test]
fn keys_stay_valid_and_space_comes_back_under_compaction() {
    let dir = tempfile::tempdir().unwrap();
    with_journal(options(dir.path()), |cx, spool, _| async move {
        let mut kept = Vec::new();
        for n in 0..2000 {
            let key = spool.store(message(n, 1, 3000)).await.unwrap();
            if n % 50 == 0 {
                kept.push((n, key));
            } else {
                spool.outcome(key, 0, Outcome::Delivered);
            }
        }
        pause(&cx, 1500).await;
        for (n, key) in kept {
            assert_same(&spool.fetch(key).await.unwrap(), n, 1, 3000);
        }
    });
    let bytes: u64 = segments(dir.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    // 6.6 MB were stored, 0.13 MB count.
    assert!(bytes < 7 << 20, "{bytes} bytes of segments");
    let (numbers, report) = reopen(dir.path());
    assert_eq!(numbers, (0..2000).filter(|n| n % 50 == 0).collect::<Vec<_>>());
    assert_eq!(report.damaged, 0);
    assert!(report.segments <= 4, "{report:?}");
}
