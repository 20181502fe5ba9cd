//! Names of hosts and mailboxes.

use std::fmt;
use std::ops::Deref;

use super::{Kind, OptionValue, malformed, toml_string};
use crate::error::Problem;

/// A host name (RFC 5321 section 4.1.2 `Domain`) or an address literal in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName(Box<str>);

/// The address of a mailbox, `local@domain`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mailbox(Box<str>);

/// A domain name, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OptionalDomain(pub Option<Box<str>>);

/// What the local part of a signed return path begins with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MarkPrefix(Box<str>);

/// Longest prefix of a return path in bytes: the mark and the recipient need the rest.
const PREFIX_MAX: usize = 16;
/// Longest domain in bytes (RFC 5321 section 4.5.3.1.2).
const DOMAIN_MAX: usize = 255;
/// Longest local part in bytes (RFC 5321 section 4.5.3.1.1).
const LOCAL_MAX: usize = 64;

impl HostName {
    /// Checks a name; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<HostName> {
        is_domain(text).then(|| HostName(text.into()))
    }
}

impl Mailbox {
    /// Checks an address; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Mailbox> {
        let (local, domain) = text.rsplit_once('@')?;
        let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
        let dots = local.starts_with('.') || local.ends_with('.') || local.contains("..");
        let sound = !local.is_empty() && local.len() <= LOCAL_MAX && local.bytes().all(atom) && !dots;
        (sound && is_domain(domain)).then(|| Mailbox(text.into()))
    }
}

impl MarkPrefix {
    /// Checks a prefix: letters, digits, `-`, `_` and inner dots.
    #[must_use]
    pub fn parse(text: &str) -> Option<MarkPrefix> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let dots = text.starts_with('.') || text.ends_with('.') || text.contains("..");
        let sound = !text.is_empty() && text.len() <= PREFIX_MAX && text.bytes().all(letter) && !dots;
        sound.then(|| MarkPrefix(text.into()))
    }
}

impl OptionValue for OptionalDomain {
    const KIND: Kind = Kind::new("domain", "a name such as \"bounces.example.org\"");

    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "" => Ok(Self(None)),
            name if is_domain(name) && !name.starts_with('[') => Ok(Self(Some(name.to_ascii_lowercase().into()))),
            _ => Err(malformed(&Self::KIND, text)),
        }
    }

    fn to_toml(&self) -> String {
        toml_string(self.0.as_deref().unwrap_or(""))
    }
}

/// Labels of letters, digits, hyphens and underscores, or an address literal.
pub(crate) fn is_domain(text: &str) -> bool {
    if let Some(literal) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let v6 = literal.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:")).map(|_| &literal[5..]);
        return match v6 {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => literal.parse::<std::net::Ipv4Addr>().is_ok(),
        };
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(letter)
    };
    text.len() <= DOMAIN_MAX && text.split('.').all(label)
}

macro_rules! checked_text {
    ($ty:ident, $name:literal, $notation:literal) => {
        impl Deref for $ty {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl OptionValue for $ty {
            const KIND: Kind = Kind::new($name, $notation);

            fn from_text(text: &str) -> Result<Self, Problem> {
                $ty::parse(text).ok_or_else(|| malformed(&Self::KIND, text))
            }

            fn to_toml(&self) -> String {
                toml_string(&self.0)
            }
        }
    };
}

checked_text!(HostName, "host name", "a name such as \"mx1.example.org\"");
checked_text!(MarkPrefix, "prefix", "up to 16 letters, digits, `-`, `_` and inner dots");
checked_text!(Mailbox, "mailbox", "an address such as \"postmaster@example.org\"");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_domains_or_literals() {
        let long = format!("{}.example", "a".repeat(64));
        for good in ["localhost", "mx1.example.org", "a_b.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"] {
            assert!(HostName::parse(good).is_some(), "{good}");
        }
        for bad in ["", ".", "a..b", "a.", "-a.b", "a b", "ü.example", "[IPv6:192.0.2.1]", "[", "[é]", &long] {
            assert!(HostName::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn mailboxes_have_both_parts() {
        for good in ["postmaster@example.org", "a+b@x.example", "a@[192.0.2.1]"] {
            assert!(Mailbox::parse(good).is_some(), "{good}");
        }
        for bad in ["postmaster", "@example.org", "a@", "a b@c", ".a@b", "a..b@c", "\"a\"@b"] {
            assert!(Mailbox::parse(bad).is_none(), "{bad}");
        }
    }
}
