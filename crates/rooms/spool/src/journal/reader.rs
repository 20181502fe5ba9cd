//! Reading messages back, on a thread of the swap-in pool: one `pread` a small message, checked, and cut into slices
//! without a copy.

use super::record::{AcceptMeta, Place, Record, parse};
use super::segment::SegmentFile;
use super::shared::{ReadError, Shared};
use super::slots::SlotKey;
use fabric::Slice;
use message::{Body, Content, Message, StoreError, decode_meta};
use std::sync::Arc;

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Gone | ReadError::Damaged => Self::Missing,
            ReadError::Disk => Self::Failed,
        }
    }
}

impl Shared {
    /// The message with its content, if that lies in the same record.
    pub(crate) fn fetch(&self, key: SlotKey) -> Result<Arc<Message>, StoreError> {
        let bytes = Slice::from_vec(self.read_message(key)?);
        let record = parse(&bytes, None).map_err(|_| StoreError::Missing)?;
        message_of(&record, &bytes).map(Arc::new)
    }

    /// Up to `max` octets of the content from `offset`; none behind its end.
    pub(crate) fn read_content(&self, key: SlotKey, offset: u64, max: usize) -> Result<Slice, StoreError> {
        let chunk = {
            let index = self.index();
            let slot = index.slots.get(key).ok_or(StoreError::Missing)?;
            slot.is_large.then(|| index.chunk_at(key, offset))
        };
        let Some(chunk) = chunk else {
            let bytes = Slice::from_vec(self.read_message(key)?);
            let record = parse(&bytes, None).map_err(|_| StoreError::Missing)?;
            let header = record.header;
            let start = header.body_start() + header.trace_len as usize;
            return Ok(part(&bytes.slice(start..header.body_start() + header.body_len as usize), offset, max));
        };
        let Some(chunk) = chunk else { return Ok(Slice::empty()) };
        self.read_chunk(key, chunk, offset, max)
    }

    fn read_chunk(&self, key: SlotKey, chunk: ChunkRead, offset: u64, max: usize) -> Result<Slice, StoreError> {
        let len = super::index::chunk_record_bytes(chunk.len) as usize;
        let bytes = match self.read_record(&chunk.file, chunk.place, len) {
            Ok(bytes) => bytes,
            Err(ReadError::Damaged) => {
                // Compaction may have moved it while we read.
                let again = self.index().chunk_at(key, offset).ok_or(StoreError::Missing)?;
                if again.place == chunk.place {
                    self.note_damage(&chunk.file, chunk.place, len);
                    return Err(StoreError::Missing);
                }
                self.read_record(&again.file, again.place, len)?
            }
            Err(error) => return Err(error.into()),
        };
        let bytes = Slice::from_vec(bytes);
        let record = parse(&bytes, None).map_err(|_| StoreError::Missing)?;
        let start = record.header.body_start();
        Ok(part(&bytes.slice(start..start + record.header.body_len as usize), offset - chunk.begins, max))
    }
}

/// A chunk to be read.
pub(crate) struct ChunkRead {
    pub(crate) file: SegmentFile,
    pub(crate) place: Place,
    pub(crate) len: u32,
    /// Offset of its first octet in the content.
    pub(crate) begins: u64,
}

impl super::index::Index {
    /// The chunk that holds the octet at `offset`.
    pub(crate) fn chunk_at(&self, key: SlotKey, offset: u64) -> Option<ChunkRead> {
        self.slots.get(key)?;
        let mut begins = 0;
        for chunk in &self.slots.large.get(&key.slot)?.chunks {
            if offset < begins + u64::from(chunk.len) {
                let file = self.segments.get(&chunk.place.serial)?.file.clone();
                return Some(ChunkRead { file, place: chunk.place, len: chunk.len, begins });
            }
            begins += u64::from(chunk.len);
        }
        None
    }
}

/// The message in an Accept record; `bytes` hold the record from its header on, checked.
pub(crate) fn message_of(record: &Record<'_>, bytes: &Slice) -> Result<Message, StoreError> {
    let meta = AcceptMeta::decode(record).map_err(|_| StoreError::Missing)?;
    let decoded = decode_meta(record.header.id, meta.message).map_err(|_| StoreError::Missing)?;
    let body = record.header.body_start();
    let trace_end = body + record.header.trace_len as usize;
    let mut message = decoded.message;
    message.trace = bytes.slice(body..trace_end);
    if meta.chunks.is_none() {
        let content = bytes.slice(trace_end..body + record.header.body_len as usize);
        message.content = Content::Resident(Body::from(content));
    }
    Ok(message)
}

fn part(content: &Slice, offset: u64, max: usize) -> Slice {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    content.slice(start..start.saturating_add(max).min(content.len()))
}
