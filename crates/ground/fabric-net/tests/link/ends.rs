//! What the tests share: opening, meeting, and ends that sleep as a channel would.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fabric::tli::{
    Attempt, Connector, Inlet, Lane, Link, LinkSettings, OpenError, Outlet, PeerGone, Role, RxWindow, Tether, TxWindow,
    WindowSettings, provider,
};
use fabric::uri::Uri;
use fabric::wire::{END, Kind, MessageWord};
use fabric_net as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) const ENGINES: [&str; 2] = ["epoll", "uring"];
/// Longer than anything takes that works, on a machine with much else to do.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) fn settings(bulk: (usize, usize), urgent: (usize, usize)) -> LinkSettings {
    let windows = |(bytes, count)| WindowSettings { bytes, count };
    LinkSettings { bulk: windows(bulk), urgent: windows(urgent), ..LinkSettings::default() }
}

pub(crate) fn open(uri: &str, role: Role, settings: &LinkSettings) -> Result<Box<dyn Connector>, OpenError> {
    let uri = Uri::parse(uri).unwrap();
    provider(&uri)?.open(&uri, &LinkSettings { role, ..settings.clone() })
}

pub(crate) fn listen(uri: &str, settings: &LinkSettings) -> (Box<dyn Connector>, String) {
    let listener = open(uri, Role::Listen, settings).unwrap();
    let address = listener.address().unwrap();
    (listener, address)
}

/// Both connectors on one thread, sleeping a little in between.
pub(crate) fn meet(one: &mut dyn Connector, other: &mut dyn Connector) -> (Link, Link) {
    let start = Instant::now();
    let (mut first, mut second) = (None, None);
    while start.elapsed() < LONG {
        advance(one, &mut first);
        advance(other, &mut second);
        match (first, second) {
            (Some(first), Some(second)) => return (first, second),
            left => (first, second) = left,
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("the peers do not meet");
}

fn advance(connector: &mut dyn Connector, met: &mut Option<Link>) {
    if met.is_none()
        && let Attempt::Met(link) = connector.poll(Instant::now()).unwrap()
    {
        *met = Some(link);
    }
}

/// A listener's and a dialer's link.
pub(crate) fn pair(options: &str, settings: &LinkSettings) -> (Link, Link) {
    let (mut listener, address) = listen(&format!("tcp://127.0.0.1:0?{options}"), settings);
    let mut dialer = open(&address, Role::Connect, settings).unwrap();
    meet(&mut *listener, &mut *dialer)
}

/// Polls as an application's loop would: sleeps on the descriptor until it is time to try again.
pub(crate) fn wait_for_link(connector: &mut dyn Connector) -> Result<Link, OpenError> {
    let start = Instant::now();
    while start.elapsed() < LONG {
        match connector.poll(Instant::now())? {
            Attempt::Met(link) => return Ok(link),
            Attempt::Waiting { again } => {
                let pause = again.map_or(LONG, |again| again.saturating_duration_since(Instant::now()));
                sleep_on(connector.readiness().unwrap(), pause.min(LONG));
            }
        }
    }
    panic!("no peer comes");
}

/// Whether the descriptor became readable.
pub(crate) fn sleep_on(fd: BorrowedFd<'_>, most: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let most = Timespec { tv_sec: most.as_secs() as i64, tv_nsec: i64::from(most.subsec_nanos()) };
    poll(&mut fds, Some(&most)).unwrap() > 0
}

/// Sleeps until the link has something, unless `done` has a result when looked at once more.
pub(crate) fn sleep<T>(
    tether: &dyn Tether,
    mut done: impl FnMut() -> Result<Option<T>, PeerGone>,
) -> Result<Option<T>, PeerGone> {
    tether.arm();
    if let Some(result) = done()? {
        tether.disarm();
        return Ok(Some(result));
    }
    assert!(sleep_on(tether.readiness().unwrap(), LONG), "slept through");
    tether.disarm();
    // What the end finds itself tells more.
    let _ = tether.look();
    Ok(None)
}

/// A window, sleeping until there is credit.
pub(crate) fn take(outlet: &mut dyn Outlet, tether: &dyn Tether, lane: Lane) -> Result<TxWindow, PeerGone> {
    loop {
        if let Some(window) = outlet.take(lane)? {
            return Ok(window);
        }
        let taken = sleep(tether, || {
            outlet.progress()?;
            outlet.take(lane)
        })?;
        if let Some(window) = taken {
            return Ok(window);
        }
    }
}

/// Sends window `number` of a lane: one message of about `bytes`.
pub(crate) fn send(link: &mut Link, lane: Lane, number: u64, bytes: usize) -> Result<(), PeerGone> {
    let mut window = take(&mut *link.outlet, &*link.tether, lane)?;
    fill(&mut window, number, bytes);
    link.outlet.ship(lane, window)
}

pub(crate) fn fill(window: &mut TxWindow, number: u64, bytes: usize) {
    let length = bytes.clamp(24, window.room()).next_multiple_of(8).min(window.room() & !7);
    let body = window.body_mut(length);
    body.chunks_exact_mut(8).zip(number..).for_each(|(word, value)| word.copy_from_slice(&value.to_le_bytes()));
    let word = MessageWord { length: length as u32, frames: 1, kind: Kind::Data, flags: 0 };
    window.commit(length, word.pack());
}

/// The number of a window, all of whose words are looked at.
pub(crate) fn number_of(window: &mut RxWindow) -> u64 {
    let length = window.word() as u32 as usize;
    let body = window.body(length);
    let number = u64::from_le_bytes(body[..8].try_into().unwrap());
    for (word, value) in body.chunks_exact(8).zip(number..) {
        assert_eq!(word, value.to_le_bytes(), "in window {number}");
    }
    window.advance(length);
    assert_eq!(window.word(), END, "behind the message of window {number}");
    number
}

/// The next window of any lane, urgent ones first; sleeps.
pub(crate) fn receive(link: &mut Link) -> Result<(Lane, RxWindow), PeerGone> {
    receive_from(&mut *link.inlet, &link.tether)
}

pub(crate) fn receive_from(inlet: &mut dyn Inlet, tether: &Arc<dyn Tether>) -> Result<(Lane, RxWindow), PeerGone> {
    let mut either = || -> Result<Option<(Lane, RxWindow)>, PeerGone> {
        for lane in fabric::tli::LANES {
            if let Some(window) = inlet.receive(lane)? {
                return Ok(Some((lane, window)));
            }
        }
        Ok(None)
    };
    loop {
        if let Some(found) = either()? {
            return Ok(found);
        }
        if let Some(found) = sleep(&**tether, &mut either)? {
            return Ok(found);
        }
    }
}

/// Receives a window, gives it back, and returns its number.
pub(crate) fn take_in(link: &mut Link) -> Result<(Lane, u64), PeerGone> {
    let (lane, mut window) = receive(link)?;
    let number = number_of(&mut window);
    link.inlet.dispose(lane, window);
    Ok((lane, number))
}

/// Waits until `what` holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
