//! Domains as they are compared: lower-case A-labels for names, one spelling for an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest name, octets, without a final dot (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;
/// Longest label, octets.
const LABEL_MAX: usize = 63;

/// The one name for a domain, if it can be a domain: U-labels become A-labels (RFC 5891), a final dot goes.
pub(crate) fn canonical_name(domain: &str) -> Option<String> {
    let name = if domain.is_ascii() { domain.to_ascii_lowercase() } else { idna::domain_to_ascii(domain).ok()? };
    let name = name.strip_suffix('.').unwrap_or(&name);
    let plain = name.len() <= NAME_MAX && name.split('.').all(is_label);
    plain.then(|| name.to_owned())
}

/// Letters, digits, hyphens; and underscores, which some domains have although RFC 1123 does not allow them.
fn is_label(label: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-' || octet == b'_';
    !label.is_empty() && label.len() <= LABEL_MAX && label.bytes().all(plain)
}

/// The address of a literal without its brackets (RFC 5321 §4.1.3); `None` for tags other than `IPv6`.
pub(crate) fn literal_address(literal: &str) -> Option<IpAddr> {
    match literal.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("ipv6:") => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => literal.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// The one spelling of an address literal, with brackets.
pub(crate) fn canonical_literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[ipv6:{address}]"),
    }
}

/// Whether mail to that address comes back to this machine for certain.
pub(crate) fn is_own_address(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

/// Whether a name means this machine: our own, or one of those that every machine gives itself (RFC 6761 §6.3).
pub(crate) fn is_own_name(name: &str, hostname: &str) -> bool {
    name.eq_ignore_ascii_case(hostname.strip_suffix('.').unwrap_or(hostname))
        || name == "localhost"
        || name == "localhost.localdomain"
        || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let same = |domain: &str, name: &str| assert_eq!(canonical_name(domain).as_deref(), Some(name), "{domain}");
        same("example.org", "example.org");
        same("EXAMPLE.org.", "example.org");
        same("mÜnchen.de", "xn--mnchen-3ya.de");
        same("xn--mnchen-3ya.DE", "xn--mnchen-3ya.de");
        same("例え.テスト", "xn--r8jz45g.xn--zckzah");
        same("_dmarc.example.org", "_dmarc.example.org");
        let long = format!("{}.org", "a".repeat(63));
        same(&long, &long);
        let longer = format!("{}.org", "a".repeat(64));
        for bad in ["", ".", "a..b", ".a", "a b", "a/b", "*.org", "\u{200d}.de", "ü..de", longer.as_str()] {
            assert_eq!(canonical_name(bad), None, "{bad}");
        }
        assert_eq!(canonical_name(&"a.".repeat(127)), Some("a.".repeat(126) + "a"));
        assert_eq!(canonical_name(&"a.".repeat(128)), None);
    }

    #[test]
    fn literals() {
        for (literal, spelling) in [
            ("192.0.2.1", "[192.0.2.1]"),
            ("ipv6:2001:DB8:0::1", "[ipv6:2001:db8::1]"),
            ("IPv6:::ffff:192.0.2.1", "[ipv6:::ffff:192.0.2.1]"),
        ] {
            assert_eq!(literal_address(literal).map(canonical_literal).as_deref(), Some(spelling));
        }
        for bad in ["", "192.0.2", "192.0.2.1.", "2001:db8::1", "ipv6:", "ipv6:192.0.2.1", "x400:abc", "ipvä6"] {
            assert_eq!(literal_address(bad), None, "{bad}");
        }
    }

    #[test]
    fn ourselves() {
        for own in ["127.0.0.1", "127.9.9.9", "0.0.0.0", "ipv6:::1", "ipv6:::", "ipv6:::ffff:127.0.0.1"] {
            assert!(literal_address(own).is_some_and(is_own_address), "{own}");
        }
        assert!(!literal_address("192.0.2.1").is_some_and(is_own_address));
        for own in ["localhost", "localhost.localdomain", "a.localhost", "mx1.example.org"] {
            assert!(is_own_name(own, "MX1.example.org."), "{own}");
        }
        assert!(!is_own_name("example.org", "mx1.example.org"));
        assert!(!is_own_name("notlocalhost", "mx1.example.org"));
    }
}
