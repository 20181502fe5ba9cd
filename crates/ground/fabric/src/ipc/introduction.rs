//! One introduction: a socket and what was said over it so far. It ends with a link, a refusal, or because the peer hung up.
//!
//! ```text
//!  dialer                     listener
//!    │ ── hello, files ─────────► │   checks user, version, sizes, seals; maps; makes its own memory
//!    │ ◄───────── hello, files ── │
//!    │ ── welcome ──────────────► │   met: of several that were greeted, the first that says so
//!    │ ◄─────────────── welcome ──│
//!   met
//! ```
//!
//! Listeners and dialers drive it whenever its socket is readable; it never blocks, and holds nothing but its own two memories.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::hello::{self, DATAGRAM_MAX, Hello, Refusal, Saying, VERSIONS, Why};
use super::inlet::SharedInlet;
use super::memory::{Own, Theirs};
use super::outlet::SharedOutlet;
use super::socket::{self, Credentials, Datagram};
use super::terms::{CAPABILITIES, Terms};
use super::tether::SocketTether;
use crate::tli::{Link, OpenError, Role, Tether};

/// See the module.
#[derive(Debug)]
pub(crate) struct Introduction {
    socket: OwnedFd,
    role: Role,
    phase: Phase,
    peer: Credentials,
    pub(crate) since: Instant,
}

#[derive(Debug)]
enum Phase {
    /// The peer's hello comes next. A dialer has said its own.
    Hello(Option<Arc<Own>>),
    /// The peer's welcome comes next.
    Welcome(Arc<Own>, Arc<Theirs>),
}

/// Our memory and the peer's.
type Both = (Arc<Own>, Arc<Theirs>);

/// How far it got.
pub(crate) enum Step {
    Waiting(Introduction),
    Met(Box<Link>),
    /// The peer hung up before the end; another attempt may do better.
    HungUp,
    /// It cannot become a link.
    Refused(OpenError),
}

/// Why a step ends the introduction.
enum End {
    HungUp,
    Refused(OpenError),
}

impl From<OpenError> for End {
    fn from(error: OpenError) -> Self {
        Self::Refused(error)
    }
}

impl Introduction {
    /// Begins one. A dialer says its hello, which waits in the socket until the listener lets it in.
    pub(crate) fn begin(socket: OwnedFd, role: Role, terms: &Terms, now: Instant) -> Result<Self, OpenError> {
        let peer = socket::credentials(socket.as_fd()).map_err(|source| terms.failed("SO_PEERCRED", source))?;
        let mut this = Self { socket, role, phase: Phase::Hello(None), peer, since: now };
        if role == Role::Connect {
            let own = terms.own()?;
            // A failure shows as a socket that hung up, when it is read.
            let _ = this.say_hello(&own, terms);
            this.phase = Phase::Hello(Some(Arc::new(own)));
        }
        Ok(this)
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Who is there, as far as is known yet.
    pub(crate) fn peer(&self) -> Credentials {
        self.peer
    }

    /// Reads what has come, and answers.
    pub(crate) fn advance(mut self, terms: &Terms) -> Step {
        loop {
            let mut bytes = [0; DATAGRAM_MAX];
            let datagram = match socket::receive(self.socket.as_fd(), &mut bytes) {
                Ok(datagram) if datagram.len > 0 => datagram,
                Err(error) if socket::would_block(&error) => return Step::Waiting(self),
                _ => return Step::HungUp,
            };
            let saying = Saying::parse(&bytes[..datagram.len]);
            match self.hear(saying, datagram, terms) {
                Ok(None) => {}
                Ok(Some((own, theirs))) => return Step::Met(Box::new(self.link(own, theirs, terms))),
                Err(End::HungUp) => return Step::HungUp,
                Err(End::Refused(error)) => return Step::Refused(error),
            }
        }
    }

    /// Returns both memories when the peers have met.
    fn hear(&mut self, saying: Saying, datagram: Datagram, terms: &Terms) -> Result<Option<Both>, End> {
        match (saying, std::mem::replace(&mut self.phase, Phase::Hello(None))) {
            (Saying::Hello(hello), Phase::Hello(own)) => {
                self.meet_hello(&hello, datagram, own, terms)?;
                Ok(None)
            }
            (Saying::Welcome, Phase::Welcome(own, theirs)) => {
                if self.role == Role::Listen {
                    self.say(hello::welcome())?;
                }
                Ok(Some((own, theirs)))
            }
            (Saying::Refuse(refusal), _) => Err(self.refused_by(refusal, terms).into()),
            (Saying::OtherVersion(least, greatest), _) => {
                let theirs = if least > VERSIONS.1 { least } else { greatest };
                self.refuse(Why::Version, &format!("versions {least} to {greatest} are not spoken here"));
                Err(End::Refused(version(terms, theirs)))
            }
            (Saying::Nonsense(what), _) => {
                self.refuse(Why::Other, what);
                Err(terms.refused(format!("the peer sent {what}")).into())
            }
            (Saying::Hello(_) | Saying::Welcome, _) => {
                Err(terms.refused("the peer spoke out of turn in the introduction").into())
            }
        }
    }

    /// The peer said hello: is it one that we know, and does it bring what it says?
    fn meet_hello(
        &mut self,
        hello: &Hello,
        datagram: Datagram,
        own: Option<Arc<Own>>,
        terms: &Terms,
    ) -> Result<(), End> {
        // Who sent it, rather than who made the socket, where the kernel says so.
        self.peer = datagram.sender.unwrap_or(self.peer);
        if let Err(error) = terms.admit(self.peer) {
            self.refuse(Why::User, &error.to_string());
            return Err(error.into());
        }
        let theirs = match Theirs::map(hello, &datagram.files, terms.accept) {
            Ok(theirs) => theirs,
            Err(why) => {
                self.refuse(Why::Other, &why);
                return Err(terms.refused(format!("the peer brought {why}")).into());
            }
        };
        let own = match own {
            Some(own) => {
                self.say(hello::welcome())?;
                own
            }
            None => {
                let own = Arc::new(terms.own()?);
                self.say_hello(&own, terms)?;
                own
            }
        };
        self.phase = Phase::Welcome(own, Arc::new(theirs));
        Ok(())
    }

    fn say_hello(&self, own: &Own, terms: &Terms) -> Result<(), End> {
        let hello = terms.hello(own).pack();
        let done = match &terms.arena {
            Some(arena) => socket::send(self.socket.as_fd(), &hello, &[own.file(), arena.file()]),
            None => socket::send(self.socket.as_fd(), &hello, &[own.file()]),
        };
        done.map_err(|_| End::HungUp)
    }

    fn say(&self, bytes: &[u8]) -> Result<(), End> {
        // Two datagrams fit any socket, so one that takes no more is closed.
        socket::send(self.socket.as_fd(), bytes, &[]).map_err(|_| End::HungUp)
    }

    /// Tells the peer why not, if it still listens.
    pub(crate) fn refuse(&self, why: Why, text: &str) {
        let _ = self.say(&Refusal::new(why, text.to_owned()).pack());
    }

    /// What the peer's refusal is to us.
    fn refused_by(&self, refusal: Refusal, terms: &Terms) -> OpenError {
        match refusal.why {
            Why::Version => version(terms, refusal.versions.1),
            Why::User => {
                let peer = format!("user {} (this process)", rustix::process::geteuid().as_raw());
                OpenError::User { uri: terms.uri.clone(), peer, needed: refusal.text }
            }
            Why::Other => terms.refused(format!("{} refuses: {}", self.peer.peer(), refusal.text)),
        }
    }

    fn link(self, own: Arc<Own>, theirs: Arc<Theirs>, terms: &Terms) -> Link {
        // From here on nobody asks who sent a ring.
        let _ = rustix::net::sockopt::set_socket_passcred(&self.socket, false);
        super::inspect::met(&own, self.peer.pid, theirs.epoch);
        let tether = Arc::new(SocketTether::new(self.socket, own, theirs, self.peer.peer()));
        let outlet = Box::new(SharedOutlet::new(Arc::clone(&tether), terms.arena.clone(), terms.leases));
        let inlet = Box::new(SharedInlet::new(Arc::clone(&tether), terms.trust));
        let tether: Arc<dyn Tether> = tether;
        Link { outlet, inlet, tether, capabilities: CAPABILITIES }
    }
}

fn version(terms: &Terms, theirs: u16) -> OpenError {
    OpenError::Version { uri: terms.uri.clone(), ours: u32::from(VERSIONS.1), theirs: u32::from(theirs) }
}
