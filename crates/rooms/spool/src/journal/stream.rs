//! A large message on its way into the journal: chunk by chunk while it arrives.
//!
//! Budget: `chunk_bytes` that gather plus `stream_bytes_in_flight` that the writer has not answered for. The windows of
//! a chunk are given back as soon as it is durable. A stream that is dropped before its commit leaves nothing behind
//! that counts.

use super::handle::{Inner, Waiting};
use super::slots::ChunkAt;
use super::volume::{Mail, Stored};
use fabric::Slice;
use message::{Body, Message, MessageId, SpoolStream, StoreError, StoreKey};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// See the module.
pub struct JournalStream {
    inner: Rc<Inner>,
    id: MessageId,
    volume: u8,
    /// Octets that do not make a chunk yet.
    gathered: Body,
    in_flight: VecDeque<(Waiting, u64)>,
    bytes_in_flight: u64,
    /// Durable chunks, in order.
    chunks: Vec<ChunkAt>,
    next_chunk: u32,
    /// The first thing that went wrong.
    failed: Option<StoreError>,
}

impl JournalStream {
    pub(super) fn new(inner: Rc<Inner>, id: MessageId) -> Self {
        let volume = inner.volume_of(id);
        Self {
            inner,
            id,
            volume,
            gathered: Body::new(),
            in_flight: VecDeque::new(),
            bytes_in_flight: 0,
            chunks: Vec::new(),
            next_chunk: 0,
            failed: None,
        }
    }

    fn limits(&self) -> (u64, u64) {
        let options = self.inner.shared(self.volume).map(|shared| &shared.options);
        options.map_or((1, 1), |o| (u64::from(o.chunk_bytes), u64::from(o.stream_bytes_in_flight)))
    }

    fn send_gathered(&mut self) {
        let body = std::mem::take(&mut self.gathered);
        let (stream, number, len) = (self.id, self.next_chunk, body.len());
        self.next_chunk += 1;
        self.bytes_in_flight += len;
        let waiting = self.inner.submit(self.volume, |ticket| Mail::Chunk { stream, number, body, ticket });
        self.in_flight.push_back((waiting, len));
    }

    /// Waits until at most `bytes` are in flight.
    async fn settle_down_to(&mut self, bytes: u64) {
        while self.bytes_in_flight > bytes {
            let Some((waiting, _)) = self.in_flight.front_mut() else { return };
            let result = waiting.await;
            let len = self.in_flight.pop_front().map_or(0, |(_, len)| len);
            self.bytes_in_flight -= len;
            match result {
                Ok(Stored::Chunk(chunk)) => self.chunks.push(chunk),
                Ok(Stored::Message(_)) => self.failed = self.failed.or(Some(StoreError::Failed)),
                Err(error) => self.failed = self.failed.or(Some(error)),
            }
        }
    }
}

impl SpoolStream for JournalStream {
    async fn append(&mut self, mut slice: Slice) -> Result<(), StoreError> {
        let (chunk_bytes, in_flight_max) = self.limits();
        while !slice.is_empty() {
            if self.inner.is_stopping() {
                self.failed = self.failed.or(Some(StoreError::Stopping));
            }
            if let Some(error) = self.failed {
                return Err(error);
            }
            let room = chunk_bytes - self.gathered.len();
            let take = usize::try_from(room).unwrap_or(usize::MAX).min(slice.len());
            self.gathered.push(slice.split_to(take));
            if self.gathered.len() >= chunk_bytes {
                self.send_gathered();
            }
            self.settle_down_to(in_flight_max).await;
        }
        self.failed.map_or(Ok(()), Err)
    }

    async fn commit(mut self, message: Arc<Message>) -> Result<StoreKey, StoreError> {
        if self.inner.is_stopping() {
            return Err(StoreError::Stopping);
        }
        if !self.gathered.is_empty() && self.failed.is_none() {
            self.send_gathered();
        }
        self.settle_down_to(0).await;
        if let Some(error) = self.failed {
            return Err(error);
        }
        // From here on the writer owns the chunks: it abandons them if the commit fails.
        let chunks = std::mem::take(&mut self.chunks).into_boxed_slice();
        let stream = self.id;
        let waiting = self.inner.submit(self.volume, |ticket| Mail::Commit { message, stream, chunks, ticket });
        match waiting.await? {
            Stored::Message(key) => Ok(key),
            Stored::Chunk(_) => Err(StoreError::Failed),
        }
    }
}

impl Drop for JournalStream {
    fn drop(&mut self) {
        // Chunks in flight are taken back by their own futures.
        self.inner.abandon(self.volume, std::mem::take(&mut self.chunks));
    }
}
