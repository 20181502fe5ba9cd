//! What the other side said, as the classifier is asked about it: codes, text, and where in a delivery it was said.

use message::{Enhanced, Reply, Stage};

/// A reply, or a piece of a bounce message in its place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// The three digits, if there were any.
    pub code: Option<u16>,
    /// The enhanced status code, if there was one.
    pub status: Option<Enhanced>,
    /// The text, of any octets; lines are separated by line feeds. Only the first [`crate::TEXT_MAX`] octets count.
    pub text: &'a [u8],
    /// Where it was said, if that is known.
    pub phase: Option<Phase>,
    /// The recipient's domain, lower case; empty if unknown.
    pub domain: &'a str,
    /// The name of the host that said it, lower case; empty if unknown.
    pub host: &'a str,
}

/// Where something was said. Rules name phases by [`Phase::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Before or while connecting.
    Connect,
    /// In place of a greeting.
    Banner,
    /// At EHLO or HELO.
    Ehlo,
    /// At STARTTLS or while TLS was negotiated.
    Tls,
    /// At MAIL.
    Mail,
    /// At RCPT.
    Rcpt,
    /// At DATA, before the content.
    Data,
    /// Behind the content.
    Content,
    /// In a delivery report.
    Report,
    /// The subject of a message that came back.
    Subject,
    /// The text of a message that came back.
    Body,
}

impl Phase {
    /// Every phase, in the order of a delivery.
    pub const ALL: [Self; 11] = [
        Self::Connect,
        Self::Banner,
        Self::Ehlo,
        Self::Tls,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::Content,
        Self::Report,
        Self::Subject,
        Self::Body,
    ];

    /// Its name in rule files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Banner => "banner",
            Self::Ehlo => "ehlo",
            Self::Tls => "tls",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Content => "content",
            Self::Report => "report",
            Self::Subject => "subject",
            Self::Body => "body",
        }
    }

    /// The phase of a stage of our conversation; `None` between transactions.
    pub const fn of(stage: Stage) -> Option<Self> {
        Some(match stage {
            Stage::NotConnected => Self::Connect,
            Stage::Banner => Self::Banner,
            Stage::DuringEhlo | Stage::AfterEhlo => Self::Ehlo,
            Stage::DuringStartTls | Stage::AfterStartTls | Stage::TlsHandshake => Self::Tls,
            Stage::DuringMail | Stage::AfterMail => Self::Mail,
            Stage::DuringRcpt | Stage::AfterRcpt => Self::Rcpt,
            Stage::DuringData | Stage::AfterData => Self::Data,
            Stage::SendingBody | Stage::ReadingConfirmation => Self::Content,
            Stage::OutOfBand => Self::Report,
            Stage::Idle | Stage::DuringRset | Stage::AfterRset | Stage::Unknown => return None,
        })
    }
}

/// Octets in which a reply's text must have begun its status code and ended it.
const STATUS_START_MAX: usize = 24;

impl<'a> Said<'a> {
    /// A next hop's reply to one of our deliveries.
    pub fn reply(reply: &'a Reply, stage: Stage, domain: &'a str) -> Self {
        Self {
            code: Some(reply.code),
            status: reply.enhanced(),
            text: reply.text.as_bytes(),
            phase: Phase::of(stage),
            domain,
            host: "",
        }
    }

    /// A reply as it is written in logs: `550 5.1.1 text`, `550-first line`, or text alone.
    pub fn parse(text: &'a [u8]) -> Self {
        let text = text.trim_ascii_start();
        let (code, rest) = match code_at(text) {
            Some(code) => (Some(code), text[3..].strip_prefix(b"-").unwrap_or(&text[3..])),
            None => (None, text),
        };
        // No status code is longer, and a hostile word may have no end.
        let start = &rest[..rest.len().min(STATUS_START_MAX)];
        let first = start.split(|octet| octet.is_ascii_whitespace()).find(|word| !word.is_empty());
        let status = first
            .and_then(|word| std::str::from_utf8(word).ok())
            .map(|word| word.trim_start_matches('#'))
            .and_then(Enhanced::parse)
            .filter(|status| code.is_none_or(|code| code / 100 == u16::from(status.0)));
        Self { code, status, text: rest, ..Self::default() }
    }
}

/// The three digits that `text` starts with, if a line of a reply starts so.
pub(crate) fn code_at(text: &[u8]) -> Option<u16> {
    match text {
        [first @ b'2'..=b'5', second @ b'0'..=b'9', third @ b'0'..=b'9', rest @ ..]
            if matches!(rest.first(), None | Some(b' ' | b'-' | b'\t' | b'\r' | b'\n')) =>
        {
            let digit = |octet: u8| u16::from(octet - b'0');
            Some(digit(*first) * 100 + digit(*second) * 10 + digit(*third))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_as_logs_write_them() {
        let said = Said::parse(b"550 5.1.1 user unknown");
        assert_eq!((said.code, said.status), (Some(550), Some(Enhanced(5, 1, 1))));
        let said = Said::parse(b"550-5.7.1 first\r\n550 5.7.1 second");
        assert_eq!((said.code, said.status), (Some(550), Some(Enhanced(5, 7, 1))));
        let said = Said::parse(b"450 5.1.1 does not agree");
        assert_eq!((said.code, said.status), (Some(450), None));
        let said = Said::parse(b"user unknown (#5.1.1)");
        assert_eq!((said.code, said.status), (None, None));
        assert_eq!(Said::parse(b"5.2.2 full").status, Some(Enhanced(5, 2, 2)));
        assert_eq!(Said::parse(b"").code, None);
        assert_eq!(Said::parse(b"5501 text").code, None);
    }
}
