//! Durable 4 KiB messages a second through the journal, beside the bare `fdatasync` of the same disk in the same run.
//!
//! `cargo bench -p spool --bench journal [-- DIRECTORY [SECONDS]]`. Writers are tasks on two loops; each waits until its
//! message is durable before its next one, and reports it delivered, so that segments are given back and used again.
//! With `--backlog COUNT` it queues that many messages instead, and measures the restart: time until the first message is
//! there, until all are, and memory. Prints one JSON object a figure.

use engine::{LoopOptions, Loops, Pool, TaskKind};
use fabric::Slice;
use message::{
    Address, Body, BodyType, Content, Dots, Envelope, Message, MessageId, Notify, Outcome, Protocol, Reception,
    Recipient, Spool, UnixMicros, Utf8,
};
use spool::disk::{Access, Disk, RealDisk, write_all_at};
use spool::{Durability, Journal, JournalSeat, Options};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LOOPS: usize = 2;
const CONTENT_BYTES: usize = 4096;

fn main() {
    let all: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [flag, count, rest @ ..] = &all[..]
        && flag == "--backlog"
    {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let directory = rest.first().map_or(scratch.path(), |path| Path::new(path));
        return backlog(directory, count.parse().expect("a number of messages"));
    }
    let mut arguments = all.into_iter();
    let chosen = arguments.next().map(PathBuf::from);
    let seconds: f64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(3.0);
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let directory = chosen.unwrap_or_else(|| scratch.path().to_path_buf());
    bare(&directory, CONTENT_BYTES + 512);
    for (durability, name) in [(Durability::Durable, "durable"), (Durability::Relaxed, "relaxed")] {
        for volumes in [1, 2] {
            for writers in [1, 20, 200] {
                run(&directory, durability, &format!("{name}-{volumes}v-{writers}w"), (volumes, writers), seconds);
            }
        }
    }
}

fn figure(name: &str, value: f64, unit: &str) {
    println!("{{\"bench\":\"journal\",\"figure\":\"{name}\",\"value\":{value:.2},\"unit\":\"{unit}\"}}");
}

fn percentile(sorted: &[u64], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).or(sorted.last()).map_or(0.0, |nanos| *nanos as f64 / 1000.0)
}

/// The latency of one overwrite and `fdatasync` in a file that was written with zeros.
fn bare(directory: &Path, bytes: usize) {
    let path = directory.join("bare");
    let file = RealDisk.open(&path, Access::Replace).expect("a file for the bare write");
    write_all_at(&*file, &vec![0; 32 << 20], 0).and_then(|()| file.sync()).expect("zeros");
    let block = vec![7; bytes];
    let mut taken = Vec::new();
    for n in 0..1500_u64 {
        let start = Instant::now();
        write_all_at(&*file, &block, n * 8192).and_then(|()| file.sync()).expect("a bare write");
        taken.push(start.elapsed().as_nanos() as u64);
    }
    taken.sort_unstable();
    figure("bare-fdatasync-p50", percentile(&taken, 50), "us");
    figure("bare-fdatasync-p99", percentile(&taken, 99), "us");
    let _ = RealDisk.remove(&path);
}

fn run(directory: &Path, durability: Durability, name: &str, (volumes, writers): (usize, usize), seconds: f64) {
    let base = directory.join(name);
    let mut options = Options::new((0..volumes).map(|volume| base.join(volume.to_string())).collect());
    options.durability = durability;
    options.spare_segments = 6;
    let opened = Journal::open(options, LOOPS).expect("the journal opens");
    opened.recovered.for_each(drop);
    std::thread::sleep(Duration::from_secs(1));
    let (report, reports) = channel();
    let report = Arc::new(Mutex::new(report));
    let cpu = engine::process_cpu();
    let start = Instant::now();
    let loops = Loops::start_each(LoopOptions::default(), opened.seats, move |cx, seat: JournalSeat| {
        let report = report.lock().expect("no other holder panics").clone();
        let writers = writers / LOOPS + usize::from(cx.index() < writers % LOOPS);
        async move { write(cx, seat, writers, seconds, report).await }
    });
    loops.expect("loops start").join();
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = (engine::process_cpu() - cpu).as_secs_f64();
    let mut taken: Vec<u64> = reports.into_iter().flatten().collect();
    taken.sort_unstable();
    let stored = taken.len() as f64;
    let figures = opened.journal.figures();
    let sum = |field: fn(&spool::Figures) -> u64| figures.iter().map(field).sum::<u64>() as f64;
    figure(&format!("{name}-rate"), stored / elapsed, "messages/s");
    figure(&format!("{name}-p50"), percentile(&taken, 50), "us");
    figure(&format!("{name}-p99"), percentile(&taken, 99), "us");
    figure(&format!("{name}-cpu"), cpu * 1e6 / stored, "us/message");
    figure(&format!("{name}-batch"), stored / sum(|f| f.commits).max(1.0), "messages/commit");
    figure(&format!("{name}-amplification"), sum(|f| f.written_bytes) / sum(|f| f.payload_bytes), "written/payload");
    figure(&format!("{name}-calls"), sum(|f| f.writes) / stored, "pwritev/message");
    opened.journal.close();
    let _ = std::fs::remove_dir_all(&base);
}

/// Queues `count` messages, closes the journal, opens it again.
fn backlog(directory: &Path, count: u32) {
    let base = directory.join("backlog");
    let mut options = Options::new(vec![base.join("0"), base.join("1")]);
    options.durability = Durability::Memory;
    let opened = Journal::open(options.clone(), 1).expect("the journal opens");
    let (journal, mut seats) = (opened.journal, opened.seats);
    drop(opened.recovered);
    let filled = engine::run_here(LoopOptions::default(), |cx| async move {
        let (spool, pump) = seats.remove(0).take(Pool::new("swap-in", 1, 64).expect("a pool"));
        cx.spawn(TaskKind("spool pump"), pump).detach();
        let writers: Vec<_> = (0..200)
            .map(|writer| {
                let spool = spool.clone();
                cx.spawn(TaskKind("writer"), async move {
                    let template = template(writer);
                    for n in (writer..count).step_by(200) {
                        let message = Arc::new(Message { id: MessageId::new(1, 1, 1, n), ..template.clone() });
                        spool.store(message).await.expect("stored");
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.expect("a writer ends");
        }
    });
    filled.expect("the loop runs");
    journal.close();
    let before = resident();
    let start = Instant::now();
    let opened = Journal::open(options, 1).expect("the journal opens again");
    let opened_after = start.elapsed();
    let mut recovered = opened.recovered;
    let mut found = u32::from(recovered.next().is_some());
    let first_after = start.elapsed();
    let with_index = resident();
    found += recovered.by_ref().count() as u32;
    let all_after = start.elapsed();
    drop(recovered);
    assert_eq!(found, count, "every message comes back");
    figure("backlog-messages", f64::from(count), "messages");
    figure("backlog-open", opened_after.as_secs_f64(), "s");
    figure("backlog-first", first_after.as_secs_f64(), "s");
    figure("backlog-all", all_after.as_secs_f64(), "s");
    figure("backlog-memory", (with_index - before) * 1024.0 / f64::from(count), "bytes/message");
    figure("backlog-memory-after", (resident() - before) * 1024.0 / f64::from(count), "bytes/message");
    opened.journal.close();
    let _ = std::fs::remove_dir_all(&base);
}

/// Resident memory of this process in KiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or(0.0)
}

async fn write(cx: engine::LoopContext, seat: JournalSeat, writers: usize, seconds: f64, report: Sender<Vec<u64>>) {
    let (spool, pump) = seat.take(Pool::new("swap-in", 1, 64).expect("a pool"));
    let pump = cx.spawn(TaskKind("spool pump"), pump);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let spool = spool.clone();
            let origin = (cx.index() * 1000 + writer) as u32;
            cx.spawn(TaskKind("writer"), async move {
                let template = template(origin);
                let mut taken = Vec::new();
                for n in 0.. {
                    let message = Arc::new(Message { id: MessageId::new(1, 1, origin, n), ..template.clone() });
                    let start = Instant::now();
                    if start > end {
                        break;
                    }
                    let key = spool.store(message).await.expect("stored");
                    taken.push(start.elapsed().as_nanos() as u64);
                    spool.outcome(key, 0, Outcome::Delivered);
                }
                taken
            })
        })
        .collect();
    for task in tasks {
        let _ = report.send(task.await.expect("a writer ends"));
    }
    pump.abort();
}

fn template(origin: u32) -> Message {
    let body: Vec<u8> =
        (0..CONTENT_BYTES).map(|n| if n % 64 == 63 { b'\n' } else { b'a' + (n as u32 ^ origin) as u8 % 26 }).collect();
    let recipient = Address::new("recipient", "example.org").expect("an address");
    Message {
        id: MessageId::NONE,
        envelope: Envelope {
            sender: Address::new("sender", "example.net").ok(),
            recipients: vec![Recipient { address: recipient, notify: Notify::Unset, orcpt: None }],
            body_type: BodyType::SevenBit,
            utf8: Utf8::No,
            ret: None,
            envid: None,
        },
        reception: Reception {
            at: UnixMicros::from_seconds(1_700_000_000),
            connection: MessageId::NONE,
            peer: Some([127, 0, 0, 1].into()),
            protocol: Protocol::Esmtp,
            helo: "client.example.net".into(),
            dots: Dots::None,
        },
        trace: Slice::copy_from(
            &b"Received: from client.example.net ([127.0.0.1]) by mx.example.org with ESMTP id 1; a date\r\n"[..],
        ),
        content: Content::Resident(Body::from(Slice::copy_from(&body))),
    }
}
