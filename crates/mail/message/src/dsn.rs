//! Delivery status notifications: what a sender is told of recipients that failed, are late, or were handed on
//! (RFC 3464, in the frame of RFC 6522; internationalised as RFC 6533 has it). Delivery makes one a transaction.
//!
//! Pure: the time is a field, and nothing of the message is read but what is passed in. Everything that came from
//! others (addresses, replies, ORCPT, ENVID) is written so that it can end no line and start no field.

use crate::{Enhanced, Message, MessageId, Reply, UnixMicros, Utf8};
use std::fmt::Write as _;

/// A report to be written.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The name of this server.
    pub host: &'a str,
    /// The report's own id.
    pub id: MessageId,
    /// When it is made.
    pub at: UnixMicros,
    /// What it is about. The sender must not be `<>`, to whom nothing is ever reported.
    pub message: &'a Message,
    /// What comes back of it.
    pub original: Original<'a>,
    /// At least one; all with the same action.
    pub recipients: &'a [Reported<'a>],
}

/// What a report brings back of the message (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug)]
pub enum Original<'a> {
    /// Its header section, without the empty line.
    Headers(&'a [u8]),
    /// All of it.
    Full(&'a [u8]),
}

/// What became of one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Reported<'a> {
    /// Which recipient of the envelope.
    pub recipient: u16,
    /// What happened.
    pub action: Action,
    /// The status code.
    pub status: Enhanced,
    /// The next hop that said it, if one was reached: its name, or its address literal with brackets.
    pub remote: Option<&'a str>,
    /// What the next hop, or we, said.
    pub reply: Option<&'a Reply>,
    /// When it was last tried.
    pub tried: UnixMicros,
    /// Until when it is going to be tried, if it is late.
    pub retried_until: Option<UnixMicros>,
}

/// The `Action` of a recipient (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Given up.
    Failed,
    /// Not yet delivered.
    Delayed,
    /// Delivered, to a mailbox here.
    Delivered,
    /// Handed to a server that sends no success reports.
    Relayed,
}

/// Longest `Diagnostic-Code`, octets; a reply may have 64 KiB.
const DIAGNOSTIC_MAX: usize = 2_000;
/// A line is folded behind so many octets (RFC 5322 §2.1.1).
const LINE_SOFT: usize = 76;
/// A word longer than this is cut, octets.
const WORD_MAX: usize = 900;

impl Action {
    const fn keyword(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
        }
    }

    const fn subject(self) -> &'static str {
        match self {
            Self::Failed => "Mail delivery failed: returning message to sender",
            Self::Delayed => "Mail delivery delayed",
            Self::Delivered => "Mail delivered",
            Self::Relayed => "Mail relayed",
        }
    }

    const fn explanation(self) -> &'static str {
        match self {
            Self::Failed => {
                "Your message could not be delivered to the recipients below. It will not be\r\ntried again.\r\n"
            }
            Self::Delayed => {
                "Your message has not been delivered to the recipients below yet. You need\r\nnot send it again: \
                 it is going to be tried further.\r\n"
            }
            Self::Delivered => "Your message was delivered to the recipients below.\r\n",
            Self::Relayed => {
                "Your message was handed to a server that does not report success, for the\r\nrecipients below. You \
                 may hear of failures only.\r\n"
            }
        }
    }
}

impl Report<'_> {
    /// The octets of the report: header, then multipart/report, all lines ending in CRLF.
    pub fn write(&self) -> Vec<u8> {
        let action = self.recipients.first().map_or(Action::Failed, |first| first.action);
        let boundary = format!("=_report_{}", self.id.full());
        let mut out = String::with_capacity(2_048);
        self.write_header(&mut out, action, &boundary);
        let _ = write!(out, "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n");
        out.push_str("Content-Transfer-Encoding: 8bit\r\n\r\n");
        self.write_words(&mut out, action);
        let status = if self.is_utf8() { "global-delivery-status" } else { "delivery-status" };
        let _ = write!(out, "\r\n--{boundary}\r\nContent-Type: message/{status}\r\n");
        if self.is_utf8() {
            out.push_str("Content-Transfer-Encoding: 8bit\r\n");
        }
        out.push_str("\r\n");
        self.write_status(&mut out);
        let mut out = out.into_bytes();
        self.write_original(&mut out, &boundary);
        out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        out
    }

    fn is_utf8(&self) -> bool {
        self.message.envelope.utf8 == Utf8::Yes
    }

    fn write_header(&self, out: &mut String, action: Action, boundary: &str) {
        let sender = self.message.envelope.sender.as_ref().map_or("", |sender| sender.as_str());
        let id = self.id.to_string().replace(['/', '-'], ".");
        let report_type = if self.is_utf8() { "global-delivery-status" } else { "delivery-status" };
        let _ = write!(
            out,
            "From: Mail Delivery System <MAILER-DAEMON@{host}>\r\nTo: <{sender}>\r\nSubject: {subject}\r\n\
             Date: {date}\r\nMessage-ID: <{id}@{host}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type={report_type};\r\n\tboundary=\"{boundary}\"\r\n\r\n",
            host = self.host,
            subject = action.subject(),
            date = date(self.at),
        );
    }

    fn write_words(&self, out: &mut String, action: Action) {
        let _ = write!(out, "This is the mail system at {}.\r\n\r\n", self.host);
        out.push_str(action.explanation());
        for reported in self.recipients {
            let _ = write!(out, "\r\n<{}>", self.address(reported));
            if let Some(remote) = reported.remote {
                let _ = write!(out, " (host {remote})");
            }
            out.push_str("\r\n");
            if let Some(reply) = reported.reply {
                out.push_str("    ");
                fold(out, 4, &safe(&reply.to_string(), Repertoire::Utf8), "    ");
            }
            if let Some(until) = reported.retried_until {
                let _ = write!(out, "    It is going to be tried until {}.\r\n", date(until));
            }
        }
    }

    fn address(&self, reported: &Reported<'_>) -> &str {
        self.message.envelope.recipients.get(usize::from(reported.recipient)).map_or("", |r| r.address.as_str())
    }

    /// The fields of message/delivery-status: of the message, then of each recipient (RFC 3464 §2).
    fn write_status(&self, out: &mut String) {
        let repertoire = if self.is_utf8() { Repertoire::Utf8 } else { Repertoire::Ascii };
        let _ = write!(out, "Reporting-MTA: dns; {}\r\n", self.host);
        if let Some(envid) = &self.message.envelope.envid {
            field(out, "Original-Envelope-Id", &safe(&from_xtext(envid), repertoire));
        }
        let _ = write!(out, "Arrival-Date: {}\r\n", date(self.message.reception.at));
        for reported in self.recipients {
            self.write_recipient(out, reported, repertoire);
        }
    }

    fn write_recipient(&self, out: &mut String, reported: &Reported<'_>, repertoire: Repertoire) {
        out.push_str("\r\n");
        let address = self.address(reported);
        // RFC 6533 §3: an address that ASCII cannot write has a type of its own.
        let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
        field(out, "Final-Recipient", &format!("{kind}; {}", safe(address, repertoire)));
        let recipient = self.message.envelope.recipients.get(usize::from(reported.recipient));
        if let Some((kind, address)) = recipient.and_then(|r| r.orcpt.as_deref()).and_then(|text| text.split_once(';'))
        {
            let address = safe(&from_xtext(address), repertoire);
            field(out, "Original-Recipient", &format!("{}; {address}", safe(kind, Repertoire::Ascii)));
        }
        let _ = write!(out, "Action: {}\r\nStatus: {}\r\n", reported.action.keyword(), reported.status);
        if let Some(remote) = reported.remote {
            field(out, "Remote-MTA", &format!("dns; {}", safe(remote, repertoire)));
        }
        if let Some(reply) = reported.reply {
            field(out, "Diagnostic-Code", &format!("smtp; {}", safe(&reply.to_string(), repertoire)));
        }
        let _ = write!(out, "Last-Attempt-Date: {}\r\n", date(reported.tried));
        if let Some(until) = reported.retried_until {
            let _ = write!(out, "Will-Retry-Until: {}\r\n", date(until));
        }
    }

    fn write_original(&self, out: &mut Vec<u8>, boundary: &str) {
        let (content_type, octets) = match (self.original, self.is_utf8()) {
            (Original::Headers(octets), false) => ("text/rfc822-headers", octets),
            (Original::Headers(octets), true) => ("message/global-headers", octets),
            (Original::Full(octets), false) => ("message/rfc822", octets),
            (Original::Full(octets), true) => ("message/global", octets),
        };
        out.extend_from_slice(format!("\r\n--{boundary}\r\nContent-Type: {content_type}\r\n").as_bytes());
        if !octets.is_ascii() {
            out.extend_from_slice(b"Content-Transfer-Encoding: 8bit\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(octets);
        if !octets.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// The header section of a message: its octets before the first empty line.
pub fn header_section(octets: &[u8]) -> &[u8] {
    if octets.starts_with(b"\r\n") {
        return &[];
    }
    match memchr::memmem::find(octets, b"\r\n\r\n") {
        Some(end) => &octets[..end + 2],
        None => octets,
    }
}

/// The date of a header field (RFC 5322 §3.3), in UTC.
pub fn date(at: UnixMicros) -> String {
    let seconds = at.seconds();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize];
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let name = names[(month - 1) as usize];
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{weekday}, {day} {name} {year} {hour:02}:{minute:02}:{second:02} +0000")
}

/// Year, month (1 to 12) and day of the day `days` after 1970-01-01 (Howard Hinnant's `civil_from_days`).
const fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repertoire {
    Ascii,
    Utf8,
}

/// `text` without control characters, and without what the repertoire lacks; cut to [`DIAGNOSTIC_MAX`].
fn safe(text: &str, repertoire: Repertoire) -> String {
    let keep = |c: char| match c {
        c if c.is_control() => ' ',
        c if repertoire == Repertoire::Ascii && !c.is_ascii() => '?',
        c => c,
    };
    let mut safe = String::with_capacity(text.len().min(DIAGNOSTIC_MAX));
    for c in text.chars().map(keep) {
        if safe.len() + c.len_utf8() > DIAGNOSTIC_MAX {
            break;
        }
        safe.push(c);
    }
    safe
}

/// Undoes xtext (RFC 3461 §4). What is no xtext stays as it is.
fn from_xtext(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let hex = |b: u8| (b as char).to_digit(16);
        match behind {
            [high, low, behind @ ..] if first == b'+' => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    octets.push((high << 4 | low) as u8);
                    rest = behind;
                    continue;
                }
                _ => octets.push(first),
            },
            _ => octets.push(first),
        }
        rest = behind;
    }
    String::from_utf8_lossy(&octets).into_owned()
}

fn field(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, "{name}: ");
    fold(out, name.len() + 2, value, " ");
}

/// Appends words, on new lines that start with `indent` where the old ones are full, and a line end.
fn fold(out: &mut String, mut column: usize, text: &str, indent: &str) {
    let mut first = true;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        for (number, piece) in pieces(word).enumerate() {
            if !first && (number > 0 || column + 1 + piece.len() > LINE_SOFT) {
                out.push_str("\r\n");
                out.push_str(indent);
                column = indent.len();
            } else if !first {
                out.push(' ');
                column += 1;
            }
            out.push_str(piece);
            column += piece.len();
            first = false;
        }
    }
    out.push_str("\r\n");
}

/// A word in pieces of at most [`WORD_MAX`] octets.
fn pieces(mut word: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if word.is_empty() {
            return None;
        }
        let mut end = word.len().min(WORD_MAX);
        while !word.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, rest) = word.split_at(end);
        word = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(UnixMicros(0)), "Thu, 1 Jan 1970 00:00:00 +0000");
        assert_eq!(date(UnixMicros::from_seconds(951_827_696)), "Tue, 29 Feb 2000 12:34:56 +0000");
        assert_eq!(date(UnixMicros::from_seconds(4_107_542_399)), "Sun, 28 Feb 2100 23:59:59 +0000");
        assert_eq!(date(UnixMicros::from_seconds(4_107_542_400)), "Mon, 1 Mar 2100 00:00:00 +0000");
    }

    #[test]
    fn xtext_is_undone_and_can_end_no_line() {
        assert_eq!(from_xtext("a+2Bb+3D"), "a+b=");
        assert_eq!(from_xtext("a+2"), "a+2");
        assert_eq!(from_xtext("+zz+"), "+zz+");
        assert_eq!(safe(&from_xtext("a+0D+0ABcc:+00"), Repertoire::Ascii), "a  Bcc: ");
    }

    #[test]
    fn long_texts_are_cut_and_folded() {
        let mut out = String::new();
        field(&mut out, "Diagnostic-Code", &safe(&"ü".repeat(40_000), Repertoire::Utf8));
        field(&mut out, "Diagnostic-Code", &safe(&"word ".repeat(10_000), Repertoire::Utf8));
        assert!(out.len() < 2 * DIAGNOSTIC_MAX + 300);
        assert!(out.split("\r\n").all(|line| line.len() <= 998));
        assert!(out.split("\r\n").skip(1).all(|line| line.is_empty() || line.starts_with([' ', 'D'])));
    }

    #[test]
    fn the_header_section_ends_before_the_empty_line() {
        assert_eq!(header_section(b"A: b\r\nC: d\r\n\r\nbody"), b"A: b\r\nC: d\r\n");
        assert_eq!(header_section(b"\r\nbody"), b"");
        assert_eq!(header_section(b"A: b\r\n"), b"A: b\r\n");
    }
}
