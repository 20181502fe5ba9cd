//! What the acceptance tests share: the real server as a process, clients and next hops on real sockets, and the
//! programs of other mail servers.
//!
//! The server's binary is the one that `cargo xtask test` builds; run a single test by
//! `cargo build -p posthaste && cargo nextest run -p acceptance NAME`.

mod client;
mod dns;
mod peers;
mod server;
mod sink;

pub use client::Client;
pub use dns::{DnsServer, Received, Zone, own_ip};
pub use peers::{Running, Swaks, peer_program, postfix, smtp_source};
pub use server::{Server, Site, binary};
pub use sink::{Arrival, Manner, Sink};

use std::net::TcpListener;
use std::time::{Duration, Instant};

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Waits until `what` holds, at most `limit`; says whether it did.
pub fn within(limit: Duration, mut what: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if what() {
            return true;
        }
        if began.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
