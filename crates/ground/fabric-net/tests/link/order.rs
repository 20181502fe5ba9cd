//! Windows arrive whole and in the order of their lane, whatever the sizes of sockets and windows.

use std::thread;

use fabric::tli::{Lane, Reason};

use crate::ends::{ENGINES, fill, number_of, pair, receive, receive_from, send, settings, take, take_in};

/// Sizes that wander through everything between almost empty and full.
fn size(number: u64, most: usize) -> usize {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as usize % most
}

fn both_lanes(options: &str, windows: u64, bytes: usize) {
    let (mut sender, mut receiver) = pair(options, &settings((bytes, 4), (1024, 2)));
    let sending = thread::spawn(move || {
        for number in 1..=windows {
            send(&mut sender, Lane::Bulk, number, size(number, bytes)).unwrap();
            if number % 3 == 0 {
                send(&mut sender, Lane::Urgent, number, size(number, 900)).unwrap();
            }
        }
        sender.outlet.finish();
        // Until the peer has gone: an early end would break what is still on its way.
        while receive(&mut sender).is_ok() {}
    });
    let (mut bulk, mut urgent) = (0, 0);
    let gone = loop {
        match take_in(&mut receiver) {
            Ok((Lane::Bulk, number)) => {
                bulk += 1;
                assert_eq!(number, bulk, "{options}");
            }
            Ok((Lane::Urgent, number)) => {
                urgent += 3;
                assert_eq!(number, urgent, "{options}");
            }
            Err(gone) => break gone,
        }
    };
    assert_eq!((bulk, urgent, gone.reason), (windows, windows / 3 * 3, Reason::Closed), "{options}");
    drop(receiver);
    sending.join().unwrap();
}

#[test]
fn both_lanes_keep_their_order_over_many_laps() {
    for engine in ENGINES {
        both_lanes(&format!("via={engine}"), 3000, 8192);
        both_lanes(&format!("via={engine}&crc=off"), 1000, 64 << 10);
    }
}

#[test]
fn small_socket_buffers_cut_windows_anywhere() {
    for engine in ENGINES {
        both_lanes(&format!("via={engine}&sndbuf=2048&rcvbuf=2048"), 500, 8192);
        both_lanes(&format!("via={engine}&sndbuf=4096&rcvbuf=2048"), 60, 100_000);
    }
}

#[test]
fn windows_far_larger_than_the_sockets_buffers_arrive() {
    for engine in ENGINES {
        both_lanes(&format!("via={engine}&sndbuf=65536&rcvbuf=65536"), 30, 4 << 20);
    }
}

#[test]
fn peers_of_different_engines_understand_each_other() {
    let settings = settings((4096, 4), (1024, 2));
    let (mut listener, address) = crate::ends::listen("tcp://127.0.0.1:0?via=uring", &settings);
    let address = address.replace("via=uring", "via=epoll");
    let mut dialer = crate::ends::open(&address, fabric::tli::Role::Connect, &settings).unwrap();
    let (mut ring, mut calls) = crate::ends::meet(&mut *listener, &mut *dialer);
    assert!(ring.tether.peer().name.contains("io_uring") && calls.tether.peer().name.contains("epoll"));
    for number in 1..100 {
        send(&mut ring, Lane::Bulk, number, 4000).unwrap();
        assert_eq!(take_in(&mut calls).unwrap(), (Lane::Bulk, number));
        send(&mut calls, Lane::Urgent, number, 900).unwrap();
        assert_eq!(take_in(&mut ring).unwrap(), (Lane::Urgent, number));
    }
}

#[test]
fn an_urgent_window_overtakes_bulk_windows_that_are_not_being_written() {
    const BYTES: usize = 256 << 10;
    for engine in ENGINES {
        let options = format!("via={engine}&sndbuf=4096&rcvbuf=4096");
        let (mut sender, mut receiver) = pair(&options, &settings((BYTES, 8), (1024, 2)));
        for number in 1..=8 {
            send(&mut sender, Lane::Bulk, number, BYTES).unwrap();
        }
        send(&mut sender, Lane::Urgent, 1, 100).unwrap();
        let sending = thread::spawn(move || while receive(&mut sender).is_ok() {});
        let order: Vec<_> = (0..9).map(|_| take_in(&mut receiver).unwrap()).collect();
        let place = order.iter().position(|it| *it == (Lane::Urgent, 1)).unwrap();
        assert!(place <= 1, "{engine}: {order:?}");
        drop(receiver);
        sending.join().unwrap();
    }
}

#[test]
fn both_directions_at_once_on_four_threads() {
    const WINDOWS: u64 = 2000;
    for engine in ENGINES {
        let (one, other) = pair(&format!("via={engine}&sndbuf=16384"), &settings((16 << 10, 4), (1024, 2)));
        let mut threads = Vec::new();
        let mut inlets = Vec::new();
        for link in [one, other] {
            let (mut outlet, tether) = (link.outlet, link.tether.clone());
            inlets.push((link.inlet, link.tether));
            threads.push(thread::spawn(move || {
                // One thread at a time may sleep on a link; this one is never it.
                for number in 1..=WINDOWS {
                    let mut window = loop {
                        match outlet.take(Lane::Bulk).unwrap() {
                            Some(window) => break window,
                            None => thread::yield_now(),
                        }
                        outlet.progress().unwrap();
                    };
                    fill(&mut window, number, size(number, 16 << 10));
                    outlet.ship(Lane::Bulk, window).unwrap();
                }
                while !outlet.is_drained().unwrap() {
                    thread::yield_now();
                }
                drop(tether);
                outlet
            }));
        }
        let receiving: Vec<_> = inlets
            .into_iter()
            .map(|(mut inlet, tether)| {
                thread::spawn(move || {
                    for expected in 1..=WINDOWS {
                        let (lane, mut window) = receive_from(&mut *inlet, &tether).unwrap();
                        assert_eq!(number_of(&mut window), expected);
                        inlet.dispose(lane, window);
                        inlet.read(lane, expected);
                    }
                    inlet
                })
            })
            .collect();
        let inlets: Vec<_> = receiving.into_iter().map(|thread| thread.join().unwrap()).collect();
        let outlets: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        drop((inlets, outlets));
    }
}

#[test]
fn a_window_is_used_again_as_soon_as_the_kernel_has_it() {
    for engine in ENGINES {
        let (mut sender, mut receiver) = pair(&format!("via={engine}"), &settings((4096, 8), (1024, 2)));
        for number in 1..=8 {
            let window = take(&mut *sender.outlet, &*sender.tether, Lane::Bulk).unwrap();
            assert_eq!((window.token(), window.used(), window.messages()), (1, 32, 0), "{engine}, window {number}");
            sender.outlet.ship(Lane::Bulk, window).unwrap();
        }
        for _ in 1..=8 {
            let (lane, window) = receive(&mut receiver).unwrap();
            assert_eq!(window.word(), fabric::wire::END, "an empty window is one, too");
            receiver.inlet.dispose(lane, window);
        }
    }
}
