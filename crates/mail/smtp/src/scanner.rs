//! Finds the end of message content in the octets of a client, wherever the reads cut them (RFC 5321 §4.1.1.4, §4.5.2).
//!
//! The server session feeds it; it says which ranges of the input are content, so that nobody copies. It never takes
//! anything for the end of data but `<CRLF>.<CRLF>`: neither `<LF>.<CRLF>` nor `<LF>.<LF>`, `<CR>.<CR>`,
//! `<CRLF>.<LF>`, `<CRLF>.<CR><CRLF>` or any other of their kin.
//!
//! One form is an end by the letter and yet a trap: `<CR><CRLF>.<CRLF>`. A sender that takes `<CR><CRLF>` for text
//! does not double the dot behind it, and means the commands that follow as text. [`Trap`] tells of it; the
//! session then refuses the message and closes, so that nothing behind it is ever run.
//!
//! ```text
//!  "Hello\r\n..x\r\n.\r\nQUIT\r\n"
//!   └──1───┘ └──2─┘       1 and 2 are kept, `consumed` ends before QUIT
//! ```
//! Budget: one pass of memchr for line ends, one each for NUL and for octets above 127; ≥ 2 GB/s on 76-column text.

use memchr::{memchr, memchr2};
use std::ops::Range;

/// How the end of the content is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// DATA: a line with a dot only; other leading dots are doubled.
    Dots,
    /// BDAT: the caller counts; dots are plain text.
    Counted,
}

/// What happens to a CR or LF that is not part of CRLF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LineEndings {
    /// It is found, and the caller refuses the message.
    #[default]
    Reject,
    /// It becomes CRLF.
    Fix,
    /// It is content like any other (BINARYMIME).
    Keep,
}

/// Whether a message ended by `<CR><CRLF>.<CRLF>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Trap {
    /// It did not.
    #[default]
    None,
    /// It did: what follows may be meant as text.
    Sprung,
}

/// What one call found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// These octets of the input are content; may be empty.
    pub keep: Range<usize>,
    /// And these after them; empty unless line ends are being fixed.
    pub insert: &'static [u8],
    /// The next call wants the input from here. Always more than 0 unless the input was empty or `insert` is not.
    pub consumed: usize,
    /// Whether the content ends here.
    pub end: bool,
}

/// What content looked like so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Findings {
    /// Octets kept.
    pub size: u64,
    /// Longest line without its line end, octets.
    pub longest_line: u64,
    /// A CR without LF or an LF without CR.
    pub bare: bool,
    /// A NUL.
    pub nul: bool,
    /// An octet above 127.
    pub eight_bit: bool,
    /// A line of the kept content starts with a dot.
    pub dots: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct DataScanner {
    framing: Framing,
    line_endings: LineEndings,
    state: State,
    /// The CR before the last line end stood behind another CR.
    doubled: bool,
    /// Octets of the present line so far.
    line: u64,
    findings: Findings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Behind CRLF, or at the very start.
    LineStart,
    /// Behind a line end that was none on the wire: a dot here is text.
    SoftStart,
    Text,
    /// Behind a CR that was kept.
    Cr,
    /// Behind a dot at a line's start, which was dropped.
    Dot,
    /// Behind that and a CR, which is not kept.
    DotCr,
    /// Before an LF to which the missing CR was added.
    FixedLf,
}

/// What a step within one piece came to.
enum Turn {
    /// Go on from here.
    On(usize),
    /// The piece is complete.
    Cut(Piece),
}

impl DataScanner {
    /// For one message.
    pub fn new(framing: Framing, line_endings: LineEndings) -> Self {
        let findings = Findings::default();
        Self { framing, line_endings, state: State::LineStart, doubled: false, line: 0, findings }
    }

    /// What the content looked like so far.
    pub fn findings(&self) -> Findings {
        let mut findings = self.findings;
        findings.longest_line = findings.longest_line.max(self.line);
        findings
    }

    /// Whether the end was a [`Trap`]; to be asked after a piece with `end`.
    pub fn trap(&self) -> Trap {
        if self.doubled { Trap::Sprung } else { Trap::None }
    }

    /// The content is over ([`Framing::Counted`]): what to add to it. A last CR is bare, as nothing follows it.
    pub fn finish(&mut self) -> &'static [u8] {
        if self.state != State::Cr || self.line_endings == LineEndings::Keep {
            return b"";
        }
        self.findings.bare = true;
        match self.line_endings {
            LineEndings::Fix => {
                self.findings.size += 1;
                b"\n"
            }
            LineEndings::Reject | LineEndings::Keep => b"",
        }
    }

    /// Looks at the next octets, up to the first that are not kept. Call again with the rest until all is consumed.
    pub fn scan(&mut self, input: &[u8]) -> Piece {
        let mut at = 0;
        let mut from = 0;
        let piece = loop {
            if at == input.len() {
                // In these states the last octet was dropped, so nothing of this piece lies behind `from`.
                let to = if matches!(self.state, State::DotCr) { from } else { at };
                break Piece { keep: from..to, insert: b"", consumed: at, end: false };
            }
            let turn = match self.state {
                State::Text => self.on_text(input, from, at),
                State::Cr => self.on_cr(input, from, at),
                State::LineStart => self.on_line_start(input, from, at),
                State::SoftStart => self.on_soft_start(input, at),
                State::Dot if input[at] == b'\r' => {
                    self.state = State::DotCr;
                    from = at + 1;
                    Turn::On(at + 1)
                }
                State::Dot => {
                    self.doubled = false;
                    self.findings.dots |= input[at] == b'.';
                    self.state = State::Text;
                    Turn::On(at)
                }
                State::DotCr => self.on_dot_cr(input, at),
                State::FixedLf => {
                    self.end_line();
                    self.state = State::SoftStart;
                    Turn::On(at + 1)
                }
            };
            match turn {
                Turn::On(next) => at = next,
                Turn::Cut(piece) => break piece,
            }
        };
        self.note(&input[piece.keep.clone()]);
        self.findings.size += piece.insert.len() as u64;
        piece
    }

    /// Runs through whole lines; this is where the time goes.
    fn on_text(&mut self, input: &[u8], from: usize, start: usize) -> Turn {
        let mut at = start;
        loop {
            let Some(found) = memchr2(b'\r', b'\n', &input[at..]) else {
                self.line += (input.len() - at) as u64;
                self.doubled = false;
                return Turn::On(input.len());
            };
            self.line += found as u64;
            self.doubled &= found == 0;
            at += found;
            match &input[at..] {
                // A whole line end and an ordinary line behind it.
                [b'\r', b'\n', next, ..] if *next != b'.' => {
                    self.end_line();
                    self.doubled = false;
                    at += 2;
                }
                [b'\r', ..] => {
                    self.state = State::Cr;
                    return Turn::On(at + 1);
                }
                _ => return self.on_bare_lf(from, at),
            }
        }
    }

    fn on_bare_lf(&mut self, from: usize, at: usize) -> Turn {
        self.findings.bare |= self.line_endings != LineEndings::Keep;
        if self.line_endings == LineEndings::Fix {
            self.state = State::FixedLf;
            return Turn::Cut(Piece { keep: from..at, insert: b"\r", consumed: at, end: false });
        }
        self.end_line();
        self.state = State::SoftStart;
        Turn::On(at + 1)
    }

    fn on_cr(&mut self, input: &[u8], from: usize, at: usize) -> Turn {
        if input[at] == b'\n' {
            self.end_line();
            self.state = State::LineStart;
            return Turn::On(at + 1);
        }
        self.findings.bare |= self.line_endings != LineEndings::Keep;
        self.doubled = input[at] == b'\r';
        self.end_line();
        self.state = State::SoftStart;
        match self.line_endings {
            LineEndings::Fix => Turn::Cut(Piece { keep: from..at, insert: b"\n", consumed: at, end: false }),
            LineEndings::Reject | LineEndings::Keep => Turn::On(at),
        }
    }

    fn on_line_start(&mut self, input: &[u8], from: usize, at: usize) -> Turn {
        if input[at] != b'.' {
            self.doubled = false;
            self.state = State::Text;
            return Turn::On(at);
        }
        if self.framing == Framing::Counted {
            self.findings.dots = true;
            self.state = State::Text;
            return Turn::On(at);
        }
        if input[at..].starts_with(b".\r\n") {
            return Turn::Cut(Piece { keep: from..at, insert: b"", consumed: at + 3, end: true });
        }
        self.state = State::Dot;
        Turn::Cut(Piece { keep: from..at, insert: b"", consumed: at + 1, end: false })
    }

    fn on_soft_start(&mut self, input: &[u8], at: usize) -> Turn {
        self.findings.dots |= input[at] == b'.';
        self.state = State::Text;
        Turn::On(at)
    }

    /// `.` and CR at a line's start were dropped; unless LF follows, they were text.
    fn on_dot_cr(&mut self, input: &[u8], at: usize) -> Turn {
        if input[at] == b'\n' {
            return Turn::Cut(Piece { keep: at..at, insert: b"", consumed: at + 1, end: true });
        }
        self.findings.bare = true;
        self.doubled = input[at] == b'\r';
        self.end_line();
        self.state = State::SoftStart;
        match self.line_endings {
            LineEndings::Fix => Turn::Cut(Piece { keep: at..at, insert: b"\r\n", consumed: at, end: false }),
            // The message is refused, so the lost CR is not missed. DATA content is never kept as it is.
            LineEndings::Reject | LineEndings::Keep => Turn::On(at),
        }
    }

    fn end_line(&mut self) {
        self.findings.longest_line = self.findings.longest_line.max(self.line);
        self.line = 0;
    }

    fn note(&mut self, kept: &[u8]) {
        self.findings.size += kept.len() as u64;
        if !self.findings.eight_bit {
            self.findings.eight_bit = !kept.is_ascii();
        }
        if !self.findings.nul {
            self.findings.nul = memchr(0, kept).is_some();
        }
    }
}

#[cfg(test)]
mod tests;
