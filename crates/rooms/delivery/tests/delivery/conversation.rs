//! Mail over connections: kept ones, large mail, refusals, peers that go away.

use crate::bench::{Bench, message, on_a_bench};
use crate::peer::{Peer, at, usual};
use message::BodyType;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const ALL: [&str; 4] = ["PIPELINING", "8BITMIME", "SIZE 100000000", "DSN"];

#[test]
fn a_thousand_messages_go_over_one_connection() {
    for extensions in [&ALL[..], &["PIPELINING", "CHUNKING"], &["CHUNKING"], &[]] {
        let peer = Peer::start(extensions, usual);
        on_a_bench("", move |bench| async move {
            let container = Bench::smtp(peer.address);
            for n in 0..1_000 {
                let content = format!("Subject: {n}\r\n\r\n..two\r\n.one\r\nbody\r\n");
                bench.put(&container, message(Some("s@a.example"), &["r@b.example"], content.as_bytes()));
            }
            bench.delivery.work_came();
            bench.until_rows("D", 1_000).await;
            let seen = peer.seen();
            assert_eq!((seen.connections, seen.messages.len()), (1, 1_000));
            for (n, mail) in seen.messages.iter().enumerate() {
                let content = format!("Received: by us\r\nSubject: {n}\r\n\r\n..two\r\n.one\r\nbody\r\n");
                assert_eq!(String::from_utf8_lossy(&mail.content), content);
                assert_eq!(mail.recipients, ["<r@b.example>"]);
            }
            assert_eq!(bench.count("999.0 delivered"), 1);
            assert_eq!(bench.names.read(&bench.gauges).delivered, 1_000);
        });
    }
}

#[test]
fn recipients_of_a_message_share_a_transaction_up_to_the_limit() {
    let peer = Peer::start(&ALL, at("RCPT TO:<r1@", "550 5.1.1 no such user\r\n"));
    on_a_bench("max_recipients_per_batch = 3", move |bench| async move {
        let recipients = ["r0@b.example", "r1@b.example", "r2@b.example", "r3@b.example"];
        bench.put(&Bench::smtp(peer.address), message(Some("s@a.example"), &recipients, b"x\r\n"));
        bench.delivery.work_came();
        bench.until_rows("D", 3).await;
        let seen = peer.seen();
        assert_eq!(seen.messages.iter().map(|mail| mail.recipients.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(bench.count("P 1 5 0 550 5.1.1 no such user"), 1);
    });
}

#[test]
fn a_large_message_streams_from_the_spool() {
    for extensions in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING"]] {
        let peer = Peer::start(extensions, usual);
        on_a_bench("", move |bench| async move {
            let content = b"line\r\n.dot\r\n..\r\n".repeat(300_000);
            let container = Bench::smtp(peer.address);
            bench.put(&container, message(Some("s@a.example"), &["r@b.example"], b"before\r\n"));
            bench.put_spooled(&container, message(Some("s@a.example"), &["r@b.example"], b""), content.clone());
            bench.put_cold(&container, message(Some("s@a.example"), &["r@b.example"], b"behind\r\n"));
            bench.delivery.work_came();
            bench.until_rows("D", 3).await;
            let seen = peer.seen();
            assert_eq!(seen.connections, 1);
            assert!(seen.messages[1].content == [b"Received: by us\r\n", &content[..]].concat());
            assert!(seen.messages[2].content.ends_with(b"behind\r\n"));
            assert_eq!(bench.count(&format!("D 0 9 {} 250", content.len() + 17)), 1);
        });
    }
}

#[test]
fn spooled_content_that_only_claims_eight_bits_goes_to_a_plain_peer() {
    let peer = Peer::start(&["PIPELINING"], usual);
    on_a_bench("", move |bench| async move {
        let container = Bench::smtp(peer.address);
        for content in [&b"plain\r\n"[..], b"caf\xe9\r\n"] {
            let mut claims = message(Some("s@a.example"), &["r@b.example"], b"");
            claims.envelope.body_type = BodyType::EightBit;
            bench.put_spooled(&container, claims, content.to_vec());
        }
        bench.delivery.work_came();
        bench.until_rows("D 0 9 24 250", 1).await;
        bench.until_rows("P 0 1 0 554 5.6.3", 1).await;
        assert_eq!(peer.seen().messages.len(), 1);
    });
}

#[test]
fn an_idle_connection_takes_the_next_message_and_then_says_quit() {
    let peer = Peer::start(&ALL, usual);
    on_a_bench("idle_timeout = \"150ms\"", move |bench| async move {
        let container = Bench::smtp(peer.address);
        for n in 1..=3 {
            bench.put(&container, message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
            bench.delivery.work_came();
            bench.until_rows("D", n).await;
            bench.context.timers().sleep(Duration::from_millis(30)).await;
        }
        bench.until_rows("closed Done", 1).await;
        bench.until(|_| peer.seen().commands.last().is_some_and(|command| command == "QUIT")).await;
        assert_eq!(peer.seen().connections, 1);
        assert_eq!(bench.work.borrow().open(), 0);
    });
}

#[test]
fn a_connection_ends_after_its_share_of_deliveries() {
    let peer = Peer::start(&ALL, usual);
    on_a_bench("max_deliveries_per_connection = 4", move |bench| async move {
        let container = Bench::smtp(peer.address);
        for _ in 0..10 {
            bench.put(&container, message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
        }
        bench.delivery.work_came();
        bench.until_rows("D", 10).await;
        let mut counts = [0; 4];
        peer.seen().messages.iter().for_each(|mail| counts[mail.connection] += 1);
        assert_eq!(counts, [0, 4, 4, 2]);
    });
}

#[test]
fn what_was_not_tried_when_the_peer_closes_goes_over_the_next_connection() {
    // Closes each connection behind its third message, without a word and with 421 in turns.
    let content = AtomicUsize::new(0);
    let bend = move |command: &str| match command {
        "content" => None,
        _ if command.starts_with("MAIL") => match content.fetch_add(1, Ordering::Relaxed) % 8 {
            3 => Some(String::new()),
            7 => Some("421 4.7.0 enough for now\r\n".to_owned()),
            _ => None,
        },
        _ => None,
    };
    let peer = Peer::start(&ALL, bend);
    on_a_bench("", move |bench| async move {
        let container = Bench::smtp(peer.address);
        for _ in 0..30 {
            bench.put(&container, message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
        }
        bench.delivery.work_came();
        bench.until_rows("D", 30).await;
        assert_eq!((bench.count("T"), bench.count("P")), (0, 0));
        assert_eq!(peer.seen().messages.len(), 30);
        assert!(peer.seen().connections >= 10);
    });
}

#[test]
fn refusals_at_each_step_are_told_with_their_stage() {
    let cases = [
        ("MAIL", "451 4.3.0 later\r\n", "T 0 3 0 451 4.3.0 later"),
        ("RCPT", "452 4.2.2 full\r\n", "T 0 5 0 452 4.2.2 full"),
        ("DATA", "554 5.7.1 no\r\n", "P 0 7 0 554 5.7.1 no"),
        ("content", "552 5.3.4 too big\r\n", "P 0 9 20 552 5.3.4 too big"),
        ("MAIL", "421 4.3.2 closing\r\n", "T 0 3 0 421 4.3.2 closing"),
        ("RCPT", "", "T 0 5 0 451 4.4.2 [internal] connection closed by remote host"),
        ("content", "", "T 0 9 20 451 4.4.2 [internal] connection closed by remote host"),
        ("DATA", "gibberish\r\n", "T 0 7 0 451 4.5.0 [internal] reply without a code"),
    ];
    for (step, reply, row) in cases {
        let peer = Peer::start(&[], at(step, reply));
        on_a_bench("generate_bounces = false", move |bench| async move {
            bench.put(&Bench::smtp(peer.address), message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
            bench.delivery.work_came();
            bench.until(|bench| bench.count("T") + bench.count("P") > 0).await;
            assert_eq!(bench.count(row), 1, "{row} in {:#?}", bench.rows.borrow());
        });
    }
}

#[test]
fn a_silent_peer_costs_its_time_and_no_more() {
    let peer = Peer::start(&[], |command: &str| {
        if command.starts_with("MAIL") {
            std::thread::sleep(Duration::from_millis(500));
        }
        None
    });
    on_a_bench("mailfrom_timeout = \"50ms\"", move |bench| async move {
        bench.put(&Bench::smtp(peer.address), message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
        bench.delivery.work_came();
        bench.until_rows("T 0 3 0 451 4.4.2 [internal] no MAIL FROM response", 1).await;
        bench.until_rows("closed Rebuffed", 1).await;
    });
}

#[test]
fn lmtp_gives_each_recipient_its_own_reply() {
    let peer = Peer::start(&["PIPELINING"], at("content", "250 saved\r\n452 4.2.2 full\r\n"));
    on_a_bench("", move |bench| async move {
        let host = message::Host { name: peer.address.ip().to_string().into(), port: peer.address.port() };
        let container = Bench::container(message::Agent::Lmtp(host));
        bench.put(&container, message(Some("s@a.example"), &["r0@b.example", "r1@b.example"], b"x\r\n"));
        bench.delivery.work_came();
        bench.until_rows("D 0 9 20 250 saved", 1).await;
        bench.until_rows("T 1 9 20 452 4.2.2 full", 1).await;
        assert!(peer.seen().commands[0].starts_with("LHLO"));
    });
}
