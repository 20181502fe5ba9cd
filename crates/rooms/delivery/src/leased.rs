//! What is borrowed from the queues: leases and connection numbers go back whatever happens to the task that holds them.

use crate::Neighbours;
use crate::room::Room;
use message::{Closing, Lease, LeasedRecipient, Message, Spool, StoreError, StoreKey, Verdict, Work};
use smallvec::SmallVec;
use std::rc::Rc;
use std::sync::Arc;

/// A lease. Recipients that are not taken out go back untried when it is dropped.
pub(crate) struct Leased<N: Neighbours> {
    room: Rc<Room<N>>,
    pub(crate) key: StoreKey,
    message: Option<Arc<Message>>,
    recipients: SmallVec<[LeasedRecipient; 1]>,
}

impl<N: Neighbours> Leased<N> {
    pub(crate) fn new(room: &Rc<Room<N>>, lease: Lease) -> Self {
        let Lease { key, message, recipients, .. } = lease;
        Self { room: room.clone(), key, message, recipients }
    }

    /// The message, if it is in memory.
    pub(crate) fn message(&self) -> Option<&Arc<Message>> {
        self.message.as_ref()
    }

    pub(crate) fn recipients(&self) -> &[LeasedRecipient] {
        &self.recipients
    }

    /// Takes the lease of one recipient out, to be given back by the caller.
    pub(crate) fn take(&mut self, recipient: u16) -> Option<LeasedRecipient> {
        let place = self.recipients.iter().position(|leased| leased.recipient == recipient)?;
        Some(self.recipients.swap_remove(place))
    }

    /// Takes any.
    pub(crate) fn pop(&mut self) -> Option<LeasedRecipient> {
        self.recipients.pop()
    }

    /// With its message, from the spool if need be. `None`: the spool has it no more, and the recipients were dealt
    /// with.
    pub(crate) async fn with_message(mut self) -> Option<Self> {
        if self.message.is_none() {
            match self.room.spool.fetch(self.key).await {
                Ok(message) => self.message = Some(message),
                Err(error) => {
                    self.on_lost(error);
                    return None;
                }
            }
        }
        self.checked()
    }

    /// Itself, if its recipients are the message's.
    pub(crate) fn checked(mut self) -> Option<Self> {
        let count = self.message.as_ref().map_or(0, |message| message.envelope.recipients.len());
        if self.recipients.iter().any(|leased| usize::from(leased.recipient) >= count) {
            debug_assert!(false, "a lease names recipients that its message does not have");
            self.on_lost(StoreError::Missing);
            return None;
        }
        Some(self)
    }

    /// The message cannot be had. What is missing or damaged the spool reports itself: to try again would find nothing.
    fn on_lost(&mut self, error: StoreError) {
        while let Some(leased) = self.pop() {
            match error {
                StoreError::Missing => {
                    self.room.counters.missing.add(1);
                    self.room.give_back(self.key, leased, Verdict::Permanent);
                }
                StoreError::Full | StoreError::Failed => {
                    self.room.give_back(self.key, leased, Verdict::Transient);
                }
                StoreError::Stopping => {
                    self.room.give_back(self.key, leased, Verdict::Untried);
                }
            }
        }
    }
}

impl<N: Neighbours> Drop for Leased<N> {
    fn drop(&mut self) {
        while let Some(leased) = self.pop() {
            self.room.give_back(self.key, leased, Verdict::Untried);
        }
    }
}

/// A connection's number towards [`Work`]. Closed when it is dropped, if not before.
pub(crate) struct Number<N: Neighbours> {
    room: Rc<Room<N>>,
    number: Option<u32>,
}

impl<N: Neighbours> Number<N> {
    pub(crate) fn new(room: &Rc<Room<N>>, number: u32) -> Self {
        Self { room: room.clone(), number: Some(number) }
    }

    /// The number while it is open.
    pub(crate) fn get(&self) -> Option<u32> {
        self.number
    }

    /// Whether the connection may go on between two transactions.
    pub(crate) fn is_kept(&self) -> bool {
        self.number.is_none_or(|number| self.room.work.borrow_mut().keeps(number))
    }

    /// The next transaction.
    pub(crate) fn lease(&self, recipients_max: usize) -> Option<Leased<N>> {
        let now = self.room.unix();
        let lease = self.room.work.borrow_mut().lease(self.number?, recipients_max, now)?;
        Some(Leased::new(&self.room, lease))
    }

    pub(crate) fn close(&mut self, closing: Closing) {
        if let Some(number) = self.number.take() {
            let now = self.room.unix();
            if let Some(lease) = self.room.idle.leave(number) {
                drop(Leased::new(&self.room, lease));
            }
            self.room.work.borrow_mut().closed(number, closing, now);
            self.room.bell.notify_one();
        }
    }
}

impl<N: Neighbours> Drop for Number<N> {
    fn drop(&mut self) {
        self.close(Closing::Done);
    }
}
