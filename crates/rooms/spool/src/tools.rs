//! Tools for operators: they look at a journal without changing it, while its server runs or after it stopped.
//!
//! A [`View`] is a restart that writes nothing. What the server does meanwhile may or may not be in it: a message that
//! ends while it is looked at is reported as missing, and a batch that is being written shows as a torn tail.
//! [`import`] is the one that writes, and wants the server stopped.

use crate::Options;
use crate::disk::{Access, Disk, DiskFile, RealDisk};
use crate::files::export::{Exported, write_message};
use crate::journal::{
    Damage, IndexFiles, Recovered, RecoveredMessage, RecoveryReport, RemainingRecipient, Shared, SlotKey, restore,
};
use message::{Content, Message, MessageId, StoreError, StoreKey};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crate::files::export::{ImportError, ImportReport, import};

/// Octets of a large message that are read at a time.
const READ_BYTES: usize = 256 << 10;

/// What a journal's volumes hold at one moment.
pub struct View {
    volumes: Vec<Arc<Shared>>,
    messages: Recovered,
    /// What was found, by volume.
    pub reports: Vec<RecoveryReport>,
}

impl View {
    /// Looks at the volumes in these directories.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open(volumes: &[PathBuf]) -> io::Result<Self> {
        Self::look(volumes, IndexFiles::Trusted)
    }

    fn look(volumes: &[PathBuf], index_files: IndexFiles) -> io::Result<Self> {
        let disk: Arc<dyn Disk> = Arc::new(ReadOnlyDisk(RealDisk));
        let options = Options::new(volumes.to_vec());
        let mut view = Self { volumes: Vec::new(), messages: Recovered::default(), reports: Vec::new() };
        for (number, directory) in volumes.iter().enumerate() {
            let restored = restore(number as u8, directory, &disk, &options, index_files)?;
            view.messages.add(Arc::clone(&restored.shared), restored.lookup);
            view.volumes.push(restored.shared);
            view.reports.push(restored.report);
        }
        Ok(view)
    }

    /// The next message with recipients left; without its octets, which [`View::fetch`] and [`View::copy`] read.
    pub fn next_message(&mut self) -> Option<RecoveredMessage> {
        self.messages.next()
    }

    /// The first message that `text` names: the 32 digits of an id, or its printed form. Looks at what
    /// [`View::next_message`] has not given yet.
    pub fn find(&mut self, text: &str) -> Option<RecoveredMessage> {
        let full = MessageId::parse_full(text);
        self.messages.by_ref().find(|found| Some(found.message.id) == full || found.message.id.to_string() == text)
    }

    /// Reads a message back.
    ///
    /// # Errors
    /// `Missing` when it is gone or damaged, `Failed` when the disk does not give it.
    pub fn fetch(&self, key: StoreKey) -> Result<Arc<Message>, StoreError> {
        let (volume, slot) = SlotKey::of(key);
        self.volumes.get(volume as usize).ok_or(StoreError::Missing)?.fetch(slot)
    }

    /// Writes trace and content of a message to `out`, as they would be sent.
    ///
    /// # Errors
    /// [`CopyError`].
    pub fn copy(&self, key: StoreKey, out: &mut dyn Write) -> Result<(), CopyError> {
        let message = self.fetch(key)?;
        out.write_all(&message.trace)?;
        self.copy_content(key, &message, out)
    }

    fn copy_content(&self, key: StoreKey, message: &Message, out: &mut dyn Write) -> Result<(), CopyError> {
        let len = match &message.content {
            Content::Resident(body) => {
                for slice in body.slices() {
                    out.write_all(slice)?;
                }
                return Ok(());
            }
            Content::Spooled { len } => *len,
        };
        let (volume, slot) = SlotKey::of(key);
        let shared = self.volumes.get(volume as usize).ok_or(StoreError::Missing)?;
        let mut offset = 0;
        while offset < len {
            let piece = shared.read_content(slot, offset, READ_BYTES)?;
            if piece.is_empty() {
                return Err(StoreError::Missing.into());
            }
            out.write_all(&piece)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }
}

/// A message could not be copied out.
#[derive(Debug)]
pub enum CopyError {
    /// The journal did not give it.
    Store(StoreError),
    /// It could not be written where it was to go.
    Write(io::Error),
}

impl std::fmt::Display for CopyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Write(_) => f.write_str("cannot write the copy"),
        }
    }
}

impl std::error::Error for CopyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(_) => None,
            Self::Write(error) => Some(error),
        }
    }
}

impl From<StoreError> for CopyError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Reads and verifies every byte of the volumes, index files not believed. Damage counts only if a second look finds it
/// too: a running server may have been writing at the first.
///
/// # Errors
/// Those of the disk.
pub fn check(volumes: &[PathBuf]) -> io::Result<Vec<RecoveryReport>> {
    let mut reports = View::look(volumes, IndexFiles::Ignored)?.reports;
    if reports.iter().any(|report| report.damaged > 0) {
        let again = View::look(volumes, IndexFiles::Ignored)?.reports;
        for (report, again) in reports.iter_mut().zip(&again) {
            report.damages.retain(|damage: &Damage| again.damages.contains(damage));
            report.damaged = report.damaged.min(again.damaged);
        }
    }
    Ok(reports)
}

/// How messages are written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportForm {
    /// The layout of the files store: envelope and content, readable by [`import`] and by the files store itself.
    TwoFiles,
    /// `<id>.eml` with trace and content; the envelope is left behind.
    Eml,
}

/// What [`export`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportReport {
    /// Messages written.
    pub written: u64,
    /// Messages that ended meanwhile, or are damaged.
    pub missing: u64,
}

/// Writes every message of the view into `directory`.
///
/// # Errors
/// Those of writing; what a message in the journal lacks is counted instead.
pub fn export(view: &mut View, directory: &Path, form: ExportForm) -> io::Result<ExportReport> {
    let mut report = ExportReport::default();
    std::fs::create_dir_all(directory)?;
    while let Some(found) = view.next_message() {
        let written = match form {
            ExportForm::TwoFiles => {
                let copy = |message: &Message, out: &mut dyn Write| view.copy_content(found.key, message, out);
                view.fetch(found.key).map_err(CopyError::from).and_then(|message| {
                    write_message(directory, Exported { message: &message, recipients: &found.recipients }, copy)
                })
            }
            ExportForm::Eml => {
                let mut file = std::fs::File::create(directory.join(format!("{}.eml", found.message.id.full())))?;
                view.copy(found.key, &mut file)
            }
        };
        match written {
            Ok(()) => report.written += 1,
            Err(CopyError::Store(_)) => report.missing += 1,
            Err(CopyError::Write(error)) => return Err(error),
        }
    }
    Ok(report)
}

/// Writes one message with one recipient as two files into `directory`, for [`import`]; `copy` writes its content.
///
/// # Errors
/// Those of writing, and of `copy`.
pub fn write_out(
    directory: &Path,
    message: &Message,
    left: RemainingRecipient,
    copy: impl FnOnce(&Message, &mut dyn Write) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    write_message(directory, Exported { message, recipients: &[left] }, copy)
}

/// A disk on which nothing changes.
struct ReadOnlyDisk(RealDisk);

struct ReadOnlyFile(Arc<dyn DiskFile>);

fn refuse() -> io::Error {
    io::ErrorKind::ReadOnlyFilesystem.into()
}

impl Disk for ReadOnlyDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        match access {
            Access::Read | Access::Write => Ok(Arc::new(ReadOnlyFile(self.0.open(path, Access::Read)?))),
            Access::CreateNew | Access::Replace => Err(refuse()),
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.0.list(directory)
    }

    fn create_directory(&self, _directory: &Path) -> io::Result<()> {
        Err(refuse())
    }

    fn sync_directory(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        Err(refuse())
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(refuse())
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        Err(refuse())
    }
}

impl DiskFile for ReadOnlyFile {
    fn write_at(&self, _parts: &[IoSlice<'_>], _offset: u64) -> io::Result<usize> {
        Err(refuse())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}
