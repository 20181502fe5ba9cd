//! Whoever has the list's folder: the only one that changes list and files. Run by the thread of [`Store`](crate::Store),
//! or by a command when no server runs.
//!
//! The order of things: a change has its place reserved, then stands in the log, then the log is synced, then the list
//! shows it. What cannot be done leaves the list as it was.

use crate::address::Key;
use crate::batch::Batch;
use crate::entry::Second;
use crate::files::{self, END, Role, Writing};
use crate::list::{List, PARTITIONS};
use crate::load::{Loaded, OpenError, load};
use crate::table::ARENA_MAX;
use std::fs::File;
use std::io;
use std::ops::Add;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Changes that may wait to be shown: the list is changed for many at once.
pub(crate) const PENDING_MAX: usize = 1 << 18;
/// A log shorter than this is not worth a new base file, octets.
const COMPACT_MIN: u64 = 64 << 20;

/// What changes came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Entries that were not there before.
    pub added: u64,
    /// Entries that took the place of one with the same address and scope.
    pub replaced: u64,
    /// Entries that are there no more.
    pub removed: u64,
}

impl Add for Changes {
    type Output = Changes;
    fn add(self, other: Changes) -> Changes {
        Changes {
            added: self.added + other.added,
            replaced: self.replaced + other.replaced,
            removed: self.removed + other.removed,
        }
    }
}

/// What was found at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Entries of the list.
    pub entries: u64,
    /// Changes read from the log.
    pub changes: u64,
    /// Octets of a change that a crash had cut off; they are removed. Nobody was told that it was made.
    pub torn_octets: u64,
}

/// Why a change was not made.
#[derive(Debug)]
pub enum WriteError {
    /// One of the list's parts has no room; about 300 million entries are possible.
    Full,
    /// The system refused; nothing was changed.
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier change was not known to be on the disk, so that no further one is made. Look-ups go on.
    Stopped {
        /// The file.
        path: PathBuf,
    },
    /// So many changes wait that this one was not taken.
    Busy,
    /// The list is being closed.
    Closed,
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("suppression list: no room left; remove entries that are not needed"),
            Self::File { path, .. } => write!(f, "suppression list: cannot write {}", path.display()),
            Self::Stopped { path } => write!(
                f,
                "suppression list: writing {} failed before, so that nothing is changed until the next start",
                path.display()
            ),
            Self::Busy => f.write_str("suppression list: too many changes wait, try again"),
            Self::Closed => f.write_str("suppression list is being closed"),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    list: Arc<List>,
    folder: PathBuf,
    _lock: File,
    generation: u32,
    log: Writing,
    base_octets: u64,
    /// In the log, and not yet in the list.
    pending: Batch,
    /// Octets that each partition has or will have at most.
    reserved: Box<[usize]>,
    health: Health,
    compact_from: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Synced,
    /// The log has changes that are not synced.
    Written,
    /// Nobody knows what is on the disk.
    Unknown,
}

impl Keeper {
    /// Opens the list in `folder`, which is made if it is missing. `seed` is the key of a new list's hash, unknown to
    /// others; an old list has its own.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(folder: &Path, seed: [u8; 16], now: Second) -> Result<(Self, OpenReport), OpenError> {
        let failed = |source| OpenError::File { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::options().write(true).create(true).truncate(false).open(folder.join("lock"));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(OpenError::Locked { folder: folder.to_owned() }),
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        let Loaded { list, generation, log, base_octets, report } = load(folder, seed, now)?;
        let mut keeper = Self {
            list: Arc::new(list),
            folder: folder.to_owned(),
            _lock: lock,
            generation,
            log,
            base_octets,
            pending: Batch::new(),
            reserved: vec![0; PARTITIONS].into(),
            health: Health::Synced,
            compact_from: 0,
        };
        keeper.count_reserved();
        Ok((keeper, report))
    }

    /// The list, to be asked.
    pub fn list(&self) -> &Arc<List> {
        &self.list
    }

    /// Writes changes to the log. They are durable and seen after [`Keeper::publish`].
    ///
    /// # Errors
    /// See [`WriteError`]; none of the changes is made then.
    pub fn write(&mut self, batch: &Batch) -> Result<(), WriteError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.may_write()?;
        self.reserve(batch)?;
        if let Err(source) = self.log.append(batch.octets()) {
            if self.log.undo().is_err() {
                self.health = Health::Unknown;
            }
            return Err(WriteError::File { path: self.log.path.clone(), source });
        }
        self.health = Health::Written;
        self.pending.append(batch);
        Ok(())
    }

    fn may_write(&self) -> Result<(), WriteError> {
        match self.health {
            Health::Unknown => Err(WriteError::Stopped { path: self.log.path.clone() }),
            Health::Synced | Health::Written => Ok(()),
        }
    }

    /// Takes room for changes, or takes none.
    fn reserve(&mut self, batch: &Batch) -> Result<(), WriteError> {
        let mut taken = Vec::with_capacity(batch.len());
        for record in batch.records() {
            let (index, octets) = (self.list.partition_of(record.address), record.octets.len());
            if self.reserved[index] + octets > ARENA_MAX {
                taken.into_iter().for_each(|(index, octets): (usize, usize)| self.reserved[index] -= octets);
                return Err(WriteError::Full);
            }
            self.reserved[index] += octets;
            taken.push((index, octets));
        }
        Ok(())
    }

    fn count_reserved(&mut self) {
        for (index, reserved) in self.reserved.iter_mut().enumerate() {
            *reserved = self.list.partition(index).arena_octets();
        }
    }

    /// Whether so much waits to be shown that it should be.
    pub fn is_due(&self) -> bool {
        self.pending.len() >= PENDING_MAX
    }

    /// Whether anything waits to be shown.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Syncs the log and shows what was written.
    ///
    /// # Errors
    /// See [`WriteError`]; the list then shows nothing new, and takes no more changes.
    pub fn publish(&mut self, now: Second) -> Result<Changes, WriteError> {
        self.may_write()?;
        if self.health == Health::Written {
            if let Err(source) = self.log.sync() {
                self.health = Health::Unknown;
                return Err(WriteError::File { path: self.log.path.clone(), source });
            }
            self.health = Health::Synced;
        }
        let changes = self.list.publish(&self.pending, now);
        self.pending.clear();
        self.count_reserved();
        Ok(changes)
    }

    /// The removals of all that the list shows of an address.
    pub fn removals(&self, key: &Key) -> Batch {
        let mut batch = Batch::new();
        self.list.entries_of(key).iter().for_each(|entry| batch.remove(&entry.key, &entry.scope));
        batch
    }

    /// Whether the log has outgrown the base file.
    pub fn wants_compaction(&self) -> bool {
        self.log.length > self.base_octets.max(COMPACT_MIN).max(self.compact_from)
    }

    /// Writes a new base file and begins a new log, without what has expired. Takes about a second for ten million
    /// entries, during which the list is asked as usual.
    ///
    /// # Errors
    /// See [`WriteError`]; the old files then go on.
    pub fn compact(&mut self, now: Second) -> Result<(), WriteError> {
        self.publish(now)?;
        let generation = self.generation + 1;
        match self.next_generation(generation, now) {
            Ok((log, base_octets)) => {
                let old = std::mem::replace(&mut self.log, log);
                let old_base = files::path(&self.folder, Role::Base, self.generation);
                (self.generation, self.base_octets, self.compact_from) = (generation, base_octets, 0);
                // What cannot be removed now is removed at the next start.
                let _ = (std::fs::remove_file(&old.path), std::fs::remove_file(old_base));
                Ok(())
            }
            Err(source) => {
                self.compact_from = self.log.length + COMPACT_MIN;
                Err(WriteError::File { path: files::path(&self.folder, Role::Base, generation), source })
            }
        }
    }

    /// The files of another generation, durable; the base file's name, which makes it the newest, comes last.
    fn next_generation(&mut self, generation: u32, now: Second) -> io::Result<(Writing, u64)> {
        let key = *self.list.hash_key();
        let path = |role| files::path(&self.folder, role, generation);
        let preface = |role| files::preface(role, generation, &key);
        let temporary = path(Role::Base).with_extension("tmp");
        let mut base = Writing::create(temporary.clone(), &preface(Role::Base))?;
        let mut entries = 0_u64;
        for index in 0..PARTITIONS {
            let partition = self.list.partition(index).merged(&key, now);
            entries += partition.entries() as u64;
            let mut payload = (index as u32).to_le_bytes().to_vec();
            payload.extend_from_slice(partition.arena());
            base.append(&payload)?;
            self.list.set_partition(index, partition);
        }
        let end = [&END.to_le_bytes()[..], &entries.to_le_bytes()].concat();
        base.append(&end)?;
        base.sync()?;
        let log = Writing::create(path(Role::Log), &preface(Role::Log))?;
        log.sync()?;
        files::sync_folder(&self.folder)?;
        std::fs::rename(temporary, path(Role::Base))?;
        files::sync_folder(&self.folder)?;
        Ok((log, base.length))
    }
}
