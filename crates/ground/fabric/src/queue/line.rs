//! A line: values of one or many producers for one consumer, in the order of their claims.
//!
//! The input queues without tags are made of it, and receive queues of one consumer. It never blocks; a producer that is suspended between its
//! claim and its mark hides the values behind its own until it goes on, and delays no other producer.
//!
//! Invariants (S1 to S3 are those of `segments`):
//! - **R1** `head ≤ tail ≤ head + values`: a position is claimed only while `tail - head < values` for a head that was read before.
//! - **R2** The slot of a claimed position belongs to its producer until it is marked, then to the consumer until `head` passes it.
//! - **R3** `written` is stored with `Release` after the value and loaded with `Acquire` before it is read. The consumer clears the mark, and
//!   retires a segment whose last slot it has read, before it stores `head` with `Release`; a producer claims after loading `head` with `Acquire`,
//!   directly or by way of `head_seen`.
//! - **R4** A line of one producer is claimed by that producer alone, one of many by compare-exchange. Which it is does not change.

use std::ptr::NonNull;

use super::segments::{SLOTS, Segment, Segments};
use super::{Bounds, Weigh};
use crate::sync::Padded;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// How often the length is looked for while the head moves.
const LOOKS: u32 = 8;

/// The producers' side of the state, on cache lines of its own.
struct Tail {
    /// Next position to claim.
    next: AtomicUsize,
    /// A head that some producer has seen; behind the real one at times, never before it.
    head_seen: AtomicUsize,
    /// Bytes that the values hold outside their slots.
    outside: AtomicUsize,
}

/// What producers and consumer share.
pub(super) struct Line<T> {
    tail: Padded<Tail>,
    /// Next position to read; stored by the consumer alone.
    head: Padded<AtomicUsize>,
    pub(super) bounds: Bounds,
    segments: Segments<T>,
}

// SAFETY: by R2 a slot is reached by one thread at a time, and R3 orders the hand-over; values cross threads, hence `T: Send`.
unsafe impl<T: Send> Send for Line<T> {}
// SAFETY: as above; a reference to a value is given to the consumer alone, from which it is borrowed.
unsafe impl<T: Send> Sync for Line<T> {}

impl<T: Weigh> Line<T> {
    /// An empty line; `positions` is how many values may be in it at all, at least `bounds.values`.
    pub(super) fn new(bounds: Bounds, positions: usize) -> Self {
        let tail = Tail { next: AtomicUsize::new(0), head_seen: AtomicUsize::new(0), outside: AtomicUsize::new(0) };
        Self {
            tail: Padded(tail),
            head: Padded(AtomicUsize::new(0)),
            bounds,
            segments: Segments::new(positions.max(bounds.values)),
        }
    }

    /// Claims the place of one more value, for any number of producers: one locked instruction. `None` when `bounds`, which are at most what the line
    /// was made for, leave no room.
    #[inline]
    pub(super) fn claim(&self, bounds: &Bounds) -> Option<Claim> {
        let tail = &self.tail.0;
        // Head before tail, so that the tail is never behind it (R3). Pairs with the Release below, or that in `Cursor::advance`.
        let mut head = tail.head_seen.load(Ordering::Acquire);
        let mut position = tail.next.load(Ordering::Relaxed);
        loop {
            if !bounds.room(position.wrapping_sub(head), tail.outside.load(Ordering::Relaxed)) {
                let now = self.head.0.load(Ordering::Acquire);
                if now == head {
                    return None;
                }
                head = now;
                tail.head_seen.store(now, Ordering::Release);
                position = tail.next.load(Ordering::Relaxed);
                continue;
            }
            // Relaxed: the mark publishes, not the claim.
            let claimed = position.wrapping_add(1);
            match tail.next.compare_exchange_weak(position, claimed, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(Claim(position)),
                Err(seen) => position = seen,
            }
        }
    }

    /// Claims the place of one more value, for the only producer: no locked instruction. `None` when there is no room.
    ///
    /// # Safety
    /// No other thread claims at the same time (R4).
    #[inline]
    pub(super) unsafe fn claim_alone(&self) -> Option<Claim> {
        let tail = &self.tail.0;
        let position = tail.next.load(Ordering::Relaxed);
        let outside = tail.outside.load(Ordering::Relaxed);
        if !self.bounds.room(position.wrapping_sub(tail.head_seen.load(Ordering::Relaxed)), outside) {
            let now = self.head.0.load(Ordering::Acquire);
            tail.head_seen.store(now, Ordering::Relaxed);
            if !self.bounds.room(position.wrapping_sub(now), outside) {
                return None;
            }
        }
        tail.next.store(position.wrapping_add(1), Ordering::Relaxed);
        Some(Claim(position))
    }

    /// Appends the value for which a place of this line was claimed. From here to the mark nothing fails.
    #[inline]
    pub(super) fn fill(&self, Claim(position): Claim, value: T) {
        let outside = value.bytes_outside();
        if outside > 0 {
            self.tail.0.outside.fetch_add(outside, Ordering::Relaxed);
        }
        let segment = self.segments.find_or_install(position);
        // SAFETY: by S3 the segment is not retired before this position is read, which is after its mark.
        let slot = unsafe { &(*segment.as_ptr()).slots[position % SLOTS] };
        slot.value.with_mut(|place| {
            // SAFETY: by R2 the slot is ours until it is marked, and empty.
            unsafe { (*place).write(value) };
        });
        // Pairs with the Acquire load in `Cursor::front`.
        slot.written.store(1, Ordering::Release);
    }

    /// Values in the line, claimed ones among them: as many as there were at one moment of the call, or fewer while it is read all the time.
    pub(super) fn len(&self) -> usize {
        let mut head = self.head.0.load(Ordering::Acquire);
        for _ in 0..LOOKS {
            let tail = self.tail.0.next.load(Ordering::Acquire);
            let now = self.head.0.load(Ordering::Acquire);
            if now == head {
                return tail.wrapping_sub(head);
            }
            head = now;
        }
        // Head last: it may have passed this tail.
        let tail = self.tail.0.next.load(Ordering::Acquire);
        (tail.wrapping_sub(self.head.0.load(Ordering::Acquire)) as isize).max(0) as usize
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

/// A claimed place. It is filled at once: nothing behind it is seen before.
#[must_use]
pub(super) struct Claim(usize);

impl<T> Drop for Line<T> {
    fn drop(&mut self) {
        let tail = self.tail.0.next.load(Ordering::Relaxed);
        let mut position = self.head.0.load(Ordering::Relaxed);
        while position != tail {
            if let Some(segment) = self.segments.find(position) {
                // SAFETY: nobody else is left (`&mut self`), and the directory's segments live.
                let slot = unsafe { &(*segment.as_ptr()).slots[position % SLOTS] };
                if slot.written.load(Ordering::Acquire) == 1 {
                    // SAFETY: by R2 a marked slot before `tail` and not before `head` holds a value.
                    slot.value.with_mut(|place| unsafe { (*place).assume_init_drop() });
                }
            }
            position = position.wrapping_add(1);
        }
    }
}

/// The consumer's place in a line. Its methods take the line it was made for.
pub(super) struct Cursor<T> {
    head: usize,
    /// The segment of `head`, once it is known.
    segment: Option<NonNull<Segment<T>>>,
}

// SAFETY: the segment is reached under the rules of the line (R2) by whoever holds the cursor.
unsafe impl<T: Send> Send for Cursor<T> {}

impl<T: Weigh> Cursor<T> {
    /// The place of the first consumer of an empty line.
    pub(super) const fn new() -> Self {
        Self { head: 0, segment: None }
    }

    /// The segment at the head, when the value there may be read.
    #[inline]
    fn front(&mut self, line: &Line<T>) -> Option<NonNull<Segment<T>>> {
        if self.segment.is_none() {
            self.segment = Some(line.segments.find(self.head)?);
        }
        let segment = self.segment?;
        // SAFETY: only we retire segments, and did not retire this one.
        let slot = unsafe { &(*segment.as_ptr()).slots[self.head % SLOTS] };
        // Pairs with the Release store in `Line::fill`.
        (slot.written.load(Ordering::Acquire) == 1).then_some(segment)
    }

    /// Whether a value can be taken now.
    #[inline]
    pub(super) fn is_ready(&mut self, line: &Line<T>) -> bool {
        self.front(line).is_some()
    }

    /// The oldest value; it stays.
    ///
    /// # Safety
    /// The cursor is the line's only one, and nobody takes from the line while the reference lives.
    #[inline]
    pub(super) unsafe fn peek<'a>(&'a mut self, line: &'a Line<T>) -> Option<&'a T> {
        let segment = self.front(line)?;
        // SAFETY: as in `front`; by R2 a marked slot at `head` holds a value, which is the consumer's, whom the caller keeps from going on.
        unsafe { (*segment.as_ptr()).slots[self.head % SLOTS].value.with(|place| Some((*place).assume_init_ref())) }
    }

    /// Takes the oldest value.
    ///
    /// # Safety
    /// The cursor is the line's only one.
    #[inline]
    pub(super) unsafe fn pop(&mut self, line: &Line<T>) -> Option<T> {
        let segment = self.front(line)?;
        // SAFETY: as in `peek`; `advance` makes sure that it is read once.
        let value =
            unsafe { (*segment.as_ptr()).slots[self.head % SLOTS].value.with(|place| (*place).assume_init_read()) };
        self.advance(line, segment, value.bytes_outside());
        Some(value)
    }

    /// Drops the oldest value where it lies, and says whether there was one.
    ///
    /// # Safety
    /// The cursor is the line's only one.
    #[inline]
    pub(super) unsafe fn skip(&mut self, line: &Line<T>) -> bool {
        /// Goes on also when the value's drop panics, lest it be dropped twice.
        struct Advance<'a, T: Weigh>(&'a mut Cursor<T>, &'a Line<T>, NonNull<Segment<T>>, usize);
        impl<T: Weigh> Drop for Advance<'_, T> {
            fn drop(&mut self) {
                self.0.advance(self.1, self.2, self.3);
            }
        }
        let Some(segment) = self.front(line) else { return false };
        // SAFETY: as in `peek`.
        unsafe {
            (*segment.as_ptr()).slots[self.head % SLOTS].value.with_mut(|place| {
                let value = (*place).assume_init_mut();
                let outside = value.bytes_outside();
                let _advance = Advance(self, line, segment, outside);
                std::ptr::drop_in_place(value);
            })
        };
        true
    }

    /// Gives the slot at the head back, whose value is gone.
    #[inline]
    fn advance(&mut self, line: &Line<T>, segment: NonNull<Segment<T>>, outside: usize) {
        if outside > 0 {
            line.tail.0.outside.fetch_sub(outside, Ordering::Relaxed);
        }
        // SAFETY: as in `front`.
        unsafe { (*segment.as_ptr()).slots[self.head % SLOTS].written.store(0, Ordering::Relaxed) };
        let position = self.head;
        self.head = position.wrapping_add(1);
        if self.head.is_multiple_of(SLOTS) {
            self.segment = None;
            // SAFETY: all its slots were read and cleared, and their producers touch them no more after their marks (R2).
            unsafe { line.segments.retire(position, segment) };
        }
        // Pairs with the Acquire loads in `Line::claim`: the slot is clear and the segment out before the position can be claimed again.
        line.head.0.store(self.head, Ordering::Release);
    }
}
