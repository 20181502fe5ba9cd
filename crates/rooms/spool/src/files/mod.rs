//! The files store: two files a message in 256 hashed directories, durable by syncing files and directory.
//!
//! ```text
//!  store ──► swap-out pool: .msg, sync; .env, sync, rename; sync directory ──► 250
//!  outcome ──► lane ──► clerk thread: rewrites .env, or removes both files; syncs each directory once a batch
//!  fetch ──► swap-in pool
//! ```
//! For operators who want to look at their queue with `ls` and `less`. It costs five syncs a message where the journal
//! shares one among a hundred: some thousand messages a second at best.

mod clerk;
pub(crate) mod export;
mod handle;
mod layout;

pub use handle::{FilesHandle, FilesSeat, FilesStream};

use crate::disk::{Access, Disk, RealDisk, read_file, read_up_to, write_all_at};
use crate::journal::record::{Entry, Fate, Place};
use crate::journal::{OpenError, RecoveredMessage, SlotKey, Slots};
use clerk::Clerk;
use fabric::{Slice, doorbell, lane};
use foldhash::{HashMap, HashMapExt};
use layout::{DIRECTORIES, EnvelopeFile, NO_PLACE, Paths, directory_name, envelope_id};
use message::{Body, Content, Message, MessageId, StoreError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Content above this is not read back with the message, but piece by piece.
const LARGE_BYTES: u64 = 1 << 20;

/// A running files store. Dropping it stops it, as [`Files::close`] does.
pub struct Files {
    shared: Arc<Shared>,
    bell: fabric::Ringer,
    clerk: Option<thread::JoinHandle<()>>,
}

/// What [`Files::open`] gives.
pub struct FilesOpened {
    /// The service.
    pub files: Files,
    /// One for each event loop, in order.
    pub seats: Vec<FilesSeat>,
    /// The messages that were there.
    pub recovered: Vec<RecoveredMessage>,
    /// Envelope files that are damaged; they were moved to `quarantine/`.
    pub damaged: u64,
}

/// What all threads share: the table is locked by pool threads and the clerk, never by an event loop.
pub(crate) struct Shared {
    disk: Arc<dyn Disk>,
    base: PathBuf,
    table: Mutex<Table>,
    stopping: AtomicBool,
    damaged: AtomicU64,
    _lock: Box<dyn Send + Sync>,
}

struct Table {
    slots: Slots,
    ids: HashMap<u32, MessageId>,
}

impl Files {
    /// Opens or makes the store in `directory` for `loops` event loops. Reads every envelope that is there.
    ///
    /// # Errors
    /// See [`OpenError`].
    ///
    /// # Panics
    /// Never; the thread that cannot be started is an error.
    pub fn open(directory: &Path, loops: usize) -> Result<FilesOpened, OpenError> {
        Self::open_on(Arc::new(RealDisk), directory, loops)
    }

    /// As [`Files::open`], on a disk of one's own.
    ///
    /// # Errors
    /// As [`Files::open`].
    pub fn open_on(disk: Arc<dyn Disk>, directory: &Path, loops: usize) -> Result<FilesOpened, OpenError> {
        let failed = |source| OpenError::Disk { directory: directory.to_path_buf(), source };
        disk.create_directory(directory).map_err(failed)?;
        let lock = disk.lock(&directory.join("lock")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked { directory: directory.to_path_buf() },
            _ => failed(error),
        })?;
        let mut table = Table { slots: Slots::new(), ids: HashMap::new() };
        let (recovered, damaged) = restore(&*disk, directory, &mut table).map_err(failed)?;
        let shared = Arc::new(Shared {
            disk,
            base: directory.to_path_buf(),
            table: Mutex::new(table),
            stopping: AtomicBool::new(false),
            damaged: AtomicU64::new(damaged),
            _lock: lock,
        });
        let (ringer, bell) = doorbell();
        let (senders, lanes): (Vec<_>, Vec<_>) = (0..loops).map(|_| lane(1024, ringer.clone())).unzip();
        let clerk = Clerk::new(Arc::clone(&shared), bell, lanes);
        let clerk = thread::Builder::new().name("spool-clerk".into()).spawn(move || clerk.run()).map_err(failed)?;
        let seats = senders.into_iter().map(|sender| FilesSeat::new(Arc::clone(&shared), sender)).collect();
        Ok(FilesOpened { files: Self { shared, bell: ringer, clerk: Some(clerk) }, seats, recovered, damaged })
    }

    /// Messages held.
    pub fn messages(&self) -> u64 {
        u64::from(self.shared.table().slots.len())
    }

    /// Files found damaged since the start, at it included.
    pub fn damaged(&self) -> u64 {
        self.shared.damaged.load(Ordering::Relaxed)
    }

    /// Makes all outcomes durable and ends the thread. What handles ask for afterwards is refused.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.bell.ring();
        if let Some(clerk) = self.clerk.take() {
            // A thread that panicked has said so; the files are what counts.
            let _ = clerk.join();
        }
    }
}

/// Reads what is there; makes the directories, and removes what never became a message.
fn restore(disk: &dyn Disk, base: &Path, table: &mut Table) -> io::Result<(Vec<RecoveredMessage>, u64)> {
    let (mut recovered, mut damaged) = (Vec::new(), 0);
    for n in 0..DIRECTORIES {
        let directory = base.join(directory_name(n));
        disk.create_directory(&directory)?;
        for name in disk.list(&directory)? {
            let Some(id) = envelope_id(&name) else {
                remove_orphan(disk, &directory, &name);
                continue;
            };
            let paths = Paths::new(base, id);
            match EnvelopeFile::decode(&read_file(disk, &paths.envelope)?).and_then(|file| adopt(table, id, &file)) {
                Some(Adopted::Live(message)) => recovered.push(message),
                Some(Adopted::Done) => remove(disk, &paths),
                None => {
                    damaged += 1;
                    quarantine(disk, base, &paths);
                }
            }
        }
    }
    disk.sync_directory(base)?;
    Ok((recovered, damaged))
}

enum Adopted {
    Live(RecoveredMessage),
    Done,
}

fn adopt(table: &mut Table, id: MessageId, file: &EnvelopeFile) -> Option<Adopted> {
    let message = file.message(id)?;
    let recipients = message.envelope.recipients.len() as u16;
    let key = table.slots.insert(Place { serial: 1, offset8: 0 }, 0, recipients, None);
    table.ids.insert(key.slot, id);
    for entry in &file.entries {
        if let Fate::Recipient(outcome) = entry.fate {
            table.slots.settle(key, entry.recipient, outcome);
        }
    }
    let recipients = table.slots.remaining(key);
    if recipients.is_empty() {
        table.forget(key);
        return Some(Adopted::Done);
    }
    Some(Adopted::Live(RecoveredMessage { key: key.store_key(0), message: Arc::new(message), recipients }))
}

/// Content without an envelope and drafts were never answered for.
fn remove_orphan(disk: &dyn Disk, directory: &Path, name: &str) {
    let is_draft = name.ends_with(".tmp");
    let lacks_envelope = name.strip_suffix(".msg").is_some_and(|id| {
        let envelope = directory.join(format!("{id}.env"));
        disk.open(&envelope, Access::Read).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    });
    if is_draft || lacks_envelope {
        let _ = disk.remove(&directory.join(name));
    }
}

/// Removes a message's files, the one that makes it exist first.
fn remove(disk: &dyn Disk, paths: &Paths) {
    let _ = disk.remove(&paths.envelope);
    let _ = disk.remove(&paths.content);
}

fn quarantine(disk: &dyn Disk, base: &Path, paths: &Paths) {
    let directory = base.join("quarantine");
    let _ = disk.create_directory(&directory);
    for path in [&paths.envelope, &paths.content] {
        if let Some(name) = path.file_name() {
            let _ = disk.rename(path, &directory.join(name));
        }
    }
}

impl Table {
    fn forget(&mut self, key: SlotKey) -> Option<MessageId> {
        self.slots.remove(key)?;
        self.ids.remove(&key.slot)
    }

    fn id(&self, key: SlotKey) -> Option<MessageId> {
        self.slots.get(key).and_then(|_| self.ids.get(&key.slot)).copied()
    }
}

/// Why a disk refused, as the client is told.
fn refused(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        io::ErrorKind::NotFound => StoreError::Missing,
        _ => StoreError::Failed,
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes both files and takes the message up.
    fn store(&self, message: &Message) -> Result<SlotKey, StoreError> {
        let paths = Paths::new(&self.base, message.id);
        let written = self.write_content(message, &paths).and_then(|crc| self.commit(message, crc, &paths));
        written.inspect_err(|_| remove(&*self.disk, &paths))
    }

    fn write_content(&self, message: &Message, paths: &Paths) -> Result<u32, StoreError> {
        let write = || {
            let file = self.disk.open(&paths.content, Access::CreateNew)?;
            let (mut offset, mut crc) = (0, 0);
            if let Content::Resident(body) = &message.content {
                for slice in body.slices() {
                    write_all_at(&*file, slice, offset)?;
                    offset += slice.len() as u64;
                    crc = crc32c::crc32c_append(crc, slice);
                }
            }
            file.sync()?;
            Ok(crc)
        };
        write().map_err(|error: io::Error| refused(&error))
    }

    /// The content is durable: makes the message exist.
    fn commit(&self, message: &Message, crc: u32, paths: &Paths) -> Result<SlotKey, StoreError> {
        EnvelopeFile::new(message, crc).write(&*self.disk, paths).map_err(|error| refused(&error))?;
        let mut table = self.table();
        let recipients = message.envelope.recipients.len() as u16;
        let key = table.slots.insert(Place { serial: 1, offset8: 0 }, 0, recipients, None);
        table.ids.insert(key.slot, message.id);
        Ok(key)
    }

    fn paths(&self, key: SlotKey) -> Result<(MessageId, Paths), StoreError> {
        let id = self.table().id(key).ok_or(StoreError::Missing)?;
        Ok((id, Paths::new(&self.base, id)))
    }

    fn fetch(&self, key: SlotKey) -> Result<Arc<Message>, StoreError> {
        let (id, paths) = self.paths(key)?;
        let bytes = read_file(&*self.disk, &paths.envelope).map_err(|error| refused(&error))?;
        let file = EnvelopeFile::decode(&bytes);
        let Some((file, mut message)) = file.and_then(|file| file.message(id).map(|message| (file, message))) else {
            return Err(self.damaged(&paths));
        };
        if file.content_len > LARGE_BYTES {
            return Ok(Arc::new(message));
        }
        let content = read_file(&*self.disk, &paths.content).map_err(|error| refused(&error))?;
        if content.len() as u64 != file.content_len || crc32c::crc32c(&content) != file.content_crc {
            return Err(self.damaged(&paths));
        }
        message.content = Content::Resident(Body::from(Slice::from_vec(content)));
        Ok(Arc::new(message))
    }

    fn damaged(&self, paths: &Paths) -> StoreError {
        self.damaged.fetch_add(1, Ordering::Relaxed);
        quarantine(&*self.disk, &self.base, paths);
        StoreError::Missing
    }

    fn read(&self, key: SlotKey, offset: u64, max: usize) -> Result<Slice, StoreError> {
        let (_, paths) = self.paths(key)?;
        let read = || {
            let file = self.disk.open(&paths.content, Access::Read)?;
            let left = file.length()?.saturating_sub(offset);
            let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(max)];
            let read = read_up_to(&*file, &mut bytes, offset)?;
            bytes.truncate(read);
            Ok(Slice::from_vec(bytes))
        };
        read().map_err(|error: io::Error| refused(&error))
    }

    /// Writes what is known of a message's recipients.
    fn rewrite(&self, key: SlotKey) -> Result<(), StoreError> {
        let (_, paths) = self.paths(key)?;
        let bytes = read_file(&*self.disk, &paths.envelope).map_err(|error| refused(&error))?;
        let Some(mut file) = EnvelopeFile::decode(&bytes) else { return Err(self.damaged(&paths)) };
        let mut entries: Vec<Entry> = Vec::new();
        self.table().slots.entries(key, NO_PLACE, &mut entries);
        file.entries = entries;
        file.write(&*self.disk, &paths).map_err(|error| refused(&error))
    }
}
