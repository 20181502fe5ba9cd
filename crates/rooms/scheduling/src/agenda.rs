//! Which container to look after next: a binary heap by time in which every container stands at most once.

use crate::line::NONE;

/// Containers by the time they want to be looked after, microseconds since the epoch.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: Vec<(u64, u32)>,
    places: Vec<u32>,
}

impl Agenda {
    /// The earliest appointment.
    pub(crate) fn first(&self) -> Option<(u64, u32)> {
        self.heap.first().copied()
    }

    /// When `container` is to be looked after; `u64::MAX` if never.
    pub(crate) fn at(&self, container: u32) -> u64 {
        match self.place(container) {
            NONE => u64::MAX,
            place => self.heap[place as usize].0,
        }
    }

    /// Moves the appointment of `container`; `u64::MAX` cancels it.
    pub(crate) fn set(&mut self, container: u32, at: u64) {
        let place = self.place(container);
        if at == u64::MAX {
            if place != NONE {
                self.remove(place as usize);
            }
            return;
        }
        let place = match place {
            NONE => {
                if self.places.len() <= container as usize {
                    self.places.resize(container as usize + 1, NONE);
                }
                self.heap.push((at, container));
                self.heap.len() - 1
            }
            place => {
                self.heap[place as usize].0 = at;
                place as usize
            }
        };
        self.settle(place);
    }

    /// Moves the appointment of `container` to `at` if that is earlier.
    pub(crate) fn hurry(&mut self, container: u32, at: u64) {
        if at < self.at(container) {
            self.set(container, at);
        }
    }

    fn place(&self, container: u32) -> u32 {
        self.places.get(container as usize).copied().unwrap_or(NONE)
    }

    fn remove(&mut self, place: usize) {
        let (_, container) = self.heap.swap_remove(place);
        self.places[container as usize] = NONE;
        if place < self.heap.len() {
            self.settle(place);
        }
    }

    /// Restores the order around the one appointment that may be out of it.
    fn settle(&mut self, mut place: usize) {
        let moved = self.heap[place];
        while place > 0 && moved < self.heap[(place - 1) / 2] {
            let parent = (place - 1) / 2;
            self.put(place, self.heap[parent]);
            place = parent;
        }
        loop {
            let left = 2 * place + 1;
            let Some(&first) = self.heap.get(left) else { break };
            let (child, earlier) = match self.heap.get(left + 1) {
                Some(&second) if second < first => (left + 1, second),
                _ => (left, first),
            };
            if moved <= earlier {
                break;
            }
            self.put(place, earlier);
            place = child;
        }
        self.put(place, moved);
    }

    fn put(&mut self, place: usize, appointment: (u64, u32)) {
        self.heap[place] = appointment;
        self.places[appointment.1 as usize] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn agrees_with_a_sorted_map(moves in proptest::collection::vec((0_u32..12, prop_oneof![0_u64..50, Just(u64::MAX)]), 1..200)) {
            let mut agenda = Agenda::default();
            let mut model = BTreeMap::new();
            for (container, at) in moves {
                agenda.set(container, at);
                model.insert(container, at);
                let first = model.iter().map(|(&container, &at)| (at, container)).min().filter(|&(at, _)| at < u64::MAX);
                prop_assert_eq!(agenda.first(), first);
                for (&container, &at) in &model {
                    prop_assert_eq!(agenda.at(container), at);
                }
            }
        }
    }

    #[test]
    fn hurry_never_delays() {
        let mut agenda = Agenda::default();
        agenda.hurry(3, 10);
        agenda.hurry(3, 20);
        assert_eq!(agenda.first(), Some((10, 3)));
        agenda.hurry(3, 5);
        assert_eq!(agenda.at(3), 5);
    }
}
