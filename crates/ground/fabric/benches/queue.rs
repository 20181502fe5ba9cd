//! What a message costs in each kind of queue, uncontended and on one thread: `cargo bench -p fabric --bench queue`.
//!
//! "of a message" makes it, too: the difference to `message_alone` is the queue's. The budget stands in the documentation of `fabric::queue`.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use fabric::Message;
use fabric::queue::{
    BYTES_MAX, Full, PRIORITIES, QueueKind, ReceiveFull, ReceiveKind, Scheduler, Weights, input, receive,
};

/// Operations in one sample, so that the clock's own cost does not count.
const ROUND: usize = 1000;

const KINDS: [QueueKind; 7] = [
    QueueKind::MonoUnbounded,
    QueueKind::MultiUnbounded,
    QueueKind::MultiUnboundedTagged,
    QueueKind::MultiBounded { capacity: 256, full: Full::Block },
    QueueKind::MultiBounded { capacity: 256, full: Full::DiscardOldest },
    QueueKind::MultiBounded { capacity: 256, full: Full::DiscardNewest },
    QueueKind::MultiBoundedTagged { capacity: 256, full: Full::DiscardOldest },
];

fn main() {
    divan::main();
}

#[divan::bench]
fn message_alone(bencher: Bencher) {
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for _ in 0..ROUND {
            drop(black_box(Message::copied(black_box(&[7; 64]))));
        }
    });
}

#[divan::bench(args = KINDS)]
fn push_pop_of_a_message(bencher: Bencher, kind: &QueueKind) {
    let (writer, mut reader) = input(*kind, BYTES_MAX);
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for tag in 0..ROUND as u64 {
            let _ = black_box(writer.push(Message::copied(black_box(&[7; 64])), Some(tag)).is_ok());
            drop(black_box(reader.pop()));
        }
    });
}

#[divan::bench(args = KINDS)]
fn push_peek_skip_of_a_message(bencher: Bencher, kind: &QueueKind) {
    let (writer, mut reader) = input(*kind, BYTES_MAX);
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for tag in 0..ROUND as u64 {
            let _ = black_box(writer.push(Message::copied(black_box(&[7; 64])), Some(tag)).is_ok());
            black_box(reader.peek());
            reader.skip();
        }
    });
}

#[divan::bench(args = KINDS)]
fn push_pop_of_a_number(bencher: Bencher, kind: &QueueKind) {
    let (writer, mut reader) = input(*kind, BYTES_MAX);
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for tag in 0..ROUND as u64 {
            let _ = black_box(writer.push(black_box(tag), Some(tag)).is_ok());
            black_box(reader.pop());
        }
    });
}

#[divan::bench]
fn replace_by_tag(bencher: Bencher) {
    let (writer, _reader) = input(QueueKind::MultiUnboundedTagged, BYTES_MAX);
    (0..64).for_each(|tag| assert!(writer.push(tag, Some(tag)).is_ok()));
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for n in 0..ROUND as u64 {
            let _ = black_box(writer.push(n, Some(n % 64)));
        }
    });
}

#[divan::bench]
fn discard_the_oldest(bencher: Bencher) {
    let (writer, _reader) = input(QueueKind::MultiBounded { capacity: 256, full: Full::DiscardOldest }, BYTES_MAX);
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for n in 0..ROUND as u64 {
            let _ = black_box(writer.push(n, None));
        }
    });
}

#[divan::bench(args = [
    ReceiveKind::MonoUnbounded,
    ReceiveKind::MultiUnbounded,
    ReceiveKind::MultiBounded { capacity: 256, full: ReceiveFull::DiscardOldest },
])]
fn receive_push_pop_of_a_number(bencher: Bencher, kind: &ReceiveKind) {
    let (writer, mut reader) = receive(*kind, BYTES_MAX);
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for n in 0..ROUND as u64 {
            let _ = black_box(writer.push(black_box(n)).is_ok());
            black_box(reader.pop());
        }
    });
}

#[divan::bench(args = [1, 7, 64])]
fn pick_and_charge(bencher: Bencher, queues: usize) {
    let mut scheduler = Scheduler::new(Weights::default());
    (0..queues).for_each(|queue| scheduler.add(queue, PRIORITIES[1 + queue % 5]));
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for _ in 0..ROUND {
            let queue = scheduler.pick(|queue| black_box(queue) < 64).expect("all are ready");
            scheduler.charge(queue, black_box(104));
        }
    });
}
