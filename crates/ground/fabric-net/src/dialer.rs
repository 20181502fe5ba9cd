//! Goes to a peer, again and again until it is there: order of start does not matter.
//!
//! The first attempts follow one another after [`Address::retry`](crate::address::Address), then after twice that, up to ten times. Each address of
//! a name is tried in turn. What the peer says of itself may end it: another version, windows that do not fit, a wrong certificate.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use fabric::tli::{Attempt, Connector, OpenError};
use rustix::event::epoll::{self, CreateFlags, EventData};
use socket2::SockAddr;

use crate::hello::BadHello;
use crate::link::link;
use crate::socket;
use crate::visit::{Host, Refusal, Step, Visit};

/// How much longer than the first the longest pause between attempts is.
const RETRY_GROWTH: u32 = 10;

/// See the module.
pub(crate) struct Dialer {
    host: Host,
    places: Vec<SockAddr>,
    /// Attempts so far.
    attempts: usize,
    pause: Duration,
    epoll: OwnedFd,
    state: State,
}

enum State {
    /// The next attempt is due then.
    Pausing(Instant),
    Visiting(Box<Visit>),
}

impl Dialer {
    pub(crate) fn open(host: Host, now: Instant) -> Result<Self, OpenError> {
        let places = host.address.resolve()?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|error| OpenError::System {
            uri: host.address.uri.to_string(),
            operation: "epoll",
            source: error.into(),
        })?;
        Ok(Self { pause: host.address.retry, host, places, attempts: 0, epoll, state: State::Pausing(now) })
    }

    /// Begins the next attempt.
    fn dial(&mut self, now: Instant) -> Result<Visit, Refusal> {
        let place = &self.places[self.attempts % self.places.len()];
        self.attempts += 1;
        let socket = socket::connect(&self.host.address, place).map_err(Refusal::Broken)?;
        let visit = self.host.visit(socket, now)?;
        epoll::add(&self.epoll, &visit, EventData::new_u64(0), visit.interest())
            .map_err(|error| Refusal::Broken(error.into()))?;
        Ok(visit)
    }

    /// An attempt has failed: pause, or give up.
    fn failed(&mut self, refusal: Refusal, now: Instant) -> Result<Attempt, OpenError> {
        let hopeless = match &refusal {
            Refusal::Broken(error) => is_hopeless(error),
            // Something else may have listened there before our peer did.
            Refusal::Hello(bad) => matches!(bad, BadHello::Version { .. } | BadHello::Format { .. }),
            Refusal::Tls(_) | Refusal::Disagreement(_) => true,
        };
        let again = now + self.pause;
        self.state = State::Pausing(again);
        if hopeless {
            return Err(self.host.error(refusal));
        }
        if self.attempts.is_multiple_of(self.places.len()) {
            self.pause = (self.pause * 2).min(self.host.address.retry * RETRY_GROWTH);
        }
        Ok(Attempt::Waiting { again: Some(again) })
    }
}

impl Connector for Dialer {
    fn poll(&mut self, now: Instant) -> Result<Attempt, OpenError> {
        let visit = match std::mem::replace(&mut self.state, State::Pausing(now)) {
            State::Pausing(until) if now < until => {
                self.state = State::Pausing(until);
                return Ok(Attempt::Waiting { again: Some(until) });
            }
            State::Pausing(_) => match self.dial(now) {
                Ok(visit) => visit,
                Err(refusal) => return self.failed(refusal, now),
            },
            State::Visiting(visit) if now >= visit.deadline => {
                return self.failed(Refusal::Broken(io::ErrorKind::TimedOut.into()), now);
            }
            State::Visiting(visit) => *visit,
        };
        match self.host.advance(visit) {
            Ok(Step::Wait(visit)) => {
                let again = Some(visit.deadline);
                if let Err(error) = epoll::modify(&self.epoll, &visit, EventData::new_u64(0), visit.interest()) {
                    return self.failed(Refusal::Broken(error.into()), now);
                }
                self.state = State::Visiting(Box::new(visit));
                Ok(Attempt::Waiting { again })
            }
            Ok(Step::Done(introduced)) => {
                self.pause = self.host.address.retry;
                // The link has its own.
                let _ = epoll::delete(&self.epoll, &introduced.stream);
                // A link that breaks at once is not to be dialled in a circle.
                self.state = State::Pausing(now + self.pause);
                let failed =
                    |source| OpenError::System { uri: self.host.address.uri.to_string(), operation: "link", source };
                link(introduced).map(Attempt::Met).map_err(failed)
            }
            Err(refusal) => self.failed(refusal, now),
        }
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.epoll.as_fd())
    }
}

/// Errors of the system that no later attempt makes good.
fn is_hopeless(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EACCES | libc::EPERM | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::EINVAL)
    )
}
