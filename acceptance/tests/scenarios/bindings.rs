//! By which address and name mail leaves: bindings, groups, and addresses that do not work.

use acceptance::{Arrival, Manner, Server, Sink, Site, within};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

fn send(server: &Server, from: &str, content: &str) {
    let mut client = server.connect();
    client.hello();
    assert_eq!(client.message(from, &["u@near.test"], content).unwrap().0, 250);
}

/// From where, and under which name, the mail of a sender arrived.
fn ways(sink: &Sink, sender: &str) -> HashSet<(String, String)> {
    let way = |arrival: &Arrival| {
        (arrival.peer.to_string(), arrival.hello.split_whitespace().nth(1).unwrap_or_default().to_owned())
    };
    sink.arrivals().iter().filter(|arrival| arrival.mail.contains(sender)).map(way).collect()
}

fn way(address: &str, name: &str) -> (String, String) {
    (address.to_owned(), name.to_owned())
}

#[test]
fn mail_leaves_from_the_address_and_under_the_name_of_its_binding() {
    let sink = Sink::start(Manner::default());
    let site = Site::new(&format!(
        "[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\nidle_timeout = \"0s\"\n\
         max_recipients_per_connection = 1\n\
         [binding.news]\nsource = [\"127.0.1.1\"]\nehlo = \"news.accept.test\"\n\
         [binding.shop]\nsource = [\"127.0.2.1\", \"127.0.2.2\"]\nehlo = \"shop.accept.test\"\n\
         [binding.pool-1]\nsource = [\"127.0.3.1\"]\n[binding.pool-2]\nsource = [\"127.0.3.2\"]\n\
         [binding_group.pool]\nbindings = [\"pool-1\", \"pool-2\"]\nehlo = \"pool.accept.test\"\n\
         [egress.news]\nheader = [\"X-Stream: news\"]\nbinding = \"news\"\n\
         [egress.shop]\nsender = [\"*.shop.test\"]\nbinding = \"shop\"\n\
         [egress.pool]\ntenant = [\"acme\"]\nbinding_group = \"pool\"\n",
        sink.port
    ));
    let server = site.start();
    send(&server, "s@plain.test", "Subject: a\r\n\r\na");
    send(&server, "s@news.test", "Subject: a\r\nX-Stream: News\r\n\r\na");
    for n in 0..20 {
        send(&server, "s@a.shop.test", &format!("Subject: {n}\r\n\r\na"));
        send(&server, "s@pool.test", &format!("X-Tenant: acme\r\nSubject: {n}\r\n\r\na"));
    }
    assert!(within(PATIENCE, || sink.arrivals().len() == 42), "{} arrived", sink.arrivals().len());
    assert_eq!(ways(&sink, "plain.test"), HashSet::from([way("127.0.0.1", "mx.accept.test")]));
    assert_eq!(ways(&sink, "news.test"), HashSet::from([way("127.0.1.1", "news.accept.test")]));
    let shop = ["127.0.2.1", "127.0.2.2"].map(|address| way(address, "shop.accept.test"));
    assert_eq!(ways(&sink, "shop.test"), HashSet::from(shop));
    let pool = ["127.0.3.1", "127.0.3.2"].map(|address| way(address, "pool.accept.test"));
    assert_eq!(ways(&sink, "pool.test"), HashSet::from(pool), "both share twenty messages");
    let logged = |row: &str, field: &str| row.split('@').any(|part| part == field);
    assert!(within(PATIENCE, || {
        let log = site.log("mainlog.ec");
        ["pool-1", "pool-2"].iter().all(|name| log.lines().any(|row| logged(row, "pool") && logged(row, name)))
    }));
    let queues = site.tool_ok(&["queue", "--config", "posthaste.toml", "summary"]);
    assert!(queues.contains("shop/smtp://"), "{queues}");
}

#[test]
fn a_source_that_is_not_this_machines_is_left_aside() {
    let sink = Sink::start(Manner::default());
    let site = Site::new(&format!(
        "[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\nidle_timeout = \"0s\"\n\
         [binding.default]\nsource = [\"192.0.2.77\", \"127.0.4.1\"]\n",
        sink.port
    ));
    let server = site.start();
    for n in 0..10 {
        send(&server, "s@a.test", &format!("Subject: {n}\r\n\r\na"));
    }
    assert!(within(PATIENCE, || sink.arrivals().len() == 10), "{} arrived", sink.arrivals().len());
    assert!(sink.arrivals().iter().all(|arrival| arrival.peer.to_string() == "127.0.4.1"));
    assert!(!site.log("mainlog.ec").contains("@T@"), "no attempt failed: {}", site.log("mainlog.ec"));
    let sources = site.tool_ok(&["console", "--config", "posthaste.toml", "sources"]);
    assert!(sources.contains("192.0.2.77") && sources.contains("left aside for"), "{sources}");
}

#[test]
fn a_thousand_addresses_each_carry_their_own_mail() {
    const ADDRESSES: usize = 1000;
    let sink = Sink::start(Manner::default());
    let mut extra = format!("[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\nidle_timeout = \"0s\"\n", sink.port);
    let address = |n: usize| format!("127.8.{}.{}", n / 250, n % 250 + 1);
    for n in 0..ADDRESSES {
        let _ = writeln!(
            extra,
            "[binding.b{n}]\nsource = [\"{}\"]\nehlo = \"b{n}.accept.test\"\n[egress.e{n}]\nsender = \"s{n}.test\"\nbinding = \"b{n}\"",
            address(n)
        );
    }
    let site = Site::new(&extra);
    let server = site.start();
    let mut client = server.connect();
    client.hello();
    for n in 0..ADDRESSES {
        assert_eq!(client.message(&format!("s@s{n}.test"), &["u@near.test"], "a: b\r\n\r\nc").unwrap().0, 250);
    }
    assert!(within(2 * PATIENCE, || sink.arrivals().len() == ADDRESSES), "{} arrived", sink.arrivals().len());
    let mut wrong = 0;
    for arrival in sink.arrivals() {
        let sender = arrival.mail.split(['@', '.']).nth(1).and_then(|label| label.strip_prefix('s'));
        let n: usize = sender.and_then(|number| number.parse().ok()).expect("a sender of ours");
        wrong +=
            usize::from(arrival.peer.to_string() != address(n) || arrival.hello != format!("EHLO b{n}.accept.test"));
    }
    assert_eq!(wrong, 0, "messages left by an identity that is not theirs");
}
