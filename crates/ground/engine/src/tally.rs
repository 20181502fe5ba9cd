//! A number that one thread writes and any thread reads.
//!
//! The owner adds with a relaxed load and a relaxed store, no locked instruction: about the price of a plain add.
//! Two writers would lose counts, never memory safety; shards that hold tallies are therefore not `Sync` themselves.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One such number, wrapping: a gauge that goes below zero reads as a negative number in two's complement.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub(crate) fn raise_to(&self, n: u64) {
        if n > self.0.load(Relaxed) {
            self.0.store(n, Relaxed);
        }
    }

    /// The one operation that any thread may use, beside any other writer that also uses only this.
    pub(crate) fn add_from_anywhere(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
