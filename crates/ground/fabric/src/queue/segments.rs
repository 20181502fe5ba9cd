//! The memory of a queue: segments of slots, found by position, made when they are first needed and used again.
//!
//! `line` and `fan` keep their values in it. It knows nothing of who may read or write a slot when: that is their proof.
//!
//! ```text
//!  position ─► directory[position / SLOTS mod its length] ─► segment ─► slot[position mod SLOTS]
//! ```
//!
//! Invariants:
//! - **S1** A segment is in one place: an entry of the directory, the spare, or the hands of the thread that took it out by an exchange.
//! - **S2** A segment outside of the directory holds no values; its marks are cleared.
//! - **S3** Who has a position in hand that is claimed and not yet retired may use the segment of that position: nobody retires it meanwhile.
//!   The queue keeps positions in hand within less than the directory spans, one segment less, so that no entry is needed twice at a time.

use std::array;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use crate::sync::UnsafeCell;
use crate::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Slots of a segment. Few under loom, so that a small scene crosses segments.
pub(super) const SLOTS: usize = if cfg!(loom) { 2 } else { 64 };

/// A place for one value.
pub(super) struct Slot<T> {
    /// In a line: whether the slot holds a value that may be read.
    pub(super) written: AtomicU32,
    pub(super) value: UnsafeCell<MaybeUninit<T>>,
}

/// Slots of consecutive positions.
pub(super) struct Segment<T> {
    pub(super) slots: [Slot<T>; SLOTS],
    /// In a fan: how many of the slots have been read.
    pub(super) read: AtomicU32,
}

/// Bytes that a value takes in a queue.
pub(super) const fn slot_bytes<T>() -> usize {
    size_of::<Slot<T>>()
}

impl<T> Segment<T> {
    /// An empty one, as a box that was let go.
    fn allocate() -> NonNull<Self> {
        let mut segment = Box::<Self>::new_uninit();
        let place = segment.as_mut_ptr();
        for at in 0..SLOTS {
            let slot = Slot { written: AtomicU32::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) };
            // SAFETY: the box is ours alone and `at` is within the array; nothing is read.
            unsafe { (&raw mut (*place).slots[at]).write(slot) };
        }
        // SAFETY: as above.
        unsafe { (&raw mut (*place).read).write(AtomicU32::new(0)) };
        // SAFETY: both fields were written just now.
        NonNull::from(Box::leak(unsafe { segment.assume_init() }))
    }

    /// # Safety
    /// The segment came from `allocate`, holds no values and is the caller's alone (S1).
    unsafe fn free(segment: NonNull<Self>) {
        // SAFETY: by the caller's promise.
        drop(unsafe { Box::from_raw(segment.as_ptr()) });
    }
}

/// The segments of one queue.
pub(super) struct Segments<T> {
    directory: Box<[AtomicPtr<Segment<T>>]>,
    spare: AtomicPtr<Segment<T>>,
}

impl<T> Segments<T> {
    /// For positions in hand of up to `values` in a row.
    pub(super) fn new(values: usize) -> Self {
        let entries = (values.div_ceil(SLOTS) + 1).next_power_of_two();
        let directory = (0..entries).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        Self { directory, spare: AtomicPtr::new(ptr::null_mut()) }
    }

    #[inline]
    fn entry(&self, position: usize) -> &AtomicPtr<Segment<T>> {
        &self.directory[(position / SLOTS) & (self.directory.len() - 1)]
    }

    /// The segment of a position, if it is there.
    #[inline]
    pub(super) fn find(&self, position: usize) -> Option<NonNull<Segment<T>>> {
        // Pairs with the Release of the exchange in `install`: the segment is empty and whole.
        NonNull::new(self.entry(position).load(Ordering::Acquire))
    }

    /// The segment of a position that the caller has claimed (S3), put there if need be.
    #[inline]
    pub(super) fn find_or_install(&self, position: usize) -> NonNull<Segment<T>> {
        self.find(position).unwrap_or_else(|| self.install(position))
    }

    #[cold]
    fn install(&self, position: usize) -> NonNull<Segment<T>> {
        // Acquire: the marks cleared by who set it aside.
        let new = NonNull::new(self.spare.swap(ptr::null_mut(), Ordering::Acquire)).unwrap_or_else(Segment::allocate);
        let exchanged =
            self.entry(position).compare_exchange(ptr::null_mut(), new.as_ptr(), Ordering::Release, Ordering::Acquire);
        match exchanged {
            Ok(_) => new,
            Err(theirs) => {
                self.set_aside(new);
                NonNull::new(theirs).expect("the exchange failed on what is not null")
            }
        }
    }

    /// Takes the segment of a position out, whose values have all been read.
    ///
    /// # Safety
    /// It is the segment of `position`, no thread will use it any more, and its marks are cleared.
    pub(super) unsafe fn retire(&self, position: usize, segment: NonNull<Segment<T>>) {
        // Relaxed: in a line the store of the head comes behind it, in a fan nothing follows from it but that the entry is free.
        self.entry(position).store(ptr::null_mut(), Ordering::Relaxed);
        self.set_aside(segment);
    }

    /// Keeps an empty segment for the next need, and frees the one that was kept.
    fn set_aside(&self, segment: NonNull<Segment<T>>) {
        // Release: who takes it sees its marks cleared. Acquire: the one we free is as its holder left it.
        let former = self.spare.swap(segment.as_ptr(), Ordering::AcqRel);
        if let Some(former) = NonNull::new(former) {
            // SAFETY: by S1 it is ours alone, by S2 it is empty.
            unsafe { Segment::free(former) };
        }
    }
}

impl<T> Drop for Segments<T> {
    /// Frees all segments; the queue has dropped the values.
    fn drop(&mut self) {
        let entries = self.directory.iter().chain(array::from_ref(&self.spare));
        for segment in entries.filter_map(|entry| NonNull::new(entry.load(Ordering::Relaxed))) {
            // SAFETY: nobody else is left; by S1 each is met once.
            unsafe { Segment::free(segment) };
        }
    }
}
