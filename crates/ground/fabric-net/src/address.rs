//! Addresses of network transports, parsed once at `open` into values that cannot be wrong. Providers call it; it opens no socket, and asks the
//! system only to resolve names.
//!
//! | option | value | default |
//! |---|---|---|
//! | `via` | `epoll` or `uring` | `epoll` |
//! | `retry` | ms until the second attempt to connect; doubles up to ten times that | 100 |
//! | `hello` | ms that a peer may take to introduce itself, connecting included | 5000 |
//! | `crc` | `on` or `off`: a CRC-32C over each window sent | `on` |
//! | `dead` | ms after which a silent host is given up (`tcp:` only) | 25000 |
//! | `sndbuf`, `rcvbuf` | bytes of the socket's buffers | the system's, which grow by themselves |
//! | `tls` | `on` or `off` | `off` |
//! | `cert`, `key`, `ca` | PEM files: our chain, our key, who may vouch for peers | needed with `tls=on` |
//! | `peer` | the name that the peer's certificate must have | the host when connecting; any when listening |

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use fabric::tli::OpenError;
use fabric::uri::{Uri, UriError};
use socket2::SockAddr;

use crate::hello::Checksums;

const OPTIONS: &[&str] = &["retry", "hello", "crc", "dead", "sndbuf", "rcvbuf", "tls", "cert", "key", "ca", "peer"];
/// Any CID, for listening.
const VMADDR_CID_ANY: u32 = u32::MAX;
/// Any port, for listening.
const VMADDR_PORT_ANY: u32 = u32::MAX;

/// Where a peer is, or where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A host by name or literal address; IPv6 in brackets.
    Tcp { host: String, port: u16 },
    /// A machine by its context id; [`VMADDR_CID_ANY`] listens to all.
    Vsock { cid: u32, port: u32 },
}

/// Files and names for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: PathBuf,
    pub(crate) peer: Option<String>,
}

/// An address with all its options.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) uri: Uri,
    pub(crate) place: Place,
    pub(crate) retry: Duration,
    pub(crate) hello: Duration,
    pub(crate) checksums: Checksums,
    pub(crate) dead: Duration,
    pub(crate) send_buffer: Option<usize>,
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) tls: Option<TlsFiles>,
}

impl Address {
    pub(crate) fn parse(uri: &Uri) -> Result<Self, UriError> {
        uri.only_options(OPTIONS)?;
        let place = match uri.scheme() {
            "vsock" => vsock(uri)?,
            _ => tcp(uri)?,
        };
        if let (Place::Vsock { .. }, Some(_)) = (&place, uri.option("dead")) {
            return Err(uri.wrong("dead", "no such option: a virtual socket breaks when its machine ends"));
        }
        let checksums = match switch(uri, "crc")? {
            Some(false) => Checksums::Off,
            Some(true) | None => Checksums::Crc32c,
        };
        let size = |name| number(uri, name, 1024, 1 << 30).map(|found| found.map(|bytes| bytes as usize));
        Ok(Self {
            place,
            retry: milliseconds(uri, "retry", 100)?,
            hello: milliseconds(uri, "hello", 5000)?,
            dead: milliseconds(uri, "dead", 25_000)?,
            checksums,
            send_buffer: size("sndbuf")?,
            receive_buffer: size("rcvbuf")?,
            tls: tls(uri)?,
            uri: uri.clone(),
        })
    }

    /// The socket addresses of the place, names resolved by the system, which may take a while.
    pub(crate) fn resolve(&self) -> Result<Vec<SockAddr>, OpenError> {
        let (host, port) = match &self.place {
            Place::Vsock { cid, port } => return Ok(vec![SockAddr::vsock(*cid, *port)]),
            Place::Tcp { host, port } => (host, *port),
        };
        let failed = |source| OpenError::System { uri: self.uri.to_string(), operation: "resolve", source };
        let found: Vec<SockAddr> = (host.trim_matches(['[', ']']), port)
            .to_socket_addrs()
            .map_err(failed)?
            .map(|address: SocketAddr| SockAddr::from(address))
            .collect();
        if found.is_empty() {
            return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
        }
        Ok(found)
    }

    /// The name of the host that was asked for, for the check of certificates.
    #[cfg(any(test, feature = "tls"))]
    pub(crate) fn host(&self) -> String {
        match &self.place {
            Place::Tcp { host, .. } => host.trim_matches(['[', ']']).to_owned(),
            Place::Vsock { cid, .. } => format!("cid-{cid}"),
        }
    }

    /// The address as peers would write it, `bound` being where the socket is.
    pub(crate) fn bound(&self, bound: &SockAddr) -> String {
        let place = name_of(bound);
        let options = self.uri.as_str().split_once('?').map_or(String::new(), |(_, options)| format!("?{options}"));
        format!("{}://{place}{options}", self.uri.scheme())
    }
}

/// An address for people and for URIs.
pub(crate) fn name_of(address: &SockAddr) -> String {
    if let Some(address) = address.as_socket() {
        return address.to_string();
    }
    match address.as_vsock_address() {
        Some((VMADDR_CID_ANY, port)) => format!("any:{port}"),
        Some((cid, port)) => format!("{cid}:{port}"),
        None => "an unnamed address".to_owned(),
    }
}

fn tcp(uri: &Uri) -> Result<Place, UriError> {
    let address = uri.address();
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err(uri.wrong(address, "host:port"));
    };
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    if host.is_empty() || host.contains('/') || (host.contains([':', '[', ']']) && !bracketed) {
        return Err(uri.wrong(host, "a host name, an IPv4 address or an IPv6 address in brackets"));
    }
    if bracketed && host[1..host.len() - 1].parse::<std::net::Ipv6Addr>().is_err() {
        return Err(uri.wrong(host, "an IPv6 address in brackets"));
    }
    let port = port.parse().map_err(|_| uri.wrong(port, "a port from 0 to 65535"))?;
    Ok(Place::Tcp { host: host.to_owned(), port })
}

fn vsock(uri: &Uri) -> Result<Place, UriError> {
    let address = uri.address();
    let Some((cid, port)) = address.split_once(':') else {
        return Err(uri.wrong(address, "cid:port"));
    };
    let cid = match cid {
        "any" => VMADDR_CID_ANY,
        "local" => 1,
        "host" => 2,
        number => number.parse().map_err(|_| uri.wrong(number, "a context id: a number, any, local or host"))?,
    };
    let port = match port.parse() {
        // As with tcp: the system chooses.
        Ok(0) => VMADDR_PORT_ANY,
        Ok(port) => port,
        Err(_) => return Err(uri.wrong(port, "a port from 0 to 4294967295")),
    };
    Ok(Place::Vsock { cid, port })
}

fn tls(uri: &Uri) -> Result<Option<TlsFiles>, UriError> {
    if switch(uri, "tls")? != Some(true) {
        return match ["cert", "key", "ca", "peer"].into_iter().find(|name| uri.option(name).is_some()) {
            Some(name) => Err(uri.wrong(name, "tls=on beside it")),
            None => Ok(None),
        };
    }
    if uri.option("via") == Some("uring") {
        return Err(uri.wrong("via=uring", "via=epoll, which carries TLS"));
    }
    let file = |name| uri.option(name).map(PathBuf::from).ok_or_else(|| uri.wrong(name, "a PEM file for tls=on"));
    let files = TlsFiles {
        cert: file("cert")?,
        key: file("key")?,
        ca: file("ca")?,
        peer: uri.option("peer").map(str::to_owned),
    };
    Ok(Some(files))
}

fn switch(uri: &Uri, name: &str) -> Result<Option<bool>, UriError> {
    match uri.option(name) {
        None => Ok(None),
        Some("on") => Ok(Some(true)),
        Some("off") => Ok(Some(false)),
        Some(other) => Err(uri.wrong(format!("{name}={other}"), "on or off")),
    }
}

fn milliseconds(uri: &Uri, name: &str, usual: u64) -> Result<Duration, UriError> {
    Ok(Duration::from_millis(number(uri, name, 1, 3_600_000)?.unwrap_or(usual)))
}

fn number(uri: &Uri, name: &str, least: u64, most: u64) -> Result<Option<u64>, UriError> {
    let Some(text) = uri.option(name) else { return Ok(None) };
    match text.parse() {
        Ok(value) if (least..=most).contains(&value) => Ok(Some(value)),
        _ => {
            Err(uri
                .wrong(format!("{name}={text}"), "a whole number in its range: 1 to 3600000 ms, 1024 bytes to 1 GiB"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, UriError> {
        Address::parse(&Uri::parse(text).expect("its form is right"))
    }

    #[test]
    fn hosts_ports_and_context_ids_are_read() {
        let tcp = |host: &str, port| Place::Tcp { host: host.to_owned(), port };
        let vsock = |cid, port| Place::Vsock { cid, port };
        for (text, place) in [
            ("tcp://127.0.0.1:4000", tcp("127.0.0.1", 4000)),
            ("tcp://mx.example.org:1", tcp("mx.example.org", 1)),
            ("tcp://[::1]:0", tcp("[::1]", 0)),
            ("vsock://any:7", vsock(u32::MAX, 7)),
            ("vsock://host:70000", vsock(2, 70_000)),
            ("vsock://3:9", vsock(3, 9)),
        ] {
            assert_eq!(parse(text).expect("it is right").place, place, "{text}");
        }
    }

    #[test]
    fn the_wrong_part_is_named() {
        for (text, part) in [
            ("tcp://127.0.0.1", "127.0.0.1"),
            ("tcp://:5", ""),
            ("tcp://h:66000", "66000"),
            ("tcp://::1:5", "::1"),
            ("tcp://[::x]:5", "[::x]"),
            ("vsock://guest:5", "guest"),
            ("vsock://3", "3"),
            ("vsock://3:-1", "-1"),
            ("vsock://3:1?dead=9", "dead"),
            ("tcp://h:1?crc=yes", "crc=yes"),
            ("tcp://h:1?retry=0", "retry=0"),
            ("tcp://h:1?speed=9", "speed"),
            ("tcp://h:1?cert=a", "cert"),
            ("tcp://h:1?tls=on&cert=a&key=b", "ca"),
            ("tcp://h:1?tls=on&via=uring", "via=uring"),
        ] {
            assert_eq!(parse(text).expect_err("it is wrong").part, part, "{text}");
        }
    }

    #[test]
    fn a_literal_address_resolves_to_itself_and_is_written_with_its_options() {
        let address = parse("tcp://[::1]:7?crc=off").expect("it is right");
        let found = address.resolve().expect("a literal");
        assert_eq!(address.bound(&found[0]), "tcp://[::1]:7?crc=off");
        assert_eq!(address.host(), "::1");
    }
}
