//! `ipc:`: two processes of one machine, sharing memory of which every page has one writer. A Unix socket introduces them and stays open as the
//! tether: it wakes, and tells of death.
//!
//! ```text
//!   process A                                                        process B
//!  ┌──────────────────────┐            read-only            ┌──────────────────────┐
//!  │ A's memory  (writes) │ ───────────────────────────────►│ A's memory           │   A's windows, A's words
//!  │ B's memory           │◄─────────────────────────────── │ B's memory  (writes) │   B's windows, B's words
//!  │ A's arena   (writes) │ ───────────────────────────────►│ A's arena            │   what A lends
//!  └──────────┬───────────┘                                 └──────────┬───────────┘
//!             └─────────────── socket: hello, files, rings, death ─────┘
//!
//!   one side's memory (a memfd without a name, sealed against shrinking, growing and other writers)
//!  ┌────────┬─────────────────────────────────────────────┬──────────────────┬────────────────┬──────────────┐
//!  │ head   │ words, each on lines of its own:            │ returned leases  │ urgent windows │ bulk windows │
//!  │ (tools)│ sleep · wants · returned · and for each lane│ a ring           │ n % count      │ n % count    │
//!  │        │ disposed · read · finished · taken          │                  │                │              │
//!  └────────┴─────────────────────────────────────────────┴──────────────────┴────────────────┴──────────────┘
//!  0        2048                                          4096
//! ```
//!
//! | word | written by | when | read by the peer's |
//! |---|---|---|---|
//! | window header, `sequence` last | outlet | it takes the window | inlet, to find the next window |
//! | first word of a message | whoever holds the window | it commits | whoever reads the window |
//! | `disposed`, `read` | inlet | windows, messages were read | outlet, to use windows again, to know what was read |
//! | `wants` | outlet | it finds no window free, or waits until all is read | inlet, to know whether to ring |
//! | `returned` and the ring | any thread, under a lock | a lease ends | outlet, to end the loan |
//! | `sleep` | any thread, by exchange | before and after sleeping | whoever has published something |
//! | `finished` | outlet | nothing more comes | inlet, to tell an end from a death |
//!
//! # Addresses
//!
//! - `ipc:NAME` is `NAME.sock` in `$XDG_RUNTIME_DIR/fabric`; without that variable in `/run/fabric` for root, else in `/run/user/UID/fabric`, or
//!   `/tmp/fabric-UID` where that is not there; with `?dir=PATH` in that directory. The listener makes the directory, mode 0700, and refuses a default
//!   one that others can write. A listener for other users (`LinkSettings::users`) needs a directory that they can reach.
//! - `ipc:/path.sock` is that path.
//! - `ipc:fd/N` is a connected socket that this process inherited, one of a [`pair`]; [`connector`] takes one directly. It has no name anywhere. One
//!   end listens, the other connects, and it serves for one link. The number stays open; the link works on a copy.
//!
//! A socket file left by a listener that was killed is replaced by the next; one of a living listener is [`Taken`](crate::tli::OpenError::Taken).
//! The file is removed when the listener is dropped.
//!
//! Peers are told apart by the kernel's word: own user, root, and `LinkSettings::users`; with [`Trust::Same`](crate::tli::Trust) own user only. Over a
//! path that is whoever called `connect` or `listen`; over a pair whoever sent the hello. A process that forks without `exec` and lets the child live on
//! keeps its sockets open beyond its death: the peer learns of it only when the child ends, too.
//!
//! # Budget
//!
//! | operation | system calls | locked instructions | copies |
//! |---|---|---|---|
//! | message committed, read | 0 | 0 | none here |
//! | burst of messages ([`TxWindow::peer_sleeps`](crate::tli::TxWindow::peer_sleeps)) | 0 | 1 fence | |
//! | window taken and shipped | 0 | 9 (counts of the mappings, one fence) | none |
//! | window received and disposed of | 0 | 5 (counts of the mapping, one fence) | none |
//! | batch of messages acknowledged ([`Inlet::read`](crate::tli::Inlet::read)) | 0 | 1 fence | |
//! | lease lent, borrowed and returned | 0 | 13 (counts, a lock, one fence) | none |
//! | ring of a peer that sleeps, once for each sleep | 1 | 1 more | |
//! | going to sleep and getting up | those of the sleeper | 3 | |
//!
//! A link costs two descriptors on each side (socket and memory), and one page of memory until its windows are used. No thread, no time-out, no polling.
//!
//! # Ordering
//!
//! Every shared word is stored with release and loaded with acquire: who sees a sequence sees the header, who sees `disposed` no longer has a reader in
//! those windows, who sees `returned` sees the entries of the ring. Two pairs of words are written on one side and read on the other in both directions,
//! and have a full fence between: *published and `sleep`* ([`SleepWord`]), and *`disposed` or `read`, and `wants`* ([`Wants`]). In each pair, at least one side sees
//! the other's word, so no wake-up is lost. `tests/ipc_loom.rs` checks both.
//!
//! Death is read from the socket, and after it everything that the dead process stored is in memory. A window is published by one store and a message
//! by one store, so what it was about to write is invisible (FABRIC R7).
//!
//! # Malice
//!
//! A peer can write what it likes into its own pages, at any time, and nothing into ours. Everything read from its pages is copied once and checked against
//! what we know ourselves: sequences against the next one, counts against what was shipped, returns against the ledger, descriptors against its arena.
//! What does not fit ends the link with [`Reason::Violation`](crate::tli::Reason). Nothing here loops over what a peer says without a bound of our own,
//! and nothing waits. A peer that has our arena mapped can read all of it for as long as it lives, so an arena is shared with peers that may know the same.
//!
//! Invariants, cited by number:
//! - **I1** [`memory::Own`] is a mapping of a memfd that was mapped once before it was sealed: this process alone writes it, and it stays as large as it is.
//! - **I2** Each word of it has one writer at a time: outlet and inlet are owned by one thread each, the ring of returns is written under its lock, the
//!   sleep word by exchange only. There is one outlet, one inlet and one tether to a memory.
//! - **I3** [`memory::Theirs`] is a read-only mapping of plain memory (tmpfs) of exactly the size mapped, sealed against shrinking.
//! - **I4** Window `n` of a lane is taken when the peer has disposed of window `n - count`, and all of `0..n` were shipped.
//! - **I5** A reader reads window `n` of a lane only after it has seen the sequence `n + 1` in its header, and disposes of it when it is done.

#[cfg(not(loom))]
mod address;
#[cfg(not(loom))]
mod dialer;
#[cfg(not(loom))]
mod hello;
#[cfg(not(loom))]
mod inlet;
#[cfg(not(loom))]
mod inspect;
#[cfg(not(loom))]
mod introduction;
#[cfg(not(loom))]
mod layout;
#[cfg(not(loom))]
mod ledger;
#[cfg(not(loom))]
mod listener;
#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
mod outlet;
#[cfg(not(loom))]
mod provider;
#[cfg(not(loom))]
mod returns;
mod sleep;
#[cfg(not(loom))]
mod socket;
#[cfg(not(loom))]
mod terms;
#[cfg(not(loom))]
mod tether;
mod wants;

#[cfg(not(loom))]
pub use inspect::{LaneView, LinkView, inspect, inspect_at};
#[cfg(not(loom))]
pub use listener::{Listener, Peers};
#[cfg(not(loom))]
pub use provider::connector;
pub use sleep::{PeerSleep, SleepWord};
#[cfg(not(loom))]
pub use socket::pair;
pub use wants::{PeerWants, Wants};

/// Bytes of a window at most.
pub const WINDOW_BYTES_MAX: usize = 1 << 30;
/// Windows of a lane at most.
pub const WINDOWS_MAX: usize = 1 << 16;
/// Leases out at once, at most.
pub const LEASES_MAX: usize = 1 << 16;
