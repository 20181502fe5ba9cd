//! The resolver against a real DNS server: every record type, and how few packets it takes.

mod askers;
mod dns_server;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use policy::{Destination, Families, PlanOptions, Resolve, ResolveError, RouteKind};
use resolver::{RecordKind, ResolverOptions};

use askers::{ask_from_loops, drive, name, on_loop, resolver, runtime};
use dns_server::{DnsServer, Received, Zone};

const MAIL: Zone<'static> = Zone {
    name: "mail.test",
    records: "\
@ MX 20 backup
@ MX 10 Main
@ MX 10 main2
@ MX 30 gone
@ A 192.0.2.10
@ TXT \"v=spf1 \" \"-all\"
@ TXT \"second\"
main A 192.0.2.1
main A 192.0.2.2
main AAAA 2001:db8::1
main2 CNAME main
backup 600 AAAA 2001:db8::2
null MX 0 .
implicit A 192.0.2.11
ip MX 5 192.0.2.77.
bare TXT \"no address here\"
brief 1 A 192.0.2.12
alias CNAME implicit
loop CNAME loop2
loop2 CNAME loop
dangling MX 10 gone
",
};

const REVERSE: Zone<'static> =
    Zone { name: "2.0.192.in-addr.arpa", records: "1 PTR main.mail.test.\n1 PTR main.mail.test.\n" };

fn start() -> DnsServer {
    DnsServer::start(&[MAIL, REVERSE])
}

fn options(servers: &[SocketAddr]) -> ResolverOptions {
    ResolverOptions { servers: servers.to_vec(), deadline: Duration::from_secs(60), ..ResolverOptions::default() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn every_record_type_is_read() {
    let server = start();
    let resolver = resolver(options(&[server.address()]));
    on_loop(async {
        let route = resolver.mail_route(&name("Mail.Test")).await.unwrap();
        let RouteKind::Mx(exchanges) = &route.kind else { panic!("{route:?}") };
        let mut shown: Vec<String> = exchanges.iter().map(|e| format!("{} {}", e.preference, e.host)).collect();
        shown.sort();
        assert_eq!(shown, ["10 main.mail.test", "10 main2.mail.test", "20 backup.mail.test", "30 gone.mail.test"]);
        assert!(route.expires_in <= Duration::from_secs(300) && route.expires_in > Duration::from_secs(200));

        let main = resolver.addresses(&name("main.mail.test"), Families::V6First).await.unwrap();
        assert_eq!((main.addresses.len(), main.addresses[0]), (3, ip("2001:db8::1")));
        let aliased = resolver.addresses(&name("alias.mail.test"), Families::V4First).await.unwrap();
        assert_eq!(aliased.addresses, [ip("192.0.2.11")]);

        let mut texts = resolver.texts(&name("mail.test")).await.unwrap().texts;
        texts.sort();
        assert_eq!(texts, [b"second".as_slice().into(), b"v=spf1 -all".as_slice().into()] as [Box<[u8]>; 2]);
        let pointers = resolver.pointers(ip("192.0.2.1")).await.unwrap();
        assert_eq!(pointers.names, [name("main.mail.test")]);

        assert_eq!(resolver.mail_route(&name("null.mail.test")).await.unwrap().kind, RouteKind::NullMx);
        assert_eq!(resolver.mail_route(&name("implicit.mail.test")).await.unwrap().kind, RouteKind::Implicit);
    });
}

#[test]
fn failures_are_told_apart() {
    let server = start();
    let resolver = resolver(options(&[server.address()]));
    on_loop(async {
        let gone = name("gone.mail.test");
        assert_eq!(resolver.mail_route(&gone).await, Err(ResolveError::NoDomain(gone.clone())));
        assert_eq!(
            resolver.pointers(ip("192.0.2.9")).await,
            Err(ResolveError::NoDomain(name("9.2.0.192.in-addr.arpa")))
        );
        let bare = name("bare.mail.test");
        assert_eq!(resolver.addresses(&bare, Families::V4First).await, Err(ResolveError::NoRecords(bare)));
        assert_eq!(resolver.texts(&name("main.mail.test")).await, Err(ResolveError::NoRecords(name("main.mail.test"))));
        // Not this server's zone: REFUSED.
        let foreign = name("elsewhere.test");
        assert_eq!(resolver.mail_route(&foreign).await, Err(ResolveError::ServerFailure(foreign.clone())));
        let looped = name("loop.mail.test");
        let error = resolver.addresses(&looped, Families::V4Only).await.unwrap_err();
        assert!(matches!(error, ResolveError::BadAnswer(_) | ResolveError::ServerFailure(_)), "{error}");

        let plan = async |text: &str| {
            resolver.plan(&Destination::domain(text).unwrap(), PlanOptions::default(), 1).await.unwrap_err()
        };
        assert_eq!(
            plan("null.mail.test").await.reply().to_string(),
            "550 5.4.4 [internal] NULL MX domain does not accept mail"
        );
        assert_eq!(plan("gone.mail.test").await.reply().code, 554);
        assert_eq!(plan("bare.mail.test").await.reply().code, 454);
        assert_eq!(plan("dangling.mail.test").await.reply().code, 454);
        assert_eq!(plan("elsewhere.test").await.reply().code, 451);
    });
    assert!(resolver.stats().server_failures > 0);
}

#[test]
fn a_plan_costs_one_question_a_record_set_and_the_next_none() {
    let server = start();
    let resolver = resolver(options(&[server.address()]));
    let destination = Destination::domain("mail.test").unwrap();
    let plan = on_loop(resolver.plan(&destination, PlanOptions::default(), 3)).unwrap();
    let shown: Vec<String> = plan.hosts.iter().map(|host| format!("{} {}", host.preference, host.name)).collect();
    assert_eq!((shown.len(), shown[2].as_str()), (3, "20 backup.mail.test"), "gone has no address: {shown:?}");
    assert_eq!(plan.hosts[2].addresses, [ip("2001:db8::2")]);
    assert!(plan.hosts[0].addresses[0].is_ipv4() && plan.hosts[0].addresses[2].is_ipv6());
    // MX of the domain; A and AAAA of main, main2, backup, gone.
    assert_eq!(server.received(), Received { udp: 9, tcp: 0 });
    for seed in 0..50 {
        on_loop(resolver.plan(&destination, PlanOptions::default(), seed)).unwrap();
    }
    assert_eq!(server.received(), Received { udp: 9, tcp: 0 });
    let stats = resolver.stats();
    assert_eq!((stats.queries(), stats.of(RecordKind::Mx).queries, stats.cache_hits), (9, 1, 50 * 9));
    assert_eq!(stats.udp_sent, 9);
    assert!(stats.response_peak >= stats.response_average && stats.response_average > Duration::ZERO);
}

#[test]
fn what_needs_no_question_asks_none() {
    let server = start();
    let resolver = resolver(options(&[server.address()]));
    on_loop(async {
        let plan =
            async |text: &str| resolver.plan(&Destination::domain(text).unwrap(), PlanOptions::default(), 1).await;
        assert_eq!(plan("[192.0.2.200]").await.unwrap().hosts[0].addresses, [ip("192.0.2.200")]);
        assert_eq!(plan("[IPv6:2001:db8::9]").await.unwrap().hosts[0].addresses, [ip("2001:db8::9")]);
        assert_eq!(plan("localhost").await.unwrap().hosts[0].addresses, [ip("127.0.0.1"), ip("::1")]);
        assert!(matches!(plan("nobody.invalid").await, Err(ResolveError::NoDomain(_))));
        assert!(matches!(plan("192.0.2.1").await, Err(ResolveError::NoDomain(_))));
        assert_eq!(server.received(), Received::default());

        assert_eq!(plan("ip.mail.test").await.unwrap().hosts[0].addresses, [ip("192.0.2.77")]);
        assert_eq!(server.received().udp, 1, "the MX, no address");
        resolver.addresses(&name("implicit.mail.test"), Families::V4Only).await.unwrap();
        assert_eq!(server.received().udp, 2, "no AAAA where IPv6 is off");
    });
}

#[test]
fn many_askers_on_many_loops_cost_one_packet() {
    let server = start();
    let resolver = resolver(options(&[server.address()]));
    let asker = resolver.clone();
    let got = ask_from_loops(4, 250, move || {
        let asker = asker.clone();
        async move { asker.mail_route(&name("mail.test")).await.unwrap().kind }
    });
    assert_eq!(got.len(), 1000);
    assert!(got.iter().all(|kind| matches!(kind, RouteKind::Mx(list) if list.len() == 4)));
    assert_eq!(server.received(), Received { udp: 1, tcp: 0 });
    let stats = resolver.stats();
    assert_eq!(stats.cache_hits + stats.cache_misses, 1000);
    assert_eq!(stats.cache_misses, stats.coalesced + stats.late_hits + stats.queries());
    assert_eq!((stats.queries(), stats.pending), (1, 0));
}

#[test]
fn negative_answers_are_remembered() {
    let server = start();
    let resolver = resolver(options(&[server.address()]));
    on_loop(async {
        for _ in 0..5 {
            assert!(resolver.mail_route(&name("gone.mail.test")).await.is_err());
            assert!(resolver.texts(&name("main.mail.test")).await.is_err());
        }
        let implicit = resolver.mail_route(&name("implicit.mail.test")).await.unwrap();
        assert!(implicit.expires_in <= Duration::from_secs(60), "the SOA's minimum: {:?}", implicit.expires_in);
    });
    assert_eq!(server.received().udp, 3);
}

#[test]
fn an_answer_is_asked_for_again_when_its_time_is_over() {
    let server = start();
    let options = ResolverOptions { ttl_min: Duration::ZERO, ..options(&[server.address()]) };
    let resolver = resolver(options);
    let ask = || on_loop(resolver.addresses(&name("brief.mail.test"), Families::V4Only)).unwrap();
    ask();
    assert!(ask().expires_in <= Duration::from_secs(1));
    assert_eq!(server.received().udp, 1);
    sleep(Duration::from_millis(1100));
    ask();
    assert_eq!(server.received().udp, 2);

    server.replace(Zone { records: "brief 60 A 192.0.2.99", ..MAIL }, 2);
    resolver.forget(&name("brief.mail.test"));
    assert_eq!(ask().addresses, [ip("192.0.2.99")]);
}

#[test]
fn a_large_record_set_comes_by_tcp() {
    let many: String =
        (0..240).map(|n| format!("big A 192.0.2.{n}\nbig TXT \"text number {n} {:0>80}\"\n", n)).collect();
    let server = DnsServer::start(&[Zone { name: "large.test", records: &many }]);
    let resolver = resolver(options(&[server.address()]));
    on_loop(async {
        let found = resolver.addresses(&name("big.large.test"), Families::V4Only).await.unwrap();
        assert_eq!(found.addresses.len(), 240);
        assert_eq!(resolver.texts(&name("big.large.test")).await.unwrap().texts.len(), 240);
    });
    assert_eq!(server.received(), Received { udp: 2, tcp: 2 });
    let stats = resolver.stats();
    assert_eq!((stats.truncated, stats.tcp_sent, stats.queries()), (2, 2, 2));
}

#[test]
fn dead_and_silent_servers_are_passed_over_and_learnt() {
    let server = start();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dead = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let servers = [silent.local_addr().unwrap(), dead, server.address()];
    let resolver = resolver(ResolverOptions { timeout: Duration::from_millis(300), ..options(&servers) });
    on_loop(async {
        for host in ["mail.test", "main.mail.test", "implicit.mail.test", "backup.mail.test", "bare.mail.test"] {
            resolver.mail_route(&name(host)).await.unwrap();
        }
    });
    assert_eq!(server.received().udp, 5);
    let stats = resolver.stats();
    assert_eq!(stats.servers.iter().map(|server| server.is_down).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!((stats.servers[0].failed, stats.servers[1].failed), (3, 3), "then asked last");
    assert_eq!((stats.attempts_timed_out, stats.of(RecordKind::Mx).timeouts), (3, 0));
}

#[test]
fn an_old_answer_stands_in_while_the_server_is_gone() {
    let server = start();
    let mut options = options(&[server.address()]);
    options.ttl_min = Duration::ZERO;
    let resolver = resolver(options);
    let ask = || on_loop(resolver.addresses(&name("brief.mail.test"), Families::V4Only));
    let fresh = ask().unwrap();
    drop(server);
    sleep(Duration::from_millis(1100));
    assert_eq!(ask().unwrap().addresses, fresh.addresses);
    let sent = resolver.stats().udp_sent + resolver.stats().tcp_sent;
    assert_eq!(ask().unwrap().addresses, fresh.addresses);
    let stats = resolver.stats();
    assert_eq!((stats.udp_sent + stats.tcp_sent, stats.stale_hits), (sent, 1), "not asked for again at once");
    let unknown = name("implicit.mail.test");
    let error = on_loop(resolver.addresses(&unknown, Families::V4Only)).unwrap_err();
    assert_eq!(error, ResolveError::Unreachable(unknown));
}

#[test]
fn a_driver_ends_with_its_last_handle_and_a_handle_outlives_it() {
    let server = start();
    let key = resolver::SequenceKey([1, 2]);
    let (handle, driver) = resolver::Resolver::new(options(&[server.address()]), key);
    let running = drive(driver);
    on_loop(handle.mail_route(&name("mail.test"))).unwrap();
    drop(handle);
    running.join().unwrap();

    let (handle, driver) = resolver::Resolver::new(options(&[server.address()]), key);
    drop(driver);
    assert_eq!(runtime().block_on(handle.mail_route(&name("mail.test"))), Err(ResolveError::Stopped));
}
