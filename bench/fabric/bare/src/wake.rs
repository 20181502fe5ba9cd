//! Waiting in a bare lane: a word that says who sleeps, and the asymmetric fence that lets only the sleeper pay for it.

use kit::beside::beside;
use kit::clock::Ticks;
use kit::region::{Region, futex_wait, futex_wake};
use kit::trip::of_trips;
use kit::{Figures, Place, Plan};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Instant;

/// How often a lane looks again before it sleeps.
pub(crate) const SPINS: u32 = 2_000;

/// Lets other processes fence this one. Each side of a lane calls it once.
pub(crate) fn register_fence() {
    const REGISTER_GLOBAL_EXPEDITED: i32 = 1 << 2;
    membarrier(REGISTER_GLOBAL_EXPEDITED);
}

/// A full fence in every registered process: the partner of a plain compiler fence on the other side.
pub(crate) fn fence_everywhere() {
    const GLOBAL_EXPEDITED: i32 = 1 << 1;
    membarrier(GLOBAL_EXPEDITED);
}

fn membarrier(command: i32) {
    // SAFETY: the call takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    assert_eq!(result, 0, "membarrier: {}", std::io::Error::last_os_error());
}

/// Two words, two processes, each asleep until the other has counted on.
pub(crate) fn futex_trip(plan: &Plan) -> Figures {
    const STOP: u32 = u32::MAX;
    let region = Region::new(4096);
    let (ask, answer) = (region.word32(0), region.word32(256));
    let await_change = |word: &AtomicU32, seen: u32| loop {
        let now = word.load(Acquire);
        if now != seen {
            return now;
        }
        futex_wait(word, seen);
    };
    let set = |word: &AtomicU32, value: u32| {
        word.store(value, Release);
        futex_wake(word);
    };
    let here = || {
        let ticks = Ticks::calibrated();
        let start = Instant::now();
        let mut trips = Vec::new();
        let mut count = 0;
        while start.elapsed() < plan.time {
            count += 1;
            let sent = ticks.now();
            set(ask, count);
            await_change(answer, count - 1);
            trips.push(ticks.nanoseconds(ticks.now() - sent) as u64);
        }
        set(ask, STOP);
        trips
    };
    let there = || {
        let mut seen = 0;
        loop {
            seen = await_change(ask, seen);
            if seen == STOP {
                return;
            }
            set(answer, seen);
        }
    };
    of_trips(beside(Place::Processes, here, there))
}
