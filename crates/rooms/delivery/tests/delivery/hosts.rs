//! Which host a connection goes to, and what becomes of the mail if there is none.

use crate::bench::{Bench, Table, message, on_a_bench};
use crate::peer::{Peer, at, usual};
use message::Agent;
use policy::{DnsName, Exchange, Host, ResolveError, RouteKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

fn name(text: &str) -> DnsName {
    DnsName::parse(text).expect("a name")
}

fn local(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

impl Table {
    /// `b.example` has these exchangers: preference, and last octet of a loopback address.
    fn exchangers(&self, hosts: &[(u16, u8)]) {
        let exchange = |&(preference, last): &(u16, u8)| {
            let host = format!("mx{last}.b.example");
            self.hosts.borrow_mut().insert(host.clone(), vec![local(last)]);
            Exchange { preference, host: Host::Name(name(&host)) }
        };
        let kind = RouteKind::Mx(hosts.iter().map(exchange).collect());
        self.routes.borrow_mut().insert("b.example".to_owned(), Ok(kind));
    }
}

fn put(bench: &Bench, count: usize) {
    for _ in 0..count {
        let container = Bench::container(Agent::Mx);
        bench.put(&container, message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
    }
    bench.delivery.work_came();
}

#[test]
fn hosts_that_fail_are_passed_over_for_worse_ones() {
    // 1 refuses connections, 2 does not want us, 3 takes mail.
    let peer = Peer::start_at(local(13), 0, &[], usual);
    let port = peer.address.port();
    let refuses = Peer::start_at(local(12), port, &[], at("connect", "554 go away\r\n"));
    let options = format!("port = {port}\nmax_deliveries_per_connection = 1");
    on_a_bench(&options, move |bench| async move {
        bench.table.exchangers(&[(10, 11), (20, 12), (30, 13)]);
        put(&bench, 3);
        bench.until_rows("D", 3).await;
        assert_eq!((bench.count("T"), peer.seen().messages.len()), (0, 3));
        assert_eq!(refuses.seen().connections, 1, "it is remembered that it failed");
    });
}

#[test]
fn one_lease_bears_the_failure_when_no_host_answers() {
    let silent = TcpListener::bind((local(14), 0)).expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let cases = [
        (&[(10, 15)][..], "T 0 0 0 421 4.4.0 [internal] no MXs for this domain could be reached at this time"),
        (&[(10, 15), (10, 14)], "T 0 12 0 451 4.4.2 [internal] no greeting response"),
    ];
    for (hosts, row) in cases {
        let hosts: Vec<(u16, u8)> = hosts.to_vec();
        on_a_bench(&format!("port = {port}\ngreeting_timeout = \"50ms\""), move |bench| async move {
            bench.table.exchangers(&hosts);
            put(&bench, 3);
            bench.until_rows("closed Unreachable", 1).await;
            assert_eq!((bench.count(row), bench.count("T")), (1, 1), "{:#?}", bench.rows.borrow());
            assert_eq!(bench.work.borrow().waiting(), 2);
            assert_eq!(bench.names.read(&bench.gauges).unreachable, 1);
        });
    }
}

#[test]
fn a_domain_that_takes_no_mail_fails_all_of_it() {
    let domain = || name("b.example");
    let cases = [
        (Ok(RouteKind::NullMx), "P 0 0 0 550 5.4.4 [internal] NULL MX domain does not accept mail"),
        (Err(ResolveError::NoDomain(domain())), "P 0 0 0 554 5.4.4 [internal] Domain Lookup Failed"),
    ];
    for (route, row) in cases {
        on_a_bench("", move |bench| async move {
            bench.table.routes.borrow_mut().insert("b.example".to_owned(), route);
            put(&bench, 50);
            bench.until_rows(row, 50).await;
            bench.until(|bench| bench.inject.reports.borrow().len() == 50).await;
        });
    }
}

#[test]
fn mail_waits_while_names_cannot_be_looked_up() {
    on_a_bench("", |bench| async move {
        let failure = Err(ResolveError::Timeout(name("b.example")));
        bench.table.routes.borrow_mut().insert("b.example".to_owned(), failure);
        put(&bench, 5);
        bench.until_rows("closed Unresolved", 1).await;
        assert_eq!(bench.count("T 0 0 0 451 4.4.3 [internal] DNS query timed out"), 1);
        assert_eq!(bench.work.borrow().waiting(), 4);
    });
}

#[test]
fn the_domain_itself_is_tried_after_failed_look_ups() {
    let peer = Peer::start_at(local(16), 0, &[], usual);
    let options = format!("port = {}\nmx_failures_fallback_to_a = 1", peer.address.port());
    on_a_bench(&options, move |bench| async move {
        let failure = Err(ResolveError::ServerFailure(name("b.example")));
        bench.table.routes.borrow_mut().insert("b.example".to_owned(), failure);
        bench.table.hosts.borrow_mut().insert("b.example".to_owned(), vec![local(16)]);
        put(&bench, 1);
        bench.until_rows("D", 1).await;
    });
}

#[test]
fn mail_for_ourselves_does_not_go_round() {
    on_a_bench("", |bench| async move {
        let ours = Exchange { preference: 10, host: Host::Name(name("us.example")) };
        bench.table.hosts.borrow_mut().insert("us.example".to_owned(), vec!["192.0.2.1".parse().expect("an address")]);
        bench.table.routes.borrow_mut().insert("b.example".to_owned(), Ok(RouteKind::Mx(vec![ours])));
        put(&bench, 1);
        bench.until_rows("P 0 0 0 554 5.4.6 [internal] mail loops back to myself", 1).await;
    });
}

#[test]
fn a_tarpit_holds_no_mail_and_little_memory() {
    const CONNECTIONS: usize = 2_000;
    let listener = TcpListener::bind((local(17), 0)).expect("a port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            held.push(stream);
        }
    });
    on_a_bench("", move |bench| async move {
        bench.work.borrow_mut().connections_max = CONNECTIONS;
        let container = Bench::smtp(address);
        for _ in 0..CONNECTIONS {
            bench.put(&container, message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
        }
        let before = resident_bytes();
        bench.delivery.work_came();
        let open = |bench: &Bench| bench.names.read(&bench.gauges).connections as usize;
        bench.until(|bench| open(bench) == CONNECTIONS).await;
        assert_eq!(bench.work.borrow().waiting(), CONNECTIONS, "nothing is leased before the greeting");
        let each = resident_bytes().saturating_sub(before) / CONNECTIONS;
        println!("{each} octets a connection");
        assert!(each <= 10 << 10, "{each} octets a connection");
        bench.delivery.drain(Duration::from_secs(5)).await;
        assert_eq!((open(&bench), bench.work.borrow().open()), (0, 0));
    });
}

/// Of this process; other tests run in it too, which only adds.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("a Linux");
    let pages: usize = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096
}
