//! Why a line is no command, and what the client is told.

use crate::server::Refusal;
use std::fmt;

/// What is wrong with a command line. The client is at fault in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyntaxError {
    /// No such command.
    Unknown,
    /// A command that this server knows and does not offer: the verb.
    NotOffered,
    /// A request of another protocol, such as HTTP: the session ends.
    Foreign,
    /// A control octet, or one above 127 where no text may be.
    Octet,
    /// The argument is missing.
    ArgumentMissing,
    /// There is an argument where none may be.
    ArgumentUnexpected,
    /// The name in a greeting is neither a domain nor an address literal.
    GreetingName,
    /// `FROM:` or `TO:` is missing or the path is not in angle brackets.
    PathMissing,
    /// The reverse-path is none.
    Sender,
    /// The forward-path is none.
    Recipient,
    /// The path, its local part or its domain is too long (RFC 5321 §4.5.3.1).
    TooLong,
    /// The path is not ASCII and SMTPUTF8 was not asked for (RFC 6531 §3.5).
    Utf8NotAsked,
    /// A parameter that no offered extension has.
    UnknownParameter,
    /// A parameter with a value that it cannot have, or given twice.
    BadParameter(&'static str),
    /// The size of a chunk cannot be told, so nobody knows where the next command begins: the session ends.
    ChunkSize,
}

impl SyntaxError {
    /// The reply.
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::Unknown => Refusal::new(500, "5.5.1 command not recognised"),
            Self::NotOffered => Refusal::new(502, "5.5.1 command not implemented"),
            Self::Foreign => Refusal::new(421, "4.7.0 this is a mail server, closing connection"),
            Self::Octet => Refusal::new(500, "5.5.2 control or 8-bit octet in command"),
            Self::ArgumentMissing => Refusal::new(501, "5.5.4 argument missing"),
            Self::ArgumentUnexpected => Refusal::new(501, "5.5.4 command takes no argument"),
            Self::GreetingName => Refusal::new(501, "5.5.4 a domain or an address literal is wanted"),
            Self::PathMissing => Refusal::new(501, "5.5.4 an address in angle brackets is wanted"),
            Self::Sender => Refusal::new(501, "5.1.7 bad sender address syntax"),
            Self::Recipient => Refusal::new(501, "5.1.3 bad recipient address syntax"),
            Self::TooLong => Refusal::new(501, "5.1.3 address too long"),
            Self::Utf8NotAsked => Refusal::new(553, "5.6.7 non-ASCII address needs SMTPUTF8"),
            Self::UnknownParameter => Refusal::new(555, "5.5.4 parameter not recognised"),
            Self::BadParameter(text) => Refusal::new(501, text),
            Self::ChunkSize => Refusal::new(501, "5.5.4 bad chunk size, closing connection"),
        }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.refusal().text().split_once(' ').map_or("", |(_, text)| text))
    }
}

impl std::error::Error for SyntaxError {}
