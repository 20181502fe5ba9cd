//! The windows that a module hands out, as memory: checked, and remembered, so that a window costs an allocation only the first time.

use std::any::Any;
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::Arc;

use fabric::memory::{Memory, Origin};
use fabric::wire::WINDOW_HEADER;

use crate::table::RawWindow;

/// Windows remembered; when a module has more, it is forgotten all and begun anew.
const PAGES_MAX: usize = 1 << 16;
/// A window has a header and room for a message.
const WINDOW_BYTES_MIN: u64 = WINDOW_HEADER as u64 + 16;
/// The format counts bytes in 32 bits.
const WINDOW_BYTES_MAX: u64 = 1 << 31;

/// Memory of one link.
pub(crate) struct Pages {
    keep: Arc<dyn Any + Send + Sync>,
    known: HashMap<usize, Memory>,
}

impl Pages {
    /// `keep` keeps the link, and with it the memory of its windows.
    pub(crate) fn new(keep: Arc<dyn Any + Send + Sync>) -> Self {
        Self { keep, known: HashMap::new() }
    }

    /// The memory of a window; `None` when its address or size is none that a module may hand out.
    ///
    /// # Safety
    /// C1: the module has just handed out this window.
    pub(crate) unsafe fn memory(&mut self, window: &RawWindow) -> Option<Memory> {
        let base = NonNull::new(window.bytes)?;
        let fits = (WINDOW_BYTES_MIN..=WINDOW_BYTES_MAX).contains(&window.size) && window.size.is_multiple_of(8);
        if !fits || !window.bytes.addr().is_multiple_of(8) {
            return None;
        }
        let size = window.size as usize;
        if let Some(memory) = self.known.get(&window.bytes.addr()).filter(|memory| memory.len() == size) {
            return Some(memory.clone());
        }
        if self.known.len() == PAGES_MAX {
            self.known.clear();
        }
        // SAFETY: by C1 these bytes are plain memory that lives until the link is freed, which `keep` prevents (M1), and that only who holds the
        // window writes, in this process (M3); alignment was checked.
        let memory = unsafe { Memory::mapped(base, size, Origin::Own, Arc::clone(&self.keep)) };
        self.known.insert(window.bytes.addr(), memory.clone());
        Some(memory)
    }
}
