//! The queues of one event loop: domain containers, active and delayed entries, retry, and who may open a connection.
//!
//! ```text
//!  enqueue ──► active ──lease──► away ──attempted──► done
//!              ▲  │               │
//!              │  └─ too old ─┐   └─ Transient ─► delayed ─┐
//!              │              ▼                            │
//!              │        poll_expired ◄──── too old ────────┤
//!              └──────────── due, in random order ─────────┘
//! ```
//!
//! `posthaste` makes one [`Scheduler`] an event loop and puts routed mail into it; transport agents use it through
//! [`message::Work`]. It is pure: `now` and the seed of its random numbers are arguments, and it must never wait, open,
//! read or write anything. What loops share are the server's connection [`Permits`] and the limits and throttles of
//! [`Shared`], and the [`Sites`].
//!
//! - Connections *pull*: a container that has mail gets connections up to a goal, and each asks for its next transaction.
//! - A container that cannot be reached pauses as a whole; its entries are not touched.
//! - Whoever has no connection yet comes before whoever wants one more, and has a reserve of permits to itself.
//! - All work is done in steps of bounded size; nothing goes over all containers or all entries. What an operator asks of
//!   single recipients is a [`Visit`], which goes over the table of entries some hundred at a time.
//!
//! # Budgets
//!
//! | what | budget |
//! |---|---|
//! | enqueue, lease and attempted of one recipient | 300 ns, no allocation |
//! | a queued recipient, with its share of every structure | 64 octets, 1 million in 70 MiB |
//! | a container without mail | about 250 octets, gone after a minute |
//! | one call of [`message::Work::poll_dial`] | 16 containers, 256 entries each |

mod active;
mod agenda;
mod delayed;
mod dialling;
mod entries;
mod gates;
mod leasing;
mod limits;
mod line;
mod pausing;
mod permits;
mod queue;
mod queues;
mod report;
mod resident;
mod retry;
mod scheduler;
mod shaping;
mod shared;
mod sites;
mod suspensions;
mod tenants;
mod tending;
mod throttle;
mod visit;

pub use limits::{Flow, Limits, Ramp, Retries, RetryPolicy};
pub use pausing::{GiveUp, Pause};
pub use permits::{Permit, Permits, Standing};
pub use report::{ContainerPage, ContainerRow, EntryPlace, EntryRow, Summary, Throttled, Wait};
pub use resident::ResidentLimits;
pub use retry::Next;
pub use scheduler::{QueueFull, Scheduler};
pub use shaping::Shaping;
pub use shared::{Share, Shared, Shares};
pub use sites::Sites;
pub use suspensions::{SUSPENSIONS_MAX, Selector, Suspension, TooManySuspensions};
pub use tenants::Weights;
pub use throttle::Throttle;
pub use visit::{EntryFilter, Found, Visit, VisitBounds};
