//! The way out: straight to a host, or through the proxy of a binding. Called by `host` for each connection.
//!
//! ```text
//!  none      source ───────────────────────────────────► host
//!  haproxy   any ──► proxy   header: source, host   ───► host      (PROXY protocol, version 2)
//!  socks5    source ──► proxy   log-in, CONNECT host ──► host      (RFC 1928, RFC 1929)
//! ```
//! What goes wrong is told apart: a proxy that cannot be used says nothing of the host, nor of the source address.

use crate::Neighbours;
use crate::host::blames_source;
use crate::room::Room;
use crate::site::Site;
use crate::socks::{self, Method, Refusal};
use crate::sources::Source;
use config::{EgressProxy, Login};
use engine::{ConnectError, Stream, connect};
use message::Reply;
use smtp::proxy::{Addresses, header_v2};
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Source addresses tried with one host.
const SOURCES_TRIED_MAX: usize = 4;

/// Why there is no connection to a host.
#[derive(Debug)]
pub(crate) enum Unconnected {
    /// The host, or a source address.
    Host(ConnectError),
    /// The proxy: the host was not asked for.
    Proxy(ProxyFailure),
}

/// A proxy that cannot be used.
#[derive(Debug)]
pub(crate) struct ProxyFailure {
    pub(crate) proxy: SocketAddr,
    what: Trouble,
}

#[derive(Debug)]
enum Trouble {
    Down(ConnectError),
    Silent,
    Hangup,
    Refused(Refusal),
}

impl From<ConnectError> for Unconnected {
    fn from(error: ConnectError) -> Self {
        Self::Host(error)
    }
}

impl ProxyFailure {
    /// Whether another host may be reached by it: a SOCKS server said no to this one only, without saying why.
    pub(crate) fn is_about_one_host(&self) -> bool {
        matches!(self.what, Trouble::Refused(Refusal::Connect(_)))
    }

    /// The reply that stands for it.
    pub(crate) fn reply(&self) -> Reply {
        let what = match &self.what {
            Trouble::Down(ConnectError::TimedOut) => "connection timed out",
            Trouble::Down(ConnectError::Connect(_)) => "connection failed",
            Trouble::Down(ConnectError::Bind(_)) => "source address cannot be used",
            Trouble::Down(ConnectError::Socket(_)) => "no socket for a connection",
            Trouble::Silent => "no answer in time",
            Trouble::Hangup => "it closed the connection",
            Trouble::Refused(refusal) => refusal.text(),
        };
        Reply::new(451, &format!("4.4.0 [internal] egress proxy {} cannot be used: {what}", self.proxy))
    }
}

/// Connects to a host by the site's way out.
pub(crate) async fn leave<N: Neighbours>(
    room: &Room<N>,
    site: &Site,
    remote: SocketAddr,
) -> Result<Stream, Unconnected> {
    match &site.options.egress_proxy {
        EgressProxy::None => {
            let (connected, source) = from_source(room, site, remote, site.options.connect_timeout).await;
            if let (Err(error), Some(source)) = (&connected, source)
                && !blames_source(error)
            {
                room.sources.on_unanswered(source, remote.ip(), room.context.now());
            }
            Ok(connected?)
        }
        EgressProxy::Haproxy(proxy) => by_header(room, site, *proxy, remote).await,
        EgressProxy::Socks5 { address, login } => by_socks(room, site, *address, login.as_ref(), remote).await,
    }
}

/// Connects from one of the site's source addresses, from another if that cannot be used; says from which at last.
async fn from_source<N: Neighbours>(
    room: &Room<N>,
    site: &Site,
    remote: SocketAddr,
    timeout: std::time::Duration,
) -> (Result<Stream, ConnectError>, Option<IpAddr>) {
    let mut unusable = ConnectError::Bind(io::ErrorKind::AddrNotAvailable.into());
    for _ in 0..SOURCES_TRIED_MAX {
        let source = match room.sources.pick(&site.options.source, remote, room.context.now()) {
            Source::Any => return (connect(room.context.timers(), None, remote, timeout).await, None),
            Source::Missing => break,
            Source::Address(source) => source,
        };
        match connect(room.context.timers(), Some(source), remote, timeout).await {
            Ok(stream) => {
                room.sources.on_answered(source);
                return (Ok(stream), Some(source));
            }
            Err(error) if blames_source(&error) => {
                room.sources.on_unusable(source, room.context.now());
                unusable = error;
            }
            Err(error) => return (Err(error), Some(source)),
        }
    }
    (Err(unusable), None)
}

/// Through a proxy that reads the PROXY protocol. What the proxy finds out later, the greeting that fails to come tells.
async fn by_header<N: Neighbours>(
    room: &Room<N>,
    site: &Site,
    proxy: SocketAddr,
    remote: SocketAddr,
) -> Result<Stream, Unconnected> {
    let source = match room.sources.pick(&site.options.source, remote, room.context.now()) {
        Source::Any => None,
        Source::Missing => return Err(ConnectError::Bind(io::ErrorKind::AddrNotAvailable.into()).into()),
        Source::Address(source) => Some(SocketAddr::new(source, 0)),
    };
    let fail = |what| Unconnected::Proxy(ProxyFailure { proxy, what });
    let timeout = site.options.egress_proxy_timeout;
    let timers = room.context.timers();
    let stream = connect(timers, None, proxy, timeout).await.map_err(|error| fail(Trouble::Down(error)))?;
    // Without a source of its own the binding has that which the proxy sees.
    let source = source.or_else(|| stream.local()).unwrap_or(SocketAddr::new(proxy.ip(), 0));
    let header = header_v2(&Addresses { source, destination: remote });
    match timers.after(timeout).limit(stream.write_all(&header)).await {
        Ok(Ok(())) => Ok(stream),
        Ok(Err(_)) => Err(fail(Trouble::Hangup)),
        Err(_) => Err(fail(Trouble::Silent)),
    }
}

/// Through a SOCKS server: its own part within its time, that of the host within the host's.
async fn by_socks<N: Neighbours>(
    room: &Room<N>,
    site: &Site,
    proxy: SocketAddr,
    login: Option<&Login>,
    remote: SocketAddr,
) -> Result<Stream, Unconnected> {
    let fail = |what| Unconnected::Proxy(ProxyFailure { proxy, what });
    let (options, timers) = (&site.options, room.context.timers());
    let (connected, _) = from_source(room, site, proxy, options.egress_proxy_timeout).await;
    let mut stream = connected.map_err(|error| fail(Trouble::Down(error)))?;
    match timers.after(options.egress_proxy_timeout).limit(agree(&mut stream, login)).await {
        Ok(Ok(())) => {}
        Ok(Err(what)) => return Err(fail(what)),
        Err(_) => return Err(fail(Trouble::Silent)),
    }
    match timers.after(options.connect_timeout).limit(ask(&mut stream, remote)).await {
        Ok(Ok(())) => Ok(stream),
        Ok(Err(Trouble::Refused(refusal))) if refusal.is_hosts() => {
            Err(ConnectError::Connect(io::Error::new(io::ErrorKind::ConnectionRefused, refusal.text())).into())
        }
        Ok(Err(what)) => Err(fail(what)),
        Err(_) => Err(ConnectError::TimedOut.into()),
    }
}

/// Agrees with a SOCKS server on how to log in, and does.
async fn agree(stream: &mut Stream, login: Option<&Login>) -> Result<(), Trouble> {
    say(stream, &socks::greeting(login)).await?;
    let mut reply = [0; 2];
    hear(stream, &mut reply).await?;
    match (socks::method(reply, login).map_err(Trouble::Refused)?, login) {
        (Method::Password, Some(login)) => {
            say(stream, &socks::login(login)).await?;
            hear(stream, &mut reply).await?;
            socks::logged_in(reply).map_err(Trouble::Refused)
        }
        _ => Ok(()),
    }
}

/// Has a SOCKS server connect.
async fn ask(stream: &mut Stream, remote: SocketAddr) -> Result<(), Trouble> {
    say(stream, &socks::connect(remote)).await?;
    let mut head = [0; 5];
    hear(stream, &mut head).await?;
    let rest = socks::connected(head).map_err(Trouble::Refused)?;
    let mut bound = [0; 257];
    hear(stream, &mut bound[..rest.min(257)]).await
}

async fn say(stream: &Stream, octets: &[u8]) -> Result<(), Trouble> {
    stream.write_all(octets).await.map_err(|_| Trouble::Hangup)
}

/// Fills `buffer`, and reads nothing beyond: what follows is the host's.
async fn hear(stream: &mut Stream, buffer: &mut [u8]) -> Result<(), Trouble> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]).await {
            Ok(0) | Err(_) => return Err(Trouble::Hangup),
            Ok(count) => filled += count,
        }
    }
    Ok(())
}
