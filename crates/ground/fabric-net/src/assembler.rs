//! Cuts the stream of a connection into windows and control frames. It is pure: bytes are put where it says, and it says what they were.
//!
//! ```text
//!  socket ─► stash (16 KiB) ──copy──► small windows, the beginnings of large ones, control frames
//!       └──────── in place ─────────► the rest of a large window, and up to 512 bytes of what follows
//! ```
//!
//! A window of more than the stash is read where it will be handed out, all but its first bytes; the 512 bytes beyond its end are the next header,
//! so that a stream of large windows costs one system call each. Everything that a peer says is checked against what was agreed: no more windows
//! than it has credit for, none larger, in sequence, of this connection. It holds no more memory than that, whatever arrives.

use std::collections::VecDeque;
use std::ptr::NonNull;

use fabric::memory::Memory;
use fabric::tli::{RxWindow, Violation};
use fabric::wire::{BadWindow, MAGIC, WINDOW_HEADER, WindowHeader};

use crate::buffer::Buffer;
use crate::control::{CONTROL_BYTES, CONTROL_MAGIC, Control, ControlKind};
use crate::hello::{Checksums, Grant};

/// Flag of a window header: it belongs to the urgent lane.
pub(crate) const URGENT_FLAG: u8 = 1;
const STASH_BYTES: usize = 16 << 10;
const AHEAD_BYTES: usize = 512;

/// Where the next bytes of the stream go.
pub(crate) struct Space {
    /// The first of them.
    pub(crate) at: NonNull<u8>,
    /// How many there may be; never 0.
    pub(crate) len: usize,
}

/// What kind of memory a place lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Within {
    /// A window's, which will be used again for others.
    Window,
    /// The assembler's own.
    Stash,
}

/// What the assembler is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Windows that the peer may have out: bulk, urgent.
    pub(crate) grants: [Grant; 2],
    /// Whether they carry a checksum.
    pub(crate) checksums: Checksums,
    /// What stands in every frame of the peer.
    pub(crate) epoch: u32,
    /// By what our windows are recognised when they come back.
    pub(crate) token: u32,
}

/// One direction of a conversation, as it arrives.
pub(crate) struct Assembler {
    stash: Buffer,
    start: usize,
    end: usize,
    partial: Option<Partial>,
    lanes: [LaneIn; 2],
    terms: Terms,
    finished: bool,
}

/// A window of which bytes are missing.
struct Partial {
    lane: usize,
    buffer: Buffer,
    filled: usize,
    header: WindowHeader,
}

struct LaneIn {
    ready: VecDeque<RxWindow>,
    free: Vec<Buffer>,
    /// Windows begun, in total: the sequence of the last one.
    begun: u64,
    /// Messages in windows that are whole, in total.
    messages: u64,
    disposed: u64,
}

impl Assembler {
    pub(crate) fn new(terms: Terms) -> Self {
        let lane = || LaneIn { ready: VecDeque::new(), free: Vec::new(), begun: 0, messages: 0, disposed: 0 };
        Self {
            stash: Buffer::new(STASH_BYTES),
            start: 0,
            end: 0,
            partial: None,
            lanes: [lane(), lane()],
            terms,
            finished: false,
        }
    }

    /// Where the next bytes go. The place stays the same, untouched, until [`Self::took`].
    pub(crate) fn space(&mut self) -> Space {
        let (buffer, range) = self.target();
        Space { at: buffer.address(range.start), len: range.len() }
    }

    /// The same place, as a slice.
    pub(crate) fn space_mut(&mut self) -> &mut [u8] {
        let (buffer, range) = self.target();
        &mut buffer.bytes_mut()[range]
    }

    /// The memory in which the place lies, and whether it is a window's.
    pub(crate) fn space_memory(&self) -> (&Memory, Within) {
        match &self.partial {
            Some(partial) => (partial.buffer.memory(), Within::Window),
            None => (self.stash.memory(), Within::Stash),
        }
    }

    fn target(&mut self) -> (&mut Buffer, std::ops::Range<usize>) {
        if let Some(partial) = &mut self.partial {
            let range = partial.filled..partial.header.used as usize + AHEAD_BYTES;
            return (&mut partial.buffer, range);
        }
        if self.start > 0 {
            // Less than a control frame is left over.
            self.stash.bytes_mut().copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        (&mut self.stash, self.end..STASH_BYTES)
    }

    /// `count` bytes were put into the place that [`Self::space`] named. Each control frame among them is passed to `on_control`.
    ///
    /// # Errors
    /// What no peer sends. The stream ends there.
    pub(crate) fn took(
        &mut self,
        count: usize,
        mut on_control: impl FnMut(&Self, Control) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        match self.partial.take() {
            None => self.end += count,
            Some(mut partial) => {
                partial.filled += count;
                let used = partial.header.used as usize;
                if partial.filled < used {
                    self.partial = Some(partial);
                    return Ok(());
                }
                // What lies behind the window begins the next frame; the stash is empty while a window is partial.
                let ahead = partial.filled - used;
                self.stash.bytes_mut()[..ahead].copy_from_slice(&partial.buffer.bytes()[used..used + ahead]);
                (self.start, self.end) = (0, ahead);
                self.complete(partial)?;
            }
        }
        while self.partial.is_none() {
            match self.cut()? {
                Cut::Window => {}
                Cut::Control(control) => on_control(self, control)?,
                Cut::Short => break,
            }
        }
        Ok(())
    }

    /// The next frame of the stash.
    fn cut(&mut self) -> Result<Cut, Violation> {
        let bytes = &self.stash.bytes()[self.start..self.end];
        let Some(head) = bytes.first_chunk::<WINDOW_HEADER>() else { return Ok(Cut::Short) };
        let magic = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        match magic {
            MAGIC => self.begin(*head).map(|()| Cut::Window),
            CONTROL_MAGIC => {
                let Some(frame) = bytes.first_chunk::<CONTROL_BYTES>() else { return Ok(Cut::Short) };
                let control = Control::parse(frame).map_err(Violation::Link)?;
                self.start += CONTROL_BYTES;
                if control.epoch != self.terms.epoch {
                    return Err(Violation::Link("a control frame of another connection"));
                }
                if self.finished {
                    return Err(Violation::Link("a control frame behind the last one"));
                }
                self.finished = control.kind == ControlKind::Finish;
                Ok(Cut::Control(control))
            }
            other => Err(Violation::Window(BadWindow::Magic(other))),
        }
    }

    /// A window begins in the stash.
    fn begin(&mut self, head: [u8; WINDOW_HEADER]) -> Result<(), Violation> {
        let lane = usize::from(head[5] & URGENT_FLAG);
        let grant = self.terms.grants[lane];
        let header = WindowHeader::parse(&head, grant.bytes).map_err(Violation::Window)?;
        let state = &mut self.lanes[lane];
        if header.flags & !URGENT_FLAG != 0 {
            return Err(Violation::Link("a window with a flag that is not known"));
        }
        if header.used == 0 {
            return Err(Violation::Window(BadWindow::Used { used: 0, size: grant.bytes }));
        }
        if header.epoch != self.terms.epoch {
            return Err(Violation::Link("a window of another connection"));
        }
        if header.sequence != state.begun + 1 {
            return Err(Violation::Window(BadWindow::Sequence { found: header.sequence, expected: state.begun + 1 }));
        }
        if state.begun - state.disposed >= grant.windows as u64 {
            return Err(Violation::Link("a window for which it had no credit"));
        }
        if self.finished {
            return Err(Violation::Link("a window behind the last one"));
        }
        state.begun += 1;
        let mut buffer = state.free.pop().unwrap_or_else(|| Buffer::new(memory_bytes(grant.bytes)));
        let filled = (self.end - self.start).min(header.used as usize);
        buffer.bytes_mut()[..filled].copy_from_slice(&self.stash.bytes()[self.start..self.start + filled]);
        self.start += filled;
        let partial = Partial { lane, buffer, filled, header };
        if filled < header.used as usize {
            (self.start, self.end) = (0, 0);
            self.partial = Some(partial);
            return Ok(());
        }
        self.complete(partial)
    }

    /// All bytes of a window are there.
    fn complete(&mut self, partial: Partial) -> Result<(), Violation> {
        let Partial { lane, buffer, header, .. } = partial;
        let used = header.used as usize;
        if self.terms.checksums == Checksums::Crc32c
            && crc32c::crc32c(&buffer.bytes()[WINDOW_HEADER..used]) != header.crc32c
        {
            return Err(Violation::Window(BadWindow::Checksum));
        }
        let state = &mut self.lanes[lane];
        state.messages = state.messages.saturating_add(u64::from(header.messages));
        state.ready.push_back(buffer.into_window(used, self.terms.token));
        Ok(())
    }

    /// The next whole window of a lane.
    pub(crate) fn pop(&mut self, lane: usize) -> Option<RxWindow> {
        self.lanes[lane].ready.pop_front()
    }

    /// Whether a whole window of either lane waits.
    pub(crate) fn has_ready(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.ready.is_empty())
    }

    /// Takes a window's memory back. Returns how many windows of the lane were disposed of in total.
    pub(crate) fn dispose(&mut self, lane: usize, window: RxWindow) -> u64 {
        let bytes = memory_bytes(self.terms.grants[lane].bytes);
        let state = &mut self.lanes[lane];
        if let Some(buffer) = Buffer::of_window(window, self.terms.token, bytes) {
            debug_assert!(state.disposed < state.begun, "a window comes back once");
            state.disposed += 1;
            state.free.push(buffer);
        }
        state.disposed
    }

    /// Windows and messages of a lane that have arrived whole, in total.
    pub(crate) fn arrived(&self, lane: usize) -> (u64, u64) {
        (self.lanes[lane].begun, self.lanes[lane].messages)
    }

    /// Whether the peer said that no window follows.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }
}

enum Cut {
    Window,
    Control(Control),
    Short,
}

/// Memory of a window, with room for what is read ahead.
fn memory_bytes(window_bytes: usize) -> usize {
    (window_bytes + AHEAD_BYTES).next_multiple_of(8)
}

#[cfg(test)]
mod tests;
