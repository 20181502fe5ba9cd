//! Connections that have nothing to do and wait for work of their container.
//!
//! Nobody tells which queue got mail; the dispatcher asks on behalf of each idle connection, and wakes only those that
//! got something.

use message::{Lease, UnixMicros, Work};
use std::cell::RefCell;
use std::collections::HashMap;
use std::task::{Context, Poll, Waker};

/// The idle connections of a loop, by their number towards [`Work`].
#[derive(Debug, Default)]
pub(crate) struct Idle {
    waiting: RefCell<HashMap<u32, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    recipients_max: usize,
    offer: Option<Lease>,
    waker: Waker,
}

impl Idle {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Waits as connection `number` for an offer; to be ended by [`Idle::leave`].
    pub(crate) fn poll_offer(&self, number: u32, recipients_max: usize, context: &mut Context<'_>) -> Poll<Lease> {
        let mut waiting = self.waiting.borrow_mut();
        let waker = || context.waker().clone();
        let own = waiting.entry(number).or_insert_with(|| Waiting { recipients_max, offer: None, waker: waker() });
        if let Some(lease) = own.offer.take() {
            waiting.remove(&number);
            return Poll::Ready(lease);
        }
        if !own.waker.will_wake(context.waker()) {
            own.waker = waker();
        }
        Poll::Pending
    }

    /// Waits no longer; an offer that was not seen comes back.
    pub(crate) fn leave(&self, number: u32) -> Option<Lease> {
        self.waiting.borrow_mut().remove(&number)?.offer
    }

    /// Asks for work for everybody who waits.
    pub(crate) fn offer(&self, work: &mut impl Work, now: UnixMicros) {
        for (&number, waiting) in self.waiting.borrow_mut().iter_mut().filter(|(_, waiting)| waiting.offer.is_none()) {
            match work.lease(number, waiting.recipients_max, now) {
                Some(lease) => {
                    waiting.offer = Some(lease);
                    waiting.waker.wake_by_ref();
                }
                None => work.rests(number),
            }
        }
    }
}
