//! Read-only bytes within a window, shared by counting.
//!
//! Everything that keeps or passes bytes holds a [`Slice`]: sessions, the journal, delivery. It never copies and never allocates, except in the two
//! constructors that say so. The invariants R1 to R5 are those of `block`; one more:
//! - **R6** A non-empty slice holds one count of its block, and `start..start + len` was filled before the slice was made. An empty one holds no block.

use std::fmt;
use std::mem;
use std::ops::{Deref, Range};
use std::ptr::NonNull;

use crate::block::Block;

/// Reference-counted read-only bytes, 16 bytes big. Clone and drop are one atomic operation each; the last one of a window, on whichever thread,
/// returns it to its pool.
///
/// A small slice keeps its whole window alive: copy what is kept for long and is much smaller ([`Slice::copy_from`]).
///
/// ```
/// let pool = fabric::WindowPool::new(fabric::WindowPool::WINDOW_BYTES, 16);
/// let mut window = pool.take();
/// window.spare()[..5].copy_from_slice(b"hello");
/// let mut hello = window.fill(5);
/// let world = window.copy_in(b" world").expect("the window has room");
/// assert!(hello.try_join(&world));
/// assert_eq!(&hello[..], b"hello world");
/// ```
pub struct Slice {
    block: Option<NonNull<Block>>,
    start: u32,
    len: u32,
}

const _: () = assert!(size_of::<Slice>() == 16);

// SAFETY: the bytes are only read (R1), the count is atomic, and the last holder on any thread owns the block (R3).
unsafe impl Send for Slice {}
// SAFETY: as above; `&Slice` gives only reads and counting.
unsafe impl Sync for Slice {}

impl Slice {
    /// No bytes; allocates nothing.
    pub const fn empty() -> Self {
        Self { block: None, start: 0, len: 0 }
    }

    /// Takes over `bytes` as memory of its own, outside of any pool. Allocates the header only.
    ///
    /// # Panics
    /// When `bytes` is 4 GiB or longer.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() {
            return Self::empty();
        }
        let block = Block::new(bytes);
        // SAFETY: the block is new, so it is ours alone.
        unsafe { Block::lease(block, None) };
        // SAFETY: it lives: we hold the count just made.
        let len = unsafe { block.as_ref() }.size();
        // SAFETY: the count becomes the slice's, and nobody will write the vector's bytes again.
        unsafe { Self::adopt(block, 0, len) }
    }

    /// Copies `bytes` into memory of its own, outside of any pool.
    ///
    /// # Panics
    /// When `bytes` is 4 GiB or longer.
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self::from_vec(bytes.to_vec())
    }

    /// Makes a slice of a count that the caller holds.
    ///
    /// # Safety
    /// The caller gives its count to the slice; `start..start + len` is not empty, lies in the block and was filled.
    pub(crate) unsafe fn adopt(block: NonNull<Block>, start: usize, len: usize) -> Self {
        debug_assert!(len > 0);
        // A block is shorter than 4 GiB, so neither is cut.
        Self { block: Some(block), start: start as u32, len: len as u32 }
    }

    /// Length in bytes.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are no bytes.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes of `range`, shared.
    ///
    /// # Panics
    /// When `range` does not lie within `0..len`.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of a slice of {} bytes", self.len());
        match self.block {
            Some(block) if !range.is_empty() => {
                // SAFETY: by R6 we hold a count, so the block lives.
                unsafe { block.as_ref() }.hold();
                // SAFETY: the count just added becomes the new slice's, and a part of a filled range is filled.
                unsafe { Self::adopt(block, self.start as usize + range.start, range.len()) }
            }
            _ => Self::empty(),
        }
    }

    /// Cuts the first `n` bytes off and returns them.
    ///
    /// # Panics
    /// When `n` is over the length.
    pub fn split_to(&mut self, n: usize) -> Self {
        if n == self.len() {
            return mem::take(self);
        }
        let head = self.slice(0..n);
        self.advance(n);
        head
    }

    /// Forgets the first `n` bytes. When none are left the window is let go.
    ///
    /// # Panics
    /// When `n` is over the length.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len(), "advance by {n} in a slice of {} bytes", self.len());
        if n == self.len() {
            *self = Self::empty();
        } else {
            self.start += n as u32;
            self.len -= n as u32;
        }
    }

    /// Grows over `next` when that lies directly behind in the same window, and says whether it did. An empty slice on either side always joins.
    pub fn try_join(&mut self, next: &Self) -> bool {
        if next.is_empty() {
            return true;
        }
        if self.is_empty() {
            *self = next.clone();
            return true;
        }
        let joins = self.block == next.block && self.start + self.len == next.start;
        if joins {
            self.len += next.len;
        }
        joins
    }

    /// Has the whole window, or the memory of its own, zeroed when the last slice and the writer have let go of it.
    pub fn erase_at_last(&self) {
        if let Some(block) = self.block {
            // SAFETY: by R6 we hold a count, so the block lives.
            unsafe { block.as_ref() }.erase_at_last();
        }
    }

    /// The bytes; also by `Deref`.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self.block {
            // SAFETY: by R6 the range was filled and the block lives as long as `self`, to which the result is bound.
            Some(block) => unsafe { block.as_ref().filled(self.start as usize, self.len()) },
            None => &[],
        }
    }
}

impl Clone for Slice {
    #[inline]
    fn clone(&self) -> Self {
        if let Some(block) = self.block {
            // SAFETY: by R6 we hold a count, so the block lives; the count added is the clone's.
            unsafe { block.as_ref() }.hold();
        }
        Self { block: self.block, start: self.start, len: self.len }
    }
}

impl Drop for Slice {
    #[inline]
    fn drop(&mut self) {
        if let Some(block) = self.block {
            // SAFETY: by R6 we hold one count, and give it up here.
            unsafe { Block::release(block) };
        }
    }
}

impl Default for Slice {
    fn default() -> Self {
        Self::empty()
    }
}

impl Deref for Slice {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for Slice {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Slice {}

impl PartialEq<[u8]> for Slice {
    fn eq(&self, other: &[u8]) -> bool {
        self.as_bytes() == other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Slice {
    fn eq(&self, other: &[u8; N]) -> bool {
        self.as_bytes() == other
    }
}

impl fmt::Debug for Slice {
    /// The length and the first bytes: a body may be large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 32;
        let shown = &self.as_bytes()[..self.len().min(SHOWN)];
        let more = if self.len() > SHOWN { "…" } else { "" };
        write!(f, "Slice({} B, \"{}\"{more})", self.len(), shown.escape_ascii())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_holds_no_block() {
        let slice = Slice::copy_from(b"abc");
        let mut cut = slice.clone();
        assert_eq!(cut.split_to(3), *b"abc");
        let mut advanced = slice.clone();
        advanced.advance(3);
        for empty in
            [Slice::empty(), Slice::default(), Slice::from_vec(Vec::with_capacity(9)), slice.slice(1..1), cut, advanced]
        {
            assert!(empty.block.is_none() && empty.is_empty() && empty.as_bytes().is_empty(), "{empty:?}");
        }
    }

    #[test]
    fn a_vector_is_taken_over_without_a_copy() {
        let vector = b"no copy".to_vec();
        let place = vector.as_ptr();
        assert_eq!(Slice::from_vec(vector).as_ptr(), place);
    }

    #[test]
    #[should_panic(expected = "2..4 of a slice of 3 bytes")]
    fn a_range_beyond_the_end_is_refused() {
        let _ = Slice::copy_from(b"abc").slice(2..4);
    }

    #[test]
    #[should_panic(expected = "advance by 4 in a slice of 3 bytes")]
    fn an_advance_beyond_the_end_is_refused() {
        Slice::copy_from(b"abc").advance(4);
    }

    #[test]
    fn debug_shows_the_beginning_only() {
        assert_eq!(format!("{:?}", Slice::copy_from(b"\"a\r\n")), r#"Slice(4 B, "\"a\r\n")"#);
        assert_eq!(format!("{:?}", Slice::from_vec(vec![b'x'; 100])), format!("Slice(100 B, \"{}\"…)", "x".repeat(32)));
    }
}
