//! The real thing on real threads, for longer than loom can: values and bytes cross threads while windows are used over and over.
#![cfg(not(loom))]

use std::thread;
use std::time::Duration;

use fabric::{LaneReceiver, LaneSender, Rang, Slice, WindowPool, doorbell, lane, lane_with_room_bell, ring};

/// Values for each test: enough to use every slot and window many times, few enough for a sanitizer.
const VALUES: usize = 50_000;

#[test]
fn a_ring_between_threads_keeps_order() {
    let (mut producer, mut consumer) = ring(64);
    let writer = thread::spawn(move || {
        for n in 0..VALUES {
            let mut value = Box::new(n);
            while let Err(back) = producer.push(value) {
                value = back;
                thread::yield_now();
            }
        }
    });
    let mut next = 0;
    while !consumer.is_closed() {
        let count = consumer.drain(100, |value| {
            assert_eq!(*value, next);
            next += 1;
        });
        if count == 0 {
            thread::yield_now();
        }
    }
    writer.join().unwrap();
    assert_eq!(next, VALUES);
}

/// Runs one loop: sends numbered slices in bursts, ringing once a burst, and sleeps whenever the lane has no room.
fn feed(mut sender: LaneSender<Slice>, pool: &WindowPool, mut room: fabric::Doorbell, stamp: u8) {
    let mut window = pool.take();
    for n in 0..VALUES / 10 {
        let record = [stamp, n as u8, (n >> 8) as u8];
        let slice = window.copy_in(&record).unwrap_or_else(|| {
            window = pool.take();
            window.copy_in(&record).expect("a fresh window has room")
        });
        sender.send(slice);
        if n % 7 == 0 {
            sender.ring();
            while sender.flush() > 0 {
                room.wait_thread(None);
            }
        }
    }
    while sender.flush() > 0 {
        room.wait_thread(None);
    }
}

fn expect_all(receivers: &mut [LaneReceiver<Slice>], mut bell: fabric::Doorbell) {
    let mut next = vec![0; receivers.len()];
    while !receivers.iter().all(LaneReceiver::is_closed) {
        let mut seen = 0;
        for (stamp, receiver) in receivers.iter_mut().enumerate() {
            seen += receiver.drain(16, |slice| {
                let n: usize = next[stamp];
                assert_eq!(slice, [stamp as u8, n as u8, (n >> 8) as u8]);
                next[stamp] += 1;
            });
        }
        if seen == 0 {
            // For ever: a lost ring hangs the test.
            bell.wait_thread(None);
        }
    }
    assert_eq!(next, vec![VALUES / 10; receivers.len()]);
}

#[test]
fn lanes_of_three_loops_share_a_pool_and_a_bell() {
    let pool = WindowPool::new(256, 4);
    let (ringer, bell) = doorbell();
    let (mut receivers, mut feeders) = (Vec::new(), Vec::new());
    for stamp in 0..3 {
        let (room_ringer, room) = doorbell();
        let (sender, receiver) = lane_with_room_bell(8, ringer.clone(), room_ringer);
        receivers.push(receiver);
        let pool = pool.clone();
        feeders.push(thread::spawn(move || feed(sender, &pool, room, stamp)));
    }
    expect_all(&mut receivers, bell);
    feeders.into_iter().for_each(|feeder| feeder.join().unwrap());
    let stats = pool.stats();
    assert_eq!(stats.live, 0);
    assert!((1..=4).contains(&stats.free), "{stats:?}");
    assert!(stats.taken_total >= (3 * VALUES as u64 / 10) * 3 / 256, "{stats:?}");
}

#[test]
fn a_window_outlives_its_pool_and_its_thread() {
    let slice = thread::spawn(|| {
        let pool = WindowPool::new(64, 4);
        let mut window = pool.take();
        window.copy_in(b"kept").expect("it is empty")
    })
    .join()
    .unwrap();
    assert_eq!(slice, *b"kept");
}

#[test]
fn a_sleeping_thread_is_woken_and_a_quiet_bell_times_out() {
    let (ringer, mut bell) = doorbell();
    assert_eq!(bell.wait_thread(Some(Duration::from_millis(5))), Rang::TimedOut);
    let feeder = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        ringer.ring();
    });
    assert_eq!(bell.wait_thread(Some(Duration::from_secs(60))), Rang::Rung);
    feeder.join().unwrap();
    assert_eq!(bell.wait_thread(Some(Duration::ZERO)), Rang::TimedOut);
}

#[test]
fn a_value_sent_to_nobody_is_dropped_once_the_ring_is_full() {
    let (ringer, _bell) = doorbell();
    let (mut sender, receiver) = lane(2, ringer);
    drop(receiver);
    assert!(sender.is_closed());
    let value = std::sync::Arc::new(());
    (0..5).for_each(|_| sender.send(std::sync::Arc::clone(&value)));
    assert_eq!((sender.ring_len(), sender.overflow_len()), (2, 0));
    assert_eq!(std::sync::Arc::strong_count(&value), 3);
    drop(sender);
    assert_eq!(std::sync::Arc::strong_count(&value), 1);
}
