//! The sending end: windows of our own memory go out in order and come back when the peer's `disposed` word has passed them.
//!
//! One thread at a time has it. It makes no system call, except to wake a peer that sleeps. Of the peer's words it reads `disposed`, `read` and the
//! ring of returns, each once, checks the copy, and uses the copy (FABRIC R2).

use std::collections::VecDeque;
use std::sync::Arc;

use super::layout::{self, want};
use super::ledger::Ledger;
use super::returns::ERASE;
use super::tether::SocketTether;
use super::wants::Wants;
use crate::arena::Arena;
use crate::slice::Slice;
use crate::tli::{LANES, Lane, Outlet, PeerGone, Reason, Tether, TxWindow, Violation};
use crate::wire::{Descriptor, END, MESSAGE_HEADER, WINDOW_HEADER, WindowHeader};

/// Calls that find nothing, after which one looks whether the peer is still there, for callers that never sleep and never look.
pub(crate) const LOOK_EVERY: u32 = 4096;

/// See the module.
pub(crate) struct SharedOutlet {
    tether: Arc<SocketTether>,
    lanes: [Sending; 2],
    wants: Wants,
    arena: Option<Arc<Arena>>,
    ledger: Ledger,
    /// Returns read so far.
    returned: u64,
    in_vain: u32,
}

/// One lane of windows.
#[derive(Default)]
struct Sending {
    count: u64,
    taken: u64,
    shipped: u64,
    /// Windows that the peer has disposed of, as far as we have looked; at most `shipped`.
    disposed: u64,
    /// Messages in all windows shipped so far.
    messages: u64,
    /// For each window shipped and not disposed of, `messages` at its end.
    ends: VecDeque<u64>,
    /// Messages that the peer says it has read, or that lie in windows that it has disposed of.
    read: u64,
    /// How far the window that is taken was counted: position and messages.
    counted: (usize, u64),
}

impl SharedOutlet {
    pub(crate) fn new(tether: Arc<SocketTether>, arena: Option<Arc<Arena>>, leases: usize) -> Self {
        let sending = |lane| Sending { count: tether.own.layout.windows(lane).count as u64, ..Sending::default() };
        let lanes = LANES.map(sending);
        // The peer returns through its ring, so no more may be out than that has places.
        let ledger = Ledger::new(leases.min(tether.theirs.layout.returns()));
        // SAFETY: by I2 this word of our memory is the outlet's alone.
        let wants = unsafe { Wants::new(tether.own.memory.part(layout::WANTS..layout::WANTS + 8)) };
        Self { tether, lanes, wants, arena, ledger, returned: 0, in_vain: 0 }
    }

    fn violated(&self, what: &'static str) -> PeerGone {
        self.tether.cut_for(Reason::Violation(Violation::Link(what)))
    }

    /// Reads how far the peer is with `lane`.
    fn refresh(&mut self, lane: Lane) -> Result<(), PeerGone> {
        let it = &self.lanes[layout::index(lane)];
        let disposed = self.tether.theirs.get(layout::disposed(lane));
        // What was shipped is the most that it can have disposed of, and what it said before the least.
        if disposed < it.disposed || disposed > it.shipped {
            return Err(self.violated("a count of disposed windows that goes back or beyond what was shipped"));
        }
        let it = &mut self.lanes[layout::index(lane)];
        for _ in it.disposed..disposed {
            it.read = it.ends.pop_front().unwrap_or(it.read).max(it.read);
        }
        it.disposed = disposed;
        Ok(())
    }

    /// As [`Self::refresh`], and counts the messages that were committed and read.
    fn refresh_messages(&mut self, lane: Lane) -> Result<u64, PeerGone> {
        self.refresh(lane)?;
        self.lanes[layout::index(lane)].counted = self.count(lane);
        let it = &self.lanes[layout::index(lane)];
        let committed = it.messages + it.counted.1;
        let read = self.tether.theirs.get(layout::read(lane));
        if read > committed {
            // It may have read what was committed since we counted, by a sender on another thread: count again before judging.
            let committed = it.messages + self.count(lane).1;
            if read > committed {
                return Err(self.violated("a count of read messages beyond what was sent"));
            }
        }
        let it = &mut self.lanes[layout::index(lane)];
        it.read = it.read.max(read);
        Ok(committed)
    }

    /// Counts the messages in the window that is taken, from where it was counted last. Our own memory: its words are those that were committed.
    fn count(&self, lane: Lane) -> (usize, u64) {
        let it = &self.lanes[layout::index(lane)];
        let (mut at, mut messages) = it.counted;
        if it.taken == it.shipped {
            return (at, messages);
        }
        let window = self.tether.own.layout.window(lane, it.taken - 1);
        while at + 8 <= window.len() {
            let word = self.tether.own.memory.load(window.start + at);
            let length = word as u32 as usize;
            if word == 0 || word == END || length < MESSAGE_HEADER || !length.is_multiple_of(8) {
                break;
            }
            at += length;
            messages += 1;
        }
        (at, messages)
    }

    /// Takes back the leases that the peer has returned.
    fn collect(&mut self) -> Result<(), PeerGone> {
        let theirs = &self.tether.theirs;
        let written = theirs.get(layout::RETURNED);
        if written == self.returned {
            return Ok(());
        }
        // Going back shows as a difference that is far too large.
        if written.wrapping_sub(self.returned) > self.ledger.out() as u64 {
            return Err(self.violated("more leases came back than are out"));
        }
        while self.returned != written {
            let word = theirs.get(theirs.layout.returned(self.returned));
            self.returned += 1;
            let (lease, generation) = ((word & (ERASE - 1)) as u32, (word >> 32) as u32);
            let Some(lent) = self.ledger.take_back(lease, generation) else {
                return Err(self.violated("a lease came back that is not out"));
            };
            if word & ERASE != 0 {
                lent.erase_at_last();
            }
        }
        Ok(())
    }

    fn nothing_free(&mut self) -> Result<Option<TxWindow>, PeerGone> {
        self.in_vain = self.in_vain.wrapping_add(1);
        if self.in_vain.is_multiple_of(LOOK_EVERY) {
            self.tether.look()?;
        }
        Ok(None)
    }
}

impl Outlet for SharedOutlet {
    fn take(&mut self, lane: Lane) -> Result<Option<TxWindow>, PeerGone> {
        self.tether.alive()?;
        let index = layout::index(lane);
        let full = |it: &Sending| it.taken - it.disposed == it.count;
        assert_eq!(self.lanes[index].taken, self.lanes[index].shipped, "one window of a lane is taken at a time");
        if full(&self.lanes[index]) {
            self.refresh(lane)?;
            if full(&self.lanes[index]) {
                self.wants.want(want::window(lane));
                self.refresh(lane)?;
                if full(&self.lanes[index]) {
                    return self.nothing_free();
                }
            }
        }
        self.wants.have(want::window(lane));
        let it = &mut self.lanes[index];
        let (number, own) = (it.taken, &self.tether.own);
        let sleeper = self.tether.theirs.memory.part(layout::SLEEP..layout::SLEEP + 8);
        let memory = own.memory.part(own.layout.window(lane, number));
        // SAFETY: I4: the window is not out, since `taken - disposed < count`, and its earlier use was disposed of.
        let mut window = unsafe { TxWindow::lease(memory, (number % it.count) as u32, Some(sleeper)) };
        let header = WindowHeader { flags: 0, used: 0, messages: 0, sequence: number + 1, crc32c: 0, epoch: own.epoch };
        // SAFETY: readers recognise the window by this sequence (I5).
        unsafe { window.begin(&header) };
        it.taken += 1;
        it.counted = (WINDOW_HEADER, 0);
        own.set(layout::taken(lane), it.taken);
        Ok(Some(window))
    }

    fn ship(&mut self, lane: Lane, mut window: TxWindow) -> Result<(), PeerGone> {
        let it = &mut self.lanes[layout::index(lane)];
        assert_eq!(
            (it.taken, window.token()),
            (it.shipped + 1, (it.shipped % it.count) as u32),
            "the window that was taken last is shipped"
        );
        it.messages += u64::from(window.messages());
        it.ends.push_back(it.messages);
        it.shipped += 1;
        it.counted = (WINDOW_HEADER, 0);
        window.end();
        self.tether.alive()?;
        self.tether.ring();
        Ok(())
    }

    fn lend(&mut self, bytes: &Slice) -> Result<Option<Descriptor>, PeerGone> {
        self.tether.alive()?;
        self.collect()?;
        let Some((window, offset)) = self.arena.as_ref().and_then(|arena| arena.locate(bytes)) else {
            return Ok(None);
        };
        let lease = self.ledger.lend(bytes);
        Ok(lease.map(|(lease, generation)| Descriptor {
            lease,
            generation,
            window: window as u32,
            offset: offset as u32,
            length: bytes.len() as u32,
        }))
    }

    fn unlend(&mut self, descriptor: Descriptor) {
        drop(self.ledger.take_back(descriptor.lease, descriptor.generation));
    }

    fn progress(&mut self) -> Result<(), PeerGone> {
        self.tether.alive()?;
        self.collect()?;
        for lane in LANES {
            self.refresh_messages(lane)?;
        }
        Ok(())
    }

    fn is_drained(&mut self) -> Result<bool, PeerGone> {
        self.wants.want(want::DRAINED);
        let mut drained = true;
        for lane in LANES {
            let committed = self.refresh_messages(lane)?;
            drained &= self.lanes[layout::index(lane)].read == committed;
        }
        if drained {
            self.wants.have(want::DRAINED);
            return Ok(true);
        }
        // What a peer read before it went stays read, hence last.
        self.tether.alive()?;
        Ok(false)
    }

    fn read_by_peer(&self, lane: Lane) -> u64 {
        let it = &self.lanes[layout::index(lane)];
        let disposed = self.tether.theirs.get(layout::disposed(lane));
        let in_disposed = match disposed.checked_sub(it.disposed) {
            Some(more @ 1..) if disposed <= it.shipped => it.ends.get(more as usize - 1).copied().unwrap_or(0),
            _ => 0,
        };
        // Read first, counted then: what it can have read was committed before.
        let read = self.tether.theirs.get(layout::read(lane));
        let committed = it.messages + self.count(lane).1;
        it.read.max(in_disposed).max(read.min(committed))
    }

    fn finish(&mut self) {
        for lane in LANES {
            self.tether.own.set(layout::finished(lane), self.lanes[layout::index(lane)].taken + 1);
        }
        self.tether.ring();
    }
}

impl Drop for SharedOutlet {
    fn drop(&mut self) {
        self.tether.end_dropped();
    }
}
