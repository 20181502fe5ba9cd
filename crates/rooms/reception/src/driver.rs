//! Drives one session: moves octets between its socket and its state machine, keeps content, stores messages.
//!
//! It has no rules of its own; those are in `smtp`, in `relay` and in the configuration.

use crate::Onward;
use crate::answer::answer;
use crate::content::{Content, Whole};
use crate::reception::{Room, Seated};
use crate::relay::Client;
use crate::socket::{Socket, Wake};
use crate::terms::{Proxy, Terms};
use crate::trace::Trace;
use fabric::Slice;
use message::{Address, EventSink, Message, MessageId, Reception, Spool, SpoolStream, StoreError};
use smtp::proxy::{self, Proxied};
use smtp::server::{Ending, Event, Refusal, Refused, Session, Transaction};
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// See the module.
pub(crate) struct Driver<S: Spool, E, O> {
    room: Rc<Room<S, E, O>>,
    terms: Rc<Terms>,
    seated: Seated,
    socket: Socket,
    session: Session,
    client: Client,
    connection: MessageId,
    /// The beginning of a command line; empty most of the time.
    remainder: Vec<u8>,
    content: Content<S::Stream>,
    ending: Option<Ending>,
}

/// What the session looks at.
enum Input<'a> {
    Window(&'a Slice),
    Line(&'a [u8]),
}

impl Input<'_> {
    fn octets(&self) -> &[u8] {
        match self {
            Self::Window(slice) => slice,
            Self::Line(line) => line,
        }
    }

    fn piece(&self, range: Range<usize>) -> Slice {
        match self {
            Self::Window(slice) => slice.slice(range),
            Self::Line(line) => Slice::copy_from(&line[range]),
        }
    }
}

/// Whether the session's deadline has passed.
enum Overdue {
    Yes,
    No,
}

/// Buffers of an idle session that are larger are given back, octets.
const IDLE_BUFFER_MAX: usize = 512;

impl<S: Spool, E: EventSink, O: Onward> Driver<S, E, O> {
    pub(crate) fn new(room: Rc<Room<S, E, O>>, terms: Rc<Terms>, seated: Seated, socket: Socket) -> Self {
        let session = Session::new(terms.profile.clone(), room.context.now());
        let client = terms.relay.client(seated.peer.ip());
        let connection = room.next_id(1);
        let (remainder, content) = (Vec::new(), Content::default());
        Self { room, terms, seated, socket, session, client, connection, remainder, content, ending: None }
    }

    /// The whole session.
    pub(crate) async fn run(&mut self) {
        if let Some(proxy) = &self.terms.clone().proxy
            && !self.learn_client(proxy).await
        {
            return;
        }
        self.pump_remainder().await;
        loop {
            if self.flush().await.is_err() {
                return;
            }
            match self.ending {
                None => {}
                Some(Ending::Imposed) if !self.room.is_draining() => {
                    return self.socket.linger(&self.room.intake).await;
                }
                Some(_) => return,
            }
            let wake = match self.arm() {
                Overdue::Yes => Wake::Deadline,
                Overdue::No => self.socket.wait(&self.room.intake).await,
            };
            match wake {
                Wake::Octets(octets) => self.feed(octets).await,
                Wake::Broken => return,
                Wake::End => {
                    self.session.handle_eof();
                    self.pump_remainder().await;
                }
                Wake::Deadline => {
                    self.on_deadline();
                    self.pump_remainder().await;
                }
                Wake::Stop => {
                    self.room.begin_drain();
                    self.session.handle_drain();
                    self.pump_remainder().await;
                }
            }
        }
    }

    /// One write for all replies that are waiting.
    async fn flush(&mut self) -> Result<(), crate::socket::Unwritable> {
        if !self.session.out.is_empty() {
            self.socket.send(&mut self.session.out, self.terms.write_timeout).await?;
        }
        if self.session.out.capacity() > IDLE_BUFFER_MAX {
            self.session.out = Vec::new();
        }
        Ok(())
    }

    /// Sets the timer. A client that never stops sending would keep it from being heard, so the clock is asked as well.
    fn arm(&self) -> Overdue {
        let deadline = match (self.session.poll_deadline(), self.room.drain_by()) {
            (Some(deadline), Some(drain)) => Some(deadline.min(drain)),
            (deadline, drain) => deadline.or(drain),
        };
        match deadline {
            Some(deadline) if deadline <= self.room.context.now() => return Overdue::Yes,
            Some(deadline) => self.socket.timer.reset(deadline),
            None => self.socket.timer.clear(),
        }
        Overdue::No
    }

    fn on_deadline(&mut self) {
        let now = self.room.context.now();
        if self.room.drain_by().is_some_and(|drain| now >= drain) {
            self.session.handle_drain_deadline();
        } else {
            self.session.handle_timeout(now);
        }
    }

    /// Octets from the client. A line that is cut by two reads is put together in `remainder`, everything else is looked
    /// at where it lies.
    async fn feed(&mut self, mut octets: Slice) {
        while !self.remainder.is_empty() && !octets.is_empty() {
            let line = memchr::memchr(b'\n', &octets).map_or(octets.len(), |at| at + 1);
            self.remainder.extend_from_slice(&octets[..line]);
            octets.advance(line);
            self.pump_remainder().await;
        }
        if !octets.is_empty() && self.ending.is_none() {
            let used = self.pump(&Input::Window(&octets)).await;
            self.remainder.extend_from_slice(&octets[used..]);
        }
    }

    async fn pump_remainder(&mut self) {
        let mut line = std::mem::take(&mut self.remainder);
        let used = self.pump(&Input::Line(&line)).await;
        line.drain(..used);
        if !line.is_empty() || line.capacity() <= IDLE_BUFFER_MAX {
            self.remainder = line;
        }
    }

    /// Steps the session until it wants more input or ends; returns how much of `input` is used.
    async fn pump(&mut self, input: &Input<'_>) -> usize {
        let mut now = self.room.context.now();
        let mut at = 0;
        loop {
            let step = self.session.step(now, &input.octets()[at..]);
            let base = at;
            at += step.consumed;
            match step.event {
                Event::Body { keep, insert } => {
                    self.content.push(input.piece(base + keep.start..base + keep.end));
                    self.content.push_missing(insert);
                    self.spill().await;
                }
                Event::Ask => self.on_question(now),
                Event::Complete(transaction) => {
                    let result = self.store(transaction).await;
                    now = self.room.context.now();
                    self.session.stored(now, result);
                }
                Event::Abandon => self.content = Content::default(),
                Event::Refused(refused) => self.report(&refused),
                Event::NeedInput | Event::Waiting => return at,
                Event::Close(ending) => {
                    self.ending = Some(ending);
                    return at;
                }
            }
        }
    }

    fn on_question(&mut self, now: Instant) {
        let pressure = self.room.pressure.now();
        let (room, terms, client) = (&self.room, &self.terms, self.client);
        let is_suppressed = |address: &Address| room.is_suppressed(terms, address);
        let returns = room.returns.get();
        let decision =
            self.session.question().map(|asked| answer(&asked, &terms.relay, client, pressure, returns, is_suppressed));
        if let Some(decision) = decision {
            self.session.answer(now, decision);
        }
    }

    /// Large content goes to the spool while it arrives.
    async fn spill(&mut self) {
        if self.content.is_outgrown(self.terms.resident_max) {
            let id = self.room.next_id(u16::try_from(self.session.recipients()).unwrap_or(u16::MAX));
            self.content.open(id, self.room.spool.stream(id));
        }
        if self.content.wants_flush() {
            self.content.flush().await;
        }
    }

    /// Makes the message and has it stored.
    async fn store(&mut self, transaction: Box<Transaction>) -> Result<MessageId, Refusal> {
        let whole = std::mem::take(&mut self.content).finish().await.map_err(store_refusal)?;
        let recipients = u16::try_from(transaction.envelope.recipients.len()).unwrap_or(u16::MAX);
        let (id, content) = match &whole {
            Whole::Resident(body) => (self.room.next_id(recipients), message::Content::Resident(body.clone())),
            Whole::Streamed { id, len, .. } => (*id, message::Content::Spooled { len: *len }),
        };
        let message = Arc::new(self.message(id, *transaction, content));
        let stored = match whole {
            Whole::Resident(_) => self.room.spool.store(message.clone()).await,
            Whole::Streamed { stream, .. } => stream.commit(message.clone()).await,
        };
        let key = stored.map_err(store_refusal)?;
        let counters = &self.room.counters;
        counters.messages.add(1);
        counters.recipients.add(u64::from(recipients));
        counters.bytes.add(message.content.len());
        self.room.onward.stored(message, key);
        Ok(id)
    }

    fn message(&self, id: MessageId, transaction: Transaction, content: message::Content) -> Message {
        let at = self.room.unix();
        let peer = self.seated.client_ip();
        let trace = Trace {
            additions: self.terms.additions,
            header: transaction.header(),
            helo: self.session.hello_name(),
            peer,
            host: &self.terms.host,
            protocol: transaction.protocol,
            id,
        };
        let trace = self.room.write_trace(at, &trace);
        let reception = Reception {
            at,
            connection: self.connection,
            peer,
            protocol: transaction.protocol,
            helo: self.session.hello_name().into(),
            dots: transaction.dots(),
        };
        Message { id, envelope: transaction.envelope, reception, trace, content }
    }

    fn report(&self, refused: &Refused) {
        let local = self.seated.local.or_else(|| self.socket.stream.local());
        self.room.report(refused, self.seated.peer, local, self.connection, &self.terms.name);
    }

    /// Reads the header of the PROXY protocol; `false` if the connection is to be dropped.
    async fn learn_client(&mut self, proxy: &Proxy) -> bool {
        if !proxy.from.contains(self.seated.peer.ip()) {
            return false;
        }
        self.socket.timer.reset_after(proxy.timeout);
        let header = loop {
            match self.socket.wait(&self.room.intake).await {
                Wake::Octets(octets) => self.remainder.extend_from_slice(&octets),
                Wake::End | Wake::Broken | Wake::Deadline | Wake::Stop => return false,
            }
            match proxy::parse(&self.remainder) {
                Ok(Proxied::Incomplete) => {}
                Ok(Proxied::Header { consumed, addresses }) => {
                    self.remainder.drain(..consumed);
                    break addresses;
                }
                Err(_) => return false,
            }
        };
        if let Some(addresses) = header {
            self.seated.peer = canonical(addresses.source);
            self.seated.local = Some(canonical(addresses.destination));
            self.client = self.terms.relay.client(addresses.source.ip());
        }
        match self.seated.join(&self.terms) {
            Ok(()) => true,
            Err(refusal) => {
                self.report(&Refused { phase: "connect", refusal: refusal.clone(), sender: None, recipient: None });
                self.session.out = format!("{refusal}\r\n").into_bytes();
                // What cannot be written is lost with the connection.
                let _ = self.flush().await;
                false
            }
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn store_refusal(error: StoreError) -> Refusal {
    let (code, text) = error.reply();
    Refusal::new(code, text)
}
