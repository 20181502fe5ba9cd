//! Providers of transports: registered at link time, found by scheme.

use std::fmt;
use std::io;
use std::sync::Arc;

use linkme::distributed_slice;

use super::Connector;
use crate::uri::{Uri, UriError};

/// Every provider that was linked in. A crate of transports is linked in only when something names it: `use fabric_net as _;`.
#[distributed_slice]
pub static PROVIDERS: [&'static dyn Provider];

/// A transport of one scheme.
pub trait Provider: Sync {
    /// The scheme of its addresses, without the colon: `ipc`.
    fn scheme(&self) -> &str;

    /// For people: `tcp (io_uring)`.
    fn name(&self) -> &str;

    /// Of several providers of one scheme that are available, the one of the highest rank is used, unless the address asks for another by
    /// `?via=`[`Self::via`].
    fn rank(&self) -> i32 {
        0
    }

    /// What `?via=` calls it.
    fn via(&self) -> &str {
        self.scheme()
    }

    /// Whether this machine has what it needs.
    ///
    /// # Errors
    /// What is missing.
    fn available(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    /// What it can carry.
    ///
    /// # Errors
    /// When the address is wrong; says which part.
    fn limits(&self, uri: &Uri) -> Result<Limits, UriError>;

    /// What it can do.
    fn capabilities(&self, uri: &Uri) -> Capabilities;

    /// Begins to listen or to dial.
    ///
    /// # Errors
    /// When the address is wrong or taken, or the settings are over the limits.
    fn open(&self, uri: &Uri, settings: &LinkSettings) -> Result<Box<dyn Connector>, OpenError>;
}

/// The providers that a channel may use: those linked in, and in front of them those that the application added, as from signed modules. An added
/// one overrides what is linked in of its scheme, whatever the ranks, unless the address asks for another by `?via=`.
#[derive(Clone, Default)]
pub struct Providers {
    added: Vec<Arc<dyn Provider + Send>>,
}

impl Providers {
    /// Those that were linked in.
    pub fn linked() -> Self {
        Self::default()
    }

    /// Adds one; of several of a scheme, the one added last is asked first.
    #[must_use]
    pub fn with(mut self, provider: Arc<dyn Provider + Send>) -> Self {
        self.added.insert(0, provider);
        self
    }

    /// All of them, the added ones first.
    pub fn each(&self) -> impl Iterator<Item = &dyn Provider> {
        let added = self.added.iter().map(|provider| &**provider as &dyn Provider);
        added.chain(PROVIDERS.iter().map(|provider| *provider as &dyn Provider))
    }

    /// The best provider for an address.
    ///
    /// # Errors
    /// Names the schemes that are there when this one is not, and what each of its providers lacks when none is available.
    pub fn find(&self, uri: &Uri) -> Result<&dyn Provider, OpenError> {
        let added = self.added.iter().map(|provider| &**provider as &dyn Provider);
        let mut lacking = Vec::new();
        let found = first_available(added.filter(|it| it.matches(uri)), &mut lacking);
        if let Some(provider) = found.or_else(|| first_available(by_rank(uri).into_iter(), &mut lacking)) {
            return Ok(provider);
        }
        Err(nothing_for(uri, &lacking, self.schemes()))
    }

    /// The schemes, sorted, each once.
    pub fn schemes(&self) -> Vec<&str> {
        let mut schemes: Vec<_> = self.each().map(Provider::scheme).collect();
        schemes.sort_unstable();
        schemes.dedup();
        schemes
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.each().map(Provider::name)).finish()
    }
}

/// The best provider that was linked in for an address.
///
/// # Errors
/// As [`Providers::find`].
pub fn provider(uri: &Uri) -> Result<&'static dyn Provider, OpenError> {
    let mut lacking = Vec::new();
    first_available(by_rank(uri).into_iter(), &mut lacking).ok_or_else(|| nothing_for(uri, &lacking, schemes()))
}

/// The schemes that were linked in, sorted, each once.
pub fn schemes() -> Vec<&'static str> {
    let mut schemes: Vec<_> = PROVIDERS.iter().map(|provider| provider.scheme()).collect();
    schemes.sort_unstable();
    schemes.dedup();
    schemes
}

impl dyn Provider + '_ {
    fn matches(&self, uri: &Uri) -> bool {
        self.scheme() == uri.scheme() && uri.option("via").is_none_or(|via| via == self.via())
    }
}

fn by_rank(uri: &Uri) -> Vec<&'static dyn Provider> {
    let mut candidates: Vec<&'static dyn Provider> = PROVIDERS.iter().copied().filter(|it| it.matches(uri)).collect();
    candidates.sort_by_key(|provider| std::cmp::Reverse(provider.rank()));
    candidates
}

fn first_available<'a>(
    mut candidates: impl Iterator<Item = &'a dyn Provider>,
    lacking: &mut Vec<String>,
) -> Option<&'a dyn Provider> {
    candidates.find(|provider| match provider.available() {
        Ok(()) => true,
        Err(unavailable) => {
            lacking.push(format!("{}: {unavailable}", provider.name()));
            false
        }
    })
}

fn nothing_for(uri: &Uri, lacking: &[String], known: Vec<&str>) -> OpenError {
    if lacking.is_empty() {
        return OpenError::Scheme { scheme: uri.scheme().to_owned(), known: known.join(", ") };
    }
    OpenError::Unavailable { lacking: lacking.join("; ") }
}

/// What a machine lacks for a provider: a device, a kernel facility, a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which side one is. The order of start does not matter: who connects tries again until someone listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Waits for the peer.
    Listen,
    /// Goes to the peer.
    Connect,
}

/// What the peer may be assumed to do with memory that it can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Anything, at any instant: what it sends is copied out before it is looked at.
    #[default]
    Hostile,
    /// It runs our code under our user, and leaves what it has sent as it is: messages are read where they lie. The introduction refuses a peer
    /// of another user. (A process of one's own user can write one's memory by other ways already.)
    Same,
}

/// Windows of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSettings {
    /// Size of a window in bytes.
    pub bytes: usize,
    /// Number of windows.
    pub count: usize,
}

/// What a link is opened with. Both ends state the windows that they send; the receiver maps or allocates as many.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// Which side one is.
    pub role: Role,
    /// Windows of the bulk lane, for sending.
    pub bulk: WindowSettings,
    /// Windows of the urgent lane, for sending.
    pub urgent: WindowSettings,
    /// The largest window that the peer may send, and how many of them, in each lane.
    pub accept: WindowSettings,
    /// Leases out at once, at most.
    pub leases: usize,
    /// What the peer may be assumed to do.
    pub trust: Trust,
    /// Users that may be peers, besides one's own and root; empty: no other. Transports that know no users ignore it.
    pub users: Vec<u32>,
    /// Memory of windows that frames may refer to ([`crate::arena`]); where the transport shares memory, the peer maps it.
    pub arena: Option<Arc<crate::arena::Arena>>,
}

impl Default for LinkSettings {
    /// 16 windows of 256 KiB for sending, 8 urgent ones of 4 KiB, no arena, a hostile peer, listening.
    fn default() -> Self {
        Self {
            role: Role::Listen,
            bulk: WindowSettings { bytes: 256 << 10, count: 16 },
            urgent: WindowSettings { bytes: 4 << 10, count: 8 },
            accept: WindowSettings { bytes: 16 << 20, count: 4096 },
            leases: 4096,
            trust: Trust::Hostile,
            users: Vec::new(),
            arena: None,
        }
    }
}

/// The most that a provider takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a window.
    pub window_bytes_max: usize,
    /// Windows of a direction.
    pub windows_max: usize,
    /// Leases out at once; 0 where nothing can be lent.
    pub leases_max: usize,
}

/// What a link can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a transport, every combination occurs")]
pub struct Capabilities {
    /// A message is visible to the peer when it is committed, before its window is shipped.
    pub visible_on_commit: bool,
    /// Windows can be lent by reference.
    pub shares_memory: bool,
    /// The kernel vouches for the peer's user.
    pub knows_user: bool,
    /// Windows are registered with a device or the kernel.
    pub registers_memory: bool,
    /// One window reaches many receivers.
    pub multicast: bool,
}

/// Why a transport could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The address is wrong.
    Uri(UriError),
    /// No provider of that scheme was linked in.
    Scheme {
        /// As asked for.
        scheme: String,
        /// What there is.
        known: String,
    },
    /// Providers of that scheme are there, but the machine lacks something.
    Unavailable {
        /// What each lacks.
        lacking: String,
    },
    /// A setting is over the provider's limit.
    OverLimit {
        /// Which setting.
        setting: &'static str,
        /// As asked for.
        asked: usize,
        /// The limit.
        limit: usize,
    },
    /// Someone else listens there.
    Taken {
        /// The address.
        uri: String,
    },
    /// The peer speaks another version of the protocol.
    Version {
        /// The channel's address.
        uri: String,
        /// Spoken here.
        ours: u32,
        /// Spoken there.
        theirs: u32,
    },
    /// The peer's user may not.
    User {
        /// The channel's address.
        uri: String,
        /// The peer.
        peer: String,
        /// Who may.
        needed: String,
    },
    /// The peer was refused for another reason, or refused us.
    Refused {
        /// The channel's address.
        uri: String,
        /// Why.
        why: String,
    },
    /// The system refused.
    System {
        /// The channel's address.
        uri: String,
        /// Which operation.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(error) => error.fmt(f),
            Self::Scheme { scheme, known } => write!(f, "no transport for {scheme:?} is linked in; there are: {known}"),
            Self::Unavailable { lacking } => write!(f, "not available on this machine: {lacking}"),
            Self::OverLimit { setting, asked, limit } => {
                write!(f, "{setting} of {asked} is over the transport's limit of {limit}")
            }
            Self::Taken { uri } => write!(f, "{uri}: someone listens there already"),
            Self::Version { uri, ours, theirs } => {
                write!(f, "{uri}: the peer speaks version {theirs}, this side {ours}")
            }
            Self::User { uri, peer, needed } => write!(f, "{uri}: {peer} may not be a peer, needed is {needed}"),
            Self::Refused { uri, why } => write!(f, "{uri}: {why}"),
            Self::System { uri, operation, source } => write!(f, "{uri}: {operation}: {source}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Uri(error) => Some(error),
            Self::System { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<UriError> for OpenError {
    fn from(error: UriError) -> Self {
        Self::Uri(error)
    }
}
