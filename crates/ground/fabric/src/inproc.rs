//! `inproc:NAME`: a transport between threads of one process.
//!
//! The same windows as everywhere, in heap memory that both ends reach; bytes of a [`Slice`] pass by reference, whatever memory they are in.
//! [`pair`] makes two connected links without any name; the provider finds the other end by name in one table of the process, as a socket
//! would be found in a namespace: it is the only state that this crate shares behind the caller's back.
//!
//! Invariants:
//! - **P1** Slot `n % count` of a lane is leased to the outlet for window `n` only when `head > n - count`: the inlet has disposed of its last use.
//!   The outlet has at most one window of a lane taken and not shipped.
//! - **P2** The inlet hands out window `n` only after it has read sequence `n + 1` in its header, which `TxWindow::begin` stores last.
//!
//! Budget: no system call but to ring a sleeper; a window costs two uncontended reference counts at each end.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use linkme::distributed_slice;
use rustix::event::{EventfdFlags, eventfd};

use crate::memory::Memory;
use crate::slice::Slice;
use crate::sync::Padded;
use crate::tli::{
    Attempt, Borrowed, Capabilities, Connector, Inlet, LANES, Lane, Limits, Link, LinkSettings, OpenError, Outlet,
    PROVIDERS, Peer, PeerGone, Provider, Reason, Role, RxWindow, Tether, TxWindow, Violation,
};
use crate::uri::{Uri, UriError};
use crate::wire::{Descriptor, WindowHeader};

/// What every link of this transport can do.
const CAPABILITIES: Capabilities = Capabilities {
    visible_on_commit: true,
    shares_memory: true,
    knows_user: false,
    registers_memory: false,
    multicast: false,
};

const LIMITS: Limits = Limits { window_bytes_max: 1 << 30, windows_max: 1 << 16, leases_max: 1 << 20 };

/// Two links of one process, connected with each other. `first` and `second` say what each sends.
///
/// # Errors
/// When a setting is over the limit or the system has no descriptors left.
pub fn pair(first: &LinkSettings, second: &LinkSettings) -> Result<(Link, Link), OpenError> {
    let halves = [Half::new(first)?, Half::new(second)?];
    let pair = Arc::new(Pair { halves, lost: Mutex::new([None, None]) });
    Ok((link(&pair, 0), link(&pair, 1)))
}

/// Both ends of one meeting.
struct Pair {
    halves: [Half; 2],
    /// Why an end is gone, by its side.
    lost: Mutex<[Option<Reason>; 2]>,
}

/// What one end sends and where it sleeps.
struct Half {
    lanes: [SentLane; 2],
    finished: AtomicBool,
    /// Odd while this end sleeps; every sleep has another value.
    sleep: Memory,
    sleepers: Mutex<Sleepers>,
    /// The sleep for which this end was rung last.
    rung: AtomicU64,
    bell: OwnedFd,
    /// Slices on their way to the other end.
    lent: Box<[Mutex<Option<Slice>>]>,
    gone: AtomicBool,
}

/// Threads that sleep at one end.
#[derive(Default)]
struct Sleepers {
    count: u64,
    /// A ring was left in the bell for those who still sleep.
    left: bool,
}

/// Windows of one direction.
struct SentLane {
    memory: Memory,
    bytes: usize,
    count: u64,
    /// Windows that the reader has disposed of.
    head: Padded<AtomicU64>,
    /// Messages that the reader has read.
    read: Padded<AtomicU64>,
}

impl SentLane {
    fn new(bytes: usize, count: usize) -> Self {
        let bytes = bytes.next_multiple_of(64);
        let (head, read) = (Padded(AtomicU64::new(0)), Padded(AtomicU64::new(0)));
        Self { memory: Memory::private(bytes * count), bytes, count: count as u64, head, read }
    }

    fn slot(&self, window: u64) -> Memory {
        let slot = (window % self.count) as usize;
        self.memory.part(slot * self.bytes..(slot + 1) * self.bytes)
    }
}

impl Half {
    fn new(settings: &LinkSettings) -> Result<Self, OpenError> {
        for (setting, asked, limit) in [
            ("bytes of a window", settings.bulk.bytes.max(settings.urgent.bytes), LIMITS.window_bytes_max),
            ("number of windows", settings.bulk.count.max(settings.urgent.count), LIMITS.windows_max),
            ("number of leases", settings.leases, LIMITS.leases_max),
        ] {
            if asked > limit {
                return Err(OpenError::OverLimit { setting, asked, limit });
            }
        }
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|errno| OpenError::System {
            uri: "inproc:".to_owned(),
            operation: "eventfd",
            source: errno.into(),
        })?;
        Ok(Self {
            lanes: [
                SentLane::new(settings.bulk.bytes, settings.bulk.count),
                SentLane::new(settings.urgent.bytes, settings.urgent.count),
            ],
            finished: AtomicBool::new(false),
            sleep: Memory::private(8),
            sleepers: Mutex::new(Sleepers::default()),
            rung: AtomicU64::new(0),
            bell,
            lent: (0..settings.leases).map(|_| Mutex::new(None)).collect(),
            gone: AtomicBool::new(false),
        })
    }
}

/// One end's hold on the pair; when the last of its three parts is dropped, the other end sees it gone.
struct End {
    pair: Arc<Pair>,
    side: usize,
    peer: Peer,
}

impl End {
    fn own(&self) -> &Half {
        &self.pair.halves[self.side]
    }

    fn other(&self) -> &Half {
        &self.pair.halves[1 - self.side]
    }

    fn gone(&self, reason: Reason) -> PeerGone {
        PeerGone { peer: self.peer.name.clone(), reason }
    }

    /// Whether the other end is there and this one was not cut.
    fn check(&self) -> Result<(), PeerGone> {
        if !self.other().gone.load(Ordering::Acquire) && !self.own().gone.load(Ordering::Acquire) {
            return Ok(());
        }
        let lost = self.pair.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = lost[self.side].clone() {
            return Err(self.gone(reason));
        }
        let closed = self.other().finished.load(Ordering::Acquire);
        Err(self.gone(if closed { Reason::Closed } else { Reason::Died }))
    }

    fn ring_other(&self) {
        let other = self.other();
        let sleep = other.sleep.load(0);
        if sleep & 1 == 1 && other.rung.swap(sleep, Ordering::AcqRel) != sleep {
            // A full counter means that the other end has been rung often enough.
            let _ = rustix::io::write(&other.bell, &1u64.to_ne_bytes());
        }
    }

    /// For when nobody sleeps at this end: the other one rings once for all, so a ring that is taken earlier leaves somebody asleep.
    fn take_rings(&self) {
        let _ = rustix::io::read(&self.own().bell, &mut [0u8; 8]);
    }

    fn ring_always(&self) {
        let _ = rustix::io::write(&self.other().bell, &1u64.to_ne_bytes());
        let _ = rustix::io::write(&self.own().bell, &1u64.to_ne_bytes());
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.own().gone.store(true, Ordering::Release);
        self.ring_always();
    }
}

fn link(pair: &Arc<Pair>, side: usize) -> Link {
    let peer = Peer { name: "in this process".to_owned(), pid: None, user: None };
    let end = Arc::new(End { pair: Arc::clone(pair), side, peer });
    Link {
        outlet: Box::new(InprocOutlet { end: Arc::clone(&end), taken: [0; 2], next_lease: 0 }),
        inlet: Box::new(InprocInlet { end: Arc::clone(&end), next: [0; 2] }),
        tether: end,
        capabilities: CAPABILITIES,
    }
}

const fn index(lane: Lane) -> usize {
    match lane {
        Lane::Bulk => 0,
        Lane::Urgent => 1,
    }
}

struct InprocOutlet {
    end: Arc<End>,
    /// Windows taken so far, by lane.
    taken: [u64; 2],
    next_lease: usize,
}

impl Outlet for InprocOutlet {
    fn take(&mut self, lane: Lane) -> Result<Option<TxWindow>, PeerGone> {
        self.end.check()?;
        let sent = &self.end.own().lanes[index(lane)];
        let number = self.taken[index(lane)];
        // Acquire: the reader's accesses to the slot come before ours.
        if number - sent.head.0.load(Ordering::Acquire) >= sent.count {
            return Ok(None);
        }
        self.taken[index(lane)] = number + 1;
        let (slot, sleeper) = (sent.slot(number), self.end.other().sleep.clone());
        // SAFETY: P1: the slot is ours until the reader has disposed of it, and by the trait's contract the last window was shipped.
        let mut window = unsafe { TxWindow::lease(slot, (number % sent.count) as u32, Some(sleeper)) };
        let header = WindowHeader { flags: 0, used: 0, messages: 0, sequence: number + 1, crc32c: 0, epoch: 0 };
        // SAFETY: P2: readers wait for this sequence.
        unsafe { window.begin(&header) };
        Ok(Some(window))
    }

    fn ship(&mut self, _lane: Lane, mut window: TxWindow) -> Result<(), PeerGone> {
        window.end();
        let asleep = window.peer_sleeps();
        if asleep & 1 == 1 {
            self.end.ring_other();
        }
        self.end.check()
    }

    fn lend(&mut self, bytes: &Slice) -> Result<Option<Descriptor>, PeerGone> {
        self.end.check()?;
        let lent = &self.end.own().lent;
        if lent.is_empty() || bytes.is_empty() {
            return Ok(None);
        }
        let place = self.next_lease % lent.len();
        let mut slot = lent[place].lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_some() {
            return Ok(None);
        }
        *slot = Some(bytes.clone());
        self.next_lease += 1;
        let generation = (self.next_lease / lent.len()) as u32;
        Ok(Some(Descriptor { lease: place as u32, generation, window: 0, offset: 0, length: bytes.len() as u32 }))
    }

    fn unlend(&mut self, descriptor: Descriptor) {
        let taken =
            self.end.own().lent[descriptor.lease as usize].lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(taken);
        self.next_lease -= 1;
    }

    fn progress(&mut self) -> Result<(), PeerGone> {
        self.end.check()
    }

    fn is_drained(&mut self) -> Result<bool, PeerGone> {
        self.end.check()?;
        Ok(true)
    }

    fn read_by_peer(&self, lane: Lane) -> u64 {
        self.end.own().lanes[index(lane)].read.0.load(Ordering::Acquire)
    }

    fn finish(&mut self) {
        self.end.own().finished.store(true, Ordering::Release);
        self.end.ring_always();
    }
}

struct InprocInlet {
    end: Arc<End>,
    /// The window to be handed out next, by lane.
    next: [u64; 2],
}

impl InprocInlet {
    /// There is no further window of a lane. Is there ever?
    fn nothing(&self) -> Result<Option<RxWindow>, PeerGone> {
        let finished = || self.end.other().finished.load(Ordering::Acquire).then(|| self.end.gone(Reason::Closed));
        let Some(gone) = self.end.check().err().or_else(finished) else { return Ok(None) };
        // Looked at after the end, so that what was published before it is seen. Windows that are still being read may hold messages.
        let more = LANES.iter().any(|lane| {
            let (sent, next) = (&self.end.other().lanes[index(*lane)], self.next[index(*lane)]);
            sent.head.0.load(Ordering::Relaxed) != next || sent.slot(next).load(16) == next + 1
        });
        if more { Ok(None) } else { Err(gone) }
    }
}

impl Inlet for InprocInlet {
    fn receive(&mut self, lane: Lane) -> Result<Option<RxWindow>, PeerGone> {
        let sent = &self.end.other().lanes[index(lane)];
        let number = self.next[index(lane)];
        let slot = sent.slot(number);
        if slot.load(16) != number + 1 {
            return self.nothing();
        }
        self.next[index(lane)] = number + 1;
        // SAFETY: the writer is this process's outlet, which keeps what it committed (T2).
        Ok(Some(unsafe { RxWindow::shared(slot, (number % sent.count) as u32, true) }))
    }

    fn dispose(&mut self, lane: Lane, window: RxWindow) {
        drop(window);
        let sent = &self.end.other().lanes[index(lane)];
        // Release: our reads of the slot come before the writer's next use. Pairs with the load in `take`.
        sent.head.0.fetch_add(1, Ordering::Release);
        fence(Ordering::SeqCst);
        self.end.ring_other();
    }

    fn read(&mut self, lane: Lane, messages: u64) {
        self.end.other().lanes[index(lane)].read.0.store(messages, Ordering::Release);
    }

    fn borrow(&mut self, descriptor: Descriptor) -> Result<Borrowed, Violation> {
        let lent = self.end.other().lent.get(descriptor.lease as usize);
        let slice = lent.and_then(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take());
        slice.map(Borrowed::Slice).ok_or(Violation::Message(crate::wire::Bad::Descriptor(descriptor)))
    }
}

impl Tether for End {
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.own().bell.as_fd())
    }

    fn look(&self) -> Result<(), PeerGone> {
        let mut sleepers = self.own().sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        if sleepers.count == 0 {
            self.take_rings();
        } else {
            sleepers.left = true;
        }
        drop(sleepers);
        self.check()
    }

    fn arm(&self) {
        let own = self.own();
        let mut sleepers = own.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        sleepers.count += 1;
        let next = (own.sleep.load(0) | 1) + 2;
        // SAFETY: the word is this end's, and the lock makes this thread its one writer.
        unsafe { own.sleep.store(0, next) };
        drop(sleepers);
        // Partner of the fence in `TxWindow::peer_sleeps` and in `dispose`.
        fence(Ordering::SeqCst);
    }

    fn disarm(&self) {
        let own = self.own();
        let mut sleepers = own.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        sleepers.count -= 1;
        if sleepers.count == 0 {
            // SAFETY: as in `arm`.
            unsafe { own.sleep.store(0, own.sleep.load(0) & !1) };
            if std::mem::take(&mut sleepers.left) {
                self.take_rings();
            }
        }
    }

    fn ring(&self) {
        self.ring_other();
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn cut(&self, reason: Reason) {
        let mut lost = self.pair.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost[self.side].get_or_insert(reason);
        drop(lost);
        self.own().gone.store(true, Ordering::Release);
        self.ring_always();
    }
}

/// Ends that wait for the other one, by name.
struct Inproc {
    waiting: Mutex<Option<HashMap<String, Vec<Waiting>>>>,
}

struct Waiting {
    role: Role,
    ticket: u64,
    settings: LinkSettings,
    /// Where the link is put, and the descriptor that says so.
    met: Arc<Mutex<Option<Link>>>,
    bell: Arc<OwnedFd>,
}

static INPROC: Inproc = Inproc { waiting: Mutex::new(None) };

#[distributed_slice(PROVIDERS)]
static PROVIDER: &dyn Provider = &INPROC;

impl Provider for Inproc {
    fn scheme(&self) -> &'static str {
        "inproc"
    }

    fn name(&self) -> &'static str {
        "inproc (threads of one process)"
    }

    fn limits(&self, uri: &Uri) -> Result<Limits, UriError> {
        uri.only_options(&[])?;
        Ok(LIMITS)
    }

    fn capabilities(&self, _uri: &Uri) -> Capabilities {
        CAPABILITIES
    }

    fn open(&self, uri: &Uri, settings: &LinkSettings) -> Result<Box<dyn Connector>, OpenError> {
        uri.only_options(&[])?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|errno| OpenError::System {
            uri: uri.to_string(),
            operation: "eventfd",
            source: errno.into(),
        })?;
        Ok(Box::new(Meeting {
            name: uri.address().to_owned(),
            settings: settings.clone(),
            met: Arc::new(Mutex::new(None)),
            bell: Arc::new(bell),
            ticket: None,
        }))
    }
}

/// One end's wait for the other.
struct Meeting {
    name: String,
    settings: LinkSettings,
    met: Arc<Mutex<Option<Link>>>,
    bell: Arc<OwnedFd>,
    /// Set while this end waits in the table.
    ticket: Option<u64>,
}

impl Connector for Meeting {
    fn poll(&mut self, _now: Instant) -> Result<Attempt, OpenError> {
        let _ = rustix::io::read(&*self.bell, &mut [0u8; 8]);
        if let Some(link) = self.met.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.ticket = None;
            return Ok(Attempt::Met(link));
        }
        if self.ticket.is_some() {
            return Ok(Attempt::Waiting { again: None });
        }
        let mut table = INPROC.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = table.get_or_insert_default().entry(self.name.clone()).or_default();
        if let Some(place) = waiting.iter().position(|other| other.role != self.settings.role) {
            let other = waiting.remove(place);
            drop(table);
            let (theirs, ours) = pair(&other.settings, &self.settings)?;
            *other.met.lock().unwrap_or_else(PoisonError::into_inner) = Some(theirs);
            let _ = rustix::io::write(&*other.bell, &1u64.to_ne_bytes());
            return Ok(Attempt::Met(ours));
        }
        let ticket = waiting.iter().map(|other| other.ticket + 1).max().unwrap_or(0);
        let (met, bell) = (Arc::clone(&self.met), Arc::clone(&self.bell));
        waiting.push(Waiting { role: self.settings.role, ticket, settings: self.settings.clone(), met, bell });
        self.ticket = Some(ticket);
        Ok(Attempt::Waiting { again: None })
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.as_fd())
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        // The other end has met one that will not be taken any more: we close, and did not die.
        if let Some(mut link) = self.met.lock().unwrap_or_else(PoisonError::into_inner).take() {
            link.outlet.finish();
        }
        let mut table = INPROC.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(names) = table.as_mut() else { return };
        if let Some(waiting) = names.get_mut(&self.name) {
            waiting.retain(|other| !Arc::ptr_eq(&other.met, &self.met));
            if waiting.is_empty() {
                names.remove(&self.name);
            }
        }
    }
}

impl fmt::Debug for Inproc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inproc")
    }
}
