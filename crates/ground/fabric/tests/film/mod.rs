//! A link that records the windows that a channel's encoder writes, and one that plays windows to a channel's decoder and says as text what came out.
//! The text is that of `decoder.c`.

use std::fmt::Write as _;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fabric::channel::{Channel, Deadline, FrameView, Lends, MessageView, Progress, ReceiveError, Reconnect, Waiting};
use fabric::memory::Memory;
use fabric::queue::{Priority, QueueKind};
use fabric::tli::{
    Attempt, Borrowed, Capabilities, Connector, Inlet, Lane, Link, OpenError, Outlet, Peer, PeerGone, Reason, RxWindow,
    Tether, TxWindow, Violation,
};
use fabric::wire::{Bad, BadWindow, Descriptor, WINDOW_HEADER, WindowHeader};
use fabric::{Message, Slice};

/// Longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// How windows reach the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As bytes, as over a network: with length, number of messages and checksum.
    Shipped,
    /// In shared memory, until the channel is closed: with an end word.
    Shared,
    /// In shared memory, while the channel is open: what comes next is not there yet.
    Open,
}

/// CRC-32C, bit by bit.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

/// Posts `messages` to a channel, meets the recorder only then, so that they are clubbed, and returns the windows of all lanes as they were shipped.
pub(crate) fn record(style: Style, priority: Priority, window_bytes: usize, messages: Vec<Message>) -> Vec<Vec<u8>> {
    let reel = Arc::new(Reel::default());
    let camera = Box::new(Camera { style, window_bytes, reel: Arc::clone(&reel), met: false });
    let (channel, _receiver) = Channel::builder()
        .name("recorded")
        .transport(camera, Lends::Any)
        .windows(window_bytes, 4)
        .urgent_windows(window_bytes, 4)
        .progress(Progress::Caller)
        .reconnect(Reconnect::Never)
        .open()
        .unwrap();
    let mut sender = channel.sender(QueueKind::MonoUnbounded, priority);
    messages.into_iter().for_each(|message| sender.post(message, Deadline::Now).unwrap());
    reel.rolls.store(true, Ordering::Release);
    let deadline = Instant::now() + PATIENCE;
    while channel.stats().queued_messages > 0 || channel.stats().links == 0 {
        assert!(Instant::now() < deadline, "the messages do not leave their queue");
        channel.progress();
    }
    if style == Style::Open {
        reel.cut(reel.open.lock().unwrap().as_ref().unwrap());
    } else {
        channel.close(Deadline::after(PATIENCE)).unwrap();
    }
    std::mem::take(&mut *reel.windows.lock().unwrap())
}

/// What was recorded.
#[derive(Default)]
struct Reel {
    rolls: AtomicBool,
    windows: Mutex<Vec<Vec<u8>>>,
    /// The memory of the window that was taken last.
    open: Mutex<Option<Memory>>,
}

impl Reel {
    fn cut(&self, memory: &Memory) {
        let mut bytes = vec![0; memory.len()];
        memory.copy_out(0, &mut bytes);
        self.windows.lock().unwrap().push(bytes);
    }
}

struct Camera {
    style: Style,
    window_bytes: usize,
    reel: Arc<Reel>,
    met: bool,
}

impl Connector for Camera {
    fn poll(&mut self, _now: Instant) -> Result<Attempt, OpenError> {
        if self.met || !self.reel.rolls.load(Ordering::Acquire) {
            return Ok(Attempt::Waiting { again: None });
        }
        self.met = true;
        let tether = Arc::new(Ended::default());
        let outlet = Recorder {
            style: self.style,
            window_bytes: self.window_bytes,
            reel: Arc::clone(&self.reel),
            sequence: [0; 2],
            lent: 0,
        };
        let inlet = Projector { bytes: None, tether: Arc::clone(&tether) };
        let capabilities = Capabilities {
            visible_on_commit: self.style != Style::Shipped,
            shares_memory: true,
            ..Capabilities::default()
        };
        Ok(Attempt::Met(Link { outlet: Box::new(outlet), inlet: Box::new(inlet), tether, capabilities }))
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// The epoch that stands in recorded windows.
const EPOCH: u32 = 0x0e90_c400;

struct Recorder {
    style: Style,
    window_bytes: usize,
    reel: Arc<Reel>,
    sequence: [u64; 2],
    lent: u32,
}

impl Outlet for Recorder {
    fn take(&mut self, lane: Lane) -> Result<Option<TxWindow>, PeerGone> {
        self.sequence[lane as usize] += 1;
        let mut window = TxWindow::private(self.window_bytes, 0);
        if self.style != Style::Shipped {
            let sequence = self.sequence[lane as usize];
            let header = WindowHeader { flags: 0, used: 0, messages: 0, sequence, crc32c: 0, epoch: EPOCH };
            // SAFETY: nobody reads the window before it is shipped or copied as a whole.
            unsafe { window.begin(&header) };
        }
        *self.reel.open.lock().unwrap() = Some(window.memory().clone());
        Ok(Some(window))
    }

    fn ship(&mut self, lane: Lane, mut window: TxWindow) -> Result<(), PeerGone> {
        if self.style == Style::Shipped {
            let flags = u8::from(lane == Lane::Urgent);
            let bytes = window.shipped_with(flags, self.sequence[lane as usize], EPOCH, Some(crc32c)).to_vec();
            self.reel.windows.lock().unwrap().push(bytes);
        } else if self.style == Style::Shared {
            window.end();
            self.reel.cut(window.memory());
        }
        Ok(())
    }

    fn lend(&mut self, bytes: &Slice) -> Result<Option<Descriptor>, PeerGone> {
        self.lent += 1;
        let (lease, length) = (self.lent, bytes.len() as u32);
        Ok(Some(Descriptor { lease, generation: 3, window: 2, offset: 4096 * lease, length }))
    }

    fn unlend(&mut self, _descriptor: Descriptor) {
        self.lent -= 1;
    }

    fn progress(&mut self) -> Result<(), PeerGone> {
        Ok(())
    }

    fn is_drained(&mut self) -> Result<bool, PeerGone> {
        Ok(true)
    }

    fn read_by_peer(&self, _lane: Lane) -> u64 {
        u64::MAX
    }

    fn finish(&mut self) {}
}

/// Plays a window to a channel's decoder; what came out, as text.
pub(crate) fn play(bytes: &[u8]) -> String {
    let mut text = String::new();
    let tether = Arc::new(Ended::default());
    let inlet = Projector { bytes: Some(bytes.to_vec()), tether: Arc::clone(&tether) };
    let outlet = Recorder { style: Style::Shipped, window_bytes: 0, reel: Arc::default(), sequence: [0; 2], lent: 0 };
    let shared: Arc<Ended> = Arc::clone(&tether);
    let capabilities = Capabilities { shares_memory: true, ..Capabilities::default() };
    let link = Link { outlet: Box::new(outlet), inlet: Box::new(inlet), tether, capabilities };
    let (_channel, mut receiver) = Channel::builder()
        .name("played")
        .transport(Box::new(Screen(Some(link))), Lends::Nothing)
        .progress(Progress::Caller)
        .reconnect(Reconnect::Never)
        .waiting(Waiting::Busy)
        .open()
        .unwrap();
    let reason = loop {
        match receiver.receive_with(Deadline::after(PATIENCE), |message| show(&message)) {
            Ok(message) => text += &message,
            Err(ReceiveError::PeerGone(loss)) => break loss.gone.reason,
            Err(error) => panic!("{error}"),
        }
    };
    let header = shared.header.lock().unwrap().take().unwrap_or_default();
    let end = match reason {
        Reason::Closed => format!("{}\n", shared.end.lock().unwrap().expect("the window was given back")),
        Reason::Violation(violation) => format!("refused {}\n", class(&violation)),
        other => panic!("{other}"),
    };
    header + &text + &end
}

/// The name that `decoder.c` has for it.
fn class(violation: &Violation) -> &'static str {
    match violation {
        Violation::Window(BadWindow::Magic(_)) => "magic",
        Violation::Window(BadWindow::Version(_)) => "version",
        Violation::Window(BadWindow::HeaderLength(_)) => "header-length",
        Violation::Window(BadWindow::Used { .. }) => "used",
        Violation::Window(BadWindow::Checksum) => "checksum",
        Violation::Message(Bad::Length { .. }) => "length",
        Violation::Message(Bad::FrameCount(_)) => "frame-count",
        Violation::Message(Bad::Kind(_)) => "kind",
        Violation::Message(Bad::MessageFlags(_)) => "message-flags",
        Violation::Message(Bad::FrameLength { .. }) => "frame-length",
        Violation::Message(Bad::FrameFlags(_)) => "frame-flags",
        Violation::Message(Bad::Surplus { .. }) => "surplus",
        other => panic!("{other}"),
    }
}

fn show(message: &MessageView<'_>) -> String {
    let (flags, correlation, frames) = (message.flags(), message.correlation(), message.frames());
    let kind = format!("{:?}", message.kind()).to_lowercase();
    let mut text = format!("message {kind} flags {flags:#04x} correlation {correlation} frames {frames}\n");
    if let Some((timestamp, tag)) = message.extension() {
        writeln!(text, "timestamp {timestamp} tag {tag}").unwrap();
    }
    for (number, (schema, frame)) in message.each_frame().enumerate() {
        write!(text, "frame {number} schema {schema} ").unwrap();
        match frame {
            // The projector lends the descriptor itself, to be shown.
            FrameView::Slice(slice) => {
                let Descriptor { lease, generation, window, offset, length } =
                    Descriptor::parse(slice.as_bytes().try_into().unwrap());
                write!(
                    text,
                    "lent lease {lease} generation {generation} window {window} offset {offset} length {length}"
                )
                .unwrap();
            }
            FrameView::Bytes(bytes) => {
                write!(text, "bytes {} ", bytes.len()).unwrap();
                bytes.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
            }
            FrameView::Remote(_) => panic!("nothing remote was lent"),
        }
        text += "\n";
    }
    text
}

struct Screen(Option<Link>);

impl Connector for Screen {
    fn poll(&mut self, _now: Instant) -> Result<Attempt, OpenError> {
        Ok(self.0.take().map_or(Attempt::Waiting { again: None }, Attempt::Met))
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Hands out one window, as a transport would: its header is looked at here.
struct Projector {
    bytes: Option<Vec<u8>>,
    tether: Arc<Ended>,
}

impl Projector {
    fn open(&self, bytes: &[u8]) -> Result<RxWindow, BadWindow> {
        let short = BadWindow::Used { used: bytes.len() as u32, size: bytes.len() };
        let header = WindowHeader::parse(bytes.first_chunk().ok_or(short)?, bytes.len())?;
        let used = if header.used == 0 { bytes.len() } else { header.used as usize };
        if header.used != 0 && header.crc32c != 0 && crc32c(&bytes[WINDOW_HEADER..used]) != header.crc32c {
            return Err(BadWindow::Checksum);
        }
        let WindowHeader { flags, used: said, messages, sequence, crc32c, epoch } = header;
        *self.tether.header.lock().unwrap() = Some(format!(
            "window flags {flags:#04x} used {said} messages {messages} sequence {sequence} epoch {epoch} crc32c {crc32c:#010x}\n"
        ));
        Ok(RxWindow::private(bytes.len().next_multiple_of(8), 0, |place| {
            place[..bytes.len()].copy_from_slice(bytes);
            used
        }))
    }
}

impl Inlet for Projector {
    fn receive(&mut self, lane: Lane) -> Result<Option<RxWindow>, PeerGone> {
        if lane == Lane::Urgent {
            return Ok(None);
        }
        let Some(bytes) = self.bytes.take() else { return Err(self.tether.gone()) };
        self.tether.over.store(true, Ordering::Release);
        self.open(&bytes).map(Some).map_err(|bad| {
            self.tether.cut(Reason::Violation(Violation::Window(bad)));
            self.tether.gone()
        })
    }

    fn dispose(&mut self, _lane: Lane, window: RxWindow) {
        *self.tether.end.lock().unwrap() = Some(if window.word() == 0 { "open" } else { "end" });
    }

    fn read(&mut self, _lane: Lane, _messages: u64) {}

    fn borrow(&mut self, descriptor: Descriptor) -> Result<Borrowed, Violation> {
        Ok(Borrowed::Slice(Slice::copy_from(&descriptor.pack())))
    }
}

/// The peer is gone when its window was handed out.
#[derive(Default)]
struct Ended {
    over: AtomicBool,
    reason: Mutex<Option<Reason>>,
    header: Mutex<Option<String>>,
    /// How the window ended.
    end: Mutex<Option<&'static str>>,
}

impl Ended {
    fn gone(&self) -> PeerGone {
        let reason = self.reason.lock().unwrap().clone().unwrap_or(Reason::Closed);
        PeerGone { peer: "film".to_owned(), reason }
    }
}

impl Tether for Ended {
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn look(&self) -> Result<(), PeerGone> {
        if self.over.load(Ordering::Acquire) { Err(self.gone()) } else { Ok(()) }
    }

    fn arm(&self) {}

    fn disarm(&self) {}

    fn ring(&self) {}

    fn peer(&self) -> &Peer {
        const FILM: &Peer = &Peer { name: String::new(), pid: None, user: None };
        FILM
    }

    fn cut(&self, reason: Reason) {
        self.reason.lock().unwrap().get_or_insert(reason);
    }
}
