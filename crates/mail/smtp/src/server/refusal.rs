//! A 4xx or 5xx reply: what a client is told when it is refused.

use std::borrow::Cow;
use std::fmt;

/// Code and text of a refusal; the text starts with the enhanced status code (RFC 2034).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: u16,
    text: Cow<'static, str>,
}

impl Refusal {
    /// One whose words are known before. `text` has one line and starts with an enhanced code of the class of `code`.
    pub const fn new(code: u16, text: &'static str) -> Self {
        debug_assert!(code >= 400 && code < 600 && text.as_bytes()[0] as u16 == code / 100 + b'0' as u16);
        Self { code, text: Cow::Borrowed(text) }
    }

    /// One whose words are made up on the spot. Control octets in them become spaces, so that the reply stays one line.
    pub fn worded(code: u16, text: String) -> Self {
        let text = if text.bytes().any(|octet| octet.is_ascii_control()) {
            text.replace(|c: char| c.is_ascii_control(), " ")
        } else {
            text
        };
        Self { code, text: Cow::Owned(text) }
    }

    /// The three digits.
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// Enhanced code and words.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the session ends with it (RFC 5321 §3.8).
    pub const fn closes(&self) -> bool {
        self.code == 421
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text)
    }
}

/// A refusal as the reject log needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The command or phase: `RCPT TO`, `DATA`, `connect`, …
    pub phase: &'static str,
    /// What the client was told.
    pub refusal: Refusal,
    /// The reverse-path of the transaction; empty for `<>`.
    pub sender: Option<Box<str>>,
    /// The forward-path that was refused.
    pub recipient: Option<Box<str>>,
}
