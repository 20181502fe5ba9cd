//! The adapter's side of a link: two queue pairs (a lane each), their completion queues, and the memory registered for them.
//!
//! The connector makes it and connects it; the link then works with it.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;

use fabric::memory::{Memory, Origin};
use fabric::tli::Lane;

use crate::hello::{Offer, Plan};
use crate::notes::{NOTE, Notes};
use crate::verbs::{Bell, Completions, Domain, Pair, PairSettings, Port, Reach, Region, Route, VerbsError, Work};

/// Buffers of the urgent lane beyond its windows, for notes: each uses one up until the receiver looks.
pub(crate) const NOTE_BUFFERS: usize = 8;

/// Where the note that came by a lane's pair lies: notes that came by different pairs may overtake each other.
const NOTE_STRIDE: usize = 64;
/// Bytes of the memory that the peer may write.
const PAGE: usize = 4096;
const _: () = assert!(NOTE <= NOTE_STRIDE && 2 * NOTE_STRIDE <= PAGE);

/// Identifies a note among completions; windows have their lane.
pub(crate) const NOTE_ID: u64 = u64::MAX;

/// The place of a lane in arrays.
pub(crate) fn index(lane: Lane) -> usize {
    match lane {
        Lane::Bulk => 0,
        Lane::Urgent => 1,
    }
}

/// All of it. The pairs come first, so that they are destroyed before the memory that their work names is given up (V3).
pub(crate) struct Wiring {
    /// Queue pairs, bulk lane first.
    pub(crate) pairs: [Pair; 2],
    /// Completions of sends of both pairs.
    pub(crate) sent: Arc<Completions>,
    /// Completions of receives, bulk lane first.
    pub(crate) received: [Arc<Completions>; 2],
    /// Rings for all of them.
    pub(crate) bell: Arc<Bell>,
    /// Windows to send.
    pub(crate) outgoing: [Region; 2],
    /// Buffers to receive into.
    pub(crate) incoming: [Region; 2],
    /// Notes from the peer.
    notes: Region,
    /// Our windows and the peer's.
    pub(crate) ours: Offer,
    pub(crate) theirs: Offer,
    packets: [u32; 2],
    from: (u8, u8),
}

impl Wiring {
    /// Makes everything and posts all buffers. `packets` are two random numbers of 24 bits.
    ///
    /// # Errors
    /// When the adapter or the kernel refuses.
    pub(crate) fn new(port: &Port, ours: Offer, theirs: Offer, packets: [u32; 2]) -> Result<Self, VerbsError> {
        let domain = Domain::new(port.adapter.clone())?;
        let bell = Bell::new(port.adapter.clone())?;
        // A window may have a note in front of it. Work that fails is completed though it asked for no completion, so all of it has room.
        let sends = [2 * ours.windows[0].count, 2 * ours.windows[1].count + 2];
        let receives = [buffers(&theirs, 0), buffers(&theirs, 1)];
        let sent = Completions::new(bell.clone(), sends[0] + sends[1])?;
        let received = [Completions::new(bell.clone(), receives[0])?, Completions::new(bell.clone(), receives[1])?];
        let outgoing = |lane: usize| {
            let memory = Memory::private(ours.windows[lane].bytes * ours.windows[lane].count);
            Region::register(domain.clone(), memory, Reach::Adapter)
        };
        let incoming = |lane: usize| {
            let memory = Memory::private(theirs.windows[lane].bytes * receives[lane]);
            Region::register(domain.clone(), memory, Reach::Adapter)
        };
        let pair = |lane: usize| {
            let settings = PairSettings { port: port.place.port, sends: sends[lane], receives: receives[lane] };
            Pair::new(domain.clone(), sent.clone(), received[lane].clone(), &settings)
        };
        let (outgoing, incoming) = ([outgoing(0)?, outgoing(1)?], [incoming(0)?, incoming(1)?]);
        let notes = Region::register(domain.clone(), page(), Reach::Peer)?;
        let pairs = [pair(0)?, pair(1)?];
        let from = (port.place.port, port.place.gid_index);
        let wiring = Self { pairs, sent, received, bell, outgoing, incoming, notes, ours, theirs, packets, from };
        for (lane, count) in receives.into_iter().enumerate() {
            for slot in 0..count {
                // SAFETY: V4: no window was made of any buffer yet. V3: `self` drops its pairs before its regions.
                unsafe { wiring.post_buffer(lane, slot) }?;
            }
        }
        Ok(wiring)
    }

    /// What the peer needs to know.
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            pairs: [self.pairs[0].number(), self.pairs[1].number()],
            packets: self.packets,
            notes_address: self.notes.memory().as_ptr().expose_provenance() as u64,
            notes_key: self.notes.remote_key(),
        }
    }

    /// Connects both pairs to the peer's.
    ///
    /// # Errors
    /// When the adapter or the kernel refuses, or finds no way to the peer.
    pub(crate) fn connect(&self, plan: &Plan) -> Result<(), VerbsError> {
        for (lane, pair) in self.pairs.iter().enumerate() {
            pair.connect(&Route {
                from: self.from,
                gid: self.theirs.gid,
                lid: self.theirs.lid,
                mtu: self.ours.mtu.min(self.theirs.mtu),
                number: plan.pairs[lane],
                packet_theirs: plan.packets[lane],
                packet_ours: self.packets[lane],
            })?;
        }
        Ok(())
    }

    /// Hands a buffer to the adapter.
    ///
    /// # Safety
    /// V4: nobody reads it until it is completed again.
    pub(crate) unsafe fn post_buffer(&self, lane: usize, slot: usize) -> Result<(), VerbsError> {
        let bytes = self.theirs.windows[lane].bytes;
        // SAFETY: V4 by the caller's promise; V3: `self` drops its pairs before its regions.
        unsafe { self.pairs[lane].post_receive(slot as u64, &self.incoming[lane], slot * bytes, bytes) }
    }

    /// Sends `len` bytes of an outgoing window, behind `note` if there is one: two pieces of work, one call.
    ///
    /// # Safety
    /// V3: the bytes stay as they are until the send was completed.
    pub(crate) unsafe fn post_window(
        &self,
        plan: &Plan,
        lane: usize,
        slot: usize,
        len: usize,
        note: Option<&Notes>,
    ) -> Result<(), VerbsError> {
        let start = slot * self.ours.windows[lane].bytes;
        let send = Work::Send { id: lane as u64, region: &self.outgoing[lane], start, len };
        // SAFETY: V3 by the caller's promise, and `self` drops its pairs before its regions.
        unsafe {
            match note {
                None => self.pairs[lane].post([send]),
                Some(note) => {
                    let bytes = &note.pack();
                    let write = Work::Write { bytes, address: note_address(plan, lane), key: plan.notes_key };
                    self.pairs[lane].post([write, send])
                }
            }
        }
    }

    /// Writes a note and wakes the peer. It goes by the urgent lane's pair, past bulk windows.
    pub(crate) fn post_note(&self, plan: &Plan, note: &Notes) -> Result<(), VerbsError> {
        let bytes = &note.pack();
        let address = note_address(plan, 1);
        let work = Work::WriteAndTell { id: NOTE_ID, bytes, address, key: plan.notes_key };
        // SAFETY: no bytes of a region are named.
        unsafe { self.pairs[1].post([work]) }
    }

    /// What the peer has told by now. Its adapter may be writing meanwhile, word by word; counters only grow, so a mixture is as good as either.
    pub(crate) fn notes(&self) -> Notes {
        let mut notes = Notes::default();
        for lane in 0..2 {
            let mut bytes = [0; NOTE];
            self.notes.memory().copy_out(lane * NOTE_STRIDE, &mut bytes);
            notes.merge(&Notes::parse(&bytes));
        }
        notes
    }
}

/// How many buffers of a lane are posted for the windows of `theirs`.
pub(crate) fn buffers(theirs: &Offer, lane: usize) -> usize {
    theirs.windows[lane].count + if lane == 1 { NOTE_BUFFERS } else { 0 }
}

fn note_address(plan: &Plan, lane: usize) -> u64 {
    plan.notes_address.wrapping_add((lane * NOTE_STRIDE) as u64)
}

/// A zeroed page that holds nothing but what the peer may write.
fn page() -> Memory {
    struct Page(NonNull<u8>);
    // SAFETY: it only frees.
    unsafe impl Send for Page {}
    // SAFETY: as above.
    unsafe impl Sync for Page {}
    impl Drop for Page {
        fn drop(&mut self) {
            // SAFETY: it was allocated below with this layout and is freed once.
            unsafe { dealloc(self.0.as_ptr(), LAYOUT) };
        }
    }
    const LAYOUT: Layout = match Layout::from_size_align(PAGE, PAGE) {
        Ok(layout) => layout,
        Err(_) => panic!("a page is aligned to itself"),
    };
    // SAFETY: the layout is not empty.
    let Some(base) = NonNull::new(unsafe { alloc_zeroed(LAYOUT) }) else { handle_alloc_error(LAYOUT) };
    // SAFETY: the page is aligned, of that length, and kept by what is passed along; it is foreign, for the peer writes it.
    unsafe { Memory::mapped(base, PAGE, Origin::Foreign, Arc::new(Page(base))) }
}
