//! The adjustments of all scopes, and when each changes by itself. The engine keeps two: what holds, and what would hold
//! if dry runs were not dry.

use crate::adjustment::{Adjustment, Cause};
use crate::decision::Part;
use crate::scope::{ScopeKind, ScopeName, ScopeRef};
use crate::table::{Key, Table};
use message::UnixMicros;
use std::collections::BTreeSet;

/// Entries that one call may find to have come a step nearer to the whole only.
const STEPS_MAX: usize = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    table: Table<Entry>,
    agenda: BTreeSet<(UnixMicros, u32)>,
    /// How many entries there are of each kind of scope.
    kinds: [u32; ScopeKind::ALL.len()],
}

#[derive(Debug, Default)]
struct Entry {
    adjustment: Adjustment,
    wake: Option<UnixMicros>,
}

impl Ledger {
    pub(crate) fn new(entries_max: usize, seed: u64) -> Self {
        Self { table: Table::new(entries_max, seed), agenda: BTreeSet::new(), kinds: [0; 4] }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// What is adjusted for a scope; cheap if nothing is for any of its kind.
    pub(crate) fn get(&self, scope: ScopeRef<'_>) -> Option<&Adjustment> {
        if self.kinds[scope.kind as usize] == 0 {
            return None;
        }
        let slot = self.table.find(key(scope))?;
        self.table.get(slot).map(|entry| &entry.adjustment)
    }

    /// Changes what is adjusted for a scope. At the bound the least recently changed scope goes; it is given back.
    pub(crate) fn change<R>(
        &mut self,
        scope: ScopeRef<'_>,
        now: UnixMicros,
        change: impl FnOnce(&mut Adjustment) -> R,
    ) -> (R, Option<(ScopeName, Adjustment)>) {
        let before = self.table.len();
        let place = self.table.touch(key(scope), Entry::default);
        let evicted = place.evicted.map(|(_, name, entry)| {
            // The new entry has its number.
            if let Some(wake) = entry.wake {
                self.agenda.remove(&(wake, place.slot));
            }
            self.kinds[name.kind as usize] -= 1;
            (name, entry.adjustment)
        });
        if self.table.len() > before || evicted.is_some() {
            self.kinds[scope.kind as usize] += 1;
        }
        let entry = self.table.get_mut(place.slot).expect("it was touched just now");
        let result = change(&mut entry.adjustment);
        self.arm(place.slot, now);
        (result, evicted)
    }

    /// Takes everything about a scope away.
    pub(crate) fn remove(&mut self, scope: ScopeRef<'_>) -> Option<Adjustment> {
        let slot = self.table.find(key(scope))?;
        self.remove_slot(slot)
    }

    /// The next moment at which something changes by itself.
    pub(crate) fn next_change(&self) -> Option<UnixMicros> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// One part whose time is over, and whose it was.
    pub(crate) fn poll_ended(&mut self, now: UnixMicros) -> Option<(ScopeName, Part, Cause)> {
        for _ in 0..STEPS_MAX {
            let (at, slot) = *self.agenda.first()?;
            if at > now {
                return None;
            }
            let entry = self.table.get_mut(slot)?;
            let ended = entry.adjustment.take_ended(now);
            let scope = self.table.scope(slot).cloned();
            self.arm(slot, now);
            if let (Some((part, cause)), Some(scope)) = (ended, scope) {
                return Some((scope, part, cause));
            }
        }
        None
    }

    /// All scopes, the least recently changed first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ScopeName, &Adjustment)> {
        self.table.iter().map(|(_, _, scope, entry)| (scope, &entry.adjustment))
    }

    /// Notes when an entry changes next; drops it if it is empty.
    fn arm(&mut self, slot: u32, now: UnixMicros) {
        let Some(entry) = self.table.get_mut(slot) else { return };
        if let Some(wake) = entry.wake.take() {
            self.agenda.remove(&(wake, slot));
        }
        match entry.adjustment.next_change(now) {
            Some(next) => {
                entry.wake = Some(next);
                self.agenda.insert((next, slot));
            }
            None => drop(self.remove_slot(slot)),
        }
    }

    fn remove_slot(&mut self, slot: u32) -> Option<Adjustment> {
        let (_, scope, entry) = self.table.remove(slot)?;
        if let Some(wake) = entry.wake {
            self.agenda.remove(&(wake, slot));
        }
        self.kinds[scope.kind as usize] -= 1;
        Some(entry.adjustment)
    }
}

fn key(scope: ScopeRef<'_>) -> Key<'_> {
    Key { tag: 0, scope }
}
