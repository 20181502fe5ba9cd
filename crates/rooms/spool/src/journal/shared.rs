//! What the writer, the keeper, the readers and the handles of one volume share.
//!
//! The lock is the index's; the rest are counters and the health of the volume. Nothing here waits for a disk while it
//! holds the lock.

use super::index::{Ending, Index};
use super::record::{Place, parse};
use super::segment::SegmentFile;
use super::slots::{ChunkAt, SlotKey};
use crate::Options;
use crate::disk::{Access, Disk, read_exact_at, write_all_at};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a volume is, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Health {
    /// It takes mail.
    Good = 0,
    /// A write or sync failed; the segment was left and another one works.
    Degraded = 1,
    /// No room: mail is refused (452), outcomes are still kept. Clears when space returns.
    Full = 2,
    /// Two segments in a row failed: nothing is written any more. Only a restart clears it.
    Stopped = 3,
}

impl Health {
    const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Good,
            1 => Self::Degraded,
            2 => Self::Full,
            _ => Self::Stopped,
        }
    }
}

/// What a volume has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Messages stored.
    pub stored: u64,
    /// Messages that are in it now.
    pub messages: u64,
    /// Bytes of records that count.
    pub live_bytes: u64,
    /// Commits made durable.
    pub commits: u64,
    /// Bytes written for mail and outcomes.
    pub written_bytes: u64,
    /// Octets of trace and content among them.
    pub payload_bytes: u64,
    /// Calls of `pwritev`.
    pub writes: u64,
    /// Bytes that compaction copied.
    pub moved_bytes: u64,
    /// Outcomes made durable.
    pub outcomes: u64,
    /// Segments in use.
    pub segments: u64,
    /// Segments free.
    pub free_segments: u64,
    /// Segments given back by compaction or because they were dead.
    pub released: u64,
    /// Writes or syncs that failed.
    pub failures: u64,
    /// Records found damaged, at restart or while reading.
    pub damaged: u64,
    /// Read errors of the disk.
    pub read_errors: u64,
}

/// The counters behind [`Figures`].
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) stored: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) payload_bytes: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) moved_bytes: AtomicU64,
    pub(crate) outcomes: AtomicU64,
    pub(crate) released: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) damaged: AtomicU64,
    pub(crate) read_errors: AtomicU64,
}

/// Adds to a counter. Relaxed: the numbers are for people.
pub(crate) fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// See the module.
pub(crate) struct Shared {
    /// The volume's number, which stands in each key.
    pub(crate) volume: u8,
    pub(crate) directory: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) counters: Counters,
    /// One at a time makes segment files.
    pub(crate) making: Mutex<()>,
    index: Mutex<Index>,
    health: AtomicU8,
    /// Messages that a restart has found and not yet handed on; compaction waits for them.
    pub(crate) recovering: AtomicU64,
}

/// Why a record could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The key names nothing.
    Gone,
    /// The bytes are damaged; they were copied to the quarantine.
    Damaged,
    /// The disk does not give them.
    Disk,
}

impl Shared {
    pub(crate) fn new(volume: u8, directory: PathBuf, disk: Arc<dyn Disk>, options: Options, index: Index) -> Self {
        Self {
            volume,
            directory,
            disk,
            options,
            counters: Counters::default(),
            making: Mutex::new(()),
            index: Mutex::new(index),
            health: AtomicU8::new(Health::Good as u8),
            recovering: AtomicU64::new(0),
        }
    }

    /// The index. A panic under the lock is a bug that the others need not share: its state is then still whole enough
    /// to refuse.
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn health(&self) -> Health {
        Health::from_number(self.health.load(Ordering::Relaxed))
    }

    pub(crate) fn set_health(&self, health: Health) {
        self.health.store(health as u8, Ordering::Relaxed);
    }

    /// How the volume is once it has room.
    pub(crate) fn health_apart_from_room(&self) -> Health {
        if self.counters.failures.load(Ordering::Relaxed) > 0 { Health::Degraded } else { Health::Good }
    }

    pub(crate) fn figures(&self) -> Figures {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let index = self.index();
        Figures {
            stored: get(&counters.stored),
            messages: u64::from(index.slots.len()),
            live_bytes: index.live_bytes(),
            commits: get(&counters.commits),
            written_bytes: get(&counters.written_bytes),
            payload_bytes: get(&counters.payload_bytes),
            writes: get(&counters.writes),
            moved_bytes: get(&counters.moved_bytes),
            outcomes: get(&counters.outcomes),
            segments: index.segments.len() as u64,
            free_segments: index.free.len() as u64,
            released: get(&counters.released),
            failures: get(&counters.failures),
            damaged: get(&counters.damaged),
            read_errors: get(&counters.read_errors),
        }
    }

    /// These chunks are not wanted any more.
    pub(crate) fn abandon(&self, chunks: &[ChunkAt]) {
        let mut index = self.index();
        chunks.iter().for_each(|chunk| index.close_chunk(*chunk, Ending::Abandoned));
    }

    /// Makes one more segment file of zeros, unless `wanted` are free by then or the volume has all it may have.
    ///
    /// # Errors
    /// `QuotaExceeded` at the configured bound; those of the disk.
    pub(crate) fn make_segment(&self, wanted: usize) -> io::Result<()> {
        let _alone = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = self.options.segment_bytes;
        let number = {
            let mut index = self.index();
            if index.free.len() >= wanted {
                return Ok(());
            }
            if (index.files() as u64 + 1) * u64::from(bytes) > self.options.volume_bytes_max {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            index.last_number += 1;
            super::segment::FileNumber(index.last_number)
        };
        let made = SegmentFile::create(&*self.disk, &self.directory, number, bytes);
        let mut index = self.index();
        match made {
            Ok(file) => index.free.push_back(file),
            Err(error) => {
                if index.last_number == number.0 && error.kind() != io::ErrorKind::AlreadyExists {
                    index.last_number -= 1;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Reads the Accept record that `key` names, and checks it; the bytes begin with its header. One read of the disk, unless compaction moves the record
    /// at this very moment.
    pub(crate) fn read_message(&self, key: SlotKey) -> Result<Vec<u8>, ReadError> {
        let mut last = Place::default();
        loop {
            let (place, len, file) = {
                let index = self.index();
                let slot = index.slots.get(key).ok_or(ReadError::Gone)?;
                let segment = index.segments.get(&slot.place.serial).ok_or(ReadError::Gone)?;
                (slot.place, slot.len8 as usize * 8, segment.file.clone())
            };
            match self.read_record(&file, place, len) {
                Err(ReadError::Damaged) if place != last => last = place,
                Err(ReadError::Damaged) => {
                    self.note_damage(&file, place, len);
                    return Err(ReadError::Damaged);
                }
                result => return result,
            }
        }
    }

    /// Quarantines a damaged record and counts it once.
    pub(crate) fn note_damage(&self, file: &SegmentFile, place: Place, len: usize) {
        if self.quarantine_at(file, place, len) == Quarantined::Now {
            count(&self.counters.damaged, 1);
        }
    }

    /// Reads the record at `place` and checks all of it.
    pub(crate) fn read_record(&self, file: &SegmentFile, place: Place, len: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; len];
        if read_exact_at(&*file.file, &mut bytes, place.offset()).is_err() {
            count(&self.counters.read_errors, 1);
            return Err(ReadError::Disk);
        }
        let sound = parse(&bytes, Some(place.serial)).and_then(|record| record.body().map(|_| ()));
        if sound.is_ok() { Ok(bytes) } else { Err(ReadError::Damaged) }
    }

    /// Copies `len` bytes at `place` into the quarantine, under a name that tells segment and offset.
    pub(crate) fn quarantine_at(&self, file: &SegmentFile, place: Place, len: usize) -> Quarantined {
        let directory = self.directory.join("quarantine");
        let name = format!("{:06}-{:010}-{:08}.rec", file.number.0, place.serial, place.offset());
        let _ = self.disk.create_directory(&directory);
        match self.disk.open(&directory.join(name), Access::CreateNew) {
            Ok(copy) => {
                let mut bytes = vec![0; len];
                let read = crate::disk::read_up_to(&*file.file, &mut bytes, place.offset()).unwrap_or(0);
                // Best effort: the disk may be the very one that fails. The count tells of it in any case.
                let _ = write_all_at(&*copy, &bytes[..read], 0).and_then(|()| copy.sync());
                Quarantined::Now
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Quarantined::Before,
            Err(_) => Quarantined::Now,
        }
    }
}

/// Whether damaged bytes were met for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quarantined {
    Now,
    Before,
}
