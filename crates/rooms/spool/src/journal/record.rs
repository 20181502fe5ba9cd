//! The bytes of a journal record: how one is written, read, and found again behind damage. Format version 1, kept for
//! ever; the page is `docs/formats/journal.md`.
//!
//! ```text
//!   0  u32  magic "PHR1"            32  …              (id, 16 bytes)
//!   4  u8   kind                    40  u32  length of the meta part
//!   5  u8   flags                   44  u32  length of the body part
//!   6  u16  recipients or entries   48  u32  crc32c of the body part
//!   8  u32  serial of the segment   52  u32  number of the chunk
//!  12  u32  where the commit began  56  u32  octets of trace at the front of the body part
//!  16  u64  number of the commit    60  u32  crc32c of bytes 0..60 and of the meta part
//!  24  u128 id                      64  meta part, body part, zeros up to a multiple of 8
//! ```
//! Pure: takes bytes, gives bytes. Everything read is validated here, once; nothing here panics on any input.

use message::{MessageId, Outcome, UnixMicros};

/// Bytes of a record before its meta part.
pub const HEADER_BYTES: usize = 64;
/// Records start at multiples of this.
pub const RECORD_ALIGN: usize = 8;
/// A write to a segment starts at a multiple of this: it never touches a page that an earlier commit made durable.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes of an outcome entry.
pub const ENTRY_BYTES: usize = 24;
/// Most entries of one Outcomes record.
pub const ENTRIES_MAX: usize = 2048;

const MAGIC: u32 = u32::from_le_bytes(*b"PHR1");
/// The message was copied from another place by compaction; its meta part names that place.
pub const FLAG_MOVED: u8 = 1;
/// The content is in Chunk records.
pub const FLAG_LARGE: u8 = 2;
const FLAGS_KNOWN: u8 = FLAG_MOVED | FLAG_LARGE;

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A message was accepted.
    Accept = 1,
    /// A piece of a large message.
    Chunk = 2,
    /// What became of recipients.
    Outcomes = 3,
}

/// Where a record is: the serial number of its segment and its offset in units of 8 bytes. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place {
    /// The segment.
    pub serial: u32,
    /// Offset in the segment, in units of 8 bytes.
    pub offset8: u32,
}

impl Place {
    /// The place `offset` bytes into segment `serial`; `offset` is a multiple of 8.
    pub const fn new(serial: u32, offset: u32) -> Self {
        Self { serial, offset8: offset / RECORD_ALIGN as u32 }
    }

    /// Offset in bytes.
    pub const fn offset(self) -> u64 {
        self.offset8 as u64 * RECORD_ALIGN as u64
    }
}

/// A record's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the record tells.
    pub kind: Kind,
    /// `FLAG_…`
    pub flags: u8,
    /// Recipients of an Accept, entries of an Outcomes record.
    pub count: u16,
    /// Generation of the segment: what an earlier use left behind has another.
    pub serial: u32,
    /// Offset of the first record of the commit, in bytes.
    pub commit_start: u32,
    /// Number of the commit: run in the high half, count within the run in the low half.
    pub commit: u64,
    /// The message, or the stream that a chunk belongs to.
    pub id: MessageId,
    /// Octets of the meta part.
    pub meta_len: u32,
    /// Octets of the body part.
    pub body_len: u32,
    /// crc32c of the body part.
    pub body_crc: u32,
    /// Which chunk of its stream.
    pub chunk: u32,
    /// Octets of trace at the front of the body part.
    pub trace_len: u32,
}

impl Header {
    /// Bytes of the record with its padding.
    pub const fn record_len(&self) -> u64 {
        (HEADER_BYTES as u64 + self.meta_len as u64 + self.body_len as u64).next_multiple_of(RECORD_ALIGN as u64)
    }

    /// Offset of the body part from the record's start.
    pub const fn body_start(&self) -> usize {
        HEADER_BYTES + self.meta_len as usize
    }

    /// Writes the header; `meta` is what follows it.
    pub fn encode(&self, meta: &[u8]) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4] = self.kind as u8;
        out[5] = self.flags;
        out[6..8].copy_from_slice(&self.count.to_le_bytes());
        out[8..12].copy_from_slice(&self.serial.to_le_bytes());
        out[12..16].copy_from_slice(&self.commit_start.to_le_bytes());
        out[16..24].copy_from_slice(&self.commit.to_le_bytes());
        out[24..40].copy_from_slice(&self.id.0.to_le_bytes());
        out[40..44].copy_from_slice(&self.meta_len.to_le_bytes());
        out[44..48].copy_from_slice(&self.body_len.to_le_bytes());
        out[48..52].copy_from_slice(&self.body_crc.to_le_bytes());
        out[52..56].copy_from_slice(&self.chunk.to_le_bytes());
        out[56..60].copy_from_slice(&self.trace_len.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out[..60]), meta);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the fields without looking at the checksum, which needs the meta part: see [`parse`].
    fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Flaw> {
        if u32_at(bytes, 0) != MAGIC {
            return Err(Flaw::NoRecord);
        }
        let kind = match bytes[4] {
            1 => Kind::Accept,
            2 => Kind::Chunk,
            3 => Kind::Outcomes,
            _ => return Err(Flaw::Head),
        };
        if bytes[5] & !FLAGS_KNOWN != 0 {
            return Err(Flaw::Head);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[24..40]);
        Ok(Self {
            kind,
            flags: bytes[5],
            count: u16::from_le_bytes([bytes[6], bytes[7]]),
            serial: u32_at(bytes, 8),
            commit_start: u32_at(bytes, 12),
            commit: u64::from(u32_at(bytes, 20)) << 32 | u64::from(u32_at(bytes, 16)),
            id: MessageId(u128::from_le_bytes(id)),
            meta_len: u32_at(bytes, 40),
            body_len: u32_at(bytes, 44),
            body_crc: u32_at(bytes, 48),
            chunk: u32_at(bytes, 52),
            trace_len: u32_at(bytes, 56),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

/// A record in memory: header and meta part are sound, the body is not looked at until [`Record::body`].
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The header.
    pub header: Header,
    /// The meta part.
    pub meta: &'a [u8],
    body: &'a [u8],
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// They do not begin like one, or it is an earlier generation's.
    NoRecord,
    /// Header or meta part are damaged, or reach over the end.
    Head,
    /// Header and meta part are sound, the body part is not.
    Body,
}

impl<'a> Record<'a> {
    /// Header and meta part alone.
    pub const fn head(&self) -> Record<'a> {
        Record { header: self.header, meta: self.meta, body: &[] }
    }

    /// The body part, checked.
    ///
    /// # Errors
    /// [`Flaw::Body`] when it is cut or its checksum is wrong.
    pub fn body(&self) -> Result<&'a [u8], Flaw> {
        let whole = self.body.len() == self.header.body_len as usize;
        if whole && crc32c::crc32c(self.body) == self.header.body_crc { Ok(self.body) } else { Err(Flaw::Body) }
    }
}

/// Reads the record at the front of `bytes`; with `serial`, only one of that generation. The bytes may end within the
/// body part: then [`Record::body`] is an error.
///
/// # Errors
/// See [`Flaw`]. Never panics; for any input.
pub fn parse(bytes: &[u8], serial: Option<u32>) -> Result<Record<'_>, Flaw> {
    let head = bytes.first_chunk::<HEADER_BYTES>().ok_or(Flaw::NoRecord)?;
    let header = Header::decode(head)?;
    if serial.is_some_and(|serial| serial != header.serial) {
        return Err(Flaw::NoRecord);
    }
    let rest = &bytes[HEADER_BYTES..];
    let meta = rest.get(..header.meta_len as usize).ok_or(Flaw::Head)?;
    if crc32c::crc32c_append(crc32c::crc32c(&head[..60]), meta) != u32_at(head, 60) {
        return Err(Flaw::Head);
    }
    if header.trace_len > header.body_len {
        return Err(Flaw::Head);
    }
    let body = &rest[meta.len()..];
    let body = &body[..body.len().min(header.body_len as usize)];
    Ok(Record { header, meta, body })
}

/// What [`scan`] finds, in order of offset.
#[derive(Clone, Copy, Debug)]
pub enum Finding<'a> {
    /// A sound record at this offset.
    Sound(usize, Record<'a>),
    /// A record whose header and meta part are sound and whose body is not.
    BadBody(usize, Record<'a>),
    /// Bytes between two sound records, or behind the last, that held records once and hold none now.
    Damage {
        /// Offset of the first bad byte.
        start: usize,
        /// Offset behind the last.
        end: usize,
    },
}

/// Goes through the records of generation `serial` in the bytes of a segment from `start` on. A write ends with zeros up
/// to the next block, which are no damage; behind damage it looks at every multiple of 8 for the next sound header.
/// Behind the last record lies what an earlier generation wrote: nothing there looks like ours, or it is damage.
pub fn scan(bytes: &[u8], start: usize, serial: u32) -> Scan<'_> {
    Scan { bytes, at: start.next_multiple_of(RECORD_ALIGN), serial }
}

/// See [`scan`].
#[derive(Clone, Debug)]
pub struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    serial: u32,
}

impl<'a> Scan<'a> {
    fn parse_at(&self, at: usize) -> Result<Record<'a>, Flaw> {
        parse(self.bytes.get(at..).unwrap_or(&[]), Some(self.serial))
    }

    /// The next sound header at or behind `from`, and the first trace of a damaged one before it.
    fn search(&self, from: usize) -> (Option<usize>, Option<usize>) {
        let mut trace = None;
        let mut at = from.next_multiple_of(RECORD_ALIGN);
        while at + HEADER_BYTES <= self.bytes.len() {
            let looks_ours = u32_at(self.bytes, at) == MAGIC && u32_at(self.bytes, at + 8) == self.serial;
            if looks_ours {
                if self.parse_at(at).is_ok() {
                    return (Some(at), trace);
                }
                trace = trace.or(Some(at));
            }
            at += RECORD_ALIGN;
        }
        (None, trace)
    }

    fn take(&mut self, at: usize, record: Record<'a>) -> Finding<'a> {
        // The length is under the header's checksum, so it can be trusted even where the body cannot.
        self.at = at.saturating_add(usize::try_from(record.header.record_len()).unwrap_or(usize::MAX));
        if record.body().is_ok() { Finding::Sound(at, record) } else { Finding::BadBody(at, record) }
    }

    /// Steps over the zeros that end a write.
    fn skip_gap(&mut self) {
        let block = self.at.saturating_add(BLOCK_BYTES - 1) & !(BLOCK_BYTES - 1);
        if self.bytes.get(self.at..block).is_some_and(|gap| gap.iter().all(|&byte| byte == 0)) {
            self.at = block;
        }
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Finding<'a>;

    fn next(&mut self) -> Option<Finding<'a>> {
        if let Ok(record) = self.parse_at(self.at) {
            return Some(self.take(self.at, record));
        }
        self.skip_gap();
        if let Ok(record) = self.parse_at(self.at) {
            return Some(self.take(self.at, record));
        }
        let start = self.at;
        match self.search(start) {
            (Some(end), _) => {
                self.at = end;
                Some(Finding::Damage { start, end })
            }
            (None, Some(trace)) => {
                self.at = self.bytes.len();
                Some(Finding::Damage { start: trace, end: self.bytes.len() })
            }
            (None, None) if start.is_multiple_of(BLOCK_BYTES) || start >= self.bytes.len() => None,
            (None, None) => {
                // Whatever ended this block ended it with something else than zeros.
                self.at = start.next_multiple_of(BLOCK_BYTES).min(self.bytes.len());
                Some(Finding::Damage { start, end: self.at })
            }
        }
    }
}

/// One recipient's end or pause, as an Outcomes record and the meta part of a moved message hold it.
///
/// ```text
/// u32 serial, u32 offset / 8 of the Accept record;  u16 recipient;  u8 what: 1 delivered, 2 failed, 3 deferred,
/// 4 the whole message is gone;  u8 0;  u16 attempts;  u16 0;  u64 until, microseconds
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The Accept record meant.
    pub target: Place,
    /// Which recipient; of no meaning for [`Fate::Gone`].
    pub recipient: u16,
    /// What became of it.
    pub fate: Fate,
}

/// See [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Delivered, failed or deferred.
    Recipient(Outcome),
    /// The message was taken back: nobody was told that it was accepted.
    Gone,
}

impl Fate {
    /// Whether the recipient needs nothing more.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Recipient(Outcome::Deferred { .. }))
    }
}

impl Entry {
    /// Appends the entry to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (what, attempts, until) = match self.fate {
            Fate::Recipient(Outcome::Delivered) => (1, 0, 0),
            Fate::Recipient(Outcome::Failed) => (2, 0, 0),
            Fate::Recipient(Outcome::Deferred { until, attempts }) => (3, attempts, until.0),
            Fate::Gone => (4, 0, 0),
        };
        out.extend_from_slice(&self.target.serial.to_le_bytes());
        out.extend_from_slice(&self.target.offset8.to_le_bytes());
        out.extend_from_slice(&self.recipient.to_le_bytes());
        out.extend_from_slice(&[what, 0]);
        out.extend_from_slice(&u16::to_le_bytes(attempts));
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&u64::to_le_bytes(until));
    }

    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let until = UnixMicros(u64::from(u32_at(bytes, 20)) << 32 | u64::from(u32_at(bytes, 16)));
        let attempts = u16::from_le_bytes([bytes[12], bytes[13]]);
        let fate = match bytes[10] {
            1 => Fate::Recipient(Outcome::Delivered),
            2 => Fate::Recipient(Outcome::Failed),
            3 => Fate::Recipient(Outcome::Deferred { until, attempts }),
            4 => Fate::Gone,
            _ => return None,
        };
        let target = Place { serial: u32_at(bytes, 0), offset8: u32_at(bytes, 4) };
        Some(Self { target, recipient: u16::from_le_bytes([bytes[8], bytes[9]]), fate })
    }
}

/// The entries of an Outcomes record's meta part, or of the tail of a moved message's; unknown ones are left out.
pub fn entries(meta: &[u8]) -> impl Iterator<Item = Entry> + '_ {
    meta.chunks_exact(ENTRY_BYTES).filter_map(|chunk| Entry::decode(chunk.first_chunk()?))
}

/// The meta part of an Accept record, cut into its parts.
///
/// ```text
/// u32 length, message metadata (`message::encode_meta`)
/// [large]  u128 stream, u32 chunks, u32 each: octets of the chunk
/// [moved]  u32 serial, u32 offset / 8 of the record it is a copy of, then entries up to the end
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AcceptMeta<'a> {
    /// What `message::decode_meta` reads.
    pub message: &'a [u8],
    /// For a large message: its stream, and 4 bytes little-endian a chunk.
    pub chunks: Option<(MessageId, &'a [u8])>,
    /// For a moved one: the place it came from, and what had become of its recipients.
    pub moved: Option<(Place, &'a [u8])>,
}

impl<'a> AcceptMeta<'a> {
    /// Cuts the meta part of `record`.
    ///
    /// # Errors
    /// [`Flaw::Head`] when the parts do not fit.
    pub fn decode(record: &Record<'a>) -> Result<Self, Flaw> {
        Self::cut(record.header.flags, record.meta).ok_or(Flaw::Head)
    }

    fn cut(flags: u8, meta: &'a [u8]) -> Option<Self> {
        let (len, rest) = meta.split_first_chunk::<4>()?;
        let (message, mut rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        let mut chunks = None;
        if flags & FLAG_LARGE != 0 {
            let (stream, tail) = rest.split_first_chunk::<16>()?;
            let (count, tail) = tail.split_first_chunk::<4>()?;
            let (lens, tail) = tail.split_at_checked((u32::from_le_bytes(*count) as usize).checked_mul(4)?)?;
            chunks = Some((MessageId(u128::from_le_bytes(*stream)), lens));
            rest = tail;
        }
        let mut moved = None;
        if flags & FLAG_MOVED != 0 {
            let (place, tail) = rest.split_first_chunk::<8>()?;
            moved = Some((Place { serial: u32_at(place, 0), offset8: u32_at(place, 4) }, tail));
        }
        Some(Self { message, chunks, moved })
    }

    /// Octets of each chunk.
    pub fn chunk_lens(&self) -> impl ExactSizeIterator<Item = u32> + 'a {
        self.chunks.map_or(&[][..], |(_, lens)| lens).chunks_exact(4).map(|len| u32_at(len, 0))
    }

    /// Appends the first two parts, as they are in another record, to `out`.
    pub fn encode_unmoved(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.message.len() as u32).to_le_bytes());
        out.extend_from_slice(self.message);
        if let Some((stream, lens)) = self.chunks {
            out.extend_from_slice(&stream.0.to_le_bytes());
            out.extend_from_slice(&(lens.len() as u32 / 4).to_le_bytes());
            out.extend_from_slice(lens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(serial: u32, commit: u64, commit_start: u32, body: &[u8]) -> Vec<u8> {
        let meta = b"meta";
        let header = Header {
            kind: Kind::Accept,
            flags: 0,
            count: 1,
            serial,
            commit_start,
            commit,
            id: MessageId(9),
            meta_len: meta.len() as u32,
            body_len: body.len() as u32,
            body_crc: crc32c::crc32c(body),
            chunk: 0,
            trace_len: 0,
        };
        let mut bytes = header.encode(meta).to_vec();
        bytes.extend_from_slice(meta);
        bytes.extend_from_slice(body);
        bytes.resize(header.record_len() as usize, 0);
        bytes
    }

    /// Three writes of two records each, and what lies behind them.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut offsets) = (Vec::new(), Vec::new());
        for commit in 1..4 {
            let start = bytes.len();
            for n in 0..2 {
                offsets.push(bytes.len());
                bytes.extend(record(7, commit, start as u32, &vec![b'x'; 100 + n * 900]));
            }
            bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        }
        bytes.extend(record(6, 1, 0, b"of an earlier generation"));
        bytes.resize(bytes.len() + 3 * BLOCK_BYTES, 0);
        (bytes, offsets)
    }

    fn sound(bytes: &[u8]) -> Vec<usize> {
        let at = |finding| if let Finding::Sound(at, _) = finding { Some(at) } else { None };
        scan(bytes, 0, 7).filter_map(at).collect()
    }

    #[test]
    fn every_byte_counts() {
        let (bytes, offsets) = segment();
        assert_eq!(scan(&bytes, 0, 7).count(), 6);
        assert_eq!(sound(&bytes), offsets);
        for at in 0..3 * BLOCK_BYTES {
            let mut hurt = bytes.clone();
            hurt[at] ^= 1;
            let found = sound(&hurt);
            let unsound = scan(&hurt, 0, 7).filter(|finding| !matches!(finding, Finding::Sound(..))).count();
            let in_record = offsets.iter().any(|start| (*start..start + 68 + 100).contains(&at));
            assert!(found.len() >= 5, "one byte at {at} cost more than one record");
            assert!(!in_record || (found.len() == 5 && unsound == 1), "{at}: {found:?}, {unsound}");
            assert!(found.len() == 6 || unsound == 1, "a record vanished without a word: {at}");
        }
    }

    #[test]
    fn entries_round_trip() {
        let outcomes = [
            Fate::Recipient(Outcome::Delivered),
            Fate::Recipient(Outcome::Failed),
            Fate::Recipient(Outcome::Deferred { until: UnixMicros(u64::MAX - 1), attempts: 513 }),
            Fate::Gone,
        ];
        let all: Vec<_> =
            outcomes.iter().map(|fate| Entry { target: Place::new(3, 4096), recipient: 7, fate: *fate }).collect();
        let mut bytes = Vec::new();
        all.iter().for_each(|entry| entry.encode(&mut bytes));
        assert_eq!(bytes.len(), 4 * ENTRY_BYTES);
        assert_eq!(entries(&bytes).collect::<Vec<_>>(), all);
    }

    proptest! {
        /// No input makes the reader panic or loop, and what it calls sound does not overlap.
        #[test]
        fn any_bytes(changes in proptest::collection::vec((0..20_000_usize, any::<u8>()), 0..40), cut in 0..30_000_usize) {
            let (mut bytes, _) = segment();
            for (at, byte) in changes {
                let len = bytes.len();
                bytes[at % len] = byte;
            }
            bytes.truncate(cut.min(bytes.len()));
            let mut end = 0;
            for finding in scan(&bytes, 0, 7) {
                if let Finding::Sound(at, record) = finding {
                    prop_assert!(at >= end);
                    end = at + record.header.record_len() as usize;
                    let _ = AcceptMeta::decode(&record);
                    let _ = entries(record.meta).count();
                }
            }
        }
    }
}
