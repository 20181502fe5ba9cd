//! The Transport Layer Interface: what a transport is to a channel.
//!
//! ```text
//!  Provider ── open(uri) ─► Connector ── poll ─► Link { Outlet, Inlet, Tether }     one for each time that the peers meet
//!  (registered at link time,  (listens or dials;   Outlet: take, ship, lend           the sending thread's
//!   found by scheme)           order is free)      Inlet: receive, dispose, borrow    the receiving thread's
//!                                                  Tether: ring, look, arm            shared: waking and death
//! ```
//!
//! Calls through these traits happen per window and per sleep, never per message: between them, channels reach the windows' memory directly.
//! A channel knows nothing of addresses; a transport knows nothing of messages. Everything here is non-blocking: who waits, waits on
//! [`Tether::readiness`].

#[cfg(not(loom))]
mod link;
#[cfg(not(loom))]
mod provider;
mod rx_window;
mod tx_window;

#[cfg(not(loom))]
pub use link::{
    Attempt, Borrowed, Connector, Erase, Inlet, LANES, Lane, Link, Outlet, Peer, PeerGone, Reason, Remote, Returns,
    Tether, Violation,
};
#[cfg(not(loom))]
pub use provider::{
    Capabilities, Limits, LinkSettings, OpenError, PROVIDERS, Provider, Providers, Role, Trust, Unavailable,
    WindowSettings, provider, schemes,
};
pub use rx_window::RxWindow;
pub use tx_window::TxWindow;
