//! A line whose producers make room by taking the oldest value out: bounded queues that discard the oldest.
//!
//! The consumer's place is taken for an instant, by the consumer for each value, by a producer for each value it discards. Nobody waits for it: a producer
//! that finds it taken goes over the bound, up to twice, and the consumer discards what is over; a consumer that finds it taken finds nothing for now, and
//! the producer that had it comes to the consumer's work after its own push, as everyone who pushes does.
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

    /// Does `act` in the consumer's place, if that is free.
    #[inline]
    fn in_place<R>(&self, act: impl FnOnce(&mut Cursor<T>) -> R) -> Option<R> {
        /// Gives the place back, also when `act` panics.
        struct Place<'a>(&'a AtomicBool);
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                // Pairs with the Acquire of the next exchange.
                self.0.store(false, Ordering::Release);
            }
        }
        if self.taken.load(Ordering::Relaxed) || self.taken.swap(true, Ordering::Acquire) {
            return None;
        }
        let _place = Place(&self.taken);
        // SAFETY: by D1 the cursor is ours until `_place` is dropped.
        Some(self.cursor.with_mut(|cursor| act(unsafe { &mut *cursor })))
    }

    /// Appends a value, after room was made for it.
    pub(super) fn push(&self, mut value: T) -> Pushed {
        let mut pushed = Pushed::Queued;
        loop {
            match self.line.push(value, &self.line.bounds) {
                Ok(()) => return pushed,
                Err(back) => value = back,
            }
            match self.take() {
                // Dropped here, outside of the consumer's place.
                Some(_oldest) => self.discarded.fetch_add(1, Ordering::Relaxed),
                None => break,
            };
            pushed = Pushed::DiscardedOldest;
        }
        // Another thread is taking one out, or the oldest is still being written.
        match self.line.push(value, &self.ceiling) {
            Ok(()) => pushed,
            Err(_newest) => {
                self.discarded.fetch_add(1, Ordering::Relaxed);
                Pushed::DiscardedNewest
            }
        }
    }

    #[inline]
    fn take(&self) -> Option<T> {
        // SAFETY: by D1 the cursor is the only one.
        self.in_place(|cursor| unsafe { cursor.pop(&self.line) })?
    }

    /// Takes the oldest value that is within the bounds; for the consumer.
    pub(super) fn pop(&self) -> Option<T> {
        loop {
            let over = self.line.len() > self.line.bounds.values;
            let value = self.take()?;
            if !over {
                return Some(value);
            }
            self.discarded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a value can be taken now.
    pub(super) fn is_ready(&self) -> bool {
        self.line.len() > 0 && self.in_place(|cursor| cursor.is_ready(&self.line)).unwrap_or(false)
    }

    pub(super) fn line(&self) -> &Line<T> {
        &self.line
    }

    pub(super) fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }
}
