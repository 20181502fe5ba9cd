//! What a peer's reply to EHLO or LHLO offers (RFC 5321 §4.1.1.1). Unknown keywords and bad parameters are passed over.

/// The service extensions of a peer. All off: what HELO gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capabilities {
    offered: u16,
    /// SIZE with its limit in octets (RFC 1870); `None` if there is no limit or it is not said.
    pub size_max: Option<u64>,
    /// LIMITS MAILMAX (RFC 9422): transactions on one connection.
    pub mails_max: Option<u32>,
    /// LIMITS RCPTMAX (RFC 9422): recipients of one transaction.
    pub recipients_max: Option<u32>,
}

/// A service extension that a client makes use of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Extension {
    /// RFC 2920
    Pipelining = 1,
    /// RFC 1870
    Size = 2,
    /// RFC 6152
    EightBitMime = 4,
    /// RFC 6531
    SmtpUtf8 = 8,
    /// RFC 3461
    Dsn = 16,
    /// RFC 3030
    Chunking = 32,
    /// RFC 3030
    BinaryMime = 64,
    /// RFC 2034
    EnhancedStatusCodes = 128,
    /// RFC 9422
    Limits = 256,
}

impl Capabilities {
    /// Whether the peer offers `extension`.
    pub const fn has(&self, extension: Extension) -> bool {
        self.offered & extension as u16 != 0
    }

    /// These and `extension`.
    #[must_use]
    pub const fn with(mut self, extension: Extension) -> Self {
        self.offered |= extension as u16;
        self
    }

    /// Reads the lines of a 250 reply to EHLO; the first is the peer's name and greeting.
    pub fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        lines.skip(1).fold(Self::default(), Self::read_line)
    }

    fn read_line(self, line: &[u8]) -> Self {
        let Ok(line) = std::str::from_utf8(line) else { return self };
        let mut words = line.split_ascii_whitespace();
        let Some(keyword) = words.next() else { return self };
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        match () {
            () if is("PIPELINING") => self.with(Extension::Pipelining),
            () if is("SIZE") => {
                let size_max = words.next().and_then(|limit| limit.parse().ok()).filter(|&limit| limit > 0);
                Self { size_max, ..self.with(Extension::Size) }
            }
            () if is("8BITMIME") => self.with(Extension::EightBitMime),
            () if is("SMTPUTF8") => self.with(Extension::SmtpUtf8),
            () if is("DSN") => self.with(Extension::Dsn),
            () if is("CHUNKING") => self.with(Extension::Chunking),
            () if is("BINARYMIME") => self.with(Extension::BinaryMime),
            () if is("ENHANCEDSTATUSCODES") => self.with(Extension::EnhancedStatusCodes),
            () if is("LIMITS") => words.fold(self.with(Extension::Limits), Self::read_limit),
            () => self,
        }
    }

    fn read_limit(mut self, word: &str) -> Self {
        let Some((name, value)) = word.split_once('=') else { return self };
        // A limit of zero would let nothing pass at all: passed over (RFC 9422 §4 has limits start at 1).
        let value = value.parse().ok().filter(|&value| value > 0);
        if name.eq_ignore_ascii_case("MAILMAX") {
            self.mails_max = value;
        } else if name.eq_ignore_ascii_case("RCPTMAX") {
            self.recipients_max = value;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Capabilities {
        Capabilities::read(text.split('\n').map(str::as_bytes))
    }

    #[test]
    fn keywords_in_any_case_and_behind_the_first_line_only() {
        let all = read(
            "PIPELINING\nsize 1000\n8BITMIME\nSmtpUtf8\nDSN\nCHUNKING\nLIMITS mailmax=5 RCPTMAX=7 X=1\nX-UNKNOWN y",
        );
        assert!(!all.has(Extension::Pipelining));
        for extension in
            [Extension::Size, Extension::EightBitMime, Extension::SmtpUtf8, Extension::Dsn, Extension::Chunking]
        {
            assert!(all.has(extension), "{extension:?}");
        }
        assert!(!all.has(Extension::BinaryMime));
        assert_eq!((all.size_max, all.mails_max, all.recipients_max), (Some(1000), Some(5), Some(7)));
    }

    #[test]
    fn a_limit_that_is_none() {
        for text in ["x\nSIZE", "x\nSIZE 0", "x\nSIZE x", "x\nSIZE 99999999999999999999999"] {
            let read = read(text);
            assert!(read.has(Extension::Size) && read.size_max.is_none(), "{text}");
        }
        let limits = read("x\nLIMITS MAILMAX=0 RCPTMAX RCPTMAX=x");
        assert_eq!((limits.mails_max, limits.recipients_max), (None, None));
    }
}
