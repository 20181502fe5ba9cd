//! The queues on real threads, for longer than loom can: nothing lost, nothing twice, order kept, bounds kept.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fabric::Message;
use fabric::queue::{BYTES_MAX, Full, PushError, Pushed, QueueKind, ReceiveFull, ReceiveKind, Writer, input, receive};

/// Values of each producer: enough to use many segments, few enough for a sanitizer.
const VALUES: u64 = 10_000;
const PRODUCERS: u64 = 4;

/// The value that producer `who` sends as its number `n`.
fn numbered(who: u64, n: u64) -> Message {
    Message::copied(&(who << 32 | n).to_le_bytes())
}

fn number(message: &Message) -> (usize, u64) {
    let bytes = message.frame(0).expect("it has one").try_into().expect("of 8 bytes");
    let number = u64::from_le_bytes(bytes);
    ((number >> 32) as usize, number & 0xffff_ffff)
}

/// Sends all values of producer `who`, waiting where the queue is full.
fn send_all(writer: &Writer<Message>, who: u64) {
    for n in 0..VALUES {
        let mut message = numbered(who, n);
        while let Err(refused) = writer.push(message, None) {
            if refused.why == PushError::Closed {
                return;
            }
            message = refused.value;
            thread::yield_now();
        }
    }
}

/// All producers send, one thread reads; gives how many of each came, and checks the order of each.
fn run(kind: QueueKind, bytes_max: usize, producers: u64) -> (Vec<u64>, fabric::queue::QueueStats) {
    let (writer, reader) = input(kind, bytes_max);
    let done = Arc::new(AtomicBool::new(false));
    let mut came = vec![0; producers as usize];
    let mut next = vec![0; producers as usize];
    let stats = thread::scope(|scope| {
        // Ours in here, so that a failed assertion closes the queue and the producers end.
        let mut reader = reader;
        let mut writers: Vec<_> = (1..producers).map(|_| writer.try_clone().expect("it may have many")).collect();
        writers.push(writer);
        let sending: Vec<_> =
            (0..).zip(writers).map(|(who, writer)| scope.spawn(move || send_all(&writer, who))).collect();
        let flag = Arc::clone(&done);
        scope.spawn(move || {
            sending.into_iter().for_each(|sending| sending.join().expect("a producer ends well"));
            flag.store(true, Ordering::Release);
        });
        loop {
            let ended = done.load(Ordering::Acquire);
            let Some((who, n)) = reader.peek().map(number) else {
                if ended {
                    break;
                }
                thread::yield_now();
                continue;
            };
            let taken = reader.pop().expect("it was looked at");
            assert_eq!(number(&taken), (who, n), "what was looked at is what is taken");
            assert!(n >= next[who], "{n} of {who} after {}", next[who]);
            next[who] = n + 1;
            came[who] += 1;
        }
        assert!(reader.is_empty());
        reader.stats()
    });
    (came, stats)
}

#[test]
fn nothing_is_lost_where_nothing_is_discarded() {
    let bounded = QueueKind::MultiBounded { capacity: 7, full: Full::Block };
    let tagged = QueueKind::MultiBoundedTagged { capacity: 100, full: Full::Refuse };
    for (kind, producers) in [
        (QueueKind::MonoUnbounded, 1),
        (QueueKind::MultiUnbounded, PRODUCERS),
        (QueueKind::MultiUnboundedTagged, PRODUCERS),
        (bounded, PRODUCERS),
        (tagged, PRODUCERS),
    ] {
        for bytes_max in [BYTES_MAX, 20_000] {
            let (came, stats) = run(kind, bytes_max, producers);
            assert_eq!(came, vec![VALUES; producers as usize], "{kind:?}");
            assert_eq!((stats.posted, stats.discarded), (VALUES * producers, 0), "{kind:?}");
        }
    }
}

#[test]
fn what_is_not_discarded_comes_in_order() {
    for full in [Full::DiscardOldest, Full::DiscardNewest] {
        for kind in
            [QueueKind::MultiBounded { capacity: 16, full }, QueueKind::MultiBoundedTagged { capacity: 16, full }]
        {
            let (came, stats) = run(kind, BYTES_MAX, PRODUCERS);
            let total: u64 = came.iter().sum();
            assert_eq!(total + stats.discarded, VALUES * PRODUCERS, "{kind:?} {stats:?}");
        }
    }
}

#[test]
fn a_discarding_queue_stays_within_twice_its_bound_while_it_is_read() {
    let kind = QueueKind::MultiBounded { capacity: 32, full: Full::DiscardOldest };
    let (writer, mut reader) = input(kind, BYTES_MAX);
    let longest = thread::scope(|scope| {
        let sending: Vec<_> = (0..PRODUCERS)
            .map(|who| {
                let writer = writer.try_clone().expect("it may have many");
                scope.spawn(move || {
                    (0..VALUES)
                        .map(|n| {
                            let _ = writer.push(numbered(who, n), None);
                            writer.len()
                        })
                        .max()
                })
            })
            .collect();
        while sending.iter().any(|sending| !sending.is_finished()) {
            drop(reader.pop());
        }
        sending.into_iter().filter_map(|sending| sending.join().expect("it ends well")).max()
    });
    assert!(longest <= Some(64), "{longest:?}");
    let left = std::iter::from_fn(|| reader.pop()).count();
    assert!(left <= 32, "{left}");
}

#[test]
fn every_received_value_goes_to_one_consumer() {
    for (kind, bytes_max) in [
        (ReceiveKind::MultiUnbounded, BYTES_MAX),
        (ReceiveKind::MultiUnbounded, 5_000),
        (ReceiveKind::MultiBounded { capacity: 3, full: ReceiveFull::HoldBack }, BYTES_MAX),
        (ReceiveKind::MultiBounded { capacity: 100, full: ReceiveFull::DiscardOldest }, BYTES_MAX),
    ] {
        let (writer, reader) = receive(kind, bytes_max);
        let mut readers: Vec<_> = (1..3).map(|_| reader.try_clone().expect("it may have many")).collect();
        readers.push(reader);
        let (seen, discarded) = thread::scope(|scope| {
            let reading: Vec<_> = readers
                .into_iter()
                .map(|mut reader| {
                    scope.spawn(move || {
                        let mut seen = Vec::new();
                        while !reader.is_closed() {
                            match reader.pop() {
                                Some(message) => seen.push(number(&message).1),
                                None => thread::yield_now(),
                            }
                        }
                        assert!(seen.is_sorted());
                        seen
                    })
                })
                .collect();
            for n in 0..VALUES {
                let mut message = numbered(0, n);
                while let Err(refused) = writer.push(message) {
                    message = refused.value;
                    thread::yield_now();
                }
            }
            let discarded = writer.stats().discarded;
            drop(writer);
            let seen: Vec<u64> =
                reading.into_iter().flat_map(|reading| reading.join().expect("a consumer ends well")).collect();
            (seen, discarded)
        });
        let mut distinct = seen.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), seen.len(), "{kind:?}: one came twice");
        assert_eq!(seen.len() as u64 + discarded, VALUES, "{kind:?}");
    }
}

#[test]
fn a_discarded_newest_is_said_so() {
    let (writer, mut reader) = input(QueueKind::MultiBounded { capacity: 1, full: Full::DiscardNewest }, BYTES_MAX);
    assert_eq!(writer.push(numbered(0, 0), None).ok(), Some(Pushed::Queued));
    assert_eq!(writer.push(numbered(0, 1), None).ok(), Some(Pushed::DiscardedNewest));
    assert_eq!(reader.pop().map(|message| number(&message)), Some((0, 0)));
    assert_eq!(writer.stats().discarded, 1);
}
