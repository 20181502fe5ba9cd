//! Restart: from the segment files to the index, without reading bodies where an index file saves that.
//!
//! ```text
//!  header blocks ─► order by serial ─► for each: index file, or scan ─► slots, outcomes applied ─► chunks ─► report
//! ```
//! A record counts when it is sound, its segment is taken, and no header block voids it. What is not sound is told
//! apart by one question: was its commit durable? It was if the commit after it exists, for none begins before the one
//! before is durable. If not, it is the torn tail of a write that nobody was answered for: cut. If so, it is damage:
//! skipped, copied to the quarantine, reported. Segments are gone through in order of serial, so an outcome always
//! comes behind the message that it tells of.

use super::index::{Index, Phase, Segment, Trust, chunk_record_bytes};
use super::record::{AcceptMeta, Entry, FLAG_MOVED, Fate, Finding, Kind, Place, Record, entries, parse, scan};
use super::segment::{Contents, FIRST_RECORD, FileNumber, HeaderBlock, SegmentFile, Use};
use super::shared::{Shared, count};
use super::slots::{ChunkAt, Large, SlotKey};
use crate::Options;
use crate::disk::{Access, Disk, read_up_to};
use foldhash::{HashMap, HashMapExt};
use message::MessageId;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What a restart found; numbers for the log, places for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Messages with recipients left.
    pub messages: u64,
    /// Segments in use.
    pub segments: u64,
    /// Segments that had to be read whole, for want of an index file.
    pub scanned: u64,
    /// Sound records of all kinds, whether they still count or not.
    pub records: u64,
    /// Octets of their bodies.
    pub body_bytes: u64,
    /// Records of commits that were never durable: nobody was answered for them.
    pub torn: u64,
    /// Records that were refused to their senders when a sync failed.
    pub void: u64,
    /// Places where durable bytes are damaged; they were copied to `quarantine/`.
    pub damaged: u64,
    /// The first hundred of them.
    pub damages: Vec<Damage>,
}

/// A place where bytes that were durable are damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// File number of the segment.
    pub file: u32,
    /// Offset of the first bad byte or record.
    pub offset: u64,
    /// Number of bytes that are lost.
    pub bytes: u64,
    /// The message, where its header is sound.
    pub id: Option<MessageId>,
}

const DAMAGES_MAX: usize = 100;
/// A new run begins so far behind the last commit seen: commits that failed or were torn may have left no sound record,
/// and the numbers after theirs must never exist, or they would prove them.
const UNPROVEN_COMMITS: u64 = 16;

/// Something unsound that a scan found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hurt {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) id: Option<MessageId>,
    /// The bytes were durable if the commit behind this one exists; 0: they were. `None`: nothing in the segment is
    /// sound, so its first commit is meant.
    pub(crate) commit: Option<u64>,
}

/// What is known of the records of a segment: from its index file, else by reading all of it. Says what was unsound.
///
/// # Errors
/// Those of the disk.
pub(crate) fn load_contents(
    disk: &dyn Disk,
    directory: &Path,
    file: &SegmentFile,
    serial: u32,
) -> io::Result<(Contents, Option<Vec<Hurt>>)> {
    if let Some(contents) = Contents::read(disk, directory, file.number, serial) {
        return Ok((contents, None));
    }
    let (contents, hurts) = read_contents(file, serial)?;
    Ok((contents, Some(hurts)))
}

/// What a segment holds, by reading all of it.
fn read_contents(file: &SegmentFile, serial: u32) -> io::Result<(Contents, Vec<Hurt>)> {
    let mut bytes = vec![0; file.bytes as usize];
    let read = read_up_to(&*file.file, &mut bytes, 0)?;
    Ok(scan_contents(&bytes[..read], serial))
}

/// Goes through the bytes of a whole segment.
pub(crate) fn scan_contents(bytes: &[u8], serial: u32) -> (Contents, Vec<Hurt>) {
    let mut contents = Contents::new(serial);
    let mut hurts: Vec<Hurt> = Vec::new();
    let mut open_damage: Option<usize> = None;
    for finding in scan(bytes, FIRST_RECORD as usize, serial) {
        match finding {
            Finding::Damage { start, end } => {
                open_damage = Some(hurts.len());
                hurts.push(Hurt { start: start as u64, end: end as u64, id: None, commit: None });
            }
            Finding::Sound(at, record) | Finding::BadBody(at, record) => {
                if let Some(hurt) = open_damage.take().and_then(|n| hurts.get_mut(n)) {
                    // Bytes before the commit of the next record belong to an earlier one, which that one proves.
                    let own = hurt.start >= u64::from(record.header.commit_start);
                    hurt.commit = Some(if own { record.header.commit } else { record.header.commit.saturating_sub(1) });
                }
                if matches!(finding, Finding::Sound(..)) {
                    contents.push(at as u32, record.header.commit, &bytes[at..at + record.header.body_start()]);
                } else {
                    let header = record.header;
                    let end = at as u64 + header.record_len();
                    hurts.push(Hurt { start: at as u64, end, id: Some(header.id), commit: Some(header.commit) });
                }
            }
        }
    }
    // Behind the last sound record: a part of its commit if that was durable, else of the next one, which was not.
    if let Some(hurt) = open_damage.and_then(|n| hurts.get_mut(n)) {
        hurt.commit = (contents.last_commit > 0).then_some(contents.last_commit);
    }
    (contents, hurts)
}

/// Commit numbers that exist, as a short list of runs.
#[derive(Default)]
struct Commits(Vec<(u64, u64)>);

impl Commits {
    fn see(&mut self, commit: u64) {
        match self.0.last_mut() {
            Some((_, last)) if commit == *last || commit == *last + 1 => *last = commit,
            _ => self.0.push((commit, commit)),
        }
    }

    fn contains(&self, commit: u64) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&commit))
    }

    fn last(&self) -> u64 {
        self.0.iter().map(|(_, last)| *last).max().unwrap_or(0)
    }
}

/// Whether a restart believes index files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexFiles {
    /// Yes: bodies of sealed segments are not read.
    Trusted,
    /// No: every byte is read and checked.
    Ignored,
}

/// The state of a restart.
struct Recovery<'a> {
    index_files: IndexFiles,
    disk: &'a Arc<dyn Disk>,
    directory: &'a Path,
    index: Index,
    report: RecoveryReport,
    commits: Commits,
    /// The highest number seen, in sound records and in torn ones.
    last_commit: u64,
    voids: Vec<(u32, u32)>,
    /// Length of each segment by its header block.
    lengths: HashMap<u32, u64>,
    /// Which segment's header block tells of which void one.
    tellers: Vec<(u32, u32)>,
    /// Where each segment's messages went: offset / 8 and slot, in order.
    lookup: BTreeMap<u32, Vec<(u32, SlotKey)>>,
    chunks: HashMap<(u128, u32), ChunkAt>,
    large: Vec<(SlotKey, Place, MessageId)>,
    hurts: Vec<(u32, SegmentFile, Hurt)>,
}

/// What a restart hands on.
pub(crate) struct Restored {
    pub(crate) shared: Arc<Shared>,
    pub(crate) report: RecoveryReport,
    pub(crate) voids: Vec<(u32, u32)>,
    /// Number of the first commit to come.
    pub(crate) commit: u64,
    pub(crate) lookup: BTreeMap<u32, Vec<(u32, SlotKey)>>,
}

/// Reads a volume whose lock is held.
///
/// # Errors
/// Those of the disk: a segment that cannot be opened or read is no reason to lose what is in it by going on.
pub(crate) fn restore(
    volume: u8,
    directory: &Path,
    disk: &Arc<dyn Disk>,
    options: &Options,
    index_files: IndexFiles,
) -> io::Result<Restored> {
    let mut recovery = Recovery {
        index_files,
        disk,
        directory,
        index: Index::new(),
        report: RecoveryReport::default(),
        commits: Commits::default(),
        last_commit: 0,
        voids: Vec::new(),
        lengths: HashMap::new(),
        tellers: Vec::new(),
        lookup: BTreeMap::new(),
        chunks: HashMap::new(),
        large: Vec::new(),
        hurts: Vec::new(),
    };
    let taken = recovery.read_headers(options.segment_bytes)?;
    for (serial, file) in taken {
        recovery.index.segments.insert(serial, Segment::new(file.clone(), Phase::Sealed(Instant::now())));
        recovery.read_segment(serial, &file)?;
    }
    recovery.join_chunks();
    recovery.judge_hurts();
    recovery.report.messages = u64::from(recovery.index.slots.len());
    recovery.report.segments = recovery.index.segments.len() as u64;
    // The serial in between may stand in records of a batch that a crash tore off its header block.
    recovery.index.last_serial += 1;
    recovery.pin_voids();
    recovery.index.settle_down();
    recovery.voids.retain(|(void, _)| recovery.index.segments.contains_key(void));
    let Recovery { index, report, last_commit, voids, lookup, hurts, .. } = recovery;
    let shared = Arc::new(Shared::new(volume, directory.to_path_buf(), Arc::clone(disk), options.clone(), index));
    for (serial, file, hurt) in &hurts {
        keep_hurt_bytes(&shared, *serial, file, hurt);
    }
    count(&shared.counters.damaged, report.damaged);
    Ok(Restored { shared, report, voids, commit: last_commit + UNPROVEN_COMMITS, lookup })
}

/// Copies damaged bytes, and torn records that can still be read in part, into the quarantine.
fn keep_hurt_bytes(shared: &Shared, serial: u32, file: &SegmentFile, hurt: &Hurt) {
    let len = hurt.end.min(u64::from(file.bytes)).saturating_sub(hurt.start);
    shared.quarantine_at(file, Place::new(serial, hurt.start as u32 & !7), len as usize);
}

impl Recovery<'_> {
    /// Opens all segment files and reads their header blocks; sorts out the free ones.
    fn read_headers(&mut self, segment_bytes: u32) -> io::Result<BTreeMap<u32, SegmentFile>> {
        let mut numbers: Vec<_> =
            self.disk.list(self.directory)?.iter().filter_map(|name| FileNumber::parse(name)).collect();
        numbers.sort_unstable();
        let mut taken = BTreeMap::new();
        let mut free = Vec::new();
        let mut headless = Vec::new();
        for number in numbers {
            self.index.last_number = self.index.last_number.max(number.0);
            let file = self.disk.open(&number.segment_path(self.directory), Access::Write)?;
            let bytes = u32::try_from(file.length()?).unwrap_or(u32::MAX);
            let file = SegmentFile { number, file, bytes };
            match file.read_header()? {
                None => headless.push(file),
                Some(header) => self.sort_in(header, file, segment_bytes, &mut taken, &mut free),
            }
        }
        for file in headless {
            self.adopt_headless(file, segment_bytes, &mut taken, &mut free)?;
        }
        free.sort_by_key(|(serial, _)| *serial);
        self.index.free.extend(free.into_iter().map(|(_, file)| file));
        Ok(taken)
    }

    fn sort_in(
        &mut self,
        header: HeaderBlock,
        file: SegmentFile,
        segment_bytes: u32,
        taken: &mut BTreeMap<u32, SegmentFile>,
        free: &mut Vec<(u32, SegmentFile)>,
    ) {
        self.index.last_serial = self.index.last_serial.max(header.serial);
        for void in header.voids.iter().filter(|_| header.state == Use::Taken) {
            self.tellers.push((header.serial, void.0));
            if !self.voids.contains(void) {
                self.voids.push(*void);
            }
        }
        match header.state {
            Use::Taken => {
                self.lengths.insert(header.serial, header.bytes);
                taken.insert(header.serial, file);
            }
            Use::Free if file.bytes == segment_bytes => free.push((header.serial, file)),
            Use::Free => {
                let _ = self.disk.remove(&file.number.segment_path(self.directory));
            }
        }
    }

    /// A file without a sound header block: new, if it holds no record; else it counts by the newest generation that it
    /// holds, because losing mail is worse than sending some twice.
    fn adopt_headless(
        &mut self,
        file: SegmentFile,
        segment_bytes: u32,
        taken: &mut BTreeMap<u32, SegmentFile>,
        free: &mut Vec<(u32, SegmentFile)>,
    ) -> io::Result<()> {
        let mut bytes = vec![0; file.bytes as usize];
        let read = read_up_to(&*file.file, &mut bytes, 0)?;
        let heads = (0..read / 8).filter_map(|n| parse(&bytes[n * 8..read], None).ok());
        let newest = heads.map(|record| record.header.serial).filter(|serial| !taken.contains_key(serial)).max();
        match newest {
            Some(serial) => {
                self.index.last_serial = self.index.last_serial.max(serial);
                self.hurts.push((serial, file.clone(), Hurt { start: 0, end: 512, id: None, commit: Some(0) }));
                taken.insert(serial, file);
            }
            None if file.bytes == segment_bytes => {
                // From now on a missing header block means damage.
                if file.mark(Use::Free, 0).is_ok() {
                    free.push((0, file));
                }
            }
            None => _ = self.disk.remove(&file.number.segment_path(self.directory)),
        }
        Ok(())
    }

    fn read_segment(&mut self, serial: u32, file: &SegmentFile) -> io::Result<()> {
        let (contents, hurts) = match self.index_files {
            IndexFiles::Trusted => load_contents(&**self.disk, self.directory, file, serial)?,
            IndexFiles::Ignored => {
                let (contents, hurts) = read_contents(file, serial)?;
                (contents, Some(hurts))
            }
        };
        let void_from = self.voids.iter().filter(|(void, _)| *void == serial).map(|(_, offset)| *offset).min();
        let is_void = |offset: u64| void_from.is_some_and(|from| offset >= u64::from(from));
        let mut kept = hurts.is_some().then(|| Contents::new(serial));
        for (offset, record) in contents.records() {
            if is_void(u64::from(offset)) {
                self.report.void += 1;
                continue;
            }
            self.commits.see(record.header.commit);
            self.report.records += 1;
            self.report.body_bytes += u64::from(record.header.body_len);
            let end = u64::from(offset) + record.header.record_len();
            if end > u64::from(file.bytes) {
                // The index file knows of a record that the segment file has lost.
                let (start, id) = (u64::from(offset), Some(record.header.id));
                self.hurts.push((serial, file.clone(), Hurt { start, end, id, commit: Some(0) }));
                continue;
            }
            self.apply(Place::new(serial, offset), &record);
            if let Some(kept) = &mut kept {
                kept.push(offset, record.header.commit, &record_head(&record));
            }
        }
        let hurts = hurts.into_iter().flatten().filter(|hurt| !is_void(hurt.start));
        let length = self.lengths.get(&serial).copied().unwrap_or(0);
        if kept.is_some() && length > u64::from(file.bytes) {
            // Cut short; what was there, nobody knows without the index file.
            let hurt = Hurt { start: u64::from(file.bytes), end: length, id: None, commit: Some(0) };
            self.hurts.push((serial, file.clone(), hurt));
        }
        let first = self.commits.last() + 1;
        let placed = hurts.map(|hurt| (serial, file.clone(), Hurt { commit: hurt.commit.or(Some(first)), ..hurt }));
        self.hurts.extend(placed);
        let told = self.hurts.iter().filter_map(|(_, _, hurt)| hurt.commit).max();
        self.last_commit = self.last_commit.max(told.unwrap_or(0)).max(self.commits.last());
        if let Some(kept) = kept {
            self.report.scanned += 1;
            // What a killed server left in the page cache was read as if it were durable; now it is.
            if file.file.sync().is_err()
                && let Some(segment) = self.index.segments.get_mut(&serial)
            {
                segment.trust = Trust::Suspect;
            }
            // It saves the next restart the reading; if it cannot be written, nothing is lost.
            let _ = kept.write(&**self.disk, self.directory, file.number);
        }
        Ok(())
    }

    fn apply(&mut self, place: Place, record: &Record<'_>) {
        match record.header.kind {
            Kind::Accept => self.apply_accept(place, record),
            Kind::Chunk => {
                let chunk = ChunkAt { place, len: record.header.body_len };
                self.chunks.insert((record.header.id.0, record.header.chunk), chunk);
            }
            Kind::Outcomes => entries(record.meta).for_each(|entry| self.apply_entry(place.serial, &entry)),
        }
    }

    fn apply_accept(&mut self, place: Place, record: &Record<'_>) {
        let Ok(meta) = AcceptMeta::decode(record) else {
            let file = self.index.segments.get(&place.serial).map(|segment| segment.file.clone());
            let id = record.header.id;
            let end = place.offset() + record.header.record_len();
            let hurt = Hurt { start: place.offset(), end, id: Some(id), commit: Some(0) };
            self.hurts.extend(file.map(|file| (place.serial, file, hurt)));
            return;
        };
        if let Some((origin, _)) = meta.moved
            && let Some(key) = self.find(origin)
        {
            self.index.forget(key);
        }
        let large = meta.chunks.map(|(stream, _)| Large {
            stream,
            chunks: meta.chunk_lens().map(|len| ChunkAt { place: Place::default(), len }).collect(),
        });
        let stream = large.as_ref().map(|large| large.stream);
        let key = self.index.accept(place, record.header.record_len(), record.header.count, large);
        self.large.extend(stream.map(|stream| (key, place, stream)));
        self.lookup.entry(place.serial).or_default().push((place.offset8, key));
        if record.header.flags & FLAG_MOVED != 0
            && let Some((origin, states)) = meta.moved
        {
            self.index.pin(place.serial, origin.serial, 0);
            entries(states).for_each(|state| self.settle(key, &state));
        }
    }

    fn apply_entry(&mut self, serial: u32, entry: &Entry) {
        let weight = if entry.fate.is_final() { super::record::ENTRY_BYTES as u64 } else { 0 };
        self.index.pin(serial, entry.target.serial, weight);
        if let Some(key) = self.find(entry.target) {
            self.settle(key, entry);
        }
    }

    fn settle(&mut self, key: SlotKey, entry: &Entry) {
        match entry.fate {
            Fate::Recipient(outcome) => _ = self.index.settle(key, entry.recipient, outcome),
            Fate::Gone => _ = self.index.forget(key),
        }
    }

    /// The message whose record is at `place`, if it lives and was not copied elsewhere.
    fn find(&self, place: Place) -> Option<SlotKey> {
        let slots = self.lookup.get(&place.serial)?;
        let at = slots.binary_search_by_key(&place.offset8, |(offset8, _)| *offset8).ok()?;
        let (_, key) = slots[at];
        self.index.slots.get(key).filter(|slot| slot.place == place).map(|_| key)
    }

    /// A segment that tells of a void must outlive it; the void one is copied out soon, which ends both duties.
    fn pin_voids(&mut self) {
        for (teller, void) in &self.tellers {
            self.index.pin(*teller, *void, 0);
            if let Some(segment) = self.index.segments.get_mut(void) {
                segment.trust = Trust::Suspect;
                let offsets = self.voids.iter().filter(|(serial, _)| serial == void).map(|(_, offset)| *offset);
                segment.void_from = offsets.min();
            }
        }
    }

    /// Gives large messages their chunks. One that lacks a chunk is damaged as a whole.
    fn join_chunks(&mut self) {
        for (key, place, stream) in std::mem::take(&mut self.large) {
            if self.index.slots.get(key).is_none_or(|slot| slot.place != place) {
                continue;
            }
            let Some(large) = self.index.slots.large.get_mut(&key.slot) else { continue };
            let mut complete = true;
            for (number, chunk) in large.chunks.iter_mut().enumerate() {
                match self.chunks.get(&(stream.0, number as u32)) {
                    Some(found) if found.len == chunk.len => *chunk = *found,
                    _ => complete = false,
                }
            }
            let chunks = large.chunks.clone();
            if complete {
                chunks
                    .iter()
                    .for_each(|chunk| self.index.charge_chunk(chunk.place.serial, chunk_record_bytes(chunk.len)));
                continue;
            }
            let Some(segment) = self.index.segments.get(&place.serial) else { continue };
            let len = self.index.slots.get(key).map_or(0, |slot| u64::from(slot.len8) * 8);
            let hurt = Hurt { start: place.offset(), end: place.offset() + len, id: Some(stream), commit: Some(0) };
            self.hurts.push((place.serial, segment.file.clone(), hurt));
            if let Some((slot, _)) = self.index.slots.remove(key) {
                self.index.discharge(slot.place.serial, u64::from(slot.len8) * 8);
            }
        }
    }

    /// Tells torn tails from damage.
    fn judge_hurts(&mut self) {
        let commits = &self.commits;
        let report = &mut self.report;
        self.hurts.retain(|(_, file, hurt)| {
            let was_durable = match hurt.commit {
                Some(0) => true,
                Some(commit) => commits.contains(commit + 1),
                None => false,
            };
            if !was_durable {
                report.torn += 1;
                // What can still be told is worth keeping; a header alone proves that there was something.
                return hurt.id.is_some();
            }
            report.damaged += 1;
            if report.damages.len() < DAMAGES_MAX {
                let (offset, bytes) = (hurt.start, hurt.end - hurt.start);
                report.damages.push(Damage { file: file.number.0, offset, bytes, id: hurt.id });
            }
            true
        });
    }
}

/// Header and meta part of a record, as bytes.
fn record_head(record: &Record<'_>) -> Vec<u8> {
    let mut head = record.header.encode(record.meta).to_vec();
    head.extend_from_slice(record.meta);
    head
}
