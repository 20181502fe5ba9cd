//! Reception on real sockets, with a spool in memory behind it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admitting;
mod bad_clients;
mod draining;
mod house;
mod large_messages;
mod messages;
mod proxied;
mod relaying;
mod reloading;
mod suppressing;
