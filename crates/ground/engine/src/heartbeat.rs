//! What a loop is doing right now: one word that the loop writes around every poll and the stall watcher reads.
//!
//! The word holds the number of polls begun and, while one runs, the number of its *site*: the kind of task and the
//! source line that spawned it. Around a poll stand two relaxed stores, no clock and no locked instruction.

use std::{
    collections::HashMap,
    fmt,
    panic::Location,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use crate::tally::Tally;

/// What a task does, in words an operator knows: `TaskKind("smtp session")`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskKind(pub &'static str);

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A kind of task and where it is spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) kind: TaskKind,
    pub(crate) location: &'static Location<'static>,
}

const SITE_BITS: u32 = 20;
const SITE_MASK: u64 = (1 << SITE_BITS) - 1;
/// The site of an idle loop.
const IDLE: u64 = 0;

/// A reading of the word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beat(u64);

impl Beat {
    #[cfg(test)]
    pub(crate) fn new(polls: u64, site: u64) -> Beat {
        Beat(polls << SITE_BITS | site)
    }

    /// Polls begun so far.
    pub(crate) fn polls(self) -> u64 {
        self.0 >> SITE_BITS
    }

    /// The site that is being polled; `None` while the loop is idle.
    pub(crate) fn site(self) -> Option<usize> {
        let site = self.0 & SITE_MASK;
        if site == IDLE { None } else { usize::try_from(site - 1).ok() }
    }
}

/// One loop's cells. The loop writes, others read.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Heartbeat {
    beat: AtomicU64,
    pub(crate) spawned: Tally,
    pub(crate) ended: Tally,
    pub(crate) panics: Tally,
    rare: Rare,
}

/// Kept off the loop's line: others write here, or it is locked now and then.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Rare {
    stalls: Tally,
    sites: Mutex<Vec<Site>>,
}

impl Heartbeat {
    pub(crate) fn read(&self) -> Beat {
        Beat(self.beat.load(Relaxed))
    }

    pub(crate) fn site(&self, index: usize) -> Option<Site> {
        self.sites().get(index).copied()
    }

    /// Written by the stall watcher alone.
    pub(crate) fn stalls(&self) -> &Tally {
        &self.rare.stalls
    }

    fn sites(&self) -> std::sync::MutexGuard<'_, Vec<Site>> {
        self.rare.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A poll begins; it ends when the turn is dropped.
    fn enter(&self, site: SiteNumber) -> Turn<'_> {
        let polls = (self.beat.load(Relaxed) | SITE_MASK).wrapping_add(1);
        self.beat.store(polls | u64::from(site.0), Relaxed);
        Turn { heartbeat: self, idle: polls | IDLE }
    }
}

struct Turn<'a> {
    heartbeat: &'a Heartbeat,
    idle: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.heartbeat.beat.store(self.idle, Relaxed);
        if std::thread::panicking() {
            self.heartbeat.panics.add(1);
        }
    }
}

/// A site's number in the word; sites beyond the last number share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SiteNumber(u32);

/// The loop's side of its sites: finds the number of one it has met before without a lock.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    numbers: HashMap<(TaskKind, *const Location<'static>), SiteNumber>,
}

impl Sites {
    pub(crate) fn number(&mut self, heartbeat: &Heartbeat, site: Site) -> SiteNumber {
        *self.numbers.entry((site.kind, std::ptr::from_ref(site.location))).or_insert_with(|| {
            let mut sites = heartbeat.sites();
            if (sites.len() as u64) < SITE_MASK {
                sites.push(site);
            }
            SiteNumber(u32::try_from(sites.len()).expect("20 bits fit 32"))
        })
    }
}

/// A spawned future: marks each of its polls, counts its end, and holds `membership` until it is gone.
#[derive(Debug)]
pub(crate) struct Watched<F, M> {
    // The order matters: the future's own destructors run while it is still a member of its scope.
    future: F,
    site: SiteNumber,
    heartbeat: Arc<Heartbeat>,
    _membership: M,
}

impl<F, M> Watched<F, M> {
    pub(crate) fn new(future: F, site: SiteNumber, heartbeat: Arc<Heartbeat>, membership: M) -> Watched<F, M> {
        heartbeat.spawned.add(1);
        Watched { future, site, heartbeat, _membership: membership }
    }
}

impl<F: Future, M> Future for Watched<F, M> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned structurally: this is the only access to it, it is never moved out, `Watched` has
        // no `Unpin` implementation of its own (the automatic one asks for `F: Unpin`), its `Drop` does not touch
        // `future`, and it is not packed. The other fields are never pinned.
        let (future, site, heartbeat) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), this.site, &this.heartbeat)
        };
        let _turn = heartbeat.enter(site);
        future.poll(context)
    }
}

impl<F, M> Drop for Watched<F, M> {
    fn drop(&mut self) {
        // Single writer: a future that is not `Send` is dropped on its loop's thread only.
        self.heartbeat.ended.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(kind: &'static str) -> Site {
        Site { kind: TaskKind(kind), location: Location::caller() }
    }

    #[test]
    fn the_word_tells_the_site_during_a_poll_and_counts_polls() {
        let heartbeat = Heartbeat::default();
        let mut sites = Sites::default();
        let one = site("one");
        let number = sites.number(&heartbeat, one);
        assert_eq!(heartbeat.read(), Beat::new(0, 0));
        for round in 1..=3 {
            let turn = heartbeat.enter(number);
            assert_eq!(heartbeat.read(), Beat::new(round, 1));
            assert_eq!(heartbeat.read().site().and_then(|index| heartbeat.site(index)), Some(one));
            drop(turn);
            assert_eq!((heartbeat.read().site(), heartbeat.read().polls()), (None, round));
        }
    }

    #[test]
    fn a_site_is_numbered_once() {
        let heartbeat = Heartbeat::default();
        let mut sites = Sites::default();
        let (one, two) = (site("one"), site("two"));
        assert_eq!(sites.number(&heartbeat, one), SiteNumber(1));
        assert_eq!(sites.number(&heartbeat, two), SiteNumber(2));
        assert_eq!(sites.number(&heartbeat, one), SiteNumber(1));
        assert_eq!(heartbeat.site(1), Some(two));
        assert_eq!(heartbeat.site(2), None);
    }
}
