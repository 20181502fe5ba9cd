//! Domains with the same MX hosts are one site: connections count and are used together.

use acceptance::{DnsServer, Manner, Server, Sink, Site, Zone, own_ip, within};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// Domains `d0`, `d1`, … of `sites.test` that share the exchanger `hop`, and one that has another.
fn dns(domains: usize, hop: u8, other: u8) -> DnsServer {
    let mut records = format!("hop A {}\nother A {}\nelse MX 10 other\n", own_ip(hop), own_ip(other));
    for n in 0..domains {
        let _ = writeln!(records, "d{n} MX {} hop", n + 1);
    }
    DnsServer::start(&[Zone { name: "sites.test", records: &records }])
}

fn site(dns: &DnsServer, port: u16, options: &str) -> Site {
    Site::new(&format!(
        "[engine]\nloops = 2\n[resolver]\nservers = [\"{}\"]\n[domain.\"*\"]\nroute = \"mx\"\nport = {port}\n{options}\n",
        dns.address()
    ))
}

fn send(server: &Server, to: &str) {
    let mut client = server.connect();
    client.hello();
    assert_eq!(client.message("s@d0.sites.test", &[to], "Subject: x\r\n\r\nx").unwrap().0, 250);
}

#[test]
fn domains_with_the_same_exchangers_share_connections() {
    const DOMAINS: usize = 20;
    let sink = Sink::start_on(&format!("{}:0", own_ip(41)), Manner::default());
    let dns = dns(DOMAINS, 41, 42);
    let site = site(&dns, sink.port, "idle_timeout = \"1m\"");
    let server = site.start();
    for n in 0..DOMAINS {
        send(&server, &format!("u{n}@d{n}.sites.test"));
        assert!(within(PATIENCE, || sink.unique() == n + 1), "{} of {n} arrived", sink.unique());
    }
    assert!(sink.sessions() <= 2, "{} sessions, where one for each event loop does", sink.sessions());
    assert!(within(PATIENCE, || site.rows("D").len() == DOMAINS), "{}", site.log("mainlog.ec"));
    for n in 0..DOMAINS {
        let (domain, rows) = (format!("@d{n}.sites.test@"), site.rows("D"));
        assert_eq!(rows.iter().filter(|row| row.contains(&domain)).count(), 1, "each row tells its own domain");
    }
    drop(server);
}

#[test]
fn a_site_has_so_many_connections_and_queues_tell_which() {
    const DOMAINS: usize = 8;
    let manner = Manner { delay_content: Duration::from_millis(200), ..Manner::default() };
    let sink = Sink::start_on(&format!("{}:0", own_ip(43)), manner);
    let dns = dns(DOMAINS, 43, 44);
    let options = "max_connections = 2\nconnection_ramp = \"straight\"\nidle_timeout = \"0s\"";
    let site = site(&dns, sink.port, options);
    let server = site.start();
    for n in 0..DOMAINS * 3 {
        send(&server, &format!("u{n}@d{}.sites.test", n % DOMAINS));
    }
    let queues = || site.tool_ok(&["queue", "--config", "posthaste.toml", "summary"]);
    assert!(within(PATIENCE, || queues().contains("site hop.sites.test")), "{}", queues());
    let (mut most, mut before, began) = (0, 0, Instant::now());
    while sink.unique() < DOMAINS * 3 {
        // A session that ends is counted a moment longer than it lasts: what two looks see is there.
        let open = sink.open();
        most = most.max(open.min(before));
        before = open;
        assert!(began.elapsed() < PATIENCE, "{} arrived: {}", sink.unique(), queues());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(most <= 2, "{most} connections to a site that may have two");
    assert_eq!(site.rows("T").len(), 0, "{}", site.log("mainlog.ec"));
    drop(server);
}

#[test]
fn a_site_named_by_the_configuration_unites_other_hosts() {
    let manner = || Manner { delay_content: Duration::from_secs(2), ..Manner::default() };
    let hop = Sink::start_on(&format!("{}:0", own_ip(45)), manner());
    let other = Sink::start_on(&format!("{}:{}", own_ip(46), hop.port), manner());
    let dns = dns(1, 45, 46);
    let site = site(&dns, hop.port, "site = \"big\"\nmax_connections = 1\nidle_timeout = \"1s\"");
    let server = site.start();
    send(&server, "a@d0.sites.test");
    assert!(within(PATIENCE, || hop.open() == 1));
    send(&server, "b@else.sites.test");
    let why = || site.tool_ok(&["queue", "--config", "posthaste.toml", "why", "else.sites.test"]);
    assert!(within(PATIENCE, || why().contains("its site has 1 connections and may have 1")), "{}", why());
    assert!(why().contains("site: big"), "{}", why());
    // A connection to another host is of no use to it, however idle: it waits for the place, not for the connection.
    assert!(within(PATIENCE, || other.unique() == 1), "{}", why());
    assert_eq!(hop.unique(), 1);
    drop(server);
}
