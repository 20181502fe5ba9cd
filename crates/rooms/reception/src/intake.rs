//! The window that all sessions of a loop read into, filled from front to back.
//!
//! A session borrows it for the one call that reads, so that an idle session holds nothing. What was read is never moved:
//! content stays there as slices, and the window lives as long as any of them.

use engine::Stream;
use fabric::{Slice, Window, WindowPool};
use std::io;
use std::task::{Context, Poll, ready};

/// See the module.
#[derive(Debug)]
pub(crate) struct Intake {
    pool: WindowPool,
    window: Window,
}

/// With less room than this a read would cut most messages in two.
const ROOM_MIN: usize = 8 << 10;

impl Intake {
    pub(crate) fn new(pool: WindowPool) -> Self {
        let window = pool.take();
        Self { pool, window }
    }

    /// Reads once; an empty slice is the end of what the peer sends.
    pub(crate) fn poll_read(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<Slice>> {
        self.make_room(ROOM_MIN);
        let read = ready!(stream.poll_read(context, self.window.spare()))?;
        Poll::Ready(Ok(self.window.fill(read)))
    }

    /// Copies what we wrote ourselves.
    pub(crate) fn copy_in(&mut self, bytes: &[u8]) -> Slice {
        self.make_room(bytes.len());
        self.window.copy_in(bytes).unwrap_or_else(|| Slice::copy_from(bytes))
    }

    fn make_room(&mut self, room: usize) {
        if self.window.room() < room && !self.window.try_rewind() {
            self.window = self.pool.take();
        }
    }
}
