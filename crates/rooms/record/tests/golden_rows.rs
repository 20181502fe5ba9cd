//! Every kind of row against its golden file, and what is written reads back the same.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use fabric::Slice;
use message::{
    About, Address, Agent, Attempt, BodyType, Complaint, Container, Content, Dots, Envelope, Event, EventSink as _,
    Lasting, Message, MessageId, Notify, Operation, Protocol, Reception, Recipient, Rejection, Reply, Returned, Stage,
    UnixMicros, Utf8,
};
use proptest::prelude::*;
use record::{LogSpec, LogWriters, RowFormat, parse_bounce, parse_ec, parse_feedback};
use std::sync::{Arc, OnceLock};

/// Compiled once for all cases.
fn classifier() -> Arc<bounce::Classifier> {
    static CLASSIFIER: OnceLock<Arc<bounce::Classifier>> = OnceLock::new();
    CLASSIFIER.get_or_init(|| Arc::new(bounce::Classifier::new())).clone()
}

fn message(local: &str, sender: Option<Address>, protocol: Protocol) -> Message {
    let recipient = |address| Recipient { address, notify: Notify::Unset, orcpt: None };
    Message {
        id: MessageId::new(1_254_219_116, 2001, 77, 0xD13B),
        envelope: Envelope {
            sender,
            recipients: vec![
                recipient(Address::new("first", "one.example").unwrap()),
                recipient(Address::new(local, "two.example").unwrap()),
            ],
            body_type: BodyType::SevenBit,
            utf8: Utf8::No,
            ret: None,
            envid: None,
        },
        reception: Reception {
            at: UnixMicros(1_254_219_116_500_000),
            connection: MessageId::new(1_254_219_110, 2001, 77, 1),
            peer: (protocol != Protocol::Internal).then(|| "192.0.2.7".parse().unwrap()),
            protocol,
            helo: "client.example".into(),
            dots: Dots::None,
        },
        trace: Slice::copy_from(b"Received: by us\r\n"),
        content: Content::Spooled { len: 1007 },
    }
}

fn container() -> Container {
    Container {
        name: "two.example".into(),
        binding: "outbound-1".into(),
        group: None,
        options: "two.example".into(),
        agent: Agent::Mx,
    }
}

/// What the four logs hold after `events`.
fn written(events: &[Event<'_>]) -> [String; 4] {
    let folder = tempfile::tempdir().unwrap();
    let spec = |name: &str, format| LogSpec::new(name, format, folder.path().join(name));
    let specs = vec![
        spec("main", RowFormat::Ec),
        spec("bounce", RowFormat::Bounce),
        spec("feedback", RowFormat::Feedback),
        spec("reject", RowFormat::Reject),
    ];
    let writers = LogWriters::open(specs, classifier()).unwrap();
    let recorder = writers.recorder();
    events.iter().for_each(|event| recorder.event(event));
    drop(recorder);
    drop(writers);
    ["main", "bounce", "feedback", "reject"].map(|name| std::fs::read_to_string(folder.path().join(name)).unwrap())
}

#[test]
fn rows_are_byte_for_byte_as_published() {
    let sender = Some(Address::new("news", "sender.example").unwrap());
    let message = message("\"a@b\"", sender, Protocol::Esmtp);
    let report = Message { envelope: Envelope { sender: None, ..message.envelope.clone() }, ..message.clone() };
    let report =
        Message { reception: Reception { peer: None, protocol: Protocol::Internal, ..report.reception }, ..report };
    let container = container();
    let attempt = Attempt {
        at: UnixMicros(1_254_219_120_000_000),
        message: &message,
        recipient: 1,
        container: &container,
        connection: MessageId::new(1_254_219_118, 2002, 77, 9),
        retries: 2,
        stage: Stage::AfterRcpt,
        sent: 0,
        peer: Some("198.51.100.9".parse().unwrap()),
    };
    let at = UnixMicros(1_254_219_117_000_000);
    let refused = Reply::new(550, "5.1.1 no such user\nsee https://two.example/@help");
    let later = Reply::new(451, "4.7.1 greylisted");
    let ok = Reply::new(250, "2.0.0 ok");
    let rejection = Rejection {
        at,
        peer: "192.0.2.7:51234".parse().unwrap(),
        local: "127.0.0.1:2525".parse().unwrap(),
        connection: message.reception.connection,
        pathway: "mx",
        phase: "RCPT TO",
        code: 550,
        module: "relay",
        sender: Some("news@sender.example"),
        recipient: Some("\"x y\"@elsewhere.example"),
        text: "5.7.1 relaying denied",
    };
    let (who, what) = ("uid=0 pid=71", "rebind to=b");
    let operation = Operation { at, who, what, filter: "all sender=@a.test", matched: 7, touched: 6 };
    let unreached = Attempt { stage: Stage::NotConnected, peer: None, ..attempt };
    let about = About {
        at: UnixMicros(1_254_219_121_000_000),
        message: &message,
        recipient: 0,
        id: Some(MessageId::new(1_254_219_110, 2001, 77, 2).legacy()),
        original: Some("joe@four.example"),
    };
    let returned =
        Returned { about, lasting: Lasting::ForGood, class: 10, text: "550 5.1.1\r\nno such user, ask @help" };
    let late = Returned { about: About { id: None, ..about }, lasting: Lasting::ForNow, class: 70, text: "" };
    let complaint = Complaint { about, kind: "abuse", domain: "fbl.example", user_string: "node a" };
    let [main, bounce, feedback, reject] = written(&[
        Event::Received { at, message: &message, recipient: 0, container: Some(&container) },
        Event::Received { at, message: &message, recipient: 1, container: Some(&container) },
        Event::Received { at, message: &report, recipient: 0, container: None },
        Event::Delivered { attempt, reply: &ok },
        Event::Transient { attempt: unreached, reply: &later },
        Event::Permanent { attempt, reply: &refused },
        Event::Returned(returned),
        Event::Returned(late),
        Event::Complained(complaint),
        Event::Rejected(rejection),
        Event::Operated(operation),
    ]);
    assert_eq!(main, include_str!("golden/main.ec"));
    assert_eq!(bounce, include_str!("golden/bounce.ec"));
    assert_eq!(feedback, include_str!("golden/feedback.ec"));
    assert_eq!(reject, include_str!("golden/reject.ec"));
    assert!(main.lines().all(|line| parse_ec(line).is_ok()));
    assert!(bounce.lines().all(|line| parse_bounce(line).is_ok()));
    assert!(feedback.lines().all(|line| parse_feedback(line).is_ok()));
}

proptest! {
    #[test]
    fn any_text_reads_back(local in "[ -~]{1,40}", reply in "[ -~]{0,60}", retries: u16, sent: u64) {
        let message = message(&local, None, Protocol::Esmtp);
        let container = container();
        let reply = Reply::new(550, &reply);
        let attempt = Attempt {
            at: UnixMicros(1_254_219_200_000_000),
            message: &message,
            recipient: 1,
            container: &container,
            connection: MessageId::NONE,
            retries,
            stage: Stage::SendingBody,
            sent,
            peer: None,
        };
        let [main, bounce, ..] = written(&[
            Event::Received { at: attempt.at, message: &message, recipient: 1, container: None },
            Event::Permanent { attempt, reply: &reply },
        ]);
        let rows: Vec<_> = main.lines().map(|line| parse_ec(line).unwrap()).collect();
        prop_assert_eq!(&rows[0].fields[0], &local);
        prop_assert_eq!(&rows[0].id, &message.id.nth(1).to_string());
        prop_assert_eq!(&rows[1].fields[8], &reply.to_string());
        prop_assert_eq!(&rows[1].fields[5], &retries.to_string());
        let row = parse_bounce(bounce.lines().next().unwrap()).unwrap();
        prop_assert_eq!(&row.fields[0], &local);
        prop_assert_eq!(&row.fields[10], &reply.to_string());
    }

    #[test]
    fn no_line_makes_the_parser_panic(line in "\\PC{0,200}") {
        let _ = parse_ec(&line);
        let _ = parse_bounce(&line);
        let _ = parse_feedback(&line);
    }
}
