//! One batch of the writer: the records it consists of, laid out in a buffer of headers and the windows of the bodies.
//!
//! ```text
//!  arena   │ header, meta, short trace │ pad, header, meta │ pad, header, … │ pad to the block │
//!  write       ▲      content slices ▲        slices ▲                            (pwritev, up to 1,024 parts a call)
//! ```
//! The volume fills a plan, writes it, and applies it to the index once it is durable. No body is copied.

use super::record::{
    AcceptMeta, BLOCK_BYTES, ENTRIES_MAX, ENTRY_BYTES, Entry, FLAG_LARGE, FLAG_MOVED, HEADER_BYTES, Header, Kind,
    Place, RECORD_ALIGN,
};
use super::slots::{ChunkAt, SlotKey};
use super::volume::Ticket;
use crate::disk::DiskFile;
use fabric::Slice;
use message::{Body, Content, Message, MessageId, encode_meta};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

/// A trace up to this is copied next to the header: cheaper than one more part of the vectored write.
const TRACE_COPIED_MAX: usize = 1024;
/// Most parts of one vectored write (`IOV_MAX`).
const PARTS_MAX: usize = 1024;

/// What a record is for: what is left to do when it is durable.
pub(crate) enum Planned {
    /// A whole message.
    Store { message: Arc<Message>, ticket: Ticket },
    /// A piece of a large one.
    Chunk { body: Body, ticket: Ticket },
    /// The end of a large one.
    Commit { message: Arc<Message>, stream: MessageId, chunks: Box<[ChunkAt]>, ticket: Ticket },
    /// A message's record under compaction, and its body part.
    MoveMessage { key: SlotKey, from: Place, body: Slice },
    /// A chunk under compaction.
    MoveChunk { key: SlotKey, number: u32, from: Place, body: Slice },
    /// Outcomes; they stand in the volume's list.
    Entries,
}

/// A record of the batch.
pub(crate) struct Item {
    /// Its part of the arena: padding of the record before, header, meta part, copied trace.
    arena: Range<usize>,
    /// Header and meta part.
    head: Range<usize>,
    /// Where the record starts in the segment.
    pub(crate) offset: u32,
    /// Bytes with padding.
    pub(crate) len: u32,
    pub(crate) what: Planned,
}

/// Where the batch goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) serial: u32,
    pub(crate) commit: u64,
    /// Offset where the commit began.
    pub(crate) commit_start: u32,
}

/// A record whose header is still to be filled in.
#[derive(Clone, Copy)]
struct Opening {
    /// Where its part of the arena starts.
    arena: usize,
    /// Where its header starts in the arena.
    head: usize,
    /// Where it starts in the segment.
    offset: u32,
}

/// See the module. Reused from batch to batch.
#[derive(Default)]
pub(crate) struct Plan {
    arena: Vec<u8>,
    pub(crate) items: Vec<Item>,
    /// Offset of the first record.
    start: u32,
    /// Offset behind the last one, without its padding.
    end: u32,
    /// Octets of trace and content.
    pub(crate) payload: u64,
    /// Bytes copied by compaction.
    pub(crate) moved: u64,
}

impl Plan {
    /// Begins a batch at `offset`, a multiple of the block.
    pub(crate) fn begin(&mut self, offset: u32) {
        debug_assert_eq!(offset as usize % BLOCK_BYTES, 0);
        self.arena.clear();
        self.items.clear();
        (self.start, self.end, self.payload, self.moved) = (offset, offset, 0, 0);
    }

    /// Offset of the first record.
    pub(crate) const fn start(&self) -> u32 {
        self.start
    }

    /// Offset of the block behind the last record.
    pub(crate) const fn end(&self) -> u32 {
        self.end.next_multiple_of(BLOCK_BYTES as u32)
    }

    /// Offset at which the next record would start.
    pub(crate) const fn next_offset(&self) -> u32 {
        self.end.next_multiple_of(RECORD_ALIGN as u32)
    }

    /// Whether nothing is planned.
    pub(crate) const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes that a message's Accept record takes without its content, at most.
    pub(crate) fn accept_bytes_max(message: &Message, chunks: usize) -> u64 {
        // Each text has a length before it, and is cut at 65,535 octets.
        let address = |address: &message::Address| address.as_str().len() + 4;
        let text = |text: &str| text.len().min(u16::MAX as usize) + 2;
        let envelope = &message.envelope;
        let recipients = envelope.recipients.iter();
        let recipients = recipients.map(|r| 1 + address(&r.address) + r.orcpt.as_deref().map_or(0, text));
        let meta = envelope.sender.as_ref().map_or(0, address)
            + recipients.sum::<usize>()
            + envelope.envid.as_deref().map_or(0, text)
            + text(&message.reception.helo);
        // 128: the fixed fields of metadata and chunk table, and the padding.
        (HEADER_BYTES + 128 + meta + chunks * 4 + message.trace.len()) as u64
    }

    /// Bytes that a record of `n` entries takes.
    pub(crate) const fn entries_bytes(n: usize) -> u64 {
        (HEADER_BYTES + n * ENTRY_BYTES).next_multiple_of(RECORD_ALIGN) as u64
    }

    /// Adds a whole message.
    pub(crate) fn store(&mut self, spot: Spot, message: Arc<Message>, ticket: Ticket) {
        let opening = self.open();
        self.accept_meta(&message);
        let header = with_body(accept_header(spot, &message, 0), &message.trace, content_slices(&message));
        let header = self.seal(opening, header);
        self.copy_trace(&message.trace);
        self.push(opening, header, Planned::Store { message, ticket });
    }

    /// Adds the end of a large message, whose chunks are durable.
    pub(crate) fn commit(
        &mut self,
        spot: Spot,
        (message, stream, chunks): (Arc<Message>, MessageId, Box<[ChunkAt]>),
        ticket: Ticket,
    ) {
        let opening = self.open();
        self.accept_meta(&message);
        self.arena.extend_from_slice(&stream.0.to_le_bytes());
        self.arena.extend_from_slice(&(chunks.len() as u32).to_le_bytes());
        for chunk in &chunks {
            self.arena.extend_from_slice(&chunk.len.to_le_bytes());
        }
        let header = with_body(accept_header(spot, &message, FLAG_LARGE), &message.trace, &[]);
        let header = self.seal(opening, header);
        self.copy_trace(&message.trace);
        self.push(opening, header, Planned::Commit { message, stream, chunks, ticket });
    }

    /// Adds a chunk of a stream.
    pub(crate) fn chunk(&mut self, spot: Spot, (stream, number): (MessageId, u32), body: Body, ticket: Ticket) {
        let opening = self.open();
        let header = Header { kind: Kind::Chunk, id: stream, chunk: number, ..blank(spot) };
        let header = self.seal(opening, with_body(header, &[], body.slices()));
        self.push(opening, header, Planned::Chunk { body, ticket });
    }

    /// Adds the copy of a message's record, with what is known of its recipients. `body` is the old record's body part,
    /// which has been checked.
    pub(crate) fn move_message(
        &mut self,
        spot: Spot,
        (key, from): (SlotKey, Place),
        (old, meta): (&Header, &AcceptMeta<'_>),
        states: &[Entry],
        body: Slice,
    ) {
        let opening = self.open();
        meta.encode_unmoved(&mut self.arena);
        self.arena.extend_from_slice(&from.serial.to_le_bytes());
        self.arena.extend_from_slice(&from.offset8.to_le_bytes());
        for entry in states {
            entry.encode(&mut self.arena);
        }
        let header = self.seal(opening, Header { flags: old.flags | FLAG_MOVED, ..moved(spot, old) });
        self.moved += header.record_len();
        self.push(opening, header, Planned::MoveMessage { key, from, body });
    }

    /// Adds the copy of a chunk.
    pub(crate) fn move_chunk(&mut self, spot: Spot, (key, from): (SlotKey, Place), old: &Header, body: Slice) {
        let opening = self.open();
        let header = self.seal(opening, moved(spot, old));
        self.moved += header.record_len();
        self.push(opening, header, Planned::MoveChunk { key, number: old.chunk, from, body });
    }

    /// Adds outcomes, up to [`ENTRIES_MAX`].
    pub(crate) fn entries(&mut self, spot: Spot, entries: &[Entry]) {
        debug_assert!(entries.len() <= ENTRIES_MAX);
        let opening = self.open();
        for entry in entries {
            entry.encode(&mut self.arena);
        }
        let header = Header { kind: Kind::Outcomes, count: entries.len() as u16, ..blank(spot) };
        let header = self.seal(opening, header);
        self.push(opening, header, Planned::Entries);
    }

    fn accept_meta(&mut self, message: &Message) {
        let len_at = self.arena.len();
        self.arena.extend_from_slice(&[0; 4]);
        encode_meta(message, &mut self.arena);
        let len = (self.arena.len() - len_at - 4) as u32;
        self.arena[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
    }

    /// Pads the record before and leaves room for a header; the meta part is appended to the arena next.
    fn open(&mut self) -> Opening {
        let offset = self.next_offset();
        let arena = self.arena.len();
        let head = arena + (offset - self.end) as usize;
        self.arena.resize(head + HEADER_BYTES, 0);
        Opening { arena, head, offset }
    }

    /// Fills the header in, now that the meta part stands in the arena.
    fn seal(&mut self, opening: Opening, header: Header) -> Header {
        let (front, meta) = self.arena[opening.head..].split_at_mut(HEADER_BYTES);
        let header = Header { meta_len: meta.len() as u32, ..header };
        front.copy_from_slice(&header.encode(meta));
        header
    }

    fn copy_trace(&mut self, trace: &[u8]) {
        if trace.len() <= TRACE_COPIED_MAX {
            self.arena.extend_from_slice(trace);
        }
    }

    fn push(&mut self, opening: Opening, header: Header, what: Planned) {
        let head = opening.head..opening.head + header.body_start();
        let len = header.record_len() as u32;
        self.end = opening.offset + header.body_start() as u32 + header.body_len;
        if !matches!(what, Planned::MoveMessage { .. } | Planned::MoveChunk { .. }) {
            self.payload += u64::from(header.body_len);
        }
        self.items.push(Item { arena: opening.arena..self.arena.len(), head, offset: opening.offset, len, what });
    }

    /// Header and meta part of an item.
    pub(crate) fn head(&self, item: &Item) -> &[u8] {
        &self.arena[item.head.clone()]
    }

    /// Writes the batch, with zeros up to the end of its last block. Returns the number of calls.
    ///
    /// # Errors
    /// Those of the disk; then any part of it may have been written.
    pub(crate) fn write(&self, file: &dyn DiskFile) -> io::Result<u64> {
        let zeros = [0; BLOCK_BYTES];
        let mut parts = self.parts(&zeros);
        let mut rest = &mut parts[..];
        let (mut at, mut calls) = (u64::from(self.start), 0);
        while !rest.is_empty() {
            let n = file.write_at(&rest[..rest.len().min(PARTS_MAX)], at)?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            at += n as u64;
            calls += 1;
            IoSlice::advance_slices(&mut rest, n);
        }
        debug_assert_eq!(at, u64::from(self.end()));
        Ok(calls)
    }

    fn parts<'a>(&'a self, zeros: &'a [u8; BLOCK_BYTES]) -> Vec<IoSlice<'a>> {
        let mut parts = Vec::with_capacity(self.items.len() * 3 + 1);
        for item in &self.items {
            parts.push(IoSlice::new(&self.arena[item.arena.clone()]));
            match &item.what {
                Planned::Store { message, .. } | Planned::Commit { message, .. } => {
                    if message.trace.len() > TRACE_COPIED_MAX {
                        parts.push(IoSlice::new(&message.trace));
                    }
                    if matches!(item.what, Planned::Store { .. }) {
                        parts.extend(content_slices(message).iter().map(|slice| IoSlice::new(slice)));
                    }
                }
                Planned::Chunk { body, .. } => parts.extend(body.slices().iter().map(|slice| IoSlice::new(slice))),
                Planned::MoveMessage { body, .. } | Planned::MoveChunk { body, .. } if !body.is_empty() => {
                    parts.push(IoSlice::new(body));
                }
                Planned::MoveMessage { .. } | Planned::MoveChunk { .. } | Planned::Entries => {}
            }
        }
        let gap = (self.end() - self.end) as usize;
        if gap > 0 {
            parts.push(IoSlice::new(&zeros[..gap]));
        }
        parts
    }
}

fn content_slices(message: &Message) -> &[Slice] {
    match &message.content {
        Content::Resident(body) => body.slices(),
        Content::Spooled { .. } => &[],
    }
}

fn with_body(header: Header, trace: &[u8], slices: &[Slice]) -> Header {
    let crc = slices.iter().fold(crc32c::crc32c(trace), |crc, slice| crc32c::crc32c_append(crc, slice));
    let len = trace.len() + slices.iter().map(|slice| slice.len()).sum::<usize>();
    Header { body_len: len as u32, body_crc: crc, trace_len: trace.len() as u32, ..header }
}

fn blank(spot: Spot) -> Header {
    Header {
        kind: Kind::Accept,
        flags: 0,
        count: 0,
        serial: spot.serial,
        commit_start: spot.commit_start,
        commit: spot.commit,
        id: MessageId::NONE,
        meta_len: 0,
        body_len: 0,
        body_crc: 0,
        chunk: 0,
        trace_len: 0,
    }
}

fn moved(spot: Spot, old: &Header) -> Header {
    Header { serial: spot.serial, commit_start: spot.commit_start, commit: spot.commit, ..*old }
}

fn accept_header(spot: Spot, message: &Message, flags: u8) -> Header {
    // The codec bounds recipients at 65,535.
    Header { flags, count: message.envelope.recipients.len() as u16, id: message.id, ..blank(spot) }
}
