//! What a link over loopback carries: windows of messages from one thread to another, each word written and read.
//!
//! `cargo bench -p fabric-net --bench net [-- SECONDS OPTIONS…]` prints a line for each engine, window size and message size.
#![cfg(not(loom))]

use std::os::fd::BorrowedFd;
use std::thread;
use std::time::{Duration, Instant};

use fabric::tli::{Attempt, Connector, Lane, Link, LinkSettings, Role, WindowSettings, provider};
use fabric::uri::Uri;
use fabric::wire::{END, Kind, MessageWord};
use fabric_net as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

fn main() {
    let seconds = std::env::args().filter_map(|word| word.parse::<f64>().ok()).next().unwrap_or(1.0);
    println!("{:38} {:>9} {:>9} {:>10} {:>8} {:>9}", "link", "window", "payload", "M msg/s", "GB/s", "CPU ns");
    let asked: Vec<String> = std::env::args().filter(|word| word.contains('=')).collect();
    let usual = ["via=epoll", "via=uring", "via=epoll&crc=off", "via=uring&crc=off"].map(str::to_owned).to_vec();
    for options in if asked.is_empty() { usual } else { asked } {
        let options = options.as_str();
        for (window, payload) in [(64 << 10, 64), (256 << 10, 64), (256 << 10, 1024), ((256 << 10) + 64, 256 << 10)] {
            let (rate, nanoseconds) = stream(options, window, payload, Duration::from_secs_f64(seconds));
            let gigabytes = rate * payload as f64 / 1e9;
            println!("{options:38} {window:>9} {payload:>9} {:>10.3} {gigabytes:>8.2} {nanoseconds:>9.1}", rate / 1e6);
        }
        println!("{options:38} round trip of 64 bytes, asleep: {:.1} µs", round_trip(options));
    }
}

fn pair(options: &str, window: usize) -> (Link, Link) {
    let settings = LinkSettings { bulk: WindowSettings { bytes: window, count: 16 }, ..LinkSettings::default() };
    let open = |uri: &str, role| {
        let uri = Uri::parse(uri).expect("an address");
        provider(&uri).expect("a provider").open(&uri, &LinkSettings { role, ..settings.clone() }).expect("it opens")
    };
    let mut listener = open(&format!("tcp://127.0.0.1:0?{options}"), Role::Listen);
    let mut dialer = open(&listener.address().expect("it listens"), Role::Connect);
    let mut links = (None, None);
    while links.0.is_none() || links.1.is_none() {
        advance(&mut *listener, &mut links.0);
        advance(&mut *dialer, &mut links.1);
    }
    (links.0.expect("met"), links.1.expect("met"))
}

fn advance(connector: &mut dyn Connector, met: &mut Option<Link>) {
    if met.is_none()
        && let Attempt::Met(link) = connector.poll(Instant::now()).expect("the peers meet")
    {
        *met = Some(link);
    }
}

fn sleep_on(fd: Option<BorrowedFd<'_>>) {
    let mut fds = [PollFd::from_borrowed_fd(fd.expect("a descriptor"), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).expect("it polls");
}

/// Messages a second, and nanoseconds of processor time for each, both ends together.
fn stream(options: &str, window: usize, payload: usize, time: Duration) -> (f64, f64) {
    let (mut sender, mut receiver) = pair(options, window);
    let sending = thread::spawn(move || {
        let start = Instant::now();
        while start.elapsed() < time {
            send_window(&mut sender, payload);
        }
        sender.outlet.finish();
        while read_window(&mut sender).is_some() {}
    });
    let (start, mut messages, mut sum) = (Instant::now(), 0u64, 0u64);
    let spent_before = processor_time();
    while let Some((read, part)) = read_window(&mut receiver) {
        messages += read;
        sum = sum.wrapping_add(part);
    }
    let elapsed = start.elapsed().as_secs_f64();
    std::hint::black_box(sum);
    drop(receiver);
    sending.join().expect("it sends");
    (messages as f64 / elapsed, (processor_time() - spent_before) / messages as f64)
}

/// Nanoseconds that this process has spent on processors.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn send_window(link: &mut Link, payload: usize) {
    let length = 24 + payload;
    let word = MessageWord { length: length as u32, frames: 1, kind: Kind::Data, flags: 0 }.pack();
    let mut window = loop {
        if let Some(window) = link.outlet.take(Lane::Bulk).expect("the peer lives") {
            break window;
        }
        link.tether.arm();
        link.outlet.progress().expect("the peer lives");
        if let Some(window) = link.outlet.take(Lane::Bulk).expect("the peer lives") {
            link.tether.disarm();
            break window;
        }
        sleep_on(link.tether.readiness());
        link.tether.disarm();
        link.tether.look().expect("the peer lives");
    };
    let mut value = 0u64;
    while window.room() >= length {
        for part in window.body_mut(length).chunks_exact_mut(8) {
            part.copy_from_slice(&value.to_le_bytes());
            value += 1;
        }
        window.commit(length, word);
    }
    link.outlet.ship(Lane::Bulk, window).expect("the peer lives");
}

/// Messages of the next window and the sum of their words; `None` at the end.
fn read_window(link: &mut Link) -> Option<(u64, u64)> {
    let mut window = loop {
        if let Some(window) = link.inlet.receive(Lane::Bulk).ok()? {
            break window;
        }
        link.tether.arm();
        let again = link.inlet.receive(Lane::Bulk).ok()?;
        if let Some(window) = again {
            link.tether.disarm();
            break window;
        }
        sleep_on(link.tether.readiness());
        link.tether.disarm();
        let _ = link.tether.look();
    };
    let (mut messages, mut sum) = (0, 0u64);
    while window.word() != END {
        let length = window.word() as u32 as usize;
        for part in window.body(length).chunks_exact(8) {
            sum = sum.wrapping_add(u64::from_le_bytes(part.try_into().expect("eight bytes")));
        }
        window.advance(length);
        messages += 1;
    }
    link.inlet.dispose(Lane::Bulk, window);
    Some((messages, sum))
}

/// Median of a round trip between two threads that sleep, in µs.
fn round_trip(options: &str) -> f64 {
    const TRIPS: usize = 2000;
    let (mut one, mut other) = pair(options, 4096);
    let answering = thread::spawn(move || {
        while read_window(&mut other).is_some() {
            small(&mut other);
        }
    });
    let mut times: Vec<_> = (0..TRIPS)
        .map(|_| {
            let start = Instant::now();
            small(&mut one);
            read_window(&mut one);
            start.elapsed()
        })
        .collect();
    drop(one);
    answering.join().expect("it answers");
    times.sort_unstable();
    times[TRIPS / 2].as_secs_f64() * 1e6
}

fn small(link: &mut Link) {
    if let Ok(Some(mut window)) = link.outlet.take(Lane::Bulk) {
        window.body_mut(88).fill(7);
        window.commit(88, MessageWord { length: 88, frames: 1, kind: Kind::Data, flags: 0 }.pack());
        // The peer may be gone at the end.
        let _ = link.outlet.ship(Lane::Bulk, window);
    }
}
