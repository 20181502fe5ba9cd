//! Channels of the fabric, awaited on tokio: the runtime itself watches the channel's descriptor, so that no other thread stands between a peer's
//! ring and the task.
//!
//! [`AsyncReceiver`] wraps a [`Receiver`]; sending needs nothing: [`fabric::channel::Sender::post_async`] works on any runtime. The channel keeps its
//! service thread for what happens beside: meeting peers, and sending what had to wait.
//!
//! Budget: a message that is there costs what it costs everywhere; a sleep costs one wake-up by the runtime's epoll, and the peer one datagram.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use fabric::channel::{Deadline, MessageView, ReceiveError, Received, Receiver};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A receiver whose waits are tokio's.
pub struct AsyncReceiver {
    receiver: Receiver,
    readiness: AsyncFd<OwnedFd>,
    waiting: bool,
}

/// Why nothing was received.
#[derive(Debug)]
pub enum Error {
    /// The channel's reason.
    Receive(ReceiveError),
    /// The descriptor could not be watched.
    Watch(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receive(error) => error.fmt(f),
            Self::Watch(error) => write!(f, "watch a channel's descriptor: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<ReceiveError> for Error {
    fn from(error: ReceiveError) -> Self {
        Self::Receive(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Watch(error)
    }
}

impl AsyncReceiver {
    /// Wraps a receiver without a receive queue, on the runtime of the calling task.
    ///
    /// # Errors
    /// When the system has no descriptors left, or the channel has a receive queue.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(mut receiver: Receiver) -> io::Result<Self> {
        let watched = receiver.descriptor()?.as_fd().try_clone_to_owned()?;
        #[expect(
            deprecated,
            reason = "unsound for types that can change their descriptor; an owned one cannot, and its successor needs unsafe code"
        )]
        let readiness = AsyncFd::with_interest(watched, Interest::READABLE)?;
        Ok(Self { receiver, readiness, waiting: false })
    }

    /// Waits for a message and takes it. Safe to cancel.
    ///
    /// # Errors
    /// When a peer is gone, the channel is closed, or a new link cannot be watched.
    pub async fn receive(&mut self) -> Result<Received, Error> {
        loop {
            if let Some(received) = self.receiver.try_receive()? {
                return Ok(received);
            }
            self.wait().await?;
        }
    }

    /// Waits for messages and lends up to `max` of them to `each`, which reads them where they lie. Returns how many. Safe to cancel.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub async fn drain(&mut self, max: usize, mut each: impl FnMut(MessageView<'_>)) -> Result<usize, Error> {
        loop {
            match self.receiver.drain(max, &mut each)? {
                0 => self.wait().await?,
                count => return Ok(count),
            }
        }
    }

    /// Lends a message to `use_it` if one is there.
    ///
    /// # Errors
    /// When there is none ([`ReceiveError::TimedOut`]), a peer is gone, or the channel is closed.
    pub fn receive_now<R>(&mut self, use_it: impl FnOnce(MessageView<'_>) -> R) -> Result<R, ReceiveError> {
        self.receiver.receive_with(Deadline::Now, use_it)
    }

    async fn wait(&mut self) -> Result<(), Error> {
        // A wait that was cancelled is still announced.
        if !self.waiting {
            self.waiting = !self.receiver.about_to_wait()?;
        }
        if self.waiting {
            self.readiness.readable().await?.clear_ready();
            self.receiver.awake();
            self.waiting = false;
        }
        Ok(())
    }
}

impl fmt::Debug for AsyncReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncReceiver").field(&self.receiver).finish()
    }
}
