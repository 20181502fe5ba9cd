//! Requests and answers over a channel: a thin layer of correlation ids. The channel knows nothing of it but three kinds of messages.
//!
//! [`Calls`] asks and [`Serve`] answers; any number of requests is outstanding, and answers come in any order.
//!
//! ```text
//!  Calls::begin ─ Request 7 ───►                    ───► Serve::next ─► Asked ─► your code
//!  Calls::begin ─ Request 8 ───►      channel       ───► Serve::next ─► Asked ─► your code
//!  Call::wait ◄── Response 8 ◄──                    ◄─── Reply::send
//!  drop(Call) ─── Cancel 7 ────►                    ───► Reply::is_cancelled
//! ```
//!
//! - A correlation is a slot in the asker's table and a generation, which no earlier call of that slot had; the first generation is random, so
//!   that an answer that was meant for an earlier process names nothing in a later one. An answer that comes late is dropped.
//! - A [`Call`] that is dropped, or whose deadline passes, sends a `Cancel` if there is room for it. A [`Reply`] that is dropped sends one, too:
//!   no answer will come, and the asker need not wait for its deadline.
//! - When a peer is gone, all calls fail at once; a channel that looks for another peer can be asked again.
//!
//! No thread belongs to it. Of those that wait for answers one leads: it receives for all, gives each its answer and wakes it, and hands the lead
//! to the next when it has its own. Threads ([`Call::wait`]) and tasks (`Call` is a `Future`) may wait for calls of the same channel at the same
//! time.
//!
//! Budget for a call and its answer beyond the two messages: no allocation of its own once the tables have grown, two short mutexes at each end,
//! and one wake-up for an answer that another one received.
//!
//! ```
//! # use fabric::channel::{Channel, Deadline};
//! # use fabric::request::{Calls, Serve};
//! # use fabric::Message;
//! # use std::time::Duration;
//! let (asking, receiver) = Channel::builder().connect("inproc:request-doc").open()?;
//! let mut calls = Calls::over(&asking, receiver);
//! let server = std::thread::spawn(|| {
//!     let (channel, receiver) = Channel::builder().listen("inproc:request-doc").open().expect("it is free");
//!     let mut serve = Serve::over(&channel, receiver);
//!     let asked = serve.next(Deadline::Never).expect("someone asks");
//!     let answer = asked.request.to_vec().to_ascii_uppercase();
//!     asked.reply.send(Message::copied(&answer), Deadline::Never).expect("someone waits");
//!     channel.flush(Deadline::Never).expect("it is read");
//! });
//! let answer = calls.call(Message::copied(b"hello"), Deadline::after(Duration::from_secs(10)))?;
//! assert_eq!(answer.bytes(), b"HELLO");
//! server.join().expect("it ends well");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod calls;
mod serve;
mod table;

use std::fmt;

pub use calls::{Call, Calls, CallsStats};
pub use serve::{Answered, Asked, Handled, Reply, Serve};

use crate::channel::{Loss, PostError};

/// Calls outstanding at once, unless set.
pub const OUTSTANDING_MAX: usize = 1 << 16;

/// Why a call has no answer.
#[derive(Debug)]
pub enum CallError {
    /// The request was not taken; it comes back.
    Post(PostError),
    /// There are as many calls outstanding as may be.
    TooMany {
        /// The channel's name.
        channel: String,
        /// How many.
        limit: usize,
    },
    /// No answer came before the deadline.
    TimedOut {
        /// The channel's name.
        channel: String,
    },
    /// The answerer let go of the request without an answer.
    Unanswered {
        /// The channel's name.
        channel: String,
    },
    /// The peer is gone; whether it saw the request is not known.
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

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Post(error) => error.fmt(f),
            Self::TooMany { channel, limit } => {
                write!(f, "channel {channel}: {limit} calls are outstanding, which is the limit")
            }
            Self::TimedOut { channel } => write!(f, "channel {channel}: no answer came in time"),
            Self::Unanswered { channel } => {
                write!(f, "channel {channel}: the peer let go of the request without an answer")
            }
            Self::PeerGone(loss) => loss.fmt(f),
            Self::Closed { channel } => write!(f, "channel {channel} is closed"),
            Self::Failed { channel, why } => write!(f, "channel {channel}: {why}"),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Post(error) => Some(error),
            _ => None,
        }
    }
}
