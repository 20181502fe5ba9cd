//! A receive queue with its decoder: for channels whose receivers share a queue, or that never hold the sender back.
//!
//! Whoever takes turns fills it; receivers take from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::intake::{Found, Intake};
use super::shared::Shared;
use super::view::Received;
use crate::queue::{PushError, ReceiveWriter, Weigh};

/// Messages that are decoded in one go.
const FILL_BUDGET: usize = 1024;

/// The filling end of a receive queue.
pub(super) struct Inbox {
    inner: Mutex<Filling>,
    /// The queue was full when it was filled last.
    starved: AtomicBool,
}

struct Filling {
    intake: Intake,
    writer: ReceiveWriter<Arrival>,
    /// Found no room, and is tried first the next time.
    waiting: Option<Arrival>,
    seen: u64,
}

/// What lies in a receive queue.
pub(super) enum Arrival {
    Message(Received),
    Lost(super::error::Loss),
}

impl Weigh for Arrival {
    fn bytes_outside(&self) -> usize {
        match self {
            Self::Message(received) => received.payload_bytes(),
            Self::Lost(_) => 0,
        }
    }
}

impl Inbox {
    pub(super) fn new(writer: ReceiveWriter<Arrival>) -> Self {
        Self {
            inner: Mutex::new(Filling { intake: Intake::new(), writer, waiting: None, seen: 0 }),
            starved: AtomicBool::new(false),
        }
    }

    /// Whether the queue was full; says so once.
    pub(super) fn was_starved(&self) -> bool {
        self.starved.load(Ordering::SeqCst) && self.starved.swap(false, Ordering::SeqCst)
    }

    /// Decodes what is there into the queue. Returns whether more is to be done at once.
    pub(super) fn fill(&self, shared: &Shared) -> bool {
        let mut filling = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let filling = &mut *filling;
        if filling.seen != shared.arrived.load(Ordering::Acquire) {
            filling.seen = shared.arrived.load(Ordering::Acquire);
            shared.take_arrivals().into_iter().for_each(|source| filling.intake.add(source));
        }
        let mut any = false;
        let mut more = true;
        for _ in 0..FILL_BUDGET {
            let Some(arrival) = filling.waiting.take().or_else(|| next(&mut filling.intake, shared)) else {
                more = false;
                break;
            };
            match filling.writer.push(arrival) {
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

fn next(intake: &mut Intake, shared: &Shared) -> Option<Arrival> {
    let found = match intake.next() {
        Found::Nothing => intake.next_or_gone(),
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
