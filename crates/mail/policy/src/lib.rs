//! What rooms ask of services, as traits; services implement them, `posthaste` puts the two together.
//!
//! ```text
//!  routing, delivery ──(Resolve)──► resolver
//!  delivery ──(Marks)──► what posthaste made of the keys
//!  reception, shard ──(Suppressed)──► suppression ◄──(Suppress)── whoever sees bounces
//! ```
//!
//! Pure: no I/O, no clock, no randomness of its own. Lifetimes of answers are durations from "now", whoever's now that
//! is, and choices among equals are drawn from a seed that the caller passes.
//!
//! Budget: a room asks [`Resolve`] once a domain container and lifetime of the answer, never once a message, so an
//! answer may allocate. [`Suppressed`] is asked for each recipient: its answer may not.

mod destination;
mod marks;
mod name;
mod plan;
mod resolve;
mod suppression;

pub use destination::{Destination, DestinationError};
pub use marks::Marks;
pub use name::{DnsName, NameError};
pub use plan::{Families, Plan, PlanHost, PlanOptions, order_exchanges};
pub use resolve::{
    Addresses, Exchange, FailureClass, Host, MailRoute, Pointers, Resolve, ResolveError, RouteKind, Texts,
};
pub use suppression::{Cause, MailClass, MailKind, NobodySuppressed, Suppress, Suppressed, SuppressedBy};
