//! The reading side.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::channel::{Channel, Deadline, MessageView, ReceiveError, Received, Receiver};
use crate::tli::OpenError;
use crate::wire::Kind;

/// Hears what a publisher says. When that goes and another comes to its address, it hears that one.
pub struct Subscriber {
    channel: Channel,
    receiver: Receiver,
    missed: u64,
}

/// What a subscriber hears.
#[derive(Debug)]
pub enum Heard<M = Received> {
    /// A message. What it borrows of the publisher's windows goes back when it is dropped.
    Message(M),
    /// So many messages were missed at this place, for want of room here.
    Missed(u64),
}

impl Subscriber {
    /// Subscribes at `uri` with the usual settings. The publisher need not be there yet.
    ///
    /// # Errors
    /// When the address is wrong, or the system refuses.
    pub fn connect(uri: impl Into<String>) -> Result<Self, OpenError> {
        let (channel, receiver) = Channel::builder().connect(uri).open()?;
        Ok(Self::over(channel, receiver))
    }

    /// Subscribes over a channel that was made for it, with settings of its own.
    pub fn over(channel: Channel, receiver: Receiver) -> Self {
        Self { channel, receiver, missed: 0 }
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// When nothing came before the deadline, the publisher is gone, or the channel is closed.
    pub fn next(&mut self, deadline: Deadline) -> Result<Heard, ReceiveError> {
        let received = self.receiver.receive(deadline)?;
        Ok(self.hear(received))
    }

    /// Waits for what comes next and lends it to `use_it`: a message is read where it lies.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_with<R>(
        &mut self,
        deadline: Deadline,
        use_it: impl FnOnce(Heard<MessageView<'_>>) -> R,
    ) -> Result<R, ReceiveError> {
        let missed = &mut self.missed;
        self.receiver.receive_with(deadline, |view| match view.kind() {
            Kind::Gap => {
                *missed = missed.saturating_add(view.correlation());
                use_it(Heard::Missed(view.correlation()))
            }
            _ => use_it(Heard::Message(view)),
        })
    }

    /// As [`Self::next`], and the task waits instead of the thread. Safe to cancel.
    ///
    /// # Errors
    /// When the publisher is gone, or the channel is closed.
    pub async fn next_async(&mut self) -> Result<Heard, ReceiveError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Self::next_async`], by hand.
    ///
    /// # Errors
    /// As [`Self::next_async`].
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Heard, ReceiveError>> {
        self.receiver.poll_receive(context).map(|received| received.map(|received| self.hear(received)))
    }

    fn hear(&mut self, received: Received) -> Heard {
        match received.kind() {
            Kind::Gap => {
                self.missed = self.missed.saturating_add(received.correlation());
                Heard::Missed(received.correlation())
            }
            _ => Heard::Message(received),
        }
    }

    /// Messages missed so far, as far as the publisher has said.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The channel it hears through.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("channel", &self.channel.name()).finish_non_exhaustive()
    }
}
