//! The receiving handle of a channel.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use rustix::event::epoll;
use smallvec::SmallVec;

use super::deadline::Deadline;
use super::error::ReceiveError;
use super::inbox::Inbox;
use super::intake::{Found, Intake, Place};
use super::pace::Pace;
use super::shared::{Drives, Phase};
use super::view::{MessageView, Received};
use super::{Core, Waiting};
use crate::queue::ReceiveReader;
use crate::tli::Tether;

/// Receives what the peers of a channel send.
pub struct Receiver {
    core: Arc<Core>,
    source: Source,
    /// Links whose peers ring because a task or an event loop waits for us.
    armed: Vec<Arc<dyn Tether>>,
    /// An event loop waits for us.
    waits: bool,
}

/// Where messages come from.
enum Source {
    /// Straight from the windows: nothing is decoded before it is asked for, and a sender is held back by its windows.
    Direct(Box<Direct>),
    /// From a receive queue, which turns of the channel fill.
    Queue(ReceiveReader<Received>),
}

struct Direct {
    intake: Intake,
    /// Arrivals taken over so far.
    seen: u64,
    /// A sleep has ended: if there is no message, somebody may be gone.
    woken: bool,
    /// For waiting by descriptor: see [`Receiver::descriptor`].
    watched: Option<Watched>,
    pace: Pace,
}

/// An epoll descriptor over everything that may bring a message.
struct Watched {
    epoll: OwnedFd,
    /// Links' descriptors in it.
    tethers: Vec<Arc<dyn Tether>>,
}

impl Receiver {
    pub(super) fn direct(core: Arc<Core>) -> Self {
        Self {
            core,
            source: Source::Direct(Box::new(Direct {
                intake: Intake::new(),
                seen: 0,
                woken: false,
                watched: None,
                pace: Pace::new(),
            })),
            armed: Vec::new(),
            waits: false,
        }
    }

    pub(super) fn queued(core: Arc<Core>, reader: ReceiveReader<Received>) -> Self {
        Self { core, source: Source::Queue(reader), armed: Vec::new(), waits: false }
    }

    /// A further consumer of the same receive queue; `None` where there is one consumer.
    pub fn another(&self) -> Option<Self> {
        match &self.source {
            Source::Direct(_) => None,
            Source::Queue(reader) => {
                let source = Source::Queue(reader.try_clone()?);
                Some(Self { core: Arc::clone(&self.core), source, armed: Vec::new(), waits: false })
            }
        }
    }

    /// Waits for a message and takes it.
    ///
    /// # Errors
    /// When none came before the deadline, a peer is gone, or the channel is closed.
    pub fn receive(&mut self, deadline: Deadline) -> Result<Received, ReceiveError> {
        self.wait(deadline, Self::take)
    }

    /// Waits for a message and lends it to `use_it`: it is read where it lies, or from a buffer that is used again.
    ///
    /// # Errors
    /// As [`Self::receive`].
    #[inline]
    pub fn receive_with<R>(
        &mut self,
        deadline: Deadline,
        use_it: impl FnOnce(MessageView<'_>) -> R,
    ) -> Result<R, ReceiveError> {
        let mut use_it = Some(use_it);
        if let Source::Direct(direct) = &mut self.source
            && let Some(place) = direct.intake.next_quickly()
            && let Some(take) = use_it.take()
        {
            match direct.intake.with_view(place, take) {
                Ok(result) => return Ok(result),
                Err(lost) => return Err(lost_error(&self.core, lost)),
            }
        }
        self.wait(deadline, |this| this.lend(&mut use_it))
    }

    /// Lends up to `max` messages that are there to `each`, one by one, and says how many. Never waits.
    ///
    /// # Errors
    /// When a peer is gone or the channel closed, and there was no message.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(MessageView<'_>)) -> Result<usize, ReceiveError> {
        let mut count = 0;
        while count < max {
            match self.lend(&mut Some(&mut each)) {
                Ok(Some(())) => count += 1,
                Ok(None) => break,
                Err(_) if count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        if count < max {
            self.settle();
        }
        Ok(count)
    }

    /// Takes a message if one is there.
    ///
    /// # Errors
    /// When a peer is gone or the channel closed.
    pub fn try_receive(&mut self) -> Result<Option<Received>, ReceiveError> {
        let received = self.take()?;
        if received.is_none() {
            self.settle();
        }
        Ok(received)
    }

    /// As [`Self::receive`], and the task waits instead of the thread. The channel needs a service thread, or someone who drives it. Safe to cancel.
    ///
    /// # Errors
    /// When a peer is gone or the channel closed.
    pub async fn receive_async(&mut self) -> Result<Received, ReceiveError> {
        poll_fn(|context| self.poll_receive(context)).await
    }

    /// As [`Self::receive_async`], by hand.
    ///
    /// # Errors
    /// As [`Self::receive_async`].
    pub fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<Received, ReceiveError>> {
        self.disarm();
        if let Some(result) = self.take().transpose() {
            return Poll::Ready(result);
        }
        self.settle();
        self.core.shared.receiver_waker.register(context.waker());
        self.core.shared.future_waits.store(true, Ordering::SeqCst);
        if let Source::Direct(direct) = &self.source {
            // By us and not by the driver: it takes turns, between which nobody would ring.
            self.armed.extend(direct.intake.tethers().cloned());
            self.armed.iter().for_each(|tether| tether.arm());
        }
        // The driver listens for us from its next turn on.
        self.core.shared.wake_driver();
        match self.take().transpose() {
            Some(result) => {
                self.disarm();
                Poll::Ready(result)
            }
            None => Poll::Pending,
        }
    }

    /// No task waits for us now: peers need not ring.
    fn disarm(&mut self) {
        self.armed.drain(..).for_each(|tether| tether.disarm());
    }

    /// A descriptor that becomes readable when a message, a new peer or a death may be there, for event loops that wait by themselves: call
    /// [`Self::about_to_wait`] before the wait and [`Self::awake`] after it. The channel needs a service thread beside it, and no receive queue.
    ///
    /// # Errors
    /// When the system has no descriptors left, or the channel has a receive queue.
    pub fn descriptor(&mut self) -> io::Result<BorrowedFd<'_>> {
        let Source::Direct(direct) = &mut self.source else { return Err(io::ErrorKind::Unsupported.into()) };
        let watched = match &mut direct.watched {
            Some(watched) => watched,
            none => {
                let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
                epoll::add(
                    &epoll,
                    self.core.shared.receive_bell(),
                    epoll::EventData::new_u64(0),
                    epoll::EventFlags::IN,
                )?;
                none.insert(Watched { epoll, tethers: Vec::new() })
            }
        };
        Ok(watched.epoll.as_fd())
    }

    /// Says that this receiver is about to wait on [`Self::descriptor`], so that peers ring. Returns `true` when it need not wait, for something is
    /// there; otherwise [`Self::awake`] ends the wait.
    ///
    /// # Errors
    /// When a new link's descriptor cannot be watched.
    pub fn about_to_wait(&mut self) -> io::Result<bool> {
        self.awake();
        self.settle();
        let Source::Direct(direct) = &mut self.source else { return Ok(false) };
        if let Some(watched) = &mut direct.watched {
            watched.tethers.retain(|known| direct.intake.tethers().any(|tether| Arc::ptr_eq(known, tether)));
            for tether in direct.intake.tethers() {
                let fresh = watched.tethers.iter().all(|known| !Arc::ptr_eq(known, tether));
                if let Some(fd) = tether.readiness().filter(|_| fresh) {
                    epoll::add(
                        &watched.epoll,
                        fd,
                        epoll::EventData::new_u64(1),
                        epoll::EventFlags::IN | epoll::EventFlags::RDHUP,
                    )?;
                    watched.tethers.push(Arc::clone(tether));
                }
            }
        }
        self.armed.extend(direct.intake.tethers().cloned());
        self.armed.iter().for_each(|tether| tether.arm());
        self.core.shared.receiver_sleeps();
        self.waits = true;
        let ready = self.ready();
        if ready {
            self.awake();
        }
        Ok(ready)
    }

    /// The wait that [`Self::about_to_wait`] began, if any, is over; takes the rings.
    pub fn awake(&mut self) {
        if !std::mem::take(&mut self.waits) {
            return;
        }
        self.core.shared.receiver_wakes();
        self.disarm();
        if let Source::Direct(direct) = &mut self.source {
            // A death shows when messages are looked for.
            direct.intake.tethers().for_each(|tether| drop(tether.look()));
            direct.woken = true;
        }
    }

    /// Waits for a message and says where it lies: for raw channels, which receive without a queue.
    pub(super) fn wait_place(&mut self, deadline: Deadline) -> Result<Place, ReceiveError> {
        self.wait(deadline, |this| {
            let Source::Direct(direct) = &mut this.source else { return this.nothing() };
            match find(&this.core, direct)? {
                Some(place) => Ok(Some(place)),
                None => this.nothing(),
            }
        })
    }

    /// The windows that messages are taken from.
    ///
    /// # Panics
    /// When there is a receive queue instead.
    pub(super) fn intake(&mut self) -> &mut Intake {
        match &mut self.source {
            Source::Direct(direct) => &mut direct.intake,
            Source::Queue(_) => panic!("a raw channel receives without a queue"),
        }
    }

    /// Waits until `look` finds something.
    fn wait<R>(
        &mut self,
        deadline: Deadline,
        mut look: impl FnMut(&mut Self) -> Result<Option<R>, ReceiveError>,
    ) -> Result<R, ReceiveError> {
        let mut spun = 0;
        loop {
            if let Some(result) = look(self)? {
                return Ok(result);
            }
            if let Source::Direct(direct) = &mut self.source
                && spun == 0
                && deadline != Deadline::Now
            {
                (0..direct.pace.stand_back(direct.intake.messages)).for_each(|_| std::hint::spin_loop());
            }
            let spins = match self.core.waiting {
                Waiting::Busy => u32::MAX,
                Waiting::SpinThenPark { spins } => spins,
                Waiting::Park => 0,
            };
            if spun < spins {
                spun += 1;
                // The clock costs more than a look, so it is read now and then.
                if deadline == Deadline::Now || spun % 1024 == 0 && self.over(deadline) {
                    return Err(self.timed_out());
                }
                if spun == u32::MAX - 1 {
                    spun = 0;
                }
                std::hint::spin_loop();
                continue;
            }
            spun = 0;
            if self.over(deadline) {
                return Err(self.timed_out());
            }
            self.sleep(deadline);
        }
    }

    /// Settles accounts with the peers, drives what nobody else drives, and looks at the clock.
    fn over(&mut self, deadline: Deadline) -> bool {
        self.settle();
        if self.core.drives == Drives::Yes {
            self.core.shared.turn_now();
        }
        deadline.is_over()
    }

    fn timed_out(&mut self) -> ReceiveError {
        self.settle();
        ReceiveError::TimedOut { channel: self.core.shared.name.clone() }
    }

    fn sleep(&mut self, deadline: Deadline) {
        self.settle();
        let core = Arc::clone(&self.core);
        let tethers: SmallVec<[Arc<dyn Tether>; 2]> = match &self.source {
            Source::Direct(direct) => direct.intake.tethers().cloned().collect(),
            Source::Queue(_) => SmallVec::new(),
        };
        core.shared.sleep_receiver(&tethers, core.drives, deadline, || self.ready());
        if let Source::Direct(direct) = &mut self.source {
            direct.woken = true;
        }
    }

    /// Whether something may be there to be taken. The last look before a wait, after everybody was asked to ring.
    fn ready(&mut self) -> bool {
        let shared = &self.core.shared;
        shared.made_room();
        if shared.phase() == Phase::Closed || shared.orphaned.load(Ordering::Acquire) {
            return true;
        }
        match &mut self.source {
            Source::Queue(reader) => !reader.is_empty() || shared.inbox.as_ref().is_some_and(Inbox::has_loss),
            Source::Direct(direct) => {
                // A death needs no look: it makes the descriptor readable.
                direct.seen != shared.arrived.load(Ordering::SeqCst) || direct.intake.has_message()
            }
        }
    }

    /// Takes a message if one is there.
    fn take(&mut self) -> Result<Option<Received>, ReceiveError> {
        match &mut self.source {
            Source::Queue(reader) => {
                let inbox = self.core.shared.inbox.as_ref();
                if let Some(loss) = inbox.and_then(|inbox| inbox.due_loss(reader)) {
                    return Err(ReceiveError::PeerGone(loss));
                }
                let Some(received) = reader.pop() else { return self.nothing() };
                self.core.shared.made_room();
                Ok(Some(received))
            }
            Source::Direct(direct) => match find(&self.core, direct)? {
                Some(place) => direct.intake.take_owned(place).map(Some).map_err(|lost| lost_error(&self.core, lost)),
                None => self.nothing(),
            },
        }
    }

    /// Lends a message if one is there.
    fn lend<R, F: FnOnce(MessageView<'_>) -> R>(&mut self, use_it: &mut Option<F>) -> Result<Option<R>, ReceiveError> {
        if let Source::Direct(direct) = &mut self.source {
            let Some(place) = find(&self.core, direct)? else { return self.nothing() };
            let Some(use_it) = use_it.take() else { return Ok(None) };
            return direct.intake.with_view(place, use_it).map(Some).map_err(|lost| lost_error(&self.core, lost));
        }
        let Some(received) = self.take()? else { return Ok(None) };
        let Some(use_it) = use_it.take() else { return Ok(None) };
        Ok(Some(received.lend(use_it)))
    }

    /// There is no message: is that final?
    fn nothing<R>(&mut self) -> Result<Option<R>, ReceiveError> {
        let shared = &self.core.shared;
        let channel = || shared.name.clone();
        if shared.phase() == Phase::Closed {
            return Err(ReceiveError::Closed { channel: channel() });
        }
        if !shared.orphaned.load(Ordering::Acquire) {
            return Ok(None);
        }
        let over = match &self.source {
            Source::Direct(direct) => direct.intake.is_empty() && direct.seen == shared.arrived.load(Ordering::SeqCst),
            // In this order: what came last is in the queue when nothing more comes.
            Source::Queue(reader) => {
                let arrived = shared.arrived.load(Ordering::SeqCst);
                shared.inbox.as_ref().is_none_or(|inbox| inbox.is_over(arrived)) && reader.is_empty()
            }
        };
        match shared.fault() {
            Some(why) if over => Err(ReceiveError::Failed { channel: channel(), why }),
            None if over => Err(ReceiveError::Closed { channel: channel() }),
            _ => Ok(None),
        }
    }

    /// Tells peers what was read.
    fn settle(&mut self) {
        if let Source::Direct(direct) = &mut self.source {
            direct.intake.settle();
        }
    }
}

/// A message in the windows, with new links taken over and lost ones told.
fn find(core: &Core, direct: &mut Direct) -> Result<Option<Place>, ReceiveError> {
    if let Some(place) = direct.intake.next_quickly() {
        return Ok(Some(place));
    }
    match direct.intake.next() {
        Found::Message(place) => return Ok(Some(place)),
        Found::Nothing => {}
        lost @ Found::Gone(..) => return Err(lost_error(core, lost)),
    }
    let arrived = core.shared.arrived.load(Ordering::Acquire);
    if direct.seen != arrived {
        direct.seen = arrived;
        core.shared.take_arrivals().into_iter().for_each(|source| direct.intake.add(source));
    } else if !direct.woken && !direct.intake.worth_a_look() {
        return Ok(None);
    }
    direct.woken = false;
    match direct.intake.next_or_gone() {
        Found::Message(place) => Ok(Some(place)),
        Found::Nothing => Ok(None),
        lost @ Found::Gone(..) => Err(lost_error(core, lost)),
    }
}

/// The error for a link that is over.
#[cold]
fn lost_error(core: &Core, lost: Found) -> ReceiveError {
    let Found::Gone(tether, gone) = lost else { unreachable!("only a loss is turned into an error") };
    let loss = core.shared.pump().loss_of(&tether, gone);
    // The transport may look for another peer now.
    core.shared.link_lost();
    ReceiveError::PeerGone(loss)
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.awake();
        self.disarm();
        // What was read is known there.
        self.settle();
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("channel", &self.core.shared.name).finish_non_exhaustive()
    }
}
