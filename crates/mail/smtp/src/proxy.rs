//! The header of the PROXY protocol, versions 1 and 2, by which a load balancer tells who the client is, and by which we
//! tell an outgoing proxy whom to connect to, and from where.
//!
//! Reception calls it with the first octets of a connection, before any SMTP. It never reads past the header, never
//! looks anything up and never takes a header that is not exactly as the specification says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the octets so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// The beginning of a header.
    Incomplete,
    /// A header of `consumed` octets.
    Header {
        /// Where the SMTP conversation begins.
        consumed: usize,
        /// Who talks to whom; `None` if the balancer speaks for itself (health checks) or does not know.
        addresses: Option<Addresses>,
    },
}

/// The two ends of the proxied connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// The octets cannot be a header. The connection must be closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// Neither version's signature.
    Signature,
    /// A version 1 line that does not follow the grammar.
    Line,
    /// An unknown version, command, family or length of version 2.
    Binary,
    /// The header is longer than [`HEADER_MAX`].
    TooLong,
}

impl std::fmt::Display for ProxyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Signature => "no PROXY protocol header",
            Self::Line => "malformed PROXY protocol line",
            Self::Binary => "malformed PROXY protocol version 2 header",
            Self::TooLong => "PROXY protocol header too long",
        })
    }
}

impl std::error::Error for ProxyError {}

/// Longest header that is read, octets; a version 2 header with the usual extensions has a few hundred.
pub const HEADER_MAX: usize = 2048;

const V1: &[u8] = b"PROXY ";
/// Longest version 1 line with its CRLF (specification §2.1).
const V1_MAX: usize = 107;
const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Looks at all octets of the connection so far.
///
/// # Errors
/// See [`ProxyError`]; once an error, no further octets help.
pub fn parse(input: &[u8]) -> Result<Proxied, ProxyError> {
    let begins = |signature: &[u8]| input.iter().zip(signature).all(|(a, b)| a == b);
    match () {
        () if begins(V1) => parse_v1(input),
        () if begins(V2) => parse_v2(input),
        () => Err(ProxyError::Signature),
    }
}

/// The header, version 2, that says who connects to whom (specification §2.2). Two families that differ are both written
/// as IPv6, the one of IPv4 as mapped.
pub fn header_v2(addresses: &Addresses) -> Vec<u8> {
    let mut header = V2.to_vec();
    let Addresses { source, destination } = addresses;
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend_from_slice(&[0x21, 0x11, 0, 12]);
            header.extend_from_slice(&from.octets());
            header.extend_from_slice(&to.octets());
        }
        (from, to) => {
            let six = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            header.extend_from_slice(&[0x21, 0x21, 0, 36]);
            header.extend_from_slice(&six(from));
            header.extend_from_slice(&six(to));
        }
    }
    header.extend_from_slice(&source.port().to_be_bytes());
    header.extend_from_slice(&destination.port().to_be_bytes());
    header
}

fn parse_v1(input: &[u8]) -> Result<Proxied, ProxyError> {
    let window = &input[..input.len().min(V1_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if input.len() < V1_MAX { Ok(Proxied::Incomplete) } else { Err(ProxyError::TooLong) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(ProxyError::Line)?;
    let line = std::str::from_utf8(line).map_err(|_| ProxyError::Line)?;
    let consumed = end + 1;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(ProxyError::Line)?;
    if family == "UNKNOWN" {
        return Ok(Proxied::Header { consumed, addresses: None });
    }
    let mut next = || words.next().ok_or(ProxyError::Line);
    let (source, destination) = (ip(family, next()?)?, ip(family, next()?)?);
    let (source_port, destination_port) = (port(next()?)?, port(next()?)?);
    if words.next().is_some() {
        return Err(ProxyError::Line);
    }
    let addresses = Addresses {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    };
    Ok(Proxied::Header { consumed, addresses: Some(addresses) })
}

fn ip(family: &str, text: &str) -> Result<IpAddr, ProxyError> {
    let parsed = match family {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6),
        _ => return Err(ProxyError::Line),
    };
    parsed.map_err(|_| ProxyError::Line)
}

fn port(text: &str) -> Result<u16, ProxyError> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if digits { text.parse().map_err(|_| ProxyError::Line) } else { Err(ProxyError::Line) }
}

fn parse_v2(input: &[u8]) -> Result<Proxied, ProxyError> {
    let Some((head, rest)) = input.split_at_checked(16) else { return Ok(Proxied::Incomplete) };
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if 16 + length > HEADER_MAX {
        return Err(ProxyError::TooLong);
    }
    let local = match head[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyError::Binary),
    };
    let wanted = match head[13] {
        // Only streams reach an SMTP listener; what is unspecified is skipped like LOCAL.
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(ProxyError::Binary),
    };
    if length < wanted {
        return Err(ProxyError::Binary);
    }
    let Some(block) = rest.get(..length) else { return Ok(Proxied::Incomplete) };
    let addresses = match (local, wanted) {
        (false, 12) => Some(addresses_v4(block)),
        (false, 36) => Some(addresses_v6(block)),
        _ => None,
    };
    Ok(Proxied::Header { consumed: 16 + length, addresses: addresses.flatten() })
}

fn addresses_v4(block: &[u8]) -> Option<Addresses> {
    let ip = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(block.get(at..at + 4)?).ok()?));
    Some(Addresses { source: socket(ip(0)?, block, 8)?, destination: socket(ip(4)?, block, 10)? })
}

fn addresses_v6(block: &[u8]) -> Option<Addresses> {
    let ip = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(block.get(at..at + 16)?).ok()?));
    Some(Addresses { source: socket(ip(0)?, block, 32)?, destination: socket(ip(16)?, block, 34)? })
}

fn socket(ip: IpAddr, block: &[u8], port_at: usize) -> Option<SocketAddr> {
    let port = <[u8; 2]>::try_from(block.get(port_at..port_at + 2)?).ok()?;
    Some(SocketAddr::new(ip, u16::from_be_bytes(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut header = V2.to_vec();
        header.extend_from_slice(&[command, family]);
        header.extend_from_slice(&(block.len() as u16).to_be_bytes());
        header.extend_from_slice(block);
        header
    }

    /// Every shorter beginning is incomplete, and what follows is left alone.
    fn whole(header: &[u8]) -> Option<Addresses> {
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), Ok(Proxied::Incomplete), "{cut}");
        }
        let mut input = header.to_vec();
        input.extend_from_slice(b"EHLO x\r\n");
        match parse(&input) {
            Ok(Proxied::Header { consumed, addresses }) => {
                assert_eq!(consumed, header.len());
                addresses
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn version_1() {
        let found = whole(b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 25\r\n").unwrap();
        assert_eq!(found.source, "192.0.2.1:5000".parse().unwrap());
        assert_eq!(found.destination, "198.51.100.2:25".parse().unwrap());
        let found = whole(b"PROXY TCP6 2001:db8::1 ::1 65535 0\r\n").unwrap();
        assert_eq!(found.source, "[2001:db8::1]:65535".parse().unwrap());
        assert_eq!(whole(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(whole(b"PROXY UNKNOWN ffff:f::1 2 3 4\r\n"), None);
    }

    #[test]
    fn version_1_refused() {
        let bad = [
            "PROXY TCP4 192.0.2.1 198.51.100.2 5000 25\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 5000\r\n",
            "PROXY\t\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 05 25\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
            "EHLO x\r\n",
            "proxy TCP4",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        ];
        for line in bad {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(parse(&endless.as_bytes()[..106]), Ok(Proxied::Incomplete));
        assert_eq!(parse(&endless.as_bytes()[..107]), Err(ProxyError::TooLong));
    }

    #[test]
    fn version_2() {
        let block = [192, 0, 2, 1, 198, 51, 100, 2, 0x13, 0x88, 0, 25];
        let found = whole(&v2(0x21, 0x11, &block)).unwrap();
        assert_eq!(found.source, "192.0.2.1:5000".parse().unwrap());
        assert_eq!(found.destination, "198.51.100.2:25".parse().unwrap());
        let mut long = block.to_vec();
        long.extend_from_slice(&[4, 0, 1, 0]);
        assert!(whole(&v2(0x21, 0x11, &long)).is_some());
        let mut six = [0; 36];
        six[15] = 1;
        six[33] = 9;
        assert_eq!(whole(&v2(0x21, 0x21, &six)).unwrap().source, "[::1]:9".parse().unwrap());
        assert_eq!(whole(&v2(0x20, 0x00, &[])), None);
        assert_eq!(whole(&v2(0x21, 0x31, &[0; 216])), None);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for (source, destination) in [
            ("192.0.2.1:0", "198.51.100.2:25"),
            ("[2001:db8::1]:7", "[2001:db8::2]:2525"),
            ("[::ffff:192.0.2.1]:1", "[2001:db8::2]:25"),
        ] {
            let addresses = Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() };
            assert_eq!(whole(&header_v2(&addresses)), Some(addresses));
        }
        let mixed =
            Addresses { source: "192.0.2.1:1".parse().unwrap(), destination: "[2001:db8::2]:25".parse().unwrap() };
        let read = whole(&header_v2(&mixed)).unwrap();
        assert_eq!((read.source.ip().to_canonical(), read.destination), (mixed.source.ip(), mixed.destination));
    }

    #[test]
    fn version_2_refused() {
        for header in
            [v2(0x11, 0x11, &[0; 12]), v2(0x22, 0x11, &[0; 12]), v2(0x21, 0x12, &[0; 12]), v2(0x21, 0x11, &[0; 11])]
        {
            assert_eq!(parse(&header), Err(ProxyError::Binary));
        }
        assert_eq!(parse(&v2(0x21, 0x11, &vec![0; HEADER_MAX])), Err(ProxyError::TooLong));
    }
}
