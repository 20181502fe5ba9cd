//! SMTP replies as values: what a next hop said, and at which stage (RFC 5321 §4.2, RFC 3463).

use std::fmt;

/// A reply, verbatim: what a next hop said or what we say in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The text behind the code; lines are separated by `\n`. Never holds a CR or a NUL.
    pub text: Box<str>,
}

impl Reply {
    /// A reply of our own making.
    pub fn new(code: u16, text: &str) -> Self {
        Self { code, text: text.into() }
    }

    /// 2yz.
    pub const fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4yz: try again later.
    pub const fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5yz: do not try again.
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The enhanced status code the text starts with, if its class agrees with the code (RFC 2034 §4).
    pub fn enhanced(&self) -> Option<Enhanced> {
        Enhanced::parse(self.text.split([' ', '\n']).next().unwrap_or(""))
            .filter(|enhanced| u16::from(enhanced.0) == self.code / 100)
    }
}

impl fmt::Display for Reply {
    /// One line: the lines of the text are joined by spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        for line in self.text.split('\n') {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

/// `class.subject.detail` (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enhanced(pub u8, pub u16, pub u16);

impl Enhanced {
    /// Reads `5.1.1`; the class must be 2, 4 or 5, the others at most three digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let class = match parts.next()? {
            "2" => 2,
            "4" => 4,
            "5" => 5,
            _ => return None,
        };
        let subject = number(parts.next()?)?;
        let detail = number(parts.next()?)?;
        parts.next().is_none().then_some(Self(class, subject, detail))
    }
}

fn number(text: &str) -> Option<u16> {
    let plain = !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Where in a conversation something happened; the numbers stand in log rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Stage {
    /// Before or while connecting.
    #[default]
    NotConnected = 0,
    /// Between transactions.
    Idle = 1,
    /// MAIL is being sent.
    DuringMail = 2,
    /// MAIL was sent.
    AfterMail = 3,
    /// RCPT is being sent.
    DuringRcpt = 4,
    /// RCPT was sent.
    AfterRcpt = 5,
    /// DATA is being sent.
    DuringData = 6,
    /// DATA was sent.
    AfterData = 7,
    /// The content is being sent.
    SendingBody = 8,
    /// The content was sent; its reply is awaited.
    ReadingConfirmation = 9,
    /// EHLO is being sent.
    DuringEhlo = 10,
    /// EHLO was sent.
    AfterEhlo = 11,
    /// The greeting is awaited.
    Banner = 12,
    /// RSET is being sent.
    DuringRset = 13,
    /// RSET was sent.
    AfterRset = 14,
    /// STARTTLS is being sent.
    DuringStartTls = 15,
    /// STARTTLS was sent.
    AfterStartTls = 16,
    /// TLS is being negotiated.
    TlsHandshake = 17,
    /// A failure that a report told of later.
    OutOfBand = 21,
    /// None of these.
    Unknown = 22,
}

impl Stage {
    /// The number that stands in log rows.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes() {
        assert_eq!(Enhanced::parse("5.1.1"), Some(Enhanced(5, 1, 1)));
        for bad in ["", "5", "5.1", "3.1.1", "5.1.1.1", "5.1000.1", "5.+1.1", "5..1"] {
            assert_eq!(Enhanced::parse(bad), None, "{bad}");
        }
        assert_eq!(Reply::new(550, "5.1.1 no such user").enhanced(), Some(Enhanced(5, 1, 1)));
        assert_eq!(Reply::new(450, "5.1.1 class differs").enhanced(), None);
        assert_eq!(Reply::new(250, "a\nb").to_string(), "250 a b");
    }
}
