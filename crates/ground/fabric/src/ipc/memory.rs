//! The two memories of a link: our own, which we alone write, and the peer's, which we map read-only after checking that it cannot shrink.

use std::any::Any;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::{FileType, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use super::hello::Hello;
use super::layout::{self, Layout};
use crate::arena::{Mapping, SEALS, sealed_memory};
use crate::memory::{Memory, Origin};
use crate::tli::WindowSettings;

/// The most that a peer's arena may take of our address space.
pub(crate) const ARENA_BYTES_MAX: usize = 64 << 30;
/// What a file in memory has as the type of its file system; huge pages have another, and could run out under a reader.
const TMPFS: i64 = 0x0102_1994;

/// Our memory of one link.
pub(crate) struct Own {
    pub(crate) memory: Memory,
    pub(crate) layout: Layout,
    pub(crate) epoch: u32,
    file: OwnedFd,
}

impl Own {
    /// Zeroed, sealed, and with `label` in front for tools.
    pub(crate) fn new(layout: Layout, label: &str) -> io::Result<Self> {
        let (file, mapping) = sealed_memory(c"fabric-link", layout.bytes())?;
        let (base, size) = (mapping.base, mapping.size);
        // SAFETY: by I1 the mapping is ours to write, whole words, and lives as long as it is kept.
        let memory = unsafe { Memory::mapped(base, size, Origin::Own, Arc::new(mapping)) };
        let epoch = (RandomState::new().hash_one(std::process::id()) as u32).max(1);
        let own = Self { memory, layout, epoch, file };
        own.write_head(&super::inspect::head(&own, label));
        Ok(own)
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Publishes a word; all that the calling thread wrote before is visible to who reads it.
    #[inline]
    pub(crate) fn set(&self, at: usize, word: u64) {
        // SAFETY: by I1 our memory; by I2 each word has one writer at a time, which is the caller.
        unsafe { self.memory.store(at, word) };
    }

    /// Fills the part in front, before the peer knows of the memory.
    fn write_head(&self, bytes: &[u8]) {
        let range = layout::HEAD.start..layout::HEAD.start + bytes.len();
        assert!(range.end <= layout::HEAD.end, "a head of {} bytes", bytes.len());
        // SAFETY: by I1 our memory; nobody else knows it yet, and nothing else refers to its head.
        unsafe { self.memory.bytes_mut(range) }.copy_from_slice(bytes);
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("layout", &self.layout).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The peer's memory of one link.
#[derive(Debug)]
pub(crate) struct Theirs {
    pub(crate) memory: Memory,
    pub(crate) layout: Layout,
    pub(crate) epoch: u32,
    /// Leases that it has out at most.
    pub(crate) leases: u32,
    pub(crate) arena: Option<TheirArena>,
}

/// The peer's arena.
#[derive(Debug)]
pub(crate) struct TheirArena {
    pub(crate) memory: Memory,
    pub(crate) windows: WindowSettings,
}

impl Theirs {
    /// Checks what the peer said against what it sent, and what we accept, and only then maps it.
    pub(crate) fn map(hello: &Hello, files: &[OwnedFd], accept: WindowSettings) -> Result<Self, String> {
        let bytes_max = accept.bytes.saturating_mul(accept.count).saturating_mul(2).saturating_add(1 << 24);
        for windows in [hello.urgent, hello.bulk] {
            if windows.bytes > accept.bytes || windows.count > accept.count {
                return Err(format!(
                    "{} windows of {} bytes where at most {} of {} are accepted",
                    windows.count, windows.bytes, accept.count, accept.bytes
                ));
            }
        }
        if hello.returns as usize > super::LEASES_MAX.next_power_of_two() || hello.leases as usize > super::LEASES_MAX {
            return Err(format!("{} leases where at most {} are possible", hello.leases, super::LEASES_MAX));
        }
        let layout = Layout::new(hello.urgent, hello.bulk, hello.returns as usize, bytes_max)
            .ok_or("windows of a size or number that no peer has")?;
        if hello.memory_bytes != layout.bytes() as u64 {
            return Err(format!("{} bytes of memory for windows that take {}", hello.memory_bytes, layout.bytes()));
        }
        let arena_bytes = hello.arena.bytes.checked_mul(hello.arena.count).filter(|bytes| *bytes <= ARENA_BYTES_MAX);
        let arena_bytes = arena_bytes.ok_or("an arena larger than any is accepted")?;
        let expected = if arena_bytes == 0 { 1 } else { 2 };
        if files.len() != expected {
            return Err(format!("{} files where {expected} belong", files.len()));
        }
        let memory = map(&files[0], layout.bytes())?;
        let arena = match files.get(1) {
            Some(file) => Some(TheirArena { memory: map(file, arena_bytes)?, windows: hello.arena }),
            None => None,
        };
        Ok(Self { memory, layout, epoch: hello.epoch, leases: hello.leases, arena })
    }

    /// Reads a word once, with acquire ordering.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> u64 {
        self.memory.load(at)
    }
}

/// Maps a file of the peer read-only, `size` bytes, if it can neither shrink nor be anything but plain memory.
pub(crate) fn map(file: &OwnedFd, size: usize) -> Result<Memory, String> {
    check_sealed(file.as_fd(), size as u64)?;
    // SAFETY: a new mapping, of an address that the system chooses.
    let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), size, ProtFlags::READ, MapFlags::SHARED, file, 0) };
    let base = base.map_err(|error| format!("map the peer's memory: {error}"))?;
    let base = NonNull::new(base.cast()).expect("a mapping is never at address 0");
    let keep: Arc<dyn Any + Send + Sync> = Arc::new(Mapping { base, size });
    // SAFETY: by I3 the file is plain memory of at least `size` bytes and stays so, and the mapping lives as long as it is kept. It may change at any
    // instant, hence `Foreign`.
    Ok(unsafe { Memory::mapped(base, size, Origin::Foreign, keep) })
}

/// I3: whether `file` is plain memory of exactly `size` bytes that can neither shrink nor grow nor be written by us.
pub(crate) fn check_sealed(file: BorrowedFd<'_>, size: u64) -> Result<(), String> {
    let found = rustix::fs::fstat(file).map_err(|error| format!("look at the peer's file: {error}"))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err("a file that is not memory".to_owned());
    }
    if u64::try_from(found.st_size) != Ok(size) {
        return Err(format!("a file of {} bytes where {size} were announced", found.st_size));
    }
    let system = rustix::fs::fstatfs(file).map_err(|error| format!("look at the peer's file: {error}"))?;
    if system.f_type as i64 != TMPFS {
        return Err("a file that is not plain memory".to_owned());
    }
    let seals = rustix::fs::fcntl_get_seals(file).unwrap_or(SealFlags::empty());
    if !seals.contains(SEALS) {
        return Err(format!("a file with seals {:#x} where {:#x} are needed", seals.bits(), SEALS.bits()));
    }
    Ok(())
}
