//! What happened, as the rooms tell it to the record: one event is one row of a log.

use crate::{Container, LegacyId, Message, MessageId, Reply, Stage, UnixMicros, Verdict};
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
    /// A failure came back as a message of its own.
    Returned(Returned<'a>),
    /// A recipient complained: a report of a feedback loop came in.
    Complained(Complaint<'a>),
    /// A client was refused.
    Rejected(Rejection<'a>),
    /// An operator did something to mail that waits.
    Operated(Operation<'a>),
    /// Traffic shaping decided something.
    Shaped(Shaped<'a>),
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

/// What a message that came back tells of.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// When it was read.
    pub at: UnixMicros,
    /// The message that came back.
    pub message: &'a Message,
    /// Which of its recipients it came in for.
    pub recipient: u16,
    /// The id in the logs of the recipient that it is about, if a mark of ours says so.
    pub id: Option<LegacyId>,
    /// The recipient that it is about, as we sent to it. Anybody's text, unless `id` is there.
    pub original: Option<&'a str>,
}

/// A failure that was told out of band.
#[derive(Clone, Copy, Debug)]
pub struct Returned<'a> {
    /// Whom it is about.
    pub about: About<'a>,
    /// Whether there is hope.
    pub lasting: Lasting,
    /// The number of its class.
    pub class: u8,
    /// The reason in the other side's words.
    pub text: &'a str,
}

/// How long a failure lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// The message is given up.
    ForGood,
    /// It is late.
    ForNow,
}

/// A complaint.
#[derive(Clone, Copy, Debug)]
pub struct Complaint<'a> {
    /// Whom it is about.
    pub about: About<'a>,
    /// `abuse`, `fraud`, `not-spam`, …
    pub kind: &'a str,
    /// The domain that sent it.
    pub domain: &'a str,
    /// The operator's text for such rows.
    pub user_string: &'a str,
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

/// A decision of traffic shaping, for the audit log.
#[derive(Clone, Copy, Debug)]
pub struct Shaped<'a> {
    /// When.
    pub at: UnixMicros,
    /// The rule that decided; empty for an operator.
    pub rule: &'a str,
    /// What became of the decision: `applied`, `dry-run` or `overruled`.
    pub effect: &'a str,
    /// The kind of the scope: `binding-site`, …
    pub scope: &'a str,
    /// The scope's site, if it has one.
    pub site: &'a str,
    /// The scope's binding, if it has one.
    pub binding: &'a str,
    /// The scope's tenant, if it has one.
    pub tenant: &'a str,
    /// The old value and the new, and until when.
    pub change: &'a str,
    /// What it rests on; `None` for what time or an operator did.
    pub evidence: Option<ShapedBy<'a>>,
}

/// The replies that a decision of traffic shaping rests on.
#[derive(Clone, Copy, Debug)]
pub struct ShapedBy<'a> {
    /// Replies that matched within the rule's period.
    pub matched: u32,
    /// Attempts within the period, where a share of them counts.
    pub tried: Option<u32>,
    /// The domain of the last reply.
    pub domain: &'a str,
    /// Where in the conversation it came.
    pub stage: Stage,
    /// Its code.
    pub code: u16,
    /// The start of its text.
    pub text: &'a str,
}

/// A failure of an attempt, before anything is made of it.
#[derive(Clone, Copy, Debug)]
pub struct Failing<'a> {
    /// When and to whom.
    pub attempt: Attempt<'a>,
    /// What the next hop, or we, said.
    pub reply: &'a Reply,
    /// What the reply means by itself.
    pub verdict: Verdict,
    /// The name of the site that the container's mail exchangers make up, if it is known and not the container's own.
    pub site: Option<&'a str>,
}

/// Takes events. Must not block: what it cannot keep it drops and counts.
pub trait EventSink {
    /// Something happened.
    fn event(&self, event: &Event<'_>);

    /// What a failure is to be taken for: [`Verdict::Transient`] or [`Verdict::Permanent`]. Asked once for each, before
    /// its event.
    fn verdict(&self, failing: &Failing<'_>) -> Verdict {
        failing.verdict
    }
}
