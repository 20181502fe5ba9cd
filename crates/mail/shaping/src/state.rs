//! What a shaper knows, as octets: so that a restart forgets neither a suspension nor the day of a warm-up. The format is
//! described in `docs/formats/shaping-state.md`; whoever calls keeps the octets in a file.

mod read;
mod write;

use std::fmt;

/// The first octets.
const MAGIC: [u8; 8] = *b"PHSHAPE\0";
/// The version that is written, and the highest that is read.
const VERSION: u32 = 1;
/// Magic, version, checksum and length.
const HEADER: usize = 8 + 4 + 4 + 8;

/// What was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Scopes that are adjusted.
    pub adjustments: usize,
    /// Ramps of warm-ups.
    pub ramps: usize,
    /// Evidence of rules.
    pub evidence: usize,
    /// What was left out: it has ended, or its rule is not there any more or has another threshold or scope.
    pub dropped: usize,
}

/// Why octets are no state that can be read; nothing was taken over, and the shaper is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateError {
    /// They do not begin as a state does.
    Foreign,
    /// A later version of the server wrote them.
    Newer {
        /// The version of the format.
        version: u32,
    },
    /// They end too early, or something stands behind their end.
    Length,
    /// The checksum does not agree.
    Checksum,
    /// The checksum agrees, and something inside makes no sense.
    Content,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("not a state of traffic shaping"),
            Self::Newer { version } => {
                write!(f, "state of traffic shaping has format version {version}; up to {VERSION} can be read")
            }
            Self::Length => f.write_str("state of traffic shaping is cut off or too long"),
            Self::Checksum => f.write_str("state of traffic shaping is damaged: its checksum does not agree"),
            Self::Content => f.write_str("state of traffic shaping is damaged: a record makes no sense"),
        }
    }
}

impl std::error::Error for StateError {}
