//! One host: connecting to it, and what it means if that fails.

use crate::Neighbours;
use crate::exit::{Unconnected, leave};
use crate::room::Room;
use crate::site::Site;
use engine::{ConnectError, Stream, connect_unix};
use message::{MessageId, Reply, Stage};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Inet(SocketAddr),
    Unix(Arc<Path>),
}

/// Why the hosts of a container could not be talked to; the gravest of all hosts is told.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    rank: u8,
    pub(crate) reply: Reply,
    pub(crate) stage: Stage,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) connection: MessageId,
}

impl Target {
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }

    /// Connects within the site's time, by the site's way out.
    pub(crate) async fn connect<N: Neighbours>(&self, room: &Room<N>, site: &Site) -> Result<Stream, Unconnected> {
        let timers = room.context.timers();
        match self {
            Self::Inet(address) => leave(room, site, *address).await,
            Self::Unix(path) => {
                let connecting = timers.after(site.options.connect_timeout).limit(connect_unix(path)).await;
                Ok(connecting.unwrap_or(Err(ConnectError::TimedOut))?)
            }
        }
    }
}

/// Whether another source address may do better with the same host.
pub(crate) fn blames_source(error: &ConnectError) -> bool {
    match error {
        ConnectError::Bind(_) => true,
        ConnectError::Connect(source) => source.kind() == std::io::ErrorKind::AddrNotAvailable,
        ConnectError::Socket(_) | ConnectError::TimedOut => false,
    }
}

impl Failure {
    /// No host was even tried.
    pub(crate) fn unreached() -> Self {
        let reply = Reply::new(421, "4.4.0 [internal] no MXs for this domain could be reached at this time");
        Self { rank: 0, reply, stage: Stage::NotConnected, peer: None, connection: MessageId::NONE }
    }

    /// The names of the hosts could not be had.
    pub(crate) fn unresolved(reply: Reply) -> Self {
        Self { reply, ..Self::unreached() }
    }

    /// Connecting failed.
    pub(crate) fn unconnected(error: &ConnectError, peer: Option<IpAddr>) -> Self {
        let base = Self { peer, ..Self::unreached() };
        match error {
            ConnectError::Connect(_) => Self { rank: 1, ..base },
            ConnectError::TimedOut => {
                Self { rank: 2, reply: Reply::new(450, "4.4.1 [internal] Connection Timed Out"), ..base }
            }
            ConnectError::Socket(_) => {
                Self { rank: 3, reply: Reply::new(451, "4.3.0 [internal] no socket for a connection"), ..base }
            }
            ConnectError::Bind(_) => {
                Self { rank: 3, reply: Reply::new(451, "4.4.0 [internal] source address cannot be used"), ..base }
            }
        }
    }

    /// The host was reached and would not talk.
    pub(crate) fn ungreeted(ending: &smtp::client::Ending, peer: Option<IpAddr>, connection: MessageId) -> Self {
        Self { rank: 4, reply: ending.reply(), stage: ending.stage(), peer, connection }
    }

    /// Whether no host was even tried.
    pub(crate) fn is_none(&self) -> bool {
        self.rank == 0
    }

    /// The graver of the two; of equals the later.
    pub(crate) fn or(self, later: Self) -> Self {
        if later.rank >= self.rank { later } else { self }
    }
}
