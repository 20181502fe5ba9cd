//! SMTP and LMTP as state machines, both sides: octets and `now` come in, effects go out. No sockets, no clock.
//!
//! - [`grammar`]: commands, paths and parameters off the wire.
//! - [`scanner`], [`headers`]: content as it goes by, without a copy.
//! - [`server`]: a session of ours with a client.
//! - [`client`], [`reply`]: a connection of ours to a next hop.
//! - [`proxy`]: who the client is, told by a load balancer.
//!
//! Budget of the server side, for a pipelined 4 KiB message: 4 allocations (transaction, sender, list of recipients,
//! recipient), one pass over the content for line ends and one each for NUL and 8-bit octets; ≤ 2 µs.

pub mod client;
pub mod grammar;
pub mod headers;
pub mod proxy;
pub mod reply;
pub mod scanner;
pub mod server;
