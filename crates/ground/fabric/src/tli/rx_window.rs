//! A window being read: messages come out of it one behind the other.
//!
//! The decoder reads it; links make it and take it back.
//!
//! Invariants:
//! - **X1** `WINDOW_HEADER ≤ at ≤ limit ≤ memory.len()`, `at` and `limit` lie on words; bytes before `at` have been read and are not read again.
//! - **X2** Bytes from `at` on are reached only when the word at `at` announced them, and that word is copied once, checked, and used (FABRIC R2).
//! - **X3** [`Self::in_place`] is true only when the bytes cannot change while they are read: private memory that was filled before, memory that
//!   only this process writes, or a peer that the channel was told to trust, of the same user.

use std::fmt;

use super::super::wire::{END, WINDOW_HEADER};
use crate::memory::Memory;

/// A window leased for reading.
pub struct RxWindow {
    memory: Memory,
    at: usize,
    limit: usize,
    token: u32,
    in_place: bool,
}

impl RxWindow {
    /// A window of shared memory, whose messages become visible one by one.
    ///
    /// # Safety
    /// `in_place` is as X3 has it; committed messages stay as they are until the window is disposed of, if it is true.
    pub unsafe fn shared(memory: Memory, token: u32, in_place: bool) -> Self {
        let limit = memory.len();
        Self { memory, at: WINDOW_HEADER, limit, token, in_place }
    }

    /// A window of private memory that holds `used` bytes, header included, and that nobody writes while the result lives: a link takes the
    /// memory back by [`Self::into_memory`].
    ///
    /// # Safety
    /// Nobody writes `memory` while the result lives.
    ///
    /// # Panics
    /// When `used` is not within.
    pub unsafe fn filled(memory: Memory, used: usize, token: u32) -> Self {
        assert!(used >= WINDOW_HEADER && used <= memory.len(), "{used} bytes used of {}", memory.len());
        // What does not fill a word is no message.
        let limit = used - used % 8;
        Self { memory, at: WINDOW_HEADER, limit, token, in_place: true }
    }

    /// A window in private memory of its own, filled by `fill`, which says how many bytes it used, header included. For links that copy bytes in.
    ///
    /// # Panics
    /// When `fill` says less than the header or more than `bytes`.
    pub fn private(bytes: usize, token: u32, fill: impl FnOnce(&mut [u8]) -> usize) -> Self {
        let memory = Memory::private(bytes);
        // SAFETY: the memory is new and known here only; the mutable reference ends before the window is made.
        let used = fill(unsafe { memory.bytes_mut(0..bytes) });
        // SAFETY: as above.
        unsafe { Self::filled(memory, used, token) }
    }

    /// Fills private memory anew, for its next use.
    ///
    /// # Panics
    /// When the window is not in private memory of its own, and as [`Self::private`].
    #[must_use]
    pub fn refill(self, fill: impl FnOnce(&mut [u8]) -> usize) -> Self {
        assert_eq!(self.memory.origin(), crate::memory::Origin::Own, "a foreign window is not filled here");
        let size = self.memory.len();
        // SAFETY: the window is consumed, so nobody reads it; the mutable reference ends before the next window is made.
        let used = fill(unsafe { self.memory.bytes_mut(0..size) });
        // SAFETY: as above.
        unsafe { Self::filled(self.memory, used, self.token) }
    }

    /// The link's name for it.
    pub fn token(&self) -> u32 {
        self.token
    }

    /// Size in bytes.
    pub fn size(&self) -> usize {
        self.memory.len()
    }

    /// The sequence that stands in its header now, read anew: that of its next use, when it was given back and taken again.
    pub fn sequence(&self) -> u64 {
        self.memory.load(16)
    }

    /// How far it has been read, header included.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes that the next message may have at most.
    #[inline]
    pub fn room(&self) -> usize {
        self.limit - self.at
    }

    /// Whether messages may be read where they lie.
    #[inline]
    pub fn in_place(&self) -> bool {
        self.in_place
    }

    /// The next message's first word, read anew: 0 when it is not there yet, [`END`] when none comes any more.
    #[inline]
    pub fn word(&self) -> u64 {
        if self.limit - self.at < 8 {
            return END;
        }
        // SAFETY: by X1 and the check above the word lies within.
        unsafe { self.memory.load_unchecked(self.at) }
    }

    /// The body of the next message: `length - 8` bytes behind its first word, where they lie.
    ///
    /// # Panics
    /// When `length` is under 8 or over [`Self::room`], or when [`Self::in_place`] is false.
    #[inline]
    pub fn body(&self, length: usize) -> &[u8] {
        assert!(length >= 8 && length <= self.room() && self.in_place, "a body of {length} bytes in place");
        // SAFETY: by X3 these bytes stay as they are, and by X2 they were committed before the word that announced them.
        unsafe { self.memory.bytes(self.at + 8..self.at + length) }
    }

    /// Copies the body of the next message out, each byte read once. `into` becomes `length - 8` long.
    ///
    /// # Panics
    /// When `length` is under 8 or over [`Self::room`].
    #[inline]
    pub fn copy_body(&self, length: usize, into: &mut Vec<u8>) {
        assert!(length >= 8 && length <= self.room(), "a body of {length} bytes, room {}", self.room());
        let len = length - 8;
        if into.len() < len {
            into.resize(len, 0);
        }
        into.truncate(len);
        self.memory.copy_out(self.at + 8, into);
    }

    /// As [`Self::copy_body`], into `length - 8` bytes that are there.
    ///
    /// # Panics
    /// When `length` is not 8 more than the bytes of `into`, or over [`Self::room`].
    #[inline]
    pub fn copy_body_to(&self, length: usize, into: &mut [u8]) {
        assert!(length == into.len() + 8 && length <= self.room(), "a body of {length} bytes, room {}", self.room());
        self.memory.copy_out(self.at + 8, into);
    }

    /// The message of `length` bytes has been read.
    ///
    /// # Panics
    /// When `length` is over [`Self::room`].
    #[inline]
    pub fn advance(&mut self, length: usize) {
        assert!(length <= self.room() && length.is_multiple_of(8), "advance by {length} of {}", self.room());
        self.at += length;
    }

    /// The memory below.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Gives the memory back.
    pub fn into_memory(self) -> Memory {
        self.memory
    }
}

impl fmt::Debug for RxWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxWindow")
            .field("token", &self.token)
            .field("read", &self.at)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
