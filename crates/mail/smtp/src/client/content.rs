//! The content of a message as DATA sends it (RFC 5321 §4.5.2): a dot before each line that starts with one, the final
//! dot behind the last. Slices are split where a dot goes in between; no octet is copied.

use memchr::memmem;

/// How the content of a transaction is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Trace header and content with dots doubled, then the final dot: behind DATA.
    Dots,
    /// Trace header and content as they are: behind BDAT.
    Chunk,
    /// No content, only the final dot: DATA was accepted although no recipient was (RFC 2920 §3.1).
    LoneDot,
}

/// Where in a line the octets sent so far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum LineEnd {
    /// Behind CRLF, or before the first octet.
    #[default]
    Start,
    /// Behind a bare LF. Reception lets none pass; should one come by, a dot behind it is doubled too, for a sloppy peer
    /// could take `LF . CRLF` for the end (SMTP smuggling).
    BareStart,
    /// Behind CR.
    Cr,
    /// Elsewhere.
    Within,
}

/// Walks over content and doubles the dots that start a line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stuffing {
    end: LineEnd,
    /// Whether the dot that goes before the next octet is out already.
    dotted: Dotted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Dotted {
    #[default]
    No,
    Yes,
}

impl Stuffing {
    /// At the start of the content.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next octets to send: either a dot of ours, or a piece taken off the front of `rest`. `None` when `rest` is
    /// used up.
    pub fn next<'a>(&mut self, rest: &mut &'a [u8]) -> Option<Piece<'a>> {
        let octets: &'a [u8] = rest;
        let first = *octets.first()?;
        if first == b'.' && self.dotted == Dotted::No && matches!(self.end, LineEnd::Start | LineEnd::BareStart) {
            self.dotted = Dotted::Yes;
            return Some(Piece::Dot);
        }
        let len = memmem::find(octets, b"\n.").map_or(octets.len(), |at| at + 1);
        let (piece, behind) = octets.split_at(len);
        *rest = behind;
        self.pass(piece);
        Some(Piece::Octets(piece))
    }

    /// Notes octets that were sent as they are, a part of a piece for instance.
    pub fn pass(&mut self, octets: &[u8]) {
        if !octets.is_empty() {
            self.dotted = Dotted::No;
            self.end.advance(octets);
        }
    }

    /// What ends the content: the final dot on a line of its own.
    pub const fn final_dot(&self) -> &'static [u8] {
        match self.end {
            LineEnd::Start => b".\r\n",
            LineEnd::BareStart | LineEnd::Cr | LineEnd::Within => b"\r\n.\r\n",
        }
    }
}

/// What [`Stuffing::next`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A dot that stands nowhere in the content.
    Dot,
    /// Octets of the content.
    Octets(&'a [u8]),
}

impl LineEnd {
    fn advance(&mut self, octets: &[u8]) {
        *self = match *octets {
            [] => return,
            [.., b'\r', b'\n'] => Self::Start,
            [b'\n'] if *self == Self::Cr => Self::Start,
            [.., b'\n'] => Self::BareStart,
            [.., b'\r'] => Self::Cr,
            _ => Self::Within,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Byte by byte, as RFC 5321 §4.5.2 says.
    fn model(content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut previous = b'\n';
        for &octet in content {
            if octet == b'.' && previous == b'\n' {
                out.push(b'.');
            }
            out.push(octet);
            previous = octet;
        }
        out.extend_from_slice(if content.is_empty() || content.ends_with(b"\r\n") { b".\r\n" } else { b"\r\n.\r\n" });
        out
    }

    fn stuffed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut stuffing = Stuffing::new();
        for mut rest in pieces {
            while let Some(piece) = stuffing.next(&mut rest) {
                match piece {
                    Piece::Dot => out.push(b'.'),
                    Piece::Octets(octets) => out.extend_from_slice(octets),
                }
            }
        }
        out.extend_from_slice(stuffing.final_dot());
        out
    }

    #[test]
    fn content_without_dots_is_one_piece() {
        let mut rest = &b"a\r\nb\r\nc.\r\n"[..];
        let mut stuffing = Stuffing::new();
        assert_eq!(stuffing.next(&mut rest), Some(Piece::Octets(b"a\r\nb\r\nc.\r\n")));
        assert_eq!(stuffing.next(&mut rest), None);
    }

    proptest! {
        #[test]
        fn any_split_doubles_the_same_dots(
            content in proptest::collection::vec(proptest::sample::select(b".\r\nx".to_vec()), 0..40),
            size in 1_usize..12,
        ) {
            prop_assert_eq!(model(&content), stuffed(content.chunks(size)));
            prop_assert_eq!(model(&content), stuffed(std::iter::once(&content[..])));
        }
    }
}
