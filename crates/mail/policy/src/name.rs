//! A name that can be looked up. Whoever asks a resolver builds one first, so that no text reaches the wire unchecked.

use std::fmt;
use std::net::IpAddr;

/// Longest name as text without the final dot, octets (RFC 1035 §3.1: 255 on the wire).
const NAME_MAX: usize = 253;
/// Longest label, octets (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;

/// A DNS name: lower-case A-labels of letters, digits, `-` and `_` (RFC 1035 §2.3.1, RFC 8552), without the final dot,
/// never the root.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(Box<str>);

/// Why a text is no DNS name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing, or only a dot.
    Empty,
    /// More than 253 octets.
    TooLong,
    /// An empty label, or one of more than 63 octets.
    Label,
    /// An octet that no host or domain name has.
    Character,
    /// A U-label that IDNA does not allow (RFC 5891).
    Idna,
}

impl DnsName {
    /// Reads a name in any case, with or without its final dot; U-labels become A-labels (RFC 5891).
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if !text.is_ascii() {
            let ascii = idna::domain_to_ascii(text).map_err(|_| NameError::Idna)?;
            return Self::parse_ascii(&ascii);
        }
        Self::parse_ascii(text)
    }

    fn parse_ascii(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_MAX {
            return Err(NameError::TooLong);
        }
        if text.split('.').any(|label| label.is_empty() || label.len() > LABEL_MAX) {
            return Err(NameError::Label);
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(NameError::Character);
        }
        Ok(Self(text.to_ascii_lowercase().into_boxed_str()))
    }

    /// The name, lower case, without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels from the left; at least one.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// The IP address that the name spells, as some `MX` records do against RFC 5321 §5.1 (`mxip`).
    pub fn as_address(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty name",
            Self::TooLong => "name longer than 253 octets",
            Self::Label => "label empty or longer than 63 octets",
            Self::Character => "octet that no name may have",
            Self::Idna => "label that idna does not allow",
        })
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_final_dot_do_not_matter() {
        assert_eq!(DnsName::parse("Mail.Example.ORG.").unwrap(), DnsName::parse("mail.example.org").unwrap());
        assert_eq!(DnsName::parse("_dmarc.example.org").unwrap().as_str(), "_dmarc.example.org");
    }

    #[test]
    fn u_labels_become_a_labels() {
        assert_eq!(DnsName::parse("Bücher.example").unwrap().as_str(), "xn--bcher-kva.example");
    }

    #[test]
    fn what_cannot_stand_on_the_wire_is_refused() {
        let cases = [
            ("", NameError::Empty),
            (".", NameError::Empty),
            ("a..b", NameError::Label),
            (".a", NameError::Label),
            ("a b", NameError::Character),
            ("a\0b", NameError::Character),
            ("[1.2.3.4]", NameError::Character),
        ];
        for (text, error) in cases {
            assert_eq!(DnsName::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(DnsName::parse(&"a".repeat(64)), Err(NameError::Label));
        assert_eq!(DnsName::parse(&"a".repeat(63)).unwrap().as_str().len(), 63);
        let edge = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        assert_eq!(edge.len(), 253);
        assert!(DnsName::parse(&edge).is_ok());
        assert_eq!(DnsName::parse(&format!("{edge}b")), Err(NameError::TooLong));
    }

    #[test]
    fn an_address_is_recognised() {
        assert_eq!(DnsName::parse("192.0.2.1").unwrap().as_address(), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(DnsName::parse("192.0.2.example").unwrap().as_address(), None);
    }
}
