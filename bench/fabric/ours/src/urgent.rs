//! Critical messages beside a saturating bulk load.
//!
//! The sender posts a critical message, stamped with the time, every so often; in between it posts bulk messages as fast as they go, or nothing. Both
//! sides are awake all the time, so that what is compared is the way of the message and not the wake-up.

use crate::ends::{Setup, Side, ipc, open};
use fabric::Message;
use fabric::channel::{Channel, Deadline, Waiting};
use fabric::queue::{Full, Priority, QueueKind};
use fabric::tli::Trust;
use kit::beside::{Gate, Stage, beside};
use kit::clock::{Ticks, quantile};
use kit::message::{LAST, Payload, read};
use kit::{Figures, Place, Plan};
use std::time::{Duration, Instant};

/// Time between two critical messages.
const EVERY: Duration = Duration::from_micros(100);
/// Bytes of a bulk message.
const BULK_BYTES: usize = 1024;
/// In the first word of a critical message; the rest of it is the time.
const CRITICAL: u64 = 1 << 62;
/// In the first word of a critical message that was sent under load.
const LOADED: u64 = 1 << 61;
const TIME: u64 = LOADED - 1;

/// Latency one way, idle and loaded, and the ratio of their 99th percentiles.
pub(crate) fn critical(plan: &Plan) -> Figures {
    let name = ipc();
    let setup = Setup { trust: Trust::Same, waiting: Waiting::Busy, ..Setup::default() };
    let gate = Gate::new();
    let beyond = gate.clone();
    // Both processes read the same counter, which is the same on all processors.
    let ticks = Ticks::calibrated();
    let here = || {
        let (channel, mut receiver) = open(&name.uri, plan, Side::Listen, setup);
        gate.wait(Stage::Ready);
        gate.reach(Stage::Go);
        let (mut idle, mut loaded) = (Vec::new(), Vec::new());
        loop {
            let word = receiver.receive_with(Deadline::Never, |message| read(message.bytes())).expect("the peer sends");
            if word & LAST != 0 {
                break;
            }
            if word & CRITICAL != 0 {
                let late = (ticks.now() & TIME).saturating_sub(word & TIME);
                let times = if word & LOADED != 0 { &mut loaded } else { &mut idle };
                times.push(ticks.nanoseconds(late) as u64);
            }
        }
        gate.reach(Stage::Done);
        (figures(idle, loaded), channel, receiver)
    };
    let there = || {
        let (channel, _receiver) = open(&name.uri, plan, Side::Connect, setup);
        beyond.reach(Stage::Ready);
        beyond.wait(Stage::Go);
        send(plan, &channel, &ticks);
        beyond.wait(Stage::Done);
    };
    beside(Place::Processes, here, there).0
}

/// Idle and loaded in turn, four times each, so that both see the same moods of the machine.
fn send(plan: &Plan, channel: &Channel, ticks: &Ticks) {
    let mut urgent = channel.sender(QueueKind::MonoUnbounded, Priority::Critical);
    let mut bulk = channel.sender(QueueKind::MultiBounded { capacity: 64, full: Full::Refuse }, Priority::Normal);
    let (mut small, mut large) = (Payload::new(plan.size), Payload::new(BULK_BYTES));
    let mut bytes = vec![0; BULK_BYTES.max(plan.size)];
    for turn in 0..8 {
        let load = if turn % 2 == 0 { 0 } else { LOADED };
        let start = Instant::now();
        let mut next = start + EVERY;
        while start.elapsed() < plan.time / 8 {
            if load != 0 {
                large.fill(&mut bytes[..BULK_BYTES], 0);
                // A refused message is one that the receiver is not ready for: the load is saturating.
                let _ = bulk.post(Message::copied(&bytes[..BULK_BYTES]), Deadline::Now);
            }
            if Instant::now() >= next {
                next = Instant::now() + EVERY;
                small.fill(&mut bytes[..plan.size], CRITICAL | load | ticks.now() & TIME);
                urgent.post(Message::copied(&bytes[..plan.size]), Deadline::Never).expect("the peer receives");
            }
        }
        channel.flush(Deadline::after(Duration::from_secs(2))).expect("the peer receives");
    }
    small.fill(&mut bytes[..plan.size], LAST);
    urgent.post(Message::copied(&bytes[..plan.size]), Deadline::Never).expect("the peer receives");
}

fn figures(mut idle: Vec<u64>, mut loaded: Vec<u64>) -> Figures {
    idle.sort_unstable();
    loaded.sort_unstable();
    Figures::new()
        .with("critical_messages", (idle.len() + loaded.len()) as f64)
        .with("p50_idle_ns", quantile(&idle, 0.5) as f64)
        .with("p99_idle_ns", quantile(&idle, 0.99) as f64)
        .with("p50_loaded_ns", quantile(&loaded, 0.5) as f64)
        .with("p99_loaded_ns", quantile(&loaded, 0.99) as f64)
        .with("p99_loaded_over_idle", quantile(&loaded, 0.99) as f64 / quantile(&idle, 0.99) as f64)
}
