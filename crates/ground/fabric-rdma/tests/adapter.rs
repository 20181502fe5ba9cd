//! Links over real adapters, two ends in one process: what the Transport Layer Interface promises, without a channel above it.
//!
//! They need adapters at 127.0.0.1 and 10.99.0.1, as the guest of `cargo xtask test-vm` has them.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use fabric::tli::{
    Attempt, Connector, LANES, Lane, Link, LinkSettings, OpenError, Reason, Role, RxWindow, TxWindow, WindowSettings,
    provider,
};
use fabric::uri::Uri;
use fabric::wire::{Kind, MessageWord};
use fabric_rdma as _;

/// Emulated processors are slow; nothing here takes as long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn open(uri: &str, role: Role, bulk: usize) -> Result<Box<dyn Connector>, OpenError> {
    let uri = Uri::parse(uri)?;
    let settings = LinkSettings {
        role,
        bulk: WindowSettings { bytes: 4096, count: bulk },
        urgent: WindowSettings { bytes: 512, count: 2 },
        accept: WindowSettings { bytes: 64 << 10, count: 4096 },
        ..LinkSettings::default()
    };
    provider(&uri)?.open(&uri, &settings)
}

/// Waits until the descriptor is readable, for a moment at most.
fn wait(descriptor: Option<BorrowedFd<'_>>, most: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let descriptor = descriptor.expect("links over adapters are waited for by descriptor");
    let mut set = [PollFd::new(&descriptor, PollFlags::IN)];
    poll(&mut set, Some(&Timespec::try_from(most).unwrap())).unwrap() == 1
}

fn met(connector: &mut dyn Connector) -> Option<Link> {
    match connector.poll(Instant::now()).unwrap() {
        Attempt::Met(link) => Some(link),
        Attempt::Waiting { .. } => None,
    }
}

/// Lets two ends meet.
fn meet(listener: &mut dyn Connector, dialer: &mut dyn Connector) -> (Link, Link) {
    let (mut here, mut there, start) = (None, None, Instant::now());
    while here.is_none() || there.is_none() {
        here = here.or_else(|| met(listener));
        there = there.or_else(|| met(dialer));
        match dialer.readiness() {
            None => std::thread::sleep(Duration::from_millis(1)),
            descriptor => drop(wait(descriptor, Duration::from_millis(5))),
        }
        assert!(start.elapsed() < PATIENCE, "they did not meet");
    }
    (here.unwrap(), there.unwrap())
}

/// Two ends that met at `host`.
fn pair(host: &str, options: &str, bulk: usize) -> (Link, Link) {
    let mut listener = open(&format!("rdma://{host}:0{options}"), Role::Listen, bulk).unwrap();
    let mut dialer = open(&listener.address().unwrap(), Role::Connect, bulk).unwrap();
    meet(&mut *listener, &mut *dialer)
}

/// Lays one message with `number` into a window.
fn write(window: &mut TxWindow, number: u64) {
    let body = window.body_mut(24);
    body[..8].copy_from_slice(&number.to_le_bytes());
    body[8..].copy_from_slice(&(!number).to_le_bytes());
    window.commit(24, MessageWord { length: 24, frames: 0, kind: Kind::Data, flags: 0 }.pack());
}

/// The numbers in a window.
fn read(window: &mut RxWindow) -> Vec<u64> {
    let mut numbers = Vec::new();
    while window.word() != fabric::wire::END {
        let word = MessageWord::parse(window.word(), window.room()).unwrap();
        let body = window.body(word.length as usize);
        let number = u64::from_le_bytes(body[..8].try_into().unwrap());
        assert_eq!(u64::from_le_bytes(body[8..16].try_into().unwrap()), !number);
        numbers.push(number);
        window.advance(word.length as usize);
    }
    numbers
}

/// Ships a window with one number, as soon as there is one to be had.
fn send(link: &mut Link, lane: Lane, number: u64) {
    let start = Instant::now();
    loop {
        if let Some(mut window) = link.outlet.take(lane).unwrap() {
            write(&mut window, number);
            return link.outlet.ship(lane, window).unwrap();
        }
        link.outlet.progress().unwrap();
        assert!(start.elapsed() < PATIENCE, "no window became free");
    }
}

/// The next window.
fn receive(link: &mut Link, lane: Lane) -> RxWindow {
    let start = Instant::now();
    loop {
        if let Some(window) = link.inlet.receive(lane).unwrap() {
            return window;
        }
        assert!(start.elapsed() < PATIENCE, "nothing came");
    }
}

/// Why receiving ended; nothing may come before.
fn end(link: &mut Link) -> Reason {
    let start = Instant::now();
    loop {
        let _ = link.tether.look();
        for lane in LANES {
            match link.inlet.receive(lane) {
                Ok(None) => {}
                Ok(Some(window)) => panic!("{window:?} came"),
                Err(gone) => return gone.reason,
            }
        }
        assert!(start.elapsed() < PATIENCE, "the peer is not seen to be gone");
    }
}

#[test]
fn windows_come_in_order_both_ways_while_few_are_there() {
    let (mut one, mut two) = pair("127.0.0.1", "", 3);
    let there = std::thread::spawn(move || {
        for number in 0..500 {
            let mut window = receive(&mut two, Lane::Bulk);
            assert_eq!(read(&mut window), [number]);
            two.inlet.dispose(Lane::Bulk, window);
            send(&mut two, Lane::Bulk, number * 2);
        }
        two
    });
    let (mut sent, mut answered) = (0, 0);
    let start = Instant::now();
    while answered < 500 {
        if sent < 500
            && let Some(mut window) = one.outlet.take(Lane::Bulk).unwrap()
        {
            write(&mut window, sent);
            one.outlet.ship(Lane::Bulk, window).unwrap();
            sent += 1;
        }
        if let Some(mut window) = one.inlet.receive(Lane::Bulk).unwrap() {
            assert_eq!(read(&mut window), [answered * 2]);
            one.inlet.dispose(Lane::Bulk, window);
            answered += 1;
        }
        assert!(start.elapsed() < PATIENCE, "{sent} sent, {answered} answered");
    }
    let _two = there.join().unwrap();
    while !one.outlet.is_drained().unwrap() {
        assert!(start.elapsed() < PATIENCE, "not drained");
    }
}

#[test]
fn full_windows_of_many_packets_arrive_as_they_were() {
    let uri = "rdma://127.0.0.1:0";
    let full = |uri: &str, role| {
        let uri = Uri::parse(uri).unwrap();
        let bulk = WindowSettings { bytes: 256 << 10, count: 3 };
        provider(&uri).unwrap().open(&uri, &LinkSettings { role, bulk, ..LinkSettings::default() }).unwrap()
    };
    let mut listener = full(uri, Role::Listen);
    let mut dialer = full(&listener.address().unwrap(), Role::Connect);
    let (mut one, mut two) = meet(&mut *listener, &mut *dialer);
    for round in 0..10u64 {
        for count in 0..3 {
            let mut window = one.outlet.take(Lane::Bulk).unwrap().expect("all windows came back");
            while window.room() >= 24 {
                let number = round << 32 | count << 24 | u64::from(window.messages());
                write(&mut window, number);
            }
            one.outlet.ship(Lane::Bulk, window).unwrap();
        }
        for count in 0..3 {
            let mut window = receive(&mut two, Lane::Bulk);
            let expected = (0..(window.size() as u64 - 32 - 8) / 24).map(|number| round << 32 | count << 24 | number);
            assert!(read(&mut window).into_iter().eq(expected), "round {round}, window {count}");
            two.inlet.dispose(Lane::Bulk, window);
        }
        assert!(two.inlet.receive(Lane::Bulk).unwrap().is_none());
        let start = Instant::now();
        while !one.outlet.is_drained().unwrap() {
            assert!(start.elapsed() < PATIENCE);
        }
    }
}

#[test]
fn a_reader_that_keeps_windows_holds_back_the_writer_and_nothing_else() {
    let (mut one, mut two) = pair("127.0.0.1", "", 3);
    for number in 0..3 {
        send(&mut one, Lane::Bulk, number);
    }
    let kept: Vec<RxWindow> = (0..3).map(|_| receive(&mut two, Lane::Bulk)).collect();
    for _ in 0..50 {
        one.outlet.progress().unwrap();
        assert!(one.outlet.take(Lane::Bulk).unwrap().is_none(), "all windows are out");
    }
    assert!(!one.outlet.is_drained().unwrap());
    // The urgent lane goes past them.
    send(&mut one, Lane::Urgent, 77);
    let mut window = receive(&mut two, Lane::Urgent);
    assert_eq!(read(&mut window), [77]);
    two.inlet.dispose(Lane::Urgent, window);
    for window in kept {
        two.inlet.dispose(Lane::Bulk, window);
    }
    two.inlet.read(Lane::Bulk, 3);
    two.inlet.read(Lane::Urgent, 1);
    assert!(two.inlet.receive(Lane::Bulk).unwrap().is_none());
    let start = Instant::now();
    while !one.outlet.is_drained().unwrap() {
        assert!(start.elapsed() < PATIENCE, "what was disposed of is not told");
    }
    while one.outlet.read_by_peer(Lane::Bulk) != 3 || one.outlet.read_by_peer(Lane::Urgent) != 1 {
        assert!(start.elapsed() < PATIENCE, "what was read is not told");
    }
    assert!(one.outlet.take(Lane::Bulk).unwrap().is_some());
}

/// Sleeps as a channel does: arms, looks once more, waits for the descriptor.
fn sleep(link: &Link) -> bool {
    let woken = wait(link.tether.readiness(), PATIENCE);
    link.tether.disarm();
    link.tether.look().unwrap();
    woken
}

#[test]
fn sleepers_are_woken_by_windows_and_by_room() {
    let (mut one, mut two) = pair("127.0.0.1", "", 2);
    let reader = std::thread::spawn(move || {
        let mut numbers = Vec::new();
        while numbers.len() < 200 {
            two.tether.arm();
            let mut found = two.inlet.receive(Lane::Bulk).unwrap();
            if found.is_none() {
                assert!(sleep(&two), "a window does not wake after {}", numbers.len());
                found = two.inlet.receive(Lane::Bulk).unwrap();
            }
            if let Some(mut window) = found {
                numbers.extend(read(&mut window));
                two.inlet.dispose(Lane::Bulk, window);
            }
        }
        two.tether.arm();
        (two, numbers)
    });
    let mut sent = 0;
    while sent < 200 {
        one.tether.arm();
        let mut found = one.outlet.take(Lane::Bulk).unwrap();
        if found.is_none() {
            assert!(sleep(&one), "room does not wake after {sent}");
            one.outlet.progress().unwrap();
            found = one.outlet.take(Lane::Bulk).unwrap();
        }
        if let Some(mut window) = found {
            write(&mut window, sent);
            one.outlet.ship(Lane::Bulk, window).unwrap();
            sent += 1;
        }
    }
    let (_two, numbers) = reader.join().unwrap();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
}

#[test]
fn what_was_sent_before_the_end_is_handed_out_and_the_end_has_its_reason() {
    let (mut one, mut two) = pair("127.0.0.1", "", 4);
    send(&mut one, Lane::Bulk, 1);
    send(&mut one, Lane::Urgent, 2);
    one.outlet.finish();
    let mut urgent = receive(&mut two, Lane::Urgent);
    let mut bulk = receive(&mut two, Lane::Bulk);
    assert_eq!((read(&mut urgent), read(&mut bulk)), (vec![2], vec![1]));
    two.inlet.dispose(Lane::Urgent, urgent);
    for _ in 0..50 {
        two.tether.look().unwrap();
        assert!(two.inlet.receive(Lane::Urgent).unwrap().is_none(), "no end while a window is being read");
        std::thread::sleep(Duration::from_millis(2));
    }
    two.inlet.dispose(Lane::Bulk, bulk);
    assert_eq!(end(&mut two), Reason::Closed);

    let (mut one, mut two) = pair("127.0.0.1", "", 4);
    send(&mut one, Lane::Bulk, 3);
    send(&mut one, Lane::Bulk, 4);
    let mut window = receive(&mut two, Lane::Bulk);
    drop(one);
    let start = Instant::now();
    while two.tether.look().is_ok() {
        assert!(start.elapsed() < PATIENCE);
    }
    assert_eq!(read(&mut window), [3], "a window outlives its sender");
    two.inlet.dispose(Lane::Bulk, window);
    if let Ok(Some(mut window)) = two.inlet.receive(Lane::Bulk) {
        assert_eq!(read(&mut window), [4]);
        two.inlet.dispose(Lane::Bulk, window);
    }
    assert_eq!(end(&mut two), Reason::Died);
    assert!(two.outlet.take(Lane::Bulk).is_err());
}

#[test]
fn what_was_read_last_is_known_after_the_reader_has_gone() {
    let (mut one, mut two) = pair("127.0.0.1", "", 8);
    for number in 0..5 {
        send(&mut one, Lane::Bulk, number);
        let window = receive(&mut two, Lane::Bulk);
        two.inlet.dispose(Lane::Bulk, window);
        two.inlet.read(Lane::Bulk, number + 1);
    }
    two.outlet.finish();
    two.tether.cut(Reason::Left);
    drop(two);
    assert_eq!(end(&mut one), Reason::Closed);
    assert_eq!(one.outlet.read_by_peer(Lane::Bulk), 5);
}

#[test]
fn a_sleeper_is_woken_by_death() {
    let (one, two) = pair("127.0.0.1", "", 4);
    two.tether.arm();
    let start = Instant::now();
    let sleeper = std::thread::spawn(move || {
        assert!(wait(two.tether.readiness(), PATIENCE));
        while two.tether.look().is_ok() {
            assert!(start.elapsed() < PATIENCE);
        }
        two.tether.look().unwrap_err().reason
    });
    std::thread::sleep(Duration::from_millis(50));
    drop(one);
    assert_eq!(sleeper.join().unwrap(), Reason::Died);
}

#[test]
fn who_cuts_keeps_its_reason_and_the_other_sees_the_end() {
    let (mut one, mut two) = pair("127.0.0.1", "", 4);
    one.tether.cut(Reason::Left);
    one.tether.cut(Reason::Died);
    assert_eq!(end(&mut one), Reason::Left);
    assert_eq!(end(&mut two), Reason::Died);
}

#[test]
fn both_adapters_work_at_once() {
    let (mut one, mut two) = pair("127.0.0.1", "", 4);
    let (mut three, mut four) = pair("10.99.0.1", "", 4);
    let (mut five, mut six) = pair("127.0.0.1", "?device=rxe1", 4);
    for number in 0..20 {
        for (from, to) in [(&mut one, &mut two), (&mut three, &mut four), (&mut five, &mut six)] {
            send(from, Lane::Bulk, number);
            let mut window = receive(to, Lane::Bulk);
            assert_eq!(read(&mut window), [number]);
            to.inlet.dispose(Lane::Bulk, window);
        }
    }
    let Err(error) = open("rdma://127.0.0.1:0?device=rxe9", Role::Listen, 4) else { panic!("rxe9 is not here") };
    assert!(
        error.to_string().contains("no RDMA adapter is called rxe9, or it cannot be opened; there are: rxe"),
        "{error}"
    );
}

#[test]
fn the_dialer_may_be_first_and_strangers_do_not_end_a_listener() {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let uri = format!("rdma://127.0.0.1:{port}?retry=5");
    let mut dialer = open(&uri, Role::Connect, 4).unwrap();
    for _ in 0..5 {
        assert!(met(&mut *dialer).is_none(), "nobody listens");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut listener = open(&uri, Role::Listen, 4).unwrap();
    let mut stranger = TcpStream::connect(("127.0.0.1", port)).unwrap();
    std::io::Write::write_all(&mut stranger, &[b'x'; 96]).unwrap();
    let silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut one, mut two) = meet(&mut *listener, &mut *dialer);
    send(&mut one, Lane::Bulk, 9);
    assert_eq!(read(&mut receive(&mut two, Lane::Bulk)), [9]);
    let error = listener.turned_away().expect("the stranger was turned away");
    assert!(error.to_string().contains("does not speak the protocol"), "{error}");
    drop(silent);

    // The peer starts anew; the same connectors meet again.
    drop((two, dialer));
    assert_eq!(end(&mut one), Reason::Died);
    drop(one);
    let mut dialer = open(&uri, Role::Connect, 4).unwrap();
    let (mut one, mut two) = meet(&mut *listener, &mut *dialer);
    send(&mut two, Lane::Bulk, 10);
    assert_eq!(read(&mut receive(&mut one, Lane::Bulk)), [10]);
}

#[test]
fn limits_are_named() {
    let mut listener = open("rdma://127.0.0.1:0", Role::Listen, 4).unwrap();
    let address = listener.address().unwrap();
    let Err(error) = open(&address, Role::Listen, 4) else { panic!("the port is taken") };
    assert!(matches!(error, OpenError::Taken { .. }), "{error}");
    let Err(error) = open("rdma://127.0.0.1:0", Role::Listen, 5000) else { panic!("5000 windows are too many") };
    assert!(matches!(error, OpenError::OverLimit { asked: 5000, limit: 4096, .. }), "{error}");

    let uri = Uri::parse(&address).unwrap();
    let limits = provider(&uri).unwrap().limits(&uri).unwrap();
    assert!(limits.windows_max >= 4000, "{limits:?}");
    let mut settings = LinkSettings { role: Role::Connect, ..LinkSettings::default() };
    settings.bulk.bytes = limits.window_bytes_max + 8;
    let Err(error) = provider(&uri).unwrap().open(&uri, &settings) else { panic!("the adapter takes no such window") };
    assert!(matches!(error, OpenError::OverLimit { setting: "bytes of a window", .. }), "{error}");

    // The listener accepts windows of 64 KiB.
    settings.bulk.bytes = 128 << 10;
    let mut dialer = provider(&uri).unwrap().open(&uri, &settings).unwrap();
    let start = Instant::now();
    let error = loop {
        assert!(met(&mut *listener).is_none());
        match dialer.poll(Instant::now()) {
            Ok(Attempt::Met(_)) => panic!("the windows are over what the listener accepts"),
            Ok(Attempt::Waiting { .. }) => {}
            Err(error) => break error,
        }
        assert!(start.elapsed() < PATIENCE);
    };
    assert!(error.to_string().contains("bytes of a window that the peer sends of 131072"), "{error}");
}

#[test]
fn four_thousand_windows_in_one_channel() {
    let (mut one, mut two) = pair("127.0.0.1", "", 2000);
    for round in 0..2 {
        for number in 0..2000 {
            send(&mut one, Lane::Bulk, round + number);
            send(&mut two, Lane::Bulk, round + number);
        }
        for number in 0..2000 {
            for link in [&mut one, &mut two] {
                let mut window = receive(link, Lane::Bulk);
                assert_eq!(read(&mut window), [round + number]);
                link.inlet.dispose(Lane::Bulk, window);
            }
        }
    }
}

#[test]
fn messages_of_a_channel_arrive_whole_and_in_order() {
    use fabric::Message;
    use fabric::channel::{Channel, Deadline, ReceiveError};
    use fabric::queue::{Priority, QueueKind};
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("rdma://127.0.0.1:{}?retry=5", probe.local_addr().unwrap().port());
    drop(probe);
    let (one, _) = Channel::builder().connect(&uri).open().unwrap();
    let (_two, mut receiver) = Channel::builder().listen(&uri).open().unwrap();
    let soon = || Deadline::from(PATIENCE);
    let poster = std::thread::spawn(move || {
        let mut sender = one.sender(QueueKind::MonoUnbounded, Priority::Normal);
        for number in 0..5_000u64 {
            let mut message = Message::copied(&number.to_le_bytes());
            message.push_copy(&vec![number as u8; (number % 3000) as usize]);
            sender.post(message, soon()).unwrap();
        }
        one.close(soon()).unwrap();
    });
    for number in 0..5_000u64 {
        let message = receiver.receive(soon()).unwrap();
        assert_eq!(message.bytes(), number.to_le_bytes());
    }
    let end = receiver.receive(soon());
    assert!(matches!(&end, Err(ReceiveError::PeerGone(loss)) if loss.gone.reason == Reason::Closed), "{end:?}");
    poster.join().unwrap();
}
