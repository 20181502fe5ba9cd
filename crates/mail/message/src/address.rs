//! A mail address (RFC 5321 §4.1.2, RFC 6531): local part and domain, kept as the peer wrote the local part.
//!
//! The grammar that reads addresses off the wire lives in `smtp`; this type only refuses what could never be written
//! down safely again.

use std::fmt;

/// An address that can be written into a command, a log row or a header as it stands.
///
/// Invariants: no control octet, no space outside quotes, valid UTF-8; the domain is lower case; local part at most 64
/// octets, whole address at most 254 (RFC 5321 §4.5.3.1).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    text: Box<str>,
    at: u16,
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// Nothing before the `@`.
    EmptyLocalPart,
    /// More than 64 octets before the `@`.
    LocalPartTooLong,
    /// More than 255 octets behind the `@`.
    DomainTooLong,
    /// A control octet.
    Control,
}

impl AddressError {
    /// A sentence part that says what is wrong, for a reply or an error message.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::EmptyLocalPart => "empty local part",
            Self::LocalPartTooLong => "local part longer than 64 octets",
            Self::DomainTooLong => "domain longer than 255 octets",
            Self::Control => "control octet in address",
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for AddressError {}

/// Longest local part, octets (RFC 5321 §4.5.3.1.1).
const LOCAL_PART_MAX: usize = 64;
/// Longest domain, octets (RFC 5321 §4.5.3.1.2).
const DOMAIN_MAX: usize = 255;

/// What stands behind the `@`, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain<'a> {
    /// Nothing: the bare `postmaster` (RFC 5321 §4.5.1).
    None,
    /// A name, lower case.
    Name(&'a str),
    /// An address literal without its brackets: `127.0.0.1`, `ipv6:::1`.
    Literal(&'a str),
}

impl Address {
    /// `local` as written (with quotes, if it has them), `domain` in any case; an empty domain means none.
    ///
    /// # Errors
    /// See [`AddressError`]; the grammar of the parts is the caller's to check.
    pub fn new(local: &str, domain: &str) -> Result<Self, AddressError> {
        if local.is_empty() {
            return Err(AddressError::EmptyLocalPart);
        }
        if local.len() > LOCAL_PART_MAX {
            return Err(AddressError::LocalPartTooLong);
        }
        if domain.len() > DOMAIN_MAX {
            return Err(AddressError::DomainTooLong);
        }
        if local.bytes().chain(domain.bytes()).any(|b| b.is_ascii_control()) {
            return Err(AddressError::Control);
        }
        let mut text = String::with_capacity(local.len() + 1 + domain.len());
        text.push_str(local);
        if !domain.is_empty() {
            text.push('@');
            text.push_str(domain);
            text[local.len()..].make_ascii_lowercase();
        }
        Ok(Self { text: text.into_boxed_str(), at: local.len() as u16 })
    }

    /// Splits a text at its last `@`; for configuration and tools, not for the wire.
    ///
    /// # Errors
    /// As [`Address::new`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = text.rsplit_once('@').unwrap_or((text, ""));
        Self::new(local, domain)
    }

    /// The part before the `@`, with its quotes if it has them.
    pub fn local_part(&self) -> &str {
        &self.text[..self.at as usize]
    }

    /// The text behind the `@`, lower case, with the brackets of a literal; empty if there is none.
    pub fn domain_text(&self) -> &str {
        self.text.get(self.at as usize + 1..).unwrap_or("")
    }

    /// The text behind the `@`, by kind.
    pub fn domain(&self) -> Domain<'_> {
        let text = self.domain_text();
        match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(literal) => Domain::Literal(literal),
            None if text.is_empty() => Domain::None,
            None => Domain::Name(text),
        }
    }

    /// The whole address as it goes between the angle brackets.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the address needs SMTPUTF8 (RFC 6531 §3.2).
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let address = Address::new("\"a@b\"", "Example.ORG").unwrap();
        assert_eq!(address.local_part(), "\"a@b\"");
        assert_eq!(address.domain(), Domain::Name("example.org"));
        assert_eq!(address.as_str(), "\"a@b\"@example.org");
        assert_eq!(Address::new("u", "[127.0.0.1]").unwrap().domain(), Domain::Literal("127.0.0.1"));
        let bare = Address::new("postmaster", "").unwrap();
        assert_eq!((bare.domain(), bare.domain_text(), bare.as_str()), (Domain::None, "", "postmaster"));
    }

    #[test]
    fn edges_of_length() {
        assert!(Address::new(&"a".repeat(64), "b").is_ok());
        assert_eq!(Address::new(&"a".repeat(65), "b"), Err(AddressError::LocalPartTooLong));
        assert!(Address::new("a", &"b".repeat(255)).is_ok());
        assert_eq!(Address::new("a", &"b".repeat(256)), Err(AddressError::DomainTooLong));
        assert_eq!(Address::new("", "b"), Err(AddressError::EmptyLocalPart));
        assert_eq!(Address::new("a\rb", "c"), Err(AddressError::Control));
    }
}
