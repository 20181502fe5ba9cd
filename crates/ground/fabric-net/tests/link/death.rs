//! Ends of links: good ones, sudden ones, and what was sent before them.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use fabric::tli::{Lane, Reason, Role};

use crate::ends::{
    ENGINES, LONG, listen, open, pair, receive, send, settings, sleep_on, take_in, until, wait_for_link,
};

const PEER: &str = "FABRIC_NET_TEST_PEER";

#[test]
fn a_process_that_is_killed_is_noticed_and_what_it_sent_is_read() {
    let settings = settings((64 << 10, 8), (1024, 2));
    if let Ok(address) = std::env::var(PEER) {
        // The other process: it sends until it is killed.
        let mut link = wait_for_link(&mut *open(&address, Role::Connect, &settings).unwrap()).unwrap();
        for number in 1.. {
            if send(&mut link, Lane::Bulk, number, 50_000).is_err() {
                return;
            }
        }
    }
    for engine in ENGINES {
        let (mut listener, address) = listen(&format!("tcp://127.0.0.1:0?via={engine}"), &settings);
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "death::a_process_that_is_killed_is_noticed_and_what_it_sent_is_read"])
            .env(PEER, address)
            .spawn()
            .unwrap();
        let mut link = wait_for_link(&mut *listener).unwrap();
        let mut expected = 0;
        let mut killed = None;
        let gone = loop {
            match take_in(&mut link) {
                Ok((_, number)) => {
                    expected += 1;
                    assert_eq!(number, expected);
                }
                Err(gone) => break gone,
            }
            if expected == 100 {
                process.kill().unwrap();
                killed = Some(Instant::now());
            }
        };
        assert_eq!(gone.reason, Reason::Died, "{engine}");
        assert!(killed.unwrap().elapsed() < LONG);
        assert!(link.outlet.take(Lane::Bulk).is_err());
        process.wait().unwrap();
    }
}

#[test]
fn a_peer_that_finishes_has_closed_and_everything_before_is_read() {
    for engine in ENGINES {
        let (mut sender, mut receiver) = pair(&format!("via={engine}"), &settings((4096, 16), (1024, 2)));
        for number in 1..=10 {
            send(&mut sender, Lane::Bulk, number, 4000).unwrap();
        }
        sender.outlet.finish();
        for number in 1..=10 {
            assert_eq!(take_in(&mut receiver).unwrap(), (Lane::Bulk, number), "{engine}");
        }
        assert_eq!(receive(&mut receiver).map(|_| ()).unwrap_err().reason, Reason::Closed, "{engine}");
        // Only one direction has ended.
        send(&mut receiver, Lane::Urgent, 1, 100).unwrap();
        assert_eq!(take_in(&mut sender).unwrap(), (Lane::Urgent, 1));
        drop(sender);
        until("the peer has closed", || receiver.outlet.progress().is_err());
        assert_eq!(receiver.outlet.take(Lane::Bulk).map(|_| ()).unwrap_err().reason, Reason::Closed, "{engine}");
    }
}

#[test]
fn a_peer_that_goes_without_a_word_has_died() {
    for engine in ENGINES {
        let (sender, mut receiver) = pair(&format!("via={engine}"), &settings((4096, 16), (1024, 2)));
        let waiting = thread::spawn(move || {
            let gone = receive(&mut receiver).map(|_| ()).unwrap_err();
            (gone, receiver)
        });
        thread::sleep(Duration::from_millis(5));
        drop(sender);
        let (gone, receiver) = waiting.join().unwrap();
        assert_eq!(gone.reason, Reason::Died, "{engine}");
        assert!(gone.peer.starts_with("127.0.0.1:"), "{gone}");
        assert_eq!(receiver.tether.look().unwrap_err().reason, Reason::Died);
    }
}

#[test]
fn a_sender_that_sleeps_without_credit_is_woken_by_death() {
    for engine in ENGINES {
        let (mut sender, receiver) = pair(&format!("via={engine}&sndbuf=4096"), &settings((64 << 10, 2), (1024, 2)));
        let waiting = thread::spawn(move || {
            for number in 1.. {
                if let Err(gone) = send(&mut sender, Lane::Bulk, number, 60_000) {
                    return gone;
                }
            }
            unreachable!("numbers do not end")
        });
        thread::sleep(Duration::from_millis(20));
        drop(receiver);
        assert_eq!(waiting.join().unwrap().reason, Reason::Died, "{engine}");
    }
}

#[test]
fn who_cuts_has_left_and_the_other_sees_a_death() {
    for engine in ENGINES {
        let (mut one, mut other) = pair(&format!("via={engine}"), &settings((4096, 16), (1024, 2)));
        one.tether.cut(Reason::Left);
        one.tether.cut(Reason::Died);
        assert_eq!(receive(&mut one).map(|_| ()).unwrap_err().reason, Reason::Left, "the first reason stands");
        assert_eq!(receive(&mut other).map(|_| ()).unwrap_err().reason, Reason::Died, "{engine}");
        assert!(sleep_on(one.tether.readiness().unwrap(), Duration::ZERO), "readable for ever");
    }
}

#[test]
fn a_request_outlives_the_thread_that_made_it() {
    for engine in ENGINES {
        let (mut sender, receiver) = pair(&format!("via={engine}"), &settings((4096, 16), (1024, 2)));
        let mut receiver = thread::spawn(move || {
            let mut receiver = receiver;
            assert!(receiver.inlet.receive(Lane::Bulk).unwrap().is_none());
            receiver
        })
        .join()
        .unwrap();
        send(&mut sender, Lane::Bulk, 1, 100).unwrap();
        assert_eq!(take_in(&mut receiver).unwrap(), (Lane::Bulk, 1), "{engine}");
    }
}
