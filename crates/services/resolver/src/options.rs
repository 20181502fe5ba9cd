//! Settings of the resolver, each with a default that protects. Composition fills them from the configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::ResolvConf;

/// Servers used at most; further ones are ignored.
pub const SERVERS_MAX: usize = 8;
/// The port of DNS (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// Settings of a [`crate::Resolver`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverOptions {
    /// Recursive servers in the order to try them; the first [`SERVERS_MAX`] count. Default: `127.0.0.1:53`.
    pub servers: Vec<SocketAddr>,
    /// How long the first attempt at a server may take; doubled in every later round. Default 2 s.
    pub timeout: Duration,
    /// Rounds over all servers by UDP, 1 to 8; one round by TCP follows the first. Default 2.
    pub attempts: u32,
    /// How long a question may take in all, waiting for a free socket included. Default 15 s.
    pub deadline: Duration,
    /// Questions put to servers at the same time, each with a socket of its own. Default 256.
    pub exchanges_max: usize,
    /// Distinct questions that may wait for an answer; over it callers get `Busy`. Default 16,384.
    pub questions_max: usize,
    /// Records are kept at least this long (Momentum's `min_dns_ttl`, 0 there). Default 5 s.
    pub ttl_min: Duration,
    /// Records are kept at most this long (Momentum's `max_dns_ttl`). Default 1 day.
    pub ttl_max: Duration,
    /// "No such name" and "no such record" are kept at most this long (RFC 2308 §5). Default 1 h.
    pub negative_ttl_max: Duration,
    /// Failures are kept this long (RFC 9520 §3.2: 1 s to 5 min), and negative answers without a SOA. Default 5 s.
    pub failure_ttl: Duration,
    /// How long after its end an answer may still be used while no server answers (RFC 8767); 0: never. Default 1 h.
    pub stale_max: Duration,
    /// Cached answers at most. Default 65,536.
    pub entries_max: usize,
    /// Octets of cached answers at most, estimated. Default 64 MiB.
    pub bytes_max: usize,
}

impl Default for ResolverOptions {
    fn default() -> Self {
        Self {
            servers: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DNS_PORT)],
            timeout: Duration::from_secs(2),
            attempts: 2,
            deadline: Duration::from_secs(15),
            exchanges_max: 256,
            questions_max: 16_384,
            ttl_min: Duration::from_secs(5),
            ttl_max: Duration::from_secs(86_400),
            negative_ttl_max: Duration::from_secs(3_600),
            failure_ttl: Duration::from_secs(5),
            stale_max: Duration::from_secs(3_600),
            entries_max: 65_536,
            bytes_max: 64 << 20,
        }
    }
}

impl ResolverOptions {
    /// These options with the servers and times of a resolv.conf; what the file does not say stays.
    #[must_use]
    pub fn with_resolv_conf(mut self, conf: &ResolvConf) -> Self {
        if !conf.servers.is_empty() {
            self.servers = conf.servers.iter().map(|&address| SocketAddr::new(address, DNS_PORT)).collect();
        }
        self.timeout = conf.timeout.unwrap_or(self.timeout);
        self.attempts = conf.attempts.unwrap_or(self.attempts);
        self
    }

    /// Every value within the range that its documentation gives.
    pub(crate) fn clamped(mut self) -> Self {
        self.servers.truncate(SERVERS_MAX);
        self.attempts = self.attempts.clamp(1, 8);
        self.exchanges_max = self.exchanges_max.max(1);
        self.questions_max = self.questions_max.max(1);
        self.ttl_max = self.ttl_max.max(self.ttl_min);
        self
    }
}
