//! The client side of SMTP (RFC 5321) and LMTP (RFC 2033): one connection as a state machine. Octets, events and `now`
//! come in; output, verdicts and a deadline go out. No socket, no clock, no octet of a body.
//!
//! ```text
//!  driver                                  Client
//!    connect, new(now) ───────────────────►  greeting, EHLO
//!    handle_bytes(now, octets) ───────────►  replies meet the commands they answer, in a FIFO
//!    poll_event() ◄───────────────────────   Ready │ Recipient verdict │ TransactionDone │ Closed
//!    begin(transaction) while can_begin() ►  checks it against what the peer offers
//!    poll_output(now, &mut output) ◄──────   commands │ content of n │ commands …: one vectored write
//!    handle_sent(now, ..) ────────────────►
//!    poll_deadline() → handle_timeout(now)
//! ```
//!
//! With PIPELINING a transaction's commands leave in one write, and the next transaction's MAIL to DATA ride behind the
//! content before (RFC 2920 §3.1), so a message on a busy connection costs one write and one read. With CHUNKING too,
//! a small message leaves whole at once. To a peer without PIPELINING one command goes at a time.
//!
//! Every recipient of a transaction that was begun gets exactly one verdict, whatever the peer says or does. 2yz behind
//! the content is the only way to [`Verdict::Delivered`]. When the connection ends, the transaction the peer was busy
//! with fails for now; what was begun behind it is [`Verdict::Untried`].
//!
//! Budget: a waiting connection holds under 1 KiB and no buffer; a delivered recipient costs one allocation (its reply).

mod capabilities;
mod command;
mod content;
mod ending;
mod output;
mod replies;
mod settings;
mod transaction;

#[cfg(test)]
mod tests;

pub use capabilities::{Capabilities, Extension};
pub use content::{Framing, Piece as ContentPiece, Stuffing};
pub use ending::{Ending, Garble};
pub use output::{Output, Piece};
pub use settings::{Ahead, Dialect, Grouping, Settings, Timeouts};
pub use transaction::{Transaction, TransactionId};

use crate::reply::ReplyReader;
use message::{Reply, Stage, Verdict};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use transaction::{ContentState, Mail, Next, Open, Seat, SeatState};

/// Transactions under way at most: the one whose content is leaving and the one behind it.
const OPEN_MAX: usize = 2;

/// One client connection. See the module.
#[derive(Debug)]
pub struct Client {
    settings: Arc<Settings>,
    phase: Phase,
    peer: Capabilities,
    reader: ReplyReader,
    /// Commands that were written, in order, whose replies are owed.
    expected: VecDeque<Step>,
    open: VecDeque<Open>,
    events: VecDeque<ClientEvent>,
    deadline: Option<Instant>,
    output: OutputState,
    peer_state: PeerState,
    /// Transactions that ended with the peer's replies.
    completed: u32,
    begun: u32,
}

/// What happened on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// Greeting and EHLO are done: transactions may begin. Once, the first event if it comes at all.
    Ready,
    /// What became of a recipient.
    Recipient {
        /// Of this transaction.
        transaction: TransactionId,
        /// Which recipient of the envelope.
        recipient: u16,
        /// What became of it.
        verdict: Verdict,
        /// Where in the conversation.
        stage: Stage,
        /// What the peer, or we, said.
        reply: Reply,
    },
    /// Every recipient of the transaction has its verdict, and the peer owes it no reply.
    TransactionDone(TransactionId),
    /// The connection is over and is to be closed. The last event.
    Closed(Ending),
}

/// What of an output was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Some octets: the peer takes them.
    Some,
    /// The content of this transaction and all before it.
    Content(TransactionId),
    /// All of it.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    EhloDue,
    HeloDue,
    Hello,
    Ready,
    QuitDue,
    Quitting,
    Closed,
}

/// Whether the last output has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutputState {
    Leaving,
    Written,
}

/// Whether the peer may hold a transaction that RSET must clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerState {
    Clean,
    Mailing,
}

/// The command, of the oldest transaction or of none, to which a reply is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Greeting,
    Ehlo,
    Helo,
    Reset,
    Mail,
    Rcpt(u16),
    Data,
    /// The reply behind the content, for all accepted recipients.
    Confirmation(Framing),
    /// LMTP's reply behind the content for this seat.
    SeatConfirmation(u16),
    Quit,
}

impl Client {
    /// A connection that has just been made: the peer's greeting is awaited.
    pub fn new(now: Instant, settings: Arc<Settings>) -> Self {
        let mut client = Self {
            settings,
            phase: Phase::Greeting,
            peer: Capabilities::default(),
            reader: ReplyReader::new(),
            expected: VecDeque::new(),
            open: VecDeque::new(),
            events: VecDeque::new(),
            deadline: None,
            output: OutputState::Written,
            peer_state: PeerState::Clean,
            completed: 0,
            begun: 0,
        };
        client.expected.push_back(Step::Greeting);
        client.rearm(now);
        client
    }

    /// What the peer offers; nothing before [`ClientEvent::Ready`].
    pub const fn peer(&self) -> &Capabilities {
        &self.peer
    }

    /// Whether the next transaction may begin now. It says so only when its commands can leave soon: work must not wait
    /// at a connection that is busy with something else.
    pub fn can_begin(&self) -> bool {
        self.phase == Phase::Ready
            && !self.is_exhausted()
            && match self.open.front() {
                None => true,
                Some(front) => {
                    self.open.len() < OPEN_MAX
                        && self.grouped()
                        && self.settings.ahead == Ahead::WithContent
                        && (front.has_left() || matches!(front.next, Next::Content(_)))
                        && (front.mail != Mail::Asked || self.completed > 0)
                }
            }
    }

    /// Whether the peer takes no further transaction on this connection (RFC 9422, MAILMAX).
    pub fn is_exhausted(&self) -> bool {
        self.peer.mails_max.is_some_and(|max| self.begun >= max)
    }

    /// Whether the connection is over; [`ClientEvent::Closed`] says why.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether no transaction is under way.
    pub fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Begins a transaction. If the peer can never take it, all its recipients fail at once; if none may begin now, all
    /// are untried.
    pub fn begin(&mut self, mut transaction: Transaction) -> TransactionId {
        let id = TransactionId(self.begun);
        self.begun = self.begun.wrapping_add(1);
        let has_room = self.phase == Phase::Ready && self.open.len() < OPEN_MAX && !transaction.recipients.is_empty();
        let unfit = match has_room {
            true => transaction.check(&self.peer).err().map(|reply| (Verdict::Permanent, reply)),
            false => Some((Verdict::Untried, Reply::new(451, "4.4.2 [internal] connection is closing"))),
        };
        let mut open = Open::new(id, transaction);
        if let Some((verdict, reply)) = unfit {
            decide_all(&mut self.events, &mut open, verdict, Stage::Idle, &reply);
            self.events.push_back(ClientEvent::TransactionDone(id));
        } else {
            self.open.push_back(open);
        }
        id
    }

    /// Says QUIT as soon as no transaction is under way and none may begin any more.
    pub fn quit(&mut self) {
        if matches!(self.phase, Phase::Ready) {
            self.phase = Phase::QuitDue;
        }
    }

    /// Adds what is to be written to `output`. To be asked after events were handled and transactions begun, and only
    /// when the output before has been sent.
    pub fn poll_output(&mut self, now: Instant, output: &mut Output) {
        let waited = !self.expected.is_empty();
        let before = output.pieces.len();
        match self.phase {
            Phase::EhloDue => {
                output.command(|out| command::ehlo(out, self.settings.dialect, &self.settings.name));
                self.expected.push_back(Step::Ehlo);
                self.phase = Phase::Hello;
            }
            Phase::HeloDue => {
                output.command(|out| command::helo(out, &self.settings.name));
                self.expected.push_back(Step::Helo);
                self.phase = Phase::Hello;
            }
            Phase::Ready => self.emit_transactions(output),
            Phase::QuitDue => {
                self.emit_transactions(output);
                if self.open.is_empty() && self.expected.is_empty() {
                    output.command(|out| command::bare(out, "QUIT"));
                    self.expected.push_back(Step::Quit);
                    self.phase = Phase::Quitting;
                }
            }
            Phase::Greeting | Phase::Hello | Phase::Quitting | Phase::Closed => {}
        }
        if output.pieces.len() > before {
            self.output = OutputState::Leaving;
            if !waited {
                self.rearm(now);
            }
        }
    }

    /// The peer took output.
    pub fn handle_sent(&mut self, now: Instant, sent: Sent) {
        for open in &mut self.open {
            let covered = match sent {
                Sent::Some => false,
                Sent::Content(id) => open.id <= id,
                Sent::All => true,
            };
            if covered && open.content == ContentState::Leaving {
                open.content = ContentState::Sent;
            }
        }
        if sent == Sent::All {
            self.output = OutputState::Written;
        }
        // A peer that takes content is not late.
        if matches!(self.expected.front(), Some(Step::Confirmation(_) | Step::SeatConfirmation(_))) {
            self.rearm(now);
        }
    }

    /// The peer sent octets.
    pub fn handle_bytes(&mut self, now: Instant, octets: &[u8]) {
        let mut input = octets;
        let mut reader = std::mem::take(&mut self.reader);
        while self.phase != Phase::Closed {
            match reader.read(&mut input) {
                Ok(Some(reply)) => self.handle_reply(now, &reply),
                Ok(None) => break,
                Err(error) => {
                    let garble = Garble::Unreadable(error);
                    self.end(Ending::Garbled { stage: self.stage(), garble });
                }
            }
        }
        self.reader = reader;
    }

    /// The peer closed or reset the connection.
    pub fn handle_closed(&mut self) {
        match self.phase {
            Phase::Quitting => self.end(Ending::Quit),
            _ => self.end(Ending::Lost { stage: self.stage() }),
        }
    }

    /// Time passed; does nothing before [`Client::poll_deadline`].
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            match self.expected.front() {
                Some(Step::Quit) => self.end(Ending::Quit),
                Some(step) => {
                    let awaited = step.awaited();
                    self.end(Ending::TimedOut { stage: self.stage(), awaited });
                }
                None => self.deadline = None,
            }
        }
    }

    /// We cannot go on, for instance because the content cannot be read: `reply` stands for it in the logs.
    pub fn abandon(&mut self, reply: Reply) {
        self.end(Ending::Abandoned { reply, stage: self.stage() });
    }

    /// When [`Client::handle_timeout`] is to be called; `None` while the peer owes nothing.
    pub const fn poll_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Where the conversation is.
    pub fn stage(&self) -> Stage {
        match self.expected.front() {
            Some(step) => step.stage(self.output, self.open.front()),
            None => match self.open.front().map(|open| open.next) {
                Some(Next::Content(_)) => Stage::AfterData,
                Some(Next::Rcpt(0)) => Stage::AfterMail,
                Some(Next::Rcpt(_) | Next::Data | Next::Chunk) => Stage::AfterRcpt,
                Some(Next::Reset | Next::Mail | Next::Reply | Next::End) | None => Stage::Idle,
            },
        }
    }

    fn grouped(&self) -> bool {
        self.settings.grouping == Grouping::Offered && self.peer.has(Extension::Pipelining)
    }

    /// The peer's time for what it owes next starts now.
    fn rearm(&mut self, now: Instant) {
        self.deadline = self.expected.front().map(|step| now + step.timeout(&self.settings.timeouts));
    }

    fn emit_transactions(&mut self, output: &mut Output) {
        for index in 0..self.open.len() {
            while self.may_emit(index) {
                self.emit(index, output);
            }
            if !self.open[index].has_left() || !self.grouped() {
                return;
            }
        }
    }

    fn may_emit(&self, index: usize) -> bool {
        let open = &self.open[index];
        match open.next {
            Next::Reply | Next::End => false,
            Next::Content(_) => true,
            Next::Reset | Next::Mail | Next::Rcpt(_) | Next::Data => self.grouped() || self.expected.is_empty(),
            Next::Chunk => {
                let whole = self.grouped() && open.goes_whole(self.settings.dialect);
                whole || open.owed == 0 && (self.grouped() || self.expected.is_empty())
            }
        }
    }

    fn emit(&mut self, index: usize, output: &mut Output) {
        let chunked = self.peer.has(Extension::Chunking);
        let open = &mut self.open[index];
        let peer = &self.peer;
        let mut expect = |step| self.expected.push_back(step);
        match open.next {
            Next::Reset => {
                // Behind a chunk that may yet be refused the peer's state is not known (RFC 3030 §2), so RSET goes first.
                if self.peer_state == PeerState::Mailing && index == 0 || index > 0 && chunked {
                    output.command(|out| command::bare(out, "RSET"));
                    expect(Step::Reset);
                    open.owed += 1;
                }
                open.next = Next::Mail;
            }
            Next::Mail => {
                let size = open.message.size();
                output.command(|out| command::mail(out, &open.message.envelope, open.body_type, size, peer));
                expect(Step::Mail);
                open.owed += 1;
                open.next = Next::Rcpt(0);
            }
            Next::Rcpt(seat) => {
                let recipient = usize::from(open.seats[usize::from(seat)].recipient);
                output.command(|out| command::rcpt(out, &open.message.envelope.recipients[recipient], peer));
                expect(Step::Rcpt(seat));
                open.owed += 1;
                open.next = match () {
                    () if usize::from(seat) + 1 < open.seats.len() => Next::Rcpt(seat + 1),
                    () if chunked => Next::Chunk,
                    () => Next::Data,
                };
            }
            Next::Data => {
                output.command(|out| command::bare(out, "DATA"));
                expect(Step::Data);
                open.owed += 1;
                open.next = Next::Reply;
            }
            Next::Chunk => {
                output.command(|out| command::bdat_last(out, open.message.size()));
                self.emit_content(index, Framing::Chunk, output);
            }
            Next::Content(framing) => self.emit_content(index, framing, output),
            Next::Reply | Next::End => {}
        }
    }

    fn emit_content(&mut self, index: usize, framing: Framing, output: &mut Output) {
        let open = &mut self.open[index];
        output.content(open.id, framing);
        (open.content, open.next) = (ContentState::Leaving, Next::Reply);
        let mut expect = |step| {
            self.expected.push_back(step);
            open.owed += 1;
        };
        match self.settings.dialect {
            Dialect::Smtp => expect(Step::Confirmation(framing)),
            Dialect::Lmtp => {
                for (number, seat) in (0..).zip(&open.seats) {
                    if seat.state == SeatState::Accepted {
                        expect(Step::SeatConfirmation(number));
                    }
                }
            }
        }
    }
}

impl Step {
    const fn timeout(self, timeouts: &Timeouts) -> Duration {
        match self {
            Self::Greeting => timeouts.greeting,
            Self::Ehlo | Self::Helo => timeouts.ehlo,
            Self::Reset => timeouts.rset,
            Self::Mail => timeouts.mail,
            Self::Rcpt(_) => timeouts.rcpt,
            Self::Data => timeouts.data,
            Self::Confirmation(_) | Self::SeatConfirmation(_) => timeouts.body,
            Self::Quit => timeouts.quit,
        }
    }

    /// The numbers of log rows: "during" while octets of the output are unwritten, "after" from then on.
    fn stage(self, output: OutputState, front: Option<&Open>) -> Stage {
        let pick = |during, after| if output == OutputState::Leaving { during } else { after };
        match self {
            Self::Greeting => Stage::Banner,
            Self::Ehlo | Self::Helo => pick(Stage::DuringEhlo, Stage::AfterEhlo),
            Self::Reset => pick(Stage::DuringRset, Stage::AfterRset),
            Self::Mail => pick(Stage::DuringMail, Stage::AfterMail),
            Self::Rcpt(_) => pick(Stage::DuringRcpt, Stage::AfterRcpt),
            Self::Data => pick(Stage::DuringData, Stage::AfterData),
            Self::Confirmation(_) | Self::SeatConfirmation(_) => match front {
                Some(open) if open.content == ContentState::Leaving => Stage::SendingBody,
                _ => Stage::ReadingConfirmation,
            },
            Self::Quit => Stage::Idle,
        }
    }

    /// What the peer did not answer, as a log's text names it.
    const fn awaited(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Ehlo => "EHLO",
            Self::Helo => "HELO",
            Self::Reset => "RSET",
            Self::Mail => "MAIL FROM",
            Self::Rcpt(_) => "RCPT TO",
            Self::Data => "DATA",
            Self::Confirmation(_) | Self::SeatConfirmation(_) => "end of DATA",
            Self::Quit => "QUIT",
        }
    }
}

/// Gives every undecided recipient of `open` the same verdict.
fn decide_all(events: &mut VecDeque<ClientEvent>, open: &mut Open, verdict: Verdict, stage: Stage, reply: &Reply) {
    let transaction = open.id;
    for seat in open.undecided() {
        decide(events, transaction, seat, verdict, stage, reply.clone());
    }
    open.accepted = 0;
}

fn decide(
    events: &mut VecDeque<ClientEvent>,
    transaction: TransactionId,
    seat: &mut Seat,
    verdict: Verdict,
    stage: Stage,
    reply: Reply,
) {
    seat.state = SeatState::Decided;
    events.push_back(ClientEvent::Recipient { transaction, recipient: seat.recipient, verdict, stage, reply });
}
