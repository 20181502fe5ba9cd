//! What we lent to the peer, and until when: private memory, which decides alone (FABRIC R1). Pure.
//!
//! The outlet keeps it. Nothing here reads shared memory.

use crate::slice::Slice;

/// Leases that are out.
#[derive(Debug)]
pub(crate) struct Ledger {
    entries: Vec<Entry>,
    free: Vec<u32>,
    max: usize,
}

#[derive(Debug)]
struct Entry {
    /// Raised each time that it comes back, so that an old descriptor does not name a new lease (FABRIC R3).
    generation: u32,
    /// The clone that keeps the window from being used again.
    lent: Option<Slice>,
}

impl Ledger {
    /// At most `max` leases at once. Entries are made when they are first needed.
    pub(crate) fn new(max: usize) -> Self {
        Self { entries: Vec::new(), free: Vec::new(), max }
    }

    /// Enters a loan: its index and generation. `None` when all are out.
    pub(crate) fn lend(&mut self, bytes: &Slice) -> Option<(u32, u32)> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.entries.len() < self.max => {
                self.entries.push(Entry { generation: 0, lent: None });
                (self.entries.len() - 1) as u32
            }
            None => return None,
        };
        let entry = &mut self.entries[index as usize];
        entry.lent = Some(bytes.clone());
        Some((index, entry.generation))
    }

    /// Takes a loan back; `None` when there is none of that index and generation.
    pub(crate) fn take_back(&mut self, index: u32, generation: u32) -> Option<Slice> {
        let entry = self.entries.get_mut(index as usize).filter(|entry| entry.generation == generation)?;
        let lent = entry.lent.take()?;
        entry.generation = generation.wrapping_add(1);
        self.free.push(index);
        Some(lent)
    }

    /// How many are out.
    pub(crate) fn out(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loan_comes_back_once_and_an_old_name_is_refused() {
        let mut ledger = Ledger::new(2);
        let bytes = Slice::copy_from(b"abc");
        let (index, generation) = ledger.lend(&bytes).expect("free");
        assert_eq!(ledger.take_back(index, generation.wrapping_add(1)), None);
        assert_eq!(ledger.take_back(index + 1, generation), None);
        assert_eq!(ledger.take_back(index, generation).expect("it is out"), bytes);
        assert_eq!(ledger.take_back(index, generation), None);
        let (again, later) = ledger.lend(&bytes).expect("free");
        assert_eq!((again, later), (index, generation + 1));
        assert_eq!(ledger.take_back(index, generation), None);
        assert!(ledger.lend(&bytes).is_some() && ledger.lend(&bytes).is_none());
        assert_eq!(ledger.out(), 2);
    }
}
