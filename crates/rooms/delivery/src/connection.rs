//! One outgoing connection, made by `dial`: moves work from the queue to a host until there is none.
//!
//! `smtp::client` decides what is said; this moves octets and leases. A turn of [`Connection::converse`] begins what can
//! begin, writes all there is to write in one call, settles what was decided, and waits for whatever comes next.

use crate::Neighbours;
use crate::host::Target;
use crate::leased::{Leased, Number};
use crate::loading::{Job, Loading, PIECE_BYTES, is_ascii};
use crate::marking::marks;
use crate::reporter::ReportJob;
use crate::room::Room;
use crate::settling::{Success, Trial};
use crate::site::Site;
use crate::writing::{Loaded, Next, Position};
use engine::{Gauge, Stream, Timer, Waiting};
use message::dsn::Action;
use message::{BodyType, Closing, Content, MessageId, Reply, Spool, Stage, StoreError, Verdict, Work};
use smallvec::SmallVec;
use smtp::client::{
    Client, ClientEvent, Dialect, Ending, Extension, Framing, Output, Piece, Sent, Transaction, TransactionId,
};
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// A lease whose message is being fetched.
type Fetching<N> = Pin<Box<dyn Future<Output = Option<(Leased<N>, BodyType)>>>>;

pub(crate) struct Connection<N: Neighbours> {
    room: Rc<Room<N>>,
    site: Rc<Site>,
    target: Target,
    pub(crate) number: Number<N>,
    stop: Waiting,
    stream: Stream,
    client: Client,
    pub(crate) id: MessageId,
    timer: Timer,
    jobs: SmallVec<[Job<N>; 2]>,
    fetching: Option<Fetching<N>>,
    offered: Option<Leased<N>>,
    idle_until: Option<Instant>,
    loaded: Loaded,
    deliveries: u32,
    recipients: u32,
    delivered: u32,
    course: Course,
    _open: Open,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// Not greeted yet.
    Greeting,
    Working,
    /// Nothing more is leased: QUIT follows, or was said.
    Leaving,
    /// As [`Course::Leaving`], because the room drains.
    Stopping,
}

/// Counts a connection while it exists.
struct Open(Gauge);

impl Open {
    fn new(gauge: Gauge) -> Self {
        gauge.add(1);
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

impl<N: Neighbours> Connection<N> {
    /// To a host that took the connection and has said nothing yet.
    pub(crate) fn new(
        room: &Rc<Room<N>>,
        site: &Rc<Site>,
        target: &Target,
        stream: Stream,
        number: Number<N>,
        stop: Waiting,
    ) -> Self {
        room.counters.connections_total.add(1);
        Self {
            client: Client::new(room.context.now(), site.settings.clone()),
            id: room.next_id(),
            timer: room.context.timers().off(),
            room: room.clone(),
            site: site.clone(),
            target: target.clone(),
            number,
            stop,
            stream,
            jobs: SmallVec::new(),
            fetching: None,
            offered: None,
            idle_until: None,
            loaded: Loaded::default(),
            deliveries: 0,
            recipients: 0,
            delivered: 0,
            course: Course::Greeting,
            _open: Open::new(room.counters.connections.clone()),
        }
    }

    /// What the next host is tried with.
    pub(crate) fn into_parts(self) -> (Number<N>, Waiting) {
        (self.number, self.stop)
    }

    fn peer(&self) -> Option<IpAddr> {
        self.target.ip()
    }

    /// Until the connection is over.
    pub(crate) async fn converse(&mut self) -> Ending {
        loop {
            self.begin();
            self.speak().await;
            if self.is_leaving() {
                // QUIT is out: the next connection need not wait for the goodbye.
                self.number.close(Closing::Done);
            }
            match self.settle_events() {
                Turn::Over(ending) => return ending,
                Turn::News => {}
                Turn::Quiet => self.listen().await,
            }
        }
    }

    /// What the end means for the container; `None` if the host never greeted.
    pub(crate) fn closing(&self, ending: &Ending) -> Option<Closing> {
        let idle = ending.stage() == Stage::Idle;
        match ending {
            _ if self.course == Course::Greeting => None,
            Ending::Quit | Ending::Abandoned { .. } => Some(Closing::Done),
            // Peers end connections that idle or that had their share of messages: no reason to wait.
            Ending::Lost { .. } | Ending::Rebuffed { .. } if self.delivered > 0 || idle => Some(Closing::Done),
            _ if self.course == Course::Stopping => Some(Closing::Done),
            _ => Some(Closing::Rebuffed),
        }
    }

    /// Leases and begins as much as the client takes now.
    fn begin(&mut self) {
        if self.course == Course::Working && !self.goes_on() {
            self.course = Course::Leaving;
        }
        if self.course != Course::Working {
            self.offered = None;
        }
        while self.course == Course::Working && self.fetching.is_none() && self.client.can_begin() && self.goes_on() {
            let Some(leased) = self.offered.take().or_else(|| self.lease()) else { return };
            self.follow();
            self.idle_until = None;
            self.deliveries += 1;
            self.recipients += leased.recipients().len() as u32;
            self.prepare(leased);
        }
        if self.is_leaving() {
            self.client.quit();
        }
    }

    /// Works for another container of the same site, if the queues say so.
    fn follow(&mut self) {
        let moved = self.number.get().and_then(|number| self.room.work.borrow_mut().moved(number));
        if let Some(container) = moved {
            self.site = self.room.site(&container);
        }
    }

    fn is_leaving(&self) -> bool {
        let leaving = matches!(self.course, Course::Leaving | Course::Stopping);
        leaving && self.client.is_idle() && self.fetching.is_none() && self.offered.is_none()
    }

    fn goes_on(&self) -> bool {
        let options = &self.site.options;
        let is_below = |count, max| max == 0 || count < max;
        is_below(self.deliveries, self.site.deliveries_max())
            && is_below(self.recipients, options.max_recipients_per_connection)
            && !self.client.is_exhausted()
            && self.room.reports.has_room()
            && self.number.is_kept()
    }

    fn recipients_max(&self) -> usize {
        if marks(&self.site.options) {
            return 1;
        }
        let ours = self.site.options.max_recipients_per_batch;
        self.client.peer().recipients_max.map_or(ours, |theirs| theirs.min(ours)) as usize
    }

    fn lease(&self) -> Option<Leased<N>> {
        self.number.lease(self.recipients_max())
    }

    /// Begins a lease whose message is in memory; fetches that of another, while the conversation goes on.
    fn prepare(&mut self, leased: Leased<N>) {
        let eight = self.client.peer().has(Extension::EightBitMime);
        if let Some(message) = leased.message()
            && (eight || !matches!(message.content, Content::Spooled { .. }))
        {
            let body_type = message.envelope.body_type;
            if let Some(leased) = leased.checked() {
                self.start(leased, body_type);
            }
            return;
        }
        let room = self.room.clone();
        self.fetching = Some(Box::pin(async move {
            let leased = leased.with_message().await?;
            let message = leased.message()?.clone();
            let declared = message.envelope.body_type;
            let spooled = matches!(message.content, Content::Spooled { .. });
            let look = spooled && !eight && declared == BodyType::EightBit;
            let body_type = match look && is_ascii(&room.spool, leased.key, &message).await {
                true => BodyType::SevenBit,
                false => declared,
            };
            Some((leased, body_type))
        }));
    }

    fn start(&mut self, leased: Leased<N>, body_type: BodyType) {
        let Some(cargo) = Loading::new(&self.room, &self.site.options, &leased) else { return };
        let recipients = cargo.recipients(&leased);
        let transaction = self.client.begin(Transaction { message: cargo.message.clone(), recipients, body_type });
        let site = self.site.clone();
        self.jobs.push(Job { transaction, site, cargo, leased, sent: 0, dues: Vec::new() });
    }

    /// Writes what there is to write.
    async fn speak(&mut self) {
        let mut output = self.room.take_output();
        self.client.poll_output(self.room.context.now(), &mut output);
        if !output.is_empty() {
            let written = self.send(&output).await;
            self.note_sent(&output, written);
        }
        self.room.keep_output(output);
    }

    /// Until all is written, or the connection is over; gives how far it came.
    async fn send(&mut self, output: &Output) -> Position {
        let mut position = Position::default();
        loop {
            match self.try_send(output, &mut position) {
                Ok(Progress::Done) => {
                    self.client.handle_sent(self.room.context.now(), Sent::All);
                    return position;
                }
                Ok(Progress::Some) => {
                    let sent = position.content_written(output).map_or(Sent::Some, Sent::Content);
                    self.client.handle_sent(self.room.context.now(), sent);
                }
                Ok(Progress::Missing(transaction, from)) => self.load(transaction, from).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|context| self.poll_blocked(context)).await;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.hear_last();
                    self.client.handle_closed();
                }
            }
            if self.client.is_closed() {
                return position;
            }
        }
    }

    fn try_send(&self, output: &Output, position: &mut Position) -> io::Result<Progress> {
        let gathered = position.gather(output, &self.jobs, &self.loaded);
        if gathered.slices.is_empty() {
            return Ok(match gathered.next {
                Next::Missing(transaction, from) => Progress::Missing(transaction, from),
                Next::End | Next::Octets(_) => Progress::Done,
                Next::Unknown => return Err(io::ErrorKind::NotFound.into()),
            });
        }
        let (octets, end) = (gathered.octets, gathered.end);
        let is_last = matches!(gathered.next, Next::End);
        let written = self.stream.try_writev(&gathered.slices)?;
        if written == octets {
            *position = end;
            return Ok(if is_last { Progress::Done } else { Progress::Some });
        }
        position.advance(written, output, &self.jobs, &self.loaded);
        Ok(Progress::Some)
    }

    /// Reads the next piece of spooled content. If that fails the message cannot be ended, so the connection is.
    async fn load(&mut self, transaction: TransactionId, from: u64) {
        let Some(job) = self.jobs.iter().find(|job| job.transaction == transaction) else { return };
        match self.room.spool.read(job.leased.key, from, PIECE_BYTES).await {
            Ok(slice) if !slice.is_empty() => self.loaded = Loaded { transaction: Some(transaction), from, slice },
            Ok(_) | Err(StoreError::Missing | StoreError::Failed | StoreError::Full | StoreError::Stopping) => {
                self.client.abandon(Reply::new(451, "4.3.0 [internal] message cannot be read from the spool"));
            }
        }
    }

    /// Ready when something is to be done while the socket takes nothing.
    fn poll_blocked(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.poll_hear(context).is_ready() || self.stream.poll_writable(context).is_ready() {
            return Poll::Ready(());
        }
        self.set_timer(None);
        ready!(self.timer.poll_fired(context));
        self.client.handle_timeout(self.room.context.now());
        Poll::Ready(())
    }

    /// What the peer said before it went: a refusal explains more than a broken pipe.
    fn hear_last(&mut self) {
        let mut input = self.room.input.borrow_mut();
        if let Ok(count) = self.stream.try_read(&mut input) {
            self.client.handle_bytes(self.room.context.now(), &input[..count]);
        }
    }

    fn note_sent(&mut self, output: &Output, position: Position) {
        let whole = position.content_written(output);
        let partial = position.content_octets(output, &self.jobs);
        for piece in &output.pieces {
            let Piece::Content { transaction, framing } = piece else { continue };
            let Some(job) = self.jobs.iter_mut().find(|job| job.transaction == *transaction) else { continue };
            job.sent = match (framing, partial) {
                (Framing::LoneDot, _) => 0,
                _ if whole >= Some(*transaction) => job.cargo.message.size(),
                (_, Some((current, octets))) if current == *transaction => octets,
                _ => 0,
            };
        }
        self.loaded = Loaded::default();
    }

    /// Everything that was decided becomes a fact.
    fn settle_events(&mut self) -> Turn {
        let mut turn = Turn::Quiet;
        while let Some(event) = self.client.poll_event() {
            turn = Turn::News;
            match event {
                ClientEvent::Ready => {
                    self.course = Course::Working;
                    self.site.on_greeted(&self.target);
                }
                ClientEvent::Recipient { transaction, recipient, verdict, stage, reply } => {
                    self.settle(transaction, recipient, verdict, stage, &reply);
                }
                ClientEvent::TransactionDone(transaction) => self.finish(transaction),
                ClientEvent::Closed(ending) => return Turn::Over(ending),
            }
        }
        turn
    }

    fn settle(&mut self, id: TransactionId, recipient: u16, verdict: Verdict, stage: Stage, reply: &Reply) {
        self.delivered += u32::from(verdict == Verdict::Delivered);
        let (connection, peer) = (self.id, self.peer());
        let success = match self.site.settings.dialect {
            _ if self.client.peer().has(Extension::Dsn) => Success::PassedOn,
            Dialect::Smtp => Success::Told(Action::Relayed),
            Dialect::Lmtp => Success::Told(Action::Delivered),
        };
        let Some(job) = self.jobs.iter_mut().find(|job| job.transaction == id) else { return };
        let Some(leased) = job.leased.take(job.cargo.recipient(recipient)) else { return };
        // A recipient that was refused before had none of it, though others did.
        let had_content = matches!(stage, Stage::SendingBody | Stage::ReadingConfirmation);
        let sent = if had_content { job.sent } else { 0 };
        let trial = Trial { container: &job.site.container, connection, peer, stage, sent, reply };
        let options = &job.site.options;
        let due = self.room.settle(job.leased.key, &job.cargo.stored, leased, verdict, &trial, success, options);
        job.dues.extend(due);
    }

    fn finish(&mut self, id: TransactionId) {
        let Some(place) = self.jobs.iter().position(|job| job.transaction == id) else { return };
        let job = self.jobs.remove(place);
        if !job.dues.is_empty() {
            let report = ReportJob { key: job.leased.key, message: job.cargo.stored, dues: job.dues };
            self.room.report(report, &job.site.options);
        }
    }

    /// Waits until there is something to do.
    async fn listen(&mut self) {
        let idles = self.course == Course::Working && self.client.is_idle() && self.fetching.is_none();
        if idles && self.idle_until.is_none() {
            self.idle_until = Some(self.room.context.now() + self.site.idle_timeout());
        }
        let idle_until = self.idle_until.filter(|_| idles);
        self.set_timer(idle_until);
        poll_fn(|context| self.poll_listen(idle_until, context)).await;
        if idles && let Some(lease) = self.number.get().and_then(|number| self.room.idle.leave(number)) {
            self.offered = Some(Leased::new(&self.room, lease));
        }
    }

    fn set_timer(&self, idle_until: Option<Instant>) {
        match idle_until.or_else(|| self.client.poll_deadline()) {
            Some(deadline) => self.timer.reset(deadline),
            None => self.timer.clear(),
        }
    }

    fn poll_listen(&mut self, idle_until: Option<Instant>, context: &mut Context<'_>) -> Poll<()> {
        if self.course != Course::Stopping && Pin::new(&mut self.stop).poll(context).is_ready() {
            self.stop_now();
            return Poll::Ready(());
        }
        if let Some(fetching) = &mut self.fetching
            && let Poll::Ready(fetched) = fetching.as_mut().poll(context)
        {
            self.fetching = None;
            if let Some((leased, body_type)) = fetched {
                self.start(leased, body_type);
            }
            return Poll::Ready(());
        }
        if self.poll_hear(context).is_ready() {
            return Poll::Ready(());
        }
        if idle_until.is_some() && self.poll_offered(context).is_ready() {
            return Poll::Ready(());
        }
        ready!(self.timer.poll_fired(context));
        match idle_until {
            Some(_) => self.course = Course::Leaving,
            None => self.client.handle_timeout(self.room.context.now()),
        }
        Poll::Ready(())
    }

    /// The room drains: who works ends what it has begun, who does not work ends now.
    fn stop_now(&mut self) {
        if self.course == Course::Greeting {
            self.client.abandon(Reply::new(421, "4.3.2 [internal] service shutting down"));
        }
        self.course = Course::Stopping;
    }

    fn poll_offered(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(number) = self.number.get() else { return Poll::Pending };
        let lease = ready!(self.room.idle.poll_offer(number, self.recipients_max(), context));
        self.offered = Some(Leased::new(&self.room, lease));
        Poll::Ready(())
    }

    /// Hands to the client what the peer sent: one read, into the buffer that all connections share.
    fn poll_hear(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut input = self.room.input.borrow_mut();
        match ready!(self.stream.poll_read(context, &mut input)) {
            Ok(0) | Err(_) => self.client.handle_closed(),
            Ok(count) => self.client.handle_bytes(self.room.context.now(), &input[..count]),
        }
        Poll::Ready(())
    }
}

/// What a look at the events gave.
enum Turn {
    Quiet,
    News,
    Over(Ending),
}

/// What a write came to.
enum Progress {
    Some,
    Done,
    /// Content is to be read first.
    Missing(TransactionId, u64),
}
