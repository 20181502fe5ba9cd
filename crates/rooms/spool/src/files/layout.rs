//! The two files of a message: where they lie and what is in them. The page is `docs/formats/files.md`.
//!
//! ```text
//!  7c/0000…0001.msg     the content as it was received: read it with less
//!  7c/0000…0001.env     "PHENV1\r\n", u32 crc32c of the rest, u32 crc32c of the content, u64 octets of content,
//!                       u32 length and metadata, u32 length and trace, then outcome entries up to the end
//! ```
//! The `.env` file is what makes a message exist: it is written under another name, synced, renamed, and its directory
//! synced, after all that was done for the `.msg` file. Outcomes rewrite it whole the same way.

use crate::disk::{Access, Disk, write_all_at};
use crate::journal::record::{self, Entry, Place};
use fabric::Slice;
use message::{Message, MessageId, decode_meta, encode_meta};
use std::io;
use std::path::{Path, PathBuf};

/// Directories that messages are spread over.
pub(crate) const DIRECTORIES: u32 = 256;

const MAGIC: &[u8; 8] = b"PHENV1\r\n";

/// The name of directory `n`.
pub(crate) fn directory_name(n: u32) -> String {
    format!("{:02x}", n % DIRECTORIES)
}

/// The directory of a message.
fn directory_of(id: MessageId) -> String {
    directory_name(crate::spread(id))
}

/// The paths of one message.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) directory: PathBuf,
    /// The content.
    pub(crate) content: PathBuf,
    /// Everything else.
    pub(crate) envelope: PathBuf,
    /// Where `envelope` is written before it is renamed.
    pub(crate) draft: PathBuf,
}

impl Paths {
    pub(crate) fn new(base: &Path, id: MessageId) -> Self {
        let directory = base.join(directory_of(id));
        let file = |extension: &str| directory.join(format!("{}.{extension}", id.full()));
        Self { content: file("msg"), envelope: file("env"), draft: file("tmp"), directory }
    }
}

/// What an `.env` file holds.
#[derive(Clone, Debug)]
pub(crate) struct EnvelopeFile {
    pub(crate) meta: Vec<u8>,
    pub(crate) trace: Slice,
    pub(crate) content_len: u64,
    pub(crate) content_crc: u32,
    /// What became of the recipients so far.
    pub(crate) entries: Vec<Entry>,
}

impl EnvelopeFile {
    pub(crate) fn new(message: &Message, content_crc: u32) -> Self {
        let mut meta = Vec::new();
        encode_meta(message, &mut meta);
        let (trace, content_len) = (message.trace.clone(), message.content.len());
        Self { meta, trace, content_len, content_crc, entries: Vec::new() }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.meta.len() + self.trace.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.content_crc.to_le_bytes());
        out.extend_from_slice(&self.content_len.to_le_bytes());
        for part in [&self.meta[..], &self.trace] {
            out.extend_from_slice(&(part.len() as u32).to_le_bytes());
            out.extend_from_slice(part);
        }
        self.entries.iter().for_each(|entry| entry.encode(&mut out));
        let crc = crc32c::crc32c(&out[12..]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None` if the bytes are damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        if crc32c::crc32c(rest) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (content_crc, rest) = rest.split_first_chunk::<4>()?;
        let (content_len, rest) = rest.split_first_chunk::<8>()?;
        let (meta, rest) = sized(rest)?;
        let (trace, rest) = sized(rest)?;
        Some(Self {
            meta: meta.to_vec(),
            trace: Slice::copy_from(trace),
            content_len: u64::from_le_bytes(*content_len),
            content_crc: u32::from_le_bytes(*content_crc),
            entries: record::entries(rest).collect(),
        })
    }

    /// The message without its content.
    pub(crate) fn message(&self, id: MessageId) -> Option<Message> {
        let mut message = decode_meta(id, &self.meta).ok()?.message;
        message.trace = self.trace.clone();
        Some(message)
    }

    /// Writes the file under its final name, durably.
    ///
    /// # Errors
    /// Those of the disk; the old file, if there was one, is then still there.
    pub(crate) fn write(&self, disk: &dyn Disk, paths: &Paths) -> io::Result<()> {
        let draft = disk.open(&paths.draft, Access::Replace)?;
        write_all_at(&*draft, &self.encode(), 0)?;
        draft.sync()?;
        disk.rename(&paths.draft, &paths.envelope)?;
        disk.sync_directory(&paths.directory)
    }
}

fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}

/// The id in the name of an `.env` file.
pub(crate) fn envelope_id(name: &str) -> Option<MessageId> {
    MessageId::parse_full(name.strip_suffix(".env")?)
}

/// The target that entries of an `.env` file have: there is one message in it.
pub(crate) const NO_PLACE: Place = Place { serial: 0, offset8: 0 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_used_evenly() {
        let mut counts = vec![0; DIRECTORIES as usize];
        for serial in 0..25_600 {
            let name = directory_of(MessageId::new(1_700_000_000, 3, 0xABCD_EF01, serial));
            counts[usize::from_str_radix(&name, 16).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (50..200).contains(count)), "{counts:?}");
    }
}
