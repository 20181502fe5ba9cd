//! Received messages: lent for the length of a call ([`MessageView`]), or owned ([`Received`]).

use std::fmt;

use smallvec::SmallVec;

use crate::slice::Slice;
use crate::tli::{Borrowed, Remote};
use crate::wire::{self, Frames, Kind, MessageWord, RawFrame};

/// A received message, where it lies or in a private copy; every length in it was checked.
pub struct MessageView<'a>(View<'a>);

enum View<'a> {
    /// As it was encoded.
    Encoded {
        word: MessageWord,
        body: &'a [u8],
        /// The bytes of the first frame, if they lie in the message.
        first: &'a [u8],
        /// What the lent frames name, in order.
        lent: &'a [Borrowed],
    },
    /// Taken apart already.
    Owned(&'a Received),
}

/// A frame of a [`MessageView`].
#[derive(Debug, Clone, Copy)]
pub enum FrameView<'a> {
    /// Bytes of the message.
    Bytes(&'a [u8]),
    /// Counted memory of this process, by reference.
    Slice(&'a Slice),
    /// A window of the peer's, by reference.
    Remote(&'a Remote),
}

impl<'a> MessageView<'a> {
    /// `body` was checked to hold the frames that `word` announces, and `lent` has one entry for each lent frame.
    #[inline]
    pub(super) fn new(word: MessageWord, body: &'a [u8], first: &'a [u8], lent: &'a [Borrowed]) -> Self {
        Self(View::Encoded { word, body, first, lent })
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        match &self.0 {
            View::Encoded { word, .. } => word.kind,
            View::Owned(received) => received.kind,
        }
    }

    /// Its flags.
    pub fn flags(&self) -> u8 {
        match &self.0 {
            View::Encoded { word, .. } => word.flags,
            View::Owned(received) => received.flags,
        }
    }

    /// What names a request and its answer.
    pub fn correlation(&self) -> u64 {
        match &self.0 {
            View::Encoded { body, .. } => word_at(body, 0),
            View::Owned(received) => received.correlation,
        }
    }

    /// Nanoseconds and tag, when the sender gave them.
    pub fn extension(&self) -> Option<(u64, u64)> {
        match &self.0 {
            View::Encoded { word, body, .. } => {
                (wire::extension(word.flags) > 0).then(|| (word_at(body, 8), word_at(body, 16)))
            }
            View::Owned(received) => received.extension,
        }
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        match &self.0 {
            View::Encoded { word, .. } => word.frames as usize,
            View::Owned(received) => received.frames.len(),
        }
    }

    /// The frames in order, each with the sender's schema number.
    pub fn each_frame(&self) -> EachFrame<'_> {
        EachFrame(match &self.0 {
            View::Encoded { word, body, lent, .. } => Each::Encoded(Frames::new(*word, body), lent.iter()),
            View::Owned(received) => Each::Owned(received.frames.iter()),
        })
    }

    /// A frame by number.
    pub fn frame(&self, number: usize) -> Option<FrameView<'_>> {
        self.each_frame().nth(number).map(|(_, frame)| frame)
    }

    /// The bytes of the first frame, when they lie here; empty for a message without frames or with a peer's window in front.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            View::Encoded { first, .. } => first,
            View::Owned(received) => received.bytes(),
        }
    }

    /// All bytes of all frames, copied into one vector.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (_, frame) in self.each_frame() {
            frame.append_to(&mut all);
        }
        all
    }
}

/// The frames of a [`MessageView`].
pub struct EachFrame<'a>(Each<'a>);

enum Each<'a> {
    Encoded(Frames<'a>, std::slice::Iter<'a, Borrowed>),
    Owned(std::slice::Iter<'a, ReceivedFrame>),
}

impl<'a> Iterator for EachFrame<'a> {
    type Item = (u16, FrameView<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Each::Encoded(frames, lent) => match frames.advance() {
                Ok(Some(RawFrame::Bytes { schema, bytes })) => Some((schema, FrameView::Bytes(bytes))),
                Ok(Some(RawFrame::Lent { schema, .. })) => {
                    lent.next().map(|borrowed| (schema, FrameView::from(borrowed)))
                }
                _ => None,
            },
            Each::Owned(frames) => frames.next().map(|frame| (frame.schema, FrameView::from(&frame.bytes))),
        }
    }
}

/// An owned message whose frames are parts of `copy`, a counted copy of the body that was checked.
pub(super) fn own(word: MessageWord, copy: &Slice, lent: &mut SmallVec<[Borrowed; 2]>) -> Received {
    let mut frames = SmallVec::new();
    let mut lent = lent.drain(..);
    let mut raw = Frames::new(word, copy);
    while let Ok(Some(frame)) = raw.advance() {
        frames.push(match frame {
            RawFrame::Bytes { schema, bytes } => {
                let start = bytes.as_ptr().addr() - copy.as_ptr().addr();
                ReceivedFrame { schema, bytes: Borrowed::Slice(copy.slice(start..start + bytes.len())) }
            }
            RawFrame::Lent { schema, .. } => {
                ReceivedFrame { schema, bytes: lent.next().expect("one entry for each lent frame") }
            }
        });
    }
    let extension = (wire::extension(word.flags) > 0).then(|| (word_at(copy, 8), word_at(copy, 16)));
    Received { kind: word.kind, flags: word.flags, correlation: word_at(copy, 0), extension, frames }
}

fn word_at(body: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(body[at..at + 8].try_into().expect("eight bytes"))
}

impl<'a> From<&'a Borrowed> for FrameView<'a> {
    fn from(borrowed: &'a Borrowed) -> Self {
        match borrowed {
            Borrowed::Slice(slice) => Self::Slice(slice),
            Borrowed::Remote(remote) => Self::Remote(remote),
        }
    }
}

impl FrameView<'_> {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Slice(slice) => slice.len(),
            Self::Remote(remote) => remote.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes where they lie; `None` for a window of a peer that is not trusted, which must be copied.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Slice(slice) => Some(slice),
            Self::Remote(remote) => remote.trusted(),
        }
    }

    /// Appends a copy of the bytes.
    pub fn append_to(&self, all: &mut Vec<u8>) {
        match self.as_bytes() {
            Some(bytes) => all.extend_from_slice(bytes),
            None => {
                let Self::Remote(remote) = self else { return };
                let start = all.len();
                all.resize(start + remote.len(), 0);
                remote.copy_to(0, &mut all[start..]);
            }
        }
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        self.append_to(&mut all);
        all
    }
}

impl fmt::Debug for MessageView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageView")
            .field("kind", &self.kind())
            .field("frames", &self.frames())
            .finish_non_exhaustive()
    }
}

/// A received message that is the application's to keep.
#[derive(Debug)]
pub struct Received {
    kind: Kind,
    flags: u8,
    correlation: u64,
    extension: Option<(u64, u64)>,
    frames: SmallVec<[ReceivedFrame; 2]>,
}

/// A frame of a [`Received`].
#[derive(Debug)]
pub struct ReceivedFrame {
    /// The sender's number for its form.
    pub schema: u16,
    /// Where the bytes are.
    pub bytes: Borrowed,
}

impl Received {
    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its flags.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// What names a request and its answer.
    pub fn correlation(&self) -> u64 {
        self.correlation
    }

    /// Nanoseconds and tag, when the sender gave them.
    pub fn extension(&self) -> Option<(u64, u64)> {
        self.extension
    }

    /// Lends it as what a receiver lends.
    pub fn lend<R>(&self, use_it: impl FnOnce(MessageView<'_>) -> R) -> R {
        use_it(MessageView(View::Owned(self)))
    }

    /// The frames in order.
    pub fn frames(&self) -> &[ReceivedFrame] {
        &self.frames
    }

    /// The frames, given away.
    pub fn into_frames(self) -> impl Iterator<Item = ReceivedFrame> {
        self.frames.into_iter()
    }

    /// A frame by number.
    pub fn frame(&self, number: usize) -> Option<FrameView<'_>> {
        self.frames.get(number).map(|frame| FrameView::from(&frame.bytes))
    }

    /// The bytes of the first frame, when they lie here; empty for a message without frames or with a peer's window in front.
    pub fn bytes(&self) -> &[u8] {
        match self.frames.first() {
            Some(ReceivedFrame { bytes: Borrowed::Slice(slice), .. }) => slice,
            _ => &[],
        }
    }

    /// All bytes of all frames, copied into one vector.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::new();
        self.frames.iter().for_each(|frame| FrameView::from(&frame.bytes).append_to(&mut all));
        all
    }

    /// Payload of all frames in bytes.
    pub fn payload_bytes(&self) -> usize {
        self.frames.iter().map(|frame| FrameView::from(&frame.bytes).len()).sum()
    }
}
