//! Many awaited round trips at once: one task a side, a given number of messages in flight.

use crate::beside::{Gate, Place, Stage, beside};
use crate::clock::cpu_time;
use crate::message::{LAST, Payload, sequence};
use crate::row::{Figures, Plan};
use std::future::Future;
use std::time::Instant;

/// Messages in flight.
pub const IN_FLIGHT: u64 = 64;

/// One end of a conversation whose every step is awaited.
pub trait AsyncEnd {
    /// Sends one message that `fill` writes.
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> impl Future<Output = ()>;

    /// Awaits one message and reads all of it; returns its first word.
    fn receive(&mut self) -> impl Future<Output = u64>;
}

/// Runs both ends. Each side is given the gate, makes a runtime and an end, and drives [`ask`] here, [`answer`] there.
pub fn in_flight(place: Place, here: impl FnOnce(&Gate) -> Figures, there: impl FnOnce(&Gate) + Send) -> Figures {
    let gate = Gate::new();
    let beyond = gate.clone();
    beside(place, || here(&gate), move || there(&beyond))
}

/// Keeps [`IN_FLIGHT`] messages on their way there and back for the time of the plan.
///
/// # Panics
/// When an answer is missing or out of order.
pub async fn ask(plan: &Plan, gate: &Gate, end: &mut impl AsyncEnd) -> Figures {
    gate.wait(Stage::Ready);
    let mut payload = Payload::new(plan.size);
    let (mut sent, mut answered) = (0, 0);
    let mut start = (Instant::now(), cpu_time(), 0);
    let mut warm = false;
    loop {
        let time = start.0.elapsed();
        if !warm && time > plan.time / 10 {
            (warm, start) = (true, (Instant::now(), cpu_time(), answered));
        } else if warm && time > plan.time {
            break;
        }
        while sent - answered < IN_FLIGHT {
            end.send(plan.size, |target| payload.fill(target, sent)).await;
            sent += 1;
        }
        assert_eq!(sequence(end.receive().await), answered, "an answer is missing or out of order");
        answered += 1;
    }
    let (seconds, cpu, trips) = (start.0.elapsed().as_secs_f64(), cpu_time() - start.1, (answered - start.2) as f64);
    end.send(plan.size, |target| payload.fill(target, sent | LAST)).await;
    while end.receive().await & LAST == 0 {}
    gate.reach(Stage::Done);
    Figures::new()
        .with("trips", trips)
        .with("seconds", seconds)
        .with("per_second", trips / seconds)
        .with("cpu_ns_per_trip_this_side", cpu.as_nanos() as f64 / trips)
}

/// Sends every message back until the last.
pub async fn answer(plan: &Plan, gate: &Gate, end: &mut impl AsyncEnd) {
    gate.reach(Stage::Ready);
    let mut payload = Payload::new(plan.size);
    loop {
        let word = end.receive().await;
        end.send(plan.size, |target| payload.fill(target, word)).await;
        if word & LAST != 0 {
            break;
        }
    }
    gate.wait(Stage::Done);
}
