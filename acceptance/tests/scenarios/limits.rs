//! Limits at their edges: sessions, sizes, and clients that take their time.

use acceptance::{Client, Server, Site, within};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const HOLD: &str = "[domain.\"*\"]\nroute = \"hold:\"\n";
const LOGS: &str = "[log.main]\nformat = \"ec\"\n[log.reject]\nformat = \"reject\"\npath = \"rejectlog.ec\"\n";

fn serving(listener: &str) -> (Site, Server) {
    let site = Site::new(&format!("{HOLD}{LOGS}")).listener(&lines(listener));
    let server = site.start();
    (site, server)
}

fn lines(listener: &str) -> String {
    format!("relay_from = [\"127.0.0.0/8\"]\n{listener}\n")
}

/// Content of exactly so many octets, its last line end included.
fn content(octets: usize) -> String {
    let mut text = "Subject: x\r\n\r\n".to_owned();
    while text.len() + 80 < octets {
        text.push_str(&"a".repeat(62));
        text.push_str("\r\n");
    }
    text.push_str(&"b".repeat(octets - 2 - text.len()));
    text
}

/// At most `max` sessions; a further one is told 421, and one that ends makes room.
fn sessions_end_at(listener: &str, max: usize, text: &str) {
    let (site, server) = serving(listener);
    let mut sessions: Vec<Client> = (0..max).map(|_| server.connect()).collect();
    for _ in 0..2 {
        let mut further = Client::connect(site.port);
        let reply = further.expect(421);
        assert!(reply.starts_with("421 4.") && reply.contains(text), "{reply}");
        assert!(further.closed());
    }
    for session in &mut sessions {
        session.hello();
    }
    let last = sessions.pop();
    drop(last);
    let admitted = || Client::connect(site.port).reply().is_some_and(|(code, _)| code == 220);
    assert!(within(Duration::from_secs(5), admitted), "an ended session makes no room");
    let rejected = || site.log("rejectlog.ec").contains("E=421");
    assert!(within(Duration::from_secs(5), rejected), "{}", site.log("rejectlog.ec"));
}

#[test]
fn sessions_of_a_listener() {
    sessions_end_at("max_sessions = 3", 3, "concurrency limit");
}

#[test]
fn sessions_of_a_client_network() {
    sessions_end_at("max_sessions_per_network = 2", 2, "from your network");
}

#[test]
fn the_size_announced_and_the_size_received() {
    let (_site, server) = serving("max_message_size = 2000");
    let mut client = server.connect();
    assert!(client.hello().contains("SIZE 2000\r\n"));
    client.command("MAIL FROM:<s@a.test> SIZE=2000", 250);
    client.command("RSET", 250);
    let refused = client.command("MAIL FROM:<s@a.test> SIZE=2001", 552);
    assert!(refused.starts_with("552 5.3.4"), "{refused}");
    client.command("MAIL FROM:<s@a.test> SIZE=99999999999999999999999999", 552);
    client.command("RCPT TO:<u@b.test>", 503);
    assert_eq!(client.message("s@a.test", &["u@b.test"], &content(2000)).unwrap().0, 250);
    let (code, text) = client.message("s@a.test", &["u@b.test"], &content(2001)).unwrap();
    assert!(code == 552 && text.starts_with("552 5.3.4"), "{text}");
    // The session goes on, and dots that transparency added are not counted.
    let dotted = content(2000).replacen("\r\naaaa", "\r\n....", 1).replacen("\r\n....", "\r\n.....", 1);
    assert_eq!(client.message("s@a.test", &["u@b.test"], &dotted).unwrap().0, 250);
    let chunk = |octets: usize| format!("BDAT {octets} LAST\r\n{}\r\n", content(octets));
    for (octets, code) in [(2000, 250), (2001, 552)] {
        client.command("MAIL FROM:<s@a.test>", 250);
        client.command("RCPT TO:<u@b.test>", 250);
        client.send(chunk(octets));
        client.expect(code);
        client.command("RSET", 250);
    }
}

#[test]
fn limits_are_announced() {
    let (_site, server) = serving("max_recipients = 7\nmax_messages_per_session = 2");
    let mut client = server.connect();
    let reply = client.hello();
    assert!(reply.contains("LIMITS RCPTMAX=7 MAILMAX=2\r\n"), "{reply}");
    client.command("MAIL FROM:<s@a.test>", 250);
    for n in 0..7 {
        client.command(&format!("RCPT TO:<u{n}@b.test>"), 250);
    }
    let further = client.command("RCPT TO:<u7@b.test>", 452);
    assert!(further.starts_with("452 4.5.3"), "{further}");
    client.command("RSET", 250);
    for _ in 0..2 {
        assert_eq!(client.message("s@a.test", &["u@b.test"], "Subject: x\r\n\r\nx").unwrap().0, 250);
    }
    client.command("MAIL FROM:<s@a.test>", 421);
    assert!(client.closed());
}

/// Sends one octet after the other until the server has had enough; when it had, and its last word.
fn drip(client: &mut Client, octets: &[u8], limit: Duration) -> (Duration, Option<(u16, String)>) {
    let began = Instant::now();
    let mut peek = [0; 1];
    client.stream.set_nonblocking(true).unwrap();
    let mut n = 0;
    while client.stream.peek(&mut peek).is_err() {
        assert!(began.elapsed() < limit, "the server waits for a slow client for ever");
        client.try_send(&octets[n % octets.len()..][..1]);
        n += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    client.stream.set_nonblocking(false).unwrap();
    (began.elapsed(), client.reply())
}

#[test]
fn a_command_that_drips_in() {
    let (_site, server) = serving("command_timeout = \"1s\"\nidle_timeout = \"1m\"");
    let mut client = server.connect();
    client.hello();
    let (took, reply) = drip(&mut client, b"NOOP xxxxx", Duration::from_secs(10));
    let (code, text) = reply.expect("a last word");
    assert!(code == 421 && text.starts_with("421 4.4.2"), "{text}");
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert!(client.closed());
}

#[test]
fn data_that_drips_in() {
    // Each pause is short enough; only the average is too low.
    let (_site, server) = serving("data_timeout = \"2s\"\nmin_data_rate = \"1KiB\"");
    let mut client = server.connect();
    client.hello();
    client.command("MAIL FROM:<s@a.test>", 250);
    client.command("RCPT TO:<u@b.test>", 250);
    client.command("DATA", 354);
    let (took, reply) = drip(&mut client, b"Subject: slow\r\n", Duration::from_secs(10));
    let (code, text) = reply.expect("a last word");
    assert!(code == 421 && text.starts_with("421 4.4.2"), "{text}");
    assert!(took >= Duration::from_millis(1900), "{took:?}");
    // A client that is only slower than others is not troubled.
    let mut client = server.connect();
    client.hello();
    client.command("MAIL FROM:<s@a.test>", 250);
    client.command("RCPT TO:<u@b.test>", 250);
    client.command("DATA", 354);
    for _ in 0..16 {
        client.send(format!("{}\r\n", "x".repeat(600)));
        std::thread::sleep(Duration::from_millis(200));
    }
    client.send(".\r\n");
    client.expect(250);
}

#[test]
fn silence_in_data_and_between_commands() {
    let (_site, server) = serving("idle_timeout = \"1s\"\ndata_timeout = \"1s\"");
    let mut idle = server.connect();
    let mut sending = server.connect();
    sending.hello();
    sending.command("MAIL FROM:<s@a.test>", 250);
    sending.command("RCPT TO:<u@b.test>", 250);
    sending.command("DATA", 354);
    sending.send("Subject: and then\r\n");
    for client in [&mut idle, &mut sending] {
        let text = client.expect(421);
        assert!(text.starts_with("421 4.4.2"), "{text}");
        assert!(client.closed());
    }
}

#[test]
fn a_reload_changes_the_size_for_new_sessions_only() {
    let (mut site, server) = serving("max_message_size = 2000");
    let mut old = server.connect();
    assert!(old.hello().contains("SIZE 2000\r\n"));
    site = site.listener(&lines("max_message_size = 4000"));
    site.set_extra(&format!("{HOLD}{LOGS}"));
    server.signal(Signal::HUP);
    let new_size = || server.connect().hello().contains("SIZE 4000\r\n");
    assert!(within(Duration::from_secs(5), new_size), "the new generation is not in effect");
    assert!(old.hello().contains("SIZE 2000\r\n"), "a session keeps the terms that it began with");
    assert_eq!(old.message("s@a.test", &["u@b.test"], &content(2001)).unwrap().0, 552);
    let mut new = server.connect();
    new.hello();
    assert_eq!(new.message("s@a.test", &["u@b.test"], &content(4000)).unwrap().0, 250);
    assert_eq!(new.message("s@a.test", &["u@b.test"], &content(4001)).unwrap().0, 552);
}
