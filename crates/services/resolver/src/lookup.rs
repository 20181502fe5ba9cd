//! `policy::Resolve` for the resolver: what mail asks, in terms of questions.

use std::net::IpAddr;
use std::time::Duration;

use policy::{
    Addresses, Destination, DnsName, FailureClass, Families, MailRoute, Pointers, Resolve, ResolveError, RouteKind,
    Texts,
};

use crate::resolver::Settled;
use crate::{Question, RecordKind, Records, Resolver};

/// How long addresses are used at most of which one family is missing because its look-up failed for now.
const PARTIAL_LIFETIME: Duration = Duration::from_secs(60);

impl Resolve for Resolver {
    async fn mail_route(&self, domain: &DnsName) -> Result<MailRoute, ResolveError> {
        // A failure here is never taken for "no MX" (RFC 5321 §5.1): the mail would go to the wrong host.
        let settled = self.settle(Question::new(domain, RecordKind::Mx), domain).await?;
        let kind = match settled.records {
            Some(Records::Mx(route)) => (*route).clone(),
            _ => RouteKind::Implicit,
        };
        match kind {
            RouteKind::Mx(exchanges) if exchanges.is_empty() => {
                Err(ResolveError::NoAddress(Destination::Domain(domain.clone())))
            }
            kind => Ok(MailRoute { kind, expires_in: settled.expires_in }),
        }
    }

    async fn addresses(&self, host: &DnsName, families: Families) -> Result<Addresses, ResolveError> {
        let of = |kind| self.settle(Question::new(host, kind), host);
        let found = match families {
            Families::V4Only => (Some(of(RecordKind::A).await), None),
            Families::V6Only => (None, Some(of(RecordKind::Aaaa).await)),
            Families::V4First | Families::V6First | Families::Mixed => {
                let (v4, v6) = tokio::join!(of(RecordKind::A), of(RecordKind::Aaaa));
                (Some(v4), Some(v6))
            }
        };
        let ordered = match families {
            Families::V6First => [found.1, found.0],
            _ => [found.0, found.1],
        };
        merge_families(host, ordered.into_iter().flatten())
    }

    async fn texts(&self, name: &DnsName) -> Result<Texts, ResolveError> {
        let settled = self.settle(Question::new(name, RecordKind::Txt), name).await?;
        match settled.records {
            Some(Records::Txt(list)) if !list.is_empty() => {
                Ok(Texts { texts: list.to_vec(), expires_in: settled.expires_in })
            }
            _ => Err(ResolveError::NoRecords(name.clone())),
        }
    }

    async fn pointers(&self, address: IpAddr) -> Result<Pointers, ResolveError> {
        let question = Question::reverse(address);
        let name = DnsName::parse(&question.name.to_ascii()).expect("a reverse name is hexadecimal digits and arpa");
        let settled = self.settle(question, &name).await?;
        match settled.records {
            Some(Records::Ptr(list)) if !list.is_empty() => {
                Ok(Pointers { names: list.to_vec(), expires_in: settled.expires_in })
            }
            _ => Err(ResolveError::NoRecords(name)),
        }
    }
}

/// One list from the families' answers. One family is enough: the other's temporary failure does not delay mail that has
/// an address, and counts only if there is none.
fn merge_families(
    host: &DnsName,
    families: impl Iterator<Item = Result<Settled, ResolveError>>,
) -> Result<Addresses, ResolveError> {
    let mut merged = Addresses { addresses: Vec::new(), expires_in: Duration::MAX };
    let mut temporary = None;
    let mut permanent = ResolveError::NoRecords(host.clone());
    for family in families {
        match family {
            Ok(settled) => {
                merged.expires_in = merged.expires_in.min(settled.expires_in);
                match settled.records {
                    Some(Records::A(list)) => merged.addresses.extend(list.iter().copied().map(IpAddr::V4)),
                    Some(Records::Aaaa(list)) => merged.addresses.extend(list.iter().copied().map(IpAddr::V6)),
                    _ => {}
                }
            }
            Err(error) if error.class() == FailureClass::Temporary => temporary = Some(error),
            Err(error) => permanent = error,
        }
    }
    match temporary {
        _ if merged.addresses.is_empty() => Err(temporary.unwrap_or(permanent)),
        Some(_) => Ok(Addresses { expires_in: merged.expires_in.min(PARTIAL_LIFETIME), ..merged }),
        None => Ok(merged),
    }
}
