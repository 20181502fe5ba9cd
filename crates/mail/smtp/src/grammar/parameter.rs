//! ESMTP parameters (RFC 5321 §4.1.2 `esmtp-param`) and the values of those that we offer.

use super::SyntaxError;
use message::{BodyType, Notify, Return};

/// Splits `rest` of a MAIL or RCPT line at spaces into keyword and value.
pub(super) fn parameters(rest: &[u8]) -> Result<impl Iterator<Item = Parameter<'_>>, SyntaxError> {
    match rest.first() {
        None | Some(b' ') => {
            Ok(rest.split(|octet| *octet == b' ').filter(|text| !text.is_empty()).map(Parameter::split))
        }
        Some(_) => Err(SyntaxError::BadParameter("5.5.4 a space must stand between address and parameter")),
    }
}

/// One parameter, unchecked.
pub(super) struct Parameter<'a> {
    keyword: &'a [u8],
    /// `None` without `=`.
    pub(super) value: Option<&'a [u8]>,
}

impl<'a> Parameter<'a> {
    fn split(text: &'a [u8]) -> Self {
        match memchr::memchr(b'=', text) {
            Some(at) => Self { keyword: &text[..at], value: Some(&text[at + 1..]) },
            None => Self { keyword: text, value: None },
        }
    }

    pub(super) fn is(&self, keyword: &str) -> bool {
        self.keyword.eq_ignore_ascii_case(keyword.as_bytes())
    }

    /// The value, which must be there.
    pub(super) fn value(&self, problem: &'static str) -> Result<&'a [u8], SyntaxError> {
        self.value.filter(|value| !value.is_empty()).ok_or(SyntaxError::BadParameter(problem))
    }
}

/// Puts the value of a parameter in its place, which must be free.
pub(super) fn place<T>(slot: &mut Option<T>, value: T) -> Result<(), SyntaxError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(SyntaxError::BadParameter("5.5.4 parameter given twice")),
    }
}

/// SIZE (RFC 1870 §3). A number that does not fit is the largest that does: it is over every limit.
pub(super) fn size(value: &[u8]) -> Option<u64> {
    decimal(value)
}

/// One or more digits, saturating.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |sum: u64, octet: &u8| sum.saturating_mul(10).saturating_add(u64::from(octet - b'0'));
    Some(text.iter().fold(0, digit))
}

/// BODY (RFC 6152 §2, RFC 3030 §3).
pub(super) fn body(value: &[u8]) -> Option<BodyType> {
    let is = |keyword: &str| value.eq_ignore_ascii_case(keyword.as_bytes());
    match () {
        () if is("7BIT") => Some(BodyType::SevenBit),
        () if is("8BITMIME") => Some(BodyType::EightBit),
        () if is("BINARYMIME") => Some(BodyType::Binary),
        () => None,
    }
}

/// RET (RFC 3461 §4.3).
pub(super) fn ret(value: &[u8]) -> Option<Return> {
    match () {
        () if value.eq_ignore_ascii_case(b"FULL") => Some(Return::Full),
        () if value.eq_ignore_ascii_case(b"HDRS") => Some(Return::Headers),
        () => None,
    }
}

/// NOTIFY (RFC 3461 §4.1): `NEVER` alone, or any of the others.
pub(super) fn notify(value: &[u8]) -> Option<Notify> {
    if value.eq_ignore_ascii_case(b"NEVER") {
        return Some(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for keyword in value.split(|octet| *octet == b',') {
        match () {
            () if keyword.eq_ignore_ascii_case(b"SUCCESS") => success = true,
            () if keyword.eq_ignore_ascii_case(b"FAILURE") => failure = true,
            () if keyword.eq_ignore_ascii_case(b"DELAY") => delay = true,
            () => return None,
        }
    }
    Some(Notify::On { success, failure, delay })
}

/// Longest ENVID in xtext (RFC 3461 §4.4).
const ENVID_MAX: usize = 100;
/// Longest ORCPT (RFC 3461 §4.2).
const ORCPT_MAX: usize = 500;

/// ENVID (RFC 3461 §4.4).
pub(super) fn envid(value: &[u8]) -> Option<&str> {
    (value.len() <= ENVID_MAX && is_xtext(value)).then(|| std::str::from_utf8(value).ok()).flatten()
}

/// ORCPT (RFC 3461 §4.2; type `utf-8` by RFC 6533 §3): type, semicolon, xtext.
pub(super) fn orcpt(value: &[u8]) -> Option<&str> {
    let at = memchr::memchr(b';', value)?;
    let (kind, address) = (&value[..at], &value[at + 1..]);
    let is_type = !kind.is_empty() && kind.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    if !is_type || address.is_empty() || value.len() > ORCPT_MAX {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?;
    let clean = match kind.eq_ignore_ascii_case(b"utf-8") {
        true => text.chars().all(|c| !c.is_control()) && is_encoded(address, |octet| octet >= 0x80),
        false => is_xtext(address),
    };
    clean.then_some(text)
}

/// xtext (RFC 3461 §4) whose decoded octets are printable, so that it can be written into a report as it stands.
fn is_xtext(text: &[u8]) -> bool {
    is_encoded(text, |_| false)
}

fn is_encoded(text: &[u8], also: impl Fn(u8) -> bool) -> bool {
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return true,
            [b'+', high, low, rest @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) if (b' '..=b'~').contains(&(high << 4 | low)) => rest,
                _ => return false,
            },
            [b'+' | b'=', ..] => return false,
            [b'!'..=b'~', rest @ ..] => rest,
            [octet, rest @ ..] if also(*octet) => rest,
            _ => return false,
        }
    }
}

/// xtext has capital letters only.
const fn hex(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_saturate() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(decimal(b"18446744073709551616"), Some(u64::MAX));
        assert_eq!(decimal(&[b'9'; 25]), Some(u64::MAX));
        for bad in [&b""[..], b"abc", b"-1", b"+1", b"1a", b"0x10", b" 1", b"1.5"] {
            assert_eq!(decimal(bad), None);
        }
    }

    #[test]
    fn xtext_is_printable_when_decoded() {
        for good in ["", "abc", "a+2Bb+3D", "+20"] {
            assert!(is_xtext(good.as_bytes()), "{good}");
        }
        for bad in ["a=b", "+", "+2", "+2b", "+0A", "+0D+0A", "+00", "+7F", "+FF", "a b", "ü", "+GG"] {
            assert!(!is_xtext(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn original_recipients() {
        assert_eq!(orcpt(b"rfc822;a+40b@c"), Some("rfc822;a+40b@c"));
        assert_eq!(orcpt(b"utf-8;\\x{FC}@b"), Some("utf-8;\\x{FC}@b"));
        assert_eq!(orcpt("utf-8;ü@b".as_bytes()), Some("utf-8;ü@b"));
        for bad in ["rfc822", "rfc822;", ";a", "rfc822;a+0Ab", "rfc822;ü@b", "rf c;a", "utf-8;a\u{85}"] {
            assert_eq!(orcpt(bad.as_bytes()), None, "{bad}");
        }
        assert!(orcpt(format!("rfc822;{}", "a".repeat(493)).as_bytes()).is_some());
        assert!(orcpt(format!("rfc822;{}", "a".repeat(494)).as_bytes()).is_none());
        assert!(envid(&[b'a'; 100]).is_some() && envid(&[b'a'; 101]).is_none());
    }

    #[test]
    fn notify_lists() {
        assert_eq!(notify(b"never"), Some(Notify::Never));
        assert_eq!(notify(b"SUCCESS,delay"), Some(Notify::On { success: true, failure: false, delay: true }));
        for bad in [&b""[..], b"NEVER,DELAY", b"SUCCESS,", b"ALL"] {
            assert_eq!(notify(bad), None);
        }
    }
}
