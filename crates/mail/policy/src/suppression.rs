//! What rooms ask about addresses that get no mail, and tell when an address should get none any more.
//!
//! The list behind it is a service; rooms see these traits only. Both are asked on event loops: an answer may neither
//! block nor allocate, and what is told is handed over, not waited for.

use message::{Address, UnixMicros};

/// The mail that an entry of the list stops, or that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum MailKind {
    /// Both; mail of which nobody has said what it is.
    #[default]
    All,
    /// Mail that somebody waits for: receipts, passwords.
    Transactional,
    /// Newsletters and other mail to many.
    NonTransactional,
}

impl MailKind {
    /// Whether an entry of this kind stops mail of that kind. Mail of kind `All` is stopped by any.
    pub const fn covers(self, mail: MailKind) -> bool {
        matches!(
            (self, mail),
            (MailKind::All, _)
                | (_, MailKind::All)
                | (MailKind::Transactional, MailKind::Transactional)
                | (MailKind::NonTransactional, MailKind::NonTransactional)
        )
    }

    /// The word of files and commands.
    pub const fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Transactional => "transactional",
            Self::NonTransactional => "non_transactional",
        }
    }
}

/// Whose mail it is, and what.
#[derive(Clone, Copy, Debug, Default)]
pub struct MailClass<'a> {
    /// The tenant; `None` is nobody in particular.
    pub tenant: Option<&'a str>,
    /// The kind.
    pub kind: MailKind,
}

/// Why an address gets no mail; never told to the client that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuppressedBy {
    /// Mail to it came back.
    Bounce,
    /// Its owner complained.
    Complaint,
    /// Its owner asked for no more.
    Unsubscribe,
    /// An operator.
    Operator,
}

/// Knows which addresses get no mail.
pub trait Suppressed {
    /// Why the recipient gets no such mail; `None` if it does.
    fn suppressed(&self, recipient: &Address, mail: &MailClass<'_>, at: UnixMicros) -> Option<SuppressedBy>;
}

/// A list without addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct NobodySuppressed;

impl Suppressed for NobodySuppressed {
    fn suppressed(&self, _recipient: &Address, _mail: &MailClass<'_>, _at: UnixMicros) -> Option<SuppressedBy> {
        None
    }
}

/// What happened to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Mail came back for good.
    Bounce {
        /// The bounce class, 1 to 255; 0 if it is not known.
        class: u8,
    },
    /// Its owner complained.
    Complaint,
    /// Its owner asked for no more.
    Unsubscribe,
}

/// Takes addresses that should get no more mail.
pub trait Suppress {
    /// The address gets no more mail of that class from now on. Best effort: when very many come at once, some may be
    /// dropped and counted.
    fn suppress(&self, address: &Address, mail: &MailClass<'_>, cause: Cause, at: UnixMicros);
}
