//! What the engine adds to the work of a loop, in nanoseconds. The figures stand in the crate's documentation.

use std::{
    future::{Future, poll_fn},
    hint::black_box,
    task::Poll,
    time::Duration,
};

use divan::{Bencher, counter::ItemsCount};
use engine::{
    Accounts, Clock, Gauges, LoopContext, LoopOptions, MemoryLimits, MemoryMonitor, Pool, ProcessUsage, Rng, Scope,
    TaskKind, Timers, Wheel, run_here,
};

const POLLS: u32 = 100_000;
const TIMERS: u64 = 10_000;
const KIND: TaskKind = TaskKind("bench");

fn main() {
    divan::main();
}

/// Wakes itself `times` times: the runtime's queue and one poll each.
fn spin(times: u32) -> impl Future<Output = ()> + 'static {
    let mut left = times;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

fn on_a_loop<F: Future<Output = ()> + 'static>(body: impl FnOnce(LoopContext) -> F) {
    run_here(LoopOptions { seed: Some(1), ..LoopOptions::default() }, body).expect("a loop on this thread");
}

#[divan::bench]
fn poll_of_a_bare_tokio_task(bencher: Bencher<'_, '_>) {
    let round = |_| async { tokio::task::spawn_local(spin(POLLS)).await.expect("it does not panic") };
    bencher.counter(ItemsCount::new(POLLS)).bench(|| on_a_loop(round));
}

#[divan::bench]
fn poll_of_a_watched_task(bencher: Bencher<'_, '_>) {
    let round = |context: LoopContext| async move { context.spawn(KIND, spin(POLLS)).await.expect("no panic") };
    bencher.counter(ItemsCount::new(POLLS)).bench(|| on_a_loop(round));
}

#[divan::bench]
fn spawn_and_end_of_a_bare_tokio_task(bencher: Bencher<'_, '_>) {
    let round = |_| async {
        for _ in 0..POLLS {
            tokio::task::spawn_local(async {}).await.expect("it does not panic");
        }
    };
    bencher.counter(ItemsCount::new(POLLS)).bench(|| on_a_loop(round));
}

#[divan::bench]
fn spawn_and_end_of_a_watched_task(bencher: Bencher<'_, '_>) {
    let round = |context: LoopContext| async move {
        for _ in 0..POLLS {
            context.spawn(KIND, async {}).await.expect("no panic");
        }
    };
    bencher.counter(ItemsCount::new(POLLS)).bench(|| on_a_loop(round));
}

#[divan::bench]
fn spawn_and_end_of_a_task_in_a_scope_of_its_own(bencher: Bencher<'_, '_>) {
    let round = |context: LoopContext| async move {
        let generation = Scope::new(&context);
        for _ in 0..POLLS {
            let session = generation.child();
            session.spawn(KIND, async {}).await.expect("no panic");
        }
    };
    bencher.counter(ItemsCount::new(POLLS)).bench(|| on_a_loop(round));
}

#[divan::bench]
fn wheel_insert_and_cancel(bencher: Bencher<'_, '_>) {
    let mut wheel = Wheel::new(0);
    for n in 0..TIMERS {
        wheel.insert(30_000 + n, n);
    }
    bencher.bench_local(|| {
        let key = wheel.insert(black_box(30_500), 0);
        wheel.cancel(key)
    });
}

#[divan::bench]
fn wheel_insert_and_fire(bencher: Bencher<'_, '_>) {
    let mut rng = Rng::from_seed(1);
    let (mut wheel, mut now) = (Wheel::new(0), 0);
    bencher.counter(ItemsCount::new(TIMERS)).bench_local(|| {
        for n in 0..TIMERS {
            wheel.insert(now + rng.below(30_000), n);
        }
        now += 30_000;
        while let Some(fired) = wheel.poll(now) {
            black_box(fired);
        }
    });
}

#[divan::bench]
fn timer_reset_to_a_later_deadline(bencher: Bencher<'_, '_>) {
    let clock = Clock::system();
    let timers = Timers::new(clock.clone());
    let timer = timers.after(Duration::from_secs(300));
    let later = clock.now() + Duration::from_secs(301);
    bencher.bench_local(|| timer.reset(black_box(later)));
}

#[divan::bench]
fn timer_made_and_dropped(bencher: Bencher<'_, '_>) {
    let clock = Clock::system();
    let timers = Timers::new(clock.clone());
    let deadline = clock.now() + Duration::from_secs(300);
    bencher.bench_local(|| timers.at(black_box(deadline)));
}

#[divan::bench]
fn clock_now(bencher: Bencher<'_, '_>) {
    let clock = Clock::system();
    bencher.bench_local(|| clock.now());
}

#[divan::bench]
fn clock_unix(bencher: Bencher<'_, '_>) {
    let clock = Clock::system();
    bencher.bench_local(|| clock.unix());
}

#[divan::bench]
fn counter_add(bencher: Bencher<'_, '_>) {
    let gauges = Gauges::new();
    let id = gauges.counter("received").expect("the registry is empty");
    let counter = gauges.shard().counter(id);
    bencher.bench_local(|| counter.add(black_box(1)));
}

#[divan::bench]
fn memory_charge_and_give_back(bencher: Bencher<'_, '_>) {
    let accounts = Accounts::new();
    let kind = accounts.register("bench:body").expect("the registry is empty");
    let shard = accounts.shard();
    bencher.bench_local(|| shard.charge(kind, black_box(4096)));
}

#[divan::bench]
fn memory_sample(bencher: Bencher<'_, '_>) {
    let mut monitor = MemoryMonitor::new(MemoryLimits::default(), None);
    bencher.bench_local(|| monitor.sample());
}

#[divan::bench]
fn usage_of_the_process(bencher: Bencher<'_, '_>) {
    bencher.bench_local(ProcessUsage::read);
}

#[divan::bench]
fn rng_next(bencher: Bencher<'_, '_>) {
    let mut rng = Rng::from_seed(1);
    bencher.bench_local(|| rng.next_u64());
}

#[divan::bench]
fn pool_round_trip_of_a_thread(bencher: Bencher<'_, '_>) {
    let pool = Pool::new("bench", 1, 16).expect("one thread is allowed");
    bencher.bench_local(|| pool.run_blocking(|| black_box(1)));
}

/// 64 jobs in flight from one loop to two threads: the cost of a job when wake-ups are shared.
#[divan::bench]
fn pool_jobs_of_a_loop(bencher: Bencher<'_, '_>) {
    const JOBS: u32 = 64 * 200;
    let pool = Pool::new("bench", 2, 1024).expect("two threads are allowed");
    bencher.counter(ItemsCount::new(JOBS)).bench_local(|| {
        let pool = pool.clone();
        on_a_loop(|_| async move {
            for _ in 0..JOBS / 64 {
                let jobs: Vec<_> = (0..64).map(|n| pool.run(move || n).expect("the backlog has room")).collect();
                for job in jobs {
                    black_box(job.await.expect("it does not panic"));
                }
            }
        });
    });
}
