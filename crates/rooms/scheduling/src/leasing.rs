//! What connections take from the queues and give back. Every leased entry comes back exactly once.

use crate::Next;
use crate::entries::State;
use crate::line::NONE;
use crate::scheduler::{End, Scheduler};
use crate::tending::STEP_ENTRIES_MAX;
use message::{Attempted, Lease, LeasedRecipient, Outcome, UnixMicros, Verdict};
use smallvec::SmallVec;
use std::time::Duration;

/// Entries that are too old and found at the head by one lease.
const STALE_HEADS_MAX: usize = 64;
/// How long an expired recipient rests when it could not be reported.
const REPORT_AGAIN: Duration = Duration::from_secs(60);

impl Scheduler {
    /// The next transaction of a connection; see [`message::Work::lease`].
    pub(crate) fn lease_next(&mut self, connection: u32, recipients_max: usize, now: UnixMicros) -> Option<Lease> {
        let q = self.connections.queue(connection)?;
        if !self.queues[q].flows(now) {
            return None;
        }
        if self.queues[q].active.is_empty() {
            self.activate(q, STEP_ENTRIES_MAX, now);
        }
        let first = self.fresh_head(q, now)?;
        let head = self.entries[first];
        if !self.queues[q].may_lease(now) {
            let wake = self.queues[q].wake_for_active(now);
            self.agenda.hurry(q, wake);
            return None;
        }
        let batch = self.queues[q].batch_max(recipients_max);
        let mut recipients = SmallVec::new();
        let mut at = first;
        while at != NONE && recipients.len() < batch && self.entries[at].key == head.key {
            self.leave_active(q, at);
            let entry = &mut self.entries[at];
            entry.state = State::Leased;
            entry.attempts = entry.attempts.saturating_add(1);
            recipients.push(LeasedRecipient { entry: at, recipient: entry.recipient, attempts: entry.attempts });
            at = self.queues[q].active.head_beside(&head);
        }
        let queue = &mut self.queues[q];
        queue.active.on_served(&head, self.tenants.stride(head.tenant));
        queue.leased += recipients.len() as u32;
        queue.moved_at = now;
        if let Some(share) = &queue.limits.shares.message_rate {
            share.what.charge(recipients.len() as u32 - 1, now);
        }
        if let Some(shaping) = &mut queue.shaping {
            shaping.on_leased(recipients.len() as u32, now);
        }
        self.counts.leased += recipients.len() as u32;
        let message = self.residents.get(head.resident, head.id()).cloned();
        Some(Lease { key: head.key, id: head.id(), received: head.received, message, recipients })
    }

    /// The first active entry; those before it that are too old are put aside.
    fn fresh_head(&mut self, q: u32, now: UnixMicros) -> Option<u32> {
        for _ in 0..STALE_HEADS_MAX {
            let head = self.queues[q].active.head();
            if head == NONE {
                return None;
            }
            if self.queues[q].expires(self.entries[head].received) > now {
                return Some(head);
            }
            self.leave_active(q, head);
            self.expire(q, head);
        }
        None
    }

    /// A leased entry comes back; see [`message::Work::attempted`].
    pub(crate) fn give_back(&mut self, index: u32, verdict: Verdict, now: UnixMicros) -> Attempted {
        let Some(entry) = self.entries.find(index) else {
            debug_assert!(false, "entry {index} given back twice");
            return Attempted::Returned;
        };
        let (q, state) = (entry.queue, entry.state);
        match state {
            State::Leased => {
                self.queues[q].leased -= 1;
                self.counts.leased -= 1;
                self.on_attempt(q, index, verdict, now)
            }
            State::Reported => {
                self.queues[q].expired -= 1;
                self.on_report(q, index, verdict, now)
            }
            State::Free | State::Active | State::Delayed | State::Expired => {
                debug_assert!(false, "entry {index} given back, but it is {state:?}");
                Attempted::Returned
            }
        }
    }

    fn on_attempt(&mut self, q: u32, index: u32, verdict: Verdict, now: UnixMicros) -> Attempted {
        match verdict {
            Verdict::Delivered => {
                self.queues[q].on_delivered();
                self.note_delivered(q);
                self.forget(q, index, now);
                self.consider(q, now);
                Attempted::Settled(Outcome::Delivered)
            }
            Verdict::Permanent => {
                self.queues[q].on_reached();
                self.forget(q, index, now);
                Attempted::Settled(Outcome::Failed)
            }
            Verdict::Transient => self.on_transient(q, index, now),
            Verdict::Untried => {
                let entry = &mut self.entries[index];
                entry.attempts = entry.attempts.saturating_sub(1);
                self.join_active(q, index, End::Front, now);
                Attempted::Returned
            }
        }
    }

    fn on_transient(&mut self, q: u32, index: u32, now: UnixMicros) -> Attempted {
        let retry = self.queues[q].retry();
        let resident_failures_max = self.queues[q].limits.resident_failures_max;
        let entry = &mut self.entries[index];
        let (id, attempts) = (entry.id(), entry.attempts);
        let chance = self.dice.of_attempt(id, attempts);
        let Next::Again(not_before) = retry.next(entry.received, attempts, chance, now) else {
            self.forget(q, index, now);
            return Attempted::Expired;
        };
        if attempts >= resident_failures_max {
            self.residents.release(entry.resident, id);
            entry.resident = NONE;
        }
        let until = self.delay(q, index, not_before);
        Attempted::Settled(Outcome::Deferred { until, attempts })
    }

    /// An expired recipient comes back from [`message::Work::poll_expired`].
    fn on_report(&mut self, q: u32, index: u32, verdict: Verdict, now: UnixMicros) -> Attempted {
        let attempted = match verdict {
            Verdict::Delivered => Attempted::Settled(Outcome::Delivered),
            Verdict::Permanent => Attempted::Settled(Outcome::Failed),
            Verdict::Transient => Attempted::Expired,
            Verdict::Untried => {
                self.delay(q, index, now.after(REPORT_AGAIN));
                return Attempted::Returned;
            }
        };
        self.forget(q, index, now);
        attempted
    }
}
