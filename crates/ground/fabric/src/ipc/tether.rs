//! The socket of a link: rings, and the news of death.
//!
//! A ring is a datagram of one byte. It stays in the socket until all threads of this process that slept on the link have got up: one that took it
//! at once would leave the others asleep, since the peer rings once for all.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::layout;
use super::memory::{Own, Theirs};
use super::sleep::{PeerSleep, SleepWord};
use crate::tli::{LANES, Peer, PeerGone, Reason, Tether};

/// Rings taken in one look, at most; a peer rings once for each sleep, so more are not ours to wait for.
const RINGS_MAX: usize = 16;

/// What both ends of a link and its borrowers share.
pub(crate) struct SocketTether {
    socket: OwnedFd,
    pub(crate) own: Arc<Own>,
    pub(crate) theirs: Arc<Theirs>,
    peer: Peer,
    sleep: SleepWord,
    peer_sleep: PeerSleep,
    /// A ring was left in the socket for those who still sleep. Going to sleep and taking rings exclude each other by its lock: a ring that is taken
    /// came before anybody who sleeps then.
    left: Mutex<bool>,
    gone: OnceLock<PeerGone>,
    /// Outlet and inlet that are not dropped.
    ends: AtomicU8,
}

impl SocketTether {
    pub(crate) fn new(socket: OwnedFd, own: Arc<Own>, theirs: Arc<Theirs>, peer: Peer) -> Self {
        let word = layout::SLEEP..layout::SLEEP + 8;
        // SAFETY: by I2 this word of our memory is the sleep word's alone, and there is one tether to a memory.
        let sleep = unsafe { SleepWord::new(own.memory.part(word.clone())) };
        let peer_sleep = PeerSleep::new(theirs.memory.part(word));
        let (left, gone, ends) = (Mutex::new(false), OnceLock::new(), AtomicU8::new(2));
        Self { socket, own, theirs, peer, sleep, peer_sleep, left, gone, ends }
    }

    /// What ended the link, if it has ended and that is known.
    #[inline]
    pub(crate) fn gone(&self) -> Option<&PeerGone> {
        self.gone.get()
    }

    #[inline]
    pub(crate) fn alive(&self) -> Result<(), PeerGone> {
        self.gone().map_or(Ok(()), |gone| Err(gone.clone()))
    }

    /// Whether what the peer published before it went is still good.
    pub(crate) fn left_in_order(gone: &PeerGone) -> bool {
        matches!(gone.reason, Reason::Closed | Reason::Died)
    }

    /// Breaks off and returns what is said from now on.
    pub(crate) fn cut_for(&self, reason: Reason) -> PeerGone {
        self.cut(reason.clone());
        self.gone().cloned().unwrap_or(PeerGone { peer: self.peer.name.clone(), reason })
    }

    /// One end was dropped; after the last, the peer is told.
    pub(crate) fn end_dropped(&self) {
        if self.ends.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.cut(Reason::Left);
        }
    }

    /// The socket hung up.
    fn hung_up(&self) {
        // Acquire, by `get`: whoever learns of the end finds all that was published before.
        let finished = LANES.iter().all(|lane| self.theirs.get(layout::finished(*lane)) != 0);
        let reason = if finished { Reason::Closed } else { Reason::Died };
        let _ = self.gone.set(PeerGone { peer: self.peer.name.clone(), reason });
    }

    fn left(&self) -> MutexGuard<'_, bool> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes rings, or, with `PEEK`, looks whether there is one and says so.
    fn receive(&self, how: RecvFlags) -> bool {
        let mut byte = [0; 8];
        for _ in 0..RINGS_MAX {
            match rustix::net::recv(&self.socket, &mut byte[..], how | RecvFlags::DONTWAIT) {
                Ok((_, 0)) | Err(Errno::CONNRESET | Errno::NOTCONN) => self.hung_up(),
                Ok(_) if how.contains(RecvFlags::PEEK) => return true,
                Ok(_) | Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(error) => self.cut(Reason::System { operation: "recv", errno: error.raw_os_error() }),
            }
            return false;
        }
        false
    }
}

impl Tether for SocketTether {
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn look(&self) -> Result<(), PeerGone> {
        self.alive()?;
        let mut left = self.left();
        if self.sleep.sleepers() == 0 {
            self.receive(RecvFlags::empty());
        } else {
            *left |= self.receive(RecvFlags::PEEK);
        }
        drop(left);
        self.alive()
    }

    fn arm(&self) {
        let _left = self.left();
        self.sleep.arm();
    }

    fn disarm(&self) {
        let mut left = self.left();
        if self.sleep.disarm() == 0 && std::mem::take(&mut *left) && self.gone().is_none() {
            self.receive(RecvFlags::empty());
        }
    }

    fn ring(&self) {
        if self.gone().is_some() || !self.peer_sleep.must_ring() {
            return;
        }
        match rustix::net::send(&self.socket, b"!", SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            // A full socket holds rings enough to wake anybody.
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => self.hung_up(),
            Err(error) => self.cut(Reason::System { operation: "send", errno: error.raw_os_error() }),
        }
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn cut(&self, reason: Reason) {
        let _ = self.gone.set(PeerGone { peer: self.peer.name.clone(), reason });
        // It wakes everybody here, and tells the peer. It fails only when that has happened already.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }
}
