//! Changes on their way into the list, in the order in which they were made.

use crate::address::Key;
use crate::entry::{Entry, Scope};
use crate::record::{Record, put, put_removal, records};

/// Entries to be put and entries to be removed. A later one wins over an earlier one of the same address and scope.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    octets: Vec<u8>,
    len: usize,
}

impl Batch {
    /// Octets that a batch should have at most: what one write to the log may be. Whoever fills a batch looks at
    /// [`Batch::is_full`] after each change.
    pub(crate) const OCTETS_MAX: usize = 1 << 20;

    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an entry, in the place of one with the same address and scope.
    pub fn put(&mut self, entry: &Entry) {
        put(&mut self.octets, entry);
        self.len += 1;
    }

    /// Removes the entry of an address in exactly this scope.
    pub fn remove(&mut self, key: &Key, scope: &Scope) {
        put_removal(&mut self.octets, key, scope);
        self.len += 1;
    }

    /// Changes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it is time to hand the batch over.
    pub fn is_full(&self) -> bool {
        self.octets.len() >= Self::OCTETS_MAX
    }

    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Records that were read from a file and are sound.
    pub(crate) fn from_records(octets: Vec<u8>, len: usize) -> Self {
        Self { octets, len }
    }

    pub(crate) fn append(&mut self, other: &Batch) {
        self.octets.extend_from_slice(&other.octets);
        self.len += other.len;
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        records(&self.octets).map(|(_, record)| record)
    }
}
