//! What traffic shaping makes of a container's limits, and what it is told of deliveries.
//!
//! Rules and their evidence are another crate's; `posthaste` brings here what they come to for one container, and brings
//! it again when it changes. The configured limits stay beside it: the tighter of the two counts.
//!
//! Cost: a delivery is one addition to its container's count; a container is noted once for each time that the counts
//! are taken. A lease looks whether there is a shaping. Nothing is locked and nothing allocated for a message.

use crate::queue::Queue;
use crate::scheduler::Scheduler;
use crate::{RetryPolicy, Throttle};
use message::{Container, UnixMicros};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Limits of a container that are tighter than configured, for a while.
#[derive(Clone, Debug)]
pub struct Shaping {
    /// Nothing leaves before.
    pub suspended_until: UnixMicros,
    /// How many recipients may still leave; those that have a connection are not among them.
    pub allowance: Option<u32>,
    /// Connections at the same time, if that is fewer than the limits say.
    pub max_connections: u32,
    /// Recipients of one message in one transaction, if that is fewer than the limits say.
    pub max_recipients_per_batch: u32,
    /// The wait after the first failure, instead of the configured.
    pub retry_interval: Option<Duration>,
    /// The longest wait, instead of the configured.
    pub retry_interval_max: Option<Duration>,
    /// Throttles on its recipients beside the configured one; others may have a part in them.
    pub rates: SmallVec<[Arc<Throttle>; 2]>,
    /// When it will be looked at again.
    pub until: UnixMicros,
}

/// A shaping, and what was booked for it.
#[derive(Debug)]
pub(crate) struct Tightness {
    pub(crate) shaping: Shaping,
    /// For each throttle, when the next transaction may begin.
    booked: SmallVec<[Option<UnixMicros>; 2]>,
}

impl Default for Shaping {
    /// Everything as configured.
    fn default() -> Self {
        Self {
            suspended_until: UnixMicros(0),
            allowance: None,
            max_connections: u32::MAX,
            max_recipients_per_batch: u32::MAX,
            retry_interval: None,
            retry_interval_max: None,
            rates: SmallVec::new(),
            until: UnixMicros(u64::MAX),
        }
    }
}

impl Tightness {
    fn new(shaping: Shaping) -> Self {
        let booked = shaping.rates.iter().map(|_| None).collect();
        Self { shaping, booked }
    }

    /// Until when nothing leaves.
    pub(crate) fn rests_until(&self, now: UnixMicros) -> Option<UnixMicros> {
        if self.shaping.suspended_until > now {
            return Some(self.shaping.suspended_until);
        }
        (self.shaping.allowance == Some(0)).then_some(self.shaping.until)
    }

    /// The last of what it booked.
    pub(crate) fn booked(&self) -> Option<UnixMicros> {
        self.booked.iter().copied().max().flatten()
    }

    /// Whether all throttles let a transaction through now. One that does not has booked a moment; one that does keeps
    /// its moment until the transaction begins.
    pub(crate) fn lets_through(&mut self, now: UnixMicros) -> bool {
        let mut through = true;
        for (throttle, booked) in self.shaping.rates.iter().zip(&mut self.booked) {
            let at = *booked.get_or_insert_with(|| if throttle.take(now) { now } else { throttle.book(now) });
            through &= at <= now;
        }
        through
    }

    /// A transaction with so many recipients begins.
    pub(crate) fn on_leased(&mut self, recipients: u32, now: UnixMicros) {
        self.booked.fill(None);
        for throttle in &self.shaping.rates {
            throttle.charge(recipients - 1, now);
        }
        if let Some(allowance) = &mut self.shaping.allowance {
            *allowance = allowance.saturating_sub(recipients);
        }
    }
}

impl Queue {
    /// Recipients of one message in one transaction; at least 1.
    pub(crate) fn batch_max(&self, asked: usize) -> usize {
        let shaped = self
            .shaping()
            .map_or(u32::MAX, |shaping| shaping.max_recipients_per_batch.min(shaping.allowance.unwrap_or(u32::MAX)));
        asked.min(self.limits.max_recipients_per_batch.min(shaped) as usize).max(1)
    }

    /// When a recipient that failed is tried again.
    pub(crate) fn retry(&self) -> Cow<'_, RetryPolicy> {
        let shaped = self.shaping().map(|shaping| (shaping.retry_interval, shaping.retry_interval_max));
        match shaped {
            None | Some((None, None)) => Cow::Borrowed(&self.limits.retry),
            Some((interval, interval_max)) => {
                let mut retry = self.limits.retry.clone();
                retry.interval = interval.unwrap_or(retry.interval);
                retry.interval_max = interval_max.unwrap_or(retry.interval_max).max(retry.interval);
                Cow::Owned(retry)
            }
        }
    }
}

impl Scheduler {
    /// Brings to a container what traffic shaping comes to for it now; `None` is nothing. What it had booked is
    /// forgotten if its throttles are others. Says whether there is such a container.
    pub fn shape(&mut self, container: &Container, shaping: Option<Shaping>, now: UnixMicros) -> bool {
        let Some(q) = self.queues.find(container) else { return false };
        let queue = &mut self.queues[q];
        match (&mut queue.shaping, shaping) {
            (None, None) => return true,
            (Some(_), None) => queue.shaping = None,
            (Some(old), Some(new)) if is_same(&old.shaping.rates, &new.rates) => old.shaping = new,
            (slot, Some(new)) => *slot = Some(Box::new(Tightness::new(new))),
        }
        self.agenda.hurry(q, now.0);
        true
    }

    /// How many recipients of a container have a connection.
    pub fn leased(&self, container: &Container) -> u32 {
        self.queues.find(container).map_or(0, |q| self.queues[q].leased)
    }

    /// The containers at up to `slots` places, from 0 or where the step before ended, and where to go on.
    pub fn containers_at(&self, from: u32, slots: u32) -> (Vec<Arc<Container>>, Option<u32>) {
        let end = from.saturating_add(slots).min(self.queues.slots());
        let found = (from..end).filter_map(|q| self.queues.get(q)).map(|queue| queue.container.clone());
        (found.collect(), (end < self.queues.slots()).then_some(end))
    }

    /// Takes a container that had deliveries since it was taken last, and how many recipients those were.
    pub fn poll_delivered(&mut self) -> Option<(Arc<Container>, u32)> {
        loop {
            let q = self.delivered.pop()?;
            // A container without mail goes after a minute, long after its count was to be taken.
            let Some(queue) = self.queues.get(q).filter(|queue| queue.delivered > 0) else { continue };
            let found = (Arc::clone(&queue.container), queue.delivered);
            self.queues[q].delivered = 0;
            return Some(found);
        }
    }

    /// One recipient of a container was delivered.
    pub(crate) fn note_delivered(&mut self, q: u32) {
        let queue = &mut self.queues[q];
        queue.delivered = queue.delivered.saturating_add(1);
        if queue.delivered > 1 {
            return;
        }
        self.delivered.push(q);
        // Only if nobody takes the counts: a place that had another container may stand there twice.
        if self.delivered.len() > self.queues.slots() as usize {
            self.delivered.sort_unstable();
            self.delivered.dedup();
        }
    }
}

fn is_same(old: &[Arc<Throttle>], new: &[Arc<Throttle>]) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| Arc::ptr_eq(old, new))
}
