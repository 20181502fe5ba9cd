//! A bounded ring of one producer and one consumer.
//!
//! Lanes are built on it; whoever has one writer and one reader may use it bare. It never blocks and never allocates after [`ring`].
//! Each side keeps a copy of the other's index and looks at the real one only when the copy says "full" or "empty".
//!
//! Invariants:
//! - **R1** `head ≤ tail ≤ head + capacity` (indices run on and wrap with `usize`; a slot's place is its index masked).
//! - **R2** The slots of `tail..head + capacity` belong to the producer and are uninitialised; only the producer stores `tail`.
//! - **R3** The slots of `head..tail` hold values and belong to the consumer; only the consumer stores `head`.
//! - **R4** `tail` is stored with `Release` after the slot is written and loaded with `Acquire` before it is read; `head` is stored with `Release`
//!   after the slot is read and loaded with `Acquire` before it is written again.

use std::fmt;
use std::mem::MaybeUninit;

use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Arc, Padded, UnsafeCell};

/// Makes a ring that holds up to `slots` values.
///
/// # Panics
/// When `slots` is 0 or over half of the address space.
pub fn ring<T: Send>(slots: usize) -> (Producer<T>, Consumer<T>) {
    assert!(slots > 0 && slots <= usize::MAX / 2, "a ring needs at least one slot");
    let places = slots.next_power_of_two();
    let shared = Arc::new(Shared {
        head: Padded(AtomicUsize::new(0)),
        tail: Padded(AtomicUsize::new(0)),
        producer_gone: AtomicBool::new(false),
        consumer_gone: AtomicBool::new(false),
        capacity: slots,
        mask: places - 1,
        slots: (0..places).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    let producer = Producer { shared: Arc::clone(&shared), tail: 0, head_seen: 0 };
    (producer, Consumer { shared, head: 0, tail_seen: 0 })
}

struct Shared<T> {
    /// Next slot to read; stored by the consumer alone.
    head: Padded<AtomicUsize>,
    /// Next slot to write; stored by the producer alone.
    tail: Padded<AtomicUsize>,
    producer_gone: AtomicBool,
    consumer_gone: AtomicBool,
    capacity: usize,
    mask: usize,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: by R2 and R3 a slot is reached by one side at a time, and R4 orders the hand-over; values cross threads, hence `T: Send`.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above; no method gives out a reference to a value in a slot.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let tail = self.tail.0.load(Ordering::Relaxed);
        let mut head = self.head.0.load(Ordering::Relaxed);
        while head != tail {
            // SAFETY: both sides are gone, and by R3 every slot in `head..tail` holds a value.
            self.slots[head & self.mask].with_mut(|slot| unsafe { (*slot).assume_init_drop() });
            head = head.wrapping_add(1);
        }
    }
}

/// The writing end of a [`ring`].
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    head_seen: usize,
}

impl<T: Send> Producer<T> {
    /// Appends `value`. Costs no locked instruction.
    ///
    /// # Errors
    /// Gives `value` back when the ring is full. A ring whose consumer is gone fills up and stays full: see [`is_closed`](Self::is_closed).
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.tail.wrapping_sub(self.head_seen) == self.shared.capacity {
            // Pairs with the Release store in `Consumer::publish`: the consumer has finished with the slots behind this head.
            self.head_seen = self.shared.head.0.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) == self.shared.capacity {
                return Err(value);
            }
        }
        self.shared.slots[self.tail & self.shared.mask].with_mut(|slot| {
            // SAFETY: by R1 and the check above `tail` lies in the producer's range (R2), so nobody else touches this slot.
            unsafe { (*slot).write(value) };
        });
        self.tail = self.tail.wrapping_add(1);
        // Pairs with the Acquire load in `Consumer::available`: the value is visible before its index.
        self.shared.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Whether the consumer is gone: nothing pushed will be read any more.
    pub fn is_closed(&self) -> bool {
        self.shared.consumer_gone.load(Ordering::Acquire)
    }

    /// Values in the ring at this moment; the consumer may be taking some.
    pub fn len(&self) -> usize {
        self.tail.wrapping_sub(self.shared.head.0.load(Ordering::Acquire))
    }

    /// Whether the consumer has taken everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values that the ring holds when full.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}

impl<T> Producer<T> {
    /// Tells the consumer that nothing more will come; dropping does it too.
    pub(crate) fn close(&mut self) {
        // Pairs with the Acquire load in `Consumer::is_closed`: who sees the flag sees the last `tail`.
        self.shared.producer_gone.store(true, Ordering::Release);
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("capacity", &self.shared.capacity).finish_non_exhaustive()
    }
}

/// The reading end of a [`ring`]. Dropping it leaves unread values in the ring until the producer is dropped too.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    tail_seen: usize,
}

impl<T: Send> Consumer<T> {
    /// Takes the oldest value. Costs no locked instruction.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.available() == 0 {
            return None;
        }
        let value = self.read();
        self.publish();
        Some(value)
    }

    /// Takes up to `max` values that are there at the call, oldest first, and gives the slots back together at the end.
    /// Returns how many. When `each` panics, the value it was given is gone and the rest stay.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(T)) -> usize {
        /// Publishes `head` also when the callback panics, lest a value be read twice.
        struct PublishOnDrop<'a, T: Send>(&'a mut Consumer<T>);
        impl<T: Send> Drop for PublishOnDrop<'_, T> {
            fn drop(&mut self) {
                self.0.publish();
            }
        }
        let count = self.look().min(max);
        if count == 0 {
            return 0;
        }
        let guard = PublishOnDrop(self);
        for _ in 0..count {
            each(guard.0.read());
        }
        count
    }

    /// Whether the producer is gone and everything it pushed has been taken.
    pub fn is_closed(&self) -> bool {
        // The flag first: once it is seen, `tail` is final.
        self.shared.producer_gone.load(Ordering::Acquire) && self.is_empty()
    }

    /// Values waiting at this moment; more may be coming.
    pub fn len(&self) -> usize {
        self.shared.tail.0.load(Ordering::Acquire).wrapping_sub(self.head)
    }

    /// Whether nothing waits at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values known to wait; looks at the producer's index only when it knows of none.
    #[inline]
    fn available(&mut self) -> usize {
        let known = self.tail_seen.wrapping_sub(self.head);
        if known > 0 { known } else { self.look() }
    }

    /// Values waiting, by the producer's index.
    #[inline]
    fn look(&mut self) -> usize {
        // Pairs with the Release store in `Producer::push`.
        self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
        self.tail_seen.wrapping_sub(self.head)
    }

    /// Moves the value at `head` out. The caller knows that one is there.
    #[inline]
    fn read(&mut self) -> T {
        debug_assert_ne!(self.head, self.tail_seen, "read of an empty ring");
        let value = self.shared.slots[self.head & self.shared.mask].with_mut(|slot| {
            // SAFETY: every caller has seen `head < tail` (Acquire), so by R3 and R4 the slot holds a value that is ours; advancing `head`
            // below makes sure that it is read once.
            unsafe { (*slot).assume_init_read() }
        });
        self.head = self.head.wrapping_add(1);
        value
    }

    /// Gives the slots before `head` back to the producer.
    #[inline]
    fn publish(&mut self) {
        // Pairs with the Acquire load in `Producer::push`: the slots are read before they can be overwritten.
        self.shared.head.0.store(self.head, Ordering::Release);
    }
}

impl<T> Consumer<T> {
    /// Tells the producer that nothing more will be read; dropping does it too.
    pub(crate) fn close(&mut self) {
        self.shared.consumer_gone.store(true, Ordering::Release);
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("capacity", &self.shared.capacity).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn it_holds_as_many_as_asked_for() {
        let (mut producer, mut consumer) = ring(3);
        (0..3).for_each(|n| producer.push(n).expect("there is room"));
        assert_eq!(producer.push(3), Err(3));
        assert_eq!(consumer.pop(), Some(0));
        assert_eq!(producer.push(3), Ok(()));
        assert_eq!((producer.len(), producer.capacity()), (3, 3));
    }

    #[test]
    fn indices_wrap_with_the_word() {
        let (mut producer, mut consumer) = ring(4);
        let near_end = usize::MAX - 1;
        producer.shared.head.0.store(near_end, Ordering::Relaxed);
        producer.shared.tail.0.store(near_end, Ordering::Relaxed);
        (producer.tail, producer.head_seen, consumer.head, consumer.tail_seen) =
            (near_end, near_end, near_end, near_end);
        (0..4).for_each(|n| producer.push(n).expect("there is room"));
        assert_eq!(producer.push(4), Err(4));
        assert_eq!((producer.len(), consumer.len()), (4, 4));
        assert_eq!(std::iter::from_fn(|| consumer.pop()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_panic_while_draining_loses_the_one_value_only() {
        let (mut producer, mut consumer) = ring(4);
        (0..4).for_each(|n| producer.push(Box::new(n)).expect("there is room"));
        let drained = catch_unwind(AssertUnwindSafe(|| consumer.drain(4, |value| assert_ne!(*value, 1, "on purpose"))));
        assert!(drained.is_err());
        assert_eq!(producer.len(), 2);
        assert_eq!(consumer.pop().map(|value| *value), Some(2));
    }

    #[test]
    fn each_end_sees_the_other_go() {
        let (producer, consumer) = ring::<u8>(1);
        assert!(!producer.is_closed() && !consumer.is_closed());
        drop(consumer);
        assert!(producer.is_closed());
    }
}
