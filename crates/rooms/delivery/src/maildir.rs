//! Maildirs: a file in `tmp`, synced, then renamed into `new`, whose directory is synced once a batch.
//!
//! A name is made of the message's id and the number of its recipient, so that a delivery that a crash repeats replaces
//! the file it made before, unless a reader has taken that. Lines end in LF, as readers of maildirs expect.
//!
//! All of it runs in a pool; the event loop only reads spooled content, in pieces.

use crate::Neighbours;
use crate::room::Room;
use memchr::memchr_iter;
use message::{Content, Message, Reply, Spool, StoreKey};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Spooled content is read in pieces of this many octets.
const PIECE_BYTES: usize = 256 << 10;

/// A file to be written.
#[derive(Debug)]
pub(crate) struct Letter {
    key: StoreKey,
    message: Arc<Message>,
    name: String,
    /// Header lines that stand before the message.
    header: String,
}

/// Why a letter was not written.
#[derive(Debug)]
pub(crate) enum LetterError {
    /// The pool took no job, or the job panicked.
    Pool,
    /// The spool did not give the content.
    Spool,
    File(io::Error),
}

impl LetterError {
    /// What stands in logs. All of it may pass.
    pub(crate) fn reply(&self) -> Reply {
        match self {
            Self::Pool => Reply::new(451, "4.3.2 [internal] too many files waiting to be written"),
            Self::Spool => Reply::new(451, "4.3.0 [internal] message cannot be read from the spool"),
            Self::File(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Reply::new(452, "4.2.2 [internal] no room in the maildir")
                }
                _ => Reply { code: 451, text: format!("4.3.0 [internal] maildir: {error}").into() },
            },
        }
    }
}

impl Letter {
    pub(crate) fn new(message: &Arc<Message>, recipient: u16, key: StoreKey, host: &str) -> Self {
        let envelope = &message.envelope;
        let sender = envelope.sender.as_ref().map_or("", |sender| sender.as_str());
        let address =
            envelope.recipients.get(usize::from(recipient)).map_or("", |recipient| recipient.address.as_str());
        let host = host.replace(['/', ':'], "_");
        Self {
            key,
            name: format!("{}.{}_{recipient}.{host}", message.reception.at.seconds(), message.id.full()),
            header: format!("Return-Path: <{sender}>\nDelivered-To: {address}\n"),
            message: message.clone(),
        }
    }
}

/// Writes letters; the results are in their order.
pub(crate) async fn deliver<N: Neighbours>(
    room: &Rc<Room<N>>,
    path: &Arc<Path>,
    letters: Vec<Letter>,
) -> Vec<Result<(), LetterError>> {
    let mut results = Vec::with_capacity(letters.len());
    let mut resident = Vec::new();
    for letter in letters {
        if matches!(letter.message.content, Content::Spooled { .. }) {
            results.append(&mut deliver_resident(room, path, std::mem::take(&mut resident)).await);
            results.push(deliver_spooled(room, path, letter).await);
        } else {
            resident.push(letter);
        }
    }
    results.append(&mut deliver_resident(room, path, resident).await);
    results
}

async fn deliver_resident<N: Neighbours>(
    room: &Room<N>,
    path: &Arc<Path>,
    letters: Vec<Letter>,
) -> Vec<Result<(), LetterError>> {
    let count = letters.len();
    if count == 0 {
        return Vec::new();
    }
    let path = path.clone();
    let job = room.pool.run(move || write_all(&path, &letters));
    let failed = || (0..count).map(|_| Err(LetterError::Pool)).collect();
    match job {
        Ok(job) => job.await.unwrap_or_else(|_| failed()),
        Err(_) => failed(),
    }
}

fn write_all(path: &Path, letters: &[Letter]) -> Vec<Result<(), LetterError>> {
    let written: Vec<io::Result<()>> = letters.iter().map(|letter| write_one(path, letter)).collect();
    // Without this no file of the batch is sure to be there after a crash.
    let synced = if written.iter().any(Result::is_ok) { sync_new(path) } else { Ok(()) };
    let merge = |written: io::Result<()>| match (written, &synced) {
        (Err(error), _) => Err(LetterError::File(error)),
        (Ok(()), Err(error)) => Err(LetterError::File(io::Error::from(error.kind()))),
        (Ok(()), Ok(())) => Ok(()),
    };
    written.into_iter().map(merge).collect()
}

fn write_one(path: &Path, letter: &Letter) -> io::Result<()> {
    let mut draft = Draft::create(path, &letter.name)?;
    draft.write_header(letter)?;
    if let Content::Resident(body) = &letter.message.content {
        for slice in body.slices() {
            draft.write(slice)?;
        }
    }
    draft.finish()
}

async fn deliver_spooled<N: Neighbours>(room: &Room<N>, path: &Arc<Path>, letter: Letter) -> Result<(), LetterError> {
    let (directory, len, key) = (path.clone(), letter.message.content.len(), letter.key);
    let mut draft = in_pool(room, move || {
        let mut draft = Draft::create(&directory, &letter.name)?;
        draft.write_header(&letter)?;
        Ok(draft)
    })
    .await?;
    let mut at = 0;
    while at < len {
        let piece = room.spool.read(key, at, PIECE_BYTES).await.map_err(|_| LetterError::Spool)?;
        if piece.is_empty() {
            return Err(LetterError::Spool);
        }
        at += piece.len() as u64;
        draft = in_pool(room, move || {
            draft.write(&piece)?;
            Ok(draft)
        })
        .await?;
    }
    let directory = path.clone();
    in_pool(room, move || draft.finish().and_then(|()| sync_new(&directory))).await
}

async fn in_pool<N: Neighbours, T: Send + 'static>(
    room: &Room<N>,
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, LetterError> {
    let job = room.pool.run(job).map_err(|_| LetterError::Pool)?;
    job.await.map_err(|_| LetterError::Pool)?.map_err(LetterError::File)
}

/// A file in `tmp`. Dropping it unfinished removes it.
#[derive(Debug)]
struct Draft {
    file: BufWriter<File>,
    from: PathBuf,
    to: PathBuf,
    end: Cr,
}

/// Whether the last octet was a CR that has not been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cr {
    Pending,
    None,
}

impl Draft {
    /// Makes the file, and the maildir if there is none.
    fn create(path: &Path, name: &str) -> io::Result<Self> {
        let (from, to) = (path.join("tmp").join(name), path.join("new").join(name));
        let open = || OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&from);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                for part in ["tmp", "new", "cur"] {
                    DirBuilder::new().recursive(true).mode(0o700).create(path.join(part))?;
                }
                open()?
            }
            opened => opened?,
        };
        Ok(Self { file: BufWriter::with_capacity(16 << 10, file), from, to, end: Cr::None })
    }

    fn write_header(&mut self, letter: &Letter) -> io::Result<()> {
        self.write(letter.header.as_bytes())?;
        self.write(&letter.message.trace)
    }

    /// Appends octets, CRLF as LF.
    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        if octets.is_empty() {
            return Ok(());
        }
        if self.end == Cr::Pending && octets[0] != b'\n' {
            self.file.write_all(b"\r")?;
        }
        let mut from = 0;
        for at in memchr_iter(b'\r', octets) {
            if matches!(octets.get(at + 1), Some(b'\n') | None) {
                self.file.write_all(&octets[from..at])?;
                from = at + 1;
            }
        }
        self.file.write_all(&octets[from..])?;
        self.end = if octets.ends_with(b"\r") { Cr::Pending } else { Cr::None };
        Ok(())
    }

    /// The file is whole: syncs it and shows it to readers.
    fn finish(mut self) -> io::Result<()> {
        if self.end == Cr::Pending {
            self.file.write_all(b"\r")?;
        }
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        std::fs::rename(&self.from, &self.to)?;
        self.from = PathBuf::new();
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.from.as_os_str().is_empty() {
            // What cannot be removed is cleaned up by readers, as maildirs have it.
            let _ = std::fs::remove_file(&self.from);
        }
    }
}

fn sync_new(path: &Path) -> io::Result<()> {
    File::open(path.join("new"))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_at_any_split() {
        let directory = tempfile::tempdir().unwrap();
        let text = b"a\r\nb\rc\n\r\r\nd\r\n\r";
        for size in 1..=text.len() {
            let mut draft = Draft::create(directory.path(), "x").unwrap();
            for piece in text.chunks(size) {
                draft.write(piece).unwrap();
            }
            draft.finish().unwrap();
            assert_eq!(std::fs::read(directory.path().join("new/x")).unwrap(), b"a\nb\rc\n\r\nd\n\r", "{size}");
        }
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut draft = Draft::create(directory.path(), "x").unwrap();
        draft.write(b"half").unwrap();
        drop(draft);
        for part in ["tmp", "new"] {
            assert_eq!(std::fs::read_dir(directory.path().join(part)).unwrap().count(), 0);
        }
    }
}
