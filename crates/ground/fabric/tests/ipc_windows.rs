//! Windows, leases and rings of a link whose two ends are in this process.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test")]

mod meeting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fabric::arena::Arena;
use fabric::ipc::inspect;
use fabric::tli::{Borrowed, LANES, Lane, Link, Reason, Role, Trust, Violation, WindowSettings};
use fabric::wire::Descriptor;
use meeting::*;

#[test]
fn windows_come_in_order_and_are_used_again_for_many_laps() {
    let (mut a, mut b) = pair();
    let mut sending = LANES.map(Numbers::new);
    let mut reading = LANES.map(Reading::new);
    // Far more than the windows hold at once, in steps that fill them and steps that do not.
    for step in 0..3000_u64 {
        for (sending, reading) in sending.iter_mut().zip(&mut reading) {
            for _ in 0..step % 37 {
                if !sending.send(&mut *a.outlet).unwrap() {
                    break;
                }
            }
            reading.read(&mut *b.inlet).unwrap();
            assert_eq!(reading.next, sending.next, "all that was committed is visible at once");
            assert_eq!(a.outlet.read_by_peer(sending.lane), sending.next);
        }
    }
    assert!(a.outlet.is_drained().unwrap());
    assert!(reading[1].next > 50_000, "{}", reading[1].next);
}

#[test]
fn no_window_is_free_until_one_was_given_back() {
    let (mut a, mut b) = pair();
    for n in 0..4 {
        let mut window = a.outlet.take(Lane::Bulk).unwrap().unwrap();
        assert!(commit(&mut window, n));
        a.outlet.ship(Lane::Bulk, window).unwrap();
    }
    assert!(a.outlet.take(Lane::Bulk).unwrap().is_none());
    assert!(!a.outlet.is_drained().unwrap());
    let windows: Vec<_> = std::iter::from_fn(|| b.inlet.receive(Lane::Bulk).unwrap()).collect();
    assert_eq!(windows.len(), 4);
    let [first, second, third, _fourth] = windows.try_into().unwrap();
    // Given back out of order: the first in line decides.
    b.inlet.dispose(Lane::Bulk, second);
    assert!(a.outlet.take(Lane::Bulk).unwrap().is_none());
    b.inlet.dispose(Lane::Bulk, first);
    b.inlet.dispose(Lane::Bulk, third);
    assert_eq!(a.outlet.read_by_peer(Lane::Bulk), 3, "what lies in windows given back has been read");
    for _ in 0..3 {
        let window = a.outlet.take(Lane::Bulk).unwrap().unwrap();
        a.outlet.ship(Lane::Bulk, window).unwrap();
    }
    assert!(a.outlet.take(Lane::Bulk).unwrap().is_none());
    assert!(a.outlet.take(Lane::Urgent).unwrap().is_some(), "the other lane has its own");
}

#[test]
fn four_thousand_windows_in_each_direction() {
    let many =
        fabric::tli::LinkSettings { bulk: WindowSettings { bytes: 4096, count: 4096 }, ..settings(Role::Listen) };
    let connect = fabric::tli::LinkSettings { role: Role::Connect, ..many.clone() };
    let (mut a, mut b) = pair_with(&many, &connect);
    for (from, to) in [(&mut a.outlet, &mut b.inlet), (&mut b.outlet, &mut a.inlet)] {
        for n in 0..4096 {
            let mut window = from.take(Lane::Bulk).unwrap().unwrap();
            assert!(commit(&mut window, n));
            from.ship(Lane::Bulk, window).unwrap();
        }
        assert!(from.take(Lane::Bulk).unwrap().is_none());
        let mut windows: Vec<_> = std::iter::from_fn(|| to.receive(Lane::Bulk).unwrap()).collect();
        assert_eq!(windows.len(), 4096);
        for (n, window) in windows.iter_mut().enumerate() {
            assert_eq!(next(window), Next::Number(n as u64));
        }
    }
}

#[test]
fn finish_is_told_after_the_last_window_of_both_lanes() {
    let (mut a, mut b) = pair();
    for lane in LANES {
        let mut numbers = Numbers::new(lane);
        assert!(numbers.send(&mut *a.outlet).unwrap());
        numbers.ship(&mut *a.outlet).unwrap();
    }
    a.outlet.finish();
    let bulk = b.inlet.receive(Lane::Bulk).unwrap().unwrap();
    assert!(b.inlet.receive(Lane::Bulk).unwrap().is_none(), "the urgent lane has one more");
    let urgent = b.inlet.receive(Lane::Urgent).unwrap().unwrap();
    assert!(b.inlet.receive(Lane::Urgent).unwrap().is_none(), "they are still being read");
    b.inlet.dispose(Lane::Bulk, bulk);
    b.inlet.dispose(Lane::Urgent, urgent);
    for lane in LANES {
        assert_eq!(b.inlet.receive(lane).unwrap_err().reason, Reason::Closed);
    }
    assert!(a.outlet.is_drained().unwrap());
    b.tether.look().expect("the socket is open: the other direction goes on");
    let mut back = Numbers::new(Lane::Bulk);
    assert!(back.send(&mut *b.outlet).unwrap());
    drop(a);
    assert_eq!(b.tether.look().unwrap_err().reason, Reason::Closed);
    assert_eq!(b.outlet.take(Lane::Urgent).unwrap_err().reason, Reason::Closed);
}

/// Numbered messages that fit a window of 512 bytes.
const NUMBERS_OF_A_WINDOW: u64 = (512 - 32 - 8) / NUMBERED as u64;

#[test]
fn what_a_peer_published_before_it_went_is_handed_out() {
    let (mut a, mut b) = pair();
    let mut numbers = Numbers::new(Lane::Bulk);
    for _ in 0..30 {
        assert!(numbers.send(&mut *a.outlet).unwrap());
    }
    drop(a);
    assert_eq!(b.tether.look().unwrap_err().reason, Reason::Died, "it left without a word");
    assert!(b.inlet.receive(Lane::Urgent).unwrap().is_none(), "the other lane has some");
    let first = b.inlet.receive(Lane::Bulk).unwrap().unwrap();
    let mut second = b.inlet.receive(Lane::Bulk).unwrap().unwrap();
    b.inlet.dispose(Lane::Bulk, first);
    for lane in LANES {
        assert!(b.inlet.receive(lane).unwrap().is_none(), "a window is still being read, so it is not over");
    }
    assert_eq!(next(&mut second), Next::Number(NUMBERS_OF_A_WINDOW));
    b.inlet.dispose(Lane::Bulk, second);
    let mut reading = Reading::new(Lane::Bulk);
    assert_eq!(reading.read(&mut *b.inlet).unwrap_err().reason, Reason::Died);
}

#[test]
fn what_was_read_stays_read_when_the_reader_goes() {
    let (mut a, mut b) = pair();
    let mut numbers = Numbers::new(Lane::Bulk);
    (0..30).for_each(|_| assert!(numbers.send(&mut *a.outlet).unwrap()));
    let mut reading = Reading::new(Lane::Bulk);
    reading.read(&mut *b.inlet).unwrap();
    drop(b);
    a.tether.look().unwrap_err();
    assert_eq!(a.outlet.read_by_peer(Lane::Bulk), 30);
    assert!(a.outlet.is_drained().unwrap());
}

#[test]
fn who_cuts_says_why_and_the_first_reason_stands() {
    let (mut a, mut b) = pair();
    b.tether.cut(Reason::Violation(Violation::Link("first")));
    b.tether.cut(Reason::Left);
    assert_eq!(b.inlet.receive(Lane::Bulk).unwrap_err().reason, Reason::Violation(Violation::Link("first")));
    sleep_on(&a, PATIENCE);
    assert_eq!(a.tether.look().unwrap_err().reason, Reason::Died);
    a.outlet.take(Lane::Bulk).unwrap_err();
}

fn with_arena(trust: Trust) -> (Link, Link, Arc<Arena>) {
    let arena = Arc::new(Arena::new(4096, 6).unwrap());
    let lender = fabric::tli::LinkSettings { arena: Some(Arc::clone(&arena)), trust, ..settings(Role::Listen) };
    let borrower = fabric::tli::LinkSettings { trust, ..settings(Role::Connect) };
    let (a, b) = pair_with(&lender, &borrower);
    (a, b, arena)
}

fn remote(link: &mut Link, descriptor: Descriptor) -> fabric::tli::Remote {
    match link.inlet.borrow(descriptor).unwrap() {
        Borrowed::Remote(remote) => remote,
        Borrowed::Slice(_) => panic!("it lies in the peer's memory"),
    }
}

#[test]
fn what_is_lent_is_read_in_place_and_comes_back() {
    for trust in [Trust::Hostile, Trust::Same] {
        let (mut a, mut b, arena) = with_arena(trust);
        for round in 0..50_u8 {
            let mut window = arena.take().unwrap();
            let slice = window.copy_in(&[round; 100]).unwrap().slice(10..60);
            drop(window);
            let descriptor = a.outlet.lend(&slice).unwrap().unwrap();
            drop(slice);
            assert_eq!(arena.stats().live, 1, "the loan keeps it");
            let lent = remote(&mut b, descriptor);
            assert_eq!((lent.len(), lent.to_vec()), (50, vec![round; 50]));
            assert_eq!(lent.trusted(), (trust == Trust::Same).then_some(&[round; 50][..]));
            drop(lent);
            a.outlet.progress().unwrap();
            assert_eq!(arena.stats().live, 0);
        }
        assert!(a.outlet.lend(&fabric::Slice::copy_from(b"elsewhere")).unwrap().is_none());
    }
}

#[test]
fn no_more_is_lent_than_was_agreed_and_unlent_is_free_again() {
    let (mut a, mut b, arena) = with_arena(Trust::Hostile);
    let lent: Vec<_> =
        (0..4).map(|_| a.outlet.lend(&arena.take().unwrap().copy_in(b"abc").unwrap()).unwrap().unwrap()).collect();
    let fifth = arena.take().unwrap().copy_in(b"abc").unwrap();
    assert!(a.outlet.lend(&fifth).unwrap().is_none(), "4 leases were agreed");
    a.outlet.unlend(lent[3]);
    let again = a.outlet.lend(&fifth).unwrap().unwrap();
    assert_eq!((again.lease, again.generation), (lent[3].lease, lent[3].generation + 1));
    drop(remote(&mut b, lent[0]));
    assert!(a.outlet.lend(&fifth).unwrap().is_some(), "one came back");
}

#[test]
fn a_lease_that_is_erased_is_zeroed_before_its_next_use() {
    let (mut a, mut b, arena) = with_arena(Trust::Hostile);
    let mut window = arena.take().unwrap();
    let slice = window.copy_in(b"secret").unwrap();
    let (place, rest) = (slice.as_ptr(), window.copy_in(b"more").unwrap());
    drop((window, rest));
    let descriptor = a.outlet.lend(&slice).unwrap().unwrap();
    drop(slice);
    remote(&mut b, descriptor).erase();
    a.outlet.progress().unwrap();
    let mut window = arena.take().unwrap();
    assert_eq!((window.spare().as_ptr(), &window.spare()[..10]), (place, &[0; 10][..]));
}

#[test]
fn forged_descriptors_are_refused_and_harm_nobody() {
    let (mut a, mut b, arena) = with_arena(Trust::Hostile);
    let good = a.outlet.lend(&arena.take().unwrap().copy_in(b"abc").unwrap()).unwrap().unwrap();
    let forged = [
        Descriptor { window: 6, ..good },
        Descriptor { window: u32::MAX, ..good },
        Descriptor { offset: 4094, ..good },
        Descriptor { offset: u32::MAX, ..good },
        Descriptor { length: 4097, ..good },
        Descriptor { length: u32::MAX, offset: u32::MAX, ..good },
        Descriptor { length: 0, ..good },
        Descriptor { lease: 4, ..good },
    ];
    for descriptor in forged {
        b.inlet.borrow(descriptor).unwrap_err();
    }
    // A link without the peer's arena has nothing to borrow.
    a.inlet.borrow(good).unwrap_err();
    let held: Vec<_> = (0..4).map(|_| remote(&mut b, good)).collect();
    b.inlet.borrow(good).expect_err("more than the 4 leases that the peer announced");
    drop(held);
    // The same lease came back four times.
    let gone = a.outlet.progress().unwrap_err();
    assert!(matches!(gone.reason, Reason::Violation(_)), "{gone}");
    assert_eq!(arena.stats().live, 1, "until the outlet is dropped");
    drop(a);
    assert_eq!(arena.stats().live, 0);
}

#[test]
fn a_remote_outlives_its_link() {
    let (mut a, mut b, arena) = with_arena(Trust::Hostile);
    let descriptor = a.outlet.lend(&arena.take().unwrap().copy_in(b"abc").unwrap()).unwrap().unwrap();
    let lent = remote(&mut b, descriptor);
    drop(b);
    assert_eq!(a.tether.look().unwrap_err().reason, Reason::Died, "a lease does not hold the socket open");
    drop((a, arena));
    assert_eq!(lent.to_vec(), b"abc");
}

/// Both ends sleep whenever they have nothing to do, with windows so few that senders wait, too. A lost wake-up shows as a time-out of the poll, which
/// is far longer than the whole test takes.
#[test]
fn nobody_sleeps_through_a_ring() {
    const MESSAGES: u64 = 60_000;
    let (mut a, mut b) = pair();
    let deadline = Instant::now() + PATIENCE;
    let receiver = std::thread::spawn(move || {
        let mut reading = Reading::new(Lane::Bulk);
        while reading.next < MESSAGES {
            if reading.read(&mut *b.inlet).unwrap() > 0 {
                continue;
            }
            b.tether.arm();
            if reading.read(&mut *b.inlet).unwrap() == 0 {
                sleep_on(&b, PATIENCE);
                assert!(Instant::now() < deadline, "the receiver slept through a ring at {}", reading.next);
            }
            b.tether.disarm();
            b.tether.look().unwrap();
        }
        b
    });
    let mut numbers = Numbers::new(Lane::Bulk);
    while numbers.next < MESSAGES {
        if numbers.send(&mut *a.outlet).unwrap() {
            if numbers.peer_sleeps() {
                a.tether.ring();
            }
            continue;
        }
        a.tether.arm();
        if !numbers.send(&mut *a.outlet).unwrap() {
            sleep_on(&a, PATIENCE);
            assert!(Instant::now() < deadline, "the sender slept through a ring at {}", numbers.next);
        } else {
            a.tether.ring();
        }
        a.tether.disarm();
        a.tether.look().unwrap();
    }
    // And once more for what was read.
    loop {
        a.tether.arm();
        if a.outlet.is_drained().unwrap() {
            break;
        }
        sleep_on(&a, PATIENCE);
        assert!(Instant::now() < deadline, "the sender slept through the last read");
        a.tether.disarm();
        a.tether.look().unwrap();
    }
    drop(receiver.join().unwrap());
}

/// Two threads sleep on one end, one for windows, one for messages; each is woken though the other takes the rings.
#[test]
fn a_ring_wakes_all_who_sleep() {
    let (a, mut b) = pair();
    let woken = Arc::new(AtomicBool::new(false));
    let sleepers: Vec<_> = (0..2)
        .map(|_| {
            let (tether, woken) = (Arc::clone(&a.tether), Arc::clone(&woken));
            std::thread::spawn(move || {
                while !woken.load(Ordering::Acquire) {
                    tether.arm();
                    if !woken.load(Ordering::Acquire) {
                        let before = Instant::now();
                        wait(&[tether.readiness().unwrap()], PATIENCE);
                        assert!(before.elapsed() < PATIENCE, "it slept through the ring");
                    }
                    tether.disarm();
                    tether.look().unwrap();
                }
            })
        })
        .collect();
    let me = || inspect(std::process::id()).unwrap().into_iter().any(|view| view.sleepers == 2);
    while !me() {
        std::thread::sleep(Duration::from_millis(1));
    }
    woken.store(true, Ordering::Release);
    b.outlet.finish();
    sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
}

#[test]
fn a_peer_that_is_awake_is_not_rung() {
    let (mut a, b) = pair();
    let mut numbers = Numbers::new(Lane::Bulk);
    for _ in 0..200 {
        numbers.send(&mut *a.outlet).unwrap();
    }
    assert!(!numbers.peer_sleeps());
    let readable = |link: &Link| {
        let file = link.tether.readiness().unwrap();
        let mut polled = [rustix::event::PollFd::new(&file, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut polled, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    };
    assert!(!readable(&b));
    b.tether.arm();
    (0..3).for_each(|_| a.tether.ring());
    assert!(readable(&b));
    b.tether.look().unwrap();
    assert!(readable(&b), "it stays while anybody sleeps");
    b.tether.disarm();
    assert!(!readable(&b), "one ring for one sleep, taken by the last who got up");
}

#[test]
fn a_link_can_be_looked_at_from_outside() {
    let place = Place::new("inspect");
    let mut listener = open(&place.uri(), &settings(Role::Listen));
    let mut dialer = open(&place.uri(), &settings(Role::Connect));
    let (mut a, mut b) = meet(&mut *listener, &mut *dialer);
    let mut numbers = Numbers::new(Lane::Bulk);
    for _ in 0..50 {
        numbers.send(&mut *a.outlet).unwrap();
    }
    let mut reading = Reading::new(Lane::Bulk);
    reading.read(&mut *b.inlet).unwrap();
    b.tether.arm();
    let views = fabric::ipc::inspect_at(&fabric::Uri::parse(&place.uri()).unwrap()).unwrap();
    assert_eq!(views.len(), 2, "both ends are in this process: {views:?}");
    let sender = views.iter().find(|view| view.bulk.taken > 0).unwrap();
    let receiver = views.iter().find(|view| view.epoch == sender.peer_epoch).unwrap();
    assert_eq!((sender.peer_epoch, receiver.peer_epoch), (receiver.epoch, sender.epoch));
    assert_eq!((sender.bulk.taken, receiver.bulk.disposed, receiver.bulk.messages_read), (3, 2, 50));
    assert_eq!((receiver.sleepers, receiver.sleeps, sender.sleepers), (1, 1, 0));
    assert_eq!((sender.bulk.window_bytes, sender.bulk.windows, sender.urgent.windows), (512, 4, 2));
    assert_eq!((sender.pid, sender.peer_pid), (std::process::id(), Some(std::process::id())));
    assert_eq!(sender.label, place.socket().display().to_string());
}
