//! A container's active entries: a line for each priority, and whose turn it is. Weighted round robin: of fifteen
//! transactions urgent mail has eight, high four, normal two and low one, as long as each has mail; what one does not
//! use the others have. So none waits for ever, and urgent mail waits for seven others at most.

use crate::entries::Entries;
use crate::line::{Line, NONE};
use message::Priority;

const CLASSES: usize = Priority::ALL.len();
/// Transactions of a round, by priority.
const WEIGHTS: [u8; CLASSES] = [8, 4, 2, 1];

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Active {
    lines: [Line; CLASSES],
    /// What is left of the round.
    credits: [u8; CLASSES],
}

impl Active {
    pub(crate) const EMPTY: Self = Self { lines: [Line::EMPTY; CLASSES], credits: WEIGHTS };

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.iter().all(Line::is_empty)
    }

    pub(crate) fn len(&self) -> u32 {
        self.lines.iter().map(Line::len).sum()
    }

    /// The entry whose turn it is, or [`NONE`].
    pub(crate) fn head(&self) -> u32 {
        let waits = |class: &usize| !self.lines[*class].is_empty();
        let with_credit = (0..CLASSES).filter(waits).find(|&class| self.credits[class] > 0);
        with_credit.or_else(|| (0..CLASSES).find(waits)).map_or(NONE, |class| self.lines[class].head())
    }

    /// The first entry of a priority, or [`NONE`].
    pub(crate) fn head_of(&self, priority: Priority) -> u32 {
        self.lines[priority as usize].head()
    }

    /// A transaction of that priority, which was at the head, has been taken.
    pub(crate) fn on_served(&mut self, priority: Priority) {
        let class = priority as usize;
        if self.credits[class] == 0 {
            self.credits = WEIGHTS; // Nobody who waits has credit: the next round.
        }
        self.credits[class] -= 1;
    }

    pub(crate) fn push_back(&mut self, entries: &mut Entries, index: u32) {
        let class = entries[index].priority as usize;
        self.lines[class].push_back(entries, index);
    }

    pub(crate) fn push_front(&mut self, entries: &mut Entries, index: u32) {
        let class = entries[index].priority as usize;
        self.lines[class].push_front(entries, index);
    }

    /// Takes out an entry, which must be active.
    pub(crate) fn remove(&mut self, entries: &mut Entries, index: u32) {
        let class = entries[index].priority as usize;
        self.lines[class].remove(entries, index);
    }

    /// The first of all entries line by line, or [`NONE`].
    pub(crate) fn first(&self) -> u32 {
        self.first_from(0)
    }

    /// The one behind an active entry line by line, or [`NONE`].
    pub(crate) fn next(&self, entries: &Entries, index: u32) -> u32 {
        match entries[index].links.behind {
            NONE => self.first_from(entries[index].priority as usize + 1),
            behind => behind,
        }
    }

    fn first_from(&self, class: usize) -> u32 {
        self.lines[class..].iter().map(Line::head).find(|&head| head != NONE).unwrap_or(NONE)
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
        let priority = entries[head].priority;
        active.remove(entries, head);
        active.on_served(priority);
        priority
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
