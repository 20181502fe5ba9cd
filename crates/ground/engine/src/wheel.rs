//! A hierarchical timer wheel: pure, driven by ticks that are passed in.
//!
//! Six levels of 64 slots each reach nearly 2³⁶ ticks; a later deadline waits in the last level and is sorted in again when its
//! turn comes. Insert and cancel are O(1); an entry moves down at most six times in its life. Entries live in one slab
//! and are linked by index, so nothing is allocated once the slab has grown. [`crate::Timers`] drives one on each loop.
//!
//! ```text
//!  level 0: 64 slots of 1 tick    │ the slot of an entry: the highest group of six bits in which
//!  level 1: 64 slots of 64 ticks  │ its deadline differs from the wheel's time; when time reaches
//!  level 2: 64 slots of 4096 …    │ a slot of an upper level, its entries move to the levels below
//! ```

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 6;
/// One slot less than a full turn of the last level: a full turn would be the slot where time stands.
const REACH: u64 = (SLOTS as u64 - 1) << (SLOT_BITS * (LEVELS as u32 - 1));
const NIL: u32 = u32::MAX;
const PARKED: u16 = u16::MAX - 2;
const DUE: u16 = u16::MAX - 1;
const FREE: u16 = u16::MAX;
const _: () = assert!(LEVELS * SLOTS < PARKED as usize);

/// Names one entry; stale once the entry has fired or was cancelled, and then refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

/// Entries that become due at a tick. Ticks never run backwards: an earlier `now` counts as the last one.
#[derive(Debug)]
pub struct Wheel<T> {
    now: u64,
    occupied: [u64; LEVELS],
    heads: [u32; LEVELS * SLOTS],
    due: List,
    entries: Vec<Entry<T>>,
    free: u32,
    len: usize,
}

/// First and last of the entries that are due, in the order of their ticks.
#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

#[derive(Debug)]
struct Entry<T> {
    deadline: u64,
    previous: u32,
    next: u32,
    generation: u32,
    /// Which list holds it: `level * 64 + slot`, `DUE`, `FREE`, or none: `PARKED`.
    place: u16,
    value: Option<T>,
}

impl<T> Wheel<T> {
    /// An empty wheel whose time is `now`.
    pub fn new(now: u64) -> Wheel<T> {
        Wheel {
            now,
            occupied: [0; LEVELS],
            heads: [NIL; LEVELS * SLOTS],
            due: List { head: NIL, tail: NIL },
            entries: Vec::new(),
            free: NIL,
            len: 0,
        }
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The last `now` that the wheel has seen.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Adds an entry. A deadline that has passed is due at the next [`Wheel::poll`].
    pub fn insert(&mut self, deadline: u64, value: T) -> Key {
        let index = self.take_slot();
        let entry = &mut self.entries[index as usize];
        entry.deadline = deadline;
        entry.value = Some(value);
        let generation = entry.generation;
        self.len += 1;
        self.link(index);
        Key { index, generation }
    }

    /// Moves an entry to another deadline; `false` if the key is stale.
    pub fn reschedule(&mut self, key: Key, deadline: u64) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        self.unlink(key.index);
        self.entries[key.index as usize].deadline = deadline;
        self.link(key.index);
        true
    }

    /// Removes an entry; `None` if it has fired or was cancelled before.
    pub fn cancel(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.unlink(key.index);
        self.release(key.index)
    }

    /// The value of an entry that waits.
    pub fn get(&self, key: Key) -> Option<&T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.generation == key.generation { entry.value.as_ref() } else { None }
    }

    /// The value of an entry that waits, to change.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation == key.generation { entry.value.as_mut() } else { None }
    }

    /// The deadline of an entry that waits.
    pub fn deadline(&self, key: Key) -> Option<u64> {
        self.get(key)?;
        Some(self.entries[key.index as usize].deadline)
    }

    /// Takes one entry whose deadline is `now` or earlier; call until `None`. Earlier ticks come first; those
    /// that were inserted after their deadline come in the order of their insertion.
    pub fn poll(&mut self, now: u64) -> Option<(Key, T)> {
        let index = self.advance(now)?;
        let generation = self.entries[index as usize].generation;
        self.unlink(index);
        let value = self.release(index)?;
        Some((Key { index, generation }, value))
    }

    /// Like [`Wheel::poll`], but the entry stays first until it is rescheduled, parked or cancelled.
    pub(crate) fn peek_due(&mut self, now: u64) -> Option<Key> {
        let index = self.advance(now)?;
        Some(Key { index, generation: self.entries[index as usize].generation })
    }

    /// Keeps an entry without a deadline: it fires no more until it is rescheduled.
    pub(crate) fn park(&mut self, key: Key) {
        if self.get(key).is_some() {
            self.unlink(key.index);
            self.entries[key.index as usize].place = PARKED;
        }
    }

    /// When to call [`Wheel::poll`] next: never later than the earliest deadline, perhaps earlier (entries then
    /// only move down a level). `None` if nothing waits.
    pub fn next_wake(&self) -> Option<u64> {
        if self.due.head != NIL {
            return Some(self.now);
        }
        self.next_slot().map(|(_, _, at)| at)
    }

    /// Brings the wheel's time to `now` or to the first due entry, whichever comes first.
    fn advance(&mut self, now: u64) -> Option<u32> {
        while self.due.head == NIL {
            match self.next_slot() {
                Some((level, slot, at)) if at <= now => self.open(level, slot, at),
                _ => {
                    self.now = self.now.max(now);
                    return None;
                }
            }
        }
        Some(self.due.head)
    }

    /// The occupied slot that time reaches first. A lower level always comes before a higher one: its slots lie
    /// within the slot of the higher level in which `now` stands.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let shift = SLOT_BITS * level as u32;
        let here = (self.now >> shift) as u32 & (SLOTS as u32 - 1);
        let ahead = self.occupied[level].rotate_right(here).trailing_zeros();
        let slot = ((here + ahead) as usize) & (SLOTS - 1);
        let at = ((self.now >> shift) + u64::from(ahead)) << shift;
        Some((level, slot, at.max(self.now)))
    }

    /// Time reaches a slot: its entries become due or move down.
    fn open(&mut self, level: usize, slot: usize, at: u64) {
        self.now = at;
        let place = level * SLOTS + slot;
        let mut index = std::mem::replace(&mut self.heads[place], NIL);
        self.occupied[level] &= !(1 << slot);
        while index != NIL {
            let next = self.entries[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    fn link(&mut self, index: u32) {
        let deadline = self.entries[index as usize].deadline;
        if deadline <= self.now {
            return self.link_due(index);
        }
        let within_reach = deadline.min(self.now.saturating_add(REACH));
        let differing = (within_reach ^ self.now) | (SLOTS as u64 - 1);
        let level = ((63 - differing.leading_zeros()) / SLOT_BITS).min(LEVELS as u32 - 1);
        let slot = (within_reach >> (SLOT_BITS * level)) as usize & (SLOTS - 1);
        let place = level as usize * SLOTS + slot;
        let head = std::mem::replace(&mut self.heads[place], index);
        if head != NIL {
            self.entries[head as usize].previous = index;
        }
        self.occupied[level as usize] |= 1 << slot;
        let entry = &mut self.entries[index as usize];
        (entry.previous, entry.next, entry.place) = (NIL, head, place as u16);
    }

    fn link_due(&mut self, index: u32) {
        let tail = std::mem::replace(&mut self.due.tail, index);
        match tail {
            NIL => self.due.head = index,
            tail => self.entries[tail as usize].next = index,
        }
        let entry = &mut self.entries[index as usize];
        (entry.previous, entry.next, entry.place) = (tail, NIL, DUE);
    }

    fn unlink(&mut self, index: u32) {
        let Entry { previous, next, place, .. } = self.entries[index as usize];
        if place == PARKED {
            return;
        }
        match (previous, place) {
            (NIL, DUE) => self.due.head = next,
            (NIL, place) => {
                self.heads[place as usize] = next;
                if next == NIL {
                    self.occupied[place as usize / SLOTS] &= !(1 << (place as usize % SLOTS));
                }
            }
            (previous, _) => self.entries[previous as usize].next = next,
        }
        match next {
            NIL if place == DUE => self.due.tail = previous,
            NIL => {}
            next => self.entries[next as usize].previous = previous,
        }
    }

    fn take_slot(&mut self) -> u32 {
        if self.free != NIL {
            let index = self.free;
            self.free = self.entries[index as usize].next;
            return index;
        }
        let index = u32::try_from(self.entries.len()).expect("a wheel holds less than 2^32 entries");
        assert!(index != NIL, "a wheel holds less than 2^32 - 1 entries");
        let (previous, next) = (NIL, NIL);
        self.entries.push(Entry { deadline: 0, previous, next, generation: 0, place: FREE, value: None });
        index
    }

    fn release(&mut self, index: u32) -> Option<T> {
        let free = std::mem::replace(&mut self.free, index);
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        (entry.next, entry.place) = (free, FREE);
        self.len -= 1;
        entry.value.take()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert { ahead: u64 },
        InsertPast { behind: u64 },
        Cancel { pick: usize },
        Reschedule { pick: usize, ahead: u64 },
        Park { pick: usize },
        Advance { by: u64 },
        AdvanceToWake,
    }

    /// Distances of every magnitude, so that all levels and the part beyond the last one are met.
    fn distance() -> impl Strategy<Value = u64> {
        (0u32..40, any::<u64>()).prop_map(|(bits, raw)| raw & ((1 << bits) - 1))
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => distance().prop_map(|ahead| Step::Insert { ahead }),
            1 => (0u64..100).prop_map(|behind| Step::InsertPast { behind }),
            2 => any::<usize>().prop_map(|pick| Step::Cancel { pick }),
            2 => (any::<usize>(), distance()).prop_map(|(pick, ahead)| Step::Reschedule { pick, ahead }),
            1 => any::<usize>().prop_map(|pick| Step::Park { pick }),
            3 => distance().prop_map(|by| Step::Advance { by }),
            2 => Just(Step::AdvanceToWake),
        ]
    }

    /// A plain model: entries by number, with their deadline (none while parked).
    struct Model {
        wheel: Wheel<u32>,
        entries: BTreeMap<u32, (Option<u64>, Key)>,
        stale: Vec<Key>,
        next: u32,
        now: u64,
    }

    impl Model {
        fn pick(&self, pick: usize) -> Option<(u32, Key)> {
            let nth = pick.checked_rem(self.entries.len())?;
            self.entries.iter().nth(nth).map(|(id, (_, key))| (*id, *key))
        }

        fn insert(&mut self, deadline: u64) {
            let key = self.wheel.insert(deadline, self.next);
            self.entries.insert(self.next, (Some(deadline), key));
            self.next += 1;
        }

        fn apply(&mut self, step: &Step) {
            match *step {
                Step::Insert { ahead } => self.insert(self.now + ahead),
                Step::InsertPast { behind } => self.insert(self.now.saturating_sub(behind)),
                Step::Cancel { pick } => {
                    if let Some((id, key)) = self.pick(pick) {
                        assert_eq!(self.wheel.cancel(key), Some(id));
                        self.entries.remove(&id);
                        self.stale.push(key);
                    }
                }
                Step::Reschedule { pick, ahead } => {
                    if let Some((id, key)) = self.pick(pick) {
                        assert!(self.wheel.reschedule(key, self.now + ahead));
                        self.entries.insert(id, (Some(self.now + ahead), key));
                    }
                }
                Step::Park { pick } => {
                    if let Some((id, key)) = self.pick(pick) {
                        self.wheel.park(key);
                        self.entries.insert(id, (None, key));
                    }
                }
                Step::Advance { by } => self.advance(self.now + by),
                Step::AdvanceToWake => {
                    if let Some(at) = self.wheel.next_wake() {
                        self.advance(at);
                    }
                }
            }
            self.check();
        }

        fn advance(&mut self, now: u64) {
            let before = std::mem::replace(&mut self.now, now);
            let mut last = 0;
            while let Some((key, id)) = self.wheel.poll(now) {
                let (deadline, _) = self.entries.remove(&id).expect("fires once");
                let deadline = deadline.expect("a parked entry does not fire");
                assert!(deadline <= now, "early: {deadline} at {now}");
                assert!(deadline <= before || deadline >= last, "out of order: {deadline} after {last}");
                last = deadline.max(last);
                self.stale.push(key);
            }
        }

        fn check(&self) {
            let earliest = self.entries.values().filter_map(|(deadline, _)| *deadline).min();
            let wake = self.wheel.next_wake();
            assert_eq!(wake.is_some(), earliest.is_some());
            if let (Some(wake), Some(earliest)) = (wake, earliest) {
                assert!(wake <= earliest.max(self.now), "wakes at {wake}, due at {earliest}, now {}", self.now);
            }
            assert_eq!(self.wheel.len(), self.entries.len());
            assert!(self.stale.iter().all(|key| self.wheel.get(*key).is_none()));
        }
    }

    proptest! {
        #[test]
        fn it_fires_what_a_plain_map_fires(start in distance(), steps in prop::collection::vec(step(), 1..200)) {
            let (entries, stale) = (BTreeMap::new(), Vec::new());
            let mut model = Model { wheel: Wheel::new(start), entries, stale, next: 0, now: start };
            for step in &steps {
                model.apply(step);
            }
            // Nothing that is due stays behind, however far the wheel is turned.
            model.advance(u64::MAX / 2);
            prop_assert!(model.entries.values().all(|(deadline, _)| deadline.is_none()));
        }

        #[test]
        fn following_the_wakes_fires_each_entry_at_its_tick(start in distance(), ahead in prop::collection::vec(distance(), 1..50)) {
            let mut wheel = Wheel::new(start);
            for &ahead in &ahead {
                wheel.insert(start + ahead, start + ahead);
            }
            let mut wakes = 0;
            while let Some(at) = wheel.next_wake() {
                wakes += 1;
                while let Some((_, deadline)) = wheel.poll(at) {
                    prop_assert_eq!(deadline, at);
                }
            }
            prop_assert!(wheel.is_empty());
            // Six moves at the most for each entry, and one turn of the last level (2^36 ticks) at a time beyond it.
            prop_assert!(wakes <= ahead.len() * (LEVELS + 16), "{} wakes for {} entries", wakes, ahead.len());
        }
    }

    #[test]
    fn a_key_of_a_former_entry_is_refused() {
        let mut wheel = Wheel::new(0);
        let first = wheel.insert(5, "first");
        assert_eq!(wheel.deadline(first), Some(5));
        assert_eq!(wheel.cancel(first), Some("first"));
        let second = wheel.insert(6, "second");
        assert_eq!(wheel.cancel(first), None);
        assert!(!wheel.reschedule(first, 1));
        assert_eq!(wheel.get_mut(second), Some(&mut "second"));
    }

    #[test]
    fn a_deadline_a_full_turn_away_neither_fires_early_nor_hangs() {
        let mut wheel = Wheel::new(5);
        wheel.insert(5 + (1 << 36) + 3, ());
        assert_eq!(wheel.poll(5 + (1 << 36)), None);
        assert!(wheel.poll(5 + (1 << 36) + 3).is_some());
    }
}
