//! One volume as its writer sees it: requests come in, one batch after the other becomes durable, completions go out.
//!
//! ```text
//!  requests ──► mail, outcomes ──┐
//!  keeper ────► transfers ───────┴─► plan ──► pwritev ──► fdatasync ──► index ──► completions
//! ```
//! It is driven by `now` and has no thread of its own: the writer thread drives it in a server, a test drives it step
//! by step. It blocks on the disk. It never begins a commit before the one before is durable, and never answers for a
//! message before the message's commit is.
//!
//! When a write or sync fails, nothing of that batch counts: its senders are told so, the segment is left for good and
//! the next segment's header block says from where on its records are void. No earlier record can have been harmed: a
//! batch starts on a block of its own, so the pages that failed hold nothing that was acknowledged. A second failure
//! in a row stops the volume.

use super::index::{Phase, Transfer, Trust};
use super::plan::{Plan, Spot};
use super::record::{AcceptMeta, ENTRIES_MAX, ENTRY_BYTES, Entry, Fate, HEADER_BYTES, parse};
use super::segment::{Contents, FIRST_RECORD, SegmentFile, Use};
use super::shared::{Health, Shared, count};
use super::slots::{ChunkAt, SlotKey};
use crate::Durability;
use crate::disk::write_all_at;
use message::{Body, Message, MessageId, Outcome, StoreError, StoreKey};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Names who waits for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The event loop.
    pub(crate) port: u16,
    /// The place in the loop's list of waiters.
    pub(crate) seat: u32,
}

/// What the loops ask for.
pub(crate) enum Request {
    Mail(Mail),
    /// A recipient was delivered, failed or deferred.
    Outcome {
        key: SlotKey,
        recipient: u16,
        outcome: Outcome,
    },
    /// The message's sender was never told that it was stored.
    Forget {
        key: SlotKey,
    },
    /// These chunks will not be committed.
    Abandon {
        chunks: Vec<ChunkAt>,
    },
}

/// What is to be stored.
pub(crate) enum Mail {
    Message { message: Arc<Message>, ticket: Ticket },
    Chunk { stream: MessageId, number: u32, body: Body, ticket: Ticket },
    Commit { message: Arc<Message>, stream: MessageId, chunks: Box<[ChunkAt]>, ticket: Ticket },
}

impl Mail {
    pub(super) const fn ticket(&self) -> Ticket {
        match self {
            Self::Message { ticket, .. } | Self::Chunk { ticket, .. } | Self::Commit { ticket, .. } => *ticket,
        }
    }

    /// Bytes that its record takes, at most.
    fn bytes_max(&self) -> u64 {
        match self {
            Self::Message { message, .. } => Plan::accept_bytes_max(message, 0) + message.content.len(),
            Self::Chunk { body, .. } => super::index::chunk_record_bytes(body.len() as u32),
            Self::Commit { message, chunks, .. } => Plan::accept_bytes_max(message, chunks.len()),
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) ticket: Ticket,
    pub(crate) result: Result<Stored, StoreError>,
}

/// Something durable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stored {
    Message(StoreKey),
    Chunk(ChunkAt),
}

/// The segment being written.
pub(super) struct Active {
    pub(super) file: SegmentFile,
    pub(super) serial: u32,
    /// Offset behind the last batch: a multiple of the block.
    end: u32,
    /// Offset where the commit began that is not synced yet.
    commit_start: u32,
    /// The header block is written with the first batch.
    header: HeaderState,
    pub(super) contents: Contents,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HeaderState {
    Pending,
    Written,
}

/// An entry that is applied in memory and not yet durable.
#[derive(Clone, Copy)]
pub(super) struct PendingEntry {
    pub(super) entry: Entry,
    pub(super) origin: Origin,
}

/// Where an entry comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A loop.
    News,
    /// A segment that compaction empties.
    Carried,
}

impl PendingEntry {
    /// The bytes by which it counts for its segment. A deferral will be superseded by the next one: it does not count
    /// before it is carried.
    pub(super) fn weight(&self) -> u64 {
        if self.origin == Origin::Carried || self.entry.fate.is_final() { ENTRY_BYTES as u64 } else { 0 }
    }
}

/// See the module.
pub(crate) struct Volume {
    pub(super) shared: Arc<Shared>,
    pub(super) active: Option<Active>,
    pub(super) mail: VecDeque<Mail>,
    /// Outcomes that are not applied yet.
    news: Vec<(SlotKey, u16, Fate)>,
    pub(super) entries: VecDeque<PendingEntry>,
    /// Entries at the front that stand in the plan.
    pub(super) entries_planned: usize,
    /// Since when an outcome waits to be durable.
    pub(super) news_since: Option<Instant>,
    pub(super) plan: Plan,
    /// Messages and chunks in the plan that the keeper handed over.
    pub(super) transfers_planned: u32,
    /// Number of the commit that is being made.
    pub(super) commit: u64,
    pub(super) unsynced_since: Option<Instant>,
    pub(super) voids: Vec<(u32, u32)>,
    pub(super) failures_in_row: u32,
    /// Not to try making segments before, and why.
    make_after: Option<(Instant, io::ErrorKind)>,
    /// A segment was sealed since the keeper was last told.
    news_for_keeper: bool,
}

/// For whom the volume takes a new segment into use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Leaves the last segment for outcomes and compaction.
    Mail,
    /// May take the last one.
    Upkeep,
}

/// A volume out of room asks again after this time, or as soon as a segment is given back.
const MAKE_RETRY: Duration = Duration::from_secs(1);
/// Bytes of transfers in one batch.
const TRANSFER_BYTES_MAX: u64 = 2 << 20;
/// Failures in a row that stop the volume.
pub(super) const FAILURES_MAX: u32 = 2;

impl Volume {
    /// `commit` is the number of the first commit to come.
    pub(crate) fn new(shared: Arc<Shared>, commit: u64, voids: Vec<(u32, u32)>) -> Self {
        Self {
            shared,
            active: None,
            mail: VecDeque::new(),
            news: Vec::new(),
            entries: VecDeque::new(),
            entries_planned: 0,
            news_since: None,
            plan: Plan::default(),
            transfers_planned: 0,
            commit,
            unsynced_since: None,
            voids,
            failures_in_row: 0,
            make_after: None,
            news_for_keeper: false,
        }
    }

    /// Takes a request up; nothing happens before [`Volume::commit`].
    pub(crate) fn handle(&mut self, request: Request, now: Instant) {
        match request {
            Request::Mail(mail) => self.mail.push_back(mail),
            Request::Outcome { key, recipient, outcome } => self.note(key, recipient, Fate::Recipient(outcome), now),
            Request::Forget { key } => self.note(key, 0, Fate::Gone, now),
            Request::Abandon { chunks } => self.shared.abandon(&chunks),
        }
    }

    fn note(&mut self, key: SlotKey, recipient: u16, fate: Fate, now: Instant) {
        self.news.push((key, recipient, fate));
        self.news_since.get_or_insert(now);
    }

    /// Whether the keeper has something new to do.
    pub(crate) fn take_sealed(&mut self) -> bool {
        std::mem::take(&mut self.news_for_keeper)
    }

    /// Requests that wait for the next batch.
    pub(crate) fn mail_len(&self) -> usize {
        self.mail.len()
    }

    /// When to commit next if nothing comes: zero for at once, `None` if there is nothing to commit.
    pub(crate) fn poll_due(&self, now: Instant) -> Option<Duration> {
        if self.shared.health() == Health::Stopped {
            return (!self.mail.is_empty() || !self.news.is_empty()).then_some(Duration::ZERO);
        }
        if !self.mail.is_empty() || !self.shared.index().transfers.is_empty() {
            return Some(Duration::ZERO);
        }
        let options = &self.shared.options;
        let wait = |since: Instant, delay| (since + delay).saturating_duration_since(now);
        let news = self.news_since.map(|since| wait(since, options.outcome_delay));
        let sync = self.unsynced_since.filter(|_| options.durability == Durability::Relaxed);
        let sync = sync.map(|since| wait(since, options.sync_delay));
        match (news, sync) {
            (Some(news), Some(sync)) => Some(news.min(sync)),
            (news, sync) => news.or(sync),
        }
    }

    /// Makes what fits into one batch durable; answers for all that it took.
    pub(crate) fn commit(&mut self, now: Instant, done: &mut Vec<Completion>) {
        self.apply_news();
        if self.shared.health() == Health::Stopped {
            // What cannot be written any more is at least right in memory.
            self.entries.clear();
            return self.refuse_mail(StoreError::Failed, done);
        }
        let mut stuck = Purpose::Mail;
        // Twice: once more in a new segment.
        for _ in 0..2 {
            match self.fill(now, done) {
                Filled::Batch => return self.write(now, done),
                Filled::Nothing => return self.sync_if_due(now),
                Filled::NeedsRoom(purpose) => {
                    stuck = purpose;
                    if let Err(error) = self.roll(purpose, now) {
                        self.drop_transfers();
                        // Outcomes wait in memory, and ask again after the usual delay.
                        self.news_since = self.news_since.map(|_| now);
                        return self.refuse_mail(answer_to(&error), done);
                    }
                }
            }
        }
        // What is at the front does not fit into an empty segment.
        if stuck == Purpose::Upkeep {
            self.drop_transfers();
        } else if let Some(mail) = self.mail.pop_front() {
            done.push(Completion { ticket: mail.ticket(), result: Err(StoreError::Failed) });
        }
    }

    /// Makes everything durable and seals the segment; the last thing done.
    pub(crate) fn close(&mut self, now: Instant, done: &mut Vec<Completion>) {
        while self.shared.health() != Health::Stopped
            && !(self.mail.is_empty() && self.news.is_empty() && self.entries.is_empty())
        {
            let before = (self.mail.len(), self.news.len(), self.entries.len());
            self.commit(now, done);
            if before == (self.mail.len(), self.news.len(), self.entries.len()) {
                break;
            }
        }
        self.refuse_mail(StoreError::Stopping, done);
        self.sync(now);
        self.seal(now);
    }

    /// Applies the outcomes that came, and turns those that changed something into entries to be written.
    fn apply_news(&mut self) {
        if self.news.is_empty() {
            return;
        }
        let mut index = self.shared.index();
        for (key, recipient, fate) in self.news.drain(..) {
            let target = match fate {
                Fate::Recipient(outcome) => index.settle(key, recipient, outcome).map(|(place, _)| place),
                Fate::Gone => index.forget(key),
            };
            let entry = target.map(|target| Entry { target, recipient, fate });
            index.news_applied += u64::from(entry.is_some());
            self.entries.extend(entry.map(|entry| PendingEntry { entry, origin: Origin::News }));
        }
        if self.entries.is_empty() {
            self.news_since = None;
        }
    }

    /// Puts into the plan what fits, outcomes first.
    fn fill(&mut self, now: Instant, done: &mut Vec<Completion>) -> Filled {
        // Mail is taken only while a segment is left for outcomes and compaction.
        if !self.mail.is_empty()
            && let Err(error) = self.provide(1, now)
        {
            self.refuse_mail(answer_to(&error), done);
        }
        (self.entries_planned, self.transfers_planned) = (0, 0);
        let wanted = if !self.entries.is_empty() || !self.shared.index().transfers.is_empty() {
            Some(Purpose::Upkeep)
        } else {
            (!self.mail.is_empty()).then_some(Purpose::Mail)
        };
        let Some(purpose) = wanted else { return Filled::Nothing };
        let Some(active) = &self.active else { return Filled::NeedsRoom(purpose) };
        let commit_start = if self.unsynced_since.is_some() { active.commit_start } else { active.end };
        let spot = Spot { serial: active.serial, commit: self.commit, commit_start };
        let end = u64::from(active.file.bytes);
        self.plan.begin(active.end);
        let fits = self.fill_entries(spot, end) && self.fill_transfers(spot, end);
        if fits {
            self.fill_mail(spot, end);
        }
        match (self.plan.is_empty(), purpose) {
            (false, _) => Filled::Batch,
            // All transfers were out of date.
            (true, Purpose::Upkeep) if fits && self.mail.is_empty() => Filled::Nothing,
            (true, Purpose::Upkeep) if fits => Filled::NeedsRoom(Purpose::Mail),
            (true, purpose) => Filled::NeedsRoom(purpose),
        }
    }

    fn fill_entries(&mut self, spot: Spot, end: u64) -> bool {
        let mut batch = Vec::new();
        while self.entries_planned < self.entries.len() {
            let room = end.saturating_sub(u64::from(self.plan.next_offset()));
            let fit = usize::try_from(room).unwrap_or(usize::MAX).saturating_sub(HEADER_BYTES) / ENTRY_BYTES;
            let n = (self.entries.len() - self.entries_planned).min(ENTRIES_MAX).min(fit);
            if n == 0 {
                return false;
            }
            batch.clear();
            let range = self.entries_planned..self.entries_planned + n;
            batch.extend(self.entries.range(range).map(|pending| pending.entry));
            self.plan.entries(spot, &batch);
            self.entries_planned += n;
        }
        true
    }

    fn fill_transfers(&mut self, spot: Spot, end: u64) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut index = shared.index();
        let mut states = Vec::new();
        while self.plan.moved < TRANSFER_BYTES_MAX
            && let Some(transfer) = index.transfers.pop_front()
        {
            if let Transfer::Entries(entries) = transfer {
                // They stand in the list, and go with this batch or the next.
                self.entries.extend(entries.into_iter().map(|entry| PendingEntry { entry, origin: Origin::Carried }));
                if !self.fill_entries(spot, end) {
                    return false;
                }
                continue;
            }
            if !index.is_current(&transfer) {
                index.transfers_open = index.transfers_open.saturating_sub(1);
                continue;
            }
            states.clear();
            if let Transfer::Message { key, from, .. } = &transfer {
                index.slots.entries(*key, *from, &mut states);
            }
            let bytes = transfer.record_bytes() + Plan::entries_bytes(states.len()) + 16;
            if u64::from(self.plan.next_offset()) + bytes > end {
                index.transfers.push_front(transfer);
                return false;
            }
            self.transfers_planned += 1;
            self.plan_transfer(spot, transfer, &states);
        }
        true
    }

    fn plan_transfer(&mut self, spot: Spot, transfer: Transfer, states: &[Entry]) {
        let (Transfer::Message { record: bytes, .. } | Transfer::Chunk { record: bytes, .. }) = &transfer else {
            return;
        };
        // The keeper has checked it; what does not parse is not copied, and its segment is kept.
        let Ok(record) = parse(bytes, None) else { return };
        let header = record.header;
        let body = bytes.slice(header.body_start()..header.body_start() + header.body_len as usize);
        match &transfer {
            Transfer::Message { key, from, .. } => {
                let Ok(meta) = AcceptMeta::decode(&record) else { return };
                self.plan.move_message(spot, (*key, *from), (&header, &meta), states, body);
            }
            Transfer::Chunk { key, from, .. } => self.plan.move_chunk(spot, (*key, *from), &header, body),
            Transfer::Entries(_) => {}
        }
    }

    fn fill_mail(&mut self, spot: Spot, end: u64) {
        let bytes_max = u64::from(self.plan.start()) + u64::from(self.shared.options.batch_bytes_max);
        while let Some(mail) = self.mail.front() {
            let after = u64::from(self.plan.next_offset()) + mail.bytes_max();
            if after > end || (after > bytes_max && !self.plan.is_empty()) {
                return;
            }
            match self.mail.pop_front() {
                Some(Mail::Message { message, ticket }) => self.plan.store(spot, message, ticket),
                Some(Mail::Chunk { stream, number, body, ticket }) => {
                    self.plan.chunk(spot, (stream, number), body, ticket)
                }
                Some(Mail::Commit { message, stream, chunks, ticket }) => {
                    self.plan.commit(spot, (message, stream, chunks), ticket);
                }
                None => return,
            }
        }
    }

    /// Sees to it that `wanted` segments are free.
    fn provide(&mut self, wanted: usize, now: Instant) -> io::Result<()> {
        while self.shared.index().free.len() < wanted {
            if let Some((_, kind)) = self.make_after.filter(|(after, _)| now < *after) {
                return Err(kind.into());
            }
            if let Err(error) = self.shared.make_segment(wanted) {
                self.make_after = Some((now + MAKE_RETRY, error.kind()));
                return Err(error);
            }
        }
        self.make_after = None;
        Ok(())
    }

    /// Takes the first segment into use, durably: its serial number must never be given out again, whatever a crash
    /// leaves of the first batch. Without room the volume starts full.
    pub(crate) fn start(&mut self, now: Instant) {
        let started = self.roll(Purpose::Mail, now).and_then(|()| {
            let Some(active) = &mut self.active else { return Ok(()) };
            write_header(active, &self.voids)?;
            active.file.file.sync()
        });
        match started {
            Ok(()) => {}
            Err(_) if self.active.is_some() => self.leave_segment(now),
            Err(_) => self.shared.set_health(Health::Full),
        }
    }

    /// Seals the segment and takes the next into use.
    fn roll(&mut self, purpose: Purpose, now: Instant) -> io::Result<()> {
        let leave = usize::from(purpose == Purpose::Mail);
        self.provide(1 + leave, now)?;
        self.sync(now);
        if self.shared.health() == Health::Stopped {
            return Err(io::ErrorKind::Other.into());
        }
        self.seal(now);
        let mut index = self.shared.index();
        let (serial, file) = index.activate(leave).ok_or(io::ErrorKind::StorageFull)?;
        self.voids.retain(|(void, _)| index.segments.contains_key(void));
        self.voids.iter().for_each(|(void, _)| index.pin(serial, *void, 0));
        let contents = Contents::new(serial);
        let (end, commit_start) = (FIRST_RECORD, FIRST_RECORD);
        self.active = Some(Active { file, serial, end, commit_start, header: HeaderState::Pending, contents });
        Ok(())
    }

    /// Ends the segment, whose commits are all durable.
    pub(super) fn seal(&mut self, now: Instant) {
        let Some(active) = self.active.take() else { return };
        self.news_for_keeper = true;
        let mut index = self.shared.index();
        let Some(segment) = index.segments.get_mut(&active.serial) else { return };
        segment.phase = Phase::Sealed(now);
        // An index file would hide the batch that failed before its void is durable, and a scan would bring it back.
        if segment.trust == Trust::Sound {
            index.unindexed.push_back((active.file, active.contents));
        }
    }

    fn write(&mut self, now: Instant, done: &mut Vec<Completion>) {
        let carries = self.entries.range(..self.entries_planned).any(|pending| pending.origin == Origin::Carried);
        // What compaction copies must be durable before its segment is given back, whatever the class.
        let durable = self.shared.options.durability == Durability::Durable || self.transfers_planned > 0 || carries;
        if let Err(error) = self.write_batch(durable) {
            return self.fail(&error, now, done);
        }
        self.apply(done);
        if durable {
            self.synced();
        } else {
            self.unsynced_since.get_or_insert(now);
        }
    }

    fn write_batch(&mut self, durable: bool) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Err(io::ErrorKind::NotFound.into()) };
        write_header(active, &self.voids)?;
        let calls = self.plan.write(&*active.file.file)?;
        count(&self.shared.counters.writes, calls);
        if durable {
            active.file.file.sync()?;
        }
        if self.unsynced_since.is_none() {
            active.commit_start = self.plan.start();
        }
        active.end = self.plan.end();
        Ok(())
    }

    /// The commit is durable.
    fn synced(&mut self) {
        count(&self.shared.counters.commits, 1);
        self.commit += 1;
        self.unsynced_since = None;
        self.failures_in_row = 0;
    }

    /// Syncs what was written under a weaker class, if it is time; returns at once if it is not.
    fn sync_if_due(&mut self, now: Instant) {
        let relaxed = self.shared.options.durability == Durability::Relaxed;
        if relaxed && self.unsynced_since.is_some_and(|since| now >= since + self.shared.options.sync_delay) {
            self.sync(now);
        }
    }

    /// Syncs what is written and not synced. On failure the segment is left.
    fn sync(&mut self, now: Instant) {
        if self.unsynced_since.is_none() {
            return;
        }
        let Some(active) = &self.active else { return };
        match active.file.file.sync() {
            Ok(()) => self.synced(),
            Err(_) => self.leave_segment(now),
        }
    }
}

/// What [`Volume::fill`] came to.
enum Filled {
    Batch,
    Nothing,
    /// The first thing in line does not fit into this segment.
    NeedsRoom(Purpose),
}

/// What a sender is told when the disk says this.
pub(super) fn answer_to(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Failed,
    }
}

fn write_header(active: &mut Active, voids: &[(u32, u32)]) -> io::Result<()> {
    if active.header == HeaderState::Written {
        return Ok(());
    }
    let block = active.file.header(Use::Taken, active.serial, voids);
    write_all_at(&*active.file.file, &block.encode(), 0)?;
    active.header = HeaderState::Written;
    Ok(())
}
