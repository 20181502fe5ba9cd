//! Memory that a window arrives in: filled by one reader, then lent as an [`RxWindow`], then taken back. The assembler uses it.
//!
//! Invariant:
//! - **B1** A `Buffer` is the one user of its memory for as long as it lives: the memory was made for it, or came back with the window that it had
//!   become, of which then nothing is left. Whoever kept a [`Memory`] of that window can only copy bytes out, which allows for change.

use std::ptr::NonNull;

use fabric::memory::{Memory, Origin};
use fabric::tli::RxWindow;

/// Exclusive memory.
pub(crate) struct Buffer {
    memory: Memory,
}

impl Buffer {
    /// New memory of at least `bytes`. The system gives pages when they are first written.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { memory: Memory::private(bytes) }
    }

    /// The memory of a window that [`Self::into_window`] made with `token`; `None` for a window of someone else.
    pub(crate) fn of_window(window: RxWindow, token: u32, bytes: usize) -> Option<Self> {
        let ours = window.token() == token && window.in_place();
        let memory = window.into_memory();
        (ours && memory.origin() == Origin::Own && memory.len() == bytes.next_multiple_of(8)).then_some(Self { memory })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: by B1 nobody else writes these bytes, and `&self` keeps us from it; they live as long as `memory`.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.memory.len()) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: by B1 these bytes are ours alone, which `&mut self` passes on; private memory was made writable.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr().cast_mut(), self.memory.len()) }
    }

    /// The memory, to be registered with the kernel.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Where the bytes from `at` on lie, without a reference to them.
    pub(crate) fn address(&self, at: usize) -> NonNull<u8> {
        assert!(at <= self.memory.len(), "an address within");
        // SAFETY: `at` lies within the allocation, checked above.
        unsafe { NonNull::new_unchecked(self.memory.as_ptr().cast_mut()).add(at) }
    }

    /// A window of the first `used` bytes.
    pub(crate) fn into_window(self, used: usize, token: u32) -> RxWindow {
        // SAFETY: by B1 nobody else writes the memory, and this buffer ends here.
        unsafe { RxWindow::filled(self.memory, used, token) }
    }
}
