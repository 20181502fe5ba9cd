//! A fan: values of one producer for many consumers; each goes to one of them, the oldest first.
//!
//! The receive queues of many consumers are made of it. It never blocks; a consumer that is suspended between its claim and its count keeps one
//! segment from being used again, which the producer takes for "full" when it comes round to it, and delays no other consumer.
//!
//! Invariants (S1 to S3 are those of `segments`):
//! - **F1** `head ≤ tail`; only the producer stores `tail`, consumers move `head` by compare-exchange from a value below `tail`.
//! - **F2** The slots from `tail` on are the producer's; that of a position that a consumer moved `head` past is that consumer's.
//! - **F3** `tail` is stored with `Release` after the slot is written and loaded with `Acquire` before `head` is moved past it. Who counts the
//!   last slot of a segment as read retires it; the counts (`AcqRel`) and the exchanges of the spare order that, and its next use, after all reads.

use super::segments::{SLOTS, Segments};
use super::{Bounds, Weigh};
use crate::sync::Padded;
use crate::sync::atomic::{AtomicUsize, Ordering};

struct Tail {
    /// Next position to write.
    next: AtomicUsize,
    /// Bytes that the values hold outside their slots.
    outside: AtomicUsize,
}

pub(super) struct Fan<T> {
    tail: Padded<Tail>,
    /// Next position to take.
    head: Padded<AtomicUsize>,
    pub(super) bounds: Bounds,
    segments: Segments<T>,
}

// SAFETY: by F2 a slot is reached by one thread at a time, and F3 orders the hand-over; values cross threads, hence `T: Send`.
unsafe impl<T: Send> Send for Fan<T> {}
// SAFETY: as above; no method gives out a reference to a value in a slot.
unsafe impl<T: Send> Sync for Fan<T> {}

impl<T: Weigh> Fan<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            tail: Padded(Tail { next: AtomicUsize::new(0), outside: AtomicUsize::new(0) }),
            head: Padded(AtomicUsize::new(0)),
            segments: Segments::new(bounds.values),
            bounds,
        }
    }

    /// Whether there is room for one more value.
    ///
    /// # Safety
    /// No other thread pushes at the same time (F1).
    #[inline]
    pub(super) unsafe fn has_room(&self) -> bool {
        let tail = &self.tail.0;
        let position = tail.next.load(Ordering::Relaxed);
        let len = position.wrapping_sub(self.head.0.load(Ordering::Acquire));
        self.bounds.room(len, tail.outside.load(Ordering::Relaxed))
            // Else the segment that was last in that entry is still being read.
            && (!position.is_multiple_of(SLOTS) || self.segments.find(position).is_none())
    }

    /// Appends a value.
    ///
    /// # Safety
    /// `has_room` said so to this thread, and no other thread has pushed since (F1).
    #[inline]
    pub(super) unsafe fn push(&self, value: T) {
        let tail = &self.tail.0;
        let position = tail.next.load(Ordering::Relaxed);
        let outside = value.bytes_outside();
        if outside > 0 {
            tail.outside.fetch_add(outside, Ordering::Relaxed);
        }
        let segment = self.segments.find_or_install(position);
        // SAFETY: the segment was installed by us and is not retired before all its positions have been read.
        let slot = unsafe { &(*segment.as_ptr()).slots[position % SLOTS] };
        slot.value.with_mut(|place| {
            // SAFETY: by F2 the slot is ours, and empty.
            unsafe { (*place).write(value) };
        });
        // Pairs with the Acquire load in `pop`.
        tail.next.store(position.wrapping_add(1), Ordering::Release);
    }

    /// Takes the oldest value; any number of threads may.
    #[inline]
    pub(super) fn pop(&self) -> Option<T> {
        let mut head = self.head.0.load(Ordering::Acquire);
        loop {
            // After the head, so that it is not behind it. Pairs with the Release store in `push`.
            if head == self.tail.0.next.load(Ordering::Acquire) {
                return None;
            }
            // Release and Acquire: who sees this head, and then looks at the tail, sees a tail not behind it.
            let claim =
                self.head.0.compare_exchange_weak(head, head.wrapping_add(1), Ordering::AcqRel, Ordering::Acquire);
            match claim {
                Ok(_) => return Some(self.take(head)),
                Err(seen) => head = seen,
            }
        }
    }

    /// Moves the value of a position out that the caller has claimed.
    #[inline]
    fn take(&self, position: usize) -> T {
        let segment = self.segments.find(position).expect("a written position has a segment until it is read");
        // SAFETY: by S3 the segment stays until our slot is counted as read, below.
        let slots = unsafe { &*segment.as_ptr() };
        // SAFETY: by F2 the slot is ours and by F3 it holds a value, which is read once.
        let value = slots.slots[position % SLOTS].value.with(|place| unsafe { (*place).assume_init_read() });
        let outside = value.bytes_outside();
        if outside > 0 {
            self.tail.0.outside.fetch_sub(outside, Ordering::Relaxed);
        }
        // AcqRel: the last to count has seen all reads, and the producer sees them through the exchange of the spare.
        if slots.read.fetch_add(1, Ordering::AcqRel) as usize == SLOTS - 1 {
            slots.read.store(0, Ordering::Relaxed);
            // SAFETY: all of its slots have been read and counted; nobody comes back to them.
            unsafe { self.segments.retire(position, segment) };
        }
        value
    }

    /// Values in the fan. Exact when nobody pushes or pops.
    pub(super) fn len(&self) -> usize {
        let head = self.head.0.load(Ordering::Acquire);
        self.tail.0.next.load(Ordering::Acquire).wrapping_sub(head)
    }

    /// Bytes of its values, slots included.
    pub(super) fn bytes(&self) -> usize {
        self.bounds.bytes(self.len(), self.tail.0.outside.load(Ordering::Relaxed))
    }

    /// Values accepted so far.
    pub(super) fn posted(&self) -> u64 {
        self.tail.0.next.load(Ordering::Relaxed) as u64
    }
}

impl<T> Drop for Fan<T> {
    fn drop(&mut self) {
        let tail = self.tail.0.next.load(Ordering::Relaxed);
        let mut position = self.head.0.load(Ordering::Relaxed);
        while position != tail {
            let segment = self.segments.find(position).expect("a written position has a segment until it is read");
            // SAFETY: nobody else is left (`&mut self`); by F2 and F3 every slot of `head..tail` holds a value.
            unsafe {
                (*segment.as_ptr()).slots[position % SLOTS].value.with_mut(|place| (*place).assume_init_drop());
            }
            position = position.wrapping_add(1);
        }
    }
}
