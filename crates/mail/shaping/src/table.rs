//! A table of bounded size whose least recently used entry makes room for a new one. The engine keeps evidence and
//! adjustments in it; its memory is allocated as it fills and never given back.
//!
//! ```text
//!  index: hash ─► number     slots: [key, value, newer, older] …     newest ◄─► … ◄─► oldest
//! ```

use crate::scope::{ScopeName, ScopeRef};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hash, Hasher};

/// No slot.
const NONE: u32 = u32::MAX;

/// What an entry is found by: a number that tells uses of the table apart, such as a rule's, and a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key<'a> {
    pub(crate) tag: u32,
    pub(crate) scope: ScopeRef<'a>,
}

#[derive(Debug)]
struct Slot<V> {
    tag: u32,
    newer: u32,
    older: u32,
    scope: ScopeName,
    value: V,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Table<V> {
    index: HashTable<u32>,
    slots: Vec<Option<Slot<V>>>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    entries_max: usize,
    hasher: FixedState,
}

/// An entry found or made, and what had to go for it, whose number it then has.
#[derive(Debug)]
pub(crate) struct Place<V> {
    pub(crate) slot: u32,
    pub(crate) evicted: Option<(u32, ScopeName, V)>,
}

impl<V> Table<V> {
    /// A table of at most `entries_max` entries, at least one. `seed` keeps others from choosing keys that collide.
    pub(crate) fn new(entries_max: usize, seed: u64) -> Self {
        Self {
            index: HashTable::new(),
            slots: vec![],
            free: vec![],
            newest: NONE,
            oldest: NONE,
            entries_max: entries_max.clamp(1, NONE as usize - 1),
            hasher: FixedState::with_seed(seed),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The number of an entry; stays the same until the entry goes.
    pub(crate) fn find(&self, key: Key<'_>) -> Option<u32> {
        let same = |slot: &u32| self.slot(*slot).is_some_and(|slot| slot.is(key));
        self.index.find(self.hash(key), same).copied()
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&V> {
        self.slot(slot).map(|slot| &slot.value)
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut V> {
        self.slots.get_mut(slot as usize)?.as_mut().map(|slot| &mut slot.value)
    }

    pub(crate) fn scope(&self, slot: u32) -> Option<&ScopeName> {
        self.slot(slot).map(|slot| &slot.scope)
    }

    /// The entry of a key, made if there is none; it is the newest now.
    pub(crate) fn touch(&mut self, key: Key<'_>, make: impl FnOnce() -> V) -> Place<V> {
        if let Some(slot) = self.find(key) {
            self.unlink(slot);
            self.link_newest(slot);
            return Place { slot, evicted: None };
        }
        let evicted = (self.len() >= self.entries_max).then(|| self.remove(self.oldest)).flatten();
        let made = Slot { tag: key.tag, newer: NONE, older: NONE, scope: key.scope.to_name(), value: make() };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(made);
                slot
            }
            None => {
                self.slots.push(Some(made));
                self.slots.len() as u32 - 1
            }
        };
        let hash = self.hash(key);
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.index.insert_unique(hash, slot, |slot| {
            slots[*slot as usize].as_ref().map_or(0, |slot| hash_of(hasher, slot.key()))
        });
        self.link_newest(slot);
        Place { slot, evicted }
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<(u32, ScopeName, V)> {
        let hash = self.hash(self.slot(slot)?.key());
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
        self.unlink(slot);
        let removed = self.slots[slot as usize].take()?;
        self.free.push(slot);
        Some((removed.tag, removed.scope, removed.value))
    }

    /// All entries with tag, scope and value, from the least recently used to the newest.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32, &ScopeName, &V)> {
        let mut next = self.oldest;
        std::iter::from_fn(move || {
            let number = next;
            let slot = self.slot(number)?;
            next = slot.newer;
            Some((number, slot.tag, &slot.scope, &slot.value))
        })
    }

    fn slot(&self, slot: u32) -> Option<&Slot<V>> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn hash(&self, key: Key<'_>) -> u64 {
        hash_of(&self.hasher, key)
    }

    fn link_newest(&mut self, number: u32) {
        let before = std::mem::replace(&mut self.newest, number);
        if let Some(slot) = self.slots[number as usize].as_mut() {
            (slot.newer, slot.older) = (NONE, before);
        }
        match self.slots.get_mut(before as usize).and_then(Option::as_mut) {
            Some(slot) => slot.newer = number,
            None => self.oldest = number,
        }
    }

    fn unlink(&mut self, number: u32) {
        let Some((newer, older)) = self.slot(number).map(|slot| (slot.newer, slot.older)) else { return };
        match self.slots.get_mut(newer as usize).and_then(Option::as_mut) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize).and_then(Option::as_mut) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }
}

impl<V> Slot<V> {
    fn key(&self) -> Key<'_> {
        Key { tag: self.tag, scope: self.scope.borrowed() }
    }

    fn is(&self, key: Key<'_>) -> bool {
        self.key() == key
    }
}

fn hash_of(hasher: &FixedState, key: Key<'_>) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u32(key.tag << 2 | key.scope.kind as u32);
    key.scope.site.hash(&mut state);
    key.scope.binding.hash(&mut state);
    key.scope.tenant.hash(&mut state);
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::ScopeKind;
    use proptest::prelude::*;

    fn key(site: &str) -> Key<'_> {
        Key { tag: 7, scope: ScopeRef { kind: ScopeKind::Site, site, binding: "", tenant: "" } }
    }

    proptest! {
        #[test]
        fn it_is_a_list_in_order_of_use(
            steps in prop::collection::vec((0_u8..4, 0_u8..12), 1..300),
            entries_max in 1_usize..9,
        ) {
            let mut table = Table::new(entries_max, 1);
            let mut model: Vec<(u8, u32)> = vec![];
            for (number, (what, name)) in steps.into_iter().enumerate() {
                let text = name.to_string();
                let place = model.iter().position(|(other, _)| *other == name);
                if what == 0 {
                    let found = table.find(key(&text));
                    prop_assert_eq!(found.and_then(|slot| table.get(slot).copied()), place.map(|at| model[at].1));
                    found.and_then(|slot| table.remove(slot));
                    model.retain(|(other, _)| *other != name);
                    continue;
                }
                let made = table.touch(key(&text), || number as u32);
                let entry = place.map_or((name, number as u32), |at| model.remove(at));
                let gone = (model.len() >= entries_max).then(|| model.remove(0));
                model.push(entry);
                prop_assert_eq!(made.evicted.map(|(_, _, value)| value), gone.map(|(_, value)| value));
                let told: Vec<u32> = table.iter().map(|(_, _, _, value)| *value).collect();
                prop_assert_eq!(told, model.iter().map(|(_, value)| *value).collect::<Vec<_>>());
                prop_assert_eq!(table.len(), model.len());
            }
        }
    }

    #[test]
    fn kinds_tags_and_names_tell_entries_apart() {
        let mut table = Table::new(100, 1);
        let scope = |kind| ScopeRef { kind, site: "a", binding: "b", tenant: "" };
        let keys = [
            Key { tag: 1, scope: scope(ScopeKind::Site) },
            Key { tag: 2, scope: scope(ScopeKind::Site) },
            Key { tag: 1, scope: scope(ScopeKind::BindingSite) },
            Key { tag: 1, scope: ScopeRef { binding: "", tenant: "b", ..scope(ScopeKind::Site) } },
        ];
        for (number, key) in keys.into_iter().enumerate() {
            table.touch(key, || number);
        }
        for (number, key) in keys.into_iter().enumerate() {
            assert_eq!(table.find(key).and_then(|slot| table.get(slot).copied()), Some(number));
        }
    }
}
