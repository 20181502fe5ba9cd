//! What the router asks of the configuration, and how the configuration answers.
//!
//! The trait keeps the notation of the file out of the router: patterns and the fall-back order of scopes are the
//! configuration's business.

use message::{Address, Agent};
use std::sync::Arc;

/// What is configured about the ways of mail. An immutable generation: the same question has the same answer for ever.
pub trait Plan {
    /// Our own name; mail for it must not be sent to it.
    fn hostname(&self) -> &str;

    /// Where mail for the bare `postmaster` goes (RFC 5321 §4.5.1).
    fn postmaster(&self) -> &Address;

    /// What holds for a domain: a name in lower-case A-labels, or an address literal with its brackets.
    fn declared(&self, domain: &str) -> Declared;
}

/// The route of a domain, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// How its mail leaves.
    pub agent: Agent,
    /// The TCP port of hosts that the route does not name.
    pub port: u16,
    /// The pattern of the stanza that declares the route.
    pub by: Arc<str>,
    /// The egress identity.
    pub binding: Arc<str>,
}
