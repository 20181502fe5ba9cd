//! Cuts command lines out of the input; knows how long one has been on its way (RFC 5321 §4.5.3.1.4).

use std::time::Instant;

/// Where in a line the input stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineState {
    /// Before its first octet.
    Fresh,
    /// Within it.
    Partial { since: Instant },
    /// Within one that was refused for its length.
    Skipping { since: Instant, octets: usize },
}

/// What the input starts with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<'a> {
    /// A line without its CRLF; `used` octets with it.
    Line { line: &'a [u8], used: usize },
    /// As `Line`, and it ends with LF alone.
    BareLf { line: &'a [u8], used: usize },
    /// Not a whole line yet.
    Partial,
    /// A line longer than allowed begins, or is whole; to be refused once.
    TooLong { used: usize },
    /// More of a line that was refused.
    Skipped { used: usize },
    /// A line without end.
    Flood,
}

/// Octets of one refused line after which the session ends.
const FLOOD: usize = 64 << 10;

impl LineState {
    /// When the line that is on its way began.
    pub(super) fn since(self) -> Option<Instant> {
        match self {
            Self::Fresh => None,
            Self::Partial { since } | Self::Skipping { since, .. } => Some(since),
        }
    }

    /// Takes what stands at the front of a non-empty `input`.
    pub(super) fn take<'a>(&mut self, now: Instant, input: &'a [u8], max: usize) -> Taken<'a> {
        let since = self.since().unwrap_or(now);
        let end = memchr::memchr(b'\n', input);
        if let Self::Skipping { octets, .. } = *self {
            return self.skip(since, octets, input, end);
        }
        match end {
            Some(at) if at < max => {
                *self = Self::Fresh;
                let used = at + 1;
                match input[..at].strip_suffix(b"\r") {
                    Some(line) => Taken::Line { line, used },
                    None => Taken::BareLf { line: &input[..at], used },
                }
            }
            Some(at) if at < FLOOD => {
                *self = Self::Fresh;
                Taken::TooLong { used: at + 1 }
            }
            None if input.len() < max => {
                *self = Self::Partial { since };
                Taken::Partial
            }
            None if input.len() <= FLOOD => {
                *self = Self::Skipping { since, octets: input.len() };
                Taken::TooLong { used: input.len() }
            }
            _ => Taken::Flood,
        }
    }

    fn skip<'a>(&mut self, since: Instant, octets: usize, input: &'a [u8], end: Option<usize>) -> Taken<'a> {
        let used = end.map_or(input.len(), |at| at + 1);
        let octets = octets + used;
        *self = match end {
            _ if octets > FLOOD => return Taken::Flood,
            Some(_) => Self::Fresh,
            None => Self::Skipping { since, octets },
        };
        Taken::Skipped { used }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_at_the_limit_passes_and_one_octet_more_does_not() {
        let now = Instant::now();
        let mut state = LineState::Fresh;
        let line = |n: usize| [&vec![b'x'; n - 2][..], b"\r\n"].concat();
        assert_eq!(state.take(now, &line(512), 512), Taken::Line { line: &[b'x'; 510], used: 512 });
        assert_eq!(state.take(now, &line(513), 512), Taken::TooLong { used: 513 });
        assert_eq!(state, LineState::Fresh);
        assert_eq!(state.take(now, &line(513)[..511], 512), Taken::Partial);
        assert_eq!(state.take(now, &line(513)[..512], 512), Taken::TooLong { used: 512 });
        assert_eq!(state.take(now, b"tail\r\nNOOP", 512), Taken::Skipped { used: 6 });
        assert_eq!(state, LineState::Fresh);
    }

    #[test]
    fn a_line_without_end_is_a_flood() {
        let now = Instant::now();
        let mut state = LineState::Fresh;
        let block = [b'x'; 4096];
        assert_eq!(state.take(now, &block, 4096), Taken::TooLong { used: 4096 });
        for _ in 1..16 {
            assert_eq!(state.take(now, &block, 4096), Taken::Skipped { used: 4096 });
        }
        assert_eq!(state.take(now, b"x", 4096), Taken::Flood);
    }
}
