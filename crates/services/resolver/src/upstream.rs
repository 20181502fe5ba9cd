//! The servers and how they fare. Pure: driven by `now`. Decides in which order an exchange tries them and whether UDP is
//! worth trying.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::stats::ServerStats;

/// Failures running after which a server is asked last.
const FAILURES_TO_DOWN: u32 = 3;
/// How long it is asked last at first; doubled at every probe until it answers.
const DOWN_FIRST: Duration = Duration::from_secs(5);
const DOWN_MAX: Duration = Duration::from_secs(60);
/// Unanswered datagrams running after which an answer by TCP means that UDP is blocked.
const SILENT_DATAGRAMS_TO_TCP: u32 = 3;
/// How long TCP is tried first then.
const TCP_FIRST: Duration = Duration::from_secs(60);

/// How a query travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

struct Upstream {
    address: SocketAddr,
    answered: u64,
    failed: u64,
    failures_running: u32,
    datagrams_silent: u32,
    down_until: Option<Instant>,
    down_for: Duration,
    tcp_until: Option<Instant>,
}

/// All servers, in the order of the configuration.
pub(crate) struct Upstreams {
    servers: Vec<Upstream>,
}

impl Upstreams {
    pub(crate) fn new(addresses: &[SocketAddr]) -> Self {
        let server = |&address| Upstream {
            address,
            answered: 0,
            failed: 0,
            failures_running: 0,
            datagrams_silent: 0,
            down_until: None,
            down_for: DOWN_FIRST,
            tcp_until: None,
        };
        Self { servers: addresses.iter().map(server).collect() }
    }

    pub(crate) fn address(&self, server: usize) -> SocketAddr {
        self.servers[server].address
    }

    /// The order to try servers in: as configured, those that are down last. A server whose time is over is tried in its
    /// place by one exchange; others leave it last until that one has an answer.
    pub(crate) fn poll_order(&mut self, now: Instant) -> Vec<usize> {
        let mut up = Vec::with_capacity(self.servers.len());
        let mut down = Vec::new();
        for (number, server) in self.servers.iter_mut().enumerate() {
            match server.down_until {
                Some(until) if now < until => down.push(number),
                Some(_) => {
                    server.down_for = (server.down_for * 2).min(DOWN_MAX);
                    server.down_until = Some(now + server.down_for);
                    up.push(number);
                }
                None => up.push(number),
            }
        }
        up.append(&mut down);
        up
    }

    /// What to try first with a server.
    pub(crate) fn first_transport(&self, now: Instant, server: usize) -> Transport {
        match self.servers[server].tcp_until {
            Some(until) if now < until => Transport::Tcp,
            _ => Transport::Udp,
        }
    }

    /// A response that belonged to its query, whatever it said.
    pub(crate) fn handle_response(&mut self, now: Instant, server: usize, transport: Transport) {
        let server = &mut self.servers[server];
        server.answered += 1;
        server.failures_running = 0;
        server.down_until = None;
        server.down_for = DOWN_FIRST;
        match transport {
            Transport::Udp => {
                server.datagrams_silent = 0;
                server.tcp_until = None;
            }
            Transport::Tcp if server.datagrams_silent >= SILENT_DATAGRAMS_TO_TCP => {
                server.tcp_until = Some(now + TCP_FIRST);
            }
            Transport::Tcp => {}
        }
    }

    /// Nothing came back, or nothing could be sent.
    pub(crate) fn handle_failure(&mut self, now: Instant, server: usize, transport: Transport) {
        let server = &mut self.servers[server];
        server.failed += 1;
        server.failures_running = server.failures_running.saturating_add(1);
        if transport == Transport::Udp {
            server.datagrams_silent = server.datagrams_silent.saturating_add(1);
        }
        if server.failures_running == FAILURES_TO_DOWN {
            server.down_until = Some(now + server.down_for);
        }
    }

    pub(crate) fn stats(&self, now: Instant) -> Vec<ServerStats> {
        let stats = |server: &Upstream| ServerStats {
            address: server.address,
            answered: server.answered,
            failed: server.failed,
            is_down: server.down_until.is_some_and(|until| now < until),
        };
        self.servers.iter().map(stats).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Upstreams {
        Upstreams::new(&[1, 2, 3].map(|n| SocketAddr::from(([192, 0, 2, n], 53))))
    }

    #[test]
    fn a_failing_server_is_tried_last_and_probed_by_one() {
        let (mut servers, now) = (three(), Instant::now());
        for _ in 0..2 {
            servers.handle_failure(now, 0, Transport::Udp);
        }
        assert_eq!(servers.poll_order(now), [0, 1, 2]);
        servers.handle_failure(now, 0, Transport::Udp);
        assert_eq!(servers.poll_order(now), [1, 2, 0]);
        assert!(servers.stats(now)[0].is_down);
        let later = now + DOWN_FIRST;
        assert_eq!(servers.poll_order(later), [0, 1, 2], "one probes");
        assert_eq!(servers.poll_order(later), [1, 2, 0], "the others do not");
        servers.handle_response(later, 0, Transport::Udp);
        assert_eq!(servers.poll_order(later), [0, 1, 2]);
    }

    #[test]
    fn it_stays_down_longer_each_time() {
        let (mut servers, mut now) = (three(), Instant::now());
        for _ in 0..3 {
            servers.handle_failure(now, 0, Transport::Udp);
        }
        let mut waits = Vec::new();
        for _ in 0..6 {
            let until = servers.servers[0].down_until.unwrap();
            waits.push((until - now).as_secs());
            now = until;
            assert_eq!(servers.poll_order(now), [0, 1, 2]);
            servers.handle_failure(now, 0, Transport::Udp);
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn tcp_comes_first_once_udp_is_known_to_be_blocked() {
        let (mut servers, now) = (three(), Instant::now());
        servers.handle_failure(now, 0, Transport::Udp);
        servers.handle_response(now, 0, Transport::Tcp);
        assert_eq!(servers.first_transport(now, 0), Transport::Udp, "one loss proves nothing");
        for _ in 0..2 {
            servers.handle_failure(now, 0, Transport::Udp);
            servers.handle_response(now, 0, Transport::Tcp);
        }
        assert_eq!(servers.first_transport(now, 0), Transport::Tcp);
        assert_eq!(servers.first_transport(now + TCP_FIRST, 0), Transport::Udp, "tried again");
        servers.handle_response(now, 0, Transport::Udp);
        assert_eq!(servers.first_transport(now, 0), Transport::Udp);
    }
}
