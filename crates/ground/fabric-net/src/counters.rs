//! What the two directions of a link tell each other: how far each lane is, here and at the peer. Reader, writer and both ends share it.
//!
//! Every count only grows. Each has one writer at a time (the outlet, the inlet, or who holds the reader's or the writer's lock); others may read a
//! slightly older value, which errs to the safe side: less credit, less read.

use fabric::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use fabric::tli::Violation;

use crate::control::{Control, ControlKind, LaneProgress, Progress};

/// Both lanes: bulk, urgent.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) lanes: [LaneCounters; 2],
    /// The peer waits to be told when all that it had shipped is read.
    asked: AtomicBool,
}

#[derive(Debug, Default)]
pub(crate) struct LaneCounters {
    /// Written by the outlet, before the bytes go.
    pub(crate) shipped_windows: AtomicU64,
    pub(crate) shipped_messages: AtomicU64,
    /// Told by the peer; written under the reader's lock.
    pub(crate) peer_disposed: AtomicU64,
    pub(crate) peer_read: AtomicU64,
    /// Written by the inlet.
    pub(crate) disposed: AtomicU64,
    pub(crate) read: AtomicU64,
    /// Told to the peer; written under the writer's lock.
    told_disposed: AtomicU64,
    told_read: AtomicU64,
    /// Windows and messages that had arrived when the peer asked; written under the reader's lock.
    goal_windows: AtomicU64,
    goal_messages: AtomicU64,
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Acquire)
}

impl LaneCounters {
    /// Whether the peer has read everything shipped here.
    fn is_drained(&self) -> bool {
        get(&self.peer_disposed) == get(&self.shipped_windows) || get(&self.peer_read) == get(&self.shipped_messages)
    }

    /// Windows out: shipped and not yet disposed of by the peer.
    pub(crate) fn out(&self) -> u64 {
        get(&self.shipped_windows).saturating_sub(get(&self.peer_disposed))
    }

    /// Windows disposed of that the peer was not told of.
    pub(crate) fn untold_windows(&self) -> u64 {
        get(&self.disposed).saturating_sub(get(&self.told_disposed))
    }

    fn is_untold(&self) -> bool {
        self.untold_windows() > 0 || get(&self.read) > get(&self.told_read)
    }

    fn heard(&self, progress: LaneProgress) -> Result<bool, Violation> {
        if progress.disposed > get(&self.shipped_windows) || progress.read > get(&self.shipped_messages) {
            return Err(Violation::Link("it claims to have read more than was sent"));
        }
        if progress.disposed < get(&self.peer_disposed) || progress.read < get(&self.peer_read) {
            return Err(Violation::Link("it takes back what it claimed to have read"));
        }
        let grown = progress.disposed > get(&self.peer_disposed) || progress.read > get(&self.peer_read);
        self.peer_disposed.store(progress.disposed, Ordering::Release);
        self.peer_read.store(progress.read, Ordering::Release);
        Ok(grown)
    }
}

impl Counters {
    /// A control frame came; `arrived` are the windows and messages of each lane that came before it. Says whether the peer has made progress.
    ///
    /// # Errors
    /// When the frame contradicts what was shipped or said before.
    pub(crate) fn heard(&self, control: &Control, arrived: [(u64, u64); 2]) -> Result<bool, Violation> {
        let mut grown = false;
        for (lane, progress) in self.lanes.iter().zip(control.progress) {
            grown |= lane.heard(progress)?;
        }
        if control.kind == ControlKind::Ask {
            for (lane, (windows, messages)) in self.lanes.iter().zip(arrived) {
                lane.goal_windows.store(windows, Ordering::Relaxed);
                lane.goal_messages.store(messages, Ordering::Relaxed);
            }
            // Partner: the load in `is_goal_reached`.
            self.asked.store(true, Ordering::SeqCst);
        }
        Ok(grown)
    }

    /// Whether the peer has read everything shipped.
    pub(crate) fn is_drained(&self) -> bool {
        self.lanes.iter().all(LaneCounters::is_drained)
    }

    /// Whether the peer waits to be told something that is now true. It is told once.
    pub(crate) fn is_goal_reached(&self) -> bool {
        if !self.asked.load(Ordering::SeqCst) {
            return false;
        }
        let reached = self.lanes.iter().all(|lane| {
            get(&lane.disposed) >= lane.goal_windows.load(Ordering::Relaxed)
                || get(&lane.read) >= lane.goal_messages.load(Ordering::Relaxed)
        });
        reached && self.asked.swap(false, Ordering::SeqCst)
    }

    /// Whether there is anything that the peer was not told.
    pub(crate) fn is_untold(&self) -> bool {
        self.lanes.iter().any(LaneCounters::is_untold)
    }

    /// Says how far we are; from then on the peer counts as told. Under the writer's lock.
    pub(crate) fn tell(&self) -> Progress {
        self.lanes.each_ref().map(|lane| {
            let progress = LaneProgress { disposed: get(&lane.disposed), read: get(&lane.read) };
            lane.told_disposed.store(progress.disposed, Ordering::Release);
            lane.told_read.store(progress.read, Ordering::Release);
            progress
        })
    }
}
