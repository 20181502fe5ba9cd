//! The round-trip loop: one message in flight, there and back.

use crate::beside::{Gate, Place, Stage, beside};
use crate::clock::{Ticks, quantile};
use crate::message::{LAST, Payload, Receiver, Sender, read, sequence};
use crate::row::{Figures, Plan};
use std::time::Instant;

/// Most round trips that are kept of one run.
const TRIPS_MAX: usize = 500_000;

/// Measures round trips; `here` and `there` make one end each.
///
/// # Panics
/// When an answer is not the one to the question.
pub fn round_trip<E: Sender + Receiver, F: Sender + Receiver>(
    plan: &Plan,
    place: Place,
    here: impl FnOnce() -> E,
    there: impl FnOnce() -> F + Send,
) -> Figures {
    let gate = Gate::new();
    let beyond = gate.clone();
    let answer = || {
        let mut end = there();
        beyond.reach(Stage::Ready);
        echo(plan, &mut end);
        beyond.wait(Stage::Done);
    };
    let ask = || {
        let mut end = here();
        gate.wait(Stage::Ready);
        end.prepare();
        let trips = trips(plan, &mut end);
        gate.reach(Stage::Done);
        (trips, end)
    };
    let (trips, _end) = beside(place, ask, answer);
    of_trips(trips)
}

/// Figures of round trips in nanoseconds.
pub fn of_trips(mut trips: Vec<u64>) -> Figures {
    trips.sort_unstable();
    Figures::new()
        .with("trips", trips.len() as f64)
        .with("p50_ns", quantile(&trips, 0.5) as f64)
        .with("p90_ns", quantile(&trips, 0.9) as f64)
        .with("p99_ns", quantile(&trips, 0.99) as f64)
        .with("min_ns", quantile(&trips, 0.0) as f64)
}

fn trips(plan: &Plan, end: &mut (impl Sender + Receiver)) -> Vec<u64> {
    let ticks = Ticks::calibrated();
    let mut payload = Payload::new(plan.size);
    let mut trips = Vec::with_capacity(TRIPS_MAX);
    let mut next = 0;
    let mut trip = |mark: u64| {
        let sent = ticks.now();
        end.send(plan.size, |target| payload.fill(target, next | mark));
        end.flush();
        let word = end.receive(read);
        let time = ticks.now() - sent;
        assert_eq!(sequence(word), next, "an answer is not the one to the question");
        next += 1;
        time
    };
    let start = Instant::now();
    while start.elapsed() < plan.time / 10 {
        trip(0);
    }
    let start = Instant::now();
    while start.elapsed() < plan.time && trips.len() < TRIPS_MAX {
        trips.push(ticks.nanoseconds(trip(0)) as u64);
    }
    trip(LAST);
    trips
}

fn echo(plan: &Plan, end: &mut (impl Sender + Receiver)) {
    let mut payload = Payload::new(plan.size);
    loop {
        let word = end.receive(read);
        end.send(plan.size, |target| payload.fill(target, word));
        end.flush();
        if word & LAST != 0 {
            return;
        }
    }
}
