//! What a volume knows in memory: its messages, its segments, and which segment still holds what another needs.
//!
//! One index a volume, behind one lock, taken once a batch by the writer, once a step by the keeper and once a read by
//! the swap-in pool; never by an event loop. No I/O here.
//!
//! A segment may be given back when no record in it counts. Three things count:
//! - *live* bytes: Accept records of messages that are not gone, and their chunks;
//! - *open* chunks: of streams that are not committed yet;
//! - *pins*: an outcome tells of a message in an older segment. While that segment's bytes exist, the outcome must
//!   too, or a restart would find the message and not its end. The older segment's release takes the pin away.

use super::record::Place;
use super::segment::{Contents, SegmentFile};
use super::slots::{ChunkAt, Large, Settled, SlotKey, Slots};
use foldhash::{HashMap, HashMapExt};
use message::Outcome;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// What a segment is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is being written.
    Active,
    /// It is complete, since then.
    Sealed(Instant),
    /// All that counts in it has been copied out, durably.
    Evacuated,
    /// Its header block could not be written: never to be used again by this process.
    Retired,
}

/// Whether the disk has failed us in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    Sound,
    /// A write or sync failed: what it holds is copied out first of all.
    Suspect,
}

/// What the records of a segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// Whole messages, and outcomes.
    Whole,
    /// Chunks, too.
    Chunks,
}

/// A segment in use.
pub(crate) struct Segment {
    pub(crate) file: SegmentFile,
    pub(crate) phase: Phase,
    pub(crate) trust: Trust,
    /// Bytes of records that count for themselves.
    pub(crate) live_bytes: u64,
    /// Chunks of streams that are not committed.
    pub(crate) open_chunks: u32,
    /// Records from this offset on were refused when a write or sync failed.
    pub(crate) void_from: Option<u32>,
    /// Outcomes that must be durable before chunks in here may vanish: an Accept record without its chunks would look
    /// like damage to a restart that does not find the outcome.
    news_needed: u64,
    holds: Holds,
    /// Older segments that entries in this one tell of, with the bytes of the entries that must be kept.
    pins: HashMap<u32, u64>,
}

impl Segment {
    pub(crate) fn new(file: SegmentFile, phase: Phase) -> Self {
        Self {
            file,
            phase,
            trust: Trust::Sound,
            live_bytes: 0,
            open_chunks: 0,
            void_from: None,
            news_needed: 0,
            holds: Holds::Whole,
            pins: HashMap::new(),
        }
    }

    /// Whether nothing in it counts any more, with so many outcomes durable.
    fn is_dead(&self, news_durable: u64) -> bool {
        match self.phase {
            Phase::Evacuated => true,
            Phase::Sealed(_) if self.holds == Holds::Chunks && news_durable < self.news_needed => false,
            Phase::Sealed(_) => self.live_bytes == 0 && self.open_chunks == 0 && self.pins.is_empty(),
            Phase::Active | Phase::Retired => false,
        }
    }

    /// Bytes that compaction would have to copy.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.live_bytes + self.pins.values().sum::<u64>()
    }

    /// The segments that it tells of.
    pub(crate) fn pinned(&self) -> impl Iterator<Item = &u32> {
        self.pins.keys()
    }
}

/// What the keeper asks the writer to put into its next batch.
pub(crate) enum Transfer {
    /// The record of this message, if it is still at `from`.
    Message { key: SlotKey, from: Place, record: fabric::Slice },
    /// A chunk of this message, if it is still at `from`.
    Chunk { key: SlotKey, number: u32, from: Place, record: fabric::Slice },
    /// Entries that must outlive their segment.
    Entries(Vec<super::record::Entry>),
}

/// See the module.
pub(crate) struct Index {
    pub(crate) slots: Slots,
    pub(crate) segments: BTreeMap<u32, Segment>,
    /// Segments that hold nothing, in the order they were given back. The last one is kept for outcomes and compaction.
    pub(crate) free: VecDeque<SegmentFile>,
    /// Sealed segments whose index file is not written yet.
    pub(crate) unindexed: VecDeque<(SegmentFile, Contents)>,
    /// From the keeper to the writer.
    pub(crate) transfers: VecDeque<Transfer>,
    /// Transfers handed over and not yet durable or dropped.
    pub(crate) transfers_open: u32,
    /// Transfers that were given up for want of room, ever: a run of compaction that had some must not end well.
    pub(crate) transfers_dropped: u64,
    /// Outcomes applied here, ever, and how many of them are durable: what is superseded by one that is not durable yet
    /// must be kept.
    pub(crate) news_applied: u64,
    pub(crate) news_durable: u64,
    /// Highest serial given out.
    pub(crate) last_serial: u32,
    /// Highest file number in use.
    pub(crate) last_number: u32,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            slots: Slots::new(),
            segments: BTreeMap::new(),
            free: VecDeque::new(),
            unindexed: VecDeque::new(),
            transfers: VecDeque::new(),
            transfers_open: 0,
            transfers_dropped: 0,
            news_applied: 0,
            news_durable: 0,
            last_serial: 0,
            last_number: 0,
        }
    }

    /// Segment files of the volume, in use or free.
    pub(crate) fn files(&self) -> usize {
        self.segments.len() + self.free.len()
    }

    /// Takes the next free segment into use, leaving at least `leave` free.
    pub(crate) fn activate(&mut self, leave: usize) -> Option<(u32, SegmentFile)> {
        if self.free.len() <= leave {
            return None;
        }
        let file = self.free.pop_front()?;
        self.last_serial += 1;
        self.segments.insert(self.last_serial, Segment::new(file.clone(), Phase::Active));
        Some((self.last_serial, file))
    }

    /// Adds live bytes to a segment.
    pub(crate) fn charge(&mut self, serial: u32, bytes: u64) {
        if let Some(segment) = self.segments.get_mut(&serial) {
            segment.live_bytes += bytes;
        }
    }

    /// Adds live bytes of a chunk to a segment.
    pub(crate) fn charge_chunk(&mut self, serial: u32, bytes: u64) {
        self.charge(serial, bytes);
        if let Some(segment) = self.segments.get_mut(&serial) {
            segment.holds = Holds::Chunks;
        }
    }

    /// A restart is complete: nothing was applied that is not durable.
    pub(crate) fn settle_down(&mut self) {
        self.segments.values_mut().for_each(|segment| segment.news_needed = 0);
    }

    /// Takes live bytes away from a segment.
    pub(crate) fn discharge(&mut self, serial: u32, bytes: u64) {
        // The outcome that did it is counted next.
        let news_needed = self.news_applied + 1;
        if let Some(segment) = self.segments.get_mut(&serial) {
            segment.news_needed = news_needed;
            debug_assert!(segment.live_bytes >= bytes, "segment {serial} gives back more than it holds");
            segment.live_bytes = segment.live_bytes.saturating_sub(bytes);
        }
    }

    /// A message is durable at `place`; with its chunks, which were open until now, if it is large.
    pub(crate) fn accept(&mut self, place: Place, record_bytes: u64, recipients: u16, large: Option<Large>) -> SlotKey {
        self.charge(place.serial, record_bytes);
        self.slots.insert(place, (record_bytes / 8) as u32, recipients, large)
    }

    /// Applies an outcome. `None`: it changes nothing. Else where the message lies, and whether it is gone now.
    pub(crate) fn settle(&mut self, key: SlotKey, recipient: u16, outcome: Outcome) -> Option<(Place, Settled)> {
        let place = self.slots.get(key)?.place;
        let settled = self.slots.settle(key, recipient, outcome)?;
        if settled == Settled::Gone {
            self.forget(key);
        }
        Some((place, settled))
    }

    /// Lets a message go, and gives back the place it lay at.
    pub(crate) fn forget(&mut self, key: SlotKey) -> Option<Place> {
        let (slot, large) = self.slots.remove(key)?;
        self.discharge(slot.place.serial, u64::from(slot.len8) * 8);
        for chunk in large.iter().flat_map(|large| large.chunks.iter()) {
            self.discharge(chunk.place.serial, chunk_record_bytes(chunk.len));
        }
        Some(slot.place)
    }

    /// A chunk is durable whose stream is not committed.
    pub(crate) fn open_chunk(&mut self, chunk: ChunkAt) {
        if let Some(segment) = self.segments.get_mut(&chunk.place.serial) {
            segment.live_bytes += chunk_record_bytes(chunk.len);
            segment.open_chunks += 1;
            segment.holds = Holds::Chunks;
        }
    }

    /// The stream of a chunk was committed or abandoned.
    pub(crate) fn close_chunk(&mut self, chunk: ChunkAt, ending: Ending) {
        if let Some(segment) = self.segments.get_mut(&chunk.place.serial) {
            segment.open_chunks = segment.open_chunks.saturating_sub(1);
            if ending == Ending::Abandoned {
                segment.live_bytes = segment.live_bytes.saturating_sub(chunk_record_bytes(chunk.len));
            }
        }
    }

    /// Compaction made a durable copy of a message's record.
    pub(crate) fn move_message(&mut self, key: SlotKey, from: Place, to: Place, record_bytes: u64) {
        let Some(slot) = self.slots.get(key).filter(|slot| slot.place == from).copied() else { return };
        self.discharge(from.serial, u64::from(slot.len8) * 8);
        self.charge(to.serial, record_bytes);
        self.slots.relocate(key, to, (record_bytes / 8) as u32);
        self.pin(to.serial, from.serial, 0);
    }

    /// Compaction made a durable copy of a chunk.
    pub(crate) fn move_chunk(&mut self, key: SlotKey, number: u32, from: Place, to: Place) {
        if self.slots.get(key).is_none() {
            return;
        }
        let Some(large) = self.slots.large.get_mut(&key.slot) else { return };
        let Some(chunk) = large.chunks.get_mut(number as usize).filter(|chunk| chunk.place == from) else { return };
        chunk.place = to;
        let bytes = chunk_record_bytes(chunk.len);
        self.discharge(from.serial, bytes);
        self.charge_chunk(to.serial, bytes);
    }

    /// Whether what the keeper read is still where it was, so that a copy is of use.
    pub(crate) fn is_current(&self, transfer: &Transfer) -> bool {
        match transfer {
            Transfer::Message { key, from, .. } => self.slots.get(*key).is_some_and(|slot| slot.place == *from),
            Transfer::Chunk { key, number, from, .. } => {
                let large = self.slots.get(*key).and_then(|_| self.slots.large.get(&key.slot));
                large.and_then(|large| large.chunks.get(*number as usize)).is_some_and(|chunk| chunk.place == *from)
            }
            Transfer::Entries(_) => true,
        }
    }

    /// Segment `serial` holds `bytes` of entries that tell of segment `target`.
    pub(crate) fn pin(&mut self, serial: u32, target: u32, bytes: u64) {
        if serial == target || !self.segments.contains_key(&target) {
            return;
        }
        if let Some(segment) = self.segments.get_mut(&serial) {
            *segment.pins.entry(target).or_insert(0) += bytes;
        }
    }

    /// The oldest segment in which nothing counts.
    pub(crate) fn dead(&self) -> Option<(u32, SegmentFile)> {
        // With nothing free, outcomes may be waiting for this very room.
        let news_durable = if self.free.is_empty() { u64::MAX } else { self.news_durable };
        self.segments
            .iter()
            .find(|(_, segment)| segment.is_dead(news_durable))
            .map(|(serial, segment)| (*serial, segment.file.clone()))
    }

    /// The segment's header block says durably that it is free: nothing need tell of it any more.
    pub(crate) fn release(&mut self, serial: u32) {
        if let Some(segment) = self.segments.remove(&serial) {
            for other in self.segments.values_mut() {
                other.pins.remove(&serial);
            }
            self.free.push_back(segment.file);
        }
    }

    /// Bytes that count, in all segments.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.live_bytes).sum()
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Committed,
    Abandoned,
}

/// Bytes of the record of a chunk with `len` octets.
pub(crate) const fn chunk_record_bytes(len: u32) -> u64 {
    (super::record::HEADER_BYTES as u64 + len as u64).next_multiple_of(8)
}
