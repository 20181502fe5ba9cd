//! Messages as they are handed on: envelope, trace header, content, order of store and reply.

use crate::house::{Client, House, config, content};
use message::{Protocol, StoreError};
use std::io::{Read, Write};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

#[test]
fn a_message_with_its_trace_header() {
    let house = House::new("");
    let mut client = house.greeted();
    let reply = client.deliver("From: a\r\nSubject: x\r\n\r\ntext\r\n..dot\r\n");
    let message = &house.messages()[0];
    assert_eq!(reply, format!("250 2.0.0 OK {}", message.id));
    assert_eq!(content(message), b"From: a\r\nSubject: x\r\n\r\ntext\r\n.dot\r\n");
    let trace = String::from_utf8(message.trace.to_vec()).unwrap();
    let begin = format!(
        "Received: from client.example.net ([127.0.0.1])\r\n\tby mx.example.org with ESMTP id {};\r\n\t",
        message.id
    );
    assert!(trace.starts_with(&begin) && trace.ends_with(" +0000\r\n"), "{trace}");
    assert_eq!(message.reception.peer, Some("127.0.0.1".parse().unwrap()));
    assert_eq!((&*message.reception.helo, message.reception.protocol), ("client.example.net", Protocol::Esmtp));
    assert_eq!(client.codes("QUIT\r\n", 1), [221]);
    assert_eq!(client.rest(), "");
}

#[test]
fn a_submission_gets_what_it_lacks() {
    let house = House::new("protocol = \"submission\"");
    let mut client = house.greeted();
    client.deliver("From: a\r\n\r\ntext\r\n");
    client.deliver("Date: x\r\nMessage-ID: <y>\r\n\r\ntext\r\n");
    client.deliver("no header at all\r\n");
    let trace = |n: usize| String::from_utf8(house.messages()[n].trace.to_vec()).unwrap();
    assert!(trace(0).contains("\r\nDate: ") && trace(0).contains("@mx.example.org>\r\n"), "{}", trace(0));
    assert!(!trace(1).contains("\r\nDate: ") && !trace(1).contains("Message-ID"), "{}", trace(1));
    assert!(trace(2).ends_with(">\r\n\r\n"), "{}", trace(2));
}

#[test]
fn ids_of_a_message_reach_to_its_last_recipient() {
    let house = House::new("");
    let mut client = house.greeted();
    let group = "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<postmaster>\r\nDATA\r\n.\r\n";
    assert_eq!(client.codes(group, 6), [250, 250, 250, 250, 354, 250]);
    client.deliver("x\r\n");
    let messages = house.messages();
    assert_eq!(messages[0].envelope.recipients[2].address.as_str(), "root@example.org");
    assert!(messages[0].id.nth(2) < messages[1].id && messages[0].id.nth(3).0 as u64 <= messages[1].id.0 as u64);
}

#[test]
fn no_250_before_the_spool_has_it() {
    let house = House::new("");
    let mut client = house.greeted();
    house.shared.holding.store(true, SeqCst);
    client.codes("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", 3);
    client.send("x\r\n.\r\n");
    client.stream.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    assert!(client.stream.read(&mut [0; 10]).is_err());
    assert!(house.messages().is_empty());
    client.stream.set_read_timeout(Some(crate::house::PATIENCE)).unwrap();
    house.shared.holding.store(false, SeqCst);
    assert_eq!(client.code(), 250);
    assert_eq!(house.messages().len(), 1);
}

#[test]
fn a_spool_that_fails_is_said() {
    let house = House::new("");
    let mut client = house.greeted();
    for (error, reply) in [(StoreError::Full, "452 4.3.1"), (StoreError::Failed, "451 4.3.0")] {
        *house.shared.failure.lock().unwrap() = Some(error);
        assert!(client.deliver("x\r\n").starts_with(reply));
    }
    *house.shared.failure.lock().unwrap() = None;
    assert!(client.deliver("y\r\n").starts_with("250"));
    assert_eq!(house.messages().len(), 1);
    *house.shared.failure.lock().unwrap() = Some(StoreError::Stopping);
    assert!(client.deliver("x\r\n").starts_with("421 4.3.2"));
    assert_eq!(client.rest(), "");
}

#[test]
fn a_thousand_messages_of_one_session_all_in_one_write() {
    let house = House::new("");
    let mut client = house.greeted();
    let one = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 7 LAST\r\nhello\r\n";
    let mut writer = client.stream.try_clone().unwrap();
    let all = std::thread::spawn(move || writer.write_all(one.repeat(1000).as_bytes()).unwrap());
    for _ in 0..3000 {
        assert_eq!(client.code(), 250);
    }
    all.join().unwrap();
    let messages = house.messages();
    assert_eq!(messages.len(), 1000);
    assert!(messages.iter().all(|message| content(message) == b"hello\r\n"));
    assert!(messages.windows(2).all(|pair| pair[0].id != pair[1].id));
    let figures = house.figures();
    assert_eq!((figures.messages, figures.recipients, figures.bytes), (1000, 1000, 7000));
}

#[test]
fn sessions_on_two_loops_do_not_mix_their_content() {
    let plan = crate::house::Plan { loops: 2, ..crate::house::Plan::default() };
    let house = House::build(config("", ""), plan);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let mut client = house.greeted();
            scope.spawn(move || {
                for m in 0..50 {
                    let line = format!("{n} {m} ").repeat(20 + 40 * m % 300);
                    // In parts, so that the windows of the sessions interleave.
                    client.codes("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", 3);
                    for part in format!("{line}\r\n.\r\n").as_bytes().chunks(700) {
                        client.send(part);
                    }
                    assert_eq!(client.code(), 250);
                }
            });
        }
    });
    let messages = house.messages();
    assert_eq!(messages.len(), 400);
    let mut seen = std::collections::HashSet::new();
    for message in messages {
        let text = String::from_utf8(content(&message)).unwrap();
        let words: Vec<&str> = text.split_whitespace().take(2).collect();
        let (n, m) = (words[0].parse::<usize>().unwrap(), words[1].parse::<usize>().unwrap());
        assert_eq!(text, format!("{}\r\n", format!("{n} {m} ").repeat(20 + 40 * m % 300)));
        assert!(seen.insert((n, m)));
    }
}

#[test]
fn lmtp_over_a_unix_socket() {
    let house = House::new("protocol = \"lmtp\"");
    let mut stream = std::os::unix::net::UnixStream::connect(&house.unix).unwrap();
    let text = "LHLO here\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
    stream.write_all(text.as_bytes()).unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).unwrap();
    assert_eq!(replies.matches("250 2.0.0 OK ").count(), 2, "{replies}");
    let message = &house.messages()[0];
    assert_eq!((message.reception.peer, message.reception.protocol), (None, Protocol::Lmtp));
    assert!(message.trace.starts_with(b"Received: from here (local socket)\r\n\tby mx.example.org with LMTP id"));
}

#[test]
fn content_that_dribbles_comes_out_whole() {
    let house = House::new("");
    let mut client: Client = house.greeted();
    client.codes("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", 3);
    for octet in b"Subject: x\r\n\r\n..a\r\nb\r\n.\r\n" {
        client.send([*octet]);
    }
    assert_eq!(client.code(), 250);
    assert_eq!(content(&house.messages()[0]), b"Subject: x\r\n\r\n.a\r\nb\r\n");
}
