//! The server side of SMTP and LMTP: one session as a state machine (RFC 5321, RFC 2033, RFC 3030).
//!
//! Reception's driver owns the socket; the session owns the rules. Octets and `now` come in, replies go to
//! [`Session::out`], and [`Session::step`] says what else there is to do. It never copies content, never waits, never
//! looks at a clock.
//!
//! ```text
//!  Connecting ─► Waiting ─► Ready ◄──────────────────────────────┐
//!      (Ask)               │  ▲ EHLO                             │
//!                     MAIL ▼  │ RSET, EHLO                       │ stored
//!                        Mailing ◄─┐ RCPT                        │
//!                  DATA │    │ BDAT└─┘                           │
//!                       ▼    ▼                                   │
//!                     Data  Chunk ◄─► Chunking                   │
//!                       └─┬──┘                                   │
//!                         ▼                                      │
//!                       Whole ─► Complete ─► Storing ────────────┘      anything ─► Closed
//! ```
//! Each question ([`Event::Ask`]) is a state of its own, so that an answer may take its time.

mod commands;
mod content;
mod deadline;
mod event;
mod exercise;
mod line;
mod profile;
mod refusal;
mod transaction;

pub use event::{Decision, Ending, Event, Question, Step};
pub use exercise::{exercise_grammar, exercise_session};
pub use profile::{EarlyTalker, Flavour, Profile, Rules};
pub use refusal::{Refusal, Refused};
pub use transaction::Transaction;

use crate::grammar::{Extensions, Greeting};
use line::LineState;
use message::{MessageId, Protocol, Recipient, Utf8};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;
use transaction::{Chunk, Transfer};

/// See the module. Idle, it holds the client's name, counters and nothing else.
#[derive(Debug)]
pub struct Session {
    profile: Arc<Profile>,
    phase: Phase,
    /// Replies that have not left yet. The driver writes them when the input is used up, and empties it.
    pub out: Vec<u8>,
    hello: Option<Hello>,
    line: LineState,
    counts: Counts,
    /// Why it ends, once it does.
    ending: Ending,
    /// Refusals that the driver has not been told of.
    refused: Vec<Refused>,
    life: Life,
    started: Instant,
    /// The last time that input was used or a reply was owed.
    active: Instant,
    pace: Pace,
}

/// What the session is waiting for.
#[derive(Debug)]
enum Phase {
    /// [`Question::Connect`] is open.
    Connecting,
    /// The greeting is held back.
    Waiting { greet_at: Instant },
    /// Between transactions.
    Ready,
    /// [`Question::Greeting`] is open.
    Greeting(Hello),
    /// [`Question::Sender`] is open.
    Opening(Box<Transaction>),
    /// A sender and any number of recipients.
    Mailing(Box<Transaction>),
    /// [`Question::Recipient`] is open.
    Addressing(Box<Transaction>, Recipient),
    /// [`Question::Content`] is open.
    Beginning(Box<Transaction>, Transfer),
    /// Content by DATA.
    Data(Box<Transaction>),
    /// Content of a chunk.
    Chunk(Box<Transaction>, Chunk),
    /// Between two chunks.
    Chunking(Box<Transaction>),
    /// A chunk that nobody wants.
    Discarding(Box<Discard>),
    /// All content is there, and the driver has it.
    Whole(Box<Transaction>),
    /// The driver stores it; this many replies are owed.
    Storing { replies: u32 },
    /// Nothing will be said any more.
    Closed,
}

/// A chunk of a refused transaction: its octets are not commands (RFC 3030 §4.2).
#[derive(Debug)]
struct Discard {
    left: u64,
    refusal: Refusal,
    back: Option<Box<Transaction>>,
}

#[derive(Clone, Debug)]
struct Hello {
    greeting: Greeting,
    name: Box<str>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    messages: u32,
    recipients: u32,
    /// Since the last message.
    errors: u32,
    unknown: u32,
    idle: u32,
}

/// Whether the session may begin further transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Serving,
    Draining,
}

/// How fast content comes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Instant,
    octets: u64,
}

const DRAINING: Refusal = Refusal::new(421, "4.3.2 service shutting down, closing connection");

impl Session {
    /// A session that has just been accepted. The first [`Session::step`], with no input, asks [`Question::Connect`].
    pub fn new(profile: Arc<Profile>, now: Instant) -> Self {
        Self {
            profile,
            phase: Phase::Connecting,
            out: Vec::new(),
            hello: None,
            line: LineState::Fresh,
            counts: Counts::default(),
            ending: Ending::Imposed,
            refused: Vec::new(),
            life: Life::Serving,
            started: now,
            active: now,
            pace: Pace { since: now, octets: 0 },
        }
    }

    /// The client's name, or nothing before its greeting.
    pub fn hello_name(&self) -> &str {
        self.hello.as_ref().map_or("", |hello| &hello.name)
    }

    /// What is being spoken, before a transaction says more.
    pub fn protocol(&self) -> Protocol {
        match self.hello.as_ref().map(|hello| hello.greeting) {
            Some(Greeting::Ehlo) => Protocol::Esmtp,
            Some(Greeting::Lhlo) => Protocol::Lmtp,
            Some(Greeting::Helo) | None => Protocol::Smtp,
        }
    }

    /// Recipients of the transaction so far.
    pub fn recipients(&self) -> usize {
        self.transaction().map_or(0, |transaction| transaction.envelope.recipients.len())
    }

    /// Messages accepted so far.
    pub fn messages(&self) -> u32 {
        self.counts.messages
    }

    /// Whether nothing is under way, so that the session could be ended without loss.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. } | Phase::Ready | Phase::Closed)
    }

    /// Whether the end has been said.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Looks at `input`: all octets that came and were not consumed. Call it with the rest until it wants input.
    pub fn step(&mut self, now: Instant, input: &[u8]) -> Step {
        let mut consumed = 0;
        loop {
            if !self.refused.is_empty() {
                return Step { consumed, event: Event::Refused(self.refused.remove(0)) };
            }
            let (used, event) = self.advance(now, &input[consumed..]);
            if used > 0 {
                self.active = now;
            }
            let base = consumed;
            consumed += used;
            match event {
                None => {}
                Some(Event::Body { keep, insert }) => {
                    let keep = base + keep.start..base + keep.end;
                    return Step { consumed, event: Event::Body { keep, insert } };
                }
                Some(event) => return Step { consumed, event },
            }
        }
    }

    /// One command, one piece of content, or the answer that is owed: octets used, and what the driver must know.
    fn advance(&mut self, now: Instant, input: &[u8]) -> (usize, Option<Event>) {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Closed => (input.len(), Some(Event::Close(self.ending))),
            Phase::Storing { replies } => {
                self.phase = Phase::Storing { replies };
                (0, Some(Event::Waiting))
            }
            Phase::Whole(transaction) => (0, self.on_content_end(transaction)),
            Phase::Data(transaction) => self.on_data(transaction, input),
            Phase::Chunk(transaction, chunk) => self.on_chunk(transaction, chunk, input),
            Phase::Discarding(discard) => self.on_discard(discard, input),
            Phase::Waiting { greet_at } => self.on_early_input(now, greet_at, input),
            Phase::Ready if self.life == Life::Draining => {
                self.close(DRAINING, "connect");
                (0, None)
            }
            phase @ (Phase::Ready | Phase::Mailing(_) | Phase::Chunking(_)) => {
                self.phase = phase;
                self.on_command_octets(now, input)
            }
            asking => {
                self.phase = asking;
                (0, Some(Event::Ask))
            }
        }
    }

    /// The question that [`Event::Ask`] announced.
    pub fn question(&self) -> Option<Question<'_>> {
        match &self.phase {
            Phase::Connecting => Some(Question::Connect),
            Phase::Greeting(hello) => Some(Question::Greeting(hello.greeting, &hello.name)),
            Phase::Opening(transaction) => Some(Question::Sender(transaction)),
            Phase::Addressing(transaction, recipient) => Some(Question::Recipient(transaction, recipient)),
            Phase::Beginning(transaction, _) => Some(Question::Content(transaction)),
            _ => None,
        }
    }

    /// Answers [`Session::question`]; without one it does nothing.
    pub fn answer(&mut self, now: Instant, decision: Decision) {
        self.active = now;
        let phase = std::mem::replace(&mut self.phase, Phase::Closed);
        match (phase, decision) {
            (Phase::Connecting, Decision::Refuse(refusal)) => self.close(refusal, "connect"),
            (Phase::Connecting, _) => self.on_connect(now),
            (Phase::Greeting(_), Decision::Refuse(refusal)) => {
                self.phase = Phase::Ready;
                self.refuse("EHLO", refusal);
            }
            (Phase::Greeting(hello), _) => self.on_greeted(hello),
            (Phase::Opening(transaction), Decision::Refuse(refusal)) => {
                self.phase = Phase::Ready;
                self.refuse_transaction("MAIL FROM", refusal, &transaction);
            }
            (Phase::Opening(transaction), _) => {
                self.phase = Phase::Mailing(transaction);
                self.out.extend_from_slice(b"250 2.1.0 OK\r\n");
            }
            (Phase::Addressing(transaction, recipient), Decision::Refuse(refusal)) => {
                self.phase = Phase::Mailing(transaction);
                self.refuse_recipient(refusal, recipient.address.as_str());
            }
            (Phase::Addressing(transaction, recipient), Decision::Redirect(address)) => {
                self.on_recipient(transaction, Recipient { address, ..recipient });
            }
            (Phase::Addressing(transaction, recipient), Decision::Accept) => self.on_recipient(transaction, recipient),
            (Phase::Beginning(transaction, transfer), Decision::Refuse(refusal)) => {
                self.on_content_refused(transaction, transfer, refusal);
            }
            (Phase::Beginning(transaction, transfer), _) => self.on_content_begin(now, transaction, transfer),
            (other, _) => self.phase = other,
        }
    }

    /// What became of the message of [`Event::Complete`].
    pub fn stored(&mut self, now: Instant, result: Result<MessageId, Refusal>) {
        let Phase::Storing { replies } = self.phase else { return };
        self.phase = Phase::Ready;
        self.active = now;
        match result {
            Ok(id) => {
                let kept = Counts { errors: 0, unknown: 0, idle: 0, ..self.counts };
                self.counts = Counts { messages: kept.messages.saturating_add(1), ..kept };
                for _ in 0..replies {
                    self.out.extend_from_slice(b"250 2.0.0 OK ");
                    self.out.extend_from_slice(&id.legacy().text());
                    self.out.extend_from_slice(b"\r\n");
                }
            }
            Err(refusal) => {
                for _ in 1..replies {
                    self.write_refusal(&refusal);
                }
                self.refuse("DATA", refusal);
            }
        }
    }

    /// The server is stopping: ends the session now if nothing is under way, else behind the transaction.
    pub fn handle_drain(&mut self) {
        self.life = Life::Draining;
        if matches!(self.phase, Phase::Ready | Phase::Waiting { .. }) {
            self.close(DRAINING, "connect");
        }
    }

    /// The server cannot wait any longer. A message that is being stored is left to its answer.
    pub fn handle_drain_deadline(&mut self) {
        self.life = Life::Draining;
        if !matches!(self.phase, Phase::Storing { .. } | Phase::Closed) {
            self.close(DRAINING, "connect");
        }
    }

    /// The client will send no more. What was begun is dropped.
    pub fn handle_eof(&mut self) {
        if !matches!(self.phase, Phase::Storing { .. } | Phase::Closed) {
            self.ending = Ending::Agreed;
            self.phase = Phase::Closed;
        }
    }

    fn rules(&self) -> &Rules {
        &self.profile.rules
    }

    /// What the client may use.
    fn extensions(&self) -> Extensions {
        match self.hello.as_ref().map(|hello| hello.greeting) {
            Some(Greeting::Ehlo | Greeting::Lhlo) => self.rules().extensions,
            Some(Greeting::Helo) | None => Extensions::NONE,
        }
    }

    fn protocol_of(&self, utf8: Utf8) -> Protocol {
        match (self.protocol(), utf8) {
            (Protocol::Esmtp, Utf8::Yes) => Protocol::Utf8Smtp,
            (protocol, _) => protocol,
        }
    }

    fn write_refusal(&mut self, refusal: &Refusal) {
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "{} {}\r\n", refusal.code(), refusal.text());
    }

    /// Refuses a command outside or inside a transaction; the phase must be the one to go on with.
    fn refuse(&mut self, phase: &'static str, refusal: Refusal) {
        let sender = self.transaction().map(|transaction| transaction.sender_text().into());
        self.refuse_as(Refused { phase, refusal, sender, recipient: None });
    }

    fn refuse_recipient(&mut self, refusal: Refusal, recipient: &str) {
        let sender = self.transaction().map(|transaction| transaction.sender_text().into());
        self.refuse_as(Refused { phase: "RCPT TO", refusal, sender, recipient: Some(recipient.into()) });
    }

    fn refuse_transaction(&mut self, phase: &'static str, refusal: Refusal, transaction: &Transaction) {
        let sender = Some(transaction.sender_text().into());
        self.refuse_as(Refused { phase, refusal, sender, recipient: None });
    }

    /// Replies, records and counts; too many refusals end the session.
    fn refuse_as(&mut self, refused: Refused) {
        let phase = refused.phase;
        self.refuse_uncounted(refused);
        self.counts.errors += 1;
        if !self.is_closed() && self.counts.errors >= self.rules().errors_max {
            self.close(Refusal::new(421, "4.7.0 too many errors, closing connection"), phase);
        }
    }

    /// Replies and records what is no error of the client's.
    fn refuse_uncounted(&mut self, refused: Refused) {
        self.write_refusal(&refused.refusal);
        if refused.refusal.closes() {
            self.phase = Phase::Closed;
        }
        self.refused.push(refused);
    }

    /// The last words.
    fn close(&mut self, refusal: Refusal, phase: &'static str) {
        self.write_refusal(&refusal);
        let sender = self.transaction().map(|transaction| transaction.sender_text().into());
        self.refused.push(Refused { phase, refusal, sender, recipient: None });
        self.phase = Phase::Closed;
    }

    fn transaction(&self) -> Option<&Transaction> {
        match &self.phase {
            Phase::Opening(transaction)
            | Phase::Mailing(transaction)
            | Phase::Addressing(transaction, _)
            | Phase::Beginning(transaction, _)
            | Phase::Data(transaction)
            | Phase::Chunk(transaction, _)
            | Phase::Chunking(transaction)
            | Phase::Whole(transaction) => Some(transaction),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<Session>() <= 320, "{}", size_of::<Session>());
        assert!(size_of::<Transaction>() <= 512, "{}", size_of::<Transaction>());
    }
}
