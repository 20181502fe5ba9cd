//! Links over real sockets, by each engine: order, flow, death, introduction, hostile peers, TLS.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "tests")]

mod death;
mod ends;
mod flow;
mod hostile;
mod introduction;
mod order;
#[cfg(feature = "tls")]
mod tls;
