//! What a transport gives to a channel each time that two peers meet: an outlet, an inlet and the tether that tells of the other's death.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use super::{Capabilities, OpenError, RxWindow, TxWindow};
use crate::memory::Memory;
use crate::slice::Slice;
use crate::wire::{Bad, BadWindow, Descriptor};

/// The two ways of windows in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The usual.
    Bulk,
    /// A few small windows for the critical priority; read first.
    Urgent,
}

/// Both lanes, the one to be looked at first in front.
pub const LANES: [Lane; 2] = [Lane::Urgent, Lane::Bulk];

/// What [`Connector::poll`] has to say.
pub enum Attempt {
    /// The peers have met.
    Met(Link),
    /// Not yet: look again when [`Connector::readiness`] says so or at this time, whichever is first.
    Waiting {
        /// When to try again without being told; `None`: only when readiness says so.
        again: Option<Instant>,
    },
}

/// Listens or dials until the peer is there, once for each link.
pub trait Connector: Send {
    /// Goes as far as it can without blocking.
    ///
    /// # Errors
    /// When trying again cannot help: the address is taken, the peer speaks another version, its user is not allowed.
    fn poll(&mut self, now: Instant) -> Result<Attempt, OpenError>;

    /// Becomes readable when [`Self::poll`] may get further; ask again after each poll, it may have changed.
    fn readiness(&self) -> Option<BorrowedFd<'_>>;

    /// The address by which peers reach a listener, where the given one leaves a choice to the system (`tcp://127.0.0.1:0`).
    fn address(&self) -> Option<String> {
        None
    }

    /// The last visitor that a listener turned away since this was asked, for the log: another version, windows that are too large, a name that
    /// may not. Who listens goes on listening, or any stranger could end a channel.
    fn turned_away(&mut self) -> Option<OpenError> {
        None
    }
}

/// One meeting of two peers, over when either is gone.
pub struct Link {
    /// The sending end.
    pub outlet: Box<dyn Outlet>,
    /// The receiving end.
    pub inlet: Box<dyn Inlet>,
    /// Wakes, and tells of death.
    pub tether: Arc<dyn Tether>,
    /// What this link can do.
    pub capabilities: Capabilities,
}

/// The sending end. Windows of a lane are shipped in the order in which they were taken.
pub trait Outlet: Send {
    /// A window to fill; `None` while all are out. At most one window of each lane is taken and not yet shipped.
    ///
    /// # Errors
    /// When the peer is gone.
    fn take(&mut self, lane: Lane) -> Result<Option<TxWindow>, PeerGone>;

    /// Sends a window on its way; where messages are visible on commit, it closes the window ([`TxWindow::end`]).
    ///
    /// # Errors
    /// When the peer is gone; the window is lost with it.
    fn ship(&mut self, lane: Lane, window: TxWindow) -> Result<(), PeerGone>;

    /// Lends `bytes` to the peer by reference, until it returns them. `None`: they do not lie where the peer can reach them, or too many are out;
    /// copy them. A descriptor that is not sent after all is taken back by [`Self::unlend`].
    ///
    /// # Errors
    /// When the peer is gone.
    fn lend(&mut self, bytes: &Slice) -> Result<Option<Descriptor>, PeerGone>;

    /// Takes back what was lent last and not sent.
    fn unlend(&mut self, descriptor: Descriptor);

    /// Collects what has come back, and goes on with what could not be sent. Call it when readiness says so and before waiting.
    ///
    /// # Errors
    /// When the peer is gone.
    fn progress(&mut self) -> Result<(), PeerGone>;

    /// Whether the peer has taken everything that was shipped or committed: what [`Self::is_drained`] says "yes" to has been read, or, over a
    /// network, handed to it.
    ///
    /// # Errors
    /// When the peer is gone.
    fn is_drained(&mut self) -> Result<bool, PeerGone>;

    /// How many messages are certain to have been read by the peer, of those committed to `lane`.
    fn read_by_peer(&self, lane: Lane) -> u64;

    /// Tells the peer that nothing more comes after what was shipped.
    fn finish(&mut self);
}

/// The receiving end.
pub trait Inlet: Send {
    /// The next window of `lane`; `None` while there is none. After the peer has gone, windows that it published are still handed out.
    ///
    /// # Errors
    /// When the peer is gone and everything that it published was handed out.
    fn receive(&mut self, lane: Lane) -> Result<Option<RxWindow>, PeerGone>;

    /// Gives a window back that was read.
    fn dispose(&mut self, lane: Lane, window: RxWindow);

    /// Tells the peer how many messages of `lane` have been read, counted from the first of the link. Cheap; called once per batch.
    fn read(&mut self, lane: Lane, messages: u64);

    /// Finds the bytes that a descriptor names.
    ///
    /// # Errors
    /// When it names nothing that was lent to us: the peer broke the protocol.
    fn borrow(&mut self, descriptor: Descriptor) -> Result<Borrowed, Violation>;
}

/// What sending and receiving threads share of a link.
pub trait Tether: Send + Sync {
    /// Becomes readable when the peer rings or goes. `None` where waiting is not by descriptor.
    fn readiness(&self) -> Option<BorrowedFd<'_>>;

    /// Looks whether the peer is there, and takes the rings that have come; never blocks. While anybody sleeps (between [`Self::arm`] and
    /// [`Self::disarm`]) rings stay where they are: the peer rings once for all sleepers.
    ///
    /// # Errors
    /// When the peer is gone.
    fn look(&self) -> Result<(), PeerGone>;

    /// From now on the peer rings when it has done something. Then look at everything once more, and only then sleep.
    fn arm(&self);

    /// Awake again: the peer need not ring.
    fn disarm(&self);

    /// Rings the peer if it sleeps and has not been rung for this sleep.
    fn ring(&self);

    /// Who the peer is.
    fn peer(&self) -> &Peer;

    /// Breaks off; from now on everything says that the peer is gone for this reason. The first reason stands.
    fn cut(&self, reason: Reason);
}

/// Bytes found by [`Inlet::borrow`].
#[derive(Debug)]
pub enum Borrowed {
    /// In this address space.
    Slice(Slice),
    /// In the peer's memory.
    Remote(Remote),
}

/// Where disposed leases go.
pub trait Returns: Send + Sync {
    /// The reader is done with a lease; `erase` asks the owner to zero the bytes.
    fn give_back(&self, lease: u32, generation: u32, erase: Erase);
}

/// Whether the owner of a window shall zero it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erase {
    /// Leave the bytes.
    Keep,
    /// Zero them before the next use.
    Zero,
}

/// Bytes in a peer's memory, leased for reading; dropping gives them back. The peer could change them at any instant, unless it is trusted, so
/// they are copied out or read by words.
pub struct Remote {
    memory: Memory,
    start: usize,
    len: usize,
    lease: (u32, u32),
    returns: Arc<dyn Returns>,
    trust: super::Trust,
    erase: Erase,
}

impl Remote {
    /// A lease of `len` bytes from `start` in `memory`; `lease` and generation are named when it goes back to `returns`.
    ///
    /// # Panics
    /// When the bytes are not within; the inlet checked the descriptor.
    pub fn new(
        memory: Memory,
        start: usize,
        len: usize,
        lease: (u32, u32),
        returns: Arc<dyn Returns>,
        trust: super::Trust,
    ) -> Self {
        assert!(start <= memory.len() && len <= memory.len() - start, "{len} bytes from {start} of {}", memory.len());
        Self { memory, start, len, lease, returns, trust, erase: Erase::Keep }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies the bytes from `at` out.
    ///
    /// # Panics
    /// When they are not within.
    pub fn copy_to(&self, at: usize, into: &mut [u8]) {
        assert!(at <= self.len && into.len() <= self.len - at, "copy {} bytes from {at} of {}", into.len(), self.len);
        self.memory.copy_out(self.start + at, into);
    }

    /// All bytes, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        self.copy_to(0, &mut bytes);
        bytes
    }

    /// The bytes where they lie, when the peer is trusted to leave them as they are ([`super::Trust::Same`]).
    pub fn trusted(&self) -> Option<&[u8]> {
        match self.trust {
            // SAFETY: the peer runs under our user, which the introduction checked, and the application declared it trusted: it keeps what it
            // lent until we return it. The lease ends with `self`, to which the result is bound.
            super::Trust::Same => Some(unsafe { self.memory.bytes(self.start..self.start + self.len) }),
            super::Trust::Hostile => None,
        }
    }

    /// Asks the owner to zero the bytes when they come back.
    pub fn erase(mut self) {
        self.erase = Erase::Zero;
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.returns.give_back(self.lease.0, self.lease.1, self.erase);
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("len", &self.len).field("lease", &self.lease).finish_non_exhaustive()
    }
}

/// Who is at the other end, as far as the transport can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// For logs: `pid 4711, user 1000`, `127.0.0.1:4000`.
    pub name: String,
    /// Process, where the kernel vouches for it.
    pub pid: Option<u32>,
    /// User, where the kernel vouches for it.
    pub user: Option<u32>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The peer is gone, or was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerGone {
    /// Who it was.
    pub peer: String,
    /// Why.
    pub reason: Reason,
}

/// Why a peer is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It closed the channel in good order.
    Closed,
    /// Its process ended or its connection broke without a word.
    Died,
    /// It broke the protocol and was cut off.
    Violation(Violation),
    /// The system refused an operation.
    System {
        /// Which.
        operation: &'static str,
        /// `errno`.
        errno: i32,
    },
    /// We closed the channel.
    Left,
}

/// How a peer broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A message that no peer writes.
    Message(Bad),
    /// A window that no peer writes.
    Window(BadWindow),
    /// Anything else of a link: a counter out of range, an unknown control message.
    Link(&'static str),
}

impl fmt::Display for PeerGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {} is gone: {}", self.peer, self.reason)
    }
}

impl std::error::Error for PeerGone {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it closed the channel"),
            Self::Died => f.write_str("it died or its connection broke"),
            Self::Violation(violation) => write!(f, "it broke the protocol: {violation}"),
            Self::System { operation, errno } => {
                write!(f, "{operation}: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Self::Left => f.write_str("the channel was closed here"),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(bad) => bad.fmt(f),
            Self::Window(bad) => bad.fmt(f),
            Self::Link(what) => f.write_str(what),
        }
    }
}
