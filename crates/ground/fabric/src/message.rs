//! A message: an ordered list of frames, made without any channel.
//!
//! Small frames are copied into the message itself; large ones are referred to: shared memory by count, foreign memory with a release, windows of
//! an arena. Posting gives the message to a channel whole; it arrives whole or not at all.
//!
//! Budget: no allocation for up to [`INLINE_BYTES`] copied bytes and two frames; a shared frame costs one locked increment.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::slice::Slice;
use crate::wire::{self, EXTENSION, FRAME_HEADER, FRAMES_MAX, Kind, MESSAGE_HEADER, message_flags};

/// Copied bytes that a message holds without an allocation.
pub const INLINE_BYTES: usize = 128;

/// A message under construction, or one that has not been sent yet.
#[derive(Debug, Clone)]
pub struct Message {
    kind: Kind,
    flags: u8,
    correlation: u64,
    timestamp_ns: u64,
    tag: u64,
    /// Bytes of the encoding with every frame copied.
    encoded: usize,
    /// Frames that might be lent.
    lendable: u16,
    /// Copied bytes of all frames, one behind the other.
    inline: SmallVec<[u8; INLINE_BYTES]>,
    frames: SmallVec<[Frame; 4]>,
    /// What frames refer to, in order; copied frames have nothing here.
    owners: SmallVec<[Owner; 1]>,
}

/// One frame of a [`Message`]: one word, since a struct that is written in parts and moved as a whole stalls the processor.
#[derive(Clone, Copy)]
struct Frame(u64);

/// Set in a frame that refers to an owner.
const REFERS: u64 = 1 << 48;

impl Frame {
    const fn len(self) -> usize {
        self.0 as u32 as usize
    }

    const fn schema(self) -> u16 {
        (self.0 >> 32) as u16
    }

    const fn refers(self) -> bool {
        self.0 & REFERS != 0
    }
}

/// What a frame refers to.
#[derive(Clone)]
enum Owner {
    /// Memory that is counted; a window of an arena among it.
    Shared(Slice),
    /// Memory that lives for ever.
    Static(&'static [u8]),
    /// Memory of another kind; dropping the last clone releases it.
    External(Arc<dyn AsRef<[u8]> + Send + Sync>),
}

impl Owner {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(slice) => slice,
            Self::Static(bytes) => bytes,
            Self::External(owner) => (**owner).as_ref(),
        }
    }

    #[inline]
    fn slice(&self) -> Option<&Slice> {
        match self {
            Self::Shared(slice) => Some(slice),
            _ => None,
        }
    }
}

impl Message {
    /// An empty message of kind [`Kind::Data`].
    #[inline]
    pub fn new() -> Self {
        Self::of_kind(Kind::Data, 0)
    }

    /// An empty message of another kind.
    #[inline]
    pub fn of_kind(kind: Kind, correlation: u64) -> Self {
        Self {
            kind,
            flags: 0,
            correlation,
            timestamp_ns: 0,
            tag: 0,
            encoded: MESSAGE_HEADER,
            lendable: 0,
            inline: SmallVec::new(),
            frames: SmallVec::new(),
            owners: SmallVec::new(),
        }
    }

    /// A message of one frame, copied.
    #[inline]
    pub fn copied(bytes: &[u8]) -> Self {
        let mut message = Self::new();
        message.push_copy(bytes);
        message
    }

    /// A message of one frame, by reference.
    #[inline]
    pub fn shared(bytes: Slice) -> Self {
        let mut message = Self::new();
        message.push_shared(bytes);
        message
    }

    /// Appends a frame whose bytes are copied into the message. Over 64 KiB, [`Self::push_shared`] is better.
    ///
    /// # Panics
    /// When the message has [`FRAMES_MAX`] frames, or 4 GiB.
    #[inline]
    pub fn push_copy(&mut self, bytes: &[u8]) {
        self.inline.extend_from_slice(bytes);
        self.push(bytes.len(), 0);
    }

    /// Appends a frame of counted memory. When it lies in an arena of the channel, and the transport shares memory, it is lent; else it is copied
    /// when it is encoded.
    ///
    /// # Panics
    /// When the message has [`FRAMES_MAX`] frames.
    #[inline]
    pub fn push_shared(&mut self, bytes: Slice) {
        self.lendable += 1;
        self.push(bytes.len(), REFERS);
        self.owners.push(Owner::Shared(bytes));
    }

    /// Appends a frame of memory that lives for ever.
    ///
    /// # Panics
    /// When the message has [`FRAMES_MAX`] frames.
    pub fn push_static(&mut self, bytes: &'static [u8]) {
        self.push(bytes.len(), REFERS);
        self.owners.push(Owner::Static(bytes));
    }

    /// Appends a frame of any memory; it is dropped when the last message that refers to it has been encoded or dropped.
    ///
    /// # Panics
    /// When the message has [`FRAMES_MAX`] frames.
    pub fn push_external(&mut self, owner: impl AsRef<[u8]> + Send + Sync + 'static) {
        let owner: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(owner);
        self.push((*owner).as_ref().len(), REFERS);
        self.owners.push(Owner::External(owner));
    }

    #[inline]
    fn push(&mut self, len: usize, refers: u64) {
        assert!(self.frames.len() < FRAMES_MAX, "a message has at most {FRAMES_MAX} frames");
        let short = u32::try_from(len).expect("a frame is shorter than 4 GiB");
        self.encoded += FRAME_HEADER + wire::padded(len);
        self.frames.push(Frame(u64::from(short) | refers));
    }

    /// Names the form of the frame appended last; the fabric carries the number and does not look at it.
    #[must_use]
    pub fn with_schema(mut self, schema: u16) -> Self {
        if let Some(frame) = self.frames.last_mut() {
            frame.0 = frame.0 & !(0xffff << 32) | u64::from(schema) << 32;
        }
        self
    }

    /// Stamps it, in nanoseconds of the sender's choice of clock.
    #[must_use]
    pub fn with_timestamp(mut self, nanoseconds: u64) -> Self {
        self.extend();
        self.timestamp_ns = nanoseconds;
        self
    }

    /// Gives it a tag that travels with it. (The tag by which queues replace is given when posting.)
    #[must_use]
    pub fn with_tag(mut self, tag: u64) -> Self {
        self.extend();
        self.tag = tag;
        self
    }

    fn extend(&mut self) {
        if self.flags & message_flags::EXTENDED == 0 {
            self.flags |= message_flags::EXTENDED;
            self.encoded += EXTENSION;
        }
    }

    /// Asks that its bytes be zeroed, wherever the fabric held them, when they have been read.
    #[must_use]
    pub fn erased(mut self) -> Self {
        self.flags |= message_flags::ERASE;
        self
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// [`message_flags`].
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// What names a request and its answer.
    pub fn correlation(&self) -> u64 {
        self.correlation
    }

    /// Sets the correlation.
    pub fn set_correlation(&mut self, correlation: u64) {
        self.correlation = correlation;
    }

    /// Time stamp and tag, when it has any.
    pub fn extension(&self) -> Option<(u64, u64)> {
        (self.flags & message_flags::EXTENDED != 0).then_some((self.timestamp_ns, self.tag))
    }

    /// Sets what it is for.
    pub(crate) fn set_kind(&mut self, kind: Kind) {
        self.kind = kind;
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// The frames, in order.
    pub(crate) fn each_frame(&self) -> impl Iterator<Item = FrameRef<'_>> {
        let (mut inline, mut owners) = (&self.inline[..], self.owners.iter());
        self.frames.iter().map(move |frame| {
            let owner = if frame.refers() { owners.next() } else { None };
            match owner {
                Some(owner) => FrameRef { schema: frame.schema(), bytes: owner.bytes(), slice: owner.slice() },
                None => {
                    let (bytes, rest) = inline.split_at(frame.len());
                    inline = rest;
                    FrameRef { schema: frame.schema(), bytes, slice: None }
                }
            }
        })
    }

    /// The bytes of a frame.
    pub fn frame(&self, number: usize) -> Option<&[u8]> {
        self.each_frame().nth(number).map(|frame| frame.bytes)
    }

    /// Payload of all frames in bytes.
    pub fn payload_bytes(&self) -> usize {
        self.each_frame().map(|frame| frame.bytes.len()).sum()
    }

    /// Bytes of its encoding when every frame is copied.
    #[inline]
    pub fn encoded_bytes(&self) -> usize {
        self.encoded
    }

    /// Whether a frame might be lent.
    #[inline]
    pub(crate) fn has_lendable(&self) -> bool {
        self.lendable > 0
    }

    /// The only frame of a message without an extension.
    #[inline]
    pub(crate) fn sole_frame(&self) -> Option<FrameRef<'_>> {
        match &self.frames[..] {
            [frame] if self.flags & message_flags::EXTENDED == 0 => Some(match self.owners.first() {
                Some(owner) => FrameRef { schema: frame.schema(), bytes: owner.bytes(), slice: owner.slice() },
                None => FrameRef { schema: frame.schema(), bytes: &self.inline, slice: None },
            }),
            _ => None,
        }
    }
}

/// A frame as the encoder sees it.
pub(crate) struct FrameRef<'a> {
    pub(crate) schema: u16,
    pub(crate) bytes: &'a [u8],
    /// When it can perhaps be lent.
    pub(crate) slice: Option<&'a Slice>,
}

impl Default for Message {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B", self.len())
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared(slice) => slice.fmt(f),
            Self::Static(bytes) => write!(f, "Static({} B)", bytes.len()),
            Self::External(owner) => write!(f, "External({} B)", (**owner).as_ref().len()),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_their_order_and_bytes() {
        let mut message = Message::copied(b"one");
        message.push_static(b"two");
        message.push_shared(Slice::copy_from(b"three"));
        message.push_external(vec![b'4'; 4]);
        message.push_copy(&[5; 500]);
        let frames: Vec<_> =
            (0..message.frames()).map(|number| message.frame(number).expect("it is there").to_vec()).collect();
        assert_eq!(frames, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec(), b"4444".to_vec(), vec![5; 500]]);
        assert_eq!(message.payload_bytes(), 515);
        assert_eq!(message.encoded_bytes(), 16 + 5 * 8 + 8 + 8 + 8 + 8 + 504);
    }

    #[test]
    fn an_external_frame_is_released_once_by_the_last_clone() {
        struct Owner(Arc<std::sync::atomic::AtomicUsize>);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                b"x"
            }
        }
        impl Drop for Owner {
            fn drop(&mut self) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let released = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let mut message = Message::new();
        message.push_external(Owner(Arc::clone(&released)));
        let clone = message.clone();
        drop(message);
        assert_eq!(released.load(std::sync::atomic::Ordering::Relaxed), 0);
        drop(clone);
        assert_eq!(released.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[test]
    #[should_panic(expected = "at most 64 frames")]
    fn one_frame_too_many_is_refused() {
        let mut message = Message::new();
        (0..=FRAMES_MAX).for_each(|_| message.push_static(b"x"));
    }
}
