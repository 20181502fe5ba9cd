//! The pump: input queues at one side, the links' windows at the other. Whoever holds it moves messages; nobody waits for it on the way of a message.
//!
//! A poster that finds it free and nothing queued encodes straight into the window. One that finds it taken leaves its message in its queue, and
//! whoever holds the pump takes it along (flat combining).

use std::collections::VecDeque;
use std::sync::Arc;

use super::error::Loss;
use super::outgoing::{Laid, Lent, Outgoing, encoded_bytes};
use crate::message::Message;
use crate::queue::{Priority, Reader, Scheduler, Weights};
use crate::tli::{Erase, Lane, PeerGone, Reason, Tether};

/// Losses that are remembered until a receiver asks for them.
const LOSSES_MAX: usize = 16;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Laid into a window of every link.
    Sent,
    /// A link has no room.
    NoRoom,
    /// No peer is there.
    NoLink,
}

/// How far [`Pump::drain`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    /// All queues are empty.
    Empty,
    /// A message is just being pushed in front of others; who pushes it sees to them.
    Unready,
    /// Some lane has no room, or no peer is there.
    Blocked,
    /// The budget is used up, and more waits.
    More,
}

/// The sending half of a channel.
pub(super) struct Pump {
    name: String,
    pub(super) outgoing: Vec<Outgoing>,
    queues: Vec<Option<Queue>>,
    scheduler: Scheduler,
    /// A message that was taken from its queue and found no room, by lane.
    held: [Option<(usize, Message)>; 2],
    losses: VecDeque<(Arc<dyn Tether>, Loss)>,
    /// Links that we have finished. Their peers go when they learn of it, before or after we hang up.
    finished: Vec<Arc<dyn Tether>>,
    /// The last of all, also after a receiver has asked for it.
    last_loss: Option<Loss>,
    /// Whether every link shows messages on commit: then nothing has to be shipped behind a poster that encodes by itself.
    pub(super) direct: bool,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) lost_links: u64,
}

/// The reading end of an input queue.
struct Queue {
    reader: Reader<Message>,
    priority: Priority,
    /// Held by every sender, too.
    senders: Arc<()>,
}

/// The lane of a priority.
pub(super) const fn lane_of(priority: Priority) -> Lane {
    match priority {
        Priority::Critical => Lane::Urgent,
        _ => Lane::Bulk,
    }
}

const fn index(lane: Lane) -> usize {
    match lane {
        Lane::Bulk => 0,
        Lane::Urgent => 1,
    }
}

impl Pump {
    pub(super) fn new(name: String, weights: Weights) -> Self {
        Self {
            name,
            outgoing: Vec::new(),
            queues: Vec::new(),
            scheduler: Scheduler::new(weights),
            held: [None, None],
            losses: VecDeque::new(),
            finished: Vec::new(),
            last_loss: None,
            direct: false,
            messages: 0,
            bytes: 0,
            lost_links: 0,
        }
    }

    /// Adds a queue.
    pub(super) fn add_queue(&mut self, reader: Reader<Message>, priority: Priority, senders: Arc<()>) {
        let number = self.queues.iter().position(Option::is_none).unwrap_or(self.queues.len());
        if number == self.queues.len() {
            self.queues.push(None);
        }
        self.scheduler.add(number, priority);
        self.queues[number] = Some(Queue { reader, priority, senders });
    }

    /// Removes queues that no sender feeds any more and that are empty.
    pub(super) fn retire_queues(&mut self) {
        for number in 0..self.queues.len() {
            let over = self.queues[number]
                .as_ref()
                .is_some_and(|queue| Arc::strong_count(&queue.senders) == 1 && queue.reader.is_empty());
            if over && self.held.iter().flatten().all(|(held, _)| *held != number) {
                self.queues[number] = None;
                self.scheduler.remove(number);
            }
        }
    }

    /// Messages that wait.
    pub(super) fn queued(&self) -> usize {
        let queues = self.queues.iter().flatten().map(|queue| queue.reader.len());
        queues.sum::<usize>() + self.held.iter().flatten().count()
    }

    pub(super) fn add_link(&mut self, link: Outgoing) {
        self.outgoing.push(link);
        self.direct = self.outgoing.iter().all(|link| link.capabilities.visible_on_commit);
    }

    /// Lays a message into a window of every link, or of none.
    #[inline]
    pub(super) fn send(&mut self, lane: Lane, message: &Message) -> Fate {
        let length = message.encoded_bytes();
        if let [link] = &mut self.outgoing[..]
            && !message.has_lendable()
        {
            return match link.make_room(lane, length) {
                Ok(Laid::Sent) => {
                    match message.sole_frame() {
                        Some(frame) => link.lay_sole(lane, message, &frame),
                        None => link.lay(lane, message, &Lent::new(), length),
                    }
                    self.count(length)
                }
                Ok(Laid::NoRoom) => Fate::NoRoom,
                Err(gone) => self.lose(0, gone),
            };
        }
        self.send_everywhere(lane, message)
    }

    /// As [`Self::send`] for a message of `len` bytes that `fill` writes; it is called only when the result is `Sent`. For one link.
    #[inline]
    pub(super) fn send_with(&mut self, lane: Lane, len: usize, fill: impl FnOnce(&mut [u8])) -> Fate {
        let length = crate::wire::MESSAGE_HEADER + crate::wire::frame_bytes(len);
        let [link] = &mut self.outgoing[..] else { return Fate::NoLink };
        match link.make_room(lane, length) {
            Ok(Laid::Sent) => {
                link.lay_with(lane, len, fill);
                self.count(length)
            }
            Ok(Laid::NoRoom) => Fate::NoRoom,
            Err(gone) => self.lose(0, gone),
        }
    }

    /// Takes a fresh window of the first link, for a raw channel.
    pub(super) fn take_raw(&mut self) -> Fate {
        let Some(link) = self.outgoing.first_mut() else { return Fate::NoLink };
        match link.take_fresh() {
            Ok(Laid::Sent) => Fate::Sent,
            Ok(Laid::NoRoom) => Fate::NoRoom,
            Err(gone) => self.lose(0, gone),
        }
    }

    /// The payload of the window that was taken.
    pub(super) fn raw_bytes(&mut self, size: usize) -> Option<&mut [u8]> {
        self.outgoing.first_mut()?.fresh_bytes(size)
    }

    /// Ships it.
    pub(super) fn ship_raw(&mut self, len: usize, erase: Erase) -> Fate {
        let Some(link) = self.outgoing.first_mut() else { return Fate::NoLink };
        match link.ship_fresh(len, erase) {
            Ok(()) => self.count(len),
            Err(gone) => self.lose(0, gone),
        }
    }

    #[inline]
    fn count(&mut self, length: usize) -> Fate {
        self.messages += 1;
        self.bytes += length as u64;
        Fate::Sent
    }

    /// The general way: several links, frames that may be lent.
    fn send_everywhere(&mut self, lane: Lane, message: &Message) -> Fate {
        let mut ready: Vec<(Lent, usize)> = Vec::with_capacity(self.outgoing.len());
        while ready.len() < self.outgoing.len() {
            let number = ready.len();
            let link = &mut self.outgoing[number];
            let lent = if link.capabilities.shares_memory { link.lend(message) } else { Ok(Lent::new()) };
            let laid = lent.and_then(|lent| {
                let length = encoded_bytes(message, &lent);
                let laid = link.make_room(lane, length)?;
                Ok((laid, lent, length))
            });
            match laid {
                Ok((Laid::Sent, lent, length)) => ready.push((lent, length)),
                Ok((Laid::NoRoom, lent, _)) => {
                    link.unlend(&lent);
                    self.outgoing.iter_mut().zip(&ready).for_each(|(link, (lent, _))| link.unlend(lent));
                    return Fate::NoRoom;
                }
                // The links behind it move up.
                Err(gone) => drop(self.lose(number, gone)),
            }
        }
        let Some(&(_, length)) = ready.first() else { return Fate::NoLink };
        for (link, (lent, length)) in self.outgoing.iter_mut().zip(&ready) {
            link.lay(lane, message, lent, *length);
        }
        self.count(length)
    }

    /// A link is over.
    #[cold]
    pub(super) fn lose(&mut self, number: usize, gone: PeerGone) -> Fate {
        let link = self.outgoing.remove(number);
        self.direct = !self.outgoing.is_empty() && self.outgoing.iter().all(|link| link.capabilities.visible_on_commit);
        let loss = Loss { channel: self.name.clone(), gone, in_doubt: link.unread() };
        if self.losses.len() == LOSSES_MAX {
            self.losses.pop_front();
        }
        self.last_loss = Some(loss.clone());
        self.losses.push_back((link.tether, loss));
        self.lost_links += 1;
        if self.outgoing.is_empty() { Fate::NoLink } else { Fate::NoRoom }
    }

    /// What is known of the loss of a link.
    pub(super) fn loss_of(&mut self, tether: &Arc<dyn Tether>, mut gone: PeerGone) -> Loss {
        if gone.reason == Reason::Died && self.finished.iter().any(|finished| Arc::ptr_eq(finished, tether)) {
            gone.reason = Reason::Left;
        }
        if let Some(number) = self.outgoing.iter().position(|link| Arc::ptr_eq(&link.tether, tether)) {
            self.lose(number, gone.clone());
        }
        let known =
            self.losses.iter().position(|(of, _)| Arc::ptr_eq(of, tether)).and_then(|place| self.losses.remove(place));
        known.map_or_else(|| Loss { channel: self.name.clone(), gone, in_doubt: 0 }, |(_, loss)| loss)
    }

    /// The loss recorded last.
    pub(super) fn last_loss(&self) -> Option<&Loss> {
        self.last_loss.as_ref()
    }

    /// Moves up to `budget` messages from the queues into windows.
    pub(super) fn drain(&mut self, budget: usize) -> Drained {
        let mut blocked = [false; 2];
        for lane in [Lane::Urgent, Lane::Bulk] {
            if let Some((queue, message)) = self.held[index(lane)].take()
                && !self.move_one(lane, queue, message)
            {
                blocked[index(lane)] = true;
            }
        }
        let mut urgent = false;
        for _ in 0..budget {
            let queues = &mut self.queues;
            let ready = |number: usize| {
                let queue = queues[number].as_mut();
                queue.is_some_and(|queue| !blocked[index(lane_of(queue.priority))] && queue.reader.is_ready())
            };
            let Some(number) = self.scheduler.pick(ready) else {
                self.ship_or_ring();
                return match blocked {
                    [false, false] if self.queues.iter().flatten().all(|queue| queue.reader.is_empty()) => {
                        Drained::Empty
                    }
                    [false, false] => Drained::Unready,
                    _ => Drained::Blocked,
                };
            };
            let queue = self.queues[number].as_mut().expect("it was picked");
            let lane = lane_of(queue.priority);
            let Some(message) = queue.reader.pop() else { continue };
            // Urgent messages do not wait in an open window until the others behind them are laid.
            if std::mem::replace(&mut urgent, lane == Lane::Urgent) && !urgent {
                self.ship_or_ring();
            }
            if !self.move_one(lane, number, message) {
                blocked[index(lane)] = true;
            }
        }
        self.ship_or_ring();
        Drained::More
    }

    /// Sends a message of a queue, or holds it.
    fn move_one(&mut self, lane: Lane, queue: usize, message: Message) -> bool {
        let before = self.bytes;
        if self.send(lane, &message) != Fate::Sent {
            self.held[index(lane)] = Some((queue, message));
            return false;
        }
        self.scheduler.charge(queue, (self.bytes - before) as usize);
        true
    }

    /// After a burst: windows that are not visible by themselves go on their way, sleepers are rung.
    pub(super) fn ship_or_ring(&mut self) {
        let mut number = 0;
        while let Some(link) = self.outgoing.get_mut(number) {
            let mut shipped = Ok(());
            for lane in [Lane::Urgent, Lane::Bulk] {
                if link.capabilities.visible_on_commit {
                    link.ring(lane);
                } else if shipped.is_ok() {
                    shipped = link.ship(lane);
                }
            }
            match shipped {
                Ok(()) => number += 1,
                Err(gone) => drop(self.lose(number, gone)),
            }
        }
    }

    /// Whether posters may encode by themselves: a peer is there.
    #[inline]
    pub(super) fn takes_directly(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Rings after one message that a poster encoded by itself.
    #[inline]
    pub(super) fn ring(&mut self, lane: Lane) {
        self.outgoing.iter_mut().for_each(|link| link.ring(lane));
    }

    /// Collects what has come back on every link.
    pub(super) fn progress(&mut self) {
        let mut number = 0;
        while let Some(link) = self.outgoing.get_mut(number) {
            match link.progress() {
                Ok(()) => number += 1,
                Err(gone) => drop(self.lose(number, gone)),
            }
        }
    }

    /// Whether every peer has everything.
    pub(super) fn is_drained(&mut self) -> bool {
        let mut drained = self.held.iter().all(Option::is_none);
        let mut number = 0;
        while let Some(link) = self.outgoing.get_mut(number) {
            match link.is_drained() {
                Ok(it) => {
                    drained &= it;
                    number += 1;
                }
                Err(gone) => drop(self.lose(number, gone)),
            }
        }
        drained
    }

    /// Messages that peers may not have read.
    pub(super) fn unread(&self) -> u64 {
        self.outgoing.iter().map(Outgoing::unread).sum()
    }

    /// Tells all peers that nothing more comes, and lets go of them.
    pub(super) fn finish(&mut self) {
        for mut link in self.outgoing.drain(..) {
            // Who is gone need not be told.
            let _ = link.finish();
            // A receiver of ours that is still held by the application would keep the link up.
            link.tether.cut(Reason::Left);
            self.finished.push(link.tether);
        }
        self.direct = false;
    }
}
