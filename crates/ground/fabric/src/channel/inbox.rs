//! A receive queue with its decoder: for channels whose receivers share a queue, or that never hold the sender back.
//!
//! Whoever takes turns fills it; receivers take from it. That a peer is gone lies beside the queue, so that no discarding takes it away: it is told when
//! all that was queued before it has left.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::Loss;
use super::intake::{Found, Intake};
use super::shared::Shared;
use super::turn::Armed;
use super::view::Received;
use crate::queue::{PushError, ReceiveReader, ReceiveWriter, Weigh};

/// Messages that are decoded in one go.
const FILL_BUDGET: usize = 1024;

/// The filling end of a receive queue.
pub(super) struct Inbox {
    inner: Mutex<Filling>,
    /// The queue was full when it was filled last.
    starved: AtomicBool,
    /// Losses not told yet, each with the number of messages that were queued before it.
    losses: Mutex<VecDeque<(u64, Loss)>>,
    untold: AtomicUsize,
    /// Links that may still have something, and the message that found no room.
    sources: AtomicUsize,
    /// Arrivals taken over so far.
    seen: AtomicU64,
}

struct Filling {
    intake: Intake,
    writer: ReceiveWriter<Received>,
    /// Found no room, and is tried first the next time.
    waiting: Option<Received>,
}

/// What comes next from the links.
enum Arrival {
    Message(Received),
    Lost(Loss),
}

impl Weigh for Received {
    fn bytes_outside(&self) -> usize {
        self.payload_bytes()
    }
}

impl Inbox {
    pub(super) fn new(writer: ReceiveWriter<Received>) -> Self {
        Self {
            inner: Mutex::new(Filling { intake: Intake::new(), writer, waiting: None }),
            starved: AtomicBool::new(false),
            losses: Mutex::new(VecDeque::new()),
            untold: AtomicUsize::new(0),
            sources: AtomicUsize::new(0),
            seen: AtomicU64::new(0),
        }
    }

    /// Whether a loss is to be told, now or when more has left the queue.
    pub(super) fn has_loss(&self) -> bool {
        self.untold.load(Ordering::Acquire) > 0
    }

    /// The loss before which everything has left the queue of `reader`; says so once.
    pub(super) fn due_loss(&self, reader: &ReceiveReader<Received>) -> Option<Loss> {
        if !self.has_loss() {
            return None;
        }
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        // In this order, too little is counted as having left, never too much.
        let posted = reader.stats().posted;
        let left = posted.saturating_sub(reader.len() as u64);
        let (before, _) = losses.front()?;
        if *before > left {
            return None;
        }
        let (_, loss) = losses.pop_front()?;
        self.untold.store(losses.len(), Ordering::Release);
        Some(loss)
    }

    /// Whether nothing comes from the links that arrived until `arrived`. What they had is in the queue then, or was told.
    pub(super) fn is_over(&self, arrived: u64) -> bool {
        self.seen.load(Ordering::Acquire) == arrived && self.sources.load(Ordering::Acquire) == 0 && !self.has_loss()
    }

    /// Whether the queue was full; says so once.
    pub(super) fn was_starved(&self) -> bool {
        self.starved.load(Ordering::SeqCst) && self.starved.swap(false, Ordering::SeqCst)
    }

    /// Decodes what is there into the queue. Returns whether more is to be done at once. A death is looked for only while no ring is waited for.
    pub(super) fn fill(&self, shared: &Shared, armed: Armed) -> bool {
        let mut filling = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let filling = &mut *filling;
        let arrived = shared.arrived.load(Ordering::Acquire);
        if self.seen.load(Ordering::Relaxed) != arrived {
            shared.take_arrivals().into_iter().for_each(|source| filling.intake.add(source));
        }
        let mut any = false;
        let mut more = true;
        let held_back = filling.waiting.is_some();
        for _ in 0..FILL_BUDGET {
            let waiting = filling.waiting.take().map(Arrival::Message);
            let received = match waiting.or_else(|| next(&mut filling.intake, shared, armed)) {
                Some(Arrival::Message(received)) => received,
                Some(Arrival::Lost(loss)) => {
                    let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
                    losses.push_back((filling.writer.stats().posted, loss));
                    self.untold.store(losses.len(), Ordering::Release);
                    any = true;
                    continue;
                }
                None => {
                    // What the queue held back may have been the last before a death, of which the tether does not tell again.
                    more = held_back && armed == Armed::Yes;
                    break;
                }
            };
            match filling.writer.push(received) {
                Ok(_) => any = true,
                Err(refused) if refused.why == PushError::Full => {
                    filling.waiting = Some(refused.value);
                    // Said before the last try, so that a reader that makes room in between is not missed.
                    more = !self.starved.swap(true, Ordering::SeqCst);
                    break;
                }
                // Nobody receives any more.
                Err(_) => {}
            }
        }
        filling.intake.settle();
        self.sources.store(filling.intake.sources() + usize::from(filling.waiting.is_some()), Ordering::Release);
        self.seen.store(arrived, Ordering::Release);
        if any {
            shared.wake_receiver();
        }
        more
    }

    /// Messages and bytes decoded so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        let filling = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (filling.intake.messages, filling.intake.bytes)
    }
}

fn next(intake: &mut Intake, shared: &Shared, armed: Armed) -> Option<Arrival> {
    let found = match intake.next() {
        Found::Nothing if armed == Armed::No => intake.next_or_gone(),
        found => found,
    };
    let found = match found {
        Found::Message(place) => match intake.take_owned(place) {
            Ok(received) => return Some(Arrival::Message(received)),
            Err(lost) => lost,
        },
        found => found,
    };
    match found {
        Found::Gone(tether, gone) => Some(Arrival::Lost(shared.pump().loss_of(&tether, gone))),
        _ => None,
    }
}
