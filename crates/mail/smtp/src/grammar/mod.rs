//! The grammar of SMTP and LMTP commands (RFC 5321 §4.1, RFC 6531, RFC 1870, RFC 3030, RFC 3461).
//!
//! The server session calls it with one line at a time; a fuzz target calls it with anything. It borrows from the line
//! and allocates nothing. It must never accept what could not be written into a command, a header or a log row again.
//!
//! Stricter than most: no 8-bit octet without SMTPUTF8, no control octet anywhere, no unquoted special, no unknown or
//! repeated parameter. More lenient than the RFC in three things that harm nobody: spaces behind the colon of `FROM:`
//! and `TO:`, spaces at the end of a line, and underscores in domain names.

mod command;
mod domain;
mod mailbox;
mod parameter;
mod syntax;

pub use command::{Command, Greeting, Mail, Rcpt, parse_command};
pub use mailbox::{ForwardPath, Mailbox, ReversePath};
pub use syntax::SyntaxError;

/// The service extensions that parameters may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// SIZE (RFC 1870) and 8BITMIME (RFC 6152): every greeting but HELO offers them.
    pub basic: bool,
    /// CHUNKING and BINARYMIME (RFC 3030).
    pub chunking: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
}

impl Extensions {
    /// What HELO offers.
    pub const NONE: Self = Self { basic: false, chunking: false, smtputf8: false, dsn: false };
    /// Everything.
    pub const ALL: Self = Self { basic: true, chunking: true, smtputf8: true, dsn: true };
}
