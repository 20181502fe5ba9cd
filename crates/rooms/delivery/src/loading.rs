//! What a transaction carries: the message as it leaves, with or without marks, and what was leased for it. Used by
//! connections only.

use crate::Neighbours;
use crate::leased::Leased;
use crate::marking::{marked, marks};
use crate::report::Due;
use crate::room::Room;
use crate::site::Site;
use crate::writing::Cargo;
use config::DomainOptions;
use message::{Message, Spool};
use smallvec::SmallVec;
use smtp::client::TransactionId;
use std::rc::Rc;
use std::sync::Arc;

/// Spooled content is read in pieces of this many octets.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

/// A transaction under way.
pub(crate) struct Job<N: Neighbours> {
    pub(crate) transaction: TransactionId,
    /// Of its container, which the connection may have left since.
    pub(crate) site: Rc<Site>,
    pub(crate) cargo: Loading,
    pub(crate) leased: Leased<N>,
    /// Octets of trace header and content that the peer took.
    pub(crate) sent: u64,
    pub(crate) dues: Vec<Due>,
}

impl<N: Neighbours> Cargo for Job<N> {
    fn transaction(&self) -> TransactionId {
        self.transaction
    }

    fn message(&self) -> &Message {
        &self.cargo.message
    }
}

/// A message on its way out.
pub(crate) struct Loading {
    /// As it was received: logs and reports are about this one.
    pub(crate) stored: Arc<Message>,
    /// As it leaves: the stored message itself, or another around its content, with marks for one recipient.
    pub(crate) message: Arc<Message>,
    /// That recipient, by its place in the stored envelope.
    only: Option<u16>,
}

impl Loading {
    /// The message of a lease; `None` if it is not in memory. A lease of several recipients was made before the options
    /// asked for marks, and leaves without.
    pub(crate) fn new<N: Neighbours>(room: &Room<N>, options: &DomainOptions, leased: &Leased<N>) -> Option<Self> {
        let stored = leased.message()?.clone();
        let by = room.marks.borrow();
        let own = match (leased.recipients(), &*by) {
            ([only], Some(by)) if marks(options) => {
                marked(&**by, options, &stored, only.recipient).map(|message| (message, only.recipient))
            }
            _ => None,
        };
        Some(match own {
            Some((message, only)) => Self { stored, message, only: Some(only) },
            None => Self { message: stored.clone(), stored, only: None },
        })
    }

    /// The recipients of a lease, by their places in the envelope that leaves.
    pub(crate) fn recipients<N: Neighbours>(&self, leased: &Leased<N>) -> SmallVec<[u16; 1]> {
        match self.only {
            Some(_) => SmallVec::from_elem(0, 1),
            None => leased.recipients().iter().map(|leased| leased.recipient).collect(),
        }
    }

    /// The place in the stored envelope of a recipient of the envelope that leaves.
    pub(crate) fn recipient(&self, leaving: u16) -> u16 {
        self.only.unwrap_or(leaving)
    }
}

/// Whether spooled content has no octet above 127. What cannot be read is not known to be.
pub(crate) async fn is_ascii<S: Spool>(spool: &S, key: message::StoreKey, message: &Message) -> bool {
    let mut at = 0;
    while at < message.content.len() {
        match spool.read(key, at, PIECE_BYTES).await {
            Ok(piece) if !piece.is_empty() && piece.is_ascii() => at += piece.len() as u64,
            Ok(_) | Err(_) => return false,
        }
    }
    true
}
