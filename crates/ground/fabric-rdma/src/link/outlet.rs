//! The sending end of a link: windows are filled where the adapter reads them.

use std::sync::Arc;

use fabric::Slice;
use fabric::tli::{Lane, Outlet, PeerGone, TxWindow};
use fabric::wire::Descriptor;

use super::wiring::index;
use super::{Shared, lock};
use crate::hello::Hello;
use crate::notes::Notes;

/// The sending end.
pub(super) struct RdmaOutlet {
    shared: Arc<Shared>,
    lanes: [Sent; 2],
    /// Windows of each lane that may be filled again: the adapter is done with them, and the peer has room for as many.
    freed: [u64; 2],
    heard: Notes,
    finished: bool,
    /// Calls of `progress`.
    turns: u32,
}

/// A system call each time that so many turns were taken, to hear whether the peer is there.
const HEAR_EVERY: u32 = 32;

/// One lane.
struct Sent {
    /// Windows that are not taken.
    windows: Vec<Option<TxWindow>>,
    /// Windows shipped since the link began.
    shipped: u64,
    /// Messages in them.
    messages: u64,
}

impl RdmaOutlet {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let lanes = [0, 1].map(|lane| {
            let settings = shared.wiring.ours.windows[lane];
            let memory = shared.wiring.outgoing[lane].memory();
            let windows = (0..settings.count).map(|slot| {
                let memory = memory.part(slot * settings.bytes..(slot + 1) * settings.bytes);
                let token = u32::try_from(slot).expect("the provider limits the number of windows");
                // SAFETY: T1: the parts do not overlap, and each is leased here, once for the life of the link. The adapter only reads it,
                // and only while the window lies in `windows`.
                Some(unsafe { TxWindow::lease(memory, token, None) })
            });
            Sent { windows: windows.collect(), shipped: 0, messages: 0 }
        });
        Self { shared, lanes, freed: [0; 2], heard: Notes::default(), finished: false, turns: 0 }
    }

    /// Learns what the adapter and the peer are done with.
    fn collect(&mut self) -> Result<(), PeerGone> {
        let mut sending = lock(&self.shared.sending);
        let settled = self.shared.settle(&mut sending);
        let completed = sending.completed;
        drop(sending);
        self.shared.troubled(settled)?;
        self.heard.merge(&self.shared.notes());
        let [bulk, urgent] = &self.lanes;
        self.heard
            .check([bulk.shipped, urgent.shipped], [bulk.messages, urgent.messages])
            .map_err(|what| self.shared.violation(what))?;
        self.freed = [0, 1].map(|lane: usize| self.heard.disposed[lane].min(completed[lane]));
        Ok(())
    }
}

impl Outlet for RdmaOutlet {
    fn take(&mut self, lane: Lane) -> Result<Option<TxWindow>, PeerGone> {
        self.shared.check()?;
        let lane = index(lane);
        let count = self.lanes[lane].windows.len() as u64;
        if self.lanes[lane].shipped - self.freed[lane] >= count {
            self.collect()?;
            if self.lanes[lane].shipped - self.freed[lane] >= count {
                return Ok(None);
            }
        }
        let sent = &mut self.lanes[lane];
        let slot = usize::try_from(sent.shipped % count).expect("under the number of windows");
        let window = sent.windows[slot].take();
        Ok(window.map(|mut window| {
            window.clear();
            window
        }))
    }

    fn ship(&mut self, lane: Lane, mut window: TxWindow) -> Result<(), PeerGone> {
        self.shared.check()?;
        let shared = &self.shared;
        let sent = &mut self.lanes[index(lane)];
        let (slot, messages) = (window.token() as usize, window.messages());
        let len = window.shipped(sent.shipped + 1, shared.wiring.ours.epoch, None).len();
        assert!(sent.windows[slot].is_none(), "window {slot} is shipped once");
        // The window lies here, out of everyone's reach, until it is taken again: not before its send was completed.
        sent.windows[slot] = Some(window);
        sent.shipped += 1;
        sent.messages += u64::from(messages);
        let mut sending = lock(&shared.sending);
        let result = shared.settle(&mut sending).and_then(|()| {
            let news = (sending.ours != sending.told).then_some(sending.ours);
            // SAFETY: V3: the bytes are written again only after `take`, which waits for `completed`.
            unsafe { shared.wiring.post_window(&shared.plan, index(lane), slot, len, news.as_ref()) }
                .map_err(super::Trouble::Refused)?;
            sending.told = sending.ours;
            Ok(())
        });
        drop(sending);
        shared.troubled(result)
    }

    fn lend(&mut self, _bytes: &Slice) -> Result<Option<Descriptor>, PeerGone> {
        self.shared.check()?;
        Ok(None)
    }

    fn unlend(&mut self, _descriptor: Descriptor) {}

    fn progress(&mut self) -> Result<(), PeerGone> {
        self.shared.check()?;
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(HEAR_EVERY) {
            self.shared.hear();
            self.shared.check()?;
        }
        self.shared.take_notes()?;
        self.collect()
    }

    fn is_drained(&mut self) -> Result<bool, PeerGone> {
        self.progress()?;
        // That its windows were given back may be told much later than that they were read.
        Ok((0..2).all(|lane| {
            let sent = &self.lanes[lane];
            self.freed[lane] == sent.shipped || self.heard.read[lane] == sent.messages
        }))
    }

    fn read_by_peer(&self, lane: Lane) -> u64 {
        let lane = index(lane);
        let mut heard = self.heard;
        heard.merge(&self.shared.notes());
        // A peer that claims more than there was is cut off when its notes are collected.
        heard.read[lane].min(self.lanes[lane].messages)
    }

    fn finish(&mut self) {
        if self.shared.gone.get().is_none() && !std::mem::replace(&mut self.finished, true) {
            let ours = lock(&self.shared.sending).ours;
            let finish = Hello::Finish([self.lanes[0].shipped, self.lanes[1].shipped], ours);
            let said = lock(&self.shared.control).say(&finish);
            if said.is_err() {
                self.shared.broken();
            }
        }
    }
}
