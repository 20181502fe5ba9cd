//! The header fields that stand before the content: Received (RFC 5321 §4.4), and Date and Message-ID where they lack.
//!
//! The driver writes them when the content is whole. They never say more of a client than its name, address and protocol.

use crate::terms::Additions;
use message::{MessageId, Protocol, UnixMicros};
use smtp::headers::HeaderFindings;
use std::fmt::Write as _;
use std::net::IpAddr;

/// What a trace header tells.
pub(crate) struct Trace<'a> {
    pub(crate) additions: Additions,
    pub(crate) header: HeaderFindings,
    /// As the client greeted; may be empty.
    pub(crate) helo: &'a str,
    /// `None` for a socket of this machine.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) host: &'a str,
    pub(crate) protocol: Protocol,
    pub(crate) id: MessageId,
}

impl Trace<'_> {
    /// Appends the fields to `out`, each with its line end.
    pub(crate) fn write(&self, date: &str, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = self.try_write(date, out);
    }

    fn try_write(&self, date: &str, out: &mut String) -> std::fmt::Result {
        let begin = out.len();
        if self.additions.received {
            self.write_received(date, out)?;
        }
        if self.additions.date && !self.header.date {
            write!(out, "Date: {date}\r\n")?;
        }
        if self.additions.message_id && !self.header.message_id {
            let id = self.id.to_string().replace(['/', '-'], ".");
            write!(out, "Message-ID: <{id}@{}>\r\n", self.host)?;
        }
        // Content without a header begins with its body: it must not become part of ours.
        if self.header.headless && out.len() > begin {
            out.push_str("\r\n");
        }
        Ok(())
    }

    fn write_received(&self, date: &str, out: &mut String) -> std::fmt::Result {
        let helo = if self.helo.is_empty() { "unknown" } else { self.helo };
        write!(out, "Received: from {helo} (")?;
        match self.peer.map(|peer| peer.to_canonical()) {
            Some(IpAddr::V4(peer)) => write!(out, "[{peer}]")?,
            Some(IpAddr::V6(peer)) => write!(out, "[IPv6:{peer}]")?,
            None => out.push_str("local socket"),
        }
        let keyword = self.protocol.keyword();
        write!(out, ")\r\n\tby {} with {keyword} id {};\r\n\t{date}\r\n", self.host, self.id)
    }
}

/// The date of RFC 5322 §3.3 in UTC, written once a second.
#[derive(Debug, Default)]
pub(crate) struct DateCache {
    second: u64,
    text: String,
}

impl DateCache {
    pub(crate) fn text(&mut self, at: UnixMicros) -> &str {
        if self.second != at.seconds() || self.text.is_empty() {
            self.second = at.seconds();
            self.text = date(at);
        }
        &self.text
    }
}

fn date(at: UnixMicros) -> String {
    let seconds = i64::try_from(at.seconds()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    let zoned = time.to_zoned(jiff::tz::TimeZone::UTC);
    // It fails for years beyond 9999 only, which no clock shows.
    jiff::fmt::rfc2822::to_string(&zoned).unwrap_or_else(|_| "Thu, 1 Jan 1970 00:00:00 +0000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Wed, 25 Nov 2026 00:10:42 +0000";

    fn trace(change: impl FnOnce(&mut Trace<'_>)) -> String {
        let mut trace = Trace {
            additions: Additions { received: true, date: false, message_id: false },
            header: HeaderFindings { fields: 1, ..HeaderFindings::default() },
            helo: "client.example.net",
            peer: Some("192.0.2.1".parse().unwrap()),
            host: "mx.example.org",
            protocol: Protocol::Esmtp,
            id: MessageId::new(1_070_244_212, 18426, 0, 0xD13B),
        };
        change(&mut trace);
        let mut out = String::new();
        trace.write(DATE, &mut out);
        out
    }

    #[test]
    fn received() {
        let expected = "Received: from client.example.net ([192.0.2.1])\r\n\tby mx.example.org with ESMTP \
                        id B3/1D-18426-471AACF3;\r\n\tWed, 25 Nov 2026 00:10:42 +0000\r\n";
        assert_eq!(trace(|_| {}), expected);
        let text = trace(|trace| {
            trace.peer = Some("2001:db8::1".parse().unwrap());
            trace.helo = "";
            trace.protocol = Protocol::Utf8Smtp;
        });
        assert!(
            text.starts_with("Received: from unknown ([IPv6:2001:db8::1])\r\n\tby mx.example.org with UTF8SMTP id")
        );
        assert!(trace(|trace| trace.peer = Some("::ffff:192.0.2.1".parse().unwrap())).contains("([192.0.2.1])"));
        assert_eq!(trace(|trace| trace.additions.received = false), "");
    }

    #[test]
    fn missing_fields() {
        let all = Additions { received: false, date: true, message_id: true };
        let expected = format!("Date: {DATE}\r\nMessage-ID: <B3.1D.18426.471AACF3@mx.example.org>\r\n");
        assert_eq!(trace(|trace| trace.additions = all), expected);
        let there = HeaderFindings { date: true, message_id: true, fields: 2, ..HeaderFindings::default() };
        assert_eq!(trace(|trace| (trace.additions, trace.header) = (all, there)), "");
    }

    #[test]
    fn content_without_header_stays_body() {
        let headless = HeaderFindings { headless: true, ..HeaderFindings::default() };
        assert!(trace(|trace| trace.header = headless).ends_with("+0000\r\n\r\n"));
    }

    #[test]
    fn dates() {
        let mut cache = DateCache::default();
        assert_eq!(cache.text(UnixMicros(0)), "Thu, 1 Jan 1970 00:00:00 +0000");
        assert_eq!(cache.text(UnixMicros::from_seconds(1_795_565_442)), DATE);
        assert_eq!(cache.text(UnixMicros(1_795_565_442_999_999)), DATE);
        assert!(cache.text(UnixMicros(u64::MAX)).ends_with("+0000"));
    }
}
