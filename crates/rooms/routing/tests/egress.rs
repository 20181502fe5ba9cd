//! Which mail leaves by which binding: the conditions of `[egress.…]`, their order, and the shares of a group.

use config::Config;
use message::{
    Address, BodyType, Content, Dots, Envelope, Message, MessageId, Priority, Protocol, Reception, Recipient, Routed,
    UnixMicros, Utf8,
};
use routing::{Router, head};
use std::collections::HashMap;
use std::sync::Arc;

const TEXT: &str = "\
[binding.news]
[binding.bulk-1]
[binding.bulk-2]
[binding.bulk-3]
[binding.acme]
port = 2525
[binding_group.bulk]
bindings = [\"bulk-1\", \"bulk-2\", \"bulk-3\"]
weights = [3, 1, 0]
[egress.by-header]
header = [\"X-Stream: News\", \"X-Urgent\"]
binding = \"news\"
[egress.by-both]
sender = [\"*.example\"]
recipient = [\"far.test\"]
binding = \"bulk-3\"
[egress.by-sender]
sender = [\"Shop.example\"]
binding_group = \"bulk\"
[egress.by-tenant]
tenant = [\"acme\", \"alone.example\"]
binding = \"acme\"
";

fn router(text: &str) -> Router<Config> {
    Router::new(Arc::new(Config::parse("test", text).expect("a configuration")))
}

fn message(number: u128, sender: &str, content: &str) -> Message {
    let recipient = Recipient {
        address: Address::new("u", "near.test").expect("an address"),
        notify: message::Notify::Unset,
        orcpt: None,
    };
    Message {
        id: MessageId(number << 64 | number),
        envelope: Envelope {
            sender: (!sender.is_empty()).then(|| Address::new("s", sender).expect("an address")),
            recipients: vec![recipient],
            body_type: BodyType::SevenBit,
            utf8: Utf8::No,
            ret: None,
            envid: None,
        },
        reception: Reception {
            at: UnixMicros(0),
            connection: MessageId::NONE,
            peer: None,
            protocol: Protocol::Esmtp,
            helo: "h".into(),
            dots: Dots::None,
        },
        trace: fabric::Slice::copy_from(b""),
        content: Content::Resident(fabric::Slice::copy_from(content.as_bytes()).into()),
    }
}

/// Binding and group of a message's mail for a domain.
fn leaves_by(router: &mut Router<Config>, message: &Message, domain: &str) -> (String, Option<String>) {
    let head = head(&message.content).expect("the content is in memory");
    let marks = router.marks(message, &head);
    let recipient = Address::new("u", domain).expect("an address");
    let egress = router.choose(&marks, &recipient);
    let Routed::To(container) = router.route(&recipient, egress) else { panic!("{domain} is refused") };
    (container.binding.to_string(), container.group.as_deref().map(str::to_owned))
}

#[test]
fn the_first_section_whose_conditions_hold_decides() {
    let mut router = router(TEXT);
    assert!(router.reads_head());
    let mut binding = |sender, content, domain| leaves_by(&mut router, &message(1, sender, content), domain).0;
    assert_eq!(binding("a.test", "Subject: x\r\n\r\nX-Stream: news\r\n", "near.test"), "default", "not in the body");
    assert_eq!(binding("a.test", "x-stream:\r\n  NEWS \r\n\r\n", "near.test"), "news", "folded");
    assert_eq!(binding("a.test", "X-Stream: olds\r\nX-Stream: news\r\n\r\n", "near.test"), "default", "the first");
    assert_eq!(binding("shop.example", "X-Urgent: anything\r\n\r\n", "near.test"), "news", "any value");
    assert_eq!(binding("x.example", "\r\n", "FAR.test"), "bulk-3");
    assert_eq!(binding("x.example", "\r\n", "near.test"), "default", "both conditions must hold");
    assert_eq!(binding("x.test", "X-Tenant: ACME\r\n\r\n", "near.test"), "acme");
    assert_eq!(binding("alone.example", "\r\n", "near.test"), "acme", "without the header the sender is the tenant");
    assert_eq!(binding("alone.example", "X-Tenant: other\r\n\r\n", "near.test"), "default");
    assert_eq!(binding("", "\r\n", "near.test"), "default", "bounces have no sender");
}

#[test]
fn a_group_shares_its_mail_by_weight_and_keeps_a_message_together() {
    let mut router = router(TEXT);
    let mut shares: HashMap<String, u32> = HashMap::new();
    for number in 1..=4000 {
        let message = message(number, "SHOP.example", "\r\n");
        let (binding, group) = leaves_by(&mut router, &message, "near.test");
        assert_eq!(group.as_deref(), Some("bulk"));
        assert_eq!(leaves_by(&mut router, &message, "other.test").0, binding, "all recipients leave alike");
        *shares.entry(binding).or_default() += 1;
    }
    assert_eq!(shares.get("bulk-3"), None, "a weight of 0 takes nothing");
    assert!((2800..3200).contains(&shares["bulk-1"]), "{shares:?}");
}

#[test]
fn the_choice_is_the_same_after_a_restart() {
    let (mut one, mut other) = (router(TEXT), router(TEXT));
    for number in 1..200 {
        let message = message(number, "shop.example", "\r\n");
        assert_eq!(leaves_by(&mut one, &message, "near.test"), leaves_by(&mut other, &message, "near.test"));
    }
}

#[test]
fn options_of_the_binding_hold_for_its_route() {
    let text = format!("{TEXT}[binding.acme.domain.\"near.test\"]\nroute = \"smtp://relay.test:26\"\n");
    let mut router = router(&text);
    let recipient = Address::new("u", "near.test").expect("an address");
    let mut name = |sender| {
        let marks = router.marks(&message(1, sender, "\r\n"), b"\r\n");
        let egress = router.choose(&marks, &recipient);
        let Routed::To(container) = router.route(&recipient, egress) else { panic!("refused") };
        container.name.to_string()
    };
    assert_eq!(name("alone.example"), "smtp://relay.test:26");
    assert_eq!(name("else.example"), "near.test");
}

#[test]
fn ten_thousand_senders_are_found_without_a_walk() {
    use std::fmt::Write as _;
    let mut text = String::from("[binding.b]\n");
    for n in 0..10_000 {
        let _ = writeln!(text, "[egress.s{n}]\nsender = \"s{n}.example\"\nbinding = \"b\"");
    }
    let mut router = router(&text);
    assert!(!router.reads_head());
    assert_eq!(leaves_by(&mut router, &message(1, "s9999.example", "\r\n"), "near.test").0, "b");
    let marks = router.marks(&message(1, "s9999.example", ""), b"");
    let recipient = Address::new("u", "near.test").expect("an address");
    let began = std::time::Instant::now();
    for _ in 0..10_000 {
        assert_ne!(router.choose(&marks, &recipient), routing::EgressId::default());
    }
    // A walk over all sections would take hundreds of microseconds each; the bound is generous for a busy machine.
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn a_header_field_names_the_priority() {
    let text = "[server]\npriority_header = [\"X-Class\", \"X-Priority-Class\"]\n";
    let router = router(text);
    assert!(router.reads_head());
    let priority = |content: &str| router.marks(&message(1, "a.test", content), content.as_bytes()).priority();
    assert_eq!(priority("X-Class: URGENT\r\n\r\n"), Priority::Urgent);
    assert_eq!(priority("X-Priority-Class: low\r\nX-Class: high\r\n\r\n"), Priority::High, "the first of the list");
    assert_eq!(priority("X-Priority-Class: low\r\n\r\n"), Priority::Low);
    assert_eq!(priority("X-Class: 1\r\n\r\n"), Priority::Normal);
    assert_eq!(priority("Subject: x\r\n\r\nX-Class: low\r\n"), Priority::Normal);
}
