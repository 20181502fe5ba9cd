//! What the writer does with a batch once the disk has spoken: it enters a durable one into the index and answers for
//! it, and takes a failed one back. Second half of [`Volume`].

use super::index::Ending;
use super::index::{Transfer, Trust};
use super::plan::{Item, Planned};
use super::record::Place;
use super::shared::{Health, count};
use super::slots::Large;
use super::volume::{Completion, FAILURES_MAX, Mail, Origin, Stored, Volume, answer_to};
use message::StoreError;
use std::io;
use std::sync::Arc;
use std::time::Instant;

impl Volume {
    /// The plan is written, and synced if the class asks for it.
    pub(super) fn apply(&mut self, done: &mut Vec<Completion>) {
        let shared = Arc::clone(&self.shared);
        let Some(active) = &mut self.active else { return };
        let serial = active.serial;
        let mut index = shared.index();
        let mut stored = 0;
        let mut transferred = self.transfers_planned;
        for pending in self.entries.drain(..self.entries_planned) {
            index.pin(serial, pending.entry.target.serial, pending.weight());
            match pending.origin {
                Origin::News => index.news_durable += 1,
                Origin::Carried => transferred += 1,
            }
        }
        for item in &self.plan.items {
            active.contents.push(item.offset, self.commit, self.plan.head(item));
        }
        let volume = shared.volume;
        for Item { offset, len, what, .. } in self.plan.items.drain(..) {
            let place = Place::new(serial, offset);
            let bytes = u64::from(len);
            let (ticket, result) = match what {
                Planned::Store { message, ticket } => {
                    let recipients = message.envelope.recipients.len() as u16;
                    let key = index.accept(place, bytes, recipients, None);
                    stored += 1;
                    (ticket, Stored::Message(key.store_key(volume)))
                }
                Planned::Chunk { body, ticket } => {
                    let chunk = super::slots::ChunkAt { place, len: body.len() as u32 };
                    index.open_chunk(chunk);
                    (ticket, Stored::Chunk(chunk))
                }
                Planned::Commit { message, stream, chunks, ticket } => {
                    chunks.iter().for_each(|chunk| index.close_chunk(*chunk, Ending::Committed));
                    let recipients = message.envelope.recipients.len() as u16;
                    let key = index.accept(place, bytes, recipients, Some(Large { stream, chunks }));
                    stored += 1;
                    (ticket, Stored::Message(key.store_key(volume)))
                }
                Planned::MoveMessage { key, from, .. } => {
                    index.move_message(key, from, place, bytes);
                    continue;
                }
                Planned::MoveChunk { key, number, from, .. } => {
                    index.move_chunk(key, number, from, place);
                    continue;
                }
                Planned::Entries => continue,
            };
            done.push(Completion { ticket, result: Ok(result) });
        }
        index.transfers_open = index.transfers_open.saturating_sub(transferred);
        drop(index);
        self.count_batch(stored);
    }

    fn count_batch(&mut self, stored: u64) {
        let counters = &self.shared.counters;
        count(&counters.stored, stored);
        count(&counters.outcomes, self.entries_planned as u64);
        count(&counters.payload_bytes, self.plan.payload);
        count(&counters.moved_bytes, self.plan.moved);
        count(&counters.written_bytes, u64::from(self.plan.end() - self.plan.start()));
        (self.entries_planned, self.transfers_planned) = (0, 0);
        if self.entries.is_empty() {
            self.news_since = None;
        }
        if stored > 0 && self.shared.health() == Health::Full {
            self.shared.set_health(self.shared.health_apart_from_room());
        }
    }

    /// The plan could not be written or synced: nothing of it counts.
    pub(super) fn fail(&mut self, error: &io::Error, now: Instant, done: &mut Vec<Completion>) {
        let answer = answer_to(error);
        for item in self.plan.items.drain(..) {
            if let Planned::Commit { chunks, .. } = &item.what {
                self.shared.abandon(chunks);
            }
            if let Planned::Store { ticket, .. } | Planned::Chunk { ticket, .. } | Planned::Commit { ticket, .. } =
                item.what
            {
                done.push(Completion { ticket, result: Err(answer) });
            }
        }
        // Entries stay at the front of the list and go into the next segment. What was to be moved stays where it is.
        let planned = std::mem::take(&mut self.transfers_planned);
        let mut index = self.shared.index();
        index.transfers_open = index.transfers_open.saturating_sub(planned);
        self.entries_planned = 0;
        if let Some(active) = &self.active {
            // Earlier batches of the same commit, which a weaker class has acknowledged, lie before that.
            self.voids.push((active.serial, self.plan.start()));
            if let Some(segment) = index.segments.get_mut(&active.serial) {
                segment.void_from = Some(self.plan.start());
            }
        }
        drop(index);
        self.leave_segment(now);
    }

    /// Leaves a segment whose pages can no longer be trusted: what was durable there is copied out by the keeper.
    pub(super) fn leave_segment(&mut self, now: Instant) {
        count(&self.shared.counters.failures, 1);
        self.failures_in_row += 1;
        self.unsynced_since = None;
        // The next commit must not look like the proof that this one was durable.
        self.commit += 2;
        if let Some(active) = &self.active
            && let Some(segment) = self.shared.index().segments.get_mut(&active.serial)
        {
            segment.trust = Trust::Suspect;
        }
        self.seal(now);
        let health = if self.failures_in_row >= FAILURES_MAX { Health::Stopped } else { Health::Degraded };
        self.shared.set_health(health);
    }

    /// Answers all mail that waits.
    pub(super) fn refuse_mail(&mut self, error: StoreError, done: &mut Vec<Completion>) {
        if error == StoreError::Full && !self.mail.is_empty() {
            self.shared.set_health(Health::Full);
        }
        for mail in self.mail.drain(..) {
            if let Mail::Commit { chunks, .. } = &mail {
                self.shared.abandon(chunks);
            }
            done.push(Completion { ticket: mail.ticket(), result: Err(error) });
        }
    }

    /// Gives up what the keeper wants copied, for want of room: it will ask again.
    pub(super) fn drop_transfers(&mut self) {
        let mut index = self.shared.index();
        // Entries that were taken over already stay in the list.
        let dropped: u32 = index.transfers.drain(..).map(|transfer| transfer.units()).sum();
        index.transfers_open = index.transfers_open.saturating_sub(dropped);
        index.transfers_dropped += u64::from(dropped);
    }
}

impl Transfer {
    /// Bytes of the record to be copied.
    pub(super) fn record_bytes(&self) -> u64 {
        match self {
            Self::Message { record, .. } | Self::Chunk { record, .. } => record.len() as u64,
            Self::Entries(_) => 0,
        }
    }

    /// What it adds to `Index::transfers_open`.
    pub(super) fn units(&self) -> u32 {
        match self {
            Self::Message { .. } | Self::Chunk { .. } => 1,
            Self::Entries(entries) => entries.len() as u32,
        }
    }
}
