//! What a message costs the scheduler: `cargo bench -p scheduling`.

use divan::Bencher;
use message::{Agent, Container, MessageId, Queued, StoreKey, UnixMicros, Verdict, Work};
use scheduling::{Limits, Permits, Ramp, Scheduler};
use std::sync::Arc;
use std::time::Duration;

fn main() {
    divan::main();
}

const START: UnixMicros = UnixMicros::from_seconds(1_700_000_000);

fn container(n: usize) -> Arc<Container> {
    let name: Arc<str> = format!("site{n}.example").into();
    Arc::new(Container {
        name: Arc::clone(&name),
        binding: "default".into(),
        group: None,
        options: name,
        agent: Agent::Mx,
    })
}

fn queued(n: u64, not_before: UnixMicros) -> Queued {
    let (key, id) = (StoreKey(n), MessageId(u128::from(n)));
    Queued {
        key,
        id,
        recipient: 0,
        attempts: 0,
        received: START,
        not_before,
        priority: message::Priority::Normal,
        tenant: message::Tenant::OTHERS,
        message: None,
    }
}

fn limits() -> Arc<Limits> {
    Arc::new(Limits { ramp: Ramp::Straight, ..Limits::default() })
}

/// Sites with a connection each.
fn stage(sites: usize) -> (Scheduler, Vec<(Arc<Container>, u32)>) {
    let mut scheduler = Scheduler::new(Permits::new(u32::MAX, 0), 1, START);
    let limits = limits();
    let connected = (0..sites)
        .map(|n| {
            let container = container(n);
            scheduler.enqueue(&container, queued(0, START), START, |_| Arc::clone(&limits)).expect("room");
            let dial = scheduler.poll_dial(START).expect("mail waits");
            let lease = scheduler.lease(dial.connection, 1, START).expect("mail waits");
            scheduler.attempted(lease.recipients[0].entry, Verdict::Delivered, START);
            (container, dial.connection)
        })
        .collect();
    (scheduler, connected)
}

/// One recipient: enqueue, lease, delivered.
#[divan::bench(args = [1, 100, 10_000])]
fn deliver(bencher: Bencher, sites: usize) {
    let (mut scheduler, connected) = stage(sites);
    let limits = limits();
    let mut n = 0;
    bencher.bench_local(|| {
        n += 1;
        let now = START.after(Duration::from_micros(n as u64));
        let (container, connection) = &connected[n * 7919 % sites];
        scheduler.enqueue(container, queued(n as u64, START), now, |_| Arc::clone(&limits)).expect("room");
        let lease = scheduler.lease(*connection, 100, now).expect("mail waits");
        scheduler.attempted(lease.recipients[0].entry, Verdict::Delivered, now)
    });
}

/// One recipient that fails for now, on top of a delayed queue of that many.
#[divan::bench(args = [1, 1000, 1_000_000])]
fn defer(bencher: Bencher, delayed: u64) {
    let (mut scheduler, connected) = stage(1);
    let limits = limits();
    let (container, connection) = &connected[0];
    for n in 0..delayed {
        let later = START.after(Duration::from_millis(3_600_000 + n));
        scheduler.enqueue(container, queued(n, later), START, |_| Arc::clone(&limits)).expect("room");
    }
    let mut n = delayed;
    bencher.bench_local(|| {
        n += 1;
        scheduler.enqueue(container, queued(n, START), START, |_| Arc::clone(&limits)).expect("room");
        let lease = scheduler.lease(*connection, 100, START).expect("mail waits");
        scheduler.attempted(lease.recipients[0].entry, Verdict::Transient, START)
    });
}

/// A turn of an event loop in which nothing is to do, with a million entries that cannot go.
#[divan::bench]
fn idle_turn_over_a_million(bencher: Bencher) {
    let mut scheduler = Scheduler::new(Permits::new(0, 0), 1, START);
    let (container, limits) = (container(0), limits());
    for n in 0..1_000_000 {
        scheduler.enqueue(&container, queued(n, START), START, |_| Arc::clone(&limits)).expect("room");
    }
    bencher.bench_local(|| (scheduler.poll_dial(START).is_none(), scheduler.poll_wake(START)));
}
