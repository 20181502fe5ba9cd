//! Who listens: binds the socket, lets visitors in, and introduces several of them at once, so that one who says nothing holds up nobody.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::net::SocketFlags;

use super::address::Bound;
use super::hello::Why;
use super::introduction::{Introduction, Step};
use super::socket;
use super::terms::Terms;
use crate::tli::{Attempt, Connector, LinkSettings, OpenError, Role};
use crate::uri::Uri;

/// Visitors that are being introduced at once, at most; more wait in the backlog.
const INTRODUCTIONS_MAX: usize = 16;
/// How long an introduction may take. An honest peer needs two turns of its loop.
pub(super) const INTRODUCTION_MAX: Duration = Duration::from_secs(2);

/// How many peers a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    /// One at a time, as a channel needs it: when one was met, others wait in the backlog until the listener is polled again.
    One,
    /// Any number: a link for each, and further introductions go on meanwhile.
    Many,
}

/// A listening socket and the visitors that are being introduced.
#[derive(Debug)]
pub struct Listener {
    terms: Terms,
    bound: Bound,
    peers: Peers,
    visitors: Vec<Introduction>,
    /// Over the listening socket and the visitors'; made when there is more than the first.
    epoll: Option<OwnedFd>,
    turned_away: Option<OpenError>,
}

impl Listener {
    /// Listens at the address, which names no inherited socket.
    ///
    /// # Errors
    /// When the address is wrong or taken, the settings are over the limits, or the system refuses.
    pub fn bind(uri: &Uri, settings: &LinkSettings, peers: Peers) -> Result<Self, OpenError> {
        match super::address::Place::parse(uri)? {
            super::address::Place::Path(path) => Self::at(uri, &path, settings, peers),
            super::address::Place::Inherited(_) => {
                Err(uri.wrong(uri.address(), "a name or a path to listen at").into())
            }
        }
    }

    pub(crate) fn at(uri: &Uri, path: &Path, settings: &LinkSettings, peers: Peers) -> Result<Self, OpenError> {
        let terms = Terms::new(uri.as_str(), settings)?.labelled(path);
        let bound = Bound::bind(uri, path, terms.file_mode())?;
        Ok(Self { terms, bound, peers, visitors: Vec::new(), epoll: None, turned_away: None })
    }

    /// Lets in who waits at the door.
    fn accept(&mut self, now: Instant) -> Result<(), OpenError> {
        while self.visitors.len() < INTRODUCTIONS_MAX {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match rustix::net::accept_with(&self.bound.socket, flags) {
                Ok(socket) => socket,
                Err(error) if socket::would_block(&error.into()) => return Ok(()),
                // A visitor that left again; the next may be there.
                Err(rustix::io::Errno::CONNABORTED) => continue,
                Err(error) => return Err(self.terms.failed("accept", error.into())),
            };
            let visitor = Introduction::begin(socket, Role::Listen, &self.terms, now)?;
            match self.terms.admit(visitor.peer()) {
                Ok(()) => self.visitors.push(visitor),
                Err(error) => {
                    visitor.refuse(Why::User, &error.to_string());
                    self.turned_away = Some(error);
                }
            }
        }
        Ok(())
    }

    /// Goes on with every introduction; those that end badly are forgotten.
    fn introduce(&mut self, now: Instant) -> Option<Attempt> {
        let mut met = None;
        for visitor in std::mem::take(&mut self.visitors) {
            if met.is_some() {
                self.visitors.push(visitor);
                continue;
            }
            let late = now.saturating_duration_since(visitor.since) >= INTRODUCTION_MAX;
            match visitor.advance(&self.terms) {
                Step::Met(link) => met = Some(Attempt::Met(*link)),
                Step::Waiting(visitor) if !late => self.visitors.push(visitor),
                Step::Waiting(visitor) => {
                    let name = visitor.peer().peer();
                    self.turned_away = Some(self.terms.refused(format!("{name} did not introduce itself in time")));
                }
                Step::Refused(error) => self.turned_away = Some(error),
                Step::HungUp => {}
            }
        }
        if met.is_some() && self.peers == Peers::One {
            // They are sent back to the door: they dial again, and wait in the backlog until we poll.
            self.visitors.clear();
        }
        met
    }

    /// One descriptor for all that can happen: the listening socket alone, or an epoll over it and the visitors.
    fn watch(&mut self) -> Result<(), OpenError> {
        self.epoll = None;
        if self.visitors.is_empty() {
            return Ok(());
        }
        let failed = |error: rustix::io::Errno| self.terms.failed("epoll", error.into());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let none = epoll::EventData::new_u64(0);
        for visitor in &self.visitors {
            epoll::add(&epoll, visitor.socket(), none, epoll::EventFlags::IN).map_err(failed)?;
        }
        if self.visitors.len() < INTRODUCTIONS_MAX {
            epoll::add(&epoll, &self.bound.socket, none, epoll::EventFlags::IN).map_err(failed)?;
        }
        self.epoll = Some(epoll);
        Ok(())
    }
}

impl Connector for Listener {
    fn poll(&mut self, now: Instant) -> Result<Attempt, OpenError> {
        self.accept(now)?;
        let met = self.introduce(now);
        self.watch()?;
        if let Some(met) = met {
            return Ok(met);
        }
        let again = self.visitors.iter().map(|visitor| visitor.since + INTRODUCTION_MAX).min();
        Ok(Attempt::Waiting { again })
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.epoll.as_ref().unwrap_or(&self.bound.socket).as_fd())
    }

    fn turned_away(&mut self) -> Option<OpenError> {
        self.turned_away.take()
    }
}
