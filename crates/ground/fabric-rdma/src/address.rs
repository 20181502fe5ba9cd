//! Addresses of RDMA channels: `rdma://host:port`, parsed once at `open` into values that cannot be wrong.
//!
//! The host and port are those of the TCP connection that introduces the peers. Its local address chooses the adapter, unless `device` does.
//!
//! | option | value | default |
//! |---|---|---|
//! | `device` | name of the adapter, as `ibv_devices` lists it | the one with the connection's local address, or the only one |
//! | `retry` | ms until the second attempt to connect; doubles up to ten times that | 100 |
//! | `hello` | ms that a peer may take to introduce itself, connecting included | 30000 |

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use fabric::tli::OpenError;
use fabric::uri::{Uri, UriError};

/// Milliseconds that an option may have, at most.
const MS_MAX: u64 = 3_600_000;

/// An address with its options.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) uri: Uri,
    pub(crate) device: Option<String>,
    pub(crate) retry: Duration,
    pub(crate) hello: Duration,
    host: String,
    port: u16,
}

impl Address {
    /// Checks every part.
    ///
    /// # Errors
    /// Names the part that is wrong.
    pub(crate) fn parse(uri: &Uri) -> Result<Self, UriError> {
        const PLACE: &str = "a host and a port, as in rdma://192.0.2.1:4000 or rdma://[2001:db8::1]:4000";
        uri.only_options(&["device", "retry", "hello"])?;
        if !uri.rest().starts_with("//") {
            return Err(uri.wrong(uri.rest(), PLACE));
        }
        let Some((host, port)) = uri.address().rsplit_once(':') else { return Err(uri.wrong(uri.address(), PLACE)) };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if host.is_empty() || bare.is_none() && host.contains(':') {
            return Err(uri.wrong(host, PLACE));
        }
        let port = port.parse().map_err(|_| uri.wrong(port, "a port from 0 to 65535"))?;
        Ok(Self {
            host: bare.unwrap_or(host).to_owned(),
            port,
            device: uri.option("device").map(str::to_owned),
            retry: milliseconds(uri, "retry", 100)?,
            hello: milliseconds(uri, "hello", 30_000)?,
            uri: uri.clone(),
        })
    }

    /// The socket address; names are resolved by the system, which may take a while.
    ///
    /// # Errors
    /// When the name has no address.
    pub(crate) fn resolve(&self) -> Result<SocketAddr, OpenError> {
        let failed = |source| OpenError::System { uri: self.uri.to_string(), operation: "resolve", source };
        let mut found = (self.host.as_str(), self.port).to_socket_addrs().map_err(failed)?;
        found.next().ok_or_else(|| failed(std::io::Error::other("the name has no address")))
    }

    /// The address as peers write it, `bound` being where the listener is.
    pub(crate) fn bound(&self, bound: SocketAddr) -> String {
        let options = self.uri.as_str().split_once('?').map_or(String::new(), |(_, options)| format!("?{options}"));
        format!("rdma://{bound}{options}")
    }
}

fn milliseconds(uri: &Uri, name: &str, default: u64) -> Result<Duration, UriError> {
    let Some(text) = uri.option(name) else { return Ok(Duration::from_millis(default)) };
    match text.parse() {
        Ok(ms @ 1..=MS_MAX) => Ok(Duration::from_millis(ms)),
        _ => Err(uri.wrong(text, "milliseconds, from 1 to 3600000")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, UriError> {
        Address::parse(&Uri::parse(text).unwrap())
    }

    #[test]
    fn parts_are_found() {
        let address = parse("rdma://[::1]:4000?device=rxe1&retry=5").unwrap();
        assert_eq!(address.device.as_deref(), Some("rxe1"));
        assert_eq!(address.retry, Duration::from_millis(5));
        assert_eq!(address.resolve().unwrap(), "[::1]:4000".parse().unwrap());
        assert_eq!(address.bound("[::1]:7".parse().unwrap()), "rdma://[::1]:7?device=rxe1&retry=5");
    }

    #[test]
    fn wrong_parts_are_named() {
        for (text, part) in [
            ("rdma:127.0.0.1:1", "127.0.0.1:1"),
            ("rdma://127.0.0.1", "127.0.0.1"),
            ("rdma://:1", ""),
            ("rdma://::1:1", "::1"),
            ("rdma://127.0.0.1:70000", "70000"),
            ("rdma://127.0.0.1:1?retry=0", "0"),
            ("rdma://127.0.0.1:1?divice=rxe0", "divice"),
        ] {
            assert_eq!(parse(text).unwrap_err().part, part, "{text}");
        }
    }
}
