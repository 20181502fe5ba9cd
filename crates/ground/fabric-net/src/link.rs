//! A link over a connection: outlet, inlet and tether around one reader and one writer.
//!
//! ```text
//!  outlet ── take, ship ──► Writer (lock) ──► connection ──► peer
//!     │  ▲ credit                ▲ credit and progress to tell
//!     ▼  │                       │
//!    Counters ◄── control ── Reader (lock) ◄── connection ◄── peer
//!                                │ windows
//!  inlet ◄── receive, dispose ───┘
//! ```
//!
//! Either end may find itself reading for the other: an outlet without credit has to read the stream to find some, and then windows wait in the
//! reader for the inlet. Credit bounds them. Nobody holds both locks; none is held while waiting.
//!
//! A reader tells its progress with the next window that goes the other way; alone, when a quarter of a lane's windows are to be given back, when
//! it is about to sleep, when it has looked in vain for a while, and when it was asked.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use fabric::Slice;
use fabric::sync::Mutex;
use fabric::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use fabric::tli::{
    Borrowed, Capabilities, Inlet, Lane, Link, Outlet, Peer, PeerGone, Reason, RxWindow, Tether, TxWindow, Violation,
};
use fabric::wire::Descriptor;

use crate::assembler::{Assembler, Terms, URGENT_FLAG};
use crate::bell::Bell;
use crate::counters::Counters;
use crate::hello::{Agreement, Checksums};
use crate::reader::{Brought, Reader, Source, Until, reason_of};
use crate::ring::{ReceiveRing, SendRing};
use crate::stream::Stream;
use crate::wake::Handoff;
use crate::writer::{Flow, Sink, Writer};

/// Receives in vain until progress is told that need not be told yet.
const IDLE_LOOKS: u32 = 64;
/// How long a link that we leave waits for what was written to leave, too. Who wants certainty closes the channel and lets it linger.
const PARTING: Duration = Duration::from_millis(100);

/// How bytes get in and out of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// A non-blocking call each time, and epoll to sleep.
    Epoll,
    /// Requests in rings.
    Uring,
}

impl Engine {
    pub(crate) const fn via(self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            Self::Uring => "uring",
        }
    }
}

/// What the introduction found out.
pub(crate) struct Introduced {
    pub(crate) stream: Stream,
    pub(crate) engine: Engine,
    pub(crate) agreement: Agreement,
    /// What stands in our frames, and in the peer's.
    pub(crate) epochs: (u32, u32),
    /// Whether our windows carry a checksum, and the peer's.
    pub(crate) checksums: (Checksums, Checksums),
    pub(crate) peer: Peer,
}

/// Makes a link of a connection whose peers have been introduced.
pub(crate) fn link(introduced: Introduced) -> io::Result<Link> {
    let Introduced { stream, engine, agreement, epochs, checksums, peer } = introduced;
    let stream = Arc::new(stream);
    let bell = Bell::new()?;
    let (source, sink) = match engine {
        Engine::Epoll => {
            bell.hear_socket(stream.as_fd())?;
            (Source::Calls(Arc::clone(&stream)), Sink::Calls(Arc::clone(&stream)))
        }
        Engine::Uring => {
            let (receive, send) = (ReceiveRing::new(Arc::clone(&stream))?, SendRing::new(Arc::clone(&stream))?);
            bell.hear_rings(receive.as_fd(), send.as_fd())?;
            (Source::Ring(Box::new(receive)), Sink::Ring(Box::new(send)))
        }
    };
    let terms = Terms { grants: agreement.receive, checksums: checksums.1, epoch: epochs.1, token: epochs.0 };
    // With rings, looking until nothing is there leaves a request in the kernel, without which nobody would be woken.
    let short_means_empty = engine == Engine::Epoll && stream.short_means_empty();
    let core = Arc::new(Core {
        reader: Mutex::new(Reader::new(source, Assembler::new(terms), short_means_empty)),
        writer: Handoff::new(Writer::new(sink, agreement.send, epochs.0)),
        counters: Counters::default(),
        bell,
        blocked: AtomicBool::new(false),
        gone: OnceLock::new(),
        ends: AtomicUsize::new(2),
        stream,
        engine,
        peer,
    });
    let sum: fn(&[u8]) -> u32 = crc32c::crc32c;
    let outlet = SocketOutlet {
        core: Arc::clone(&core),
        windows: agreement.send.map(|grant| grant.windows as u64),
        epoch: epochs.0,
        checksum: (checksums.0 == Checksums::Crc32c).then_some(sum),
        asked_at: None,
    };
    let quarter = agreement.receive.map(|grant| (grant.windows as u64 / 4).max(1));
    let inlet = SocketInlet { core: Arc::clone(&core), quarter, idle: 0 };
    Ok(Link { outlet: Box::new(outlet), inlet: Box::new(inlet), tether: core, capabilities: Capabilities::default() })
}

/// Which end drives the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Outlet,
    Inlet,
}

/// What outlet, inlet and tether share.
struct Core {
    reader: Mutex<Reader>,
    /// The wish is that our progress be told to the peer.
    writer: Handoff<Writer>,
    counters: Counters,
    bell: Bell,
    /// The socket took less than there was.
    blocked: AtomicBool,
    gone: OnceLock<Reason>,
    /// Outlet and inlet that live.
    ends: AtomicUsize,
    stream: Arc<Stream>,
    engine: Engine,
    peer: Peer,
}

fn index(lane: Lane) -> usize {
    match lane {
        Lane::Bulk => 0,
        Lane::Urgent => 1,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What panicked has left whole values behind: every step of reader and writer ends in one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Core {
    fn check(&self) -> Result<(), PeerGone> {
        self.gone.get().map_or(Ok(()), |reason| Err(self.peer_gone(reason.clone())))
    }

    fn peer_gone(&self, reason: Reason) -> PeerGone {
        PeerGone { peer: self.peer.name.clone(), reason }
    }

    fn set_gone(&self, reason: Reason) {
        if self.gone.set(reason).is_ok() {
            self.stream.break_off();
            self.bell.toll();
        }
    }

    /// Reads under the reader's lock, and wakes who sleeps if that brought something for the other end.
    fn pump_reader(&self, reader: &mut Reader, until: Until, end: End) -> Brought {
        let brought = reader.pump(&self.counters, until);
        let for_other = match end {
            End::Outlet => brought.windows,
            End::Inlet => brought.progress,
        };
        if for_other && self.bell.is_slept_on() {
            self.bell.ring();
        }
        if let Some(reason) = reader.broken() {
            self.set_gone(reason.clone());
        }
        brought
    }

    /// Reads all that is there for the outlet's sake. When the inlet is at it, that is as good: it rings if it finds something for us.
    fn read_for_outlet(&self) {
        let Some(mut reader) = try_lock(&self.reader) else { return };
        let brought = self.pump_reader(&mut reader, Until::Dry, End::Outlet);
        drop(reader);
        self.answer(brought);
    }

    /// The peer has asked for progress, which may have been made already.
    fn answer(&self, brought: Brought) {
        if brought.question && self.counters.is_goal_reached() {
            self.tell();
        }
    }

    /// Tells the peer how far we are; whoever holds the writer does it.
    fn tell(&self) {
        if let Some(writer) = self.writer.wish() {
            self.drive_writer(writer, |_| ());
        }
    }

    /// Does something with the writer and writes what can be written.
    fn drive_writer<'a>(&'a self, mut writer: MutexGuard<'a, Writer>, act: impl FnOnce(&mut Writer)) {
        act(&mut writer);
        loop {
            match writer.pump(&self.counters, &self.writer.wish) {
                Ok(Flow::Done) => self.set_blocked(Flow::Done),
                Ok(Flow::Blocked) => {
                    drop(writer);
                    // A wish waits for room, as all else.
                    return self.set_blocked(Flow::Blocked);
                }
                Err(error) => {
                    drop(writer);
                    return self.writing_failed(&error);
                }
            }
            match self.writer.let_go(writer) {
                Some(again) => writer = again,
                None => return,
            }
        }
    }

    fn set_blocked(&self, flow: Flow) {
        let blocked = flow == Flow::Blocked;
        if !blocked && !self.blocked.load(Ordering::SeqCst) {
            return;
        }
        self.blocked.store(blocked, Ordering::SeqCst);
        if blocked && self.bell.is_slept_on() {
            self.hear_room();
        }
    }

    fn hear_room(&self) {
        if self.engine == Engine::Epoll {
            self.bell.hear_room(self.stream.as_fd(), || self.blocked.load(Ordering::SeqCst));
        }
    }

    /// The connection does not take any more. Why, may stand in what can still be read.
    fn writing_failed(&self, error: &io::Error) {
        let mut reader = lock(&self.reader);
        self.pump_reader(&mut reader, Until::Dry, End::Outlet);
        let reason = if reader.end() == Some(Reason::Closed) { Reason::Closed } else { reason_of("send", error) };
        drop(reader);
        self.set_gone(reason);
    }

    /// One of the two ends is dropped. With the last the connection ends, after what was written.
    fn leave(&self) {
        if self.ends.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.part();
        }
    }

    /// Ends our side after what was written, and waits a little until that is on its way: a connection that is closed with something unread, or to
    /// which something comes after that, is reset, and what waits in its buffer is dropped.
    fn part(&self) {
        if self.gone.set(Reason::Left).is_err() {
            return;
        }
        let until = Instant::now() + PARTING;
        let mut ended = false;
        loop {
            if self.blocked.load(Ordering::SeqCst) {
                self.drive_writer(self.writer.lock(), |_| ());
            }
            if !ended && !self.blocked.load(Ordering::SeqCst) {
                self.stream.end();
                ended = true;
            }
            let mut reader = lock(&self.reader);
            reader.pump(&self.counters, Until::Dry);
            let over = reader.broken().is_some();
            drop(reader);
            if over || (ended && self.stream.unsent() == 0) || Instant::now() >= until {
                break;
            }
            // Nothing rings when the last byte has left.
            std::thread::sleep(Duration::from_millis(1));
        }
        self.stream.break_off();
        self.bell.toll();
    }
}

impl Tether for Core {
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.as_fd())
    }

    fn look(&self) -> Result<(), PeerGone> {
        let rung = self.bell.look();
        if rung.writing || self.blocked.load(Ordering::SeqCst) {
            self.drive_writer(self.writer.lock(), |_| ());
            if !self.blocked.load(Ordering::SeqCst) {
                self.hear_room();
            }
        }
        if rung.reading {
            self.read_for_outlet();
        }
        self.check()
    }

    fn arm(&self) {
        self.bell.arm();
        if self.counters.is_untold() {
            self.tell();
        }
        if self.blocked.load(Ordering::SeqCst) {
            self.hear_room();
        }
        if self.engine == Engine::Uring {
            lock(&self.reader).prime();
        }
    }

    fn disarm(&self) {
        self.bell.disarm();
    }

    /// Nothing to do: bytes that arrive wake the peer.
    fn ring(&self) {}

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn cut(&self, reason: Reason) {
        match reason {
            Reason::Left => self.part(),
            broken => self.set_gone(broken),
        }
    }
}

/// The sending end.
struct SocketOutlet {
    core: Arc<Core>,
    /// Windows that may be out, of each lane.
    windows: [u64; 2],
    epoch: u32,
    checksum: Option<fn(&[u8]) -> u32>,
    /// Messages shipped when the peer was last asked for progress.
    asked_at: Option<[u64; 2]>,
}

impl SocketOutlet {
    fn shipped(&self) -> [u64; 2] {
        self.core.counters.lanes.each_ref().map(|lane| lane.shipped_windows.load(Ordering::Relaxed))
    }
}

impl Outlet for SocketOutlet {
    fn take(&mut self, lane: Lane) -> Result<Option<TxWindow>, PeerGone> {
        self.core.check()?;
        let lane = index(lane);
        let counters = &self.core.counters.lanes[lane];
        if counters.out() >= self.windows[lane] {
            self.core.read_for_outlet();
            self.core.check()?;
            if counters.out() >= self.windows[lane] {
                return Ok(None);
            }
        }
        Ok(self.core.writer.lock().take(lane))
    }

    fn ship(&mut self, lane: Lane, mut window: TxWindow) -> Result<(), PeerGone> {
        self.core.check()?;
        let flags = if lane == Lane::Urgent { URGENT_FLAG } else { 0 };
        let lane = index(lane);
        let counters = &self.core.counters.lanes[lane];
        let sequence = counters.shipped_windows.load(Ordering::Relaxed) + 1;
        window.shipped_with(flags, sequence, self.epoch, self.checksum);
        let messages = counters.shipped_messages.load(Ordering::Relaxed) + u64::from(window.messages());
        // Before the bytes go: the peer's answer is compared with these.
        counters.shipped_messages.store(messages, Ordering::Release);
        counters.shipped_windows.store(sequence, Ordering::Release);
        self.core.drive_writer(self.core.writer.lock(), |writer| writer.queue(lane, window));
        self.core.check()
    }

    fn lend(&mut self, _bytes: &Slice) -> Result<Option<Descriptor>, PeerGone> {
        self.core.check().map(|()| None)
    }

    fn unlend(&mut self, _descriptor: Descriptor) {}

    fn progress(&mut self) -> Result<(), PeerGone> {
        self.core.check()?;
        if self.core.blocked.load(Ordering::SeqCst) {
            self.core.drive_writer(self.core.writer.lock(), |_| ());
        }
        self.core.read_for_outlet();
        self.core.check()
    }

    fn is_drained(&mut self) -> Result<bool, PeerGone> {
        if self.core.counters.is_drained() {
            return Ok(true);
        }
        self.progress()?;
        if self.core.counters.is_drained() {
            return Ok(true);
        }
        let shipped = self.shipped();
        if self.asked_at != Some(shipped) {
            self.asked_at = Some(shipped);
            self.core.drive_writer(self.core.writer.lock(), Writer::ask);
            self.core.check()?;
        }
        Ok(false)
    }

    fn read_by_peer(&self, lane: Lane) -> u64 {
        self.core.counters.lanes[index(lane)].peer_read.load(Ordering::Acquire)
    }

    fn finish(&mut self) {
        if self.core.gone.get().is_none() {
            self.core.drive_writer(self.core.writer.lock(), Writer::finish);
        }
    }
}

impl Drop for SocketOutlet {
    fn drop(&mut self) {
        self.core.leave();
    }
}

/// The receiving end.
struct SocketInlet {
    core: Arc<Core>,
    /// Windows given back that are worth a control frame of their own.
    quarter: [u64; 2],
    /// Receives in vain since the last window.
    idle: u32,
}

impl SocketInlet {
    fn looked_in_vain(&mut self) {
        // Who only receives, without ever sleeping, sends what waits for room, too.
        if self.core.blocked.load(Ordering::SeqCst)
            && let Some(writer) = self.core.writer.try_lock()
        {
            self.core.drive_writer(writer, |_| ());
        }
        self.idle = self.idle.saturating_add(1);
        if self.idle == IDLE_LOOKS && self.core.counters.is_untold() {
            self.core.tell();
        }
    }
}

impl Inlet for SocketInlet {
    fn receive(&mut self, lane: Lane) -> Result<Option<RxWindow>, PeerGone> {
        let core = &self.core;
        let lane = index(lane);
        let mut reader = lock(&core.reader);
        let mut brought = Brought::default();
        if !reader.has_ready() && reader.end().is_none() {
            brought = core.pump_reader(&mut reader, Until::Window, End::Inlet);
        }
        let window = reader.pop(lane);
        let end = if window.is_none() && !reader.has_ready() { reader.end() } else { None };
        drop(reader);
        core.answer(brought);
        match (window, end) {
            (Some(window), _) => {
                self.idle = 0;
                Ok(Some(window))
            }
            // The first reason stands: what broke the connection is known better than how it then read.
            (None, Some(end)) => Err(core.peer_gone(core.gone.get().cloned().unwrap_or(end))),
            (None, None) => {
                self.looked_in_vain();
                Ok(None)
            }
        }
    }

    fn dispose(&mut self, lane: Lane, window: RxWindow) {
        let lane = index(lane);
        let disposed = lock(&self.core.reader).dispose(lane, window);
        let counters = &self.core.counters;
        counters.lanes[lane].disposed.store(disposed, Ordering::Release);
        if counters.lanes[lane].untold_windows() >= self.quarter[lane] || counters.is_goal_reached() {
            self.core.tell();
        }
    }

    fn read(&mut self, lane: Lane, messages: u64) {
        let counters = &self.core.counters;
        counters.lanes[index(lane)].read.store(messages, Ordering::Release);
        if counters.is_goal_reached() {
            self.core.tell();
        }
    }

    fn borrow(&mut self, _descriptor: Descriptor) -> Result<Borrowed, Violation> {
        Err(Violation::Link("a network peer cannot lend memory"))
    }
}

impl Drop for SocketInlet {
    fn drop(&mut self) {
        self.core.leave();
    }
}
