//! An entry of the list: whom mail does not go to, in which scope, why, who said so, since when and until when.

use crate::address::Key;
use message::UnixMicros;
use std::fmt;

/// Seconds since 1970; the list's clock, which ends in 2106.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Second(pub u32);

impl From<UnixMicros> for Second {
    fn from(at: UnixMicros) -> Self {
        Self(u32::try_from(at.seconds()).unwrap_or(u32::MAX))
    }
}

/// Which mail an entry stops, or which mail is asked for.
pub use policy::MailKind as Kind;

/// Why an address is on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Mail came back; the bounce class, or 0 if it is not known.
    Bounce(u8),
    /// The recipient complained.
    Complaint,
    /// The recipient asked for no more.
    Unsubscribe,
    /// An operator's doing.
    Manual,
}

/// As files and commands have it: `bounce:10`, `complaint`.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bounce(0) => f.write_str("bounce"),
            Self::Bounce(class) => write!(f, "bounce:{class}"),
            Self::Complaint => f.write_str("complaint"),
            Self::Unsubscribe => f.write_str("unsubscribe"),
            Self::Manual => f.write_str("manual"),
        }
    }
}

/// A short name: of a tenant, or of who added an entry. At most 64 octets without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Box<str>);

/// Why a text is no label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelError {
    /// Nothing.
    Empty,
    /// More than 64 octets.
    Long,
    /// A control character.
    Control,
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "name is empty",
            Self::Long => "name is longer than 64 octets",
            Self::Control => "name has a control character",
        })
    }
}

impl std::error::Error for LabelError {}

impl Label {
    /// Longest label, octets.
    pub const OCTETS_MAX: usize = 64;

    /// # Errors
    /// See [`LabelError`].
    pub fn new(text: &str) -> Result<Self, LabelError> {
        if text.is_empty() {
            Err(LabelError::Empty)
        } else if text.len() > Self::OCTETS_MAX {
            Err(LabelError::Long)
        } else if text.chars().any(char::is_control) {
            Err(LabelError::Control)
        } else {
            Ok(Self(text.into()))
        }
    }

    pub(crate) fn from_record(octets: &[u8]) -> Self {
        Self(String::from_utf8_lossy(octets).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an entry holds. An address has one entry for each scope at most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Scope {
    /// One tenant's mail; `None` is everybody's.
    pub tenant: Option<Label>,
    /// Which mail.
    pub kind: Kind,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whom.
    pub key: Key,
    /// Where it holds.
    pub scope: Scope,
    /// Why.
    pub reason: Reason,
    /// Who added it: `import`, `console`, `bounce`, …
    pub source: Label,
    /// Since when.
    pub added: Second,
    /// From when on it holds no more.
    pub expires: Option<Second>,
}
