//! Windows of memory, each filled by one writer, and the pool they come from.
//!
//! Sessions read from sockets into a [`Window`] and pass on what they filled as [`Slice`]s; the last of those returns it to its [`WindowPool`],
//! without waiting for anybody. The invariants R1 to R5 are those of `block`; two more:
//! - **R6** A block in the free list is held by nobody; returning threads only push, and only the holder of `taker` pops, so that the block
//!   on top cannot leave and come back (ABA) while it is being popped.
//! - **R7** A window holds one count of its block and is its one writer; `filled` never passes the block's size.

use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::PoisonError;

use crate::block::Block;
use crate::slice::Slice;
use crate::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Arc, Mutex, Padded};

/// A pool of windows of one size, shared by cloning. The window freed last is taken first, while it is warm.
#[derive(Clone)]
pub struct WindowPool {
    shared: Arc<PoolShared>,
}

/// What a [`WindowPool`] holds. Exact when no thread is taking or returning, else off by what is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStats {
    /// Size of a window in bytes.
    pub window_bytes: usize,
    /// Windows held by a [`Window`] or any [`Slice`].
    pub live: usize,
    /// Windows waiting to be taken again.
    pub free: usize,
    /// Windows taken since the pool was made.
    pub taken_total: u64,
}

impl PoolStats {
    /// Memory of all windows, live and free, in bytes.
    pub const fn bytes(&self) -> usize {
        (self.live + self.free) * self.window_bytes
    }
}

impl WindowPool {
    /// The usual size of a window in bytes: 64 KiB.
    pub const WINDOW_BYTES: usize = 64 << 10;

    /// A pool of windows of `window_bytes` each, none of them allocated yet. At most `keep` windows wait in the free list; the memory of others is
    /// given back to the allocator. How many are live is for the callers to bound.
    ///
    /// # Panics
    /// When `window_bytes` is 0, or 4 GiB or more.
    pub fn new(window_bytes: usize, keep: usize) -> Self {
        assert!(window_bytes > 0 && u32::try_from(window_bytes).is_ok(), "a window of {window_bytes} bytes");
        let shared = PoolShared {
            window_bytes,
            keep,
            taker: Mutex::new(()),
            taken: Padded(AtomicU64::new(0)),
            top: Padded(AtomicPtr::new(ptr::null_mut())),
            free: AtomicUsize::new(0),
            returned: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A window, from the free list if there is one, else allocated and zeroed. Its bytes may be those of its last use.
    pub fn take(&self) -> Window {
        let block = self.shared.pop().unwrap_or_else(|| Block::new(vec![0; self.shared.window_bytes]));
        self.shared.taken.0.fetch_add(1, Ordering::Relaxed);
        // SAFETY: a new block is ours alone, and so is one just popped (R6).
        unsafe { Block::lease(block, Some(Arc::clone(&self.shared))) };
        Window { block, filled: 0 }
    }

    /// A pool of exactly the windows of `blocks`, all of them free. [`Self::try_take`] is the way to take them.
    ///
    /// # Safety
    /// Nobody holds the blocks, and they lie in no list.
    pub(crate) unsafe fn of_blocks(window_bytes: usize, blocks: impl Iterator<Item = NonNull<Block>>) -> Self {
        let pool = Self::new(window_bytes, usize::MAX);
        for block in blocks {
            pool.shared.taken.0.fetch_add(1, Ordering::Relaxed);
            pool.shared.give_back(block);
        }
        pool
    }

    /// A window of the free list; `None` when it is empty.
    pub fn try_take(&self) -> Option<Window> {
        let block = self.shared.pop()?;
        self.shared.taken.0.fetch_add(1, Ordering::Relaxed);
        // SAFETY: just popped, so ours alone (R6).
        unsafe { Block::lease(block, Some(Arc::clone(&self.shared))) };
        Some(Window { block, filled: 0 })
    }

    /// What the pool holds.
    pub fn stats(&self) -> PoolStats {
        // `returned` first: a window returned in between counts as live a moment longer, and never as less than none.
        let returned = self.shared.returned.load(Ordering::Acquire);
        let taken = self.shared.taken.0.load(Ordering::Acquire);
        PoolStats {
            window_bytes: self.shared.window_bytes,
            live: usize::try_from(taken.saturating_sub(returned)).expect("live windows fit the address space"),
            free: self.shared.free.load(Ordering::Acquire),
            taken_total: taken,
        }
    }
}

impl fmt::Debug for WindowPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WindowPool").field(&self.stats()).finish()
    }
}

/// The pool's free list: a stack through the blocks themselves.
pub(crate) struct PoolShared {
    window_bytes: usize,
    keep: usize,
    /// Held while popping (R6); returning threads never touch it.
    taker: Mutex<()>,
    taken: Padded<AtomicU64>,
    top: Padded<AtomicPtr<Block>>,
    /// Places taken in the free list: never less than the blocks in it, and more only while one is on its way in or out.
    free: AtomicUsize,
    returned: AtomicU64,
}

// SAFETY: the pointers in `top` lead to blocks that nobody holds (R6), which may be used and freed on any thread.
unsafe impl Send for PoolShared {}
// SAFETY: pushing is a single compare-exchange and popping is alone under `taker` (R6).
unsafe impl Sync for PoolShared {}

impl PoolShared {
    /// Takes back a block that the calling thread owns alone; frees it when the list is full.
    pub(crate) fn give_back(&self, block: NonNull<Block>) {
        self.returned.fetch_add(1, Ordering::Relaxed);
        if self.free.fetch_add(1, Ordering::Relaxed) >= self.keep {
            self.free.fetch_sub(1, Ordering::Relaxed);
            // SAFETY: the caller owns the block alone and gives it up.
            unsafe { Block::free(block) };
            return;
        }
        let mut top = self.top.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: the block is ours alone until the exchange below succeeds.
            unsafe { block.as_ref() }.next.with_mut(|next| unsafe { *next = top });
            // Release: who pops the block sees `next` and all that its holders did. Pairs with the Acquire loads in `pop`.
            match self.top.0.compare_exchange_weak(top, block.as_ptr(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => top = seen,
            }
        }
    }

    fn pop(&self) -> Option<NonNull<Block>> {
        // Nothing under the lock can panic half-way, so a poisoned one is as good.
        let _alone = self.taker.lock().unwrap_or_else(PoisonError::into_inner);
        let mut top = self.top.0.load(Ordering::Acquire);
        loop {
            let block = NonNull::new(top)?;
            // SAFETY: by R6 the block stays in the list until we pop it, so it lives, and its `next` is not written meanwhile.
            let below = unsafe { block.as_ref() }.next.with(|next| unsafe { *next });
            match self.top.0.compare_exchange_weak(top, below, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => {
                    self.free.fetch_sub(1, Ordering::Relaxed);
                    return Some(block);
                }
                Err(seen) => top = seen,
            }
        }
    }
}

impl Drop for PoolShared {
    fn drop(&mut self) {
        while let Some(block) = self.pop() {
            // SAFETY: just popped, so ours alone (R6).
            unsafe { Block::free(block) };
        }
    }
}

/// The one writer of a window. It fills from front to back, and what is filled can be shared while the rest is still being written.
pub struct Window {
    block: NonNull<Block>,
    filled: usize,
}

// SAFETY: the writer may move to another thread; the count is atomic and the spare bytes are its own (R7).
unsafe impl Send for Window {}
// SAFETY: `&Window` gives the numbers only.
unsafe impl Sync for Window {}

impl Window {
    /// The bytes not yet filled. They are initialised, with zeros or with what an earlier use left: fill only what has been overwritten.
    pub fn spare(&mut self) -> &mut [u8] {
        let filled = self.filled;
        // SAFETY: by R7 we are the one writer and `filled` is the mark; the result borrows `self` exclusively, so there is one at a time.
        unsafe { self.block().spare(filled) }
    }

    /// How many bytes are not yet filled.
    pub fn room(&self) -> usize {
        self.block().size() - self.filled
    }

    /// How many bytes are filled.
    pub const fn filled(&self) -> usize {
        self.filled
    }

    /// Declares the next `n` bytes written: from now on nobody changes them. Returns them for sharing.
    ///
    /// # Panics
    /// When `n` is over the room left.
    pub fn fill(&mut self, n: usize) -> Slice {
        assert!(n <= self.room(), "fill {n} bytes of {}", self.room());
        if n == 0 {
            return Slice::empty();
        }
        let start = self.filled;
        self.filled += n;
        self.block().hold();
        // SAFETY: the count just added becomes the slice's; the range lies before the mark, so it is filled (R1).
        unsafe { Slice::adopt(self.block, start, n) }
    }

    /// Copies `bytes` in and fills them; `None`, and nothing changed, when there is not room for all.
    pub fn copy_in(&mut self, bytes: &[u8]) -> Option<Slice> {
        self.spare().get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(self.fill(bytes.len()))
    }

    /// Starts again at the front if no slice of the window is left, and says whether it did.
    pub fn try_rewind(&mut self) -> bool {
        let sole = self.block().is_sole();
        if sole {
            // R1: no slice is left, and only this window can make one.
            self.filled = 0;
        }
        sole
    }

    fn block(&self) -> &Block {
        // SAFETY: by R7 we hold a count, so the block lives.
        unsafe { self.block.as_ref() }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: by R7 we hold one count, and give it up here.
        unsafe { Block::release(self.block) };
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("filled", &self.filled).field("room", &self.room()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_window_freed_last_is_taken_first() {
        let pool = WindowPool::new(8, 2);
        let (mut first, mut second) = (pool.take(), pool.take());
        let (first_place, second_place) = (first.spare().as_ptr(), second.spare().as_ptr());
        drop(first);
        drop(second);
        assert_eq!(pool.take().spare().as_ptr(), second_place);
        let _second = pool.take();
        assert_eq!(pool.take().spare().as_ptr(), first_place);
    }

    #[test]
    fn no_more_windows_than_told_are_kept() {
        let pool = WindowPool::new(8, 2);
        let windows: Vec<Window> = (0..5).map(|_| pool.take()).collect();
        assert_eq!(pool.stats(), PoolStats { window_bytes: 8, live: 5, free: 0, taken_total: 5 });
        drop(windows);
        assert_eq!(pool.stats(), PoolStats { window_bytes: 8, live: 0, free: 2, taken_total: 5 });
        assert_eq!(pool.stats().bytes(), 16);
    }

    #[test]
    fn a_slice_keeps_the_window_out_of_the_pool() {
        let pool = WindowPool::new(8, 2);
        let slice = pool.take().copy_in(b"abc").expect("it is empty");
        assert_eq!((pool.stats().live, pool.stats().free), (1, 0));
        drop(slice);
        assert_eq!((pool.stats().live, pool.stats().free), (0, 1));
    }

    #[test]
    fn a_window_is_zeroed_once_and_filled_from_front_to_back() {
        let pool = WindowPool::new(8, 2);
        let mut window = pool.take();
        assert_eq!(window.spare(), [0; 8]);
        assert_eq!(window.copy_in(b"abc").expect("room for 8"), *b"abc");
        assert!(window.copy_in(b"defghi").is_none());
        assert_eq!((window.filled(), window.room()), (3, 5));
        assert_eq!(window.copy_in(b"defgh").expect("room for 5"), *b"defgh");
        assert!(window.fill(0).is_empty() && window.spare().is_empty());
    }

    #[test]
    #[should_panic(expected = "fill 9 bytes of 8")]
    fn a_window_cannot_be_filled_beyond_its_end() {
        let _ = WindowPool::new(8, 2).take().fill(9);
    }
}
