//! `fabric_raw`: windows of a channel that has nothing else. C fills one where it lies and ships it, or reads the peer's where it lies.
//!
//! One window at a time is out, for writing or for reading: the crate's own leases borrow the channel for as long as they live, and here the same is
//! kept by [`RawState`].
//!
//! Invariant:
//! - **W1** `lease` borrows from `channel`, whose address does not change, under a lifetime that the compiler does not see. While there is a lease nothing
//!   else touches `channel`; the lease is dropped before the channel; and one for writing, which holds a lock, is dropped on the thread that took it.

use std::ptr;
use std::thread::{self, ThreadId};

use fabric::channel::{Channel, RawChannel, RawReceived, RawWindow, Receiver};
use fabric::tli::Erase;

use crate::border::{ErrorBuffer, Fault, Handle, bytes_mut, call, deadline, enter, free, give, need, pick};
use crate::channel::StateOut;
use crate::received::{copy_bytes, give_copied};

/// A raw channel and the window that is out.
pub(crate) struct RawState {
    lease: Lease,
    channel: Box<RawChannel>,
}

/// What is out.
enum Lease {
    None,
    /// For writing, by this thread.
    Writing(RawWindow<'static>, ThreadId),
    Reading(RawReceived<'static>),
}

// SAFETY: the channel may move between threads; a window for writing is touched on its own thread only, which `RawState::writing` sees to (W1), and
// one for reading holds references to the channel alone.
unsafe impl Send for RawState {}

pub(crate) type RawHandle = Handle<RawState>;

impl RawState {
    pub(crate) fn new(channel: Channel, receiver: Receiver) -> Self {
        Self { lease: Lease::None, channel: Box::new(RawChannel::new(channel, receiver)) }
    }

    /// The channel, while no window is out.
    fn idle(&mut self) -> Result<&mut RawChannel, Fault> {
        match self.lease {
            Lease::None => Ok(&mut self.channel),
            Lease::Writing(..) => Err(Fault::misuse("a window is taken: ship or abandon it first")),
            Lease::Reading(_) => Err(Fault::misuse("a window is being read: dispose of it first")),
        }
    }

    /// As [`Self::idle`], for as long as a lease lives.
    ///
    /// # Safety
    /// W1: what is borrowed from the result goes into `lease` or is dropped at once.
    unsafe fn lend(&mut self) -> Result<&'static mut RawChannel, Fault> {
        let channel = ptr::from_mut(self.idle()?);
        // SAFETY: the channel lies in a box; W1.
        Ok(unsafe { &mut *channel })
    }

    /// Ends the lease for writing, on its thread.
    fn writing(&mut self) -> Result<RawWindow<'static>, Fault> {
        match std::mem::replace(&mut self.lease, Lease::None) {
            Lease::Writing(window, by) if by == thread::current().id() => Ok(window),
            other @ Lease::Writing(..) => {
                self.lease = other;
                Err(Fault::misuse("another thread took this window"))
            }
            other => {
                self.lease = other;
                Err(Fault::misuse("no window is taken"))
            }
        }
    }

    fn reading(&self) -> Result<&RawReceived<'static>, Fault> {
        match &self.lease {
            Lease::Reading(window) => Ok(window),
            _ => Err(Fault::misuse("no window is being read")),
        }
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_raw_free(raw: *mut RawHandle, error: *mut ErrorBuffer) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            if raw.is_null() {
                return Ok(());
            }
            let mut entered = enter(raw, "raw")?;
            if matches!(entered.lease, Lease::Writing(..)) {
                drop(entered.writing()?);
            }
            // W1: before the channel.
            entered.lease = Lease::None;
            drop(entered);
            free(raw, "raw").map(drop)
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_raw_window_bytes(
    raw: *mut RawHandle,
    bytes: *mut usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe { call(error, || give(bytes, "bytes", enter(raw, "raw")?.idle()?.window_bytes())) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_raw_take(
    raw: *mut RawHandle,
    timeout_ns: i64,
    data: *mut *mut u8,
    size: *mut usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3, C6; W1: the window goes into `lease`, or is dropped.
    unsafe {
        call(error, || {
            need(data, "data")?;
            need(size, "size")?;
            let mut raw = enter(raw, "raw")?;
            let mut window = raw.lend()?.take(deadline(timeout_ns))?;
            let bytes = window.bytes_mut()?;
            give(size, "size", bytes.len())?;
            give(data, "data", bytes.as_mut_ptr())?;
            raw.lease = Lease::Writing(window, thread::current().id());
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_raw_ship(
    raw: *mut RawHandle,
    length: usize,
    erase: i32,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            let erase = pick(erase, &[Erase::Keep, Erase::Zero], "erase")?;
            let mut raw = enter(raw, "raw")?;
            let mut window = raw.writing()?;
            let size = window.bytes_mut()?.len();
            if length > size {
                raw.lease = Lease::Writing(window, thread::current().id());
                return Err(Fault::misuse(format!("ship {length} bytes of a window of {size}")));
            }
            Ok(window.ship(length, erase)?)
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_raw_abandon(raw: *mut RawHandle, error: *mut ErrorBuffer) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            drop(enter(raw, "raw")?.writing()?);
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_raw_receive(
    raw: *mut RawHandle,
    timeout_ns: i64,
    data: *mut *const u8,
    length: *mut usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3, C6; W1: the window goes into `lease`, or is dropped.
    unsafe {
        call(error, || {
            need(data, "data")?;
            need(length, "length")?;
            let mut raw = enter(raw, "raw")?;
            let window = raw.lend()?.receive(deadline(timeout_ns))?;
            give(length, "length", window.len())?;
            give(data, "data", window.as_bytes().map_or(ptr::null(), <[u8]>::as_ptr))?;
            raw.lease = Lease::Reading(window);
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_raw_copy(
    raw: *mut RawHandle,
    buffer: *mut u8,
    size: usize,
    length: *mut usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C2, C3.
    unsafe {
        call(error, || {
            let into = bytes_mut(buffer, size, "buffer")?;
            let raw = enter(raw, "raw")?;
            let window = raw.reading()?;
            let copied = match window.as_bytes() {
                Some(bytes) => copy_bytes(bytes, into),
                None => copy_bytes(&window.to_vec(), into),
            };
            give_copied(length, copied)
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_raw_dispose(raw: *mut RawHandle, error: *mut ErrorBuffer) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            let mut raw = enter(raw, "raw")?;
            raw.reading()?;
            raw.lease = Lease::None;
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_raw_state(
    raw: *mut RawHandle,
    state: *mut StateOut,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe { call(error, || give(state, "state", StateOut::of(&enter(raw, "raw")?.idle()?.channel().state()))) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_raw_flush(raw: *mut RawHandle, timeout_ns: i64, error: *mut ErrorBuffer) -> i32 {
    // SAFETY: C1, C3.
    unsafe { call(error, || Ok(enter(raw, "raw")?.idle()?.channel().flush(deadline(timeout_ns))?)) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_raw_close(raw: *mut RawHandle, linger_ns: i64, error: *mut ErrorBuffer) -> i32 {
    // SAFETY: C1, C3.
    unsafe { call(error, || Ok(enter(raw, "raw")?.idle()?.channel().close(deadline(linger_ns))?)) }
}
