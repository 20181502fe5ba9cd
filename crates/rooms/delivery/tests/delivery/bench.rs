//! A room on a real loop, with a queue and a store small enough to see through.

use config::Config;
use delivery::{Delivery, Inject, Names, Neighbours, OwnIdentity, Parts};
use engine::{Descriptors, Gauges, LoopContext, LoopOptions, Pool, Reserve, run_here};
use fabric::Slice;
use message::{
    Address, Agent, Attempted, Body, BodyType, Closing, Container, Content, Dial, Dots, Envelope, Event, EventSink,
    IdSource, Lease, LeasedRecipient, Message, MessageId, Notify, Outcome, Protocol, Reception, Recipient, Spool,
    SpoolStream, StoreError, StoreKey, UnixMicros, Utf8, Verdict, Work,
};
use policy::{Addresses, DnsName, Families, MailRoute, Pointers, Resolve, ResolveError, RouteKind, Texts};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What happened, in order, as short texts.
pub(crate) type Rows = Rc<RefCell<Vec<String>>>;

pub(crate) fn message(sender: Option<&str>, recipients: &[&str], content: &[u8]) -> Message {
    let address = |text: &str| Address::parse(text).expect("an address");
    let recipient = |text: &&str| Recipient { address: address(text), notify: Notify::Unset, orcpt: None };
    Message {
        id: MessageId::NONE,
        envelope: Envelope {
            sender: sender.map(address),
            recipients: recipients.iter().map(recipient).collect(),
            body_type: BodyType::SevenBit,
            utf8: Utf8::No,
            ret: None,
            envid: None,
        },
        reception: Reception {
            at: UnixMicros(0),
            connection: MessageId::NONE,
            peer: None,
            protocol: Protocol::Esmtp,
            helo: "client".into(),
            dots: Dots::Some,
        },
        trace: Slice::copy_from(b"Received: by us\r\n"),
        content: Content::Resident(Body::from(Slice::copy_from(content))),
    }
}

/// Queues without limits but one: connections a container.
pub(crate) struct TestWork {
    queues: Vec<Queue>,
    entries: Vec<(usize, Entry)>,
    connections: HashMap<u32, usize>,
    next_connection: u32,
    pub(crate) connections_max: usize,
    /// A transient failure is the last.
    pub(crate) expires: bool,
    pub(crate) expired: VecDeque<(Arc<Container>, Lease)>,
    rows: Rows,
}

struct Queue {
    container: Arc<Container>,
    waiting: VecDeque<u32>,
    connections: usize,
    paused: bool,
}

#[derive(Clone)]
struct Entry {
    key: StoreKey,
    recipient: u16,
    attempts: u16,
    message: Option<Arc<Message>>,
}

impl TestWork {
    pub(crate) fn waiting(&self) -> usize {
        self.queues.iter().map(|queue| queue.waiting.len()).sum()
    }

    pub(crate) fn open(&self) -> usize {
        self.connections.len()
    }

    fn enqueue(&mut self, container: &Arc<Container>, key: StoreKey, recipient: u16, message: Option<Arc<Message>>) {
        let queue = self.queues.iter().position(|queue| queue.container == *container).unwrap_or_else(|| {
            let waiting = VecDeque::new();
            self.queues.push(Queue { container: container.clone(), waiting, connections: 0, paused: false });
            self.queues.len() - 1
        });
        self.entries.push((queue, Entry { key, recipient, attempts: 0, message }));
        self.queues[queue].waiting.push_back(self.entries.len() as u32 - 1);
    }
}

impl Work for TestWork {
    fn poll_dial(&mut self, _: UnixMicros) -> Option<Dial> {
        let max = self.connections_max;
        let wants = |queue: &Queue| !queue.paused && queue.connections < max.min(queue.waiting.len());
        let number = self.queues.iter().position(wants)?;
        self.queues[number].connections += 1;
        self.next_connection += 1;
        self.connections.insert(self.next_connection, number);
        Some(Dial { container: self.queues[number].container.clone(), connection: self.next_connection })
    }

    fn poll_wake(&mut self, _: UnixMicros) -> Option<Duration> {
        None
    }

    fn lease(&mut self, connection: u32, recipients_max: usize, _: UnixMicros) -> Option<Lease> {
        let queue = self.connections[&connection];
        let first = *self.queues[queue].waiting.front()?;
        let head = self.entries[first as usize].1.clone();
        let mut recipients = Vec::new();
        while let Some(&entry) = self.queues[queue].waiting.front()
            && self.entries[entry as usize].1.key == head.key
            && recipients.len() < recipients_max
        {
            self.queues[queue].waiting.pop_front();
            let own = &mut self.entries[entry as usize].1;
            own.attempts += 1;
            recipients.push(LeasedRecipient { entry, recipient: own.recipient, attempts: own.attempts });
        }
        let received = UnixMicros(0);
        Some(Lease {
            key: head.key,
            id: MessageId::NONE,
            received,
            message: head.message,
            recipients: recipients.into(),
        })
    }

    fn attempted(&mut self, entry: u32, verdict: Verdict, now: UnixMicros) -> Attempted {
        let Some((queue, own)) = self.entries.get_mut(entry as usize) else {
            return Attempted::Settled(Outcome::Failed);
        };
        match verdict {
            Verdict::Delivered => Attempted::Settled(Outcome::Delivered),
            Verdict::Permanent => Attempted::Settled(Outcome::Failed),
            Verdict::Transient if self.expires => Attempted::Expired,
            Verdict::Transient => {
                let until = now.after(Duration::from_secs(3600));
                Attempted::Settled(Outcome::Deferred { until, attempts: own.attempts })
            }
            Verdict::Untried => {
                own.attempts -= 1;
                self.queues[*queue].waiting.push_front(entry);
                Attempted::Returned
            }
        }
    }

    fn closed(&mut self, connection: u32, closing: Closing, _: UnixMicros) {
        let number = self.connections.remove(&connection).expect("a connection is closed once");
        self.queues[number].connections -= 1;
        self.queues[number].paused |= closing != Closing::Done;
        self.rows.borrow_mut().push(format!("closed {closing:?}"));
    }

    fn poll_expired(&mut self, _: UnixMicros) -> Option<(Arc<Container>, Lease)> {
        self.expired.pop_front()
    }
}

/// Messages by key; what is told of them goes to the rows.
#[derive(Clone)]
pub(crate) struct TestSpool {
    messages: Rc<RefCell<Vec<Arc<Message>>>>,
    /// The content of messages that are not resident.
    contents: Rc<RefCell<HashMap<u64, Vec<u8>>>>,
    rows: Rows,
}

pub(crate) struct NoStream;

impl SpoolStream for NoStream {
    async fn append(&mut self, _: Slice) -> Result<(), StoreError> {
        Err(StoreError::Failed)
    }

    async fn commit(self, _: Arc<Message>) -> Result<StoreKey, StoreError> {
        Err(StoreError::Failed)
    }
}

impl Spool for TestSpool {
    type Stream = NoStream;

    async fn store(&self, message: Arc<Message>) -> Result<StoreKey, StoreError> {
        let mut messages = self.messages.borrow_mut();
        messages.push(message);
        Ok(StoreKey(messages.len() as u64 - 1))
    }

    fn stream(&self, _: MessageId) -> NoStream {
        NoStream
    }

    fn outcome(&self, key: StoreKey, recipient: u16, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Delivered => "delivered",
            Outcome::Failed => "failed",
            Outcome::Deferred { .. } => "deferred",
        };
        self.rows.borrow_mut().push(format!("{}.{recipient} {outcome}", key.0));
    }

    async fn fetch(&self, key: StoreKey) -> Result<Arc<Message>, StoreError> {
        self.messages.borrow().get(key.0 as usize).cloned().ok_or(StoreError::Missing)
    }

    async fn read(&self, key: StoreKey, offset: u64, max: usize) -> Result<Slice, StoreError> {
        let contents = self.contents.borrow();
        let content = contents.get(&key.0).ok_or(StoreError::Missing)?;
        let from = (offset as usize).min(content.len());
        Ok(Slice::copy_from(&content[from..content.len().min(from + max)]))
    }
}

#[derive(Clone)]
pub(crate) struct TestEvents(Rows);

impl EventSink for TestEvents {
    fn event(&self, event: &Event<'_>) {
        let (kind, attempt, reply) = match event {
            Event::Delivered { attempt, reply } => ("D", attempt, reply),
            Event::Transient { attempt, reply } => ("T", attempt, reply),
            Event::Permanent { attempt, reply } => ("P", attempt, reply),
            _ => return,
        };
        let row = format!("{kind} {} {} {} {reply}", attempt.recipient, attempt.stage.number(), attempt.sent);
        self.0.borrow_mut().push(row);
    }
}

/// Keeps reports; refuses so many first.
#[derive(Clone)]
pub(crate) struct TestInject {
    pub(crate) reports: Rc<RefCell<Vec<Arc<Message>>>>,
    pub(crate) refusals: Rc<Cell<u32>>,
    rows: Rows,
}

impl Inject for TestInject {
    async fn inject(&self, message: Arc<Message>) -> Result<(), StoreError> {
        if self.refusals.get() > 0 {
            self.refusals.set(self.refusals.get() - 1);
            return Err(StoreError::Full);
        }
        assert!(message.envelope.sender.is_none());
        self.rows.borrow_mut().push(format!("report to {}", message.envelope.recipients[0].address));
        self.reports.borrow_mut().push(message);
        Ok(())
    }
}

/// Names and what stands for them.
#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) routes: Rc<RefCell<HashMap<String, Result<RouteKind, ResolveError>>>>,
    pub(crate) hosts: Rc<RefCell<HashMap<String, Vec<IpAddr>>>>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Resolve for Table {
    async fn mail_route(&self, domain: &DnsName) -> Result<MailRoute, ResolveError> {
        let found = self.routes.borrow().get(domain.as_str()).cloned();
        let kind = found.unwrap_or_else(|| Err(ResolveError::NoDomain(domain.clone())))?;
        Ok(MailRoute { kind, expires_in: MINUTE })
    }

    async fn addresses(&self, host: &DnsName, _: Families) -> Result<Addresses, ResolveError> {
        let found = self.hosts.borrow().get(host.as_str()).cloned();
        let addresses = found.ok_or_else(|| ResolveError::NoDomain(host.clone()))?;
        Ok(Addresses { addresses, expires_in: MINUTE })
    }

    async fn texts(&self, name: &DnsName) -> Result<Texts, ResolveError> {
        Err(ResolveError::NoRecords(name.clone()))
    }

    async fn pointers(&self, _: IpAddr) -> Result<Pointers, ResolveError> {
        Err(ResolveError::Busy)
    }
}

pub(crate) struct Tests;

impl Neighbours for Tests {
    type Work = TestWork;
    type Spool = TestSpool;
    type Resolver = Table;
    type Events = TestEvents;
    type Inject = TestInject;
}

/// The room and all that is around it.
pub(crate) struct Bench {
    pub(crate) context: LoopContext,
    pub(crate) delivery: Delivery<Tests>,
    pub(crate) work: Rc<RefCell<TestWork>>,
    pub(crate) table: Table,
    pub(crate) inject: TestInject,
    pub(crate) rows: Rows,
    pub(crate) gauges: Gauges,
    pub(crate) names: Names,
    spool: TestSpool,
}

/// Runs `body` on a loop with a room made of `options` for all domains.
pub(crate) fn on_a_bench<F: Future<Output = ()> + 'static>(options: &str, body: impl FnOnce(Bench) -> F + 'static) {
    let text = format!("[server]\nhostname = \"us.example\"\n[domain.\"*\"]\n{options}\n");
    let config = Arc::new(Config::parse("test", &text).expect("a configuration"));
    let main = move |context: LoopContext| async move {
        let bench = Bench::new(&context, &config);
        let limit = context.timers().after(Duration::from_secs(30));
        limit.limit(body(bench)).await.expect("the test hangs");
    };
    run_here(LoopOptions::default(), main).expect("a loop");
}

impl Bench {
    fn new(context: &LoopContext, config: &Arc<Config>) -> Self {
        let rows = Rows::default();
        let work = Rc::new(RefCell::new(TestWork {
            queues: Vec::new(),
            entries: Vec::new(),
            connections: HashMap::new(),
            next_connection: 0,
            connections_max: 1,
            expires: false,
            expired: VecDeque::new(),
            rows: rows.clone(),
        }));
        let spool = TestSpool { messages: Rc::default(), contents: Rc::default(), rows: rows.clone() };
        let inject = TestInject { reports: Rc::default(), refusals: Rc::default(), rows: rows.clone() };
        let (table, gauges) = (Table::default(), Gauges::new());
        let names = Names::register(&gauges).expect("names");
        let parts = Parts {
            context: context.clone(),
            work: work.clone(),
            spool: spool.clone(),
            resolver: table.clone(),
            events: TestEvents(rows.clone()),
            inject: inject.clone(),
            pool: Pool::new("io", 2, 100).expect("a pool"),
            descriptors: Descriptors::new(20_000, Reserve::of(20_000)),
            counters: names.counters(&gauges.shard()),
            own: Arc::new(OwnIdentity::new("us.example", Vec::new())),
            hosts: delivery::HostLimits::new(),
            ids: IdSource::new(1, 2),
        };
        let delivery = Delivery::start(parts, config);
        Self { context: context.clone(), delivery, work, table, inject, rows, gauges, names, spool }
    }

    pub(crate) fn container(agent: Agent) -> Arc<Container> {
        let name = "b.example";
        Arc::new(Container {
            name: name.into(),
            binding: config::DEFAULT_BINDING.into(),
            group: None,
            options: name.into(),
            agent,
        })
    }

    pub(crate) fn smtp(address: SocketAddr) -> Arc<Container> {
        Self::container(Agent::Smtp(message::Host { name: address.ip().to_string().into(), port: address.port() }))
    }

    /// Stores and queues a message with all its recipients; the room is not rung.
    pub(crate) fn put(&self, container: &Arc<Container>, message: Message) {
        self.put_stored(container, message, true);
    }

    /// As [`Bench::put`], with the message not in memory.
    pub(crate) fn put_cold(&self, container: &Arc<Container>, message: Message) {
        self.put_stored(container, message, false);
    }

    fn put_stored(&self, container: &Arc<Container>, message: Message, resident: bool) {
        let message = Arc::new(message);
        let mut messages = self.spool.messages.borrow_mut();
        messages.push(message.clone());
        let key = StoreKey(messages.len() as u64 - 1);
        for recipient in 0..message.envelope.recipients.len() as u16 {
            let kept = resident.then(|| message.clone());
            self.work.borrow_mut().enqueue(container, key, recipient, kept);
        }
    }

    /// As [`Bench::put_cold`], with content that is read piece by piece.
    pub(crate) fn put_spooled(&self, container: &Arc<Container>, mut message: Message, content: Vec<u8>) {
        message.content = Content::Spooled { len: content.len() as u64 };
        let key = self.spool.messages.borrow().len() as u64;
        self.spool.contents.borrow_mut().insert(key, content);
        self.put_cold(container, message);
    }

    /// A lease of a stored message, as if its time had run out.
    pub(crate) fn put_expired(&self, container: &Arc<Container>, message: Message) {
        let mut messages = self.spool.messages.borrow_mut();
        messages.push(Arc::new(message));
        let key = StoreKey(messages.len() as u64 - 1);
        let recipients = [LeasedRecipient { entry: u32::MAX, recipient: 0, attempts: 7 }].into_iter().collect();
        let lease = Lease { key, id: MessageId::NONE, received: UnixMicros(0), message: None, recipients };
        self.work.borrow_mut().expired.push_back((container.clone(), lease));
    }

    /// Waits until `done` says so.
    pub(crate) async fn until(&self, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            let late = start.elapsed() > Duration::from_secs(15);
            assert!(!late, "waited in vain; rows: {:#?}", self.rows.borrow());
            self.context.timers().sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits for so many rows that start with `start`.
    pub(crate) async fn until_rows(&self, start: &str, count: usize) {
        self.until(|bench| bench.count(start) >= count).await;
    }

    pub(crate) fn count(&self, start: &str) -> usize {
        self.rows.borrow().iter().filter(|row| row.starts_with(start)).count()
    }

    pub(crate) fn place(&self, start: &str) -> usize {
        let rows = self.rows.borrow();
        rows.iter().position(|row| row.starts_with(start)).unwrap_or_else(|| panic!("no row {start} in {rows:#?}"))
    }
}
