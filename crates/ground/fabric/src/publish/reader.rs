//! One reader of a publisher: a channel of one link, and the account of what it missed.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll;

use crate::channel::Progress;
use crate::channel::{Channel, Deadline, Lends, Receiver, Reconnect, Refusal, Sender, Waiting};
use crate::message::Message;
use crate::queue::{BYTES_MAX, Full, Priority, QueueKind};
use crate::tli::{Attempt, Connector, Link, LinkSettings, OpenError, Peer, Tether};
use crate::wire::Kind;

/// What became of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Published {
    /// Readers it is on its way to.
    pub readers: usize,
    /// Readers that had no room, and will be told so.
    pub skipped: usize,
}

/// What a publisher knows of one of its readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderStats {
    /// Who it is.
    pub peer: Peer,
    /// Messages sent to it.
    pub sent: u64,
    /// Messages it missed.
    pub missed: u64,
    /// Messages that wait for it, in its queue.
    pub queued: usize,
}

/// A link that was met already, as a connector for the one channel that will have it; or nobody, for ever.
pub(super) struct Met(pub(super) Option<Link>);

impl Connector for Met {
    fn poll(&mut self, _now: Instant) -> Result<Attempt, OpenError> {
        Ok(self.0.take().map_or(Attempt::Waiting { again: None }, Attempt::Met))
    }

    fn readiness(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

/// Whether a message went to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    Sent,
    Skipped,
    /// The reader is gone.
    Gone,
}

pub(super) struct Reader {
    channel: Channel,
    receiver: Receiver,
    sender: Sender,
    tether: Arc<dyn Tether>,
    /// The link shows messages without being driven.
    visible_on_commit: bool,
    sent: u64,
    missed: u64,
    /// Of `missed`, those that it has not been told of.
    untold: u64,
    /// Its peer rings for us.
    armed: bool,
}

impl Reader {
    /// Makes a reader of a link; `backlog` messages may wait for it.
    pub(super) fn new(
        uri: &str,
        link: Link,
        settings: &LinkSettings,
        lends: Lends,
        backlog: usize,
    ) -> Result<Self, OpenError> {
        let (tether, visible_on_commit) = (Arc::clone(&link.tether), link.capabilities.visible_on_commit);
        let mut builder = Channel::builder()
            .name(format!("{uri} ({})", tether.peer()))
            .transport(Box::new(Met(Some(link))), lends)
            .windows(settings.bulk.bytes, settings.bulk.count)
            .urgent_windows(settings.urgent.bytes, settings.urgent.count)
            .reconnect(Reconnect::Never)
            .waiting(Waiting::Park)
            .progress(Progress::Caller);
        if let Some(arena) = &settings.arena {
            builder = builder.arena(arena.clone());
        }
        let (channel, receiver) = builder.open()?;
        let kind = QueueKind::MultiBounded { capacity: backlog, full: Full::Refuse };
        let sender = channel.sender_with(kind, Priority::Normal, BYTES_MAX);
        Ok(Self { channel, receiver, sender, tether, visible_on_commit, sent: 0, missed: 0, untold: 0, armed: false })
    }

    /// Lets `epoll` tell of the reader's rings and of its death.
    pub(super) fn watch(&mut self, epoll: impl AsFd) -> std::io::Result<()> {
        let events = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(epoll, self.receiver.descriptor()?, epoll::EventData::new_u64(0), events)?;
        // So that the link's own descriptor is known to it.
        let _ = self.receiver.try_receive();
        if !self.receiver.about_to_wait()? {
            self.receiver.awake();
        }
        Ok(())
    }

    /// Sends a message, or notes that it was missed.
    pub(super) fn publish(&mut self, message: &Message) -> Went {
        let told = self.tell();
        let went = if told == Went::Sent { self.post(message.clone()) } else { told };
        match went {
            Went::Sent => self.sent += 1,
            Went::Skipped => {
                self.missed += 1;
                self.untold += 1;
            }
            Went::Gone => {}
        }
        went
    }

    /// Tells it how much it missed, if anything.
    fn tell(&mut self) -> Went {
        if self.untold == 0 {
            return Went::Sent;
        }
        let went = self.post(Message::of_kind(Kind::Gap, self.untold));
        if went == Went::Sent {
            self.untold = 0;
        }
        went
    }

    fn post(&mut self, message: Message) -> Went {
        match self.sender.post(message, Deadline::Now) {
            Ok(()) => {
                if !self.visible_on_commit {
                    // Nobody else ships.
                    self.channel.progress();
                }
                Went::Sent
            }
            // A message that fits no window counts as missed, too: its frames could not be lent.
            Err(error) => match error.why {
                Refusal::Busy | Refusal::TooLarge { .. } => Went::Skipped,
                Refusal::Closed | Refusal::PeerGone(_) | Refusal::Failed(_) => Went::Gone,
            },
        }
    }

    /// Moves what waits, drops what comes, and looks whether the reader is still there.
    pub(super) fn progress(&mut self) -> Went {
        /// Messages of a talkative reader that are dropped in one go.
        const DROPPED_MAX: usize = 256;
        // A death shows by this look.
        if self.tether.look().is_err() {
            return Went::Gone;
        }
        self.channel.progress();
        if self.receiver.drain(DROPPED_MAX, |_| ()).is_err() || self.channel.stats().links == 0 {
            return Went::Gone;
        }
        self.tell()
    }

    /// Whether it waits for room: something is queued for it or untold.
    pub(super) fn waits(&self) -> bool {
        self.untold > 0 || self.channel.stats().queued_messages > 0
    }

    /// Whether it cannot be let sleep: something is there that its descriptor told of before, or will not tell of.
    pub(super) fn arm(&mut self) -> bool {
        // Without something to do, only its death matters, of which the descriptor tells by itself.
        if !self.waits() {
            return false;
        }
        self.armed = true;
        // An error is one of the system's descriptors; the next turn tries again.
        let ready = self.receiver.about_to_wait().unwrap_or(true);
        if ready {
            self.armed = false;
        }
        ready
    }

    /// Whether the thread that takes turns hears of its room.
    pub(super) fn is_armed(&self) -> bool {
        self.armed
    }

    pub(super) fn disarm(&mut self) {
        if std::mem::take(&mut self.armed) {
            self.receiver.awake();
        }
    }

    pub(super) fn stats(&self) -> ReaderStats {
        ReaderStats {
            peer: self.tether.peer().clone(),
            sent: self.sent,
            missed: self.missed,
            queued: self.channel.stats().queued_messages,
        }
    }

    /// Sends what waits, waits until it is read, and closes; says whether all was read.
    pub(super) fn close(&mut self, linger: Deadline) -> bool {
        let told = self.tell() == Went::Sent;
        self.channel.close(linger).is_ok() && told
    }
}
