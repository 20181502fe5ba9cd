//! Thirty destinations that hang or cannot be reached, and one good one: the good one keeps its rate.

mod clockwork;

use clockwork::{Clockwork, site};
use message::{Agent, Closing, Lease, UnixMicros, Verdict, Work};
use scheduling::{Limits, Permits};
use std::time::Duration;

const SECONDS: u64 = 120;
/// Every 10 ms one message for the good site, each takes it 30 ms.
const PER_SECOND: u64 = 100;
const TAKES: Duration = Duration::from_millis(30);

/// Runs the good site for two minutes beside `hanging` sites that never answer and `dead` ones that refuse. Returns
/// what the good one delivered.
fn delivered_beside(hanging: usize, dead: usize, permits: u32) -> usize {
    let mut clockwork = Clockwork::new(Limits::default(), Permits::new(permits, 4));
    let good = site("good", Agent::Mx);
    for n in 0..hanging + dead {
        let bad = site(&format!("{}{n}", if n < hanging { "hangs" } else { "dead" }), Agent::Mx);
        for _ in 0..500 {
            clockwork.message(&bad, 1);
        }
    }
    let mut delivered = 0;
    let mut at_work: Vec<(UnixMicros, u32, Lease)> = vec![];
    let mut idle: Vec<u32> = vec![];
    for _ in 0..SECONDS * PER_SECOND {
        clockwork.message(&good, 1);
        clockwork.now = clockwork.now.after(Duration::from_secs(1) / PER_SECOND as u32);
        for dial in clockwork.settle() {
            match &dial.container.name[..4] {
                "good" => idle.push(dial.connection),
                "dead" => clockwork.scheduler.closed(dial.connection, Closing::Unreachable, clockwork.now),
                // Connected, but nothing ever comes back.
                _ => assert!(clockwork.scheduler.lease(dial.connection, 100, clockwork.now).is_some()),
            }
        }
        at_work.retain(|(until, connection, lease)| {
            let done = *until <= clockwork.now;
            if done {
                clockwork.scheduler.attempted(lease.recipients[0].entry, Verdict::Delivered, clockwork.now);
                idle.push(*connection);
                delivered += 1;
            }
            !done
        });
        idle.retain(|&connection| {
            let lease = clockwork.scheduler.lease(connection, 100, clockwork.now);
            let rests = lease.is_none();
            at_work.extend(lease.map(|lease| (clockwork.now.after(TAKES), connection, lease)));
            rests
        });
        assert!(clockwork.permits.taken() <= permits + 4);
    }
    delivered
}

#[test]
fn the_good_one_keeps_its_rate() {
    let alone = delivered_beside(0, 0, 100);
    assert!(alone as u64 > SECONDS * PER_SECOND * 98 / 100, "{alone}");
    for (hanging, dead) in [(30, 0), (0, 30), (15, 15)] {
        let beside = delivered_beside(hanging, dead, 100);
        assert!(beside * 100 >= alone * 95, "{beside} instead of {alone} beside {hanging} hanging, {dead} dead");
    }
}

#[test]
fn a_site_without_connection_comes_before_those_that_want_more() {
    let limits = Limits { ramp: scheduling::Ramp::Straight, ..Limits::default() };
    let mut clockwork = Clockwork::new(limits, Permits::new(40, 2));
    for n in 0..2 {
        let large = site(&format!("large{n}"), Agent::Mx);
        for _ in 0..1000 {
            clockwork.message(&large, 1);
        }
    }
    let first: Vec<_> = clockwork.dial_all();
    assert_eq!(first.len(), 40, "two large sites take what there is");
    let small = site("small", Agent::Mx);
    clockwork.message(&small, 1);
    let reserve = clockwork.dial_all();
    assert_eq!(reserve.len(), 1, "the reserve is for whoever has none");
    assert_eq!(*reserve[0].container, *small);
    let row = clockwork.scheduler.container(&first[0].container, clockwork.now).unwrap();
    assert_eq!(row.wait, scheduling::Wait::NoPermit);
    let wake = clockwork.scheduler.poll_wake(clockwork.now).unwrap();
    assert!(wake > Duration::ZERO && wake <= Duration::from_millis(100), "asks again, but does not spin: {wake:?}");
}

#[test]
fn sites_get_permits_in_turn() {
    let limits = Limits { ramp: scheduling::Ramp::Straight, ..Limits::default() };
    let mut clockwork = Clockwork::new(limits, Permits::new(12, 0));
    for n in 0..4 {
        let large = site(&format!("large{n}"), Agent::Mx);
        for _ in 0..100 {
            clockwork.message(&large, 1);
        }
    }
    let mut shares = std::collections::BTreeMap::new();
    for dial in clockwork.dial_all() {
        *shares.entry(dial.container.name.to_string()).or_insert(0) += 1;
    }
    assert!(shares.len() == 4 && shares.values().all(|&share| share == 3), "{shares:?}");
}

#[test]
fn new_sites_do_not_hold_up_one_that_wants_more() {
    let mut clockwork = Clockwork::new(Limits::default(), Permits::new(1000, 0));
    let large = site("large", Agent::Mx);
    for _ in 0..100 {
        clockwork.message(&large, 1);
    }
    assert_eq!(*clockwork.scheduler.poll_dial(clockwork.now).unwrap().container, *large);
    for n in 0..100 {
        clockwork.message(&site(&format!("small{n}"), Agent::Mx), 1);
    }
    let place = clockwork.dial_all().iter().position(|dial| *dial.container == *large);
    assert!(place.is_some_and(|place| place <= 8), "{place:?}");
}

#[test]
fn a_site_that_lost_its_only_connection_may_use_the_reserve() {
    let limits = Limits { ramp: scheduling::Ramp::Straight, ..Limits::default() };
    let mut clockwork = Clockwork::new(limits, Permits::new(1, 1));
    let (one, other) = (site("one", Agent::Mx), site("other", Agent::Mx));
    for _ in 0..5 {
        clockwork.message(&one, 1);
    }
    let first = clockwork.dial_all();
    assert_eq!(first.len(), 1);
    for _ in 0..5 {
        clockwork.message(&other, 1);
    }
    assert_eq!(clockwork.dial_all().len(), 1, "both want more now, and there is none");
    clockwork.scheduler.closed(first[0].connection, Closing::Done, clockwork.now);
    let again = clockwork.dial_all();
    assert_eq!(again.len(), 1);
    assert_eq!(*again[0].container, *one);
}
