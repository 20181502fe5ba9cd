//! A publisher and its readers over real links: within a process and through shared memory with a socket.
#![cfg(not(loom))]

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fabric::channel::{Channel, Deadline, FrameView, ReceiveError, Received, Waiting};
use fabric::publish::{Heard, Published, Publisher, PublisherBuilder, Subscriber};
use fabric::{Arena, Message, Slice};

/// Longer than anything takes that does not hang.
const LONG: Duration = Duration::from_secs(60);

fn long() -> Deadline {
    Deadline::after(LONG)
}

/// An address of that scheme which nobody else uses.
fn address(scheme: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{scheme}:publishing-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn over_each(scene: impl Fn(&str)) {
    ["inproc", "ipc"].into_iter().for_each(|scheme| scene(&address(scheme)));
}

/// A publisher whose readers may lag by a few messages of 1 KiB only.
fn tight(address: &str) -> PublisherBuilder {
    Publisher::builder(address).windows(4096, 4).backlog(4)
}

fn subscribe(address: &str) -> Subscriber {
    let builder = Channel::builder().connect(address).waiting(Waiting::SpinThenPark { spins: 50 });
    let (channel, receiver) = builder.open().expect("the address is good");
    Subscriber::over(channel, receiver)
}

fn numbered(n: u64, len: usize) -> Message {
    let mut bytes = vec![7; len];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    Message::copied(&bytes)
}

fn read(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

fn message(heard: Heard) -> Received {
    match heard {
        Heard::Message(message) => message,
        Heard::Missed(count) => panic!("{count} missed"),
    }
}

/// Waits until `done`, which is so within moments.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn readers_that_keep_up_hear_everything_in_order() {
    over_each(|address| {
        let publisher = Publisher::builder(address).open().expect("the address is free");
        let hearing: Vec<_> = (0..3)
            .map(|_| {
                let mut subscriber = subscribe(address);
                thread::spawn(move || {
                    for n in 0..2000 {
                        let heard = subscriber.next(long()).expect("the publisher is there");
                        assert_eq!(read(message(heard).bytes()), n);
                    }
                    assert_eq!(subscriber.missed(), 0);
                })
            })
            .collect();
        assert!(publisher.wait_for_readers(3, long()));
        for n in 0..2000 {
            // 2,000 messages of 100 bytes fit the windows, so nobody misses one.
            assert_eq!(publisher.publish(&numbered(n, 100)), Published { readers: 3, skipped: 0 });
        }
        assert_eq!(publisher.close(long()), 0);
        hearing.into_iter().for_each(|hearing| hearing.join().expect("it ends well"));
    });
}

#[test]
fn a_slow_reader_misses_some_is_told_and_holds_nobody_up() {
    over_each(|address| {
        let publisher = tight(address).open().expect("the address is free");
        let (mut slow, mut fast) = (subscribe(address), subscribe(address));
        assert!(publisher.wait_for_readers(2, long()));
        let mut skipped = 0;
        for n in 0..1000 {
            let published = publisher.publish(&numbered(n, 1024));
            assert_eq!(published.readers + published.skipped, 2);
            skipped += published.skipped as u64;
            assert_eq!(read(message(fast.next(long()).expect("it keeps up")).bytes()), n);
        }
        assert!(skipped > 900, "{skipped}");
        assert_eq!((publisher.stats().missed, publisher.stats().published), (skipped, 1000));
        // It hears where the gap is and how wide, to the last message, without a further one being published.
        let mut next = 0;
        while next < 1000 {
            match slow.next(long()).expect("the publisher is there") {
                Heard::Message(message) => {
                    assert_eq!(read(message.bytes()), next);
                    next += 1;
                }
                Heard::Missed(count) => next += count,
            }
        }
        assert_eq!((next, slow.missed()), (1000, skipped));
        assert_eq!(publisher.publish(&numbered(1000, 1024)), Published { readers: 2, skipped: 0 });
        for reader in [&mut slow, &mut fast] {
            assert_eq!(read(message(reader.next(long()).expect("it is there")).bytes()), 1000);
        }
    });
}

#[test]
fn a_reader_that_goes_is_let_go_and_the_others_go_on() {
    over_each(|address| {
        let publisher = Publisher::builder(address).open().expect("the address is free");
        let (going, mut staying) = (subscribe(address), subscribe(address));
        assert!(publisher.wait_for_readers(2, long()));
        drop(going);
        // Nothing is published meanwhile: the publisher sees it by itself.
        until("the reader is seen to go", || publisher.readers().len() == 1);
        assert_eq!(publisher.publish(&numbered(1, 100)), Published { readers: 1, skipped: 0 });
        assert_eq!(read(message(staying.next(long()).expect("it is there")).bytes()), 1);
        let stats = publisher.stats();
        assert_eq!((stats.readers_came, stats.readers_gone), (2, 1));
    });
}

#[test]
fn a_reader_that_comes_late_begins_with_the_next_message() {
    over_each(|address| {
        let publisher = Publisher::builder(address).open().expect("the address is free");
        let mut first = subscribe(address);
        assert!(publisher.wait_for_readers(1, long()));
        publisher.publish(&numbered(0, 100));
        let mut second = subscribe(address);
        assert!(publisher.wait_for_readers(2, long()));
        publisher.publish(&numbered(1, 100));
        assert_eq!(read(message(second.next(long()).expect("it is there")).bytes()), 1);
        for n in 0..2 {
            assert_eq!(read(message(first.next(long()).expect("it is there")).bytes()), n);
        }
    });
}

#[test]
fn subscribers_hear_the_next_publisher_of_the_address() {
    over_each(|address| {
        let mut subscriber = subscribe(address);
        for life in 0..3 {
            let publisher = Publisher::builder(address).open().expect("the address is free");
            assert!(publisher.wait_for_readers(1, long()));
            publisher.publish(&numbered(life, 100));
            assert_eq!(publisher.close(Deadline::Now), 1, "it is on its way, and was not read");
            assert_eq!(read(message(subscriber.next(long()).expect("it was published")).bytes()), life);
            assert!(matches!(subscriber.next(long()), Err(ReceiveError::PeerGone(_))));
        }
    });
}

/// Fills a window of the publisher's arena.
fn filled(publisher: &Publisher, n: u64, len: usize) -> Option<Slice> {
    let mut window = publisher.take_window()?;
    window.spare()[..8].copy_from_slice(&n.to_le_bytes());
    window.spare()[8..len].fill(n as u8);
    Some(window.fill(len))
}

fn check(received: &Received, n: u64, len: usize) {
    let bytes = received.frame(0).expect("it has a frame").to_vec();
    assert_eq!((read(&bytes), bytes.len()), (n, len));
    assert!(bytes[8..].iter().all(|byte| *byte == n as u8));
}

#[test]
fn one_window_is_lent_to_all_readers() {
    const LEN: usize = 1 << 20;
    over_each(|address| {
        let arena = Arc::new(Arena::new(LEN, 1).expect("there is memory"));
        // Its windows could not take a copy.
        let publisher = tight(address).arena(arena).open().expect("the address is free");
        let mut readers: Vec<_> = (0..3).map(|_| subscribe(address)).collect();
        assert!(publisher.wait_for_readers(3, long()));
        for n in 0..5 {
            let slice = filled(&publisher, n, LEN).expect("the window is free again");
            assert_eq!(publisher.publish(&Message::shared(slice)), Published { readers: 3, skipped: 0 });
            assert!(publisher.take_window().is_none(), "it is lent");
            let mut heard: Vec<_> =
                readers.iter_mut().map(|reader| message(reader.next(long()).expect("it is there"))).collect();
            heard.iter().for_each(|received| check(received, n, LEN));
            drop(heard.split_off(1));
            // Two are done, the third keeps it.
            publisher.publish(&numbered(0, 10));
            readers.iter_mut().for_each(|reader| drop(reader.next(long()).expect("it is there")));
            assert!(publisher.take_window().is_none(), "it is lent to one yet");
            drop(heard);
            until("the last lease comes back", || publisher.take_window().is_some());
        }
    });
}

#[test]
fn a_reader_that_keeps_windows_gets_copies_when_its_leases_are_out() {
    const LEN: usize = 4096;
    let address = address("ipc");
    let arena = Arc::new(Arena::new(LEN, 8).expect("there is memory"));
    let publisher = Publisher::builder(&*address).arena(arena).leases(2).open().expect("the address is free");
    let mut reader = subscribe(&address);
    assert!(publisher.wait_for_readers(1, long()));
    let mut kept = Vec::new();
    for n in 0..6 {
        let slice = filled(&publisher, n, LEN).expect("two at most are lent");
        assert_eq!(publisher.publish(&Message::shared(slice)).readers, 1);
        let received = message(reader.next(long()).expect("it is there"));
        check(&received, n, LEN);
        let lent = matches!(received.frame(0), Some(FrameView::Remote(_)));
        assert_eq!(lent, n < 2, "message {n}");
        kept.push(received);
    }
}

#[test]
fn a_reader_without_leases_misses_what_cannot_be_copied_and_nobody_else_does() {
    const LEN: usize = 64 << 10;
    let address = address("ipc");
    let arena = Arc::new(Arena::new(LEN, 32).expect("there is memory"));
    let publisher = tight(&address).arena(arena).leases(3).open().expect("the address is free");
    let (mut keeping, mut fair) = (subscribe(&address), subscribe(&address));
    assert!(publisher.wait_for_readers(2, long()));
    let mut kept = Vec::new();
    let mut skipped = 0;
    for n in 0..20 {
        let slice = filled(&publisher, n, LEN).expect("few are kept");
        let published = publisher.publish(&Message::shared(slice));
        skipped += published.skipped;
        check(&message(fair.next(long()).expect("it is there")), n, LEN);
        if n < 3 {
            kept.push(message(keeping.next(long()).expect("it is there")));
        }
    }
    // Three are kept, four wait in the queue, and one is held in front of it.
    assert_eq!(skipped, 20 - 3 - 4 - 1);
    drop(kept);
    let mut next = 3;
    while next < 20 {
        match keeping.next(long()).expect("what waited comes") {
            Heard::Message(received) => {
                check(&received, next, LEN);
                next += 1;
            }
            Heard::Missed(count) => next += count,
        }
    }
    assert_eq!((next, keeping.missed()), (20, 12));
}

#[test]
fn a_publisher_without_a_thread_is_driven_by_its_caller() {
    let address = address("ipc");
    let publisher = tight(&address).progress(fabric::channel::Progress::Caller).open().expect("the address is free");
    let mut reader = subscribe(&address);
    assert!(publisher.wait_for_readers(1, long()));
    for n in 0..100 {
        publisher.publish(&numbered(n, 1024));
    }
    let (mut next, missed) = (0, publisher.stats().missed);
    assert!(missed > 0);
    while next < 100 {
        publisher.progress();
        match reader.next(Deadline::after(Duration::from_millis(1))) {
            Ok(Heard::Message(message)) => {
                assert_eq!(read(message.bytes()), next);
                next += 1;
            }
            Ok(Heard::Missed(count)) => next += count,
            Err(ReceiveError::TimedOut { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((next, reader.missed()), (100, missed));
    drop(reader);
    until("the reader is seen to go", || {
        publisher.progress();
        publisher.readers().is_empty()
    });
}

/// Where the process that is to be killed finds its publisher.
const VICTIM_ADDRESS: &str = "FABRIC_PUBLISHING_VICTIM";

/// In a process of its own ([`victim`]): keeps what it hears until it is killed. Without the address there is nobody to be, and nothing is tested
/// here.
#[test]
fn victim_process() {
    let Ok(address) = std::env::var(VICTIM_ADDRESS) else { return };
    let mut subscriber = subscribe(&address);
    let mut kept = Vec::new();
    while kept.len() < 1000 {
        kept.push(subscriber.next(Deadline::Never));
    }
}

fn victim(address: &str) -> Child {
    let program = std::env::current_exe().expect("a test knows its program");
    let mut command = Command::new(program);
    command.args(["--exact", "victim_process", "--nocapture"]).env(VICTIM_ADDRESS, address);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program is there")
}

#[test]
fn what_a_killed_reader_kept_comes_back() {
    const LEN: usize = 64 << 10;
    let address = address("ipc");
    let arena = Arc::new(Arena::new(LEN, 4).expect("there is memory"));
    let publisher = tight(&address).arena(arena).open().expect("the address is free");
    let mut survivor = subscribe(&address);
    assert!(publisher.wait_for_readers(1, long()));
    for round in 0..3 {
        let mut child = victim(&address);
        assert!(publisher.wait_for_readers(2, long()));
        for n in 0..4 {
            let slice = filled(&publisher, n, LEN).expect("a window is free");
            assert_eq!(publisher.publish(&Message::shared(slice)).readers, 2, "round {round}");
            check(&message(survivor.next(long()).expect("it is there")), n, LEN);
        }
        assert!(publisher.take_window().is_none(), "the victim keeps all");
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        until("the dead reader is let go", || publisher.readers().len() == 1);
        until("all windows come back", || {
            let windows: Vec<_> = (0..4).filter_map(|_| publisher.take_window()).collect();
            windows.len() == 4
        });
    }
}
