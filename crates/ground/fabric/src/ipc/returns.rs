//! How borrowed leases go back to the peer: a ring in our memory, written by any thread under a short lock.
//!
//! The ring never overflows with a peer that keeps to its word: it has at most as many leases out as the ring has places, and counts one as out
//! until it has read its return. One that does not keep to it loses its own returns.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::layout;
use super::tether::SocketTether;
use crate::tli::{Erase, Returns, Tether, Violation};

/// A return as it stands in the ring: `generation u32 | erase 1 bit | lease 31 bits`.
pub(crate) const ERASE: u64 = 1 << 31;

/// The ring's writing end.
pub(crate) struct ReturnRing {
    tether: Arc<SocketTether>,
    written: Mutex<u64>,
    borrowed: AtomicU32,
}

impl ReturnRing {
    pub(crate) fn new(tether: Arc<SocketTether>) -> Self {
        Self { tether, written: Mutex::new(0), borrowed: AtomicU32::new(0) }
    }

    /// Counts a lease that is being borrowed; more than the peer said it would lend are a violation.
    pub(crate) fn borrow(&self) -> Result<(), Violation> {
        // Counting only; the leases themselves are handed over by other words.
        if self.borrowed.fetch_add(1, Ordering::Relaxed) < self.tether.theirs.leases {
            return Ok(());
        }
        self.borrowed.fetch_sub(1, Ordering::Relaxed);
        Err(Violation::Link("it lends more than it announced"))
    }
}

impl Returns for ReturnRing {
    fn give_back(&self, lease: u32, generation: u32, erase: Erase) {
        let own = &self.tether.own;
        let erase = if erase == Erase::Zero { ERASE } else { 0 };
        {
            // Nothing under the lock can panic half-way, so a poisoned one is as good.
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            own.set(
                own.layout.returned(*written),
                u64::from(generation) << 32 | erase | u64::from(lease) & (ERASE - 1),
            );
            *written += 1;
            // By I2 written under the lock only. Release: the peer finds the entry.
            own.set(layout::RETURNED, *written);
        }
        self.borrowed.fetch_sub(1, Ordering::Relaxed);
        self.tether.ring();
    }
}
