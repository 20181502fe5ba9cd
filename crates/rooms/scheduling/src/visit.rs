//! What an operator does to single recipients that wait: find them, in steps, and take, hasten or postpone each.
//!
//! ```text
//!  Visit ── goes over the table of entries ──► Found ──► withdraw_found | hasten_found | postpone_found
//! ```
//! A visit looks at the table, which lies in memory in one order, and not at lines and heaps: so it needs no place of its
//! own in them, and what comes and goes meanwhile cannot lead it astray. Between finding a recipient and acting on it the
//! caller may read its message; what a connection took meanwhile is left to the connection.

use crate::Selector;
use crate::entries::{Entry, State};
use crate::line::NONE;
use crate::queue::Queue;
use crate::report::EntryRow;
use crate::scheduler::{End, Scheduler};
use message::{Container, Message, Queued, UnixMicros};
use std::sync::Arc;

/// Which recipients are meant, as far as a queue knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// In which containers.
    pub selector: Selector,
    /// Received at this moment or before.
    pub received_until: Option<UnixMicros>,
    /// Received at this moment or later.
    pub received_from: Option<UnixMicros>,
}

/// How far one step of a visit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisitBounds {
    /// Places of the table to look at, at most.
    pub places: u32,
    /// Recipients to find, at most.
    pub found: usize,
}

/// How far a visit has come. It sees every recipient once that is queued from its beginning to its end; of those that come
/// meanwhile, some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    at: u32,
    end: u32,
}

/// A recipient that was found. It may have gone by the time that something is done about it.
#[derive(Clone, Debug)]
pub struct Found {
    entry: u32,
    /// Its queue.
    pub container: Arc<Container>,
    /// What the queue knows of it.
    pub row: EntryRow,
    /// The message, if it is in memory.
    pub message: Option<Arc<Message>>,
}

impl EntryFilter {
    /// Whether all recipients of the containers are meant.
    pub fn is_whole(&self) -> bool {
        self.received_until.is_none() && self.received_from.is_none()
    }

    /// Whether a message of that age is meant.
    pub fn takes_received(&self, received: UnixMicros) -> bool {
        self.received_until.is_none_or(|until| received <= until)
            && self.received_from.is_none_or(|from| received >= from)
    }
}

impl Visit {
    /// Whether all has been seen.
    pub fn is_done(self) -> bool {
        self.at >= self.end
    }
}

impl Scheduler {
    /// The beginning of a visit to all recipients.
    pub fn begin_visit(&self) -> Visit {
        Visit { at: 0, end: self.entries.slots() }
    }

    /// Goes on with a visit: appends to `found` those recipients without a connection that the filter means, until a bound
    /// is reached.
    pub fn visit(&self, visit: &mut Visit, filter: &EntryFilter, bounds: VisitBounds, found: &mut Vec<Found>) {
        let (mut places, found_max) = (bounds.places.max(1), found.len() + bounds.found.max(1));
        // Recipients of one container often come one behind the other.
        let mut last = (NONE, false);
        while !visit.is_done() && places > 0 {
            let (entries, behind) = self.entries.chunk_from(visit.at);
            let looked = entries.len().min(places as usize);
            for entry in &entries[..looked] {
                if self.is_meant(entry, filter, &mut last) {
                    found.push(self.found(visit.at, entry));
                }
                visit.at += 1;
                places -= 1;
                if found.len() >= found_max {
                    return;
                }
            }
            if looked == entries.len() {
                visit.at = behind;
                places = places.saturating_sub(1);
            }
        }
    }

    fn is_meant(&self, entry: &Entry, filter: &EntryFilter, last: &mut (u32, bool)) -> bool {
        if !matches!(entry.state, State::Active | State::Delayed) || !filter.takes_received(entry.received) {
            return false;
        }
        if filter.selector == Selector::default() {
            return true;
        }
        if last.0 != entry.queue {
            *last = (entry.queue, filter.selector.selects(&self.queues[entry.queue].container));
        }
        last.1
    }

    fn found(&self, index: u32, entry: &Entry) -> Found {
        Found {
            entry: index,
            container: Arc::clone(&self.queues[entry.queue].container),
            row: self.entry_row(index),
            message: self.residents.get(entry.resident, entry.id()).cloned(),
        }
    }

    /// Takes a recipient that was found out of its queue, to be routed anew or failed: it is not queued any more. `None`
    /// if it does not wait there any more.
    pub fn withdraw_found(&mut self, found: &Found, now: UnixMicros) -> Option<Queued> {
        let not_before = match self.entries.find(found.entry)? {
            entry if entry.state == State::Delayed => entry.due.moment(self.origin),
            _ => UnixMicros(0),
        };
        let q = self.pull_found(found)?;
        let queued = self.queued(found.entry, not_before);
        self.forget(q, found.entry, now);
        Some(queued)
    }

    /// Makes a recipient that was found active, and ends the pause of its container. Says whether it was delayed.
    pub fn hasten_found(&mut self, found: &Found, now: UnixMicros) -> bool {
        if self.entries.find(found.entry).is_none_or(|entry| entry.state != State::Delayed) {
            return false;
        }
        let Some(q) = self.pull_found(found) else { return false };
        self.queues[q].end_pause();
        self.join_active(q, found.entry, End::Back, now);
        self.agenda.hurry(q, now.0);
        true
    }

    /// Lets a recipient that was found wait until a moment, at most until it is too old; returns until when.
    pub fn postpone_found(&mut self, found: &Found, until: UnixMicros) -> Option<UnixMicros> {
        let q = self.pull_found(found)?;
        let until = until.min(self.queues[q].expires(found.row.received));
        Some(self.delay(q, found.entry, until))
    }

    /// Takes an entry out of its line or heap, if it is still the one that was found and no connection has it.
    fn pull_found(&mut self, found: &Found) -> Option<u32> {
        let row = &found.row;
        let entry = *self.entries.find(found.entry)?;
        if (entry.id(), entry.recipient, entry.key) != (row.id, row.recipient, row.key) {
            return None;
        }
        match entry.state {
            State::Active => self.leave_active(entry.queue, found.entry),
            State::Delayed => self.leave_delayed(entry.queue, found.entry),
            State::Free | State::Leased | State::Expired | State::Reported => return None,
        }
        Some(entry.queue)
    }

    fn leave_delayed(&mut self, q: u32, index: u32) {
        let queue: &mut Queue = &mut self.queues[q];
        // A heap is known by its first entry; from any other the way leads there by itself.
        let heap = if queue.flushed.first() == index { &mut queue.flushed } else { &mut queue.delayed };
        heap.remove(&mut self.entries, index);
        queue.delayed_len -= 1;
        self.counts.delayed -= 1;
    }
}
