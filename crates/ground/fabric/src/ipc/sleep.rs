//! The word by which a process says that it sleeps, and how the other side reads it.
//!
//! The tether of `ipc:` holds both; other transports of shared memory may. Nothing here makes a system call.
//!
//! ```text
//!  63                        17 16                1  0
//! ┌────────────────────────────┬───────────────────┬───┐
//! │ sleeps so far              │ threads that sleep │ ? │   bit 0: someone sleeps and wants to be rung for this value
//! └────────────────────────────┴───────────────────┴───┘
//! ```
//!
//! Invariants:
//! - **S1** The sleeper's order is: new odd word, full fence, look at everything, sleep. The ringer's order is: publish, full fence, read the word. Of the
//!   two reads at least one sees the other's write, so either the sleeper sees what was published, or the ringer sees it asleep.
//! - **S2** Every going to sleep makes a value that was never there before. A ringer that has rung for a value need not ring for it again: whoever went to
//!   sleep with that value is woken by that ring, and whoever goes to sleep later makes another.
//! - **S3** The word lies in memory of its own process; only its [`SleepWord`] writes it, by compare and exchange, from any thread.

use std::fmt;

use crate::memory::{Memory, Origin};
use crate::sync::atomic::{AtomicU64, Ordering, fence};

const ASLEEP: u64 = 1;
const SLEEPER: u64 = 1 << 1;
const SLEEPERS: u64 = 0xffff << 1;
const SLEEP: u64 = 1 << 17;

/// This process's sleep word, shared by its threads.
pub struct SleepWord {
    word: Memory,
}

impl SleepWord {
    /// The first word of `word`.
    ///
    /// # Safety
    /// S3: nothing else writes it while the result lives.
    ///
    /// # Panics
    /// When the memory is not ours.
    pub unsafe fn new(word: Memory) -> Self {
        assert_eq!(word.origin(), Origin::Own, "a sleep word is in our own memory");
        Self { word }
    }

    /// One thread more is about to sleep: look at everything once more after this, then sleep.
    ///
    /// # Panics
    /// When 65,535 threads sleep already.
    pub fn arm(&self) {
        self.change(|word| {
            assert!(word & SLEEPERS != SLEEPERS, "65,535 threads sleep on one link");
            word.wrapping_add(SLEEP + SLEEPER) | ASLEEP
        });
        // S1: partner of the fence in `PeerSleep::must_ring` and in `TxWindow::peer_sleeps`.
        fence(Ordering::SeqCst);
    }

    /// One thread less sleeps. Returns how many still do.
    pub fn disarm(&self) -> u16 {
        let word = self.change(|word| match word & SLEEPERS {
            0 => word,
            SLEEPER => (word - SLEEPER) & !ASLEEP,
            _ => word - SLEEPER,
        });
        threads(word)
    }

    /// How many threads sleep, or are about to.
    pub fn sleepers(&self) -> u16 {
        threads(self.word.load(0))
    }

    /// Returns the new word.
    fn change(&self, change: impl Fn(u64) -> u64) -> u64 {
        let mut word = self.word.load(0);
        loop {
            let new = change(word);
            // SAFETY: by S3 the word is written here only, and always by an exchange.
            match unsafe { self.word.exchange(0, word, new) } {
                Ok(_) => return new,
                Err(seen) => word = seen,
            }
        }
    }
}

/// For tools: threads that sleep, and sleeps so far.
#[cfg(not(loom))]
pub(crate) fn parts(word: u64) -> (u16, u64) {
    (threads(word), word / SLEEP)
}

fn threads(word: u64) -> u16 {
    ((word & SLEEPERS) >> 1) as u16
}

impl fmt::Debug for SleepWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SleepWord").field("sleepers", &self.sleepers()).finish()
    }
}

/// The peer's sleep word, and the last value of it for which we rang.
pub struct PeerSleep {
    word: Memory,
    rung: AtomicU64,
}

impl PeerSleep {
    /// The first word of `word`.
    pub fn new(word: Memory) -> Self {
        Self { word, rung: AtomicU64::new(0) }
    }

    /// Whether the caller, who has published something, must wake the peer now. Says so once for each value of the word; a peer that changes it
    /// without cause costs us one ring for each call, no more.
    pub fn must_ring(&self) -> bool {
        // S1: partner of the fence in `SleepWord::arm`.
        fence(Ordering::SeqCst);
        let word = self.word.load(0);
        if word & ASLEEP == 0 || self.rung.load(Ordering::Relaxed) == word {
            return false;
        }
        // By S2 it is enough that one thread rings for this value; the order of the two needs no more than the word itself.
        self.rung.swap(word, Ordering::Relaxed) != word
    }
}

impl fmt::Debug for PeerSleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerSleep").field("word", &self.word.load(0)).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn pair() -> (SleepWord, PeerSleep) {
        let memory = Memory::private(8);
        // SAFETY: the memory is new.
        (unsafe { SleepWord::new(memory.clone()) }, PeerSleep::new(memory))
    }

    #[test]
    fn who_sleeps_is_rung_once_for_each_sleep() {
        let (own, peer) = pair();
        assert!(!peer.must_ring());
        own.arm();
        assert!(peer.must_ring() && !peer.must_ring());
        own.disarm();
        assert!(!peer.must_ring());
        own.arm();
        assert!(peer.must_ring() && !peer.must_ring());
    }

    #[test]
    fn a_second_sleeper_is_rung_too_and_the_word_stays_odd_until_both_are_up() {
        let (own, peer) = pair();
        own.arm();
        assert!(peer.must_ring());
        own.arm();
        assert!(peer.must_ring());
        assert_eq!(own.disarm(), 1);
        assert_eq!(own.word.load(0) & ASLEEP, ASLEEP);
        assert_eq!(own.disarm(), 0);
        assert_eq!(own.word.load(0) & ASLEEP, 0);
        assert_eq!(own.disarm(), 0, "more than all cannot get up");
    }
}
