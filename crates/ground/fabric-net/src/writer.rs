//! The sending half of a link, under its lock: windows and control frames go out in batches, urgent ones first.
//!
//! A batch is at most [`BATCH_BYTES`] or one window, so that an urgent window waits for that much and no more. Windows are sent where they lie and
//! are free again when the kernel has them; the one freed last is taken first, while it is warm.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use fabric::memory::Memory;
use fabric::tli::TxWindow;

use crate::control::{CONTROL_BYTES, Control, ControlKind};
use crate::counters::Counters;
use crate::hello::Grant;
use crate::ring::SendRing;
use crate::stream::Stream;
use crate::wake::Wish;

/// Bytes of windows in a batch, if there is more than one.
const BATCH_BYTES: usize = 256 << 10;
/// Windows in a batch.
const BATCH_WINDOWS: usize = 15;
/// Slices of a batch: its windows and a control frame.
pub(crate) const SLICES: usize = BATCH_WINDOWS + 1;

/// Where bytes go.
pub(crate) enum Sink {
    /// A system call each time.
    Calls(Arc<Stream>),
    /// A request that is done in the kernel.
    Ring(Box<SendRing>),
}

/// How sending stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// All is with the kernel.
    Done,
    /// The rest waits for room.
    Blocked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finish {
    No,
    Wanted,
    Sent,
}

/// See the module.
pub(crate) struct Writer {
    // Before the batch: what is under way in the kernel ends before its memory does.
    sink: Sink,
    batch: Batch,
    lanes: [LaneOut; 2],
    epoch: u32,
    ask: bool,
    finish: Finish,
}

struct LaneOut {
    grant: Grant,
    queue: VecDeque<TxWindow>,
    free: Vec<TxWindow>,
    made: usize,
}

/// What is being written.
pub(crate) struct Batch {
    head: [u8; CONTROL_BYTES],
    head_len: usize,
    windows: VecDeque<(usize, TxWindow)>,
    /// Bytes of the first slice that were written.
    skip: usize,
}

impl Writer {
    pub(crate) fn new(sink: Sink, grants: [Grant; 2], epoch: u32) -> Self {
        let lane = |grant| LaneOut { grant, queue: VecDeque::new(), free: Vec::new(), made: 0 };
        Self {
            sink,
            batch: Batch { head: [0; CONTROL_BYTES], head_len: 0, windows: VecDeque::new(), skip: 0 },
            lanes: grants.map(lane),
            epoch,
            ask: false,
            finish: Finish::No,
        }
    }

    /// An empty window of the lane.
    pub(crate) fn take(&mut self, lane: usize) -> Option<TxWindow> {
        let state = &mut self.lanes[lane];
        if let Some(window) = state.free.pop() {
            return Some(window);
        }
        (state.made < state.grant.windows).then(|| {
            state.made += 1;
            TxWindow::private(state.grant.bytes, u32::try_from(state.made).unwrap_or(u32::MAX))
        })
    }

    /// Puts a window that has its header behind the others of its lane.
    pub(crate) fn queue(&mut self, lane: usize, window: TxWindow) {
        self.lanes[lane].queue.push_back(window);
    }

    /// The next control frame asks the peer to say when it has read everything.
    pub(crate) fn ask(&mut self) {
        self.ask = true;
    }

    /// Behind the last window goes the last frame.
    pub(crate) fn finish(&mut self) {
        if self.finish == Finish::No {
            self.finish = Finish::Wanted;
        }
    }

    /// Writes what can be written. With a `wish` the peer is told our progress, with a window or without.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) fn pump(&mut self, counters: &Counters, wish: &Wish) -> io::Result<Flow> {
        loop {
            let result = if self.batch.is_empty() && !self.fill(counters, wish) {
                match &self.sink {
                    Sink::Calls(stream) => match stream.flush() {
                        Ok(()) => return Ok(Flow::Done),
                        Err(error) => Err(error),
                    },
                    Sink::Ring(_) => return Ok(Flow::Done),
                }
            } else {
                self.write()
            };
            match result {
                Ok(count) => self.took(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flow::Blocked),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn write(&mut self) -> io::Result<usize> {
        match &mut self.sink {
            Sink::Calls(stream) => {
                let (slices, count) = self.batch.slices();
                stream.write(&slices[..count])
            }
            Sink::Ring(ring) => ring.write(&self.batch),
        }
    }

    /// Makes up the next batch; false when there is nothing to send.
    fn fill(&mut self, counters: &Counters, wish: &Wish) -> bool {
        let due = wish.take();
        let mut bytes = 0;
        // Urgent first.
        for lane in [1, 0] {
            while let Some(window) = self.lanes[lane].queue.front() {
                if self.batch.windows.len() == BATCH_WINDOWS || (bytes > 0 && bytes + window.used() > BATCH_BYTES) {
                    break;
                }
                bytes += window.used();
                let window = self.lanes[lane].queue.pop_front().expect("it was looked at");
                self.batch.windows.push_back((lane, window));
            }
        }
        let kind = if self.finish == Finish::Wanted && bytes == 0 {
            self.finish = Finish::Sent;
            ControlKind::Finish
        } else if self.finish == Finish::Sent {
            // Nothing may follow the last frame.
            return bytes > 0;
        } else if self.ask && bytes == 0 {
            // Behind the windows that it asks about.
            self.ask = false;
            ControlKind::Ask
        } else if due || (bytes > 0 && counters.is_untold()) {
            ControlKind::Progress
        } else {
            return bytes > 0;
        };
        self.batch.head = Control { kind, progress: counters.tell(), epoch: self.epoch }.pack();
        self.batch.head_len = CONTROL_BYTES;
        true
    }

    /// `count` bytes of the batch are with the kernel.
    fn took(&mut self, count: usize) {
        let batch = &mut self.batch;
        batch.skip += count;
        if batch.head_len > 0 {
            if batch.skip < batch.head_len {
                return;
            }
            batch.skip -= std::mem::take(&mut batch.head_len);
        }
        while let Some((_, window)) = batch.windows.front()
            && batch.skip >= window.used()
        {
            batch.skip -= window.used();
            let (lane, mut window) = batch.windows.pop_front().expect("it was looked at");
            window.clear();
            self.lanes[lane].free.push(window);
        }
        debug_assert!(!batch.windows.is_empty() || batch.skip == 0, "no more was written than there was");
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.head_len == 0 && self.windows.is_empty()
    }

    /// Whether a control frame is left in front of the windows.
    pub(crate) fn has_head(&self) -> bool {
        self.head_len > 0
    }

    /// The memory of the windows that are left.
    pub(crate) fn memories(&self) -> impl Iterator<Item = &Memory> {
        self.windows.iter().map(|(_, window)| window.memory())
    }

    /// What is left of it, and in how many slices.
    pub(crate) fn slices(&self) -> ([IoSlice<'_>; SLICES], usize) {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let head = (self.head_len > 0).then_some(&self.head[..self.head_len]);
        let all = head.into_iter().chain(self.windows.iter().map(|(_, window)| window.committed()));
        let mut count = 0;
        for bytes in all {
            slices[count] = IoSlice::new(if count == 0 { &bytes[self.skip..] } else { bytes });
            count += 1;
        }
        (slices, count)
    }
}
