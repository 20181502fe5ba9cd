//! What the tests of `ipc:` share: directories of their own, two ends that meet, numbered messages, and a second process that runs the same test.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod forged;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fabric::Uri;
use fabric::tli::{
    Attempt, Connector, Inlet, Lane, Link, LinkSettings, Outlet, PeerGone, Role, RxWindow, TxWindow, WindowSettings,
    provider,
};
use fabric::wire::{END, Kind, MessageWord};

/// Longer than anything here takes, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that is removed at the end.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("fabric-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory");
        Self(dir)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    pub(crate) fn uri(&self) -> String {
        format!("ipc:link?dir={}", self.0.display())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("link.sock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Four bulk windows of 512 bytes, two urgent ones, few leases.
pub(crate) fn settings(role: Role) -> LinkSettings {
    LinkSettings {
        role,
        bulk: WindowSettings { bytes: 512, count: 4 },
        urgent: WindowSettings { bytes: 256, count: 2 },
        leases: 4,
        ..LinkSettings::default()
    }
}

pub(crate) fn open(uri: &str, settings: &LinkSettings) -> Box<dyn Connector> {
    let uri = Uri::parse(uri).expect("right");
    provider(&uri).expect("linked in").open(&uri, settings).expect("it opens")
}

/// Waits until one of `files` is readable, at most `time`.
pub(crate) fn wait(files: &[BorrowedFd<'_>], time: Duration) {
    let mut polled: Vec<_> =
        files.iter().map(|file| rustix::event::PollFd::new(file, rustix::event::PollFlags::IN)).collect();
    let time = rustix::event::Timespec::try_from(time).expect("short");
    let _ = rustix::event::poll(&mut polled, Some(&time));
}

/// Polls until the peers have met.
pub(crate) fn meet_alone(connector: &mut dyn Connector) -> Link {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "they did not meet");
        match connector.poll(Instant::now()).expect("nothing is wrong") {
            Attempt::Met(link) => return link,
            Attempt::Waiting { again } => {
                let pause = again.map_or(PATIENCE, |again| again.saturating_duration_since(Instant::now()));
                let files: Vec<_> = connector.readiness().into_iter().collect();
                wait(&files, pause.max(Duration::from_millis(1)));
            }
        }
    }
}

/// Both ends in this process.
pub(crate) fn meet<'a>(one: &'a mut dyn Connector, other: &'a mut dyn Connector) -> (Link, Link) {
    let deadline = Instant::now() + PATIENCE;
    let (mut first, mut second) = (None, None);
    loop {
        for (connector, link) in [(&mut *one, &mut first), (&mut *other, &mut second)] {
            if link.is_none()
                && let Attempt::Met(met) = connector.poll(Instant::now()).expect("nothing is wrong")
            {
                *link = Some(met);
            }
        }
        match (first, second) {
            (Some(first), Some(second)) => return (first, second),
            both => (first, second) = both,
        }
        assert!(Instant::now() < deadline, "they did not meet");
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Two ends that have met over a pair of sockets, with the settings of each.
pub(crate) fn pair_with(listen: &LinkSettings, connect: &LinkSettings) -> (Link, Link) {
    let (one, other) = fabric::ipc::pair().expect("sockets");
    let mut one = fabric::ipc::connector(one, listen, "pair").expect("it opens");
    let mut other = fabric::ipc::connector(other, connect, "pair").expect("it opens");
    meet(&mut *one, &mut *other)
}

pub(crate) fn pair() -> (Link, Link) {
    pair_with(&settings(Role::Listen), &settings(Role::Connect))
}

/// Bytes of a numbered message.
pub(crate) const NUMBERED: usize = 24;

/// Commits a message that says `number`; `false` when the window is full.
pub(crate) fn commit(window: &mut TxWindow, number: u64) -> bool {
    if window.room() < NUMBERED {
        return false;
    }
    let body = window.body_mut(NUMBERED);
    body[..8].copy_from_slice(&number.to_le_bytes());
    body[8..].copy_from_slice(&(!number).to_le_bytes());
    let word = MessageWord { length: NUMBERED as u32, frames: 0, kind: Kind::Data, flags: 0 };
    window.commit(NUMBERED, word.pack());
    true
}

/// What a window has to say next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Number(u64),
    Nothing,
    End,
    /// No numbered message of ours.
    Rubbish,
}

pub(crate) fn next(window: &mut RxWindow) -> Next {
    let word = window.word();
    if word == 0 {
        return Next::Nothing;
    }
    if word == END {
        return Next::End;
    }
    let Ok(word) = MessageWord::parse(word, window.room()) else { return Next::Rubbish };
    let mut body = Vec::new();
    window.copy_body(word.length as usize, &mut body);
    window.advance(word.length as usize);
    if body.len() != 16 {
        return Next::Rubbish;
    }
    let half = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("eight bytes"));
    if half(0) == !half(8) { Next::Number(half(0)) } else { Next::Rubbish }
}

/// Sends numbers, a window being filled before the next is taken.
pub(crate) struct Numbers {
    pub(crate) lane: Lane,
    pub(crate) next: u64,
    window: Option<TxWindow>,
}

impl Numbers {
    pub(crate) fn new(lane: Lane) -> Self {
        Self { lane, next: 0, window: None }
    }

    /// Sends the next number if there is room; says whether it did.
    pub(crate) fn send(&mut self, outlet: &mut dyn Outlet) -> Result<bool, PeerGone> {
        loop {
            let window = match &mut self.window {
                Some(window) => window,
                None => match outlet.take(self.lane)? {
                    Some(window) => self.window.insert(window),
                    None => return Ok(false),
                },
            };
            if commit(window, self.next) {
                self.next += 1;
                return Ok(true);
            }
            let full = self.window.take().expect("just used");
            outlet.ship(self.lane, full)?;
        }
    }

    /// Whether the peer must be rung for what was committed.
    pub(crate) fn peer_sleeps(&self) -> bool {
        self.window.as_ref().is_some_and(|window| window.peer_sleeps() & 1 == 1)
    }

    pub(crate) fn ship(&mut self, outlet: &mut dyn Outlet) -> Result<(), PeerGone> {
        self.window.take().map_or(Ok(()), |window| outlet.ship(self.lane, window))
    }
}

/// Reads numbers of one lane in order.
pub(crate) struct Reading {
    pub(crate) lane: Lane,
    pub(crate) next: u64,
    window: Option<RxWindow>,
}

impl Reading {
    pub(crate) fn new(lane: Lane) -> Self {
        Self { lane, next: 0, window: None }
    }

    /// Reads what is there; how many. What comes out of order is a failure.
    pub(crate) fn read(&mut self, inlet: &mut dyn Inlet) -> Result<u64, PeerGone> {
        let before = self.next;
        loop {
            let window = match &mut self.window {
                Some(window) => window,
                None => match inlet.receive(self.lane) {
                    Ok(Some(window)) => self.window.insert(window),
                    Ok(None) => break,
                    Err(gone) if self.next == before => return Err(gone),
                    Err(_) => break,
                },
            };
            match next(window) {
                Next::Number(number) => {
                    assert_eq!(number, self.next, "in order, none lost, none twice");
                    self.next += 1;
                }
                Next::Nothing => break,
                Next::End => {
                    let done = self.window.take().expect("just used");
                    inlet.dispose(self.lane, done);
                }
                Next::Rubbish => panic!("rubbish behind number {}", self.next),
            }
        }
        if self.next != before {
            inlet.read(self.lane, self.next);
        }
        Ok(self.next - before)
    }

    /// Gives up a window that will not go on.
    pub(crate) fn let_go(&mut self, inlet: &mut dyn Inlet) {
        if let Some(window) = self.window.take() {
            inlet.dispose(self.lane, window);
        }
    }
}

/// What a second process was started for, when this is one. It ends with the thread that started it, however that ends.
pub(crate) fn part() -> Option<String> {
    let part = std::env::var("FABRIC_TEST_PART").ok()?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).expect("it can be told");
    Some(part)
}

/// Starts this test, by its name, in a second process, which finds `part` by [`part`].
pub(crate) fn second(test: &str, part: &str) -> Second {
    let child = Command::new(std::env::current_exe().expect("a program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("FABRIC_TEST_PART", part)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    Second(child)
}

/// A second process, ended with the test.
pub(crate) struct Second(pub(crate) Child);

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Descriptors and mappings of this process.
pub(crate) fn held() -> (usize, usize) {
    let files = std::fs::read_dir("/proc/self/fd").expect("there").count();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("there");
    (files, maps.lines().filter(|line| line.contains("memfd:fabric")).count())
}

/// Waits on a link's socket.
pub(crate) fn sleep_on(link: &Link, time: Duration) {
    wait(&[link.tether.readiness().expect("a socket").as_fd()], time);
}
