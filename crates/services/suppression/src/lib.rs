//! The suppression list: addresses that get no mail, exact, millions of them, on disk and in memory.
//!
//! Event loops ask [`List::find`] for each recipient; the operator's commands, imports and whoever sees bounces change
//! the list through [`Store`], whose one thread writes. The crate decides nothing about mail, and never hears of sockets.
//!
//! ```text
//!  loops ── find ─────────────────────────────► List: 1024 partitions ◄── swaps ──┐
//!  console, bounces ── put, remove ──► Store ──► one thread: log, fdatasync, then publish
//!                                                 └─ now and then: base file anew, log begun anew
//!  import: lines ─► rows ─► batches ─► Store      export: List ─► pages ─► lines
//! ```
//! A reader takes a partition's present tables with one atomic exchange and waits for nobody. A change is on stable
//! storage before any reader sees it and before it is answered. What lies on disk: `docs/formats/suppression.md`.
//!
//! # Budget
//! A look-up allocates nothing and costs one SipHash of the address, one slot and, on a hit, one record: a third of a
//! microsecond with ten million entries. An entry costs its address and metadata (15 octets and the name of its source),
//! and 5⅓ octets of index; `benches/list.rs` measures both.

mod address;
mod batch;
mod entry;
mod export;
mod files;
mod frame;
mod import;
mod keeper;
mod list;
mod load;
mod partition;
mod record;
mod store;
mod table;
mod tally;
mod text;

pub use address::{BadAddress, Key};
pub use batch::Batch;
pub use entry::{Entry, Kind, Label, LabelError, Reason, Scope, Second};
pub use export::{write_csv_header, write_csv_row, write_json_row};
pub use import::{BadLine, Defaults, Format, Line, Lines};
pub use keeper::{Changes, Keeper, OpenReport, WriteError};
pub use list::{Cursor, Figures, Hit, List, Page};
pub use load::OpenError;
pub use store::{Done, Publish, Store, Writer};
pub use tally::{Counted, Tally};
pub use text::{BadText, parse_kind, parse_reason, parse_second};
