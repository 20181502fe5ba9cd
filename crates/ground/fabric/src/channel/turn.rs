//! Turns: looking for peers, collecting what came back, draining the queues, filling the receive queue, and sleeping until there is more to do.
//!
//! The service thread takes one turn after the other; without one, whoever waits takes them, one thread at a time.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use smallvec::SmallVec;

use super::deadline::Deadline;
use super::intake::Source;
use super::outgoing::Outgoing;
use super::pump::Drained;
use super::shared::{Phase, Shared, lock, timespec};
use crate::tli::{Attempt, Connector, Tether};

/// What only one thread does at a time.
pub(super) struct Turn {
    sites: Vec<Site>,
}

impl Turn {
    /// Every connector looks for a peer.
    pub(super) fn new(connectors: Vec<Box<dyn Connector>>) -> Self {
        let looking = |connector| Site { connector, state: SiteState::Looking { again: None } };
        Self { sites: connectors.into_iter().map(looking).collect() }
    }

    /// Of the links that stand.
    fn tethers(&self) -> impl Iterator<Item = &Arc<dyn Tether>> {
        self.sites.iter().filter_map(|site| if let SiteState::Up(tether) = &site.state { Some(tether) } else { None })
    }
}

/// One transport of the channel.
struct Site {
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

/// Whether the peers ring for the driver already. Then nothing may be done that takes rings away: what comes after it would not ring again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Armed {
    Yes,
    No,
}

impl Shared {
    /// Looks for peers, collects, drains, fills the receive queue. Returns whether the driver has something to listen for besides deaths.
    fn step(&self, turn: &mut Turn, armed: Armed) -> bool {
        self.meet(turn);
        let mut pump = self.pump();
        let mut drained = self.advance(&mut pump);
        let undelivered = !pump.direct && !pump.is_drained();
        if undelivered && drained == Drained::Blocked {
            // The look at what was read may have taken the news that there is room, which come once.
            drained = self.advance(&mut pump);
        }
        pump.retire_queues();
        drop(pump);
        let waits = self.somebody_waits();
        if waits {
            self.note_progress();
        }
        self.notice_losses(turn);
        if self.inbox.as_ref().is_some_and(|inbox| inbox.fill(self, armed)) {
            self.another_turn();
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

    /// Takes a turn and sleeps until there is something to do or `deadline`. A `watcher` is a receiver that drives the channel: it is woken for
    /// messages, too, and looks once more before the sleep.
    /// Who waits for something else looks by `done` before the sleep: this very turn may have brought it about, and then nobody else rings.
    pub(super) fn take_turn(
        &self,
        turn: &mut Turn,
        deadline: Deadline,
        watcher: Option<&mut dyn FnMut() -> bool>,
        done: Option<&mut dyn FnMut() -> bool>,
    ) {
        let listens = self.step(turn, Armed::No) || watcher.is_some();
        let tethers: SmallVec<[Arc<dyn Tether>; 2]> = turn.tethers().cloned().collect();
        if listens {
            tethers.iter().for_each(|tether| tether.arm());
        }
        self.driver_asleep.store(true, Ordering::SeqCst);
        if watcher.is_some() {
            self.receive_bell.arm();
        }
        fence(Ordering::SeqCst);
        // Look once more, now that everybody would wake us.
        let again = if listens { self.step(turn, Armed::Yes) || watcher.is_some() } else { false };
        let watches = watcher.is_some();
        let ready = watcher.is_some_and(|look| look()) || done.is_some_and(|done| done());
        // Who began to wait since then needs a turn that listens.
        let unwanted = || !self.future_waits.load(Ordering::SeqCst) && !self.somebody_waits();
        let idle = !self.has_news() && if listens { again } else { unwanted() };
        // A peer that was met just now does not know that it has to ring.
        let idle = idle && turn.tethers().map(Arc::as_ptr).eq(tethers.iter().map(Arc::as_ptr));
        let lost = self.lost.swap(false, Ordering::SeqCst);
        let sleeps = idle && !ready && !lost && !self.stop.load(Ordering::SeqCst);
        let rung = sleeps && self.sleep(turn, &tethers, listens, watches, deadline);
        self.driver_asleep.store(false, Ordering::SeqCst);
        if watches {
            self.receive_bell.disarm();
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
        if rung(&fds[0]) {
            let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
        }
        fds[2..tethers_end].iter().any(rung)
    }

    /// Takes turns until told to stop: the service thread.
    pub(super) fn serve(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            self.take_turn(&mut lock(&self.turn), Deadline::Never, None, None);
        }
    }

    /// One turn without waiting, unless another thread takes turns.
    pub(super) fn turn_now(&self) {
        if let Ok(mut turn) = self.turn.try_lock() {
            self.step(&mut turn, Armed::No);
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
