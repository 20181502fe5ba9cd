//! A receive queue: what the decoder pushes and receivers pop. One type for all kinds.
//!
//! The [`ReceiveWriter`] belongs to whoever decodes, one thread at a time; each receiving thread has a [`ReceiveReader`]. Neither blocks.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use super::discarding::Discarding;
use super::fan::Fan;
use super::line::{Cursor, Line};
use super::{Bounds, PushError, Pushed, QueueStats, ReceiveFull, ReceiveKind, Refused, Weigh};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Makes a receive queue of that kind; `bytes_max` is its budget ([`BYTES_MAX`](super::BYTES_MAX) is usual).
///
/// # Panics
/// When a capacity is 0.
pub fn receive<T: Send + Weigh>(kind: ReceiveKind, bytes_max: usize) -> (ReceiveWriter<T>, ReceiveReader<T>) {
    let bounds = |capacity| Bounds::new::<T>(capacity, bytes_max);
    let (form, full) = match kind {
        ReceiveKind::MonoUnbounded => (Form::Mono(Line::new(bounds(None), 0)), ReceiveFull::HoldBack),
        ReceiveKind::MonoBounded { capacity, full: ReceiveFull::DiscardOldest } => {
            (Form::Discarding(Discarding::new(bounds(Some(capacity)))), ReceiveFull::DiscardOldest)
        }
        ReceiveKind::MonoBounded { capacity, full } => (Form::Mono(Line::new(bounds(Some(capacity)), 0)), full),
        ReceiveKind::MultiUnbounded => (Form::Multi(Fan::new(bounds(None))), ReceiveFull::HoldBack),
        ReceiveKind::MultiBounded { capacity, full } => (Form::Multi(Fan::new(bounds(Some(capacity)))), full),
    };
    let queue = Arc::new(Queue {
        kind,
        full,
        form,
        readers: AtomicUsize::new(1),
        closed: AtomicBool::new(false),
        discarded: AtomicU64::new(0),
    });
    let writer = ReceiveWriter { queue: Arc::clone(&queue), alone: PhantomData };
    (writer, ReceiveReader { queue, cursor: Cursor::new() })
}

struct Queue<T> {
    kind: ReceiveKind,
    full: ReceiveFull,
    form: Form<T>,
    readers: AtomicUsize,
    /// The writer is gone: nothing more comes.
    closed: AtomicBool,
    discarded: AtomicU64,
}

enum Form<T> {
    Mono(Line<T>),
    Discarding(Discarding<T>),
    Multi(Fan<T>),
}

impl<T: Send + Weigh> Queue<T> {
    fn len(&self) -> usize {
        match &self.form {
            Form::Mono(line) => line.len(),
            Form::Discarding(discarding) => discarding.line().len(),
            Form::Multi(fan) => fan.len(),
        }
    }

    fn bytes(&self) -> usize {
        match &self.form {
            Form::Mono(line) => line.bytes(),
            Form::Discarding(discarding) => discarding.line().bytes(),
            Form::Multi(fan) => fan.bytes(),
        }
    }

    fn stats(&self) -> QueueStats {
        let discarded = self.discarded.load(Ordering::Relaxed);
        match &self.form {
            Form::Mono(line) => QueueStats { posted: line.posted(), replaced: 0, discarded },
            Form::Discarding(line) => {
                QueueStats { posted: line.line().posted(), replaced: 0, discarded: line.discarded() }
            }
            Form::Multi(fan) => QueueStats { posted: fan.posted(), replaced: 0, discarded },
        }
    }

    fn count_discarded(&self) {
        self.discarded.fetch_add(1, Ordering::Relaxed);
    }
}

/// The pushing end of a receive queue; there is one. Dropping it closes the queue.
pub struct ReceiveWriter<T> {
    queue: Arc<Queue<T>>,
    /// Makes it not `Sync`: one thread at a time pushes.
    alone: PhantomData<Cell<()>>,
}

impl<T: Send + Weigh> ReceiveWriter<T> {
    /// Appends `value`. Never blocks.
    ///
    /// # Errors
    /// Gives the value back when all readers are gone, or the queue is full and holds the sender back.
    #[inline]
    pub fn push(&self, value: T) -> Result<Pushed, Refused<T>> {
        if self.queue.readers.load(Ordering::Relaxed) == 0 {
            return Err(Refused { value, why: PushError::Closed });
        }
        match &self.queue.form {
            Form::Mono(line) => {
                // SAFETY: by R4 of `line`: there is one writer, which is not shared.
                if let Some(claim) = unsafe { line.claim_alone() } {
                    line.fill(claim, value);
                    return Ok(Pushed::Queued);
                }
            }
            Form::Discarding(discarding) => return Ok(discarding.push(value)),
            Form::Multi(fan) => {
                // SAFETY: by F1 of `fan`: there is one writer, which is not shared.
                if let Some(pushed) = unsafe { self.make_room(fan) } {
                    // SAFETY: as above, and there is room.
                    unsafe { fan.push(value) };
                    return Ok(pushed);
                }
            }
        }
        if self.queue.full == ReceiveFull::HoldBack {
            return Err(Refused { value, why: PushError::Full });
        }
        self.queue.count_discarded();
        Ok(Pushed::DiscardedNewest)
    }

    /// Looks for room, and takes the oldest values out where the queue is of that kind. `None`: there is none; also when a consumer is suspended in
    /// the segment that comes next.
    ///
    /// # Safety
    /// As of [`Fan::has_room`].
    #[inline]
    unsafe fn make_room(&self, fan: &Fan<T>) -> Option<Pushed> {
        let mut pushed = Pushed::Queued;
        // SAFETY: by the caller's promise.
        while !unsafe { fan.has_room() } {
            if self.queue.full != ReceiveFull::DiscardOldest || fan.pop().is_none() {
                return None;
            }
            self.queue.count_discarded();
            pushed = Pushed::DiscardedOldest;
        }
        Some(pushed)
    }

    /// Values queued at this moment.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is queued at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes queued at this moment: slots, and what the values hold outside.
    pub fn bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// What happened so far.
    pub fn stats(&self) -> QueueStats {
        self.queue.stats()
    }
}

impl<T> Drop for ReceiveWriter<T> {
    fn drop(&mut self) {
        // Pairs with the Acquire load in `ReceiveReader::is_closed`: who sees it sees the last push.
        self.queue.closed.store(true, Ordering::Release);
    }
}

impl<T> fmt::Debug for ReceiveWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveWriter").field("kind", &self.queue.kind).finish_non_exhaustive()
    }
}

/// A popping end of a receive queue.
pub struct ReceiveReader<T> {
    queue: Arc<Queue<T>>,
    cursor: Cursor<T>,
}

impl<T: Send + Weigh> ReceiveReader<T> {
    /// Takes the oldest value.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        match &self.queue.form {
            // SAFETY: a queue of one consumer has one reader, whose cursor is the only one.
            Form::Mono(line) => unsafe { self.cursor.pop(line) },
            Form::Discarding(discarding) => discarding.pop(),
            Form::Multi(fan) => fan.pop(),
        }
    }

    /// Another reader of the same queue; `None` when its kind has one only.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        match self.queue.form {
            Form::Multi(_) => {
                self.queue.readers.fetch_add(1, Ordering::Relaxed);
                Some(Self { queue: Arc::clone(&self.queue), cursor: Cursor::new() })
            }
            _ => None,
        }
    }

    /// Whether the writer is gone and everything was taken.
    pub fn is_closed(&self) -> bool {
        // The flag first: once it is seen, the tail is final.
        self.queue.closed.load(Ordering::Acquire) && self.is_empty()
    }

    /// Its kind.
    pub fn kind(&self) -> ReceiveKind {
        self.queue.kind
    }

    /// Values queued at this moment.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is queued at this moment.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes queued at this moment: slots, and what the values hold outside.
    pub fn bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// What happened so far.
    pub fn stats(&self) -> QueueStats {
        self.queue.stats()
    }
}

impl<T> Drop for ReceiveReader<T> {
    fn drop(&mut self) {
        self.queue.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> fmt::Debug for ReceiveReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveReader").field("kind", &self.queue.kind).finish_non_exhaustive()
    }
}
