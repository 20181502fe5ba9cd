//! Every interleaving of the rings, bells, lanes and windows that a small scene allows, and every stale value that the memory model permits:
//! `RUSTFLAGS="--cfg loom" cargo test -p fabric --release --test loom`.
//!
//! Each test says which weakened orderings it was seen to fail with; "lost" names loom's report of a deadlock (everyone asleep), "race" its report
//! of two unordered accesses of a slot or a byte.
#![cfg(loom)]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use fabric::sync::Arc;
use fabric::sync::atomic::{AtomicUsize, Ordering};
use fabric::{Doorbell, Rang, Slice, WindowPool, doorbell, lane, lane_with_room_bell, ring};
use loom::future::block_on;
use loom::thread;

/// Explores `scene`. With two threads wholly; `preemptions` bounds how often a running thread may be interrupted where that would take hours.
fn explore(preemptions: Option<usize>, scene: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(scene);
}

/// Values arrive in order and whole, also when a slot is used again.
///
/// Fails (race) when in `ring` the store of `tail` in `push`, the load of it in `look`, the store of `head` in `publish` or the load of it in `push`
/// is Relaxed.
#[test]
fn ring_hands_values_over_in_order() {
    explore(None, || {
        let (mut producer, mut consumer) = ring::<Box<usize>>(1);
        let writer = thread::spawn(move || {
            for n in 0..2 {
                let mut value = Box::new(n);
                while let Err(back) = producer.push(value) {
                    value = back;
                    thread::yield_now();
                }
            }
        });
        for n in 0..2 {
            let value = loop {
                match consumer.pop() {
                    Some(value) => break value,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(*value, n);
        }
        writer.join().unwrap();
        assert!(consumer.is_closed());
    });
}

/// A batch is read once, and what is not read is dropped with the ring.
///
/// Fails (race) with a Relaxed `tail` as the test above; fails (a value too many) when `Shared::drop` does nothing.
#[test]
fn ring_drains_in_batches_and_drops_the_rest() {
    explore(None, || {
        let counted = Arc::new(());
        let (mut producer, mut consumer) = ring(2);
        let value = Arc::clone(&counted);
        let writer = thread::spawn(move || {
            for _ in 0..2 {
                producer.push(Arc::clone(&value)).unwrap();
            }
        });
        let read = consumer.drain(2, drop);
        drop(consumer);
        writer.join().unwrap();
        assert!(read <= 2);
        assert_eq!(Arc::strong_count(&counted), 1);
    });
}

/// A ring is not closed before its last value was taken.
///
/// Fails (assertion: a value comes after "closed") when in `ring` the store of `producer_gone` or its load in `Consumer::is_closed` is Relaxed, and when
/// `is_closed` looks at `tail` first.
#[test]
fn ring_closes_after_its_last_value() {
    explore(None, || {
        let (mut producer, mut consumer) = ring::<u32>(1);
        let writer = thread::spawn(move || producer.push(7).unwrap());
        let mut read = 0;
        while !consumer.is_closed() {
            match consumer.pop() {
                Some(_) => read += 1,
                None => thread::yield_now(),
            }
        }
        assert_eq!(read, 1, "closed before the value was read");
        writer.join().unwrap();
    });
}

/// Two counters, each raised without any ordering and followed by a ring: the sleeper, however it waits, comes to see both. It looks only after a ring,
/// so that a ring is all it can go by.
fn ring_twice_and_see_both(preemptions: Option<usize>, wait: impl Fn(&mut Doorbell) + Send + Sync + 'static) {
    explore(preemptions, move || {
        let (ringer, mut bell) = doorbell();
        let count = Arc::new(AtomicUsize::new(0));
        let raised = Arc::clone(&count);
        let feeder = thread::spawn(move || {
            for n in 1..=2 {
                raised.store(n, Ordering::Relaxed);
                ringer.ring();
            }
        });
        while count.load(Ordering::Relaxed) < 2 {
            wait(&mut bell);
        }
        feeder.join().unwrap();
    });
}

/// A task misses no ring.
///
/// Fails (lost) when in `doorbell` the fence is missing in `ring` or in `take`, when `poll_wait` registers its waker after the exchange, when it returns
/// `Pending` without looking at what the exchange found, and when `ring` wakes nobody.
#[test]
fn bell_wakes_a_task() {
    ring_twice_and_see_both(Some(3), |bell| block_on(bell.wait()));
}

/// A plain thread misses no ring.
///
/// Fails (lost) with the same faults as the test above.
#[test]
fn bell_wakes_a_thread() {
    ring_twice_and_see_both(None, |bell| assert_eq!(bell.wait_thread(None), Rang::Rung));
}

/// What was done before the ring is visible after it.
///
/// Fails (race of the ring's slot, or lost) when in `doorbell` both the fence in `ring` is missing and its swap is Relaxed; a weaker swap alone is covered by
/// the fence.
#[test]
fn bell_of_two_ringers() {
    explore(Some(3), || {
        let (ringer, mut bell) = doorbell();
        let feeders: Vec<_> = (0..2)
            .map(|_| {
                let (mut producer, consumer) = ring::<u32>(1);
                let ringer = ringer.clone();
                let feeder = thread::spawn(move || {
                    producer.push(7).unwrap();
                    ringer.ring();
                    // The bell alone tells, not the closing of the ring.
                    producer
                });
                (feeder, consumer)
            })
            .collect();
        let (feeders, mut consumers): (Vec<_>, Vec<_>) = feeders.into_iter().unzip();
        let mut read = 0;
        while read < 2 {
            bell.wait_thread(None);
            read += consumers.iter_mut().filter_map(fabric::Consumer::pop).count();
        }
        feeders.into_iter().for_each(|feeder| drop(feeder.join().unwrap()));
    });
}

/// A time-out loses no ring, and neither does going to sleep again after it.
///
/// Fails (lost) when `get_up` in `doorbell` stores `QUIET` instead of exchanging `ASLEEP` for it.
#[test]
fn bell_after_a_time_out() {
    explore(None, || {
        let (ringer, mut bell) = doorbell();
        let feeder = thread::spawn(move || ringer.ring());
        if bell.wait_thread(Some(Duration::ZERO)) == Rang::TimedOut {
            assert_eq!(bell.wait_thread(None), Rang::Rung);
        }
        feeder.join().unwrap();
    });
}

/// A task that is polled again elsewhere, or whose first wait was cancelled, is woken by its last waker.
///
/// Fails (lost) when `poll_wait` in `doorbell` registers its waker only when it goes from `QUIET` to `ASLEEP`.
#[test]
fn bell_keeps_the_last_waker() {
    explore(None, || {
        let (ringer, mut bell) = doorbell();
        let feeder = thread::spawn(move || ringer.ring());
        let first = pin!(bell.wait()).poll(&mut Context::from_waker(Waker::noop()));
        if first.is_pending() {
            block_on(bell.wait());
        }
        feeder.join().unwrap();
    });
}

/// A sender whose lane is full sleeps until the receiver has made room, and everything arrives in order.
///
/// Fails (lost) when in `lane` the fence is missing in `place_overflow` or in `made_room`, when that does not look for room after setting `starved`.
#[test]
fn lane_wakes_a_sender_that_waits_for_room() {
    explore(Some(3), || {
        let (ringer, mut bell) = doorbell();
        let (room, mut room_bell) = doorbell();
        let (mut sender, mut receiver) = lane_with_room_bell::<u32>(1, ringer, room);
        let sending = thread::spawn(move || {
            sender.send(0);
            sender.ring();
            sender.send(1);
            while sender.overflow_len() > 0 {
                room_bell.wait_thread(None);
                sender.flush();
            }
            sender.ring();
            // Kept, so that only the room bell can have moved the overflow.
            sender
        });
        let mut next = 0;
        loop {
            while let Some(value) = receiver.pop() {
                assert_eq!(value, next);
                next += 1;
            }
            if next == 2 {
                break;
            }
            bell.wait_thread(None);
        }
        drop(sending.join().unwrap());
        assert!(receiver.is_closed());
    });
}

/// A sender that is dropped with an overflow leaves it to the receiver, after what is in the ring, and the receiver wakes to see the end.
///
/// Fails (assertion) when `LaneSender::drop` closes the ring before it leaves the overflow, or drops the overflow; fails (lost) when it does not ring.
#[test]
fn lane_outlives_its_sender() {
    explore(Some(3), || {
        let (ringer, mut bell) = doorbell();
        let (mut sender, mut receiver) = lane::<u32>(1, ringer);
        let sending = thread::spawn(move || {
            sender.send(0);
            sender.send(1);
        });
        let mut read = Vec::new();
        while !receiver.is_closed() {
            if receiver.drain(8, |value| read.push(value)) == 0 {
                bell.wait_thread(None);
            }
        }
        assert_eq!(read, [0, 1]);
        sending.join().unwrap();
    });
}

/// A sender that waits for room learns that its receiver is gone.
///
/// Fails (lost) when `LaneReceiver::drop` rings before it closes, or does not ring.
#[test]
fn lane_tells_a_waiting_sender_that_nobody_reads() {
    explore(None, || {
        let (ringer, _bell) = doorbell();
        let (room, mut room_bell) = doorbell();
        let (mut sender, receiver) = lane_with_room_bell::<u32>(1, ringer, room);
        sender.send(0);
        sender.send(1);
        let reading = thread::spawn(move || drop(receiver));
        while sender.flush() > 0 {
            room_bell.wait_thread(None);
        }
        assert!(sender.is_closed());
        reading.join().unwrap();
    });
}

/// Gives `slice` to another thread, which reads it, expects `byte` and drops it.
fn read_elsewhere(slice: Slice, byte: u8) -> thread::JoinHandle<()> {
    thread::spawn(move || assert_eq!(slice, [byte]))
}

/// One thread reads what is filled while the writer goes on, and whoever is last returns the window.
///
/// Fails (race) when in `block` the decrement in `release` is Relaxed or its fence is missing, and when `fill` in `window` does not move the mark.
#[test]
fn window_is_read_while_it_is_written() {
    explore(Some(3), || {
        let pool = WindowPool::new(2, 1);
        let mut window = pool.take();
        window.spare()[0] = 1;
        let first = read_elsewhere(window.fill(1), 1);
        window.spare()[0] = 2;
        assert_eq!(window.fill(1), [2]);
        drop(window);
        // The same window if the reader is done, else a second one.
        let mut again = pool.take();
        again.spare().fill(9);
        drop(again);
        first.join().unwrap();
        let stats = pool.stats();
        assert_eq!((stats.live, stats.free, stats.taken_total), (0, 1, 2));
    });
}

/// A window that its reader returned is written again by the next that takes it.
///
/// Fails (race) when in `window` the exchange in `give_back` or the load in `pop` is Relaxed.
#[test]
fn window_is_used_again_after_its_reader_returned_it() {
    explore(Some(3), || {
        let pool = WindowPool::new(1, 1);
        let slice = pool.take().copy_in(&[1]).unwrap();
        let reader = read_elsewhere(slice, 1);
        // Relaxed counts order nothing: what follows goes by the free list alone.
        while pool.stats().live > 0 {
            thread::yield_now();
        }
        let mut again = pool.take();
        again.spare()[0] = 2;
        assert_eq!(again.fill(1), [2]);
        drop(again);
        reader.join().unwrap();
        assert_eq!((pool.stats().live, pool.stats().taken_total), (0, 2));
    });
}

/// The last of several readers frees the memory when the pool keeps none.
///
/// Fails (race of reading and freeing) when in `block` the decrement in `release` is Relaxed or its fence is missing.
#[test]
fn window_is_freed_after_its_last_reader() {
    explore(Some(3), || {
        let pool = WindowPool::new(1, 0);
        let mut window = pool.take();
        let slice = window.copy_in(&[5]).unwrap();
        drop(window);
        let first = read_elsewhere(slice.clone(), 5);
        let second = read_elsewhere(slice, 5);
        first.join().unwrap();
        second.join().unwrap();
        let stats = pool.stats();
        assert_eq!((stats.live, stats.free), (0, 0));
    });
}

/// A writer starts its window again only when nobody reads it any more.
///
/// Fails (race) when in `block` the load in `is_sole` or the decrement in `release` is Relaxed.
#[test]
fn window_is_rewound_after_its_last_reader() {
    explore(None, || {
        let pool = WindowPool::new(1, 0);
        let mut window = pool.take();
        let slice = window.copy_in(&[5]).unwrap();
        let reader = read_elsewhere(slice, 5);
        if window.try_rewind() {
            window.spare()[0] = 6;
        }
        reader.join().unwrap();
        assert!(window.try_rewind());
        assert_eq!(window.copy_in(&[7]).unwrap(), [7]);
    });
}

/// Two threads take and return at once: no window is given to both, none is lost, and no more than `keep` stay.
///
/// Fails (race of a link, or two writers of a byte) when `pop` in `window` does not lock, and when the exchange in `give_back` or the load in `pop` is Relaxed;
/// fails (assertion) when one window too many is kept.
#[test]
fn pool_is_shared() {
    explore(Some(3), || {
        let pool = WindowPool::new(1, 2);
        drop((pool.take(), pool.take()));
        assert_eq!(pool.stats().free, 2);
        let elsewhere = pool.clone();
        let turn = |pool: &WindowPool| {
            let mut window = pool.take();
            window.spare()[0] = 1;
            let mut other = pool.take();
            other.spare()[0] = 2;
            drop(window);
            drop(other);
        };
        let other = thread::spawn(move || turn(&elsewhere));
        turn(&pool);
        other.join().unwrap();
        let stats = pool.stats();
        assert_eq!((stats.live, stats.taken_total), (0, 6));
        assert!(stats.free <= 2);
    });
}
