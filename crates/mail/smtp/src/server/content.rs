//! Content on its way in, by DATA or in chunks, and what is said at its end.

use super::transaction::{BARE, Chunk, Receipt, TOO_LARGE, Transfer};
use super::{Discard, Event, Flavour, Pace, Phase, Refusal, Session, Transaction};
use crate::scanner::{Framing, Trap};
use std::io::Write as _;
use std::time::Instant;

/// At least so many octets of a refused message are waited for, so that a client hears why.
const WASTED_MIN: u64 = 1 << 20;

impl Session {
    /// The client may send its content.
    pub(super) fn on_content_begin(&mut self, now: Instant, mut transaction: Box<Transaction>, transfer: Transfer) {
        self.pace = Pace { since: now, octets: 0 };
        match transfer {
            Transfer::Data => {
                transaction.begin(Framing::Dots, &self.profile.rules);
                self.out.extend_from_slice(b"354 end data with <CRLF>.<CRLF>\r\n");
                self.phase = Phase::Data(transaction);
            }
            Transfer::Chunk(chunk) => {
                transaction.begin(Framing::Counted, &self.profile.rules);
                self.on_chunk_begin(transaction, chunk);
            }
        }
    }

    /// The client may not. Octets of a chunk come all the same.
    pub(super) fn on_content_refused(&mut self, transaction: Box<Transaction>, transfer: Transfer, refusal: Refusal) {
        match transfer {
            Transfer::Chunk(chunk) if !refusal.closes() => {
                self.discard(Discard { left: chunk.size, refusal, back: Some(transaction) });
            }
            Transfer::Chunk(_) | Transfer::Data => {
                self.phase = Phase::Mailing(transaction);
                self.refuse("DATA", refusal);
            }
        }
    }

    /// A further chunk of content.
    pub(super) fn on_chunk_begin(&mut self, mut transaction: Box<Transaction>, chunk: Chunk) {
        let size = transaction.findings().size.saturating_add(chunk.size);
        if size > self.rules().message_bytes_max && transaction.refusal.is_none() {
            if self.is_beyond_waiting(chunk.size) {
                self.phase = Phase::Mailing(transaction);
                self.refuse("BDAT", TOO_LARGE);
                self.phase = Phase::Closed;
                return;
            }
            transaction.refusal = Some(TOO_LARGE);
        }
        self.phase = Phase::Chunk(transaction, chunk);
    }

    /// Whether so many unwanted octets are more than can be waited for.
    fn is_beyond_waiting(&self, octets: u64) -> bool {
        octets > self.rules().message_bytes_max.saturating_mul(2).max(WASTED_MIN)
    }

    /// Octets that are to be swallowed.
    pub(super) fn discard(&mut self, discard: Discard) {
        if self.is_beyond_waiting(discard.left) {
            self.refuse("BDAT", discard.refusal);
            self.phase = Phase::Closed;
            return;
        }
        self.pace = Pace { since: self.active, octets: 0 };
        self.phase = Phase::Discarding(Box::new(discard));
    }

    pub(super) fn on_discard(&mut self, mut discard: Box<Discard>, input: &[u8]) -> (usize, Option<Event>) {
        let used = input.len().min(usize::try_from(discard.left).unwrap_or(usize::MAX));
        discard.left -= used as u64;
        self.pace.octets += used as u64;
        if discard.left > 0 {
            self.phase = Phase::Discarding(discard);
            return (used, Some(Event::NeedInput));
        }
        self.phase = discard.back.map_or(Phase::Ready, Phase::Mailing);
        self.refuse("BDAT", discard.refusal);
        (used, None)
    }

    pub(super) fn on_data(&mut self, mut transaction: Box<Transaction>, input: &[u8]) -> (usize, Option<Event>) {
        if input.is_empty() {
            self.phase = Phase::Data(transaction);
            return (0, Some(Event::NeedInput));
        }
        let piece = transaction.scanner.scan(input);
        self.pace.octets += piece.consumed as u64;
        let receipt = transaction.receive(input, &piece.keep, piece.insert, &self.profile.rules);
        if self.is_beyond_waiting(transaction.wasted) {
            return (input.len(), self.on_too_much(transaction));
        }
        self.phase = if piece.end { Phase::Whole(transaction) } else { Phase::Data(transaction) };
        let event = match receipt {
            Receipt::Kept if piece.keep.is_empty() && piece.insert.is_empty() => None,
            Receipt::Kept => Some(Event::Body { keep: piece.keep, insert: piece.insert }),
            Receipt::Spoilt => Some(Event::Abandon),
            Receipt::Wasted => None,
        };
        (piece.consumed, event)
    }

    pub(super) fn on_chunk(
        &mut self,
        mut transaction: Box<Transaction>,
        mut chunk: Chunk,
        input: &[u8],
    ) -> (usize, Option<Event>) {
        if chunk.left == 0 {
            return (0, self.on_chunk_end(transaction, chunk));
        }
        let input = &input[..input.len().min(usize::try_from(chunk.left).unwrap_or(usize::MAX))];
        if input.is_empty() {
            self.phase = Phase::Chunk(transaction, chunk);
            return (0, Some(Event::NeedInput));
        }
        let piece = transaction.scanner.scan(input);
        chunk.left -= piece.consumed as u64;
        self.pace.octets += piece.consumed as u64;
        let receipt = transaction.receive(input, &piece.keep, piece.insert, &self.profile.rules);
        if self.is_beyond_waiting(transaction.wasted) {
            return (input.len(), self.on_too_much(transaction));
        }
        self.phase = Phase::Chunk(transaction, chunk);
        let event = match receipt {
            Receipt::Kept if piece.keep.is_empty() && piece.insert.is_empty() => None,
            Receipt::Kept => Some(Event::Body { keep: piece.keep, insert: piece.insert }),
            Receipt::Spoilt => Some(Event::Abandon),
            Receipt::Wasted => None,
        };
        (piece.consumed, event)
    }

    fn on_chunk_end(&mut self, mut transaction: Box<Transaction>, chunk: Chunk) -> Option<Event> {
        if let Some(refusal) = transaction.refusal.take() {
            self.phase = Phase::Ready;
            self.refuse_transaction("BDAT", refusal, &transaction);
            return Some(Event::Abandon);
        }
        if !chunk.last {
            // Writing to a Vec cannot fail.
            let _ = write!(self.out, "250 2.0.0 {} octets received\r\n", chunk.size);
            self.phase = Phase::Chunking(transaction);
            return None;
        }
        let insert = transaction.scanner.finish();
        transaction.refusal = transaction.judge(&self.profile.rules);
        self.phase = Phase::Whole(transaction);
        (!insert.is_empty()).then_some(Event::Body { keep: 0..0, insert })
    }

    /// The client goes on and on with a message that will be refused.
    fn on_too_much(&mut self, mut transaction: Box<Transaction>) -> Option<Event> {
        let refusal = transaction.refusal.take().unwrap_or(TOO_LARGE);
        self.refuse_transaction("DATA", refusal, &transaction);
        self.phase = Phase::Closed;
        None
    }

    /// All content is there: hands it to the driver, or says why not.
    pub(super) fn on_content_end(&mut self, mut transaction: Box<Transaction>) -> Option<Event> {
        let replies = match self.rules().flavour {
            Flavour::Smtp => 1,
            Flavour::Lmtp => u32::try_from(transaction.envelope.recipients.len()).unwrap_or(u32::MAX),
        };
        let trap = transaction.trap();
        if trap == Trap::Sprung {
            transaction.refusal = Some(BARE);
        }
        self.phase = Phase::Ready;
        if let Some(refusal) = transaction.refusal.take() {
            for _ in 1..replies {
                self.write_refusal(&refusal);
            }
            self.refuse_transaction("DATA", refusal, &transaction);
            if trap == Trap::Sprung {
                self.phase = Phase::Closed;
            }
            return Some(Event::Abandon);
        }
        transaction.finish();
        self.phase = Phase::Storing { replies };
        Some(Event::Complete(transaction))
    }
}
