//! One host: connecting to it from the right address, and what it means if that fails.

use crate::Neighbours;
use crate::room::Room;
use crate::site::Site;
use engine::{ConnectError, Stream, connect, connect_unix};
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

    /// Connects within the site's time.
    pub(crate) async fn connect<N: Neighbours>(&self, room: &Room<N>, site: &Site) -> Result<Stream, ConnectError> {
        let timers = room.context.timers();
        match self {
            Self::Inet(address) => {
                let local = source(&site.options.source, *address, room.context.random());
                connect(timers, local, *address, site.options.connect_timeout).await
            }
            Self::Unix(path) => {
                let connecting = timers.after(site.options.connect_timeout).limit(connect_unix(path)).await;
                connecting.unwrap_or(Err(ConnectError::TimedOut))
            }
        }
    }
}

/// One of the configured addresses of the remote's family; none if there is none, or the kernel is to choose.
fn source(sources: &[IpAddr], remote: SocketAddr, random: u64) -> Option<IpAddr> {
    let fits = |source: &&IpAddr| source.is_ipv4() == remote.is_ipv4() && !source.is_unspecified();
    let count = sources.iter().filter(fits).count() as u64;
    sources.iter().filter(fits).nth(random.checked_rem(count)? as usize).copied()
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

    /// The graver of the two; of equals the later.
    pub(crate) fn or(self, later: Self) -> Self {
        if later.rank >= self.rank { later } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_of_the_right_family() {
        let sources: Vec<IpAddr> =
            ["0.0.0.0", "192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|s| s.parse().unwrap()).into();
        let v4 = "198.51.100.1:25".parse().unwrap();
        assert_eq!(source(&sources, v4, 0), Some(sources[1]));
        assert_eq!(source(&sources, v4, 3), Some(sources[2]));
        assert_eq!(source(&sources, "[2001:db8::9]:25".parse().unwrap(), 7), Some(sources[3]));
        assert_eq!(source(&sources[..1], v4, 7), None);
    }
}
