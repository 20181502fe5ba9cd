//! Values of which a newer one replaces the queued one of its tag, in that one's place.
//!
//! The tagged input queues are made of it. Replacing needs the tag's place and the value there to change together, while the consumer may be taking just that
//! one: lock-free, it would take a state for each slot and a concurrent map. A mutex that is held for one look-up and one move does the same work in less time.
//! Nothing is dropped, allocated for a value, or weighed while it is held; only the deque and the map may grow.

use std::collections::{HashMap, VecDeque};
use std::sync::PoisonError;

use super::{Bounds, Full, PushError, Pushed, Refused, Weigh};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Places that an empty queue keeps from a burst.
const PLACES_KEPT: usize = 256;

pub(super) struct Tagged<T> {
    queued: Mutex<Queued<T>>,
    bounds: Bounds,
    full: Full,
    /// Copies of what `queued` holds, stored while it is locked, for those who only look.
    len: AtomicUsize,
    outside: AtomicUsize,
    posted: AtomicU64,
    replaced: AtomicU64,
    discarded: AtomicU64,
}

struct Queued<T> {
    entries: VecDeque<Entry<T>>,
    /// Position of the first entry; positions run on.
    first: u64,
    /// Positions of the tagged entries.
    places: HashMap<u64, u64, foldhash::fast::FixedState>,
    outside: usize,
}

struct Entry<T> {
    tag: Option<u64>,
    outside: usize,
    value: T,
}

impl<T> Queued<T> {
    fn take(&mut self) -> Option<T> {
        let entry = self.entries.pop_front()?;
        self.first += 1;
        self.outside -= entry.outside;
        if let Some(tag) = entry.tag {
            self.places.remove(&tag);
        }
        if self.entries.is_empty() && self.entries.capacity() > PLACES_KEPT {
            self.entries.shrink_to(PLACES_KEPT);
            self.places.shrink_to(PLACES_KEPT);
        }
        Some(entry.value)
    }

    /// Puts `entry` in the place of the one of its tag, which it gives back; or gives `entry` back.
    fn replace(&mut self, entry: Entry<T>) -> Result<T, Entry<T>> {
        let place = entry.tag.and_then(|tag| self.places.get(&tag));
        let Some(place) = place.map(|position| (position - self.first) as usize) else { return Err(entry) };
        self.outside += entry.outside;
        let former = std::mem::replace(&mut self.entries[place], entry);
        self.outside -= former.outside;
        Ok(former.value)
    }

    fn append(&mut self, entry: Entry<T>) {
        if let Some(tag) = entry.tag {
            self.places.insert(tag, self.first + self.entries.len() as u64);
        }
        self.outside += entry.outside;
        self.entries.push_back(entry);
    }
}

impl<T: Weigh> Tagged<T> {
    pub(super) fn new(bounds: Bounds, full: Full) -> Self {
        let queued = Queued { entries: VecDeque::new(), first: 0, places: HashMap::default(), outside: 0 };
        Self {
            queued: Mutex::new(queued),
            bounds,
            full,
            len: AtomicUsize::new(0),
            outside: AtomicUsize::new(0),
            posted: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
        }
    }

    /// Does `act` with the queue locked; nothing in it can panic half-way, so a poisoned lock is as good.
    fn locked<R>(&self, act: impl FnOnce(&mut Queued<T>) -> R) -> R {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut queued);
        self.len.store(queued.entries.len(), Ordering::Release);
        self.outside.store(queued.outside, Ordering::Relaxed);
        result
    }

    /// Appends a value, or replaces the one of its tag; that needs no room.
    pub(super) fn push(&self, value: T, tag: Option<u64>) -> Result<Pushed, Refused<T>> {
        let mut entry = Entry { tag, outside: value.bytes_outside(), value };
        let mut pushed = Pushed::Queued;
        loop {
            // What the lock's holder no longer needs comes out, and is dropped at the end of the turn.
            let discarded = match self.locked(|queued| self.place(queued, entry)) {
                Placed::Queued => {
                    self.posted.fetch_add(1, Ordering::Relaxed);
                    return Ok(pushed);
                }
                Placed::Replaced(_former) => {
                    self.posted.fetch_add(1, Ordering::Relaxed);
                    self.replaced.fetch_add(1, Ordering::Relaxed);
                    return Ok(Pushed::Replaced);
                }
                Placed::Full(back) => {
                    entry = back;
                    match self.full {
                        Full::Block | Full::Refuse => {
                            return Err(Refused { value: entry.value, why: PushError::Full });
                        }
                        Full::DiscardNewest => {
                            self.discarded.fetch_add(1, Ordering::Relaxed);
                            return Ok(Pushed::DiscardedNewest);
                        }
                        Full::DiscardOldest => self.locked(Queued::take),
                    }
                }
            };
            if discarded.is_some() {
                self.discarded.fetch_add(1, Ordering::Relaxed);
                pushed = Pushed::DiscardedOldest;
            }
        }
    }

    fn place(&self, queued: &mut Queued<T>, entry: Entry<T>) -> Placed<T> {
        let entry = match queued.replace(entry) {
            Ok(former) => return Placed::Replaced(former),
            Err(entry) => entry,
        };
        if !self.bounds.room(queued.entries.len(), queued.outside) {
            return Placed::Full(entry);
        }
        queued.append(entry);
        Placed::Queued
    }

    /// Takes the oldest value.
    pub(super) fn pop(&self) -> Option<T> {
        if self.len() == 0 { None } else { self.locked(Queued::take) }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bounds.bytes(self.len(), self.outside.load(Ordering::Relaxed))
    }

    pub(super) fn stats(&self) -> super::QueueStats {
        super::QueueStats {
            posted: self.posted.load(Ordering::Relaxed),
            replaced: self.replaced.load(Ordering::Relaxed),
            discarded: self.discarded.load(Ordering::Relaxed),
        }
    }
}

/// What became of an entry while the queue was locked.
enum Placed<T> {
    Queued,
    Replaced(T),
    Full(Entry<T>),
}
