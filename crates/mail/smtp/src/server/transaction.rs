//! One mail transaction: envelope and content on their way in (RFC 5321 §3.3).

use super::{Refusal, Rules};
use crate::headers::{HeaderFindings, HeaderWatch};
use crate::scanner::{DataScanner, Findings, Framing, LineEndings, Trap};
use message::{BodyType, Dots, Envelope, Protocol};
use std::ops::Range;

/// See the module.
#[derive(Debug)]
pub struct Transaction {
    /// Who sends to whom; of a whole transaction it has at least one recipient.
    pub envelope: Envelope,
    /// What the client speaks.
    pub protocol: Protocol,
    pub(super) scanner: DataScanner,
    pub(super) headers: HeaderWatch,
    /// Recipients that were refused because there were too many.
    pub(super) excess_recipients: u32,
    /// Why the message will be refused at its end.
    pub(super) refusal: Option<Refusal>,
    /// Octets that came after that was known.
    pub(super) wasted: u64,
}

/// How content comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transfer {
    Data,
    Chunk(Chunk),
}

/// A chunk under way (RFC 3030).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) size: u64,
    pub(super) left: u64,
    pub(super) last: bool,
}

/// Whether octets of content are wanted.
pub(super) enum Receipt {
    /// They are content.
    Kept,
    /// They are the first that show that the message is to be refused.
    Spoilt,
    /// The message will be refused; they are gone.
    Wasted,
}

pub(super) const TOO_LARGE: Refusal = Refusal::new(552, "5.3.4 message size limit exceeded");
pub(super) const BARE: Refusal = Refusal::new(550, "5.6.11 bare CR or LF in message, lines must end with CRLF");

impl Transaction {
    pub(super) fn new(envelope: Envelope, protocol: Protocol) -> Self {
        Self {
            envelope,
            protocol,
            scanner: DataScanner::new(Framing::Dots, LineEndings::Reject),
            headers: HeaderWatch::default(),
            excess_recipients: 0,
            refusal: None,
            wasted: 0,
        }
    }

    /// What the content looked like so far.
    pub fn findings(&self) -> Findings {
        self.scanner.findings()
    }

    /// What its header section held.
    pub fn header(&self) -> HeaderFindings {
        self.headers.findings()
    }

    /// Whether sending it by DATA must look for leading dots.
    pub fn dots(&self) -> Dots {
        if self.findings().dots { Dots::Some } else { Dots::None }
    }

    /// The reverse-path as the reject log writes it.
    pub(super) fn sender_text(&self) -> &str {
        self.envelope.sender.as_ref().map_or("", |address| address.as_str())
    }

    /// Content is about to come.
    pub(super) fn begin(&mut self, framing: Framing, rules: &Rules) {
        let line_endings = match (framing, self.envelope.body_type) {
            (Framing::Counted, BodyType::Binary) => LineEndings::Keep,
            _ => rules.line_endings,
        };
        self.scanner = DataScanner::new(framing, line_endings);
    }

    /// Takes note of a piece of content and holds it against the limits.
    pub(super) fn receive(&mut self, input: &[u8], keep: &Range<usize>, insert: &[u8], rules: &Rules) -> Receipt {
        if self.refusal.is_some() {
            self.wasted += (keep.len() + insert.len()) as u64;
            return Receipt::Wasted;
        }
        if !self.headers.is_ended() {
            self.headers.watch(&input[keep.clone()]);
            self.headers.watch(insert);
        }
        self.refusal = self.judge(rules);
        if self.refusal.is_some() { Receipt::Spoilt } else { Receipt::Kept }
    }

    /// The first limit that the content breaks.
    pub(super) fn judge(&self, rules: &Rules) -> Option<Refusal> {
        let findings = self.scanner.findings();
        let header = self.headers.findings();
        match () {
            () if findings.size > rules.message_bytes_max => Some(TOO_LARGE),
            () if findings.bare && rules.line_endings == LineEndings::Reject => Some(BARE),
            () if findings.longest_line > rules.text_line_max => Some(Refusal::new(554, "5.6.0 line too long")),
            () if header.received > rules.received_max => Some(Refusal::new(554, "5.4.6 too many hops, mail loop")),
            () if header.octets > rules.header_bytes_max => Some(Refusal::new(554, "5.6.0 header section too large")),
            () if header.fields > rules.header_fields_max => Some(Refusal::new(554, "5.6.0 too many header fields")),
            () => None,
        }
    }

    /// The content is whole. Content above 127 makes the message 8-bit, whatever MAIL said.
    pub(super) fn finish(&mut self) {
        if self.findings().eight_bit && self.envelope.body_type == BodyType::SevenBit {
            self.envelope.body_type = BodyType::EightBit;
        }
    }

    pub(super) fn trap(&self) -> Trap {
        self.scanner.trap()
    }
}
