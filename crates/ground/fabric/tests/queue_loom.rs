//! Every interleaving of the queues that a small scene allows, and every stale value that the memory model permits:
//! `RUSTFLAGS="--cfg loom" cargo test -p fabric --release --test queue_loom`. A segment has two slots there, so that every scene crosses segments.
//!
//! Each test says which weakened orderings it was seen to fail with; "race" names loom's report of two unordered accesses of a slot.
#![cfg(loom)]

use fabric::queue::{
    Full, PushError, Pushed, QueueKind, Reader, ReceiveFull, ReceiveKind, Refused, Weigh, Writer, input, receive,
};
use fabric::sync::Arc;
use loom::thread;

/// More than any scene needs, and so little that the directory of segments is small.
const BYTES: usize = 2048;

/// Explores `scene`; `preemptions` bounds how often a running thread may be interrupted.
fn explore(preemptions: usize, scene: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.max_branches = 20_000;
    model.check(scene);
}

/// A value that loom sees leak or be dropped twice.
struct Value {
    number: u32,
    _live: Arc<()>,
}

impl Weigh for Value {
    fn bytes_outside(&self) -> usize {
        0
    }
}

fn value(number: u32, live: &Arc<()>) -> Value {
    Value { number, _live: Arc::clone(live) }
}

/// Pushes, waiting for room, unless the reader is gone.
fn push(writer: &Writer<Value>, mut value: Value) {
    loop {
        match writer.push(value, None) {
            Ok(_) => return,
            Err(Refused { why: PushError::Closed, .. }) => return,
            Err(Refused { value: back, why: PushError::Full }) => {
                value = back;
                thread::yield_now();
            }
        }
    }
}

fn pop(reader: &mut Reader<Value>) -> Value {
    loop {
        match reader.pop() {
            Some(value) => return value,
            None => thread::yield_now(),
        }
    }
}

/// One producer and room for one: values arrive in order and whole, while slots, segments and the directory's entries are used again.
fn five_values_in_order(kind: QueueKind, bytes_max: usize) {
    explore(2, move || {
        let live = Arc::new(());
        let (writer, mut reader) = input(kind, bytes_max);
        let values: Vec<Value> = (0..5).map(|number| value(number, &live)).collect();
        let writing = thread::spawn(move || values.into_iter().for_each(|value| push(&writer, value)));
        for number in 0..5 {
            assert_eq!(pop(&mut reader).number, number);
        }
        writing.join().unwrap();
        drop(reader);
        assert_eq!(Arc::strong_count(&live), 1);
    });
}

/// Fails (race) when in `line` the store of the mark in `fill` or the load of it in `front` is Relaxed. (Of the head's
/// orderings none fails here: every use of a segment passes through the exchange of the spare, which in loom's order of execution orders the same.)
#[test]
fn a_line_of_one_producer_keeps_order() {
    // A budget of one byte is room for one value.
    five_values_in_order(QueueKind::MonoUnbounded, 1);
}

/// Fails as the test above.
#[test]
fn a_line_of_many_producers_keeps_order() {
    five_values_in_order(QueueKind::MultiBounded { capacity: 1, full: Full::Block }, BYTES);
}

/// Two producers and room for two, of which one is taken: what is accepted arrives once, the places cross a segment, and both may install it.
///
/// Fails (race) when in `line` the store of the mark in `fill` or the load of it in `front` is Relaxed.
#[test]
fn a_line_of_two_producers_loses_nothing() {
    explore(2, || {
        let live = Arc::new(());
        let (writer, mut reader) = input(QueueKind::MultiBounded { capacity: 2, full: Full::Refuse }, BYTES);
        push(&writer, value(9, &live));
        let other = writer.try_clone().expect("it may have many");
        let (one, two) = (value(0, &live), value(1, &live));
        let writing = [
            thread::spawn(move || other.push(one, None).is_ok()),
            thread::spawn(move || writer.push(two, None).is_ok()),
        ];
        assert_eq!(pop(&mut reader).number, 9);
        let early = reader.pop();
        let accepted = writing.map(|writing| writing.join().unwrap());
        let late = std::iter::from_fn(|| reader.pop());
        let mut numbers: Vec<u32> = early.into_iter().chain(late).map(|value| value.number).collect();
        numbers.sort_unstable();
        assert!(!numbers.is_empty(), "there was room for one at least");
        let expected: Vec<u32> = (0..2).filter(|number| accepted[*number as usize]).collect();
        assert_eq!(numbers, expected);
        assert!(reader.is_empty());
        drop(reader);
        assert_eq!(Arc::strong_count(&live), 1);
    });
}

/// Two producers that are both in need of a segment, and a reader that goes away with values in the queue: all are dropped, once.
#[test]
fn a_line_drops_what_is_left() {
    explore(3, || {
        let live = Arc::new(());
        let (writer, mut reader) = input(QueueKind::MultiUnbounded, BYTES);
        let other = writer.try_clone().expect("it may have many");
        let (one, two) = (value(0, &live), value(1, &live));
        let writing = thread::spawn(move || push(&other, one));
        push(&writer, two);
        drop(reader.pop());
        drop((writer, reader));
        writing.join().unwrap();
        assert_eq!(Arc::strong_count(&live), 1);
    });
}

/// The oldest is discarded by the producer while the consumer takes: each value is taken or discarded, once, in order, and the newest is not
/// discarded.
///
/// Fails (race) when in `discarding` the store in `Place::drop` or the exchange in `enter` is Relaxed; (race) when `enter` leaves a place that it
/// has not got; (assertion) when `pop` does not discard what is over the bound.
#[test]
fn the_oldest_is_discarded_or_taken_but_not_both() {
    explore(3, || {
        let live = Arc::new(());
        let (writer, mut reader) = input(QueueKind::MultiBounded { capacity: 1, full: Full::DiscardOldest }, BYTES);
        let values = [value(0, &live), value(1, &live), value(2, &live)];
        let writing = thread::spawn(move || {
            for value in values {
                let pushed = writer.push(value, None).unwrap_or_else(|_| panic!("it never refuses"));
                assert_ne!(pushed, Pushed::Replaced);
            }
            writer
        });
        let mut numbers: Vec<u32> = (0..2).filter_map(|_| reader.pop()).map(|value| value.number).collect();
        let writer = writing.join().unwrap();
        let left: Vec<u32> = std::iter::from_fn(|| reader.pop()).map(|value| value.number).collect();
        assert!(left.len() <= 1, "{left:?} are over the bound");
        numbers.extend(left);
        assert!(numbers.is_sorted(), "{numbers:?}");
        let stats = writer.stats();
        assert_eq!(numbers.len() as u64 + stats.discarded, 3, "{numbers:?} {stats:?}");
        drop((writer, reader));
        assert_eq!(Arc::strong_count(&live), 1);
    });
}

/// Two consumers: every value goes to one of them, and a segment is used again after both have read it.
///
/// Fails (a claimed place has no segment) when in `fan` the store of `tail` in `push` or the load of it in `pop` is Relaxed.
#[test]
fn a_fan_gives_every_value_to_one() {
    explore(2, || {
        let live = Arc::new(());
        let kind = ReceiveKind::MultiBounded { capacity: 2, full: ReceiveFull::HoldBack };
        let (writer, mut reader) = receive::<Value>(kind, BYTES);
        let mut other = reader.try_clone().expect("it may have many");
        let reading = thread::spawn(move || other.pop().map(|value: Value| value.number));
        let mut refused = 0;
        for number in 0..3 {
            let mut next = value(number, &live);
            while let Err(back) = writer.push(next) {
                next = back.value;
                refused += 1;
                thread::yield_now();
                if refused > 1 {
                    break;
                }
            }
        }
        let theirs = reading.join().unwrap();
        let posted = writer.stats().posted as usize;
        let mut numbers: Vec<u32> = std::iter::from_fn(|| reader.pop()).map(|value| value.number).collect();
        numbers.extend(theirs);
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), posted);
        drop((writer, reader));
        assert_eq!(Arc::strong_count(&live), 1);
    });
}

/// A segment that the consumer has read to its end is written again by a producer that has not looked at the head since.
///
/// Fails (race) when in `segments` the exchanges of the spare in `set_aside` and `install` are Relaxed.
#[test]
fn a_line_uses_segments_again() {
    explore(3, || {
        let live = Arc::new(());
        let (writer, mut reader) = input(QueueKind::MultiBounded { capacity: 8, full: Full::Refuse }, 4 * BYTES);
        (0..3).for_each(|number| push(&writer, value(number, &live)));
        let reading = thread::spawn(move || {
            for number in 0..2 {
                assert_eq!(reader.pop().map(|value: Value| value.number), Some(number));
            }
            reader
        });
        (3..5).for_each(|number| push(&writer, value(number, &live)));
        let mut reader = reading.join().unwrap();
        (2..5).for_each(|number| assert_eq!(reader.pop().map(|value| value.number), Some(number)));
        drop((writer, reader));
        assert_eq!(Arc::strong_count(&live), 1);
    });
}

/// A segment that two consumers have read is written again.
///
/// Fails (race) when in `fan` the count in `take` is Relaxed, and when in `segments` the exchanges of the spare are.
#[test]
fn a_fan_uses_segments_again() {
    explore(3, || {
        let live = Arc::new(());
        let kind = ReceiveKind::MultiBounded { capacity: 8, full: ReceiveFull::HoldBack };
        let (writer, mut reader) = receive::<Value>(kind, 4 * BYTES);
        let mut other = reader.try_clone().expect("it may have many");
        (0..2).for_each(|number| assert!(writer.push(value(number, &live)).is_ok()));
        let reading = thread::spawn(move || other.pop().map(|value| value.number));
        let mine = reader.pop().map(|value| value.number);
        (2..4).for_each(|number| assert!(writer.push(value(number, &live)).is_ok()));
        let theirs = reading.join().unwrap();
        let rest = std::iter::from_fn(|| reader.pop()).map(|value| value.number);
        let mut numbers: Vec<u32> = mine.into_iter().chain(theirs).chain(rest).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 3]);
        drop((writer, reader));
        assert_eq!(Arc::strong_count(&live), 1);
    });
}

/// A tagged value is replaced or taken: what is taken last is the newest.
#[test]
fn a_tag_is_replaced_or_taken() {
    explore(3, || {
        let live = Arc::new(());
        let (writer, mut reader) = input(QueueKind::MultiUnboundedTagged, BYTES);
        let values = [value(0, &live), value(1, &live)];
        let writing = thread::spawn(move || {
            for value in values {
                assert!(writer.push(value, Some(7)).is_ok());
            }
        });
        let first = reader.pop().map(|value| value.number);
        writing.join().unwrap();
        let rest: Vec<u32> = std::iter::from_fn(|| reader.pop()).map(|value| value.number).collect();
        match first {
            Some(0) | None => assert_eq!(rest, [1]),
            Some(1) => assert_eq!(rest, []),
            Some(other) => panic!("{other} was never pushed"),
        }
        drop(reader);
        assert_eq!(Arc::strong_count(&live), 1);
    });
}
