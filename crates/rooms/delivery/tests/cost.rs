//! What a relayed message and a connection that waits cost, counted at the allocator, on real sockets.
//!
//! One test only: the allocator counts for the whole process, the peer's thread too, which therefore allocates nothing.

use config::Config;
use delivery::{Delivery, Inject, Names, Neighbours, OwnIdentity, Parts};
use engine::{Descriptors, Gauges, LoopContext, LoopOptions, Pool, Reserve, run_here};
use fabric::Slice;
use message::{
    Address, Agent, Attempted, Body, BodyType, Closing, Container, Content, Dial, Dots, Envelope, Event, EventSink,
    Host, IdSource, Lease, LeasedRecipient, Message, MessageId, Notify, Outcome, Protocol, Reception, Recipient, Spool,
    SpoolStream, StoreError, StoreKey, UnixMicros, Utf8, Verdict, Work,
};
use policy::{Addresses, DnsName, Families, MailRoute, Pointers, Resolve, ResolveError, Texts};
use smallvec::smallvec;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations for a message on a kept connection with PIPELINING.
const ALLOCATIONS_MAX: usize = 8;
/// Heap of a connection whose peer says nothing, bytes.
const WAITING_BYTES_MAX: usize = 6 << 10;
const MESSAGES: u32 = 20_000;
const CONNECTIONS: u32 = 1_000;

/// So many copies of one message, for so many connections.
struct Supply {
    container: Arc<Container>,
    message: Arc<Message>,
    left: u32,
    connections: u32,
    dialled: u32,
    done: Rc<Cell<u32>>,
}

impl Work for Supply {
    fn poll_dial(&mut self, _: UnixMicros) -> Option<Dial> {
        (self.dialled < self.connections).then(|| {
            self.dialled += 1;
            Dial { container: self.container.clone(), connection: self.dialled }
        })
    }

    fn poll_wake(&mut self, _: UnixMicros) -> Option<Duration> {
        None
    }

    fn lease(&mut self, _: u32, _: usize, _: UnixMicros) -> Option<Lease> {
        self.left = self.left.checked_sub(1)?;
        let recipients = smallvec![LeasedRecipient { entry: self.left, recipient: 0, attempts: 1 }];
        let message = Some(self.message.clone());
        Some(Lease { key: StoreKey(0), id: MessageId::NONE, received: UnixMicros(0), message, recipients })
    }

    fn attempted(&mut self, _: u32, verdict: Verdict, _: UnixMicros) -> Attempted {
        assert_eq!(verdict, Verdict::Delivered);
        self.done.set(self.done.get() + 1);
        Attempted::Settled(Outcome::Delivered)
    }

    fn closed(&mut self, _: u32, _: Closing, _: UnixMicros) {}

    fn poll_expired(&mut self, _: UnixMicros) -> Option<(Arc<Container>, Lease)> {
        None
    }
}

/// Everything that is not asked for anything.
#[derive(Clone)]
struct Nothing;

impl SpoolStream for Nothing {
    async fn append(&mut self, _: Slice) -> Result<(), StoreError> {
        Err(StoreError::Failed)
    }

    async fn commit(self, _: Arc<Message>) -> Result<StoreKey, StoreError> {
        Err(StoreError::Failed)
    }
}

impl Spool for Nothing {
    type Stream = Nothing;

    async fn store(&self, _: Arc<Message>) -> Result<StoreKey, StoreError> {
        Err(StoreError::Failed)
    }

    fn stream(&self, _: MessageId) -> Nothing {
        Nothing
    }

    fn outcome(&self, _: StoreKey, _: u16, _: Outcome) {}

    async fn fetch(&self, _: StoreKey) -> Result<Arc<Message>, StoreError> {
        Err(StoreError::Missing)
    }

    async fn read(&self, _: StoreKey, _: u64, _: usize) -> Result<Slice, StoreError> {
        Err(StoreError::Missing)
    }
}

impl EventSink for Nothing {
    fn event(&self, _: &Event<'_>) {}
}

impl Inject for Nothing {
    async fn inject(&self, _: Arc<Message>) -> Result<(), StoreError> {
        Err(StoreError::Failed)
    }
}

impl Resolve for Nothing {
    async fn mail_route(&self, _: &DnsName) -> Result<MailRoute, ResolveError> {
        Err(ResolveError::Busy)
    }

    async fn addresses(&self, _: &DnsName, _: Families) -> Result<Addresses, ResolveError> {
        Err(ResolveError::Busy)
    }

    async fn texts(&self, _: &DnsName) -> Result<Texts, ResolveError> {
        Err(ResolveError::Busy)
    }

    async fn pointers(&self, _: IpAddr) -> Result<Pointers, ResolveError> {
        Err(ResolveError::Busy)
    }
}

impl Neighbours for Nothing {
    type Work = Supply;
    type Spool = Nothing;
    type Resolver = Nothing;
    type Events = Nothing;
    type Inject = Nothing;
}

fn supply(address: SocketAddr, left: u32, connections: u32, done: &Rc<Cell<u32>>) -> Supply {
    let address_of = |text: &str| Address::parse(text).expect("an address");
    let recipient = Recipient { address: address_of("r@b.example"), notify: Notify::Unset, orcpt: None };
    let message = Message {
        id: MessageId::NONE,
        envelope: Envelope {
            sender: Some(address_of("s@a.example")),
            recipients: vec![recipient],
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
            dots: Dots::None,
        },
        trace: Slice::copy_from(b"Received: by us\r\n"),
        content: Content::Resident(Body::from(Slice::copy_from(&b"0123456789abcdef0123456789abcd\r\n".repeat(128)))),
    };
    let host = Host { name: address.ip().to_string().into(), port: address.port() };
    let container = Container {
        name: "b.example".into(),
        binding: "default".into(),
        group: None,
        options: "*".into(),
        agent: Agent::Smtp(host),
    };
    let (container, message) = (Arc::new(container), Arc::new(message));
    Supply { container, message, left, connections, dialled: 0, done: done.clone() }
}

fn start(context: &LoopContext, config: &Arc<Config>, gauges: &Gauges, supply: Supply) -> (Delivery<Nothing>, Names) {
    let names = Names::register(gauges).expect("names");
    let parts = Parts {
        context: context.clone(),
        work: Rc::new(RefCell::new(supply)),
        spool: Nothing,
        resolver: Nothing,
        events: Nothing,
        inject: Nothing,
        pool: Pool::new("io", 1, 1).expect("a pool"),
        descriptors: Descriptors::new(20_000, Reserve::of(20_000)),
        counters: names.counters(&gauges.shard()),
        own: Arc::new(OwnIdentity::new("us.example", Vec::new())),
        hosts: delivery::HostLimits::new(),
        ids: IdSource::new(1, 2),
    };
    (Delivery::start(parts, config), names)
}

/// A peer that takes everything and allocates nothing a message; counts its reads.
fn take_all(mut stream: TcpStream) -> std::io::Result<u64> {
    stream.set_nodelay(true)?;
    stream.write_all(b"220 peer\r\n")?;
    let (mut input, mut output) = (vec![0; 1 << 20], Vec::with_capacity(1 << 16));
    let (mut len, mut within, mut reads) = (0, false, 0);
    loop {
        let read = stream.read(&mut input[len..])?;
        if read == 0 {
            return Ok(reads);
        }
        reads += 1;
        len += read;
        let mut at = 0;
        while let Some(end) = input[at..len].iter().position(|&b| b == b'\n') {
            let line = &input[at..=at + end];
            at += end + 1;
            let reply: &[u8] = match line {
                b".\r\n" if within => {
                    within = false;
                    b"250 2.0.0 Ok: queued as 4Xq2Lr1VBzz1F\r\n"
                }
                _ if within => b"",
                [b'E', ..] => b"250-peer\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
                [b'D', ..] => {
                    within = true;
                    b"354 End data with <CR><LF>.<CR><LF>\r\n"
                }
                [b'M', ..] => b"250 2.1.0 Ok\r\n",
                [b'R', ..] => b"250 2.1.5 Ok\r\n",
                _ => b"221 2.0.0 Bye\r\n",
            };
            output.extend_from_slice(reply);
        }
        input.copy_within(at..len, 0);
        len -= at;
        stream.write_all(&output)?;
        output.clear();
    }
}

#[test]
fn a_message_and_a_waiting_connection_cost_what_the_budget_says() {
    let config = Arc::new(Config::parse("test", "[server]\nhostname = \"us.example\"\n").expect("a configuration"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let peer = std::thread::spawn(move || take_all(listener.accept().expect("a connection").0));
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent_address = silent.local_addr().expect("an address");
    let held = std::thread::spawn(move || {
        let streams = (0..CONNECTIONS).map_while(|_| silent.accept().ok()).collect::<Vec<_>>();
        std::thread::park();
        drop(streams);
    });
    let main = move |context: LoopContext| async move {
        let (done, gauges) = (Rc::new(Cell::new(0)), Gauges::new());
        let room = start(&context, &config, &gauges, supply(address, MESSAGES, 1, &done));
        let wait = |until| {
            let (context, done) = (context.clone(), done.clone());
            async move {
                while done.get() < until {
                    context.timers().sleep(Duration::from_millis(10)).await;
                }
            }
        };
        wait(100).await;
        let (first, before, region) = (done.get(), engine::thread_cpu(), Region::new(ALLOCATOR));
        wait(MESSAGES).await;
        let counted = done.get() - first;
        let micros = (engine::thread_cpu() - before).as_micros() as f64 / f64::from(counted);
        let allocations = region.change().allocations as f64 / f64::from(counted);
        println!("{allocations:.2} allocations and {micros:.1} us of CPU a message");
        assert!(allocations <= ALLOCATIONS_MAX as f64, "{allocations}");
        room.0.drain(Duration::from_secs(5)).await;

        let region = Region::new(ALLOCATOR);
        let (room, names) = start(&context, &config, &gauges, supply(silent_address, 0, CONNECTIONS, &done));
        room.work_came();
        while names.read(&gauges).connections < u64::from(CONNECTIONS) {
            context.timers().sleep(Duration::from_millis(10)).await;
        }
        let change = region.change();
        let bytes = (change.bytes_allocated - change.bytes_deallocated) / CONNECTIONS as usize;
        println!("{bytes} octets of heap a waiting connection");
        assert!(bytes <= WAITING_BYTES_MAX, "{bytes}");
        room.drain(Duration::from_secs(5)).await;
    };
    run_here(LoopOptions::default(), main).expect("a loop");
    let reads = peer.join().expect("the peer's thread").expect("a conversation");
    println!("{:.2} reads of the peer a message", reads as f64 / f64::from(MESSAGES));
    held.thread().unpark();
    held.join().expect("the silent peer's thread");
}
