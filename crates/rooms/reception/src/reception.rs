//! One loop's reception: its listeners, its sessions and what they share.

use crate::admission::{Admission, Admissions, Crowd, Ticket};
use crate::counters::Counters;
use crate::driver::Driver;
use crate::intake::Intake;
use crate::relay::Returns;
use crate::socket::Socket;
use crate::terms::Terms;
use crate::trace::{DateCache, Trace};
use crate::{Onward, counters::Reason};
use config::Config;
use engine::{
    AcceptError, Descriptors, Listener, LoopContext, Peer, PressureGauge, Scope, ScopeRef, Seat, Stream, Task, TaskKind,
};
use fabric::{Slice, WindowPool};
use message::{Address, Event, EventSink, IdSource, MessageId, Rejection, Spool, UnixMicros};
use policy::{MailClass, Suppressed};
use smtp::server::{Refusal, Refused};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a loop's reception is made of.
pub struct Parts<S, E, O> {
    /// The loop.
    pub context: LoopContext,
    /// Where messages are stored.
    pub spool: S,
    /// Where refusals are told.
    pub events: E,
    /// Where stored messages go.
    pub onward: O,
    /// Shared with the other loops.
    pub admissions: Admissions,
    /// Shared with the whole process.
    pub descriptors: Descriptors,
    /// Whether memory is short.
    pub pressure: PressureGauge,
    /// This loop's numbers.
    pub counters: Counters,
    /// Which addresses get no mail; asked only if the configuration says so.
    pub suppressed: Rc<dyn Suppressed>,
    /// Where reads get their windows from.
    pub windows: WindowPool,
    /// This loop's ids: its `pid` is no other loop's.
    pub ids: IdSource,
}

/// See the module. Dropping it drops its sessions where they stand; [`Reception::drain`] ends them in order.
pub struct Reception<S: Spool, E, O> {
    room: Rc<Room<S, E, O>>,
    listeners: Scope,
    sessions: Scope,
}

/// No listener of this name speaks SMTP or LMTP in the present configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownListener(
    /// The name.
    pub Arc<str>,
);

impl fmt::Display for UnknownListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no listener `{}` for SMTP or LMTP in the configuration", self.0)
    }
}

impl std::error::Error for UnknownListener {}

/// How long a loop without descriptors waits before it accepts again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long sessions whose message is being stored may outlast a drain.
const STORE_GRACE: Duration = Duration::from_secs(10);

impl<S: Spool, E: EventSink + 'static, O: Onward + 'static> Reception<S, E, O> {
    /// A reception without listeners.
    pub fn new(parts: Parts<S, E, O>, config: &Config) -> Self {
        let (listeners, sessions) = (Scope::new(&parts.context), Scope::new(&parts.context));
        let room = Room {
            context: parts.context,
            spool: parts.spool,
            events: parts.events,
            onward: parts.onward,
            admissions: parts.admissions,
            descriptors: parts.descriptors,
            pressure: parts.pressure,
            counters: parts.counters,
            suppressed: parts.suppressed,
            intake: RefCell::new(Intake::new(parts.windows)),
            ids: RefCell::new(parts.ids),
            dates: RefCell::default(),
            scratch: RefCell::default(),
            terms: RefCell::default(),
            drain_grace: Cell::new(Duration::ZERO),
            drain_by: Cell::new(None),
            returns: Cell::default(),
            sessions: sessions.reference(),
        };
        let reception = Self { room: Rc::new(room), listeners, sessions };
        reception.set_config(config);
        reception
    }

    /// A new generation. Sessions keep the one that they began with; the next session has this one. A listener that is
    /// not in it any more keeps its last terms as long as its socket is open.
    pub fn set_config(&self, config: &Config) {
        self.room.drain_grace.set(config.server.drain_timeout);
        let mut terms = self.room.terms.borrow_mut();
        for new in Terms::of(config) {
            terms.insert(new.name().clone(), Rc::new(new));
        }
    }

    /// Accepts connections on `listener` by the terms of the listener `name`. The task ends only when the socket breaks;
    /// aborting it closes the socket and leaves its sessions alone.
    ///
    /// # Errors
    /// [`UnknownListener`]
    pub fn serve(&self, name: &str, listener: Listener) -> Result<Task<AcceptError>, UnknownListener> {
        if !self.room.terms.borrow().contains_key(name) {
            return Err(UnknownListener(name.into()));
        }
        let (room, name) = (self.room.clone(), Arc::<str>::from(name));
        let admission = room.admissions.of(&name);
        Ok(self.listeners.spawn(TaskKind("smtp listener"), room.accept(name, admission, listener)))
    }

    /// Whether recipients at which mail comes back are taken from now on.
    pub fn set_returns(&self, returns: Returns) {
        self.room.returns.set(returns);
    }

    /// Sessions on this loop.
    pub fn sessions(&self) -> u32 {
        self.sessions.live()
    }

    /// Ends all sessions: new and idle ones are told 421 4.3.2 at once, those within a transaction when it is over, at
    /// the latest after `grace`. Returns when none is left; one whose message is being stored is waited for.
    pub async fn drain(&self, grace: Duration) {
        let by = self.room.context.now() + grace;
        self.room.drain_by.set(Some(by));
        self.sessions.stop();
        let limit = self.room.context.timers().at(by + STORE_GRACE);
        if limit.limit(self.sessions.ended()).await.is_err() {
            self.sessions.abort();
        }
        self.listeners.abort();
    }
}

/// What the sessions of a loop share.
pub(crate) struct Room<S, E, O> {
    pub(crate) context: LoopContext,
    pub(crate) spool: S,
    pub(crate) events: E,
    pub(crate) onward: O,
    admissions: Admissions,
    descriptors: Descriptors,
    pub(crate) pressure: PressureGauge,
    pub(crate) counters: Counters,
    suppressed: Rc<dyn Suppressed>,
    pub(crate) intake: RefCell<Intake>,
    ids: RefCell<IdSource>,
    dates: RefCell<DateCache>,
    scratch: RefCell<String>,
    terms: RefCell<HashMap<Arc<str>, Rc<Terms>>>,
    drain_grace: Cell<Duration>,
    drain_by: Cell<Option<Instant>>,
    pub(crate) returns: Cell<Returns>,
    sessions: ScopeRef,
}

const DRAINING: Refusal = Refusal::new(421, "4.3.2 service shutting down, closing connection");
const NO_SEAT: Refusal = Refusal::new(421, "4.4.5 service unavailable, connection limit reached");
const CROWDED: Refusal = Refusal::new(421, "4.4.5 service unavailable, concurrency limit reached");
const CROWDED_NETWORK: Refusal = Refusal::new(421, "4.4.5 too many connections from your network");

impl<S: Spool, E: EventSink + 'static, O: Onward + 'static> Room<S, E, O> {
    async fn accept(self: Rc<Self>, name: Arc<str>, admission: Arc<Admission>, listener: Listener) -> AcceptError {
        loop {
            match listener.accept().await {
                Ok(stream) => self.admit(&name, &admission, stream),
                Err(AcceptError::Exhausted(_)) => self.context.timers().sleep(ACCEPT_PAUSE).await,
                Err(broken) => return broken,
            }
        }
    }

    /// Begins a session, or says why not.
    fn admit(self: &Rc<Self>, name: &Arc<str>, admission: &Arc<Admission>, stream: Stream) {
        let Some(terms) = self.terms.borrow().get(name).cloned() else { return };
        self.counters.sessions_total.add(1);
        match self.seat(&terms, admission, &stream) {
            Ok(seated) => {
                let timer = self.context.timers().off();
                let socket = Socket { stream, timer, stopped: Some(self.sessions.stopped()) };
                let mut driver = Driver::new(self.clone(), terms, seated, socket);
                // The driver stays where the task captured it: passed by value it would lie in the task twice.
                let session = async move { driver.run().await };
                self.sessions.spawn(TaskKind("smtp session"), session).detach();
            }
            Err(refusal) => {
                let reply = format!("{refusal}\r\n");
                // A new connection has room for one line; who does not get it learns from the end of the connection.
                let _ = stream.try_write(reply.as_bytes());
                let peer = address(stream.peer());
                let refused = Refused { phase: "connect", refusal, sender: None, recipient: None };
                self.report(&refused, peer, stream.local(), MessageId::NONE, &terms.name);
            }
        }
    }

    fn seat(&self, terms: &Terms, admission: &Arc<Admission>, stream: &Stream) -> Result<Seated, Refusal> {
        if self.is_draining() {
            return Err(DRAINING);
        }
        let seat = self.descriptors.try_session().ok_or(NO_SEAT)?;
        let ticket = admission.enter(terms.sessions_max).map_err(|_| CROWDED)?;
        let is_local = stream.peer() == Peer::Unix;
        let present = Present::new(self.counters.sessions.clone());
        let peer = address(stream.peer());
        let mut seated = Seated { _seat: seat, _present: present, ticket, peer, local: None, is_local };
        // Behind a balancer the client is not known yet.
        if terms.proxy.is_none() {
            seated.join(terms)?;
        }
        Ok(seated)
    }
}

impl<S, E: EventSink, O> Room<S, E, O> {
    /// Tells the log and the counters of a refusal.
    pub(crate) fn report(
        &self,
        refused: &Refused,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        connection: MessageId,
        pathway: &str,
    ) {
        let text = refused.refusal.text();
        self.counters.count_refused(text);
        let module = match Reason::of(text) {
            Reason::Relay => "relay",
            Reason::Sessions | Reason::Drain => "admission",
            Reason::Resources => "spool",
            Reason::Suppressed => "suppression",
            _ => "smtp",
        };
        self.events.event(&Event::Rejected(Rejection {
            at: self.unix(),
            peer,
            local: local.unwrap_or(UNKNOWN),
            connection,
            pathway,
            phase: refused.phase,
            code: refused.refusal.code(),
            module,
            sender: refused.sender.as_deref(),
            recipient: refused.recipient.as_deref(),
            text,
        }));
    }
}

impl<S, E, O> Room<S, E, O> {
    pub(crate) fn unix(&self) -> UnixMicros {
        UnixMicros(self.context.clock().unix().0)
    }

    /// Whether a recipient gets no mail by these terms.
    pub(crate) fn is_suppressed(&self, terms: &Terms, recipient: &Address) -> bool {
        terms.refuse_suppressed.is_some_and(|kind| {
            self.suppressed.suppressed(recipient, &MailClass { tenant: None, kind }, self.unix()).is_some()
        })
    }

    /// The first of `count` ids in a row.
    pub(crate) fn next_id(&self, count: u16) -> MessageId {
        self.ids.borrow_mut().next_block(self.unix(), count)
    }

    /// Writes a trace header into the window.
    pub(crate) fn write_trace(&self, at: UnixMicros, trace: &Trace<'_>) -> Slice {
        let mut text = self.scratch.borrow_mut();
        text.clear();
        trace.write(self.dates.borrow_mut().text(at), &mut text);
        self.intake.borrow_mut().copy_in(text.as_bytes())
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.drain_by.get().is_some()
    }

    pub(crate) fn drain_by(&self) -> Option<Instant> {
        self.drain_by.get()
    }

    /// The loop stops without [`Reception::drain`]: the configured time holds.
    pub(crate) fn begin_drain(&self) {
        if self.drain_by.get().is_none() {
            self.drain_by.set(Some(self.context.now() + self.drain_grace.get()));
        }
    }
}

/// A client with a place.
#[derive(Debug)]
pub(crate) struct Seated {
    _seat: Seat,
    _present: Present,
    ticket: Ticket,
    pub(crate) peer: SocketAddr,
    /// As the PROXY header told; else the socket knows.
    pub(crate) local: Option<SocketAddr>,
    is_local: bool,
}

impl Seated {
    /// Counts the session to its client's network.
    pub(crate) fn join(&mut self, terms: &Terms) -> Result<(), Refusal> {
        if self.is_local && self.local.is_none() {
            return Ok(());
        }
        let joined = self.ticket.join(self.peer.ip(), terms.prefix_v4, terms.prefix_v6, terms.network_sessions_max);
        joined.map_err(|crowd| match crowd {
            Crowd::Network => CROWDED_NETWORK,
            Crowd::Listener => CROWDED,
        })
    }

    /// The client's address; `None` for a socket of this machine.
    pub(crate) fn client_ip(&self) -> Option<IpAddr> {
        (!self.is_local || self.local.is_some()).then(|| self.peer.ip())
    }
}

/// Stands for an address that nobody knows.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A process of this machine counts as the machine itself.
fn address(peer: Peer) -> SocketAddr {
    match peer {
        Peer::Inet(address) => SocketAddr::new(address.ip().to_canonical(), address.port()),
        Peer::Unix => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
    }
}

/// A session in the gauge, however it ends.
#[derive(Debug)]
struct Present(engine::Gauge);

impl Present {
    fn new(gauge: engine::Gauge) -> Self {
        gauge.add(1);
        Self(gauge)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}
