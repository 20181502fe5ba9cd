//! The parts of a message that came back, as slices of it: just as much MIME (RFC 2045, RFC 2046) as bounces need. Called by
//! `examine`; decides nothing.
//!
//! Own, and not a library's: a bounce comes from anybody, and its reader must be bounded. Here depth, parts and octets
//! have limits, each level is one pass over the octets, and a message inside a message is a leaf.

use crate::fields::Fields;
use data_encoding::BASE64_MIME_PERMISSIVE;
use memchr::memmem;
use std::borrow::Cow;

/// Deepest nesting of multiparts that is followed.
const DEPTH_MAX: usize = 6;
/// Parts that are looked at; those behind are not.
const PARTS_MAX: usize = 64;
/// Octets of a part that are decoded.
const DECODED_MAX: usize = 256 * 1024;

/// Octets of a field whose encoded words are decoded.
const WORDS_MAX: usize = 4096;

/// A part that is no multipart.
#[derive(Clone, Debug)]
pub(crate) struct Part<'m> {
    /// `text/plain`, lower case.
    pub(crate) kind: String,
    encoding: Encoding,
    body: &'m [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    None,
    Base64,
    QuotedPrintable,
}

/// Splits a message into its header section and what is behind the empty line.
pub(crate) fn split(message: &[u8]) -> (&[u8], &[u8]) {
    let crlf = memmem::find(message, b"\r\n\r\n").map(|at| (at + 2, at + 4));
    let lf = memmem::find(message, b"\n\n").map(|at| (at + 1, at + 2));
    match (message, crlf, lf) {
        ([b'\r', b'\n', body @ ..] | [b'\n', body @ ..], ..) => (&[], body),
        (_, Some(crlf), Some(lf)) => cut(message, crlf.min(lf)),
        (_, Some(end), None) | (_, None, Some(end)) => cut(message, end),
        _ => (message, &[]),
    }
}

fn cut(message: &[u8], (end, start): (usize, usize)) -> (&[u8], &[u8]) {
    (&message[..end], &message[start..])
}

/// The parts of a message, in their order.
pub(crate) fn parts<'m>(fields: &Fields, body: &'m [u8]) -> Vec<Part<'m>> {
    let mut found = Vec::new();
    walk(fields, body, 0, &mut found);
    found
}

/// Recursion ends at [`DEPTH_MAX`].
fn walk<'m>(fields: &Fields, body: &'m [u8], depth: usize, found: &mut Vec<Part<'m>>) {
    if found.len() >= PARTS_MAX {
        return;
    }
    let content = ContentType::of(fields);
    let boundary = content.boundary.as_deref().filter(|_| content.kind.starts_with("multipart/") && depth < DEPTH_MAX);
    let pieces = boundary.map(|boundary| pieces(body, boundary)).unwrap_or_default();
    if pieces.is_empty() {
        let encoding = Encoding::of(fields);
        // A multipart without its boundary may still be read as a text.
        let kind = if content.kind.starts_with("multipart/") { "text/plain".to_owned() } else { content.kind };
        found.push(Part { kind, encoding, body });
        return;
    }
    for piece in pieces {
        let (headers, body) = split(piece);
        walk(&Fields::read(headers), body, depth + 1, found);
    }
}

/// What lies between the delimiter lines; at most [`PARTS_MAX`] pieces.
fn pieces<'m>(body: &'m [u8], boundary: &str) -> Vec<&'m [u8]> {
    let delimiter = format!("--{boundary}").into_bytes();
    let mut pieces = Vec::new();
    let mut start: Option<usize> = None;
    for at in memmem::find_iter(body, &delimiter) {
        let at_line = at == 0 || body[at - 1] == b'\n';
        let behind = &body[at + delimiter.len()..];
        let end_of_line = memchr::memchr(b'\n', behind).map_or(behind.len(), |at| at);
        let tail = behind[..end_of_line].trim_ascii();
        if !at_line || !matches!(tail, b"" | b"--") {
            continue;
        }
        if let Some(start) = start {
            pieces.push(&body[start..at.max(start)]);
        }
        start = Some((at + delimiter.len() + end_of_line + 1).min(body.len()));
        if tail == b"--" || pieces.len() >= PARTS_MAX {
            return pieces;
        }
    }
    // Cut off before its end, as many bounces are.
    pieces.extend(start.map(|start| &body[start..]));
    pieces
}

/// The parts of a Content-Type that bounces need.
pub(crate) struct ContentType {
    /// `multipart/report`, lower case; `text/plain` if there is none.
    pub(crate) kind: String,
    /// `report-type`, lower case.
    pub(crate) report: Option<String>,
    boundary: Option<String>,
}

impl ContentType {
    pub(crate) fn of(fields: &Fields) -> Self {
        let value = fields.get("content-type").unwrap_or_default();
        let mut pieces = parameters(value);
        let kind = pieces.next().map(|piece| piece.trim().to_ascii_lowercase()).unwrap_or_default();
        let kind = if kind.contains('/') { kind } else { "text/plain".to_owned() };
        let mut content = Self { kind, report: None, boundary: None };
        for piece in pieces {
            let Some((name, value)) = piece.split_once('=') else { continue };
            let value = value.trim();
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            match name.trim().to_ascii_lowercase().as_str() {
                "boundary" if !value.is_empty() => content.boundary = Some(value.to_owned()),
                "report-type" => content.report = Some(value.to_ascii_lowercase()),
                _ => {}
            }
        }
        content
    }
}

/// Splits at semicolons that are not between quotes.
fn parameters(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    value.split(move |letter| {
        quoted ^= letter == '"';
        letter == ';' && !quoted
    })
}

impl Encoding {
    fn of(fields: &Fields) -> Self {
        match fields.get("content-transfer-encoding").unwrap_or_default().trim() {
            word if word.eq_ignore_ascii_case("base64") => Self::Base64,
            word if word.eq_ignore_ascii_case("quoted-printable") => Self::QuotedPrintable,
            _ => Self::None,
        }
    }
}

impl<'m> Part<'m> {
    /// What the part holds, its transfer encoding undone; at most [`DECODED_MAX`] octets.
    pub(crate) fn octets(&self) -> Cow<'m, [u8]> {
        let body = &self.body[..self.body.len().min(DECODED_MAX)];
        match self.encoding {
            Encoding::None => Cow::Borrowed(body),
            Encoding::Base64 => Cow::Owned(from_base64(body)),
            Encoding::QuotedPrintable => Cow::Owned(from_quoted_printable(body)),
        }
    }

    /// What the part holds as text; octets that are no UTF-8 are replaced.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.octets()).into_owned()
    }
}

/// Decodes as far as it is base64.
fn from_base64(text: &[u8]) -> Vec<u8> {
    let Ok(len) = BASE64_MIME_PERMISSIVE.decode_len(text.len()) else { return Vec::new() };
    let mut octets = vec![0; len];
    let len = match BASE64_MIME_PERMISSIVE.decode_mut(text, &mut octets) {
        Ok(len) => len,
        Err(partial) => partial.written,
    };
    octets.truncate(len);
    octets
}

/// RFC 2045 §6.7; what is no escape stays as it is.
pub(crate) fn from_quoted_printable(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'=' {
            octets.push(first);
            continue;
        }
        let hex = |octet: u8| char::from(octet).to_digit(16);
        match behind {
            [b'\r', b'\n', behind @ ..] | [b'\n', behind @ ..] => rest = behind,
            [high, low, behind @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    octets.push((high << 4 | low) as u8);
                    rest = behind;
                }
                _ => octets.push(first),
            },
            _ => octets.push(first),
        }
    }
    octets
}

/// Undoes encoded words (RFC 2047). Character sets other than UTF-8 and its subset are left as octets that are replaced.
pub(crate) fn decode_words(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(WORDS_MAX)];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("=?") {
        let (before, word) = rest.split_at(start);
        let Some((decoded, behind)) = encoded_word(word) else {
            out.push_str(before);
            out.push_str("=?");
            rest = &word[2..];
            continue;
        };
        // Blanks between two encoded words are not text (RFC 2047 §6.2).
        if !(before.trim().is_empty() && rest.len() != text.len()) {
            out.push_str(before);
        }
        out.push_str(&decoded);
        rest = behind;
    }
    out + rest
}

fn encoded_word(word: &str) -> Option<(String, &str)> {
    let mut pieces = word.strip_prefix("=?")?.splitn(3, '?');
    let (_, encoding, rest) = (pieces.next()?, pieces.next()?, pieces.next()?);
    let (text, behind) = rest.split_once("?=")?;
    if text.len() > 1000 || text.contains(' ') {
        return None;
    }
    let octets = match encoding {
        "B" | "b" => from_base64(text.as_bytes()),
        "Q" | "q" => from_quoted_printable(text.replace('_', " ").as_bytes()),
        _ => return None,
    };
    Some((String::from_utf8_lossy(&octets).into_owned(), behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(message: &[u8]) -> Vec<(String, String)> {
        let (headers, body) = split(message);
        parts(&Fields::read(headers), body).iter().map(|part| (part.kind.clone(), part.text())).collect()
    }

    #[test]
    fn parts_of_a_multipart() {
        let message = b"Content-Type: multipart/report; report-type=\"Delivery-Status\";\r\n boundary=\"a;b\"\r\n\r\npreamble\r\n\
            --a;b\r\n\r\none\r\n--a;b\r\nContent-Type: Message/Delivery-Status\r\n\
            Content-Transfer-Encoding: base64\r\n\r\ndHdv\r\n--a;b--\r\n--a;b\r\n\r\nafter\r\n";
        let expected = [("text/plain", "one\r\n"), ("message/delivery-status", "two")];
        assert_eq!(kinds(message), expected.map(|(kind, text)| (kind.to_owned(), text.to_owned())));
        let (headers, _) = split(message);
        assert_eq!(ContentType::of(&Fields::read(headers)).report.as_deref(), Some("delivery-status"));
    }

    #[test]
    fn what_is_cut_off_or_has_no_boundary_is_read_all_the_same() {
        let cut = b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n--x\nContent-Type: text/html\n\ntw";
        assert_eq!(kinds(cut).len(), 2);
        let none = b"Content-Type: multipart/mixed\n\n--x\n\none";
        assert_eq!(kinds(none), [("text/plain".to_owned(), "--x\n\none".to_owned())]);
        assert_eq!(kinds(b""), [("text/plain".to_owned(), String::new())]);
    }

    #[test]
    fn nesting_and_parts_are_bounded() {
        let mut deep = String::new();
        for level in 0..1000 {
            deep.push_str(&format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n"));
        }
        assert_eq!(kinds(deep.as_bytes()).len(), 1);
        let wide = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(10_000));
        assert!(kinds(wide.as_bytes()).len() <= PARTS_MAX);
    }

    #[test]
    fn encodings() {
        assert_eq!(from_quoted_printable(b"a=3Db=\r\nc=zz="), b"a=bc=zz=");
        assert_eq!(from_base64(b"dHd\r\nv!!!"), b"two");
        assert_eq!(decode_words("=?utf-8?Q?R=C3=A9ponse_auto?= =?UTF-8?b?IQ==?= x"), "Réponse auto! x");
        assert_eq!(decode_words("a =? b"), "a =? b");
        assert_eq!(decode_words("=?x?Z?y?="), "=?x?Z?y?=");
    }
}
