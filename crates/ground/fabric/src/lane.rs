//! A lane: the way of values from one loop to another. A ring, the receiver's doorbell, and an overflow on the sender's side, so that nothing is lost.
//!
//! `posthaste` wires rooms with lanes; a loop owns the sender of each lane out of it and the receiver of each lane into it, and one doorbell for all of
//! those. Neither side ever waits for the other.
//!
//! The overflow has no bound of its own, for a value that was accepted must not be lost: the sender looks at [`LaneSender::overflow_len`] before it
//! takes on more work.
//!
//! Invariants:
//! - **R1** Order: while the overflow holds anything, a new value goes behind it.
//! - **R2** The sender stores `starved`, full fence, looks for room. The receiver makes room, full fence, reads `starved`. So either the sender finds the room
//!   or the receiver rings it.
//! - **R3** What a dropped sender could not place is left in `estate` before the ring is closed; the receiver takes it after the last value of the ring.

use std::collections::VecDeque;
use std::fmt;
use std::sync::PoisonError;

use crate::doorbell::Ringer;
use crate::ring::{Consumer, Producer, ring};
use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::{Arc, Mutex};

/// Makes a lane with room for `slots` values in its ring; `ringer` rings the receiver's bell.
///
/// The sender finds out about room by [`LaneSender::flush`] on its every turn; [`lane_with_room_bell`] wakes it instead.
///
/// # Panics
/// When `slots` is 0.
pub fn lane<T: Send>(slots: usize, ringer: Ringer) -> (LaneSender<T>, LaneReceiver<T>) {
    build(slots, ringer, None)
}

/// As [`lane`], and the receiver rings `room`, the sender's bell, when it has made room for a sender with an overflow. The sender then calls
/// [`LaneSender::flush`]. Costs the receiver a fence per `pop` or `drain`.
///
/// # Panics
/// When `slots` is 0.
pub fn lane_with_room_bell<T: Send>(slots: usize, ringer: Ringer, room: Ringer) -> (LaneSender<T>, LaneReceiver<T>) {
    build(slots, ringer, Some(room))
}

fn build<T: Send>(slots: usize, ringer: Ringer, room: Option<Ringer>) -> (LaneSender<T>, LaneReceiver<T>) {
    let (producer, consumer) = ring(slots);
    let shared = Arc::new(Shared { starved: AtomicBool::new(false), room, estate: Mutex::new(VecDeque::new()) });
    let sender = LaneSender { producer, overflow: VecDeque::new(), ringer, shared: Arc::clone(&shared) };
    (sender, LaneReceiver { consumer, inherited: VecDeque::new(), shared })
}

struct Shared<T> {
    /// The sender has an overflow and found no room.
    starved: AtomicBool,
    room: Option<Ringer>,
    /// What a dropped sender could not place.
    estate: Mutex<VecDeque<T>>,
}

/// The sending end of a [`lane`]. When dropped, what is left in the overflow still reaches the receiver.
pub struct LaneSender<T: Send> {
    producer: Producer<T>,
    overflow: VecDeque<T>,
    ringer: Ringer,
    shared: Arc<Shared<T>>,
}

impl<T: Send> LaneSender<T> {
    /// Sends `value`, without ringing: [`ring`](Self::ring) once per batch. When the ring is full the value waits in the overflow.
    /// When the receiver is gone and the ring is full, the value is dropped.
    #[inline]
    pub fn send(&mut self, value: T) {
        if !self.overflow.is_empty() {
            // R1: behind what waits already.
            self.overflow.push_back(value);
            self.place_overflow();
        } else if let Err(value) = self.producer.push(value) {
            self.overflow.push_back(value);
            self.place_overflow();
        }
    }

    /// Moves the overflow into the ring as far as there is room, rings if it moved any, and returns how many values are left.
    pub fn flush(&mut self) -> usize {
        let waiting = self.overflow.len();
        if waiting == 0 {
            return 0;
        }
        let left = self.place_overflow();
        if left < waiting {
            self.ring();
        }
        left
    }

    /// Values that wait for room in the ring.
    pub fn overflow_len(&self) -> usize {
        self.overflow.len()
    }

    /// Tells the receiver to look: once per batch of [`send`](Self::send).
    pub fn ring(&self) {
        self.ringer.ring();
    }

    /// Whether the receiver is gone: what is sent from now on is lost with it.
    pub fn is_closed(&self) -> bool {
        self.producer.is_closed()
    }

    /// Values in the ring that the receiver has not taken, overflow not counted.
    pub fn ring_len(&self) -> usize {
        self.producer.len()
    }

    /// Moves what there is room for, and sees to it that the room bell rings for the rest.
    fn place_overflow(&mut self) -> usize {
        if self.move_overflow() > 0 && self.producer.is_closed() {
            self.overflow.clear();
        }
        if self.overflow.is_empty() || self.shared.room.is_none() {
            return self.overflow.len();
        }
        // Seen set, the receiver has still to ring us, or has rung for a look that we have not had yet.
        if !self.shared.starved.load(Ordering::Relaxed) {
            self.shared.starved.store(true, Ordering::Relaxed);
            // R2: partner of the fence in `LaneReceiver::made_room`.
            fence(Ordering::SeqCst);
            self.move_overflow();
        }
        self.overflow.len()
    }

    fn move_overflow(&mut self) -> usize {
        while let Some(value) = self.overflow.pop_front() {
            if let Err(value) = self.producer.push(value) {
                self.overflow.push_front(value);
                break;
            }
        }
        self.overflow.len()
    }
}

impl<T: Send> Drop for LaneSender<T> {
    fn drop(&mut self) {
        if self.move_overflow() > 0 {
            *self.shared.estate.lock().unwrap_or_else(PoisonError::into_inner) = std::mem::take(&mut self.overflow);
        }
        // R3: after the estate, and before the ring that makes the receiver look for it.
        self.producer.close();
        self.ringer.ring();
    }
}

impl<T: Send> fmt::Debug for LaneSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneSender")
            .field("ring_len", &self.ring_len())
            .field("overflow_len", &self.overflow_len())
            .finish_non_exhaustive()
    }
}

/// The receiving end of a [`lane`].
pub struct LaneReceiver<T: Send> {
    consumer: Consumer<T>,
    /// What the sender left when it was dropped.
    inherited: VecDeque<T>,
    shared: Arc<Shared<T>>,
}

impl<T: Send> LaneReceiver<T> {
    /// Takes the oldest value.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let value = self.consumer.pop();
        if value.is_some() {
            self.made_room();
            return value;
        }
        self.inherit();
        self.inherited.pop_front()
    }

    /// Takes up to `max` values that are there at the call, oldest first. Returns how many; fewer than `max` means that the lane was seen empty.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(T)) -> usize {
        let mut count = self.consumer.drain(max, &mut each);
        if count > 0 {
            self.made_room();
        }
        if count < max {
            self.inherit();
            let rest = self.inherited.len().min(max - count);
            self.inherited.drain(..rest).for_each(each);
            count += rest;
        }
        count
    }

    /// Whether the sender is gone and everything it sent has been taken.
    pub fn is_closed(&self) -> bool {
        self.consumer.is_closed() && self.inherited.is_empty() && self.estate_is_empty()
    }

    /// Values that can be taken at this moment, what a dropped sender left behind not counted until it is reached.
    pub fn len(&self) -> usize {
        self.consumer.len() + self.inherited.len()
    }

    /// Whether nothing can be taken at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && (!self.consumer.is_closed() || self.estate_is_empty())
    }

    /// Rings a sender that waits for room.
    #[inline]
    fn made_room(&self) {
        let Some(room) = &self.shared.room else { return };
        // R2: partner of the fence in `LaneSender::place_overflow`.
        fence(Ordering::SeqCst);
        if self.shared.starved.load(Ordering::Relaxed) && self.shared.starved.swap(false, Ordering::Relaxed) {
            room.ring();
        }
    }

    /// Takes over what a dropped sender left, once the ring is empty for good (R3).
    fn inherit(&mut self) {
        if self.inherited.is_empty() && self.consumer.is_closed() {
            let mut estate = self.shared.estate.lock().unwrap_or_else(PoisonError::into_inner);
            self.inherited = std::mem::take(&mut *estate);
        }
    }

    fn estate_is_empty(&self) -> bool {
        self.shared.estate.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl<T: Send> Drop for LaneReceiver<T> {
    fn drop(&mut self) {
        // A sender that waits for room shall look, and then see that there will be none.
        self.consumer.close();
        if let Some(room) = &self.shared.room {
            room.ring();
        }
    }
}

impl<T: Send> fmt::Debug for LaneReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneReceiver").field("len", &self.len()).finish_non_exhaustive()
    }
}
