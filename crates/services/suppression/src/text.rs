//! The words of files and commands, read: kinds, reasons, times.

use crate::entry::{Kind, Reason, Second};
use std::fmt;

/// A word that means nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadText {
    what: &'static str,
    text: Box<str>,
    right: &'static str,
}

/// So much of a bad word is quoted, characters.
const QUOTED_MAX: usize = 40;

impl BadText {
    fn new(what: &'static str, text: &str, right: &'static str) -> Self {
        let quoted: String = text.chars().filter(|c| !c.is_control()).take(QUOTED_MAX).collect();
        Self { what, text: quoted.into(), right }
    }
}

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no {}; write {}", self.text, self.what, self.right)
    }
}

impl std::error::Error for BadText {}

/// Reads a kind.
///
/// # Errors
/// Any other word.
pub fn parse_kind(text: &str) -> Result<Kind, BadText> {
    match text {
        "all" => Ok(Kind::All),
        "transactional" => Ok(Kind::Transactional),
        "non_transactional" => Ok(Kind::NonTransactional),
        other => Err(BadText::new("kind of mail", other, "all, transactional or non_transactional")),
    }
}

/// Reads a reason: `bounce`, `bounce:CLASS`, `complaint`, `unsubscribe`, `manual`.
///
/// # Errors
/// Anything else.
pub fn parse_reason(text: &str) -> Result<Reason, BadText> {
    let bad = || BadText::new("reason", text, "bounce, bounce:CLASS, complaint, unsubscribe or manual");
    match text {
        "bounce" => Ok(Reason::Bounce(0)),
        "complaint" => Ok(Reason::Complaint),
        "unsubscribe" => Ok(Reason::Unsubscribe),
        "manual" => Ok(Reason::Manual),
        other => {
            let class = other.strip_prefix("bounce:").ok_or_else(bad)?;
            class.parse().ok().filter(|class| *class > 0).map(Reason::Bounce).ok_or_else(bad)
        }
    }
}

const TIME: &str = "seconds since 1970, or a time as 2026-11-25T09:00:00Z, before 2106";

/// Reads a time.
///
/// # Errors
/// Anything but seconds since 1970 or RFC 3339, and times that the list's clock does not have.
pub fn parse_second(text: &str) -> Result<Second, BadText> {
    if let Ok(seconds) = text.parse() {
        return Ok(Second(seconds));
    }
    let at = text.parse::<jiff::Timestamp>().ok().and_then(|at| u32::try_from(at.as_second()).ok());
    at.map(Second).ok_or_else(|| BadText::new("time", text, TIME))
}

/// RFC 3339, in UTC.
impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(i64::from(self.0)) {
            Ok(at) => write!(f, "{at}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        for kind in [Kind::All, Kind::Transactional, Kind::NonTransactional] {
            assert_eq!(parse_kind(kind.word()), Ok(kind));
        }
        for reason in [Reason::Bounce(0), Reason::Bounce(255), Reason::Complaint, Reason::Unsubscribe, Reason::Manual] {
            assert_eq!(parse_reason(&reason.to_string()), Ok(reason));
        }
        for second in [0, 1_764_061_200, u32::MAX] {
            assert_eq!(parse_second(&Second(second).to_string()), Ok(Second(second)));
        }
        assert_eq!(parse_second("1764061200").unwrap().to_string(), "2025-11-25T09:00:00Z");
        assert_eq!(parse_second("2025-11-25T10:00:00+01:00"), Ok(Second(1_764_061_200)));
    }

    #[test]
    fn bad_words_are_named() {
        assert_eq!(
            parse_reason("spam").unwrap_err().to_string(),
            "`spam` is no reason; write bounce, bounce:CLASS, complaint, unsubscribe or manual"
        );
        for bad in ["bounce:", "bounce:0", "bounce:256", "bounce:x", "Manual"] {
            assert!(parse_reason(bad).is_err(), "{bad}");
        }
        for bad in ["", "yesterday", "-1", "4294967296", "2107-01-01T00:00:00Z", "1969-12-31T23:59:59Z"] {
            assert!(parse_second(bad).is_err(), "{bad}");
        }
        assert!(parse_kind(&"x".repeat(100_000)).unwrap_err().to_string().len() < 200);
    }
}
