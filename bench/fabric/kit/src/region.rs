//! Memory that a process shares with the children it forks, and futexes in it.
//!
//! The bare lanes lie in it, and so does the gate that starts and ends every run. It must never be used by a row of a real library: those bring
//! their own memory.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Anonymous shared memory, zeroed and faulted in.
pub struct Region {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the region is plain memory; everything that is shared through it is atomic or guarded by a lane's own protocol.
unsafe impl Send for Region {}
// SAFETY: as for `Send`.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `bytes` of memory, rounded up to pages.
    ///
    /// # Panics
    /// When the kernel has no such memory.
    pub fn new(bytes: usize) -> Region {
        let bytes = bytes.next_multiple_of(4096);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        assert!(start != libc::MAP_FAILED, "mmap of {bytes} bytes: {}", io::Error::last_os_error());
        Region { start: NonNull::new(start.cast()).expect("mmap never returns null"), bytes }
    }

    /// The address of the byte at `offset`.
    #[inline(always)]
    pub fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset <= self.bytes);
        self.start.as_ptr().wrapping_add(offset)
    }

    /// The 32-bit word at `offset`.
    pub fn word32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.bytes);
        // SAFETY: by K1 and K2 this is an aligned word of a live mapping; an atomic may be shared.
        unsafe { &*self.at(offset).cast() }
    }

    /// The 64-bit word at `offset`.
    pub fn word64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.bytes);
        // SAFETY: as in `word32`.
        unsafe { &*self.at(offset).cast() }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with these bounds, and nothing borrowed from `self` outlives it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// Sleeps while `word` holds `value`; may return early.
pub fn futex_wait(word: &AtomicU32, value: u32) {
    let no_timeout = std::ptr::null::<libc::timespec>();
    // SAFETY: the word outlives the call, and the kernel only reads it.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, no_timeout) };
}

/// Wakes everybody who sleeps on `word`.
pub fn futex_wake(word: &AtomicU32) {
    // SAFETY: the kernel uses the address as a key only.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}
