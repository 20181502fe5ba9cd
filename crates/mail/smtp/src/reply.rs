//! Replies off the wire, octet by octet (RFC 5321 §4.2): the client side feeds what the socket gave and gets whole
//! replies, verbatim. Never holds more than [`TEXT_MAX`] octets, whatever the next hop sends; a reply that came whole
//! costs no allocation.
//!
//! Taken beyond the grammar, because next hops send it: a bare `250`, a bare LF, a tab behind the code. Refused, because
//! nothing can be made of it: a line without three digits, lines of one reply with different codes, and too much.

use memchr::memchr;
use message::Reply;

/// Longest line without its line end, octets. RFC 5321 §4.5.3.1.5 says 512; replies of 4,000 octets are seen.
pub const LINE_MAX: usize = 4_096;
/// Most lines of one reply.
pub const LINES_MAX: usize = 512;
/// Longest text of one reply, octets, over all its lines.
pub const TEXT_MAX: usize = 65_536;
/// A buffer that has grown past this is given back after the reply, octets.
const KEPT_MAX: usize = 256;

/// Why octets are no reply. The conversation cannot go on behind one: nobody knows where the next reply starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// A line does not start with three digits of a reply code.
    NoCode,
    /// The lines of one reply have different codes.
    CodesDiffer,
    /// A line is longer than [`LINE_MAX`].
    LineTooLong,
    /// A reply has more than [`LINES_MAX`] lines.
    TooManyLines,
    /// A reply is longer than [`TEXT_MAX`].
    TooLong,
}

impl std::fmt::Display for ReplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoCode => "reply without a code",
            Self::CodesDiffer => "reply with different codes",
            Self::LineTooLong => "reply line too long",
            Self::TooManyLines => "reply with too many lines",
            Self::TooLong => "reply too long",
        })
    }
}

impl std::error::Error for ReplyError {}

/// A whole reply, borrowed from the reader until it is asked again.
#[derive(Debug)]
pub struct ReplyText<'a> {
    /// The three digits, 200 to 599.
    pub code: u16,
    octets: &'a [u8],
}

impl ReplyText<'_> {
    /// 2yz.
    pub const fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3yz: go on.
    pub const fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4yz.
    pub const fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5yz.
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The texts of the lines behind their codes, as they came.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.octets.split(|&b| b == b'\n')
    }

    /// The reply as a value of its own. A NUL or another control octet becomes `?`, what is not UTF-8 U+FFFD.
    pub fn to_reply(&self) -> Reply {
        let mut text = String::from_utf8_lossy(self.octets).into_owned();
        if text.bytes().any(is_unprintable) {
            text = text.chars().map(|c| if c.is_ascii() && is_unprintable(c as u8) { '?' } else { c }).collect();
        }
        Reply { code: self.code, text: text.into_boxed_str() }
    }
}

fn is_unprintable(b: u8) -> bool {
    b.is_ascii_control() && b != b'\n' && b != b'\t'
}

/// Puts replies together from pieces.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// The texts of the complete lines of the reply under way, separated by LF, then the incomplete line.
    buffer: Vec<u8>,
    /// Where the incomplete line starts in `buffer`.
    line: usize,
    /// Complete lines so far.
    lines: usize,
    code: u16,
    /// Whether `buffer` holds a reply that was given out.
    given: bool,
}

impl ReplyReader {
    /// A reader at the start of a reply; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a reply has started and not ended.
    pub fn is_within(&self) -> bool {
        !self.given && !self.buffer.is_empty() || self.lines > 0
    }

    /// Takes octets off the front of `input` up to the end of a reply, and gives that; `None` when `input` is used up.
    ///
    /// # Errors
    /// See [`ReplyError`]; afterwards the reader is of no more use.
    pub fn read<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<ReplyText<'a>>, ReplyError> {
        if self.given {
            self.restart();
        }
        while let Some(end) = memchr(b'\n', input) {
            let rest: &'i [u8] = input;
            let (line, rest) = (&rest[..end], &rest[end + 1..]);
            *input = rest;
            if self.lines == 0 && self.buffer.is_empty() {
                // The reply's only line in one piece, which is nearly always so: nothing is copied.
                let line = trimmed(line);
                check_len(line)?;
                let (code, last, text) = parts(line)?;
                if last == Last::Yes {
                    return Ok(Some(ReplyText { code, octets: text }));
                }
            }
            self.buffer.extend_from_slice(line);
            if self.end_line()? == Last::Yes {
                self.given = true;
                return Ok(Some(ReplyText { code: self.code, octets: &self.buffer }));
            }
        }
        self.buffer.extend_from_slice(&input[..input.len().min(LINE_MAX + 2)]);
        *input = &[];
        if self.buffer.len() - self.line > LINE_MAX + 1 {
            return Err(ReplyError::LineTooLong);
        }
        Ok(None)
    }

    fn restart(&mut self) {
        self.buffer.clear();
        if self.buffer.capacity() > KEPT_MAX {
            self.buffer = Vec::new();
        }
        (self.line, self.lines, self.given) = (0, 0, false);
    }

    /// The incomplete line has become complete: leaves only its text.
    fn end_line(&mut self) -> Result<Last, ReplyError> {
        let line = trimmed(&self.buffer[self.line..]);
        check_len(line)?;
        let (code, last, text) = parts(line)?;
        let (from, len) = (self.line + line.len() - text.len(), text.len());
        if self.lines > 0 && code != self.code {
            return Err(ReplyError::CodesDiffer);
        }
        self.code = code;
        self.lines += 1;
        if self.lines > LINES_MAX {
            return Err(ReplyError::TooManyLines);
        }
        self.buffer.copy_within(from..from + len, self.line);
        self.buffer.truncate(self.line + len);
        if self.buffer.len() > TEXT_MAX {
            return Err(ReplyError::TooLong);
        }
        if last == Last::No {
            self.buffer.push(b'\n');
            self.line = self.buffer.len();
        }
        Ok(last)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn check_len(line: &[u8]) -> Result<(), ReplyError> {
    if line.len() > LINE_MAX { Err(ReplyError::LineTooLong) } else { Ok(()) }
}

/// Code, whether this is the last line, and text of a line.
fn parts(line: &[u8]) -> Result<(u16, Last, &[u8]), ReplyError> {
    let Some((&[a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'], rest)) = line.split_first_chunk() else {
        return Err(ReplyError::NoCode);
    };
    let code = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
    match rest {
        [] => Ok((code, Last::Yes, rest)),
        [b'-', text @ ..] => Ok((code, Last::No, text)),
        [b' ' | b'\t', text @ ..] => Ok((code, Last::Yes, text)),
        _ => Err(ReplyError::NoCode),
    }
}

/// All the replies in `input`, and why reading stopped if not at its end. For tests and fuzzing.
pub fn read_all(mut input: &[u8]) -> (Vec<Reply>, Option<ReplyError>) {
    let mut reader = ReplyReader::new();
    let mut replies = Vec::new();
    loop {
        match reader.read(&mut input) {
            Ok(Some(reply)) => replies.push(reply.to_reply()),
            Ok(None) => return (replies, None),
            Err(error) => return (replies, Some(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(input: &[u8]) -> Reply {
        let (mut replies, error) = read_all(input);
        assert_eq!((replies.len(), error), (1, None), "{}", input.escape_ascii());
        replies.remove(0)
    }

    fn error(input: &[u8]) -> ReplyError {
        read_all(input).1.expect("an error")
    }

    #[test]
    fn the_forms_of_a_reply() {
        assert_eq!(one(b"250 ok\r\n"), Reply::new(250, "ok"));
        assert_eq!(one(b"250\r\n"), Reply::new(250, ""));
        assert_eq!(one(b"250\n"), Reply::new(250, ""));
        assert_eq!(one(b"250 \r\n"), Reply::new(250, ""));
        assert_eq!(one(b"250-a\r\n250-\r\n250 b\r\n"), Reply::new(250, "a\n\nb"));
        assert_eq!(one(b"250-a\n250\n"), Reply::new(250, "a\n"));
        assert_eq!(one(b"550\ttab\r\n"), Reply::new(550, "tab"));
        assert_eq!(one(b"550 a\0b\rc\xff\x1b\r\n"), Reply::new(550, "a?b?c\u{fffd}?"));
    }

    #[test]
    fn what_is_no_reply() {
        for bad in
            [&b"\r\n"[..], b"25\r\n", b"2500 x\r\n", b"650 x\r\n", b"150 x\r\n", b"HTTP/1.1 400\r\n", b"25\xb20 \n"]
        {
            assert_eq!(error(bad), ReplyError::NoCode, "{}", bad.escape_ascii());
        }
        assert_eq!(error(b"250-a\r\n550 b\r\n"), ReplyError::CodesDiffer);
    }

    #[test]
    fn edges_of_size() {
        let line = |len: usize| [b"250 ".as_slice(), &vec![b'x'; len - 4], b"\r\n"].concat();
        assert_eq!(one(&line(LINE_MAX)).text.len(), LINE_MAX - 4);
        assert_eq!(error(&line(LINE_MAX + 1)), ReplyError::LineTooLong);
        let endless = vec![b'5'; LINE_MAX + 2];
        assert_eq!(error(&endless), ReplyError::LineTooLong);

        let lines = |n: usize| [b"250-x\r\n".repeat(n - 1), b"250 x\r\n".to_vec()].concat();
        assert_eq!(one(&lines(LINES_MAX)).text.split('\n').count(), LINES_MAX);
        assert_eq!(error(&lines(LINES_MAX + 1)), ReplyError::TooManyLines);
        let long = [b"250-".as_slice(), &[b'x'; 4_000], b"\r\n"].concat().repeat(17);
        assert_eq!(error(&long), ReplyError::TooLong);
        assert_eq!(one(&[&long[..15 * 4_006], b"250 x\r\n"].concat()).text.len(), 15 * 4_001 + 1);
    }

    #[test]
    fn memory_is_given_back() {
        let mut reader = ReplyReader::new();
        let long = [b"250-".as_slice(), &[b'x'; 4_000], b"\r\n250 y\r\n250 z\r\n"].concat();
        let mut input = &long[..];
        assert!(reader.read(&mut input).unwrap().is_some());
        assert!(reader.read(&mut input).unwrap().is_some());
        assert!(reader.buffer.capacity() <= KEPT_MAX);
        assert!(!reader.is_within());
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            Just(b"250 ok\r\n".to_vec()),
            Just(b"250-a\r\n".to_vec()),
            Just(b"250\n".to_vec()),
            Just(b"550-x\0\r\n".to_vec()),
            Just(b"550 \xffy\n".to_vec()),
            Just(b"\r\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..20),
        ];
        proptest::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
    }

    proptest! {
        #[test]
        fn any_split_reads_the_same(input in stream(), cuts in proptest::collection::vec(1_usize..9, 1..40)) {
            let whole = read_all(&input);
            let mut reader = ReplyReader::new();
            let mut replies = Vec::new();
            let mut failed = None;
            let mut rest = &input[..];
            let mut cuts = cuts.iter().cycle();
            'pieces: while !rest.is_empty() {
                let (mut piece, behind) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                rest = behind;
                loop {
                    match reader.read(&mut piece) {
                        Ok(Some(reply)) => replies.push(reply.to_reply()),
                        Ok(None) => break,
                        Err(error) => {
                            failed = Some(error);
                            break 'pieces;
                        }
                    }
                }
            }
            prop_assert_eq!(whole, (replies, failed));
        }
    }
}
