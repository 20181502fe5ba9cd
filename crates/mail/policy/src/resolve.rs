//! The questions that rooms ask of a resolver, and the answers. Implemented by the crate `resolver`; a simulation may
//! implement it from a table. Never names a server, a socket or a wire format.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use message::Reply;

use crate::plan::{Plan, PlanOptions, make_plan};
use crate::{Destination, DnsName, Families};

/// Look-ups for mail.
///
/// The futures are not bound to be `Send`: rooms await them on the event loop that asked. An implementation must answer
/// every question within a bound of its own, so callers need no timer.
pub trait Resolve {
    /// Who takes mail for `domain` (RFC 5321 §5.1, RFC 7505), without the addresses of those hosts.
    fn mail_route(&self, domain: &DnsName) -> impl Future<Output = Result<MailRoute, ResolveError>>;

    /// The addresses of `host`, of the families asked for and in their order; never empty. A family that is not wanted
    /// is not asked for.
    fn addresses(&self, host: &DnsName, families: Families) -> impl Future<Output = Result<Addresses, ResolveError>>;

    /// The `TXT` records at `name`, each with its strings joined (RFC 7208 §3.3); never empty.
    fn texts(&self, name: &DnsName) -> impl Future<Output = Result<Texts, ResolveError>>;

    /// The names that `address` claims in the reverse tree; never empty. A claim, until [`Resolve::addresses`] of the
    /// name agrees.
    fn pointers(&self, address: IpAddr) -> impl Future<Output = Result<Pointers, ResolveError>>;

    /// Everything needed to connect: hosts in the order to try them, each with addresses, bounded by `options`. Hosts of
    /// equal preference and the addresses of a host are shuffled by `seed` (RFC 5321 §5.1).
    ///
    /// Costs one `MX` question and one a family for each of the first [`PlanOptions::hosts_max`] hosts, all at once; an
    /// address literal costs none.
    fn plan(
        &self,
        destination: &Destination,
        options: PlanOptions,
        seed: u64,
    ) -> impl Future<Output = Result<Plan, ResolveError>> {
        make_plan(self, destination, options, seed)
    }
}

/// Who takes mail for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailRoute {
    /// What the domain says.
    pub kind: RouteKind,
    /// How long this may be used.
    pub expires_in: Duration,
}

/// What a domain says about its mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// `MX` records; at least one, ascending by preference.
    Mx(Vec<Exchange>),
    /// No `MX`: the domain itself takes its mail (RFC 5321 §5.1).
    Implicit,
    /// "MX 0 .": the domain takes no mail (RFC 7505).
    NullMx,
}

/// One `MX` record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Lower is tried first.
    pub preference: u16,
    /// Who.
    pub host: Host,
}

/// A host by name, or by address where an `MX` record spells one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// To be looked up.
    Name(DnsName),
    /// To be used as it is.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The addresses of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// At least one.
    pub addresses: Vec<IpAddr>,
    /// How long they may be used.
    pub expires_in: Duration,
}

/// The `TXT` records at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// At least one record, each with its strings joined; any octets.
    pub texts: Vec<Box<[u8]>>,
    /// How long they may be used.
    pub expires_in: Duration,
}

/// The names of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointers {
    /// At least one.
    pub names: Vec<DnsName>,
    /// How long they may be used.
    pub expires_in: Duration,
}

/// Whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// Delay the mail and ask again later.
    Temporary,
    /// Asking again gives the same answer.
    Permanent,
}

/// Why a question has no useful answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// The name does not exist (NXDOMAIN).
    NoDomain(DnsName),
    /// The name exists and has no record of the type asked for (NODATA).
    NoRecords(DnsName),
    /// Nothing that takes mail for the destination has an address.
    NoAddress(Destination),
    /// The domain says that it takes no mail (RFC 7505).
    NullMx(DnsName),
    /// The servers asked could not or would not answer (SERVFAIL, REFUSED, a delegation).
    ServerFailure(DnsName),
    /// No server answered in time.
    Timeout(DnsName),
    /// No server could be reached at all.
    Unreachable(DnsName),
    /// The answer makes no sense: malformed, a loop of aliases, or a chain too long.
    BadAnswer(DnsName),
    /// More questions wait than the resolver holds.
    Busy,
    /// The resolver no longer runs.
    Stopped,
}

impl ResolveError {
    /// Whether to try again.
    ///
    /// [`ResolveError::NoAddress`] is temporary, as Momentum has it (454 4.4.4): the zone exists and is half written.
    pub const fn class(&self) -> FailureClass {
        match self {
            Self::NoDomain(_) | Self::NoRecords(_) | Self::NullMx(_) => FailureClass::Permanent,
            Self::NoAddress(_)
            | Self::ServerFailure(_)
            | Self::Timeout(_)
            | Self::Unreachable(_)
            | Self::BadAnswer(_)
            | Self::Busy
            | Self::Stopped => FailureClass::Temporary,
        }
    }

    /// The reply that stands for the failure in logs and DSNs.
    ///
    /// Codes and texts are Momentum's where it has them, because bounce rules and alerts of its users match them: a
    /// null MX is `550 5.4.4`, not the `556 5.1.10` of RFC 7505 §4.2, and NXDOMAIN is `554 5.4.4`. Trouble with the
    /// servers is `451 4.4.3` (RFC 3463 §3.5, directory server failure).
    pub fn reply(&self) -> Reply {
        let (code, text) = match self {
            Self::NoDomain(_) | Self::NoRecords(_) => (554, "5.4.4 [internal] Domain Lookup Failed"),
            Self::NullMx(_) => (550, "5.4.4 [internal] NULL MX domain does not accept mail"),
            Self::NoAddress(_) => (454, "4.4.4 [internal] no MX or A for domain"),
            Self::ServerFailure(_) => (451, "4.4.3 [internal] DNS server failure"),
            Self::Timeout(_) => (451, "4.4.3 [internal] DNS query timed out"),
            Self::Unreachable(_) => (451, "4.4.3 [internal] no DNS server reachable"),
            Self::BadAnswer(_) => (451, "4.4.3 [internal] DNS answer unusable"),
            Self::Busy => (451, "4.4.3 [internal] too many DNS queries waiting"),
            Self::Stopped => (451, "4.4.3 [internal] DNS resolver stopped"),
        };
        Reply::new(code, text)
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDomain(name) => write!(f, "{name} does not exist"),
            Self::NoRecords(name) => write!(f, "{name} has no such record"),
            Self::NoAddress(destination) => write!(f, "nothing that takes mail for {destination} has an address"),
            Self::NullMx(name) => write!(f, "{name} takes no mail (null mx)"),
            Self::ServerFailure(name) => write!(f, "no dns server could answer for {name}"),
            Self::Timeout(name) => write!(f, "no dns server answered in time for {name}"),
            Self::Unreachable(name) => write!(f, "no dns server could be reached to ask for {name}"),
            Self::BadAnswer(name) => write!(f, "the dns answer for {name} is unusable"),
            Self::Busy => f.write_str("too many dns questions wait already"),
            Self::Stopped => f.write_str("the dns resolver has stopped"),
        }
    }
}

impl std::error::Error for ResolveError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_and_reply_agree() {
        let name = || DnsName::parse("x.example").unwrap();
        let errors = [
            ResolveError::NoDomain(name()),
            ResolveError::NoRecords(name()),
            ResolveError::NoAddress(Destination::Domain(name())),
            ResolveError::NullMx(name()),
            ResolveError::ServerFailure(name()),
            ResolveError::Timeout(name()),
            ResolveError::Unreachable(name()),
            ResolveError::BadAnswer(name()),
            ResolveError::Busy,
            ResolveError::Stopped,
        ];
        for error in errors {
            let reply = error.reply();
            assert_eq!(reply.is_permanent(), error.class() == FailureClass::Permanent, "{error}");
            assert!(reply.enhanced().is_some(), "{reply}");
            assert!(reply.text.contains("[internal]"), "{reply}");
        }
    }
}
