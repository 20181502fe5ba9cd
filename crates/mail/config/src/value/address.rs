//! Socket addresses: where listeners bind, whom the resolver asks.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::{Kind, OptionValue, malformed, toml_string};
use crate::error::Problem;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BindAddress {
    /// An IP address and a port; port 0 takes any free one.
    Ip(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// An IP address with a port. A name server without a port has 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpAddress(pub SocketAddr);

/// Where the domain name system is asked when no port is given.
const DNS_PORT: u16 = 53;

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindAddress::Ip(address) => address.fmt(f),
            BindAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl OptionValue for BindAddress {
    const KIND: Kind = Kind::new("listening address", "\"192.0.2.1:25\", \"[2001:db8::1]:25\" or \"unix:/path\"");

    fn from_text(text: &str) -> Result<Self, Problem> {
        if let Some(path) = text.strip_prefix("unix:") {
            return PathBuf::from_text(path).map(BindAddress::Unix);
        }
        text.parse().map(BindAddress::Ip).map_err(|_| malformed(&Self::KIND, text).propose(bind_proposal(text)))
    }

    fn to_toml(&self) -> String {
        toml_string(&self.to_string())
    }
}

/// What a text that lacks an address or a port was probably meant to be.
fn bind_proposal(text: &str) -> Option<String> {
    let port = text.strip_prefix("*:").or_else(|| text.strip_prefix(':')).unwrap_or(text);
    if let Ok(port) = port.parse::<u16>() {
        return Some(format!("0.0.0.0:{port}"));
    }
    if text.starts_with('/') && text.len() < 200 {
        return Some(format!("unix:{text}"));
    }
    let address: IpAddr = text.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    Some(SocketAddr::new(address, 25).to_string())
}

impl OptionValue for TcpAddress {
    const KIND: Kind = Kind::new("socket address", "\"192.0.2.53:53\" or \"[2001:db8::53]:53\"");

    fn from_text(text: &str) -> Result<Self, Problem> {
        let bare = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, DNS_PORT));
        text.parse().or_else(|_| bare()).map(TcpAddress).map_err(|_| malformed(&Self::KIND, text))
    }

    fn to_toml(&self) -> String {
        toml_string(&self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_addresses_need_a_port() {
        let v6 = BindAddress::from_text("[::1]:2525").unwrap();
        assert_eq!(v6.to_toml(), "\"[::1]:2525\"");
        assert_eq!(BindAddress::from_text("unix:/run/x").unwrap().to_toml(), "\"unix:/run/x\"");
        for (bad, proposal) in [
            ("127.0.0.1", "127.0.0.1:25"),
            ("::1", "[::1]:25"),
            (":25", "0.0.0.0:25"),
            ("*:25", "0.0.0.0:25"),
            ("/run/x", "unix:/run/x"),
        ] {
            let message = BindAddress::from_text(bad).unwrap_err().message;
            assert!(message.ends_with(&format!("did you mean `{proposal}`?")), "{message}");
        }
        assert!(BindAddress::from_text("localhost:25").is_err());
        assert!(BindAddress::from_text("127.0.0.1:99999").is_err());
    }

    #[test]
    fn name_servers_may_omit_the_port() {
        assert_eq!(TcpAddress::from_text("192.0.2.1").unwrap().0.port(), 53);
        assert_eq!(TcpAddress::from_text("[::1]:5353").unwrap().0.port(), 5353);
        assert!(TcpAddress::from_text("ns.example").is_err());
    }
}
