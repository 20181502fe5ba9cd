//! The envelope: who sends, who receives, and what the sender asked to be told (RFC 5321 §3.3, RFC 3461).

use crate::Address;

/// What a transaction said about a message before its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The reverse-path; `None` is `<>`.
    pub sender: Option<Address>,
    /// In the order of RCPT; at least one, at most 65,535.
    pub recipients: Vec<Recipient>,
    /// BODY= of MAIL (RFC 6152, RFC 3030).
    pub body_type: BodyType,
    /// SMTPUTF8 of MAIL (RFC 6531).
    pub utf8: Utf8,
    /// RET= of MAIL (RFC 3461 §4.3).
    pub ret: Option<Return>,
    /// ENVID= of MAIL in xtext, as received (RFC 3461 §4.4).
    pub envid: Option<Box<str>>,
}

/// One RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The forward-path.
    pub address: Address,
    /// NOTIFY= (RFC 3461 §4.1).
    pub notify: Notify,
    /// ORCPT= as received: `rfc822;` and xtext (RFC 3461 §4.2).
    pub orcpt: Option<Box<str>>,
}

/// When the sender wants to hear of a recipient (RFC 3461 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Notify {
    /// No NOTIFY parameter: failures, and delays if the server sends such.
    #[default]
    Unset,
    /// `NOTIFY=NEVER`.
    Never,
    /// The named events; each field is one keyword.
    On {
        /// `SUCCESS`
        success: bool,
        /// `FAILURE`
        failure: bool,
        /// `DELAY`
        delay: bool,
    },
}

impl Notify {
    /// Whether a failure is to be reported.
    pub const fn wants_failure(self) -> bool {
        matches!(self, Self::Unset | Self::On { failure: true, .. })
    }

    /// Whether a delay may be reported.
    pub const fn wants_delay(self) -> bool {
        matches!(self, Self::Unset | Self::On { delay: true, .. })
    }

    /// Whether a success is to be reported where the next hop cannot do it.
    pub const fn wants_success(self) -> bool {
        matches!(self, Self::On { success: true, .. })
    }
}

/// What octets the content may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BodyType {
    /// `BODY=7BIT`, or no BODY parameter and no octet above 127.
    #[default]
    SevenBit,
    /// `BODY=8BITMIME`.
    EightBit,
    /// `BODY=BINARYMIME`: may have lone CR, LF and NUL; goes by BDAT only.
    Binary,
}

/// Whether addresses or headers are internationalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Utf8 {
    /// They are not.
    #[default]
    No,
    /// SMTPUTF8 was given.
    Yes,
}

/// How much of the message a failure report brings back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// `RET=FULL`
    Full,
    /// `RET=HDRS`
    Headers,
}
