//! A message between its reception and its last outcome.

use crate::{Body, Envelope, MessageId, UnixMicros};
use fabric::Slice;
use std::net::IpAddr;

/// A message as it was accepted: it never changes afterwards. Shared by all its recipients through an `Arc`.
#[derive(Clone, Debug)]
pub struct Message {
    /// The id of the batch and of its first recipient; recipient `n` has `id.nth(n)`.
    pub id: MessageId,
    /// Who sends to whom.
    pub envelope: Envelope,
    /// How it came.
    pub reception: Reception,
    /// Header lines of ours that stand before the content: Received, and Date or Message-ID where asked for.
    pub trace: Slice,
    /// What the client sent.
    pub content: Content,
}

/// Where the octets of a message are.
#[derive(Clone, Debug)]
pub enum Content {
    /// In windows.
    Resident(Body),
    /// In the spool only, to be read piece by piece: large messages.
    Spooled {
        /// Number of octets, without the trace header.
        len: u64,
    },
}

/// How a message came to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reception {
    /// When it was complete.
    pub at: UnixMicros,
    /// The id of the connection it came by.
    pub connection: MessageId,
    /// The client's address; `None` for messages that we made.
    pub peer: Option<IpAddr>,
    /// What the client spoke.
    pub protocol: Protocol,
    /// A name of the greeting or of the part that made it.
    pub helo: Box<str>,
    /// Whether a line starts with a dot, so that sending by DATA must look for them.
    pub dots: Dots,
}

/// Whether lines of the content start with a dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Dots {
    /// No line does: the content can be sent by DATA as it stands.
    None,
    /// Some may.
    #[default]
    Some,
}

/// The protocol of reception, as log rows and the Received header name it (RFC 3848).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HELO.
    Smtp,
    /// EHLO.
    #[default]
    Esmtp,
    /// EHLO and SMTPUTF8 (RFC 6531 §4.3).
    Utf8Smtp,
    /// LHLO.
    Lmtp,
    /// Made by the server itself.
    Internal,
}

impl Protocol {
    /// The keyword after `with` in a Received header.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Smtp => "SMTP",
            Self::Esmtp => "ESMTP",
            Self::Utf8Smtp => "UTF8SMTP",
            Self::Lmtp => "LMTP",
            Self::Internal => "local",
        }
    }
}

impl Message {
    /// Octets of the trace header and the content together.
    pub fn size(&self) -> u64 {
        self.trace.len() as u64 + self.content.len()
    }
}

impl Content {
    /// Number of octets, without the trace header.
    pub fn len(&self) -> u64 {
        match self {
            Self::Resident(body) => body.len(),
            Self::Spooled { len } => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
