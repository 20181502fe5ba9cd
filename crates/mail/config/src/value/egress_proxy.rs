//! Proxies that mail leaves through, and lists of source addresses.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

use super::{Kind, OptionValue, malformed, toml_string};
use crate::error::Problem;
use crate::toml::Item;

/// Local addresses. Shared, because a list may be long and every queue of a binding has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddressList(Arc<[IpAddr]>);

/// Through what a connection goes to its host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum EgressProxy {
    /// Nothing.
    #[default]
    None,
    /// A proxy that reads the PROXY protocol, version 2, and connects from the source to the destination that it names.
    Haproxy(SocketAddr),
    /// A SOCKS version 5 server (RFC 1928).
    Socks5 {
        /// Where it listens.
        address: SocketAddr,
        /// With what to log in (RFC 1929), if at all.
        login: Option<Login>,
    },
}

/// A user and a password, each of 1 to 255 octets (RFC 1929 section 2). `Debug` and the shown configuration hide the
/// password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// The user.
    pub user: Box<str>,
    /// The password.
    pub password: Box<str>,
}

/// Longest user or password, octets.
const LOGIN_PART_MAX: usize = 255;

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Deref for AddressList {
    type Target = [IpAddr];
    fn deref(&self) -> &[IpAddr] {
        &self.0
    }
}

impl FromIterator<IpAddr> for AddressList {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        Self(addresses.into_iter().collect())
    }
}

impl OptionValue for AddressList {
    const KIND: Kind = Vec::<IpAddr>::KIND;

    fn from_item(item: &Item) -> Result<Self, Problem> {
        Vec::from_item(item).map(|addresses| Self(addresses.into()))
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        Vec::from_text(text).map(|addresses: Vec<IpAddr>| Self(addresses.into()))
    }

    fn to_toml(&self) -> String {
        self.to_vec().to_toml()
    }
}

impl OptionValue for EgressProxy {
    const KIND: Kind = Kind::new(
        "egress proxy",
        "\"none\", \"haproxy://192.0.2.1:2526\" or \"socks5://user:password@192.0.2.1:1080\"",
    );

    fn from_text(text: &str) -> Result<Self, Problem> {
        let wrong = || malformed(&Self::KIND, hidden(text));
        let socket = |text: &str| text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
        if text == "none" {
            return Ok(Self::None);
        }
        if let Some(address) = text.strip_prefix("haproxy://") {
            return socket(address).map(Self::Haproxy).ok_or_else(wrong);
        }
        let rest = text.strip_prefix("socks5://").ok_or_else(wrong)?;
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(Login::parse(login).ok_or_else(wrong)?), address),
            None => (None, rest),
        };
        let address = socket(address).ok_or_else(wrong)?;
        Ok(Self::Socks5 { address, login })
    }

    /// The password is not shown: what is shown may be passed on.
    fn to_toml(&self) -> String {
        toml_string(&match self {
            Self::None => "none".into(),
            Self::Haproxy(address) => format!("haproxy://{address}"),
            Self::Socks5 { address, login: None } => format!("socks5://{address}"),
            Self::Socks5 { address, login: Some(login) } => format!("socks5://{}:***@{address}", login.user),
        })
    }
}

/// The text, or only its scheme if there may be a login in it: errors end in logs.
fn hidden(text: &str) -> &str {
    let harmless = !text.contains([':', '@'])
        || (text.starts_with("haproxy://") && !text.contains('@'))
        || text.strip_prefix("socks5://").unwrap_or(text).parse::<std::net::SocketAddr>().is_ok();
    let scheme = || text.split_once("://").map_or(0, |(scheme, _)| scheme.len() + "://".len());
    if harmless { text } else { &text[..scheme()] }
}

impl Login {
    fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':')?;
        let fits = |part: &str| (1..=LOGIN_PART_MAX).contains(&part.len());
        (fits(user) && fits(password)).then(|| Self { user: user.into(), password: password.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_addresses_with_a_scheme() {
        let address = "192.0.2.1:1080".parse().unwrap();
        let parse = |text: &str| EgressProxy::from_text(text).unwrap();
        assert_eq!(parse("none"), EgressProxy::None);
        assert_eq!(parse("haproxy://192.0.2.1:1080"), EgressProxy::Haproxy(address));
        assert_eq!(parse("socks5://192.0.2.1:1080"), EgressProxy::Socks5 { address, login: None });
        let login = Login { user: "u".into(), password: "p:@w".into() };
        let with_login = parse("socks5://u:p:@w@192.0.2.1:1080");
        assert_eq!(with_login, EgressProxy::Socks5 { address, login: Some(login) });
        let six = parse("haproxy://[2001:db8::1]:25");
        assert_eq!(six, EgressProxy::Haproxy("[2001:db8::1]:25".parse().unwrap()));
        for bad in ["", "192.0.2.1:1080", "http://192.0.2.1:80", "socks5://name:1080", "haproxy://192.0.2.1"] {
            assert!(EgressProxy::from_text(bad).is_err(), "{bad}");
        }
        let long = format!("socks5://u:{}@192.0.2.1:1080", "x".repeat(256));
        for bad in ["haproxy://192.0.2.1:0", "socks5://u@192.0.2.1:1", "socks5://:p@192.0.2.1:1", &long] {
            assert!(EgressProxy::from_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let proxy = EgressProxy::from_text("socks5://u:secret@192.0.2.1:1080").unwrap();
        for shown in [proxy.to_toml(), format!("{proxy:?}")] {
            assert!(!shown.contains("secret"), "{shown}");
        }
        // The host or the scheme was forgotten, or the password has an `@` in it.
        for bad in
            ["socks5://u:secret@192.0.2.1", "socks5://mail:secret", "socks5://u:p@secret", "u:secret@192.0.2.1:1"]
        {
            let error = EgressProxy::from_text(bad).unwrap_err();
            assert!(!error.message.contains("secret"), "{}", error.message);
        }
    }
}
