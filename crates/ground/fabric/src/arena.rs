//! An arena: shared memory of one owner, cut into windows that are filled here and read by peers where they lie.
//!
//! The owner writes, everyone else maps it read-only: it is a sealed memfd without a name (FABRIC R0, R5). Channels lend slices of its windows;
//! a window is free again when the last slice here and the last lease of a peer are gone.
//!
//! Invariants:
//! - **A1** The mapping is made before the file is sealed against writing by others, is `count × window_bytes` long, and lives until the last block
//!   of it is freed. No other writable mapping exists or can be made.
//! - **A2** Window `n` is `n × window_bytes..(n + 1) × window_bytes`, and belongs to exactly one block.

use std::any::Any;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::block::Block;
use crate::slice::Slice;
use crate::window::{PoolStats, Window, WindowPool};

/// Windows in memory that peers can map.
pub struct Arena {
    file: OwnedFd,
    base: NonNull<u8>,
    window_bytes: usize,
    count: usize,
    pool: WindowPool,
}

// SAFETY: `base` is an address to compare with; bytes are reached through the pool's windows.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Makes an arena of `count` windows of `window_bytes` each, rounded up to whole pages. Pages are taken from the system when first written.
    ///
    /// # Errors
    /// When the system refuses memory or descriptors, or a size is out of range.
    pub fn new(window_bytes: usize, count: usize) -> io::Result<Self> {
        let window_bytes = window_bytes.next_multiple_of(rustix::param::page_size());
        let size = window_bytes.checked_mul(count).filter(|size| *size > 0 && u32::try_from(window_bytes).is_ok());
        let size =
            size.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an arena of no or too many bytes"))?;
        let (file, mapping) = sealed_memory(c"fabric-arena", size)?;
        let base = mapping.base;
        let keep: Arc<dyn Any + Send + Sync> = Arc::new(mapping);
        let blocks = (0..count).map(|index| {
            // SAFETY: by A1 and A2 these bytes are mapped, zeroed, and belong to this block alone; `keep` is the mapping.
            unsafe { Block::mapped(base.add(index * window_bytes), window_bytes as u32, Arc::clone(&keep)) }
        });
        // SAFETY: the blocks are new.
        let pool = unsafe { WindowPool::of_blocks(window_bytes, blocks) };
        Ok(Self { file, base, window_bytes, count, pool })
    }

    /// A free window, the one returned last first; `None` while all are in use.
    pub fn take(&self) -> Option<Window> {
        self.pool.try_take()
    }

    /// Size of a window in bytes.
    pub fn window_bytes(&self) -> usize {
        self.window_bytes
    }

    /// Number of windows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What is in use and what is free.
    pub fn stats(&self) -> PoolStats {
        self.pool.stats()
    }

    /// The file, for the peer to map: sealed, of `window_bytes × count` bytes.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// In which window `bytes` lie and from which offset; `None` when they are not of this arena.
    pub fn locate(&self, bytes: &Slice) -> Option<(usize, usize)> {
        let at = bytes.as_ptr().addr().checked_sub(self.base.as_ptr().addr())?;
        (at < self.window_bytes * self.count && !bytes.is_empty())
            .then(|| (at / self.window_bytes, at % self.window_bytes))
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("window_bytes", &self.window_bytes)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// A mapping of shared memory; unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) base: NonNull<u8>,
    pub(crate) size: usize,
}

// SAFETY: it owns an address range and only unmaps it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by this value's maker, and who reaches the bytes holds this value.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.size) };
        debug_assert!(unmapped.is_ok(), "a mapping can be unmapped");
    }
}

/// The seals that every file given to a peer has.
pub(crate) const SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// Zeroed shared memory that this process alone can write, and its file for others to map read-only.
pub(crate) fn sealed_memory(name: &std::ffi::CStr, size: usize) -> io::Result<(OwnedFd, Mapping)> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL)
        // Kernels before 6.3 do not know the flag.
        .or_else(|_| rustix::fs::memfd_create(name, flags))?;
    rustix::fs::ftruncate(&file, size as u64)?;
    // SAFETY: a new mapping, of an address that the system chooses.
    let base = unsafe {
        rustix::mm::mmap(std::ptr::null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)
    }?;
    let mapping = Mapping { base: NonNull::new(base.cast()).expect("a mapping is never at address 0"), size };
    rustix::fs::fcntl_add_seals(&file, SEALS)?;
    Ok((file, mapping))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_taken_until_none_is_left_and_come_back() {
        let arena = Arena::new(4096, 3).expect("memory");
        let windows: Vec<_> = std::iter::from_fn(|| arena.take()).collect();
        assert_eq!((windows.len(), arena.stats().free), (3, 0));
        drop(windows);
        assert_eq!((arena.stats().free, arena.stats().live), (3, 0));
    }

    #[test]
    fn a_slice_is_found_by_its_place() {
        let arena = Arena::new(4096, 2).expect("memory");
        let (mut first, mut second) = (arena.take().expect("free"), arena.take().expect("free"));
        let slices = [first.copy_in(b"abc").expect("room"), second.copy_in(b"abcdef").expect("room").slice(2..4)];
        let mut places: Vec<_> = slices.iter().map(|slice| arena.locate(slice).expect("within")).collect();
        places.sort_unstable();
        assert!(places == [(0, 0), (1, 2)] || places == [(0, 2), (1, 0)], "{places:?}");
        assert_eq!(arena.locate(&Slice::copy_from(b"elsewhere")), None);
    }

    #[test]
    fn nobody_else_can_write_it_or_cut_it() {
        let arena = Arena::new(4096, 1).expect("memory");
        assert_eq!(rustix::fs::fcntl_get_seals(arena.file()).expect("seals") & SEALS, SEALS);
        rustix::fs::ftruncate(arena.file(), 0).expect_err("sealed against shrinking");
        // SAFETY: a new mapping, if it were made.
        let mapped = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), 4096, ProtFlags::WRITE, MapFlags::SHARED, arena.file(), 0)
        };
        mapped.expect_err("sealed against further writers");
        rustix::io::pwrite(arena.file(), b"x", 0).expect_err("sealed against writing");
    }
}
