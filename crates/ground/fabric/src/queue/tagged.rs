//! Values of which a newer one replaces the queued one of its tag, in that one's place.
//!
//! The tagged input queues are made of it. Replacing needs the tag's place and the value there to change together, while the consumer may be taking
//! just that one: lock-free, it would take a state for each slot and a concurrent map. A mutex that is held for one look-up and one move does the
//! same work in less time. Nothing is dropped, allocated for a value, or weighed while it is held; only the deque and the map may grow.

use std::collections::{HashMap, VecDeque};
use std::ops::DerefMut;
use std::sync::PoisonError;

use super::{Bounds, Full, PushError, Pushed, QueueStats, Refused, Weigh};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Places that an empty queue keeps from a burst.
const PLACES_KEPT: usize = 256;

pub(super) struct Tagged<T> {
    queued: Mutex<Queued<T>>,
    bounds: Bounds,
    full: Full,
    /// Copies of what `queued` holds, stored while it is locked, for those who only look.
    len: AtomicUsize,
    outside: AtomicUsize,
}

struct Queued<T> {
    entries: VecDeque<Entry<T>>,
    /// Position of the first entry; positions run on.
    first: u64,
    /// Positions of the tagged entries.
    places: HashMap<u64, u64, foldhash::fast::RandomState>,
    outside: usize,
    stats: QueueStats,
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

    /// Where the queued entry of that tag is.
    fn find(&self, tag: Option<u64>) -> Option<usize> {
        self.places.get(&tag?).map(|position| (position - self.first) as usize)
    }

    /// Puts a value in the place of one of the same tag, which comes back.
    fn replace(&mut self, place: usize, value: T, outside: usize) -> T {
        let entry = &mut self.entries[place];
        self.outside = self.outside - entry.outside + outside;
        self.stats.posted += 1;
        self.stats.replaced += 1;
        entry.outside = outside;
        std::mem::replace(&mut entry.value, value)
    }

    fn append(&mut self, entry: Entry<T>) {
        if let Some(tag) = entry.tag {
            self.places.insert(tag, self.first + self.entries.len() as u64);
        }
        self.outside += entry.outside;
        self.stats.posted += 1;
        self.entries.push_back(entry);
    }
}

impl<T: Weigh> Tagged<T> {
    pub(super) fn new(bounds: Bounds, full: Full) -> Self {
        let queued = Queued {
            entries: VecDeque::new(),
            first: 0,
            places: HashMap::default(),
            outside: 0,
            stats: QueueStats::default(),
        };
        Self { queued: Mutex::new(queued), bounds, full, len: AtomicUsize::new(0), outside: AtomicUsize::new(0) }
    }

    /// Locks the queue; nothing that is done with it can panic half-way, so a poisoned lock is as good.
    fn lock(&self) -> impl DerefMut<Target = Queued<T>> + '_ {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets those who only look know what has changed.
    fn publish(&self, queued: &Queued<T>) {
        self.len.store(queued.entries.len(), Ordering::Release);
        self.outside.store(queued.outside, Ordering::Relaxed);
    }

    /// Appends a value, or replaces the one of its tag; that needs no room.
    pub(super) fn push(&self, value: T, tag: Option<u64>) -> Result<Pushed, Refused<T>> {
        let outside = value.bytes_outside();
        let mut pushed = Pushed::Queued;
        loop {
            let mut queued = self.lock();
            if let Some(place) = queued.find(tag) {
                let former = queued.replace(place, value, outside);
                self.publish(&queued);
                // Before the former value is dropped.
                drop(queued);
                drop(former);
                return Ok(Pushed::Replaced);
            }
            if self.bounds.room(queued.entries.len(), queued.outside) {
                queued.append(Entry { tag, outside, value });
                self.publish(&queued);
                return Ok(pushed);
            }
            match self.full {
                Full::Block | Full::Refuse => return Err(Refused { value, why: PushError::Full }),
                Full::DiscardNewest => {
                    queued.stats.discarded += 1;
                    return Ok(Pushed::DiscardedNewest);
                }
                Full::DiscardOldest => {
                    let oldest = queued.take();
                    queued.stats.discarded += 1;
                    self.publish(&queued);
                    drop(queued);
                    drop(oldest);
                    pushed = Pushed::DiscardedOldest;
                }
            }
        }
    }

    /// Takes the oldest value.
    pub(super) fn pop(&self) -> Option<T> {
        if self.len() == 0 {
            return None;
        }
        let mut queued = self.lock();
        let value = queued.take();
        self.publish(&queued);
        value
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bounds.bytes(self.len(), self.outside.load(Ordering::Relaxed))
    }

    pub(super) fn stats(&self) -> QueueStats {
        self.lock().stats
    }
}
