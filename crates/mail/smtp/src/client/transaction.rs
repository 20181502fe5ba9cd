//! One transaction of a connection: which recipients of a message, how far it has come, and whether the peer can take
//! it at all.

use super::capabilities::{Capabilities, Extension};
use super::{Dialect, Framing};
use message::{BodyType, Content, Message, Reply, Utf8};
use smallvec::SmallVec;
use std::sync::Arc;

/// Content up to this size goes with its commands in one write where CHUNKING and PIPELINING are offered, octets. If
/// the peer then refuses every recipient that costs these octets and nothing else: it must throw the chunk away
/// (RFC 3030 §2). Larger content waits for the replies to RCPT.
const WHOLE_MAX: u64 = 256 * 1024;

/// Names a transaction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub u32);

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The message.
    pub message: Arc<Message>,
    /// Which recipients of its envelope; at least one.
    pub recipients: SmallVec<[u16; 1]>,
    /// The content as far as it is known: the envelope's, or [`BodyType::SevenBit`] if somebody looked and found no
    /// octet above 127. Resident content is looked at here if it matters.
    pub body_type: BodyType,
}

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: TransactionId,
    pub(super) message: Arc<Message>,
    pub(super) body_type: BodyType,
    pub(super) seats: SmallVec<[Seat; 1]>,
    pub(super) next: Next,
    /// Replies owed to commands of this transaction.
    pub(super) owed: u32,
    /// Recipients that were accepted and have no verdict.
    pub(super) accepted: u32,
    pub(super) mail: Mail,
    /// Whether any reply has come.
    pub(super) answered: Answered,
    pub(super) content: ContentState,
}

/// A recipient of a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) recipient: u16,
    pub(super) state: SeatState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeatState {
    Waiting,
    Accepted,
    Decided,
}

/// What is to be written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// RSET, should the peer hold a transaction.
    Reset,
    Mail,
    /// RCPT for this seat.
    Rcpt(u16),
    Data,
    /// BDAT and the content.
    Chunk,
    /// The content, behind a 354.
    Content(Framing),
    /// Nothing until a reply comes.
    Reply,
    /// Nothing any more.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mail {
    Asked,
    Accepted,
    Refused,
    /// Refused, and yet a recipient was accepted behind it.
    RefusedInVain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    No,
    Yes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentState {
    Unsent,
    /// Given to the driver.
    Leaving,
    Sent,
}

impl Transaction {
    /// All of `recipients` of `message`.
    pub fn new(message: Arc<Message>, recipients: impl IntoIterator<Item = u16>) -> Self {
        let body_type = message.envelope.body_type;
        Self { message, recipients: recipients.into_iter().collect(), body_type }
    }

    /// Why `peer` can never take this, as the reply that stands for it; sets the body type that will be declared.
    pub(super) fn check(&mut self, peer: &Capabilities) -> Result<(), Reply> {
        if peer.size_max.is_some_and(|max| self.message.size() > max) {
            return Err(Reply::new(552, "5.3.4 [internal] message size limit exceeded"));
        }
        if self.message.envelope.utf8 == Utf8::Yes && !peer.has(Extension::SmtpUtf8) {
            return Err(Reply::new(553, "5.6.7 [internal] SMTPUTF8 required but not supported by remote host"));
        }
        match self.body_type {
            BodyType::SevenBit => Ok(()),
            BodyType::EightBit if peer.has(Extension::EightBitMime) => Ok(()),
            BodyType::EightBit if self.is_resident_ascii() => {
                // Clients declare 8BITMIME for everything: what needs no declaring is not returned for it.
                self.body_type = BodyType::SevenBit;
                Ok(())
            }
            BodyType::EightBit => {
                Err(Reply::new(554, "5.6.3 [internal] 8BITMIME required but not supported by remote host"))
            }
            BodyType::Binary if peer.has(Extension::Chunking) && peer.has(Extension::BinaryMime) => Ok(()),
            BodyType::Binary => {
                Err(Reply::new(554, "5.6.1 [internal] BINARYMIME required but not supported by remote host"))
            }
        }
    }

    fn is_resident_ascii(&self) -> bool {
        match &self.message.content {
            Content::Resident(body) => body.slices().iter().all(|slice| slice.is_ascii()),
            Content::Spooled { .. } => false,
        }
    }
}

impl Open {
    pub(super) fn new(id: TransactionId, transaction: Transaction) -> Self {
        let seat = |recipient| Seat { recipient, state: SeatState::Waiting };
        Self {
            id,
            seats: transaction.recipients.into_iter().map(seat).collect(),
            message: transaction.message,
            body_type: transaction.body_type,
            next: Next::Reset,
            owed: 0,
            accepted: 0,
            mail: Mail::Asked,
            answered: Answered::No,
            content: ContentState::Unsent,
        }
    }

    /// Whether commands and content may leave together. Not with LMTP: how many replies a chunk gets depends on how
    /// many recipients were accepted (RFC 2033 §4.2).
    pub(super) fn goes_whole(&self, dialect: Dialect) -> bool {
        dialect == Dialect::Smtp
            && matches!(self.message.content, Content::Resident(_))
            && self.message.size() <= WHOLE_MAX
    }

    /// Whether the next transaction's commands may be written behind what was written of this.
    pub(super) fn has_left(&self) -> bool {
        self.content != ContentState::Unsent
    }

    /// Every seat that has no verdict yet.
    pub(super) fn undecided(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.seats.iter_mut().filter(|seat| seat.state != SeatState::Decided)
    }
}
