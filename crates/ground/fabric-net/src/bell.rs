//! What one waits on: an epoll descriptor over the connection (or its rings) and an eventfd by which one end of the link tells whoever sleeps that
//! it has taken in something for the other end.
//!
//! Who wants to sleep arms, looks at everything once more, and sleeps on the descriptor. Who reads on behalf of the other end publishes what it
//! has read (under the reader's lock), then looks whether anybody sleeps ([`Sleepers`]).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use crate::wake::Sleepers;

/// What has become ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rung {
    /// There may be something to read, or the connection broke.
    pub(crate) reading: bool,
    /// There is room to write.
    pub(crate) writing: bool,
}

const BELL: u64 = 0;
const SOCKET: u64 = 1;
const RECEIVE_RING: u64 = 2;
const SEND_RING: u64 = 3;

/// See the module.
pub(crate) struct Bell {
    epoll: OwnedFd,
    event: OwnedFd,
    sleepers: Sleepers,
    /// A ring was left for those who still sleep. Going to sleep and taking rings exclude each other by its lock.
    left: Mutex<bool>,
    /// Whether the socket's room is waited for.
    for_room: Mutex<bool>,
    over: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &event, EventData::new_u64(BELL), EventFlags::IN)?;
        let (left, for_room, over) = (Mutex::new(false), Mutex::new(false), AtomicBool::new(false));
        Ok(Self { epoll, event, sleepers: Sleepers::new(), left, for_room, over })
    }

    /// One more is about to sleep: see [`Sleepers::arm`].
    pub(crate) fn arm(&self) {
        let _left = lock(&self.left);
        self.sleepers.arm();
    }

    /// One is awake; the last takes the ring that was left for all.
    pub(crate) fn disarm(&self) {
        let mut left = lock(&self.left);
        if self.sleepers.disarm() == 0 && std::mem::take(&mut *left) {
            self.take_ring();
        }
    }

    /// Whether somebody sleeps or is about to.
    pub(crate) fn is_slept_on(&self) -> bool {
        self.sleepers.is_any()
    }

    fn take_ring(&self) {
        if !self.over.load(Ordering::SeqCst) {
            // Nothing to take is no fault: another looked at the same time.
            let _ = rustix::io::read(&self.event, &mut [0; 8]);
        }
    }

    /// Hears a socket: bytes, its end.
    pub(crate) fn hear_socket(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(SOCKET), EventFlags::IN | EventFlags::RDHUP)?)
    }

    /// Hears the completions of two rings.
    pub(crate) fn hear_rings(&self, receive: BorrowedFd<'_>, send: BorrowedFd<'_>) -> io::Result<()> {
        epoll::add(&self.epoll, receive, EventData::new_u64(RECEIVE_RING), EventFlags::IN)?;
        Ok(epoll::add(&self.epoll, send, EventData::new_u64(SEND_RING), EventFlags::IN)?)
    }

    /// Waits for the socket's room, or no longer. `wanted` is asked under a lock, so that the last word counts.
    pub(crate) fn hear_room(&self, socket: BorrowedFd<'_>, wanted: impl Fn() -> bool) {
        let mut on = lock(&self.for_room);
        let wanted = wanted();
        if *on == wanted {
            return;
        }
        let mut flags = EventFlags::IN | EventFlags::RDHUP;
        flags.set(EventFlags::OUT, wanted);
        if epoll::modify(&self.epoll, socket, EventData::new_u64(SOCKET), flags).is_ok() {
            *on = wanted;
        }
    }

    /// Wakes who sleeps.
    pub(crate) fn ring(&self) {
        self.write();
    }

    /// The connection is over: readable from now on.
    pub(crate) fn toll(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.write();
    }

    fn write(&self) {
        // It can only fail when the count is at its limit, and then it is readable already.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    /// What has become ready. Takes the ring, unless somebody sleeps who needs it, too.
    pub(crate) fn look(&self) -> Rung {
        let mut events: [Event; 4] = [Event { flags: EventFlags::empty(), data: EventData::new_u64(BELL) }; 4];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let count = epoll::wait(&self.epoll, &mut events, Some(&none)).unwrap_or(0);
        let mut rung = Rung::default();
        for event in &events[..count] {
            let flags = event.flags;
            match event.data.u64() {
                SOCKET => {
                    rung.writing |= flags.contains(EventFlags::OUT);
                    rung.reading |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
                }
                RECEIVE_RING => rung.reading = true,
                SEND_RING => rung.writing = true,
                _ => {
                    let mut left = lock(&self.left);
                    if self.sleepers.is_any() {
                        *left = true;
                    } else {
                        self.take_ring();
                    }
                }
            }
        }
        rung
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind it is whole after every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
