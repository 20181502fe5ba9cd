//! Reverse-paths and forward-paths (RFC 5321 §4.1.2, RFC 6531 §3.3).
//!
//! A quoted local part keeps its quotes: the next hop must see what the client wrote. A source route is checked and
//! dropped (RFC 5321 appendix C).

use super::domain::{is_domain, is_literal};
use message::{Address, AddressError};

/// A local part and a domain, as written. Valid UTF-8, no control octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox<'a> {
    /// With its quotes, if it has them.
    pub local_part: &'a str,
    /// A domain, or an address literal with its brackets.
    pub domain: &'a str,
}

impl Mailbox<'_> {
    /// Whether it may be written without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.local_part.is_ascii() && self.domain.is_ascii()
    }

    /// The address to keep.
    ///
    /// # Errors
    /// None that the grammar lets pass; see [`Address::new`].
    pub fn to_address(&self) -> Result<Address, AddressError> {
        Address::new(self.local_part, self.domain)
    }
}

/// What stands behind `MAIL FROM:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePath<'a> {
    /// `<>`
    Null,
    /// `<local@domain>`
    Mailbox(Mailbox<'a>),
}

/// What stands behind `RCPT TO:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardPath<'a> {
    /// `<postmaster>` without a domain, in any case (RFC 5321 §4.5.1).
    Postmaster,
    /// `<local@domain>`
    Mailbox(Mailbox<'a>),
}

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathError {
    /// It does not start with `<`.
    Missing,
    /// It does not follow the grammar.
    Malformed,
    /// It, or its local part, is too long.
    TooLong,
}

/// A path by its form, before the command says which forms it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path<'a> {
    Null,
    Bare(&'a str),
    Mailbox(Mailbox<'a>),
}

/// Longest path with its brackets, octets (RFC 5321 §4.5.3.1.3).
const PATH_MAX: usize = 256;
/// Longest local part, octets (RFC 5321 §4.5.3.1.1).
const LOCAL_PART_MAX: usize = 64;

/// Takes a path off the front of `text`; returns what follows it.
pub(super) fn take_path(text: &[u8]) -> Result<(Path<'_>, &[u8]), PathError> {
    if text.first() != Some(&b'<') {
        return Err(PathError::Missing);
    }
    let end = closing_bracket(text).ok_or(PathError::Malformed)?;
    if end + 1 > PATH_MAX {
        return Err(PathError::TooLong);
    }
    let inside = std::str::from_utf8(&text[1..end]).map_err(|_| PathError::Malformed)?;
    // C1 controls are two octets in UTF-8 and controls all the same.
    if inside.chars().any(char::is_control) {
        return Err(PathError::Malformed);
    }
    Ok((parse_inside(inside)?, &text[end + 1..]))
}

/// The `>` that ends the path: the first one outside a quoted string.
fn closing_bracket(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut octets = text.iter().enumerate();
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'"' => quoted = !quoted,
            b'\\' if quoted => {
                octets.next();
            }
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn parse_inside(inside: &str) -> Result<Path<'_>, PathError> {
    if inside.is_empty() {
        return Ok(Path::Null);
    }
    let mailbox = match inside.strip_prefix('@') {
        Some(_) => after_route(inside).ok_or(PathError::Malformed)?,
        None => inside,
    };
    let length = local_part_length(mailbox).ok_or(PathError::Malformed)?;
    let (local_part, rest) = mailbox.split_at(length);
    if local_part.len() > LOCAL_PART_MAX {
        return Err(PathError::TooLong);
    }
    match rest.strip_prefix('@') {
        Some(domain) if is_domain(domain) || is_literal(domain) => Ok(Path::Mailbox(Mailbox { local_part, domain })),
        None if rest.is_empty() && mailbox.len() == inside.len() => Ok(Path::Bare(local_part)),
        _ => Err(PathError::Malformed),
    }
}

/// What follows `@one,@two:`.
fn after_route(inside: &str) -> Option<&str> {
    // Neither a domain nor a comma can hold a colon, apart from the one in an IPv6 literal, which no route may have here.
    let (route, mailbox) = inside.split_once(':')?;
    let hops = |hop: &str| hop.strip_prefix('@').is_some_and(is_domain);
    route.split(',').all(hops).then_some(mailbox)
}

/// The length of the dot-string or quoted string at the front; `None` if there is neither.
fn local_part_length(text: &str) -> Option<usize> {
    match text.as_bytes() {
        [b'"', rest @ ..] => quoted_length(rest).map(|length| length + 1),
        octets => {
            let length = octets.iter().position(|octet| !is_atext(*octet) && *octet != b'.').unwrap_or(octets.len());
            let atoms = text.get(..length)?.split('.').all(|atom| !atom.is_empty());
            atoms.then_some(length)
        }
    }
}

/// The length up to and with the closing quote. Control octets were refused before.
fn quoted_length(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match octets.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => {
                octets.get(at + 1).filter(|octet| octet.is_ascii())?;
                at += 2;
            }
            _ => at += 1,
        }
    }
}

/// RFC 5322 §3.2.3, and UTF-8 beyond ASCII by RFC 6531 §3.3.
const fn is_atext(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || octet >= 0x80
        || matches!(
            octet,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'/'
                | b'='
                | b'?'
                | b'^'
                | b'_'
                | b'`'
                | b'{'
                | b'|'
                | b'}'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(text: &str) -> Result<(&str, &str), PathError> {
        match take_path(text.as_bytes())? {
            (Path::Mailbox(mailbox), b"") => Ok((mailbox.local_part, mailbox.domain)),
            (other, rest) => panic!("{other:?} {rest:?}"),
        }
    }

    #[test]
    fn plain_and_quoted() {
        assert_eq!(mailbox("<a.b+c@Example.org>"), Ok(("a.b+c", "Example.org")));
        assert_eq!(mailbox("<\"a b@c>\\\"d\"@e>"), Ok(("\"a b@c>\\\"d\"", "e")));
        assert_eq!(mailbox("<\"\"@e>"), Ok(("\"\"", "e")));
        assert_eq!(mailbox("<a@[IPv6:::1]>"), Ok(("a", "[IPv6:::1]")));
        assert_eq!(mailbox("<ü@bücher.example>"), Ok(("ü", "bücher.example")));
    }

    #[test]
    fn routes_are_dropped() {
        assert_eq!(mailbox("<@a,@b.c:d@e>"), Ok(("d", "e")));
        for bad in ["<@a>", "<@a:>", "<@a,b:c@d>", "<@a,:c@d>", "<@:c@d>", "<@a:postmaster>", "<@-a:c@d>"] {
            assert!(take_path(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn forms() {
        assert_eq!(take_path(b"<> SIZE=1"), Ok((Path::Null, &b" SIZE=1"[..])));
        assert_eq!(take_path(b"<Postmaster>"), Ok((Path::Bare("Postmaster"), &b""[..])));
        assert_eq!(take_path(b"a@b"), Err(PathError::Missing));
    }

    #[test]
    fn malformed() {
        let bad: [&[u8]; 22] = [
            b"<a@b",
            b"<a@>",
            b"<@b>",
            b"<a b@c>",
            b"<a@b c>",
            b"<.a@b>",
            b"<a.@b>",
            b"<a..b@c>",
            b"<a@b@c>",
            b"<a,b@c>",
            b"<\"a@b>",
            b"<\"a\"b@c>",
            b"<a\"b\"@c>",
            b"<a@b\0>",
            b"<a\x08@b>",
            b"<a\x1b@b>",
            b"<\"a\rb\"@c>",
            b"<\xff@b>",
            b"<\xc0\xaf@b>",
            b"<\xc2\x85@b>",
            b"<\"\\\xc3\xbc\"@b>",
            b"<a@[1.2.3]>",
        ];
        for text in bad {
            assert_eq!(take_path(text), Err(PathError::Malformed), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn edges_of_length() {
        let local = |n: usize| format!("<{}@b>", "a".repeat(n));
        assert!(mailbox(&local(64)).is_ok());
        assert_eq!(take_path(local(65).as_bytes()), Err(PathError::TooLong));
        let over = format!("<{}@{}>", "a".repeat(64), ["d".repeat(63), "e".repeat(63), "f".repeat(63)].join("."));
        assert_eq!(over.len(), 258);
        assert_eq!(take_path(over.as_bytes()), Err(PathError::TooLong));
        let just = format!("<{}@{}>", "a".repeat(62), ["d".repeat(63), "e".repeat(63), "f".repeat(63)].join("."));
        assert_eq!(just.len(), 256);
        assert!(mailbox(&just).is_ok());
    }
}
