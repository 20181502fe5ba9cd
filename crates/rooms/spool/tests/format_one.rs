//! Journals and files of format 1, made by the first version: every later one reads them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use message::Spool;
use spool::{Files, Options, RecoveredMessage};
use std::fs;
use std::path::Path;
use support::*;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn fixture(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name), &dir.path().join(name));
    dir
}

fn number(found: &RecoveredMessage) -> u32 {
    found.message.id.0 as u32
}

async fn assert_first_two(spool: &impl Spool, recovered: &[RecoveredMessage]) {
    let [one, two] = recovered else { panic!("{recovered:?}") };
    assert_eq!((number(one), number(two)), (1, 2));
    assert_same(&spool.fetch(one.key).await.unwrap(), 1, 1, 500);
    assert_same(&spool.fetch(two.key).await.unwrap(), 2, 3, 600);
    let left: Vec<_> = two.recipients.iter().map(|r| (r.recipient, r.attempts, r.not_before.0)).collect();
    assert_eq!(left, [(1, 4, 77), (2, 0, 0)]);
}

#[test]
fn journal() {
    for index_files in ["kept", "dropped"] {
        let dir = fixture("journal-v1");
        let volume = dir.path().join("journal-v1");
        if index_files == "dropped" {
            fs::remove_file(volume.join("000006.idx")).unwrap();
            fs::remove_file(volume.join("000007.idx")).unwrap();
        }
        let mut options = Options::new(vec![volume]);
        options.segment_bytes = 64 << 10;
        with_journal(options, |_cx, spool, mut recovered| async move {
            recovered.sort_by_key(number);
            // 1 and 2 were moved by compaction; 3 and the rest were delivered.
            assert_first_two(&spool, &recovered[..2]).await;
            assert_eq!(recovered.iter().map(number).collect::<Vec<_>>(), [1, 2, 4, 5]);
            let mut large = Vec::new();
            while large.len() < 20_000 {
                large.extend_from_slice(&spool.read(recovered[2].key, large.len() as u64, 3000).await.unwrap());
            }
            assert!(large == octets(4, 20_000));
            assert_same(&spool.fetch(recovered[3].key).await.unwrap(), 5, 1, 0);
        });
    }
}

#[test]
fn files() {
    let dir = fixture("files-v1");
    let opened = Files::open(&dir.path().join("files-v1"), 1).unwrap();
    assert_eq!(opened.damaged, 0);
    let (mut seats, mut recovered) = (opened.seats, opened.recovered);
    recovered.sort_by_key(number);
    engine::run_here(engine::LoopOptions::default(), |_cx| async move {
        let spool = seats.remove(0).take(swap_in(), swap_in());
        assert_first_two(&spool, &recovered).await;
    })
    .unwrap();
    opened.files.close();
}
