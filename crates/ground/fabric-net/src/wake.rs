//! The two places where one thread of a link leaves something to another: who sleeps is told, and who holds a lock does what others asked for.
//!
//! They make no system calls. Loom tries the first (`tests/loom.rs`); threads try the second, since loom never tries a lock while it is held.

use std::sync::{PoisonError, TryLockError};

#[cfg(loom)]
use loom::sync::MutexGuard;
#[cfg(not(loom))]
use std::sync::MutexGuard;

use fabric::sync::Mutex;
use fabric::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

/// Who sleeps on a link, or is about to: a channel's driver and its receiver may both.
#[derive(Debug)]
pub(crate) struct Sleepers {
    armed: AtomicUsize,
}

impl Sleepers {
    pub(crate) fn new() -> Self {
        Self { armed: AtomicUsize::new(0) }
    }

    /// One more is about to sleep. It looks at everything once more before it does.
    pub(crate) fn arm(&self) {
        self.armed.fetch_add(1, Ordering::Relaxed);
        // Partner: the fence in `is_any`. Either the sleeper's last look sees what was published, or the publisher sees the sleeper.
        fence(Ordering::SeqCst);
    }

    /// One is awake; says how many still sleep. One disarming too many is not another's.
    pub(crate) fn disarm(&self) -> usize {
        let before = self.armed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |armed| armed.checked_sub(1));
        before.map_or(0, |armed| armed - 1)
    }

    /// Whether somebody sleeps or is about to. Called after publishing.
    pub(crate) fn is_any(&self) -> bool {
        fence(Ordering::SeqCst);
        self.armed.load(Ordering::Relaxed) > 0
    }
}

/// A wish that the next holder of a lock fulfils.
#[derive(Debug)]
pub(crate) struct Wish(AtomicBool);

impl Wish {
    /// Takes it, to fulfil it.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// A value behind a lock, and a wish of those who do not want to wait for it.
#[derive(Debug)]
pub(crate) struct Handoff<T> {
    pub(crate) wish: Wish,
    inner: Mutex<T>,
}

impl<T> Handoff<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { wish: Wish(AtomicBool::new(false)), inner: Mutex::new(value) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        // What panicked has left a whole value behind: every step of it ends in one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.inner.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Wishes. Whoever holds the lock fulfils it, here or elsewhere: `None` when that is another.
    pub(crate) fn wish(&self) -> Option<MutexGuard<'_, T>> {
        self.wish.0.store(true, Ordering::Release);
        // Partner: the fence in `let_go`. Either we get the lock, or its holder sees the wish after letting go.
        fence(Ordering::SeqCst);
        self.try_lock()
    }

    /// Lets go of the lock; takes it again if there is a wish that came too late and nobody else to fulfil it.
    pub(crate) fn let_go<'a>(&'a self, guard: MutexGuard<'a, T>) -> Option<MutexGuard<'a, T>> {
        drop(guard);
        fence(Ordering::SeqCst);
        if self.wish.0.load(Ordering::Relaxed) { self.try_lock() } else { None }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// A wish is fulfilled by whoever holds the lock, and not forgotten between its last look and its letting go.
    #[test]
    fn no_wish_is_left_whoever_held_the_lock() {
        const ROUNDS: usize = 5000;
        let (handoff, barrier) = (Handoff::new(0u64), Barrier::new(2));
        let left = AtomicBool::new(false);
        let wish = || {
            for round in 0..ROUNDS {
                barrier.wait();
                let mut guard = handoff.wish();
                while let Some(mut held) = guard.take() {
                    *held += u64::from(handoff.wish.take());
                    (0..round % 64).for_each(|_| std::hint::spin_loop());
                    guard = handoff.let_go(held);
                }
                barrier.wait();
                left.fetch_or(handoff.wish.take(), Ordering::Relaxed);
            }
        };
        thread::scope(|scope| {
            scope.spawn(wish);
            wish();
        });
        assert!(!left.into_inner(), "a wish is left");
        assert!(*handoff.lock() >= ROUNDS as u64);
    }
}
