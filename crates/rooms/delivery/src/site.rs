//! What the connections of one container share: its options, the plan of its hosts, and which of them failed lately.

use crate::host::Target;
use crate::hosts::HostPermit;
use crate::marking::marks;
use crate::rollup;
use crate::room::Room;
use crate::{Neighbours, OwnIdentity};
use config::{Config, DomainOptions, EgressProxy, Ipv6Use};
use message::{Agent, Container, Reply, UnixMicros};
use policy::{Destination, FailureClass, Families, Host, Plan, PlanHost, PlanOptions, Resolve, ResolveError};
use smtp::client::{Ahead, Dialect, Grouping, Settings, Timeouts};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Hosts that one connection tries before it gives up.
const TRIES_MAX: usize = 20;
/// How long a site without connections is remembered.
const KEPT: Duration = Duration::from_secs(600);
/// A plan is asked for anew at the earliest after this, however short its records live.
const PLAN_MIN: Duration = Duration::from_secs(1);
/// How long the peer may take to say goodbye.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) container: Arc<Container>,
    pub(crate) options: Arc<DomainOptions>,
    pub(crate) settings: Arc<Settings>,
    /// The section that declares `max_connections_per_host`, if any does.
    host_limit: Option<Arc<str>>,
    /// What of the options makes one connection unlike another to the same host.
    way: u64,
    used: Cell<Instant>,
    /// The name of its site and its way there, if its hosts were found by MX.
    rolled: RefCell<Option<(Arc<str>, u64)>>,
    plan: RefCell<Option<(Rc<Plan>, Instant)>>,
    /// Until when a host that failed is passed over.
    failed: RefCell<HashMap<IpAddr, Instant>>,
    /// Failed look-ups in a row.
    lookups_failed: Cell<u32>,
    last_failure: RefCell<Option<LastFailure>>,
    /// Of its mail exchangers, once they are known.
    name: RefCell<Option<Arc<str>>>,
    terms: Cell<Terms>,
}

/// What connections of a container are held to beside its options, for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Deliveries on one connection, if that is fewer than the options say.
    pub deliveries_max: Option<u32>,
    /// How long a connection without work is kept, if that is shorter than the options say.
    pub idle_timeout: Option<Duration>,
}

/// Why a container was last given up for a while; forgotten when a host greets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// When.
    pub at: UnixMicros,
    /// What the host said, or the reply that stands for what happened.
    pub reply: Reply,
    /// The host's address, if one was reached for.
    pub peer: Option<IpAddr>,
}

/// The sites of a loop.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    sites: HashMap<Arc<Container>, Rc<Site>>,
    /// Of containers that have any.
    terms: HashMap<Arc<Container>, Terms>,
}

impl Sites {
    pub(crate) fn get(&mut self, container: &Arc<Container>, config: &Config, now: Instant) -> Rc<Site> {
        let make = || {
            let site = Site::new(container, config, now);
            site.terms.set(self.terms.get(container).copied().unwrap_or_default());
            Rc::new(site)
        };
        let site = self.sites.entry(container.clone()).or_insert_with(make);
        site.used.set(now);
        site.clone()
    }

    /// Why a container was last given up for a while.
    pub(crate) fn last_failure(&self, container: &Container) -> Option<LastFailure> {
        self.sites.get(container)?.last_failure.borrow().clone()
    }

    /// What the exchangers of a container's domain are called together; `None` if they are not known.
    pub(crate) fn name(&self, container: &Container) -> Option<Arc<str>> {
        self.sites.get(container)?.name.borrow().clone()
    }

    /// Holds connections to terms, those that exist as well.
    pub(crate) fn set_terms(&mut self, container: &Arc<Container>, terms: Terms) {
        if let Some(site) = self.sites.get(container) {
            site.terms.set(terms);
        }
        if terms == Terms::default() {
            self.terms.remove(container);
        } else {
            self.terms.insert(container.clone(), terms);
        }
    }

    /// A new generation: sites are made anew, connections that exist keep theirs.
    pub(crate) fn reconfigure(&mut self, _config: &Config) {
        self.sites.clear();
    }

    pub(crate) fn forget_unused(&mut self, now: Instant) {
        self.sites.retain(|_, site| Rc::strong_count(site) > 1 || now < site.used.get() + KEPT);
    }
}

/// Why there is nowhere to connect to.
#[derive(Debug)]
pub(crate) enum Unroutable {
    /// All mail of the container fails.
    Permanent(Reply),
    Temporary(Reply),
    /// The DNS does not answer, or makes no sense.
    Unresolved(Reply),
}

/// A host has all connections that it may have.
#[derive(Debug)]
pub(crate) struct HostFull;

impl From<ResolveError> for Unroutable {
    fn from(error: ResolveError) -> Self {
        match error.class() {
            FailureClass::Permanent => Self::Permanent(error.reply()),
            FailureClass::Temporary => Self::Unresolved(error.reply()),
        }
    }
}

impl Site {
    fn new(container: &Arc<Container>, config: &Config, now: Instant) -> Self {
        let group = container.group.as_deref();
        let options = config.domain_options(&container.options, &container.binding, group);
        let host_limit = (options.max_connections_per_host > 0)
            .then(|| {
                config.declaring_section(&container.options, &container.binding, group, "max_connections_per_host")
            })
            .flatten();
        let settings = Arc::new(settings(container, &options));
        Self {
            way: way(&options, host_limit, &settings),
            host_limit: host_limit.map(Arc::from),
            settings,
            rolled: RefCell::default(),
            container: container.clone(),
            options,
            used: Cell::new(now),
            plan: RefCell::default(),
            failed: RefCell::default(),
            lookups_failed: Cell::new(0),
            last_failure: RefCell::default(),
            name: RefCell::default(),
            terms: Cell::default(),
        }
    }

    /// Deliveries on one connection; 0 is any number.
    pub(crate) fn deliveries_max(&self) -> u32 {
        match (self.terms.get().deliveries_max, self.options.max_deliveries_per_connection) {
            (None, max) | (Some(max), 0) => max,
            (Some(shaped), max) => max.min(shaped),
        }
    }

    /// How long a connection without work is kept.
    pub(crate) fn idle_timeout(&self) -> Duration {
        let timeout = self.options.idle_timeout;
        self.terms.get().idle_timeout.map_or(timeout, |shaped| shaped.min(timeout))
    }

    /// Whom a new connection tries, in order; at least one.
    pub(crate) async fn targets<N: Neighbours>(&self, room: &Room<N>) -> Result<Vec<Target>, Unroutable> {
        if let Agent::LmtpUnix(path) = &self.container.agent {
            return Ok(vec![Target::Unix(path.clone())]);
        }
        let plan = self.plan(room).await?;
        let hosts = self.without_own(&plan, &room.own)?;
        let mut ordered = shuffled(&hosts, room.context.random());
        ordered.retain(|ip| !self.options.prohibited_hosts.contains(*ip));
        if ordered.is_empty() {
            let reply = Reply::new(550, "5.7.1 [internal] every host of this domain is prohibited");
            return Err(Unroutable::Permanent(reply));
        }
        ordered.retain(|ip| !self.options.skip_hosts.contains(*ip));
        if ordered.is_empty() {
            return Err(Unroutable::Temporary(Reply::new(
                451,
                "4.4.1 [internal] every host of this domain is skipped",
            )));
        }
        let now = room.context.now();
        Ok(self.unfailed(ordered, now).into_iter().map(|ip| Target::Inet(SocketAddr::new(ip, self.port()))).collect())
    }

    /// The permit for a connection to a host, if its number is limited.
    pub(crate) fn take_host<N: Neighbours>(
        &self,
        room: &Room<N>,
        target: &Target,
    ) -> Result<Option<HostPermit>, HostFull> {
        let (Some(section), Some(host)) = (&self.host_limit, target.ip()) else { return Ok(None) };
        room.hosts.take(section, host, self.options.max_connections_per_host).map(Some).ok_or(HostFull)
    }

    /// The name of the site, if its hosts were found by MX and are known, and its way.
    pub(crate) fn rolled(&self) -> Option<(Arc<str>, u64)> {
        self.rolled.borrow().clone()
    }

    /// Failed look-ups in a row.
    pub(crate) fn lookups_failed(&self) -> u32 {
        self.lookups_failed.get()
    }

    fn port(&self) -> u16 {
        match &self.container.agent {
            Agent::Smtp(host) | Agent::Lmtp(host) => host.port,
            // The option's range ends at 65535.
            _ => u16::try_from(self.options.port).unwrap_or(25),
        }
    }

    async fn plan<N: Neighbours>(&self, room: &Room<N>) -> Result<Rc<Plan>, Unroutable> {
        let now = room.context.now();
        if let Some((plan, until)) = &*self.plan.borrow()
            && now < *until
        {
            return Ok(plan.clone());
        }
        let domain_lookup = || Reply::new(554, "5.4.4 [internal] Domain Lookup Failed");
        let destination = match &self.container.agent {
            Agent::Smtp(host) | Agent::Lmtp(host) => Destination::host(&host.name),
            _ => Destination::domain(&self.container.name),
        };
        let destination = destination.map_err(|_| Unroutable::Permanent(domain_lookup()))?;
        let found = self.look_up(room, &destination).await;
        match found {
            Ok(plan) => {
                let plan = Rc::new(plan);
                if self.container.agent == Agent::Mx {
                    let hosts = rollup::name(plan.hosts.iter().map(|host| host.name.to_string()));
                    let way = self.way ^ hashed(&hosts);
                    let name = self.options.site.0.as_deref().unwrap_or(&hosts);
                    self.rolled.replace(Some((name.into(), way)));
                }
                self.lookups_failed.set(0);
                self.failed.borrow_mut().retain(|_, until| *until > now);
                let until = room.context.now() + plan.expires_in.clamp(PLAN_MIN, Duration::from_secs(86_400));
                if self.container.agent == Agent::Mx {
                    self.name.replace(site_name(&plan));
                }
                self.plan.replace(Some((plan.clone(), until)));
                Ok(plan)
            }
            Err(error) => {
                room.counters.lookups_failed.add(1);
                let purge = self.options.dns_failures_to_purge;
                if purge > 0 && self.lookups_failed.get() >= purge {
                    return Err(Unroutable::Permanent(domain_lookup()));
                }
                Err(error.into())
            }
        }
    }

    /// Asks the resolver; after many failures in a row for the domain's own address (`mx_failures_fallback_to_a`).
    async fn look_up<N: Neighbours>(&self, room: &Room<N>, destination: &Destination) -> Result<Plan, ResolveError> {
        let options = PlanOptions { families: families(&self.options), ..PlanOptions::default() };
        room.counters.lookups.add(1);
        let found = room.resolver.plan(destination, options, room.context.random()).await;
        let Err(error) = found else { return found };
        if error.class() == FailureClass::Permanent {
            return Err(error);
        }
        let failures = self.lookups_failed.get().saturating_add(1);
        self.lookups_failed.set(failures);
        let fallback = self.options.mx_failures_fallback_to_a;
        match destination {
            Destination::Domain(name) if fallback > 0 && failures >= fallback => {
                room.counters.lookups.add(1);
                let own = Destination::Host(name.clone());
                // That the host does not exist says nothing of the MX records, which could not be had.
                room.resolver.plan(&own, options, room.context.random()).await.map_err(|_| error)
            }
            _ => Err(error),
        }
    }

    /// The hosts before ourselves: whoever has mail for a domain and is one of its exchangers must not pass it to equal
    /// or worse ones (RFC 5321 §5.1).
    fn without_own<'a>(&self, plan: &'a Plan, own: &OwnIdentity) -> Result<Vec<&'a PlanHost>, Unroutable> {
        let port = self.port();
        let by_mx = self.container.agent == Agent::Mx;
        let is_own = |host: &&PlanHost| {
            let named = by_mx && matches!(&host.name, Host::Name(name) if name.as_str() == own.host());
            named
                || host
                    .addresses
                    .iter()
                    .any(|&ip| own.is_own_address(SocketAddr::new(ip, port)) || by_mx && is_here(ip, port))
        };
        let limit = plan.hosts.iter().filter(is_own).map(|host| host.preference).min();
        let hosts: Vec<&PlanHost> =
            plan.hosts.iter().filter(|host| limit.is_none_or(|limit| host.preference < limit)).collect();
        if hosts.is_empty() {
            return Err(Unroutable::Permanent(Reply::new(554, "5.4.6 [internal] mail loops back to myself")));
        }
        Ok(hosts)
    }

    /// Without those that failed lately; if all did, the one whose time is up first.
    fn unfailed(&self, addresses: Vec<IpAddr>, now: Instant) -> Vec<IpAddr> {
        let failed = self.failed.borrow();
        let until = |ip: &IpAddr| failed.get(ip).copied().filter(|&until| until > now);
        let mut good: Vec<IpAddr> = addresses.iter().copied().filter(|ip| until(ip).is_none()).collect();
        good.truncate(TRIES_MAX);
        if good.is_empty() {
            good.extend(addresses.into_iter().min_by_key(|ip| until(ip)));
        }
        good
    }

    /// Passes the host over for a while.
    pub(crate) fn on_failed(&self, target: &Target, now: Instant) {
        if let Some(ip) = target.ip() {
            self.failed.borrow_mut().insert(ip, now + self.options.host_failure_retry);
        }
    }

    /// The container is given up for a while.
    pub(crate) fn on_given_up(&self, at: UnixMicros, reply: &Reply, peer: Option<IpAddr>) {
        self.last_failure.replace(Some(LastFailure { at, reply: reply.clone(), peer }));
    }

    /// The host greeted.
    pub(crate) fn on_greeted(&self, target: &Target) {
        self.last_failure.replace(None);
        if let Some(ip) = target.ip() {
            self.failed.borrow_mut().remove(&ip);
        }
    }
}

/// What the exchangers of a domain are called together: the first by the alphabet of those with the best preference, so
/// that domains with the same exchangers have the same.
fn site_name(plan: &Plan) -> Option<Arc<str>> {
    let best = plan.hosts.iter().map(|host| host.preference).min()?;
    let names = plan.hosts.iter().filter(|host| host.preference == best).filter_map(|host| match &host.name {
        Host::Name(name) => Some(name.as_str()),
        _ => None,
    });
    names.min().map(Arc::from)
}

/// Which addresses of hosts are of use: source addresses of one family only reach hosts of that family, because a
/// connection from any other address would not be from the configured identity. Those of a SOCKS server's client only
/// reach the server.
fn families(options: &DomainOptions) -> Families {
    let free = options.source.is_empty()
        || options.source.iter().any(IpAddr::is_unspecified)
        || matches!(options.egress_proxy, EgressProxy::Socks5 { .. });
    let has_v4 = free || options.source.iter().any(IpAddr::is_ipv4);
    let has_v6 = free || options.source.iter().any(IpAddr::is_ipv6);
    match options.ipv6 {
        Ipv6Use::Never => Families::V4Only,
        Ipv6Use::Allow | Ipv6Use::Prefer if !has_v6 => Families::V4Only,
        Ipv6Use::Allow | Ipv6Use::Prefer if !has_v4 => Families::V6Only,
        Ipv6Use::Allow => Families::V4First,
        Ipv6Use::Prefer => Families::V6First,
    }
}

/// Bindings share the rest: a site is never that of two.
fn way(options: &DomainOptions, host_limit: Option<&str>, settings: &Settings) -> u64 {
    let DomainOptions { port, ipv6, prohibited_hosts, skip_hosts, max_connections_per_host: per_host, .. } = options;
    // Marks decide how many recipients a lease has.
    let marks = marks(options);
    let text =
        format!("{port} {ipv6:?} {prohibited_hosts:?} {skip_hosts:?} {per_host} {host_limit:?} {settings:?} {marks}");
    hashed(&text)
}

fn hashed(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Whether an exchanger's address means the sending host itself, whoever listens there.
fn is_here(ip: IpAddr, port: u16) -> bool {
    ip.is_unspecified() || ip.to_canonical().is_loopback() && port == 25
}

/// The addresses of hosts, ascending by preference; equals, and the addresses of a host within a family, in random order,
/// so that connections spread.
fn shuffled(hosts: &[&PlanHost], seed: u64) -> Vec<IpAddr> {
    let mut keyed = Vec::new();
    for (host_number, host) in (0_u64..).zip(hosts) {
        let first = host.addresses.first().map(IpAddr::is_ipv4);
        for (number, &ip) in (0_u64..).zip(&host.addresses) {
            let second_family = first != Some(ip.is_ipv4());
            // Drawn from different streams, or the order of hosts would settle that of their addresses.
            let (host_chance, chance) = (mixed(seed ^ host_number), mixed(!seed ^ host_number << 32 ^ number));
            keyed.push((host.preference, host_chance, second_family, chance, ip));
        }
    }
    keyed.sort_unstable();
    keyed.into_iter().map(|(.., ip)| ip).collect()
}

/// splitmix64's finisher.
const fn mixed(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn settings(container: &Container, options: &DomainOptions) -> Settings {
    Settings {
        dialect: match container.agent {
            Agent::Lmtp(_) | Agent::LmtpUnix(_) => Dialect::Lmtp,
            _ => Dialect::Smtp,
        },
        name: (&*options.ehlo).into(),
        grouping: if options.pipelining { Grouping::Offered } else { Grouping::Never },
        ahead: Ahead::WithContent,
        timeouts: Timeouts {
            greeting: options.greeting_timeout,
            ehlo: options.ehlo_timeout,
            mail: options.mailfrom_timeout,
            rcpt: options.rcptto_timeout,
            data: options.data_timeout,
            body: options.body_timeout,
            rset: options.rset_timeout,
            quit: options.rset_timeout.min(QUIT_TIMEOUT),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::DnsName;

    fn host(preference: u16, name: &str, addresses: &[&str]) -> PlanHost {
        let name = Host::Name(DnsName::parse(name).unwrap());
        PlanHost { preference, name, addresses: addresses.iter().map(|text| text.parse().unwrap()).collect() }
    }

    fn site(toml: &str) -> Site {
        let config = Config::parse("test", toml).unwrap();
        let container = Container {
            name: "b.example".into(),
            binding: config::DEFAULT_BINDING.into(),
            group: None,
            options: "b.example".into(),
            agent: Agent::Mx,
        };
        Site::new(&Arc::new(container), &config, Instant::now())
    }

    #[test]
    fn equals_take_turns_and_preferences_do_not() {
        let hosts = [
            host(10, "a.example", &["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
            host(10, "b.example", &["192.0.2.3"]),
            host(20, "c.example", &["192.0.2.4"]),
        ];
        let hosts: Vec<&PlanHost> = hosts.iter().collect();
        let mut firsts = HashMap::new();
        for seed in 0..300 {
            let order = shuffled(&hosts, mixed(seed));
            assert_eq!((order.len(), order[4].to_string()), (5, "192.0.2.4".to_owned()));
            let six = order.iter().position(IpAddr::is_ipv6).unwrap();
            assert!(order[..six].contains(&"192.0.2.1".parse().unwrap()), "the preferred family goes first");
            *firsts.entry(order[0]).or_insert(0) += 1;
        }
        assert_eq!(firsts.len(), 3);
        assert!(firsts[&"192.0.2.3".parse::<IpAddr>().unwrap()] > 100);
    }

    #[test]
    fn nothing_goes_to_ourselves_or_behind() {
        let own = OwnIdentity::new("us.example", vec!["192.0.2.9:25".parse().unwrap()]);
        let site = site("");
        let plan = |hosts: Vec<PlanHost>| Plan { hosts, expires_in: Duration::from_secs(60) };
        let better = || host(5, "better.example", &["192.0.2.1"]);
        for ourselves in [
            host(10, "us.example", &["198.51.100.1"]),
            host(10, "alias.example", &["192.0.2.9"]),
            host(10, "local.example", &["127.0.0.1"]),
            host(10, "zero.example", &["0.0.0.0"]),
        ] {
            let worse = host(10, "equal.example", &["192.0.2.2"]);
            let three = plan(vec![better(), ourselves.clone(), worse.clone()]);
            let hosts = site.without_own(&three, &own).unwrap();
            assert_eq!(hosts, [&better()]);
            let two = plan(vec![worse, ourselves]);
            let Err(Unroutable::Permanent(reply)) = site.without_own(&two, &own) else { panic!() };
            assert_eq!(reply.enhanced().unwrap().to_string(), "5.4.6");
        }
    }

    #[test]
    fn failed_hosts_are_passed_over_while_others_are_left() {
        let site = site("[domain.\"*\"]\nhost_failure_retry = \"10s\"\n");
        let ips: Vec<IpAddr> = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap()).into();
        let target = |n: usize| Target::Inet(SocketAddr::new(ips[n], 25));
        let now = Instant::now();
        site.on_failed(&target(0), now);
        assert_eq!(site.unfailed(ips.clone(), now), [ips[1]]);
        site.on_failed(&target(1), now + Duration::from_secs(1));
        assert_eq!(site.unfailed(ips.clone(), now + Duration::from_secs(2)), [ips[0]]);
        assert_eq!(site.unfailed(ips.clone(), now + Duration::from_secs(11)), ips);
        site.on_failed(&target(0), now + Duration::from_secs(20));
        site.on_greeted(&target(0));
        assert_eq!(site.unfailed(ips.clone(), now + Duration::from_secs(21)), ips);
    }
}
