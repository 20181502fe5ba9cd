//! The journal: segments that are written once with zeros and then overwritten for ever, one commit for many messages.
//!
//! ```text
//!                 ┌────────────── one volume ──────────────┐
//!  loop ─ Handle ─┤ lane ► writer ► segment, fdatasync     ├─ lane ► Pump ─ waiters of the loop
//!                 │            ▲ transfers                 │
//!                 │         keeper: free segments, index files, compaction
//!  swap-in pool ──┤ pread ◄ index (lock: once a batch, once a read)
//!                 └────────────────────────────────────────┘
//! ```
//! The bytes are described in `docs/formats/journal.md`; `record` and `segment` read and write them.

mod apply;
mod compaction;
mod handle;
mod index;
mod plan;
mod reader;
pub mod record;
mod recovered;
mod recovery;
pub mod segment;
mod shared;
#[cfg(test)]
mod sim_disk;
#[cfg(test)]
mod simulation;
mod slots;
mod stream;
mod upkeep;
mod volume;
mod waiters;
mod writer;

pub use handle::{JournalHandle, JournalSeat, Pump};
pub use recovered::{Recovered, RecoveredMessage};
pub use recovery::{Damage, RecoveryReport};
pub use shared::{Figures, Health};
pub use slots::RemainingRecipient;
pub(crate) use slots::{ChunkAt, Large, SlotKey, Slots};
pub use stream::JournalStream;

use crate::Options;
use crate::disk::{Disk, RealDisk};
use fabric::{doorbell, lane, lane_with_room_bell};
pub(crate) use recovery::{IndexFiles, Restored, restore};
pub(crate) use shared::Shared;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;
use upkeep::Keeper;
pub(crate) use volume::{Completion, Mail, Request, Stored, Ticket, Volume};
use writer::Writer;

/// Places in a lane's ring; more wait in the sender's overflow.
const LANE_SLOTS: usize = 1024;
/// Volumes that a key can name.
const VOLUMES_MAX: usize = 256;

/// Why the journal could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another server has the volume open.
    Locked {
        /// The volume's directory.
        directory: PathBuf,
    },
    /// The options name no volume, or too many.
    Volumes {
        /// How many they name; 1 to 256 are possible.
        volumes: usize,
    },
    /// The segment size is not possible.
    SegmentBytes {
        /// What was asked for; a multiple of 4 KiB from 64 KiB to 2 GiB is possible.
        bytes: u32,
    },
    /// The disk failed.
    Disk {
        /// The volume's directory.
        directory: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Locked { directory } => {
                write!(f, "journal volume {} is in use by another server", directory.display())
            }
            Self::Volumes { volumes } => write!(f, "a journal has 1 to {VOLUMES_MAX} volumes, not {volumes}"),
            Self::SegmentBytes { bytes } => {
                write!(f, "segment size {bytes} is not a multiple of 4 KiB between 64 KiB and 2 GiB")
            }
            Self::Disk { directory, .. } => write!(f, "cannot open journal volume {}", directory.display()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Disk { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A running journal: its threads. Dropping it stops them, as [`Journal::close`] does.
pub struct Journal {
    shared: Vec<Arc<Shared>>,
    stopping: Arc<AtomicBool>,
    bells: Vec<fabric::Ringer>,
    writers: Vec<thread::JoinHandle<()>>,
    keepers: Vec<thread::JoinHandle<()>>,
}

/// What [`Journal::open`] gives.
pub struct Opened {
    /// The service.
    pub journal: Journal,
    /// One for each event loop, in order.
    pub seats: Vec<JournalSeat>,
    /// The messages that were in the journal.
    pub recovered: Recovered,
    /// What the restart found, by volume.
    pub reports: Vec<RecoveryReport>,
}

impl Journal {
    /// Opens the volumes of `options` for `loops` event loops: recovers what is there and starts the threads.
    /// Blocks for as long as recovery takes.
    ///
    /// # Errors
    /// See [`OpenError`]. A full disk is none: the journal then opens with [`Health::Full`].
    pub fn open(options: Options, loops: usize) -> Result<Opened, OpenError> {
        Self::open_on(Arc::new(RealDisk), options, loops)
    }

    /// As [`Journal::open`], on a disk of one's own.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_on(disk: Arc<dyn Disk>, options: Options, loops: usize) -> Result<Opened, OpenError> {
        let options = options.fitted()?;
        let mut opening = Opening::new(loops);
        for (number, directory) in options.volumes.iter().enumerate() {
            let (lock, restored) = open_volume(number as u8, directory, &disk, &options)?;
            opening.add(lock, restored).map_err(|source| OpenError::Disk { directory: directory.clone(), source })?;
        }
        Ok(opening.finish())
    }

    /// How each volume is.
    pub fn health(&self) -> Vec<Health> {
        self.shared.iter().map(|shared| shared.health()).collect()
    }

    /// What each volume has done.
    pub fn figures(&self) -> Vec<Figures> {
        self.shared.iter().map(|shared| shared.figures()).collect()
    }

    /// Makes everything that was asked for durable, ends the threads, and gives the volumes free. What handles ask for
    /// afterwards is refused with `Stopping`.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.bells.iter().for_each(fabric::Ringer::ring);
        // Writers first: the segments that they seal get their index files from the keepers' last look.
        for thread in self.writers.drain(..).chain(self.keepers.drain(..)) {
            // A thread that panicked has said so on standard error; its volume reopens from what is durable.
            let _ = thread.join();
        }
        for shared in &self.shared {
            Keeper::new(Arc::clone(shared)).close();
        }
    }
}

pub(crate) type Lock = Box<dyn Send + Sync>;

pub(crate) fn open_volume(
    number: u8,
    directory: &Path,
    disk: &Arc<dyn Disk>,
    options: &Options,
) -> Result<(Lock, Restored), OpenError> {
    let failed = |source| OpenError::Disk { directory: directory.to_path_buf(), source };
    disk.create_directory(directory).map_err(failed)?;
    let lock = disk.lock(&directory.join("lock")).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { directory: directory.to_path_buf() },
        _ => failed(error),
    })?;
    let restored = recovery::restore(number, directory, disk, options, IndexFiles::Trusted).map_err(failed)?;
    Ok((lock, restored))
}

/// The parts while they are put together.
struct Opening {
    journal: Journal,
    seats: Vec<JournalSeat>,
    recovered: Recovered,
    reports: Vec<RecoveryReport>,
}

impl Opening {
    fn new(loops: usize) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let seats = (0..loops).map(|port| JournalSeat::new(port as u16, Arc::clone(&stopping))).collect();
        let (shared, bells, writers, keepers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let journal = Journal { shared, stopping, bells, writers, keepers };
        Self { journal, seats, recovered: Recovered::default(), reports: Vec::new() }
    }

    fn add(&mut self, lock: Lock, restored: Restored) -> io::Result<()> {
        let Restored { shared, report, voids, commit, lookup } = restored;
        let mut volume = Volume::new(Arc::clone(&shared), commit, voids);
        volume.start(Instant::now());
        self.recovered.add(Arc::clone(&shared), lookup);
        self.reports.push(report);
        let (writer_ringer, bell) = doorbell();
        let (keeper_ringer, keeper_bell) = doorbell();
        let mut requests = Vec::new();
        let mut completions = Vec::new();
        for seat in &mut self.seats {
            let (to_writer, request) = lane_with_room_bell(LANE_SLOTS, writer_ringer.clone(), seat.ringer());
            let (completion, to_loop) = lane(LANE_SLOTS, seat.ringer());
            requests.push(request);
            completions.push(completion);
            seat.add(to_writer, to_loop, Arc::clone(&shared));
        }
        let stopping = Arc::clone(&self.journal.stopping);
        let keeper = keeper_ringer.clone();
        let number = shared.volume;
        let writer = Writer { volume, bell, requests, completions, keeper, stopping: Arc::clone(&stopping), lock };
        self.journal
            .writers
            .push(thread::Builder::new().name(format!("journal-{number}")).spawn(move || writer.run())?);
        let (keeper, kept) = (Keeper::new(Arc::clone(&shared)), Arc::clone(&shared));
        let ringer = writer_ringer.clone();
        let keep = move || writer::keep(keeper, keeper_bell, &stopping, &kept, &ringer);
        self.journal.keepers.push(thread::Builder::new().name(format!("keeper-{number}")).spawn(keep)?);
        self.journal.shared.push(shared);
        self.journal.bells.extend([writer_ringer, keeper_ringer]);
        Ok(())
    }

    fn finish(self) -> Opened {
        let Self { journal, seats, recovered, reports } = self;
        Opened { journal, seats, recovered, reports }
    }
}
