//! What can go wrong with a channel, one small enum for each operation. All name the channel.

use std::fmt;

use crate::message::Message;
use crate::tli::PeerGone;

/// A peer that is gone, and what is in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The channel's name.
    pub channel: String,
    /// Who, and why.
    pub gone: PeerGone,
    /// Messages that were sent last and of which it is not known whether the peer has read them. All before them it has read.
    pub in_doubt: u64,
}

/// Why a message was not taken. The message comes back with it.
#[derive(Debug)]
pub struct PostError {
    /// The channel's name.
    pub channel: String,
    /// The message.
    pub message: Box<Message>,
    /// What is wrong.
    pub why: Refusal,
}

/// What kept a message from being taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The queue is full and the deadline has passed.
    Busy,
    /// It does not fit a window.
    TooLarge {
        /// Bytes of the message, encoded.
        bytes: usize,
        /// The most that a window of this channel takes.
        limit: usize,
    },
    /// The channel is closed.
    Closed,
    /// The peer is gone and the channel does not look for it again.
    PeerGone(PeerGone),
    /// A transport gave up: why.
    Failed(String),
}

/// Why nothing was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiveError {
    /// Nothing came before the deadline.
    TimedOut {
        /// The channel's name.
        channel: String,
    },
    /// The peer is gone and everything that it sent was received; said once for each peer.
    PeerGone(Loss),
    /// The channel is closed here, or no peer is looked for any more.
    Closed {
        /// The channel's name.
        channel: String,
    },
    /// A transport gave up.
    Failed {
        /// The channel's name.
        channel: String,
        /// Why.
        why: String,
    },
}

/// Why not everything was sent before a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlushError {
    /// This much is left.
    TimedOut {
        /// The channel's name.
        channel: String,
        /// Messages that wait in queues.
        queued: usize,
        /// Messages on their way that the peer has not read.
        unread: u64,
    },
    /// The peer is gone.
    PeerGone(Loss),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {}: {}; {} messages in doubt", self.channel, self.gone, self.in_doubt)
    }
}

impl std::error::Error for Loss {}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {}: {}", self.channel, self.why)
    }
}

impl std::error::Error for PostError {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the queue is full"),
            Self::TooLarge { bytes, limit } => {
                write!(f, "a message of {bytes} bytes is over the limit of {limit}; send its data as window frames")
            }
            Self::Closed => f.write_str("it is closed"),
            Self::PeerGone(gone) => gone.fmt(f),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { channel } => write!(f, "channel {channel}: nothing came in time"),
            Self::PeerGone(loss) => loss.fmt(f),
            Self::Closed { channel } => write!(f, "channel {channel} is closed"),
            Self::Failed { channel, why } => write!(f, "channel {channel}: {why}"),
        }
    }
}

impl std::error::Error for ReceiveError {}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { channel, queued, unread } => {
                write!(
                    f,
                    "channel {channel}: not all was read in time, {queued} messages wait and {unread} are on their way"
                )
            }
            Self::PeerGone(loss) => loss.fmt(f),
        }
    }
}

impl std::error::Error for FlushError {}
