//! Header fields and names that may be missing.

use std::ops::Deref;

use super::{Kind, OptionValue, malformed, toml_string};
use crate::error::Problem;

/// Longest name or value of a header field in a test, in bytes.
const TEST_BYTES_MAX: usize = 255;

/// The name of a header field (RFC 5322 section 2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderName(Box<str>);

/// What a header field has to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderTest {
    /// Its name.
    pub name: HeaderName,
    /// Its value without white space around it; `None` is any.
    pub value: Option<Box<str>>,
}

/// The name of something, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OptionalName(pub Option<Box<str>>);

impl HeaderName {
    /// Checks a name: printable ASCII without a colon.
    #[must_use]
    pub fn parse(text: &str) -> Option<HeaderName> {
        let sound = !text.is_empty() && text.len() <= TEST_BYTES_MAX;
        let letter = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        (sound && text.bytes().all(letter)).then(|| HeaderName(text.into()))
    }
}

impl Deref for HeaderName {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl OptionValue for HeaderName {
    const KIND: Kind = Kind::new("header name", "a name such as \"X-Tenant\"");

    fn from_text(text: &str) -> Result<Self, Problem> {
        HeaderName::parse(text).ok_or_else(|| malformed(&Self::KIND, text))
    }

    fn to_toml(&self) -> String {
        toml_string(&self.0)
    }
}

impl HeaderTest {
    /// Reads `X-Stream: news` or `X-Stream`.
    #[must_use]
    pub fn parse(text: &str) -> Option<HeaderTest> {
        Self::from_text(text).ok()
    }
}

impl OptionValue for HeaderTest {
    const KIND: Kind = Kind::new("header field", "\"X-Stream: news\" or \"X-Stream\"");

    fn from_text(text: &str) -> Result<Self, Problem> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value.trim())),
            None => (text, None),
        };
        let sound = value.is_none_or(|value| value.len() <= TEST_BYTES_MAX && !value.contains(['\r', '\n']));
        match HeaderName::parse(name) {
            Some(name) if sound => Ok(HeaderTest { name, value: value.map(Into::into) }),
            Some(_) | None => Err(malformed(&Self::KIND, text)),
        }
    }

    fn to_toml(&self) -> String {
        match &self.value {
            Some(value) => toml_string(&format!("{}: {value}", &*self.name)),
            None => toml_string(&self.name),
        }
    }
}

impl OptionValue for OptionalName {
    const KIND: Kind = Kind::new("name", "a string such as \"pool-a\"");

    fn from_text(text: &str) -> Result<Self, Problem> {
        Ok(OptionalName((!text.is_empty()).then(|| text.into())))
    }

    fn to_toml(&self) -> String {
        toml_string(self.0.as_deref().unwrap_or(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_test_is_a_name_with_or_without_a_value() {
        let test = |text| HeaderTest::from_text(text).map(|test| (test.name.to_string(), test.value)).ok();
        assert_eq!(test("X-Stream:  news "), Some(("X-Stream".into(), Some("news".into()))));
        assert_eq!(test("X-Stream"), Some(("X-Stream".into(), None)));
        assert_eq!(test("X-A: b: c"), Some(("X-A".into(), Some("b: c".into()))));
        for bad in ["", ":", ": a", "X Stream: a", "X-Stream: a\r\nB: c", "X-Strüm"] {
            assert_eq!(test(bad), None, "{bad}");
        }
    }
}
