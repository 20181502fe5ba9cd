//! What a message and an idle session cost, counted at the allocator, on real sockets.
//!
//! One test only: the allocator counts for the whole process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use config::Config;
use engine::{
    Descriptors, Gauges, ListenOptions, Listener, LoopContext, LoopOptions, Loops, PressureGauge, Reserve, listen,
};
use fabric::{Slice, WindowPool};
use message::{
    Content, Event, EventSink, IdSource, Message, MessageId, Outcome, Spool, SpoolStream, StoreError, StoreKey,
};
use reception::{Admissions, Names, Onward, Parts, Reception};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations for a pipelined message, the client's name, its addresses and its `Arc` among them.
const ALLOCATIONS_MAX: usize = 6;
/// Heap of an idle session after its greeting, bytes.
const SESSION_BYTES_MAX: usize = 3 << 10;
const MESSAGES: usize = 2000;
const SESSIONS: usize = 200;

#[derive(Default)]
struct Ledger {
    stored: AtomicU64,
    slices: AtomicU64,
    /// CPU time of the loop when the counting began and now, microseconds.
    cpu: Mutex<[u64; 2]>,
}

#[derive(Clone)]
struct Counting(Arc<Ledger>);

impl Spool for Counting {
    type Stream = Never;

    async fn store(&self, message: Arc<Message>) -> Result<StoreKey, StoreError> {
        let Content::Resident(body) = &message.content else { return Err(StoreError::Failed) };
        self.0.slices.fetch_add(body.slices().len() as u64, SeqCst);
        let cpu = engine::thread_cpu().as_micros() as u64;
        let stored = self.0.stored.fetch_add(1, SeqCst);
        let mut span = self.0.cpu.lock().unwrap();
        if stored == 0 {
            span[0] = cpu;
        }
        span[1] = cpu;
        Ok(StoreKey(stored))
    }

    fn stream(&self, _: MessageId) -> Never {
        Never
    }

    fn outcome(&self, _: StoreKey, _: u16, _: Outcome) {}

    async fn fetch(&self, _: StoreKey) -> Result<Arc<Message>, StoreError> {
        Err(StoreError::Missing)
    }

    async fn read(&self, _: StoreKey, _: u64, _: usize) -> Result<Slice, StoreError> {
        Err(StoreError::Missing)
    }
}

struct Never;

impl SpoolStream for Never {
    async fn append(&mut self, _: Slice) -> Result<(), StoreError> {
        Err(StoreError::Failed)
    }

    async fn commit(self, _: Arc<Message>) -> Result<StoreKey, StoreError> {
        Err(StoreError::Failed)
    }
}

struct Silent;

impl EventSink for Silent {
    fn event(&self, event: &Event<'_>) {
        panic!("{event:?}");
    }
}

impl Onward for Silent {
    fn stored(&self, message: Arc<Message>, _: StoreKey) {
        drop(message);
    }
}

fn start(ledger: &Arc<Ledger>, windows: &WindowPool) -> (Loops, SocketAddr) {
    let text = "[listener.mx]\nbind = [\"127.0.0.1:0\"]\nrelay_from = [\"127.0.0.0/8\"]\n\
                max_sessions_per_network = 1000\n";
    let config = Arc::new(Config::parse("test", text).unwrap());
    let gauges = Gauges::new();
    let names = Names::register(&gauges).unwrap();
    let listener = listen("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let (ledger, windows) = (ledger.clone(), windows.clone());
    let main = move |context: LoopContext, listener: TcpListener| {
        let parts = Parts {
            spool: Counting(ledger.clone()),
            events: Silent,
            onward: Silent,
            admissions: Admissions::new(),
            descriptors: Descriptors::new(10_000, Reserve { delivery: 0, journal: 0, console: 0 }),
            pressure: PressureGauge::new(),
            counters: names.counters(context.gauges()),
            suppressed: Rc::new(policy::NobodySuppressed),
            windows: windows.clone(),
            ids: IdSource::new(1, 7),
            context: context.clone(),
        };
        let reception = Reception::new(parts, &config);
        async move {
            reception.serve("mx", Listener::from_tcp(listener).unwrap()).unwrap().detach();
            context.root().stopped().await;
        }
    };
    let options = LoopOptions { gauges, ..LoopOptions::default() };
    (Loops::start_each(options, vec![listener], main).unwrap(), address)
}

/// Reads until so many octets have come; allocates nothing.
fn read_exactly(stream: &mut TcpStream, octets: usize) {
    let mut buffer = [0; 4096];
    stream.read_exact(&mut buffer[..octets]).unwrap();
}

/// Reads up to a line that begins with `last`; returns the octets read.
fn read_to(stream: &mut TcpStream, last: &[u8]) -> usize {
    let mut buffer = [0; 4096];
    let mut read = 0;
    loop {
        read += stream.read(&mut buffer[read..]).unwrap();
        let whole = buffer[..read].ends_with(b"\r\n");
        let line = buffer[..read.saturating_sub(2)].rsplit(|octet| *octet == b'\n').next().unwrap_or(b"");
        if whole && line.starts_with(last) {
            return read;
        }
    }
}

fn greet(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    read_to(&mut stream, b"220 ");
    stream.write_all(b"EHLO client.example.net\r\n").unwrap();
    read_to(&mut stream, b"250 ");
    stream
}

const ENVELOPE: &[u8] = b"MAIL FROM:<sender@example.net> SIZE=4096\r\nRCPT TO:<someone@example.org>\r\nDATA\r\n";

#[test]
fn a_message_and_an_idle_session() {
    let (ledger, windows) = (Arc::<Ledger>::default(), WindowPool::new(WindowPool::WINDOW_BYTES, 16));
    let (loops, address) = start(&ledger, &windows);
    let mut stream = greet(address);
    let mut content = b"From: <sender@example.net>\r\nSubject: x\r\n\r\n".to_vec();
    while content.len() < 4096 {
        content.extend_from_slice(&[b'x'; 76]);
        content.extend_from_slice(b"\r\n");
    }
    content.extend_from_slice(b".\r\n");
    // The first message finds out how long the replies are, and warms everything up.
    stream.write_all(ENVELOPE).unwrap();
    let envelope_reply = read_to(&mut stream, b"354 ");
    stream.write_all(&content).unwrap();
    let content_reply = read_to(&mut stream, b"250 ");
    let before = ALLOCATOR.stats();
    let begin = Instant::now();
    for _ in 0..MESSAGES {
        stream.write_all(ENVELOPE).unwrap();
        read_exactly(&mut stream, envelope_reply);
        stream.write_all(&content).unwrap();
        read_exactly(&mut stream, content_reply);
    }
    let elapsed = begin.elapsed();
    let allocations = ALLOCATOR.stats() - before;
    let per_message = allocations.allocations as f64 / MESSAGES as f64;
    let [from, to] = *ledger.cpu.lock().unwrap();
    println!(
        "{per_message:.2} allocations, {:.2} reallocations, {:.1} µs of CPU, {:.1} µs elapsed a message",
        allocations.reallocations as f64 / MESSAGES as f64,
        (to - from) as f64 / MESSAGES as f64,
        elapsed.as_micros() as f64 / MESSAGES as f64,
    );
    assert_eq!(ledger.stored.load(SeqCst), MESSAGES as u64 + 1);
    assert!(per_message <= ALLOCATIONS_MAX as f64 + 0.05, "{per_message} allocations a message");
    // No copy: the content of a message is one slice of the window that it was read into, two where a read was cut.
    let slices = ledger.slices.load(SeqCst) as f64 / MESSAGES as f64;
    assert!(slices < 1.2, "{slices} slices a message");
    assert!(windows.stats().live <= 2);

    let held = ALLOCATOR.stats();
    let idle: Vec<TcpStream> = (0..SESSIONS).map(|_| greet(address)).collect();
    let more = ALLOCATOR.stats() - held;
    let bytes = (more.bytes_allocated + more.bytes_reallocated.max(0) as usize - more.bytes_deallocated) / SESSIONS;
    println!("{bytes} bytes of heap an idle session");
    assert!(bytes <= SESSION_BYTES_MAX, "{bytes} bytes a session");
    drop(idle);
    loops.shutdown(Duration::from_millis(100));
}
