//! An input queue: what senders push and the channel's pump pops. One type for all kinds.
//!
//! The [`Writer`] goes into the application's sender, the [`Reader`] into the pump, whose lock makes sure that one thread at a time has it. Neither
//! blocks.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use super::discarding::Discarding;
use super::line::{Cursor, Line};
use super::tagged::Tagged;
use super::{Bounds, Full, PushError, Pushed, QueueKind, QueueStats, Refused, Weigh};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Makes an input queue of that kind; `bytes_max` is its budget ([`BYTES_MAX`](super::BYTES_MAX) is usual). Allocates its directory of 8 bytes for
/// each 64 values that the bounds allow, and memory for values when they come.
///
/// # Panics
/// When a capacity is 0.
pub fn input<T: Send + Weigh>(kind: QueueKind, bytes_max: usize) -> (Writer<T>, Reader<T>) {
    let bounds = |capacity| Bounds::new::<T>(capacity, bytes_max);
    let line = |capacity| Line::new(bounds(capacity), 0);
    let (form, full) = match kind {
        QueueKind::MonoUnbounded => (Form::Mono(line(None)), Full::Block),
        QueueKind::MultiUnbounded => (Form::Multi(line(None)), Full::Block),
        QueueKind::MultiUnboundedTagged => (Form::Tagged(Tagged::new(bounds(None), Full::Block)), Full::Block),
        QueueKind::MultiBounded { capacity, full: Full::DiscardOldest } => {
            (Form::Discarding(Discarding::new(bounds(Some(capacity)))), Full::DiscardOldest)
        }
        QueueKind::MultiBounded { capacity, full } => (Form::Multi(line(Some(capacity))), full),
        QueueKind::MultiBoundedTagged { capacity, full } => {
            (Form::Tagged(Tagged::new(bounds(Some(capacity)), full)), full)
        }
    };
    let input =
        Arc::new(Input { kind, full, form, closed: AtomicBool::new(false), discarded_newest: AtomicU64::new(0) });
    let writer = Writer { input: Arc::clone(&input), alone: PhantomData };
    (writer, Reader { input, cursor: Cursor::new(), held: None })
}

struct Input<T> {
    kind: QueueKind,
    full: Full,
    form: Form<T>,
    closed: AtomicBool,
    discarded_newest: AtomicU64,
}

enum Form<T> {
    Mono(Line<T>),
    Multi(Line<T>),
    Discarding(Discarding<T>),
    Tagged(Tagged<T>),
}

impl<T: Send + Weigh> Input<T> {
    /// What to do with a value for which there is no room.
    #[cold]
    fn refuse(&self, value: T) -> Result<Pushed, Refused<T>> {
        if self.full != Full::DiscardNewest {
            return Err(Refused { value, why: PushError::Full });
        }
        self.discarded_newest.fetch_add(1, Ordering::Relaxed);
        Ok(Pushed::DiscardedNewest)
    }

    fn len(&self) -> usize {
        match &self.form {
            Form::Mono(line) | Form::Multi(line) => line.len(),
            Form::Discarding(discarding) => discarding.line().len(),
            Form::Tagged(tagged) => tagged.len(),
        }
    }

    fn bytes(&self) -> usize {
        match &self.form {
            Form::Mono(line) | Form::Multi(line) => line.bytes(),
            Form::Discarding(discarding) => discarding.line().bytes(),
            Form::Tagged(tagged) => tagged.bytes(),
        }
    }

    fn stats(&self) -> QueueStats {
        let newest = self.discarded_newest.load(Ordering::Relaxed);
        match &self.form {
            Form::Mono(line) | Form::Multi(line) => {
                QueueStats { posted: line.posted(), replaced: 0, discarded: newest }
            }
            Form::Discarding(discarding) => {
                QueueStats { posted: discarding.line().posted(), replaced: 0, discarded: discarding.discarded() }
            }
            Form::Tagged(tagged) => tagged.stats(),
        }
    }
}

/// The pushing end of an input queue. It may move between threads and belongs to one at a time; queues of many producers give each its own by
/// [`Self::try_clone`].
pub struct Writer<T> {
    input: Arc<Input<T>>,
    /// Makes it not `Sync`, so that the one writer of a queue of one producer is used by one thread at a time.
    alone: PhantomData<Cell<()>>,
}

impl<T: Send + Weigh> Writer<T> {
    /// Appends `value`, or puts it in the place of the queued one of its `tag`; queues without tags ignore that. Never blocks.
    ///
    /// # Errors
    /// Gives the value back when the queue is closed, or full and of a kind that blocks or refuses.
    #[inline]
    pub fn push(&self, value: T, tag: Option<u64>) -> Result<Pushed, Refused<T>> {
        if self.input.closed.load(Ordering::Relaxed) {
            return Err(Refused { value, why: PushError::Closed });
        }
        // A place first, so that the value moves once.
        let (line, claim) = match &self.input.form {
            // SAFETY: by R4 of `line`: a queue of one producer has one writer, which is neither cloned nor shared.
            Form::Mono(line) => (line, unsafe { line.claim_alone() }),
            Form::Multi(line) => (line, line.claim(&line.bounds)),
            Form::Discarding(discarding) => return Ok(discarding.push(value)),
            Form::Tagged(tagged) => return tagged.push(value, tag),
        };
        let Some(claim) = claim else { return self.input.refuse(value) };
        line.fill(claim, value);
        Ok(Pushed::Queued)
    }

    /// Another writer of the same queue; `None` when its kind has one only.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        match self.input.form {
            Form::Mono(_) => None,
            _ => Some(Self { input: Arc::clone(&self.input), alone: PhantomData }),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> QueueKind {
        self.input.kind
    }

    /// Values queued at this moment, those that are just being pushed among them.
    pub fn len(&self) -> usize {
        self.input.len()
    }

    /// Whether nothing is queued at this moment.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes queued at this moment: slots, and what the values hold outside.
    pub fn bytes(&self) -> usize {
        self.input.bytes()
    }

    /// What happened so far.
    pub fn stats(&self) -> QueueStats {
        self.input.stats()
    }

    /// Whether the reader has closed it, or is gone.
    pub fn is_closed(&self) -> bool {
        self.input.closed.load(Ordering::Acquire)
    }
}

impl<T> fmt::Debug for Writer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("kind", &self.input.kind).finish_non_exhaustive()
    }
}

/// The popping end of an input queue; there is one. Dropping it closes the queue.
pub struct Reader<T> {
    input: Arc<Input<T>>,
    cursor: Cursor<T>,
    /// A value that was looked at and not yet taken, where it cannot be looked at in the queue.
    held: Option<T>,
}

impl<T: Send + Weigh> Reader<T> {
    /// Whether there is a value to take. One load when there is.
    #[inline]
    pub fn is_ready(&mut self) -> bool {
        match &self.input.form {
            Form::Mono(line) | Form::Multi(line) => self.cursor.is_ready(line),
            Form::Discarding(discarding) => self.held.is_some() || discarding.is_ready(),
            Form::Tagged(tagged) => self.held.is_some() || tagged.len() > 0,
        }
    }

    /// Looks at the oldest value: what [`Self::pop`] or [`Self::skip`] takes next. From a queue that replaces or discards it is out of reach from
    /// now on.
    #[inline]
    pub fn peek(&mut self) -> Option<&T> {
        match &self.input.form {
            // SAFETY: the reader has the only cursor of the line, and is borrowed while the reference lives.
            Form::Mono(line) | Form::Multi(line) => return unsafe { self.cursor.peek(line) },
            _ if self.held.is_some() => {}
            Form::Discarding(discarding) => self.held = discarding.pop(),
            Form::Tagged(tagged) => self.held = tagged.pop(),
        }
        self.held.as_ref()
    }

    /// Takes the oldest value.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        match &self.input.form {
            // SAFETY: the reader has the only cursor of the line.
            Form::Mono(line) | Form::Multi(line) => unsafe { self.cursor.pop(line) },
            _ if self.held.is_some() => self.held.take(),
            Form::Discarding(discarding) => discarding.pop(),
            Form::Tagged(tagged) => tagged.pop(),
        }
    }

    /// Drops the oldest value, where it lies if it can, and says whether there was one. After [`Self::peek`] it is the cheaper [`Self::pop`].
    #[inline]
    pub fn skip(&mut self) -> bool {
        match &self.input.form {
            // SAFETY: the reader has the only cursor of the line.
            Form::Mono(line) | Form::Multi(line) => unsafe { self.cursor.skip(line) },
            _ => self.pop().is_some(),
        }
    }

    /// Refuses all further pushes; what is queued stays to be popped. A push under way may still come after it.
    pub fn close(&mut self) {
        self.input.closed.store(true, Ordering::Release);
    }

    /// Values queued at this moment, those that are just being pushed among them.
    pub fn len(&self) -> usize {
        self.input.len() + usize::from(self.held.is_some())
    }

    /// Whether nothing is queued at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes queued at this moment: slots, and what the values hold outside.
    pub fn bytes(&self) -> usize {
        self.input.bytes()
            + self.held.as_ref().map_or(0, |held| super::segments::slot_bytes::<T>() + held.bytes_outside())
    }

    /// What happened so far.
    pub fn stats(&self) -> QueueStats {
        self.input.stats()
    }

    /// Its kind.
    pub fn kind(&self) -> QueueKind {
        self.input.kind
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        self.input.closed.store(true, Ordering::Release);
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("kind", &self.input.kind).finish_non_exhaustive()
    }
}
