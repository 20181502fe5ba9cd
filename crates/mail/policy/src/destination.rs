//! What a plan is made for: a domain with its `MX`, one named host, or an address. Routing reads it from the recipient's
//! domain or from a route of the configuration.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::{DnsName, NameError};

/// Where mail is to go, before any look-up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A mail domain: its `MX` records, or itself if it has none (RFC 5321 §5.1).
    Domain(DnsName),
    /// One host, whatever its `MX` records say: a smart host.
    Host(DnsName),
    /// An address; nothing is looked up.
    Address(IpAddr),
}

/// Why a text is no destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationError {
    /// Not a DNS name.
    Name(NameError),
    /// Brackets around something that is no address (RFC 5321 §4.1.3).
    Literal,
}

impl Destination {
    /// Reads what stands behind the `@` of a recipient: a name, `[192.0.2.1]` or `[IPv6:2001:db8::1]`
    /// (RFC 5321 §4.1.3). A bare address is a name here, one that does not exist.
    ///
    /// # Errors
    /// See [`DestinationError`].
    pub fn domain(text: &str) -> Result<Self, DestinationError> {
        match bracketed(text) {
            Some(literal) => literal_address(literal).map(Self::Address).ok_or(DestinationError::Literal),
            None => DnsName::parse(text).map(Self::Domain).map_err(DestinationError::Name),
        }
    }

    /// Reads the host of a route: a name, an address, or an address in brackets (`[2001:db8::1]`, as in a URI).
    ///
    /// # Errors
    /// See [`DestinationError`].
    pub fn host(text: &str) -> Result<Self, DestinationError> {
        if let Some(literal) = bracketed(text) {
            let address = literal.parse().ok().or_else(|| literal_address(literal));
            return address.map(Self::Address).ok_or(DestinationError::Literal);
        }
        match text.parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) => DnsName::parse(text).map(Self::Host).map_err(DestinationError::Name),
        }
    }
}

fn bracketed(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

/// `192.0.2.1` or `IPv6:2001:db8::1`, the tag in any case.
fn literal_address(text: &str) -> Option<IpAddr> {
    const TAG: &str = "ipv6:";
    match text.get(..TAG.len()) {
        Some(tag) if tag.eq_ignore_ascii_case(TAG) => text[TAG.len()..].parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => text.parse().ok().map(IpAddr::V4),
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(name) | Self::Host(name) => name.fmt(f),
            Self::Address(IpAddr::V4(address)) => write!(f, "[{address}]"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[IPv6:{address}]"),
        }
    }
}

impl fmt::Display for DestinationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => error.fmt(f),
            Self::Literal => f.write_str("brackets around something that is no address"),
        }
    }
}

impl std::error::Error for DestinationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name(error) => Some(error),
            Self::Literal => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Destination {
        Destination::Address(text.parse().unwrap())
    }

    #[test]
    fn literals_are_read_and_written_back() {
        for (text, expected, canonical) in [
            ("[192.0.2.1]", "192.0.2.1", "[192.0.2.1]"),
            ("[IPv6:2001:db8::1]", "2001:db8::1", "[IPv6:2001:db8::1]"),
            ("[ipv6:::1]", "::1", "[IPv6:::1]"),
        ] {
            let destination = Destination::domain(text).unwrap();
            assert_eq!(destination, address(expected));
            assert_eq!(destination.to_string(), canonical);
        }
    }

    #[test]
    fn what_is_no_literal_is_refused() {
        for text in ["[]", "[2001:db8::1]", "[IPv6:192.0.2.1]", "[192.0.2.256]", "[example.org]", "[192.0.2.1", "[é]"]
        {
            assert!(Destination::domain(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_route_may_name_an_address_bare() {
        assert_eq!(Destination::host("192.0.2.1").unwrap(), address("192.0.2.1"));
        assert_eq!(Destination::host("[2001:db8::1]").unwrap(), address("2001:db8::1"));
        assert!(matches!(Destination::host("smart.example").unwrap(), Destination::Host(_)));
        assert!(matches!(Destination::domain("192.0.2.1").unwrap(), Destination::Domain(_)));
    }
}
