//! Queues that wait: throttles and limits that sections share, suspensions, and what `queue why` says of each.

use acceptance::{Manner, Server, Sink, Site, free_port, within};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A message for each of so many domains.
fn send(server: &Server, domains: usize) {
    let mut client = server.connect();
    client.hello();
    for n in 0..domains {
        assert_eq!(client.message("s@a.test", &[&format!("u@d{n}.test")], "Subject: a\r\n\r\na").unwrap().0, 250);
    }
}

/// A sink as the mail exchanger of every domain.
fn site(sink: &Sink, options: &str) -> Site {
    // One container a domain, although all go to one host: an expression declares the route.
    Site::new(&format!(
        "[domain.\"*\"]\nidle_timeout = \"0s\"\n{options}\n[domain.'/^d[0-9]+/']\nroute = \"smtp://127.0.0.1:{}\"\n",
        sink.port
    ))
}

fn queue(site: &Site, words: &[&str]) -> String {
    let words: Vec<&str> = ["queue", "--config", "posthaste.toml"].into_iter().chain(words.iter().copied()).collect();
    site.tool_ok(&words)
}

#[test]
fn a_throttle_is_shared_by_the_domains_of_its_section() {
    let sink = Sink::start(Manner::default());
    let site = site(&sink, "message_rate = \"5/s\"");
    let server = site.start();
    let began = Instant::now();
    send(&server, 20);
    assert!(within(PATIENCE, || sink.unique() > 0));
    let why = queue(&site, &["why", &format!("smtp://127.0.0.1:{}", sink.port)]);
    assert!(why.contains("message_rate of [domain.\"*\"], next transaction at"), "{why}");
    assert!(within(PATIENCE, || sink.arrivals().len() == 20), "{} arrived", sink.arrivals().len());
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(3700), "twenty at five a second took {took:?}");
    assert!(!site.log("mainlog.ec").contains("@T@"), "a throttle is no failure");
}

#[test]
fn a_shared_limit_holds_for_all_domains_together() {
    let sink = Sink::start(Manner { delay_content: Duration::from_millis(300), ..Manner::default() });
    let site = site(&sink, "shared_max_connections = 1\nmax_deliveries_per_connection = 1");
    let server = site.start();
    let began = Instant::now();
    send(&server, 8);
    assert!(within(PATIENCE, || sink.open() > 0));
    let why = queue(&site, &["why", &format!("smtp://127.0.0.1:{}", sink.port)]);
    assert!(why.contains("as many connections as [domain.\"*\"] allows in all: shared_max_connections = 1"), "{why}");
    assert!(within(PATIENCE, || sink.arrivals().len() == 8), "{} arrived", sink.arrivals().len());
    assert!(began.elapsed() >= Duration::from_millis(2400), "eight one after the other took {:?}", began.elapsed());
}

#[test]
fn what_the_operator_suspends_rests_until_it_is_resumed() {
    let sink = Sink::start(Manner::default());
    let site = site(&sink, "");
    let server = site.start();
    queue(&site, &["suspend", "all", "default"]);
    assert!(queue(&site, &["suspensions"]).contains("default/all until resumed"));
    send(&server, 3);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(sink.sessions(), 0);
    let why = queue(&site, &["why", "d1.test"]);
    assert!(why.contains("suspended by the operator until resumed"), "{why}");
    assert!(why.contains("looked at again: "), "{why}");
    assert!(queue(&site, &["resume", "all"]).contains("1 suspensions ended"));
    assert!(within(PATIENCE, || sink.arrivals().len() == 3), "{} arrived", sink.arrivals().len());
    queue(&site, &["suspend", "all", "--for", "2"]);
    let began = Instant::now();
    send(&server, 4);
    assert!(within(PATIENCE, || sink.arrivals().len() == 7));
    assert!(began.elapsed() >= Duration::from_millis(1500), "{:?}", began.elapsed());
}

#[test]
fn why_names_the_failure_and_the_option() {
    let (sink, closed) = (Sink::start(Manner::default()), free_port());
    let site = Site::new(&format!(
        "[domain.\"dead.test\"]\nroute = \"smtp://127.0.0.1:{closed}\"\nsuspend = false\n\
         [domain.\"held.test\"]\nroute = \"hold:\"\n\
         [domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\nsuspend = true\n",
        sink.port
    ));
    let server = site.start();
    let mut client = server.connect();
    client.hello();
    let to = ["a@dead.test", "b@dead.test", "u@held.test", "u@else.test"];
    assert_eq!(client.message("s@a.test", &to, "Subject: a\r\n\r\na").unwrap().0, 250);
    let why = |domain: &str| queue(&site, &["why", domain]);
    assert!(within(PATIENCE, || why("dead.test").contains("last failure of 127.0.0.1")), "{}", why("dead.test"));
    assert!(why("dead.test").contains("no MXs for this domain could be reached"), "{}", why("dead.test"));
    assert!(why("held.test").contains("held by its route (route of [domain.\"held.test\"])"), "{}", why("held.test"));
    let else_ = why("else.test");
    assert!(else_.contains("suspended by its options (suspend of [domain.\"*\"])"), "{else_}");
    let json = site.tool_ok(&["queue", "--json", "--config", "posthaste.toml", "why", "else.test"]);
    assert!(json.contains("\"option\":\"suspend\"") && json.contains("\"section\":\"domain.\\\"*\\\"\""), "{json}");
    let none = site.tool(&["queue", "--config", "posthaste.toml", "why", "u@x@y"]);
    assert!(!none.status.success() && String::from_utf8_lossy(&none.stderr).contains("no queue for"), "{none:?}");
    assert_eq!(sink.sessions(), 0);
}

#[test]
fn urgent_mail_overtakes_and_low_mail_moves_all_the_same() {
    let sink = Sink::start(Manner::default());
    let site = Site::new(&format!("[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\nmax_connections = 1\n", sink.port))
        .server("priority_header = [\"X-Class\"]");
    let server = site.start();
    queue(&site, &["suspend", "all"]);
    let mut client = server.connect();
    client.hello();
    for (class, count) in [("low", 30), ("normal", 30), ("urgent", 30)] {
        for n in 0..count {
            let to = format!("{class}{n}@near.test");
            assert_eq!(client.message("s@a.test", &[&to], &format!("X-Class: {class}\r\n\r\na")).unwrap().0, 250);
        }
    }
    queue(&site, &["resume", "all"]);
    assert!(within(PATIENCE, || sink.arrivals().len() == 90), "{} arrived", sink.arrivals().len());
    let arrivals = sink.arrivals();
    let place = |class: &str| arrivals.iter().rposition(|arrival| arrival.recipients[0].contains(class)).unwrap();
    assert!(place("urgent") < 45, "thirty urgent ones are through at place {}", place("urgent"));
    let early = arrivals[..45].iter().filter(|arrival| arrival.recipients[0].contains("low")).count();
    assert!(early >= 2, "low mail has its share: {early} of 45");
}

#[test]
fn tenants_share_a_queue_by_weight() {
    let sink = Sink::start(Manner::default());
    let site = Site::new(&format!(
        "[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\nmax_connections = 1\n\
         [tenant.\"Big.test\"]\nweight = 4\n[tenant.news]\nweight = 2\n",
        sink.port
    ));
    let server = site.start();
    queue(&site, &["suspend", "all"]);
    let mut client = server.connect();
    client.hello();
    // The first to come has most mail and no section; the second is named by its sender, the third by the header field.
    for (tenant, sender, head, count) in [
        ("other", "s@small.test", "", 120),
        ("big", "s@big.test", "", 60),
        ("news", "s@small.test", "X-Tenant: News\r\n", 60),
    ] {
        for n in 0..count {
            let to = format!("{tenant}{n}@near.test");
            assert_eq!(client.message(sender, &[&to], &format!("{head}\r\na")).unwrap().0, 250);
        }
    }
    queue(&site, &["resume", "all"]);
    assert!(within(PATIENCE, || sink.arrivals().len() == 240), "{} arrived", sink.arrivals().len());
    let arrivals = sink.arrivals();
    let share = |tenant: &str| arrivals[..70].iter().filter(|arrival| arrival.recipients[0].contains(tenant)).count();
    let (big, news, other) = (share("big"), share("news"), share("other"));
    assert!((38..=42).contains(&big) && (18..=22).contains(&news), "of 70: big {big}, news {news}, others {other}");
}
