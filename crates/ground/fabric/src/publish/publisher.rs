//! The publishing side.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};

use super::reader::{Met, Published, Reader, ReaderStats, Went};
use crate::arena::Arena;
use crate::channel::{Deadline, Lends, Progress};
use crate::filter::Filters;
use crate::message::Message;
use crate::tli::{Attempt, Connector, LinkSettings, OpenError, Providers, Role, Trust, WindowSettings};
use crate::uri::Uri;
use crate::window::Window;

/// After this time, a reader that waits for room is looked at without a ring.
const AGAIN: Duration = Duration::from_millis(100);
/// Messages that wait for a reader, unless set.
const BACKLOG: usize = 64;

/// Makes a [`Publisher`].
pub struct PublisherBuilder {
    uri: String,
    providers: Providers,
    filters: Filters,
    settings: LinkSettings,
    backlog: usize,
    readers_max: usize,
    progress: Progress,
}

impl PublisherBuilder {
    /// Looks for the transport here instead of among those that were linked in.
    #[must_use]
    pub fn providers(mut self, providers: Providers) -> Self {
        self.providers = providers;
        self
    }

    /// Puts filters between the publisher and every reader.
    #[must_use]
    pub fn filters(mut self, filters: Filters) -> Self {
        self.filters = filters;
        self
    }

    /// Windows for each reader: their size bounds messages, their number how far it may lag behind.
    #[must_use]
    pub fn windows(mut self, bytes: usize, count: usize) -> Self {
        self.settings.bulk = WindowSettings { bytes, count };
        self
    }

    /// Windows that frames may refer to, the same for all readers.
    #[must_use]
    pub fn arena(mut self, arena: Arc<Arena>) -> Self {
        self.settings.arena = Some(arena);
        self
    }

    /// How many frames each reader may keep before it gets copies.
    #[must_use]
    pub fn leases(mut self, leases: usize) -> Self {
        self.settings.leases = leases;
        self
    }

    /// How many messages wait for a reader whose windows are full, before it misses some. At least 1.
    #[must_use]
    pub fn backlog(mut self, messages: usize) -> Self {
        self.backlog = messages.max(1);
        self
    }

    /// How many readers there may be; others wait until one goes.
    #[must_use]
    pub fn readers_max(mut self, readers: usize) -> Self {
        self.readers_max = readers;
        self
    }

    /// What readers may be assumed to do.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.settings.trust = trust;
        self
    }

    /// Users that may be readers besides root and one's own.
    #[must_use]
    pub fn users(mut self, users: Vec<u32>) -> Self {
        self.settings.users = users;
        self
    }

    /// Who takes new readers in and sees to those that lag: a thread of the publisher's own, or whoever calls [`Publisher::progress`].
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Opens it.
    ///
    /// # Errors
    /// When the address is wrong or taken, a setting is over the transport's limit, or the system refuses.
    pub fn open(self) -> Result<Publisher, OpenError> {
        let parsed = Uri::parse(&self.uri)?;
        let provider = self.providers.find(&parsed)?;
        let lends = match provider.capabilities(&parsed).shares_memory {
            true if parsed.scheme() == "inproc" => Lends::Any,
            true => Lends::Arena,
            false => Lends::Nothing,
        };
        let connector = self.filters.wrap(&parsed, &self.settings, provider.open(&parsed, &self.settings)?);
        let refused = |operation| {
            let uri = self.uri.clone();
            move |errno: rustix::io::Errno| OpenError::System { uri, operation, source: errno.into() }
        };
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(refused("eventfd"))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(refused("epoll_create"))?;
        let desk = Desk {
            uri: self.uri.clone(),
            settings: self.settings,
            lends,
            backlog: self.backlog,
            readers_max: self.readers_max,
            connector,
            again: None,
            readers: Vec::new(),
            stats: PublisherStats::default(),
            fault: None,
        };
        let hub = Arc::new(Hub {
            desk: Mutex::new(desk),
            came: Condvar::new(),
            bell,
            epoll,
            asleep: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let service = match self.progress {
            Progress::Caller => {
                hub.turn();
                None
            }
            Progress::Service => {
                let served = Arc::clone(&hub);
                let builder = thread::Builder::new().name("fabric-publish".to_owned()).stack_size(256 << 10);
                let thread = builder.spawn(move || served.serve());
                let uri = self.uri;
                Some(thread.map_err(|source| OpenError::System { uri, operation: "spawn a thread", source })?)
            }
        };
        Ok(Publisher { hub, service })
    }
}

/// Publishes messages to all who connect to its address. Any thread may publish; when it is dropped, its readers see it go.
pub struct Publisher {
    hub: Arc<Hub>,
    service: Option<JoinHandle<()>>,
}

/// What a publisher counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublisherStats {
    /// Messages published.
    pub published: u64,
    /// Messages that readers missed, each counted for each reader.
    pub missed: u64,
    /// Readers that came.
    pub readers_came: u64,
    /// Readers that went or were cut off.
    pub readers_gone: u64,
}

struct Hub {
    desk: Mutex<Desk>,
    /// A reader has come or gone.
    came: Condvar,
    /// Wakes the thread that takes turns.
    bell: OwnedFd,
    /// Over the readers' descriptors.
    epoll: OwnedFd,
    asleep: AtomicBool,
    stop: AtomicBool,
}

struct Desk {
    uri: String,
    settings: LinkSettings,
    lends: Lends,
    backlog: usize,
    readers_max: usize,
    connector: Box<dyn Connector>,
    again: Option<Instant>,
    readers: Vec<Reader>,
    stats: PublisherStats,
    /// Why no more readers come, if so.
    fault: Option<String>,
}

impl Publisher {
    /// Begins a publisher that will listen at `uri`.
    pub fn builder(uri: impl Into<String>) -> PublisherBuilder {
        PublisherBuilder {
            uri: uri.into(),
            providers: Providers::linked(),
            filters: Filters::none(),
            settings: LinkSettings { role: Role::Listen, ..LinkSettings::default() },
            backlog: BACKLOG,
            readers_max: 1024,
            progress: Progress::default(),
        }
    }

    /// Sends a message to every reader that has room, and counts it as missed for the others. Never waits for a reader.
    pub fn publish(&self, message: &Message) -> Published {
        let mut published = Published::default();
        let mut wakes = false;
        let mut desk = self.hub.desk();
        let desk = &mut *desk;
        desk.stats.published += 1;
        desk.readers.retain_mut(|reader| {
            match reader.publish(message) {
                Went::Sent => published.readers += 1,
                Went::Skipped => {
                    published.skipped += 1;
                    wakes |= !reader.is_armed();
                }
                Went::Gone => {
                    desk.stats.readers_gone += 1;
                    return false;
                }
            }
            true
        });
        desk.stats.missed += published.skipped as u64;
        if wakes {
            // The thread that takes turns lets those that lag ring, and tells them.
            self.hub.wake();
        }
        published
    }

    /// A window to be filled and published by reference ([`Message::push_shared`]); `None` while all are in use, or without an arena.
    pub fn take_window(&self) -> Option<Window> {
        let mut desk = self.hub.desk();
        let arena = Arc::clone(desk.settings.arena.as_ref()?);
        arena.take().or_else(|| {
            // What readers gave back is collected in turns.
            desk.progress();
            arena.take()
        })
    }

    /// Takes new readers in, sends what waits, and lets go of readers that are gone. For publishers without a thread of their own; never waits.
    pub fn progress(&self) {
        self.hub.turn();
    }

    /// Waits until so many readers are there; says whether they are.
    pub fn wait_for_readers(&self, readers: usize, deadline: Deadline) -> bool {
        loop {
            if self.service.is_none() {
                self.hub.turn();
            }
            let desk = self.hub.desk();
            if desk.readers.len() >= readers {
                return true;
            }
            if deadline.is_over() {
                return false;
            }
            // Without a thread, look now and then; with one, it says when.
            let longest = if self.service.is_none() { Duration::from_millis(1) } else { Duration::from_secs(1) };
            let time = deadline.left().map_or(longest, |left| left.min(longest));
            drop(self.hub.came.wait_timeout(desk, time));
        }
    }

    /// The readers at this moment.
    pub fn readers(&self) -> Vec<ReaderStats> {
        self.hub.desk().readers.iter().map(Reader::stats).collect()
    }

    /// What was counted.
    pub fn stats(&self) -> PublisherStats {
        self.hub.desk().stats
    }

    /// Why no more readers come, if the transport gave up.
    pub fn fault(&self) -> Option<String> {
        self.hub.desk().fault.clone()
    }

    /// Closes it: tells all readers what they missed, and waits until they have read everything or `linger` has passed. Says how many had not.
    pub fn close(mut self, linger: Deadline) -> usize {
        self.stop();
        let readers = std::mem::take(&mut self.hub.desk().readers);
        readers.into_iter().filter_map(|mut reader| (!reader.close(linger)).then_some(())).count()
    }

    fn stop(&mut self) {
        self.hub.stop.store(true, Ordering::SeqCst);
        self.hub.ring();
        if let Some(service) = self.service.take() {
            // It does not panic; if it did, its readers go all the same.
            let _ = service.join();
        }
        // Before the readers go: one that looks for the next publisher shall not find this one.
        self.hub.desk().connector = Box::new(Met(None));
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Hub {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Each reader is whole between two messages.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread that takes turns, if it sleeps.
    fn wake(&self) {
        // The desk's lock orders this after the sleeper's last look, or before its next.
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    fn ring(&self) {
        // A full counter wakes as well.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// One turn: new readers, and all readers' progress.
    fn turn(&self) {
        let mut desk = self.desk();
        let before = (desk.stats.readers_came, desk.stats.readers_gone);
        desk.meet(&self.epoll);
        desk.progress();
        if before != (desk.stats.readers_came, desk.stats.readers_gone) {
            self.came.notify_all();
        }
    }

    fn serve(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            self.turn();
            self.sleep();
        }
    }

    /// Sleeps until a reader comes, goes, or has room again.
    fn sleep(&self) {
        let (connector, until) = {
            let mut desk = self.desk();
            let (mut busy, mut waits) = (false, false);
            for reader in &mut desk.readers {
                busy |= reader.arm();
                waits |= reader.is_armed();
            }
            if busy {
                desk.readers.iter_mut().for_each(Reader::disarm);
                return;
            }
            self.asleep.store(true, Ordering::SeqCst);
            // A copy, since the connector may change its descriptor only in a turn, which is ours to take.
            let readiness = desk.connector.readiness().filter(|_| desk.takes_readers());
            let connector = readiness.and_then(|fd| fd.try_clone_to_owned().ok());
            let again = desk.again.filter(|_| desk.takes_readers());
            // Some transports may have room without ringing.
            let look = waits.then(|| Instant::now() + AGAIN);
            (connector, again.into_iter().chain(look).min())
        };
        let mut fds = vec![PollFd::new(&self.bell, PollFlags::IN), PollFd::new(&self.epoll, PollFlags::IN)];
        fds.extend(connector.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let time = left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
        if !self.stop.load(Ordering::SeqCst) {
            // An interrupted poll is a short one.
            let _ = poll(&mut fds, time.as_ref());
        }
        self.asleep.store(false, Ordering::SeqCst);
        let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
        // The descriptors are edge-triggered: this forgets the edges, and the turn looks at everyone.
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 64];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = epoll::wait(&self.epoll, &mut events[..], Some(&none));
        self.desk().readers.iter_mut().for_each(Reader::disarm);
    }
}

impl Desk {
    fn takes_readers(&self) -> bool {
        self.fault.is_none() && self.readers.len() < self.readers_max
    }

    /// Takes in all who have come.
    fn meet(&mut self, epoll: impl AsFd) {
        while self.takes_readers() {
            match self.connector.poll(Instant::now()) {
                Ok(Attempt::Met(link)) => {
                    // A reader that cannot be had for want of memory or descriptors is let go, and will come again.
                    let reader = Reader::new(&self.uri, link, &self.settings, self.lends, self.backlog);
                    let Ok(mut reader) = reader else { return };
                    if reader.watch(&epoll).is_ok() {
                        self.readers.push(reader);
                        self.stats.readers_came += 1;
                    }
                }
                Ok(Attempt::Waiting { again }) => {
                    self.again = again;
                    return;
                }
                Err(error) => self.fault = Some(error.to_string()),
            }
        }
    }

    /// Sees to all readers, and lets go of those that are gone.
    fn progress(&mut self) {
        let before = self.readers.len();
        self.readers.retain_mut(|reader| reader.progress() != Went::Gone);
        self.stats.readers_gone += (before - self.readers.len()) as u64;
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("uri", &self.hub.desk().uri).finish_non_exhaustive()
    }
}

impl fmt::Debug for PublisherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherBuilder").field("uri", &self.uri).finish_non_exhaustive()
    }
}
