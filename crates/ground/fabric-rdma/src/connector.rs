//! Listens for a peer or dials it, until they have met; then again for the next link of the channel.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use fabric::tli::{Attempt, Connector, OpenError, Role};
use rustix::event::epoll;
use socket2::{Domain, Protocol, Socket, Type};

use crate::candidate::{Candidate, Failure, Progress, Terms};

/// Peers that a listener hears out at once; others wait in the system's queue. Each has a deadline, so strangers that say nothing hold a place for
/// a while only.
const CANDIDATES_MAX: usize = 8;
/// Visitors that the system holds for us.
const BACKLOG: i32 = 16;
/// By how much waits between attempts may grow.
const RETRY_GROWTH_MAX: u32 = 10;

/// The connector.
pub(crate) struct RdmaConnector {
    terms: Terms,
    side: Side,
    /// Readable when [`Connector::poll`] may get further.
    watch: OwnedFd,
    candidates: Vec<Candidate>,
    turned_away: Option<OpenError>,
}

enum Side {
    Listen { listener: TcpListener },
    Dial { to: SocketAddr, next: Instant, attempts: u32 },
}

impl RdmaConnector {
    /// Binds, when listening.
    ///
    /// # Errors
    /// When the name has no address, or the address is taken.
    pub(crate) fn new(terms: Terms) -> Result<Self, OpenError> {
        let uri = terms.address.uri.to_string();
        let failed = |operation, source| OpenError::System { uri: uri.clone(), operation, source };
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| failed("epoll_create", error.into()))?;
        let at = terms.address.resolve()?;
        let side = match terms.settings.role {
            Role::Connect => Side::Dial { to: at, next: Instant::now(), attempts: 0 },
            Role::Listen => {
                let listener = listen(at).map_err(|error| match error.kind() {
                    io::ErrorKind::AddrInUse => OpenError::Taken { uri: uri.clone() },
                    _ => failed("listen", error),
                })?;
                add(&watch, listener.as_fd(), epoll::EventFlags::IN).map_err(|error| failed("epoll_ctl", error))?;
                Side::Listen { listener }
            }
        };
        Ok(Self { terms, side, watch, candidates: Vec::new(), turned_away: None })
    }

    /// Lets those in who wait, or dials when it is time.
    fn recruit(&mut self, now: Instant) {
        let deadline = now + self.terms.address.hello;
        match &mut self.side {
            Side::Listen { listener } => {
                while self.candidates.len() < CANDIDATES_MAX {
                    let Ok((stream, _)) = listener.accept() else { return };
                    let candidate = Candidate::new(stream, deadline);
                    self.candidates.extend(candidate.ok().filter(|new| watch_for(&self.watch, new)));
                }
            }
            Side::Dial { to, next, attempts } => {
                if !self.candidates.is_empty() || now < *next {
                    return;
                }
                let wait = self.terms.address.retry * (1 << (*attempts).min(4)).min(RETRY_GROWTH_MAX);
                (*next, *attempts) = (now + wait, *attempts + 1);
                let candidate = dial(*to).and_then(|stream| Candidate::new(stream, deadline));
                self.candidates.extend(candidate.ok().filter(|new| watch_for(&self.watch, new)));
            }
        }
    }

    /// When to be polled again without being told.
    fn again(&self) -> Option<Instant> {
        let retry = match &self.side {
            Side::Dial { next, .. } if self.candidates.is_empty() => Some(*next),
            _ => None,
        };
        self.candidates.iter().map(Candidate::deadline).chain(retry).min()
    }
}

impl Connector for RdmaConnector {
    fn poll(&mut self, now: Instant) -> Result<Attempt, OpenError> {
        self.recruit(now);
        for candidate in std::mem::take(&mut self.candidates) {
            let was_connecting = candidate.is_connecting();
            match candidate.advance(&self.terms, now) {
                Ok(Progress::Met(link)) => {
                    if let Side::Dial { next, attempts, .. } = &mut self.side {
                        (*next, *attempts) = (now, 0);
                    }
                    return Ok(Attempt::Met(link));
                }
                Ok(Progress::Waiting(candidate)) => {
                    if !was_connecting || candidate.is_connecting() || watch_for(&self.watch, &candidate) {
                        self.candidates.push(candidate);
                    }
                }
                Err(Failure::Lost) => {}
                Err(Failure::Unfit(error)) => match self.side {
                    Side::Dial { .. } => return Err(error),
                    Side::Listen { .. } => self.turned_away = Some(error),
                },
            }
        }
        Ok(Attempt::Waiting { again: self.again() })
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.watch.as_fd())
    }

    fn address(&self) -> Option<String> {
        match &self.side {
            Side::Listen { listener } => listener.local_addr().ok().map(|bound| self.terms.address.bound(bound)),
            Side::Dial { .. } => None,
        }
    }

    fn turned_away(&mut self) -> Option<OpenError> {
        self.turned_away.take()
    }
}

/// Watches a candidate for what is news to it; says whether that worked. A connection that is closed leaves the set by itself.
fn watch_for(watch: &OwnedFd, candidate: &Candidate) -> bool {
    let flags =
        if candidate.is_connecting() { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
    let data = epoll::EventData::new_u64(0);
    add(watch, candidate.as_fd(), flags).is_ok() || epoll::modify(watch, candidate.as_fd(), data, flags).is_ok()
}

fn add(watch: &OwnedFd, what: BorrowedFd<'_>, flags: epoll::EventFlags) -> io::Result<()> {
    Ok(epoll::add(watch, what, epoll::EventData::new_u64(0), flags)?)
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Begins to connect.
fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// The wait doubles from the first, up to ten times that.
const _: () = assert!(1 << 4 >= RETRY_GROWTH_MAX);
