//! The word by which a sender says what it waits for, so that a receiver rings for that and not for everything that it does.
//!
//! The outlet writes it, the peer's inlet reads it. Neither makes a system call.
//!
//! Invariant:
//! - **W1** Who waits: says what it wants, full fence, looks once more whether it is there. Who did it: publishes that, full fence, reads the word. Of the
//!   two reads at least one sees the other's write, so either the one finds it, or the other knows that it is waited for.

use std::fmt;

use crate::memory::{Memory, Origin};
use crate::sync::atomic::{Ordering, fence};

/// What this side waits for, a bit for each.
pub struct Wants {
    word: Memory,
    bits: u64,
}

impl Wants {
    /// The first word of `word`.
    ///
    /// # Safety
    /// Nothing else writes it while the result lives.
    ///
    /// # Panics
    /// When the memory is not ours.
    pub unsafe fn new(word: Memory) -> Self {
        assert_eq!(word.origin(), Origin::Own, "what we want is said in our own memory");
        Self { word, bits: 0 }
    }

    /// From now on `bits` are waited for: look once more after this.
    #[inline]
    pub fn want(&mut self, bits: u64) {
        if self.bits & bits != bits {
            self.bits |= bits;
            // SAFETY: by `new` we alone write it.
            unsafe { self.word.store(0, self.bits) };
        }
        // W1: partner of the fence in `PeerWants::waits_for`.
        fence(Ordering::SeqCst);
    }

    /// `bits` are no longer waited for.
    #[inline]
    pub fn have(&mut self, bits: u64) {
        if self.bits & bits != 0 {
            self.bits &= !bits;
            // SAFETY: by `new` we alone write it.
            unsafe { self.word.store(0, self.bits) };
        }
    }

    /// Whether one of `bits` is waited for.
    pub fn wants(&self, bits: u64) -> bool {
        self.bits & bits != 0
    }
}

impl fmt::Debug for Wants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wants").field("bits", &self.bits).finish_non_exhaustive()
    }
}

/// What the peer waits for, as seen from here.
pub struct PeerWants {
    word: Memory,
}

impl PeerWants {
    /// The first word of `word`.
    pub fn new(word: Memory) -> Self {
        Self { word }
    }

    /// Whether the peer waits for one of `bits`, which the caller has just brought about and published.
    #[inline]
    pub fn waits_for(&self, bits: u64) -> bool {
        // W1: partner of the fence in `Wants::want`.
        fence(Ordering::SeqCst);
        self.word.load(0) & bits != 0
    }
}

impl fmt::Debug for PeerWants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerWants").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_bit_is_wanted_until_it_is_there() {
        let memory = Memory::private(8);
        // SAFETY: the memory is new.
        let (mut own, peer) = (unsafe { Wants::new(memory.clone()) }, PeerWants::new(memory));
        assert!(!peer.waits_for(u64::MAX));
        own.want(1);
        own.want(4);
        assert!(peer.waits_for(1) && peer.waits_for(6) && !peer.waits_for(2));
        own.have(1);
        own.have(2);
        assert!(!peer.waits_for(1) && peer.waits_for(4) && own.wants(4));
    }
}
