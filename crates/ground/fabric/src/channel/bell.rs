//! What wakes the threads of one side that wait for messages: any number of them, for anything but a ring of a peer.
//!
//! A ring is for all who sleep. It stays until the last of them is up, since one that took it at once would leave others asleep of whom nobody knows any
//! more.
//!
//! Order of a sleeper: [`Bell::arm`], look at everything once more, wait for the descriptor, [`Bell::disarm`]. Order of a ringer: publish, [`Bell::ring`].
//! Both have a full fence in the middle, so the sleeper sees what was published or the ringer sees the sleeper.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};

use super::shared::lock;

/// See the module.
pub(super) struct Bell {
    event: OwnedFd,
    /// Changed under the lock.
    asleep: AtomicUsize,
    /// Whether there is a ring. Its lock makes one step of the ring and the descriptor, and of who sleeps.
    rung: Mutex<bool>,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { event, asleep: AtomicUsize::new(0), rung: Mutex::new(false) })
    }

    /// One more is about to sleep.
    pub(super) fn arm(&self) {
        let rung = lock(&self.rung);
        self.asleep.fetch_add(1, Ordering::Relaxed);
        drop(rung);
        fence(Ordering::SeqCst);
    }

    /// One is up; the last takes the ring.
    pub(super) fn disarm(&self) {
        let mut rung = lock(&self.rung);
        if self.asleep.fetch_sub(1, Ordering::Relaxed) == 1 && std::mem::take(&mut *rung) {
            let _ = rustix::io::read(&self.event, &mut [0u8; 8]);
        }
    }

    /// Wakes all who sleep. One load when nobody does.
    pub(super) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut rung = lock(&self.rung);
        // Who got up since then looks at everything anyway.
        if self.asleep.load(Ordering::Relaxed) > 0 && !std::mem::replace(&mut *rung, true) {
            // It is 0, so there is room.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn waits(bell: &Bell, time: Duration) -> bool {
        let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&time)).is_ok_and(|ready| ready == 1)
    }

    #[test]
    fn one_ring_is_for_all_and_is_over_when_all_are_up() {
        let bell = Bell::new().unwrap();
        bell.ring();
        assert!(!waits(&bell, Duration::ZERO), "nobody sleeps");
        bell.arm();
        bell.arm();
        bell.ring();
        bell.disarm();
        assert!(waits(&bell, Duration::ZERO), "the other still sleeps");
        bell.disarm();
        assert!(!waits(&bell, Duration::ZERO), "all are up");
    }

    /// Several take from a number that one counts up; whoever sleeps too long has missed a ring.
    #[test]
    fn nobody_sleeps_over_what_was_published() {
        const COUNT: u64 = 20_000;
        const LONG: Duration = Duration::from_secs(10);
        let (bell, there, taken) = (Bell::new().unwrap(), AtomicU64::new(0), AtomicU64::new(0));
        let take = || {
            taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| {
                (n < there.load(Ordering::SeqCst)).then_some(n + 1)
            })
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while taken.load(Ordering::SeqCst) < COUNT {
                        if take().is_ok() {
                            continue;
                        }
                        bell.arm();
                        let (there, taken) = (there.load(Ordering::SeqCst), taken.load(Ordering::SeqCst));
                        let idle = there <= taken && taken < COUNT;
                        let woken = !idle || waits(&bell, LONG);
                        bell.disarm();
                        assert!(woken, "a ring was missed");
                    }
                    // Those who sleep because all is taken.
                    bell.ring();
                });
            }
            for _ in 0..COUNT {
                there.fetch_add(1, Ordering::SeqCst);
                bell.ring();
            }
        });
    }
}
