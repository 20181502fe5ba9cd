//! What every store must do, run against all three.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use engine::{LoopContext, LoopOptions, Loops, Pool, TaskKind};
use fabric::Slice;
use message::{Content, Message, Outcome, Spool, SpoolStream, StoreError, StoreKey, UnixMicros};
use spool::{Files, FilesHandle, Journal, JournalHandle, Memory, MemoryHandle, RecoveredMessage};
use std::path::Path;
use std::sync::{Arc, Mutex};
use support::*;

/// A kind of store, and how to run it.
trait Store: Sized + 'static {
    type Handle: Spool;
    type Seat: Send + 'static;
    const SURVIVES: bool;

    fn open(directory: &Path, loops: usize) -> (Self, Vec<Self::Seat>, Vec<RecoveredMessage>);
    fn take(cx: &LoopContext, seat: Self::Seat) -> Self::Handle;
    fn close(self);
}

impl Store for Journal {
    type Handle = JournalHandle;
    type Seat = spool::JournalSeat;
    const SURVIVES: bool = true;

    fn open(directory: &Path, loops: usize) -> (Self, Vec<Self::Seat>, Vec<RecoveredMessage>) {
        let opened = Journal::open(small(directory), loops).unwrap();
        assert!(opened.reports.iter().all(|report| report.damaged == 0), "{:?}", opened.reports);
        (opened.journal, opened.seats, opened.recovered.collect())
    }

    fn take(cx: &LoopContext, seat: Self::Seat) -> JournalHandle {
        let (handle, pump) = seat.take(swap_in());
        cx.spawn(TaskKind("spool pump"), pump).detach();
        handle
    }

    fn close(self) {
        Journal::close(self);
    }
}

impl Store for Files {
    type Handle = FilesHandle;
    type Seat = spool::FilesSeat;
    const SURVIVES: bool = true;

    fn open(directory: &Path, loops: usize) -> (Self, Vec<Self::Seat>, Vec<RecoveredMessage>) {
        let opened = Files::open(&directory.join("files"), loops).unwrap();
        assert_eq!(opened.damaged, 0);
        (opened.files, opened.seats, opened.recovered)
    }

    fn take(_cx: &LoopContext, seat: Self::Seat) -> FilesHandle {
        seat.take(swap_in(), Pool::new("swap-out", 4, 256).unwrap())
    }

    fn close(self) {
        Files::close(self);
    }
}

impl Store for Memory {
    type Handle = MemoryHandle;
    type Seat = MemoryHandle;
    const SURVIVES: bool = false;

    fn open(_directory: &Path, loops: usize) -> (Self, Vec<Self::Seat>, Vec<RecoveredMessage>) {
        let memory = Memory::new();
        let seats = (0..loops).map(|_| memory.handle()).collect();
        (memory, seats, Vec::new())
    }

    fn take(_cx: &LoopContext, seat: Self::Seat) -> MemoryHandle {
        seat
    }

    fn close(self) {}
}

/// Runs `main` on one loop with the store of this directory.
fn run<S: Store, F, R>(directory: &Path, main: impl FnOnce(LoopContext, S::Handle, Vec<RecoveredMessage>) -> F) -> R
where
    F: Future<Output = R> + 'static,
    R: 'static,
{
    let (store, mut seats, recovered) = S::open(directory, 1);
    let result = engine::run_here(LoopOptions::default(), |cx| {
        let handle = S::take(&cx, seats.remove(0));
        main(cx, handle, recovered)
    });
    store.close();
    result.unwrap()
}

async fn read_all(spool: &impl Spool, key: StoreKey, piece: usize) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let part = spool.read(key, all.len() as u64, piece).await.unwrap();
        if part.is_empty() {
            return all;
        }
        assert!(part.len() <= piece);
        all.extend_from_slice(&part);
    }
}

/// Outcomes are asynchronous: waits until the message is gone.
async fn gone(cx: &LoopContext, spool: &impl Spool, key: StoreKey) {
    for _ in 0..1000 {
        if matches!(spool.fetch(key).await, Err(StoreError::Missing)) {
            return;
        }
        pause(cx, 5).await;
    }
    panic!("the message is still there");
}

fn stores_and_gives_back<S: Store>() {
    let dir = tempfile::tempdir().unwrap();
    run::<S, _, _>(dir.path(), |cx, spool, recovered| async move {
        assert!(recovered.is_empty());
        for (n, len) in [0, 1, 100, 4096, 50_000, 300_000].into_iter().enumerate() {
            let n = n as u32;
            let key = spool.store(message(n, 1 + n as usize, len)).await.unwrap();
            let found = spool.fetch(key).await.unwrap();
            assert_eq!((found.id, found.envelope.clone(), found.trace.clone()), {
                let expected = message(n, 1 + n as usize, len);
                (expected.id, expected.envelope.clone(), expected.trace.clone())
            });
            assert!(read_all(&spool, key, 70_000).await == octets(u64::from(n), len));
            assert!(spool.read(key, len as u64 + 5, 10).await.unwrap().is_empty(), "behind the end");
            for recipient in 0..=n as u16 {
                spool.outcome(key, recipient, Outcome::Delivered);
            }
            gone(&cx, &spool, key).await;
            assert_eq!(spool.read(key, 0, 10).await, Err(StoreError::Missing));
        }
    });
}

fn survives_a_restart<S: Store>() {
    if !S::SURVIVES {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    run::<S, _, _>(dir.path(), |_cx, spool, _| async move {
        let mut keys = Vec::new();
        for n in 0..40 {
            keys.push(spool.store(message(n, 3, 2000)).await.unwrap());
        }
        for (n, key) in keys.iter().enumerate() {
            spool.outcome(*key, 0, Outcome::Delivered);
            spool.outcome(*key, 1, Outcome::Deferred { until: UnixMicros(77 + n as u64), attempts: 4 });
            if n % 2 == 0 {
                spool.outcome(*key, 1, Outcome::Failed);
                spool.outcome(*key, 2, Outcome::Delivered);
            }
        }
    });
    for _ in 0..2 {
        run::<S, _, _>(dir.path(), |_cx, spool, mut recovered| async move {
            recovered.sort_by_key(|found| found.message.id);
            let numbers: Vec<_> = recovered.iter().map(|found| found.message.id.0 as u32).collect();
            assert_eq!(numbers, (0..40).filter(|n| n % 2 == 1).collect::<Vec<u32>>());
            for found in recovered {
                let n = found.message.id.0 as u32;
                assert_eq!(found.message.envelope, message(n, 3, 2000).envelope);
                let left: Vec<_> = found.recipients.iter().map(|r| (r.recipient, r.attempts, r.not_before.0)).collect();
                assert_eq!(left, [(1, 4, 77 + u64::from(n)), (2, 0, 0)]);
                assert_same(&spool.fetch(found.key).await.unwrap(), n, 3, 2000);
            }
        });
    }
}

fn streams_large_messages<S: Store>() {
    let dir = tempfile::tempdir().unwrap();
    let len = 1_500_000;
    run::<S, _, _>(dir.path(), |cx, spool, _| async move {
        let sent = octets(1, len);
        let envelope = envelope(1, 2, len as u64);
        let mut stream = spool.stream(envelope.id);
        for piece in sent.chunks(10_000) {
            stream.append(Slice::copy_from(piece)).await.unwrap();
        }
        let key = stream.commit(envelope).await.unwrap();
        assert!(read_all(&spool, key, 262_144).await == sent);
        assert!(spool.read(key, 1_234_567, 1000).await.unwrap()[..] == sent[1_234_567..1_235_567]);
        // One that is abandoned in the middle, one that has no octets at all, one as large that is in windows.
        let mut abandoned = spool.stream(envelope_id(2));
        abandoned.append(Slice::copy_from(&sent[..700_000])).await.unwrap();
        drop(abandoned);
        let empty = support::envelope(3, 1, 0);
        let empty_key = spool.stream(empty.id).commit(empty).await.unwrap();
        assert!(read_all(&spool, empty_key, 1000).await.is_empty());
        let resident_key = spool.store(message(4, 1, len)).await.unwrap();
        assert!(read_all(&spool, resident_key, 262_144).await == octets(4, len));
        pause(&cx, 50).await;
    });
    if S::SURVIVES {
        run::<S, _, _>(dir.path(), |_cx, spool, recovered| async move {
            let mut numbers: Vec<_> = recovered.iter().map(|found| found.message.id.0 as u32).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, [1, 3, 4], "the abandoned stream left nothing");
            for found in recovered {
                let n = found.message.id.0 as u32;
                let expected = if n == 3 { Vec::new() } else { octets(u64::from(n), len) };
                assert!(read_all(&spool, found.key, 100_000).await == expected, "message {n}");
            }
        });
    }
}

fn envelope_id(n: u32) -> message::MessageId {
    envelope(n, 1, 0).id
}

fn stores_from_two_loops_at_once<S: Store>() {
    const PER_TASK: u32 = 20;
    let dir = tempfile::tempdir().unwrap();
    let (store, seats, _) = S::open(dir.path(), 2);
    let keys: Arc<Mutex<Vec<(u32, StoreKey)>>> = Arc::default();
    let shared = Arc::clone(&keys);
    let loops = Loops::start_each(LoopOptions::default(), seats, move |cx, seat| {
        let keys = Arc::clone(&shared);
        async move {
            let spool = S::take(&cx, seat);
            let tasks: Vec<_> = (0..10)
                .map(|task| {
                    let (spool, keys) = (spool.clone(), Arc::clone(&keys));
                    let first = (cx.index() as u32 * 10 + task) * PER_TASK;
                    cx.spawn(TaskKind("writer"), async move {
                        for n in first..first + PER_TASK {
                            let key = spool.store(message(n, 1, 3000)).await.unwrap();
                            keys.lock().unwrap().push((n, key));
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            // Keys of the other loop are as good.
            let some: Vec<_> = keys.lock().unwrap().iter().step_by(7).copied().collect();
            for (n, key) in some {
                assert_same(&spool.fetch(key).await.unwrap(), n, 1, 3000);
            }
        }
    });
    let ends = loops.unwrap().join();
    assert!(ends.iter().all(|end| *end == engine::LoopEnd::Finished), "{ends:?}");
    let mut keys: Vec<_> = keys.lock().unwrap().clone();
    keys.sort_by_key(|(n, _)| *n);
    assert!(keys.iter().map(|(n, _)| *n).eq(0..20 * PER_TASK));
    keys.dedup_by_key(|(_, key)| *key);
    assert_eq!(keys.len() as u32, 20 * PER_TASK, "no key twice");
    store.close();
}

/// A message whose future is dropped before it was answered for belongs to nobody.
fn takes_back_what_nobody_waits_for<S: Store>() {
    let dir = tempfile::tempdir().unwrap();
    let kept = run::<S, _, _>(dir.path(), |cx, spool, _| async move {
        let mut kept = vec![100];
        for n in 0..20 {
            let spool = spool.clone();
            let task = cx.spawn(TaskKind("writer"), async move { spool.store(message(n, 1, 1000)).await });
            cx.yield_now().await;
            if n % 2 == 0 {
                cx.yield_now().await;
            }
            if task.is_finished() {
                // It has its answer, which is as good as a 250.
                kept.push(n);
            }
            task.abort();
        }
        let last = spool.store(message(100, 1, 1000)).await.unwrap();
        pause(&cx, 300).await;
        spool.fetch(last).await.unwrap();
        kept.sort_unstable();
        kept
    });
    if S::SURVIVES {
        run::<S, _, _>(dir.path(), |_cx, _spool, recovered| async move {
            let mut numbers: Vec<_> = recovered.iter().map(|found| found.message.id.0 as u32).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, kept);
            assert!(kept.len() < 20, "some were dropped before they were answered for");
        });
    }
}

fn holds_ten_thousand<S: Store>(count: u32) {
    let dir = tempfile::tempdir().unwrap();
    run::<S, _, _>(dir.path(), move |cx, spool, _| async move {
        let tasks: Vec<_> = (0..50)
            .map(|task| {
                let spool = spool.clone();
                cx.spawn(TaskKind("writer"), async move {
                    for n in (task..count).step_by(50) {
                        spool.store(message(n, 1, 200)).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    if S::SURVIVES {
        run::<S, _, _>(dir.path(), move |_cx, spool, mut recovered| async move {
            recovered.sort_by_key(|found| found.message.id.0 as u32);
            assert!(recovered.iter().map(|found| found.message.id.0 as u32).eq(0..count));
            for found in recovered.iter().step_by(501) {
                assert_same(&spool.fetch(found.key).await.unwrap(), found.message.id.0 as u32, 1, 200);
            }
        });
    }
}

/// Unknown keys and recipients, and outcomes that come twice, change nothing.
fn shrugs_at_nonsense<S: Store>() {
    let dir = tempfile::tempdir().unwrap();
    run::<S, _, _>(dir.path(), |cx, spool, _| async move {
        let key = spool.store(message(1, 2, 100)).await.unwrap();
        spool.outcome(StoreKey(u64::MAX), 0, Outcome::Delivered);
        spool.outcome(StoreKey(key.0 ^ 1 << 40), 0, Outcome::Delivered);
        spool.outcome(key, 2, Outcome::Delivered);
        spool.outcome(key, 1, Outcome::Delivered);
        spool.outcome(key, 1, Outcome::Failed);
        pause(&cx, 150).await;
        let found: Arc<Message> = spool.fetch(key).await.unwrap();
        assert!(matches!(found.content, Content::Resident(_)));
        assert!(matches!(spool.fetch(StoreKey(u64::MAX)).await, Err(StoreError::Missing)));
        spool.outcome(key, 0, Outcome::Failed);
        gone(&cx, &spool, key).await;
        let next = spool.store(message(2, 1, 100)).await.unwrap();
        assert_ne!(next, key, "a slot that is used again has another key");
        spool.outcome(key, 0, Outcome::Delivered);
        pause(&cx, 150).await;
        spool.fetch(next).await.unwrap();
    });
}

macro_rules! conform {
    ($name:ident, $store:ty, $many:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn stores_and_gives_back() {
                super::stores_and_gives_back::<$store>();
            }

            #[test]
            fn survives_a_restart() {
                super::survives_a_restart::<$store>();
            }

            #[test]
            fn streams_large_messages() {
                super::streams_large_messages::<$store>();
            }

            #[test]
            fn stores_from_two_loops_at_once() {
                super::stores_from_two_loops_at_once::<$store>();
            }

            #[test]
            fn takes_back_what_nobody_waits_for() {
                super::takes_back_what_nobody_waits_for::<$store>();
            }

            #[test]
            fn holds_ten_thousand() {
                super::holds_ten_thousand::<$store>($many);
            }

            #[test]
            fn shrugs_at_nonsense() {
                super::shrugs_at_nonsense::<$store>();
            }
        }
    };
}

conform!(journal, Journal, 10_000);
// Five syncs a message: fewer do.
conform!(files, Files, 500);
conform!(memory, Memory, 10_000);
