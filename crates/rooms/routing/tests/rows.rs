//! One test for each row of the table in the crate's documentation.

mod plans;

use message::{Address, Agent, Container, Host, Routed};
use plans::{Stanzas, router};
use proptest::prelude::*;
use routing::{CACHED_DOMAINS_MAX, EgressId, Router};
use std::path::Path;
use std::sync::Arc;

fn to(router: &mut Router<Stanzas>, address: &str) -> Arc<Container> {
    match router.route(&Address::parse(address).expect("an address"), EgressId::default()) {
        Routed::To(container) => container,
        Routed::Refused(reply) => panic!("{address}: {reply}"),
    }
}

fn refusal(router: &mut Router<Stanzas>, address: &str) -> String {
    match router.route(&Address::parse(address).expect("an address"), EgressId::default()) {
        Routed::To(container) => panic!("{address}: {container:?}"),
        Routed::Refused(reply) => reply.to_string(),
    }
}

fn host(name: &str, port: u16) -> Host {
    Host { name: name.into(), port }
}

#[test]
fn mx_is_the_domain_itself() {
    let mut router = router(&[]);
    let container = to(&mut router, "user@Example.ORG");
    assert_eq!((&*container.name, &*container.options, &*container.binding), ("example.org", "example.org", "default"));
    assert_eq!(container.agent, Agent::Mx);
    assert!(Arc::ptr_eq(&container, &to(&mut router, "other@example.org")));
}

#[test]
fn u_labels_and_a_labels_are_one_domain() {
    let mut router = router(&[]);
    let unicode = to(&mut router, "user@MÜNCHEN.de");
    assert_eq!(&*unicode.name, "xn--mnchen-3ya.de");
    for spelling in ["a@münchen.DE", "a@xn--mnchen-3ya.de", "a@XN--MNCHEN-3YA.de."] {
        assert!(Arc::ptr_eq(&unicode, &to(&mut router, spelling)), "{spelling}");
    }
}

#[test]
fn fixed_routes_are_shared_by_the_domains_of_a_stanza_and_by_no_other() {
    let relay = Agent::Smtp(host("relay.example", 2525));
    let mut router = router(&[("*.a.example", relay.clone()), ("*.b.example", relay.clone())]);
    let one = to(&mut router, "u@x.a.example");
    assert_eq!((&*one.name, &*one.options, &one.agent), ("smtp://relay.example:2525", "*.a.example", &relay));
    assert!(Arc::ptr_eq(&one, &to(&mut router, "u@y.a.example")));
    let other = to(&mut router, "u@x.b.example");
    assert_eq!((&*other.name, &*other.options), ("smtp://relay.example:2525", "*.b.example"));
    assert_ne!(one, other, "each stanza has options of its own");
}

#[test]
fn every_kind_of_route() {
    let path = |path: &str| Arc::<Path>::from(Path::new(path));
    let rows = [
        ("smtp.test", Agent::Smtp(host("2001:db8::1", 25)), "smtp://[2001:db8::1]:25"),
        ("lmtp.test", Agent::Lmtp(host("127.0.0.1", 24)), "lmtp://127.0.0.1:24"),
        ("unix.test", Agent::LmtpUnix(path("/run/lmtp")), "lmtp:/run/lmtp"),
        ("files.test", Agent::Maildir(path("/var/mail/all")), "maildir:/var/mail/all"),
        ("void.test", Agent::Discard, "discard:"),
        ("later.test", Agent::Hold, "hold:"),
    ];
    let mut router = router(&rows.clone().map(|(domain, agent, _)| (domain, agent)));
    for (domain, agent, name) in rows {
        let container = to(&mut router, &format!("user@{domain}"));
        assert_eq!((&*container.name, &container.agent, &*container.options), (name, &agent, domain));
    }
}

#[test]
fn address_literals_go_to_that_address() {
    let mut router = router(&[]);
    let four = to(&mut router, "user@[192.0.2.1]");
    assert_eq!((&*four.name, &four.agent), ("[192.0.2.1]", &Agent::Smtp(host("192.0.2.1", 25))));
    let six = to(&mut router, "user@[IPv6:2001:DB8::0:1]");
    assert_eq!((&*six.name, &six.agent), ("[ipv6:2001:db8::1]", &Agent::Smtp(host("2001:db8::1", 25))));
    assert!(Arc::ptr_eq(&six, &to(&mut router, "user@[ipv6:2001:db8::1]")));
    for bad in ["user@[192.0.2]", "user@[x400:abc]", "user@[192.0.2.1", "user@[]"] {
        assert!(refusal(&mut router, bad).starts_with("553 5.1.2 "), "{bad}");
    }
}

#[test]
fn mail_to_ourselves_is_a_loop() {
    let mut router = router(&[]);
    for own in ["localhost", "LOCALHOST", "a.localhost", "mx1.example.org", "[127.0.0.1]", "[IPv6:::1]", "[0.0.0.0]"] {
        let reply = refusal(&mut router, &format!("user@{own}"));
        assert!(reply.starts_with("554 5.4.6 "), "{own}: {reply}");
    }
    to(&mut router, "user@example.org");
}

#[test]
fn unless_a_stanza_says_otherwise() {
    let sink = Agent::Smtp(host("127.0.0.1", 2526));
    let mut router =
        router(&[("localhost", Agent::Discard), ("[127.0.0.1]", sink.clone()), ("mx1.example.org", Agent::Hold)]);
    assert_eq!(to(&mut router, "user@localhost").agent, Agent::Discard);
    assert_eq!(to(&mut router, "user@[127.0.0.1]").agent, sink);
    assert_eq!(to(&mut router, "user@mx1.example.org").agent, Agent::Hold);
    assert!(refusal(&mut router, "user@localhost.localdomain").starts_with("554 "));
}

#[test]
fn the_bare_postmaster_goes_where_the_server_says() {
    let mut router = router(&[]);
    assert_eq!(&*to(&mut router, "PostMaster").name, "admin.example");
    assert_eq!(refusal(&mut router, "somebody"), "553 5.1.3 recipient address has no domain");
}

#[test]
fn what_is_no_domain_is_refused() {
    let mut router = router(&[]);
    for bad in ["user@a..b", "user@.", "user@-ü-.\u{200d}", "user@a b.org"] {
        assert!(refusal(&mut router, bad).starts_with("553 5.1.2 "), "{bad}");
    }
}

#[test]
fn memory_is_bounded_and_hot_domains_stay() {
    let mut router = router(&[]);
    let hot = to(&mut router, "user@hot.example");
    for n in 0..3 * CACHED_DOMAINS_MAX {
        to(&mut router, &format!("user@d{n}.example"));
        assert!(Arc::ptr_eq(&hot, &to(&mut router, "user@hot.example")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_same_domain_in_any_case_is_the_same_container(domain in "[a-z][a-z0-9-]{0,20}(\\.[a-zäöüé]{1,10}){1,3}", upper in any::<u64>()) {
        let mut router = router(&[]);
        let mixed: String = domain
            .chars()
            .enumerate()
            .map(|(n, letter)| if upper >> (n % 64) & 1 == 1 { letter.to_uppercase().next().unwrap_or(letter) } else { letter })
            .collect();
        let route = |router: &mut Router<Stanzas>, domain: &str| router.route(&Address::new("user", domain).expect("an address"), EgressId::default());
        match (route(&mut router, &domain), route(&mut router, &mixed)) {
            (Routed::To(one), Routed::To(other)) => prop_assert!(Arc::ptr_eq(&one, &other)),
            (one, other) => prop_assert_eq!(one, other),
        }
    }

    #[test]
    fn every_address_gets_an_answer_and_the_same_again(domain in "\\PC{0,60}") {
        let mut router = router(&[]);
        if let Ok(address) = Address::new("user", &domain) {
            let first = router.route(&address, EgressId::default());
            if let Routed::To(container) = &first {
                prop_assert!(container.name.is_ascii() && !container.name.is_empty());
            }
            prop_assert_eq!(router.route(&address, EgressId::default()), first);
        }
    }
}
