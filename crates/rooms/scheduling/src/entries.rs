//! The table of queued recipients: one cache line each, in chunks that come and go with the backlog.
//!
//! A chunk is never moved, so growing costs the same at ten entries and at ten million; it is given back when a whole
//! chunk's worth of room is free elsewhere. Everything else about a recipient stays in the spool.

use crate::line::{Linked, Links, NONE};
use crate::tenants::Slot;
use message::{MessageId, Priority, StoreKey, UnixMicros};
use std::ops::{Index, IndexMut};

const CHUNK_SLOTS: usize = 1024;
const _: () = assert!(CHUNK_SLOTS.is_power_of_two());
const _: () = assert!(size_of::<Entry>() <= 64);

/// Most entries that a table can number.
pub(crate) const ENTRIES_MAX: u32 = u32::MAX - CHUNK_SLOTS as u32;

/// A queued recipient.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Entry {
    /// The message id in two halves: as one number it would be aligned to 16 octets.
    pub(crate) id_halves: [u64; 2],
    pub(crate) key: StoreKey,
    pub(crate) received: UnixMicros,
    /// Neighbours in a line, or subtrees (left, right) in a delayed queue.
    pub(crate) links: Links,
    /// Not before this tick, while delayed.
    pub(crate) due: Tick,
    /// The container it waits for.
    pub(crate) queue: u32,
    /// Names the message in memory, if it is there.
    pub(crate) resident: u32,
    pub(crate) recipient: u16,
    /// Attempts made, the one under way included.
    pub(crate) attempts: u16,
    /// The entry whose subtree this one heads, while delayed.
    pub(crate) above: u32,
    /// Shortest way to a missing subtree, while delayed.
    pub(crate) rank: u8,
    pub(crate) priority: Priority,
    pub(crate) tenant: Slot,
    pub(crate) state: State,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nowhere: the slot is free, its `links.behind` is the next free one of the chunk.
    Free,
    /// In its container's active line.
    Active,
    /// In its container's delayed queue.
    Delayed,
    /// With a connection.
    Leased,
    /// Too old, in the line of the expired.
    Expired,
    /// Too old, with whoever reports it.
    Reported,
}

/// An eighth of a second since the scheduler was made: times that an entry can afford. Lasts 17 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u32);

/// Microseconds.
const TICK: u64 = 125_000;

impl Tick {
    /// The first tick not before `moment`; everything before `origin` is the first tick of all.
    pub(crate) fn not_before(moment: UnixMicros, origin: UnixMicros) -> Self {
        let ticks = moment.0.saturating_sub(origin.0).div_ceil(TICK);
        Self(u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    /// The moment of the tick.
    pub(crate) fn moment(self, origin: UnixMicros) -> UnixMicros {
        UnixMicros(origin.0.saturating_add(u64::from(self.0) * TICK))
    }
}

impl Entry {
    pub(crate) fn new(id: MessageId, key: StoreKey, received: UnixMicros, queue: u32) -> Self {
        Self {
            id_halves: [id.0 as u64, (id.0 >> 64) as u64],
            key,
            received,
            links: Links::FREE,
            due: Tick(0),
            queue,
            resident: NONE,
            recipient: 0,
            attempts: 0,
            above: NONE,
            rank: 0,
            priority: Priority::Normal,
            tenant: Slot::OTHERS,
            state: State::Free,
        }
    }

    pub(crate) fn id(&self) -> MessageId {
        MessageId(u128::from(self.id_halves[1]) << 64 | u128::from(self.id_halves[0]))
    }
}

/// All entries of a scheduler.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    chunks: Vec<Chunk>,
    /// Chunks that have a slot free.
    open: Vec<u32>,
    /// Numbers of chunks without memory.
    vacant: Vec<u32>,
    len: u32,
}

#[derive(Debug, Default)]
struct Chunk {
    slots: Vec<Entry>,
    free: u32,
    used: u32,
    /// Its place in `open`, if it has one.
    open_at: usize,
}

impl Entries {
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The entry of that number, unless the slot is free.
    pub(crate) fn find(&mut self, index: u32) -> Option<&mut Entry> {
        let slot = index as usize % CHUNK_SLOTS;
        let entry = self.chunks.get_mut(index as usize / CHUNK_SLOTS)?.slots.get_mut(slot)?;
        (entry.state != State::Free).then_some(entry)
    }

    /// Numbers below this may be in use.
    pub(crate) fn slots(&self) -> u32 {
        (self.chunks.len() * CHUNK_SLOTS) as u32
    }

    /// The entries with the numbers of a chunk from `index` on, and the first number behind them. The numbers go up; free
    /// slots are among them.
    pub(crate) fn chunk_from(&self, index: u32) -> (&[Entry], u32) {
        let (number, slot) = (index as usize / CHUNK_SLOTS, index as usize % CHUNK_SLOTS);
        let slots = self.chunks.get(number).map_or(&[][..], |chunk| &chunk.slots);
        (slots.get(slot..).unwrap_or_default(), (number as u32 + 1) * CHUNK_SLOTS as u32)
    }

    /// Adds an entry, whose state must not be `Free`. The caller keeps the number of entries below [`ENTRIES_MAX`].
    pub(crate) fn insert(&mut self, entry: Entry) -> u32 {
        let number = match self.open.last() {
            Some(&number) => number,
            None => self.open_chunk(),
        };
        let chunk = &mut self.chunks[number as usize];
        let slot = match chunk.free {
            NONE => {
                chunk.slots.push(entry);
                chunk.slots.len() - 1
            }
            free => {
                let slot = free as usize;
                chunk.free = chunk.slots[slot].links.behind;
                chunk.slots[slot] = entry;
                slot
            }
        };
        chunk.used += 1;
        self.len += 1;
        if chunk.used as usize == CHUNK_SLOTS {
            self.open.pop();
        }
        number * CHUNK_SLOTS as u32 + slot as u32
    }

    /// Frees an entry that is in no line and no delayed queue.
    pub(crate) fn remove(&mut self, index: u32) {
        let (number, slot) = (index as usize / CHUNK_SLOTS, index as usize % CHUNK_SLOTS);
        let chunk = &mut self.chunks[number];
        debug_assert_ne!(chunk.slots[slot].state, State::Free);
        chunk.slots[slot].state = State::Free;
        chunk.slots[slot].links.behind = chunk.free;
        chunk.free = slot as u32;
        if chunk.used as usize == CHUNK_SLOTS {
            chunk.open_at = self.open.len();
            self.open.push(number as u32);
        }
        chunk.used -= 1;
        self.len -= 1;
        if chunk.used == 0 && self.room() >= 2 * CHUNK_SLOTS {
            self.close_chunk(number);
        }
    }

    fn room(&self) -> usize {
        (self.chunks.len() - self.vacant.len()) * CHUNK_SLOTS - self.len as usize
    }

    fn open_chunk(&mut self) -> u32 {
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.chunks.push(Chunk::default());
            self.chunks.len() as u32 - 1
        });
        self.chunks[number as usize] =
            Chunk { slots: Vec::with_capacity(CHUNK_SLOTS), free: NONE, used: 0, open_at: self.open.len() };
        self.open.push(number);
        number
    }

    fn close_chunk(&mut self, number: usize) {
        let place = self.chunks[number].open_at;
        self.chunks[number] = Chunk::default();
        self.vacant.push(number as u32);
        self.open.swap_remove(place);
        if let Some(&moved) = self.open.get(place) {
            self.chunks[moved as usize].open_at = place;
        }
    }
}

impl Index<u32> for Entries {
    type Output = Entry;

    fn index(&self, index: u32) -> &Entry {
        &self.chunks[index as usize / CHUNK_SLOTS].slots[index as usize % CHUNK_SLOTS]
    }
}

impl IndexMut<u32> for Entries {
    fn index_mut(&mut self, index: u32) -> &mut Entry {
        &mut self.chunks[index as usize / CHUNK_SLOTS].slots[index as usize % CHUNK_SLOTS]
    }
}

impl Linked for Entries {
    fn links(&mut self, index: u32) -> &mut Links {
        &mut self[index].links
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(key: u64) -> Entry {
        Entry {
            state: State::Leased,
            ..Entry::new(MessageId(u128::from(key) << 70 | 5), StoreKey(key), UnixMicros(0), 0)
        }
    }

    #[test]
    fn ids_survive_their_halves() {
        assert_eq!(entry(77).id(), MessageId(77 << 70 | 5));
    }

    #[test]
    fn memory_comes_back_with_one_chunk_of_slack() {
        let mut entries = Entries::default();
        let all: Vec<_> = (0..10 * CHUNK_SLOTS as u64).map(|key| entries.insert(entry(key))).collect();
        assert_eq!((entries.chunks.len(), entries.room()), (10, 0));
        for &index in &all {
            entries.remove(index);
        }
        assert_eq!((entries.len(), entries.room()), (0, CHUNK_SLOTS));
        assert_eq!(entries.find(all[0]).map(|entry| entry.key), None);
        for key in 0..3 * CHUNK_SLOTS as u64 {
            entries.insert(entry(key));
        }
        assert_eq!(entries.chunks.len(), 10, "numbers of vacant chunks are used again");
    }

    #[test]
    fn ticks_never_come_early() {
        let origin = UnixMicros(1_000_003);
        for micros in [0, 1_000_003, 1_000_004, 1_125_003, 1_125_004, 99_999_999] {
            let moment = UnixMicros(micros);
            let due = Tick::not_before(moment, origin).moment(origin);
            assert!(due >= moment && due.0 <= moment.0.max(origin.0) + TICK, "{micros}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in proptest::collection::vec((0_u8..4, 0_usize..5000), 1..6000)) {
            let mut entries = Entries::default();
            let mut model = vec![];
            for (key, (step, pick)) in steps.into_iter().enumerate() {
                if step == 0 && !model.is_empty() {
                    let (index, key) = model.swap_remove(pick % model.len());
                    prop_assert_eq!(entries[index].key, StoreKey(key));
                    entries.remove(index);
                    prop_assert!(entries.find(index).is_none());
                } else {
                    model.push((entries.insert(entry(key as u64)), key as u64));
                }
                prop_assert_eq!(entries.len() as usize, model.len());
            }
            for (index, key) in model {
                prop_assert_eq!(entries.find(index).map(|entry| entry.key), Some(StoreKey(key)));
            }
        }
    }
}
