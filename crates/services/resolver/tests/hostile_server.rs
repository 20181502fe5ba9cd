//! The resolver against a server that lies, floods, delays and keeps silent. Every case ends with the right answer or a
//! typed error, after bounded work.

mod askers;
mod hostile_peer;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use policy::{Families, Resolve, ResolveError, RouteKind};
use resolver::{ALIASES_MAX, RECORDS_MAX, RecordKind, Resolver, ResolverOptions};

use askers::{ask_from_loops, name, on_loop, resolver};
use hostile_peer::{Act, Asked, HostilePeer, send};

fn options(peer: &HostilePeer) -> ResolverOptions {
    ResolverOptions {
        servers: vec![peer.address()],
        timeout: Duration::from_millis(1500),
        deadline: Duration::from_secs(60),
        ..ResolverOptions::default()
    }
}

fn v4(resolver: &Resolver, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
    on_loop(resolver.addresses(&name(host), Families::V4Only)).map(|found| found.addresses)
}

fn is(last: u8) -> Result<Vec<IpAddr>, ResolveError> {
    Ok(vec![IpAddr::from([192, 0, 2, last])])
}

#[test]
fn a_thousand_askers_of_a_slow_server_cost_one_packet() {
    let peer = HostilePeer::by_udp(|asked| vec![Act::Wait(Duration::from_millis(400)), send(&asked.address(1))]);
    let resolver = resolver(options(&peer));
    let asker = resolver.clone();
    let got = ask_from_loops(4, 250, move || {
        let asker = asker.clone();
        async move { asker.addresses(&name("x.example"), Families::V4Only).await.map(|found| found.addresses) }
    });
    assert_eq!(got, vec![is(1); 1000]);
    assert_eq!(peer.seen().len(), 1);
    let stats = resolver.stats();
    assert_eq!(stats.cache_misses, stats.coalesced + stats.late_hits + 1);
    assert!(stats.coalesced > 0);
    assert!(stats.response_average >= Duration::from_millis(400));
}

#[test]
fn forged_answers_do_not_win() {
    let peer = HostilePeer::by_udp(|asked| {
        let mut wrong_id = asked.address(66);
        wrong_id.metadata.id ^= 0x0100;
        let mut wrong_name = asked.address(66);
        wrong_name.queries[0].name = "y.example.".parse().unwrap();
        let mut no_response = asked.message.clone();
        no_response.add_answers(asked.address(66).answers);
        vec![
            send(&wrong_id),
            send(&wrong_name),
            send(&no_response),
            Act::Send(b"rubbish".to_vec()),
            Act::Send(vec![]),
            Act::SendFromElsewhere(asked.address(66).to_vec().unwrap()),
            Act::Wait(Duration::from_millis(50)),
            send(&asked.address(1)),
        ]
    });
    let resolver = resolver(options(&peer));
    assert_eq!(v4(&resolver, "x.example"), is(1));
    let stats = resolver.stats();
    assert_eq!(stats.foreign_packets, 5, "the one from elsewhere never reached the socket");
    assert_eq!((stats.udp_sent, stats.tcp_sent), (1, 0));
}

#[test]
fn a_flood_of_forgeries_is_escaped_by_tcp() {
    let flood = |asked: &Asked| {
        let mut forged = asked.address(66);
        (0..200u16)
            .map(|n| {
                forged.metadata.id = asked.message.metadata.id.wrapping_add(n + 1);
                send(&forged)
            })
            .collect()
    };
    let peer = HostilePeer::by_udp_and_tcp(flood, |asked| (None, asked.address(1).to_vec().unwrap()));
    let resolver = resolver(options(&peer));
    assert_eq!(v4(&resolver, "x.example"), is(1));
    assert_eq!((peer.seen().len(), peer.connections()), (1, 1));
    assert_eq!(resolver.stats().foreign_packets, 16);
}

#[test]
fn a_late_answer_is_not_taken_for_the_next_attempts() {
    let mut first = None;
    let peer = HostilePeer::by_udp(move |asked| match first.take() {
        None => {
            first = Some(asked.address(66));
            vec![]
        }
        // The answer to the first attempt arrives where the second waits.
        Some(late) => vec![send(&late), send(&asked.address(1))],
    });
    let resolver = resolver(ResolverOptions { timeout: Duration::from_millis(200), ..options(&peer) });
    assert_eq!(v4(&resolver, "x.example"), is(1));
    let seen = peer.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].message.metadata.id != seen[1].message.metadata.id && seen[0].from != seen[1].from);
    assert_eq!(resolver.stats().foreign_packets, 1);
}

#[test]
fn where_udp_is_blocked_tcp_is_used_and_soon_at_once() {
    let peer = HostilePeer::by_udp_and_tcp(|_| vec![], |asked| (None, asked.address(1).to_vec().unwrap()));
    let resolver = resolver(ResolverOptions { timeout: Duration::from_millis(300), ..options(&peer) });
    for host in ["a.example", "b.example", "c.example", "d.example", "e.example"] {
        assert_eq!(v4(&resolver, host), is(1));
    }
    assert_eq!((peer.seen().len(), peer.connections()), (3, 5));
}

#[test]
fn broken_connections_end_in_an_error() {
    let truncated = |asked: &Asked| {
        let mut cut = asked.response();
        cut.metadata.truncation = true;
        vec![send(&cut)]
    };
    let mut turn = 0;
    let peer = HostilePeer::by_udp_and_tcp(truncated, move |asked| {
        turn += 1;
        match turn % 3 {
            0 => (Some(u16::MAX), asked.address(66).to_vec().unwrap()),
            1 => (Some(0), vec![]),
            _ => (None, vec![0xff; 65_000]),
        }
    });
    let resolver = resolver(options(&peer));
    for host in ["a.example", "b.example", "c.example"] {
        let error = v4(&resolver, host).unwrap_err();
        assert!(matches!(error, ResolveError::BadAnswer(_) | ResolveError::Unreachable(_)), "{error}");
    }
    assert!(peer.seen().len() <= 9, "{} datagrams", peer.seen().len());
}

#[test]
fn aliases_over_several_answers_are_followed_to_a_bound() {
    let peer = HostilePeer::by_udp(|asked| {
        let label = asked.first_label();
        vec![send(&match label.as_str() {
            "good" => asked.alias("Target.example."),
            "target" => asked.address(1),
            "ping" => asked.alias("pong.example."),
            "pong" => asked.alias("ping.example."),
            "home" => asked.alias("localhost."),
            endless => asked.alias(&format!("{endless}x.example.")),
        })]
    });
    let resolver = resolver(options(&peer));
    let asked_by = |host: &str| {
        let before = peer.seen().len();
        (v4(&resolver, host), peer.seen().len() - before)
    };
    assert_eq!(asked_by("good.example"), (is(1), 2));
    assert_eq!(asked_by("ping.example"), (Err(ResolveError::BadAnswer(name("ping.example"))), 2));
    assert_eq!(asked_by("e.example"), (Err(ResolveError::BadAnswer(name("e.example"))), ALIASES_MAX + 1));
    assert_eq!(asked_by("home.example"), (Ok(vec![IpAddr::from([127, 0, 0, 1])]), 1));
    assert_eq!(asked_by("good.example"), (is(1), 0), "both steps are remembered");
}

#[test]
fn thousands_of_records_are_bounded() {
    let truncated = |asked: &Asked| {
        let mut cut = asked.response();
        cut.metadata.truncation = true;
        vec![send(&cut)]
    };
    let peer = HostilePeer::by_udp_and_tcp(truncated, |asked| (None, asked.exchanges(1500).to_vec().unwrap()));
    let resolver = resolver(options(&peer));
    let route = on_loop(resolver.mail_route(&name("x.example"))).unwrap();
    let RouteKind::Mx(exchanges) = route.kind else { panic!("a list") };
    assert_eq!((exchanges.len(), exchanges[0].preference), (RECORDS_MAX, 0));
}

#[test]
fn a_failure_is_remembered_for_a_moment() {
    let peer = HostilePeer::by_udp(|asked| {
        let mut failure = asked.response();
        failure.metadata.response_code = ResponseCode::ServFail;
        vec![send(&failure)]
    });
    let resolver = resolver(ResolverOptions { failure_ttl: Duration::from_secs(1), ..options(&peer) });
    for _ in 0..10 {
        assert_eq!(v4(&resolver, "x.example"), Err(ResolveError::ServerFailure(name("x.example"))));
    }
    assert_eq!(peer.seen().len(), 1);
    sleep(Duration::from_millis(1100));
    assert!(v4(&resolver, "x.example").is_err());
    assert_eq!(peer.seen().len(), 2);
}

#[test]
fn silence_ends_at_the_deadline() {
    let peer = HostilePeer::by_udp(|_| vec![]);
    let options = ResolverOptions { deadline: Duration::from_millis(700), ..options(&peer) };
    let resolver = resolver(ResolverOptions { timeout: Duration::from_millis(500), ..options });
    let started = Instant::now();
    assert_eq!(v4(&resolver, "x.example"), Err(ResolveError::Timeout(name("x.example"))));
    assert!(started.elapsed() >= Duration::from_millis(500) && started.elapsed() < Duration::from_secs(5));
    assert_eq!(resolver.stats().of(RecordKind::A).timeouts, 1);
}

#[test]
fn ids_and_ports_are_not_to_be_guessed() {
    let peer = HostilePeer::by_udp(|asked| vec![send(&asked.address(1))]);
    let resolver = resolver(options(&peer));
    for number in 0..60 {
        assert_eq!(v4(&resolver, &format!("h{number}.example")), is(1));
    }
    let seen = peer.seen();
    let ids: HashSet<u16> = seen.iter().map(|asked| asked.message.metadata.id).collect();
    let ports: HashSet<u16> = seen.iter().map(|asked| asked.from.port()).collect();
    assert!(ids.len() >= 57 && ports.len() >= 54, "{} ids, {} ports", ids.len(), ports.len());
    let steps = |list: Vec<u16>| list.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect::<HashSet<_>>().len();
    assert!(steps(seen.iter().map(|asked| asked.message.metadata.id).collect()) >= 57, "no counter");
    assert!(steps(seen.iter().map(|asked| asked.from.port()).collect()) >= 40, "no counter");
}

#[test]
fn sockets_are_bounded_and_who_does_not_wait_is_not_asked_for() {
    let peer = HostilePeer::by_udp(|asked| vec![Act::Wait(Duration::from_millis(300)), send(&asked.address(1))]);
    let resolver = resolver(ResolverOptions { exchanges_max: 1, ..options(&peer) });
    on_loop(async {
        let (first, left, last) = (name("first.example"), name("left.example"), name("last.example"));
        let first = resolver.addresses(&first, Families::V4Only);
        let abandoned = tokio::time::timeout(Duration::from_millis(50), resolver.addresses(&left, Families::V4Only));
        let last = resolver.addresses(&last, Families::V4Only);
        let (first, abandoned, last) = tokio::join!(first, abandoned, last);
        assert!(first.is_ok() && abandoned.is_err() && last.is_ok());
    });
    let labels: Vec<String> = peer.seen().iter().map(Asked::first_label).collect();
    assert_eq!(labels, ["first", "last"]);
    assert_eq!(resolver.stats().pending, 0);
}

#[test]
fn too_many_questions_are_turned_away() {
    let peer = HostilePeer::by_udp(|asked| vec![Act::Wait(Duration::from_millis(100)), send(&asked.address(1))]);
    let resolver = resolver(ResolverOptions { exchanges_max: 1, questions_max: 4, ..options(&peer) });
    let number = Arc::new(AtomicUsize::new(0));
    let asker = resolver.clone();
    let got = ask_from_loops(1, 40, move || {
        let host = format!("h{}.example", number.fetch_add(1, Ordering::Relaxed));
        let asker = asker.clone();
        async move { asker.addresses(&name(&host), Families::V4Only).await.map(|found| found.addresses) }
    });
    let answered = got.iter().filter(|outcome| **outcome == is(1)).count();
    let busy = got.iter().filter(|outcome| **outcome == Err(ResolveError::Busy)).count();
    assert_eq!(answered + busy, 40);
    assert!(answered >= 4 && busy >= 20, "{answered} answered, {busy} busy");
    assert_eq!(peer.seen().len(), answered);
}
