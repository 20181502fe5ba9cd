//! A module's link: the three parts that a channel has, over the functions of the table.
//!
//! Messages become visible when their window is shipped. The host writes the windows' headers and checks them at the other end, with their sequence,
//! so that a module that loses, repeats or reorders windows is found out.
//!
//! Invariant **C4**: the link was given by the module and was not freed; it is freed once, when the last part of it and the last window's memory are gone.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fabric::Slice;
use fabric::memory::Memory;
use fabric::tli::{
    Borrowed, Capabilities, Inlet, Lane, Link, Outlet, Peer, PeerGone, Reason, RxWindow, Tether, TxWindow, Violation,
};
use fabric::wire::{Bad, BadWindow, Descriptor, WINDOW_HEADER, WindowHeader};

use crate::pages::Pages;
use crate::table::{CLOSED, DIED, Functions, NONE, OK, RawPeer, RawWindow, SYSTEM, VIOLATION, until_zero};

/// What the parts of a link share.
struct Handle {
    functions: Functions,
    link: *mut c_void,
    peer: Peer,
    is_lost: AtomicBool,
    lost: Mutex<Option<Reason>>,
}

// SAFETY: by the rules of threads (C1) the functions that are called through `&Handle` from any thread may be; those that may not are called by the
// outlet and the inlet, each of which has one thread at a time.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: C4: this is the one time.
        unsafe { (self.functions.link_free)(self.link) };
    }
}

impl Handle {
    fn gone(&self, reason: Reason) -> PeerGone {
        PeerGone { peer: self.peer.name.clone(), reason }
    }

    /// Whether this side broke the link off.
    fn check(&self) -> Result<(), PeerGone> {
        if !self.is_lost.load(Ordering::Acquire) {
            return Ok(());
        }
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        Err(self.gone(lost.clone().unwrap_or(Reason::Left)))
    }

    fn break_off(&self, reason: Reason) -> PeerGone {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = lost.get_or_insert(reason).clone();
        drop(lost);
        if !self.is_lost.swap(true, Ordering::AcqRel) {
            // SAFETY: C1, C2, C4.
            unsafe { (self.functions.cut)(self.link) };
        }
        self.gone(reason)
    }

    /// `true` for `OK`, `false` for `NONE`.
    fn status(&self, status: c_int, operation: &'static str) -> Result<bool, PeerGone> {
        match status {
            OK => Ok(true),
            NONE => Ok(false),
            CLOSED => Err(self.gone(Reason::Closed)),
            DIED => Err(self.gone(Reason::Died)),
            VIOLATION => Err(self.gone(Reason::Violation(Violation::Link("found by the module")))),
            status if status < SYSTEM => {
                Err(self.gone(Reason::System { operation, errno: SYSTEM.saturating_sub(status) }))
            }
            _ => Err(self.break_off(Reason::Violation(Violation::Link("the module returned a status of no meaning")))),
        }
    }
}

/// Makes a link of the module's.
///
/// # Safety
/// C4.
pub(crate) unsafe fn link(functions: Functions, link: *mut c_void, capabilities: Capabilities) -> Link {
    let mut raw = RawPeer { name: [0; 128], pid: -1, user: -1 };
    // SAFETY: C1, C2, C4; `raw` is ours.
    unsafe { (functions.peer)(link, &raw mut raw) };
    let known = |number: i64| u32::try_from(number).ok();
    let peer = Peer { name: until_zero(&raw.name), pid: known(raw.pid), user: known(raw.user) };
    let handle = Handle { functions, link, peer, is_lost: AtomicBool::new(false), lost: Mutex::new(None) };
    let handle = Arc::new(handle);
    Link {
        outlet: Box::new(ModuleOutlet {
            handle: Arc::clone(&handle),
            pages: Pages::new(Arc::clone(&handle) as _),
            taken: [None; 2],
            sequence: [0; 2],
        }),
        inlet: Box::new(ModuleInlet {
            handle: Arc::clone(&handle),
            pages: Pages::new(Arc::clone(&handle) as _),
            held: [HashMap::new(), HashMap::new()],
            sequence: [0; 2],
            next: 0,
        }),
        tether: handle,
        capabilities,
    }
}

fn number(lane: Lane) -> u32 {
    match lane {
        Lane::Bulk => 0,
        Lane::Urgent => 1,
    }
}

const STRANGE_WINDOW: Violation = Violation::Link("the module handed out a window of a strange address or size");

struct ModuleOutlet {
    handle: Arc<Handle>,
    pages: Pages,
    /// As the module gave them, by lane.
    taken: [Option<RawWindow>; 2],
    sequence: [u64; 2],
}

// SAFETY: a `RawWindow` is an address and what the module calls it; its bytes are reached through the window's memory only.
unsafe impl Send for ModuleOutlet {}

impl Outlet for ModuleOutlet {
    fn take(&mut self, lane: Lane) -> Result<Option<TxWindow>, PeerGone> {
        self.handle.check()?;
        let mut raw = RawWindow::empty();
        // SAFETY: C1, C2, C4; `&mut self` is the one thread of the sending side.
        let status = unsafe { (self.handle.functions.take)(self.handle.link, number(lane), &raw mut raw) };
        if !self.handle.status(status, "take")? {
            return Ok(None);
        }
        // SAFETY: it was handed out just now.
        let Some(memory) = (unsafe { self.pages.memory(&raw) }) else {
            return Err(self.handle.break_off(Reason::Violation(STRANGE_WINDOW)));
        };
        self.taken[lane as usize] = Some(raw);
        // SAFETY: T1: by C1 the window is ours alone until it is shipped, and one of a lane is out at a time.
        Ok(Some(unsafe { TxWindow::lease(memory, number(lane), None) }))
    }

    fn ship(&mut self, lane: Lane, mut window: TxWindow) -> Result<(), PeerGone> {
        self.handle.check()?;
        let mut raw = self.taken[lane as usize].take().expect("a window is shipped after it was taken, and once");
        self.sequence[lane as usize] += 1;
        raw.used = window.shipped(self.sequence[lane as usize], 0, None).len() as u64;
        drop(window);
        // SAFETY: C1, C2, C4; nobody here refers to the window any more.
        let status = unsafe { (self.handle.functions.ship)(self.handle.link, number(lane), &raw const raw) };
        self.handle.status(status, "ship").map(|_| ())
    }

    fn lend(&mut self, _bytes: &Slice) -> Result<Option<Descriptor>, PeerGone> {
        self.handle.check()?;
        Ok(None)
    }

    fn unlend(&mut self, _descriptor: Descriptor) {
        unreachable!("nothing was lent");
    }

    fn progress(&mut self) -> Result<(), PeerGone> {
        self.handle.check()?;
        // SAFETY: C1, C2, C4.
        let status = unsafe { (self.handle.functions.progress)(self.handle.link) };
        self.handle.status(status, "progress").map(|_| ())
    }

    fn is_drained(&mut self) -> Result<bool, PeerGone> {
        self.handle.check()?;
        // SAFETY: C1, C2, C4.
        let status = unsafe { (self.handle.functions.drained)(self.handle.link) };
        self.handle.status(status, "drained")
    }

    fn read_by_peer(&self, lane: Lane) -> u64 {
        // SAFETY: C1, C2, C4.
        unsafe { (self.handle.functions.read_by_peer)(self.handle.link, number(lane)) }
    }

    fn finish(&mut self) {
        // SAFETY: C1, C2, C4.
        unsafe { (self.handle.functions.finish)(self.handle.link) };
    }
}

struct ModuleInlet {
    handle: Arc<Handle>,
    pages: Pages,
    /// Handed out and not disposed of, by lane and our name for it.
    held: [HashMap<u32, RawWindow>; 2],
    sequence: [u64; 2],
    next: u32,
}

// SAFETY: as for the outlet.
unsafe impl Send for ModuleInlet {}

impl ModuleInlet {
    /// Checks the header of a window that has come.
    fn check(&mut self, lane: Lane, raw: &RawWindow, memory: &Memory) -> Result<(), BadWindow> {
        let mut bytes = [0; WINDOW_HEADER];
        memory.copy_out(0, &mut bytes);
        let header = WindowHeader::parse(&bytes, memory.len())?;
        if u64::from(header.used) != raw.used || (header.used as usize) < WINDOW_HEADER {
            return Err(BadWindow::Used { used: header.used, size: raw.used as usize });
        }
        let expected = self.sequence[lane as usize] + 1;
        if header.sequence != expected {
            return Err(BadWindow::Sequence { found: header.sequence, expected });
        }
        self.sequence[lane as usize] = expected;
        Ok(())
    }
}

impl Inlet for ModuleInlet {
    fn receive(&mut self, lane: Lane) -> Result<Option<RxWindow>, PeerGone> {
        self.handle.check()?;
        let mut raw = RawWindow::empty();
        // SAFETY: C1, C2, C4; `&mut self` is the one thread of the receiving side.
        let status = unsafe { (self.handle.functions.receive)(self.handle.link, number(lane), &raw mut raw) };
        if !self.handle.status(status, "receive")? {
            return Ok(None);
        }
        // SAFETY: it was handed out just now.
        let Some(memory) = (unsafe { self.pages.memory(&raw) }) else {
            return Err(self.handle.break_off(Reason::Violation(STRANGE_WINDOW)));
        };
        if let Err(bad) = self.check(lane, &raw, &memory) {
            return Err(self.handle.break_off(Reason::Violation(Violation::Window(bad))));
        }
        let held = &mut self.held[lane as usize];
        while held.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        held.insert(self.next, raw);
        // SAFETY: by C1 the window does not change until it is disposed of.
        let window = unsafe { RxWindow::filled(memory, raw.used as usize, self.next) };
        self.next = self.next.wrapping_add(1);
        Ok(Some(window))
    }

    fn dispose(&mut self, lane: Lane, window: RxWindow) {
        let raw = self.held[lane as usize].remove(&window.token()).expect("a window is disposed of once, in its lane");
        drop(window);
        // SAFETY: C1, C2, C4; nobody here refers to the window any more.
        unsafe { (self.handle.functions.dispose)(self.handle.link, number(lane), &raw const raw) };
    }

    fn read(&mut self, lane: Lane, messages: u64) {
        // SAFETY: C1, C2, C4.
        unsafe { (self.handle.functions.read)(self.handle.link, number(lane), messages) };
    }

    fn borrow(&mut self, descriptor: Descriptor) -> Result<Borrowed, Violation> {
        // Nothing is ever lent over a module.
        Err(Violation::Message(Bad::Descriptor(descriptor)))
    }
}

impl Tether for Handle {
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: C1, C2, C4.
        let fd = unsafe { (self.functions.link_fd)(self.link) };
        // SAFETY: by C1 the descriptor is open while the link lives, to which the result is bound.
        (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    fn look(&self) -> Result<(), PeerGone> {
        // SAFETY: C1, C2, C4.
        let status = unsafe { (self.functions.look)(self.link) };
        self.check()?;
        self.status(status, "look").map(|_| ())
    }

    fn arm(&self) {
        // SAFETY: C1, C2, C4.
        unsafe { (self.functions.arm)(self.link) };
    }

    fn disarm(&self) {
        // SAFETY: C1, C2, C4.
        unsafe { (self.functions.disarm)(self.link) };
    }

    fn ring(&self) {
        // SAFETY: C1, C2, C4.
        unsafe { (self.functions.ring)(self.link) };
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn cut(&self, reason: Reason) {
        let _ = self.break_off(reason);
    }
}
