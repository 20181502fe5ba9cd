//! One of the list's 1024 parts: a large table, and a small one of what changed since the large one was made.
//!
//! Immutable: a change makes another partition, which shares the large table until the small one has grown to an eighth
//! of it. So a change copies little, and every record is copied about eight times in its life.

use crate::entry::{Kind, Second};
use crate::keeper::Changes;
use crate::record::{Record, records};
use crate::table::{HashKey, Place, Table};
use std::cmp::Ordering;
use std::sync::Arc;

/// The small table is merged into the large one with so many records, and …
const RECENT_MIN: usize = 64;
/// … so many times less than the large one has.
const RECENT_SHARE: usize = 8;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partition {
    base: Arc<Table>,
    /// Newer than `base`; with removals.
    recent: Arc<Table>,
    entries: usize,
}

impl Partition {
    /// A partition of records as [`Table::new`] wants them, without removals.
    pub(crate) fn new(arena: Vec<u8>, key: &HashKey) -> Partition {
        let base = Table::new(arena, key);
        Partition { entries: base.len(), base: Arc::new(base), recent: Arc::default() }
    }

    /// Entries, those included that have expired since the large table was made.
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// Octets of memory.
    pub(crate) fn octets(&self) -> usize {
        self.base.octets() + self.recent.octets()
    }

    /// The records of the large table.
    pub(crate) fn arena(&self) -> &[u8] {
        self.base.arena()
    }

    /// Octets of records, an upper bound of what a merge gives.
    pub(crate) fn arena_octets(&self) -> usize {
        self.base.arena().len() + self.recent.arena().len()
    }

    /// The first entry that stops such mail.
    pub(crate) fn find<'a>(
        &'a self,
        place: Place,
        address: &'a [u8],
        tenant: Option<&str>,
        kind: Kind,
        now: Second,
    ) -> Option<Record<'a>> {
        let stops = |record: &Record<'_>| record.is_live(now) && record.covers(tenant, kind);
        let recent = self.recent.of(place, address).find(stops);
        recent.or_else(|| {
            let is_present = |record: &Record<'_>| self.recent.same(place, record).is_none();
            self.base.of(place, address).find(|record| stops(record) && is_present(record))
        })
    }

    /// Every entry of an address.
    pub(crate) fn of<'a>(&'a self, place: Place, address: &'a [u8]) -> impl Iterator<Item = Record<'a>> {
        let base = self.base.of(place, address).filter(move |record| self.recent.same(place, record).is_none());
        self.recent.of(place, address).filter(|record| !record.is_removal()).chain(base)
    }

    /// The entries in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        merged(self.base.arena(), self.recent.arena()).filter(|record| !record.is_removal())
    }

    /// The partition after `changes`: records in order, without two of the same address and scope.
    pub(crate) fn changed(&self, changes: &[u8], key: &HashKey, now: Second) -> (Partition, Changes) {
        let counted = self.count(changes, key);
        let entries = self.entries + counted.added as usize - counted.removed as usize;
        let recent = Table::new(copied(merged(self.recent.arena(), changes)), key);
        if recent.len() <= RECENT_MIN + self.base.len() / RECENT_SHARE {
            return (Partition { base: self.base.clone(), recent: Arc::new(recent), entries }, counted);
        }
        let all = merged(self.base.arena(), recent.arena()).filter(|record| record.is_live(now));
        (Partition::new(copied(all), key), counted)
    }

    /// The partition in one table, without what has expired.
    pub(crate) fn merged(&self, key: &HashKey, now: Second) -> Partition {
        let all = merged(self.base.arena(), self.recent.arena()).filter(|record| record.is_live(now));
        Partition::new(copied(all), key)
    }

    /// What `changes` will come to.
    fn count(&self, changes: &[u8], key: &HashKey) -> Changes {
        let mut counted = Changes::default();
        for (_, record) in records(changes) {
            let place = key.place(record.address);
            let before = self.recent.same(place, &record).or_else(|| self.base.same(place, &record));
            let was_there = before.is_some_and(|before| !before.is_removal());
            match (was_there, record.is_removal()) {
                (false, false) => counted.added += 1,
                (true, false) => counted.replaced += 1,
                (true, true) => counted.removed += 1,
                (false, true) => {}
            }
        }
        counted
    }
}

/// Two runs of records in order as one; of the same address and scope, the newer.
fn merged<'a>(older: &'a [u8], newer: &'a [u8]) -> impl Iterator<Item = Record<'a>> {
    let mut older = records(older).map(|(_, record)| record).peekable();
    let mut newer = records(newer).map(|(_, record)| record).peekable();
    std::iter::from_fn(move || {
        let order = match (older.peek(), newer.peek()) {
            (Some(old), Some(new)) => old.order(new),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match order {
            Ordering::Less => older.next(),
            Ordering::Equal => {
                older.next();
                newer.next()
            }
            Ordering::Greater => newer.next(),
        }
    })
}

fn copied<'a>(all: impl Iterator<Item = Record<'a>>) -> Vec<u8> {
    let mut arena = Vec::new();
    all.for_each(|record| arena.extend_from_slice(record.octets));
    arena
}
