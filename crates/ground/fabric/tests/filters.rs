//! Each filter over a real link between two ends of this process.

#![cfg(not(loom))]

use std::fs::File;
use std::io::BufReader;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fabric::channel::{Channel, Deadline, Progress, ReceiveError};
use fabric::filter::{
    Capture, CaptureReader, Captured, Counters, Direction, Faults, Filters, Record, Resources, Trace,
};
use fabric::queue::{Full, Priority, QueueKind};
use fabric::tli::{
    Attempt, Borrowed, Connector, Lane, Link, LinkSettings, PeerGone, Reason, Role, RxWindow, TxWindow, WindowSettings,
    provider,
};
use fabric::wire::{END, Frames, Kind, MessageWord, RawFrame, frame_bytes, message_flags};
use fabric::{Message, Slice, Uri};

/// Ends of one meeting: the first has the filters.
struct Ends {
    near: Link,
    far: Link,
}

fn settings(role: Role) -> LinkSettings {
    LinkSettings { role, bulk: WindowSettings { bytes: 1024, count: 4 }, leases: 16, ..LinkSettings::default() }
}

fn meet(name: &str, filters: &Filters) -> Ends {
    let uri = Uri::parse(&format!("inproc:filters-{name}")).expect("right");
    let open = |role| provider(&uri).expect("linked in").open(&uri, &settings(role)).expect("opens");
    let mut near = filters.wrap(&uri, &settings(Role::Listen), open(Role::Listen));
    let mut far = open(Role::Connect);
    let (mut first, mut second) = (None, None);
    while first.is_none() || second.is_none() {
        poll(&mut *near, &mut first);
        poll(&mut *far, &mut second);
    }
    Ends { near: first.expect("met"), far: second.expect("met") }
}

fn poll(connector: &mut dyn Connector, link: &mut Option<Link>) {
    if link.is_none()
        && let Attempt::Met(met) = connector.poll(Instant::now()).expect("nothing is wrong")
    {
        *link = Some(met);
    }
}

/// Lays a message of one frame into the window of `lane` that is open in `window`, and ships it when it is full. While no window is free, it calls
/// `wait`.
fn send_or(
    link: &mut Link,
    lane: Lane,
    window: &mut Option<TxWindow>,
    (payload, flags): (&[u8], u8),
    mut wait: impl FnMut(),
) -> Result<(), PeerGone> {
    let length = 16 + frame_bytes(payload.len());
    if window.as_ref().is_some_and(|window| window.room() < length) {
        link.outlet.ship(lane, window.take().expect("just looked"))?;
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while window.is_none() {
        assert!(Instant::now() < deadline, "a window comes back");
        link.outlet.progress()?;
        *window = link.outlet.take(lane)?;
        wait();
    }
    let window = window.as_mut().expect("just taken");
    let body = window.body_mut(length);
    body.fill(0);
    body[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    body[16..16 + payload.len()].copy_from_slice(payload);
    window.commit(length, MessageWord { length: length as u32, frames: 1, kind: Kind::Data, flags }.pack());
    Ok(())
}

fn send(link: &mut Link, lane: Lane, window: &mut Option<TxWindow>, payload: &[u8], flags: u8) -> Result<(), PeerGone> {
    send_or(link, lane, window, (payload, flags), || ())
}

/// Reads one window after the other, keeping count as channels do.
#[derive(Default)]
struct Reader {
    window: Option<RxWindow>,
    read: u64,
    windows: u64,
}

impl Reader {
    /// The payloads that are there, and whether the peer is there still.
    fn read(&mut self, link: &mut Link, lane: Lane) -> (Vec<Vec<u8>>, Result<(), PeerGone>) {
        let mut payloads = Vec::new();
        let end = loop {
            let mut window = match self.window.take() {
                Some(window) => window,
                None => match link.inlet.receive(lane) {
                    Ok(Some(window)) => {
                        self.windows += 1;
                        window
                    }
                    Ok(None) => break Ok(()),
                    Err(gone) => break Err(gone),
                },
            };
            match window.word() {
                0 => {
                    self.window = Some(window);
                    let gone = link.tether.look();
                    break gone;
                }
                END => link.inlet.dispose(lane, window),
                word => {
                    let word = MessageWord::parse(word, window.room()).expect("well formed");
                    let mut body = Vec::new();
                    window.copy_body(word.length as usize, &mut body);
                    match Frames::new(word, &body).advance() {
                        Ok(Some(RawFrame::Bytes { bytes, .. })) => payloads.push(bytes.to_vec()),
                        Ok(Some(RawFrame::Lent { descriptor, .. })) => {
                            match link.inlet.borrow(descriptor).expect("lent") {
                                Borrowed::Slice(slice) => payloads.push(slice.to_vec()),
                                Borrowed::Remote(remote) => payloads.push(remote.to_vec()),
                            }
                        }
                        other => panic!("one frame: {other:?}"),
                    }
                    window.advance(word.length as usize);
                    self.read += 1;
                    self.window = Some(window);
                }
            }
        };
        link.inlet.read(lane, self.read);
        (payloads, end)
    }
}

fn payload(n: u32) -> Vec<u8> {
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.resize(4 + (n as usize * 7) % 120, n as u8);
    bytes
}

/// Sends `count` messages through the near end, reads them at the far end, and drives delays on.
fn pass(ends: &mut Ends, count: u32) -> Reader {
    let (mut window, mut reader, mut got) = (None, Reader::default(), Vec::new());
    for n in 0..count {
        let mut read = || got.extend(reader.read(&mut ends.far, Lane::Bulk).0);
        let sent = send_or(&mut ends.near, Lane::Bulk, &mut window, (&payload(n), 0), &mut read);
        sent.expect("the peer is there");
        read();
    }
    if let Some(window) = window {
        ends.near.outlet.ship(Lane::Bulk, window).expect("the peer is there");
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while got.len() < count as usize {
        assert!(Instant::now() < deadline, "only {} of {count} arrived", got.len());
        ends.near.outlet.progress().expect("the peer is there");
        got.extend(reader.read(&mut ends.far, Lane::Bulk).0);
    }
    // Gives the last window back.
    assert!(reader.read(&mut ends.far, Lane::Bulk).0.is_empty());
    assert!(got.iter().enumerate().all(|(n, bytes)| *bytes == payload(n as u32)), "order and bytes");
    reader
}

#[test]
fn counters_agree_with_what_passed_on_both_sides() {
    let (sent, received) = (Arc::new(Counters::new()), Arc::new(Counters::new()));
    let mut ends = meet("count", &Filters::none().observe(sent.clone()));
    let reader = pass(&mut ends, 500);
    let out = sent.lane(Direction::Out, Lane::Bulk);
    let encoded: u64 = (0..500).map(|n| 16 + frame_bytes(payload(n).len()) as u64).sum();
    assert_eq!((out.messages, out.windows, out.bytes), (500, reader.windows, encoded));
    assert_eq!((sent.direction(Direction::In).messages, sent.links()), (0, 1));

    // The other way round: the near end receives.
    let ends = meet("count-in", &Filters::none().observe(received.clone()));
    let reader = pass(&mut Ends { near: ends.far, far: ends.near }, 500);
    let into = received.lane(Direction::In, Lane::Bulk);
    assert_eq!((into.messages, into.windows, into.bytes), (500, reader.windows, encoded));
}

#[test]
fn a_message_is_counted_before_its_window_is_shipped() {
    let counters = Arc::new(Counters::new());
    let mut ends = meet("live", &Filters::none().observe(counters.clone()));
    let mut window = None;
    send(&mut ends.near, Lane::Urgent, &mut window, b"one", 0).expect("there");
    ends.near.outlet.progress().expect("there");
    let count = counters.lane(Direction::Out, Lane::Urgent);
    assert_eq!((count.messages, count.windows), (1, 0));
    // And it has arrived: the observer did not hold it back.
    assert_eq!(Reader::default().read(&mut ends.far, Lane::Urgent).0, [b"one"]);
}

#[test]
fn traces_name_channel_lane_window_and_end() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let trace = Trace::new(Arc::new(move |line| sink.lock().unwrap().push(line.to_string())));
    let mut ends = meet("trace", &Filters::none().observe(Arc::new(trace)));
    pass(&mut ends, 10);
    drop(ends.far);
    ends.near.outlet.progress().expect_err("the peer is gone");
    ends.near.outlet.progress().expect_err("and is told once only");
    let lines = lines.lock().unwrap();
    assert!(lines[0].starts_with("inproc:filters-trace: met"), "{lines:?}");
    assert!(lines[1].starts_with("inproc:filters-trace: out bulk window 1, 10 messages, "), "{lines:?}");
    assert!(lines[2].contains("is gone"), "{lines:?}");
    assert_eq!(lines.len(), 3);
}

fn captured(path: &std::path::Path) -> Vec<Record> {
    let mut reader = CaptureReader::new(BufReader::new(File::open(path).expect("made"))).expect("a capture");
    std::iter::from_fn(|| reader.advance().expect("whole")).collect()
}

fn temporary(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("fabric-filters-{name}-{}", std::process::id()))
}

#[test]
fn a_capture_holds_every_message_and_none_of_the_secrets() {
    let path = temporary("capture");
    let capture = Arc::new(Capture::create(&path, "inproc:filters-capture", 1 << 20).expect("made"));
    let mut ends = meet("capture", &Filters::none().observe(capture.clone()));
    pass(&mut ends, 100);
    let mut window = None;
    send(&mut ends.near, Lane::Urgent, &mut window, b"password", message_flags::ERASE).expect("there");
    ends.near.tether.arm();
    ends.near.outlet.progress().expect("there");
    ends.near.tether.arm();
    let records = captured(&path);
    std::fs::remove_file(&path).expect("it is there");
    assert!(matches!(&records[0].captured, Captured::Met { .. }));
    for (n, record) in records[1..101].iter().enumerate() {
        let message = record.captured.message().expect("well formed").expect("a message");
        assert_eq!(message.frame(0), Some(&payload(n as u32)[..]));
        assert_eq!(record.number, n as u64 + 2);
    }
    let Captured::Message { lane, erased, bytes, .. } = &records[101].captured else { panic!("{:?}", records[101]) };
    assert_eq!((*lane, *erased), (Lane::Urgent, true));
    assert!(!bytes.windows(4).any(|bytes| bytes == b"pass"));
    assert_eq!(records[101].captured.message().expect("well formed").expect("a message").frame(0), Some(&[0; 8][..]));
    assert_eq!((records.len(), capture.omitted()), (102, 0));
}

#[test]
fn a_capture_shows_lent_bytes_in_their_places_on_both_sides() {
    let paths = [temporary("lent-out"), temporary("lent-in")];
    let captures = paths.clone().map(|path| Arc::new(Capture::create(&path, "inproc:x", 1 << 20).expect("made")));
    for (side, capture) in captures.iter().enumerate() {
        let ends = meet(&format!("lent-{side}"), &Filters::none().observe(capture.clone()));
        let mut ends = if side == 0 { ends } else { Ends { near: ends.far, far: ends.near } };
        let bytes = Slice::copy_from(&[7; 5000]);
        let descriptor = ends.near.outlet.lend(&bytes).expect("there").expect("memory is shared");
        let mut window = ends.near.outlet.take(Lane::Bulk).expect("there").expect("free");
        let body = window.body_mut(48);
        body.fill(0);
        body[8..16].copy_from_slice(&(5000u64 | 1 << 48).to_le_bytes());
        body[16..40].copy_from_slice(&descriptor.pack());
        window.commit(48, MessageWord { length: 48, frames: 1, kind: Kind::Data, flags: 0 }.pack());
        ends.near.outlet.ship(Lane::Bulk, window).expect("there");
        assert_eq!(Reader::default().read(&mut ends.far, Lane::Bulk).0, [vec![7; 5000]]);
        capture.flush().expect("written");
    }
    for path in paths {
        let records = captured(&path);
        std::fs::remove_file(&path).expect("it is there");
        let message = records[1].captured.message().expect("well formed").expect("nothing is missing");
        assert_eq!(message.frame(0), Some(&[7; 5000][..]));
    }
}

#[test]
fn a_capture_stops_at_its_limit() {
    let path = temporary("limit");
    let capture = Arc::new(Capture::create(&path, "inproc:filters-limit", 8192).expect("made"));
    pass(&mut meet("limit", &Filters::none().observe(capture.clone())), 300);
    let records = captured(&path);
    assert!(std::fs::metadata(&path).expect("there").len() <= 8192);
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(records.last().expect("some").captured, Captured::Full);
    let messages = records.iter().filter(|record| matches!(record.captured, Captured::Message { .. })).count();
    assert_eq!(messages as u64 + capture.omitted(), 300);
    assert!(messages > 50, "{messages}");
}

#[test]
fn delays_and_stalls_hold_back_and_keep_order() {
    let mut faults = Faults::seeded(1);
    faults.delay = Some((Duration::from_millis(30), Duration::from_millis(40)));
    let mut ends = meet("delay", &Filters::none().faults(faults));
    assert!(!ends.near.capabilities.visible_on_commit);
    let begun = Instant::now();
    pass(&mut ends, 5);
    assert!(begun.elapsed() >= Duration::from_millis(30), "{:?}", begun.elapsed());

    let mut faults = Faults::seeded(1);
    faults.stall = Some((1, Duration::from_millis(20)));
    let begun = Instant::now();
    pass(&mut meet("stall", &Filters::none().faults(faults)), 5);
    assert!(begun.elapsed() >= Duration::from_millis(20), "{:?}", begun.elapsed());
}

#[test]
fn a_delayed_window_wakes_its_sender_by_readiness_alone() {
    let mut faults = Faults::seeded(2);
    faults.delay = Some((Duration::from_millis(20), Duration::from_millis(20)));
    let mut ends = meet("wake", &Filters::none().faults(faults));
    let mut window = None;
    send(&mut ends.near, Lane::Bulk, &mut window, b"late", 0).expect("there");
    ends.near.outlet.ship(Lane::Bulk, window.expect("taken")).expect("there");
    let mut reader = Reader::default();
    assert!(reader.read(&mut ends.far, Lane::Bulk).0.is_empty(), "it is held back");
    let tether = Arc::clone(&ends.near.tether);
    let readiness = tether.readiness().expect("a descriptor");
    let timeout = rustix::time::Timespec { tv_sec: 20, tv_nsec: 0 };
    let polled = rustix::event::poll(
        &mut [rustix::event::PollFd::new(&readiness, rustix::event::PollFlags::IN)],
        Some(&timeout),
    );
    assert_eq!(polled, Ok(1));
    tether.look().expect("there");
    ends.near.outlet.progress().expect("there");
    assert_eq!(reader.read(&mut ends.far, Lane::Bulk).0, [b"late"]);
}

#[test]
fn refusals_and_short_windows_lose_nothing() {
    let mut faults = Faults::seeded(3);
    faults.refuse = Some(2);
    faults.split = Some(2);
    let reader = pass(&mut meet("short", &Filters::none().faults(faults)), 200);
    assert!(reader.windows >= 100, "{} windows of at most two messages", reader.windows);
}

#[test]
fn the_link_drops_at_the_window_that_was_named_for_both_sides() {
    let mut faults = Faults::seeded(4);
    faults.drop = Some(3);
    let mut ends = meet("drop", &Filters::none().faults(faults));
    let (mut window, mut sent) = (None, 0);
    let mut reader = Reader::default();
    let mut got = 0;
    let gone = loop {
        if let Err(gone) = send(&mut ends.near, Lane::Bulk, &mut window, &[1; 100], 0) {
            break gone;
        }
        sent += 1;
        got += reader.read(&mut ends.far, Lane::Bulk).0.len();
    };
    assert_eq!(gone.reason, Reason::Died);
    // 992 bytes take 7 messages of 128; two windows of them were shipped.
    let (rest, end) = reader.read(&mut ends.far, Lane::Bulk);
    assert_eq!((sent, got + rest.len()), (21, 14));
    assert_eq!(end.expect_err("gone").reason, Reason::Died);
    assert_eq!(ends.near.tether.look().expect_err("gone").reason, Reason::Died);
}

#[test]
fn corruption_flips_one_bit_and_the_seed_says_which() {
    let run = |name: &str| {
        let mut faults = Faults::seeded(5);
        faults.corrupt = Some(1);
        let mut ends = meet(name, &Filters::none().faults(faults));
        let mut window = None;
        send(&mut ends.near, Lane::Bulk, &mut window, &[0; 400], 0).expect("there");
        ends.near.outlet.ship(Lane::Bulk, window.expect("taken")).expect("there");
        let window = ends.far.inlet.receive(Lane::Bulk).expect("there").expect("shipped");
        let mut bytes = vec![0; 32 + 424];
        window.memory().copy_out(0, &mut bytes);
        bytes[32..].to_vec()
    };
    let word = MessageWord { length: 424, frames: 1, kind: Kind::Data, flags: 0 }.pack().to_le_bytes();
    let mut clean = vec![0; 424];
    clean[..8].copy_from_slice(&word);
    clean[16..20].copy_from_slice(&400u32.to_le_bytes());
    let bytes = run("corrupt-1");
    let flipped: u32 = bytes.iter().zip(&clean).map(|(found, sent)| (found ^ sent).count_ones()).sum();
    assert_eq!(flipped, 1);
    assert_eq!(bytes, run("corrupt-2"));
}

#[test]
fn filters_stack_in_the_order_of_the_list() {
    let (before, behind) = (Arc::new(Counters::new()), Arc::new(Counters::new()));
    let mut faults = Faults::seeded(6);
    faults.split = Some(1);
    let filters = Filters::none().observe(before.clone()).faults(faults).observe(behind.clone());
    pass(&mut meet("stack", &filters), 50);
    let (before, behind) = (before.direction(Direction::Out), behind.direction(Direction::Out));
    assert_eq!((before.messages, behind.messages, before.bytes), (50, 50, behind.bytes));
    assert_eq!(behind.windows, 50, "behind the split every message has a window of its own");
    assert!(before.windows < 20, "{}", before.windows);
}

#[test]
fn a_channel_takes_filters_from_its_address_and_from_its_builder() {
    let (near, named) = (Arc::new(Counters::new()), Arc::new(Counters::new()));
    let resources = Resources { counters: Some(named.clone()), ..Resources::default() };
    let address = "inproc:filters-channel?filter=faults,count&faults=seed:1,delay:1ms,split:1";
    let (sending, _replies) = Channel::builder()
        .listen(address)
        .filters(Filters::none().observe(near.clone()))
        .filter_resources(resources)
        .windows(4096, 64)
        .open()
        .expect("opens");
    let (_other, mut receiver) = Channel::builder().connect("inproc:filters-channel").open().expect("opens");
    let posting = std::thread::spawn(move || {
        let mut sender = sending.sender(QueueKind::MonoUnbounded, Priority::Normal);
        for n in 0..300 {
            let deadline = Deadline::after(Duration::from_secs(20));
            sender.post(Message::copied(&payload(n)), deadline).expect("room comes");
        }
        sending.close(Deadline::after(Duration::from_secs(20))).expect("everything is read");
    });
    for n in 0..300 {
        let message = receiver.receive(Deadline::after(Duration::from_secs(20))).expect("it comes");
        assert_eq!(message.bytes(), payload(n));
    }
    // What was read is told with the next look, if not before, and then the sender closes.
    let over = receiver.try_receive();
    assert!(matches!(&over, Ok(None) | Err(ReceiveError::PeerGone(_))), "{over:?}");
    posting.join().expect("the sender is fine");
    let (near, named) = (near.direction(Direction::Out), named.direction(Direction::Out));
    assert_eq!((near.messages, named.messages, named.windows), (300, 300, 300));
}

#[test]
fn a_sender_that_drives_its_channel_does_not_sleep_beside_room_that_it_made_itself() {
    // Windows that are shipped, in a process of its own: nobody rings the sender when its own turn has emptied its queue.
    let filters = Filters::none().faults(Faults::seeded(7));
    let sending = Channel::builder().listen("inproc:filters-drives").filters(filters).progress(Progress::Caller);
    let (sending, _replies) = sending.open().expect("opens");
    let receiving = Channel::builder().connect("inproc:filters-drives").progress(Progress::Caller);
    let (_other, mut receiver) = receiving.open().expect("opens");
    let posting = std::thread::spawn(move || {
        let kind = QueueKind::MultiBounded { capacity: 256, full: Full::Block };
        let mut sender = sending.sender(kind, Priority::Normal);
        let begun = Instant::now();
        for n in 0..40_000u32 {
            sender
                .post(Message::copied(&[n as u8; 500]), Deadline::after(Duration::from_secs(20)))
                .expect("room comes");
        }
        let took = begun.elapsed();
        sending.close(Deadline::after(Duration::from_secs(20))).expect("everything is read");
        took
    });
    for n in 0..40_000u32 {
        let message = receiver.receive(Deadline::after(Duration::from_secs(20))).expect("it comes");
        assert_eq!(message.bytes(), [n as u8; 500]);
    }
    // Says that the last one was read.
    let _ = receiver.try_receive();
    let took = posting.join().expect("the sender is fine");
    // It was a tenth of a second for many of its 160 turns.
    assert!(took < Duration::from_secs(3), "{took:?}");
}
