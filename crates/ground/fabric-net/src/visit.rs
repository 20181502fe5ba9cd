//! One connection on its way to becoming a link: connecting, shaking hands, introduction. Connectors drive it; it never blocks.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use fabric::tli::{LinkSettings, OpenError, Peer, Role};
use rustix::event::epoll::EventFlags;
use socket2::Socket;

use crate::address::{Address, name_of};
use crate::hello::{Agreement, BadHello, Disagreement, HELLO_BYTES, Hello, VERSION_MAX};
use crate::link::{Engine, Introduced};
use crate::socket;
use crate::stream::Stream;
#[cfg(feature = "tls")]
use crate::tls::{Party, TlsError};

/// What all visits of a connector have in common.
pub(crate) struct Host {
    pub(crate) address: Address,
    pub(crate) role: Role,
    pub(crate) engine: Engine,
    settings: LinkSettings,
    #[cfg(feature = "tls")]
    party: Option<Party>,
}

/// See the module.
pub(crate) struct Visit {
    stream: Stream,
    phase: Phase,
    ours: Hello,
    /// Bytes of our hello that were sent.
    said: usize,
    theirs: [u8; HELLO_BYTES],
    /// Bytes of the peer's hello that have come.
    heard: usize,
    pub(crate) deadline: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    ShakingHands,
    Speaking,
    Hearing,
}

/// Why a visit came to nothing.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The connection did not come about or broke; trying again may help.
    Broken(io::Error),
    /// Certificates or ciphers do not fit.
    Tls(io::Error),
    /// The other side is none of us.
    Hello(BadHello),
    /// The other side is one of us, with settings that do not fit.
    Disagreement(Disagreement),
}

/// What remains to be done.
pub(crate) enum Step {
    /// Wait for the socket.
    Wait(Visit),
    /// The peers know each other.
    Done(Introduced),
}

impl Host {
    pub(crate) fn new(address: Address, settings: &LinkSettings, engine: Engine) -> Result<Self, OpenError> {
        #[cfg(feature = "tls")]
        let party = match &address.tls {
            Some(files) => {
                let refused = |why: TlsError| OpenError::Refused { uri: address.uri.to_string(), why: why.to_string() };
                Some(Party::new(settings.role, files, &address.host()).map_err(refused)?)
            }
            None => None,
        };
        #[cfg(not(feature = "tls"))]
        if address.tls.is_some() {
            return Err(OpenError::Unavailable { lacking: "fabric-net was built without its feature tls".to_owned() });
        }
        Ok(Self {
            role: settings.role,
            engine,
            settings: settings.clone(),
            #[cfg(feature = "tls")]
            party,
            address,
        })
    }

    /// Begins a visit over a socket that is connected or about to be. The reason when the system gives no random number.
    pub(crate) fn visit(&self, socket: Socket, now: Instant) -> Result<Visit, Refusal> {
        let stream = self.stream(socket)?;
        let ours = Hello::new(&self.settings, self.address.checksums, epoch().map_err(Refusal::Broken)?);
        let phase = match self.role {
            Role::Connect => Phase::Connecting,
            Role::Listen => Phase::ShakingHands,
        };
        let deadline = now + self.address.hello;
        Ok(Visit { stream, phase, ours, said: 0, theirs: [0; HELLO_BYTES], heard: 0, deadline })
    }

    #[cfg(feature = "tls")]
    fn stream(&self, socket: Socket) -> Result<Stream, Refusal> {
        let Some(party) = &self.party else { return Ok(Stream::plain(socket)) };
        let tls = party.begin().map_err(|error| Refusal::Tls(io::Error::other(error.to_string())))?;
        Ok(Stream::over_tls(socket, tls))
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "with TLS it can fail")]
    fn stream(&self, socket: Socket) -> Result<Stream, Refusal> {
        Ok(Stream::plain(socket))
    }

    /// Goes as far as it can.
    pub(crate) fn advance(&self, mut visit: Visit) -> Result<Step, Refusal> {
        loop {
            let done = match visit.phase {
                Phase::Connecting => socket::connected(visit.stream.socket()).map(|()| Phase::ShakingHands),
                Phase::ShakingHands => visit.stream.shake_hands().map(|()| match self.role {
                    Role::Connect => Phase::Speaking,
                    Role::Listen => Phase::Hearing,
                }),
                Phase::Speaking => visit.speak().map(|()| Phase::Hearing),
                Phase::Hearing => match visit.hear() {
                    Ok(()) => return self.introduce(visit).map(Step::Done),
                    Err(error) => Err(error),
                },
            };
            match done {
                Ok(phase) => visit.phase = phase,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait(visit)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(Refusal::Tls(error)),
                Err(error) => return Err(Refusal::Broken(error)),
            }
        }
    }

    /// Both have said who they are; or the peer has, and is waiting for our answer.
    fn introduce(&self, mut visit: Visit) -> Result<Introduced, Refusal> {
        let theirs = Hello::parse(&visit.theirs).map_err(Refusal::Hello);
        let agreed = theirs.and_then(|theirs| {
            let agreement = visit.ours.agree(&theirs).map_err(Refusal::Disagreement)?;
            Ok((theirs, agreement))
        });
        if self.role == Role::Listen {
            if visit.stream.is_at_end() {
                // It gave up waiting; to answer would make a link that is dead already.
                return Err(Refusal::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
            if !matches!(agreed, Err(Refusal::Hello(BadHello::Stranger))) {
                // A few bytes into an empty socket: they go at once or never. A peer that is turned away learns from them why.
                visit.speak().map_err(Refusal::Broken)?;
            }
        }
        let (theirs, agreement): (Hello, Agreement) = agreed?;
        let peer = Peer { name: self.name_peer(visit.stream.socket()), pid: None, user: None };
        Ok(Introduced {
            engine: self.engine,
            agreement,
            epochs: (visit.ours.epoch, theirs.epoch),
            checksums: (visit.ours.checksums, theirs.checksums),
            peer,
            stream: visit.stream,
        })
    }

    /// `127.0.0.1:4000 by tcp, epoll, TLS 1.3`.
    fn name_peer(&self, socket: &Socket) -> String {
        let place = socket.peer_addr().map_or_else(|_| "a vanished peer".to_owned(), |address| name_of(&address));
        let engine = match self.engine {
            Engine::Epoll => "epoll",
            Engine::Uring => "io_uring",
        };
        let tls = if self.address.tls.is_some() { ", TLS 1.3" } else { "" };
        format!("{place} by {}, {engine}{tls}", self.address.uri.scheme())
    }

    /// What a refusal is to who opened the channel.
    pub(crate) fn error(&self, refusal: Refusal) -> OpenError {
        let uri = self.address.uri.to_string();
        match refusal {
            Refusal::Hello(BadHello::Version { theirs }) => {
                OpenError::Version { uri, ours: u32::from(VERSION_MAX), theirs: u32::from(theirs) }
            }
            Refusal::Hello(BadHello::Format { theirs }) => {
                OpenError::Version { uri, ours: u32::from(fabric::wire::VERSION), theirs: u32::from(theirs) }
            }
            Refusal::Broken(source) => OpenError::System { uri, operation: "introduction", source },
            other => OpenError::Refused { uri, why: other.to_string() },
        }
    }
}

impl Visit {
    fn speak(&mut self) -> io::Result<()> {
        let bytes = self.ours.pack();
        while self.said < HELLO_BYTES {
            self.said += self.stream.write(&[IoSlice::new(&bytes[self.said..])])?;
        }
        self.stream.flush()
    }

    fn hear(&mut self) -> io::Result<()> {
        while self.heard < HELLO_BYTES {
            match self.stream.read(&mut self.theirs[self.heard..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.heard += count,
            }
            // Garbage is known by its first word; there is no reason to wait for more of it.
            if self.heard >= 4 && self.theirs[..4] != crate::hello::HELLO_MAGIC.to_le_bytes() {
                break;
            }
        }
        Ok(())
    }

    /// What the socket is to be waited for.
    pub(crate) fn interest(&self) -> EventFlags {
        match self.phase {
            Phase::Connecting | Phase::Speaking => EventFlags::OUT,
            Phase::ShakingHands | Phase::Hearing => EventFlags::IN,
        }
    }
}

impl AsFd for Visit {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A random number that is not 0.
fn epoch() -> io::Result<u32> {
    let mut bytes = [0; 4];
    loop {
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        match u32::from_ne_bytes(bytes) {
            0 => {}
            epoch => return Ok(epoch),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(error) => error.fmt(f),
            Self::Tls(error) => write!(f, "TLS with the peer failed: {error}"),
            Self::Hello(bad) => bad.fmt(f),
            Self::Disagreement(disagreement) => disagreement.fmt(f),
        }
    }
}
