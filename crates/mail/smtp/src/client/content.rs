//! The content of a message as DATA sends it (RFC 5321 §4.5.2): a dot before each line that starts with one, the final
//! dot behind the last. Slices are split where a dot goes in between; no octet is copied.

use memchr::memchr_iter;

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
pub enum LineEnd {
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

impl LineEnd {
    /// Splits `octets`, which follow on what this end saw, so that each piece but the first is to be preceded by a dot;
    /// gives `(dot before it?, piece)` to `put`. A piece may be empty only if a dot goes before it.
    pub fn split<'a>(&mut self, octets: &'a [u8], mut put: impl FnMut(DotBefore, &'a [u8])) {
        let Some(&first) = octets.first() else { return };
        let mut from = 0;
        let mut dot = DotBefore::No;
        if first == b'.' && matches!(self, Self::Start | Self::BareStart) {
            dot = DotBefore::Yes;
        }
        for at in memchr_iter(b'\n', octets) {
            if octets.get(at + 1) == Some(&b'.') {
                put(dot, &octets[from..=at]);
                (from, dot) = (at + 1, DotBefore::Yes);
            }
        }
        put(dot, &octets[from..]);
        self.advance(octets);
    }

    /// Notes octets that were sent as they are.
    pub fn advance(&mut self, octets: &[u8]) {
        *self = match *octets {
            [] => return,
            [.., b'\r', b'\n'] => Self::Start,
            [b'\n'] if *self == Self::Cr => Self::Start,
            [.., b'\n'] => Self::BareStart,
            [.., b'\r'] => Self::Cr,
            _ => Self::Within,
        };
    }

    /// What ends the content: the final dot on a line of its own.
    pub const fn final_dot(self) -> &'static [u8] {
        match self {
            Self::Start => b".\r\n",
            Self::BareStart | Self::Cr | Self::Within => b"\r\n.\r\n",
        }
    }
}

/// Whether a dot is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DotBefore {
    /// One is.
    Yes,
    /// None is.
    No,
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
        let mut end = LineEnd::default();
        for piece in pieces {
            end.split(piece, |dot, octets| {
                if dot == DotBefore::Yes {
                    out.push(b'.');
                }
                out.extend_from_slice(octets);
            });
        }
        out.extend_from_slice(end.final_dot());
        out
    }

    #[test]
    fn a_line_without_dots_is_one_piece() {
        let mut pieces = 0;
        LineEnd::default().split(b"a\r\nb\r\nc.\r\n", |_, _| pieces += 1);
        assert_eq!(pieces, 1);
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
