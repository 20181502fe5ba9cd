//! The frames of a message, read from a private copy or from memory that its writer keeps as it is. Every length is checked before it is used.

use std::fmt;

use super::{
    DESCRIPTOR, Descriptor, FRAME_HEADER, MESSAGE_HEADER, MessageWord, WINDOW_HEADER, extension, frame_flags, padded,
};

/// What a peer wrote that no peer of this version writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// A message shorter than its header, not a multiple of 8, or longer than the window has room.
    Length {
        /// As claimed.
        length: u32,
        /// Bytes left in the window.
        room: usize,
    },
    /// More frames than [`super::FRAMES_MAX`].
    FrameCount(u16),
    /// A kind that this version does not know.
    Kind(u8),
    /// A flag that must be understood and is not.
    MessageFlags(u8),
    /// A frame that does not fit its message.
    FrameLength {
        /// Which frame, from 0.
        frame: u16,
        /// As claimed.
        length: u32,
    },
    /// A flag of a frame that must be understood and is not.
    FrameFlags(u8),
    /// The frames end before the message does.
    Surplus {
        /// Bytes left over.
        bytes: usize,
    },
    /// A lent frame whose descriptor the link refuses.
    Descriptor(Descriptor),
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { length, room } => write!(f, "a message of {length} bytes where the window has {room}"),
            Self::FrameCount(count) => {
                write!(f, "a message of {count} frames, at most {} are allowed", super::FRAMES_MAX)
            }
            Self::Kind(kind) => write!(f, "a message of unknown kind {kind}"),
            Self::MessageFlags(flags) => {
                write!(f, "message flags {flags:#04x}, of which some must be understood and are not")
            }
            Self::FrameLength { frame, length } => {
                write!(f, "frame {frame} claims {length} bytes, more than its message has")
            }
            Self::FrameFlags(flags) => {
                write!(f, "frame flags {flags:#04x}, of which some must be understood and are not")
            }
            Self::Surplus { bytes } => write!(f, "{bytes} bytes behind the last frame of a message"),
            Self::Descriptor(it) => {
                write!(f, "lease {}, generation {} names nothing that was lent", it.lease, it.generation)
            }
        }
    }
}

/// A frame as it stands in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawFrame<'a> {
    /// The bytes themselves.
    Bytes {
        /// The sender's name for their form.
        schema: u16,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Bytes that lie in the lender's memory.
    Lent {
        /// The sender's name for their form.
        schema: u16,
        /// Where.
        descriptor: Descriptor,
    },
}

/// Iterates over the frames of a message.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
    number: u16,
    left: u16,
}

impl<'a> Frames<'a> {
    /// `body` is the message behind its first word: correlation, extension, frames.
    ///
    /// # Panics
    /// When `body` is not as long as `word` says; the caller cut it so.
    #[inline]
    pub fn new(word: MessageWord, body: &'a [u8]) -> Self {
        assert_eq!(body.len() + 8, word.length as usize, "the body was cut by its word");
        Self { rest: &body[MESSAGE_HEADER - 8 + extension(word.flags)..], number: 0, left: word.frames }
    }

    /// The next frame; `None` after the last, when nothing may be left.
    ///
    /// # Errors
    /// What is wrong with it. Nothing more can be read then.
    #[inline]
    pub fn advance(&mut self) -> Result<Option<RawFrame<'a>>, Bad> {
        if self.left == 0 {
            return if self.rest.is_empty() { Ok(None) } else { Err(Bad::Surplus { bytes: self.rest.len() }) };
        }
        let number = self.number;
        let Some((head, rest)) = self.rest.split_first_chunk::<FRAME_HEADER>() else {
            return Err(Bad::FrameLength { frame: number, length: 0 });
        };
        let head = u64::from_le_bytes(*head);
        let (length, schema, flags) = (head as u32, (head >> 32) as u16, (head >> 48) as u8);
        if flags & frame_flags::CRITICAL & !frame_flags::KNOWN != 0 {
            return Err(Bad::FrameFlags(flags));
        }
        self.number += 1;
        self.left -= 1;
        if flags & frame_flags::LENT != 0 {
            let Some((bytes, rest)) = rest.split_first_chunk::<DESCRIPTOR>() else {
                return Err(Bad::FrameLength { frame: number, length });
            };
            self.rest = rest;
            let descriptor = Descriptor::parse(bytes);
            if descriptor.length != length {
                return Err(Bad::FrameLength { frame: number, length });
            }
            return Ok(Some(RawFrame::Lent { schema, descriptor }));
        }
        let length = length as usize;
        if length > rest.len() || padded(length) > rest.len() {
            return Err(Bad::FrameLength { frame: number, length: length as u32 });
        }
        self.rest = &rest[padded(length)..];
        Ok(Some(RawFrame::Bytes { schema, bytes: &rest[..length] }))
    }
}

/// Bytes of a frame in a message.
#[inline]
pub const fn frame_bytes(len: usize) -> usize {
    FRAME_HEADER + padded(len)
}

/// The longest message that a window of `window_bytes` takes, its headers included.
pub(crate) const fn message_bytes_max(window_bytes: usize) -> usize {
    (window_bytes - WINDOW_HEADER - 8) & !7
}
