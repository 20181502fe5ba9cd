//! The content of one message while it arrives: slices of intake windows, or a stream into the spool when it is large.
//!
//! A slice keeps its whole window alive. A client that sends a few octets at a time while others fill the windows could
//! so pin 64 KiB with each of its packets. Therefore, once a message has [`SLICES_FREE`] slices, pieces below
//! [`PIECE_MIN`] are copied together; a message then pins at most eight times its size. Messages that arrive in
//! ordinary reads are never copied.

use fabric::Slice;
use message::{Body, MessageId, SpoolStream, StoreError};

/// See the module.
#[derive(Debug)]
pub(crate) struct Content<T> {
    /// What has not gone to the stream.
    body: Body,
    /// Small pieces, behind `body`.
    loose: Vec<u8>,
    len: u64,
    place: Place<T>,
}

/// Where the octets go.
#[derive(Debug)]
enum Place<T> {
    Memory,
    Stream {
        id: MessageId,
        stream: T,
    },
    /// The spool failed; further octets are dropped.
    Lost(StoreError),
}

/// The content when it is whole.
pub(crate) enum Whole<T> {
    Resident(Body),
    /// All octets have been handed over.
    Streamed {
        id: MessageId,
        stream: T,
        len: u64,
    },
}

/// So many slices are kept whatever their size.
const SLICES_FREE: usize = 8;
/// Pieces from this size on are kept where they are, octets.
const PIECE_MIN: usize = 8 << 10;
/// Small pieces are collected up to this size, octets.
const LOOSE_MAX: usize = 64 << 10;
/// Octets that are handed to the stream together.
const STREAM_STEP: u64 = 128 << 10;

impl<T> Default for Content<T> {
    fn default() -> Self {
        Self { body: Body::new(), loose: Vec::new(), len: 0, place: Place::Memory }
    }
}

impl<T: SpoolStream> Content<T> {
    /// Appends octets that lie in a window.
    pub(crate) fn push(&mut self, piece: Slice) {
        if matches!(self.place, Place::Lost(_)) {
            return;
        }
        self.len += piece.len() as u64;
        let crowded = !self.loose.is_empty() || self.body.slices().len() >= SLICES_FREE;
        if crowded && piece.len() < PIECE_MIN && !self.joins(&piece) {
            return self.append_loose(&piece);
        }
        self.seal();
        self.body.push(piece);
    }

    /// Appends octets that the client left out.
    pub(crate) fn push_missing(&mut self, octets: &'static [u8]) {
        if matches!(self.place, Place::Lost(_)) || octets.is_empty() {
            return;
        }
        self.len += octets.len() as u64;
        self.append_loose(octets);
    }

    /// Whether the piece lies right behind the last one in the same window, so that it costs nothing.
    fn joins(&self, piece: &Slice) -> bool {
        self.loose.is_empty() && self.body.slices().last().is_some_and(|last| last.clone().try_join(piece))
    }

    fn append_loose(&mut self, octets: &[u8]) {
        self.loose.extend_from_slice(octets);
        if self.loose.len() >= LOOSE_MAX {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if !self.loose.is_empty() {
            self.body.push(Slice::from_vec(std::mem::take(&mut self.loose)));
        }
    }

    /// Whether the content has outgrown memory, and no stream has been opened for it.
    pub(crate) fn is_outgrown(&self, resident_max: u64) -> bool {
        matches!(self.place, Place::Memory) && self.len > resident_max
    }

    /// From now on octets go to the spool.
    pub(crate) fn open(&mut self, id: MessageId, stream: T) {
        self.place = Place::Stream { id, stream };
    }

    /// Whether [`Content::flush`] has something to do.
    pub(crate) fn wants_flush(&self) -> bool {
        matches!(self.place, Place::Stream { .. }) && self.body.len() + self.loose.len() as u64 >= STREAM_STEP
    }

    /// Hands what is here to the stream; waits while the spool is busy.
    pub(crate) async fn flush(&mut self) {
        self.seal();
        let Place::Stream { stream, .. } = &mut self.place else { return };
        for slice in std::mem::take(&mut self.body).into_slices() {
            if let Err(error) = stream.append(slice).await {
                self.place = Place::Lost(error);
                return;
            }
        }
    }

    /// All octets have come.
    pub(crate) async fn finish(mut self) -> Result<Whole<T>, StoreError> {
        self.flush().await;
        match self.place {
            Place::Memory => Ok(Whole::Resident(self.body)),
            Place::Stream { id, stream } => Ok(Whole::Streamed { id, stream, len: self.len }),
            Place::Lost(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fabric::WindowPool;
    use message::{Message, StoreKey};
    use std::sync::Arc;

    struct Nowhere;

    impl SpoolStream for Nowhere {
        async fn append(&mut self, _: Slice) -> Result<(), StoreError> {
            Err(StoreError::Full)
        }

        async fn commit(self, _: Arc<Message>) -> Result<StoreKey, StoreError> {
            Err(StoreError::Full)
        }
    }

    #[test]
    fn octets_that_dribble_do_not_pin_a_window_each() {
        let pool = WindowPool::new(64 << 10, 4);
        let mut content = Content::<Nowhere>::default();
        for n in 0..10_000u32 {
            let mut window = pool.take();
            content.push(window.copy_in(&[n.to_le_bytes()[0]]).unwrap());
        }
        assert_eq!(pool.stats().live, SLICES_FREE);
        content.seal();
        assert_eq!(content.body.slices().len(), SLICES_FREE + 1);
        let expected: Vec<u8> = (0..10_000u32).map(|n| n.to_le_bytes()[0]).collect();
        assert_eq!(content.body.to_vec(), expected);
    }

    #[test]
    fn ordinary_pieces_stay_where_they_are() {
        let pool = WindowPool::new(64 << 10, 4);
        let mut window = pool.take();
        let mut content = Content::<Nowhere>::default();
        // Neighbours are joined, however small they are.
        for _ in 0..100 {
            let piece = window.copy_in(b"text").unwrap();
            content.push(piece);
        }
        assert_eq!((content.body.slices().len(), content.loose.len()), (1, 0));
        for _ in 0..20 {
            let mut window = pool.take();
            content.push(window.copy_in(&[0; PIECE_MIN]).unwrap());
        }
        assert_eq!((content.body.slices().len(), content.loose.len()), (21, 0));
        assert_eq!(content.len, 400 + 20 * PIECE_MIN as u64);
    }

    #[test]
    fn missing_octets_stand_in_their_place() {
        let mut content = Content::<Nowhere>::default();
        for piece in [&b"a"[..], b"\nb", b"\nc"] {
            content.push(Slice::copy_from(piece));
            content.push_missing(b"\r");
        }
        content.push(Slice::copy_from(&[b'x'; PIECE_MIN]));
        content.seal();
        let mut expected = b"a\r\nb\r\nc\r".to_vec();
        expected.extend_from_slice(&[b'x'; PIECE_MIN]);
        assert_eq!(content.body.to_vec(), expected);
        assert_eq!(content.body.slices().len(), 3);
    }
}
