//! The keeper of one volume: everything about segments that is not on the way of a message.
//!
//! In this order, one bounded step at a time: it writes index files of sealed segments, gives dead segments back, sees
//! to it that some are free, removes those that are too many, and compacts sparse ones. The keeper thread calls
//! [`Keeper::step`] in a server, a test calls it directly. It never writes records: it hands them to the writer.

use super::compaction::Compaction;
use super::index::Phase;
use super::segment::Use;
use super::shared::{Health, Shared, count};
use crate::options::FREE_FOR_MAIL;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something was done: step again.
    Worked,
    /// The writer has work from us: look again soon.
    Waiting,
    /// Nothing to do.
    Idle,
}

/// See the module.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    compaction: Compaction,
    /// Not to try making segments before.
    make_after: Option<Instant>,
}

/// A disk that gives no segment is asked again after this time.
const MAKE_RETRY: Duration = Duration::from_secs(1);

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { compaction: Compaction::new(Arc::clone(&shared)), shared, make_after: None }
    }

    /// Does one piece of work.
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        if self.write_index() || self.release() || self.provide(now) || self.trim() {
            return Step::Worked;
        }
        self.clear_full();
        self.compaction.step(now)
    }

    /// Writes what is left to write when the server stops.
    pub(crate) fn close(&mut self) {
        while self.write_index() || self.release() {}
    }

    fn write_index(&mut self) -> bool {
        let next = {
            let mut index = self.shared.index();
            let next = index.unindexed.pop_front();
            // A segment that is given back already needs none.
            next.map(|(file, contents)| (index.segments.contains_key(&contents.serial), file, contents))
        };
        let Some((needed, file, contents)) = next else { return false };
        if needed {
            // Without it a restart reads the whole segment, which is slower and as good.
            let _ = contents.write(&*self.shared.disk, &self.shared.directory, file.number);
        }
        true
    }

    fn release(&mut self) -> bool {
        let dead = self.shared.index().dead();
        let Some((serial, file)) = dead else { return false };
        if file.mark(Use::Free, serial).is_err() {
            count(&self.shared.counters.failures, 1);
            if let Some(segment) = self.shared.index().segments.get_mut(&serial) {
                segment.phase = Phase::Retired;
            }
            return true;
        }
        count(&self.shared.counters.released, 1);
        let odd_size = file.bytes != self.shared.options.segment_bytes;
        self.shared.index().release(serial);
        if odd_size {
            // Cut short by somebody, or of another configuration: not worth keeping.
            self.shared.index().free.retain(|free| free.number != file.number);
            self.remove(file.number);
        }
        true
    }

    fn provide(&mut self, now: Instant) -> bool {
        let wanted = self.shared.options.spare_segments as usize;
        if self.shared.index().free.len() >= wanted || self.make_after.is_some_and(|after| now < after) {
            return false;
        }
        let made = self.shared.make_segment(wanted);
        self.make_after = made.is_err().then_some(now + MAKE_RETRY);
        made.is_ok()
    }

    /// There is room for mail again: nobody need try to store some to find that out.
    fn clear_full(&self) {
        if self.shared.health() == Health::Full && self.shared.index().free.len() >= FREE_FOR_MAIL {
            self.shared.set_health(self.shared.health_apart_from_room());
        }
    }

    fn trim(&mut self) -> bool {
        let surplus = {
            let mut index = self.shared.index();
            let keep = self.shared.options.free_segments_max as usize;
            if index.free.len() > keep { index.free.pop_back() } else { None }
        };
        surplus.map(|file| self.remove(file.number)).is_some()
    }

    /// Removes the files of a free segment. Should they come back after a crash, they are free still.
    fn remove(&self, number: super::segment::FileNumber) {
        let _ = self.shared.disk.remove(&number.segment_path(&self.shared.directory));
        let _ = self.shared.disk.remove(&number.index_path(&self.shared.directory));
    }
}
