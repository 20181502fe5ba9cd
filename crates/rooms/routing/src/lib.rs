//! Where a recipient goes: its domain container, the binding, and the agent that carries its mail.
//!
//! ```text
//!  user@Example.ORG ──► example.org ──► [domain."…"] of the configuration ──► container × binding, agent
//!                       (A-labels)      exact, *.suffix, /regex/, *
//! ```
//!
//! By which binding it leaves follows from the `[egress.…]` sections: the sender, the recipient, header fields and the
//! tenant of the message decide, see [`Chooser`].
//!
//! Each event loop has a [`Router`] for each generation of the configuration; it is pure, and never asks the DNS: by
//! which hosts a domain is reached is the business of delivery, after the 250. What it must never do is to lose a
//! recipient: every address gets a container or a reply.
//!
//! | route | container | agent |
//! |---|---|---|
//! | `mx` | the domain, in A-labels | SMTP to its mail exchangers |
//! | `mx`, an address literal | `[192.0.2.1]`, `[ipv6:2001:db8::1]` | SMTP to that address |
//! | `mx`, `localhost`, our own name, a loopback address | none | refused: 554 5.4.6 |
//! | `smtp://…`, `lmtp://…`, `maildir:…`, `discard:`, `hold:` | the route, one for each stanza (each domain of a `/regex/`) | as it says |
//!
//! Budget: 60 ns and no allocation for a domain that was seen lately.

mod cache;
mod domain;
mod egress;
mod plan;
mod router;

pub use egress::{Chooser, Egress, EgressId, HEAD_BYTES_MAX, Marks, find_fields, head, tenant};
pub use plan::{Declared, Plan};
pub use router::{CACHED_DOMAINS_MAX, Router};
