//! Who we are to others: how a next hop that is ourselves is known, so that no mail goes round.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// The name and the listening addresses of this server.
#[derive(Clone, Debug)]
pub struct OwnIdentity {
    host: Box<str>,
    listeners: Vec<SocketAddr>,
}

impl OwnIdentity {
    /// `host` is the name this server greets with; `listeners` are the addresses it accepts SMTP on, wildcards as such.
    pub fn new(host: &str, listeners: Vec<SocketAddr>) -> Self {
        Self { host: host.trim_end_matches('.').to_ascii_lowercase().into(), listeners }
    }

    /// The name of this server.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether connecting to `address` would reach one of our listeners.
    pub fn is_own_address(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.listeners.iter().any(|listener| {
            listener.port() == address.port()
                && (listener.ip().to_canonical() == ip
                    || ip.is_unspecified()
                    || listener.ip().is_unspecified() && is_local(ip))
        })
    }
}

/// Whether an interface of this machine has the address: only those can be bound. Asks the kernel, never waits.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn own_addresses() {
        let own = OwnIdentity::new("MX1.Example.org.", vec![address("127.0.0.1:2525"), address("0.0.0.0:25")]);
        assert_eq!(own.host(), "mx1.example.org");
        for yes in ["127.0.0.1:2525", "[::ffff:127.0.0.1]:2525", "127.0.0.9:25", "0.0.0.0:25", "0.0.0.0:2525"] {
            assert!(own.is_own_address(address(yes)), "{yes}");
        }
        for no in ["127.0.0.2:2525", "127.0.0.1:2526", "192.0.2.1:25"] {
            assert!(!own.is_own_address(address(no)), "{no}");
        }
    }
}
