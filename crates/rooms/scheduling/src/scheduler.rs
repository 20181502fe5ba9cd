//! The scheduler of one event loop: what it holds, how mail enters, and what the operator may do.
//!
//! Its work is spread by subject: `leasing` (what connections take and give back), `dialling` (who gets a connection),
//! `tending` (what time does), `report` (what the console sees), `visit` (what an operator does to single recipients).

use crate::agenda::Agenda;
use crate::dialling::Connections;
use crate::entries::{ENTRIES_MAX, Entries, Entry, State, Tick};
use crate::line::{Line, NONE};
use crate::queue::Place;
use crate::queues::Queues;
use crate::resident::Residents;
use crate::retry::Dice;
use crate::tenants::Tenants;
use crate::{Flow, Limits, Permits, ResidentLimits, Sites, Suspension, Weights};
use foldhash::fast::RandomState;
use message::{Container, Queued, UnixMicros};
use std::collections::HashMap;
use std::sync::Arc;

/// The queues of one event loop.
#[derive(Debug)]
pub struct Scheduler {
    pub(crate) entries: Entries,
    pub(crate) queues: Queues,
    pub(crate) agenda: Agenda,
    pub(crate) residents: Residents,
    pub(crate) dice: Dice,
    /// Tick 0.
    pub(crate) origin: UnixMicros,
    pub(crate) permits: Arc<Permits>,
    pub(crate) connections: Connections,
    /// Containers without a connection that want their first.
    pub(crate) first: Line,
    /// Containers that want one more.
    pub(crate) further: Line,
    /// Containers at a shared limit that is reached, by the address of the limit, which their limits hold.
    pub(crate) gates: HashMap<usize, Line, RandomState>,
    /// Who goes to the same hosts, on all loops.
    pub(crate) sites: Arc<Sites>,
    /// Idle connections, by the address of their site; some may be gone.
    pub(crate) idle_at: HashMap<usize, Vec<u32>, RandomState>,
    /// Whether a connection was moved to another container since the last question when to look again.
    pub(crate) has_moved: bool,
    /// How many of `first` came since one of `further`.
    pub(crate) firsts_in_row: u32,
    pub(crate) permit: PermitState,
    pub(crate) tenants: Tenants,
    /// By an operator's word.
    pub(crate) suspensions: Vec<Suspension>,
    /// Containers with deliveries that traffic shaping has not been told of.
    pub(crate) delivered: Vec<u32>,
    /// Entries that are too old, of all containers.
    pub(crate) expired: Line,
    pub(crate) counts: Counts,
    /// Reused by every activation.
    pub(crate) scratch: Scratch,
    entries_max: u32,
}

/// What became of the last wish for a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PermitState {
    /// One may be free.
    Unknown,
    /// None was free.
    Missing,
}

/// Entries by place, all containers together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) active: u32,
    pub(crate) delayed: u32,
    pub(crate) leased: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) due: Vec<u32>,
    pub(crate) groups: Vec<(u32, u32)>,
}

/// At which end of the active line an entry joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Where the next lease is taken from.
    Front,
    /// Behind all others.
    Back,
}

/// The scheduler has as many entries as it may; the recipient stays in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

impl std::fmt::Display for QueueFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the queue holds as many recipients as it may")
    }
}

impl std::error::Error for QueueFull {}

impl Scheduler {
    /// A scheduler without mail. `permits` are those of the whole server; `seed` makes its random numbers.
    pub fn new(permits: Arc<Permits>, seed: u64, now: UnixMicros) -> Self {
        Self {
            entries: Entries::default(),
            queues: Queues::new(),
            agenda: Agenda::default(),
            residents: Residents::new(ResidentLimits::default()),
            dice: Dice::new(seed),
            origin: now,
            permits,
            connections: Connections::default(),
            first: Line::EMPTY,
            further: Line::EMPTY,
            gates: HashMap::default(),
            sites: Sites::new(),
            idle_at: HashMap::default(),
            has_moved: false,
            firsts_in_row: 0,
            permit: PermitState::Unknown,
            tenants: Tenants::default(),
            suspensions: vec![],
            delivered: vec![],
            expired: Line::EMPTY,
            counts: Counts::default(),
            scratch: Scratch::default(),
            entries_max: ENTRIES_MAX,
        }
    }

    /// How tenants share each container from now on.
    pub fn set_weights(&mut self, weights: Weights) {
        self.tenants.set_weights(weights);
    }

    /// Most recipients that may be queued; those that are stay.
    pub fn set_entries_max(&mut self, entries_max: u32) {
        self.entries_max = entries_max.min(ENTRIES_MAX);
    }

    /// How many messages, and how many octets of them, may stay in memory.
    pub fn set_resident_limits(&mut self, limits: ResidentLimits) {
        self.residents.set_limits(limits);
    }

    /// Drops all messages from memory, for times of need: connections read them from the spool.
    pub fn drop_resident(&mut self) {
        self.residents.clear();
    }

    /// Puts a recipient into a queue. `limits` is asked for the container's limits if it is new. Recipients of one
    /// message go together if they are enqueued one behind the other.
    ///
    /// # Errors
    /// [`QueueFull`] at the bound of [`Scheduler::set_entries_max`]; nothing has changed then.
    pub fn enqueue(
        &mut self,
        container: &Arc<Container>,
        queued: Queued,
        now: UnixMicros,
        limits: impl FnOnce(&Container) -> Arc<Limits>,
    ) -> Result<(), QueueFull> {
        if self.entries.len() >= self.entries_max {
            return Err(QueueFull);
        }
        let known = self.queues.len();
        let q = self.queues.find_or_add(container, limits, now);
        if self.queues.len() > known && !self.suspensions.is_empty() {
            self.queues[q].suspended_until = self.suspended_until(container, now);
        }
        let keep = queued.attempts < self.queues[q].limits.resident_failures_max.max(1);
        let resident = match queued.message {
            Some(message) if keep => self.residents.keep(message),
            Some(_) | None => NONE,
        };
        let index = self.entries.insert(Entry {
            recipient: queued.recipient,
            priority: queued.priority,
            tenant: self.tenants.slot(queued.tenant),
            attempts: queued.attempts,
            resident,
            state: State::Active,
            ..Entry::new(queued.id, queued.key, queued.received, q)
        });
        if queued.not_before > now {
            let expires = self.queues[q].expires(queued.received);
            self.delay(q, index, queued.not_before.min(expires));
        } else {
            self.join_active(q, index, End::Back, now);
        }
        Ok(())
    }

    /// Asks again for the limits of every container: the configuration has changed. The one command that goes over all
    /// containers.
    pub fn reconfigure(&mut self, now: UnixMicros, mut limits: impl FnMut(&Container) -> Arc<Limits>) {
        for q in 0..self.queues.slots() {
            if self.queues.get(q).is_some() {
                // The line at a shared limit belongs to the old limits, as does what was booked.
                if self.queues[q].listed == Some(Place::Gate) {
                    self.unlist(q, now);
                }
                let queue = &mut self.queues[q];
                queue.limits = limits(&queue.container);
                (queue.dial_booked, queue.lease_booked) = (None, None);
                queue.forget_way();
                self.agenda.hurry(q, now.0);
            }
        }
    }

    /// Stops or resumes the mail of a container until it is told otherwise or has no mail any more. Says whether there
    /// is such a container.
    pub fn set_flow(&mut self, container: &Container, flow: Flow, now: UnixMicros) -> bool {
        let Some(q) = self.queues.find(container) else { return false };
        self.queues[q].flow = flow;
        self.agenda.hurry(q, now.0);
        true
    }

    /// Makes all delayed mail of a container active, in steps, and ends its pause. Says whether there is such a
    /// container.
    pub fn flush(&mut self, container: &Container, now: UnixMicros) -> bool {
        let Some(q) = self.queues.find(container) else { return false };
        let queue = &mut self.queues[q];
        let delayed = std::mem::replace(&mut queue.delayed, crate::delayed::Delayed::EMPTY);
        queue.flushed.absorb(&mut self.entries, delayed);
        queue.end_pause();
        self.agenda.hurry(q, now.0);
        true
    }

    /// Takes up to `limit` recipients out of a container, to be routed anew or failed: those that no connection has,
    /// active ones first. They are not queued any more.
    pub fn withdraw(&mut self, container: &Container, limit: usize, now: UnixMicros) -> Vec<Queued> {
        let mut taken = vec![];
        let Some(q) = self.queues.find(container) else { return taken };
        while taken.len() < limit {
            let Some(index) = self.take_any(q) else { break };
            let not_before = self.entries[index].due.moment(self.origin);
            taken.push(self.queued(index, not_before));
            self.forget(q, index, now);
        }
        taken
    }

    /// An entry as it was handed in.
    pub(crate) fn queued(&self, index: u32, not_before: UnixMicros) -> Queued {
        let entry = &self.entries[index];
        Queued {
            priority: entry.priority,
            tenant: self.tenants.tenant(entry.tenant),
            key: entry.key,
            id: entry.id(),
            recipient: entry.recipient,
            attempts: entry.attempts,
            received: entry.received,
            not_before,
            message: self.residents.get(entry.resident, entry.id()).cloned(),
        }
    }

    /// An entry out of its line or heap.
    fn take_any(&mut self, q: u32) -> Option<u32> {
        let head = self.queues[q].active.head();
        if head != NONE {
            self.leave_active(q, head);
            self.entries[head].due = Tick(0);
            return Some(head);
        }
        let queue = &mut self.queues[q];
        let index = queue.flushed.pop(&mut self.entries).or_else(|| queue.delayed.pop(&mut self.entries))?;
        queue.delayed_len -= 1;
        self.counts.delayed -= 1;
        Some(index)
    }

    /// An entry, which is in no line, becomes active.
    pub(crate) fn join_active(&mut self, q: u32, index: u32, end: End, now: UnixMicros) {
        let queue = &mut self.queues[q];
        if queue.active.is_empty() {
            queue.moved_at = now;
        }
        let entry = &mut self.entries[index];
        entry.state = State::Active;
        queue.sweep.oldest = queue.sweep.oldest.min(entry.received);
        match end {
            End::Front => queue.active.push_front(&mut self.entries, index),
            End::Back => queue.active.push_back(&mut self.entries, index),
        }
        self.counts.active += 1;
        self.consider(q, now);
        let wake = self.queues[q].wake_for_active(now);
        self.agenda.hurry(q, wake);
    }

    /// An entry leaves the active line.
    pub(crate) fn leave_active(&mut self, q: u32, index: u32) {
        let queue = &mut self.queues[q];
        if queue.sweep.cursor == index {
            queue.sweep.cursor = queue.active.next(&self.entries, index);
        }
        queue.active.remove(&mut self.entries, index);
        self.counts.active -= 1;
    }

    /// An entry, which is in no line, waits until the first tick not before that moment, which is returned.
    pub(crate) fn delay(&mut self, q: u32, index: u32, not_before: UnixMicros) -> UnixMicros {
        let queue = &mut self.queues[q];
        let entry = &mut self.entries[index];
        entry.state = State::Delayed;
        entry.due = Tick::not_before(not_before, self.origin);
        let moment = entry.due.moment(self.origin);
        queue.delayed.push(&mut self.entries, index);
        queue.delayed_len += 1;
        self.counts.delayed += 1;
        self.agenda.hurry(q, moment.0);
        moment
    }

    /// An entry, which is in no line, ends.
    pub(crate) fn forget(&mut self, q: u32, index: u32, now: UnixMicros) {
        let entry = &self.entries[index];
        self.residents.release(entry.resident, entry.id());
        self.entries.remove(index);
        self.rest(q, now);
    }

    /// If a container has neither mail nor connections any more, its time to go begins.
    pub(crate) fn rest(&mut self, q: u32, now: UnixMicros) {
        let queue = &mut self.queues[q];
        if queue.connections == 0 && queue.is_empty() {
            queue.moved_at = now;
            self.agenda.hurry(q, self.leaves_at(q).0);
        }
    }
}
