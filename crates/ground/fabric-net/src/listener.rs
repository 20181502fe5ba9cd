//! Waits for a peer. Visitors are introduced side by side, so that a silent one delays nobody; the first to introduce itself well becomes the link.
//!
//! While that link is up nobody polls the listener: further visitors wait unanswered, and dial again. Who is turned away does not end the listening.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use fabric::tli::{Attempt, Connector, OpenError};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use socket2::Socket;

use crate::hello::BadHello;
use crate::link::link;
use crate::socket;
use crate::visit::{Host, Refusal, Step, Visit};

/// Visitors that are being introduced; beyond that the oldest has to go.
const VISITS_MAX: usize = 16;
/// Visitors let in by one poll.
const ACCEPTS: usize = 16;
/// How long no visitor is let in after the system refused to.
const PAUSE: Duration = Duration::from_millis(100);

/// See the module.
pub(crate) struct Listener {
    host: Host,
    socket: Socket,
    epoll: OwnedFd,
    /// Oldest first.
    visits: Vec<Visit>,
    turned_away: Option<OpenError>,
    paused_until: Option<Instant>,
}

impl Listener {
    pub(crate) fn open(host: Host) -> Result<Self, OpenError> {
        let uri = host.address.uri.to_string();
        let failed = |operation, source: io::Error| match source.raw_os_error() {
            Some(libc::EADDRINUSE) => OpenError::Taken { uri: uri.clone() },
            _ => OpenError::System { uri: uri.clone(), operation, source },
        };
        let places = host.address.resolve()?;
        // A name of several addresses: the first that is ours.
        let mut last = None;
        let socket = places.iter().find_map(|at| match socket::listen(&host.address, at) {
            Ok(socket) => Some(socket),
            Err(error) => {
                last = Some(error);
                None
            }
        });
        let Some(socket) = socket else {
            return Err(failed("listen", last.unwrap_or_else(|| io::ErrorKind::NotFound.into())));
        };
        let epoll = epoll::create(CreateFlags::CLOEXEC)
            .and_then(|epoll| {
                epoll::add(&epoll, &socket, EventData::new_u64(0), EventFlags::IN)?;
                Ok(epoll)
            })
            .map_err(|error| failed("epoll", error.into()))?;
        Ok(Self { host, socket, epoll, visits: Vec::new(), turned_away: None, paused_until: None })
    }

    fn let_in(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        if self.paused_until.take().is_some() {
            self.hear_door(EventFlags::IN);
        }
        for _ in 0..ACCEPTS {
            match socket::accept(&self.host.address, &self.socket) {
                Ok(socket) => self.welcome(socket, now),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    // That visitor is gone again; the next may not be.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::InvalidInput => {
                    }
                    _ => {
                        // Out of descriptors or memory: not to be asked again at once.
                        self.paused_until = Some(now + PAUSE);
                        self.hear_door(EventFlags::empty());
                        return;
                    }
                },
            }
        }
    }

    fn hear_door(&self, flags: EventFlags) {
        // It fails only for want of memory; then a poll comes too often or late.
        let _ = epoll::modify(&self.epoll, &self.socket, EventData::new_u64(0), flags);
    }

    fn welcome(&mut self, socket: Socket, now: Instant) {
        match self.host.visit(socket, now) {
            Ok(visit) => {
                if self.visits.len() == VISITS_MAX {
                    self.visits.remove(0);
                }
                if epoll::add(&self.epoll, &visit, EventData::new_u64(0), EventFlags::IN | EventFlags::RDHUP).is_ok() {
                    self.visits.push(visit);
                }
            }
            Err(refusal) => self.turn_away(refusal),
        }
    }

    fn turn_away(&mut self, refusal: Refusal) {
        // Strangers and broken connections are the network's noise.
        if !matches!(refusal, Refusal::Broken(_) | Refusal::Hello(BadHello::Stranger)) {
            self.turned_away = Some(self.host.error(refusal));
        }
    }
}

impl Connector for Listener {
    fn poll(&mut self, now: Instant) -> Result<Attempt, OpenError> {
        self.let_in(now);
        let mut met = None;
        for visit in std::mem::take(&mut self.visits) {
            if met.is_some() {
                // Those not taken are let go unanswered, and come again.
                continue;
            }
            if now >= visit.deadline {
                continue;
            }
            match self.host.advance(visit) {
                Ok(Step::Wait(visit)) => self.visits.push(visit),
                Ok(Step::Done(introduced)) => met = Some(introduced),
                Err(refusal) => self.turn_away(refusal),
            }
        }
        let Some(introduced) = met else {
            let deadlines = self.visits.iter().map(|visit| visit.deadline);
            return Ok(Attempt::Waiting { again: deadlines.chain(self.paused_until).min() });
        };
        self.visits.clear();
        // The link has its own.
        let _ = epoll::delete(&self.epoll, &introduced.stream);
        let failed = |source| OpenError::System { uri: self.host.address.uri.to_string(), operation: "link", source };
        link(introduced).map(Attempt::Met).map_err(failed)
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.epoll.as_fd())
    }

    fn address(&self) -> Option<String> {
        self.socket.local_addr().ok().map(|bound| self.host.address.bound(&bound))
    }

    fn turned_away(&mut self) -> Option<OpenError> {
        self.turned_away.take()
    }
}
