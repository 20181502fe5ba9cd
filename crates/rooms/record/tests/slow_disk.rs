//! A log that does not take its rows, or is moved away, must never hold the loop back.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use message::{Event, EventSink as _, MessageId, Rejection, UnixMicros};
use record::{LogSpec, LogWriters, RowFormat};
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn refusal() -> Event<'static> {
    Event::Rejected(Rejection {
        at: UnixMicros(1),
        peer: "192.0.2.7:1".parse().unwrap(),
        local: "127.0.0.1:2".parse().unwrap(),
        connection: MessageId::NONE,
        pathway: "mx",
        phase: "connect",
        code: 421,
        module: "limits",
        sender: None,
        recipient: None,
        text: "4.7.0 too many",
    })
}

fn classifier() -> Arc<bounce::Classifier> {
    Arc::new(bounce::Classifier::new())
}

fn open(path: &Path) -> LogWriters {
    LogWriters::open(vec![LogSpec::new("r", RowFormat::Reject, path.into())], classifier()).unwrap()
}

fn until(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < Duration::from_secs(20), "did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_reader_that_never_reads_costs_rows_and_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    // Both ends, so that opening does not wait; a pipe takes 64 KiB and then blocks its writer.
    let mut pipe = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let writers = open(&path);
    let recorder = writers.recorder();
    let began = Instant::now();
    let rows = 100_000;
    (0..rows).for_each(|_| recorder.event(&refusal()));
    recorder.flush();
    assert!(began.elapsed() < Duration::from_secs(5), "the loop waited for the log");
    let statistics = writers.statistics().remove(0);
    assert!(statistics.dropped > 0 && statistics.dropped < rows, "{statistics:?}");
    // Let the writer finish, so that dropping it does not wait for ever.
    let drain = std::thread::spawn(move || {
        let mut octets = vec![0; 1 << 16];
        while let Ok(n) = pipe.read(&mut octets) {
            if octets[..n].windows(4).any(|four| four == b"last") {
                return;
            }
        }
    });
    until(|| {
        let statistics = writers.statistics().remove(0);
        statistics.rows + statistics.dropped == rows
    });
    let Event::Rejected(rejection) = refusal() else { unreachable!() };
    recorder.event(&Event::Rejected(Rejection { text: "last", ..rejection }));
    drop(recorder);
    drain.join().unwrap();
    drop(writers);
}

#[test]
fn reopening_begins_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let writers = open(&path);
    let recorder = writers.recorder();
    recorder.event(&refusal());
    recorder.flush();
    until(|| writers.statistics()[0].rows == 1);
    std::fs::rename(&path, &moved).unwrap();
    writers.reopen();
    until(|| path.exists());
    recorder.event(&refusal());
    drop(recorder);
    drop(writers);
    let lines = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((lines(&moved), lines(&path)), (1, 1));
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let spec = LogSpec::new("main", RowFormat::Ec, "/proc/none/mainlog".into());
    let Err(error) = LogWriters::open(vec![spec], classifier()) else { panic!("opened") };
    assert_eq!(error.to_string(), "[log.main] path: cannot open /proc/none/mainlog for appending");
}

#[test]
fn heartbeats_come_at_their_interval_and_times_can_be_fine() {
    let folder = tempfile::tempdir().unwrap();
    let spec = |name: &str, format, timestamps| record::LogSpec {
        heartbeat: Duration::from_millis(1),
        timestamps,
        ..LogSpec::new(name, format, folder.path().join(name))
    };
    let specs = vec![
        spec("main", RowFormat::Ec, record::Timestamps::Seconds),
        spec("bounce", RowFormat::Bounce, record::Timestamps::Micros),
        spec("reject", RowFormat::Reject, record::Timestamps::Seconds),
    ];
    let writers = LogWriters::open(specs, classifier()).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    until(|| ["main", "bounce", "reject"].iter().all(|name| !read(name).is_empty()));
    drop(writers);
    let first = |name: &str| read(name).lines().next().unwrap().to_owned();
    assert!(first("main").ends_with("@@@@M") && first("main").len() == 15, "{}", first("main"));
    assert!(first("bounce").ends_with("@@@@M1") && first("bounce").len() == 22, "{}", first("bounce"));
    assert!(first("reject").ends_with(": Marker 1"), "{}", first("reject"));
}
