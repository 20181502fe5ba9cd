//! A slow reader bounds what its peer may send, and a sender learns what was read.

use std::thread;
use std::time::Duration;

use fabric::tli::{Lane, Link, WindowSettings};

use crate::ends::{ENGINES, pair, receive, send, settings, sleep, take_in, until};

/// Ships until there is no credit.
fn ship_all(link: &mut Link, lane: Lane) -> u64 {
    let mut shipped = 0;
    while let Some(mut window) = link.outlet.take(lane).unwrap() {
        shipped += 1;
        crate::ends::fill(&mut window, shipped, 3000);
        link.outlet.ship(lane, window).unwrap();
    }
    shipped
}

#[test]
fn a_sender_has_as_many_windows_out_as_was_agreed() {
    for engine in ENGINES {
        let mut settings = settings((4096, 100), (4096, 3));
        settings.accept = WindowSettings { bytes: 4096, count: 7 };
        let (mut sender, mut receiver) = pair(&format!("via={engine}"), &settings);
        assert_eq!((ship_all(&mut sender, Lane::Bulk), ship_all(&mut sender, Lane::Urgent)), (7, 3), "{engine}");
        thread::sleep(Duration::from_millis(20));
        assert!(sender.outlet.take(Lane::Bulk).unwrap().is_none(), "nothing was read yet");
        // Held windows count; one given back is worth one.
        let mut held: Vec<_> = (0..10).map(|_| receive(&mut receiver).unwrap()).collect();
        assert!(sender.outlet.take(Lane::Bulk).unwrap().is_none(), "nothing was given back yet");
        let bulk = held.iter().position(|(lane, _)| *lane == Lane::Bulk).unwrap();
        let (lane, window) = held.remove(bulk);
        receiver.inlet.dispose(lane, window);
        let window = crate::ends::take(&mut *sender.outlet, &*sender.tether, Lane::Bulk).unwrap();
        sender.outlet.ship(Lane::Bulk, window).unwrap();
        assert!(sender.outlet.take(Lane::Bulk).unwrap().is_none(), "one was given back");
    }
}

#[test]
fn credit_is_told_before_sleeping_and_after_looking_in_vain() {
    for engine in ENGINES {
        let (mut sender, mut receiver) = pair(&format!("via={engine}"), &settings((4096, 16), (4096, 2)));
        send(&mut sender, Lane::Bulk, 1, 100).unwrap();
        take_in(&mut receiver).unwrap();
        receiver.inlet.read(Lane::Bulk, 1);
        receiver.tether.arm();
        until("progress is told before sleeping", || {
            sender.outlet.progress().unwrap();
            sender.outlet.read_by_peer(Lane::Bulk) == 1
        });
        receiver.tether.disarm();
        send(&mut sender, Lane::Bulk, 2, 100).unwrap();
        take_in(&mut receiver).unwrap();
        receiver.inlet.read(Lane::Bulk, 2);
        receiver.tether.disarm();
        until("progress is told after looking in vain", || {
            assert!(receiver.inlet.receive(Lane::Bulk).unwrap().is_none());
            sender.outlet.progress().unwrap();
            sender.outlet.read_by_peer(Lane::Bulk) == 2
        });
    }
}

#[test]
fn a_sender_that_asks_is_told_when_all_is_read() {
    for engine in ENGINES {
        let (mut sender, mut receiver) = pair(&format!("via={engine}"), &settings((4096, 64), (4096, 2)));
        for number in 1..=10 {
            send(&mut sender, Lane::Bulk, number, 100).unwrap();
        }
        assert!(!sender.outlet.is_drained().unwrap());
        let windows: Vec<_> = (1..=10).map(|_| receive(&mut receiver).unwrap()).collect();
        thread::sleep(Duration::from_millis(10));
        assert!(!sender.outlet.is_drained().unwrap(), "{engine}: received is not read");
        for (lane, window) in windows {
            receiver.inlet.dispose(lane, window);
        }
        // The reader neither sleeps nor looks again: only the question makes it speak.
        let drained = loop {
            if let Some(drained) =
                sleep(&*sender.tether, || sender.outlet.is_drained().map(|yes| yes.then_some(yes))).unwrap()
            {
                break drained;
            }
        };
        assert!(drained, "{engine}");
    }
}

#[test]
fn bytes_of_windows_out_at_once_are_bounded_whatever_is_asked_for() {
    let (mut sender, _receiver) = pair("via=epoll", &settings((16 << 20, 1000), (1024, 2)));
    let mut out = 0;
    while let Some(window) = sender.outlet.take(Lane::Bulk).unwrap() {
        sender.outlet.ship(Lane::Bulk, window).unwrap();
        out += 1;
    }
    assert_eq!(out, 4, "64 MiB hold four windows of 16 MiB");
}
