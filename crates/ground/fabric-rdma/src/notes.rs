//! What the reader of a direction tells its writer: how many windows it has disposed of, how many messages it has read. Links write notes into each
//! other's memory; a note replaces those before it.
//!
//! A note is what a peer says, so it is merged into what was known (it cannot go back) and checked against what was sent (it cannot run ahead).

use fabric::tli::Violation;

/// Bytes of a note: four words, little-endian.
pub(crate) const NOTE: usize = 32;

/// Counters since the link's first window, bulk lane first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Notes {
    /// Windows disposed of: their buffers wait for the next.
    pub(crate) disposed: [u64; 2],
    /// Messages read.
    pub(crate) read: [u64; 2],
}

impl Notes {
    /// As it is written.
    pub(crate) fn pack(&self) -> [u8; NOTE] {
        let mut bytes = [0; NOTE];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.disposed.iter().chain(&self.read)) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads it; every pattern is a note, true or not.
    pub(crate) fn parse(bytes: &[u8; NOTE]) -> Self {
        let word = |at: usize| u64::from_le_bytes(bytes[at * 8..at * 8 + 8].try_into().expect("eight bytes"));
        Self { disposed: [word(0), word(1)], read: [word(2), word(3)] }
    }

    /// Takes over what `other` knows more of. Notes that came by different ways may overtake each other.
    pub(crate) fn merge(&mut self, other: &Self) {
        for lane in 0..2 {
            self.disposed[lane] = self.disposed[lane].max(other.disposed[lane]);
            self.read[lane] = self.read[lane].max(other.read[lane]);
        }
    }

    /// Compares with what was sent: windows and messages of each lane.
    ///
    /// # Errors
    /// When more was read than sent.
    pub(crate) fn check(&self, windows: [u64; 2], messages: [u64; 2]) -> Result<(), Violation> {
        for lane in 0..2 {
            if self.disposed[lane] > windows[lane] {
                return Err(Violation::Link("it disposed of more windows than were sent"));
            }
            if self.read[lane] > messages[lane] {
                return Err(Violation::Link("it read more messages than were sent"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_note_takes_nothing_back() {
        let mut known = Notes { disposed: [7, 2], read: [100, 4] };
        let late = Notes { disposed: [6, 3], read: [90, 4] };
        known.merge(&Notes::parse(&late.pack()));
        assert_eq!(known, Notes { disposed: [7, 3], read: [100, 4] });
    }

    #[test]
    fn a_note_of_what_was_not_sent_is_refused() {
        let notes = Notes { disposed: [7, 0], read: [100, 0] };
        assert_eq!(notes.check([7, 0], [100, 0]), Ok(()));
        assert!(notes.check([6, 0], [100, 0]).is_err());
        assert!(notes.check([7, 0], [99, 0]).is_err());
    }
}
