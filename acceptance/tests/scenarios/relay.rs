//! Twenty thousand messages through the server: each arrives exactly once.

use acceptance::{Manner, Running, Server, Sink, Site, postfix, smtp_source, within};
use std::collections::HashSet;
use std::process::Stdio;
use std::time::Duration;

const MESSAGES: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(180);

/// Loads the server with Postfix's generator, which numbers its recipients.
fn load(site: &Site, messages: usize) {
    let (target, count) = (format!("127.0.0.1:{}", site.port), messages.to_string());
    smtp_source(&[
        "-d",
        "-N",
        "-s",
        "20",
        "-l",
        "4096",
        "-m",
        &count,
        "-f",
        "s@load.test",
        "-t",
        "u@load.test",
        &target,
    ]);
}

fn relaying_to(port: u16) -> (Site, Server) {
    let site = Site::new(&format!("[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{port}\"\nmax_connections = 20\n"));
    let server = site.start();
    (site, server)
}

#[test]
fn every_id_arrives_exactly_once() {
    let sink = Sink::start(Manner::default()).count_only();
    let (site, server) = relaying_to(sink.port);
    load(&site, MESSAGES);
    assert!(within(PATIENCE, || sink.unique() == MESSAGES), "{} of {MESSAGES} arrived", sink.unique());
    assert!(server.stop().success());
    let ids = sink.ids();
    assert!(ids.values().all(|&times| times == 1), "a message arrived twice");
    let log = site.log("mainlog.ec");
    let rows = |kind: &str| site.rows(kind).len();
    assert_eq!((rows("R"), rows("D"), rows("T"), rows("P")), (MESSAGES, MESSAGES, 0, 0));
    let distinct: HashSet<_> = log.lines().filter_map(|row| row.split('@').nth(1)).collect();
    assert_eq!(distinct.len(), MESSAGES, "message ids are not unique");
}

#[test]
fn postfix_smtp_sink_takes_them_all() {
    let port = acceptance::free_port();
    let mut command = postfix("usr/sbin/smtp-sink");
    // -c shows a running count; -M ends it after so many messages.
    command.args(["-c", "-M", &MESSAGES.to_string(), "-u", "nobody", &format!("127.0.0.1:{port}"), "1000"]);
    let mut sink = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    assert!(within(Duration::from_secs(10), || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()));
    let (site, server) = relaying_to(port);
    load(&site, MESSAGES);
    let ended = within(PATIENCE, || sink.0.try_wait().is_ok_and(|status| status.is_some()));
    assert!(ended, "smtp-sink did not see {MESSAGES} messages");
    drop(server);
}

#[test]
fn several_recipients_share_a_transaction_and_a_body() {
    let sink = Sink::start(Manner::default());
    let (_site, server) = relaying_to(sink.port);
    let mut client = server.connect();
    client.hello();
    let content = "Subject: dots\r\n\r\n..two dots\r\n...three dots\r\nplain";
    let (code, _) = client.message("s@a.test", &["a@b.test", "b@b.test", "c@c.test"], content).unwrap();
    assert_eq!(code, 250);
    assert!(within(Duration::from_secs(20), || sink.unique() == 3));
    let arrivals = sink.arrivals();
    assert_eq!(arrivals.len(), 1, "one message, one container, one transaction: {arrivals:?}");
    let text = String::from_utf8(arrivals[0].content.clone()).unwrap();
    let (trace, body) = text.split_once("Subject: dots").expect("the content is there");
    assert!(trace.starts_with("Received: from client.test "), "{trace}");
    assert_eq!(body, "\r\n\r\n.two dots\r\n..three dots\r\nplain\r\n");
}
