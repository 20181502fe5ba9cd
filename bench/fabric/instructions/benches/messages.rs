//! Instructions of a message, under callgrind: they do not depend on the machine's load, so they can be held to a figure.
//!
//! Every function passes [`MESSAGES`] messages between two ends in one thread; opening the ends is not counted. The figures of `allowed.txt` are per
//! message, sender and receiver together: `cargo xtask instructions` divides, and fails when one is over.

#![expect(missing_docs, reason = "the macros make public items")]

use fabric::channel::{Channel, Deadline, Progress, Receiver, Sender, State};
use fabric::queue::{Priority, QueueKind};
use fabric::tli::Trust;
use fabric::{Arena, Consumer, Message, Producer, Slice, Window, ring};
use gungraun::prelude::*;
use std::hint::black_box;
use std::sync::Arc;

/// Messages that each function passes.
const MESSAGES: u64 = 1000;
/// Payload of a small message in bytes.
const SMALL: usize = 64;
/// Bytes of a window that is passed by reference.
const LARGE: usize = 16 * 1024;

/// Both ends of a channel, each driven by its caller.
struct Pair {
    near: Channel,
    sender: Sender,
    receiver: Receiver,
    _far: Channel,
    _back: Receiver,
    payload: Vec<u8>,
}

fn pair(uri: &str, trust: Trust) -> Pair {
    let begin = || {
        let arena = Arena::new(LARGE, 4).expect("memory for an arena");
        Channel::builder().progress(Progress::Caller).trust(trust).windows(256 << 10, 16).arena(Arc::new(arena))
    };
    let (far, receiver) = begin().listen(uri).open().expect("a channel");
    let (near, back) = begin().connect(uri).open().expect("a channel");
    while [&near, &far].iter().any(|channel| !matches!(channel.state(), State::Up { .. })) {
        near.progress();
        far.progress();
    }
    let sender = near.sender(QueueKind::MonoUnbounded, Priority::Normal);
    let mut pair = Pair { near, sender, receiver, _far: far, _back: back, payload: vec![0x5a; SMALL] };
    // The first messages find everything cold: pages, windows, the allocator.
    pair.pass(10);
    pair
}

impl Pair {
    fn pass(&mut self, messages: u64) {
        for _ in 0..messages {
            self.sender.post(Message::copied(&self.payload), Deadline::Now).expect("room");
            self.receive();
        }
    }

    fn receive(&mut self) {
        let length = self.receiver.receive_with(Deadline::Now, |message| black_box(message.bytes()).len());
        assert!(length.is_ok(), "a message that was posted is there");
    }
}

fn inproc() -> Pair {
    pair("inproc:instructions", Trust::Hostile)
}

fn ipc(trust: Trust) -> Pair {
    pair(&format!("ipc:{}/instructions-{}", std::env::temp_dir().display(), std::process::id()), trust)
}

#[library_benchmark]
#[bench::each(ring(64))]
fn ring_push_and_pop((mut producer, mut consumer): (Producer<u64>, Consumer<u64>)) -> (Producer<u64>, Consumer<u64>) {
    for number in 0..MESSAGES {
        let _ = producer.push(black_box(number));
        black_box(consumer.pop());
    }
    (producer, consumer)
}

#[library_benchmark]
#[bench::inproc(inproc())]
#[bench::ipc_in_place(ipc(Trust::Same))]
#[bench::ipc_copied(ipc(Trust::Hostile))]
fn message(mut pair: Pair) -> Pair {
    pair.pass(MESSAGES);
    pair
}

#[library_benchmark]
#[bench::inproc(inproc())]
#[bench::ipc_in_place(ipc(Trust::Same))]
fn filled_in_place(mut pair: Pair) -> Pair {
    for _ in 0..MESSAGES {
        pair.sender.post_with(SMALL, |place| place.fill(0x5a), Deadline::Now).expect("room");
        pair.receive();
    }
    pair
}

#[library_benchmark]
#[bench::ipc_in_place(ipc(Trust::Same))]
fn burst_of_ten(mut pair: Pair) -> Pair {
    for _ in 0..MESSAGES / 10 {
        for _ in 0..10 {
            pair.sender.post(Message::copied(&pair.payload), Deadline::Now).expect("room");
        }
        let read = pair.receiver.drain(10, |message| {
            black_box(message.bytes());
        });
        assert_eq!(read, Ok(10));
    }
    pair
}

#[library_benchmark]
#[bench::ipc_in_place(ipc(Trust::Same))]
fn window_frame(mut pair: Pair) -> Pair {
    for _ in 0..MESSAGES {
        let slice: Slice = loop {
            match pair.near.take_window() {
                Some(window) => break full(window),
                None => pair.near.progress(),
            }
        };
        pair.sender.post(Message::shared(slice), Deadline::Now).expect("room");
        pair.receive();
    }
    pair
}

/// All of a window, as it is: what is counted is the passing, not the writing.
fn full(mut window: Window) -> Slice {
    window.fill(LARGE)
}

library_benchmark_group!(name = queues, benchmarks = ring_push_and_pop);
library_benchmark_group!(name = channels, benchmarks = [message, filled_in_place, burst_of_ten, window_frame]);
main!(library_benchmark_groups = [queues, channels]);
