//! Next hops that refuse, delay, hang up or speak nonsense.

use acceptance::{Manner, Server, Sink, Site, free_port, within};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

fn relaying_to(port: u16, more: &str) -> (Site, Server) {
    let extra = format!(
        "[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{port}\"\n{more}\n[log.main]\nformat = \"ec\"\npath = \"mainlog.ec\"\n\
         [log.bounce]\nformat = \"bounce\"\npath = \"bouncelog.ec\"\n"
    );
    let site = Site::new(&extra);
    let server = site.start();
    (site, server)
}

fn send(server: &Server, from: &str, to: &[&str]) {
    let mut client = server.connect();
    client.hello();
    assert_eq!(client.message(from, to, "Subject: original\r\n\r\nthe body").unwrap().0, 250);
}

#[test]
fn a_refused_recipient_is_reported_to_the_sender_and_the_others_are_delivered() {
    let manner = Manner { replies: vec![("RCPT TO:<gone@", "550 5.1.1 no such user here")], ..Manner::default() };
    let sink = Sink::start(manner);
    let (site, server) = relaying_to(sink.port, "");
    send(&server, "sender@a.test", &["gone@b.test", "there@b.test"]);
    assert!(within(PATIENCE, || sink.unique() == 2), "{:?}", sink.ids());
    let arrivals = sink.arrivals();
    let report = arrivals.iter().find(|arrival| arrival.mail.starts_with("MAIL FROM:<>")).expect("a report came");
    assert!(report.recipients[0].contains("sender@a.test"), "{report:?}");
    let text = String::from_utf8_lossy(&report.content);
    for part in [
        "multipart/report",
        "Final-Recipient: rfc822",
        "gone@b.test",
        "Action: failed",
        "Status: 5.1.1",
        "no such user here",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!text.contains("there@b.test\r\nAction"), "the delivered recipient is not reported");
    assert!(within(PATIENCE, || site.log("bouncelog.ec").contains("@B@gone@b.test@sender@a.test@")));
    assert!(within(PATIENCE, || site.log("mainlog.ec").contains("@P@b.test@")));
}

#[test]
fn a_failed_report_is_not_reported() {
    let manner = Manner { replies: vec![("RCPT TO:", "550 5.1.1 nobody is here")], ..Manner::default() };
    let sink = Sink::start(manner);
    let (site, server) = relaying_to(sink.port, "");
    send(&server, "sender@a.test", &["gone@b.test"]);
    let failures = || site.rows("P").len();
    assert!(within(PATIENCE, || failures() == 2), "the message and its report fail: {}", site.log("mainlog.ec"));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(failures(), 2, "a report of a report was made");
    assert!(within(PATIENCE, || site
        .tool_ok(&["spool", "list", "--config", site.config().to_str().unwrap()])
        .is_empty()));
    drop(server);
}

#[test]
fn a_transient_refusal_is_tried_again_until_it_works() {
    // No server at first: the connection is refused; it comes later.
    let port = free_port();
    let (site, server) = relaying_to(port, "retry_interval = \"1s\"\nretry_jitter = \"0%\"");
    send(&server, "sender@a.test", &["u@b.test"]);
    assert!(within(PATIENCE, || site.log("mainlog.ec").contains("@T@b.test@")), "{}", site.log("mainlog.ec"));
    let sink = Sink::start_on(&format!("127.0.0.1:{port}"), Manner::default());
    assert!(within(Duration::from_secs(60), || sink.unique() == 1), "{}", site.log("mainlog.ec"));
}

#[test]
fn greylisting_ends_in_a_delivery() {
    let manner = Manner { replies: vec![("RCPT TO:<grey@", "451 4.7.1 come back later")], ..Manner::default() };
    let sink = Sink::start(manner);
    let (site, server) =
        relaying_to(sink.port, "retry_interval = \"1s\"\nmessage_expiration = \"6s\"\nretry_jitter = \"0%\"");
    send(&server, "sender@a.test", &["grey@b.test"]);
    let rows = |kind: &str| site.rows(kind).len();
    // It never yields here: attempts at 0, 1, 3 s, then the message expires and is reported.
    assert!(within(PATIENCE, || rows("P") == 1), "{}", site.log("mainlog.ec"));
    assert!(rows("T") >= 2, "{}", site.log("mainlog.ec"));
    assert!(site.log("mainlog.ec").contains("5.4.7"), "{}", site.log("mainlog.ec"));
    assert!(within(PATIENCE, || sink.ids().contains_key("sender")), "the report came");
    drop(server);
}

/// A next hop that answers everything with these octets and closes.
fn odd_hop(octets: &'static [u8], endless: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                while stream.write_all(octets).is_ok() && endless {}
                let mut buffer = [0; 4096];
                stream.set_read_timeout(Some(Duration::from_secs(1))).ok();
                let _ = stream.read(&mut buffer);
            });
        }
    });
    port
}

#[test]
fn nonsense_from_next_hops_is_a_transient_failure() {
    for (octets, endless) in [
        (&b"220 hi\r\n\x00\xff\xfe binary\r\n"[..], false),
        (b"220-again and again\r\n", true),
        (b"no code at all\r\n", false),
        (b"\r\n\r\n\r\n", true),
        (b"", false),
        (b"554 5.3.2 go away\r\n", false),
    ] {
        let (site, server) = relaying_to(
            odd_hop(octets, endless),
            "retry_interval = \"1h\"\ngreeting_timeout = \"5s\"\nehlo_timeout = \"5s\"",
        );
        send(&server, "sender@a.test", &["u@b.test"]);
        assert!(
            within(PATIENCE, || site.log("mainlog.ec").contains("@T@b.test@")),
            "{:?}: {}",
            String::from_utf8_lossy(octets),
            site.log("mainlog.ec")
        );
        assert!(server.stop().success());
    }
}

#[test]
fn dsn_parameters_reach_a_next_hop_that_knows_them() {
    let sink = Sink::start(Manner { keywords: vec!["DSN", "SIZE 100000"], ..Manner::default() });
    let (_site, server) = relaying_to(sink.port, "");
    let mut client = server.connect();
    client.hello();
    client.command("MAIL FROM:<s@a.test> RET=HDRS ENVID=abc+2B SIZE=100", 250);
    client.command("RCPT TO:<u@b.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o@b.test", 250);
    client.command("DATA", 354);
    client.send("Subject: x\r\n\r\nx\r\n.\r\n");
    client.expect(250);
    assert!(within(PATIENCE, || sink.unique() == 1));
    let arrival = sink.arrivals().remove(0);
    assert!(arrival.mail.contains("RET=HDRS") && arrival.mail.contains("ENVID=abc+2B"), "{}", arrival.mail);
    assert!(arrival.mail.contains("SIZE="), "{}", arrival.mail);
    let rcpt = &arrival.recipients[0];
    assert!(rcpt.contains("NOTIFY=SUCCESS,FAILURE") && rcpt.contains("ORCPT=rfc822;o@b.test"), "{rcpt}");
}

#[test]
fn a_maildir_and_a_discarding_route() {
    let site = Site::new("");
    let maildir = site.path("maildir").display().to_string();
    let mut site = site;
    site.set_extra(&format!(
        "[domain.\"box.test\"]\nroute = \"maildir:{maildir}\"\n[domain.\"void.test\"]\nroute = \"discard:\"\n"
    ));
    let server = site.start();
    send(&server, "s@a.test", &["u@box.test", "u@void.test"]);
    let files = || std::fs::read_dir(site.path("maildir/new")).map_or(0, Iterator::count);
    assert!(
        within(PATIENCE, || files() == 1 && site.log("mainlog.ec").matches("@D@").count() == 2),
        "{}",
        site.log("mainlog.ec")
    );
    let entry = std::fs::read_dir(site.path("maildir/new")).unwrap().flatten().next().unwrap();
    let text = std::fs::read_to_string(entry.path()).unwrap();
    assert!(text.contains("Subject: original") && text.contains("the body"), "{text}");
    assert!(!text.contains('\r') || text.contains("\r\n"), "line ends are whole");
    drop(server);
}
