//! What all handles of a channel share, and the turns by which it makes progress.
//!
//! A *turn* looks for peers, collects what came back, drains the queues and fills the receive queue. The service thread takes one turn after the
//! other; without one, whoever waits takes them, one thread at a time.
//!
//! Wake-ups (each pair is a store, a full fence, a load at both sides):
//! - **W1** A poster counts its message in `queued`, then looks whether the driver sleeps; the driver says that it sleeps, then looks at `queued`.
//! - **W2** A link's arrival is put down in `arrivals`, then the receiver is looked at; the receiver says that it sleeps, then looks at `arrived`.
//! - **W3** Whoever takes a tether's rings wakes the other thread that sleeps on the same tether.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use smallvec::SmallVec;

use super::deadline::Deadline;
use super::inbox::Inbox;
use super::intake::Source;
use super::outgoing::Outgoing;
use super::pump::{Drained, Pump};
use crate::sync::AtomicWaker;
use crate::tli::{Attempt, Connector, Tether};

/// After this time, who waits while another thread takes the turns looks whether anybody still does.
const AGAIN: Duration = Duration::from_millis(100);
/// Messages that one turn moves before it looks at other things.
const DRAIN_BUDGET: usize = 4096;

/// Whether the channel takes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Open = 0,
    /// Nothing more is taken; what was is still being sent.
    Closing = 1,
    Closed = 2,
}

/// The common part of a channel's handles.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) limits: [usize; 2],
    pub(super) reconnects: bool,
    pub(super) pump: Mutex<Pump>,
    /// Counts messages put into queues; the pump notes in `drained` up to where it has seen all queues empty.
    queued: AtomicU64,
    drained: AtomicU64,
    phase: AtomicU8,
    turn: Mutex<Turn>,
    /// Wakes the driver.
    bell: OwnedFd,
    driver_asleep: AtomicBool,
    progressed: (Mutex<u64>, Condvar),
    progress_waiters: AtomicUsize,
    /// Tasks that wait for room.
    posters: Mutex<Vec<Waker>>,
    arrivals: Mutex<Vec<Source>>,
    pub(super) arrived: AtomicU64,
    /// Wakes the receiver.
    receive_bell: OwnedFd,
    receiver_asleep: AtomicBool,
    pub(super) receiver_waker: AtomicWaker,
    /// A `Future` waits for messages, so the driver listens for it.
    pub(super) future_waits: AtomicBool,
    pub(super) inbox: Option<Inbox>,
    /// Why a transport gave up, if one did.
    fault: Mutex<Option<String>>,
    /// Set once no transport looks for a peer any more.
    pub(super) orphaned: AtomicBool,
    stop: AtomicBool,
}

/// What only one thread does at a time.
pub(super) struct Turn {
    sites: Vec<Site>,
}

/// One transport of the channel.
pub(super) struct Site {
    connector: Box<dyn Connector>,
    state: SiteState,
}

enum SiteState {
    Looking {
        again: Option<Instant>,
    },
    Up(Arc<dyn Tether>),
    /// It does not look any more.
    Over,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a channel is made of.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) limits: [usize; 2],
    pub(super) reconnects: bool,
    pub(super) pump: Pump,
    pub(super) connectors: Vec<Box<dyn Connector>>,
    pub(super) inbox: Option<Inbox>,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> std::io::Result<Self> {
        let bell = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let looking = |connector| Site { connector, state: SiteState::Looking { again: None } };
        Ok(Self {
            name: parts.name,
            limits: parts.limits,
            reconnects: parts.reconnects,
            pump: Mutex::new(parts.pump),
            queued: AtomicU64::new(0),
            drained: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Open as u8),
            turn: Mutex::new(Turn { sites: parts.connectors.into_iter().map(looking).collect() }),
            bell: bell()?,
            driver_asleep: AtomicBool::new(false),
            progressed: (Mutex::new(0), Condvar::new()),
            progress_waiters: AtomicUsize::new(0),
            posters: Mutex::new(Vec::new()),
            arrivals: Mutex::new(Vec::new()),
            arrived: AtomicU64::new(0),
            receive_bell: bell()?,
            receiver_asleep: AtomicBool::new(false),
            receiver_waker: AtomicWaker::new(),
            future_waits: AtomicBool::new(false),
            inbox: parts.inbox,
            fault: Mutex::new(None),
            orphaned: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        })
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Open,
            1 => Phase::Closing,
            _ => Phase::Closed,
        }
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.wake_receiver();
        self.note_progress();
    }

    pub(super) fn pump(&self) -> MutexGuard<'_, Pump> {
        lock(&self.pump)
    }

    /// Moves what is queued as far as it goes, unless another thread is at it; it will then take this thread's message along, or leave it to the driver.
    pub(super) fn help_pump(&self) {
        while self.is_pending() {
            let Ok(mut pump) = self.pump.try_lock() else { return };
            if !pump.direct {
                drop(pump);
                return self.wake_driver();
            }
            let drained = self.drain(&mut pump, 256);
            drop(pump);
            self.after_unlock();
            match drained {
                // Someone may have queued between the last look and the unlock: the condition of the loop looks again.
                Drained::Empty => {}
                Drained::Blocked | Drained::More => return self.wake_driver(),
            }
        }
    }

    fn drain(&self, pump: &mut Pump, budget: usize) -> Drained {
        // Read before the queues: what is counted up to here is seen by the drain, or was already sent.
        let queued = self.queued.load(Ordering::SeqCst);
        let before = pump.messages;
        let drained = pump.drain(budget);
        if drained == Drained::Empty {
            self.drained.store(queued, Ordering::SeqCst);
        }
        if pump.messages != before {
            self.note_progress();
        }
        drained
    }

    /// Whether a message may wait in a queue.
    #[inline]
    pub(super) fn is_pending(&self) -> bool {
        self.queued.load(Ordering::SeqCst) != self.drained.load(Ordering::SeqCst)
    }

    /// Orders the pump's unlock before the next look at `queued`. Partner of a poster that counts its message and then finds the pump locked: either it
    /// finds it free, or we see its count. On x86-64 the unlock, a locked exchange, is a full fence by itself.
    #[inline]
    pub(super) fn after_unlock(&self) {
        if cfg!(target_arch = "x86_64") {
            std::sync::atomic::compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// A message was put into a queue: see to it that somebody moves it.
    pub(super) fn queued_one(&self) {
        self.queued.fetch_add(1, Ordering::SeqCst);
        self.help_pump();
    }

    /// Wakes who takes the turns, if it sleeps (W1: the caller's change was made by a sequentially consistent operation).
    pub(super) fn wake_driver(&self) {
        fence(Ordering::SeqCst);
        if self.driver_asleep.load(Ordering::Relaxed) && self.driver_asleep.swap(false, Ordering::AcqRel) {
            // A full counter wakes as well.
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// Wakes a thread or task that waits for messages.
    pub(super) fn wake_receiver(&self) {
        fence(Ordering::SeqCst);
        if self.receiver_asleep.load(Ordering::Relaxed) && self.receiver_asleep.swap(false, Ordering::AcqRel) {
            let _ = rustix::io::write(&self.receive_bell, &1u64.to_ne_bytes());
        }
        if self.future_waits.swap(false, Ordering::AcqRel) {
            self.receiver_waker.wake();
        }
    }

    /// Wakes threads and tasks that wait for room or for everything to be read.
    fn note_progress(&self) {
        let posters = std::mem::take(&mut *lock(&self.posters));
        posters.into_iter().for_each(Waker::wake);
        if self.progress_waiters.load(Ordering::SeqCst) > 0 {
            *lock(&self.progressed.0) += 1;
            self.progressed.1.notify_all();
        }
    }

    /// A receive queue has room again.
    pub(super) fn made_room(&self) {
        if self.inbox.as_ref().is_some_and(Inbox::was_starved) {
            self.wake_driver();
        }
    }

    /// A receiver found a link over: its transport may look for another peer.
    pub(super) fn link_lost(&self) {
        self.wake_driver();
        self.turn_now();
    }

    /// A task waits for room in a queue.
    pub(super) fn register_poster(&self, waker: &Waker) {
        let mut posters = lock(&self.posters);
        if !posters.iter().any(|known| known.will_wake(waker)) {
            posters.push(waker.clone());
        }
        drop(posters);
        self.wake_driver();
    }

    /// New links' inlets, for the receiver.
    pub(super) fn take_arrivals(&self) -> Vec<Source> {
        std::mem::take(&mut *lock(&self.arrivals))
    }

    /// Looks for peers, collects, drains, fills the receive queue. Returns whether the driver has something to listen for besides deaths.
    fn step(&self, turn: &mut Turn) -> bool {
        self.meet(turn);
        let mut pump = self.pump();
        pump.progress();
        let drained = self.drain(&mut pump, DRAIN_BUDGET);
        pump.retire_queues();
        let waits = self.progress_waiters.load(Ordering::SeqCst) > 0 || !lock(&self.posters).is_empty();
        let undelivered = !pump.direct && !pump.is_drained();
        drop(pump);
        if waits {
            self.note_progress();
        }
        self.notice_losses(turn);
        let filled = self.inbox.as_ref().is_some_and(|inbox| inbox.fill(self));
        if drained == Drained::More || filled {
            // More is to be done at once: do not sleep.
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
        drained == Drained::Blocked
            || waits
            || undelivered
            || self.inbox.is_some()
            || self.future_waits.load(Ordering::SeqCst)
    }

    /// Lets every connector that looks for a peer try.
    fn meet(&self, turn: &mut Turn) {
        let now = Instant::now();
        for site in &mut turn.sites {
            let SiteState::Looking { .. } = site.state else { continue };
            if self.phase() == Phase::Closed {
                continue;
            }
            site.state = match site.connector.poll(now) {
                Ok(Attempt::Met(link)) => {
                    let (outgoing, inlet) = Outgoing::split(link);
                    let tether = Arc::clone(&outgoing.tether);
                    self.pump().add_link(outgoing);
                    lock(&self.arrivals).push(Source::new(inlet, Arc::clone(&tether)));
                    self.arrived.fetch_add(1, Ordering::SeqCst);
                    self.wake_receiver();
                    SiteState::Up(tether)
                }
                Ok(Attempt::Waiting { again }) => SiteState::Looking { again },
                Err(error) => {
                    *lock(&self.fault) = Some(error.to_string());
                    SiteState::Over
                }
            };
        }
        self.judge_orphan(turn);
    }

    /// Sites whose link the pump has lost look for a peer again, or are over.
    fn notice_losses(&self, turn: &mut Turn) {
        let pump = self.pump();
        let mut any = false;
        for site in &mut turn.sites {
            let SiteState::Up(tether) = &site.state else { continue };
            if pump.outgoing.iter().all(|link| !Arc::ptr_eq(&link.tether, tether)) {
                any = true;
                site.state = if self.reconnects { SiteState::Looking { again: None } } else { SiteState::Over };
            }
        }
        drop(pump);
        if any {
            self.wake_receiver();
            self.note_progress();
            self.meet(turn);
        }
    }

    fn judge_orphan(&self, turn: &Turn) {
        if turn.sites.iter().all(|site| matches!(site.state, SiteState::Over))
            && !self.orphaned.swap(true, Ordering::AcqRel)
        {
            self.wake_receiver();
            self.note_progress();
        }
    }

    /// Why a transport gave up, if one did.
    pub(super) fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// Takes a turn and sleeps until there is something to do or `deadline`. A `watcher` is a receiver that drives the channel: it is woken for
    /// messages, too, and looks once more before the sleep.
    /// Who waits for something else looks by `done` before the sleep: this very turn may have brought it about, and then nobody else rings.
    fn take_turn(
        &self,
        turn: &mut Turn,
        deadline: Deadline,
        watcher: Option<&mut dyn FnMut() -> bool>,
        done: Option<&mut dyn FnMut() -> bool>,
    ) {
        let listens = self.step(turn) || watcher.is_some();
        let up = |site: &Site| if let SiteState::Up(tether) = &site.state { Some(Arc::clone(tether)) } else { None };
        let tethers: SmallVec<[Arc<dyn Tether>; 2]> = turn.sites.iter().filter_map(up).collect();
        if listens {
            tethers.iter().for_each(|tether| tether.arm());
        }
        self.driver_asleep.store(true, Ordering::SeqCst);
        self.receiver_asleep.fetch_or(watcher.is_some(), Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // Look once more, now that everybody would wake us.
        let again = if listens { self.step(turn) || watcher.is_some() } else { false };
        let watches = watcher.is_some();
        let ready = watcher.is_some_and(|look| look()) || done.is_some_and(|done| done());
        // A task that began to wait since then needs a turn that listens.
        let idle = if listens { again } else { !self.is_pending() && !self.future_waits.load(Ordering::SeqCst) };
        let sleeps = idle && !ready && !self.stop.load(Ordering::SeqCst);
        let rung = sleeps && self.sleep(turn, &tethers, listens, watches, deadline);
        self.driver_asleep.store(false, Ordering::SeqCst);
        if watches {
            self.receiver_asleep.store(false, Ordering::SeqCst);
        }
        if listens {
            tethers.iter().for_each(|tether| tether.disarm());
        }
        if rung {
            for tether in &tethers {
                // Deaths are noticed by the pump at its next step.
                let _ = tether.look();
            }
            // W3, and a future that waits for what has come.
            self.wake_receiver();
        }
    }

    /// Returns whether a tether has something to say.
    fn sleep(
        &self,
        turn: &Turn,
        tethers: &[Arc<dyn Tether>],
        listens: bool,
        watches: bool,
        deadline: Deadline,
    ) -> bool {
        let mut until = deadline;
        let mut fds: SmallVec<[PollFd<'_>; 6]> = SmallVec::new();
        fds.push(PollFd::from_borrowed_fd(self.bell.as_fd(), PollFlags::IN));
        let receiver = if watches { PollFlags::IN } else { PollFlags::empty() };
        fds.push(PollFd::from_borrowed_fd(self.receive_bell.as_fd(), receiver));
        let interest = if listens { PollFlags::IN | PollFlags::RDHUP } else { PollFlags::RDHUP };
        for tether in tethers {
            if let Some(fd) = tether.readiness() {
                fds.push(PollFd::from_borrowed_fd(fd, interest));
            }
        }
        let tethers_end = fds.len();
        for site in &turn.sites {
            let SiteState::Looking { again } = site.state else { continue };
            until = until.earlier(again);
            if let Some(fd) = site.connector.readiness() {
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            }
        }
        // An interrupted poll is a short one.
        let _ = poll(&mut fds, timespec(until).as_ref());
        let rung = |fd: &PollFd<'_>| !fd.revents().is_empty();
        for (fd, bell) in fds.iter().zip([&self.bell, &self.receive_bell]) {
            if rung(fd) {
                let _ = rustix::io::read(bell, &mut [0u8; 8]);
            }
        }
        fds[2..tethers_end].iter().any(rung)
    }

    /// Takes turns until told to stop: the service thread.
    pub(super) fn serve(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            self.take_turn(&mut lock(&self.turn), Deadline::Never, None, None);
        }
    }

    /// Ends the service thread.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// One turn without waiting, unless another thread takes turns.
    pub(super) fn turn_now(&self) {
        if let Ok(mut turn) = self.turn.try_lock() {
            self.step(&mut turn);
        }
    }

    /// Waits until `done`, taking turns or waiting for the thread that takes them. Returns whether it was done before the deadline.
    pub(super) fn wait_until(&self, deadline: Deadline, mut done: impl FnMut() -> bool) -> bool {
        self.progress_waiters.fetch_add(1, Ordering::SeqCst);
        let result = loop {
            let seen = *lock(&self.progressed.0);
            self.wake_driver();
            if done() {
                break true;
            }
            if deadline.is_over() {
                break false;
            }
            match self.turn.try_lock() {
                Ok(mut turn) => {
                    let mut is_done = false;
                    let mut look = || {
                        is_done = done();
                        is_done
                    };
                    let deadline = deadline.earlier(Some(Instant::now() + AGAIN));
                    self.take_turn(&mut turn, deadline, None, Some(&mut look));
                    if is_done {
                        break true;
                    }
                }
                Err(_) => self.wait_progress(seen, deadline),
            }
        };
        self.progress_waiters.fetch_sub(1, Ordering::SeqCst);
        result
    }

    fn wait_progress(&self, seen: u64, deadline: Deadline) {
        let counter = lock(&self.progressed.0);
        if *counter != seen {
            return;
        }
        let time = deadline.left().unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(1));
        drop(self.progressed.1.wait_timeout(counter, time));
    }

    /// Sleeps until a message may have come: the receiver's wait. `ready` looks once more when everybody would wake us.
    pub(super) fn sleep_receiver(
        &self,
        tethers: &[Arc<dyn Tether>],
        drives: Drives,
        deadline: Deadline,
        mut ready: impl FnMut() -> bool,
    ) {
        let mut deadline = deadline;
        if drives == Drives::Yes {
            if let Ok(mut turn) = self.turn.try_lock() {
                return self.take_turn(&mut turn, deadline, Some(&mut ready), None);
            }
            deadline = deadline.earlier(Some(Instant::now() + AGAIN));
        }
        tethers.iter().for_each(|tether| tether.arm());
        self.receiver_asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !ready() {
            self.poll_receiver(tethers, deadline);
        }
        self.receiver_asleep.store(false, Ordering::SeqCst);
        tethers.iter().for_each(|tether| tether.disarm());
    }

    /// The descriptor by which the receiver is woken for anything but a ring.
    pub(super) fn receive_bell(&self) -> BorrowedFd<'_> {
        self.receive_bell.as_fd()
    }

    /// A receiver is about to wait by descriptor (W2).
    pub(super) fn receiver_sleeps(&self) {
        self.receiver_asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// That wait is over; a ring that was taken meanwhile may have been meant for the driver (W3).
    pub(super) fn receiver_wakes(&self) {
        self.receiver_asleep.store(false, Ordering::SeqCst);
        let _ = rustix::io::read(&self.receive_bell, &mut [0u8; 8]);
        self.wake_driver_for_ring();
    }

    /// Returns whether a tether has something to say.
    fn poll_receiver(&self, tethers: &[Arc<dyn Tether>], deadline: Deadline) -> bool {
        let mut fds: SmallVec<[PollFd<'_>; 6]> = SmallVec::new();
        fds.push(PollFd::from_borrowed_fd(self.receive_bell.as_fd(), PollFlags::IN));
        let readable = tethers.iter().filter_map(|tether| tether.readiness());
        fds.extend(readable.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN | PollFlags::RDHUP)));
        // An interrupted poll is a short one.
        let _ = poll(&mut fds, timespec(deadline).as_ref());
        if !fds[0].revents().is_empty() {
            let _ = rustix::io::read(&self.receive_bell, &mut [0u8; 8]);
        }
        fds[1..].iter().any(|fd| !fd.revents().is_empty())
    }

    /// W3: a ring was taken that may have been meant for the driver, which sleeps on the same tether.
    fn wake_driver_for_ring(&self) {
        if self.is_pending() || self.progress_waiters.load(Ordering::SeqCst) > 0 {
            self.wake_driver();
        }
    }

    /// Runs `use_it` with every descriptor that the channel waits on.
    pub(super) fn each_readiness(&self, mut use_it: impl FnMut(BorrowedFd<'_>)) {
        use_it(self.bell.as_fd());
        use_it(self.receive_bell.as_fd());
        let turn = lock(&self.turn);
        for site in &turn.sites {
            match &site.state {
                SiteState::Up(tether) => tether.readiness().into_iter().for_each(&mut use_it),
                SiteState::Looking { .. } => site.connector.readiness().into_iter().for_each(&mut use_it),
                SiteState::Over => {}
            }
        }
    }
}

/// Whether a waiting receiver also takes turns, because no service thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drives {
    Yes,
    No,
}

fn timespec(deadline: Deadline) -> Option<Timespec> {
    let left = deadline.left()?;
    Some(Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) })
}
