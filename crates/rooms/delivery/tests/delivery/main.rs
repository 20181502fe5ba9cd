//! The room against next hops on real sockets.

mod bench;
mod conversation;
mod drain;
mod hosts;
mod local;
mod peer;
mod reports;
