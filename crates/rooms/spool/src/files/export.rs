//! Messages on their way between a journal and a directory of the files layout.
//!
//! Export is called by [`crate::tools::export`]. Import drives the volumes of a journal directly, without threads: the
//! server must be stopped, which the volumes' locks see to. It is safe to repeat: a message that is there is skipped.

use super::layout::{DIRECTORIES, EnvelopeFile, NO_PLACE, Paths, directory_name, envelope_id};
use crate::disk::{Disk, RealDisk};
use crate::journal::record::{Entry, Fate};
use crate::journal::{
    Completion, Lock, Mail, OpenError, Recovered, RemainingRecipient, Request, Restored, SlotKey, Stored, Ticket,
    Volume, open_volume,
};
use crate::tools::CopyError;
use crate::{Options, spread};
use fabric::Slice;
use message::{Body, Content, Message, MessageId, Outcome, StoreError};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// A message with what is left to do for it.
pub(crate) struct Exported<'a> {
    pub(crate) message: &'a Message,
    pub(crate) recipients: &'a [RemainingRecipient],
}

/// Counts the checksum of what passes.
struct Summed<W> {
    out: W,
    crc: u32,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.crc = crc32c::crc32c_append(self.crc, &bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes the two files of a message under `base`; `copy` writes the content.
pub(crate) fn write_message(
    base: &Path,
    exported: Exported<'_>,
    copy: impl FnOnce(&Message, &mut dyn Write) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let message = exported.message;
    let paths = Paths::new(base, message.id);
    std::fs::create_dir_all(&paths.directory)?;
    let mut content = Summed { out: io::BufWriter::new(File::create(&paths.content)?), crc: 0 };
    copy(message, &mut content)?;
    content.flush()?;
    let mut file = EnvelopeFile::new(message, content.crc);
    for recipient in 0..message.envelope.recipients.len() as u16 {
        let left = exported.recipients.iter().find(|left| left.recipient == recipient);
        let outcome = match left {
            None => Outcome::Delivered,
            Some(left) if left.attempts > 0 => Outcome::Deferred { until: left.not_before, attempts: left.attempts },
            Some(_) => continue,
        };
        file.entries.push(Entry { target: NO_PLACE, recipient, fate: Fate::Recipient(outcome) });
    }
    Ok(file.write(&RealDisk, &paths)?)
}

/// What [`import`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Messages taken over.
    pub imported: u64,
    /// Messages that were in the journal already.
    pub skipped: u64,
    /// Envelope files that are damaged or whose content is; they stay where they are.
    pub damaged: Vec<PathBuf>,
}

/// Why an import ended early. What was imported before is durable.
#[derive(Debug)]
pub enum ImportError {
    /// The journal could not be opened.
    Open(OpenError),
    /// The directory could not be read.
    Read(io::Error),
    /// The journal refused a message.
    Store(StoreError),
}

impl std::fmt::Display for ImportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Read(_) => f.write_str("cannot read the messages to be imported"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ImportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            Self::Open(error) => Some(error),
            Self::Store(_) => None,
        }
    }
}

/// A volume without threads.
struct Target {
    volume: Volume,
    ids: HashSet<MessageId>,
    chunk_bytes: usize,
    large_bytes: u64,
    _lock: Lock,
}

/// Takes over all messages of a directory in the files layout into a journal whose server is stopped.
///
/// # Errors
/// See [`ImportError`].
pub fn import(directory: &Path, options: &Options) -> Result<ImportReport, ImportError> {
    let options = options.clone().fitted().map_err(ImportError::Open)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut targets = Vec::new();
    for (number, volume) in options.volumes.iter().enumerate() {
        let (lock, restored) = open_volume(number as u8, volume, &disk, &options).map_err(ImportError::Open)?;
        targets.push(Target::new(lock, restored, &options));
    }
    let mut report = ImportReport::default();
    for n in 0..DIRECTORIES {
        let part = directory.join(directory_name(n));
        let names = match std::fs::read_dir(&part) {
            Ok(entries) => entries.collect::<Result<Vec<_>, _>>().map_err(ImportError::Read)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(ImportError::Read(error)),
        };
        for id in names.iter().filter_map(|entry| envelope_id(&entry.file_name().to_string_lossy())) {
            let at = spread(id) as usize % targets.len();
            targets[at].import(directory, id, &mut report)?;
        }
    }
    for mut target in targets {
        target.volume.close(Instant::now(), &mut Vec::new());
    }
    Ok(report)
}

impl Target {
    fn new(lock: Lock, restored: Restored, options: &Options) -> Self {
        let mut volume = Volume::new(Arc::clone(&restored.shared), restored.commit, restored.voids);
        volume.start(Instant::now());
        let mut recovered = Recovered::default();
        recovered.add(restored.shared, restored.lookup);
        let ids = recovered.map(|found| found.message.id).collect();
        let (chunk_bytes, large_bytes) = (options.chunk_bytes as usize, u64::from(options.large_message_bytes));
        Self { volume, ids, chunk_bytes, large_bytes, _lock: lock }
    }

    fn import(&mut self, base: &Path, id: MessageId, report: &mut ImportReport) -> Result<(), ImportError> {
        if !self.ids.insert(id) {
            report.skipped += 1;
            return Ok(());
        }
        let paths = Paths::new(base, id);
        let bytes = std::fs::read(&paths.envelope).map_err(ImportError::Read)?;
        let file = EnvelopeFile::decode(&bytes);
        let Some((file, message)) = file.and_then(|file| file.message(id).map(|message| (file, message))) else {
            report.damaged.push(paths.envelope);
            return Ok(());
        };
        let sum = File::open(&paths.content).and_then(checksum).map_err(ImportError::Read)?;
        if sum != (file.content_len, file.content_crc) {
            report.damaged.push(paths.content);
            return Ok(());
        }
        let key = self.store(message, &paths.content)?;
        for entry in &file.entries {
            if let Fate::Recipient(outcome) = entry.fate {
                self.volume.handle(Request::Outcome { key, recipient: entry.recipient, outcome }, Instant::now());
            }
        }
        report.imported += 1;
        Ok(())
    }

    fn store(&mut self, message: Message, content: &Path) -> Result<SlotKey, ImportError> {
        let ticket = Ticket { port: 0, seat: 0 };
        let mut file = File::open(content).map_err(ImportError::Read)?;
        let stored = if message.content.len() <= self.large_bytes {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(ImportError::Read)?;
            let content = Content::Resident(Body::from(Slice::from_vec(bytes)));
            self.commit(Mail::Message { message: Arc::new(Message { content, ..message }), ticket })?
        } else {
            let chunks = self.store_chunks(message.id, file)?;
            let (stream, chunks) = (message.id, chunks.into_boxed_slice());
            self.commit(Mail::Commit { message: Arc::new(message), stream, chunks, ticket })?
        };
        match stored {
            Stored::Message(key) => Ok(SlotKey::of(key).1),
            Stored::Chunk(_) => Err(ImportError::Store(StoreError::Failed)),
        }
    }

    fn store_chunks(&mut self, stream: MessageId, mut file: File) -> Result<Vec<crate::journal::ChunkAt>, ImportError> {
        let mut chunks = Vec::new();
        loop {
            let mut bytes = Vec::new();
            Read::by_ref(&mut file).take(self.chunk_bytes as u64).read_to_end(&mut bytes).map_err(ImportError::Read)?;
            if bytes.is_empty() {
                return Ok(chunks);
            }
            let (number, body) = (chunks.len() as u32, Body::from(Slice::from_vec(bytes)));
            match self.commit(Mail::Chunk { stream, number, body, ticket: Ticket { port: 0, seat: 0 } })? {
                Stored::Chunk(chunk) => chunks.push(chunk),
                Stored::Message(_) => return Err(ImportError::Store(StoreError::Failed)),
            }
        }
    }

    /// Makes one request durable.
    fn commit(&mut self, mail: Mail) -> Result<Stored, ImportError> {
        let mut done: Vec<Completion> = Vec::new();
        self.volume.handle(Request::Mail(mail), Instant::now());
        while done.is_empty() {
            self.volume.commit(Instant::now(), &mut done);
        }
        done.swap_remove(0).result.map_err(ImportError::Store)
    }
}

/// Number of octets and checksum.
fn checksum(mut file: File) -> io::Result<(u64, u32)> {
    let mut buffer = vec![0; 256 << 10];
    let (mut len, mut crc) = (0, 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((len, crc)),
            n => {
                len += n as u64;
                crc = crc32c::crc32c_append(crc, &buffer[..n]);
            }
        }
    }
}
