//! Two processes: windows both ways, and deaths at any instruction.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test")]

mod meeting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fabric::arena::Arena;
use fabric::tli::{Borrowed, LANES, Lane, Link, LinkSettings, PeerGone, Reason, Role};
use fabric::wire::Descriptor;
use meeting::*;

/// Sends and receives whatever can be, and sleeps when nothing can, until `done` says so or the peer goes.
struct Both {
    link: Link,
    sending: [Numbers; 2],
    reading: [Reading; 2],
}

impl Both {
    fn new(link: Link) -> Self {
        Self { link, sending: LANES.map(Numbers::new), reading: LANES.map(Reading::new) }
    }

    /// One round; whether anything moved. Sends up to `limit` on each lane.
    fn round(&mut self, limit: u64) -> Result<bool, PeerGone> {
        let mut moved = false;
        for (sending, reading) in self.sending.iter_mut().zip(&mut self.reading) {
            for _ in 0..64 {
                if sending.next == limit || !sending.send(&mut *self.link.outlet)? {
                    break;
                }
                moved = true;
            }
            if sending.peer_sleeps() {
                self.link.tether.ring();
            }
            moved |= reading.read(&mut *self.link.inlet)? > 0;
        }
        Ok(moved)
    }

    /// One round, and a sleep of at most `time` when nothing moved.
    fn round_or_sleep(&mut self, limit: u64, time: Duration) -> Result<(), PeerGone> {
        if self.round(limit)? {
            return Ok(());
        }
        self.link.tether.arm();
        let moved = self.round(limit);
        if let Ok(false) = moved {
            sleep_on(&self.link, time);
        }
        self.link.tether.disarm();
        // A peer that went leaves what it published, which is read before that is told.
        let _ = self.link.tether.look();
        moved.map(drop)
    }

    fn run(&mut self, limit: u64, done: impl Fn(&Self) -> bool) -> Result<(), PeerGone> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if done(self) {
                return Ok(());
            }
            self.round_or_sleep(limit, PATIENCE)?;
            assert!(Instant::now() < deadline, "it slept through a ring");
        }
    }
}

#[test]
fn two_processes_exchange_windows_both_ways() {
    const MESSAGES: u64 = 200_000;
    let whole = |both: &Both| {
        both.sending.iter().all(|it| it.next == MESSAGES) && both.reading.iter().all(|it| it.next == MESSAGES)
    };
    if let Some(uri) = part() {
        let mut both = Both::new(meet_alone(&mut *open(&uri, &settings(Role::Connect))));
        both.run(MESSAGES, whole).unwrap();
        for sending in &mut both.sending {
            sending.ship(&mut *both.link.outlet).unwrap();
        }
        both.link.outlet.finish();
        while !both.link.outlet.is_drained().unwrap() {
            std::thread::sleep(Duration::from_millis(1));
        }
        return;
    }
    let place = Place::new("exchange");
    let mut listener = open(&place.uri(), &settings(Role::Listen));
    let mut child = second("two_processes_exchange_windows_both_ways", &place.uri());
    let mut both = Both::new(meet_alone(&mut *listener));
    assert_eq!(both.link.tether.peer().pid, Some(child.0.id()));
    let gone = both.run(MESSAGES, |_| false).unwrap_err();
    assert_eq!(gone.reason, Reason::Closed);
    assert!(whole(&both), "{:?}", both.reading.each_ref().map(|it| it.next));
    assert!(child.0.wait().unwrap().success());
}

/// Sends without end, and borrows what it is lent, until it is killed.
fn live_until_killed(uri: &str) {
    let arena = Arc::new(Arena::new(4096, 8).unwrap());
    let mut dialer = open(uri, &LinkSettings { arena: Some(arena), ..settings(Role::Connect) });
    loop {
        let mut both = Both::new(meet_alone(&mut *dialer));
        let mut held = Vec::new();
        let mut n = 0_u32;
        while both.round_or_sleep(u64::MAX, PATIENCE).is_ok() {
            // The one window of the other's arena that there is for certain.
            n += 1;
            let descriptor = Descriptor { lease: n % 4, generation: n / 4, window: 0, offset: 0, length: 8 };
            if n < 4
                && let Ok(Borrowed::Remote(remote)) = both.link.inlet.borrow(descriptor)
            {
                held.push(remote);
            }
        }
    }
}

/// Hundreds of kills at random instants of a peer that writes, reads and holds leases: what it published arrives whole and in order, its death is
/// seen, all comes back, and the next peer is served by the same listener.
#[test]
fn a_peer_may_die_at_any_instruction() {
    if let Some(uri) = part() {
        return live_until_killed(&uri);
    }
    let place = Place::new("killed");
    let arena = Arc::new(Arena::new(4096, 8).unwrap());
    let mut listener = open(&place.uri(), &LinkSettings { arena: Some(Arc::clone(&arena)), ..settings(Role::Listen) });
    let mut random = 0x9e37_79b9_u64;
    let mut seen_after = Vec::new();
    let mut received = 0;
    for _ in 0..150 {
        let mut child = second("a_peer_may_die_at_any_instruction", &place.uri());
        let mut both = Both::new(meet_alone(&mut *listener));
        for _ in 0..3 {
            let slice = arena.take().unwrap().copy_in(b"borrowed").unwrap();
            both.link.outlet.lend(&slice).unwrap().unwrap();
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let kill_at = Instant::now() + Duration::from_micros(random >> 40 & 0x1fff);
        while Instant::now() < kill_at {
            both.round_or_sleep(u64::MAX, kill_at.saturating_duration_since(Instant::now())).unwrap();
        }
        let killed = Instant::now();
        child.0.kill().unwrap();
        loop {
            sleep_on(&both.link, PATIENCE);
            if both.link.tether.look().is_err() {
                break;
            }
            both.round(u64::MAX).unwrap();
            assert!(killed.elapsed() < PATIENCE, "its death was not seen");
        }
        seen_after.push(killed.elapsed());
        // What it published is all there, and then its end.
        let gone = loop {
            let mut ends = 0;
            for reading in &mut both.reading {
                match reading.read(&mut *both.link.inlet) {
                    Ok(0) => reading.let_go(&mut *both.link.inlet),
                    Ok(_) => {}
                    Err(gone) => {
                        ends += 1;
                        if ends == 2 {
                            assert_eq!(gone.reason, Reason::Died);
                        }
                    }
                }
            }
            if ends == 2 {
                break both.link.tether.look().unwrap_err();
            }
        };
        assert_eq!((gone.reason, gone.peer.contains("pid")), (Reason::Died, true));
        received += both.reading[0].next + both.reading[1].next;
        for sending in &both.sending {
            assert!(both.link.outlet.read_by_peer(sending.lane) <= sending.next);
        }
        drop(both);
        assert_eq!(arena.stats().live, 0, "all leases came back");
        child.0.wait().unwrap();
    }
    seen_after.sort();
    assert!(received > 20_000, "{received} messages came before the deaths");
    println!("deaths seen after {:?} (median), {:?} (worst); {received} messages", seen_after[75], seen_after[149]);
    let busy = std::thread::available_parallelism().map_or(1, usize::from) < 2;
    assert!(busy || seen_after[75] < Duration::from_millis(50), "{:?}", seen_after[75]);
}

/// A listener that is killed leaves a file, and its peer waits for the next listener.
#[test]
fn a_killed_listener_is_followed_by_another() {
    if let Some(uri) = part() {
        let mut listener = open(&uri, &settings(Role::Listen));
        let link = meet_alone(&mut *listener);
        loop {
            sleep_on(&link, PATIENCE);
        }
    }
    let place = Place::new("listener-killed");
    let mut dialer = open(&place.uri(), &settings(Role::Connect));
    for _ in 0..3 {
        let mut child = second("a_killed_listener_is_followed_by_another", &place.uri());
        let link = meet_alone(&mut *dialer);
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        assert_eq!(link.tether.look().unwrap_err().reason, Reason::Died);
        assert!(place.socket().exists(), "nobody was left to remove it");
    }
    let mut listener = open(&place.uri(), &settings(Role::Listen));
    meet(&mut *listener, &mut *dialer);
    drop(listener);
    assert!(!place.socket().exists());
}

/// A worker that a supervisor starts with one end of a pair as its descriptor 3.
#[test]
fn a_worker_inherits_its_socket() {
    if let Some(uri) = part() {
        let mut link = meet_alone(&mut *open(&uri, &settings(Role::Connect)));
        let mut numbers = Numbers::new(Lane::Bulk);
        for _ in 0..10 {
            assert!(numbers.send(&mut *link.outlet).unwrap());
        }
        link.outlet.finish();
        return;
    }
    use std::os::fd::AsRawFd;
    let (ours, theirs) = fabric::ipc::pair().unwrap();
    let number = theirs.as_raw_fd();
    // Inherited across exec: the supervisor's own doing.
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).unwrap();
    let mut child = second("a_worker_inherits_its_socket", &format!("ipc:fd/{number}"));
    drop(theirs);
    let mut connector = fabric::ipc::connector(ours, &settings(Role::Listen), "worker").unwrap();
    let mut link = meet_alone(&mut *connector);
    assert_eq!(link.tether.peer().pid, Some(child.0.id()), "the worker, not who made the pair");
    assert!(child.0.wait().unwrap().success());
    let mut reading = Reading::new(Lane::Bulk);
    while reading.next < 10 {
        reading.read(&mut *link.inlet).unwrap();
    }
    assert_eq!(link.tether.look().unwrap_err().reason, Reason::Closed);
    assert_eq!(connector.readiness().map(|_| ()), None);
}
