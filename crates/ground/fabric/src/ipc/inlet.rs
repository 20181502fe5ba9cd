//! The receiving end: the peer's windows come in order and are given back by our `disposed` word.
//!
//! One thread at a time has it. It makes no system call, except to wake a peer that sleeps and waits for what we did. Nothing in the peer's memory
//! is referred to here: header words are read once each, and the copies are checked (FABRIC R2, R6).

use std::collections::VecDeque;
use std::sync::Arc;

use super::layout::{self, want};
use super::outlet::LOOK_EVERY;
use super::returns::ReturnRing;
use super::tether::SocketTether;
use super::wants::PeerWants;
use crate::tli::{Borrowed, Inlet, LANES, Lane, PeerGone, Reason, Remote, Returns, RxWindow, Tether, Trust, Violation};
use crate::wire::{BadWindow, Descriptor, WINDOW_HEADER, WindowHeader};

/// Where the sequence stands in a window header.
const SEQUENCE: usize = 16;

/// See the module.
pub(crate) struct SharedInlet {
    tether: Arc<SocketTether>,
    lanes: [Receiving; 2],
    returns: Arc<ReturnRing>,
    wanted: PeerWants,
    trust: Trust,
    in_vain: u32,
}

/// One lane of windows.
#[derive(Default)]
struct Receiving {
    count: u64,
    handed: u64,
    disposed: u64,
    /// For each window handed out and not yet passed by `disposed`, whether it was given back. Windows may come back in any order.
    back: VecDeque<bool>,
    read: u64,
}

impl SharedInlet {
    pub(crate) fn new(tether: Arc<SocketTether>, trust: Trust) -> Self {
        let receiving =
            |lane| Receiving { count: tether.theirs.layout.windows(lane).count as u64, ..Receiving::default() };
        let lanes = LANES.map(receiving);
        let returns = Arc::new(ReturnRing::new(Arc::clone(&tether)));
        let wanted = PeerWants::new(tether.theirs.memory.part(layout::WANTS..layout::WANTS + 8));
        Self { tether, lanes, returns, wanted, trust, in_vain: 0 }
    }

    /// The sequence that stands where the next window of `lane` will be.
    fn sequence(&self, lane: Lane) -> u64 {
        let it = &self.lanes[layout::index(lane)];
        self.tether.theirs.get(self.tether.theirs.layout.window(lane, it.handed).start + SEQUENCE)
    }

    /// The header of the next window, whose sequence was seen.
    fn header(&self, lane: Lane, sequence: u64) -> Result<(), BadWindow> {
        let (theirs, it) = (&self.tether.theirs, &self.lanes[layout::index(lane)]);
        let range = theirs.layout.window(lane, it.handed);
        let mut bytes = [0; WINDOW_HEADER];
        for at in [0, 8, SEQUENCE, 24] {
            let word = if at == SEQUENCE { sequence } else { theirs.get(range.start + at) };
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        let header = WindowHeader::parse(&bytes, range.len())?;
        if header.epoch != theirs.epoch {
            return Err(BadWindow::Sequence { found: u64::from(header.epoch), expected: u64::from(theirs.epoch) });
        }
        Ok(())
    }

    fn violated(&self, violation: Violation) -> PeerGone {
        self.tether.cut_for(Reason::Violation(violation))
    }

    /// There is no further window of `lane`. Is there ever?
    fn nothing(&mut self, lane: Lane, gone: Option<PeerGone>) -> Result<Option<RxWindow>, PeerGone> {
        if let Some(gone) = gone {
            // Windows that are still being read may hold messages, so the end is told when they have been given back.
            let more = LANES.iter().any(|other| {
                let it = &self.lanes[layout::index(*other)];
                it.handed != it.disposed || (*other != lane && self.sequence(*other) == it.handed + 1)
            });
            return if more { Ok(None) } else { Err(gone) };
        }
        let finished = LANES.iter().all(|lane| {
            let it = &self.lanes[layout::index(*lane)];
            it.handed == it.disposed && self.tether.theirs.get(layout::finished(*lane)) == it.handed + 1
        });
        if finished {
            return Err(PeerGone { peer: self.tether.peer().name.clone(), reason: Reason::Closed });
        }
        self.in_vain = self.in_vain.wrapping_add(1);
        if self.in_vain.is_multiple_of(LOOK_EVERY) {
            // What it finds is for the next call, which looks for windows once more after it.
            let _ = self.tether.look();
        }
        Ok(None)
    }

    /// Publishes a word and wakes the peer if it sleeps and waits for that.
    fn tell(&self, at: usize, word: u64, wants: u64) {
        self.tether.own.set(at, word);
        if self.wanted.waits_for(wants) {
            self.tether.ring();
        }
    }
}

impl Inlet for SharedInlet {
    fn receive(&mut self, lane: Lane) -> Result<Option<RxWindow>, PeerGone> {
        // First the end, then the window: what was published before the end is seen.
        let gone = self.tether.gone().cloned();
        if let Some(gone) = &gone
            && !SocketTether::left_in_order(gone)
        {
            return Err(gone.clone());
        }
        let it = &self.lanes[layout::index(lane)];
        let (count, handed, out) = (it.count, it.handed, it.handed - it.disposed);
        let sequence = self.sequence(lane);
        if sequence != handed + 1 {
            // What the last use of this window left; nothing, at first.
            let left = (handed + 1).saturating_sub(count);
            if sequence != left {
                let bad = BadWindow::Sequence { found: sequence, expected: handed + 1 };
                return Err(self.violated(Violation::Window(bad)));
            }
            return self.nothing(lane, gone);
        }
        if out == count {
            return Err(self.violated(Violation::Link("it fills a window anew that was not given back")));
        }
        if let Err(bad) = self.header(lane, sequence) {
            return Err(self.violated(Violation::Window(bad)));
        }
        let theirs = &self.tether.theirs;
        let memory = theirs.memory.part(theirs.layout.window(lane, handed));
        // SAFETY: read in place only when the peer is of our user, which the introduction checked, and is trusted to keep what it committed.
        let window = unsafe { RxWindow::shared(memory, (handed % count) as u32, self.trust == Trust::Same) };
        let it = &mut self.lanes[layout::index(lane)];
        it.handed += 1;
        it.back.push_back(false);
        Ok(Some(window))
    }

    fn dispose(&mut self, lane: Lane, window: RxWindow) {
        let it = &mut self.lanes[layout::index(lane)];
        // Its token is its slot: how far behind the first that is out?
        let place = (u64::from(window.token()) + it.count - it.disposed % it.count) % it.count;
        let range = self.tether.theirs.layout.window(lane, it.disposed + place);
        let ours = self.tether.theirs.memory.as_ptr().wrapping_add(range.start) == window.memory().as_ptr();
        let back = it.back.get_mut(place as usize).filter(|back| ours && !**back);
        let Some(back) = back else {
            debug_assert!(false, "a window of another link was given back to this one");
            return;
        };
        *back = true;
        drop(window);
        let before = it.disposed;
        while it.back.front() == Some(&true) {
            it.back.pop_front();
            it.disposed += 1;
        }
        if it.disposed != before {
            let disposed = it.disposed;
            self.tell(layout::disposed(lane), disposed, want::window(lane) | want::DRAINED);
        }
    }

    fn read(&mut self, lane: Lane, messages: u64) {
        let it = &mut self.lanes[layout::index(lane)];
        if it.read != messages {
            it.read = messages;
            self.tell(layout::read(lane), messages, want::DRAINED);
        }
    }

    fn borrow(&mut self, descriptor: Descriptor) -> Result<Borrowed, Violation> {
        let bad = || Violation::Message(crate::wire::Bad::Descriptor(descriptor));
        let theirs = &self.tether.theirs;
        let Some(arena) = theirs.arena.as_ref().filter(|_| descriptor.lease < theirs.leases) else { return Err(bad()) };
        let (window, offset, len) =
            (descriptor.window as usize, descriptor.offset as usize, descriptor.length as usize);
        let end = offset.checked_add(len).ok_or_else(bad)?;
        if window >= arena.windows.count || end > arena.windows.bytes || len == 0 {
            return Err(bad());
        }
        self.returns.borrow()?;
        let returns: Arc<dyn Returns> = Arc::clone(&self.returns) as Arc<dyn Returns>;
        let start = window * arena.windows.bytes + offset;
        let lease = (descriptor.lease, descriptor.generation);
        Ok(Borrowed::Remote(Remote::new(arena.memory.clone(), start, len, lease, returns, self.trust)))
    }
}

impl Drop for SharedInlet {
    fn drop(&mut self) {
        self.tether.end_dropped();
    }
}
