//! What one operation costs, uncontended and on one thread: `cargo bench -p fabric`. The budgets stand in the crate's documentation.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use fabric::{Slice, WindowPool, doorbell, lane, ring};

/// Operations in one sample, so that the clock's own cost does not count.
const ROUND: usize = 1000;

fn main() {
    divan::main();
}

#[divan::bench]
fn ring_push_pop(bencher: Bencher) {
    let (mut producer, mut consumer) = ring::<u64>(256);
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for value in 0..ROUND as u64 {
            producer.push(black_box(value)).expect("the ring was emptied");
            black_box(consumer.pop());
        }
    });
}

#[divan::bench]
fn ring_push_drain_by_100(bencher: Bencher) {
    let (mut producer, mut consumer) = ring::<u64>(256);
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for _ in 0..ROUND / 100 {
            for value in 0..100 {
                producer.push(black_box(value)).expect("the ring was emptied");
            }
            consumer.drain(usize::MAX, |value| {
                black_box(value);
            });
        }
    });
}

#[divan::bench]
fn lane_send_pop(bencher: Bencher) {
    let (ringer, _bell) = doorbell();
    let (mut sender, mut receiver) = lane::<u64>(256, ringer);
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for value in 0..ROUND as u64 {
            sender.send(black_box(value));
            black_box(receiver.pop());
        }
    });
}

#[divan::bench]
fn slice_clone_drop(bencher: Bencher) {
    let slice = Slice::copy_from(b"MAIL FROM:<postmaster@example.org>\r\n");
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for _ in 0..ROUND {
            drop(black_box(slice.clone()));
        }
    });
}

#[divan::bench]
fn window_fill_32_drop(bencher: Bencher) {
    let pool = WindowPool::new(WindowPool::WINDOW_BYTES, 4);
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        let mut window = pool.take();
        for _ in 0..ROUND {
            drop(black_box(window.fill(32)));
        }
    });
}

#[divan::bench]
fn window_copy_in_4_kib(bencher: Bencher) {
    let pool = WindowPool::new(WindowPool::WINDOW_BYTES, 4);
    let message = [b'x'; 4096];
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        let mut window = pool.take();
        for _ in 0..ROUND {
            if window.copy_in(black_box(&message)).is_none() {
                window = pool.take();
            }
        }
    });
}

#[divan::bench]
fn pool_take_return(bencher: Bencher) {
    let pool = WindowPool::new(WindowPool::WINDOW_BYTES, 4);
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for _ in 0..ROUND {
            drop(black_box(pool.take()));
        }
    });
}

#[divan::bench]
fn pool_take_and_give_memory_back(bencher: Bencher) {
    let pool = WindowPool::new(WindowPool::WINDOW_BYTES, 0);
    bencher.bench_local(|| drop(black_box(pool.take())));
}

#[divan::bench]
fn ring_bell_already_rung(bencher: Bencher) {
    let (ringer, _bell) = doorbell();
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for _ in 0..ROUND {
            black_box(&ringer).ring();
        }
    });
}

#[divan::bench]
fn ring_bell_and_take(bencher: Bencher) {
    let (ringer, mut bell) = doorbell();
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for _ in 0..ROUND {
            ringer.ring();
            black_box(bell.wait_thread(None));
        }
    });
}
