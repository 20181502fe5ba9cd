//! What a queued recipient costs in memory and time, from ten thousand to ten million, a hundred in each container: the
//! scheduler itself, in this process.
//!
//! Two orders: *in bursts*, where each container's recipients come and go one behind the other, and *mixed*, where each
//! comes to another container than the last, which is as bad for caches as it can be. Times are of the processor, the best
//! of some rounds; the first round of a size is told by itself, because there the kernel gives the memory.

use crate::Request;
use crate::figure::Figure;
use message::{Agent, Attempted, Container, MessageId, Outcome, Queued, StoreKey, UnixMicros, Verdict, Work};
use rustix::time::{ClockId, clock_gettime};
use scheduling::{EntryFilter, Limits, Permits, Ramp, Scheduler, VisitBounds};
use std::sync::Arc;
use std::time::Duration;

/// Recipients of a container.
const PER_CONTAINER: u64 = 100;
/// Recipients that all rounds of a size have at least, so that small sizes are measured long enough.
const ROUNDS_SUM: u64 = 2_000_000;
pub(crate) const START: UnixMicros = UnixMicros::from_seconds(1_700_000_000);

/// The way in which recipients come and go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Bursts,
    Mixed,
}

/// Processor time of this thread.
pub(crate) fn busy() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Resident memory of this process, octets.
pub(crate) fn resident() -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/self/statm").map_err(|error| error.to_string())?;
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.map(|pages| pages * 4096).ok_or_else(|| "no resident memory in /proc/self/statm".to_owned())
}

pub(crate) fn containers(count: u64) -> Vec<Arc<Container>> {
    let container = |n| {
        let name: Arc<str> = format!("site{n}.example").into();
        Arc::new(Container { options: name.clone(), name, binding: "default".into(), group: None, agent: Agent::Mx })
    };
    (0..count).map(container).collect()
}

pub(crate) fn limits() -> Arc<Limits> {
    Arc::new(Limits { ramp: Ramp::Straight, max_connections: 1, ..Limits::default() })
}

pub(crate) fn queued(n: u64, not_before: UnixMicros) -> Queued {
    Queued {
        key: StoreKey(n),
        id: MessageId(u128::from(n)),
        recipient: 0,
        attempts: 0,
        received: START,
        not_before,
        priority: message::Priority::Normal,
        tenant: message::Tenant::OTHERS,
        message: None,
    }
}

/// See the table in `main.rs`.
pub(crate) fn queues(request: &Request) -> Result<(), String> {
    let most = request.n.unwrap_or(10_000_000);
    let mut size = 10_000;
    while size <= most {
        for order in [Order::Bursts, Order::Mixed] {
            let rounds = (ROUNDS_SUM / size).clamp(2, 100);
            measure(request, size, order, rounds)?;
        }
        size *= 10;
    }
    Ok(())
}

fn measure(request: &Request, size: u64, order: Order, rounds: u64) -> Result<(), String> {
    let sites = containers(size / PER_CONTAINER);
    let limits = limits();
    let (mut fresh, mut into, mut out) = (None, Duration::MAX, Duration::MAX);
    let (mut memory, mut all, mut step) = (0, 0, Duration::ZERO);
    for _ in 0..rounds {
        let before = resident()?;
        let mut scheduler = Scheduler::new(Permits::new(u32::MAX, 0), 1, START);
        let began = busy();
        for n in 0..size {
            let site = match order {
                Order::Bursts => n / PER_CONTAINER,
                // A prime step: no site is met again before all others were.
                Order::Mixed => n.wrapping_mul(7919) % sites.len() as u64,
            };
            let limits = || limits.clone();
            let entered = scheduler.enqueue(&sites[site as usize], queued(n, START), START, |_| limits());
            entered.map_err(|error| error.to_string())?;
        }
        let took = busy() - began;
        into = into.min(took);
        if fresh.is_none() {
            fresh = Some(took);
            (memory, all) = (resident()?.saturating_sub(before), resident()?);
        }
        step = step.max(visit(&scheduler));
        out = out.min(drain(&mut scheduler, size, order)?);
    }
    let each = |time: Duration| time.as_nanos() as f64 / size as f64;
    let name = if order == Order::Bursts { "in bursts" } else { "mixed" };
    let print = |what: &str, value: f64, unit: &str| {
        let figure = format!("{size} {name}, {what}");
        request.print(&Figure { bench: "queues", figure: &figure, value, unit, peer: None });
    };
    print("enqueue, first round", each(fresh.unwrap_or_default()), "ns");
    print("enqueue", each(into), "ns");
    print("dequeue", each(out), "ns");
    print("longest step of a visit", step.as_nanos() as f64 / 1000.0, "us");
    if size >= 1_000_000 {
        print("memory", memory as f64 / size as f64, "octets/entry");
        print("resident in all", all as f64 / f64::from(1 << 20), "MiB");
    }
    Ok(())
}

/// Goes over all entries as an operator's operation does; the longest step.
fn visit(scheduler: &Scheduler) -> Duration {
    let (mut visit, mut found, mut longest) = (scheduler.begin_visit(), vec![], Duration::ZERO);
    let domain = Some("site7.example".into());
    let filter = EntryFilter {
        selector: scheduling::Selector { domain, ..scheduling::Selector::default() },
        ..EntryFilter::default()
    };
    while !visit.is_done() {
        let began = busy();
        scheduler.visit(&mut visit, &filter, VisitBounds { places: 1024, found: 64 }, &mut found);
        longest = longest.max(busy() - began);
        found.clear();
    }
    longest
}

/// Dials for every container, and delivers everything; the time of leases and verdicts.
fn drain(scheduler: &mut Scheduler, size: u64, order: Order) -> Result<Duration, String> {
    let mut connections = vec![];
    while let Some(dial) = scheduler.poll_dial(START) {
        connections.push(dial.connection);
    }
    let began = busy();
    let (mut done, mut at) = (0, 0);
    while done < size {
        let connection = *connections.get(at).ok_or("mail waits without a connection")?;
        let lease = scheduler.lease(connection, 1, START);
        match lease {
            Some(lease) => {
                let attempted = scheduler.attempted(lease.recipients[0].entry, Verdict::Delivered, START);
                if attempted != Attempted::Settled(Outcome::Delivered) {
                    return Err(format!("a delivery is {attempted:?}"));
                }
                done += 1;
                if order == Order::Mixed {
                    at = (at + 1) % connections.len();
                }
            }
            None => at += 1,
        }
    }
    Ok(busy() - began)
}
