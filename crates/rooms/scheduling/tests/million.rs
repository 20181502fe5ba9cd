//! A million queued recipients: what they cost in memory and time.

mod clockwork;

use clockwork::{Clockwork, START, site};
use message::{Agent, Attempted, Outcome, Queued, Verdict, Work};
use scheduling::{Limits, Permits};
use std::time::Duration;

const MILLION: u64 = 1_000_000;

/// Resident memory of this process, octets.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4096
}

/// Time that this thread has been on a processor: on a busy machine the clock on the wall tells of others.
fn busy() -> Duration {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = schedule.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number");
    Duration::from_nanos(nanos)
}

/// One test, because it measures the process.
#[test]
fn a_million_entries_fit_and_move() {
    let began = busy();
    let before = resident();
    let mut clockwork = Clockwork::new(Limits::default(), Permits::new(0, 0));
    let container = site("a", Agent::Mx);
    for key in 1..=MILLION {
        let later = START.after(Duration::from_secs(key * 7919 % 3600));
        let queued = Queued { not_before: later, ..clockwork.queued(key, 0) };
        clockwork.enqueue(&container, queued);
    }
    let cost = resident() - before;
    assert!(cost <= 90 << 20, "{} MiB", cost >> 20);

    clockwork.wait(3600);
    clockwork.settle();
    assert_eq!(clockwork.scheduler.summary().active, MILLION as u32);

    // Nobody can be reached: a turn of the loop costs nothing, however much waits.
    let turns = busy();
    for _ in 0..10_000 {
        clockwork.now = clockwork.now.after(Duration::from_millis(10));
        assert!(clockwork.scheduler.poll_dial(clockwork.now).is_none());
        assert!(clockwork.scheduler.poll_wake(clockwork.now) > Some(Duration::ZERO));
    }
    let turns = busy() - turns;

    clockwork.permits.set(1, 0);
    let connection = clockwork.settle()[0].connection;
    let mut ended = 0;
    while let Some(lease) = clockwork.scheduler.lease(connection, 1, clockwork.now) {
        let verdict = if ended % 2 == 0 { Verdict::Delivered } else { Verdict::Transient };
        match clockwork.scheduler.attempted(lease.recipients[0].entry, verdict, clockwork.now) {
            Attempted::Settled(Outcome::Delivered | Outcome::Deferred { .. }) => ended += 1,
            odd => panic!("{odd:?}"),
        }
    }
    assert_eq!((ended, clockwork.scheduler.summary().delayed), (MILLION, MILLION as u32 / 2));
    let took = busy() - began;
    println!("{} MiB, {took:?} in all, {:?} a turn", cost >> 20, turns / 10_000);
    assert!(turns < Duration::from_secs(1), "{turns:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}
