//! Frames: how the list's files are cut into pieces that are whole or not there.
//!
//! ```text
//!  magic 4 | length of payload 4 | crc32c of payload 4 | crc32c of those 12 octets and the frame's offset 4 | payload
//! ```
//! The offset makes a header good in one place only, so that a header found behind a broken frame proves that something
//! was written after it: then the file is damaged, and not merely cut off by a crash.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};

const MAGIC: [u8; 4] = *b"PHSF";
/// Octets of a frame's header.
pub(crate) const HEADER: usize = 16;
/// Longest payload, octets: the records of a partition, and more than any batch.
pub(crate) const PAYLOAD_MAX: usize = 1 << 25;
/// Octets looked at in one go behind a broken frame.
const SCAN: usize = 1 << 20;

/// The header of a frame with this payload, at this offset of its file.
pub(crate) fn header(offset: u64, payload: &[u8]) -> [u8; HEADER] {
    let length = u32::try_from(payload.len()).expect("payloads have at most 32 MiB");
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..12].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let crc = check(&header[..12], offset);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

fn check(start: &[u8], offset: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(start), &offset.to_le_bytes())
}

/// Length and checksum of the payload, if there is a header at `offset`.
fn read_header(octets: &[u8], offset: u64) -> Option<(usize, u32)> {
    let octets = octets.get(..HEADER)?;
    let number = |at: usize| u32::from_le_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
    let length = number(4) as usize;
    let is_header = octets[..4] == MAGIC && number(12) == check(&octets[..12], offset) && length <= PAYLOAD_MAX;
    is_header.then(|| (length, number(8)))
}

/// The next piece of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A frame's payload and where the frame begins.
    Frame(u64, Vec<u8>),
    /// The file ends here, behind a whole frame.
    End,
    /// No frame begins here.
    Broken(u64),
}

/// Reads a file's frames one by one.
#[derive(Debug)]
pub(crate) struct Frames {
    file: BufReader<File>,
    offset: u64,
    length: u64,
}

impl Frames {
    /// From `offset` on.
    pub(crate) fn new(mut file: File, offset: u64) -> io::Result<Self> {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self { file: BufReader::with_capacity(1 << 16, file), offset, length })
    }

    pub(crate) fn next(&mut self) -> io::Result<Next> {
        let left = self.length - self.offset;
        if left == 0 {
            return Ok(Next::End);
        }
        let mut header = [0; HEADER];
        if left < HEADER as u64 {
            return Ok(Next::Broken(self.offset));
        }
        self.file.read_exact(&mut header)?;
        let Some((length, crc)) = read_header(&header, self.offset) else { return Ok(Next::Broken(self.offset)) };
        if left - (HEADER as u64) < length as u64 {
            return Ok(Next::Broken(self.offset));
        }
        let mut payload = vec![0; length];
        self.file.read_exact(&mut payload)?;
        if crc32c::crc32c(&payload) != crc {
            return Ok(Next::Broken(self.offset));
        }
        let at = self.offset;
        self.offset += (HEADER + length) as u64;
        Ok(Next::Frame(at, payload))
    }

    /// Whether a frame begins anywhere behind `at`, where none could be read.
    pub(crate) fn has_frame_behind(&mut self, at: u64) -> io::Result<bool> {
        let mut start = at + 1;
        let mut window = Vec::new();
        while start + (HEADER as u64) <= self.length {
            self.file.seek(SeekFrom::Start(start))?;
            window.clear();
            self.file.by_ref().take((SCAN + HEADER) as u64).read_to_end(&mut window)?;
            for (index, four) in window.windows(4).enumerate() {
                if four == MAGIC && read_header(&window[index..], start + index as u64).is_some() {
                    return Ok(true);
                }
            }
            start += SCAN as u64;
        }
        Ok(false)
    }
}
