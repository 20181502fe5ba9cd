//! What the mere passing of time does to containers: delayed mail becomes active, old mail expires, pauses end, empty
//! containers go. All of it in steps of bounded size.

use crate::entries::State;
use crate::gates::GATE_POLL;
use crate::line::NONE;
use crate::queue::Sweep;
use crate::scheduler::{End, Scheduler};
use message::{Container, Lease, LeasedRecipient, UnixMicros};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// Containers looked after in one call.
const TENDS_MAX: usize = 16;
/// Entries activated, and entries looked at for their age, in one step.
pub(crate) const STEP_ENTRIES_MAX: usize = 256;
/// How long a container stays without mail.
const REST: Duration = Duration::from_secs(60);
/// With more containers than this, one without mail goes at once.
const CONTAINERS_AT_REST_MAX: usize = 65_536;
/// Shortest time between two searches for old mail in one container.
const SWEEP_GAP: Duration = Duration::from_secs(1);
/// The same, for each active entry: a search costs at most about a hundredth of the time.
const SWEEP_GAP_PER_ENTRY: Duration = Duration::from_micros(20);

impl Scheduler {
    /// Looks after the containers whose time has come, some at a time.
    pub(crate) fn tend_due(&mut self, now: UnixMicros) {
        for _ in 0..TENDS_MAX {
            match self.agenda.first() {
                Some((at, q)) if at <= now.0 => self.tend(q, now),
                Some(_) | None => return,
            }
        }
    }

    fn tend(&mut self, q: u32, now: UnixMicros) {
        self.activate(q, STEP_ENTRIES_MAX, now);
        self.sweep(q, STEP_ENTRIES_MAX, now);
        let queue = &self.queues[q];
        if queue.is_empty() && queue.connections == 0 && now >= self.leaves_at(q) {
            self.unlist(q, now);
            self.agenda.set(q, u64::MAX);
            let site = self.queues[q].site().map(|site| Arc::as_ptr(site).addr());
            self.queues.remove(q);
            if let Some(site) = site {
                self.purge_idle(site);
            }
            return;
        }
        self.try_gate(q, now);
        if self.queues[q].waits_for_site(now) {
            // An idle connection of another container may be what fills the site.
            self.take_idle(q, now);
        }
        self.consider(q, now);
        self.agenda.set(q, self.wake(q, now));
    }

    /// When a container wants attention next. What is late already counts as now, so that others have their turn.
    fn wake(&self, q: u32, now: UnixMicros) -> u64 {
        let queue = &self.queues[q];
        let mut wake = queue.wake_for_active(now);
        if queue.flushed.first() != NONE {
            wake = now.0;
        }
        if self.heads_gate(q) {
            wake = wake.min(now.after(GATE_POLL).0);
        }
        if let Some(due) = self.first_due(q) {
            wake = wake.min(due.0);
        }
        if queue.is_empty() && queue.connections == 0 {
            wake = wake.min(self.leaves_at(q).0);
        }
        wake.max(now.0)
    }

    /// When the first delayed entry of a container is due.
    pub(crate) fn first_due(&self, q: u32) -> Option<UnixMicros> {
        let first = self.queues[q].delayed.first();
        (first != NONE).then(|| self.entries[first].due.moment(self.origin))
    }

    /// When a container without mail and connections goes.
    pub(crate) fn leaves_at(&self, q: u32) -> UnixMicros {
        let queue = &self.queues[q];
        let rest = if self.queues.len() > CONTAINERS_AT_REST_MAX { Duration::ZERO } else { REST };
        queue.moved_at.after(rest).max(queue.paused_until)
    }

    /// Makes up to `limit` delayed entries active whose time has come, in random order, so that a message which hangs
    /// every connection does not always come before the same others. Recipients of one message stay together.
    pub(crate) fn activate(&mut self, q: u32, limit: usize, now: UnixMicros) {
        if self.queues[q].delayed_len == 0 {
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        for _ in 0..limit {
            let Some(index) = self.pop_due(q, now) else { break };
            let (key, received) = (self.entries[index].key, self.entries[index].received);
            if self.queues[q].expires(received) <= now {
                self.expire(q, index);
                continue;
            }
            match scratch.due.last() {
                Some(&last) if self.entries[last].key == key => {}
                _ => scratch.groups.push((scratch.due.len() as u32, 0)),
            }
            scratch.due.push(index);
            if let Some(group) = scratch.groups.last_mut() {
                group.1 = scratch.due.len() as u32;
            }
        }
        for n in (1..scratch.groups.len()).rev() {
            scratch.groups.swap(n, self.dice.below(n + 1));
        }
        for (start, end) in scratch.groups.drain(..) {
            for &index in &scratch.due[start as usize..end as usize] {
                self.join_active(q, index, End::Back, now);
            }
        }
        scratch.due.clear();
        self.scratch = scratch;
    }

    fn pop_due(&mut self, q: u32, now: UnixMicros) -> Option<u32> {
        let is_due = self.first_due(q).is_some_and(|due| due <= now);
        let queue = &mut self.queues[q];
        let index = match queue.flushed.pop(&mut self.entries) {
            Some(index) => index,
            None if is_due => queue.delayed.pop(&mut self.entries)?,
            None => return None,
        };
        queue.delayed_len -= 1;
        self.counts.delayed -= 1;
        Some(index)
    }

    /// Looks for active entries that are too old, up to `limit` at a time.
    fn sweep(&mut self, q: u32, limit: usize, now: UnixMicros) {
        let queue = &mut self.queues[q];
        if queue.active.is_empty() {
            queue.sweep = Sweep::IDLE;
            return;
        }
        if queue.sweep.cursor == NONE {
            if queue.sweep_at(now) > now {
                return;
            }
            queue.sweep = Sweep { cursor: queue.active.first(), ..Sweep::IDLE };
        }
        for _ in 0..limit {
            let at = self.queues[q].sweep.cursor;
            if at == NONE {
                break;
            }
            let (received, behind) = (self.entries[at].received, self.queues[q].active.next(&self.entries, at));
            if self.queues[q].expires(received) <= now {
                self.leave_active(q, at);
                self.expire(q, at);
            } else {
                let sweep = &mut self.queues[q].sweep;
                sweep.cursor = behind;
                sweep.oldest = sweep.oldest.min(received);
            }
        }
        let queue = &mut self.queues[q];
        if queue.sweep.cursor == NONE {
            let gap = SWEEP_GAP + SWEEP_GAP_PER_ENTRY * queue.active.len();
            queue.sweep.not_before = now.after(gap);
        }
    }

    /// An entry, which is in no line, is too old.
    pub(crate) fn expire(&mut self, q: u32, index: u32) {
        self.entries[index].state = State::Expired;
        self.expired.push_back(&mut self.entries, index);
        self.queues[q].expired += 1;
    }

    /// The recipients of the next expired message, of one container.
    pub(crate) fn report_expired(&mut self) -> Option<(Arc<Container>, Lease)> {
        let first = self.expired.head();
        if first == NONE {
            return None;
        }
        let head = self.entries[first];
        let queue = &self.queues[head.queue];
        let container = Arc::clone(&queue.container);
        let batch = queue.limits.max_recipients_per_batch.max(1) as usize;
        let mut recipients = SmallVec::new();
        let mut at = first;
        while at != NONE
            && recipients.len() < batch
            && (self.entries[at].key, self.entries[at].queue) == (head.key, head.queue)
        {
            self.expired.remove(&mut self.entries, at);
            let entry = &mut self.entries[at];
            entry.state = State::Reported;
            recipients.push(LeasedRecipient { entry: at, recipient: entry.recipient, attempts: entry.attempts });
            at = self.expired.head();
        }
        let message = self.residents.get(head.resident, head.id()).cloned();
        Some((container, Lease { key: head.key, id: head.id(), received: head.received, message, recipients }))
    }
}
