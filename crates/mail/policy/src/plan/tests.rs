//! Plans from a table of answers: order, bounds, and which failure wins.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::task::{Context, Waker};

use super::*;
use crate::{MailRoute, Pointers, Texts};

/// A resolver that is a table. Not `Send`, to prove that none need be.
#[derive(Default)]
struct Table {
    routes: HashMap<String, RouteKind>,
    addresses: HashMap<String, Result<Addresses, ResolveError>>,
    asked: RefCell<Vec<String>>,
}

impl Resolve for Table {
    async fn mail_route(&self, domain: &DnsName) -> Result<MailRoute, ResolveError> {
        self.asked.borrow_mut().push(format!("MX {domain}"));
        match self.routes.get(domain.as_str()) {
            Some(kind) => Ok(MailRoute { kind: kind.clone(), expires_in: Duration::from_secs(500) }),
            None => Err(ResolveError::NoDomain(domain.clone())),
        }
    }

    async fn addresses(&self, host: &DnsName, _families: Families) -> Result<Addresses, ResolveError> {
        self.asked.borrow_mut().push(format!("A {host}"));
        self.addresses.get(host.as_str()).cloned().unwrap_or_else(|| Err(ResolveError::NoDomain(host.clone())))
    }

    async fn texts(&self, name: &DnsName) -> Result<Texts, ResolveError> {
        Err(ResolveError::NoRecords(name.clone()))
    }

    async fn pointers(&self, _address: IpAddr) -> Result<Pointers, ResolveError> {
        Err(ResolveError::Stopped)
    }
}

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a table answers at once"),
    }
}

fn name(text: &str) -> DnsName {
    DnsName::parse(text).unwrap()
}

fn domain(text: &str) -> Destination {
    Destination::domain(text).unwrap()
}

fn mx(preference: u16, host: &str) -> Exchange {
    let name = name(host);
    let host = name.as_address().map_or(Host::Name(name), Host::Address);
    Exchange { preference, host }
}

fn at(seconds: u64, addresses: &[&str]) -> Result<Addresses, ResolveError> {
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    Ok(Addresses { addresses, expires_in: Duration::from_secs(seconds) })
}

fn table(route: RouteKind, hosts: Vec<(&str, Result<Addresses, ResolveError>)>) -> Table {
    Table {
        routes: HashMap::from([("x.example".to_owned(), route)]),
        addresses: hosts.into_iter().map(|(host, found)| (host.to_owned(), found)).collect(),
        asked: RefCell::default(),
    }
}

fn plan_of(table: &Table, options: PlanOptions, seed: u64) -> Result<Plan, ResolveError> {
    now(table.plan(&domain("x.example"), options, seed))
}

#[test]
fn hosts_come_by_preference_and_those_without_address_are_dropped() {
    let route = RouteKind::Mx(vec![mx(30, "c.example"), mx(10, "a.example"), mx(20, "gone.example")]);
    let table = table(route, vec![("a.example", at(300, &["192.0.2.1"])), ("c.example", at(40, &["192.0.2.3"]))]);
    let plan = plan_of(&table, PlanOptions::default(), 1).unwrap();
    let names: Vec<String> = plan.hosts.iter().map(|host| format!("{} {}", host.preference, host.name)).collect();
    assert_eq!(names, ["10 a.example", "30 c.example"]);
    assert_eq!(plan.expires_in, Duration::from_secs(40), "the shortest lifetime holds");
}

#[test]
fn equal_preferences_are_shuffled_by_the_seed_alone() {
    let hosts = ["a.example", "b.example", "c.example", "d.example"];
    let route = RouteKind::Mx(hosts.iter().map(|host| mx(10, host)).chain([mx(5, "first.example")]).collect());
    let mut found: Vec<_> = hosts.iter().map(|host| (*host, at(300, &["192.0.2.1"]))).collect();
    found.push(("first.example", at(300, &["192.0.2.9"])));
    let table = table(route, found);
    let mut seconds = HashMap::new();
    for seed in 0..400 {
        let plan = plan_of(&table, PlanOptions::default(), seed).unwrap();
        assert_eq!(plan, plan_of(&table, PlanOptions::default(), seed).unwrap());
        assert_eq!(plan.hosts[0].name.to_string(), "first.example");
        *seconds.entry(plan.hosts[1].name.to_string()).or_insert(0) += 1;
    }
    assert_eq!(seconds.len(), 4);
    assert!(seconds.values().all(|&count| (60..=140).contains(&count)), "each about 100 times: {seconds:?}");
}

#[test]
fn families_order_the_addresses() {
    let both = ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"];
    let table = table(RouteKind::Implicit, vec![("x.example", at(300, &both))]);
    let first_two = |families, seed| -> (bool, bool) {
        let plan = plan_of(&table, PlanOptions { families, ..PlanOptions::default() }, seed).unwrap();
        (plan.hosts[0].addresses[0].is_ipv4(), plan.hosts[0].addresses[1].is_ipv4())
    };
    for seed in 0..50 {
        assert_eq!(first_two(Families::V4First, seed), (true, true));
        assert_eq!(first_two(Families::V6First, seed), (false, false));
    }
    let mixed: HashSet<bool> = (0..50).map(|seed| first_two(Families::Mixed, seed).0).collect();
    assert_eq!(mixed.len(), 2);
}

#[test]
fn hosts_and_addresses_are_capped_and_extra_hosts_are_not_asked_for() {
    let route = RouteKind::Mx((0..200).map(|n| mx(n, &format!("h{n}.example"))).collect());
    let many: Vec<String> = (0..60).map(|n| format!("192.0.2.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let names: Vec<String> = (0..200).map(|n| format!("h{n}.example")).collect();
    let table = table(route, names.iter().map(|name| (name.as_str(), at(300, &many))).collect());
    let plan = plan_of(&table, PlanOptions::default(), 7).unwrap();
    assert_eq!(plan.hosts.iter().map(|host| host.addresses.len()).collect::<Vec<_>>(), [60, 40]);
    assert_eq!(table.asked.borrow().len(), 1 + 20);
}

#[test]
fn a_host_named_twice_counts_once_at_its_best() {
    let exchanges = vec![mx(20, "a.example"), mx(10, "a.example"), mx(15, "b.example")];
    assert_eq!(order_exchanges(exchanges, 20, 3), [mx(10, "a.example"), mx(15, "b.example")]);
}

#[test]
fn an_mx_may_spell_an_address() {
    let table = table(RouteKind::Mx(vec![mx(10, "192.0.2.7")]), vec![]);
    let plan = plan_of(&table, PlanOptions::default(), 1).unwrap();
    assert_eq!(plan.hosts[0].addresses, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(*table.asked.borrow(), ["MX x.example"]);
    let v6_only = PlanOptions { families: Families::V6Only, ..PlanOptions::default() };
    assert_eq!(plan_of(&table, v6_only, 1), Err(ResolveError::NoAddress(domain("x.example"))));
}

#[test]
fn a_literal_asks_nothing() {
    let table = Table::default();
    let plan = now(table.plan(&domain("[IPv6:2001:db8::1]"), PlanOptions::default(), 1)).unwrap();
    assert_eq!(plan.hosts[0].addresses, ["2001:db8::1".parse::<IpAddr>().unwrap()]);
    assert!(table.asked.borrow().is_empty());
}

#[test]
fn a_smart_host_is_not_asked_for_its_mx() {
    let table = table(RouteKind::NullMx, vec![("x.example", at(300, &["192.0.2.1"]))]);
    let plan = now(table.plan(&Destination::host("x.example").unwrap(), PlanOptions::default(), 1)).unwrap();
    assert_eq!(plan.hosts.len(), 1);
    assert_eq!(*table.asked.borrow(), ["A x.example"]);
}

#[test]
fn failures_say_what_they_mean() {
    let route = || RouteKind::Mx(vec![mx(10, "gone.example"), mx(20, "sick.example")]);
    let sick = || Err(ResolveError::ServerFailure(name("sick.example")));
    let options = PlanOptions::default();

    let null = table(RouteKind::NullMx, vec![]);
    assert_eq!(plan_of(&null, options, 1), Err(ResolveError::NullMx(name("x.example"))));
    let missing = Table::default();
    assert_eq!(plan_of(&missing, options, 1), Err(ResolveError::NoDomain(name("x.example"))));
    let dangling = table(route(), vec![]);
    assert_eq!(plan_of(&dangling, options, 1), Err(ResolveError::NoAddress(domain("x.example"))));
    let half = table(route(), vec![("sick.example", sick())]);
    assert_eq!(plan_of(&half, options, 1), Err(ResolveError::ServerFailure(name("sick.example"))));
    let bare = table(RouteKind::Implicit, vec![("x.example", Err(ResolveError::NoRecords(name("x.example"))))]);
    assert_eq!(plan_of(&bare, options, 1), Err(ResolveError::NoAddress(domain("x.example"))));

    let usable = table(route(), vec![("gone.example", at(900, &["192.0.2.1"])), ("sick.example", sick())]);
    assert_eq!(plan_of(&usable, options, 1).unwrap().expires_in, INCOMPLETE_LIFETIME, "asked again soon");
}
