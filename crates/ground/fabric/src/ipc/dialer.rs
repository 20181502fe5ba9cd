//! Who goes to a listener, again and again until one is there; and who was given a connected socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::address;
use super::introduction::{Introduction, Step};
use super::socket;
use super::terms::Terms;
use crate::tli::{Attempt, Connector, LinkSettings, OpenError, Role};

/// Pauses between attempts: at first, and at most. They double.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Dials a path.
#[derive(Debug)]
pub(crate) struct Dialer {
    terms: Terms,
    path: PathBuf,
    introduction: Option<Introduction>,
    again: Option<Instant>,
    pause: Duration,
}

impl Dialer {
    pub(crate) fn new(terms: Terms, path: PathBuf) -> Self {
        Self { terms, path, introduction: None, again: None, pause: PAUSE_MIN }
    }

    /// Nobody is there, or nobody who has time: later.
    fn later(&mut self, now: Instant) -> Attempt {
        let again = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.again = Some(again);
        Attempt::Waiting { again: self.again }
    }

    fn begin(&mut self, now: Instant) -> Result<Option<Introduction>, OpenError> {
        let socket = match address::dial(&self.path).map_err(|error| (error.raw_os_error(), error)) {
            Ok(socket) => socket,
            Err((Some(code), error)) => match Errno::from_raw_os_error(code) {
                // No file, a dead listener's file, or a listener with a full backlog.
                Errno::NOENT | Errno::CONNREFUSED | Errno::AGAIN | Errno::INTR => return Ok(None),
                _ => return Err(self.terms.failed("connect", error)),
            },
            Err((None, error)) => return Err(self.terms.failed("connect", error)),
        };
        // Nothing is shown to a listener that may not be a peer.
        let found = socket::credentials(socket.as_fd()).map_err(|error| self.terms.failed("SO_PEERCRED", error))?;
        self.terms.admit(found)?;
        Introduction::begin(socket, Role::Connect, &self.terms, now).map(Some)
    }
}

impl Connector for Dialer {
    fn poll(&mut self, now: Instant) -> Result<Attempt, OpenError> {
        let introduction = match self.introduction.take() {
            Some(introduction) => introduction,
            None if self.again.is_some_and(|again| now < again) => return Ok(Attempt::Waiting { again: self.again }),
            None => match self.begin(now)? {
                Some(introduction) => introduction,
                None => return Ok(self.later(now)),
            },
        };
        match introduction.advance(&self.terms) {
            // A listener that has a peer lets others wait, so there is no hurry.
            Step::Waiting(introduction) => {
                self.introduction = Some(introduction);
                Ok(Attempt::Waiting { again: None })
            }
            Step::Met(link) => {
                (self.again, self.pause) = (None, PAUSE_MIN);
                Ok(Attempt::Met(*link))
            }
            Step::HungUp => Ok(self.later(now)),
            Step::Refused(error) => Err(error),
        }
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.introduction.as_ref().map(Introduction::socket)
    }
}

/// A connected socket that was handed over; it serves for one link.
#[derive(Debug)]
pub(crate) struct Inherited {
    terms: Terms,
    introduction: Option<Introduction>,
}

impl Inherited {
    pub(crate) fn new(socket: OwnedFd, settings: &LinkSettings, uri: &str) -> Result<Self, OpenError> {
        let terms = Terms::new(uri, settings)?;
        let kind = rustix::net::sockopt::socket_type(&socket);
        let family = rustix::net::sockopt::socket_domain(&socket);
        if kind != Ok(rustix::net::SocketType::SEQPACKET) || family != Ok(rustix::net::AddressFamily::UNIX) {
            return Err(terms.refused("the descriptor is no connected Unix socket of sequenced packets"));
        }
        socket::ask_for_sender(socket.as_fd()).map_err(|error| terms.failed("SO_PASSCRED", error.into()))?;
        let introduction = Introduction::begin(socket, settings.role, &terms, Instant::now())?;
        Ok(Self { terms, introduction: Some(introduction) })
    }
}

impl Connector for Inherited {
    fn poll(&mut self, _now: Instant) -> Result<Attempt, OpenError> {
        let Some(introduction) = self.introduction.take() else {
            return Err(self.terms.refused("an inherited socket serves for one link"));
        };
        match introduction.advance(&self.terms) {
            Step::Waiting(introduction) => {
                self.introduction = Some(introduction);
                Ok(Attempt::Waiting { again: None })
            }
            Step::Met(link) => Ok(Attempt::Met(*link)),
            Step::HungUp => Err(self.terms.refused("the peer closed the inherited socket before it introduced itself")),
            Step::Refused(error) => Err(error),
        }
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.introduction.as_ref().map(Introduction::socket)
    }
}
