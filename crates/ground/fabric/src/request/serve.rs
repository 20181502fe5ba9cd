//! The answering side.

use std::collections::HashSet;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use crate::channel::{Channel, Deadline, PostError, ReceiveError, Received, Receiver, Refusal, Sender, State};
use crate::message::Message;
use crate::queue::{Priority, QueueKind};
use crate::wire::Kind;

/// Takes requests from a channel. Several may, where the channel's receiver has several consumers ([`Self::another`]).
pub struct Serve {
    receiver: Option<Receiver>,
    desk: Arc<Desk>,
}

/// A request and the way to answer it.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Received,
    /// Answers it, on any thread, at any time.
    pub reply: Reply,
}

/// What [`Serve::handle`] made of a message.
#[derive(Debug)]
pub enum Handled {
    /// A request.
    Asked(Asked),
    /// A cancel; it was noted.
    Noted,
    /// None of ours.
    Other(Received),
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It is on its way.
    Posted,
    /// Nobody waits for it: the request was cancelled, or its asker is gone. The answer was dropped.
    Cancelled,
}

/// What all handles of a server share.
struct Desk {
    channel: Channel,
    sender: Mutex<Sender>,
    /// Requests that were taken, are not answered, and were not cancelled.
    open: Mutex<HashSet<u64, foldhash::fast::RandomState>>,
}

impl Serve {
    /// Serves `channel`, whose receiver it takes, and answers with normal priority. What comes and is no request is dropped.
    pub fn over(channel: &Channel, receiver: Receiver) -> Self {
        Self::build(channel, Some(receiver), Priority::Normal)
    }

    /// Serves `channel`, whose receiver the application keeps: it passes what it receives to [`Self::handle`], and losses to [`Self::handle_loss`].
    pub fn fed(channel: &Channel) -> Self {
        Self::build(channel, None, Priority::Normal)
    }

    /// As [`Self::over`] or, without a receiver, [`Self::fed`], with this priority of the answers.
    pub fn build(channel: &Channel, receiver: Option<Receiver>, priority: Priority) -> Self {
        let sender = channel.sender(QueueKind::MultiUnbounded, priority);
        let desk = Desk { channel: channel.clone(), sender: Mutex::new(sender), open: Mutex::new(HashSet::default()) };
        Self { receiver, desk: Arc::new(desk) }
    }

    /// Another server of the same channel, for another thread; `None` where the receiver has one consumer.
    pub fn another(&self) -> Option<Self> {
        let receiver = self.receiver.as_ref()?.another()?;
        Some(Self { receiver: Some(receiver), desk: Arc::clone(&self.desk) })
    }

    /// Waits for a request.
    ///
    /// # Errors
    /// When none came before the deadline, a peer is gone, or the channel is closed. After a loss it may go on: another peer may come.
    ///
    /// # Panics
    /// When the application keeps the receiver.
    pub fn next(&mut self, deadline: Deadline) -> Result<Asked, ReceiveError> {
        loop {
            let received = self.receiver().receive(deadline);
            if let Some(result) = self.sort(received) {
                return result;
            }
        }
    }

    /// As [`Self::next`], and the task waits instead of the thread. Safe to cancel.
    ///
    /// # Errors
    /// When a peer is gone or the channel closed.
    ///
    /// # Panics
    /// When the application keeps the receiver.
    pub async fn next_async(&mut self) -> Result<Asked, ReceiveError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Self::next_async`], by hand.
    ///
    /// # Errors
    /// As [`Self::next_async`].
    ///
    /// # Panics
    /// When the application keeps the receiver.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Asked, ReceiveError>> {
        while let Poll::Ready(received) = self.receiver().poll_receive(context) {
            if let Some(result) = self.sort(received) {
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    }

    fn receiver(&mut self) -> &mut Receiver {
        self.receiver.as_mut().expect("the application keeps the receiver, and passes on what it receives")
    }

    /// What of a result is for the application.
    fn sort(&self, received: Result<Received, ReceiveError>) -> Option<Result<Asked, ReceiveError>> {
        match received {
            Ok(received) => match self.handle(received) {
                Handled::Asked(asked) => Some(Ok(asked)),
                Handled::Noted | Handled::Other(_) => None,
            },
            Err(error) => {
                self.handle_loss(&error);
                Some(Err(error))
            }
        }
    }

    /// Makes a request out of what the application received, or notes a cancel; gives back what is neither.
    pub fn handle(&self, received: Received) -> Handled {
        match received.kind() {
            Kind::Request => {
                let correlation = received.correlation();
                self.desk.open().insert(correlation);
                let reply = Reply { desk: Arc::clone(&self.desk), correlation, answered: false };
                Handled::Asked(Asked { request: received, reply })
            }
            Kind::Cancel if self.desk.open().remove(&received.correlation()) => Handled::Noted,
            // It came late, or is the peer's answer that there will be none.
            _ => Handled::Other(received),
        }
    }

    /// Cancels all requests after the application's receiver said that the last peer is gone or the channel is over; a time-out is no loss.
    pub fn handle_loss(&self, error: &ReceiveError) {
        let over = match error {
            ReceiveError::TimedOut { .. } => false,
            ReceiveError::PeerGone(_) => !matches!(self.desk.channel.state(), State::Up { .. }),
            ReceiveError::Closed { .. } | ReceiveError::Failed { .. } => true,
        };
        if over {
            self.desk.open().clear();
        }
    }

    /// Requests that were taken and are neither answered nor cancelled.
    pub fn open(&self) -> usize {
        self.desk.open().len()
    }
}

impl Desk {
    fn open(&self) -> MutexGuard<'_, HashSet<u64, foldhash::fast::RandomState>> {
        // The set is whole between its operations.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self) -> MutexGuard<'_, Sender> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Posts without holding others up while it waits.
    fn post(&self, message: Message, deadline: Deadline) -> Result<(), PostError> {
        let mut sender = self.sender();
        match sender.post(message, Deadline::Now) {
            Err(PostError { message, why: Refusal::Busy, .. }) if deadline != Deadline::Now => {
                let own = sender.another();
                drop(sender);
                own.expect("a queue of many producers has more").post(*message, deadline)
            }
            result => result,
        }
    }
}

/// Answers one request. Dropping it tells the asker that no answer will come.
#[must_use = "dropping it tells the asker that no answer will come"]
pub struct Reply {
    desk: Arc<Desk>,
    correlation: u64,
    answered: bool,
}

impl Reply {
    /// Answers; waits until `deadline` for room. Whatever kind the message has, it is sent as an answer.
    ///
    /// # Errors
    /// When it was not taken; it comes back, and the asker will have no answer.
    pub fn send(mut self, mut answer: Message, deadline: Deadline) -> Result<Answered, PostError> {
        if self.is_cancelled() {
            self.answered = true;
            return Ok(Answered::Cancelled);
        }
        answer.set_kind(Kind::Response);
        answer.set_correlation(self.correlation);
        self.desk.post(answer, deadline)?;
        self.answered = true;
        self.desk.open().remove(&self.correlation);
        Ok(Answered::Posted)
    }

    /// Whether nobody waits for the answer: for long work, to be asked now and then.
    pub fn is_cancelled(&self) -> bool {
        !self.desk.open().contains(&self.correlation)
    }

    /// The name of the request, as both sides know it.
    pub fn correlation(&self) -> u64 {
        self.correlation
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.answered && self.desk.open().remove(&self.correlation) {
            // Without room, the asker waits until its deadline.
            let _ = self.desk.sender().post(Message::of_kind(Kind::Cancel, self.correlation), Deadline::Now);
        }
    }
}

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("channel", &self.desk.channel.name()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("correlation", &self.correlation).finish_non_exhaustive()
    }
}
