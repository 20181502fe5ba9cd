//! What all handles of a channel share, and how its threads wait for each other and wake each other. What they do in a turn is in `turn`.
//!
//! Wake-ups (each pair is a store, a full fence, a load at both sides):
//! - **W1** A poster counts its message in `queued`, then looks whether the driver sleeps; the driver says that it sleeps, then looks at `queued`.
//! - **W2** A link's arrival is put down in `arrivals`, then the receiver is looked at; the receiver says that it sleeps, then looks at `arrived`.
//! - **W3** Rings of a tether stay until the last thread that sleeps on it is up; for transports that do not keep them, whoever was rung wakes the other.
//! - **W4** Who finds the pump held leaves its message in its queue; the holder lets go, then looks for what was queued ([`Held`]).
//! - **W5** A poster that lays a message into a window that has to be shipped says so in `unshipped`, then looks whether the driver sleeps; the driver says
//!   that it sleeps, then looks there.

use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use smallvec::SmallVec;

use super::bell::Bell;
use super::deadline::Deadline;
use super::inbox::Inbox;
use super::intake::Source;
use super::pump::{Drained, Pump};
use super::turn::Turn;
use crate::sync::AtomicWaker;
use crate::tli::{Connector, Lane, Tether};

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
    /// Counts messages put into queues. Who holds the pump notes in `looked` up to where it has looked, in `drained` up to where it has seen all
    /// queues empty.
    queued: AtomicU64,
    looked: AtomicU64,
    drained: AtomicU64,
    /// A poster laid a message into a window that is not seen before it is shipped.
    unshipped: AtomicBool,
    phase: AtomicU8,
    pub(super) turn: Mutex<Turn>,
    /// Wakes the driver.
    pub(super) bell: OwnedFd,
    pub(super) driver_asleep: AtomicBool,
    progressed: (Mutex<u64>, Condvar),
    progress_waiters: AtomicUsize,
    /// Tasks that wait for room.
    pub(super) posters: Mutex<Vec<Waker>>,
    pub(super) arrivals: Mutex<Vec<Source>>,
    pub(super) arrived: AtomicU64,
    /// Wakes the receiver.
    pub(super) receive_bell: Bell,
    pub(super) receiver_waker: AtomicWaker,
    /// A link was found over, and no turn has begun since.
    pub(super) lost: AtomicBool,
    /// A `Future` waits for messages, so the driver listens for it.
    pub(super) future_waits: AtomicBool,
    pub(super) inbox: Option<Inbox>,
    /// Why a transport gave up, if one did.
    pub(super) fault: Mutex<Option<String>>,
    /// Set once no transport looks for a peer any more.
    pub(super) orphaned: AtomicBool,
    pub(super) stop: AtomicBool,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
        Ok(Self {
            name: parts.name,
            limits: parts.limits,
            reconnects: parts.reconnects,
            pump: Mutex::new(parts.pump),
            queued: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            drained: AtomicU64::new(0),
            unshipped: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::Open as u8),
            turn: Mutex::new(Turn::new(parts.connectors)),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            driver_asleep: AtomicBool::new(false),
            progressed: (Mutex::new(0), Condvar::new()),
            progress_waiters: AtomicUsize::new(0),
            posters: Mutex::new(Vec::new()),
            arrivals: Mutex::new(Vec::new()),
            arrived: AtomicU64::new(0),
            receive_bell: Bell::new()?,
            receiver_waker: AtomicWaker::new(),
            lost: AtomicBool::new(false),
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

    pub(super) fn pump(&self) -> Held<'_> {
        Held { shared: self, pump: Some(lock(&self.pump)) }
    }

    /// Moves what is queued as far as it goes, unless another thread is at it; it will then take this thread's message along, or leave it to the driver.
    pub(super) fn help_pump(&self) {
        if !self.is_pending() {
            return;
        }
        loop {
            let Ok(mut pump) = self.pump.try_lock() else { return };
            if !pump.direct {
                drop(pump);
                return self.wake_driver();
            }
            let drained = self.drain(&mut pump, 256);
            drop(pump);
            self.after_unlock();
            match drained {
                Drained::Blocked | Drained::More => return self.wake_driver(),
                // Someone may have queued between the last look and the unlock.
                Drained::Empty | Drained::Unready if self.has_news() => {}
                Drained::Empty | Drained::Unready => return,
            }
        }
    }

    /// Collects what has come back and moves what that lets move: whoever takes news from a link acts on them, for they come once.
    pub(super) fn advance(&self, pump: &mut Pump) -> Drained {
        pump.progress();
        let drained = self.drain(pump, DRAIN_BUDGET);
        if drained == Drained::More {
            self.another_turn();
        }
        drained
    }

    /// More is to be done at once: the driver does not sleep.
    pub(super) fn another_turn(&self) {
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    fn drain(&self, pump: &mut Pump, budget: usize) -> Drained {
        // Read before the queues: what is counted up to here is seen by the drain, or was already sent.
        let queued = self.queued.load(Ordering::SeqCst);
        self.looked.store(queued, Ordering::SeqCst);
        let before = pump.messages;
        // It ships all windows.
        let drained = pump.drain(budget);
        self.unshipped.store(false, Ordering::SeqCst);
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

    /// Whether a message was queued or laid down since somebody looked last.
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.queued.load(Ordering::SeqCst) != self.looked.load(Ordering::SeqCst)
            || self.unshipped.load(Ordering::SeqCst)
    }

    /// A poster has laid a message into the windows by itself: they are rung for, or shipped by whoever takes turns, and what was queued meanwhile is
    /// seen to.
    #[inline]
    pub(super) fn laid_one(&self, mut pump: MutexGuard<'_, Pump>, lane: Lane) {
        pump.ring(lane);
        // Under the lock, for whoever ships takes it back under the lock.
        let ship = !pump.direct && !self.unshipped.load(Ordering::Relaxed);
        if ship {
            self.unshipped.store(true, Ordering::SeqCst);
        }
        drop(pump);
        self.after_unlock();
        if ship {
            self.wake_driver();
        }
        if self.is_pending() {
            self.help_pump();
        }
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
        self.receive_bell.ring();
        if self.future_waits.swap(false, Ordering::AcqRel) {
            self.receiver_waker.wake();
        }
    }

    /// Wakes threads and tasks that wait for room or for everything to be read.
    pub(super) fn note_progress(&self) {
        let posters = std::mem::take(&mut *lock(&self.posters));
        posters.into_iter().for_each(Waker::wake);
        if self.progress_waiters.load(Ordering::SeqCst) > 0 {
            *lock(&self.progressed.0) += 1;
            self.progressed.1.notify_all();
        }
    }

    /// A receive queue has room again, or is about to be waited for. The look before the wait is one behind a full fence: it sees that the queue was full, or
    /// whoever fills it sees what was taken.
    pub(super) fn made_room(&self) {
        if self.inbox.as_ref().is_some_and(Inbox::was_starved) {
            self.wake_driver();
        }
    }

    /// A receiver found a link over: its transport may look for another peer.
    pub(super) fn link_lost(&self) {
        self.lost.store(true, Ordering::SeqCst);
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

    /// Whether a thread waits for progress, or a task for room.
    pub(super) fn somebody_waits(&self) -> bool {
        self.progress_waiters.load(Ordering::SeqCst) > 0 || !lock(&self.posters).is_empty()
    }

    /// New links' inlets, for the receiver.
    pub(super) fn take_arrivals(&self) -> Vec<Source> {
        std::mem::take(&mut *lock(&self.arrivals))
    }

    /// Why a transport gave up, if one did.
    pub(super) fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// Ends the service thread.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Waits until `done`, taking turns or waiting for the thread that takes them. Returns whether it was done before the deadline.
    pub(super) fn wait_until(&self, deadline: Deadline, mut done: impl FnMut() -> bool) -> bool {
        self.progress_waiters.fetch_add(1, Ordering::SeqCst);
        // From now on it listens. Woken again for every look, it would wake us for every turn, and so on for ever.
        self.wake_driver();
        let result = loop {
            let seen = *lock(&self.progressed.0);
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
        // A thread that posts may take the news of what was read, and does not know of us.
        let time = deadline.left().unwrap_or(AGAIN).min(AGAIN);
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
        self.receive_bell.arm();
        if !ready() {
            self.poll_receiver(tethers, deadline);
            self.wake_driver_for_ring();
        }
        self.receive_bell.disarm();
        tethers.iter().for_each(|tether| tether.disarm());
    }

    /// The descriptor by which the receiver is woken for anything but a ring.
    pub(super) fn receive_bell(&self) -> BorrowedFd<'_> {
        self.receive_bell.as_fd()
    }

    /// A receiver is about to wait by descriptor (W2).
    pub(super) fn receiver_sleeps(&self) {
        self.receive_bell.arm();
    }

    /// That wait is over; a ring that was taken meanwhile may have been meant for the driver (W3).
    pub(super) fn receiver_wakes(&self) {
        self.receive_bell.disarm();
        self.wake_driver_for_ring();
    }

    fn poll_receiver(&self, tethers: &[Arc<dyn Tether>], deadline: Deadline) {
        let mut fds: SmallVec<[PollFd<'_>; 6]> = SmallVec::new();
        fds.push(PollFd::from_borrowed_fd(self.receive_bell.as_fd(), PollFlags::IN));
        let readable = tethers.iter().filter_map(|tether| tether.readiness());
        fds.extend(readable.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN | PollFlags::RDHUP)));
        // An interrupted poll is a short one.
        let _ = poll(&mut fds, timespec(deadline).as_ref());
    }

    /// W3: a ring was taken that may have been meant for the driver, which sleeps on the same tether.
    fn wake_driver_for_ring(&self) {
        if self.is_pending() || self.progress_waiters.load(Ordering::SeqCst) > 0 {
            self.wake_driver();
        }
    }
}

/// The pump, held. Posters that find it held leave their messages to its holder, who therefore looks after them when it lets go.
pub(super) struct Held<'a> {
    shared: &'a Shared,
    /// Until the drop.
    pump: Option<MutexGuard<'a, Pump>>,
}

impl Deref for Held<'_> {
    type Target = Pump;

    fn deref(&self) -> &Pump {
        self.pump.as_ref().expect("it is held until the drop")
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Pump {
        self.pump.as_mut().expect("it is held until the drop")
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        drop(self.pump.take());
        self.shared.after_unlock();
        if self.shared.has_news() {
            self.shared.help_pump();
        }
    }
}

/// Whether a waiting receiver also takes turns, because no service thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drives {
    Yes,
    No,
}

pub(super) fn timespec(deadline: Deadline) -> Option<Timespec> {
    let left = deadline.left()?;
    Some(Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) })
}
