//! The record: events become rows of logs, and the logs become files.
//!
//! ```text
//!  loop 0 ─ Recorder ─┐ buffers of rows, bounded, never waited for
//!  loop 1 ─ Recorder ─┼──────────────► LogWriter thread, one a log ──► file
//!                     └ full? the buffer is dropped and its rows are counted; the file says so
//! ```
//!
//! Each event loop owns a [`Recorder`] and writes the row itself, into a buffer of its own: no row is allocated, no
//! lock is taken, and the writer's thread is woken once a buffer. A slow or full disk costs rows, never mail.
//!
//! Budget: a row costs its formatting (about 200 ns) and 1/100 of a channel send; a row of the bounce log the class of its
//! reply, too, under 1 µs.

mod audit;
mod ec;
mod parse;
mod recorder;
mod reject;
mod row;
mod writer;

pub use parse::{EcRow, RowError, parse_bounce, parse_ec, parse_feedback};
pub use recorder::{Kinds, LogSpec, Recorder, RowFormat, Timestamps};
pub use writer::{LogOpenError, LogStatistics, LogWriters};
