//! What happened, as the rooms tell it to the record: one event is one row of a log.

use crate::{Container, Message, MessageId, Reply, Stage, UnixMicros};
use std::net::{IpAddr, SocketAddr};

/// An event; borrowed, so that nothing is copied where no log asks for it.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// One recipient of a message was accepted.
    Received {
        /// When.
        at: UnixMicros,
        /// The message.
        message: &'a Message,
        /// Which recipient.
        recipient: u16,
        /// Its queue, if it got one.
        container: Option<&'a Container>,
    },
    /// One recipient was delivered.
    Delivered {
        /// When and to whom.
        attempt: Attempt<'a>,
        /// What the next hop said.
        reply: &'a Reply,
    },
    /// An attempt failed for now.
    Transient {
        /// When and to whom.
        attempt: Attempt<'a>,
        /// What the next hop, or we, said.
        reply: &'a Reply,
    },
    /// A recipient failed for good.
    Permanent {
        /// When and to whom.
        attempt: Attempt<'a>,
        /// What the next hop, or we, said.
        reply: &'a Reply,
    },
    /// A client was refused.
    Rejected(Rejection<'a>),
    /// An operator did something to mail that waits.
    Operated(Operation<'a>),
}

/// What an operator did, for the audit.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// When it was done.
    pub at: UnixMicros,
    /// Who, as far as the console knows: `uid=1000 pid=4711`.
    pub who: &'a str,
    /// What: `fail`, `rebind to=b`, …
    pub what: &'a str,
    /// To which mail, in the operator's words; `all` if no filter was given.
    pub filter: &'a str,
    /// Recipients that the filter means.
    pub matched: u64,
    /// Of those, how many were changed.
    pub touched: u64,
}

/// One attempt for one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// When it ended.
    pub at: UnixMicros,
    /// The message.
    pub message: &'a Message,
    /// Which recipient.
    pub recipient: u16,
    /// Its queue.
    pub container: &'a Container,
    /// The id of the outgoing connection, or none.
    pub connection: MessageId,
    /// Attempts before this one.
    pub retries: u16,
    /// How far the conversation had come.
    pub stage: Stage,
    /// Octets of the content sent.
    pub sent: u64,
    /// The next hop's address, if one was reached or tried.
    pub peer: Option<IpAddr>,
}

/// A refusal of a client, for the reject log.
#[derive(Clone, Copy, Debug)]
pub struct Rejection<'a> {
    /// When.
    pub at: UnixMicros,
    /// The client.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// The connection's id.
    pub connection: MessageId,
    /// The listener's name, in the place of a pathway's.
    pub pathway: &'a str,
    /// The command or phase that was refused: `MAIL FROM`, `RCPT TO`, `DATA`, `connect`, …
    pub phase: &'a str,
    /// Reply code.
    pub code: u16,
    /// Which part refused.
    pub module: &'a str,
    /// The reverse-path, if known.
    pub sender: Option<&'a str>,
    /// The refused forward-path, if it was one.
    pub recipient: Option<&'a str>,
    /// The reply's text.
    pub text: &'a str,
}

/// Takes events. Must not block: what it cannot keep it drops and counts.
pub trait EventSink {
    /// Something happened.
    fn event(&self, event: &Event<'_>);
}
