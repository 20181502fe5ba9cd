//! The client's octets of SOCKS version 5 (RFC 1928) and of its log-in by user and password (RFC 1929). Called by `exit`,
//! which moves them; nothing here waits or allocates by what the server says.

use config::Login;
use std::net::{IpAddr, SocketAddr};

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const NO_LOGIN: u8 = 0;
const BY_PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;

/// What the server chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Open,
    Password,
}

/// Why the server is of no use: it said so, or makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not speak SOCKS version 5.
    Version,
    /// It wants another log-in than we have.
    Method,
    /// It does not take user and password.
    Login,
    /// The reply to CONNECT; see [`Refusal::is_hosts`].
    Connect(u8),
}

impl Refusal {
    /// Whether the host, not the server, is why there is no connection: RFC 1928 section 6 has codes for a network or
    /// host that cannot be reached, a connection that was refused, and a time-to-live that ran out.
    pub(crate) fn is_hosts(self) -> bool {
        matches!(self, Self::Connect(3..=6))
    }

    /// In words.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Version => "it does not speak SOCKS version 5",
            Self::Method => "it wants another way to log in",
            Self::Login => "it refused user and password",
            Self::Connect(2) => "its rules forbid the connection",
            Self::Connect(3) => "network unreachable",
            Self::Connect(4) => "host unreachable",
            Self::Connect(5) => "connection refused",
            Self::Connect(6) => "time-to-live expired",
            Self::Connect(7) => "it does not know CONNECT",
            Self::Connect(8) => "it does not know the family of the address",
            Self::Connect(_) => "it failed",
        }
    }
}

/// The first octets: which log-ins we have.
pub(crate) fn greeting(login: Option<&Login>) -> Vec<u8> {
    match login {
        None => vec![VERSION, 1, NO_LOGIN],
        Some(_) => vec![VERSION, 2, NO_LOGIN, BY_PASSWORD],
    }
}

/// The server's choice.
pub(crate) fn method(reply: [u8; 2], login: Option<&Login>) -> Result<Method, Refusal> {
    match reply {
        [VERSION, NO_LOGIN] => Ok(Method::Open),
        [VERSION, BY_PASSWORD] if login.is_some() => Ok(Method::Password),
        [VERSION, NONE_ACCEPTABLE] => Err(Refusal::Method),
        [VERSION, _] => Err(Refusal::Method),
        _ => Err(Refusal::Version),
    }
}

/// User and password; the configuration has them no longer than one octet can tell.
pub(crate) fn login(login: &Login) -> Vec<u8> {
    let mut octets = vec![LOGIN_VERSION];
    for part in [&login.user, &login.password] {
        octets.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        octets.extend_from_slice(&part.as_bytes()[..part.len().min(usize::from(u8::MAX))]);
    }
    octets
}

/// Whether it takes them.
pub(crate) fn logged_in(reply: [u8; 2]) -> Result<(), Refusal> {
    if reply[1] == 0 { Ok(()) } else { Err(Refusal::Login) }
}

/// "Connect to this."
pub(crate) fn connect(remote: SocketAddr) -> Vec<u8> {
    let mut octets = vec![VERSION, CONNECT, 0];
    match remote.ip() {
        IpAddr::V4(ip) => {
            octets.push(1);
            octets.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            octets.push(4);
            octets.extend_from_slice(&ip.octets());
        }
    }
    octets.extend_from_slice(&remote.port().to_be_bytes());
    octets
}

/// How the reply to CONNECT begins: the first four octets, and the fifth, which is the length of a name if the bound
/// address is one. Gives how many octets follow these five.
pub(crate) fn connected(head: [u8; 5]) -> Result<usize, Refusal> {
    match head {
        [VERSION, 0, _, 1, _] => Ok(4 + 2 - 1),
        [VERSION, 0, _, 4, _] => Ok(16 + 2 - 1),
        [VERSION, 0, _, 3, length] => Ok(usize::from(length) + 2),
        [VERSION, 0, ..] => Err(Refusal::Version),
        [VERSION, code, ..] => Err(Refusal::Connect(code)),
        _ => Err(Refusal::Version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_says() {
        let user = Login { user: "ab".into(), password: "xyz".into() };
        assert_eq!(greeting(None), [5, 1, 0]);
        assert_eq!(greeting(Some(&user)), [5, 2, 0, 2]);
        assert_eq!(login(&user), [1, 2, b'a', b'b', 3, b'x', b'y', b'z']);
        assert_eq!(connect("192.0.2.1:25".parse().unwrap()), [5, 1, 0, 1, 192, 0, 2, 1, 0, 25]);
        let six = connect("[2001:db8::1]:587".parse().unwrap());
        assert_eq!((six.len(), six[3], &six[20..]), (22, 4, &[2, 75][..]));
    }

    #[test]
    fn what_the_server_says() {
        let user = Login { user: "a".into(), password: "b".into() };
        assert_eq!(method([5, 0], None), Ok(Method::Open));
        assert_eq!(method([5, 2], Some(&user)), Ok(Method::Password));
        assert_eq!(method([5, 2], None), Err(Refusal::Method), "it was not offered");
        assert_eq!(method([5, 0xff], Some(&user)), Err(Refusal::Method));
        assert_eq!(method([4, 0], None), Err(Refusal::Version));
        assert_eq!((logged_in([1, 0]), logged_in([1, 1])), (Ok(()), Err(Refusal::Login)));
        assert_eq!(connected([5, 0, 0, 1, 10]), Ok(5));
        assert_eq!(connected([5, 0, 0, 4, 10]), Ok(17));
        assert_eq!(connected([5, 0, 0, 3, 10]), Ok(12));
        assert_eq!(connected([5, 0, 0, 9, 10]), Err(Refusal::Version));
        assert_eq!(connected(*b"220 m"), Err(Refusal::Version));
        for code in 1..=255 {
            let refusal = connected([5, code, 0, 1, 0]).unwrap_err();
            assert_eq!(refusal.is_hosts(), (3..=6).contains(&code), "{code}");
        }
    }
}
