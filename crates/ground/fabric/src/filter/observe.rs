//! Observers, and the link that lets them see: it passes every call on and changes nothing.
//!
//! What was lent is shown as if it had been copied: the bytes are noted when they are lent or borrowed, and found again by their descriptor.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::walk::{Found, Walk};
use crate::slice::Slice;
use crate::tli::{
    Borrowed, Inlet, LANES, Lane, Link, Outlet, Peer, PeerGone, Reason, RxWindow, Tether, TxWindow, Violation,
};
use crate::wire::{
    Descriptor, FRAME_HEADER, Frames, MESSAGE_HEADER, MessageWord, RawFrame, extension, frame_flags, padded,
};

/// Seen from the side that has the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the peer.
    Out,
    /// From the peer.
    In,
}

/// How much an observer wants to be shown; it is asked once for each link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Numbers only: [`Observer::message`] is not called, and nothing is copied.
    Totals,
    /// Every message with its bytes.
    Messages,
}

/// Sees what passes. Its methods are called on the threads that send and receive, from both at once; every method has an empty default.
pub trait Observer: Send + Sync {
    /// What it is called in lists.
    fn name(&self) -> &'static str {
        "observer"
    }

    /// How much it wants to be shown.
    fn wants(&self) -> Wants {
        Wants::Totals
    }

    /// The peers of a link have met.
    fn met(&self, _uri: &str, _peer: &Peer) {}

    /// So many messages more have passed, of so many bytes as encoded.
    fn passed(&self, _direction: Direction, _lane: Lane, _messages: u64, _bytes: u64) {}

    /// A message has passed.
    fn message(&self, _message: &MessageSeen<'_>) {}

    /// A window was shipped, or was read to its end and disposed of.
    fn window(&self, _window: &WindowSeen<'_>) {}

    /// The channel is about to sleep: time for what is slow.
    fn rest(&self) {}

    /// The peer is gone; once for each link.
    fn gone(&self, _uri: &str, _gone: &PeerGone) {}
}

/// A message as an observer sees it.
#[derive(Debug, Clone, Copy)]
pub struct MessageSeen<'a> {
    /// The channel's address.
    pub uri: &'a str,
    /// Which way it goes.
    pub direction: Direction,
    /// By which lane.
    pub lane: Lane,
    /// The whole message, first word included, encoded as if nothing were lent. A frame whose lent bytes were not found keeps its descriptor.
    pub bytes: &'a [u8],
}

/// A window as an observer sees it.
#[derive(Debug, Clone, Copy)]
pub struct WindowSeen<'a> {
    /// The channel's address.
    pub uri: &'a str,
    /// Which way it goes.
    pub direction: Direction,
    /// By which lane.
    pub lane: Lane,
    /// Counted from 1 in each lane of a link.
    pub number: u64,
    /// Messages in it.
    pub messages: u64,
    /// Their bytes as encoded.
    pub bytes: u64,
}

impl fmt::Display for WindowSeen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uri, number, messages, bytes, .. } = self;
        let direction = if self.direction == Direction::Out { "out" } else { "in" };
        let lane = if self.lane == Lane::Bulk { "bulk" } else { "urgent" };
        write!(f, "{uri}: {direction} {lane} window {number}, {messages} messages, {bytes} bytes")
    }
}

/// Puts `observer` in front of a link.
pub(super) fn observed(link: Link, observer: &Arc<dyn Observer>, uri: &Arc<str>) -> Link {
    observer.met(uri, link.tether.peer());
    let told = Arc::new(AtomicBool::new(false));
    let eye = |direction| Eye {
        observer: Arc::clone(observer),
        uri: Arc::clone(uri),
        told: Arc::clone(&told),
        wants: observer.wants(),
        direction,
        whole: Vec::new(),
        body: Vec::new(),
        lent: VecDeque::new(),
    };
    let visible = link.capabilities.visible_on_commit;
    Link {
        outlet: Box::new(ObservedOutlet {
            inner: link.outlet,
            eye: eye(Direction::Out),
            open: [None, None],
            visible,
            windows: [0; 2],
        }),
        inlet: Box::new(ObservedInlet {
            inner: link.inlet,
            eye: eye(Direction::In),
            held: [VecDeque::new(), VecDeque::new()],
            read: [0; 2],
            windows: [0; 2],
        }),
        tether: Arc::new(ObservedTether { inner: link.tether, eye: eye(Direction::Out) }),
        capabilities: link.capabilities,
    }
}

/// Lent frames that are remembered until their message passes; the oldest is forgotten when a channel lends more, and is then shown as a descriptor.
const LENT_MAX: usize = 4096;

/// What shows an observer one direction of a link.
struct Eye {
    observer: Arc<dyn Observer>,
    uri: Arc<str>,
    told: Arc<AtomicBool>,
    wants: Wants,
    direction: Direction,
    /// Reused from message to message.
    whole: Vec<u8>,
    body: Vec<u8>,
    /// Lent and not yet seen in a message, the oldest first.
    lent: VecDeque<(Descriptor, Lent)>,
}

enum Lent {
    Slice(Slice),
    Copy(Vec<u8>),
}

/// A window that has not passed yet.
struct Open {
    walk: Walk,
    token: u32,
    limit: usize,
    messages: u64,
    bytes: u64,
    number: u64,
}

impl Open {
    fn new(walk: Walk, token: u32, limit: usize, number: u64) -> Self {
        Self { walk, token, limit, messages: 0, bytes: 0, number }
    }
}

impl Eye {
    /// Follows `open` up to `limit`, over at most `most` messages; says how many it found.
    fn follow(&mut self, lane: Lane, open: &mut Open, limit: usize, most: u64) -> u64 {
        let (mut messages, mut bytes) = (0, 0);
        while messages < most
            && let Some(found) = open.walk.advance(limit)
        {
            messages += 1;
            bytes += u64::from(found.word.length);
            if self.wants == Wants::Messages {
                self.show(lane, &open.walk, found);
            }
        }
        if messages > 0 {
            self.observer.passed(self.direction, lane, messages, bytes);
            open.messages += messages;
            open.bytes += bytes;
        }
        messages
    }

    fn show(&mut self, lane: Lane, walk: &Walk, found: Found) {
        self.whole.clear();
        if self.lent.is_empty() {
            walk.copy(found, &mut self.whole);
        } else {
            self.body.resize(found.word.length as usize - 8, 0);
            walk.copy_body(found, &mut self.body);
            unlent(found.word, &self.body, &mut self.lent, &mut self.whole);
        }
        let message = MessageSeen { uri: &self.uri, direction: self.direction, lane, bytes: &self.whole };
        self.observer.message(&message);
    }

    fn remember(&mut self, descriptor: Descriptor, bytes: Lent) {
        if self.lent.len() == LENT_MAX {
            self.lent.pop_front();
        }
        self.lent.push_back((descriptor, bytes));
    }

    fn window(&self, lane: Lane, open: &Open) {
        let (direction, number) = (self.direction, open.number);
        let seen = WindowSeen { uri: &self.uri, direction, lane, number, messages: open.messages, bytes: open.bytes };
        self.observer.window(&seen);
    }

    /// Passes a result on, and tells the observer when it says for the first time that the peer is gone.
    fn gone<T>(&self, result: Result<T, PeerGone>) -> Result<T, PeerGone> {
        if let Err(gone) = &result
            && !self.told.swap(true, Ordering::Relaxed)
        {
            self.observer.gone(&self.uri, gone);
        }
        result
    }
}

/// Writes a message anew with the bytes in place of descriptors, as far as they are in `lent`, from which they are taken. A message that is broken is
/// left as it is.
fn unlent(word: MessageWord, body: &[u8], lent: &mut VecDeque<(Descriptor, Lent)>, into: &mut Vec<u8>) {
    let as_it_is = |into: &mut Vec<u8>| {
        into.clear();
        into.extend_from_slice(&word.pack().to_le_bytes());
        into.extend_from_slice(body);
    };
    into.extend_from_slice(&[0; 8]);
    into.extend_from_slice(&body[..MESSAGE_HEADER - 8 + extension(word.flags)]);
    let mut frames = Frames::new(word, body);
    loop {
        match frames.advance() {
            Ok(Some(RawFrame::Bytes { schema, bytes })) => push_frame(into, schema, bytes),
            Ok(Some(RawFrame::Lent { schema, descriptor })) => {
                match lent.iter().position(|(it, _)| *it == descriptor).and_then(|at| lent.remove(at)) {
                    Some((_, Lent::Slice(slice))) => push_frame(into, schema, &slice),
                    Some((_, Lent::Copy(bytes))) => push_frame(into, schema, &bytes),
                    None => {
                        let flags = u64::from(frame_flags::LENT) << 48;
                        let head = u64::from(descriptor.length) | u64::from(schema) << 32 | flags;
                        into.extend_from_slice(&head.to_le_bytes());
                        into.extend_from_slice(&descriptor.pack());
                    }
                }
            }
            Ok(None) => break,
            Err(_) => return as_it_is(into),
        }
    }
    match u32::try_from(into.len()) {
        Ok(length) => into[..8].copy_from_slice(&MessageWord { length, ..word }.pack().to_le_bytes()),
        Err(_) => as_it_is(into),
    }
}

fn push_frame(into: &mut Vec<u8>, schema: u16, bytes: &[u8]) {
    into.reserve(FRAME_HEADER + padded(bytes.len()));
    into.extend_from_slice(&(bytes.len() as u64 | u64::from(schema) << 32).to_le_bytes());
    into.extend_from_slice(bytes);
    into.resize(into.len().next_multiple_of(8), 0);
}

struct ObservedOutlet {
    inner: Box<dyn Outlet>,
    eye: Eye,
    open: [Option<Open>; 2],
    visible: bool,
    windows: [u64; 2],
}

impl ObservedOutlet {
    /// Sees what was committed to windows that are still being filled.
    fn catch_up(&mut self) {
        if !self.visible {
            return;
        }
        for lane in LANES {
            if let Some(open) = &mut self.open[lane as usize] {
                let limit = open.limit;
                self.eye.follow(lane, open, limit, u64::MAX);
            }
        }
    }
}

impl Outlet for ObservedOutlet {
    fn take(&mut self, lane: Lane) -> Result<Option<TxWindow>, PeerGone> {
        let window = self.eye.gone(self.inner.take(lane))?;
        if let Some(window) = &window {
            self.windows[lane as usize] += 1;
            let number = self.windows[lane as usize];
            let walk = Walk::new(window.memory());
            self.open[lane as usize] = Some(Open::new(walk, window.token(), window.size(), number));
        }
        Ok(window)
    }

    fn ship(&mut self, lane: Lane, window: TxWindow) -> Result<(), PeerGone> {
        if let Some(mut open) = self.open[lane as usize].take() {
            self.eye.follow(lane, &mut open, window.used(), u64::MAX);
            self.eye.window(lane, &open);
        }
        self.eye.gone(self.inner.ship(lane, window))
    }

    fn lend(&mut self, bytes: &Slice) -> Result<Option<Descriptor>, PeerGone> {
        let descriptor = self.eye.gone(self.inner.lend(bytes))?;
        if let Some(descriptor) = descriptor
            && self.eye.wants == Wants::Messages
        {
            self.eye.remember(descriptor, Lent::Slice(bytes.clone()));
        }
        Ok(descriptor)
    }

    fn unlend(&mut self, descriptor: Descriptor) {
        self.eye.lent.retain(|(it, _)| *it != descriptor);
        self.inner.unlend(descriptor);
    }

    fn progress(&mut self) -> Result<(), PeerGone> {
        self.catch_up();
        self.eye.gone(self.inner.progress())
    }

    fn is_drained(&mut self) -> Result<bool, PeerGone> {
        self.catch_up();
        self.eye.gone(self.inner.is_drained())
    }

    fn read_by_peer(&self, lane: Lane) -> u64 {
        self.inner.read_by_peer(lane)
    }

    fn finish(&mut self) {
        self.catch_up();
        self.inner.finish();
    }
}

impl Drop for ObservedOutlet {
    fn drop(&mut self) {
        self.catch_up();
    }
}

struct ObservedInlet {
    inner: Box<dyn Inlet>,
    eye: Eye,
    /// Handed out and not disposed of, in order.
    held: [VecDeque<Open>; 2],
    /// Messages seen.
    read: [u64; 2],
    windows: [u64; 2],
}

impl Inlet for ObservedInlet {
    fn receive(&mut self, lane: Lane) -> Result<Option<RxWindow>, PeerGone> {
        let window = self.eye.gone(self.inner.receive(lane))?;
        if let Some(window) = &window {
            self.windows[lane as usize] += 1;
            let (number, limit) = (self.windows[lane as usize], window.position() + window.room());
            let walk = Walk::new(window.memory());
            self.held[lane as usize].push_back(Open::new(walk, window.token(), limit, number));
        }
        Ok(window)
    }

    fn dispose(&mut self, lane: Lane, window: RxWindow) {
        let held = &mut self.held[lane as usize];
        if let Some(at) = held.iter().position(|open| open.token == window.token())
            && let Some(mut open) = held.remove(at)
        {
            self.read[lane as usize] += self.eye.follow(lane, &mut open, window.position(), u64::MAX);
            self.eye.window(lane, &open);
        }
        self.inner.dispose(lane, window);
    }

    fn read(&mut self, lane: Lane, messages: u64) {
        for open in &mut self.held[lane as usize] {
            let missing = messages.saturating_sub(self.read[lane as usize]);
            if missing == 0 {
                break;
            }
            let limit = open.limit;
            self.read[lane as usize] += self.eye.follow(lane, open, limit, missing);
        }
        self.inner.read(lane, messages);
    }

    fn borrow(&mut self, descriptor: Descriptor) -> Result<Borrowed, Violation> {
        let borrowed = self.inner.borrow(descriptor)?;
        if self.eye.wants == Wants::Messages {
            let bytes = match &borrowed {
                Borrowed::Slice(slice) => Lent::Slice(slice.clone()),
                Borrowed::Remote(remote) => Lent::Copy(remote.to_vec()),
            };
            self.eye.remember(descriptor, bytes);
        }
        Ok(borrowed)
    }
}

struct ObservedTether {
    inner: Arc<dyn Tether>,
    eye: Eye,
}

impl Tether for ObservedTether {
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.inner.readiness()
    }

    fn look(&self) -> Result<(), PeerGone> {
        self.eye.gone(self.inner.look())
    }

    fn arm(&self) {
        self.eye.observer.rest();
        self.inner.arm();
    }

    fn disarm(&self) {
        self.inner.disarm();
    }

    fn ring(&self) {
        self.inner.ring();
    }

    fn peer(&self) -> &Peer {
        self.inner.peer()
    }

    fn cut(&self, reason: Reason) {
        self.inner.cut(reason);
    }
}
