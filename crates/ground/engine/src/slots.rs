//! A short list whose members are named by number and leave in any order: tasks, children and waiters of a scope.

/// Members by number; a number is given again once its member has left.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: u32,
}

#[derive(Debug)]
enum Slot<T> {
    Full(T),
    Free { next: u32 },
}

const NIL: u32 = u32::MAX;

impl<T> Slots<T> {
    pub(crate) const fn new() -> Slots<T> {
        Slots { slots: Vec::new(), free: NIL }
    }

    pub(crate) fn insert(&mut self, member: T) -> u32 {
        let index = self.free;
        match self.slots.get_mut(index as usize) {
            Some(slot) => {
                if let Slot::Free { next } = *slot {
                    self.free = next;
                }
                *slot = Slot::Full(member);
                index
            }
            None => {
                if self.slots.is_empty() {
                    // Most lists of a session have one member; a vector would make room for four.
                    self.slots.reserve_exact(1);
                }
                self.slots.push(Slot::Full(member));
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 tasks fit in memory")
            }
        }
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.slots.get_mut(index as usize) {
            Some(Slot::Full(member)) => Some(member),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        if matches!(slot, Slot::Free { .. }) {
            return None;
        }
        match std::mem::replace(slot, Slot::Free { next: std::mem::replace(&mut self.free, index) }) {
            Slot::Full(member) => Some(member),
            Slot::Free { .. } => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Full(member) => Some(member),
            Slot::Free { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_again_and_members_stay_apart() {
        let mut slots = Slots::new();
        let (a, b, c) = (slots.insert('a'), slots.insert('b'), slots.insert('c'));
        assert_eq!(slots.remove(b), Some('b'));
        assert_eq!(slots.remove(b), None);
        assert_eq!(slots.remove(a), Some('a'));
        let (d, e, f) = (slots.insert('d'), slots.insert('e'), slots.insert('f'));
        assert_eq!((d, e), (a, b));
        assert_ne!(f, c);
        assert_eq!(slots.get_mut(c), Some(&mut 'c'));
        assert_eq!(slots.iter().collect::<String>(), "decf");
    }
}
