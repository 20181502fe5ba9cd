//! The fabric in its own benchmark's loops.
//!
//! Names say what is compared: `in-place` reads messages where they lie, which the channel does for a peer that is trusted; `copied` is the default,
//! a peer that could change its memory at any instant, so that every message is copied out before it is looked at. All lanes may sleep.

// Providers of transports register at link time, once something names their crate.
use fabric_net as _;

mod ends;
mod life;
mod urgent;

use ends::{End, In, Out, Posting, Setup, Side, TokioEnd};
use fabric::channel::{Progress, Waiting};
use fabric::tli::Trust;
use kit::flight::{answer, ask, in_flight};
use kit::row::{SIZES, SIZES_AND_LWMQ, SMALL, SMALL_AND_MIDDLE};
use kit::{Figures, Place, Plan, Row, rate, rate_of_many, round_trip};
use std::process::ExitCode;

/// From here on windows are worth while.
const LARGE: &[usize] = &[16 * 1024, 256 * 1024, 640_000];
/// Where a rate that must not depend on the size is looked at.
const LENT: &[usize] = &[1024, 256 * 1024];
/// Producers of the row with many.
const PRODUCERS: usize = 4;

const RATES: &[Row] = &[
    Row {
        name: "fabric-ipc-in-place",
        about: "ipc, full path: message made, posted, encoded, published, checked, decoded; peer trusted, read in place",
        sizes: SIZES_AND_LWMQ,
        run: |plan| ipc(plan, Posting::Message, Setup { trust: Trust::Same, ..Setup::default() }),
    },
    Row {
        name: "fabric-ipc-copied",
        about: "the same, peer not trusted: every message copied out before it is checked",
        sizes: SIZES_AND_LWMQ,
        run: |plan| ipc(plan, Posting::Message, Setup::default()),
    },
    Row {
        name: "fabric-ipc-bytes-in-place",
        about: "the full path for bytes at hand, posted without making a message; peer trusted, read in place",
        sizes: SIZES_AND_LWMQ,
        run: |plan| ipc(plan, Posting::Bytes, Setup { trust: Trust::Same, ..Setup::default() }),
    },
    Row {
        name: "fabric-ipc-bytes-copied",
        about: "the same, peer not trusted: copied out",
        sizes: SIZES_AND_LWMQ,
        run: |plan| ipc(plan, Posting::Bytes, Setup::default()),
    },
    Row {
        name: "fabric-ipc-fill-in-place",
        about: "ipc, payload written straight into the window by the poster; peer trusted, read in place",
        sizes: SIZES_AND_LWMQ,
        run: |plan| ipc(plan, Posting::InPlace, Setup { trust: Trust::Same, ..Setup::default() }),
    },
    Row {
        name: "fabric-ipc-windows",
        about: "ipc, window frames: filled in an arena, passed by reference; peer trusted, read in place",
        sizes: LARGE,
        run: |plan| ipc(plan, Posting::Window, Setup { trust: Trust::Same, ..Setup::default() }),
    },
    Row {
        name: "fabric-ipc-windows-copied",
        about: "the same, peer not trusted: the window is copied out",
        sizes: LARGE,
        run: |plan| ipc(plan, Posting::Window, Setup::default()),
    },
    Row {
        name: "fabric-ipc-service-in-place",
        about: "as fabric-ipc-in-place, each channel with a service thread of its own",
        sizes: SMALL_AND_MIDDLE,
        run: |plan| {
            let setup = Setup { trust: Trust::Same, progress: Progress::Service, ..Setup::default() };
            ipc(plan, Posting::Message, setup)
        },
    },
    Row {
        name: "fabric-tcp",
        about: "tcp on loopback, best engine, CRC-32C over each window, service threads",
        sizes: SIZES,
        run: |plan| tcp(plan, ""),
    },
    Row { name: "fabric-tcp-uring", about: "the same by io_uring", sizes: SIZES, run: |plan| tcp(plan, "?via=uring") },
    Row {
        name: "fabric-inproc",
        about: "inproc between two threads, full path; slices of 512 B and more pass by reference",
        sizes: SIZES,
        run: |plan| {
            let uri = ends::inproc();
            let sender = || Out::open(&uri, plan, Posting::Message, Setup::default());
            rate(plan, Place::Threads, sender, || In::open(&uri, plan, Setup::default()))
        },
    },
    Row {
        name: "fabric-inproc-reference",
        about: "inproc, one slice posted again and again by reference, with a frame of 8 B; only that one is read",
        sizes: LENT,
        run: |plan| {
            let uri = ends::inproc();
            let sender = || Out::open(&uri, plan, Posting::Again, Setup::default());
            rate(plan, Place::Threads, sender, || In::open(&uri, plan, Setup::default()))
        },
    },
    Row {
        name: "fabric-inproc-four",
        about: "inproc, four producers with a queue each, one consumer",
        sizes: SMALL,
        run: four_producers,
    },
];

const TRIPS: &[Row] = &[
    Row {
        name: "fabric-ipc-awake-trip",
        about: "round trip over ipc, 2,000 looks before a sleep; peer trusted",
        sizes: SMALL_AND_MIDDLE,
        run: |plan| ipc_trip(plan, Setup { trust: Trust::Same, ..Setup::default() }),
    },
    Row {
        name: "fabric-ipc-awake-copied-trip",
        about: "the same, peer not trusted: copied out",
        sizes: SMALL_AND_MIDDLE,
        run: |plan| ipc_trip(plan, Setup::default()),
    },
    Row {
        name: "fabric-ipc-asleep-trip",
        about: "round trip over ipc, both sides sleep at once",
        sizes: SMALL,
        run: |plan| ipc_trip(plan, Setup { trust: Trust::Same, waiting: Waiting::Park, ..Setup::default() }),
    },
    Row {
        name: "fabric-tokio-flight",
        about: "ipc awaited in tokio, two processes, echo, 64 in flight, service threads; peer trusted",
        sizes: SMALL,
        run: |plan| {
            let name = ends::ipc();
            let setup = Setup { trust: Trust::Same, progress: Progress::Service, ..Setup::default() };
            let end = |side| TokioEnd::open(&name.uri, plan, side, setup);
            let here = |gate: &_| ends::in_runtime(async { ask(plan, gate, &mut end(Side::Listen)).await });
            let there = |gate: &_| ends::in_runtime(async { answer(plan, gate, &mut end(Side::Connect)).await });
            in_flight(Place::Processes, here, there)
        },
    },
];

const LIVES: &[Row] = &[
    Row {
        name: "fabric-ipc-critical",
        about: "latency of critical messages, awake, with and without a saturating bulk load from the same thread",
        sizes: SMALL,
        run: urgent::critical,
    },
    Row {
        name: "fabric-ipc-death",
        about: "from the SIGKILL of a peer to its end being known here",
        sizes: SMALL,
        run: life::death,
    },
    Row {
        name: "fabric-ipc-idle-channels",
        about: "100 idle channels with service threads: processor time of both sides, resident memory each of this side",
        sizes: SMALL,
        run: life::idle_channels,
    },
    Row {
        name: "fabric-ipc-two-pairs",
        about: "two channels between two pairs of processes at once, against one",
        sizes: SMALL,
        run: life::two_pairs,
    },
];

fn main() -> ExitCode {
    kit::main(&[RATES, TRIPS, LIVES])
}

/// One way over ipc, in two processes.
fn ipc(plan: &Plan, posting: Posting, setup: Setup) -> Figures {
    let name = ends::ipc();
    let sender = || Out::open(&name.uri, plan, posting, setup);
    rate(plan, Place::Processes, sender, || In::open(&name.uri, plan, setup))
}

/// One way over tcp, in two processes.
fn tcp(plan: &Plan, options: &str) -> Figures {
    let uri = ends::tcp(options);
    let setup = Setup { progress: Progress::Service, ..Setup::default() };
    let sender = || Out::open(&uri, plan, Posting::Message, setup);
    rate(plan, Place::ProcessesUnpinned, sender, || In::open(&uri, plan, setup))
}

fn ipc_trip(plan: &Plan, setup: Setup) -> Figures {
    let name = ends::ipc();
    let there = || End::open(&name.uri, plan, Side::Connect, setup);
    round_trip(plan, Place::Processes, || End::open(&name.uri, plan, Side::Listen, setup), there)
}

fn four_producers(plan: &Plan) -> Figures {
    let uri = ends::inproc();
    let setup = Setup::default();
    let (first, receiver) = ends::open_both(&uri, plan, setup);
    let senders = (0..PRODUCERS).map(|_| Out::of(first.clone(), plan, Posting::Message)).map(|out| || out).collect();
    rate_of_many(plan, senders, In::of(receiver))
}
