//! A container's active entries: a line for each priority and tenant, and whose turn it is.
//!
//! Between priorities, weighted round robin: of fifteen transactions urgent mail has eight, high four, normal two and low
//! one, as long as each has mail; what one does not use the others have. So none waits for ever, and urgent mail waits for
//! seven others at most. Within a priority, tenants share by their weights (see [`tenants`](crate::tenants)).

use crate::entries::{Entries, Entry};
use crate::line::{Line, NONE};
use crate::tenants::{Lanes, Slot};
use message::Priority;

pub(crate) const CLASSES: usize = Priority::ALL.len();
/// Transactions of a round, by priority.
const WEIGHTS: [u8; CLASSES] = [8, 4, 2, 1];

/// See the module.
#[derive(Debug)]
pub(crate) struct Active {
    /// Of all mail without a tenant of its own.
    lines: [Line; CLASSES],
    /// What is left of the round.
    credits: [u8; CLASSES],
    /// Of tenants, once one of them has had mail here.
    lanes: Option<Box<Lanes>>,
}

impl Active {
    pub(crate) const EMPTY: Self = Self { lines: [Line::EMPTY; CLASSES], credits: WEIGHTS, lanes: None };

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.iter().all(Line::is_empty) && self.lanes.as_ref().is_none_or(|lanes| lanes.len() == 0)
    }

    pub(crate) fn len(&self) -> u32 {
        let others: u32 = self.lines.iter().map(Line::len).sum();
        others + self.lanes.as_ref().map_or(0, |lanes| lanes.len())
    }

    /// The entry whose turn it is, or [`NONE`].
    pub(crate) fn head(&self) -> u32 {
        let waits = |class: &usize| self.waits(*class);
        let with_credit = (0..CLASSES).filter(waits).find(|&class| self.credits[class] > 0);
        let class = with_credit.or_else(|| (0..CLASSES).find(waits));
        class.map_or(NONE, |class| match &self.lanes {
            None => self.lines[class].head(),
            Some(lanes) => lanes.head(&self.lines[class], class),
        })
    }

    fn waits(&self, class: usize) -> bool {
        !self.lines[class].is_empty() || self.lanes.as_ref().is_some_and(|lanes| lanes.waits(class))
    }

    /// The first entry of the same priority and tenant, or [`NONE`].
    pub(crate) fn head_beside(&self, entry: &Entry) -> u32 {
        self.line(entry.tenant, entry.priority as usize).map_or(NONE, Line::head)
    }

    /// A transaction of that entry, which was at the head and has left, was taken; its tenant's clock moves by `stride`.
    pub(crate) fn on_served(&mut self, entry: &Entry, stride: u64) {
        let class = entry.priority as usize;
        if self.credits[class] == 0 {
            self.credits = WEIGHTS; // Nobody who waits has credit: the next round.
        }
        self.credits[class] -= 1;
        if let Some(lanes) = &mut self.lanes {
            lanes.on_served(entry.tenant, class, stride);
        }
    }

    pub(crate) fn push_back(&mut self, entries: &mut Entries, index: u32) {
        self.line_for(&entries[index], 1).push_back(entries, index);
    }

    pub(crate) fn push_front(&mut self, entries: &mut Entries, index: u32) {
        self.line_for(&entries[index], 1).push_front(entries, index);
    }

    /// Takes out an entry, which must be active.
    pub(crate) fn remove(&mut self, entries: &mut Entries, index: u32) {
        self.line_for(&entries[index], -1).remove(entries, index);
    }

    /// The first of all entries line by line, or [`NONE`].
    pub(crate) fn first(&self) -> u32 {
        self.all_lines().map(Line::head).find(|&head| head != NONE).unwrap_or(NONE)
    }

    /// The one behind an active entry line by line, or [`NONE`].
    pub(crate) fn next(&self, entries: &Entries, index: u32) -> u32 {
        let entry = &entries[index];
        if entry.links.behind != NONE {
            return entry.links.behind;
        }
        let Some(own) = self.line(entry.tenant, entry.priority as usize) else { return NONE };
        let behind = self.all_lines().skip_while(|line| !std::ptr::eq(*line, own)).skip(1);
        behind.map(Line::head).find(|&head| head != NONE).unwrap_or(NONE)
    }

    fn all_lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().chain(self.lanes.iter().flat_map(|lanes| lanes.lines()))
    }

    fn line(&self, tenant: Slot, class: usize) -> Option<&Line> {
        match tenant {
            Slot::OTHERS => Some(&self.lines[class]),
            tenant => self.lanes.as_ref()?.line(tenant, class),
        }
    }

    /// The line that an entry is in, or is to be in, which gets that much longer.
    fn line_for(&mut self, entry: &Entry, change: i32) -> &mut Line {
        let class = entry.priority as usize;
        match entry.tenant {
            Slot::OTHERS => &mut self.lines[class],
            tenant => self.lanes.get_or_insert_default().line_for(tenant, class, change),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entries::{Entry, State};
    use message::{MessageId, StoreKey, UnixMicros};
    use proptest::prelude::*;

    fn push(entries: &mut Entries, active: &mut Active, priority: Priority) -> u32 {
        let entry = Entry::new(MessageId(0), StoreKey(0), UnixMicros(0), 0);
        let index = entries.insert(Entry { state: State::Active, priority, ..entry });
        active.push_back(entries, index);
        index
    }

    /// Takes what is at the head.
    fn serve(entries: &mut Entries, active: &mut Active) -> Priority {
        let head = active.head();
        let entry = entries[head];
        active.remove(entries, head);
        active.on_served(&entry, 1);
        entry.priority
    }

    #[test]
    fn shares_are_eight_four_two_one() {
        let (mut entries, mut active) = (Entries::default(), Active::EMPTY);
        for priority in Priority::ALL {
            for _ in 0..200 {
                push(&mut entries, &mut active, priority);
            }
        }
        let mut shares = [0; CLASSES];
        (0..150).for_each(|_| shares[serve(&mut entries, &mut active) as usize] += 1);
        assert_eq!(shares, [80, 40, 20, 10]);
    }

    #[test]
    fn what_a_priority_does_not_use_the_others_have() {
        let (mut entries, mut active) = (Entries::default(), Active::EMPTY);
        for _ in 0..100 {
            push(&mut entries, &mut active, Priority::Low);
        }
        assert!((0..50).all(|_| serve(&mut entries, &mut active) == Priority::Low));
        push(&mut entries, &mut active, Priority::Urgent);
        assert_eq!(serve(&mut entries, &mut active), Priority::Urgent);
    }

    proptest! {
        /// No entry is passed over by more than two rounds of others, the order within a priority is kept, and the walk
        /// line by line meets each once.
        #[test]
        fn nobody_waits_for_ever(steps in proptest::collection::vec((0_usize..CLASSES, any::<bool>()), 1..400)) {
            let (mut entries, mut active) = (Entries::default(), Active::EMPTY);
            let mut waiting: Vec<(u32, u32)> = vec![];
            for (class, serves) in steps {
                if !serves || waiting.is_empty() {
                    waiting.push((push(&mut entries, &mut active, Priority::ALL[class]), 0));
                    continue;
                }
                let head = active.head();
                let priority = serve(&mut entries, &mut active);
                let place = waiting.iter().position(|&(index, _)| index == head).expect("it waits");
                let earlier = waiting[..place].iter().any(|&(index, _)| entries[index].priority == priority);
                prop_assert!(!earlier, "the order within a priority");
                waiting.remove(place);
                let mut firsts = [true; CLASSES];
                for (index, passed) in &mut waiting {
                    let first = std::mem::take(&mut firsts[entries[*index].priority as usize]);
                    *passed = if first { *passed + 1 } else { 0 };
                    // At worst the one before it had the share before the others began theirs: what is left of one
                    // round, and one more. The service of the one before it is counted, too.
                    prop_assert!(*passed <= 2 * 14 + 1, "passed over {passed} times");
                }
            }
            let (mut at, mut met) = (active.first(), 0);
            while at != NONE {
                met += 1;
                at = active.next(&entries, at);
            }
            prop_assert_eq!((met, active.len() as usize), (waiting.len(), waiting.len()));
        }
    }
}
