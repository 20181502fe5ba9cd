//! A link over two queue pairs: the part that sending and receiving threads share. The connector makes it; it never opens anything.
//!
//! Locks are taken in the order `receiving` (urgent before bulk), `control`, `sending`, and no two of `receiving` are held at once.

mod inlet;
mod outlet;
#[cfg(all(test, feature = "adapter"))]
mod tests;
mod wiring;

pub(crate) use wiring::{Wiring, buffers};

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use fabric::memory::Memory;
use fabric::tli::{Capabilities, Link, Peer, PeerGone, Reason, Tether, Violation};
use rustix::event::epoll;

use crate::control::{Control, Heard};
use crate::hello::{Hello, Plan};
use crate::notes::Notes;
use crate::verbs::{VerbsError, Wc, wc_opcode, wc_status};
use inlet::RdmaInlet;
use outlet::RdmaOutlet;
use wiring::NOTE_ID;

/// What the transport can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    visible_on_commit: false,
    shares_memory: false,
    knows_user: false,
    registers_memory: true,
    multicast: false,
};

/// Completions taken at once.
const BATCH: usize = 16;
/// Batches taken before going on with something else, so that a peer that floods us with notes keeps nobody.
const BATCHES_MAX: usize = 8;

/// Makes a link of what the peers agreed on.
pub(crate) fn link(wiring: Wiring, plan: Plan, control: Control, peer: Peer) -> Result<Link, VerbsError> {
    let shared = Arc::new(Shared::new(wiring, plan, control, peer)?);
    Ok(Link {
        outlet: Box::new(RdmaOutlet::new(shared.clone())),
        inlet: Box::new(RdmaInlet::new(shared.clone())),
        tether: shared,
        capabilities: CAPABILITIES,
    })
}

/// What both directions share.
struct Shared {
    wiring: Wiring,
    plan: Plan,
    peer: Peer,
    /// Readable when the bell or the TCP connection is.
    watch: OwnedFd,
    control: Mutex<Control>,
    sending: Mutex<Sending>,
    receiving: [Mutex<Receiving>; 2],
    /// Windows that the peer has sent in all, and its last note, once it has finished.
    finished: OnceLock<([u64; 2], Notes)>,
    gone: OnceLock<Reason>,
}

/// The send queues.
#[derive(Default)]
struct Sending {
    /// Windows whose sending is complete.
    completed: [u64; 2],
    /// What we have disposed of and read.
    ours: Notes,
    /// What the peer knows of that.
    told: Notes,
    /// A note is on its way that wakes the peer; at most one is.
    note_out: bool,
    /// There was something to tell meanwhile.
    note_owed: bool,
}

/// The receive queue of a lane.
struct Receiving {
    /// The buffers; those that became windows are missing.
    slots: Vec<Option<Memory>>,
    /// Windows that have come: buffer, bytes.
    ready: VecDeque<(usize, usize)>,
    /// Windows that have come and were not disposed of.
    out: usize,
}

impl Shared {
    fn new(wiring: Wiring, plan: Plan, control: Control, peer: Peer) -> Result<Self, VerbsError> {
        let watch = watch(wiring.bell.as_fd(), control.as_fd())
            .map_err(|error| VerbsError { operation: "watch an RDMA link", source: error.into() })?;
        let receiving = [0, 1].map(|lane| {
            let bytes = wiring.theirs.windows[lane].bytes;
            let memory = wiring.incoming[lane].memory();
            let slots =
                (0..buffers(&wiring.theirs, lane)).map(|slot| Some(memory.part(slot * bytes..(slot + 1) * bytes)));
            Mutex::new(Receiving { slots: slots.collect(), ready: VecDeque::new(), out: 0 })
        });
        Ok(Self {
            wiring,
            plan,
            peer,
            watch,
            control: Mutex::new(control),
            sending: Mutex::default(),
            receiving,
            finished: OnceLock::new(),
            gone: OnceLock::new(),
        })
    }

    /// What the peer has told by now, by either way.
    fn notes(&self) -> Notes {
        let mut notes = self.wiring.notes();
        if let Some((_, last)) = self.finished.get() {
            notes.merge(last);
        }
        notes
    }

    /// Why the peer is gone, if it is.
    fn gone(&self) -> Option<PeerGone> {
        self.gone.get().map(|reason| PeerGone { peer: self.peer.name.clone(), reason: reason.clone() })
    }

    fn check(&self) -> Result<(), PeerGone> {
        match self.gone() {
            Some(gone) => Err(gone),
            None => Ok(()),
        }
    }

    /// Breaks off because of `reason`, unless there was one before.
    fn end(&self, reason: Reason) -> PeerGone {
        let _ = self.gone.set(reason);
        lock(&self.control).hang_up();
        self.gone().expect("set above or before")
    }

    fn violation(&self, what: Violation) -> PeerGone {
        self.end(Reason::Violation(what))
    }

    fn refused(&self, error: &VerbsError) -> PeerGone {
        self.end(Reason::System { operation: error.operation, errno: error.errno() })
    }

    /// Work failed: the connection is broken. The TCP connection tells more of the reason, if it tells anything yet.
    fn broken(&self) -> PeerGone {
        self.hear();
        self.end(Reason::Died)
    }

    /// Hears what the peer says over TCP.
    fn hear(&self) {
        let mut control = lock(&self.control);
        let reason = loop {
            match control.hear() {
                Heard::Nothing => return,
                Heard::Message(Hello::Finish(windows, notes)) if self.finished.set((windows, notes)).is_ok() => {}
                Heard::Message(_) => {
                    break Reason::Violation(Violation::Link("it said what is not said within a link"));
                }
                Heard::Bad(_) => break Reason::Violation(Violation::Link("it said something unknown")),
                Heard::End if self.finished.get().is_some() => break Reason::Closed,
                Heard::End => break Reason::Died,
            }
        };
        drop(control);
        self.end(reason);
    }

    /// Takes completions of sends; a note that was held back goes out.
    fn settle(&self, sending: &mut Sending) -> Result<(), Trouble> {
        let mut completions = [Wc::default(); BATCH];
        loop {
            let count = self.wiring.sent.poll(&mut completions).map_err(Trouble::Refused)?;
            for completion in &completions[..count] {
                match (completion.status, completion.wr_id) {
                    (wc_status::SUCCESS, NOTE_ID) => sending.note_out = false,
                    (wc_status::SUCCESS, lane) => sending.completed[usize::from(lane == 1)] += 1,
                    _ => return Err(Trouble::Broken),
                }
            }
            if count < BATCH {
                break;
            }
        }
        if sending.note_owed && !sending.note_out { self.tell(sending) } else { Ok(()) }
    }

    /// Sends a note, if there is anything new in it; when one is on its way, the next goes once it has come.
    fn tell(&self, sending: &mut Sending) -> Result<(), Trouble> {
        if sending.ours == sending.told {
            return Ok(());
        }
        if sending.note_out {
            sending.note_owed = true;
            return Ok(());
        }
        let note = sending.ours;
        self.wiring.post_note(&self.plan, &note).map_err(Trouble::Refused)?;
        (sending.told, sending.note_out, sending.note_owed) = (note, true, false);
        Ok(())
    }

    /// Tells the peer what is new, if anything is.
    fn note(&self) -> Result<(), PeerGone> {
        let mut sending = lock(&self.sending);
        if sending.ours == sending.told {
            return Ok(());
        }
        let result = self.settle(&mut sending).and_then(|()| self.tell(&mut sending));
        drop(sending);
        self.troubled(result)
    }

    fn troubled<T>(&self, result: Result<T, Trouble>) -> Result<T, PeerGone> {
        result.map_err(|trouble| match trouble {
            Trouble::Broken => self.broken(),
            Trouble::Refused(error) => self.refused(&error),
            Trouble::Violation(what) => self.violation(what),
        })
    }

    /// Takes what has come into a lane's buffers: windows are kept in order, buffers that notes used up go back.
    fn reap(&self, lane: usize, receiving: &mut Receiving) -> Result<(), Trouble> {
        let mut completions = [Wc::default(); BATCH];
        for _ in 0..BATCHES_MAX {
            let count = self.wiring.received[lane].poll(&mut completions).map_err(Trouble::Refused)?;
            for completion in &completions[..count] {
                let slot = usize::try_from(completion.wr_id).unwrap_or(usize::MAX);
                match (completion.status, completion.opcode) {
                    (wc_status::SUCCESS, wc_opcode::RECV) => {
                        receiving.out += 1;
                        if receiving.out > self.wiring.theirs.windows[lane].count {
                            let what = Violation::Link("it sent more windows than it announced");
                            return Err(Trouble::Violation(what));
                        }
                        receiving.ready.push_back((slot, completion.byte_len as usize));
                    }
                    (wc_status::SUCCESS, wc_opcode::RECV_RDMA_WITH_IMM) => {
                        // SAFETY: V4: no window was made of this buffer, for nothing was received into it.
                        unsafe { self.wiring.post_buffer(lane, slot) }.map_err(Trouble::Refused)?;
                    }
                    (wc_status::LOC_LEN_ERR, _) => {
                        return Err(Trouble::Violation(Violation::Link("it sent more than a window holds")));
                    }
                    _ => return Err(Trouble::Broken),
                }
            }
            if count < BATCH {
                break;
            }
        }
        Ok(())
    }

    /// Takes what has come by the urgent pair, notes among it: their buffers are needed for the next.
    fn take_notes(&self) -> Result<(), PeerGone> {
        let mut receiving = lock(&self.receiving[1]);
        let reaped = self.reap(1, &mut receiving);
        drop(receiving);
        self.troubled(reaped)
    }
}

/// Why the adapter does not go on.
enum Trouble {
    /// The connection broke.
    Broken,
    /// The adapter refused an operation.
    Refused(VerbsError),
    /// The peer broke the protocol.
    Violation(Violation),
}

impl Tether for Shared {
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.watch.as_fd())
    }

    fn look(&self) -> Result<(), PeerGone> {
        self.wiring.bell.drain();
        self.hear();
        self.check()?;
        let settled = self.settle(&mut lock(&self.sending));
        self.troubled(settled)?;
        self.take_notes()
    }

    fn arm(&self) {
        // Whoever sleeps has read what there was: the peer should know before.
        if self.gone.get().is_some() || self.note().is_err() {
            return;
        }
        for completions in [&self.wiring.sent, &self.wiring.received[0], &self.wiring.received[1]] {
            if let Err(error) = completions.arm() {
                self.refused(&error);
            }
        }
    }

    fn disarm(&self) {
        // A queue that was armed rings once at most; the next look takes it.
    }

    fn ring(&self) {
        // What is sent rings by itself. What was read may not have been told yet.
        if self.gone.get().is_none() {
            let _ = self.note();
        }
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn cut(&self, reason: Reason) {
        self.end(reason);
    }
}

/// One descriptor for both. Both are level-triggered: it stays readable until everything was looked at.
fn watch(bell: BorrowedFd<'_>, control: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&watch, bell, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
    epoll::add(&watch, control, epoll::EventData::new_u64(1), epoll::EventFlags::IN | epoll::EventFlags::RDHUP)?;
    Ok(watch)
}

/// Nothing panics while it holds one of these locks but for our own bugs; the state stays whole even then.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
