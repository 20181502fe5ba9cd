//! The room where mail comes in: listeners, admission, and the sessions that `smtp` has the rules of.
//!
//! `posthaste` makes one [`Reception`] for each event loop, gives it listeners, and tells it of new generations of the
//! configuration. A message that has been stored goes [`Onward`] before its 250 leaves; what is refused becomes an event
//! for the reject log. Reception never looks anything up, never greets late, and never answers 250 before the spool did.
//!
//! ```text
//!  listener ─► admission ─► (PROXY header) ─► session ─► intake window ─► content ─► spool ─► onward ─► 250
//!              421                             smtp        one read,       slices,    (await)
//!                                                          no copy         or a stream when large
//! ```
//! # Memory
//! All sessions of a loop read into one window, filled from front to back; content stays where it was read, as slices.
//! An idle session holds no buffer. A message over `large_message_threshold` goes to the spool while it arrives.
//! Small pieces are copied together once a message has many, so that a client that dribbles cannot pin a window with
//! each octet: see `content`.
//!
//! # Budget
//! For a pipelined 4 KiB message: 2 reads, 2 writes, no copy of the content after the read, 6 allocations (transaction,
//! sender, list of recipients, recipient, client's name, message), ≤ 8 µs of CPU in user space. An idle session: ≤ 3 KiB
//! of heap. `tests/cost.rs` counts allocations, slices and bytes; reads and writes were counted with strace.

mod admission;
mod answer;
mod content;
mod counters;
mod driver;
mod intake;
mod reception;
mod relay;
mod socket;
mod terms;
mod trace;

pub use admission::{Admission, Admissions, Crowd, Ticket};
pub use counters::{Counters, Figures, Names, Reason};
pub use reception::{Parts, Reception, UnknownListener};
pub use relay::{Client, Relay, Returns};
pub use terms::Terms;

use message::{Message, StoreKey};
use std::sync::Arc;

/// Takes stored messages on their way: routing, and the log of receptions.
pub trait Onward {
    /// The spool has `message` under `key`. Called once for each message, before the client hears 250; must not block.
    fn stored(&self, message: Arc<Message>, key: StoreKey);
}
