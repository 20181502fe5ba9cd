//! The two threads of a volume: the writer, which commits, and the keeper, which looks after segments.
//!
//! ```text
//!  loops ──lanes──► writer ──lanes──► loops          the writer wakes by its bell; with outcomes that wait, or writes
//!             bell ··►  │  bell per loop ··►         that are not synced, also when those are due. It never waits for
//!                       └─ bell ··► keeper           more mail: a batch is what came while the last one was written.
//! ```
//! Started by `Journal::open`, stopped and joined by its close.

use super::shared::Shared;
use super::upkeep::{Keeper, Step};
use super::volume::{Completion, Request, Volume};
use fabric::{Doorbell, LaneReceiver, LaneSender, Ringer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Requests taken from one loop before the others have their turn.
const INTAKE_MAX: usize = 4096;
/// Requests for mail that the writer holds; more wait in the lanes.
const MAIL_MAX: usize = 16_384;
/// The keeper looks by itself this often, and so often while it waits for the writer.
const KEEPER_IDLE: Duration = Duration::from_millis(200);
const KEEPER_WAITS: Duration = Duration::from_millis(5);

/// What the writer thread owns.
pub(super) struct Writer {
    pub(super) volume: Volume,
    pub(super) bell: Doorbell,
    pub(super) requests: Vec<LaneReceiver<Request>>,
    pub(super) completions: Vec<LaneSender<Completion>>,
    pub(super) keeper: Ringer,
    pub(super) stopping: Arc<AtomicBool>,
    /// The volume's lock, held as long as anything is written.
    pub(super) lock: Box<dyn Send + Sync>,
}

impl Writer {
    /// Runs until told to stop; then everything that was asked for before is durable.
    pub(super) fn run(mut self) {
        let mut done = Vec::new();
        loop {
            // Read before the lanes: what was sent before the order to stop is then seen below.
            let stopping = self.stopping.load(Ordering::Acquire);
            let now = Instant::now();
            self.take_in(now);
            match self.volume.poll_due(now) {
                Some(due) if due.is_zero() => {
                    self.volume.commit(now, &mut done);
                    self.distribute(&mut done);
                }
                _ if stopping => break,
                due => _ = self.bell.wait_thread(due),
            }
        }
        self.volume.close(Instant::now(), &mut done);
        self.distribute(&mut done);
        drop(self.lock);
    }

    fn take_in(&mut self, now: Instant) {
        for lane in &mut self.requests {
            if self.volume.mail_len() < MAIL_MAX {
                lane.drain(INTAKE_MAX, |request| self.volume.handle(request, now));
            }
        }
    }

    /// Hands completions to the loops and rings each that got one, once.
    fn distribute(&mut self, done: &mut Vec<Completion>) {
        if self.volume.take_sealed() {
            self.keeper.ring();
        }
        let mut rung = 0_u64;
        for completion in done.drain(..) {
            let port = completion.ticket.port as usize;
            if let Some(lane) = self.completions.get_mut(port) {
                lane.send(completion);
                rung |= 1 << (port % 64);
            }
        }
        for (port, lane) in self.completions.iter_mut().enumerate() {
            if lane.overflow_len() > 0 {
                lane.flush();
            } else if rung & 1 << (port % 64) == 0 {
                continue;
            }
            lane.ring();
        }
    }
}

/// Runs the keeper until told to stop.
pub(super) fn keep(mut keeper: Keeper, mut bell: Doorbell, stopping: &AtomicBool, shared: &Shared, writer: &Ringer) {
    while !stopping.load(Ordering::Acquire) {
        let step = keeper.step(Instant::now());
        if !shared.index().transfers.is_empty() {
            writer.ring();
        }
        match step {
            Step::Worked => {}
            Step::Waiting => _ = bell.wait_thread(Some(KEEPER_WAITS)),
            Step::Idle => _ = bell.wait_thread(Some(KEEPER_IDLE)),
        }
    }
}
