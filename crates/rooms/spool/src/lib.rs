//! The store: what was accepted is here until its last recipient is settled. Three kinds, one trait ([`message::Spool`]).
//!
//! - [`Journal`]: append-only segments with group commit; the default.
//! - [`Files`]: two files a message in 256 hashed directories, readable with `less`.
//! - [`Memory`]: nothing outlives the process; for tests and for mail that may be lost.
//!
//! The composition opens a store, sends one seat to each event loop, spawns the pump there, and iterates what was
//! recovered. The rooms see the trait only. The tools ([`tools`]) read a journal while its server runs.
//!
//! Budgets (journal, 4 KiB messages): 15 µs CPU a durable message at 200 writers, one `pwritev` and one `fdatasync` a
//! batch; 32 bytes of memory a queued message; a body is read from its windows, never copied; recovery reads 250 bytes
//! a message.

pub mod disk;
mod files;
mod journal;
mod memory;
mod options;
mod read_gate;
pub mod tools;

pub use files::{Files, FilesHandle, FilesOpened, FilesSeat, FilesStream};
pub use journal::record;
pub use journal::segment;
pub use journal::{
    Damage, Figures, Health, Journal, JournalHandle, JournalSeat, JournalStream, OpenError, Opened, Pump, Recovered,
    RecoveredMessage, RecoveryReport, RemainingRecipient,
};
pub use memory::{Memory, MemoryHandle, MemoryStream};
pub use options::{Durability, Options};

/// A number that spreads messages evenly over volumes or directories. Made of origin and serial number alone: the other
/// parts of an id repeat these or hardly change.
fn spread(id: message::MessageId) -> u32 {
    ((id.0 as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u32
}
