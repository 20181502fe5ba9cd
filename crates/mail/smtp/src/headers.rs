//! Watches the header section go by, chunk by chunk, without keeping it (RFC 5322 §2.2).
//!
//! The server session feeds it with content until the section ends; then it costs nothing. It counts fields and octets
//! against their limits, counts Received fields (RFC 5321 §6.3), and notes which fields need not be added. It never
//! judges the values of fields.

use memchr::memchr;

/// What the header section held so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HeaderFindings {
    /// Octets of the section, with the empty line once it has come.
    pub octets: u64,
    /// Fields.
    pub fields: u32,
    /// Received fields.
    pub received: u32,
    /// Date is there.
    pub date: bool,
    /// Message-ID is there.
    pub message_id: bool,
    /// From is there.
    pub from: bool,
    /// The content does not begin with a field: an empty line must stand before it if fields are put before it.
    pub headless: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct HeaderWatch {
    state: State,
    /// The first octets of the field name, lower case.
    name: [u8; NAME_MAX],
    /// Its length, even where it is longer than `name`.
    name_len: u16,
    findings: HeaderFindings,
}

/// Longest name that matters: `message-id`.
const NAME_MAX: usize = 10;
/// A line of so many octets without a colon is no field (RFC 5322 §2.1.1).
const NAME_LINE_MAX: u16 = 998;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    LineStart,
    Name,
    /// White space between name and colon (RFC 5322 §4.5.8).
    NameSpace,
    Value,
    /// A CR at the start of a line.
    Blank,
    Ended,
}

impl HeaderWatch {
    /// Whether the section is over: the rest is body.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// What the section held.
    pub fn findings(&self) -> HeaderFindings {
        let begun = self.is_ended() || self.findings.fields > 0;
        // Content that ends within its first line without a colon has no field either.
        HeaderFindings { headless: self.findings.headless || !begun, ..self.findings }
    }

    /// The next octets of the content.
    pub fn watch(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while let [octet, behind @ ..] = rest {
            match self.state {
                State::Ended => break,
                State::Value => match memchr(b'\n', rest) {
                    Some(at) => {
                        self.findings.octets += at as u64 + 1;
                        self.state = State::LineStart;
                        rest = &rest[at + 1..];
                    }
                    None => {
                        self.findings.octets += rest.len() as u64;
                        break;
                    }
                },
                _ => {
                    self.on_octet(*octet);
                    rest = behind;
                }
            }
        }
    }

    fn on_octet(&mut self, octet: u8) {
        self.findings.octets += 1;
        self.state = match (self.state, octet) {
            (State::LineStart, b'\r') => State::Blank,
            (State::LineStart, b'\n') | (State::Blank, b'\n') => State::Ended,
            (State::LineStart, b' ' | b'\t') if self.findings.fields > 0 => State::Value,
            (State::LineStart, b'!'..=b'9' | b';'..=b'~') => {
                self.name_len = 0;
                self.push_name(octet);
                State::Name
            }
            (State::Name, b'!'..=b'9' | b';'..=b'~') if self.name_len < NAME_LINE_MAX => {
                self.push_name(octet);
                State::Name
            }
            (State::Name | State::NameSpace, b':') => {
                self.on_field();
                State::Value
            }
            (State::Name | State::NameSpace, b' ' | b'\t') => State::NameSpace,
            // A line that is no field: what follows is body, whatever it looks like.
            _ => {
                self.findings.headless = self.findings.fields == 0;
                State::Ended
            }
        };
    }

    fn push_name(&mut self, octet: u8) {
        if let Some(place) = self.name.get_mut(usize::from(self.name_len)) {
            *place = octet.to_ascii_lowercase();
        }
        self.name_len = self.name_len.saturating_add(1);
    }

    fn on_field(&mut self) {
        self.findings.fields = self.findings.fields.saturating_add(1);
        match self.name.get(..usize::from(self.name_len)) {
            Some(b"received") => self.findings.received += 1,
            Some(b"date") => self.findings.date = true,
            Some(b"message-id") => self.findings.message_id = true,
            Some(b"from") => self.findings.from = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(content: &[u8]) -> HeaderFindings {
        let mut whole = HeaderWatch::default();
        whole.watch(content);
        for size in 1..content.len() {
            let mut parts = HeaderWatch::default();
            content.chunks(size).for_each(|part| parts.watch(part));
            assert_eq!(parts.findings(), whole.findings(), "in parts of {size}");
        }
        whole.findings()
    }

    #[test]
    fn fields_of_a_message() {
        let found =
            findings(b"Received: a\r\n\tDate: b\r\nRECEIVED :c\r\nMessage-Id: d\r\nFrom:\r\n\r\nDate: body\r\n");
        let expected = HeaderFindings { octets: 60, fields: 4, received: 2, message_id: true, from: true, ..found };
        assert_eq!(found, expected);
        assert!(!found.date && !found.headless);
    }

    #[test]
    fn names_must_match_whole() {
        let found = findings(b"Dates: x\r\nDat: x\r\nMessage-IDx: y\r\nX-Received: z\r\n\r\n");
        assert_eq!(found, HeaderFindings { fields: 4, octets: found.octets, ..HeaderFindings::default() });
    }

    #[test]
    fn content_without_a_header() {
        for content in
            [&b"Hello there\r\nDate: x\r\n"[..], b"Hello\r\n", b" Date: x\r\n", b"\x80: x\r\n", b"", b"Hel", b": x"]
        {
            let found = findings(content);
            assert!(found.headless && !found.date, "{}", content.escape_ascii());
        }
        // An empty line ends a section without fields: ours may stand before it.
        assert!(!findings(b"\r\nDate: x\r\n").headless);
    }

    #[test]
    fn a_line_that_is_no_field_ends_the_section() {
        let found = findings(b"Subject: x\r\nnonsense\r\nDate: y\r\n");
        assert_eq!((found.fields, found.date, found.headless), (1, false, false));
    }
}
