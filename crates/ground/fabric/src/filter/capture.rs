//! Captures every message to a file, up to a size. The file is for `fabric replay` and for people; it is no journal: what was not flushed is lost
//! with the process. It is flushed before the channel sleeps, and when the peer or the capture goes.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::capture_file::{RECORD, RecordHead, RecordKind, pack_header, record_flags};
use super::observe::{Direction, MessageSeen, Observer, Wants};
use crate::tli::{Lane, Peer, PeerGone};
use crate::wire::{Frames, MessageWord, RawFrame, message_flags};

/// The least size limit: a header of the longest address and some records.
const LIMIT_MIN: u64 = 8 << 10;

/// The observer. Messages whose sender asked for erasure are recorded without their bytes.
pub struct Capture {
    path: PathBuf,
    writer: Mutex<Writer>,
}

struct Writer {
    file: BufWriter<File>,
    written: u64,
    limit: u64,
    number: u64,
    omitted: u64,
    state: State,
    scratch: Vec<u8>,
}

enum State {
    Open,
    Full,
    Failed(io::Error),
}

impl Capture {
    /// Makes the file, which must not exist and which only its owner can read, for the channel of `uri`. It grows to `limit` bytes at most.
    ///
    /// # Errors
    /// When the limit is too small or the file cannot be made.
    pub fn create(path: &Path, uri: &str, limit: u64) -> Result<Self, CaptureError> {
        if limit < LIMIT_MIN {
            return Err(CaptureError::Limit { asked: limit });
        }
        let wrong = |source| CaptureError::Create { path: path.to_owned(), source };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(wrong)?;
        let mut file = BufWriter::with_capacity(64 << 10, file);
        let header = pack_header(uri, now_ns(), limit);
        file.write_all(&header).map_err(wrong)?;
        let writer = Writer {
            file,
            written: header.len() as u64,
            limit,
            number: 0,
            omitted: 0,
            state: State::Open,
            scratch: Vec::new(),
        };
        Ok(Self { path: path.to_owned(), writer: Mutex::new(writer) })
    }

    /// Bytes written so far, those in the buffer included.
    pub fn written(&self) -> u64 {
        self.writer().written
    }

    /// Messages that were left out because the size limit was reached or the file could not be written.
    pub fn omitted(&self) -> u64 {
        self.writer().omitted
    }

    /// Writes out what is in the buffer.
    ///
    /// # Errors
    /// When it cannot be written now, or could not be earlier.
    pub fn flush(&self) -> Result<(), CaptureError> {
        let mut writer = self.writer();
        writer.flush();
        match &writer.state {
            State::Failed(error) => {
                let source = io::Error::new(error.kind(), error.to_string());
                Err(CaptureError::Write { path: self.path.clone(), source })
            }
            State::Open | State::Full => Ok(()),
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    fn record(&mut self, kind: RecordKind, direction: Direction, lane: Lane, flags: u8, bytes: &[u8]) {
        let length = bytes.len().next_multiple_of(8);
        // Room for the record that says that the limit was reached is always kept.
        let needed = (2 * RECORD + length) as u64;
        match self.state {
            State::Open if self.written + needed <= self.limit => self.append(kind, direction, lane, flags, bytes),
            State::Open => {
                self.append(RecordKind::Full, Direction::Out, Lane::Bulk, 0, &[]);
                self.flush();
                if matches!(self.state, State::Open) {
                    self.state = State::Full;
                }
                self.omitted += u64::from(kind == RecordKind::Message);
            }
            State::Full | State::Failed(_) => self.omitted += u64::from(kind == RecordKind::Message),
        }
    }

    fn append(&mut self, kind: RecordKind, direction: Direction, lane: Lane, flags: u8, bytes: &[u8]) {
        let length = bytes.len().next_multiple_of(8);
        self.number += 1;
        let head =
            RecordHead { length: length as u32, kind, direction, lane, flags, time_ns: now_ns(), number: self.number };
        let padding = &[0; 8][..length - bytes.len()];
        let written = [&head.pack()[..], bytes, padding].into_iter().try_for_each(|part| self.file.write_all(part));
        match written {
            Ok(()) => self.written += (RECORD + length) as u64,
            Err(error) => self.state = State::Failed(error),
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.file.flush()
            && !matches!(self.state, State::Failed(_))
        {
            self.state = State::Failed(error);
        }
    }
}

impl Observer for Capture {
    fn name(&self) -> &'static str {
        "capture"
    }

    fn wants(&self) -> Wants {
        Wants::Messages
    }

    fn met(&self, _uri: &str, peer: &Peer) {
        self.writer().record(RecordKind::Met, Direction::Out, Lane::Bulk, 0, peer.name.as_bytes());
    }

    fn message(&self, message: &MessageSeen<'_>) {
        let mut writer = self.writer();
        let (direction, lane) = (message.direction, message.lane);
        if message.bytes[7] & message_flags::ERASE == 0 {
            writer.record(RecordKind::Message, direction, lane, 0, message.bytes);
            return;
        }
        let mut blank = std::mem::take(&mut writer.scratch);
        blank.clear();
        blank.extend_from_slice(message.bytes);
        blank_payload(&mut blank);
        writer.record(RecordKind::Message, direction, lane, record_flags::ERASED, &blank);
        writer.scratch = blank;
    }

    fn rest(&self) {
        self.writer().flush();
    }

    fn gone(&self, _uri: &str, gone: &PeerGone) {
        let mut writer = self.writer();
        writer.record(RecordKind::Gone, Direction::Out, Lane::Bulk, 0, gone.to_string().as_bytes());
        writer.flush();
    }
}

/// Zeroes the bytes of every frame; of a message that cannot be read, everything behind the first word.
fn blank_payload(message: &mut [u8]) {
    let (first, body) = message.split_at_mut(8);
    let word = u64::from_le_bytes((&*first).try_into().expect("eight bytes"));
    let mut places: [std::ops::Range<usize>; crate::wire::FRAMES_MAX] = std::array::from_fn(|_| 0..0);
    let Ok(word) = MessageWord::parse(word, body.len() + 8) else { return body.fill(0) };
    let mut frames = Frames::new(word, body);
    let mut count = 0;
    loop {
        match frames.advance() {
            Ok(Some(RawFrame::Bytes { bytes, .. })) => {
                let start = bytes.as_ptr().addr() - body.as_ptr().addr();
                places[count] = start..start + bytes.len();
                count += 1;
            }
            Ok(Some(RawFrame::Lent { .. })) => {}
            Ok(None) => break,
            Err(_) => return body.fill(0),
        }
    }
    for place in &places[..count] {
        body[place.clone()].fill(0);
    }
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why a capture cannot be made or written.
#[derive(Debug)]
pub enum CaptureError {
    /// The size limit is too small.
    Limit {
        /// As asked for.
        asked: u64,
    },
    /// The file cannot be made.
    Create {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { asked } => {
                write!(f, "a capture of at most {asked} bytes is too small, {LIMIT_MIN} is the least")
            }
            Self::Create { path, source } => write!(f, "making {}: {source}", path.display()),
            Self::Write { path, source } => write!(f, "writing {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Limit { .. } => None,
            Self::Create { source, .. } | Self::Write { source, .. } => Some(source),
        }
    }
}
