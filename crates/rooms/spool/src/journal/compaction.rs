//! Compaction: what still counts in a sparse segment is copied forward, so that the segment can be given back.
//!
//! ```text
//!  choose ─► collect (slots, 64 Ki a step) ─► copy (≤ 1 MiB a step) ─► entries ─► settle: evacuated, or try again later
//!                                               │ Transfer                │ Transfer
//!                                               └────────► writer ◄───────┘   appends, syncs, moves the slot
//! ```
//! Chosen are segments that a failing disk made suspect, then the sparsest sealed one. Copies go through the writer, so
//! that they stand in a commit like everything else; keys stay valid. The pace is bounded in bytes a second, but for a
//! volume without room, which has nothing better to do.

use super::index::{Phase, Segment, Transfer, Trust};
use super::record::{AcceptMeta, Entry, Fate, Kind, Place, entries};
use super::recovery::load_contents;
use super::segment::SegmentFile;
use super::shared::{Health, ReadError, Shared};
use super::slots::SlotKey;
use super::upkeep::Step;
use fabric::Slice;
use foldhash::{HashMap, HashMapExt};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// See the module.
pub(crate) struct Compaction {
    shared: Arc<Shared>,
    run: Option<Run>,
    /// Bytes that may be copied now.
    allowance: f64,
    allowance_at: Option<Instant>,
    /// After a run that came to nothing.
    rest_until: Option<Instant>,
}

/// One segment under evacuation.
struct Run {
    serial: u32,
    file: SegmentFile,
    stage: Stage,
    messages: VecDeque<(Place, SlotKey, usize)>,
    chunks: VecDeque<(Place, SlotKey, u32, usize)>,
    /// Entries of the segment that tell of other segments.
    entries: Vec<Entry>,
    /// The messages that those deferrals are about, as far as they live.
    targets: Targets,
    /// `Index::transfers_dropped` at the start.
    dropped_before: u64,
    /// Outcomes that must be durable before the segment is given up: one of them may have superseded an entry in it.
    news_needed: u64,
}

/// Places that deferrals tell of, and the messages found there.
type Targets = HashMap<Place, Option<SlotKey>>;

enum Stage {
    Collect { next_slot: u32 },
    Copy,
    Entries,
    Settle,
}

const SLOTS_PER_STEP: u32 = 1 << 16;
const COPY_BYTES_PER_STEP: usize = 1 << 20;
/// Transfers that may wait for the writer.
const TRANSFERS_OPEN_MAX: u32 = 256;
const ENTRIES_PER_TRANSFER: usize = 8192;
const REST: Duration = Duration::from_secs(10);

impl Compaction {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, run: None, allowance: 0.0, allowance_at: None, rest_until: None }
    }

    /// Does one piece of work.
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        self.earn(now);
        let Some(mut run) = self.run.take().or_else(|| self.choose(now)) else { return Step::Idle };
        if !self.shared.index().segments.contains_key(&run.serial) {
            // Its last messages ended by themselves, and it was given back.
            return Step::Worked;
        }
        let step = match run.stage {
            Stage::Collect { next_slot } => self.collect(&mut run, next_slot),
            Stage::Copy => self.copy(&mut run),
            Stage::Entries => self.hand_over_entries(&mut run),
            Stage::Settle => match self.settle(&run, now) {
                Some(step) => return step,
                None => Step::Waiting,
            },
        };
        self.run = Some(run);
        step
    }

    fn is_pressed(&self) -> bool {
        self.shared.health() == Health::Full
    }

    fn earn(&mut self, now: Instant) {
        let rate = self.shared.options.compaction_bytes_per_second as f64;
        let passed = self.allowance_at.map_or(Duration::from_secs(1), |at| now.saturating_duration_since(at));
        self.allowance = (self.allowance + rate * passed.as_secs_f64()).min(rate);
        self.allowance_at = Some(now);
    }

    fn choose(&mut self, now: Instant) -> Option<Run> {
        if self.shared.recovering.load(Ordering::Acquire) > 0 || self.shared.health() == Health::Stopped {
            return None;
        }
        if self.rest_until.is_some_and(|until| now < until) {
            return None;
        }
        let (serial, file) = {
            let index = self.shared.index();
            let sparse = if self.is_pressed() { 90 } else { u64::from(self.shared.options.compaction_live_percent) };
            let delay = if self.is_pressed() { Duration::ZERO } else { self.shared.options.compaction_delay };
            let ripe = |segment: &Segment| match segment.phase {
                Phase::Sealed(at) if segment.open_chunks == 0 => {
                    segment.trust == Trust::Suspect
                        || (now >= at + delay && segment.kept_bytes() * 100 < sparse * u64::from(segment.file.bytes))
                }
                _ => false,
            };
            let retired = |serial: &u32| index.segments.get(serial).is_some_and(|other| other.phase == Phase::Retired);
            let (serial, segment) = index
                .segments
                .iter()
                .filter(|(_, segment)| ripe(segment) && !segment.pinned().any(retired))
                .min_by_key(|(_, segment)| (segment.trust != Trust::Suspect, segment.kept_bytes()))?;
            (*serial, segment.file.clone())
        };
        let dropped_before = self.shared.index().transfers_dropped;
        let (messages, chunks) = (VecDeque::new(), VecDeque::new());
        let (entries, targets) = self.foreign_entries(serial, &file)?;
        let stage = Stage::Collect { next_slot: 0 };
        Some(Run { serial, file, stage, messages, chunks, entries, targets, dropped_before, news_needed: 0 })
    }

    /// Entries of the segment that other segments may need, and the places that deferrals among them tell of.
    fn foreign_entries(&self, serial: u32, file: &SegmentFile) -> Option<(Vec<Entry>, Targets)> {
        let (contents, _) = load_contents(&*self.shared.disk, &self.shared.directory, file, serial).ok()?;
        let index = self.shared.index();
        let mut found = Vec::new();
        let mut targets = HashMap::new();
        let void_from = index.segments.get(&serial).and_then(|segment| segment.void_from).unwrap_or(u32::MAX);
        for (_, record) in contents.records().filter(|(offset, _)| *offset < void_from) {
            let moved = if record.header.kind == Kind::Accept {
                AcceptMeta::decode(&record).ok().and_then(|meta| meta.moved)
            } else {
                None
            };
            // The copy says that the original does not count; without the copy, something else must.
            let origin = moved.map(|(target, _)| Entry { target, recipient: 0, fate: Fate::Gone });
            let told = if record.header.kind == Kind::Outcomes { record.meta } else { &[] };
            for entry in entries(told).chain(origin) {
                if entry.target.serial == serial || !index.segments.contains_key(&entry.target.serial) {
                    continue;
                }
                if !entry.fate.is_final() {
                    targets.insert(entry.target, None);
                }
                found.push(entry);
            }
        }
        Some((found, targets))
    }

    /// Finds the messages of the segment in the slot table.
    fn collect(&self, run: &mut Run, next_slot: u32) -> Step {
        let index = self.shared.index();
        let end = next_slot.saturating_add(SLOTS_PER_STEP).min(index.slots.used());
        for slot in next_slot..end {
            let Some((key, entry)) = index.slots.at(slot) else { continue };
            if entry.place.serial == run.serial {
                run.messages.push_back((entry.place, key, entry.len8 as usize * 8));
            }
            if let Some(target) = run.targets.get_mut(&entry.place) {
                *target = Some(key);
            }
        }
        if end < index.slots.used() {
            run.stage = Stage::Collect { next_slot: end };
            return Step::Worked;
        }
        for (slot, large) in &index.slots.large {
            let Some((key, _)) = index.slots.at(*slot) else { continue };
            for (number, chunk) in large.chunks.iter().enumerate().filter(|(_, chunk)| chunk.place.serial == run.serial)
            {
                let bytes = super::index::chunk_record_bytes(chunk.len) as usize;
                run.chunks.push_back((chunk.place, key, number as u32, bytes));
            }
        }
        run.messages.make_contiguous().sort_unstable_by_key(|(place, ..)| *place);
        run.stage = Stage::Copy;
        Step::Worked
    }

    /// Reads records and hands them to the writer.
    fn copy(&mut self, run: &mut Run) -> Step {
        if self.shared.index().transfers_open >= TRANSFERS_OPEN_MAX {
            return Step::Waiting;
        }
        if self.allowance <= 0.0 && !self.is_pressed() {
            return Step::Waiting;
        }
        let mut bytes = 0;
        let mut count = 0;
        while bytes < COPY_BYTES_PER_STEP && count < TRANSFERS_OPEN_MAX {
            let transfer = if let Some((from, key, len)) = run.messages.pop_front() {
                bytes += len;
                let record = self.read(run, key, from, len);
                record.map(|record| Transfer::Message { key, from, record })
            } else if let Some((from, key, number, len)) = run.chunks.pop_front() {
                bytes += len;
                let record = self.read(run, key, from, len);
                record.map(|record| Transfer::Chunk { key, number, from, record })
            } else {
                run.stage = Stage::Entries;
                break;
            };
            count += 1;
            transfer.into_iter().for_each(|transfer| self.hand_over(transfer));
        }
        self.allowance -= bytes as f64;
        Step::Worked
    }

    /// A record whose bytes are damaged is the end of its message: it is quarantined, counted, and given up, because
    /// there is nothing left to deliver.
    fn read(&self, run: &Run, key: SlotKey, from: Place, len: usize) -> Option<Slice> {
        self.shared.index().slots.get(key)?;
        match self.shared.read_record(&run.file, from, len) {
            Ok(bytes) => Some(Slice::from_vec(bytes)),
            Err(ReadError::Damaged) => {
                self.shared.note_damage(&run.file, from, len);
                self.shared.index().forget(key);
                None
            }
            Err(ReadError::Gone | ReadError::Disk) => None,
        }
    }

    fn hand_over(&self, transfer: Transfer) {
        let mut index = self.shared.index();
        index.transfers_open += transfer.units();
        index.transfers.push_back(transfer);
    }

    /// Hands over the entries that must outlive the segment: ends of messages whose bytes still exist, and deferrals
    /// that are still the last word.
    fn hand_over_entries(&self, run: &mut Run) -> Step {
        let from = run.entries.len().saturating_sub(ENTRIES_PER_TRANSFER);
        let mut kept = run.entries.split_off(from);
        {
            let index = self.shared.index();
            kept.retain(|entry| {
                index.segments.contains_key(&entry.target.serial)
                    && match entry.fate {
                        Fate::Recipient(outcome) if !entry.fate.is_final() => {
                            let key = run.targets.get(&entry.target).copied().flatten();
                            key.filter(|key| index.slots.get(*key).is_some_and(|slot| slot.place == entry.target))
                                .is_some_and(|key| index.slots.is_current(key, entry.recipient, outcome))
                        }
                        _ => true,
                    }
            });
        }
        run.news_needed = self.shared.index().news_applied;
        if run.entries.is_empty() {
            run.stage = Stage::Settle;
        }
        if !kept.is_empty() {
            self.hand_over(Transfer::Entries(kept));
        }
        Step::Worked
    }

    /// When the writer has dealt with everything: is the segment empty?
    fn settle(&mut self, run: &Run, now: Instant) -> Option<Step> {
        let mut index = self.shared.index();
        if index.transfers_open > 0 || index.news_durable < run.news_needed {
            drop(index);
            return None;
        }
        let has_dropped = index.transfers_dropped != run.dropped_before;
        match index.segments.get_mut(&run.serial) {
            Some(segment) if segment.live_bytes == 0 && !has_dropped => segment.phase = Phase::Evacuated,
            _ => self.rest_until = Some(now + REST),
        }
        Some(Step::Worked)
    }
}
