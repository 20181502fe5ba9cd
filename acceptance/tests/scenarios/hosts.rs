//! Hosts after the choice by MX: how many connections each may have, which are passed over, and what happens when the
//! DNS does not say who they are.

use acceptance::{DnsServer, Manner, Server, Sink, Site, Zone, own_ip, within};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const DOMAINS: usize = 8;

/// Domains `d0` … `d7` of `hosts.test`, each with the exchangers that these records name.
fn zone(records: &str, hops: &[u8]) -> String {
    let mut text = String::new();
    for n in 0..DOMAINS {
        for record in records.lines() {
            let _ = writeln!(text, "d{n} {record}");
        }
    }
    for hop in hops {
        let _ = writeln!(text, "hop{hop} A {}", own_ip(*hop));
    }
    text
}

fn site(dns: &DnsServer, port: u16, options: &str) -> Site {
    Site::new(&format!(
        "[resolver]\nservers = [\"{}\"]\n[domain.\"*\"]\nroute = \"mx\"\nport = {port}\n{options}\n",
        dns.address()
    ))
}

fn send(server: &Server, to: &str) {
    let mut client = server.connect();
    client.hello();
    assert_eq!(client.message("s@d0.hosts.test", &[to], "Subject: x\r\n\r\nx").unwrap().0, 250);
}

fn why(site: &Site, domain: &str) -> String {
    site.tool_ok(&["queue", "--config", "posthaste.toml", "why", domain])
}

#[test]
fn a_host_never_has_more_connections_than_its_limit_whichever_domains_want_them() {
    const EACH: usize = 5;
    let manner = Manner { delay_content: Duration::from_millis(100), ..Manner::default() };
    let sink = Sink::start_on(&format!("{}:0", own_ip(31)), manner);
    let records = zone("MX 10 hop31", &[31]);
    let dns = DnsServer::start(&[Zone { name: "hosts.test", records: &records }]);
    let limits = "max_connections_per_host = 3\nidle_timeout = \"0s\"\nconnection_ramp = \"straight\"";
    let site = site(&dns, sink.port, limits);
    let server = site.start();
    for n in 0..DOMAINS * EACH {
        send(&server, &format!("u{n}@d{}.hosts.test", n % DOMAINS));
    }
    let (mut most, mut before, began) = (0, 0, Instant::now());
    while sink.unique() < DOMAINS * EACH {
        // A session that ends is counted a moment longer than it lasts: what two looks see is there.
        let open = sink.open();
        most = most.max(open.min(before));
        before = open;
        assert!(began.elapsed() < PATIENCE, "{} arrived", sink.unique());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(most <= 3, "{most} connections to a host that may have three");
    assert!(most >= 2, "the limit is used: {most}");
    assert_eq!(site.rows("T").len(), 0, "to wait is no failure: {}", site.log("mainlog.ec"));
    drop(server);
}

#[test]
fn a_host_that_is_full_is_passed_over_for_the_next() {
    let manner = Manner { delay_content: Duration::from_secs(3), ..Manner::default() };
    let slow = Sink::start_on(&format!("{}:0", own_ip(32)), manner);
    let quick = Sink::start_on(&format!("{}:{}", own_ip(33), slow.port), Manner::default());
    let records = zone("MX 10 hop32\nMX 20 hop33", &[32, 33]);
    let dns = DnsServer::start(&[Zone { name: "hosts.test", records: &records }]);
    let site = site(&dns, slow.port, "max_connections_per_host = 1\nidle_timeout = \"0s\"");
    let server = site.start();
    send(&server, "first@d0.hosts.test");
    assert!(within(PATIENCE, || slow.open() == 1));
    send(&server, "second@d1.hosts.test");
    assert!(within(PATIENCE, || quick.unique() == 1), "{}", why(&site, "d1.hosts.test"));
    assert!(within(PATIENCE, || slow.unique() == 1));
    assert_eq!(site.rows("T").len(), 0, "{}", site.log("mainlog.ec"));
    drop(server);
}

#[test]
fn skipped_hosts_are_not_there() {
    let sink = Sink::start_on(&format!("{}:0", own_ip(35)), Manner::default());
    let skipped = Sink::start_on(&format!("{}:{}", own_ip(34), sink.port), Manner::default());
    let mut records = zone("MX 10 hop34\nMX 20 hop35", &[34, 35]);
    let _ = writeln!(records, "only MX 10 hop34");
    let dns = DnsServer::start(&[Zone { name: "hosts.test", records: &records }]);
    let site = site(&dns, sink.port, &format!("skip_hosts = [\"{}/32\"]", own_ip(34)));
    let server = site.start();
    send(&server, "u@d0.hosts.test");
    send(&server, "v@only.hosts.test");
    assert!(within(PATIENCE, || sink.unique() == 1 && site.rows("T").len() == 1), "{}", site.log("mainlog.ec"));
    assert!(site.log("mainlog.ec").contains("every host of this domain is skipped"), "{}", site.log("mainlog.ec"));
    assert_eq!(skipped.sessions(), 0);
    drop(server);
}

#[test]
fn a_domain_that_cannot_be_reached_is_delayed_as_a_whole() {
    let port = acceptance::free_port();
    let records = zone("MX 10 hop36", &[36]);
    let dns = DnsServer::start(&[Zone { name: "hosts.test", records: &records }]);
    let site = site(&dns, port, "mx_failures_to_delay = 1\nretry_interval = \"1h\"");
    let server = site.start();
    for n in 0..3 {
        send(&server, &format!("u{n}@d0.hosts.test"));
    }
    let told = || why(&site, "d0.hosts.test");
    assert!(within(PATIENCE, || told().contains("its mail is delayed as a whole")), "{}", told());
    assert!(within(PATIENCE, || site.rows("T").len() == 1), "one bears the failure: {}", site.log("mainlog.ec"));
    drop(server);
}

#[test]
fn a_domain_whose_dns_does_not_answer_is_held_until_it_does() {
    let sink = Sink::start_on(&format!("{}:0", own_ip(37)), Manner::default());
    let records = zone("MX 10 hop37", &[37]);
    let zones = [Zone { name: "hosts.test", records: &records }];
    let dns = DnsServer::start(&zones);
    let (site, address) = (site(&dns, sink.port, ""), dns.address());
    drop(dns);
    let server = site.start();
    for n in 0..3 {
        send(&server, &format!("u{n}@d0.hosts.test"));
    }
    let told = || why(&site, "d0.hosts.test");
    assert!(within(PATIENCE, || told().contains("held until the DNS answers")), "{}", told());
    assert!(told().contains("4.4.3"), "{}", told());
    // One was tried and told; the others only wait, however often the DNS is asked.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(site.rows("T").len(), 1, "{}", site.log("mainlog.ec"));
    let _dns = DnsServer::start_at(address, &zones);
    assert!(within(PATIENCE, || sink.unique() >= 2), "{}", told());
    drop(server);
}
