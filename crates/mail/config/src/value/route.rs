//! Where mail goes, and how often it is tried.

use std::fmt;
use std::path::PathBuf;

use super::name::is_domain;
use super::{Kind, OptionValue, malformed, toml_string};
use crate::error::Problem;
use crate::suggest::nearest;
use crate::toml::Item;

/// Where the mail of a domain goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// To the hosts that the domain's MX records name.
    Mx,
    /// To one host over SMTP. A name is looked up for addresses, not for MX records.
    Smtp {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// To one host or socket over LMTP (RFC 2033).
    Lmtp(LmtpTarget),
    /// Into a maildir.
    Maildir {
        /// The directory that has `cur`, `new` and `tmp`.
        path: PathBuf,
    },
    /// Nowhere: accepted, logged as delivered, and gone.
    Discard,
    /// Nowhere yet: it waits until an operator gives it another route.
    Hold,
}

/// The other end of an LMTP route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LmtpTarget {
    /// A host.
    Host {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// A socket in the file system.
    Unix {
        /// Its path.
        path: PathBuf,
    },
}

/// How many attempts follow the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryLimit {
    /// As many as fit into the message's lifetime.
    Auto,
    /// No limit but the message's lifetime.
    None,
    /// This many.
    Count(u32),
}

const SMTP_PORT: u16 = 25;
const LMTP_PORT: u16 = 2003;
const SCHEMES: [&str; 6] = ["mx", "smtp://", "lmtp://", "maildir:", "discard:", "hold:"];

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self {
            Route::Mx => f.write_str("mx"),
            Route::Smtp { host, port } => write!(f, "smtp://{}:{port}", bracketed(host)),
            Route::Lmtp(LmtpTarget::Host { host, port }) => write!(f, "lmtp://{}:{port}", bracketed(host)),
            Route::Lmtp(LmtpTarget::Unix { path }) => write!(f, "lmtp:{}", path.display()),
            Route::Maildir { path } => write!(f, "maildir:{}", path.display()),
            Route::Discard => f.write_str("discard:"),
            Route::Hold => f.write_str("hold:"),
        }
    }
}

impl OptionValue for Route {
    const KIND: Kind = Kind::new(
        "route",
        "\"mx\", \"smtp://host:port\", \"lmtp://host:port\", \"lmtp:/socket\", \"maildir:/path\", \"discard:\" or \
         \"hold:\"",
    );

    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "mx" => return Ok(Route::Mx),
            "discard:" => return Ok(Route::Discard),
            "hold:" => return Ok(Route::Hold),
            _ => {}
        }
        if let Some(rest) = text.strip_prefix("smtp://") {
            let (host, port) = host_and_port(rest, SMTP_PORT).ok_or_else(|| bad_host(text))?;
            return Ok(Route::Smtp { host, port });
        }
        if let Some(path) = text.strip_prefix("lmtp://unix:").or_else(|| unix_path(text)) {
            return PathBuf::from_text(path).map(|path| Route::Lmtp(LmtpTarget::Unix { path }));
        }
        if let Some(rest) = text.strip_prefix("lmtp://") {
            let (host, port) = host_and_port(rest, LMTP_PORT).ok_or_else(|| bad_host(text))?;
            return Ok(Route::Lmtp(LmtpTarget::Host { host, port }));
        }
        if let Some(path) = text.strip_prefix("maildir:") {
            return PathBuf::from_text(path).map(|path| Route::Maildir { path });
        }
        let scheme = text.find(':').map_or(text, |colon| &text[..=colon]);
        Err(malformed(&Self::KIND, text).propose(nearest(scheme, SCHEMES)))
    }

    fn to_toml(&self) -> String {
        toml_string(&self.to_string())
    }
}

fn bad_host(text: &str) -> Problem {
    malformed(&Kind::new("route with a host", "\"smtp://mail.example.org:25\" or \"smtp://[2001:db8::1]:25\""), text)
}

/// `lmtp:/path` and `lmtp:///path`.
fn unix_path(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("lmtp:")?;
    let path = rest.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(rest);
    (path.starts_with('/') && !path.starts_with("//")).then_some(path)
}

fn host_and_port(text: &str, port_default: u16) -> Option<(String, u16)> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            address.parse::<std::net::IpAddr>().ok()?;
            (address, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some(""))?)
        }
        None => {
            let (host, port) = text.split_once(':').unwrap_or((text, ""));
            (Some(host).filter(|host| is_domain(host) && !host.starts_with('['))?, port)
        }
    };
    let has_colon = text.ends_with(':');
    let port = match port {
        "" if !has_colon => port_default,
        digits => digits.parse().ok().filter(|port| *port != 0)?,
    };
    Some((host.to_owned(), port))
}

impl OptionValue for RetryLimit {
    const KIND: Kind = Kind::new("retry limit", "\"auto\", \"none\" or a whole number");

    fn from_item(item: &Item) -> Result<Self, Problem> {
        match item {
            Item::Integer(_) => u32::from_item(item).map(RetryLimit::Count),
            Item::Text(text) => Self::from_text(text),
            other => Err(super::wrong_type(&Self::KIND, other)),
        }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "auto" => Ok(RetryLimit::Auto),
            "none" => Ok(RetryLimit::None),
            other => Err(malformed(&Self::KIND, other).propose(nearest(other, ["auto", "none"]))),
        }
    }

    fn to_toml(&self) -> String {
        match self {
            RetryLimit::Auto => toml_string("auto"),
            RetryLimit::None => toml_string("none"),
            RetryLimit::Count(count) => count.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_and_written_back() {
        for (text, shown) in [
            ("mx", "mx"),
            ("smtp://mail.example.org:26", "smtp://mail.example.org:26"),
            ("smtp://127.0.0.1", "smtp://127.0.0.1:25"),
            ("smtp://[::1]:2525", "smtp://[::1]:2525"),
            ("smtp://[::1]", "smtp://[::1]:25"),
            ("smtp://a.example:25/", "smtp://a.example:25"),
            ("lmtp://localhost", "lmtp://localhost:2003"),
            ("lmtp:/run/lmtp", "lmtp:/run/lmtp"),
            ("lmtp:///run/lmtp", "lmtp:/run/lmtp"),
            ("lmtp://unix:/run/lmtp", "lmtp:/run/lmtp"),
            ("maildir:./var/sink", "maildir:./var/sink"),
            ("discard:", "discard:"),
            ("hold:", "hold:"),
        ] {
            let route = Route::from_text(text).unwrap();
            assert_eq!(route.to_string(), shown);
            assert_eq!(Route::from_text(shown).unwrap(), route);
        }
    }

    #[test]
    fn bad_routes_are_refused() {
        let bad = [
            "",
            "mx:",
            "smtp:",
            "smtp://",
            "smtp://:25",
            "smtp://a:0",
            "smtp://a:99999",
            "smtp://a:",
            "smtp://a b",
            "smtp://::1",
            "smtp://[::1",
            "smtp://[a]:25",
            "smtp://[::1]25",
            "lmtp:",
            "lmtp:relative",
            "maildir:",
            "discard:x",
            "pipe:/bin/true",
            "http://a",
        ];
        for text in bad {
            assert!(Route::from_text(text).is_err(), "{text}");
        }
        assert!(Route::from_text("discard").unwrap_err().message.ends_with("did you mean `discard:`?"));
        assert!(Route::from_text("malidir:/x").unwrap_err().message.ends_with("did you mean `maildir:`?"));
    }
}
