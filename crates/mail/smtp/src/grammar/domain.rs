//! Domains and address literals (RFC 5321 §4.1.2 and §4.1.3, U-labels by RFC 6531 §3.3).

use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest domain, octets (RFC 5321 §4.5.3.1.2).
const DOMAIN_MAX: usize = 255;
/// Longest label, octets (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;

/// Whether `text` is a domain of letters, digits, hyphens, underscores and U-labels.
pub(super) fn is_domain(text: &str) -> bool {
    !text.is_empty() && text.len() <= DOMAIN_MAX && text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let octets = label.as_bytes();
    let plain = |octet: &u8| octet.is_ascii_alphanumeric() || *octet >= 0x80 || *octet == b'_';
    match (octets.first(), octets.last()) {
        (Some(first), Some(last)) => {
            plain(first) && plain(last) && octets.len() <= LABEL_MAX && octets.iter().all(|o| plain(o) || *o == b'-')
        }
        _ => false,
    }
}

/// Whether `text` is `[192.0.2.1]` or `[IPv6:2001:db8::1]`. Other tags have no meaning here.
pub(super) fn is_literal(text: &str) -> bool {
    let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return false };
    match inside.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inside[5..].parse::<Ipv6Addr>().is_ok(),
        _ => inside.parse::<Ipv4Addr>().is_ok(),
    }
}

/// Whether a greeting may give this name. Clients often give names that are no domains (`_`, trailing dots, bare
/// IPv6 literals); what may not pass is what could end a comment of the trace header, or a row of a log.
pub(super) fn is_greeting_name(text: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:[]".contains(&octet);
    !text.is_empty() && text.len() <= DOMAIN_MAX && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        for good in ["a", "example.org", "xn--bcher-kva.example", "1.2.3.4", "a_b.c", "bücher.example", &"a".repeat(63)]
        {
            assert!(is_domain(good), "{good}");
        }
        let long = format!("{}.b", "a".repeat(64));
        for bad in ["", ".", "a.", ".a", "a..b", "-a", "a-", "a b", "a@b", "[1.2.3.4]", "a/b", "a\\b", "a(b)", &long] {
            assert!(!is_domain(bad), "{bad}");
        }
        let edge = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(63));
        assert_eq!(edge.len(), 255);
        assert!(is_domain(&edge));
        assert!(!is_domain(&format!("{edge}.c")));
    }

    #[test]
    fn literals() {
        for good in ["[127.0.0.1]", "[IPv6:::1]", "[ipv6:2001:db8::1]"] {
            assert!(is_literal(good), "{good}");
        }
        for bad in
            ["[]", "[127.0.0]", "[256.0.0.1]", "127.0.0.1", "[::1]", "[IPv6:]", "[IPv6:1.2.3.4]", "[x:y]", "[1.2.3.4"]
        {
            assert!(!is_literal(bad), "{bad}");
        }
    }

    #[test]
    fn greeting_names() {
        assert!(is_greeting_name("WIN-PC_1") && is_greeting_name("[::1]") && is_greeting_name(&"a".repeat(255)));
        for bad in ["", "a b", "a)b", "a;b", "<a>", "ü", "a\"b", &"a".repeat(256)] {
            assert!(!is_greeting_name(bad), "{bad}");
        }
    }
}
