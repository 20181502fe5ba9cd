//! Whole reports against golden files. After a change that is meant: `UPDATE_GOLDEN=1 cargo test -p message`.

use fabric::Slice;
use message::dsn::{Action, Original, Report, Reported};
use message::{
    Address, Body, BodyType, Content, Dots, Enhanced, Envelope, Message, MessageId, Notify, Protocol, Reception,
    Recipient, Reply, UnixMicros, Utf8,
};

fn message(sender: &str, recipients: &[(&str, Option<&str>)], utf8: Utf8) -> Message {
    let recipient = |&(address, orcpt): &(&str, Option<&str>)| Recipient {
        address: Address::parse(address).expect("an address"),
        notify: Notify::Unset,
        orcpt: orcpt.map(Into::into),
    };
    Message {
        id: MessageId::new(1_700_000_000, 3, 0xABCD, 9),
        envelope: Envelope {
            sender: Some(Address::parse(sender).expect("an address")),
            recipients: recipients.iter().map(recipient).collect(),
            body_type: BodyType::SevenBit,
            utf8,
            ret: None,
            envid: Some("Q+2B+0D+0AX-Evil:1".into()),
        },
        reception: Reception {
            at: UnixMicros::from_seconds(1_700_000_000),
            connection: MessageId::NONE,
            peer: None,
            protocol: Protocol::Esmtp,
            helo: "client".into(),
            dots: Dots::None,
        },
        trace: Slice::empty(),
        content: Content::Resident(Body::new()),
    }
}

fn check(name: &str, octets: &[u8]) {
    let path = format!("{}/tests/dsn/{name}.eml", env!("CARGO_MANIFEST_DIR"));
    let text = String::from_utf8(octets.to_vec()).expect("a text");
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "bare line ends");
    let text = text.replace("\r\n", "\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("a golden file is written");
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{path}");
}

fn report<'a>(message: &'a Message, original: Original<'a>, recipients: &'a [Reported<'a>]) -> Report<'a> {
    Report {
        host: "mx1.example.org",
        id: MessageId::new(1_700_003_600, 1, 0x1234, 5),
        at: UnixMicros::from_seconds(1_700_003_600),
        message,
        original,
        recipients,
    }
}

const TRIED: UnixMicros = UnixMicros::from_seconds(1_700_003_599);

#[test]
fn two_failures_with_headers() {
    let recipients = [("a@b.example", Some("rfc822;old+2Bname@c.example+0D+0AX-Evil:2")), ("\"q q\"@b.example", None)];
    let message = message("s@a.example", &recipients, Utf8::No);
    let refused =
        Reply::new(550, "5.1.1 no such user\nreally, and this explanation goes on for longer than a line may");
    let expired = Reply::new(421, "4.4.0 [internal] no MXs for this domain could be reached at this time");
    let failed = |recipient, status, remote, reply| Reported {
        recipient,
        action: Action::Failed,
        status,
        remote,
        reply: Some(reply),
        tried: TRIED,
        retried_until: None,
    };
    let recipients =
        [failed(0, Enhanced(5, 1, 1), Some("[192.0.2.1]"), &refused), failed(1, Enhanced(5, 4, 7), None, &expired)];
    let headers = b"From: <s@a.example>\r\nSubject: lunch\r\n";
    check("two_failures_with_headers", &report(&message, Original::Headers(headers), &recipients).write());
}

#[test]
fn a_delay() {
    let message = message("s@a.example", &[("a@b.example", None)], Utf8::No);
    let reply = Reply::new(451, "4.4.2 [internal] no MAIL FROM response");
    let late = [Reported {
        recipient: 0,
        action: Action::Delayed,
        status: Enhanced(4, 4, 2),
        remote: Some("[192.0.2.1]"),
        reply: Some(&reply),
        tried: TRIED,
        retried_until: Some(UnixMicros::from_seconds(1_700_086_400)),
    }];
    check("a_delay", &report(&message, Original::Headers(b"Subject: x\r\n"), &late).write());
}

#[test]
fn a_failure_beyond_ascii_with_all_of_the_message() {
    let message = message("sönder@ä.example", &[("ü@b.example", Some("utf-8;ü@b.example"))], Utf8::Yes);
    let reply = Reply::new(553, "5.6.7 [internal] SMTPUTF8 required but not supported by remote host");
    let failed = [Reported {
        recipient: 0,
        action: Action::Failed,
        status: Enhanced(5, 6, 7),
        remote: Some("[IPv6:2001:db8::1]"),
        reply: Some(&reply),
        tried: TRIED,
        retried_until: None,
    }];
    let full = "Subject: Grüße\r\n\r\nText ohne Zeilenende".as_bytes();
    check("a_failure_beyond_ascii", &report(&message, Original::Full(full), &failed).write());
}

#[test]
fn a_relay_to_a_server_without_dsn() {
    let message = message("s@a.example", &[("a@b.example", None)], Utf8::No);
    let relayed = [Reported {
        recipient: 0,
        action: Action::Relayed,
        status: Enhanced(2, 0, 0),
        remote: Some("[192.0.2.1]"),
        reply: None,
        tried: TRIED,
        retried_until: None,
    }];
    check("a_relay", &report(&message, Original::Headers(b"Subject: x\r\n"), &relayed).write());
}
