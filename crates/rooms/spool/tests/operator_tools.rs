//! The tools, while the server runs and after it stopped.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use engine::{LoopOptions, TaskKind};
use message::{Content, Outcome, Spool, SpoolStream, UnixMicros};
use spool::tools::{ExportForm, View, check, export, import};
use spool::{Files, Journal, OpenError, Options};
use std::fs;
use std::path::Path;
use support::*;

/// A running journal with messages 0 to 9: 0 is gone, 1 has one recipient of two left, 9 is large.
fn with_some<R: 'static>(options: Options, look: impl FnOnce() -> R + 'static) -> R {
    with_journal(options, |cx, spool, _| async move {
        for n in 0..9 {
            let key = spool.store(message(n, 2, 5000)).await.unwrap();
            if n < 2 {
                spool.outcome(key, 0, Outcome::Delivered);
                spool.outcome(key, 1, Outcome::Deferred { until: UnixMicros(5), attempts: 3 });
            }
            if n < 1 {
                spool.outcome(key, 1, Outcome::Delivered);
            }
        }
        let envelope = envelope(9, 1, 1_000_000);
        let mut stream = spool.stream(envelope.id);
        for piece in octets(9, 1_000_000).chunks(60_000) {
            stream.append(fabric::Slice::copy_from(piece)).await.unwrap();
        }
        stream.commit(envelope).await.unwrap();
        pause(&cx, 150).await;
        look()
    })
}

fn numbers(view: &mut View) -> Vec<u32> {
    let mut numbers: Vec<_> =
        std::iter::from_fn(|| view.next_message()).map(|found| found.message.id.0 as u32).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_running_journal_can_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let options = small(dir.path());
    let volumes = options.volumes.clone();
    with_some(options, move || {
        assert_eq!(numbers(&mut View::open(&volumes).unwrap()), (1..10).collect::<Vec<_>>());
        let mut view = View::open(&volumes).unwrap();
        let found = view.find(&message(7, 1, 0).id.full()).unwrap();
        let mut out = Vec::new();
        view.copy(found.key, &mut out).unwrap();
        let mut expected = message(7, 2, 5000).trace.to_vec();
        expected.extend(octets(7, 5000));
        assert!(out == expected);
        let printed = View::open(&volumes).unwrap().find(&message(9, 1, 0).id.to_string()).unwrap();
        assert_eq!(printed.message.content.len(), 1_000_000);
        let reports = check(&volumes).unwrap();
        let records: u64 = reports.iter().map(|report| report.records).sum();
        assert!(records >= 14, "{reports:?}");
        assert!(reports.iter().all(|report| (report.damaged, report.torn) == (0, 0)), "{reports:?}");
    });
}

#[test]
fn check_finds_what_a_restart_does_not_look_at() {
    let dir = tempfile::tempdir().unwrap();
    let options = small(dir.path());
    let volumes = options.volumes.clone();
    with_some(options.clone(), || ());
    let needle = octets(4, 5000);
    let mut hits = 0;
    for path in volumes.iter().flat_map(|volume| fs::read_dir(volume).unwrap()).map(|entry| entry.unwrap().path()) {
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(100).position(|window| window == &needle[2000..2100]) {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            hits += 1;
        }
    }
    assert_eq!(hits, 1);
    let reports = check(&volumes).unwrap();
    let damages: Vec<_> = reports.iter().flat_map(|report| &report.damages).collect();
    assert_eq!(damages.len(), 1, "{reports:?}");
    assert_eq!(damages[0].id, Some(message(4, 1, 0).id));
    assert_eq!(reports.iter().map(|report| report.damaged).sum::<u64>(), 1);
}

#[test]
fn export_and_import() {
    let dir = tempfile::tempdir().unwrap();
    let options = small(dir.path());
    let volumes = options.volumes.clone();
    let (pair, eml) = (dir.path().join("pair"), dir.path().join("eml"));
    let (pair_out, eml_out) = (pair.clone(), eml.clone());
    with_some(options.clone(), move || {
        let two = export(&mut View::open(&volumes).unwrap(), &pair_out, ExportForm::TwoFiles).unwrap();
        let one = export(&mut View::open(&volumes).unwrap(), &eml_out, ExportForm::Eml).unwrap();
        assert_eq!((two.written, one.written, two.missing), (9, 9, 0));
    });
    let text = fs::read(eml.join(format!("{}.eml", message(3, 1, 0).id.full()))).unwrap();
    assert!(text.starts_with(b"Received: from ") && text.ends_with(&octets(3, 5000)));

    // Into another journal; and again, which changes nothing.
    let other = small(&dir.path().join("other"));
    let report = import(&pair, &other).unwrap();
    assert_eq!((report.imported, report.skipped, report.damaged.len()), (9, 0, 0));
    let report = import(&pair, &other).unwrap();
    assert_eq!((report.imported, report.skipped), (0, 9));
    with_journal(other.clone(), |_cx, spool, mut recovered| async move {
        recovered.sort_by_key(|found| found.message.id.0 as u32);
        assert_eq!(recovered.len(), 9);
        assert_eq!(recovered[0].recipients.len(), 1);
        assert_eq!((recovered[0].recipients[0].recipient, recovered[0].recipients[0].attempts), (1, 3));
        assert_same(&spool.fetch(recovered[2].key).await.unwrap(), 3, 2, 5000);
        let large = spool.fetch(recovered[8].key).await.unwrap();
        assert!(matches!(large.content, Content::Spooled { len: 1_000_000 }));
        assert!(spool.read(recovered[8].key, 999_000, 5000).await.unwrap()[..] == octets(9, 1_000_000)[999_000..]);
    });
    // A directory that was exported is a files store.
    let opened = Files::open(&pair, 1).unwrap();
    assert_eq!((opened.recovered.len(), opened.damaged), (9, 0));
    opened.files.close();
}

#[test]
fn import_wants_the_server_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let options = small(dir.path());
    let opened = Journal::open(options.clone(), 1).unwrap();
    let error = import(Path::new("/nonexistent"), &options).unwrap_err();
    assert!(matches!(error, spool::tools::ImportError::Open(OpenError::Locked { .. })), "{error:?}");
    let seats = opened.seats;
    engine::run_here(LoopOptions::default(), |cx| async move {
        for seat in seats {
            let (_, pump) = seat.take(swap_in());
            cx.spawn(TaskKind("spool pump"), pump).abort();
        }
    })
    .unwrap();
    opened.journal.close();
}
