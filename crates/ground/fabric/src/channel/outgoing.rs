//! The sending end of one link: the encoder. It lays messages into windows, commits them, and ships windows that are full.
//!
//! The pump owns it. Budget for a message of one copied frame where messages are visible on commit: the payload is written once, two stores
//! publish it, one fence and one load find out whether the peer sleeps; no allocation, no call through the link but once per window.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::message::{FrameRef, Message};
use crate::tli::{Capabilities, Inlet};
use crate::tli::{Erase, Lane, Link, Outlet, PeerGone, Tether, TxWindow};
use crate::wire::{
    self, DESCRIPTOR, Descriptor, FRAME_HEADER, Kind, MESSAGE_HEADER, MessageWord, frame_flags, message_flags, padded,
};

/// Slices from this size on are lent instead of copied, where they can be.
const LEND_FROM: usize = 512;

/// What the descriptors of a message's lent frames are; `None` for a frame that is copied.
pub(super) type Lent = SmallVec<[Option<Descriptor>; 4]>;

/// Whether a message was laid into a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Laid {
    /// It is on its way, or will be when its window is shipped.
    Sent,
    /// No window is free.
    NoRoom,
}

/// One link, as far as sending goes.
pub(super) struct Outgoing {
    outlet: Box<dyn Outlet>,
    pub(super) tether: Arc<dyn Tether>,
    pub(super) capabilities: Capabilities,
    lanes: [OpenLane; 2],
    /// The sleep for which the peer was rung last.
    rung: u64,
}

/// The window of a lane that is being filled.
#[derive(Default)]
struct OpenLane {
    window: Option<TxWindow>,
    /// Messages committed since the link began.
    committed: u64,
    /// Windows, by token, that hold something to be zeroed before their next use.
    secret: Vec<u32>,
}

impl OpenLane {
    /// Remembers that the open window holds a message to be erased.
    #[inline]
    fn remember_secret(&mut self, flags: u8) {
        if flags & message_flags::ERASE != 0
            && let Some(window) = &self.window
            && !self.secret.contains(&window.token())
        {
            self.secret.push(window.token());
        }
    }

    /// Zeroes a window that has come back with something to be erased in it.
    fn erase_secret(&mut self) {
        if let Some(window) = &mut self.window
            && let Some(place) = self.secret.iter().position(|token| *token == window.token())
        {
            self.secret.swap_remove(place);
            window.wipe();
        }
    }
}

const fn index(lane: Lane) -> usize {
    match lane {
        Lane::Bulk => 0,
        Lane::Urgent => 1,
    }
}

impl Outgoing {
    /// Splits a link: the inlet is for the receiver.
    pub(super) fn split(link: Link) -> (Self, Box<dyn Inlet>) {
        let Link { outlet, inlet, tether, capabilities } = link;
        (Self { outlet, tether, capabilities, lanes: Default::default(), rung: 0 }, inlet)
    }

    /// Makes sure that a message of `length` bytes fits the open window of `lane`.
    #[inline]
    pub(super) fn make_room(&mut self, lane: Lane, length: usize) -> Result<Laid, PeerGone> {
        match &self.lanes[index(lane)].window {
            Some(window) if window.room() >= length => Ok(Laid::Sent),
            // It fits no window: its frames were to be lent, and too many are out.
            Some(window) if window.messages() == 0 => Ok(Laid::NoRoom),
            _ => self.next_window(lane, length),
        }
    }

    /// Ships the open window and takes the next, for a message of `length` bytes.
    #[cold]
    fn next_window(&mut self, lane: Lane, length: usize) -> Result<Laid, PeerGone> {
        self.ship(lane)?;
        self.lanes[index(lane)].window = self.outlet.take(lane)?;
        self.lanes[index(lane)].erase_secret();
        let fits = self.lanes[index(lane)].window.as_ref().is_some_and(|window| window.room() >= length);
        Ok(if fits { Laid::Sent } else { Laid::NoRoom })
    }

    /// Ships the open window of `lane`, if anything is in it.
    pub(super) fn ship(&mut self, lane: Lane) -> Result<(), PeerGone> {
        let open = &mut self.lanes[index(lane)];
        match open.window.take_if(|window| window.messages() > 0) {
            Some(window) => self.outlet.ship(lane, window),
            None => Ok(()),
        }
    }

    /// Lends what can be lent of a message.
    pub(super) fn lend(&mut self, message: &Message) -> Result<Lent, PeerGone> {
        let mut lent = Lent::new();
        for frame in message.each_frame() {
            let descriptor = match frame.slice {
                Some(slice) if slice.len() >= LEND_FROM => self.outlet.lend(slice)?,
                _ => None,
            };
            lent.push(descriptor);
        }
        Ok(lent)
    }

    /// Takes back what was lent for a message that was not sent.
    pub(super) fn unlend(&mut self, lent: &Lent) {
        lent.iter().rev().flatten().for_each(|descriptor| self.outlet.unlend(*descriptor));
    }

    /// Lays a message down whose room was made; `length` is its encoded length.
    #[inline]
    pub(super) fn lay(&mut self, lane: Lane, message: &Message, lent: &Lent, length: usize) {
        let open = &mut self.lanes[index(lane)];
        let window = open.window.as_mut().expect("room was made");
        let mut writer = Writer(window.body_mut(length));
        writer.word(message.correlation());
        if let Some((timestamp, tag)) = message.extension() {
            writer.word(timestamp);
            writer.word(tag);
        }
        for (number, frame) in message.each_frame().enumerate() {
            writer.frame(&frame, lent.get(number).copied().flatten());
        }
        let word = MessageWord {
            length: length as u32,
            frames: message.frames() as u16,
            kind: message.kind(),
            flags: message.flags(),
        };
        window.commit(length, word.pack());
        open.committed += 1;
        open.remember_secret(message.flags());
    }

    /// Lays a message down that has one frame, which is copied, and no extension.
    #[inline]
    pub(super) fn lay_sole(&mut self, lane: Lane, message: &Message, frame: &FrameRef<'_>) {
        let open = &mut self.lanes[index(lane)];
        let window = open.window.as_mut().expect("room was made");
        let length = MESSAGE_HEADER + wire::frame_bytes(frame.bytes.len());
        let mut writer = Writer(window.body_mut(length));
        writer.word(message.correlation());
        writer.frame(frame, None);
        let word = MessageWord { length: length as u32, frames: 1, kind: message.kind(), flags: message.flags() };
        window.commit(length, word.pack());
        open.committed += 1;
        open.remember_secret(message.flags());
    }

    /// Lays a message of one frame down whose bytes `fill` writes in place.
    #[inline]
    pub(super) fn lay_with(&mut self, lane: Lane, len: usize, fill: impl FnOnce(&mut [u8])) {
        let open = &mut self.lanes[index(lane)];
        let window = open.window.as_mut().expect("room was made");
        let length = MESSAGE_HEADER + wire::frame_bytes(len);
        let mut writer = Writer(window.body_mut(length));
        writer.word(0);
        writer.word(len as u64);
        fill(writer.bytes(len));
        let word = MessageWord { length: length as u32, frames: 1, kind: Kind::Data, flags: 0 };
        window.commit(length, word.pack());
        open.committed += 1;
    }

    /// Takes an empty window of the bulk lane.
    pub(super) fn take_fresh(&mut self) -> Result<Laid, PeerGone> {
        if self.lanes[index(Lane::Bulk)].window.as_ref().is_some_and(|window| window.messages() == 0) {
            return Ok(Laid::Sent);
        }
        self.next_window(Lane::Bulk, 0)
    }

    /// The payload of the one message that an empty window takes, `size` bytes at most; `None` when there is no such window.
    pub(super) fn fresh_bytes(&mut self, size: usize) -> Option<&mut [u8]> {
        let window = self.lanes[index(Lane::Bulk)].window.as_mut()?;
        let length = MESSAGE_HEADER + wire::frame_bytes(size);
        Some(&mut window.body_mut(length)[MESSAGE_HEADER + FRAME_HEADER - 8..][..size])
    }

    /// Ships the window with the first `len` bytes of its payload.
    pub(super) fn ship_fresh(&mut self, len: usize, erase: Erase) -> Result<(), PeerGone> {
        let open = &mut self.lanes[index(Lane::Bulk)];
        let Some(window) = open.window.as_mut() else { return Ok(()) };
        let length = MESSAGE_HEADER + wire::frame_bytes(len);
        let body = window.body_mut(length);
        body[..8].fill(0);
        body[8..16].copy_from_slice(&(len as u64).to_le_bytes());
        body[16 + len..].fill(0);
        let flags = if erase == Erase::Zero { message_flags::ERASE } else { 0 };
        window.commit(length, MessageWord { length: length as u32, frames: 1, kind: Kind::Data, flags }.pack());
        open.committed += 1;
        open.remember_secret(flags);
        self.ship(Lane::Bulk)
    }

    /// Rings the peer if it sleeps: once after each burst of messages.
    #[inline]
    pub(super) fn ring(&mut self, lane: Lane) {
        let Some(window) = &self.lanes[index(lane)].window else { return };
        let asleep = window.peer_sleeps();
        if asleep & 1 == 1 && asleep != self.rung {
            self.rung = asleep;
            self.tether.ring();
        }
    }

    /// Collects what has come back.
    pub(super) fn progress(&mut self) -> Result<(), PeerGone> {
        self.outlet.progress()
    }

    /// Messages that were committed and of which it is not certain that the peer has read them.
    pub(super) fn unread(&self) -> u64 {
        let lane = |lane| self.lanes[index(lane)].committed.saturating_sub(self.outlet.read_by_peer(lane));
        lane(Lane::Bulk) + lane(Lane::Urgent)
    }

    /// Whether the peer has everything.
    pub(super) fn is_drained(&mut self) -> Result<bool, PeerGone> {
        Ok(self.outlet.is_drained()? && self.unread() == 0)
    }

    /// Ships what is open and tells the peer that nothing more comes.
    pub(super) fn finish(&mut self) -> Result<(), PeerGone> {
        self.ship(Lane::Urgent)?;
        self.ship(Lane::Bulk)?;
        self.outlet.finish();
        Ok(())
    }
}

/// Bytes of a message with these frames lent.
pub(super) fn encoded_bytes(message: &Message, lent: &Lent) -> usize {
    let frames = message.each_frame().enumerate().map(|(number, frame)| {
        let lent = lent.get(number).copied().flatten().is_some();
        FRAME_HEADER + if lent { DESCRIPTOR } else { padded(frame.bytes.len()) }
    });
    let extension = if message.flags() & message_flags::EXTENDED != 0 { wire::EXTENSION } else { 0 };
    MESSAGE_HEADER + extension + frames.sum::<usize>()
}

/// Writes a body from front to back.
struct Writer<'a>(&'a mut [u8]);

impl<'a> Writer<'a> {
    #[inline]
    fn word(&mut self, word: u64) {
        let (head, rest) = std::mem::take(&mut self.0)
            .split_first_chunk_mut::<8>()
            .expect("the length was computed from what is written");
        *head = word.to_le_bytes();
        self.0 = rest;
    }

    /// Room for `len` bytes; the padding behind them is zeroed.
    #[inline]
    fn bytes(&mut self, len: usize) -> &'a mut [u8] {
        let (bytes, rest) = std::mem::take(&mut self.0).split_at_mut(padded(len));
        self.0 = rest;
        if let Some(last) = bytes.last_chunk_mut::<8>() {
            // What the bytes leave of the last word is padding. A word is stored faster than a few bytes are counted.
            *last = [0; 8];
        }
        &mut bytes[..len]
    }

    #[inline]
    fn frame(&mut self, frame: &FrameRef<'_>, lent: Option<Descriptor>) {
        let head = frame.bytes.len() as u64 | u64::from(frame.schema) << 32;
        match lent {
            Some(descriptor) => {
                self.word(head | u64::from(frame_flags::LENT) << 48);
                self.bytes(DESCRIPTOR).copy_from_slice(&descriptor.pack());
            }
            None => {
                self.word(head);
                self.bytes(frame.bytes.len()).copy_from_slice(frame.bytes);
            }
        }
    }
}
