//! The verbs that are used, as safe objects: adapters, protection domains, registered memory, completion queues, queue pairs.
//!
//! The link uses them; they know nothing of windows. Nothing here blocks, except opening and closing an adapter, which the kernel may take some
//! milliseconds for.

mod abi;
mod adapter;
mod library;
mod objects;
mod pair;

pub(crate) use abi::{Gid, Wc, wc_opcode, wc_status};
pub(crate) use adapter::{Adapter, Port, names, open_all};
pub(crate) use library::Library;
pub(crate) use objects::{Bell, Completions, Domain, Reach, Region};
pub(crate) use pair::{Pair, PairSettings, Route, Work};

use std::fmt;
use std::io;

/// An operation that the library or the kernel refused.
#[derive(Debug)]
pub(crate) struct VerbsError {
    pub(crate) operation: &'static str,
    pub(crate) source: io::Error,
}

impl VerbsError {
    /// By `errno`, for functions that return a null pointer.
    fn last(operation: &'static str) -> Self {
        Self { operation, source: io::Error::last_os_error() }
    }

    /// By the function's result, which is 0 or an error number.
    fn check(operation: &'static str, result: i32) -> Result<(), Self> {
        match result {
            0 => Ok(()),
            -1 => Err(Self::last(operation)),
            errno => Err(Self::because(operation, errno)),
        }
    }

    /// For a known reason.
    fn because(operation: &'static str, errno: i32) -> Self {
        Self { operation, source: io::Error::from_raw_os_error(errno) }
    }

    /// The error number.
    pub(crate) fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(libc::EIO)
    }
}

impl fmt::Display for VerbsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.source)
    }
}
