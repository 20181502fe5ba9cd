//! Tenants inside a container: each has lines of its own, and they share by weight.
//!
//! Every tenant that waits has a clock, which a transaction of its mail puts forward, the less the more weight it has; the
//! one whose clock is behind is next. One that begins to wait starts at the clock of the last that was served, so rest
//! earns no credit. All mail without a tenant of its own goes as one more tenant. Finding the next takes a look at each
//! tenant that has had mail here; nothing of it exists in containers without.

use crate::active::CLASSES;
use crate::line::{Line, NONE};
use foldhash::fast::RandomState;
use message::Tenant;
use std::collections::HashMap;

/// What a tenant of weight 1 moves its clock by for a transaction.
const STRIDE: u64 = 1 << 20;

/// The weights of tenants. One that is not there has weight 1, as all other mail has.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    by_tenant: HashMap<Tenant, u32, RandomState>,
}

impl FromIterator<(Tenant, u32)> for Weights {
    fn from_iter<I: IntoIterator<Item = (Tenant, u32)>>(weights: I) -> Self {
        Self { by_tenant: weights.into_iter().collect() }
    }
}

/// The tenants that a scheduler has met, by numbers that an entry can afford.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    slots: HashMap<Tenant, Slot, RandomState>,
    /// From slot 1 on.
    known: Vec<Tenant>,
    weights: Weights,
}

/// A tenant's place in [`Tenants`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u8);

impl Slot {
    /// Of all mail without a tenant of its own.
    pub(crate) const OTHERS: Self = Self(0);
}

impl Tenants {
    pub(crate) fn set_weights(&mut self, weights: Weights) {
        self.weights = weights;
    }

    /// The slot of a tenant. Beyond 255, which only changes of the configuration can bring about, they count as others.
    pub(crate) fn slot(&mut self, tenant: Tenant) -> Slot {
        if tenant == Tenant::OTHERS {
            return Slot::OTHERS;
        }
        if let Some(slot) = self.slots.get(&tenant) {
            return *slot;
        }
        let Ok(number) = u8::try_from(self.known.len() + 1) else { return Slot::OTHERS };
        self.known.push(tenant);
        self.slots.insert(tenant, Slot(number));
        Slot(number)
    }

    pub(crate) fn tenant(&self, Slot(number): Slot) -> Tenant {
        usize::from(number).checked_sub(1).map_or(Tenant::OTHERS, |place| self.known[place])
    }

    /// What a transaction moves the clock of that tenant by.
    pub(crate) fn stride(&self, slot: Slot) -> u64 {
        let weight = self.weights.by_tenant.get(&self.tenant(slot)).copied().unwrap_or(1).max(1);
        (STRIDE / u64::from(weight)).max(1)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    /// Entries in all of them.
    len: u32,
    /// Of all other mail, by priority.
    others: [u64; CLASSES],
    /// The clock of the last that was served, by priority.
    now: [u64; CLASSES],
}

#[derive(Debug)]
struct Lane {
    tenant: Slot,
    lines: [Line; CLASSES],
    clocks: [u64; CLASSES],
}

impl Lanes {
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn waits(&self, class: usize) -> bool {
        self.lanes.iter().any(|lane| !lane.lines[class].is_empty())
    }

    /// The entry whose turn it is within a priority; `others` is the line of the mail without a tenant.
    pub(crate) fn head(&self, others: &Line, class: usize) -> u32 {
        let lanes = self.lanes.iter().map(|lane| (lane.clocks[class], &lane.lines[class]));
        let all = std::iter::once((self.others[class], others)).chain(lanes);
        let waiting = all.filter(|(_, line)| !line.is_empty());
        waiting.min_by_key(|&(clock, _)| clock.max(self.now[class])).map_or(NONE, |(_, line)| line.head())
    }

    /// A transaction of that tenant was taken.
    pub(crate) fn on_served(&mut self, tenant: Slot, class: usize, stride: u64) {
        let now = self.now[class];
        let clock = match tenant {
            Slot::OTHERS => Some(&mut self.others[class]),
            tenant => self.lanes.iter_mut().find(|lane| lane.tenant == tenant).map(|lane| &mut lane.clocks[class]),
        };
        if let Some(clock) = clock {
            let started = (*clock).max(now);
            *clock = started + stride;
            self.now[class] = started;
        }
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lanes.iter().flat_map(|lane| &lane.lines)
    }

    pub(crate) fn line(&self, tenant: Slot, class: usize) -> Option<&Line> {
        self.lanes.iter().find(|lane| lane.tenant == tenant).map(|lane| &lane.lines[class])
    }

    /// The line of a tenant, which is made, and gets that much longer.
    pub(crate) fn line_for(&mut self, tenant: Slot, class: usize, change: i32) -> &mut Line {
        self.len = self.len.strict_add_signed(change);
        let place = self.lanes.iter().position(|lane| lane.tenant == tenant).unwrap_or_else(|| {
            self.lanes.push(Lane { tenant, lines: [Line::EMPTY; CLASSES], clocks: self.now });
            self.lanes.len() - 1
        });
        &mut self.lanes[place].lines[class]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::active::Active;
    use crate::entries::{Entries, Entry, State};
    use message::{MessageId, Priority, StoreKey, UnixMicros};
    use proptest::prelude::*;

    const ONE: Slot = Slot(1);
    const TWO: Slot = Slot(2);

    /// Tenants of which the first has the number 1.
    fn tenants(weights: &[u32]) -> Tenants {
        let mut tenants = Tenants::default();
        tenants.set_weights((1..).map(Tenant).zip(weights.iter().copied()).collect());
        (1..).zip(weights).for_each(|(number, _)| assert_eq!(tenants.slot(Tenant(number)), Slot(number as u8)));
        tenants
    }

    fn push(entries: &mut Entries, active: &mut Active, tenant: Slot, priority: Priority) -> u32 {
        let entry = Entry::new(MessageId(0), StoreKey(0), UnixMicros(0), 0);
        let index = entries.insert(Entry { state: State::Active, tenant, priority, ..entry });
        active.push_back(entries, index);
        index
    }

    fn serve(entries: &mut Entries, active: &mut Active, tenants: &Tenants) -> Entry {
        let head = active.head();
        let entry = entries[head];
        active.remove(entries, head);
        active.on_served(&entry, tenants.stride(entry.tenant));
        entries.remove(head);
        entry
    }

    #[test]
    fn shares_follow_the_weights_and_nobody_earns_by_resting() {
        let (mut entries, mut active) = (Entries::default(), Active::EMPTY);
        let tenants = tenants(&[6, 3]);
        for tenant in [Slot::OTHERS, ONE] {
            (0..400).for_each(|_| {
                push(&mut entries, &mut active, tenant, Priority::Normal);
            });
        }
        let shares = |active: &mut Active, entries: &mut Entries, turns: usize| {
            let mut shares = [0; 3];
            (0..turns).for_each(|_| shares[serve(entries, active, &tenants).tenant.0 as usize] += 1);
            shares
        };
        assert_eq!(shares(&mut active, &mut entries, 70), [10, 60, 0]);
        (0..400).for_each(|_| {
            push(&mut entries, &mut active, TWO, Priority::Normal);
        });
        let [others, one, two] = shares(&mut active, &mut entries, 100);
        assert!((others, one).max((0, 0)) <= (11, 61) && (29..=31).contains(&two), "{others} {one} {two}");
    }

    #[test]
    fn priorities_go_before_tenants() {
        let (mut entries, mut active) = (Entries::default(), Active::EMPTY);
        let tenants = tenants(&[1000, 1]);
        (0..50).for_each(|_| {
            push(&mut entries, &mut active, ONE, Priority::Low);
        });
        (0..50).for_each(|_| {
            push(&mut entries, &mut active, TWO, Priority::High);
        });
        let high = (0..50).filter(|_| serve(&mut entries, &mut active, &tenants).priority == Priority::High);
        assert_eq!(high.count(), 40);
    }

    proptest! {
        /// Against a plain list: the order within a priority and tenant is kept, all are met by a walk, none is lost.
        #[test]
        fn lines_are_as_a_plain_list(steps in proptest::collection::vec((0_u8..4, 0_usize..4, any::<bool>()), 1..300)) {
            let (mut entries, mut active) = (Entries::default(), Active::EMPTY);
            let tenants = tenants(&[5, 1, 1]);
            let mut waiting: Vec<u32> = vec![];
            for (tenant, class, serves) in steps {
                if !serves || waiting.is_empty() {
                    waiting.push(push(&mut entries, &mut active, Slot(tenant), Priority::ALL[class]));
                    continue;
                }
                let head = active.head();
                let place = waiting.iter().position(|&index| index == head).expect("it waits");
                let alike = |index: u32| (entries[index].tenant, entries[index].priority);
                prop_assert!(!waiting[..place].iter().any(|&index| alike(index) == alike(head)), "the order");
                waiting.remove(place);
                serve(&mut entries, &mut active, &tenants);
            }
            let (mut at, mut met) = (active.first(), vec![]);
            while at != NONE {
                met.push(at);
                at = active.next(&entries, at);
            }
            prop_assert_eq!(active.len() as usize, waiting.len());
            prop_assert_eq!(active.is_empty(), waiting.is_empty());
            met.sort_unstable();
            waiting.sort_unstable();
            prop_assert_eq!(met, waiting);
        }

        /// Each that always has mail gets its share over any time. No clock is more than one stride before the hindmost, so a
        /// tenant is ahead by one turn at most, and behind by its share of one turn of each.
        #[test]
        fn shares_hold_over_any_time(weights in proptest::collection::vec(1_u32..50, 1..6), turns in 1_usize..400) {
            let (mut entries, mut active) = (Entries::default(), Active::EMPTY);
            let table = tenants(&weights);
            for number in 1..=weights.len() {
                let tenant = Slot(number as u8);
                (0..2).for_each(|_| { push(&mut entries, &mut active, tenant, Priority::Normal); });
            }
            let mut shares = vec![0_f64; weights.len()];
            for _ in 0..turns {
                let entry = serve(&mut entries, &mut active, &table);
                shares[entry.tenant.0 as usize - 1] += 1.0;
                push(&mut entries, &mut active, entry.tenant, Priority::Normal);
            }
            let sum: u32 = weights.iter().sum();
            for (share, weight) in shares.iter().zip(&weights) {
                let fair = turns as f64 * f64::from(*weight) / f64::from(sum);
                let behind = weights.len() as f64 * f64::from(*weight) / f64::from(sum);
                // Strides are whole numbers, and a little too short.
                let fine = fair - behind - 0.1..=fair + 1.1;
                prop_assert!(fine.contains(share), "{share} of {turns} turns instead of {fair}");
            }
        }
    }
}
