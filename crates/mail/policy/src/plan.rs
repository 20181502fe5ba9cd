//! From an `MX` set to a list of addresses in the order to try them. Pure: look-ups go through [`Resolve`], chance comes
//! from a seed.

use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use crate::{Addresses, Destination, DnsName, Exchange, FailureClass, Host, Resolve, ResolveError, RouteKind};

/// How long a plan holds that needed no look-up.
const LITERAL_LIFETIME: Duration = Duration::from_secs(86_400);
/// How long a plan holds at most of which a host is missing because its look-up failed for now.
const INCOMPLETE_LIFETIME: Duration = Duration::from_secs(60);

/// Which address families are asked for, and in which order they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Families {
    /// `A` only.
    V4Only,
    /// `AAAA` only.
    V6Only,
    /// Both, IPv4 first.
    #[default]
    V4First,
    /// Both, IPv6 first.
    V6First,
    /// Both, in random order.
    Mixed,
}

impl Families {
    /// Whether `A` is asked for.
    pub const fn has_v4(self) -> bool {
        !matches!(self, Self::V6Only)
    }

    /// Whether `AAAA` is asked for.
    pub const fn has_v6(self) -> bool {
        !matches!(self, Self::V4Only)
    }

    const fn admits(self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.has_v4(),
            IpAddr::V6(_) => self.has_v6(),
        }
    }

    /// The rank of an address: lower is tried first.
    const fn rank(self, address: IpAddr) -> u8 {
        match (self, address) {
            (Self::V4First, IpAddr::V6(_)) | (Self::V6First, IpAddr::V4(_)) => 1,
            _ => 0,
        }
    }
}

/// The bounds and the taste of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Which families, in which order. Default: [`Families::V4First`].
    pub families: Families,
    /// Hosts looked up at most; those with the best preference. Default 20.
    pub hosts_max: usize,
    /// Addresses in all at most; the first in the order of trying. Default 100.
    pub addresses_max: usize,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { families: Families::default(), hosts_max: 20, addresses_max: 100 }
    }
}

/// Whom to connect to, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// At least one; ascending by preference, equals shuffled.
    pub hosts: Vec<PlanHost>,
    /// How long the plan may be used.
    pub expires_in: Duration,
}

/// One host of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanHost {
    /// The preference of its `MX`; 0 where there is none.
    pub preference: u16,
    /// The host as it was named.
    pub name: Host,
    /// At least one, in the order to try them.
    pub addresses: Vec<IpAddr>,
}

/// The hosts of an `MX` set in the order to try them: ascending by preference, equals shuffled by `seed`
/// (RFC 5321 §5.1), a host that occurs twice only at its best preference, at most `hosts_max`.
pub fn order_exchanges(mut exchanges: Vec<Exchange>, hosts_max: usize, seed: u64) -> Vec<Exchange> {
    Shuffle(seed).shuffle(&mut exchanges);
    exchanges.sort_by_key(|exchange| exchange.preference);
    let mut seen = HashSet::new();
    exchanges.retain(|exchange| seen.insert(exchange.host.clone()));
    exchanges.truncate(hosts_max);
    exchanges
}

impl Plan {
    fn of_address(address: IpAddr) -> Self {
        let host = PlanHost { preference: 0, name: Host::Address(address), addresses: vec![address] };
        Self { hosts: vec![host], expires_in: LITERAL_LIFETIME }
    }

    /// Puts together what the look-ups of ordered hosts gave. Hosts without an address are dropped; if none is left, the
    /// first temporary failure is the answer, because a permanent one could bounce mail that has somewhere to go.
    ///
    /// # Errors
    /// As said; [`ResolveError::NoAddress`] if every failure is permanent.
    pub fn assemble(
        destination: &Destination,
        found: Vec<(Exchange, Result<Addresses, ResolveError>)>,
        expires_in: Duration,
        options: PlanOptions,
        seed: u64,
    ) -> Result<Self, ResolveError> {
        let mut plan = Self { hosts: Vec::with_capacity(found.len()), expires_in };
        let mut shuffle = Shuffle(seed);
        let mut temporary = None;
        let mut room = options.addresses_max;
        for (exchange, outcome) in found {
            match outcome {
                Ok(Addresses { mut addresses, expires_in }) => {
                    plan.expires_in = plan.expires_in.min(expires_in);
                    shuffle.shuffle(&mut addresses);
                    addresses.sort_by_key(|&address| options.families.rank(address));
                    addresses.truncate(room);
                    room -= addresses.len();
                    if !addresses.is_empty() {
                        let Exchange { preference, host } = exchange;
                        plan.hosts.push(PlanHost { preference, name: host, addresses });
                    }
                }
                // Temporary for the mail, but settled for this host: it has no address.
                Err(ResolveError::NoAddress(_)) => {}
                Err(error) if error.class() == FailureClass::Temporary => {
                    plan.expires_in = plan.expires_in.min(INCOMPLETE_LIFETIME);
                    temporary.get_or_insert(error);
                }
                Err(_) => {}
            }
        }
        if plan.hosts.is_empty() {
            return Err(temporary.unwrap_or_else(|| ResolveError::NoAddress(destination.clone())));
        }
        Ok(plan)
    }
}

/// The body of [`Resolve::plan`].
pub(crate) async fn make_plan<R: Resolve + ?Sized>(
    resolver: &R,
    destination: &Destination,
    options: PlanOptions,
    seed: u64,
) -> Result<Plan, ResolveError> {
    let (exchanges, expires_in) = match destination {
        Destination::Address(address) => return Ok(Plan::of_address(*address)),
        Destination::Host(name) => return plan_of_host(resolver, destination, name, options, seed).await,
        Destination::Domain(name) => {
            let route = resolver.mail_route(name).await?;
            match route.kind {
                RouteKind::NullMx => return Err(ResolveError::NullMx(name.clone())),
                RouteKind::Implicit => {
                    let mut plan = plan_of_host(resolver, destination, name, options, seed).await?;
                    plan.expires_in = plan.expires_in.min(route.expires_in);
                    return Ok(plan);
                }
                RouteKind::Mx(exchanges) => (order_exchanges(exchanges, options.hosts_max, seed), route.expires_in),
            }
        }
    };
    let found = join_all(exchanges.iter().map(|exchange| host_addresses(resolver, &exchange.host, options.families)));
    let found = found.await;
    Plan::assemble(destination, exchanges.into_iter().zip(found).collect(), expires_in, options, seed)
}

/// A plan of one host without `MX`. That the host does not exist is told as it is.
async fn plan_of_host<R: Resolve + ?Sized>(
    resolver: &R,
    destination: &Destination,
    name: &DnsName,
    options: PlanOptions,
    seed: u64,
) -> Result<Plan, ResolveError> {
    let found = resolver.addresses(name, options.families).await;
    if let Err(error @ ResolveError::NoDomain(_)) = found {
        return Err(error);
    }
    let exchange = Exchange { preference: 0, host: Host::Name(name.clone()) };
    Plan::assemble(destination, vec![(exchange, found)], LITERAL_LIFETIME, options, seed)
}

async fn host_addresses<R: Resolve + ?Sized>(
    resolver: &R,
    host: &Host,
    families: Families,
) -> Result<Addresses, ResolveError> {
    match host {
        Host::Name(name) => resolver.addresses(name, families).await,
        Host::Address(address) if families.admits(*address) => {
            Ok(Addresses { addresses: vec![*address], expires_in: LITERAL_LIFETIME })
        }
        Host::Address(address) => Err(ResolveError::NoAddress(Destination::Address(*address))),
    }
}

/// Awaits futures together and gives their outputs in the order of the futures. Polls each of them at every wake-up,
/// which is fine for the few hosts of a plan.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = pending.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut waiting = 0;
        for (future, output) in pending.iter_mut().zip(&mut outputs) {
            if output.is_some() {
                continue;
            }
            match future.as_mut().poll(context) {
                Poll::Ready(value) => *output = Some(value),
                Poll::Pending => waiting += 1,
            }
        }
        if waiting == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

/// Fisher and Yates' shuffle, driven by splitmix64.
struct Shuffle(u64);

impl Shuffle {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            // The high half of a product: unbiased to one part in 2^64 / len.
            let pick = (u128::from(self.next()) * (last as u128 + 1)) >> 64;
            items.swap(last, pick as usize);
        }
    }
}

#[cfg(test)]
mod tests;
