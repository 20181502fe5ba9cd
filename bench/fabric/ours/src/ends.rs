//! The fabric's channels as the kit's senders and receivers. What the channel's interface looks like is known here only.

use fabric::channel::{
    Channel, Deadline, FrameView, MessageView, Progress, Receiver as ChannelReceiver, Sender as Queue, State, Waiting,
};
use fabric::queue::{Full, Priority, QueueKind};
use fabric::tli::Trust;
use fabric::{Arena, Message, Slice, Window, WindowPool};
use fabric_tokio::AsyncReceiver;
use kit::flight::AsyncEnd;
use kit::message::read;
use kit::{Plan, Receiver, Sender};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the peers may take to meet.
const MEET: Duration = Duration::from_secs(5);
/// Payloads up to this size are copied into the message; larger ones lie in a window of a pool and are referred to.
const COPIED_MAX: usize = 128;
/// Messages that may wait in a queue while the peer is behind.
const QUEUED_MAX: usize = 256;
/// Windows of an arena: few, so that they stay warm.
const ARENA_WINDOWS: usize = 16;

/// Windows that a pool keeps.
const POOL_WINDOWS: usize = 64;

/// What a channel is opened with.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) trust: Trust,
    pub(crate) waiting: Waiting,
    pub(crate) progress: Progress,
}

impl Default for Setup {
    fn default() -> Self {
        Setup { trust: Trust::Hostile, waiting: Waiting::default(), progress: Progress::Caller }
    }
}

/// Which side of a channel.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Listen,
    Connect,
}

/// A socket file of its own, removed in the end.
pub(crate) struct SocketFile {
    pub(crate) uri: String,
    path: PathBuf,
}

impl SocketFile {
    /// One of many.
    pub(crate) fn numbered(&self, number: usize) -> SocketFile {
        let path = PathBuf::from(format!("{}-{number}", self.path.display()));
        SocketFile { uri: format!("ipc:{}", path.display()), path }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The listener may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// An address of ipc that nobody else has.
pub(crate) fn ipc() -> SocketFile {
    let path = std::env::temp_dir().join(format!("fabric-bench-{}", std::process::id()));
    SocketFile { uri: format!("ipc:{}", path.display()), path }
}

/// A port on loopback that was free a moment ago, with options of the address.
pub(crate) fn tcp(options: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = listener.local_addr().expect("a bound listener has an address");
    format!("tcp://{address}{options}")
}

/// A name in this process.
pub(crate) fn inproc() -> String {
    "inproc:bench".to_owned()
}

/// Opens a side and waits until the peer is there.
pub(crate) fn open(uri: &str, plan: &Plan, side: Side, setup: Setup) -> (Channel, ChannelReceiver) {
    let (channel, receiver) = begin(uri, plan, side, setup);
    await_peer(&channel);
    (channel, receiver)
}

/// Both sides of a channel in this process: the sending handle of one and the receiving one of the other.
pub(crate) fn open_both(uri: &str, plan: &Plan, setup: Setup) -> (Channel, ChannelReceiver) {
    let (far, receiver) = begin(uri, plan, Side::Listen, setup);
    let (near, _) = begin(uri, plan, Side::Connect, setup);
    for channel in [&near, &far, &near] {
        channel.progress();
    }
    await_peer(&near);
    (near, receiver)
}

fn begin(uri: &str, plan: &Plan, side: Side, setup: Setup) -> (Channel, ChannelReceiver) {
    // A window for each large message, so that a few of them pass in turn and stay warm; else four megabytes in all.
    let (bytes, count) =
        if plan.size > 64 << 10 { ((plan.size + 4096).next_multiple_of(4096), 8) } else { (256 << 10, 16) };
    let builder =
        Channel::builder().windows(bytes, count).trust(setup.trust).waiting(setup.waiting).progress(setup.progress);
    let arena = Arena::new(plan.size, ARENA_WINDOWS).expect("memory for an arena");
    let builder = builder.arena(Arc::new(arena));
    let builder = match side {
        Side::Listen => builder.listen(uri),
        Side::Connect => builder.connect(uri),
    };
    builder.open().expect("a channel")
}

/// Waits until the peers have met.
pub(crate) fn await_peer(channel: &Channel) {
    let start = Instant::now();
    while !matches!(channel.state(), State::Up { .. }) {
        assert!(start.elapsed() < MEET, "no peer came: {:?}", channel.state());
        channel.progress();
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// How a payload becomes a message.
#[derive(Clone, Copy)]
pub(crate) enum Posting {
    /// A message is made, and posted.
    Message,
    /// Bytes at hand are posted, without a message.
    Bytes,
    /// The payload is written where it will be read.
    InPlace,
    /// The payload is written into a window of the arena, which is referred to.
    Window,
    /// The sequence number, and the same slice each time.
    Again,
}

/// The sending side.
pub(crate) struct Out {
    channel: Channel,
    queue: Queue,
    posting: Posting,
    buffer: Vec<u8>,
    pool: WindowPool,
    window: Option<Window>,
    slice: Slice,
}

impl Out {
    pub(crate) fn open(uri: &str, plan: &Plan, posting: Posting, setup: Setup) -> Out {
        Out::of(open(uri, plan, Side::Connect, setup).0, plan, posting)
    }

    pub(crate) fn of(channel: Channel, plan: &Plan, posting: Posting) -> Out {
        let kind = QueueKind::MultiBounded { capacity: QUEUED_MAX, full: Full::Block };
        let queue = channel.sender(kind, Priority::Normal);
        // One window a large payload, so that what comes back first is used again first and stays warm.
        let pool = WindowPool::new(plan.size.max(16 << 10), POOL_WINDOWS);
        let slice = Slice::from_vec(vec![0x5a; plan.size]);
        Out { channel, queue, posting, buffer: vec![0; plan.size], pool, window: None, slice }
    }

    /// A payload in a buffer that is used again and again, copied into a message.
    #[inline(always)]
    fn small(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Message {
        fill(&mut self.buffer[..len]);
        Message::copied(&self.buffer[..len])
    }

    /// A payload in a window of a pool, referred to by a message. The window is used again at once when nobody refers to it any more.
    fn large(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Message {
        if !self.window.as_mut().is_some_and(|window| window.try_rewind() || window.room() >= len) {
            self.window = Some(self.pool.take());
        }
        let window = self.window.as_mut().expect("one was just taken");
        fill(&mut window.spare()[..len]);
        Message::shared(window.fill(len))
    }

    /// A message that refers to a window of the arena.
    fn lent(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Message {
        let mut window = loop {
            match self.channel.take_window() {
                Some(window) => break window,
                None => self.channel.progress(),
            }
        };
        fill(&mut window.spare()[..len]);
        Message::shared(window.fill(len))
    }
}

impl Sender for Out {
    #[inline]
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        let result = match self.posting {
            Posting::Message if len <= COPIED_MAX => {
                let message = self.small(len, fill);
                self.queue.post(message, Deadline::Never)
            }
            Posting::Message => {
                let message = self.large(len, fill);
                self.queue.post(message, Deadline::Never)
            }
            Posting::Window => {
                let message = self.lent(len, fill);
                self.queue.post(message, Deadline::Never)
            }
            Posting::Bytes => {
                fill(&mut self.buffer[..len]);
                self.queue.post_bytes(&self.buffer[..len], Deadline::Never)
            }
            Posting::InPlace => self.queue.post_with(len, fill, Deadline::Never),
            Posting::Again => {
                let mut message = self.small(8, fill);
                message.push_shared(self.slice.clone());
                self.queue.post(message, Deadline::Never)
            }
        };
        result.expect("the peer outlives the run");
    }
}

/// The receiving side.
pub(crate) struct In {
    receiver: ChannelReceiver,
    buffer: Vec<u8>,
}

impl In {
    pub(crate) fn open(uri: &str, plan: &Plan, setup: Setup) -> In {
        In::of(open(uri, plan, Side::Listen, setup).1)
    }

    pub(crate) fn of(receiver: ChannelReceiver) -> In {
        In { receiver, buffer: Vec::new() }
    }
}

impl Receiver for In {
    #[inline]
    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        let buffer = &mut self.buffer;
        self.receiver
            .receive_with(Deadline::Never, |message| read(first_frame(&message, buffer)))
            .expect("the peer outlives the run")
    }
}

/// The bytes of the first frame where they lie, or a copy in `buffer`.
#[inline]
fn first_frame<'a>(message: &'a MessageView<'_>, buffer: &'a mut Vec<u8>) -> &'a [u8] {
    let bytes = message.bytes();
    if bytes.is_empty() { lent_frame(message, buffer) } else { bytes }
}

fn lent_frame<'a>(message: &'a MessageView<'_>, buffer: &'a mut Vec<u8>) -> &'a [u8] {
    match message.frame(0).expect("every message of these rows has a frame") {
        FrameView::Slice(slice) => slice,
        FrameView::Remote(remote) => match remote.trusted() {
            Some(bytes) => bytes,
            None => {
                buffer.resize(remote.len(), 0);
                remote.copy_to(0, buffer);
                buffer
            }
        },
        FrameView::Bytes(bytes) => bytes,
    }
}

/// Both directions of one channel.
pub(crate) struct End {
    out: Out,
    back: In,
}

impl End {
    pub(crate) fn open(uri: &str, plan: &Plan, side: Side, setup: Setup) -> End {
        let (channel, receiver) = open(uri, plan, side, setup);
        End { out: Out::of(channel, plan, Posting::Message), back: In::of(receiver) }
    }
}

impl Sender for End {
    #[inline]
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        self.out.send(len, fill);
    }
}

impl Receiver for End {
    #[inline]
    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        self.back.receive(read)
    }
}

/// Both directions of one channel, awaited on tokio.
pub(crate) struct TokioEnd {
    out: Out,
    back: AsyncReceiver,
}

impl TokioEnd {
    /// Inside a runtime.
    pub(crate) fn open(uri: &str, plan: &Plan, side: Side, setup: Setup) -> TokioEnd {
        let (channel, receiver) = open(uri, plan, side, setup);
        let back = AsyncReceiver::new(receiver).expect("a descriptor");
        TokioEnd { out: Out::of(channel, plan, Posting::Message), back }
    }
}

impl AsyncEnd for TokioEnd {
    async fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        let message = self.out.small(len, fill);
        self.out.queue.post_async(message).await.expect("the peer outlives the run");
    }

    async fn receive(&mut self) -> u64 {
        if let Ok(word) = self.back.receive_now(|message| read(message.bytes())) {
            return word;
        }
        read(self.back.receive().await.expect("the peer outlives the run").bytes())
    }
}

/// Runs a task alone on this thread.
pub(crate) fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    runtime.block_on(work)
}
