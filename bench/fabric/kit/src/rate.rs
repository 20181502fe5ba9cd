//! The rate loop: one or many senders, one receiver, as many messages as go through in the time of the plan.

use crate::beside::{Gate, Place, Stage, beside};
use crate::clock::cpu_time;
use crate::message::{LAST, Payload, Receiver, START, Sender, read, sequence};
use crate::row::{Figures, Plan};
use std::time::{Duration, Instant};

/// Where the senders leave their processor time in the gate.
const CPU_OF_SENDER: usize = 0;

/// Measures messages per second from `sender` (beside this side) to `receiver` (on this side).
///
/// # Panics
/// When a message is lost, reordered or doubled.
pub fn rate<S: Sender, R: Receiver>(
    plan: &Plan,
    place: Place,
    sender: impl FnOnce() -> S + Send,
    receiver: impl FnOnce() -> R,
) -> Figures {
    let gate = Gate::new();
    let there = gate.clone();
    let send = || {
        let mut sender = sender();
        there.reach(Stage::Ready);
        there.wait(Stage::Go);
        let cpu = send_all(plan, &mut sender);
        there.leave(CPU_OF_SENDER, cpu.as_nanos() as u64);
        there.wait(Stage::Done);
    };
    let receive = || {
        let mut receiver = receiver();
        gate.wait(Stage::Ready);
        receiver.prepare();
        gate.reach(Stage::Go);
        let counted = receive_all(&mut receiver);
        gate.reach(Stage::Done);
        (counted, receiver)
    };
    let (counted, _receiver) = beside(place, receive, send);
    let sender_cpu = match place {
        // One process: its time is in the receiver's figure already.
        Place::Threads | Place::ThreadsUnpinned => Duration::ZERO,
        Place::Processes | Place::ProcessesUnpinned => Duration::from_nanos(gate.left(CPU_OF_SENDER)),
    };
    figures(plan, &counted, counted.cpu + sender_cpu)
}

/// As [`rate`], from several threads at once, each with its own sender; their messages may interleave but none may be lost.
///
/// # Panics
/// When a message is lost.
pub fn rate_of_many<S: Sender, R: Receiver>(
    plan: &Plan,
    senders: Vec<impl FnOnce() -> S + Send>,
    mut receiver: R,
) -> Figures {
    let many = senders.len();
    std::thread::scope(|scope| {
        for sender in senders {
            scope.spawn(move || send_all(plan, &mut sender()));
        }
        let counted = receive_interleaved(&mut receiver, many);
        figures(plan, &counted, counted.cpu)
    })
}

struct Counted {
    messages: u64,
    time: Duration,
    cpu: Duration,
}

fn figures(plan: &Plan, counted: &Counted, cpu: Duration) -> Figures {
    let (messages, seconds) = (counted.messages as f64, counted.time.as_secs_f64());
    Figures::new()
        .with("messages", messages)
        .with("seconds", seconds)
        .with("per_second", messages / seconds)
        .with("bytes_per_second", messages * plan.size as f64 / seconds)
        .with("cpu_ns_per_message", cpu.as_nanos() as f64 / messages)
}

/// Warms up, marks the start, sends for the time of the plan, marks the end. Returns the processor time since the start.
fn send_all(plan: &Plan, sender: &mut impl Sender) -> Duration {
    let mut payload = Payload::new(plan.size);
    let mut next = 0;
    let mut send = |mark: u64| {
        sender.send(plan.size, |target| payload.fill(target, next | mark));
        next += 1;
    };
    send_for(plan, plan.time / 10, &mut send);
    send(START);
    let cpu = cpu_time();
    send_for(plan, plan.time, &mut send);
    send(LAST);
    sender.flush();
    cpu_time() - cpu
}

/// Sends until the time is over. The clock is read once in a batch, so that it costs nothing beside small messages.
fn send_for(plan: &Plan, time: Duration, send: &mut impl FnMut(u64)) {
    let batch = (64 * 1024 / plan.size).clamp(1, 64);
    let start = Instant::now();
    while start.elapsed() < time {
        for _ in 0..batch {
            send(0);
        }
    }
}

fn receive_all(receiver: &mut impl Receiver) -> Counted {
    let mut next = 0;
    let mut receive = || {
        let word = receiver.receive(read);
        assert_eq!(sequence(word), next, "a message is missing, double or out of order");
        next += 1;
        word
    };
    while receive() & START == 0 {}
    let (start, cpu) = (Instant::now(), cpu_time());
    let mut messages = 1;
    while receive() & LAST == 0 {
        messages += 1;
    }
    Counted { messages, time: start.elapsed(), cpu: cpu_time() - cpu }
}

/// Counts from the first start mark to the last end mark; each sender numbers its own messages, so only their sum can be checked.
fn receive_interleaved(receiver: &mut impl Receiver, senders: usize) -> Counted {
    let (mut total, mut sent, mut ended, mut before) = (0, 0, 0, 0);
    let mut start = None;
    while ended < senders {
        let word = receiver.receive(read);
        total += 1;
        if word & START != 0 && start.is_none() {
            start = Some((Instant::now(), cpu_time()));
            before = total;
        }
        if word & LAST != 0 {
            sent += sequence(word) + 1;
            ended += 1;
        }
    }
    assert_eq!(total, sent, "messages are missing or double");
    let (start, cpu) = start.expect("every sender marks its start");
    Counted { messages: total - before, time: start.elapsed(), cpu: cpu_time() - cpu }
}
