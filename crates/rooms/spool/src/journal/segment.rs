//! A segment file: its name, its header block, and its index file.
//!
//! ```text
//!  000007.seg   │ header block, 4 KiB │ records … │ zeros, or records of an earlier generation │
//!  000007.idx   │ header │ for each record: offset, header, meta part │      written when the segment is sealed
//! ```
//! Files keep their names for ever; a generation of a file has a serial number, which stands in the header block and in
//! each record. Giving a segment back is one overwrite of its header block: no directory entry changes, so neither
//! making room nor using it costs a journal commit of the file system. Keeper, writer, recovery and tools call this.

use super::record::{BLOCK_BYTES, HEADER_BYTES, Record, parse};
use crate::disk::{Access, Disk, DiskFile, read_exact_at, read_file, write_all_at};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Number of a segment file within its volume, from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNumber(pub u32);

impl FileNumber {
    /// `000007.seg` in `directory`.
    pub fn segment_path(self, directory: &Path) -> PathBuf {
        directory.join(format!("{:06}.seg", self.0))
    }

    /// `000007.idx` in `directory`.
    pub fn index_path(self, directory: &Path) -> PathBuf {
        directory.join(format!("{:06}.idx", self.0))
    }

    /// The number in a segment's file name.
    pub fn parse(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(".seg")?;
        (digits.len() >= 6 && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| digits.parse().ok())
            .flatten()
            .map(Self)
    }
}

/// A segment file, open.
#[derive(Clone)]
pub struct SegmentFile {
    /// Its name.
    pub number: FileNumber,
    /// Its bytes.
    pub file: Arc<dyn DiskFile>,
    /// Their number.
    pub bytes: u32,
}

/// What a segment is for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It holds nothing that counts.
    Free,
    /// Its records of this serial number count.
    Taken,
}

/// The first block of a segment.
///
/// ```text
///  0 "PHSEG1\r\n"   8 u32 1   12 u32 0 free, 1 taken   16 u32 serial   20 u32 file number   24 u64 bytes of the file
/// 32 u32 voids, then each: u32 serial, u32 offset / 8;  the last 4 of the first 512 bytes: crc32c of the 508 before
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderBlock {
    /// Whether the segment's records count.
    pub state: Use,
    /// The generation of the file, or the last one if it is free.
    pub serial: u32,
    /// The number in the name, against files swapped by hand.
    pub number: FileNumber,
    /// Length of the file.
    pub bytes: u64,
    /// `(serial, offset)`: the records of that segment from that offset on were refused to their senders when a sync
    /// failed, and do not count.
    pub voids: Vec<(u32, u32)>,
}

const SEGMENT_MAGIC: &[u8; 8] = b"PHSEG1\r\n";
/// A sector: what a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Most voids that a header block tells.
pub const VOIDS_MAX: usize = 32;
const _: () = assert!(36 + VOIDS_MAX * 8 <= SECTOR - 4);

impl HeaderBlock {
    /// The first sector of the block.
    pub fn encode(&self) -> [u8; SECTOR] {
        let mut out = [0; SECTOR];
        out[..8].copy_from_slice(SEGMENT_MAGIC);
        out[8] = 1;
        out[12] = u8::from(self.state == Use::Taken);
        out[16..20].copy_from_slice(&self.serial.to_le_bytes());
        out[20..24].copy_from_slice(&self.number.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.bytes.to_le_bytes());
        let voids = &self.voids[self.voids.len().saturating_sub(VOIDS_MAX)..];
        out[32..36].copy_from_slice(&(voids.len() as u32).to_le_bytes());
        for (place, (serial, offset)) in out[36..].chunks_exact_mut(8).zip(voids) {
            place[..4].copy_from_slice(&serial.to_le_bytes());
            place[4..].copy_from_slice(&(offset / 8).to_le_bytes());
        }
        let crc = crc32c::crc32c(&out[..SECTOR - 4]);
        out[SECTOR - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads what [`HeaderBlock::encode`] wrote; `None` if it is damaged or none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SECTOR] = bytes.first_chunk()?;
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if &bytes[..8] != SEGMENT_MAGIC || u32_at(8) != 1 || crc32c::crc32c(&bytes[..SECTOR - 4]) != u32_at(SECTOR - 4)
        {
            return None;
        }
        let state = match u32_at(12) {
            0 => Use::Free,
            1 => Use::Taken,
            _ => return None,
        };
        let voids = (u32_at(32) as usize).min(VOIDS_MAX);
        Some(Self {
            state,
            serial: u32_at(16),
            number: FileNumber(u32_at(20)),
            bytes: u64::from(u32_at(28)) << 32 | u64::from(u32_at(24)),
            voids: (0..voids).map(|n| (u32_at(36 + n * 8), u32_at(40 + n * 8).saturating_mul(8))).collect(),
        })
    }
}

impl SegmentFile {
    /// Makes a segment file of zeros, durable with its name. What a failure leaves behind is removed.
    ///
    /// # Errors
    /// Those of the disk; `StorageFull` above all.
    pub fn create(disk: &dyn Disk, directory: &Path, number: FileNumber, bytes: u32) -> io::Result<Self> {
        let path = number.segment_path(directory);
        let made = Self::create_at(disk, directory, number, bytes, &path);
        if made.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
            // Best effort: a file without a header block is taken for a free one at the next start.
            let _ = disk.remove(&path);
        }
        made
    }

    fn create_at(disk: &dyn Disk, directory: &Path, number: FileNumber, bytes: u32, path: &Path) -> io::Result<Self> {
        const STEP: usize = 1 << 20;
        let file = disk.open(path, Access::CreateNew)?;
        let zeros = vec![0; STEP.min(bytes as usize)];
        let mut at = 0;
        while at < bytes {
            let step = zeros.len().min((bytes - at) as usize);
            write_all_at(&*file, &zeros[..step], u64::from(at))?;
            at += step as u32;
        }
        let segment = Self { number, file, bytes };
        segment.mark(Use::Free, 0)?;
        disk.sync_directory(directory)?;
        Ok(segment)
    }

    /// Overwrites the header block and makes that durable.
    ///
    /// # Errors
    /// Those of the disk; after one the file must not be used again.
    pub fn mark(&self, state: Use, serial: u32) -> io::Result<()> {
        write_all_at(&*self.file, &self.header(state, serial, &[]).encode(), 0)?;
        self.file.sync()
    }

    /// The header block of this file.
    pub fn header(&self, state: Use, serial: u32, voids: &[(u32, u32)]) -> HeaderBlock {
        HeaderBlock { state, serial, number: self.number, bytes: u64::from(self.bytes), voids: voids.to_vec() }
    }

    /// Reads the header block; `None` if it is damaged.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn read_header(&self) -> io::Result<Option<HeaderBlock>> {
        let mut sector = [0; SECTOR];
        match read_exact_at(&*self.file, &mut sector, 0) {
            Ok(()) => Ok(HeaderBlock::decode(&sector)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Headers and meta parts of a segment's records without their bodies: what restart needs, and the index file holds.
///
/// Index file: `"PHIDX1\r\n"`, u32 serial, u32 file number, u64 last commit, u32 0, u32 length of the rest, u32 crc32c
/// of the rest, u32 crc32c of the 36 bytes before; then for each record u32 offset, header (64), meta part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The generation.
    pub serial: u32,
    /// Number of the last commit in it; 0 if there is none.
    pub last_commit: u64,
    bytes: Vec<u8>,
}

const INDEX_MAGIC: &[u8; 8] = b"PHIDX1\r\n";
const INDEX_HEADER: usize = 40;

impl Contents {
    /// Of an empty segment.
    pub fn new(serial: u32) -> Self {
        Self { serial, last_commit: 0, bytes: Vec::new() }
    }

    /// Adds a record by its header and meta part as written.
    pub fn push(&mut self, offset: u32, commit: u64, head_and_meta: &[u8]) {
        self.last_commit = self.last_commit.max(commit);
        self.bytes.extend_from_slice(&offset.to_le_bytes());
        self.bytes.extend_from_slice(head_and_meta);
    }

    /// Bytes held.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The records in order, without bodies: `(offset, record)`.
    pub fn records(&self) -> impl Iterator<Item = (u32, Record<'_>)> {
        let mut cursor = 0;
        std::iter::from_fn(move || self.next_record(&mut cursor))
    }

    /// The record at `cursor`, which starts at 0 and is moved on.
    pub fn next_record(&self, cursor: &mut usize) -> Option<(u32, Record<'_>)> {
        let (offset, tail) = self.bytes.get(*cursor..)?.split_first_chunk::<4>()?;
        let record = parse(tail, None).ok()?;
        *cursor += 4 + HEADER_BYTES + record.meta.len();
        Some((u32::from_le_bytes(*offset), record.head()))
    }

    /// Writes the index file. Not synced: it only saves time.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write(&self, disk: &dyn Disk, directory: &Path, number: FileNumber) -> io::Result<()> {
        let mut head = Vec::with_capacity(INDEX_HEADER);
        head.extend_from_slice(INDEX_MAGIC);
        head.extend_from_slice(&self.serial.to_le_bytes());
        head.extend_from_slice(&number.0.to_le_bytes());
        head.extend_from_slice(&self.last_commit.to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        head.extend_from_slice(&crc32c::crc32c(&self.bytes).to_le_bytes());
        head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
        let file = disk.open(&number.index_path(directory), Access::Replace)?;
        write_all_at(&*file, &self.bytes, INDEX_HEADER as u64)?;
        write_all_at(&*file, &head, 0)
    }

    /// Reads the index file of generation `serial`; `None` if it is missing, stale or damaged.
    pub fn read(disk: &dyn Disk, directory: &Path, number: FileNumber, serial: u32) -> Option<Self> {
        let mut bytes = read_file(disk, &number.index_path(directory)).ok()?;
        let head: [u8; INDEX_HEADER] = *bytes.first_chunk()?;
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let fits = &head[..8] == INDEX_MAGIC
            && crc32c::crc32c(&head[..36]) == u32_at(36)
            && (u32_at(8), u32_at(12)) == (serial, number.0)
            && bytes.len() == INDEX_HEADER + u32_at(28) as usize
            && crc32c::crc32c(&bytes[INDEX_HEADER..]) == u32_at(32);
        if !fits {
            return None;
        }
        bytes.drain(..INDEX_HEADER);
        Some(Self { serial, last_commit: u64::from(u32_at(20)) << 32 | u64::from(u32_at(16)), bytes })
    }
}

/// Where records begin in a segment.
pub const FIRST_RECORD: u32 = BLOCK_BYTES as u32;
