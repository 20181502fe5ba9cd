//! The window header: 32 bytes in front of the messages of a window.

use std::fmt;

use super::{MAGIC, VERSION, WINDOW_HEADER};

/// What stands in front of the messages of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowHeader {
    /// For links to use; 0 where they do not.
    pub flags: u8,
    /// Bytes used, header included; 0 in shared memory, where messages become visible one by one and [`super::END`] closes the window.
    pub used: u32,
    /// Messages in it; 0 in shared memory.
    pub messages: u32,
    /// Counts the windows of a lane, from 1.
    pub sequence: u64,
    /// CRC-32C of the bytes from `WINDOW_HEADER` to `used`; 0 where it is not computed.
    pub crc32c: u32,
    /// The connection's, from the introduction.
    pub epoch: u32,
}

/// Why a window is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadWindow {
    /// It does not begin with [`MAGIC`].
    Magic(u32),
    /// Another version of the format.
    Version(u8),
    /// The header is shorter or longer than version 1 has it.
    HeaderLength(u16),
    /// Less than the header or more than the window.
    Used {
        /// As claimed.
        used: u32,
        /// The window's size.
        size: usize,
    },
    /// Not the window expected next.
    Sequence {
        /// As claimed.
        found: u64,
        /// The next one.
        expected: u64,
    },
    /// The bytes are not those that were sent.
    Checksum,
}

impl WindowHeader {
    /// As it is stored.
    pub fn pack(&self) -> [u8; WINDOW_HEADER] {
        let mut bytes = [0; WINDOW_HEADER];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4] = VERSION;
        bytes[5] = self.flags;
        bytes[6..8].copy_from_slice(&(WINDOW_HEADER as u16).to_le_bytes());
        bytes[8..12].copy_from_slice(&self.used.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.messages.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.crc32c.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.epoch.to_le_bytes());
        bytes
    }

    /// Reads a header of a window of `size` bytes. The sequence and the checksum are for the caller to compare.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8; WINDOW_HEADER], size: usize) -> Result<Self, BadWindow> {
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if word(0) != MAGIC {
            return Err(BadWindow::Magic(word(0)));
        }
        if bytes[4] != VERSION {
            return Err(BadWindow::Version(bytes[4]));
        }
        if half(6) as usize != WINDOW_HEADER {
            return Err(BadWindow::HeaderLength(half(6)));
        }
        let used = word(8);
        if used != 0 && (used as usize) < WINDOW_HEADER || used as usize > size {
            return Err(BadWindow::Used { used, size });
        }
        let sequence = u64::from(word(16)) | u64::from(word(20)) << 32;
        Ok(Self { flags: bytes[5], used, messages: word(12), sequence, crc32c: word(24), epoch: word(28) })
    }
}

impl fmt::Display for BadWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(found) => write!(f, "a window begins with {found:#010x} instead of {MAGIC:#010x}"),
            Self::Version(found) => write!(f, "a window of format version {found}, spoken here is {VERSION}"),
            Self::HeaderLength(found) => write!(f, "a window header of {found} bytes instead of {WINDOW_HEADER}"),
            Self::Used { used, size } => write!(f, "{used} bytes used in a window of {size}"),
            Self::Sequence { found, expected } => write!(f, "window {found} where {expected} comes next"),
            Self::Checksum => write!(f, "the checksum of a window is not that of its bytes"),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_parsed() {
        let header = WindowHeader { flags: 3, used: 4096, messages: 7, sequence: 0x1_0000_0001, crc32c: 9, epoch: 5 };
        assert_eq!(WindowHeader::parse(&header.pack(), 4096), Ok(header));
        assert_eq!(WindowHeader::parse(&header.pack(), 4095), Err(BadWindow::Used { used: 4096, size: 4095 }));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = WindowHeader { flags: 0, used: 0, messages: 0, sequence: 1, crc32c: 0, epoch: 0 }.pack();
        bytes[4] = 2;
        assert_eq!(WindowHeader::parse(&bytes, 64), Err(BadWindow::Version(2)));
    }
}
