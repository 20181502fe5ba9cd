//! The slot table: 32 bytes for each message in a volume, from its last commit to its end.
//!
//! A slot's number and generation make the [`StoreKey`]; where the record lies may change under compaction, the key
//! does not. Owned by the volume's index, under its lock; pure memory.

use super::record::{Entry, Fate, Place};
use foldhash::{HashMap, HashMapExt};
use message::{MessageId, Outcome, StoreKey, UnixMicros};
use smallvec::SmallVec;

/// Names a slot in one use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlotKey {
    pub(crate) slot: u32,
    /// 24 bits.
    pub(crate) generation: u32,
}

const GENERATION_MASK: u32 = (1 << 24) - 1;

impl SlotKey {
    /// The key that other rooms hold: 8 bits of volume, 24 of generation, 32 of slot.
    pub(crate) const fn store_key(self, volume: u8) -> StoreKey {
        StoreKey((volume as u64) << 56 | (self.generation as u64) << 32 | self.slot as u64)
    }

    /// Takes a key apart: volume and slot.
    pub(crate) const fn of(key: StoreKey) -> (u8, Self) {
        ((key.0 >> 56) as u8, Self { slot: key.0 as u32, generation: (key.0 >> 32) as u32 & GENERATION_MASK })
    }
}

/// A message's entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot {
    /// Where the Accept record is; serial 0: the slot is free, and `offset8` is the next free one.
    pub(crate) place: Place,
    /// Length of the record in units of 8 bytes.
    pub(crate) len8: u32,
    generation: u32,
    /// For a message with one recipient: not before.
    until: UnixMicros,
    /// Of the envelope.
    pub(crate) recipients: u16,
    /// Recipients without a final outcome.
    pub(crate) remaining: u16,
    /// For a message with one recipient: attempts so far.
    attempts: u16,
    /// The content is in chunks: see [`Slots::large`].
    pub(crate) is_large: bool,
    /// Recipients are told apart in `states`.
    has_states: bool,
}

const _: () = assert!(size_of::<Slot>() == 32);

/// A recipient's state, for messages with several of which one has had an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { until: UnixMicros, attempts: u16 },
    Settled(Outcome),
}

const UNTRIED: State = State::Waiting { until: UnixMicros(0), attempts: 0 };

/// The chunks of a large message.
#[derive(Clone, Debug)]
pub(crate) struct Large {
    pub(crate) stream: MessageId,
    pub(crate) chunks: Box<[ChunkAt]>,
}

/// One chunk of a large message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkAt {
    pub(crate) place: Place,
    /// Octets of content.
    pub(crate) len: u32,
}

/// A recipient that is still to be served, as a restart finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemainingRecipient {
    /// Which recipient of the envelope.
    pub recipient: u16,
    /// Attempts made so far.
    pub attempts: u16,
    /// Do not try before; zero: at once.
    pub not_before: UnixMicros,
}

/// What an outcome did to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It lives on.
    Waiting,
    /// That was the last recipient.
    Gone,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Slots {
    pages: Vec<Box<[Slot]>>,
    /// Number of slots ever used.
    used: u32,
    /// First free slot plus one; 0: none.
    free: u32,
    live: u32,
    states: HashMap<u32, Box<[State]>>,
    pub(crate) large: HashMap<u32, Large>,
}

const PAGE_SLOTS: usize = 4096;

impl Slots {
    pub(crate) fn new() -> Self {
        Self { states: HashMap::new(), large: HashMap::new(), ..Self::default() }
    }

    /// Messages held.
    pub(crate) const fn len(&self) -> u32 {
        self.live
    }

    /// Slots ever used: the bound for [`Slots::at`].
    pub(crate) const fn used(&self) -> u32 {
        self.used
    }

    fn raw(&self, slot: u32) -> Option<&Slot> {
        self.pages.get(slot as usize / PAGE_SLOTS)?.get(slot as usize % PAGE_SLOTS)
    }

    fn raw_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.pages.get_mut(slot as usize / PAGE_SLOTS)?.get_mut(slot as usize % PAGE_SLOTS)
    }

    /// The message in slot number `slot`, whatever its generation.
    pub(crate) fn at(&self, slot: u32) -> Option<(SlotKey, &Slot)> {
        let entry = self.raw(slot).filter(|entry| entry.place.serial != 0)?;
        Some((SlotKey { slot, generation: entry.generation }, entry))
    }

    /// The message that `key` names, if it is still there.
    pub(crate) fn get(&self, key: SlotKey) -> Option<&Slot> {
        self.raw(key.slot).filter(|entry| entry.place.serial != 0 && entry.generation == key.generation)
    }

    fn get_mut(&mut self, key: SlotKey) -> Option<&mut Slot> {
        self.raw_mut(key.slot).filter(|entry| entry.place.serial != 0 && entry.generation == key.generation)
    }

    /// Takes a message up.
    pub(crate) fn insert(&mut self, place: Place, len8: u32, recipients: u16, large: Option<Large>) -> SlotKey {
        let slot = if self.free == 0 { self.grow() } else { self.free - 1 };
        let is_large = large.is_some();
        if let Some(large) = large {
            self.large.insert(slot, large);
        }
        let next_free = &mut self.free;
        let entry = &mut self.pages[slot as usize / PAGE_SLOTS][slot as usize % PAGE_SLOTS];
        *next_free = entry.place.offset8;
        let generation = entry.generation;
        *entry = Slot { place, len8, generation, recipients, remaining: recipients, is_large, ..Slot::default() };
        self.live += 1;
        SlotKey { slot, generation }
    }

    /// Makes one more slot; its `offset8` of 0 ends the free list.
    fn grow(&mut self) -> u32 {
        let slot = self.used;
        if slot as usize / PAGE_SLOTS == self.pages.len() {
            self.pages.push(vec![Slot::default(); PAGE_SLOTS].into_boxed_slice());
        }
        self.used += 1;
        slot
    }

    /// Lets a message go; returns what it held.
    pub(crate) fn remove(&mut self, key: SlotKey) -> Option<(Slot, Option<Large>)> {
        let next_free = self.free;
        let entry = self.get_mut(key)?;
        let removed = *entry;
        let generation = (entry.generation + 1) & GENERATION_MASK;
        *entry = Slot { place: Place { serial: 0, offset8: next_free }, generation, ..Slot::default() };
        self.free = key.slot + 1;
        self.live -= 1;
        if removed.has_states {
            self.states.remove(&key.slot);
        }
        let large = if removed.is_large { self.large.remove(&key.slot) } else { None };
        Some((removed, large))
    }

    /// Notes where compaction put the record.
    pub(crate) fn relocate(&mut self, key: SlotKey, place: Place, len8: u32) {
        if let Some(entry) = self.get_mut(key) {
            (entry.place, entry.len8) = (place, len8);
        }
    }

    /// Applies an outcome; `None` when it changes nothing: the message or the recipient is settled already, or does not
    /// exist. A later attempt wins over an earlier one in whatever order they come.
    pub(crate) fn settle(&mut self, key: SlotKey, recipient: u16, outcome: Outcome) -> Option<Settled> {
        let entry = *self.get(key)?;
        if recipient >= entry.recipients {
            return None;
        }
        let state = match self.state(key, recipient)? {
            State::Settled(_) => return None,
            State::Waiting { until, attempts } => (attempts, until),
        };
        let new = match outcome {
            Outcome::Deferred { until, attempts } if (attempts, until) <= state => return None,
            Outcome::Deferred { until, attempts } => State::Waiting { until, attempts },
            Outcome::Delivered | Outcome::Failed => State::Settled(outcome),
        };
        self.set_state(key, recipient, new);
        let entry = self.get_mut(key)?;
        if matches!(new, State::Settled(_)) {
            entry.remaining -= 1;
        }
        Some(if entry.remaining == 0 { Settled::Gone } else { Settled::Waiting })
    }

    fn state(&self, key: SlotKey, recipient: u16) -> Option<State> {
        let entry = self.get(key)?;
        if entry.has_states {
            return self.states.get(&key.slot)?.get(recipient as usize).copied();
        }
        Some(State::Waiting { until: entry.until, attempts: entry.attempts })
    }

    fn set_state(&mut self, key: SlotKey, recipient: u16, state: State) {
        let Some(entry) = self.get_mut(key) else { return };
        match state {
            State::Waiting { until, attempts } if entry.recipients == 1 => {
                (entry.until, entry.attempts) = (until, attempts);
            }
            State::Settled(_) if entry.recipients == 1 => {}
            _ => {
                entry.has_states = true;
                let count = entry.recipients as usize;
                let states = self.states.entry(key.slot).or_insert_with(|| vec![UNTRIED; count].into_boxed_slice());
                states[recipient as usize] = state;
            }
        }
    }

    /// Everything known of the recipients, as entries for the record at `place`.
    pub(crate) fn entries(&self, key: SlotKey, place: Place, out: &mut Vec<Entry>) {
        let Some(entry) = self.get(key) else { return };
        for recipient in 0..if entry.has_states { entry.recipients } else { 1 } {
            let fate = match self.state(key, recipient) {
                Some(State::Settled(outcome)) => Fate::Recipient(outcome),
                Some(State::Waiting { until, attempts }) if attempts > 0 || until.0 > 0 => {
                    Fate::Recipient(Outcome::Deferred { until, attempts })
                }
                _ => continue,
            };
            out.push(Entry { target: place, recipient, fate });
        }
    }

    /// The recipients without a final outcome.
    pub(crate) fn remaining(&self, key: SlotKey) -> SmallVec<[RemainingRecipient; 1]> {
        let Some(entry) = self.get(key) else { return SmallVec::new() };
        (0..entry.recipients)
            .filter_map(|recipient| match self.state(key, recipient)? {
                State::Waiting { until, attempts } => {
                    Some(RemainingRecipient { recipient, attempts, not_before: until })
                }
                State::Settled(_) => None,
            })
            .collect()
    }

    /// Whether `outcome` is what is known of the recipient at this moment.
    pub(crate) fn is_current(&self, key: SlotKey, recipient: u16, outcome: Outcome) -> bool {
        match (self.state(key, recipient), outcome) {
            (Some(State::Waiting { until, attempts }), Outcome::Deferred { until: u, attempts: a }) => {
                (until, attempts) == (u, a)
            }
            (Some(State::Settled(known)), outcome) => known == outcome,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deferred(until: u64, attempts: u16) -> Outcome {
        Outcome::Deferred { until: UnixMicros(until), attempts }
    }

    #[test]
    fn a_slot_is_reused_under_another_generation() {
        let mut slots = Slots::new();
        let first = slots.insert(Place::new(1, 4096), 10, 1, None);
        assert!(slots.remove(first).is_some());
        let second = slots.insert(Place::new(1, 8192), 10, 1, None);
        assert_eq!(first.slot, second.slot);
        assert_ne!(first.generation, second.generation);
        assert!(slots.get(first).is_none() && slots.remove(first).is_none());
        assert_eq!(slots.settle(first, 0, Outcome::Delivered), None);
        assert_eq!(slots.len(), 1);
        let (volume, back) = SlotKey::of(second.store_key(200));
        assert_eq!((volume, back), (200, second));
    }

    #[test]
    fn the_free_list_returns_every_slot_once() {
        let mut slots = Slots::new();
        let keys: Vec<_> = (0..10_000).map(|n| slots.insert(Place::new(1, 8 * n), 1, 1, None)).collect();
        for key in &keys {
            slots.remove(*key);
        }
        let mut again: Vec<_> = (0..10_000).map(|n| slots.insert(Place::new(2, 8 * n), 1, 1, None).slot).collect();
        again.sort_unstable();
        assert_eq!(again, (0..10_000).collect::<Vec<_>>());
        assert_eq!((slots.len(), slots.used()), (10_000, 10_000));
    }

    #[test]
    fn outcomes_of_several_recipients() {
        let mut slots = Slots::new();
        let key = slots.insert(Place::new(1, 4096), 10, 3, None);
        assert_eq!(slots.settle(key, 1, Outcome::Delivered), Some(Settled::Waiting));
        assert_eq!(slots.settle(key, 1, Outcome::Failed), None, "settled for good");
        assert_eq!(slots.settle(key, 2, deferred(50, 2)), Some(Settled::Waiting));
        assert_eq!(slots.settle(key, 2, deferred(40, 1)), None, "an older attempt comes late");
        assert_eq!(slots.settle(key, 3, Outcome::Delivered), None, "no such recipient");
        let remaining = slots.remaining(key);
        assert_eq!(remaining.len(), 2);
        assert_eq!(remaining[1], RemainingRecipient { recipient: 2, attempts: 2, not_before: UnixMicros(50) });
        let mut entries = Vec::new();
        slots.entries(key, Place::new(7, 4096), &mut entries);
        assert_eq!(entries.len(), 2);
        assert!(slots.is_current(key, 2, deferred(50, 2)) && !slots.is_current(key, 2, deferred(40, 1)));
        slots.settle(key, 0, Outcome::Failed);
        assert_eq!(slots.settle(key, 2, Outcome::Delivered), Some(Settled::Gone));
    }
}
