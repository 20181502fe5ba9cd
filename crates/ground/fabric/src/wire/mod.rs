//! The wire format, version 1: the same bytes in shared memory and on a socket. `docs/formats/fabric.md` is its page, with test vectors.
//!
//! Little-endian; windows, messages and frames begin on 8 bytes. It is pure: words in, checked values out.
//!
//! ```text
//! window   magic u32 | version u8 | flags u8 | header u16 | used u32 | messages u32 | sequence u64 | crc32c u32 | epoch u32
//! message  length u32 | frames u16 | kind u8 | flags u8 | correlation u64 | (flags EXTENDED: timestamp u64 ns | tag u64)
//! frame    length u32 | schema u16 | flags u8 | 0 u8 | bytes, padded to 8   (flags LENT: a descriptor in place of the bytes)
//! lent     lease u32 | generation u32 | window u32 | offset u32 | length u32 | 0 u32
//! ```
//!
//! The first word of a message is stored last: what follows it is whole. A zero word means "nothing yet", [`END`] "go on with the next window".

mod frames;
mod header;

pub(crate) use frames::message_bytes_max;
pub use frames::{Bad, Frames, RawFrame, frame_bytes};
pub use header::{BadWindow, WindowHeader};

/// The version spoken here; it stands in every window, and the introduction refuses others.
pub const VERSION: u8 = 1;
/// `"PHF1"`, the first bytes of every window.
pub const MAGIC: u32 = u32::from_le_bytes(*b"PHF1");
/// Bytes of a window header.
pub const WINDOW_HEADER: usize = 32;
/// Bytes of a message header without its extension.
pub const MESSAGE_HEADER: usize = 16;
/// Bytes of the extension: timestamp and tag.
pub const EXTENSION: usize = 16;
/// Bytes of a frame header.
pub const FRAME_HEADER: usize = 8;
/// Bytes of a descriptor.
pub const DESCRIPTOR: usize = 24;
/// Frames of a message at most.
pub const FRAMES_MAX: usize = 64;

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Data, the usual.
    Data = 1,
    /// A request: `correlation` names it.
    Request = 2,
    /// The answer to the request of that correlation.
    Response = 3,
    /// The asker has lost interest in that request.
    Cancel = 4,
    /// To a subscriber: `correlation` messages were left out here, for want of room.
    Gap = 5,
    /// To be answered with a `Pong` of the same correlation and frames.
    Ping = 6,
    /// The answer to a `Ping`.
    Pong = 7,
}

impl Kind {
    const fn parse(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Data,
            2 => Self::Request,
            3 => Self::Response,
            4 => Self::Cancel,
            5 => Self::Gap,
            6 => Self::Ping,
            7 => Self::Pong,
            _ => return None,
        })
    }
}

/// Flags of a message. The lower four bits must be understood; unknown ones of the upper four are ignored.
pub mod message_flags {
    /// Timestamp and tag follow the header.
    pub const EXTENDED: u8 = 1;
    /// The bytes are zeroed when they have been read.
    pub const ERASE: u8 = 2;
    /// All that must be understood.
    pub const KNOWN: u8 = EXTENDED | ERASE;
    /// The bits of which an unknown one is refused.
    pub const CRITICAL: u8 = 0x0f;
}

/// Flags of a frame, of the same two classes as those of a message.
pub mod frame_flags {
    /// A descriptor stands in place of the bytes.
    pub const LENT: u8 = 1;
    /// All that must be understood.
    pub const KNOWN: u8 = LENT;
    /// The bits of which an unknown one is refused.
    pub const CRITICAL: u8 = 0x0f;
}

/// The word that ends a window.
pub const END: u64 = 0xff << 48;

/// The first word of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageWord {
    /// Bytes of the whole message, header and padding included.
    pub length: u32,
    /// Number of frames.
    pub frames: u16,
    /// What it is for.
    pub kind: Kind,
    /// [`message_flags`].
    pub flags: u8,
}

impl MessageWord {
    /// The word as it is stored.
    #[inline]
    pub const fn pack(self) -> u64 {
        self.length as u64 | (self.frames as u64) << 32 | (self.kind as u64) << 48 | (self.flags as u64) << 56
    }

    /// As [`Self::parse`], without saying what is wrong; 0 and [`END`] are nothing, too.
    #[inline]
    pub fn parse_quickly(word: u64, room: usize) -> Option<Self> {
        let (length, frames, flags) = (word as u32, (word >> 32) as u16, (word >> 56) as u8);
        let kind = Kind::parse((word >> 48) as u8)?;
        let right = flags & message_flags::CRITICAL & !message_flags::KNOWN == 0
            && length.is_multiple_of(8)
            && length as usize <= room
            && length as usize >= MESSAGE_HEADER + extension(flags)
            && frames as usize <= FRAMES_MAX;
        right.then_some(Self { length, frames, kind, flags })
    }

    /// The bytes of the only frame of a message of the usual form: no extension, nothing lent, nothing left over. `None`: look closer.
    #[inline]
    pub fn sole_frame(self, body: &[u8]) -> Option<&[u8]> {
        let (head, rest) = body.get(MESSAGE_HEADER - 8..)?.split_first_chunk::<FRAME_HEADER>()?;
        let head = u64::from_le_bytes(*head);
        let len = head as u32 as usize;
        let usual = self.frames == 1
            && self.flags & message_flags::EXTENDED == 0
            && (head >> 48) as u8 & (frame_flags::CRITICAL | frame_flags::LENT) == 0
            && padded(len) == rest.len();
        if usual { rest.get(..len) } else { None }
    }

    /// Reads a word that is neither 0 nor [`END`], and checks all that it alone can tell: `room` is the bytes left in the window.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline]
    pub fn parse(word: u64, room: usize) -> Result<Self, Bad> {
        let (length, frames, flags) = (word as u32, (word >> 32) as u16, (word >> 56) as u8);
        let Some(kind) = Kind::parse((word >> 48) as u8) else { return Err(Bad::Kind((word >> 48) as u8)) };
        if flags & message_flags::CRITICAL & !message_flags::KNOWN != 0 {
            return Err(Bad::MessageFlags(flags));
        }
        if !length.is_multiple_of(8) || length as usize > room || (length as usize) < MESSAGE_HEADER + extension(flags)
        {
            return Err(Bad::Length { length, room });
        }
        if frames as usize > FRAMES_MAX {
            return Err(Bad::FrameCount(frames));
        }
        Ok(Self { length, frames, kind, flags })
    }
}

/// Bytes of the extension that `flags` announce.
#[inline]
pub(crate) const fn extension(flags: u8) -> usize {
    if flags & message_flags::EXTENDED != 0 { EXTENSION } else { 0 }
}

/// Rounded up to 8 bytes.
#[inline]
pub(crate) const fn padded(len: usize) -> usize {
    (len + 7) & !7
}

/// Names bytes that were lent instead of copied. Only the lender can read it; all of it is checked by both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// The lender's ledger entry.
    pub lease: u32,
    /// Tells uses of the same entry apart.
    pub generation: u32,
    /// Window in the lender's arena.
    pub window: u32,
    /// First byte in that window.
    pub offset: u32,
    /// Bytes lent.
    pub length: u32,
}

impl Descriptor {
    /// As it stands in a frame.
    pub fn pack(self) -> [u8; DESCRIPTOR] {
        let mut bytes = [0; DESCRIPTOR];
        for (place, word) in
            bytes.chunks_exact_mut(4).zip([self.lease, self.generation, self.window, self.offset, self.length])
        {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads it; every pattern is a descriptor, true or not.
    pub fn parse(bytes: &[u8; DESCRIPTOR]) -> Self {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { lease: word(0), generation: word(4), window: word(8), offset: word(12), length: word(16) }
    }
}
