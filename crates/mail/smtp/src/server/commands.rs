//! Commands: which phase takes which, and what is replied (RFC 5321 §4.1.4 and §4.3.2).

use super::line::Taken;
use super::transaction::{Chunk, TOO_LARGE, Transfer};
use super::{Discard, Ending, Event, Flavour, Hello, Phase, Refusal, Refused, Session, Transaction};
use crate::grammar::{Command, ForwardPath, Greeting, Mail, Rcpt, ReversePath, SyntaxError, parse_command};
use crate::scanner::LineEndings;
use message::{Address, BodyType, Envelope, Recipient, Utf8};
use std::time::Instant;

const BAD_SEQUENCE: Refusal = Refusal::new(503, "5.5.1 bad sequence of commands");
const NO_RECIPIENTS: Refusal = Refusal::new(554, "5.5.1 no valid recipients");
const LINE_TOO_LONG: Refusal = Refusal::new(500, "5.5.2 command line too long");
const FLOOD: Refusal = Refusal::new(421, "4.7.0 command line too long, closing connection");
const LF_ALONE: Refusal = Refusal::new(500, "5.5.2 bare LF, lines must end with CRLF");
const TOO_MANY_RECIPIENTS: Refusal = Refusal::new(452, "4.5.3 recipients per message limit reached");
const SESSION_RECIPIENTS: Refusal = Refusal::new(452, "4.5.3 recipients per session limit reached");

/// So many times the limit may be tried before the session ends.
const EXCESS_FACTOR: u32 = 10;
/// First octet of a TLS record with a ClientHello.
const TLS_HANDSHAKE: u8 = 0x16;

impl Session {
    /// Input where a command is expected.
    pub(super) fn on_command_octets(&mut self, now: Instant, input: &[u8]) -> (usize, Option<Event>) {
        let Some(first) = input.first() else { return (0, Some(Event::NeedInput)) };
        if *first == TLS_HANDSHAKE && self.line.since().is_none() {
            self.close(Refusal::new(554, "5.7.0 no TLS on this port, closing connection"), "command");
            return (input.len(), None);
        }
        let max = self.rules().command_bytes_max;
        match self.line.take(now, input, max) {
            Taken::Line { line, used } => (used, self.on_line(now, line)),
            Taken::BareLf { line, used } if self.rules().line_endings == LineEndings::Fix => {
                (used, self.on_line(now, line))
            }
            Taken::BareLf { used, .. } => {
                self.refuse("command", LF_ALONE);
                (used, None)
            }
            Taken::Partial => (0, Some(Event::NeedInput)),
            Taken::TooLong { used } => {
                self.refuse("command", LINE_TOO_LONG);
                (used, None)
            }
            Taken::Skipped { used } => (used, None),
            Taken::Flood => {
                self.close(FLOOD, "command");
                (input.len(), None)
            }
        }
    }

    fn on_line(&mut self, now: Instant, line: &[u8]) -> Option<Event> {
        if matches!(self.phase, Phase::Ready) && now >= self.started + self.rules().session_timeout {
            self.close(Refusal::new(421, "4.4.2 session time limit reached, closing connection"), "command");
            return None;
        }
        let command = match parse_command(line, self.extensions()) {
            Ok(command) => command,
            Err(error) => {
                self.on_syntax_error(error);
                return None;
            }
        };
        let name = command.phase();
        let phase = std::mem::replace(&mut self.phase, Phase::Closed);
        match (command, phase) {
            (Command::Mail(mail), Phase::Ready) => self.on_mail(&mail),
            (Command::Rcpt(rcpt), Phase::Mailing(transaction)) => self.on_rcpt(transaction, &rcpt),
            (Command::Data, Phase::Mailing(transaction)) => self.on_data_command(transaction),
            (Command::Bdat { size, last }, phase) => self.on_bdat(phase, Chunk { size, left: size, last }),
            (Command::Greet(greeting, name), phase) => return self.on_greet(phase, greeting, name),
            (Command::Rset, phase) => return self.on_rset(phase),
            (Command::Quit, phase) => return self.on_quit(phase),
            (Command::Noop, phase) => self.on_idle_command(phase, name, "250 2.0.0 OK"),
            (Command::Vrfy, phase) => self.on_idle_command(phase, name, VRFY),
            (Command::Help, phase) => self.on_idle_command(phase, name, HELP),
            (_, phase) => {
                self.phase = phase;
                self.refuse(name, BAD_SEQUENCE);
            }
        }
        None
    }

    fn on_syntax_error(&mut self, error: SyntaxError) {
        let phase = match error {
            SyntaxError::Sender => "MAIL FROM",
            SyntaxError::Recipient => "RCPT TO",
            SyntaxError::ChunkSize => "BDAT",
            _ => "command",
        };
        self.refuse(phase, error.refusal());
        match error {
            SyntaxError::ChunkSize => self.phase = Phase::Closed,
            SyntaxError::Unknown | SyntaxError::Octet if !self.is_closed() => {
                self.counts.unknown += 1;
                if self.counts.unknown >= self.rules().unknown_max {
                    self.close(Refusal::new(421, "4.7.0 too many unknown commands, closing connection"), phase);
                }
            }
            _ => {}
        }
    }

    /// Counts a command that leads nowhere; `true` if there were too many.
    fn is_idling(&mut self, phase: &'static str) -> bool {
        self.counts.idle += 1;
        let over = self.counts.idle > self.rules().idle_commands_max;
        if over {
            self.close(Refusal::new(421, "4.7.0 too many commands without a message, closing connection"), phase);
        }
        over
    }

    fn on_idle_command(&mut self, phase: Phase, name: &'static str, reply: &str) {
        self.phase = phase;
        if !self.is_idling(name) {
            self.out.extend_from_slice(reply.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn on_greet(&mut self, phase: Phase, greeting: Greeting, name: &str) -> Option<Event> {
        let fits = match self.rules().flavour {
            Flavour::Smtp => greeting != Greeting::Lhlo,
            Flavour::Lmtp => greeting == Greeting::Lhlo,
        };
        if !fits {
            self.phase = phase;
            self.refuse("command", SyntaxError::Unknown.refusal());
            return None;
        }
        let event = abandoned(&phase);
        if self.hello.is_some() && self.is_idling("EHLO") {
            return event;
        }
        self.phase = Phase::Greeting(Hello { greeting, name: name.into() });
        event
    }

    /// The client's name was taken: a new beginning (RFC 5321 §4.1.4).
    pub(super) fn on_greeted(&mut self, hello: Hello) {
        let reply = match hello.greeting {
            Greeting::Helo => &self.profile.hello,
            Greeting::Ehlo | Greeting::Lhlo => &self.profile.extended_hello,
        };
        self.out.extend_from_slice(reply.as_bytes());
        self.hello = Some(hello);
        self.phase = Phase::Ready;
    }

    fn on_rset(&mut self, phase: Phase) -> Option<Event> {
        let event = abandoned(&phase);
        self.phase = Phase::Ready;
        if !self.is_idling("RSET") {
            self.out.extend_from_slice(b"250 2.0.0 OK\r\n");
        }
        event
    }

    fn on_quit(&mut self, phase: Phase) -> Option<Event> {
        self.out.extend_from_slice(b"221 2.0.0 closing connection\r\n");
        self.ending = Ending::Agreed;
        abandoned(&phase)
    }

    fn on_mail(&mut self, mail: &Mail<'_>) {
        self.phase = Phase::Ready;
        let rules = self.rules();
        let (messages_max, bytes_max) = (rules.messages_max, rules.message_bytes_max);
        let refusal = match (mail.path, mail.size) {
            _ if rules.require_greeting && self.hello.is_none() => Some(Refusal::new(503, "5.5.1 greet first")),
            _ if messages_max > 0 && self.counts.messages >= messages_max => {
                Some(Refusal::new(421, "4.7.0 messages per session limit reached, closing connection"))
            }
            (ReversePath::Null, _) if !rules.allow_null_sender => {
                Some(Refusal::new(550, "5.7.1 null reverse-path not accepted"))
            }
            (_, Some(size)) if size > bytes_max => Some(TOO_LARGE),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return self.refuse("MAIL FROM", refusal);
        }
        let sender = match mail.path {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => match mailbox.to_address() {
                Ok(address) => Some(address),
                Err(_) => return self.refuse("MAIL FROM", SyntaxError::Sender.refusal()),
            },
        };
        let envelope = Envelope {
            sender,
            recipients: Vec::new(),
            body_type: mail.body.unwrap_or_default(),
            utf8: mail.utf8,
            ret: mail.ret,
            envid: mail.envid.map(Box::from),
        };
        let protocol = self.protocol_of(mail.utf8);
        self.phase = Phase::Opening(Box::new(Transaction::new(envelope, protocol)));
    }

    fn on_rcpt(&mut self, mut transaction: Box<Transaction>, rcpt: &Rcpt<'_>) {
        let rules = self.rules();
        let taken = u32::try_from(transaction.envelope.recipients.len()).unwrap_or(u32::MAX);
        let session_max = rules.session_recipients_max;
        let refusal = match () {
            () if taken >= rules.recipients_max => TOO_MANY_RECIPIENTS,
            () if session_max > 0 && self.counts.recipients >= session_max => SESSION_RECIPIENTS,
            () => return self.on_rcpt_within_limits(transaction, rcpt),
        };
        transaction.excess_recipients += 1;
        let over = transaction.excess_recipients > rules.recipients_max.saturating_mul(EXCESS_FACTOR);
        let sender = Some(transaction.sender_text().into());
        self.phase = Phase::Mailing(transaction);
        if over {
            return self.close(Refusal::new(421, "4.7.0 too many recipients, closing connection"), "RCPT TO");
        }
        // Told so, clients send the rest in another transaction (RFC 5321 §4.5.3.1.10): no error of theirs.
        self.refuse_uncounted(Refused { phase: "RCPT TO", refusal, sender, recipient: None });
    }

    fn on_rcpt_within_limits(&mut self, transaction: Box<Transaction>, rcpt: &Rcpt<'_>) {
        let address = match rcpt.path {
            ForwardPath::Postmaster => Address::new("postmaster", ""),
            ForwardPath::Mailbox(mailbox) => mailbox.to_address(),
        };
        let refusal = match &address {
            Err(_) => Some(SyntaxError::Recipient.refusal()),
            Ok(_) if !rcpt.is_ascii() && transaction.envelope.utf8 == Utf8::No => {
                Some(SyntaxError::Utf8NotAsked.refusal())
            }
            Ok(_) => None,
        };
        match (address, refusal) {
            (Ok(address), None) => {
                let recipient = Recipient { address, notify: rcpt.notify, orcpt: rcpt.orcpt.map(Box::from) };
                self.phase = Phase::Addressing(transaction, recipient);
            }
            (_, refusal) => {
                self.phase = Phase::Mailing(transaction);
                self.refuse("RCPT TO", refusal.unwrap_or(BAD_SEQUENCE));
            }
        }
    }

    /// The recipient may be sent to.
    pub(super) fn on_recipient(&mut self, mut transaction: Box<Transaction>, recipient: Recipient) {
        transaction.envelope.recipients.push(recipient);
        self.counts.recipients = self.counts.recipients.saturating_add(1);
        self.phase = Phase::Mailing(transaction);
        self.out.extend_from_slice(b"250 2.1.5 OK\r\n");
    }

    fn on_data_command(&mut self, transaction: Box<Transaction>) {
        let refusal = match () {
            () if transaction.envelope.recipients.is_empty() => Some(NO_RECIPIENTS),
            () if transaction.envelope.body_type == BodyType::Binary => {
                Some(Refusal::new(503, "5.5.1 BODY=BINARYMIME wants BDAT"))
            }
            () => None,
        };
        match refusal {
            Some(refusal) => {
                self.phase = Phase::Mailing(transaction);
                self.refuse("DATA", refusal);
            }
            None => self.phase = Phase::Beginning(transaction, Transfer::Data),
        }
    }

    /// A chunk follows, whatever becomes of it (RFC 3030 §2).
    fn on_bdat(&mut self, phase: Phase, chunk: Chunk) {
        let offered = self.extensions().chunking;
        match phase {
            Phase::Mailing(transaction) if offered && !transaction.envelope.recipients.is_empty() => {
                self.phase = Phase::Beginning(transaction, Transfer::Chunk(chunk));
            }
            Phase::Chunking(transaction) => self.on_chunk_begin(transaction, chunk),
            Phase::Mailing(transaction) => {
                let refusal = if offered { NO_RECIPIENTS } else { BAD_SEQUENCE };
                self.discard(Discard { left: chunk.size, refusal, back: Some(transaction) });
            }
            _ => self.discard(Discard { left: chunk.size, refusal: BAD_SEQUENCE, back: None }),
        }
    }
}

const VRFY: &str = "252 2.5.0 cannot verify, but will take a message and try";
const HELP: &str = "214 2.0.0 EHLO HELO LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT, see RFC 5321";

/// What the driver must know when a phase is left for good.
fn abandoned(phase: &Phase) -> Option<Event> {
    matches!(phase, Phase::Chunking(_)).then_some(Event::Abandon)
}
