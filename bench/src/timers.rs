//! Ten million things that wait for their time: the wheel behind the timers of an event loop, and recipients in the delayed
//! queues of containers. In this process; times are of the processor.

use crate::Request;
use crate::figure::Figure;
use crate::queues::{START, busy, containers, limits, queued};
use engine::Wheel;
use message::Work as _;
use scheduling::{Permits, Scheduler};
use std::time::Duration;

/// Recipients of a container.
const PER_CONTAINER: u64 = 100;
/// Over how long they are spread, seconds.
const SPREAD_S: u64 = 1800;

/// See the table in `main.rs`.
pub(crate) fn timers(request: &Request) -> Result<(), String> {
    let count = request.n.unwrap_or(10_000_000);
    wheel(request, count)?;
    delayed(request, count)
}

fn print(request: &Request, figure: &str, time: Duration, count: u64) {
    let value = time.as_nanos() as f64 / count as f64;
    request.print(&Figure { bench: "timers", figure, value, unit: "ns", peer: None });
}

/// Moments at random, always the same.
fn moments(count: u64, below: u64) -> impl Iterator<Item = u64> {
    let mut state = 42_u64;
    (0..count).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    })
}

fn wheel(request: &Request, count: u64) -> Result<(), String> {
    // As large as what a timer holds: its deadline, whether it fired, who waits.
    let mut wheel: Wheel<[u64; 4]> = Wheel::new(0);
    let moments: Vec<u64> = moments(count, SPREAD_S * 1000).collect();
    let began = busy();
    for &at in &moments {
        wheel.insert(at + 1, [at; 4]);
    }
    print(request, "timer, insertion", busy() - began, count);
    let (mut fired, mut now) = (0, 0);
    let began = busy();
    while fired < count && now <= SPREAD_S * 1000 + 1 {
        while wheel.poll(now).is_some() {
            fired += 1;
        }
        now += 1;
    }
    print(request, "timer, expiry", busy() - began, count);
    if fired == count { Ok(()) } else { Err(format!("{fired} of {count} timers fired")) }
}

fn delayed(request: &Request, count: u64) -> Result<(), String> {
    let sites = containers((count / PER_CONTAINER).max(1));
    let limits = limits();
    // No connection: only time is measured.
    let mut scheduler = Scheduler::new(Permits::new(0, 0), 1, START);
    let moments: Vec<u64> = moments(count, SPREAD_S).collect();
    let began = busy();
    for (n, &at) in (0..).zip(&moments) {
        let queued = queued(n, START.after(Duration::from_secs(at + 1)));
        let site = &sites[(n / PER_CONTAINER) as usize % sites.len()];
        scheduler.enqueue(site, queued, START, |_| limits.clone()).map_err(|error| error.to_string())?;
    }
    print(request, "delayed recipient, insertion", busy() - began, count);
    let began = busy();
    let mut now = START;
    for _ in 0..=SPREAD_S * 10 {
        now = now.after(Duration::from_millis(100));
        loop {
            let dial = scheduler.poll_dial(now);
            if dial.is_none() && scheduler.poll_wake(now) != Some(Duration::ZERO) {
                break;
            }
        }
    }
    print(request, "delayed recipient, expiry", busy() - began, count);
    match scheduler.summary().delayed {
        0 => Ok(()),
        left => Err(format!("{left} of {count} recipients are still delayed")),
    }
}
