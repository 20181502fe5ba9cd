//! The records and traits in which rooms meet. A room never imports a room: `posthaste` wires one to the other.
//!
//! Who implements what: `spool` gives [`Spool`], `scheduling` gives [`Work`]; `reception` and `delivery` are generic
//! over them.

use crate::{Message, MessageId, Reply, UnixMicros};
use fabric::Slice;
use smallvec::SmallVec;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Names a stored message to the spool that stored it; means nothing to others and not after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreKey(pub u64);

/// Why the spool could not take or give a message. Whose fault: the disk's or ours, never the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// No room on the volume; clears when space returns.
    Full,
    /// The volume failed to write or to sync: nothing of the message counts as stored.
    Failed,
    /// The spool has been told to stop.
    Stopping,
    /// The message is not there any more, or its record is damaged.
    Missing,
}

impl StoreError {
    /// What the client is told: code and text with enhanced status code.
    pub const fn reply(self) -> (u16, &'static str) {
        match self {
            Self::Full => (452, "4.3.1 insufficient system storage"),
            Self::Failed | Self::Missing => (451, "4.3.0 message not stored, try again later"),
            Self::Stopping => (421, "4.3.2 service shutting down"),
        }
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Full => "no room on the spool volume",
            Self::Failed => "the spool volume failed to write or sync",
            Self::Stopping => "the spool is stopping",
            Self::Missing => "the spooled message is missing or damaged",
        })
    }
}

impl std::error::Error for StoreError {}

/// The durable end or pause of one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop has it.
    Delivered,
    /// It was given up, and reported if it was to be.
    Failed,
    /// It will be tried again.
    Deferred {
        /// Not before.
        until: UnixMicros,
        /// Attempts made so far.
        attempts: u16,
    },
}

/// The store as one event loop sees it. All of it is called on that loop; none of it blocks.
pub trait Spool: Clone + 'static {
    /// See [`SpoolStream`].
    type Stream: SpoolStream;

    /// Makes `message` durable by the store's durability class; completes when a 250 may be sent.
    fn store(&self, message: Arc<Message>) -> impl Future<Output = Result<StoreKey, StoreError>>;

    /// Begins a message whose content goes to the store while it arrives.
    fn stream(&self, id: MessageId) -> Self::Stream;

    /// Notes what became of a recipient; durable with the next commit, at most 50 ms later. A message whose
    /// recipients are all delivered or failed is gone.
    fn outcome(&self, key: StoreKey, recipient: u16, outcome: Outcome);

    /// Reads a message back: with its content if it is small, else with [`crate::Content::Spooled`].
    fn fetch(&self, key: StoreKey) -> impl Future<Output = Result<Arc<Message>, StoreError>>;

    /// Reads up to `max` octets of the content (without the trace header) from `offset`.
    fn read(&self, key: StoreKey, offset: u64, max: usize) -> impl Future<Output = Result<Slice, StoreError>>;
}

/// A message on its way into the store. Dropping it abandons what was written.
pub trait SpoolStream {
    /// Hands over the next octets; waits while too much is unwritten.
    fn append(&mut self, slice: Slice) -> impl Future<Output = Result<(), StoreError>>;

    /// All octets are there: makes them and `message` (with [`crate::Content::Spooled`]) durable.
    fn commit(self, message: Arc<Message>) -> impl Future<Output = Result<StoreKey, StoreError>>;
}

/// How a container's mail leaves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Agent {
    /// SMTP to the mail exchangers of the container's domain.
    Mx,
    /// SMTP to this host.
    Smtp(Host),
    /// LMTP to this host.
    Lmtp(Host),
    /// LMTP over this Unix socket.
    LmtpUnix(Arc<Path>),
    /// Files in this maildir.
    Maildir(Arc<Path>),
    /// Nowhere: delivered at once.
    Discard,
    /// Nowhere yet: kept until the route changes.
    Hold,
}

/// A host to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// A name or an IP address.
    pub name: Arc<str>,
    /// TCP port.
    pub port: u16,
}

/// The identity of a domain container on a binding: the key of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    /// A domain, or a synthetic name such as a route's.
    pub name: Arc<str>,
    /// The egress identity.
    pub binding: Arc<str>,
    /// The binding group that the binding was chosen from, whose options hold as well.
    pub group: Option<Arc<str>>,
    /// The domain whose options hold for the container: its name, or the pattern that declared the route.
    pub options: Arc<str>,
    /// How its mail leaves.
    pub agent: Agent,
}

/// Where one recipient goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routed {
    /// Into this queue.
    To(Arc<Container>),
    /// Nowhere: this reply is its end.
    Refused(Reply),
}

/// Which mail of a queue goes before other mail of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// What somebody waits for now.
    Urgent,
    /// Before the rest.
    High,
    /// The rest.
    #[default]
    Normal,
    /// Behind the rest.
    Low,
}

impl Priority {
    /// All, the first to go first.
    pub const ALL: [Self; 4] = [Self::Urgent, Self::High, Self::Normal, Self::Low];

    /// Reads `urgent`, `high`, `normal` or `low`, in any case.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.word().eq_ignore_ascii_case(word))
    }

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// Whose mail it is, for shares of a queue: a number that follows from the name alone, so that it is the same after a restart and
/// a change of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(pub u32);

impl Tenant {
    /// All that have no share of their own.
    pub const OTHERS: Self = Self(0);

    /// The number of a name, whatever its case (FNV-1a of 32 bits). Two names that have the same by chance, one pair in some
    /// thousands of lists of a thousand names, share what either has.
    pub fn named(name: &str) -> Self {
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, octet| {
            (hash ^ u32::from(octet.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
        });
        Self(hash.max(1))
    }
}

/// A recipient as it enters a queue.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The message in the spool.
    pub key: StoreKey,
    /// The batch id.
    pub id: MessageId,
    /// Which recipient of the envelope.
    pub recipient: u16,
    /// Attempts made so far.
    pub attempts: u16,
    /// When the message was received: its life counts from here.
    pub received: UnixMicros,
    /// Do not try before; zero: at once.
    pub not_before: UnixMicros,
    /// Its place among others of the queue.
    pub priority: Priority,
    /// Whose share of the queue it takes.
    pub tenant: Tenant,
    /// The message itself while it stays in memory.
    pub message: Option<Arc<Message>>,
}

/// "Open a connection for this container."
#[derive(Clone, Debug)]
pub struct Dial {
    /// For whom.
    pub container: Arc<Container>,
    /// Names the connection towards [`Work`] until it is closed.
    pub connection: u32,
}

/// One transaction's worth of work: recipients of one message that share a container.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The message in the spool.
    pub key: StoreKey,
    /// The batch id.
    pub id: MessageId,
    /// When it was received.
    pub received: UnixMicros,
    /// The message itself, if it is in memory.
    pub message: Option<Arc<Message>>,
    /// At least one.
    pub recipients: SmallVec<[LeasedRecipient; 1]>,
}

/// One recipient of a lease; must be given back by [`Work::attempted`] exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeasedRecipient {
    /// Names the queue entry towards [`Work`].
    pub entry: u32,
    /// Which recipient of the envelope.
    pub recipient: u16,
    /// Attempts including this one.
    pub attempts: u16,
}

/// What came of an attempt for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next hop took it.
    Delivered,
    /// Try again later.
    Transient,
    /// Never try again.
    Permanent,
    /// Nothing was tried for this recipient: it keeps its place and the attempt is not counted.
    Untried,
}

/// What the queue made of a [`Verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// To be noted in the spool: the recipient is done or waits.
    Settled(Outcome),
    /// The attempt failed for now, and there is no time or no attempt left: to be failed and reported as expired.
    Expired,
    /// Back in the queue, nothing to note.
    Returned,
}

/// Why a connection for a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It did its work; no reason to wait with the next.
    Done,
    /// No host of the container could be reached, or none greeted us: wait before dialling again.
    Unreachable,
    /// The next hop asked us to come back later (421, or it closed the connection).
    Rebuffed,
    /// The proxy that the binding leaves through could not be used: the hosts have no part in it.
    NoExit,
    /// The DNS did not say who the hosts are: wait until it does.
    Unresolved,
    /// Every host that could be tried has as many connections as it may have.
    HostsFull,
}

/// Whether a connection may be opened to the hosts of its container, once they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// It may.
    Open,
    /// Others of the same site have all connections that it may have, or the site pauses: close, the container waits.
    Shut,
    /// An idle connection of the same site has taken over: close.
    Spared,
}

/// The queues of one event loop, as the transport agents see them. Pure: `now` is passed in.
pub trait Work {
    /// The next container that wants and may have one more connection.
    fn poll_dial(&mut self, now: UnixMicros) -> Option<Dial>;

    /// When to call [`Work::poll_dial`] and [`Work::poll_expired`] again if nothing else happens.
    fn poll_wake(&mut self, now: UnixMicros) -> Option<Duration>;

    /// A connection asks for its next transaction, of at most `recipients_max` recipients.
    fn lease(&mut self, connection: u32, recipients_max: usize, now: UnixMicros) -> Option<Lease>;

    /// Whether a connection between two transactions may go on; if not it says goodbye, for its container has more than
    /// it may.
    fn keeps(&mut self, _connection: u32) -> bool {
        true
    }

    /// Gives a leased recipient back.
    fn attempted(&mut self, entry: u32, verdict: Verdict, now: UnixMicros) -> Attempted;

    /// The hosts of a connection's container are known, and it is about to be opened to one of them. `site` names them;
    /// containers with the same name, binding and group share limits and pauses. Those of the same `way`, which stands
    /// for all that makes one connection unlike another, can also take over each other's connections.
    fn enter(&mut self, _connection: u32, _site: &Arc<str>, _way: u64, _now: UnixMicros) -> Entrance {
        Entrance::Open
    }

    /// A connection has nothing under way and nothing to do: until its next lease it may be given to another container whose
    /// mail goes the same way.
    fn rests(&mut self, _connection: u32) {}

    /// The container that a connection works for now, if it has changed since this was asked last: the next lease is of
    /// that container.
    fn moved(&mut self, _connection: u32) -> Option<Arc<Container>> {
        None
    }

    /// A connection from [`Work::poll_dial`] ended.
    fn closed(&mut self, connection: u32, closing: Closing, now: UnixMicros);

    /// A recipient whose time ran out while it waited, with its container; to be failed and reported. Found in
    /// bounded steps.
    fn poll_expired(&mut self, now: UnixMicros) -> Option<(Arc<Container>, Lease)>;
}
