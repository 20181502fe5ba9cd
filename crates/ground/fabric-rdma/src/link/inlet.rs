//! The receiving end of a link: windows are read where the adapter has put them.

use std::sync::Arc;

use fabric::tli::{Borrowed, Inlet, Lane, PeerGone, Reason, RxWindow, Violation};
use fabric::wire::{BadWindow, Descriptor, WINDOW_HEADER, WindowHeader};

use super::wiring::index;
use super::{Receiving, Shared, Trouble, lock};

/// The receiving end.
pub(super) struct RdmaInlet {
    shared: Arc<Shared>,
    /// Windows handed out since the link began.
    received: [u64; 2],
    /// Windows of those that were disposed of.
    disposed: [u64; 2],
    /// Windows disposed of that the peer was not told of at once.
    untold: [usize; 2],
}

impl RdmaInlet {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, received: [0; 2], disposed: [0; 2], untold: [0; 2] }
    }

    /// The next window of a lane, header checked.
    fn next(&mut self, lane: usize, receiving: &mut Receiving) -> Result<Option<RxWindow>, Trouble> {
        let Some((slot, bytes)) = receiving.ready.pop_front() else { return Ok(None) };
        let Some(memory) = receiving.slots.get_mut(slot).and_then(Option::take) else {
            return Err(Trouble::Broken);
        };
        let mut header = [0; WINDOW_HEADER];
        memory.copy_out(0, &mut header);
        let size = bytes.min(memory.len());
        let expected = self.received[lane] + 1;
        let checked = WindowHeader::parse(&header, size).and_then(|header| match header.used as usize {
            used if used != size => Err(BadWindow::Used { used: header.used, size }),
            _ if header.sequence != expected => Err(BadWindow::Sequence { found: header.sequence, expected }),
            _ => Ok(header),
        });
        let header = checked.map_err(|bad| Trouble::Violation(Violation::Window(bad)))?;
        if header.epoch != self.shared.wiring.theirs.epoch {
            return Err(Trouble::Violation(Violation::Link("it sent a window of another connection")));
        }
        self.received[lane] = expected;
        let token = u32::try_from(slot).expect("the provider limits the number of windows");
        // SAFETY: V4: the adapter has completed this buffer and gets it again only by `dispose`, which takes the window. Nobody else writes it.
        Ok(Some(unsafe { RxWindow::filled(memory, size, token) }))
    }

    /// What comes when there is no window: the peer's end, or nothing. Windows that are still being read may hold messages, so the end is told when
    /// they have been given back.
    fn nothing(&mut self) -> Result<Option<RxWindow>, PeerGone> {
        if let Some(gone) = self.shared.gone() {
            return if self.received == self.disposed && self.is_empty() { Err(gone) } else { Ok(None) };
        }
        // The one who waits for this news gets it before we wait for his.
        self.untold = [0; 2];
        self.shared.note()?;
        match self.shared.finished.get() {
            Some((windows, _)) if *windows == self.received && self.received == self.disposed => {
                Err(PeerGone { peer: self.shared.peer.name.clone(), reason: Reason::Closed })
            }
            _ => Ok(None),
        }
    }

    /// Whether nothing is left of what a peer that is gone had sent.
    fn is_empty(&self) -> bool {
        (0..2).all(|lane| {
            let mut receiving = lock(&self.shared.receiving[lane]);
            // Beyond a failed receive nothing comes, and the link has ended already.
            let _ = self.shared.reap(lane, &mut receiving);
            receiving.ready.is_empty()
        })
    }

    /// Whether windows may still be handed out: not to one who left, nor from a peer that broke the protocol.
    fn check(&self) -> Result<(), PeerGone> {
        match self.shared.gone.get() {
            None | Some(Reason::Died | Reason::Closed) => Ok(()),
            Some(_) => self.shared.check(),
        }
    }
}

impl Inlet for RdmaInlet {
    fn receive(&mut self, lane: Lane) -> Result<Option<RxWindow>, PeerGone> {
        self.check()?;
        let lane = index(lane);
        let shared = self.shared.clone();
        let mut receiving = lock(&shared.receiving[lane]);
        if receiving.ready.is_empty()
            && let Err(trouble) = shared.reap(lane, &mut receiving)
        {
            drop(receiving);
            // A reason is set now, this one or an earlier. What came before a break is handed out before it is reported.
            let _ = shared.troubled::<()>(Err(trouble));
            self.check()?;
            receiving = lock(&shared.receiving[lane]);
        }
        let window = self.next(lane, &mut receiving);
        drop(receiving);
        match shared.troubled(window)? {
            Some(window) => Ok(Some(window)),
            None => self.nothing(),
        }
    }

    fn dispose(&mut self, lane: Lane, window: RxWindow) {
        let lane = index(lane);
        let slot = window.token() as usize;
        let memory = window.into_memory();
        let shared = self.shared.clone();
        let mut receiving = lock(&shared.receiving[lane]);
        let region = shared.wiring.incoming[lane].memory();
        let ours = memory.as_ptr().addr() == region.as_ptr().addr() + slot * memory.len();
        let Some(place) = receiving.slots.get_mut(slot).filter(|place| place.is_none() && ours) else {
            // A window of an earlier link: its buffer went with that.
            return;
        };
        *place = Some(memory);
        receiving.out -= 1;
        self.disposed[lane] += 1;
        if shared.gone.get().is_some() {
            return;
        }
        // SAFETY: V4: the window was just taken apart, and the memory lies in `slots`, where only `next` takes it, after its completion.
        let posted = unsafe { shared.wiring.post_buffer(lane, slot) };
        drop(receiving);
        if let Err(error) = posted {
            shared.refused(&error);
            return;
        }
        lock(&shared.sending).ours.disposed[lane] += 1;
        self.untold[lane] += 1;
        if self.untold[lane] * 2 >= shared.wiring.theirs.windows[lane].count {
            self.untold = [0; 2];
            let _ = shared.note();
        }
    }

    fn read(&mut self, lane: Lane, messages: u64) {
        lock(&self.shared.sending).ours.read[index(lane)] = messages;
    }

    fn borrow(&mut self, _descriptor: Descriptor) -> Result<Borrowed, Violation> {
        Err(Violation::Link("nothing is lent over RDMA"))
    }
}
