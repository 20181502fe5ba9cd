//! Counts what passes: windows, messages and bytes of each lane and direction, readable at any time from any thread.

use std::sync::atomic::{AtomicU64, Ordering};

use super::observe::{Direction, Observer, WindowSeen};
use crate::tli::{LANES, Lane, Peer};

/// Totals over every link of the channels that it was given to. Relaxed counters: each is right, two of them may be a moment apart.
#[derive(Debug, Default)]
pub struct Counters {
    links: AtomicU64,
    /// By direction and lane.
    totals: [[Totals; 2]; 2],
}

#[derive(Debug, Default)]
struct Totals {
    windows: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// What has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Windows shipped, or read to the end and disposed of.
    pub windows: u64,
    /// Messages committed, or read.
    pub messages: u64,
    /// Bytes of these messages as encoded, without window headers and without what was lent.
    pub bytes: u64,
}

impl Counters {
    /// All at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Times that peers have met.
    pub fn links(&self) -> u64 {
        self.links.load(Ordering::Relaxed)
    }

    /// One lane of one direction.
    pub fn lane(&self, direction: Direction, lane: Lane) -> Count {
        let totals = self.totals(direction, lane);
        Count {
            windows: totals.windows.load(Ordering::Relaxed),
            messages: totals.messages.load(Ordering::Relaxed),
            bytes: totals.bytes.load(Ordering::Relaxed),
        }
    }

    /// Both lanes of one direction.
    pub fn direction(&self, direction: Direction) -> Count {
        LANES.iter().map(|lane| self.lane(direction, *lane)).fold(Count::default(), |sum, count| Count {
            windows: sum.windows + count.windows,
            messages: sum.messages + count.messages,
            bytes: sum.bytes + count.bytes,
        })
    }

    fn totals(&self, direction: Direction, lane: Lane) -> &Totals {
        &self.totals[direction as usize][lane as usize]
    }
}

impl Observer for Counters {
    fn name(&self) -> &'static str {
        "count"
    }

    fn met(&self, _uri: &str, _peer: &Peer) {
        self.links.fetch_add(1, Ordering::Relaxed);
    }

    fn passed(&self, direction: Direction, lane: Lane, messages: u64, bytes: u64) {
        let totals = self.totals(direction, lane);
        totals.messages.fetch_add(messages, Ordering::Relaxed);
        totals.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn window(&self, window: &WindowSeen<'_>) {
        self.totals(window.direction, window.lane).windows.fetch_add(1, Ordering::Relaxed);
    }
}
