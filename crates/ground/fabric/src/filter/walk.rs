//! Follows the messages of a window through its memory, beside the encoder or decoder that owns the window.
//!
//! It only reads, and by the ways that are allowed on memory which another process may be writing: each word once, bytes by copying. What it finds
//! is checked as the decoder checks it; at the first thing that is wrong it stops, and leaves the judgement to the decoder.

use crate::memory::Memory;
use crate::wire::{END, MessageWord, WINDOW_HEADER};

/// A place in a window.
pub(super) struct Walk {
    memory: Memory,
    at: usize,
    broken: bool,
}

/// A message that lies whole in the window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) word: MessageWord,
    at: usize,
}

impl Walk {
    /// From the first message on.
    pub(super) fn new(memory: &Memory) -> Self {
        Self { memory: memory.clone(), at: WINDOW_HEADER, broken: false }
    }

    /// The next message that is whole and ends at or before `limit`; `None` when there is none yet, or none any more.
    pub(super) fn advance(&mut self, limit: usize) -> Option<Found> {
        let limit = limit.min(self.memory.len());
        if self.broken || self.at + 8 > limit {
            return None;
        }
        let word = self.memory.load(self.at);
        if word == 0 || word == END {
            return None;
        }
        let Ok(word) = MessageWord::parse(word, limit - self.at) else {
            self.broken = true;
            return None;
        };
        let found = Found { word, at: self.at };
        self.at += word.length as usize;
        Some(found)
    }

    /// The whole message, first word included, appended to `into`.
    pub(super) fn copy(&self, found: Found, into: &mut Vec<u8>) {
        let start = into.len();
        into.resize(start + found.word.length as usize, 0);
        into[start..start + 8].copy_from_slice(&found.word.pack().to_le_bytes());
        self.memory.copy_out(found.at + 8, &mut into[start + 8..]);
    }

    /// The body of the message, behind its first word, into `into`, which is as long.
    pub(super) fn copy_body(&self, found: Found, into: &mut [u8]) {
        self.memory.copy_out(found.at + 8, into);
    }
}
