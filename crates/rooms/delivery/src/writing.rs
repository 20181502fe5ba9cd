//! Where in an output a connection is, and the next octets to write: commands, then content with its dots, then
//! commands. Nothing is copied; what a blocked socket left over is found again from the position.

use fabric::Slice;
use message::{Content, Dots, Message};
use smallvec::SmallVec;
use smtp::client::{ContentPiece, Framing, Output, Piece, Stuffing, TransactionId};
use std::io::IoSlice;

/// Pieces of memory that one write takes at most.
pub(crate) const SLICES_MAX: usize = 64;

/// What a transaction carries.
pub(crate) trait Cargo {
    fn transaction(&self) -> TransactionId;
    fn message(&self) -> &Message;
}

/// What has been written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position {
    /// Which piece of the output.
    piece: usize,
    /// Which part of a content: 0 is the trace header, then come its slices, then its end.
    part: usize,
    /// Octets of the part, or of the piece if that is commands.
    offset: u64,
    stuffing: Stuffing,
    /// The end of a content once it is reached: `offset` counts in it.
    end: &'static [u8],
}

/// A piece of spooled content in memory.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) transaction: Option<TransactionId>,
    pub(crate) from: u64,
    pub(crate) slice: Slice,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    Octets(&'a [u8]),
    /// The spool is to be read from here for this transaction.
    Missing(TransactionId, u64),
    /// Everything is written.
    End,
    /// The content of a transaction that is not under way: our mistake.
    Unknown,
}

/// A part of a content.
enum Part<'a> {
    Octets(&'a [u8]),
    Missing(u64),
    End,
}

/// One write.
pub(crate) struct Gathered<'a> {
    pub(crate) slices: SmallVec<[IoSlice<'a>; SLICES_MAX]>,
    pub(crate) octets: usize,
    /// The position behind it.
    pub(crate) end: Position,
    /// Why it ends there.
    pub(crate) next: Next<'a>,
}

impl Position {
    /// The last transaction whose content is written whole.
    pub(crate) fn content_written(&self, output: &Output) -> Option<TransactionId> {
        output.pieces[..self.piece.min(output.pieces.len())].iter().rev().find_map(|piece| match piece {
            Piece::Content { transaction, .. } => Some(*transaction),
            Piece::Commands(_) => None,
        })
    }

    /// As much as one write takes, from here.
    pub(crate) fn gather<'a, C: Cargo>(self, output: &'a Output, jobs: &'a [C], loaded: &'a Loaded) -> Gathered<'a> {
        let mut gathered = Gathered { slices: SmallVec::new(), octets: 0, end: self, next: Next::End };
        while gathered.slices.len() < SLICES_MAX {
            match gathered.end.next(output, jobs, loaded) {
                Next::Octets(octets) => {
                    gathered.octets += octets.len();
                    gathered.slices.push(IoSlice::new(octets));
                    gathered.next = Next::Octets(octets);
                }
                other => {
                    gathered.next = other;
                    break;
                }
            }
        }
        gathered
    }

    /// Moves on by `octets`, which lie within what [`Position::gather`] gave.
    pub(crate) fn advance<C: Cargo>(&mut self, mut octets: usize, output: &Output, jobs: &[C], loaded: &Loaded) {
        while octets > 0 {
            let before = *self;
            let Next::Octets(next) = self.next(output, jobs, loaded) else { return };
            let left = next.len().saturating_sub(octets);
            self.offset -= left as u64;
            let within_content = matches!(output.pieces.get(self.piece), Some(Piece::Content { .. }));
            if left > 0 && within_content && self.end.is_empty() {
                self.stuffing = if before.piece == self.piece { before.stuffing } else { Stuffing::new() };
                self.stuffing.pass(&next[..octets]);
            }
            octets = octets.saturating_sub(next.len());
        }
    }

    /// Octets of trace header and content written of the content that the position is in.
    pub(crate) fn content_octets<C: Cargo>(&self, output: &Output, jobs: &[C]) -> Option<(TransactionId, u64)> {
        let Some(Piece::Content { transaction, .. }) = output.pieces.get(self.piece) else { return None };
        let job = jobs.iter().find(|job| job.transaction() == *transaction)?;
        let before: u64 = (0..self.part).map(|part| part_len(job, part)).sum();
        Some((*transaction, before + self.offset.min(part_len(job, self.part))))
    }

    fn next<'a, C: Cargo>(&mut self, output: &'a Output, jobs: &'a [C], loaded: &'a Loaded) -> Next<'a> {
        loop {
            match output.pieces.get(self.piece) {
                None => return Next::End,
                Some(Piece::Commands(range)) => {
                    let octets = &output.commands[range.clone()][self.offset as usize..];
                    if !octets.is_empty() {
                        self.offset += octets.len() as u64;
                        return Next::Octets(octets);
                    }
                    self.next_piece();
                }
                Some(Piece::Content { transaction, framing }) => {
                    let Some(job) = jobs.iter().find(|job| job.transaction() == *transaction) else {
                        return Next::Unknown;
                    };
                    match self.next_of_content(job, *framing, loaded) {
                        Part::Octets(octets) => return Next::Octets(octets),
                        Part::Missing(from) => return Next::Missing(*transaction, from),
                        Part::End => self.next_piece(),
                    }
                }
            }
        }
    }

    fn next_piece(&mut self) {
        *self = Self { piece: self.piece + 1, ..Self::default() };
    }

    fn next_of_content<'a, C: Cargo>(&mut self, job: &'a C, framing: Framing, loaded: &'a Loaded) -> Part<'a> {
        if framing == Framing::LoneDot {
            return self.next_of_end(b".\r\n");
        }
        if !self.end.is_empty() {
            return self.next_of_end(self.end);
        }
        loop {
            let mut rest: &'a [u8] = match part(job, self.part, self.offset, loaded) {
                Part::Octets(rest) => rest,
                Part::Missing(from) => return Part::Missing(from),
                Part::End if framing == Framing::Chunk => return Part::End,
                Part::End => {
                    self.offset = 0;
                    return self.next_of_end(self.stuffing.final_dot());
                }
            };
            if rest.is_empty() {
                (self.part, self.offset) = (self.part + 1, 0);
                continue;
            }
            if framing == Framing::Chunk || job.message().reception.dots == Dots::None {
                self.stuffing.pass(rest);
                self.offset += rest.len() as u64;
                return Part::Octets(rest);
            }
            match self.stuffing.next(&mut rest) {
                Some(ContentPiece::Dot) => return Part::Octets(b"."),
                Some(ContentPiece::Octets(octets)) => {
                    self.offset += octets.len() as u64;
                    return Part::Octets(octets);
                }
                None => {}
            }
        }
    }

    /// Octets behind the content; `stuffing` must not see them.
    fn next_of_end<'a>(&mut self, end: &'static [u8]) -> Part<'a> {
        self.end = end;
        match &end[(self.offset as usize).min(end.len())..] {
            [] => Part::End,
            octets => {
                self.offset += octets.len() as u64;
                Part::Octets(octets)
            }
        }
    }
}

/// What is left of a part behind `offset`; empty at its end.
fn part<'a, C: Cargo>(job: &'a C, part: usize, offset: u64, loaded: &'a Loaded) -> Part<'a> {
    let from = |slice: &'a Slice| Part::Octets(&slice[offset as usize..]);
    match (part, &job.message().content) {
        (0, _) => from(&job.message().trace),
        (part, Content::Resident(body)) => body.slices().get(part - 1).map_or(Part::End, from),
        (1, Content::Spooled { len }) if offset < *len => {
            let end = loaded.from + loaded.slice.len() as u64;
            if loaded.transaction != Some(job.transaction()) || offset < loaded.from || offset >= end {
                return Part::Missing(offset);
            }
            Part::Octets(&loaded.slice[(offset - loaded.from) as usize..])
        }
        (1, Content::Spooled { .. }) => Part::Octets(&[]),
        (_, Content::Spooled { .. }) => Part::End,
    }
}

fn part_len<C: Cargo>(job: &C, part: usize) -> u64 {
    match (part, &job.message().content) {
        (0, _) => job.message().trace.len() as u64,
        (part, Content::Resident(body)) => body.slices().get(part - 1).map_or(0, |slice| slice.len() as u64),
        (1, Content::Spooled { len }) => *len,
        (_, Content::Spooled { .. }) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use message::{Body, BodyType, Envelope, MessageId, Protocol, Reception, UnixMicros, Utf8};

    struct Load(TransactionId, Message);

    impl Cargo for Load {
        fn transaction(&self) -> TransactionId {
            self.0
        }

        fn message(&self) -> &Message {
            &self.1
        }
    }

    fn load(number: u32, content: Content) -> Load {
        let envelope = Envelope {
            sender: None,
            recipients: Vec::new(),
            body_type: BodyType::SevenBit,
            utf8: Utf8::No,
            ret: None,
            envid: None,
        };
        let reception = Reception {
            at: UnixMicros(0),
            connection: MessageId::NONE,
            peer: None,
            protocol: Protocol::Esmtp,
            helo: "x".into(),
            dots: Dots::Some,
        };
        let trace = Slice::copy_from(b"Received: x\r\n");
        Load(TransactionId(number), Message { id: MessageId::NONE, envelope, reception, trace, content })
    }

    /// Writes at most `step` octets at a time, and reads spooled content in pieces of `piece`.
    fn write(output: &Output, loads: &[Load], spooled: &[u8], step: usize, piece: usize) -> Vec<u8> {
        let (mut written, mut position, mut loaded) = (Vec::new(), Position::default(), Loaded::default());
        loop {
            let (octets, end, missing) = {
                let gathered = position.gather(output, loads, &loaded);
                let octets: Vec<u8> = gathered.slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                assert_eq!(octets.len(), gathered.octets);
                let missing = match gathered.next {
                    Next::Missing(transaction, from) => Some((transaction, from)),
                    _ => None,
                };
                (octets, gathered.end, missing)
            };
            match missing {
                _ if !octets.is_empty() => {
                    let count = octets.len().min(step);
                    written.extend_from_slice(&octets[..count]);
                    match count == octets.len() {
                        true => position = end,
                        false => position.advance(count, output, loads, &loaded),
                    }
                }
                Some((transaction, from)) => {
                    let end = spooled.len().min(from as usize + piece);
                    let slice = Slice::copy_from(&spooled[from as usize..end]);
                    loaded = Loaded { transaction: Some(transaction), from, slice };
                }
                None => return written,
            }
        }
    }

    #[test]
    fn whatever_the_socket_takes_the_octets_are_the_same() {
        let text = b"a.a\r\n.b\r\n..\r\n.\r\nc";
        let mut body = Body::new();
        for piece in text.chunks(3) {
            body.push(Slice::copy_from(piece));
        }
        let loads = [
            load(1, Content::Resident(body.clone())),
            load(2, Content::Resident(body)),
            load(3, Content::Spooled { len: text.len() as u64 }),
            load(4, Content::Resident(Body::new())),
        ];
        let content = |number, framing| Piece::Content { transaction: TransactionId(number), framing };
        let output = Output {
            commands: b"MAIL\r\nBDAT\r\nMORE\r\n".to_vec(),
            pieces: vec![
                content(1, Framing::Dots),
                Piece::Commands(0..12),
                content(2, Framing::Chunk),
                Piece::Commands(12..18),
                content(3, Framing::Dots),
                content(4, Framing::LoneDot),
            ],
        };
        let stuffed = "Received: x\r\na.a\r\n..b\r\n...\r\n..\r\nc\r\n.\r\n";
        let plain = "Received: x\r\na.a\r\n.b\r\n..\r\n.\r\nc";
        let expected = [stuffed, "MAIL\r\nBDAT\r\n", plain, "MORE\r\n", stuffed, ".\r\n"].concat();
        for step in 1..=expected.len() {
            for piece in [1, 2, 5, 100] {
                let written = write(&output, &loads, text, step, piece);
                assert_eq!(String::from_utf8_lossy(&written), expected, "{step} {piece}");
            }
        }
    }
}
