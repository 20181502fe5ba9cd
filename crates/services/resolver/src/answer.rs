//! What a server said about a question, as the cache keeps it. Small, immutable, shared between loops by reference
//! counts; names and addresses are checked already.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_proto::rr::Name;
use policy::{DnsName, RouteKind};

/// Records of one answer that are kept; more are dropped. For `MX` those with the best preference stay.
pub const RECORDS_MAX: usize = 256;
/// Aliases (CNAME) followed for one question, within answers and over several; more is an error.
pub const ALIASES_MAX: usize = 8;

/// An answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Records of the type asked for, at the name or behind its aliases.
    Records {
        /// At least one, but for records that were all unusable.
        records: Records,
        /// Seconds, the least of the whole chain.
        ttl: u32,
    },
    /// The name is another's alias, and the server did not say what is there.
    Alias {
        /// To be asked for next.
        target: Name,
        /// Seconds, the least of the chain so far.
        ttl: u32,
    },
    /// The name exists, without such a record.
    NoData {
        /// Seconds (RFC 2308 §5); none if the server sent no SOA.
        ttl: Option<u32>,
    },
    /// The name does not exist.
    NoDomain {
        /// As for `NoData`.
        ttl: Option<u32>,
    },
}

/// Records of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// IPv4 addresses.
    A(Arc<[Ipv4Addr]>),
    /// IPv6 addresses.
    Aaaa(Arc<[Ipv6Addr]>),
    /// Mail exchanges, ascending, or a null MX; an empty list if no exchange could be read as a host.
    Mx(Arc<RouteKind>),
    /// Texts, the strings of each joined.
    Txt(Arc<[Box<[u8]>]>),
    /// Names of an address; empty if none could be read as a host.
    Ptr(Arc<[DnsName]>),
}

impl Records {
    /// Octets that the records hold, roughly.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::A(list) => size_of_val(&**list),
            Self::Aaaa(list) => size_of_val(&**list),
            Self::Mx(route) => match &**route {
                RouteKind::Mx(list) => list.len() * 64,
                RouteKind::Implicit | RouteKind::NullMx => 0,
            },
            Self::Txt(list) => list.iter().map(|text| text.len() + 32).sum(),
            Self::Ptr(list) => list.iter().map(|name| name.as_str().len() + 32).sum(),
        }
    }
}

/// Why there is no answer, the least telling first: over several servers the most telling failure is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No server could be reached.
    Unreachable,
    /// None answered in time.
    Timeout,
    /// An answer was malformed or a loop of aliases.
    BadAnswer,
    /// A server said that it could not or would not answer.
    ServerFailure,
}

/// An answer, or why there is none; both are cached.
pub(crate) type Outcome = Result<Answer, Failure>;
