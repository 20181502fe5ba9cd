//! Rows of `[log.…]`.

use std::path::PathBuf;
use std::time::Duration;

use super::{default, derived, section};
use crate::value::{Bytes, LogEvent, LogFormat};

section! {
    /// A log: what is written, in which format, where.
    LogOptions from LogStanza {
        /// The format of the rows.
        format: LogFormat = default("ec");
        /// The file. A relative path starts at `log_dir`.
        path: PathBuf = derived("mainlog.ec, bouncelog.ec, fbllog.ec, rejectlog.ec or shapinglog.ec, by format");
        /// The events that are written; none given is every event of the format.
        events: Vec<LogEvent> = default("");
        /// How long a row may wait in memory before it is written.
        flush_interval: Duration = default("250ms").range("1ms", "1m");
        /// Bytes that may wait for a slow disk. Rows beyond it are dropped and counted; mail is never held up.
        buffer: Bytes = default("16MiB").range("64KiB", "4GiB");
        /// How often a heartbeat row is written; 0 never does.
        heartbeat: Duration = default("1m").range("0s", "1d");
        /// Whether time stamps have microseconds (16 digits) instead of seconds (10 digits).
        hires_timestamp: bool = default("false");
    }
}
