//! The room where mail leaves: transport agents that pull work from the queues and give a verdict for each recipient.
//!
//! `posthaste` makes one [`Delivery`] for each event loop and rings it when work came. Delivery never decides what is
//! tried when, never keeps mail that no connection can take now, and never notes a failure before its report is stored.
//!
//! ```text
//!            poll_dial            connect, EHLO        lease          verdict
//!  Work ──► dispatcher ──► connection task ──► Client ──────► write ──────────► Work, Spool, events
//!    ▲          │ sweep                        (smtp::client)   │                   │ failed for good
//!    └── idle connections ◄─────────────────────────────────────┘                   └─► reporter ─► Inject
//! ```
//! - One dispatcher a loop opens connections when [`message::Work::poll_dial`] says so, hands new work to idle
//!   connections before it opens others, and passes what expired to the reporters.
//! - One task a connection. It leases only once the peer has greeted, so a tarpit holds no mail; if no host can be
//!   reached, one lease is taken to give the failure to, and the container pauses as a whole.
//! - A [`site`](crate) a container holds what its connections share: options, the plan of hosts, and which failed.
//! - Reporters write DSNs and store them through [`Inject`]; only then is the recipient noted as failed. A crash repeats
//!   a bounce, it never loses one.
//!
//! # Budget
//! Relay of a 4 KiB message on a kept connection with PIPELINING: 1 vectored write, ≤ 2 reads, no copy of the body,
//! ≤ 8 allocations. A connection that waits for its peer holds no buffer: all connections of a loop read into one
//! scratch buffer and write from another; a task is ≤ 4 KiB. A blocked write holds its commands and the message.
//! Large messages stream through the spool in pieces of 256 KiB, one at a time.

mod connection;
mod counters;
mod delivery;
mod dial;
mod dispatcher;
mod exit;
mod failing;
mod host;
mod hosts;
mod identity;
mod idle;
mod leased;
mod loading;
mod local;
mod maildir;
mod marking;
mod report;
mod reporter;
mod rollup;
mod room;
mod settling;
mod site;
mod socks;
mod sources;
mod writing;

pub use counters::{Counters, Figures, Names};
pub use delivery::{Delivery, Parts, Telling};
pub use hosts::HostLimits;
pub use identity::OwnIdentity;
pub use site::{LastFailure, Terms};
pub use sources::SourceRow;

use message::{EventSink, Message, Spool, StoreError, Work};
use policy::Resolve;
use std::sync::Arc;

/// Takes in messages that we made: reports.
pub trait Inject: Clone + 'static {
    /// Stores `message` and queues its recipients; completes when it is stored as durably as received mail.
    fn inject(&self, message: Arc<Message>) -> impl Future<Output = Result<(), StoreError>>;
}

/// The types of the rooms and services around, named once by `posthaste`.
pub trait Neighbours: 'static {
    /// The queues of the loop.
    type Work: Work + 'static;
    /// The store.
    type Spool: Spool;
    /// Names to addresses.
    type Resolver: Resolve + 'static;
    /// The logs.
    type Events: EventSink + 'static;
    /// The way in for reports.
    type Inject: Inject;
}
