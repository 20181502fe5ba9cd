//! The counted memory behind windows and slices: a header in private memory and, elsewhere, the bytes.
//!
//! Only `window` and `slice` use it. The header never lies among the bytes, so that an arena of shared memory can take their place.
//!
//! Invariants:
//! - **R1** A byte has one writer or any number of readers, never both: bytes before the window's `filled` mark are only read, those behind it
//!   belong to the one `Window`. The mark moves forward only, unless the window is the sole holder.
//! - **R2** A block lives while its count is not 0; each `Window` and each non-empty `Slice` holds exactly one count.
//! - **R3** Whoever takes the count to 0 owns the block alone, after an acquire fence that pairs with the release of every other holder.
//! - **R4** Every byte of `bytes..bytes + size` is initialised from the start and stays so.
//! - **R5** No reference to all of the bytes exists while the block is shared: each side makes one to its own range, from the raw pointer.

use std::any::Any;
use std::mem::{self, ManuallyDrop};
use std::process;
use std::ptr::{self, NonNull};

use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use crate::sync::{Arc, ByteWatch, UnsafeCell};
use crate::window::PoolShared;

/// Beyond this many holders something leaks them, and the count is about to wrap.
const HOLDERS_MAX: usize = isize::MAX as usize;

pub(crate) struct Block {
    count: AtomicUsize,
    bytes: NonNull<u8>,
    size: u32,
    ground: Ground,
    /// The pool to return to; none while the block lies there, and none ever for a block of its own.
    home: UnsafeCell<Option<Arc<PoolShared>>>,
    /// The block below in the pool's free list.
    pub(crate) next: UnsafeCell<*mut Block>,
    /// Whether the last holder zeroes the bytes.
    erase: AtomicBool,
    watch: ByteWatch,
}

/// What the bytes belong to.
enum Ground {
    /// A vector that was taken apart.
    Heap { capacity: usize },
    /// A mapping that lives as long as this.
    Mapped { _keep: std::sync::Arc<dyn Any + Send + Sync> },
}

impl Block {
    /// Makes a block of mapped memory that nobody holds yet.
    ///
    /// # Safety
    /// `bytes..bytes + size` is initialised (R4), is reached by this block alone, and lives as long as `keep`.
    pub(crate) unsafe fn mapped(
        bytes: NonNull<u8>,
        size: u32,
        keep: std::sync::Arc<dyn Any + Send + Sync>,
    ) -> NonNull<Self> {
        let block = Box::new(Self {
            count: AtomicUsize::new(0),
            bytes,
            size,
            ground: Ground::Mapped { _keep: keep },
            home: UnsafeCell::new(None),
            next: UnsafeCell::new(ptr::null_mut()),
            erase: AtomicBool::new(false),
            watch: ByteWatch::new(size as usize),
        });
        NonNull::from(Box::leak(block))
    }

    /// Puts `bytes` into a block that nobody holds yet.
    ///
    /// # Panics
    /// When `bytes` is 4 GiB or longer: ranges are 32 bits wide.
    pub(crate) fn new(bytes: Vec<u8>) -> NonNull<Self> {
        let size = u32::try_from(bytes.len()).expect("a block is shorter than 4 GiB");
        let mut bytes = ManuallyDrop::new(bytes);
        let block = Box::new(Self {
            count: AtomicUsize::new(0),
            bytes: NonNull::new(bytes.as_mut_ptr()).expect("a vector's pointer is never null"),
            size,
            ground: Ground::Heap { capacity: bytes.capacity() },
            home: UnsafeCell::new(None),
            next: UnsafeCell::new(ptr::null_mut()),
            erase: AtomicBool::new(false),
            watch: ByteWatch::new(bytes.len()),
        });
        NonNull::from(Box::leak(block))
    }

    /// Frees a block and its bytes.
    ///
    /// # Safety
    /// The caller owns `block` alone (its count is 0 and it lies in no list) and gives it up.
    pub(crate) unsafe fn free(block: NonNull<Self>) {
        // SAFETY: `new` leaked this box, and by the caller's promise nobody else reaches it.
        let block = unsafe { Box::from_raw(block.as_ptr()) };
        block.watch.write(0, block.size as usize);
        if let Ground::Heap { capacity } = block.ground {
            // SAFETY: pointer and capacity came from the vector that `new` took apart; length 0 is always valid.
            drop(unsafe { Vec::from_raw_parts(block.bytes.as_ptr(), 0, capacity) });
        }
    }

    /// Turns an owned, unheld block into one with a single holder, which returns to `home` afterwards.
    ///
    /// # Safety
    /// The caller owns `block` alone.
    pub(crate) unsafe fn lease(block: NonNull<Self>, home: Option<Arc<PoolShared>>) {
        // SAFETY: the caller owns the block alone.
        let this = unsafe { block.as_ref() };
        // SAFETY: as above, so nobody else is in the cell.
        this.home.with_mut(|slot| unsafe { *slot = home });
        this.count.store(1, Ordering::Relaxed);
    }

    /// One holder more. Relaxed is enough: the new holder gets at the block through the old one, which still holds its count.
    pub(crate) fn hold(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) >= HOLDERS_MAX {
            process::abort();
        }
    }

    /// One holder less; the last one sends the block home.
    ///
    /// # Safety
    /// The caller holds a count and gives it up: it does not touch `block` afterwards.
    pub(crate) unsafe fn release(block: NonNull<Self>) {
        // Release: what this holder read or wrote comes before whatever the last holder does (R3).
        // SAFETY: by R2 the block lives while the caller's count is held.
        if unsafe { (*block.as_ptr()).count.fetch_sub(1, Ordering::Release) } != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: by R3 the block is ours alone.
        if unsafe { (*block.as_ptr()).erase.load(Ordering::Relaxed) } {
            // SAFETY: as above.
            unsafe { Self::zero(block) };
        }
        // SAFETY: by R3 the block is ours alone.
        let home = unsafe { (*block.as_ptr()).home.with_mut(|home| mem::take(&mut *home)) };
        match home {
            Some(pool) => pool.give_back(block),
            // SAFETY: by R3 as above, and a block without a home lies in no list.
            None => unsafe { Self::free(block) },
        }
    }

    /// Has the last holder zero all bytes before they are used again. Relaxed is enough: the caller's release comes after it, and orders it before
    /// the last holder's look (R3).
    pub(crate) fn erase_at_last(&self) {
        self.erase.store(true, Ordering::Relaxed);
    }

    /// Zeroes all bytes, also when they are freed next and the compiler could prove that nobody reads them.
    ///
    /// # Safety
    /// The caller owns `block` alone.
    unsafe fn zero(block: NonNull<Self>) {
        // SAFETY: the caller owns the block alone.
        let this = unsafe { block.as_ref() };
        this.watch.write(0, this.size());
        // SAFETY: as above; the bytes are the block's (R4).
        unsafe { ptr::write_bytes(this.bytes.as_ptr(), 0, this.size()) };
        // The address escapes here, so the writes are kept.
        std::hint::black_box(this.bytes.as_ptr());
        this.erase.store(false, Ordering::Relaxed);
    }

    /// Whether the caller, who holds a count, is the only holder.
    pub(crate) fn is_sole(&self) -> bool {
        // Pairs with the Release in `release`: the other holders' reads come before the caller's next writes (R3).
        self.count.load(Ordering::Acquire) == 1
    }

    pub(crate) fn size(&self) -> usize {
        self.size as usize
    }

    /// The `len` bytes from `start`.
    ///
    /// # Safety
    /// The range was filled (R1), and the caller holds a count for as long as the result lives.
    #[inline]
    pub(crate) unsafe fn filled<'a>(&self, start: usize, len: usize) -> &'a [u8] {
        debug_assert!(start + len <= self.size());
        self.watch.read(start, len);
        // SAFETY: filled bytes lie within the block, are initialised (R4) and are written by nobody (R1); the reference covers nothing else (R5).
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().add(start), len) }
    }

    /// The bytes from `start` to the end.
    ///
    /// # Safety
    /// The caller is the block's one writer, `start` is its `filled` mark, and it makes one such reference at a time while it holds its count.
    #[inline]
    pub(crate) unsafe fn spare<'a>(&self, start: usize) -> &'a mut [u8] {
        debug_assert!(start <= self.size());
        let len = self.size() - start;
        self.watch.write(start, len);
        // SAFETY: bytes behind the mark are initialised (R4) and reached by the writer alone (R1); the reference covers nothing else (R5).
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_ptr().add(start), len) }
    }
}
