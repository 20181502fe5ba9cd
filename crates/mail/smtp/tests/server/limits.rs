//! Each limit, at its edge.

use crate::talk::Talk;
use std::fmt::Write as _;

const TEXT: &str = "DATA\r\nx\r\n.\r\n";

#[test]
fn command_line() {
    let mut talk = Talk::greeted_with(|rules| rules.command_bytes_max = 512);
    let line = |n: usize| format!("NOOP {}\r\n", "x".repeat(n - 7));
    assert_eq!(talk.codes(line(512)), "250");
    assert_eq!(talk.codes(line(513)), "500");
    let long = line(5000);
    let mut codes = String::new();
    for part in long.as_bytes().chunks(100) {
        codes += &talk.codes(part);
    }
    assert_eq!(codes, "500");
    assert_eq!(talk.codes("NOOP\r\n"), "250");
    let mut codes = String::new();
    for _ in 0..200 {
        codes += &talk.codes([b'x'; 1000]);
    }
    assert_eq!(codes, "500421");
    assert!(talk.is_closed());
}

#[test]
fn recipients_of_a_message() {
    let mut talk = Talk::greeted_with(|rules| rules.recipients_max = 2);
    talk.say("MAIL FROM:<a@b>\r\n");
    assert_eq!(talk.codes("RCPT TO:<a@b>\r\n".repeat(3)), "250 250 452");
    assert_eq!(talk.codes(TEXT), "354 250");
    assert_eq!(talk.stored[0].envelope.recipients.len(), 2);
    // Clients may try more often than errors are allowed, but not for ever.
    talk.say("MAIL FROM:<a@b>\r\n");
    let codes = talk.codes("RCPT TO:<a@b>\r\n".repeat(100));
    assert_eq!(codes, format!("250 250 {}421", "452 ".repeat(20)));
    assert!(talk.is_closed());
}

#[test]
fn a_hundred_thousand_recipients_cost_no_more_than_the_limit() {
    let mut talk = Talk::greeted();
    talk.say("MAIL FROM:<a@b>\r\n");
    let mut last = String::new();
    for n in 0..1000 {
        let mut group = String::new();
        for m in 0..100 {
            let _ = write!(group, "RCPT TO:<r{n}.{m}@b>\r\n");
        }
        let codes = talk.codes(group);
        if talk.is_closed() {
            last = codes;
            break;
        }
    }
    assert!(last.ends_with("421"), "{last}");
}

#[test]
fn recipients_of_a_session() {
    let mut talk = Talk::greeted_with(|rules| rules.session_recipients_max = 3);
    assert_eq!(talk.codes("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nRCPT TO:<a@b>\r\n"), "250 250 250");
    assert_eq!(talk.codes(TEXT), "354 250");
    assert_eq!(talk.codes("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nRCPT TO:<a@b>\r\n"), "250 250 452");
}

#[test]
fn messages_of_a_session() {
    let mut talk = Talk::greeted_with(|rules| rules.messages_max = 2);
    for _ in 0..2 {
        talk.begin();
        talk.say(TEXT);
    }
    assert_eq!(talk.codes("MAIL FROM:<a@b>\r\n"), "421");
    assert!(talk.is_closed());
}

#[test]
fn size_announced() {
    let mut talk = Talk::greeted_with(|rules| rules.message_bytes_max = 1000);
    assert_eq!(talk.say("MAIL FROM:<a@b> SIZE=1001\r\n"), "552 5.3.4 message size limit exceeded\r\n");
    assert_eq!(talk.codes(format!("MAIL FROM:<a@b> SIZE={}\r\n", "9".repeat(25))), "552");
    assert_eq!(talk.codes("MAIL FROM:<a@b> SIZE=1000\r\n"), "250");
}

#[test]
fn size_received() {
    let mut talk = Talk::greeted_with(|rules| rules.message_bytes_max = 1000);
    let text = |n: usize| format!("DATA\r\n{}\r\n.\r\n", "x".repeat(n - 2));
    talk.begin();
    assert_eq!(talk.codes(text(1000)), "354 250");
    talk.begin();
    assert_eq!(talk.codes(text(1001)), "354 552");
    assert_eq!((talk.stored.len(), talk.abandoned), (1, 2));
    talk.begin();
    talk.say("DATA\r\n");
    // Endless content is told why, and then nobody listens any more.
    let mut codes = String::new();
    for _ in 0..2000 {
        codes += &talk.codes([b'x'; 1000]);
    }
    assert_eq!(codes, "552");
    assert!(talk.is_closed());
}

#[test]
fn length_of_a_text_line() {
    let mut talk = Talk::greeted_with(|rules| rules.text_line_max = 1000);
    talk.begin();
    assert_eq!(talk.codes(format!("DATA\r\n{}\r\n.\r\n", "x".repeat(1000))), "354 250");
    talk.begin();
    assert_eq!(talk.codes(format!("DATA\r\n{}\r\n.\r\n", "x".repeat(1001))), "354 554");
}

#[test]
fn header_section() {
    let mut talk = Talk::greeted_with(|rules| {
        rules.header_fields_max = 100;
        rules.header_bytes_max = 4096;
    });
    talk.begin();
    assert_eq!(talk.codes(format!("DATA\r\n{}\r\n.\r\n", "A: b\r\n".repeat(100))), "354 250");
    talk.begin();
    assert_eq!(talk.codes(format!("DATA\r\n{}\r\n.\r\n", "A: b\r\n".repeat(101))), "354 554");
    talk.begin();
    let field = format!("A: {}\r\n", "x".repeat(4096 - 7));
    assert_eq!(talk.codes(format!("DATA\r\n{field}\r\nbody {field}.\r\n")), "354 250");
    talk.begin();
    assert_eq!(talk.codes(format!("DATA\r\nA{field}\r\n.\r\n")), "354 554");
}

#[test]
fn hops() {
    let mut talk = Talk::greeted();
    talk.begin();
    assert_eq!(talk.codes(format!("DATA\r\n{}\r\nReceived: x\r\n.\r\n", "Received: x\r\n".repeat(100))), "354 250");
    talk.begin();
    let reply = talk.say(format!("DATA\r\n{}\r\n.\r\n", "Received: x\r\n".repeat(101)));
    assert!(reply.ends_with("554 5.4.6 too many hops, mail loop\r\n"), "{reply}");
}

#[test]
fn errors() {
    let mut talk = Talk::greeted_with(|rules| rules.errors_max = 3);
    assert_eq!(talk.codes("DATA\r\nDATA\r\n"), "503 503");
    talk.begin();
    assert_eq!(talk.codes(TEXT), "354 250");
    // A message wipes the slate clean.
    assert_eq!(talk.codes("DATA\r\nDATA\r\n"), "503 503");
    assert_eq!(talk.codes("DATA\r\nDATA\r\n"), "503 421");
    assert!(talk.is_closed());
    assert_eq!(talk.refused.last().map(|refused| refused.refusal.code()), Some(421));
}

#[test]
fn unknown_commands() {
    let mut talk = Talk::greeted_with(|rules| rules.unknown_max = 2);
    assert_eq!(talk.codes("FOO\r\n"), "500");
    assert_eq!(talk.codes("BAR\r\nNOOP\r\n"), "500 421");
    assert!(talk.is_closed());
}

#[test]
fn commands_that_lead_nowhere() {
    let mut talk = Talk::greeted_with(|rules| rules.idle_commands_max = 4);
    assert_eq!(talk.codes("NOOP\r\nRSET\r\nVRFY x\r\nEHLO x\r\n"), "250 250 252 250");
    talk.begin();
    assert_eq!(talk.codes(TEXT), "354 250");
    assert_eq!(talk.codes("NOOP\r\n".repeat(6)), "250 250 250 250 421");
    assert!(talk.is_closed());
}

#[test]
fn null_sender() {
    let mut talk = Talk::greeted_with(|rules| rules.allow_null_sender = false);
    assert_eq!(talk.codes("MAIL FROM:<>\r\nMAIL FROM:<a@b>\r\n"), "550 250");
}

#[test]
fn other_protocols() {
    for request in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<a@b>\r\n",
        b"CONNECT a:25 HTTP/1.1\r\n",
    ] {
        let mut talk = Talk::new(|_| {});
        talk.replies();
        assert_eq!(talk.codes(request), "421");
        assert!(talk.is_closed());
    }
    let mut talk = Talk::new(|_| {});
    talk.replies();
    assert_eq!(talk.codes(b"\x16\x03\x01\x02\x00\x01\x00"), "554");
    assert!(talk.is_closed());
}

#[test]
fn octets_that_no_command_has() {
    let mut talk = Talk::greeted();
    for line in [&b"NO\0OP\r\n"[..], b"\xff\xfe\xfd\r\n", b"MAIL FROM:<a\x08@b>\r\n"] {
        assert_eq!(talk.codes(line), "500");
    }
    assert_eq!(talk.codes(b"MAIL FROM:<\xe4@b>\r\n"), "501");
}
