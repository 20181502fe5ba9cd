//! What a client wants written: command octets and, between them, the content of messages, in order. The driver turns
//! it into one vectored write; it owns the buffer, so that a connection that waits holds none.

use super::{Framing, TransactionId};
use std::ops::Range;

/// One write's worth of output. Kept by the driver and used for one connection after the other.
#[derive(Debug, Default)]
pub struct Output {
    /// Command octets of all the pieces, in order.
    pub commands: Vec<u8>,
    /// What to write, in order.
    pub pieces: Vec<Piece>,
}

/// A part of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These octets of [`Output::commands`].
    Commands(Range<usize>),
    /// The message of this transaction.
    Content {
        /// Whose.
        transaction: TransactionId,
        /// How.
        framing: Framing,
    },
}

impl Output {
    /// Nothing to write.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.commands.clear();
        self.pieces.clear();
    }

    /// Lets `write` append command octets.
    pub(super) fn command(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.commands.len();
        write(&mut self.commands);
        let to = self.commands.len();
        match self.pieces.last_mut() {
            Some(Piece::Commands(range)) => range.end = to,
            _ => self.pieces.push(Piece::Commands(from..to)),
        }
    }

    pub(super) fn content(&mut self, transaction: TransactionId, framing: Framing) {
        self.pieces.push(Piece::Content { transaction, framing });
    }
}
