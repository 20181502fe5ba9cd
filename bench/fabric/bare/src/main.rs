//! What the fabric is made of, without the fabric: bare lanes in shared memory, futexes, and the kernel's sockets.
//!
//! A bare lane has no queues, no priorities, no statistics and no way to end; it shows what the whole channel costs on top.

mod index;
mod log;
mod socket;
mod wake;

use kit::row::{SIZES, SIZES_AND_LWMQ, SMALL, SMALL_AND_MIDDLE};
use kit::{Place, Plan, Row, rate, round_trip};
use std::process::ExitCode;
use std::sync::Arc;

/// Bytes of a log.
const LOG_BYTES: usize = 4 << 20;

const ROWS: &[Row] = &[
    Row {
        name: "bare-log",
        about: "bare checked lane: framed commit log of 4 MiB, every header checked, sleeps after 2,000 spins",
        sizes: SIZES_AND_LWMQ,
        run: |plan| {
            let lane = log::Lane::new(LOG_BYTES);
            let (tx, rx) = (lane.clone(), lane);
            rate(plan, Place::Processes, || log::Writer::new(tx, wake::SPINS), || log::Reader::new(rx, wake::SPINS))
        },
    },
    Row {
        name: "bare-index",
        about: "bare index ring: fixed slots, head and tail cached by the other side, spins for ever",
        sizes: SIZES,
        run: |plan| {
            let lane = index::Lane::new(slots(plan), plan.size);
            let (tx, rx) = (lane.clone(), lane);
            rate(plan, Place::Processes, || index::Writer::new(tx), || index::Reader::new(rx))
        },
    },
    Row {
        name: "bare-index-trip",
        about: "round trip over two bare index rings, spinning",
        sizes: SMALL_AND_MIDDLE,
        run: |plan| {
            let (ask, answer) = (index::Lane::new(16, plan.size), index::Lane::new(16, plan.size));
            let here = index::End::new(ask.clone(), answer.clone());
            let there = index::End::new(answer, ask);
            round_trip(plan, Place::Processes, || here, || there)
        },
    },
    Row {
        name: "bare-log-trip",
        about: "round trip over two bare checked lanes, awake",
        sizes: SMALL_AND_MIDDLE,
        run: |plan| log_trip(plan, wake::SPINS),
    },
    Row {
        name: "bare-log-asleep-trip",
        about: "round trip over two bare checked lanes that sleep at once",
        sizes: SMALL,
        run: |plan| log_trip(plan, 0),
    },
    Row {
        name: "bare-futex-trip",
        about: "round trip of a bare futex: no payload at all, two wake-ups",
        sizes: SMALL,
        run: wake::futex_trip,
    },
    Row {
        name: "unix-seqpacket",
        about: "Unix socketpair, SOCK_SEQPACKET, one call a message",
        sizes: SIZES,
        run: |plan| socket::rate_over(plan, socket::unix_pair(libc::SOCK_SEQPACKET)),
    },
    Row {
        name: "unix-stream",
        about: "Unix socketpair, SOCK_STREAM, one call a message",
        sizes: SIZES,
        run: |plan| socket::rate_over(plan, socket::unix_pair(libc::SOCK_STREAM)),
    },
    Row {
        name: "tcp-loopback",
        about: "TCP over loopback, one call a message, no delay",
        sizes: SIZES,
        run: |plan| socket::rate_over(plan, socket::tcp_pair()),
    },
    Row {
        name: "unix-seqpacket-trip",
        about: "round trip over a Unix socketpair",
        sizes: SMALL_AND_MIDDLE,
        run: |plan| socket::trip_over(plan, socket::unix_pair(libc::SOCK_SEQPACKET)),
    },
    Row {
        name: "tcp-loopback-trip",
        about: "round trip over TCP on loopback",
        sizes: SMALL_AND_MIDDLE,
        run: |plan| socket::trip_over(plan, socket::tcp_pair()),
    },
];

fn main() -> ExitCode {
    kit::main(&[ROWS])
}

/// As many slots as fit 4 MiB.
fn slots(plan: &Plan) -> usize {
    (LOG_BYTES / (plan.size + 8)).clamp(8, 4096).next_power_of_two()
}

fn log_trip(plan: &Plan, spins: u32) -> kit::Figures {
    let (ask, answer): (Arc<log::Lane>, Arc<log::Lane>) = (log::Lane::new(LOG_BYTES), log::Lane::new(LOG_BYTES));
    let here = log::End::new(ask.clone(), answer.clone(), spins);
    let there = log::End::new(answer, ask, spins);
    round_trip(plan, Place::Processes, || here, || there)
}
