//! Memory that one party writes while another reads: the ground under windows.
//!
//! Windows of every transport lie in it: private heap memory for `inproc:` and sockets, a mapping for `ipc:` and modules. It never decides who may
//! touch what; the windows over it do, and their proofs stand there.
//!
//! Invariants:
//! - **M1** `base` is 8-byte aligned, and `base..base + len` is one live mapping or allocation for as long as `keep` lives; the first word of every
//!   8 bytes may be reached as an `AtomicU64`.
//! - **M2** Bytes of a part whose `origin` is [`Origin::Foreign`] may change at any instant: they are reached by volatile or opaque copies only,
//!   never by reference (FABRIC R6). It may be mapped read-only: nothing here writes to it.
//! - **M3** Bytes of a [`Origin::Own`] part are written by this process alone, by the one window that leases them.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::sync::{ByteWatch, CommitWords};

/// Who can write the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This process alone, for as long as the memory lives.
    Own,
    /// Another process, at any instant.
    Foreign,
}

/// A shared stretch of memory; clones and parts refer to the same bytes.
#[derive(Clone)]
pub struct Memory {
    base: NonNull<u8>,
    len: usize,
    origin: Origin,
    words: CommitWords,
    watch: Arc<ByteWatch>,
    /// Where this part begins in the whole; only the loom build needs it.
    offset: usize,
    _keep: Arc<dyn Any + Send + Sync>,
}

// SAFETY: a `Memory` is an address and a promise that it stays mapped (M1); reaching the bytes is for windows, which hold the proofs.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// `len` bytes of zeroed heap memory, rounded up to whole words.
    pub fn private(len: usize) -> Self {
        // Kept as a raw part, from which all else is derived: a box that is moved would be the only way to its bytes.
        let words = Box::into_raw(vec![0u64; len.div_ceil(8)].into_boxed_slice());
        let base = NonNull::new(words.cast::<u8>()).expect("a box is never null");
        let len = words.len() * 8;
        let keep = Arc::new(Heap { words });
        Self {
            base,
            len,
            origin: Origin::Own,
            words: CommitWords::new(len / 8),
            watch: Arc::new(ByteWatch::new(len)),
            offset: 0,
            _keep: keep,
        }
    }

    /// Memory that something else keeps: a mapping, a registered buffer.
    ///
    /// # Safety
    /// M1 holds for `base`, `len` and `keep`, and M3 or M2 as `origin` says.
    pub unsafe fn mapped(base: NonNull<u8>, len: usize, origin: Origin, keep: Arc<dyn Any + Send + Sync>) -> Self {
        assert!(
            base.as_ptr().addr().is_multiple_of(8) && len.is_multiple_of(8),
            "memory of windows is aligned to words"
        );
        Self {
            base,
            len,
            origin,
            words: CommitWords::new(len / 8),
            watch: Arc::new(ByteWatch::new(len)),
            offset: 0,
            _keep: keep,
        }
    }

    /// A part of it.
    ///
    /// # Panics
    /// When `range` is not within, or does not lie on words.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len, "part {range:?} of {} bytes", self.len);
        assert!(range.start.is_multiple_of(8) && range.end.is_multiple_of(8), "part {range:?} lies on words");
        // SAFETY: `start` lies within (just checked), so the sum stays in the allocation (M1).
        let base = unsafe { self.base.add(range.start) };
        Self { base, len: range.end - range.start, offset: self.offset + range.start, ..self.clone() }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Who can write it.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The address of the first byte, for registration with devices and the kernel.
    pub fn as_ptr(&self) -> *const u8 {
        self.base.as_ptr()
    }

    /// Reads the word at `at` with acquire ordering.
    ///
    /// # Panics
    /// When `at` is not a word within.
    #[inline]
    pub(crate) fn load(&self, at: usize) -> u64 {
        assert!(at.is_multiple_of(8) && at < self.len, "word at {at} of {} bytes", self.len);
        // SAFETY: by M1 the aligned word lies within and lives; atomic loads are allowed on read-only mappings of x86-64 and aarch64.
        unsafe { self.words.load(self.base, self.offset, at) }
    }

    /// As [`Self::load`].
    ///
    /// # Safety
    /// `at` is a word within.
    #[inline]
    pub(crate) unsafe fn load_unchecked(&self, at: usize) -> u64 {
        debug_assert!(at.is_multiple_of(8) && at < self.len);
        // SAFETY: by the caller's promise and M1.
        unsafe { self.words.load(self.base, self.offset, at) }
    }

    /// Stores the word at `at` with release ordering.
    ///
    /// # Safety
    /// The memory is [`Origin::Own`] and the caller is the one window that leases the word (M3).
    #[inline]
    pub(crate) unsafe fn store(&self, at: usize, word: u64) {
        debug_assert!(at.is_multiple_of(8) && at < self.len && self.origin == Origin::Own);
        // SAFETY: by M1 the aligned word lies within and lives, and by the caller's promise it is ours to write.
        unsafe { self.words.store(self.base, self.offset, at, word) }
    }

    /// Stores `new` where `current` is, with acquire and release ordering; else, and now and then for no reason, returns what is there.
    ///
    /// # Safety
    /// The memory is [`Origin::Own`], and the word is one that any thread of this process may write, in this way only.
    #[inline]
    pub(crate) unsafe fn exchange(&self, at: usize, current: u64, new: u64) -> Result<u64, u64> {
        debug_assert!(at.is_multiple_of(8) && at < self.len && self.origin == Origin::Own);
        // SAFETY: by M1 the aligned word lies within and lives, and by the caller's promise it is ours to write.
        unsafe { self.words.exchange(self.base, self.offset, at, current, new) }
    }

    /// The bytes of `range`, for writing.
    ///
    /// # Safety
    /// The memory is [`Origin::Own`], the caller leases `range` for writing, and no other reference to it lives as long as the result.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "the lease, not the borrow, makes it exclusive: see Safety")]
    pub(crate) unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end && range.end <= self.len, "bytes {range:?} of {}", self.len);
        self.watch.write(self.offset + range.start, range.end - range.start);
        // SAFETY: within by the check above (M1), exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(range.start), range.end - range.start) }
    }

    /// The bytes of `range`, for reading.
    ///
    /// # Safety
    /// Nobody writes `range` while the result lives: the memory is [`Origin::Own`] and the range was committed, or its writer is trusted to keep
    /// what it committed.
    #[inline]
    pub(crate) unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len, "bytes {range:?} of {}", self.len);
        self.watch.read(self.offset + range.start, range.end - range.start);
        // SAFETY: within by the check above (M1), unchanging by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(range.start), range.end - range.start) }
    }

    /// Copies bytes out that may change meanwhile: each is read once. What arrives may be a mixture of old and new, so check the copy.
    ///
    /// # Panics
    /// When the bytes from `at` are not within.
    #[inline]
    pub fn copy_out(&self, at: usize, into: &mut [u8]) {
        assert!(at <= self.len && into.len() <= self.len - at, "copy {} bytes from {at} of {}", into.len(), self.len);
        self.watch.read(self.offset + at, into.len());
        // SAFETY: by the check above the source lies within (M1), and `into` is ours.
        unsafe { opaque_copy(self.base.as_ptr().add(at), into.as_mut_ptr(), into.len()) }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("len", &self.len).field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Owner of private memory.
struct Heap {
    words: *mut [u64],
}

// SAFETY: it only frees.
unsafe impl Send for Heap {}
// SAFETY: as above.
unsafe impl Sync for Heap {}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: `private` took this box apart, and by M1 nobody reaches the bytes once `keep` is gone.
        drop(unsafe { Box::from_raw(self.words) });
    }
}

/// Copies bytes that another process may be writing. The compiler sees neither the reads nor what they return, so that it can assume nothing of them.
///
/// # Safety
/// `from..from + len` is mapped, `to..to + len` is the caller's to write, and they do not overlap.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
unsafe fn opaque_copy(from: *const u8, to: *mut u8, len: usize) {
    /// From here the string instruction is faster than a loop.
    const STRING_FROM: usize = 1024;
    if len >= STRING_FROM {
        // SAFETY: it reads `len` bytes from `from` and writes them to `to`, as the caller promised; the direction flag is clear by the ABI.
        unsafe {
            std::arch::asm!("rep movsb", inout("rcx") len => _, inout("rsi") from => _, inout("rdi") to => _, options(nostack, preserves_flags));
        }
        return;
    }
    let mut at = 0;
    while at + 32 <= len {
        // SAFETY: 32 bytes from `at` lie within both; unaligned moves; SSE2 belongs to x86-64.
        unsafe {
            std::arch::asm!(
                "movdqu {a}, [{from}]",
                "movdqu {b}, [{from} + 16]",
                "movdqu [{to}], {a}",
                "movdqu [{to} + 16], {b}",
                a = out(xmm_reg) _, b = out(xmm_reg) _,
                from = in(reg) from.add(at), to = in(reg) to.add(at),
                options(nostack, preserves_flags)
            );
        }
        at += 32;
    }
    while at + 8 <= len {
        // SAFETY: 8 bytes from `at` lie within both; the processor needs no alignment.
        unsafe {
            std::arch::asm!("mov {t}, [{from}]", "mov [{to}], {t}", t = out(reg) _,
                from = in(reg) from.add(at), to = in(reg) to.add(at), options(nostack, preserves_flags));
        }
        at += 8;
    }
    while at < len {
        // SAFETY: `at` lies within both.
        unsafe { to.add(at).write(from.add(at).read_volatile()) };
        at += 1;
    }
}

/// As above, by volatile words where both are aligned.
///
/// # Safety
/// As above.
#[cfg(any(not(target_arch = "x86_64"), miri))]
unsafe fn opaque_copy(from: *const u8, to: *mut u8, len: usize) {
    let mut at = 0;
    if from.addr().is_multiple_of(8) {
        while at + 8 <= len {
            // SAFETY: 8 bytes from `at` lie within both, and `from + at` is aligned.
            unsafe { to.add(at).cast::<u64>().write_unaligned(from.add(at).cast::<u64>().read_volatile()) };
            at += 8;
        }
    }
    while at < len {
        // SAFETY: `at` lies within both.
        unsafe { to.add(at).write(from.add(at).read_volatile()) };
        at += 1;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_alignment_is_copied_exactly() {
        let memory = Memory::private(4096);
        // SAFETY: nobody else reaches this memory.
        unsafe { memory.bytes_mut(0..4096) }.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at % 251) as u8);
        for len in (0..100).chain([1000, 1023, 1024, 1025, 3000]) {
            for at in [0, 1, 7, 8, 31] {
                let mut into = vec![0xee; len + 2];
                memory.copy_out(at, &mut into[1..=len]);
                assert_eq!((into[0], into[len + 1]), (0xee, 0xee));
                assert!(
                    into[1..=len].iter().enumerate().all(|(n, byte)| *byte == ((at + n) % 251) as u8),
                    "{len} from {at}"
                );
            }
        }
    }

    #[test]
    #[should_panic(expected = "part 8..32 of 16 bytes")]
    fn a_part_beyond_the_end_is_refused() {
        let _ = Memory::private(16).part(8..32);
    }
}
