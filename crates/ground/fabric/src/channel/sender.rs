//! The sending handle: one input queue of a channel.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Core;
use super::deadline::Deadline;
use super::error::{PostError, Refusal};
use super::pump::{Fate, lane_of};
use super::shared::{Phase, Shared};
use crate::message::Message;
use crate::queue::{Full, Priority, PushError, QueueKind, QueueStats, Writer};
use crate::tli::Lane;
use crate::wire::{MESSAGE_HEADER, frame_bytes};

/// Posts messages into one input queue. A queue of many producers can be cloned.
pub struct Sender {
    core: Arc<Core>,
    writer: Writer<Message>,
    lane: Lane,
    kind: QueueKind,
    priority: Priority,
    /// Tells the pump when the last producer is gone.
    senders: Arc<()>,
}

impl Sender {
    pub(super) fn new(core: Arc<Core>, writer: Writer<Message>, priority: Priority, senders: Arc<()>) -> Self {
        let kind = writer.kind();
        Self { core, writer, lane: lane_of(priority), kind, priority, senders }
    }

    /// A further producer of the same queue; `None` for a queue of one producer.
    pub fn another(&self) -> Option<Self> {
        let writer = self.writer.try_clone()?;
        let (core, senders) = (Arc::clone(&self.core), Arc::clone(&self.senders));
        Some(Self { core, writer, lane: self.lane, kind: self.kind, priority: self.priority, senders })
    }

    /// The queue's priority.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// The longest message that this queue takes, encoded, in bytes.
    pub fn message_bytes_max(&self) -> usize {
        limit(&self.core.shared, self.lane)
    }

    /// Posts a message; waits until `deadline` for room where the queue is bounded and [`Full::Block`], or over its byte budget.
    ///
    /// # Errors
    /// When it was not taken; it comes back in the error.
    #[inline]
    pub fn post(&mut self, message: Message, deadline: Deadline) -> Result<(), PostError> {
        if self.send_at_once(&message) {
            return Ok(());
        }
        self.post_slowly(message, deadline)
    }

    /// Encodes a message straight into the window, when the pump is free, nothing is queued, and there is room.
    #[inline]
    fn send_at_once(&self, message: &Message) -> bool {
        let shared = &*self.core.shared;
        let Ok(mut pump) = shared.pump.try_lock() else { return false };
        if !pump.takes_directly()
            || shared.is_pending()
            || message.encoded_bytes() > limit(shared, self.lane)
            || shared.phase() != Phase::Open
        {
            return false;
        }
        if pump.send(self.lane, message) != Fate::Sent {
            return false;
        }
        shared.laid_one(pump, self.lane);
        true
    }

    #[cold]
    #[inline(never)]
    fn post_slowly(&mut self, message: Message, deadline: Deadline) -> Result<(), PostError> {
        if message.encoded_bytes() > limit(&self.core.shared, self.lane)
            && let Err(why) = self.check_large(&message)
        {
            return Err(refuse(&self.core.shared, message, why));
        }
        self.enqueue(message, None, deadline)
    }

    /// Posts a message that replaces the one of the same tag that is still queued.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub fn post_tagged(&mut self, message: Message, tag: u64, deadline: Deadline) -> Result<(), PostError> {
        if message.encoded_bytes() > limit(&self.core.shared, self.lane)
            && let Err(why) = self.check_large(&message)
        {
            return Err(refuse(&self.core.shared, message, why));
        }
        self.enqueue(message, Some(tag), deadline)
    }

    /// Posts a message of one frame of `len` bytes, which `fill` writes: into the window itself when nothing is queued and there is room.
    ///
    /// # Errors
    /// As [`Self::post`].
    #[inline]
    pub fn post_with(&mut self, len: usize, fill: impl FnOnce(&mut [u8]), deadline: Deadline) -> Result<(), PostError> {
        let shared = &self.core.shared;
        let bytes = MESSAGE_HEADER + frame_bytes(len);
        let limit = limit(shared, self.lane);
        if bytes > limit {
            return Err(refuse(shared, Message::new(), Refusal::TooLarge { bytes, limit }));
        }
        let mut fill = Some(fill);
        if let Ok(mut pump) = shared.pump.try_lock()
            && pump.takes_directly()
            && !shared.is_pending()
            && shared.phase() == Phase::Open
        {
            let write = |place: &mut [u8]| {
                if let Some(fill) = fill.take() {
                    fill(place);
                }
            };
            if pump.send_with(self.lane, len, write) == Fate::Sent {
                shared.laid_one(pump, self.lane);
                return Ok(());
            }
        }
        let Some(fill) = fill else { return Ok(()) };
        let mut bytes = vec![0; len];
        fill(&mut bytes);
        self.enqueue(Message::shared(crate::Slice::from_vec(bytes)), None, deadline)
    }

    /// Posts a message of one frame, copied: straight into the window when nothing is queued and there is room, which is the fast way for bytes at hand.
    ///
    /// # Errors
    /// As [`Self::post`].
    #[inline]
    pub fn post_bytes(&mut self, bytes: &[u8], deadline: Deadline) -> Result<(), PostError> {
        self.post_with(bytes.len(), |place| place.copy_from_slice(bytes), deadline)
    }

    /// As [`Self::post`], and the task waits instead of the thread. A future that is dropped has either posted the message or dropped it.
    ///
    /// # Errors
    /// As [`Self::post`], but never [`Refusal::Busy`] for a queue that blocks.
    pub async fn post_async(&mut self, message: Message) -> Result<(), PostError> {
        let mut message = Some(message);
        poll_fn(|context| self.poll_post(context, &mut message)).await
    }

    fn poll_post(&mut self, context: &mut Context<'_>, message: &mut Option<Message>) -> Poll<Result<(), PostError>> {
        let Some(taken) = message.take() else { return Poll::Ready(Ok(())) };
        match self.post(taken, Deadline::Now) {
            Err(PostError { message: back, why: Refusal::Busy, channel }) if self.blocks() => {
                self.core.shared.register_poster(context.waker());
                match self.post(*back, Deadline::Now) {
                    Err(PostError { message: back, why: Refusal::Busy, .. }) => {
                        *message = Some(*back);
                        drop(channel);
                        Poll::Pending
                    }
                    result => Poll::Ready(result),
                }
            }
            result => Poll::Ready(result),
        }
    }

    /// What the queue counted.
    pub fn stats(&self) -> QueueStats {
        self.writer.stats()
    }

    /// Whether a full queue makes its senders wait.
    fn blocks(&self) -> bool {
        match self.kind {
            QueueKind::MonoUnbounded | QueueKind::MultiUnbounded | QueueKind::MultiUnboundedTagged => true,
            QueueKind::MultiBounded { full, .. } | QueueKind::MultiBoundedTagged { full, .. } => full == Full::Block,
        }
    }

    /// A message over the limit fits all the same when its large frames will be lent.
    #[cold]
    fn check_large(&self, message: &Message) -> Result<(), Refusal> {
        let limit = limit(&self.core.shared, self.lane);
        let bytes = self.core.bytes_when_lent(message);
        if bytes > limit { Err(Refusal::TooLarge { bytes: message.encoded_bytes(), limit }) } else { Ok(()) }
    }

    /// The long way: into the queue, and whoever can moves it on.
    #[cold]
    fn enqueue(&mut self, message: Message, tag: Option<u64>, deadline: Deadline) -> Result<(), PostError> {
        let shared = Arc::clone(&self.core);
        let shared = &shared.shared;
        let mut waiting = Some(message);
        let mut refused = None;
        let blocks = self.blocks();
        let mut attempt = || {
            let Some(message) = waiting.take() else { return true };
            if let Some(why) = closed(shared) {
                refused = Some(refuse(shared, message, why));
                return true;
            }
            match self.writer.push(message, tag) {
                Ok(_) => {
                    shared.queued_one();
                    true
                }
                Err(full) if full.why == PushError::Full => {
                    waiting = Some(full.value);
                    false
                }
                Err(closed) => {
                    refused = Some(refuse(shared, closed.value, Refusal::Closed));
                    true
                }
            }
        };
        if !attempt() {
            shared.help_pump();
            let deadline = if blocks { deadline } else { Deadline::Now };
            shared.wait_until(deadline, attempt);
        }
        match (waiting, refused) {
            (Some(message), _) => Err(refuse(shared, message, Refusal::Busy)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(()),
        }
    }
}

fn limit(shared: &Shared, lane: Lane) -> usize {
    match lane {
        Lane::Bulk => shared.limits[0],
        Lane::Urgent => shared.limits[1],
    }
}

/// Why the channel takes nothing, if so.
pub(super) fn closed(shared: &Shared) -> Option<Refusal> {
    if shared.phase() != Phase::Open {
        return Some(Refusal::Closed);
    }
    if !shared.orphaned.load(std::sync::atomic::Ordering::Acquire) {
        return None;
    }
    let gone = shared.pump().last_loss().map(|loss| Refusal::PeerGone(loss.gone.clone()));
    Some(gone.or_else(|| shared.fault().map(Refusal::Failed)).unwrap_or(Refusal::Closed))
}

#[cold]
fn refuse(shared: &Shared, message: Message, why: Refusal) -> PostError {
    PostError { channel: shared.name.clone(), message: Box::new(message), why }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("channel", &self.core.shared.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
