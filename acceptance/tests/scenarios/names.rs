//! Routing by name: what a real DNS server says is where the mail goes.

use acceptance::{DnsServer, Manner, Server, Sink, Site, Zone, own_ip, within};
use std::fmt::Write as _;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(15);

/// A server that asks knotd, and next hops on addresses of this process, all on one port.
struct Scene {
    dns: DnsServer,
    sinks: Vec<Sink>,
    site: Site,
    server: Server,
}

impl Scene {
    /// Hosts `hop1`, `hop2`, … listen; `dead` does not. `records` stand in the zone `names.test`; `more` are further
    /// options of `[domain."*"]` and sections behind it.
    fn new(hops: u8, records: &str, more: &str) -> Self {
        let first = Sink::start_on(&format!("{}:0", own_ip(1)), Manner::default());
        let port = first.port;
        let mut sinks = vec![first];
        sinks.extend((2..=hops).map(|hop| Sink::start_on(&format!("{}:{port}", own_ip(hop)), Manner::default())));
        let mut records = records.to_owned();
        for hop in 1..=hops {
            let _ = write!(records, "\nhop{hop} A {}", own_ip(hop));
        }
        // Whoever sent something undeliverable is told at this domain.
        let _ = write!(records, "\ndead A {}\nsender A {}", own_ip(99), own_ip(1));
        let ours = format!("mx A {}", own_ip(98));
        let zones = [("names.test", records.as_str()), ("accept.test", &ours)];
        let dns = DnsServer::start(&zones.map(|(name, records)| Zone { name, records }));
        let mut site = Site::new("");
        let more = more.replace("OWN_PORT", &site.port.to_string());
        site.set_extra(&format!(
            "[resolver]\nservers = [\"{}\"]\n[domain.\"*\"]\nroute = \"mx\"\nport = {port}\n{more}\n",
            dns.address()
        ));
        let server = site.start();
        Self { dns, sinks, site, server }
    }

    fn send(&self, to: &str) {
        let mut client = self.server.connect();
        client.hello();
        assert_eq!(client.message("s@sender.names.test", &[to], "Subject: x\r\n\r\nx").unwrap().0, 250);
    }

    /// Sends a message, which the given host must receive, at its first attempt, and nobody else.
    fn arrives(&self, to: &str, hop: usize) {
        self.send(to);
        let id = to.split('@').next().unwrap();
        let got = |sink: &Sink| sink.ids().contains_key(id);
        assert!(within(PATIENCE, || got(&self.sinks[hop - 1])), "{to}: {}", self.site.log("mainlog.ec"));
        let others = self.sinks.iter().enumerate().filter(|(n, sink)| *n != hop - 1 && got(sink)).count();
        assert_eq!(others, 0, "{to} arrived elsewhere, too");
        assert_eq!((self.rows("T").len(), self.rows("P").len()), (0, 0), "{}", self.site.log("mainlog.ec"));
    }

    /// Sends a message that must fail with this text, and its sender must be told.
    fn fails(&self, to: &str, part: &str) {
        self.send(to);
        let told = || {
            let arrivals = self.sinks[0].arrivals();
            let report = arrivals.into_iter().find(|arrival| arrival.mail.starts_with("MAIL FROM:<>"));
            report.map(|report| String::from_utf8_lossy(&report.content).into_owned())
        };
        assert!(within(PATIENCE, || told().is_some()), "{to}: no report: {}", self.site.log("mainlog.ec"));
        let report = told().unwrap();
        assert!(report.contains(&format!("Final-Recipient: rfc822; {to}")), "{report}");
        assert!(report.contains("Action: failed"), "{report}");
        assert!(within(PATIENCE, || self.rows("P").len() == 1), "{}", self.site.log("mainlog.ec"));
        let rows = self.rows("P");
        assert!(rows[0].contains(part), "{part} is not in {}", rows[0]);
        // The message and its report came in once each: nothing went round. Their rows may come from different loops.
        assert!(within(PATIENCE, || self.rows("R").len() >= 2), "{}", self.site.log("mainlog.ec"));
        assert_eq!((self.rows("T").len(), self.rows("R").len()), (0, 2), "{}", self.site.log("mainlog.ec"));
    }

    fn rows(&self, kind: &str) -> Vec<String> {
        self.site.rows(kind)
    }

    fn console(&self, words: &str) -> String {
        self.site.tool_ok(&["console", "--config", self.site.config().to_str().unwrap(), words])
    }
}

#[test]
fn the_best_host_that_listens_takes_the_mail() {
    let records = "all MX 30 hop3\nall MX 10 hop1\nall MX 20 hop2\nsome MX 10 dead\nsome MX 20 hop2\nsome MX 30 hop3";
    let scene = Scene::new(3, records, "");
    scene.arrives("best@all.names.test", 1);
    scene.arrives("second@some.names.test", 2);
    scene.arrives("again@some.names.test", 2);
}

#[test]
fn equal_hosts_share_the_mail() {
    let scene = Scene::new(3, "pair MX 10 hop1\npair MX 10 hop2\npair MX 20 hop3", "max_deliveries_per_connection = 1");
    for n in 0..40 {
        scene.send(&format!("u{n}@pair.names.test"));
    }
    let counts = || scene.sinks.iter().map(Sink::unique).collect::<Vec<_>>();
    assert!(within(PATIENCE, || counts()[..2].iter().sum::<usize>() == 40), "{:?}", counts());
    // Forty throws of a coin fall to one side by less than four once in 200 million times.
    assert!(counts()[0] >= 4 && counts()[1] >= 4, "{:?}", counts());
    assert_eq!(counts()[2], 0, "the worse host is for the time when the better ones fail");
}

#[test]
fn a_domain_without_mx_is_its_own_host() {
    let records = format!("plain A {}\nalias CNAME plain\nexchanged MX 10 alias\nother CNAME exchanged", own_ip(2));
    let scene = Scene::new(2, &records, "");
    scene.arrives("implicit@plain.names.test", 2);
    scene.arrives("alias@alias.names.test", 2);
    scene.arrives("exchanger@exchanged.names.test", 2);
    scene.arrives("both@other.names.test", 2);
}

#[test]
fn an_address_literal_is_asked_of_nobody() {
    // Suspended, so that nothing is sent to an address which is nobody's here (RFC 5737).
    let scene = Scene::new(1, "", "suspend = true");
    let before = scene.dns.received();
    scene.send("literal@[192.0.2.77]");
    let queues = || scene.site.tool_ok(&["queue", "summary", "--config", scene.site.config().to_str().unwrap()]);
    assert!(within(PATIENCE, || queues().contains("default/[192.0.2.77]")), "{}", queues());
    assert!(queues().contains("suspended"), "{}", queues());
    assert_eq!(scene.dns.received(), before);
}

#[test]
fn a_literal_of_ourselves_is_a_loop() {
    Scene::new(1, "", "").fails("u@[127.0.0.1]", "5.4.6");
}

#[test]
fn a_null_mx_takes_no_mail() {
    // It has an address, which must not be tried.
    let scene = Scene::new(2, &format!("none MX 0 .\nnone A {}", own_ip(2)), "");
    scene.fails("u@none.names.test", "NULL MX");
    assert_eq!(scene.sinks[1].sessions(), 0);
}

#[test]
fn a_name_that_does_not_exist() {
    let scene = Scene::new(1, "", "");
    scene.fails("u@nowhere.names.test", "Domain Lookup Failed");
}

#[test]
fn an_exchanger_without_address_passes_to_the_next_and_alone_delays() {
    let scene = Scene::new(2, "partly MX 10 ghost\npartly MX 20 hop2\nghosts MX 10 ghost", "");
    scene.arrives("u@partly.names.test", 2);
    // Whoever wrote the zone may correct it: the mail waits.
    scene.send("u@ghosts.names.test");
    assert!(within(PATIENCE, || scene.rows("T").len() == 1), "{}", scene.site.log("mainlog.ec"));
    assert!(scene.rows("T")[0].contains("4.4.4"), "{}", scene.rows("T")[0]);
}

#[test]
fn an_exchanger_that_bears_our_name_is_a_loop() {
    // Whoever stands behind us in the list must not be tried.
    let scene = Scene::new(2, "named MX 10 mx.accept.test.\nnamed MX 20 hop2", "");
    scene.fails("u@named.names.test", "554 5.4.6 [internal] mail loops back to myself");
    assert_eq!(scene.sinks[1].sessions(), 0);
}

#[test]
fn an_exchanger_at_our_address_and_port_is_a_loop() {
    let more = "[domain.\"own.names.test\"]\nport = OWN_PORT";
    let scene = Scene::new(2, "own MX 10 us\nown MX 20 hop2\nus A 127.0.0.1", more);
    scene.fails("u@own.names.test", "554 5.4.6 [internal] mail loops back to myself");
    assert_eq!(scene.sinks[1].sessions(), 0);
}

#[test]
fn many_messages_ask_few_questions() {
    let scene = Scene::new(1, "busy MX 10 hop1", "");
    let mut client = scene.server.connect();
    client.hello();
    for n in 0..300 {
        let to = format!("u{n}@busy.names.test");
        assert_eq!(client.message("s@sender.names.test", &[&to], "Subject: x\r\n\r\nx").unwrap().0, 250);
    }
    assert!(within(PATIENCE, || scene.sinks[0].unique() == 300), "{} arrived", scene.sinks[0].unique());
    // MX, A and AAAA, and not a question more.
    let received = scene.dns.received();
    assert!(received.tcp == 0 && (2..=3).contains(&received.udp), "{received:?}");
    let stats = scene.console("dns stats");
    assert!(stats.contains(&format!("UDP Queries: {}\n", received.udp)), "{stats}");
}
