//! Malice: a peer that owns its memory and writes what it likes into every byte of it, while we read. It may end its own link, and nothing else.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test")]

mod meeting;

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fabric::arena::Arena;
use fabric::tli::{Attempt, LANES, Lane, Link, LinkSettings, PeerGone, Reason, Role, Trust, Violation};
use fabric::wire::{Descriptor, END, Kind, MessageWord};
use meeting::forged::{ALL_SEALS, Hello, Pages, introduce, place, say};
use meeting::*;

/// A link to a forger whose memory is ours to spoil.
fn forged_link(name: &str) -> (Place, Link, Pages, std::os::fd::OwnedFd) {
    let dir = Place::new(name);
    let mut listener = open(&dir.uri(), &settings(Role::Listen));
    let pages = Pages::new(16384, ALL_SEALS);
    let socket = introduce(&dir.socket(), &Hello::honest(), &pages, || {
        listener.poll(Instant::now()).unwrap();
    });
    let link = meet_alone(&mut *listener);
    (dir, link, pages, socket)
}

fn violation(gone: &PeerGone) -> &Violation {
    match &gone.reason {
        Reason::Violation(violation) => violation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_forger_that_behaves_is_served() {
    let (_dir, mut link, pages, _socket) = forged_link("behaves");
    pages.publish(0, 1);
    let at = place::BULK + 32;
    for (word, value) in [7_u64, !7].into_iter().enumerate() {
        pages.set(at + 8 + word * 8, value);
    }
    pages.set(at + 24, END);
    pages.set(at, MessageWord { length: 24, frames: 0, kind: Kind::Data, flags: 0 }.pack());
    let mut window = link.inlet.receive(Lane::Bulk).unwrap().unwrap();
    assert_eq!((next(&mut window), next(&mut window)), (Next::Number(7), Next::End));
    link.inlet.dispose(Lane::Bulk, window);
    let mut numbers = Numbers::new(Lane::Bulk);
    while numbers.send(&mut *link.outlet).unwrap() {}
    pages.set(place::BULK_DISPOSED, 2);
    assert!(numbers.send(&mut *link.outlet).unwrap());
    pages.set(place::BULK_READ, 50);
    link.outlet.progress().unwrap();
    assert_eq!(link.outlet.read_by_peer(Lane::Bulk), 50);
}

/// Each word that we read, out of range: the link ends, with that reason, and every later call says the same.
#[test]
fn every_control_word_out_of_range_ends_the_link() {
    type Forgery = (&'static str, fn(&Pages));
    let cases: [Forgery; 14] = [
        ("disposed beyond shipped", |pages| pages.set(place::BULK_DISPOSED, 4)),
        ("disposed far beyond", |pages| pages.set(place::URGENT_DISPOSED, u64::MAX)),
        ("read beyond sent", |pages| pages.set(place::BULK_READ, 1 << 40)),
        ("returns that were never lent", |pages| pages.set(place::RETURNED, 1)),
        ("returns without end", |pages| pages.set(place::RETURNED, u64::MAX)),
        ("a window out of turn", |pages| pages.publish(0, 2)),
        ("a window of a lap to come", |pages| pages.publish(0, 5)),
        ("a window of another lap", |pages| pages.publish(0, u64::MAX)),
        ("no magic", |pages| {
            pages.publish(0, 1);
            pages.set(place::BULK, 0);
        }),
        ("another format", |pages| {
            pages.publish(0, 1);
            pages.set(place::BULK, u64::from(u32::from_le_bytes(*b"PHF1")) | 2 << 32 | 32 << 48);
        }),
        ("a long header", |pages| {
            pages.publish(0, 1);
            pages.set(place::BULK, u64::from(u32::from_le_bytes(*b"PHF1")) | 1 << 32 | 999 << 48);
        }),
        ("used beyond its size", |pages| {
            pages.publish(0, 1);
            pages.set(place::BULK + 8, 513);
        }),
        ("another epoch", |pages| {
            pages.publish(0, 1);
            pages.set(place::BULK + 24, 78 << 32);
        }),
        ("a window of the urgent lane out of turn", |pages| pages.set(place::URGENT + 16, 9)),
    ];
    for (number, (name, forge)) in cases.into_iter().enumerate() {
        let (_dir, mut link, pages, _socket) = forged_link(&format!("word-{number}"));
        let mut numbers = Numbers::new(Lane::Bulk);
        // Two windows shipped, one under way.
        for _ in 0..50 {
            assert!(numbers.send(&mut *link.outlet).unwrap());
        }
        forge(&pages);
        let first = link
            .outlet
            .progress()
            .and_then(|()| LANES.iter().try_for_each(|lane| link.inlet.receive(*lane).map(drop)))
            .expect_err(name);
        violation(&first);
        for later in [
            link.outlet.progress().unwrap_err(),
            link.outlet.take(Lane::Urgent).err().unwrap(),
            link.inlet.receive(Lane::Urgent).err().unwrap(),
            link.tether.look().unwrap_err(),
        ] {
            assert_eq!(later, first, "{name}");
        }
    }
}

#[test]
fn half_an_end_is_a_death() {
    let (_dir, link, pages, socket) = forged_link("half");
    pages.set(place::BULK_FINISHED, 1);
    drop(socket);
    assert_eq!(link.tether.look().unwrap_err().reason, Reason::Died);
}

#[test]
fn counts_that_go_back_end_the_link() {
    let (_dir, mut link, pages, _socket) = forged_link("back");
    let mut numbers = Numbers::new(Lane::Bulk);
    for _ in 0..50 {
        assert!(numbers.send(&mut *link.outlet).unwrap());
    }
    pages.set(place::BULK_DISPOSED, 2);
    link.outlet.progress().unwrap();
    pages.set(place::BULK_DISPOSED, 1);
    violation(&link.outlet.progress().unwrap_err());
}

#[test]
fn a_window_that_we_hold_cannot_come_again() {
    let (_dir, mut link, pages, _socket) = forged_link("held");
    let mut held = Vec::new();
    for n in 0..4 {
        pages.publish(n, n + 1);
        held.push(link.inlet.receive(Lane::Bulk).unwrap().unwrap());
    }
    assert!(link.inlet.receive(Lane::Bulk).unwrap().is_none());
    pages.publish(4, 5);
    violation(&link.inlet.receive(Lane::Bulk).err().unwrap());
}

#[test]
fn forged_returns_end_the_link_and_free_nothing() {
    for (number, entry) in [(0, 1 << 32), (1, 3), (2, u64::MAX), (3, 0x7fff_ffff)] {
        let dir = Place::new(&format!("returns-{number}"));
        let arena = Arc::new(Arena::new(4096, 2).unwrap());
        let mut listener =
            open(&dir.uri(), &LinkSettings { arena: Some(Arc::clone(&arena)), ..settings(Role::Listen) });
        let pages = Pages::new(16384, ALL_SEALS);
        let socket = meeting::forged::dial(&dir.socket());
        say(&socket, &Hello::honest().pack(), &[pages.file.as_fd()]).unwrap();
        listener.poll(Instant::now()).unwrap();
        let (_, files) = meeting::forged::hear(&socket, PATIENCE);
        assert_eq!(files.len(), 2, "memory and arena");
        say(&socket, meeting::forged::WELCOME, &[]).unwrap();
        let mut link = meet_alone(&mut *listener);
        let lent = link.outlet.lend(&arena.take().unwrap().copy_in(b"abc").unwrap()).unwrap().unwrap();
        assert_eq!((lent.lease, lent.generation), (0, 0));
        pages.set(place::RETURNS, entry);
        pages.set(place::RETURNED, 1);
        violation(&link.outlet.progress().unwrap_err());
        assert_eq!(arena.stats().live, 1);
        drop(link);
        assert_eq!(arena.stats().live, 0);
    }
}

#[test]
fn a_mad_bell_is_looked_at_in_bounded_time() {
    let (_dir, mut link, pages, socket) = forged_link("bell");
    let stop = Arc::new(AtomicBool::new(false));
    let ringing = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::Relaxed) {
                let _ = rustix::net::send(&socket, b"!!!!", rustix::net::SendFlags::DONTWAIT);
                pages.set(place::SLEEP, (pages.word(place::SLEEP).load(Ordering::Relaxed) + 2) | 1);
                pages.set(place::WANTS, u64::MAX);
            }
        }
    });
    let begun = Instant::now();
    let mut numbers = Numbers::new(Lane::Bulk);
    for _ in 0..20_000 {
        link.tether.look().unwrap();
        numbers.send(&mut *link.outlet).unwrap();
        link.tether.ring();
    }
    assert!(begun.elapsed() < PATIENCE / 2);
    stop.store(true, Ordering::Relaxed);
    ringing.join().unwrap();
}

/// Random words, with those more often that mean something.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn word(&mut self) -> u64 {
        let kind = [Kind::Data, Kind::Request, Kind::Gap][self.below(3) as usize];
        match self.below(10) {
            0 => self.next(),
            1 => 0,
            2 => END,
            3 => u64::MAX,
            4 => self.below(10),
            5 => self.next() >> 32,
            6 => u64::from(u32::from_le_bytes(*b"PHF1")) | 1 << 32 | 32 << 48,
            7 => 77 << 32,
            8 => {
                MessageWord { length: self.below(70) as u32 * 8, frames: self.below(70) as u16, kind, flags: 0 }.pack()
            }
            _ => MessageWord { length: 24, frames: 0, kind, flags: self.below(256) as u8 }.pack(),
        }
    }
}

/// The hostile process: comes again and again, behaves for a while as it must to be read at all, and spoils everything.
fn scribble(socket: &Path) {
    let mut random = Random((u64::from(std::process::id()) * 0x9e37_79b9) | 1);
    let arena = Pages::new(8192, ALL_SEALS);
    let hello = Hello { arena: (4096, 2), leases: 4, ..Hello::honest() };
    loop {
        let pages = Pages::new(16384, ALL_SEALS);
        let Some(tether) = introduce_slowly(socket, &hello, &pages, &arena) else { continue };
        let (mut window, mut disposed) = (0, 0);
        let rounds = random.below(3000);
        // A third of its links spoils windows only and lasts, a third words that count something, too, a third everything.
        let spoils = [4, 8, 12][random.below(3) as usize];
        for _ in 0..rounds {
            match random.below(spoils) {
                // A window that is right, with anything in it.
                0..4 => {
                    let at = place::BULK + (window % 4) as usize * 512;
                    for word in 4..64 {
                        pages.set(at + word * 8, random.word());
                    }
                    pages.set(at + 32, MessageWord { length: 24, frames: 0, kind: Kind::Data, flags: 0 }.pack());
                    let first = pages.word(at + 32).load(Ordering::Relaxed);
                    pages.publish(window, window + 1);
                    pages.set(at + 32, first);
                    pages.set(at + 56, if random.below(2) == 0 { END } else { random.word() });
                    window += 1;
                    // Some go on before we are done with the one before, which is a violation; some wait.
                    if random.below(8) > 0 {
                        std::thread::sleep(Duration::from_micros(30));
                    }
                }
                4..6 => {
                    disposed += random.below(2);
                    pages.set(place::BULK_DISPOSED, disposed);
                }
                6 => pages.set(place::BULK_READ, disposed * random.below(24)),
                7..9 => {
                    let at = place::BULK + random.below(256) as usize * 8;
                    pages.set(at, random.word());
                }
                9 => pages.set(random.below(16384 / 8) as usize * 8, random.word()),
                10 => {
                    let _ = rustix::net::send(&tether, b"!", rustix::net::SendFlags::DONTWAIT);
                    arena.set(random.below(1024) as usize * 8, random.next());
                }
                _ => pages.set(place::SLEEP, random.next() | 1),
            }
            if random.below(64) == 0 {
                std::thread::yield_now();
            }
        }
        if random.below(4) == 0 {
            pages.set(place::BULK_FINISHED, window + 1);
        }
    }
}

/// As [`introduce`], against a listener in another process.
fn introduce_slowly(path: &Path, hello: &Hello, pages: &Pages, arena: &Pages) -> Option<std::os::fd::OwnedFd> {
    let socket = meeting::forged::socket();
    rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(path).unwrap()).ok()?;
    say(&socket, &hello.pack(), &[pages.file.as_fd(), arena.file.as_fd()]).ok()?;
    let (heard, _files) = meeting::forged::hear(&socket, PATIENCE);
    heard.starts_with(b"PHFHELLO").then_some(())?;
    say(&socket, meeting::forged::WELCOME, &[]).ok()?;
    let (heard, _) = meeting::forged::hear(&socket, PATIENCE);
    (heard == meeting::forged::WELCOME).then_some(socket)
}

/// Everything that a channel does with a link, none of it trusting the peer. Counts what it read.
fn use_it(link: &mut Link, arena: &Arena, read: &AtomicU64) -> Result<(), PeerGone> {
    let mut windows = [None, None];
    let mut numbers = LANES.map(Numbers::new);
    let mut held = Vec::new();
    let mut messages = [0_u64; 2];
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut turn = 0_u64;
    while Instant::now() < deadline {
        turn += 1;
        for (n, lane) in LANES.into_iter().enumerate() {
            let window = match &mut windows[n] {
                Some(window) => window,
                slot => match link.inlet.receive(lane)? {
                    Some(window) => slot.insert(window),
                    None => continue,
                },
            };
            match next(window) {
                Next::Number(_) | Next::Rubbish if window.room() >= 8 && !turn.is_multiple_of(8) => {
                    messages[n] += 1;
                    read.fetch_add(1, Ordering::Relaxed);
                    link.inlet.read(lane, messages[n]);
                }
                Next::Nothing if !turn.is_multiple_of(16) => {}
                _ => link.inlet.dispose(lane, windows[n].take().expect("it is there")),
            }
            let forged = Descriptor {
                lease: turn as u32 % 5,
                generation: turn as u32,
                window: turn as u32 % 3,
                offset: turn as u32 * 64 % 5000,
                length: turn as u32 % 600,
            };
            if let Ok(fabric::tli::Borrowed::Remote(remote)) = link.inlet.borrow(forged) {
                assert_eq!(remote.to_vec().len(), forged.length as usize);
                held.push(remote);
            }
            if held.len() > 2 {
                held.swap_remove(turn as usize % 3).erase();
            }
            numbers[n].send(&mut *link.outlet)?;
            if let Some(mut window) = arena.take() {
                link.outlet.lend(&window.copy_in(b"for you").unwrap())?;
            }
            assert!(link.outlet.read_by_peer(lane) <= numbers[n].next, "never more than was sent");
        }
        match turn % 4 {
            0 => link.outlet.progress()?,
            1 => drop(link.outlet.is_drained()?),
            2 => link.tether.look()?,
            _ => link.tether.ring(),
        }
        if turn.is_multiple_of(32) {
            link.tether.arm();
            sleep_on(link, Duration::from_micros(50));
            link.tether.disarm();
        }
    }
    Ok(())
}

/// Three hostile processes at once, each at a listener of its own, in one victim process that has an honest link besides, which is not held up.
#[test]
fn a_scribbler_ends_its_own_link_and_nothing_else() {
    if let Some(socket) = part() {
        return scribble(Path::new(&socket));
    }
    const TIME: Duration = Duration::from_secs(4);
    let begun = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let (mut honest_here, mut honest_there) = pair();
    let honest = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let (mut numbers, mut reading) = (Numbers::new(Lane::Bulk), Reading::new(Lane::Bulk));
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let turn = Instant::now();
                while !numbers.send(&mut *honest_here.outlet).unwrap() {
                    reading.read(&mut *honest_there.inlet).unwrap();
                }
                longest = longest.max(turn.elapsed());
            }
            reading.read(&mut *honest_there.inlet).unwrap();
            assert_eq!(reading.next, numbers.next);
            (numbers.next, longest)
        }
    });
    let victims: Vec<_> = [Trust::Hostile, Trust::Hostile, Trust::Hostile]
        .into_iter()
        .enumerate()
        .map(|(n, trust)| {
            std::thread::spawn(move || {
                let dir = Place::new(&format!("scribbler-{n}"));
                let arena = Arc::new(Arena::new(4096, 4).unwrap());
                let settings = LinkSettings { arena: Some(Arc::clone(&arena)), trust, ..settings(Role::Listen) };
                let mut listener = open(&dir.uri(), &settings);
                let _child = second("a_scribbler_ends_its_own_link_and_nothing_else", dir.socket().to_str().unwrap());
                let (mut links, mut violations, read) = (0, 0, AtomicU64::new(0));
                // On a busy machine it takes longer until enough has happened.
                let enough = |links: u32, violations: u32, read: &AtomicU64| {
                    links > 20 && violations > 10 && read.load(Ordering::Relaxed) > 20
                };
                while begun.elapsed() < TIME || (begun.elapsed() < PATIENCE && !enough(links, violations, &read)) {
                    match listener.poll(Instant::now()).unwrap() {
                        Attempt::Met(mut link) => {
                            links += 1;
                            if let Err(gone) = use_it(&mut link, &arena, &read) {
                                violations += u32::from(matches!(gone.reason, Reason::Violation(_)));
                            }
                            drop(link);
                            assert_eq!(arena.stats().live, 0);
                        }
                        Attempt::Waiting { .. } => wait(&[listener.readiness().unwrap()], Duration::from_millis(5)),
                    }
                }
                (links, violations, read.into_inner())
            })
        })
        .collect();
    for victim in victims {
        let (links, violations, read) = victim.join().unwrap();
        println!("{links} links, {violations} ended for a violation, {read} messages of the scribbler were read");
        assert!(links > 20 && violations > 10 && read > 20, "{links} links, {violations} violations, {read} read");
    }
    stop.store(true, Ordering::Relaxed);
    let (numbers, longest) = honest.join().unwrap();
    println!("honest link: {numbers} messages, the longest took {longest:?}");
    assert!(numbers > 10_000 && longest < Duration::from_secs(2), "{numbers}, {longest:?}");
}
