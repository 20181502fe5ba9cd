//! The one spelling of an address under which it stands in the list. Used for look-ups, imports and commands.
//!
//! Local parts are compared without regard to case, quotes that change nothing are dropped, domains are lower-case
//! A-labels. Two addresses that only a strict reading of RFC 5321 tells apart are one here: who asked for no more mail
//! must not get it because a list was typed in capitals.

use message::{Address, Domain};
use smallvec::SmallVec;
use std::fmt;

/// An address in the spelling of the list: `local@domain` without quotes.
///
/// Invariants: valid UTF-8, no control character, at most [`Key::OCTETS_MAX`] octets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(SmallVec<[u8; INLINE]>);

/// Octets that a key holds without an allocation: any address of RFC 5321.
const INLINE: usize = 336;
/// Longest local part, octets (RFC 5321 §4.5.3.1.1).
const LOCAL_MAX: usize = 64;
/// Longest domain, octets.
const DOMAIN_MAX: usize = 253;
/// Longest label, octets.
const LABEL_MAX: usize = 63;

/// Why a text is no address that mail could go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAddress {
    /// No `@`.
    NoDomain,
    /// Nothing before the `@`.
    NoLocalPart,
    /// More than 64 octets before the `@`.
    LongLocalPart,
    /// An octet that needs quotes and has none, or a broken quoted string.
    LocalPart,
    /// No host name and no address literal.
    Domain,
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDomain => "address has no domain; write local@domain",
            Self::NoLocalPart => "address has nothing before its @",
            Self::LongLocalPart => "address has more than 64 octets before its @",
            Self::LocalPart => "local part has a character that needs quotes, or a broken quoted string",
            Self::Domain => "domain is neither a host name nor an address in brackets",
        })
    }
}

impl std::error::Error for BadAddress {}

impl Key {
    /// Longest key, octets; case folding may lengthen letters beyond ASCII.
    pub const OCTETS_MAX: usize = 511;

    /// The spelling of an address that came with a message. Allocates only for domains beyond ASCII.
    pub fn of(address: &Address) -> Key {
        let mut octets = SmallVec::new();
        let local = address.local_part();
        match unquoted(local) {
            Some(inside) => fold(&mut octets, unescaped(inside)),
            None => fold(&mut octets, local.chars()),
        }
        let text = address.domain_text();
        match address.domain() {
            Domain::None => {}
            Domain::Literal(_) => {
                octets.push(b'@');
                fold(&mut octets, text.chars());
            }
            Domain::Name(name) => {
                octets.push(b'@');
                let name = name.strip_suffix('.').unwrap_or(name);
                if name.is_ascii() {
                    octets.extend(name.bytes().map(|octet| octet.to_ascii_lowercase()));
                } else {
                    match idna::domain_to_ascii(name) {
                        Ok(ascii) => octets.extend_from_slice(ascii.as_bytes()),
                        Err(_) => fold(&mut octets, name.chars()),
                    }
                }
            }
        }
        Key(octets)
    }

    /// Reads an address as people and files write it: `local@domain`, perhaps within angle brackets.
    ///
    /// # Errors
    /// See [`BadAddress`].
    pub fn parse(text: &str) -> Result<Key, BadAddress> {
        let text = text.trim();
        let text = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
        let (local, domain) = text.rsplit_once('@').ok_or(BadAddress::NoDomain)?;
        if local.is_empty() {
            return Err(BadAddress::NoLocalPart);
        }
        if local.len() > LOCAL_MAX {
            return Err(BadAddress::LongLocalPart);
        }
        let is_sound = match unquoted(local) {
            Some(inside) => is_quotable(inside),
            None => local.chars().all(is_atom),
        };
        if !is_sound {
            return Err(BadAddress::LocalPart);
        }
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        if !is_domain(domain) {
            return Err(BadAddress::Domain);
        }
        let address = Address::new(local, domain).map_err(|_| BadAddress::Domain)?;
        let key = Key::of(&address);
        // Lower case may be longer beyond ASCII; what is exported must be an address again.
        let is_long = |text: &str| text.rfind('@').is_some_and(|at| at > LOCAL_MAX);
        if !local.is_ascii() && is_long(&key.to_string()) { Err(BadAddress::LongLocalPart) } else { Ok(key) }
    }

    /// A key as a record holds it.
    pub(crate) fn from_record(octets: &[u8]) -> Key {
        Key(SmallVec::from_slice(octets))
    }

    /// The octets that are compared.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// As it would be written into a command: with quotes where the local part needs them.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.0);
        let (local, domain) = text.rsplit_once('@').unwrap_or((&text, ""));
        if !local.is_empty() && local.chars().all(is_atom) {
            f.write_str(local)?;
        } else {
            f.write_str("\"")?;
            for c in local.chars() {
                if matches!(c, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
            f.write_str("\"")?;
        }
        if domain.is_empty() { Ok(()) } else { write!(f, "@{domain}") }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{self}>")
    }
}

fn unquoted(local: &str) -> Option<&str> {
    local.strip_prefix('"')?.strip_suffix('"')
}

/// What a quoted string means: without its backslashes.
fn unescaped(inside: &str) -> impl Iterator<Item = char> {
    let mut chars = inside.chars();
    std::iter::from_fn(move || match chars.next() {
        Some('\\') => Some(chars.next().unwrap_or('\\')),
        other => other,
    })
}

/// Lower case; of a letter that has several, all.
fn fold(octets: &mut SmallVec<[u8; INLINE]>, chars: impl Iterator<Item = char>) {
    for c in chars {
        if c.is_ascii() {
            octets.push(c.to_ascii_lowercase() as u8);
        } else {
            let mut buffer = [0; 4];
            c.to_lowercase().for_each(|c| octets.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()));
        }
    }
}

/// A character of a local part without quotes; dots may stand anywhere, as some providers have let them.
fn is_atom(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' => true,
        c if c.is_ascii() => "!#$%&'*+-/=?^_`{|}~".contains(c),
        c => !c.is_control() && !c.is_whitespace(),
    }
}

fn is_quotable(inside: &str) -> bool {
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        let c = if c == '\\' { chars.next() } else { Some(c).filter(|c| *c != '"') };
        if c.is_none_or(char::is_control) {
            return false;
        }
    }
    !inside.is_empty()
}

fn is_domain(domain: &str) -> bool {
    if let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return !literal.is_empty() && literal.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-".contains(&b));
    }
    let is_label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let is_name = |name: &str| name.len() <= DOMAIN_MAX && name.split('.').all(is_label);
    if domain.is_ascii() { is_name(domain) } else { idna::domain_to_ascii(domain).is_ok_and(|name| is_name(&name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        Key::parse(text).unwrap().to_string()
    }

    #[test]
    fn spellings_of_one_address() {
        for text in [
            "user@example.org",
            "USER@EXAMPLE.ORG",
            "<User@example.org>",
            " \"user\"@example.org. ",
            "\"u\\ser\"@example.org",
        ] {
            assert_eq!(key(text), "user@example.org", "{text}");
        }
        assert_eq!(key("ÄÖ@Bücher.example"), "äö@xn--bcher-kva.example");
        assert_eq!(key("\"A b\"@[127.0.0.1]"), "\"a b\"@[127.0.0.1]");
        assert_eq!(key("\"a@b\"@c.example"), "\"a@b\"@c.example");
        assert_eq!(key("a..b.@docomo.example"), "a..b.@docomo.example");
    }

    #[test]
    fn what_a_message_says_is_what_a_list_says() {
        for (local, domain) in
            [("User", "example.org"), ("\"us er\"", "Example.org"), ("ü", "BÜCHER.example"), ("a", "[127.0.0.1]")]
        {
            let address = Address::new(local, domain).unwrap();
            assert_eq!(Key::of(&address), Key::parse(&format!("{local}@{domain}")).unwrap());
            assert_eq!(
                Key::of(&address),
                Key::parse(&Key::of(&address).to_string()).unwrap(),
                "the display is read back"
            );
        }
    }

    #[test]
    fn what_is_no_address() {
        for (text, wrong) in [
            ("", BadAddress::NoDomain),
            ("user", BadAddress::NoDomain),
            ("@example.org", BadAddress::NoLocalPart),
            ("a b@example.org", BadAddress::LocalPart),
            ("a,b@example.org", BadAddress::LocalPart),
            ("\"a@example.org", BadAddress::LocalPart),
            ("\"a\"b\"@example.org", BadAddress::LocalPart),
            ("\"\"@example.org", BadAddress::LocalPart),
            ("\"a\\\"@example.org", BadAddress::LocalPart),
            ("a@", BadAddress::Domain),
            ("a@b..c", BadAddress::Domain),
            ("a@exa mple.org", BadAddress::Domain),
            ("a@[", BadAddress::Domain),
            ("a@ü..de", BadAddress::Domain),
        ] {
            assert_eq!(Key::parse(text), Err(wrong), "{text}");
        }
        assert_eq!(Key::parse(&format!("{}@b", "a".repeat(65))), Err(BadAddress::LongLocalPart));
        assert_eq!(Key::parse(&format!("a@{}", "b".repeat(64))), Err(BadAddress::Domain));
        assert!(Key::parse(&format!("{}@b", "İ".repeat(21))).is_ok());
        assert_eq!(Key::parse(&format!("{}@b", "İ".repeat(32))), Err(BadAddress::LongLocalPart));
        assert!(Key::parse(&format!("{}@{}b", "a".repeat(64), "b.".repeat(126))).is_ok());
    }
}
