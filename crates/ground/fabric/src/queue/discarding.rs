//! A line whose producers make room by taking the oldest value out: bounded queues that discard the oldest.
//!
//! The consumer's place is taken for an instant, by the consumer for each value, by a producer for each value it discards. Nobody waits for it: a
//! producer that finds it taken goes over the bound, up to twice, and the consumer discards what is over; a consumer that finds it taken finds
//! nothing for now, and the producer that had it comes to the consumer's work after its own push, as everyone who pushes does.
//!
//! Invariants (R1 to R4 are those of `line`):
//! - **D1** The cursor is reached by the thread alone that turned `taken` from false to true, until it turns it back.

use super::line::{Cursor, Line};
use super::{Bounds, Pushed, Weigh};
use crate::sync::UnsafeCell;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(super) struct Discarding<T> {
    line: Line<T>,
    /// The bounds while the consumer's place is taken.
    ceiling: Bounds,
    taken: AtomicBool,
    cursor: UnsafeCell<Cursor<T>>,
    discarded: AtomicU64,
}

// SAFETY: by D1 the cursor is reached by one thread at a time, and `taken` hands it over with Acquire and Release; the line is `Sync` by itself.
unsafe impl<T: Send> Sync for Discarding<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Discarding<T> {}

impl<T: Weigh> Discarding<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
        let ceiling =
            Bounds { values: bounds.values.saturating_mul(2), bytes: bounds.bytes.saturating_mul(2), ..bounds };
        Self {
            line: Line::new(bounds, ceiling.values),
            ceiling,
            taken: AtomicBool::new(false),
            cursor: UnsafeCell::new(Cursor::new()),
            discarded: AtomicU64::new(0),
        }
    }

    /// Steps into the consumer's place, if that is free.
    #[inline]
    fn enter(&self) -> Option<Place<'_, T>> {
        // Pairs with the Release store in `Place::drop`.
        let entered = self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        entered.is_ok().then(|| Place(self))
    }

    /// Appends a value, after room was made for it.
    pub(super) fn push(&self, value: T) -> Pushed {
        let mut pushed = Pushed::Queued;
        loop {
            if let Some(claim) = self.line.claim(&self.line.bounds) {
                self.line.fill(claim, value);
                return pushed;
            }
            if !self.discard() {
                break;
            }
            pushed = Pushed::DiscardedOldest;
        }
        // Another thread is taking one out, or the oldest is still being written.
        let Some(claim) = self.line.claim(&self.ceiling) else {
            self.discarded.fetch_add(1, Ordering::Relaxed);
            return Pushed::DiscardedNewest;
        };
        self.line.fill(claim, value);
        pushed
    }

    /// Takes the oldest value out, drops it outside of the consumer's place, and says whether there was one to take.
    fn discard(&self) -> bool {
        let oldest = self.enter().and_then(|mut place| place.pop());
        if oldest.is_some() {
            self.discarded.fetch_add(1, Ordering::Relaxed);
        }
        oldest.is_some()
    }

    /// Takes the oldest value that is within the bounds; for the consumer.
    #[inline]
    pub(super) fn pop(&self) -> Option<T> {
        while self.line.len() > self.line.bounds.values {
            if !self.discard() {
                return None;
            }
        }
        self.enter()?.pop()
    }

    /// Whether a value can be taken now.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.line.len() > 0 && self.enter().is_some_and(|mut place| place.is_ready())
    }

    pub(super) fn line(&self) -> &Line<T> {
        &self.line
    }

    pub(super) fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }
}

/// The consumer's place of a line, taken; dropping leaves it.
struct Place<'a, T: Weigh>(&'a Discarding<T>);

impl<T: Weigh> Place<'_, T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        // SAFETY: by D1 the cursor is ours while the place is, and it is the line's only one.
        self.0.cursor.with_mut(|cursor| unsafe { (*cursor).pop(&self.0.line) })
    }

    #[inline]
    fn is_ready(&mut self) -> bool {
        // SAFETY: as above.
        self.0.cursor.with_mut(|cursor| unsafe { (*cursor).is_ready(&self.0.line) })
    }
}

impl<T: Weigh> Drop for Place<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Pairs with the Acquire of the next exchange.
        self.0.taken.store(false, Ordering::Release);
    }
}
