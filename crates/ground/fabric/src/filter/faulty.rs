//! The link that makes trouble on purpose ([`super::Faults`]).
//!
//! ```text
//!  channel ─fills─► private window ─ship─► waiting (delay, stall) ─relay─► window of the transport ─► peer
//!              ▲                                                │
//!              └────────────────── spare ◄──────────────────────┘
//! ```
//!
//! Windows wait in order, at most as many as the channel was given for the lane, so that a delay holds the sender back as a slow network would.
//! A timer wakes the channel when a window is due: this link's readiness is an epoll descriptor over the transport's own and a timerfd.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::faults::{Dice, Faults};
use super::walk::{Found, Walk};
use crate::slice::Slice;
use crate::tli::{
    Capabilities, LANES, Lane, Link, LinkSettings, OpenError, Outlet, Peer, PeerGone, Reason, Tether, TxWindow,
    Violation,
};
use crate::wire::{Descriptor, WINDOW_HEADER};

/// How soon a refused take is worth another try.
const REFUSED_FOR: Duration = Duration::from_millis(1);

/// Puts `faults` in front of a link, the `number`th of its connector.
pub(super) fn faulty(
    link: Link,
    faults: &Faults,
    settings: &LinkSettings,
    number: u64,
    uri: &str,
) -> Result<Link, OpenError> {
    let tether = Arc::new(FaultyTether::new(link.tether).map_err(|(operation, errno)| OpenError::System {
        uri: uri.to_owned(),
        operation,
        source: errno.into(),
    })?);
    let lane = |lane| match lane {
        Lane::Bulk => FaultyLane::new(settings.bulk.bytes, settings.bulk.count),
        Lane::Urgent => FaultyLane::new(settings.urgent.bytes, settings.urgent.count),
    };
    let outlet = FaultyOutlet {
        inner: link.outlet,
        tether: Arc::clone(&tether),
        dice: Dice::new(faults.seed.wrapping_add(number)),
        faults: faults.clone(),
        visible: link.capabilities.visible_on_commit,
        lanes: [lane(Lane::Bulk), lane(Lane::Urgent)],
        shipped: 0,
        stalled_until: None,
        refused: false,
        finish: Finish::Open,
    };
    let capabilities = Capabilities { visible_on_commit: false, ..link.capabilities };
    Ok(Link { outlet: Box::new(outlet), inlet: link.inlet, tether, capabilities })
}

struct FaultyOutlet {
    inner: Box<dyn Outlet>,
    tether: Arc<FaultyTether>,
    dice: Dice,
    faults: Faults,
    /// Whether the transport's messages are visible on commit.
    visible: bool,
    /// By lane.
    lanes: [FaultyLane; 2],
    /// Windows that the channel has shipped.
    shipped: u64,
    stalled_until: Option<Instant>,
    /// Whether a take was refused that is to be tried again.
    refused: bool,
    finish: Finish,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Finish {
    Open,
    /// When everything that waits was sent.
    Asked,
    Told,
}

struct FaultyLane {
    bytes: usize,
    count: usize,
    /// Windows made so far, at most `count`.
    made: usize,
    spare: Vec<TxWindow>,
    waiting: VecDeque<Waiting>,
    /// The transport's window that is being filled.
    open: Option<TxWindow>,
}

/// A window that the channel has shipped, and how far it has been sent.
struct Waiting {
    due: Instant,
    window: TxWindow,
    walk: Walk,
    /// Found by `walk` and not sent yet.
    next: Option<Found>,
}

impl FaultyLane {
    fn new(bytes: usize, count: usize) -> Self {
        Self { bytes, count, made: 0, spare: Vec::new(), waiting: VecDeque::new(), open: None }
    }

    fn spare(&mut self) -> Option<TxWindow> {
        self.spare.pop().or_else(|| {
            (self.made < self.count).then(|| {
                self.made += 1;
                TxWindow::private(self.bytes, self.made as u32)
            })
        })
    }
}

impl FaultyOutlet {
    /// Sends what is due, as far as the transport has windows, and sets the timer for what is not.
    fn push_on(&mut self) -> Result<(), PeerGone> {
        let now = Instant::now();
        if self.stalled_until.is_some_and(|until| until <= now) {
            self.stalled_until = None;
        }
        if self.stalled_until.is_none() {
            for lane in LANES {
                while self.lanes[lane as usize].waiting.front().is_some_and(|waiting| waiting.due <= now) {
                    if !self.relay(lane)? {
                        break;
                    }
                }
            }
        }
        if self.finish == Finish::Asked && self.lanes.iter().all(|lane| lane.waiting.is_empty()) {
            self.close_windows()?;
            self.inner.finish();
            self.finish = Finish::Told;
        }
        self.set_timer(now);
        Ok(())
    }

    /// Lays the messages of the first waiting window into the transport's; says whether all of them found room.
    fn relay(&mut self, lane: Lane) -> Result<bool, PeerGone> {
        let split = self.faults.split.unwrap_or(u32::MAX);
        let Some(mut waiting) = self.lanes[lane as usize].waiting.pop_front() else { return Ok(false) };
        let used = waiting.window.used();
        while let Some(found) = waiting.next.take().or_else(|| waiting.walk.advance(used)) {
            let Some(mut open) = self.open(lane)? else {
                waiting.next = Some(found);
                self.lanes[lane as usize].waiting.push_front(waiting);
                return Ok(false);
            };
            let length = found.word.length as usize;
            if length > open.room() && open.used() == WINDOW_HEADER {
                let why = "a window of the transport is smaller than it was asked to be";
                self.tether.cut(Reason::Violation(Violation::Link(why)));
                return Err(PeerGone {
                    peer: self.tether.peer().name.clone(),
                    reason: Reason::Violation(Violation::Link(why)),
                });
            }
            if length > open.room() {
                waiting.next = Some(found);
                self.inner.ship(lane, open)?;
                continue;
            }
            self.lay(&waiting.walk, found, &mut open);
            if open.messages() >= split {
                self.inner.ship(lane, open)?;
            } else {
                self.lanes[lane as usize].open = Some(open);
            }
        }
        if self.visible {
            self.tether.ring();
        } else {
            self.close(lane)?;
        }
        waiting.window.clear();
        self.lanes[lane as usize].spare.push(waiting.window);
        Ok(true)
    }

    /// Copies one message, with a flipped bit when the dice say so.
    fn lay(&mut self, walk: &Walk, found: Found, open: &mut TxWindow) {
        let length = found.word.length as usize;
        let mut word = found.word.pack();
        let body = open.body_mut(length);
        walk.copy_body(found, body);
        if self.dice.one_in(self.faults.corrupt) {
            let bit = self.dice.below(length as u64 * 8);
            match (bit / 8).checked_sub(8) {
                Some(at) => body[at as usize] ^= 1 << (bit % 8),
                None => word ^= 1 << bit,
            }
        }
        open.commit(length, word);
    }

    fn open(&mut self, lane: Lane) -> Result<Option<TxWindow>, PeerGone> {
        match self.lanes[lane as usize].open.take() {
            Some(open) => Ok(Some(open)),
            None => self.inner.take(lane),
        }
    }

    fn close(&mut self, lane: Lane) -> Result<(), PeerGone> {
        match self.lanes[lane as usize].open.take() {
            Some(open) => self.inner.ship(lane, open),
            None => Ok(()),
        }
    }

    fn close_windows(&mut self) -> Result<(), PeerGone> {
        LANES.into_iter().try_for_each(|lane| self.close(lane))
    }

    /// The timer goes off when the next window is due or the stall ends. Windows that are due and wait for the transport need none: it wakes us.
    fn set_timer(&mut self, now: Instant) {
        let due = self.lanes.iter().filter_map(|lane| Some(lane.waiting.front()?.due)).min();
        let due = match (due, self.stalled_until) {
            (Some(due), Some(stalled)) => Some(due.max(stalled)),
            (due, _) => due.filter(|due| *due > now),
        };
        let again = self.refused.then(|| now + REFUSED_FOR);
        if let Some(at) = [due, again].into_iter().flatten().min() {
            self.tether.wake_at(at.saturating_duration_since(now));
        }
    }
}

impl Outlet for FaultyOutlet {
    fn take(&mut self, lane: Lane) -> Result<Option<TxWindow>, PeerGone> {
        self.push_on()?;
        self.refused = self.dice.one_in(self.faults.refuse);
        if self.refused {
            self.set_timer(Instant::now());
            return Ok(None);
        }
        Ok(self.lanes[lane as usize].spare())
    }

    fn ship(&mut self, lane: Lane, window: TxWindow) -> Result<(), PeerGone> {
        self.shipped += 1;
        if self.faults.drop.is_some_and(|n| self.shipped >= n) {
            self.tether.cut(Reason::Died);
            return Err(PeerGone { peer: self.tether.peer().name.clone(), reason: Reason::Died });
        }
        let now = Instant::now();
        if let Some((often, pause)) = self.faults.stall
            && self.dice.one_in(Some(often))
        {
            self.stalled_until = Some(now + pause);
        }
        let delay = self.faults.delay.map_or(Duration::ZERO, |span| self.dice.between(span));
        let walk = Walk::new(window.memory());
        self.lanes[lane as usize].waiting.push_back(Waiting { due: now + delay, window, walk, next: None });
        self.push_on()
    }

    fn lend(&mut self, bytes: &Slice) -> Result<Option<Descriptor>, PeerGone> {
        self.inner.lend(bytes)
    }

    fn unlend(&mut self, descriptor: Descriptor) {
        self.inner.unlend(descriptor);
    }

    fn progress(&mut self) -> Result<(), PeerGone> {
        self.refused = false;
        self.inner.progress()?;
        self.push_on()
    }

    fn is_drained(&mut self) -> Result<bool, PeerGone> {
        self.push_on()?;
        let waiting = self.lanes.iter().any(|lane| !lane.waiting.is_empty());
        Ok(!waiting && self.inner.is_drained()?)
    }

    fn read_by_peer(&self, lane: Lane) -> u64 {
        self.inner.read_by_peer(lane)
    }

    fn finish(&mut self) {
        if self.finish == Finish::Open {
            self.finish = Finish::Asked;
        }
        // When the peer is gone, whoever asks next is told so.
        let _ = self.push_on();
    }
}

/// The transport's tether, with a timer beside its readiness.
struct FaultyTether {
    inner: Arc<dyn Tether>,
    both: OwnedFd,
    timer: OwnedFd,
}

impl FaultyTether {
    fn new(inner: Arc<dyn Tether>) -> Result<Self, (&'static str, rustix::io::Errno)> {
        let named = |operation| move |errno| (operation, errno);
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map_err(named("timerfd_create"))?;
        let both = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(named("epoll_create1"))?;
        let add = |fd: BorrowedFd<'_>| {
            epoll::add(&both, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN).map_err(named("epoll_ctl"))
        };
        add(timer.as_fd())?;
        if let Some(readiness) = inner.readiness() {
            add(readiness)?;
        }
        Ok(Self { inner, both, timer })
    }

    fn wake_at(&self, after: Duration) {
        // Zero would disarm it.
        let after = after.max(Duration::from_nanos(1));
        let it_value = Timespec { tv_sec: after.as_secs() as i64, tv_nsec: after.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        let set = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
        debug_assert!(set.is_ok(), "a timer can be set");
    }
}

impl Tether for FaultyTether {
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.both.as_fd())
    }

    fn look(&self) -> Result<(), PeerGone> {
        // Nothing to read means that it did not go off.
        let _ = rustix::io::read(&self.timer, &mut [0u8; 8]);
        self.inner.look()
    }

    fn arm(&self) {
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
