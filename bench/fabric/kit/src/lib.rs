//! The loops that every row of the fabric's benchmarks runs in, so that rows of different libraries can be compared.
//!
//! Every program beside this one (bare lanes, peers, the fabric) is a list of [`Row`]s handed to [`main`]. The rules are the same for all:
//!
//! - **The payload is written and read.** The sender writes every byte of every message: in place where the library lends memory, else into a
//!   buffer of its own which it hands over. A sequence number stands in front. The receiver checks it and sums every byte.
//! - **Rate**: the sender sends for a given time, after a tenth of it to warm up; the receiver's clock runs from the moment it has read the first
//!   message after the warm-up until it has read the last one.
//! - **Round trip**: one message in flight, written and read at both ends.
//! - **CPU**: user and system time of both sides over the measured messages.
//! - Two processes by `fork`, pinned to processors 0 and 1, except where a library has threads of its own or is a queue between threads.
//! - Real-time priority where the kernel permits it, so that other programs' load does not end up in the figures.
//! - Every run says how far apart the two processors were before and after it ([`distance`]).
//! - Every process ends by itself ([`RUN_SECONDS_MAX`]), whatever the library does.
//!
//! ```text
//!  driver ──run ROW SIZE MS──► program ──► Row::run ──► rate | round_trip | …  ──► one line of JSON
//!                                              ├─ this process:  receiver, CPU 0
//!                                              └─ forked child:  sender,   CPU 1
//! ```
//!
//! # Invariants that `unsafe` blocks cite
//!
//! - **K1** A [`Region`](region::Region) is mapped readable and writable for as long as it lives, and `start` is aligned to a page.
//! - **K2** Every offset handed to a `Region` lies inside it and is aligned for its type; this is asserted.
//! - **K3** `fork` is called while the process has one thread, so the child may use the allocator and everything else.

pub mod beside;
pub mod clock;
pub mod distance;
pub mod flight;
pub mod message;
pub mod rate;
pub mod region;
pub mod row;
pub mod trip;

pub use beside::Place;
pub use message::{Receiver, Sender};
pub use rate::{rate, rate_of_many};
pub use row::{Figures, Plan, Row, main};
pub use trip::round_trip;

/// The longest that any process of a run lives, in seconds: an alarm ends it.
pub const RUN_SECONDS_MAX: u32 = 12;
