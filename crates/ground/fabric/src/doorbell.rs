//! A doorbell: "look now". Any number of ringers, one sleeper, which is a task or a plain thread.
//!
//! A loop or a writer thread owns one [`Doorbell`] for all the rings it reads; everyone who feeds one of them holds a [`Ringer`].
//! Rings are idempotent: ten of them before the sleeper looks are one. None is lost while someone sleeps, but a bell carries no fact:
//! what there is to do stands in the rings.
//!
//! ```text
//!            wait, nothing rung                    ring: wakes
//!   QUIET ──────────────────────────► ASLEEP ─────────────────────► RUNG
//!     ▲  └──────────────── ring: one swap, no wake ────────────────►  │  ring: one fence and one load
//!     └─────────────────────── wait returns: look now ────────────────┘
//! ```
//!
//! Invariants:
//! - **R1** The sleeper's order is: take the bell (`RUNG → QUIET`), full fence, read the rings. The ringer's order is: fill the ring, full fence, read the state.
//!   So of the two reads at least one sees the other's write: either the ringer does not see the old `RUNG` and rings anew, or the sleeper sees what was filled.
//! - **R2** The sleeper registers its waker before `QUIET → ASLEEP` and returns `Pending` only in `ASLEEP`; whoever turns `ASLEEP` into `RUNG` wakes it.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicU8, Ordering, fence};
use crate::sync::{Arc, AtomicWaker, Padded, thread};

/// Nobody has rung since the last look.
const QUIET: u8 = 0;
/// Rung; the sleeper has not looked yet.
const RUNG: u8 = 1;
/// Not rung, and the waker of a sleeper is registered.
const ASLEEP: u8 = 2;

/// Makes a doorbell and its first ringer.
pub fn doorbell() -> (Ringer, Doorbell) {
    let shared = Arc::new(Shared { state: Padded(AtomicU8::new(QUIET)), waker: AtomicWaker::new() });
    (Ringer { shared: Arc::clone(&shared) }, Doorbell { shared, thread: None })
}

struct Shared {
    state: Padded<AtomicU8>,
    waker: AtomicWaker,
}

/// What ended [`Doorbell::wait_thread`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rang {
    /// Someone rang: look at the rings.
    Rung,
    /// Nobody rang in the time given.
    TimedOut,
}

/// Rings a [`Doorbell`]. Clone one for each feeder.
#[derive(Clone)]
pub struct Ringer {
    shared: Arc<Shared>,
}

impl Ringer {
    /// Says "look now". Everything that this thread did before is visible to the sleeper when it looks.
    ///
    /// Call it once per batch. Costs one fence and one load when already rung, a swap more when not, and a wake-up only when someone sleeps.
    pub fn ring(&self) {
        // R1: partner of the fence in `Doorbell::take`. Without it the load may see a `RUNG` that the sleeper has already taken.
        fence(Ordering::SeqCst);
        if self.shared.state.0.load(Ordering::Relaxed) == RUNG {
            return;
        }
        // Release publishes what was filled to the swap in `take`; Acquire sees the waker of the sleeper (R2).
        if self.shared.state.0.swap(RUNG, Ordering::AcqRel) == ASLEEP {
            self.shared.waker.wake();
        }
    }
}

impl fmt::Debug for Ringer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ringer").finish_non_exhaustive()
    }
}

/// The sleeper's end: a task waits with [`wait`](Self::wait) or [`poll_wait`](Self::poll_wait), a plain thread with [`wait_thread`](Self::wait_thread).
pub struct Doorbell {
    shared: Arc<Shared>,
    /// The waker that unparks the thread which waited last, so that waiting again does not allocate.
    thread: Option<(thread::ThreadId, Waker)>,
}

impl Doorbell {
    /// A further ringer for this bell.
    pub fn ringer(&self) -> Ringer {
        Ringer { shared: Arc::clone(&self.shared) }
    }

    /// Waits until rung, and takes the ring. Look at all rings after it returns, until each was seen empty once. Safe to cancel.
    pub async fn wait(&mut self) {
        poll_fn(|cx| self.poll_wait(cx)).await;
    }

    /// As [`wait`](Self::wait): `Ready` once per ring (or several that came together), else the task is woken by the next ring.
    pub fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.take() {
            return Poll::Ready(());
        }
        self.shared.waker.register(cx.waker());
        // Release: whoever sees ASLEEP sees the waker (R2). It fails with RUNG (take it) or with ASLEEP (polled again: the new waker stands).
        match self.shared.state.0.compare_exchange(QUIET, ASLEEP, Ordering::AcqRel, Ordering::Acquire) {
            Err(RUNG) if self.take() => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    /// Parks the calling thread until rung or until `timeout` has passed (`None`: for ever), and takes the ring.
    pub fn wait_thread(&mut self, timeout: Option<Duration>) -> Rang {
        if self.take() {
            return Rang::Rung;
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let waker = self.thread_waker();
        let mut cx = Context::from_waker(&waker);
        while self.poll_wait(&mut cx).is_pending() {
            let Some(deadline) = deadline else {
                thread::park();
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.get_up();
            }
            park_for(left);
        }
        Rang::Rung
    }

    /// Takes the bell if it is rung.
    fn take(&self) -> bool {
        if self.shared.state.0.load(Ordering::Relaxed) != RUNG {
            return false;
        }
        // Only the sleeper leaves RUNG, so the swap finds it still there. Acquire sees what the ringer filled.
        self.shared.state.0.swap(QUIET, Ordering::AcqRel);
        // R1: partner of the fence in `Ringer::ring`; the rings are read after this.
        fence(Ordering::SeqCst);
        true
    }

    /// Leaves `ASLEEP` after a time-out, so that the next ring wakes nobody in vain.
    fn get_up(&self) -> Rang {
        match self.shared.state.0.compare_exchange(ASLEEP, QUIET, Ordering::AcqRel, Ordering::Acquire) {
            Err(RUNG) if self.take() => Rang::Rung,
            _ => Rang::TimedOut,
        }
    }

    fn thread_waker(&mut self) -> Waker {
        let current = thread::current();
        if let Some((id, waker)) = &self.thread
            && *id == current.id()
        {
            return waker.clone();
        }
        let id = current.id();
        let waker = Waker::from(StdArc::new(Unpark(current)));
        self.thread = Some((id, waker.clone()));
        waker
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell").finish_non_exhaustive()
    }
}

/// Wakes a plain thread.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: StdArc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &StdArc<Self>) {
        self.0.unpark();
    }
}

#[cfg(not(loom))]
fn park_for(time: Duration) {
    thread::park_timeout(time);
}

/// Loom has no clock: it checks time-outs of zero, which never come here, and gives way for any other.
#[cfg(loom)]
fn park_for(_time: Duration) {
    thread::yield_now();
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: StdArc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn many_rings_are_one() {
        let (ringer, mut bell) = doorbell();
        let woken = StdArc::new(Woken::default());
        let waker = Waker::from(StdArc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        assert!(bell.poll_wait(&mut cx).is_pending());
        (0..3).for_each(|_| ringer.ring());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(bell.poll_wait(&mut cx).is_ready());
        assert!(bell.poll_wait(&mut cx).is_pending());
    }

    #[test]
    fn a_ring_before_the_wait_counts_and_wakes_nobody() {
        let (ringer, mut bell) = doorbell();
        ringer.ring();
        bell.ringer().ring();
        assert_eq!(bell.wait_thread(None), Rang::Rung);
        assert_eq!(bell.wait_thread(Some(Duration::ZERO)), Rang::TimedOut);
    }

    #[test]
    fn after_a_time_out_nobody_is_woken() {
        let (ringer, mut bell) = doorbell();
        assert_eq!(bell.wait_thread(Some(Duration::from_millis(1))), Rang::TimedOut);
        assert_eq!(bell.shared.state.0.load(Ordering::Relaxed), QUIET);
        ringer.ring();
        assert_eq!(bell.wait_thread(Some(Duration::ZERO)), Rang::Rung);
    }
}
