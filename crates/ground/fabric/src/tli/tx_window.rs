//! A window being filled: messages are laid into it one behind the other, and each becomes visible by one store.
//!
//! The encoder fills it; links make it and ship it.
//!
//! Invariants:
//! - **T1** A `TxWindow` is the one writer of its memory, which is [`Origin::Own`](crate::memory::Origin::Own) (M3): links lend a stretch to one
//!   `TxWindow` at a time, and take it back only when the reader has disposed of it or is gone.
//! - **T2** `WINDOW_HEADER ≤ at ≤ len - 8`. Bytes before `at` are committed and not written again while the window is out; the reader may be reading
//!   them. Bytes from `at + 8` on are ours alone. The word at `at` is 0 or not yet reached by the reader until `commit` or `end` stores it.
//! - **T3** The word behind a message is zeroed before the message's own word is stored (FABRIC R7): the reader, having read it, finds "nothing yet".

use std::fmt;

use super::super::wire::{END, WINDOW_HEADER, WindowHeader};
use crate::memory::Memory;
use crate::sync::atomic::{Ordering, fence};

/// A window leased for writing.
pub struct TxWindow {
    memory: Memory,
    at: usize,
    token: u32,
    messages: u32,
    sleeper: Option<Memory>,
}

impl TxWindow {
    /// Leases `memory` for writing; `token` is the link's name for it. When messages are visible on commit, `sleeper` is the word by which the
    /// reader says that it sleeps ([`Self::peer_sleeps`]).
    ///
    /// # Safety
    /// T1: `memory` is [`Origin::Own`](crate::memory::Origin::Own), and nobody else writes it, nor reads what is not committed, while the result lives.
    ///
    /// # Panics
    /// When the memory has no room for a header and one word, or is not ours.
    pub unsafe fn lease(memory: Memory, token: u32, sleeper: Option<Memory>) -> Self {
        assert!(memory.len() >= WINDOW_HEADER + 16, "a window of {} bytes", memory.len());
        assert_eq!(memory.origin(), crate::memory::Origin::Own, "a window to write is in our own memory");
        Self { memory, at: WINDOW_HEADER, token, messages: 0, sleeper }
    }

    /// A window in private memory of its own, for links that ship bytes: see [`Self::shipped`] and [`Self::clear`].
    ///
    /// # Panics
    /// When `bytes` has no room for a header and one word.
    pub fn private(bytes: usize, token: u32) -> Self {
        // SAFETY: the memory is new, and only this window knows it.
        unsafe { Self::lease(Memory::private(bytes), token, None) }
    }

    /// The link's name for it.
    pub fn token(&self) -> u32 {
        self.token
    }

    /// Size in bytes.
    pub fn size(&self) -> usize {
        self.memory.len()
    }

    /// Bytes used so far, header included.
    pub fn used(&self) -> usize {
        self.at
    }

    /// Messages committed so far.
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// The longest message that still fits.
    #[inline]
    pub fn room(&self) -> usize {
        self.memory.len() - self.at - 8
    }

    /// The message to be committed next, behind its first word: `length - 8` bytes, left by earlier uses, all to be written.
    ///
    /// # Panics
    /// When `length` is over [`Self::room`], under 16 or not a multiple of 8.
    #[inline]
    pub fn body_mut(&mut self, length: usize) -> &mut [u8] {
        assert!(
            length <= self.room() && length >= 16 && length.is_multiple_of(8),
            "a message of {length} bytes, room {}",
            self.room()
        );
        // SAFETY: by T2 these bytes are ours alone, and the result borrows `self` exclusively.
        unsafe { self.memory.bytes_mut(self.at + 8..self.at + length) }
    }

    /// Makes the message of `length` bytes visible whose body was written, by storing its first word. Nothing of it may be written afterwards.
    ///
    /// # Panics
    /// As [`Self::body_mut`].
    #[inline]
    pub fn commit(&mut self, length: usize, word: u64) {
        assert!(
            length <= self.room() && length >= 16 && length.is_multiple_of(8),
            "a message of {length} bytes, room {}",
            self.room()
        );
        // SAFETY: by T2 and the check above both words lie within and are ours to write: T3 in this order.
        unsafe {
            self.memory.store(self.at + length, 0);
            self.memory.store(self.at, word);
        }
        self.at += length;
        self.messages += 1;
    }

    /// Closes the window for readers that see messages one by one: they go on with the next.
    pub fn end(&mut self) {
        // SAFETY: by T2 the word at `at` lies within and is ours to write.
        unsafe { self.memory.store(self.at, END) };
    }

    /// For links with messages visible on commit: writes the header, empties the window, and last publishes the sequence, by which readers
    /// recognise that it is this use of the window (a stale word of an earlier use lies behind another sequence).
    ///
    /// # Safety
    /// No reader reads the window's messages until it has seen the sequence that is published here.
    pub unsafe fn begin(&mut self, header: &WindowHeader) {
        self.at = WINDOW_HEADER;
        self.messages = 0;
        let bytes = header.pack();
        // SAFETY: by the caller's promise nobody reads these words yet but the sequence, which is stored last.
        unsafe {
            self.memory.store(WINDOW_HEADER, 0);
            for at in [0, 8, 24] {
                self.memory.store(at, word_at(&bytes, at));
            }
            self.memory.store(16, word_at(&bytes, 16));
        }
    }

    /// For links that ship bytes: writes the header, with used bytes, messages and, if `checksum` is given, the sum of what follows it, and lends all
    /// that is to be sent.
    pub fn shipped(&mut self, sequence: u64, epoch: u32, checksum: Option<fn(&[u8]) -> u32>) -> &[u8] {
        self.shipped_with(0, sequence, epoch, checksum)
    }

    /// As [`Self::shipped`], with the header's `flags`, which are the link's.
    pub fn shipped_with(&mut self, flags: u8, sequence: u64, epoch: u32, checksum: Option<fn(&[u8]) -> u32>) -> &[u8] {
        // SAFETY: bytes before `at` are committed, and nobody writes them while `self` is borrowed.
        let body = unsafe { self.memory.bytes(WINDOW_HEADER..self.at) };
        let used = u32::try_from(self.at).expect("a window is shorter than 4 GiB");
        let crc32c = checksum.map_or(0, |sum| sum(body));
        let header = WindowHeader { flags, used, messages: self.messages, sequence, crc32c, epoch };
        // SAFETY: the window was not shipped yet, so nobody else reads it (T1); the mutable reference ends here.
        unsafe { self.memory.bytes_mut(0..WINDOW_HEADER) }.copy_from_slice(&header.pack());
        self.committed()
    }

    /// The header and all that was committed behind it.
    pub fn committed(&self) -> &[u8] {
        // SAFETY: by T1 this window is the one writer, by T2 it writes these bytes only through `&mut self`.
        unsafe { self.memory.bytes(0..self.at) }
    }

    /// For links that ship bytes: empties the window for its next use.
    pub fn clear(&mut self) {
        self.at = WINDOW_HEADER;
        self.messages = 0;
    }

    /// Zeroes what an earlier use left.
    pub fn wipe(&mut self) {
        let end = self.memory.len();
        // SAFETY: by T2 the bytes behind the word at `at` are ours alone.
        unsafe { self.memory.bytes_mut(self.at + 8..end) }.fill(0);
    }

    /// The memory below, for registration with devices and the kernel.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The reader's sleep word: odd while it sleeps and wants to be rung for this value; 0 where nobody needs to be rung.
    ///
    /// Call it after the last commit of a burst. The fence is the partner of the one in the reader's `arm`: either it sees what was committed, or
    /// we see it asleep.
    #[inline]
    pub fn peer_sleeps(&self) -> u64 {
        let Some(word) = &self.sleeper else { return 0 };
        fence(Ordering::SeqCst);
        word.load(0)
    }
}

fn word_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl fmt::Debug for TxWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxWindow")
            .field("token", &self.token)
            .field("used", &self.at)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
