//! A container's delayed entries, earliest first: a leftist heap whose links lie in the entries.
//!
//! Every operation takes at most about two times log2(n) steps, there is no step that pays for others, and two heaps
//! melt into one as cheaply as an entry joins. Recipients of one message that are due at the same tick come out one
//! behind the other, so that they share a transaction again.

use crate::entries::{Entries, Entry, Tick};
use crate::line::{Links, NONE};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A delayed queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delayed {
    root: u32,
}

impl Delayed {
    pub(crate) const EMPTY: Self = Self { root: NONE };

    /// The entry that is due first, or [`NONE`].
    pub(crate) fn first(self) -> u32 {
        self.root
    }

    pub(crate) fn push(&mut self, entries: &mut Entries, index: u32) {
        let entry = &mut entries[index];
        entry.rank = 1;
        entry.links.before = NONE;
        entry.links.behind = NONE;
        self.root = meld(entries, self.root, index);
        entries[self.root].above = NONE;
    }

    /// Takes out the first entry.
    pub(crate) fn pop(&mut self, entries: &mut Entries) -> Option<u32> {
        let root = self.root;
        if root == NONE {
            return None;
        }
        let links = entries[root].links;
        self.root = meld(entries, links.before, links.behind);
        if self.root != NONE {
            entries[self.root].above = NONE;
        }
        Some(root)
    }

    /// Takes out an entry, wherever it stands; it must be in this heap. On the way up from it ranks change as long as each is
    /// higher than the last, so that at most log2(n + 1) entries are touched.
    pub(crate) fn remove(&mut self, entries: &mut Entries, index: u32) {
        let Entry { links, above, .. } = entries[index];
        let below = meld(entries, links.before, links.behind);
        if below != NONE {
            entries[below].above = above;
        }
        if above == NONE {
            self.root = below;
            return;
        }
        let place = &mut entries[above].links;
        if place.before == index {
            place.before = below;
        } else {
            place.behind = below;
        }
        let mut at = above;
        while at != NONE {
            let Links { before, behind } = entries[at].links;
            if rank(entries, before) < rank(entries, behind) {
                entries[at].links = Links { before: behind, behind: before };
            }
            let ranked = rank(entries, before).min(rank(entries, behind)) + 1;
            if entries[at].rank == ranked {
                return;
            }
            entries[at].rank = ranked;
            at = entries[at].above;
        }
    }

    /// Takes in all entries of `other`.
    pub(crate) fn absorb(&mut self, entries: &mut Entries, other: Self) {
        self.root = meld(entries, self.root, other.root);
        if self.root != NONE {
            entries[self.root].above = NONE;
        }
    }

    /// The first `limit` entries in their order.
    pub(crate) fn iter_first(self, entries: &Entries, limit: usize) -> Vec<u32> {
        let mut order = vec![];
        let mut next = BinaryHeap::new();
        let reach = |next: &mut BinaryHeap<_>, index: u32| {
            if index != NONE {
                next.push(Reverse((order_of(entries, index), index)));
            }
        };
        reach(&mut next, self.root);
        while order.len() < limit
            && let Some(Reverse((_, index))) = next.pop()
        {
            order.push(index);
            reach(&mut next, entries[index].links.before);
            reach(&mut next, entries[index].links.behind);
        }
        order
    }
}

fn order_of(entries: &Entries, index: u32) -> (Tick, u64, u16) {
    let entry = &entries[index];
    (entry.due, entry.key.0, entry.recipient)
}

fn rank(entries: &Entries, index: u32) -> u8 {
    if index == NONE { 0 } else { entries[index].rank }
}

/// Joins two heaps. Each step goes to the right, where at most log2(n + 1) entries lie one below the other: the depth
/// is at most 64 for a table of 2^32 entries. What the topmost stands under, the caller has to say.
fn meld(entries: &mut Entries, one: u32, other: u32) -> u32 {
    if one == NONE || other == NONE {
        return one.min(other);
    }
    let (top, below) = if order_of(entries, one) <= order_of(entries, other) { (one, other) } else { (other, one) };
    let right = entries[top].links.behind;
    let right = meld(entries, right, below);
    entries[right].above = top;
    let left = entries[top].links.before;
    let (left_rank, right_rank) = (rank(entries, left), rank(entries, right));
    let entry = &mut entries[top];
    if left_rank < right_rank {
        entry.links.before = right;
        entry.links.behind = left;
    } else {
        entry.links.behind = right;
    }
    entry.rank = left_rank.min(right_rank) + 1;
    top
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entries::State;
    use message::{MessageId, StoreKey, UnixMicros};
    use proptest::prelude::*;

    fn add(entries: &mut Entries, delayed: &mut Delayed, due: u32, key: u64) -> u32 {
        let entry = Entry::new(MessageId(0), StoreKey(key), UnixMicros(0), 0);
        let index = entries.insert(Entry { due: Tick(due), state: State::Delayed, ..entry });
        delayed.push(entries, index);
        index
    }

    proptest! {
        #[test]
        fn comes_out_sorted(dues in proptest::collection::vec(0_u32..50, 0..300), cut in 0_usize..300) {
            let mut entries = Entries::default();
            let (mut one, mut other) = (Delayed::EMPTY, Delayed::EMPTY);
            for (key, &due) in dues.iter().enumerate() {
                add(&mut entries, if key < cut { &mut one } else { &mut other }, due, key as u64);
            }
            one.absorb(&mut entries, other);
            let listed = one.iter_first(&entries, cut);
            let mut order = vec![];
            while let Some(index) = one.pop(&mut entries) {
                order.push((entries[index].due.0, entries[index].key.0));
            }
            let mut sorted: Vec<_> = dues.iter().enumerate().map(|(key, &due)| (due, key as u64)).collect();
            sorted.sort_unstable();
            let listed: Vec<_> = listed.iter().map(|&index| (entries[index].due.0, entries[index].key.0)).collect();
            prop_assert_eq!(&listed[..], &sorted[..cut.min(sorted.len())]);
            prop_assert_eq!(order, sorted);
        }
    }

    proptest! {
        /// What is taken out of the middle is gone, and the rest is a heap as before.
        #[test]
        fn any_entry_can_be_taken_out(
            dues in proptest::collection::vec(0_u32..50, 1..300),
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..300),
        ) {
            let (mut entries, mut delayed) = (Entries::default(), Delayed::EMPTY);
            let mut left: Vec<u32> =
                (0..).zip(&dues).map(|(key, &due)| add(&mut entries, &mut delayed, due, key)).collect();
            for (step, pick) in picks.into_iter().enumerate().take(dues.len()) {
                if step % 5 == 4 {
                    let popped = delayed.pop(&mut entries).expect("as many are left");
                    left.retain(|&index| index != popped);
                } else {
                    let index = left.swap_remove(pick.index(left.len()));
                    delayed.remove(&mut entries, index);
                }
                let (mut met, mut open) = (0, vec![(delayed.first(), NONE)]);
                while let Some((index, above)) = open.pop() {
                    if index == NONE {
                        continue;
                    }
                    let Entry { links, rank: ranked, above: told, .. } = entries[index];
                    met += 1;
                    prop_assert_eq!(told, above);
                    prop_assert_eq!(ranked, rank(&entries, links.behind) + 1);
                    prop_assert!(rank(&entries, links.before) >= rank(&entries, links.behind));
                    prop_assert!(above == NONE || order_of(&entries, above) <= order_of(&entries, index));
                    open.extend([(links.before, index), (links.behind, index)]);
                }
                prop_assert_eq!(met, left.len());
            }
        }
    }

    #[test]
    fn the_way_to_the_right_stays_short() {
        for direction in [0_u32, 100_000] {
            let (mut entries, mut delayed) = (Entries::default(), Delayed::EMPTY);
            for n in 0..100_000_u32 {
                add(&mut entries, &mut delayed, direction.abs_diff(n), u64::from(n));
            }
            let (mut at, mut depth) = (delayed.first(), 0);
            while at != NONE {
                depth += 1;
                at = entries[at].links.behind;
            }
            assert!(depth <= 17, "{depth}");
        }
    }
}
