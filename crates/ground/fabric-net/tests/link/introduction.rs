//! How peers meet, and who is turned away.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fabric::tli::{Attempt, Connector, Lane, LinkSettings, OpenError, Role, WindowSettings, provider};
use fabric::uri::Uri;
use fabric_net::hello::{Checksums, HELLO_BYTES, Hello};

use crate::ends::{ENGINES, listen, meet, open, pair, send, settings, take_in, until, wait_for_link};

fn usual() -> LinkSettings {
    settings((4096, 4), (1024, 2))
}

/// The host and port of an address.
fn place(address: &str) -> &str {
    address.strip_prefix("tcp://").unwrap().split('?').next().unwrap()
}

fn hello_of_version(version: u16) -> [u8; HELLO_BYTES] {
    Hello { versions: (version, version + 1), ..Hello::new(&usual(), Checksums::Off, 9) }.pack()
}

fn poll_for_refusal(listener: &mut dyn Connector) -> OpenError {
    let mut refusal = None;
    until("a visitor is turned away", || {
        assert!(matches!(listener.poll(Instant::now()), Ok(Attempt::Waiting { .. })));
        refusal = listener.turned_away();
        refusal.is_some()
    });
    refusal.unwrap()
}

#[test]
fn the_best_engine_is_taken_unless_the_address_says_otherwise() {
    let name = |uri: &str| provider(&Uri::parse(uri).unwrap()).unwrap().name();
    assert_eq!(name("tcp://h:1"), "tcp (epoll)");
    assert_eq!(name("tcp://h:1?via=epoll"), "tcp (epoll)");
    assert_eq!(name("tcp://h:1?via=uring"), "tcp (io_uring)");
    let (one, _other) = pair("via=epoll", &usual());
    assert!(one.tether.peer().name.ends_with("by tcp, epoll"), "{}", one.tether.peer());
}

#[test]
fn who_starts_first_does_not_matter() {
    for engine in ENGINES {
        // A port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let uri = format!("tcp://127.0.0.1:{port}?via={engine}&retry=10");
        let mut dialer = open(&uri, Role::Connect, &usual()).unwrap();
        for _ in 0..3 {
            let Attempt::Waiting { again: Some(again) } = dialer.poll(Instant::now()).unwrap() else {
                panic!("met nobody")
            };
            std::thread::sleep(again.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)));
        }
        let mut listener = open(&uri, Role::Listen, &usual()).unwrap();
        let (mut one, mut other) = meet(&mut *listener, &mut *dialer);
        send(&mut one, Lane::Bulk, 1, 100).unwrap();
        assert_eq!(take_in(&mut other).unwrap(), (Lane::Bulk, 1));
    }
}

#[test]
fn peers_meet_again_after_either_has_gone() {
    for engine in ENGINES {
        let (mut listener, address) = listen(&format!("tcp://127.0.0.1:0?via={engine}&retry=5"), &usual());
        let mut dialer = open(&address, Role::Connect, &usual()).unwrap();
        for number in 1..=5 {
            let (mut one, mut other) = meet(&mut *listener, &mut *dialer);
            send(&mut one, Lane::Bulk, number, 100).unwrap();
            assert_eq!(take_in(&mut other).unwrap(), (Lane::Bulk, number));
        }
    }
}

#[test]
fn a_taken_address_is_named() {
    let (_listener, address) = listen("tcp://127.0.0.1:0", &usual());
    let error = open(&address, Role::Listen, &usual()).map(|_| ()).unwrap_err();
    assert!(matches!(&error, OpenError::Taken { uri } if *uri == address), "{error}");
}

#[test]
fn another_version_is_named_on_both_sides_and_ends_nothing() {
    for engine in ENGINES {
        let (mut listener, address) = listen(&format!("tcp://127.0.0.1:0?via={engine}"), &usual());
        let mut visitor = TcpStream::connect(place(&address)).unwrap();
        visitor.write_all(&hello_of_version(7)).unwrap();
        let refusal = poll_for_refusal(&mut *listener);
        assert!(matches!(refusal, OpenError::Version { ours: 1, theirs: 8, .. }), "{refusal}");
        let mut answer = [0; HELLO_BYTES];
        visitor.read_exact(&mut answer).unwrap();
        assert_eq!(Hello::parse(&answer).unwrap().versions, (1, 1), "the visitor learns our version");
        assert_eq!(visitor.read(&mut answer).unwrap(), 0, "and is let go");
        let mut dialer = open(&address, Role::Connect, &usual()).unwrap();
        meet(&mut *listener, &mut *dialer);
    }
}

#[test]
fn a_listener_of_another_version_is_named_to_who_dials() {
    for engine in ENGINES {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("tcp://{}?via={engine}", listener.local_addr().unwrap());
        let mut dialer = open(&uri, Role::Connect, &usual()).unwrap();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; HELLO_BYTES]).unwrap();
            stream.write_all(&hello_of_version(2)).unwrap();
            stream
        });
        let error = wait_for_link(&mut *dialer).map(|_| ()).unwrap_err();
        assert!(matches!(error, OpenError::Version { ours: 1, theirs: 3, .. }), "{error}");
        answering.join().unwrap();
    }
}

#[test]
fn windows_over_the_limit_are_named_on_both_sides() {
    let (mut listener, address) = listen("tcp://127.0.0.1:0", &usual());
    let large = LinkSettings { bulk: WindowSettings { bytes: 32 << 20, count: 2 }, ..usual() };
    let mut dialer = open(&address, Role::Connect, &large).unwrap();
    let refusal = {
        let dialing = std::thread::spawn(move || wait_for_link(&mut *dialer).map(|_| ()).unwrap_err());
        let refusal = poll_for_refusal(&mut *listener).to_string();
        let here = dialing.join().unwrap().to_string();
        assert!(here.contains("this side's windows of 33554432 bytes are over the peer's limit of 16777216"), "{here}");
        refusal
    };
    assert!(
        refusal.contains("the peer's windows of 33554432 bytes are over this side's limit of 16777216"),
        "{refusal}"
    );
    let over = LinkSettings { bulk: WindowSettings { bytes: 65 << 20, count: 2 }, ..usual() };
    let error = open("tcp://127.0.0.1:0", Role::Listen, &over).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::OverLimit { setting: "window bytes", limit: 67_108_864, .. }), "{error}");
}

#[test]
fn silent_and_babbling_visitors_delay_nobody() {
    for engine in ENGINES {
        let (mut listener, address) = listen(&format!("tcp://127.0.0.1:0?via={engine}&hello=60000"), &usual());
        let mut strangers = Vec::new();
        for number in 0..40 {
            let mut stranger = TcpStream::connect(place(&address)).unwrap();
            match number % 4 {
                0 => {}
                1 => stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap(),
                2 => stranger.write_all(&hello_of_version(1)[..20]).unwrap(),
                _ => stranger.write_all(&[0xa5; 5000]).unwrap(),
            }
            strangers.push(stranger);
            listener.poll(Instant::now()).unwrap();
        }
        let start = Instant::now();
        let mut dialer = open(&address, Role::Connect, &usual()).unwrap();
        meet(&mut *listener, &mut *dialer);
        assert!(start.elapsed() < Duration::from_secs(15), "{engine}: not after the strangers' time");
    }
}

#[test]
fn a_silent_visitor_is_let_go_after_its_time() {
    let (mut listener, address) = listen("tcp://127.0.0.1:0?hello=50", &usual());
    let mut visitor = TcpStream::connect(place(&address)).unwrap();
    visitor.set_nonblocking(true).unwrap();
    until("the visitor is let go", || {
        let Attempt::Waiting { again } = listener.poll(Instant::now()).unwrap() else { panic!("met nobody") };
        if let Some(again) = again {
            assert!(again <= Instant::now() + Duration::from_millis(50));
        }
        matches!(visitor.read(&mut [0; 1]), Ok(0))
    });
}

#[test]
fn a_silent_listener_is_given_up_and_dialled_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("tcp://{}?hello=50&retry=10", listener.local_addr().unwrap());
    let mut dialer = open(&uri, Role::Connect, &usual()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut visits = Vec::new();
    until("it dials three times", || {
        assert!(matches!(dialer.poll(Instant::now()), Ok(Attempt::Waiting { again: Some(_) })));
        visits.extend(listener.accept());
        visits.len() == 3
    });
}

#[test]
fn a_visitor_that_gave_up_is_not_taken() {
    let (mut listener, address) = listen("tcp://127.0.0.1:0", &usual());
    let mut visitor = TcpStream::connect(place(&address)).unwrap();
    visitor.write_all(&Hello::new(&usual(), Checksums::Off, 9).pack()).unwrap();
    drop(visitor);
    let mut dialer = open(&address, Role::Connect, &usual()).unwrap();
    let (mut one, mut other) = meet(&mut *listener, &mut *dialer);
    send(&mut one, Lane::Bulk, 1, 100).unwrap();
    assert_eq!(take_in(&mut other).unwrap(), (Lane::Bulk, 1), "the link is with who stayed");
}

#[test]
fn a_host_that_is_not_there_is_named() {
    let error = open("tcp://no-such-host.invalid:1", Role::Connect, &usual()).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::System { operation: "resolve", .. }), "{error}");
}

#[test]
fn virtual_sockets_say_what_is_missing() {
    // Where the kernel has virtual sockets, a listener opens; where not, the provider says so.
    let uri = Uri::parse("vsock://any:0").unwrap();
    match provider(&uri) {
        Ok(found) => {
            let settings = LinkSettings { role: Role::Listen, ..usual() };
            let listener = found.open(&uri, &settings).unwrap();
            let address = listener.address().unwrap();
            assert!(address.starts_with("vsock://any:") && address != "vsock://any:0", "{address}");
        }
        Err(error) => assert!(error.to_string().contains("AF_VSOCK"), "{error}"),
    }
}
