//! Peers that introduce themselves well and then break the protocol: cut off, the rule named, nothing else happens.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fabric::tli::{Attempt, Lane, Link, LinkSettings, Reason, TxWindow, Violation};
use fabric::wire::BadWindow;
use fabric_net::hello::{Checksums, HELLO_BYTES, Hello};

use crate::ends::{ENGINES, fill, listen, receive, settings, take_in, until};

const EPOCH: u32 = 77;

fn usual() -> LinkSettings {
    settings((4096, 4), (1024, 2))
}

/// A link, and the bare connection of its peer.
fn with_bare_peer(engine: &str) -> (Link, TcpStream) {
    let (mut listener, address) = listen(&format!("tcp://127.0.0.1:0?via={engine}"), &usual());
    let place = address.strip_prefix("tcp://").unwrap().split('?').next().unwrap().to_owned();
    let mut peer = TcpStream::connect(place).unwrap();
    peer.write_all(&Hello::new(&usual(), Checksums::Crc32c, EPOCH).pack()).unwrap();
    let mut met = None;
    until("the listener takes it", || {
        if let Attempt::Met(link) = listener.poll(Instant::now()).unwrap() {
            met = Some(link);
        }
        met.is_some()
    });
    peer.read_exact(&mut [0; HELLO_BYTES]).unwrap();
    (met.unwrap(), peer)
}

fn window(sequence: u64, epoch: u32) -> Vec<u8> {
    let mut window = TxWindow::private(4096, 1);
    fill(&mut window, sequence, 200);
    window.shipped(sequence, epoch, Some(crc32c::crc32c)).to_vec()
}

/// What becomes of a peer that sends a good window and then `bytes`.
fn after(engine: &str, bytes: &[u8]) -> Reason {
    let (mut link, mut peer) = with_bare_peer(engine);
    peer.write_all(&window(1, EPOCH)).unwrap();
    peer.write_all(bytes).unwrap();
    assert_eq!(take_in(&mut link).unwrap(), (Lane::Bulk, 1), "what was good is read");
    let gone = receive(&mut link).map(|_| ()).unwrap_err();
    assert!(link.outlet.take(Lane::Bulk).is_err());
    gone.reason
}

#[test]
fn each_breach_is_named() {
    for engine in ENGINES {
        let bad = |bytes: &[u8]| after(engine, bytes);
        let broken = |reason: BadWindow| Reason::Violation(Violation::Window(reason));
        assert_eq!(bad(&[b'x'; 64]), broken(BadWindow::Magic(0x7878_7878)));
        assert_eq!(bad(&window(3, EPOCH)), broken(BadWindow::Sequence { found: 3, expected: 2 }));
        let mut damaged = window(2, EPOCH);
        damaged[100] ^= 1;
        assert_eq!(bad(&damaged), broken(BadWindow::Checksum));
        let mut large = window(2, EPOCH);
        large[8..12].copy_from_slice(&4097u32.to_le_bytes());
        assert_eq!(bad(&large), broken(BadWindow::Used { used: 4097, size: 4096 }));
        let mut odd = window(2, EPOCH);
        odd[5] = 4;
        for (bytes, rule) in [
            (window(2, EPOCH + 1), "a window of another connection"),
            (odd, "a window with a flag that is not known"),
            ([&b"PHC1"[..], &[0; 44]].concat(), "a control frame of another length"),
        ] {
            assert_eq!(bad(&bytes), Reason::Violation(Violation::Link(rule)));
        }
    }
}

#[test]
fn windows_beyond_the_credit_are_a_breach_and_are_not_kept() {
    for engine in ENGINES {
        let (mut link, mut peer) = with_bare_peer(engine);
        for sequence in 1..=5 {
            peer.write_all(&window(sequence, EPOCH)).unwrap();
        }
        let held: Vec<_> = (0..4).map(|_| receive(&mut link).unwrap()).collect();
        let gone = receive(&mut link).map(|_| ()).unwrap_err();
        assert_eq!(gone.reason, Reason::Violation(Violation::Link("a window for which it had no credit")), "{engine}");
        drop(held);
    }
}

#[test]
fn a_window_that_never_ends_is_waited_for_without_spinning() {
    for engine in ENGINES {
        let (mut link, mut peer) = with_bare_peer(engine);
        peer.write_all(&window(1, EPOCH)[..100]).unwrap();
        until("it is taken in", || {
            assert!(link.inlet.receive(Lane::Bulk).unwrap().is_none());
            link.tether.arm();
            let quiet = !crate::ends::sleep_on(link.tether.readiness().unwrap(), Duration::from_millis(20));
            link.tether.disarm();
            quiet
        });
        drop(peer);
        assert_eq!(receive(&mut link).map(|_| ()).unwrap_err().reason, Reason::Died, "{engine}");
    }
}
