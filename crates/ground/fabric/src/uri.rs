//! Addresses of channels: `scheme:rest?option=value&option=value`. What the rest means is the transport's to say.

use std::fmt;

/// An address, split at its colon and question mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    text: String,
    scheme_len: usize,
    rest_end: usize,
}

/// What is wrong with an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriError {
    /// The address.
    pub uri: String,
    /// The part that is wrong.
    pub part: String,
    /// What would be right.
    pub needed: &'static str,
}

impl Uri {
    /// Splits `text`.
    ///
    /// # Errors
    /// When it has no scheme of lower-case letters, nothing behind the colon, or an option without a value.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let wrong = |part: &str, needed| Err(UriError { uri: text.to_owned(), part: part.to_owned(), needed });
        let Some((scheme, rest)) = text.split_once(':') else {
            return wrong(text, "a scheme and a colon in front, as in ipc:NAME or tcp://host:port");
        };
        if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            return wrong(scheme, "a scheme of lower-case letters and digits");
        }
        let (address, options) = rest.split_once('?').unwrap_or((rest, ""));
        if address.trim_start_matches('/').is_empty() {
            return wrong(rest, "a name or address behind the colon");
        }
        for option in options.split('&').filter(|option| !option.is_empty()) {
            if !option.split_once('=').is_some_and(|(name, value)| !name.is_empty() && !value.is_empty()) {
                return wrong(option, "options as name=value, joined by &");
            }
        }
        Ok(Self { scheme_len: scheme.len(), rest_end: scheme.len() + 1 + address.len(), text: text.to_owned() })
    }

    /// The scheme: `ipc`.
    pub fn scheme(&self) -> &str {
        &self.text[..self.scheme_len]
    }

    /// What stands between the colon and the options: `//host:port`, `NAME`, `/path.sock`.
    pub fn rest(&self) -> &str {
        &self.text[self.scheme_len + 1..self.rest_end]
    }

    /// The rest without the two slashes of `scheme://rest`; a path keeps its one.
    pub fn address(&self) -> &str {
        self.rest().strip_prefix("//").unwrap_or(self.rest())
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// All options in order.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        let options = self.text.get(self.rest_end + 1..).unwrap_or("");
        options.split('&').filter_map(|option| option.split_once('='))
    }

    /// The whole.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// An error about `part` of this address.
    pub fn wrong(&self, part: impl Into<String>, needed: &'static str) -> UriError {
        UriError { uri: self.text.clone(), part: part.into(), needed }
    }

    /// Refuses options besides `known` and `via`.
    ///
    /// # Errors
    /// Names the first unknown one.
    pub fn only_options(&self, known: &[&str]) -> Result<(), UriError> {
        match self.options().find(|(name, _)| *name != "via" && !known.contains(name)) {
            Some((name, _)) => Err(self.wrong(name, "an option that this transport knows")),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address {:?}: {:?} is wrong, needed is {}", self.uri, self.part, self.needed)
    }
}

impl std::error::Error for UriError {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_is_split_at_colon_and_question_mark() {
        let uri = Uri::parse("tcp://127.0.0.1:4000?via=epoll&tls=on").expect("it is right");
        assert_eq!((uri.scheme(), uri.rest(), uri.address()), ("tcp", "//127.0.0.1:4000", "127.0.0.1:4000"));
        assert_eq!((uri.option("tls"), uri.option("x")), (Some("on"), None));
        assert_eq!(Uri::parse("ipc:/run/x.sock").expect("it is right").address(), "/run/x.sock");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in
            [("ipc", "ipc"), ("IPC:x", "IPC"), ("ipc:", ""), ("ipc://", "//"), ("ipc:x?y", "y"), ("ipc:x?=y", "=y")]
        {
            assert_eq!(Uri::parse(text).expect_err("it is wrong").part, part, "{text}");
        }
        let uri = Uri::parse("ipc:x?speed=9").expect("it is right in form");
        assert!(uri.only_options(&[]).expect_err("unknown").to_string().contains("speed"));
    }
}
