//! The file that a capture is written to, format 1: `docs/formats/fabric-capture.md` is its page. Pure but for the reader's source.
//!
//! ```text
//! header   "PHFCAP1\n" | version u32 | header bytes u32 | started u64 ns | limit u64 | address bytes u32 | 0 u32 | address, padded to 8
//! record   length u32 | kind u8 | direction u8 | lane u8 | flags u8 | time u64 ns | number u64 | bytes, a multiple of 8
//! ```
//!
//! Times are nanoseconds since 1970. The reader trusts nothing: a false length costs no memory that the file does not have.

use std::fmt;
use std::io::{self, Read};

use super::observe::Direction;
use crate::message::Message;
use crate::tli::Lane;
use crate::wire::{Bad, Frames, MessageWord, RawFrame, message_flags};

/// The first bytes of every capture.
pub const CAPTURE_MAGIC: [u8; 8] = *b"PHFCAP1\n";
/// The version spoken here.
const VERSION: u32 = 1;
/// Bytes of the header without the address.
const HEADER: usize = 40;
/// Bytes of an address at most.
const ADDRESS_MAX: usize = 4096;
/// Bytes of a record without what it holds.
pub(super) const RECORD: usize = 24;

/// Flags of a record.
pub(super) mod record_flags {
    /// The sender asked for erasure, so the bytes of the frames are zeros here.
    pub(crate) const ERASED: u8 = 1;
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum RecordKind {
    Message = 1,
    Met = 2,
    Gone = 3,
    Full = 4,
}

/// The header of a capture of `uri` that is at most `limit` bytes long.
pub(super) fn pack_header(uri: &str, started_ns: u64, limit: u64) -> Vec<u8> {
    let address = &uri.as_bytes()[..uri.len().min(ADDRESS_MAX)];
    let header_bytes = HEADER + address.len().next_multiple_of(8);
    let mut bytes = Vec::with_capacity(header_bytes);
    bytes.extend_from_slice(&CAPTURE_MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(header_bytes as u32).to_le_bytes());
    bytes.extend_from_slice(&started_ns.to_le_bytes());
    bytes.extend_from_slice(&limit.to_le_bytes());
    bytes.extend_from_slice(&(address.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(address);
    bytes.resize(header_bytes, 0);
    bytes
}

/// The fixed part of a record.
pub(super) struct RecordHead {
    pub(super) length: u32,
    pub(super) kind: RecordKind,
    pub(super) direction: Direction,
    pub(super) lane: Lane,
    pub(super) flags: u8,
    pub(super) time_ns: u64,
    pub(super) number: u64,
}

impl RecordHead {
    pub(super) fn pack(&self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&[self.kind as u8, self.direction as u8, self.lane as u8, self.flags]);
        bytes[8..16].copy_from_slice(&self.time_ns.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8; RECORD]) -> Option<Self> {
        let kind = match bytes[4] {
            1 => RecordKind::Message,
            2 => RecordKind::Met,
            3 => RecordKind::Gone,
            4 => RecordKind::Full,
            _ => return None,
        };
        let direction = [Direction::Out, Direction::In].into_iter().find(|it| *it as u8 == bytes[5])?;
        let lane = [Lane::Bulk, Lane::Urgent].into_iter().find(|it| *it as u8 == bytes[6])?;
        let length = half(bytes, 0);
        let (time_ns, number) = (whole(bytes, 8), whole(bytes, 16));
        length.is_multiple_of(8).then_some(Self { length, kind, direction, lane, flags: bytes[7], time_ns, number })
    }
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn whole(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was seen, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Counted from 1; a gap says that records are missing.
    pub number: u64,
    /// What was seen.
    pub captured: Captured,
}

/// What a capture saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Captured {
    /// A message.
    Message {
        /// Which way it went.
        direction: Direction,
        /// By which lane.
        lane: Lane,
        /// Whether its bytes were left out (zeros stand for them), since its sender asked for erasure.
        erased: bool,
        /// The whole message, first word included, as encoded.
        bytes: Vec<u8>,
    },
    /// The peers of a link met.
    Met {
        /// Who the peer is.
        peer: String,
    },
    /// A link ended.
    Gone {
        /// Why.
        reason: String,
    },
    /// The size limit was reached; nothing follows.
    Full,
}

impl Captured {
    /// The message anew, to be posted once more; `None` when it is not a message, or frames were lent whose bytes the capture did not find.
    ///
    /// # Errors
    /// What is wrong with its encoding.
    pub fn message(&self) -> Result<Option<Message>, Bad> {
        let Self::Message { bytes, .. } = self else { return Ok(None) };
        let wrong = Bad::Length { length: bytes.len() as u32, room: bytes.len() };
        let (first, body) = bytes.split_first_chunk::<8>().ok_or(wrong)?;
        let word = MessageWord::parse(u64::from_le_bytes(*first), bytes.len())?;
        if word.length as usize != bytes.len() {
            return Err(wrong);
        }
        let mut message = Message::of_kind(word.kind, whole(body, 0));
        if word.flags & message_flags::EXTENDED != 0 {
            message = message.with_timestamp(whole(body, 8)).with_tag(whole(body, 16));
        }
        if word.flags & message_flags::ERASE != 0 {
            message = message.erased();
        }
        let mut frames = Frames::new(word, body);
        while let Some(frame) = frames.advance()? {
            let RawFrame::Bytes { schema, bytes } = frame else { return Ok(None) };
            message.push_copy(bytes);
            message = message.with_schema(schema);
        }
        Ok(Some(message))
    }
}

/// Reads a capture record by record.
#[derive(Debug)]
pub struct CaptureReader<R> {
    source: R,
    uri: String,
    started_ns: u64,
    at: u64,
}

impl<R: Read> CaptureReader<R> {
    /// Reads the header. Give it a buffered source.
    ///
    /// # Errors
    /// When it is no capture, of another version, or the source fails.
    pub fn new(mut source: R) -> Result<Self, ReadError> {
        let mut header = [0; HEADER];
        read_whole(&mut source, &mut header, 0)?;
        if header[..8] != CAPTURE_MAGIC {
            return Err(ReadError::NotACapture);
        }
        if half(&header, 8) != VERSION {
            return Err(ReadError::Version(half(&header, 8)));
        }
        let (header_bytes, address_bytes) = (half(&header, 12) as usize, half(&header, 32) as usize);
        if address_bytes > ADDRESS_MAX || header_bytes != HEADER + address_bytes.next_multiple_of(8) {
            return Err(ReadError::Malformed { at: 0 });
        }
        let mut address = vec![0; header_bytes - HEADER];
        read_whole(&mut source, &mut address, HEADER as u64)?;
        address.truncate(address_bytes);
        let uri = String::from_utf8_lossy(&address).into_owned();
        Ok(Self { source, uri, started_ns: whole(&header, 16), at: header_bytes as u64 })
    }

    /// The address of the channel that was captured.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// When the capture began, in nanoseconds since 1970.
    pub fn started_ns(&self) -> u64 {
        self.started_ns
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// When the file ends within a record (its writer died, or still has it in its buffer), is malformed, or the source fails.
    pub fn advance(&mut self) -> Result<Option<Record>, ReadError> {
        let at = self.at;
        let mut head = [0; RECORD];
        match self.source.read(&mut head[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => read_whole(&mut self.source, &mut head[1..], at)?,
            Err(source) if source.kind() == io::ErrorKind::Interrupted => return self.advance(),
            Err(source) => return Err(ReadError::Source(source)),
        }
        let head = RecordHead::parse(&head).ok_or(ReadError::Malformed { at })?;
        let mut bytes = Vec::new();
        (&mut self.source).take(u64::from(head.length)).read_to_end(&mut bytes).map_err(ReadError::Source)?;
        if bytes.len() != head.length as usize {
            return Err(ReadError::CutShort { at });
        }
        self.at += (RECORD + bytes.len()) as u64;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
        let captured = match head.kind {
            RecordKind::Message => {
                let erased = head.flags & record_flags::ERASED != 0;
                Captured::Message { direction: head.direction, lane: head.lane, erased, bytes }
            }
            RecordKind::Met => Captured::Met { peer: text(&bytes) },
            RecordKind::Gone => Captured::Gone { reason: text(&bytes) },
            RecordKind::Full => Captured::Full,
        };
        Ok(Some(Record { time_ns: head.time_ns, number: head.number, captured }))
    }
}

fn read_whole(source: &mut impl Read, into: &mut [u8], at: u64) -> Result<(), ReadError> {
    source.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadError::CutShort { at },
        _ => ReadError::Source(error),
    })
}

/// Why a capture cannot be read (any further).
#[derive(Debug)]
pub enum ReadError {
    /// It does not begin as captures do.
    NotACapture,
    /// It is of another version.
    Version(u32),
    /// What no writer of this version writes.
    Malformed {
        /// Offset of the record.
        at: u64,
    },
    /// It ends within a record or its header.
    CutShort {
        /// Offset of the record.
        at: u64,
    },
    /// The file could not be read.
    Source(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotACapture => f.write_str("it is no capture of a channel"),
            Self::Version(found) => write!(f, "a capture of version {found}, spoken here is {VERSION}"),
            Self::Malformed { at } => write!(f, "the record at offset {at} is malformed"),
            Self::CutShort { at } => write!(f, "the file ends within the record at offset {at}"),
            Self::Source(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(records: &[(RecordHead, &[u8])]) -> Vec<u8> {
        let mut bytes = pack_header("ipc:x", 7, 1 << 20);
        for (head, body) in records {
            bytes.extend_from_slice(&head.pack());
            bytes.extend_from_slice(body);
        }
        bytes
    }

    fn head(length: u32, number: u64) -> RecordHead {
        let (kind, direction, lane) = (RecordKind::Message, Direction::In, Lane::Urgent);
        RecordHead { length, kind, direction, lane, flags: record_flags::ERASED, time_ns: 99, number }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes =
            file(&[(head(16, 1), &[1; 16]), (RecordHead { kind: RecordKind::Met, ..head(8, 2) }, b"pid 1\0\0\0")]);
        let mut reader = CaptureReader::new(&bytes[..]).expect("a capture");
        assert_eq!((reader.uri(), reader.started_ns()), ("ipc:x", 7));
        let message =
            Captured::Message { direction: Direction::In, lane: Lane::Urgent, erased: true, bytes: vec![1; 16] };
        let first = reader.advance().expect("whole").expect("one");
        assert_eq!(first, Record { time_ns: 99, number: 1, captured: message });
        let second = reader.advance().expect("whole").expect("one");
        assert_eq!(second.captured, Captured::Met { peer: "pid 1".to_owned() });
        assert_eq!(reader.advance().expect("the end"), None);
    }

    #[test]
    fn an_end_within_a_record_says_where() {
        let bytes = file(&[(head(16, 1), &[1; 16])]);
        let start = bytes.len() - RECORD - 16;
        for end in start + 1..bytes.len() {
            let mut reader = CaptureReader::new(&bytes[..end]).expect("a capture");
            assert!(matches!(reader.advance(), Err(ReadError::CutShort { at }) if at == start as u64), "{end}");
        }
    }

    #[test]
    fn another_version_and_other_files_are_refused_by_name() {
        let mut bytes = file(&[]);
        bytes[8] = 2;
        let error = CaptureReader::new(&bytes[..]).expect_err("version 2").to_string();
        assert!(error.contains("version 2"), "{error}");
        assert!(matches!(CaptureReader::new(&[b'x'; 64][..]), Err(ReadError::NotACapture)));
    }

    proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(tail in proptest::collection::vec(any::<u8>(), 0..200), flip in 0..48usize, bit in 0..8u32) {
            let mut bytes = file(&[(head(16, 1), &[1; 16])]);
            bytes.extend_from_slice(&tail);
            bytes[flip] ^= 1u8 << bit;
            if let Ok(mut reader) = CaptureReader::new(&bytes[..]) {
                while let Ok(Some(record)) = reader.advance() {
                    let _ = record.captured.message();
                }
            }
        }
    }
}
