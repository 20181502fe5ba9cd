//! An immutable part of the list: records in order, one behind the other, and an index of where they begin.
//!
//! The index is open addressing with linear probing over four octets a slot: eight bits of the hash and the record's
//! offset plus one. Most misses end in the index, in one cache line.

use crate::record::{Record, records};
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::hash::Hasher as _;

/// Octets that the records of one table may have: an offset has 24 bits.
pub(crate) const ARENA_MAX: usize = (1 << 24) - 1;
/// Slots for so many records, of so many slots.
const LOAD: (usize, usize) = (3, 4);

const TAG_SHIFT: u32 = 24;
const OFFSET_BITS: u32 = (1 << TAG_SHIFT) - 1;

/// The key of the list's hash: of one list, for ever, and known to nobody else, so that nobody can choose addresses that
/// meet in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashKey(pub(crate) [u8; 16]);

/// The hash of an address: where to look for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Chooses the partition.
    pub(crate) high: u64,
    /// Chooses the slot and the tag.
    low: u64,
}

impl HashKey {
    /// Where an address belongs: the same in every release, since files depend on it.
    pub(crate) fn place(&self, address: &[u8]) -> Place {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(address);
        let hash = hasher.finish128();
        Place { high: hash.h1, low: hash.h2 }
    }
}

impl Place {
    fn tag(self) -> u32 {
        (self.low as u32 & 0xff) << TAG_SHIFT
    }

    /// The first slot of `slots`, which is not 0.
    fn slot(self, slots: usize) -> usize {
        (((self.low >> 32) * slots as u64) >> 32) as usize
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Table {
    arena: Box<[u8]>,
    slots: Box<[u32]>,
    len: usize,
}

impl Table {
    /// A table of the records in `arena`, which are sound and in order, without two of the same address and scope.
    ///
    /// # Panics
    /// With more than [`ARENA_MAX`] octets: whoever adds records keeps account of them.
    pub(crate) fn new(arena: Vec<u8>, key: &HashKey) -> Table {
        assert!(arena.len() <= ARENA_MAX, "a partition has {} octets, more than it may", arena.len());
        let len = records(&arena).count();
        let mut slots = vec![0_u32; if len == 0 { 0 } else { len * LOAD.1 / LOAD.0 + 1 }];
        for (at, record) in records(&arena) {
            let place = key.place(record.address);
            let mut slot = place.slot(slots.len());
            while slots[slot] != 0 {
                slot = if slot + 1 == slots.len() { 0 } else { slot + 1 };
            }
            slots[slot] = place.tag() | (at as u32 + 1);
        }
        Table { arena: arena.into(), slots: slots.into(), len }
    }

    /// Records.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The records.
    pub(crate) fn arena(&self) -> &[u8] {
        &self.arena
    }

    /// Octets of memory.
    pub(crate) fn octets(&self) -> usize {
        self.arena.len() + self.slots.len() * size_of::<u32>()
    }

    /// The records of an address.
    pub(crate) fn of<'a>(&'a self, place: Place, address: &'a [u8]) -> impl Iterator<Item = Record<'a>> {
        let tag = place.tag();
        let mut slot = if self.slots.is_empty() { 0 } else { place.slot(self.slots.len()) };
        std::iter::from_fn(move || {
            loop {
                // At least one slot in four is empty, so that this ends.
                let found = *self.slots.get(slot)?;
                if found == 0 {
                    return None;
                }
                slot = if slot + 1 == self.slots.len() { 0 } else { slot + 1 };
                let at = (found & OFFSET_BITS) as usize;
                if found & !OFFSET_BITS == tag && Record::address_at(&self.arena, at - 1) == address {
                    return Record::read(&self.arena[at - 1..]);
                }
            }
        })
    }

    /// The record of the same address and scope as `record`.
    pub(crate) fn same<'a>(&'a self, place: Place, record: &Record<'a>) -> Option<Record<'a>> {
        self.of(place, record.address).find(|found| found.same_scope(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::put;
    use crate::record::tests::entry;

    #[test]
    fn every_record_is_found_and_no_other() {
        let key = HashKey([7; 16]);
        let mut addresses: Vec<String> = (0..5_000).map(|n| format!("user{n}@host{}.example", n % 7)).collect();
        addresses.sort();
        let mut arena = Vec::new();
        addresses.iter().for_each(|address| put(&mut arena, &entry(address)));
        let table = Table::new(arena, &key);
        assert_eq!(table.len(), 5_000);
        for address in &addresses {
            let place = key.place(address.as_bytes());
            let found: Vec<_> = table.of(place, address.as_bytes()).collect();
            assert!(found.len() == 1 && found[0].address == address.as_bytes(), "{address}");
        }
        for n in 5_000..10_000 {
            let address = format!("user{n}@host{}.example", n % 7);
            assert_eq!(table.of(key.place(address.as_bytes()), address.as_bytes()).count(), 0);
        }
        let empty = Table::default();
        assert_eq!(empty.of(key.place(b"a@b"), b"a@b").count(), 0);
    }

    #[test]
    fn the_hash_is_the_same_for_ever() {
        let place = HashKey(*b"0123456789abcdef").place(b"user@example.org");
        assert_eq!((place.high, place.low), (5_263_751_473_218_839_935, 15_703_986_968_592_114_197));
    }
}
