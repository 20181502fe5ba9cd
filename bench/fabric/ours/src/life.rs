//! What a channel costs while nothing happens, how its peer's death is noticed, and how two channels share a machine.

use crate::ends::{In, Out, Posting, Setup, Side, SocketFile, ipc, open};
use fabric::channel::{Deadline, Progress, ReceiveError};
use fabric::tli::Trust;
use kit::beside::{Gate, Stage, fork, reap};
use kit::clock::{cpu_time, resident_bytes};
use kit::trip::of_trips;
use kit::{Figures, Place, Plan, rate};
use std::time::{Duration, Instant};

/// Peers that are killed in one run.
const DEATHS: usize = 12;
/// Idle channels.
const CHANNELS: usize = 100;
/// How long they are watched.
const WATCH: Duration = Duration::from_millis(500);

/// Kills one peer after the other.
pub(crate) fn death(plan: &Plan) -> Figures {
    let setup = Setup { trust: Trust::Same, ..Setup::default() };
    let one = || {
        let (name, gate) = (ipc(), Gate::new());
        let child = fork(|| {
            let (_channel, mut receiver) = open(&name.uri, plan, Side::Connect, setup);
            gate.reach(Stage::Ready);
            // Never comes back: it is killed here, or ended by its alarm.
            let _ = receiver.receive(Deadline::Never);
        });
        let (_channel, mut receiver) = open(&name.uri, plan, Side::Listen, setup);
        gate.wait(Stage::Ready);
        std::thread::sleep(Duration::from_millis(2));
        let start = Instant::now();
        child.kill();
        let gone = receiver.receive(Deadline::after(Duration::from_secs(1)));
        let time = start.elapsed();
        assert!(matches!(gone, Err(ReceiveError::PeerGone(_))), "the peer's death was not noticed: {gone:?}");
        reap(child);
        time.as_nanos() as u64
    };
    of_trips((0..DEATHS).map(|_| one()).collect())
}

/// Opens many channels to one other process, and watches both while nothing is said.
pub(crate) fn idle_channels(plan: &Plan) -> Figures {
    let setup = Setup { progress: Progress::Service, ..Setup::default() };
    let names: Vec<SocketFile> = (0..CHANNELS).map(|number| ipc().numbered(number)).collect();
    let gate = Gate::new();
    let child = fork(|| {
        let _channels: Vec<_> = names.iter().map(|name| open(&name.uri, plan, Side::Connect, setup)).collect();
        gate.reach(Stage::Ready);
        gate.wait(Stage::Go);
        let cpu = cpu_time();
        std::thread::sleep(WATCH);
        gate.leave(0, (cpu_time() - cpu).as_nanos() as u64);
        gate.reach(Stage::Done);
    });
    let before = resident_bytes();
    let _channels: Vec<_> = names.iter().map(|name| open(&name.uri, plan, Side::Listen, setup)).collect();
    gate.wait(Stage::Ready);
    let resident = resident_bytes().saturating_sub(before);
    gate.reach(Stage::Go);
    let cpu = cpu_time();
    std::thread::sleep(WATCH);
    let cpu = cpu_time() - cpu;
    gate.wait(Stage::Done);
    let both = cpu + Duration::from_nanos(gate.left(0));
    reap(child);
    Figures::new()
        .with("cpu_percent", 100.0 * both.as_secs_f64() / WATCH.as_secs_f64())
        .with("resident_bytes_each", resident as f64 / CHANNELS as f64)
}

/// One pair of processes alone, then two pairs at once, wherever the kernel puts them.
pub(crate) fn two_pairs(plan: &Plan) -> Figures {
    let setup = Setup { trust: Trust::Same, ..Setup::default() };
    let pair = |number: usize| {
        let name = ipc().numbered(number);
        let sender = || Out::open(&name.uri, plan, Posting::Message, setup);
        let figures = rate(plan, Place::ProcessesUnpinned, sender, || In::open(&name.uri, plan, setup));
        figures.get("per_second").expect("a rate")
    };
    let alone = pair(0);
    let gate = Gate::new();
    let child = fork(|| gate.leave(0, pair(1) as u64));
    let first = pair(2);
    reap(child);
    let both = first + gate.left(0) as f64;
    Figures::new()
        .with("one_pair_per_second", alone)
        .with("two_pairs_per_second", both)
        .with("of_one_pair", both / alone)
}
