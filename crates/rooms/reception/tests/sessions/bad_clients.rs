//! Clients that misbehave on the level of the connection.

use crate::house::{House, content};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

#[test]
fn half_closed_after_the_last_command_is_answered_in_full() {
    let house = House::new("");
    let mut client = house.client();
    client.send("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nNOOP\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    let codes: Vec<u16> = (0..7).map(|_| client.code()).collect();
    assert_eq!(codes, [220, 250, 250, 250, 354, 250, 250]);
    assert_eq!(client.rest(), "");
}

#[test]
fn half_a_message_is_none() {
    let house = House::new("");
    for cut in [
        "DATA\r\nhalf",
        "DATA\r\nhalf\r\n",
        "DATA\r\nhalf\r\n.",
        "DATA\r\nhalf\r\n.\r",
        "BDAT 10 LAST\r\nhalf",
        "BDAT 4\r\nhalf",
    ] {
        let mut client = house.greeted();
        client.send(format!("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n{cut}"));
        client.stream.shutdown(Shutdown::Write).unwrap();
        client.rest();
    }
    house.until("the end of all", |house| house.figures().sessions == 0);
    assert!(house.messages().is_empty());
}

#[test]
fn a_reset_at_any_moment_ends_the_session_only() {
    let house = House::new("");
    let text = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
    for cut in (0..text.len()).step_by(3) {
        let mut client = house.client();
        client.send(&text[..cut]);
        // Closing with unread replies resets the connection.
        drop(client);
    }
    house.until("the end of all", |house| house.figures().sessions == 0);
    assert!(house.greeted().deliver("x\r\n").starts_with("250"));
}

#[test]
fn a_client_that_reads_nothing_is_dropped_and_costs_little() {
    let house = House::new("write_timeout = \"1s\"\nmax_idle_commands = 1000000");
    let mut deaf = house.client();
    deaf.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let noops = "NOOP\r\n".repeat(10_000);
    // The server stops reading when its replies are not taken, so that sending blocks too.
    let begin = Instant::now();
    let mut sent = 0;
    while begin.elapsed() < crate::house::PATIENCE {
        match deaf.stream.write(noops.as_bytes()) {
            Ok(written) => sent += written,
            Err(_) => break,
        }
    }
    assert!(begin.elapsed() < crate::house::PATIENCE, "{sent} octets and no end");
    house.until("the end of the session", |house| house.figures().sessions == 0);
    assert!(house.windows.stats().live <= 2);
}

#[test]
fn a_slow_client_is_told_and_dropped() {
    let house = House::new("idle_timeout = \"1s\"");
    let mut idle = house.greeted();
    let begin = Instant::now();
    assert!(idle.reply().starts_with("421 4.4.2"));
    assert!(begin.elapsed() >= Duration::from_millis(990), "{:?}", begin.elapsed());
    idle.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(idle.rest(), "");
}

#[test]
fn an_early_talker_is_told_and_dropped() {
    let house = House::new("greeting_delay = \"1s\"");
    let mut early = house.client();
    early.send("EHLO x\r\n");
    assert!(early.reply().starts_with("554 5.5.1"));
    let mut patient = house.client();
    assert_eq!(patient.code(), 220);
}

#[test]
fn other_protocols_hear_the_refusal_although_they_go_on_talking() {
    let house = House::new("");
    let mut browser = house.client();
    assert_eq!(browser.code(), 220);
    let mut request = b"POST / HTTP/1.1\r\nHost: mx\r\n\r\n".to_vec();
    request.resize(100_000, b'x');
    browser.send(request);
    assert!(browser.reply().starts_with("421 4.7.0"));
    // The end in order, not a reset that may overtake the reply.
    assert_eq!(browser.stream.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn a_line_without_end_costs_64_kib() {
    let house = House::new("");
    let mut client = house.greeted();
    let block = [b'x'; 8192];
    while client.stream.write(&block).is_ok_and(|_| !has_reply(&client.stream)) {}
    assert!(client.reply().starts_with("500 5.5.2"));
    let begin = Instant::now();
    while client.stream.write_all(&block).is_ok() && begin.elapsed() < crate::house::PATIENCE {}
    let rest = client.rest();
    assert!(rest.is_empty() || rest.starts_with("421 4.7.0"), "{rest}");
    house.until("the end of the session", |house| house.figures().sessions == 0);
    assert!(house.rejections().iter().any(|row| row.contains("E=421") && row.contains("too long")));
}

fn has_reply(stream: &std::net::TcpStream) -> bool {
    stream.peek(&mut [0]).is_ok()
}

#[test]
fn messages_of_many_small_lines_and_dots_are_kept_whole() {
    let house = House::new("");
    let mut client = house.greeted();
    client.codes("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", 3);
    client.send("..\r\n".repeat(100_000) + ".\r\n");
    assert_eq!(client.code(), 250);
    let message = &house.messages()[0];
    assert!(content(message) == ".\r\n".repeat(100_000).as_bytes());
    let message::Content::Resident(body) = &message.content else { panic!("not resident") };
    assert!(body.slices().len() <= 16, "{} slices", body.slices().len());
}

#[test]
fn data_after_quit_is_nothing() {
    let house = House::new("");
    let mut client = house.greeted();
    client.send("QUIT\r\nMAIL FROM:<a@b>\r\n");
    assert_eq!(client.code(), 221);
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest);
    assert!(rest.is_empty());
}
