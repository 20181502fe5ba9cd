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
    /// While there are candidates: readable when [`Connector::poll`] may get further. A channel of a thousand costs a descriptor less without.
    watch: Option<OwnedFd>,
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
        let at = terms.address.resolve()?;
        let side = match terms.settings.role {
            Role::Connect => Side::Dial { to: at, next: Instant::now(), attempts: 0 },
            Role::Listen => {
                let listener = listen(at).map_err(|error| match error.kind() {
                    io::ErrorKind::AddrInUse => OpenError::Taken { uri: uri.clone() },
                    _ => OpenError::System { uri: uri.clone(), operation: "listen", source: error },
                })?;
                Side::Listen { listener }
            }
        };
        Ok(Self { terms, side, watch: None, candidates: Vec::new(), turned_away: None })
    }

    /// Lets those in who wait, or dials when it is time.
    fn recruit(&mut self, now: Instant) {
        let deadline = now + self.terms.address.hello;
        match &mut self.side {
            Side::Listen { listener } => {
                while self.candidates.len() < CANDIDATES_MAX {
                    let Ok((stream, _)) = listener.accept() else { return };
                    self.candidates.extend(Candidate::new(stream, deadline));
                }
            }
            Side::Dial { to, next, attempts } => {
                if !self.candidates.is_empty() || now < *next {
                    return;
                }
                let wait = self.terms.address.retry * (1 << (*attempts).min(4)).min(RETRY_GROWTH_MAX);
                (*next, *attempts) = (now + wait, *attempts + 1);
                self.candidates.extend(dial(*to).and_then(|stream| Candidate::new(stream, deadline)));
            }
        }
    }

    /// Watches the listener and each candidate for what is news to it. A connection that is closed leaves the set by itself.
    fn watch_all(&self) -> rustix::io::Result<()> {
        let Some(watch) = &self.watch else { return Ok(()) };
        let listener = match &self.side {
            Side::Listen { listener } => Some((listener.as_fd(), epoll::EventFlags::IN)),
            Side::Dial { .. } => None,
        };
        let candidates = self.candidates.iter().map(|candidate| match candidate.is_connecting() {
            true => (candidate.as_fd(), epoll::EventFlags::IN | epoll::EventFlags::OUT),
            false => (candidate.as_fd(), epoll::EventFlags::IN),
        });
        for (what, flags) in listener.into_iter().chain(candidates) {
            let data = epoll::EventData::new_u64(0);
            match epoll::add(watch, what, data, flags) {
                Err(rustix::io::Errno::EXIST) => epoll::modify(watch, what, data, flags)?,
                result => result?,
            }
        }
        Ok(())
    }

    fn failed(&self, error: rustix::io::Errno) -> OpenError {
        OpenError::System { uri: self.terms.address.uri.to_string(), operation: "epoll", source: error.into() }
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
            match candidate.advance(&self.terms, now) {
                Ok(Progress::Met(link)) => {
                    if let Side::Dial { next, attempts, .. } = &mut self.side {
                        (*next, *attempts) = (now, 0);
                    }
                    self.watch = None;
                    return Ok(Attempt::Met(link));
                }
                Ok(Progress::Waiting(candidate)) => self.candidates.push(candidate),
                Err(Failure::Lost) => {}
                Err(Failure::Unfit(error)) => match self.side {
                    Side::Dial { .. } => return Err(error),
                    Side::Listen { .. } => self.turned_away = Some(error),
                },
            }
        }
        self.watch = match (&self.candidates[..], self.watch.take()) {
            ([], _) => None,
            (_, None) => Some(epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| self.failed(error))?),
            (_, watch) => watch,
        };
        self.watch_all().map_err(|error| self.failed(error))?;
        Ok(Attempt::Waiting { again: self.again() })
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        match (&self.watch, &self.side) {
            (Some(watch), _) => Some(watch.as_fd()),
            (None, Side::Listen { listener }) => Some(listener.as_fd()),
            (None, Side::Dial { .. }) => None,
        }
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
