//! The bare index ring: fixed slots between a tail that the writer moves and a head that the reader moves. It only ever spins.
//!
//! # Invariants
//!
//! - **I1** Slots `tail - head` are the reader's, all others the writer's; each side moves only its own index, after it has finished with the slot.
//! - **I2** A lane has one writer and one reader; both are made once.

use kit::region::Region;
use kit::{Receiver, Sender};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

/// Each index stands on two cache lines of its own, since lines are fetched in pairs.
const TAIL: usize = 0;
const HEAD: usize = 128;
const SLOTS: usize = 4096;

/// The memory of one direction.
pub(crate) struct Lane {
    region: Region,
    slots: u64,
    stride: usize,
}

impl Lane {
    pub(crate) fn new(slots: usize, size: usize) -> Arc<Lane> {
        let stride = (size + 8).next_multiple_of(64);
        Arc::new(Lane { region: Region::new(SLOTS + slots * stride), slots: slots as u64, stride })
    }

    fn index(&self, offset: usize) -> &AtomicU64 {
        self.region.word64(offset)
    }

    #[inline(always)]
    fn slot(&self, index: u64) -> *mut u8 {
        self.region.at(SLOTS + (index % self.slots) as usize * self.stride)
    }
}

/// The sending side.
pub(crate) struct Writer {
    lane: Arc<Lane>,
    tail: u64,
    head_seen: u64,
}

impl Writer {
    pub(crate) fn new(lane: Arc<Lane>) -> Writer {
        Writer { lane, tail: 0, head_seen: 0 }
    }
}

impl Sender for Writer {
    #[inline(always)]
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        while self.tail - self.head_seen >= self.lane.slots {
            std::hint::spin_loop();
            self.head_seen = self.lane.index(HEAD).load(Acquire);
        }
        let slot = self.lane.slot(self.tail);
        debug_assert!(len + 8 <= self.lane.stride);
        // SAFETY: by I1 the slot is the writer's until the tail has moved past it, and by the assertion the message fits.
        unsafe {
            slot.cast::<u64>().write(len as u64);
            fill(std::slice::from_raw_parts_mut(slot.add(8), len));
        }
        self.tail += 1;
        self.lane.index(TAIL).store(self.tail, Release);
    }
}

/// The receiving side.
pub(crate) struct Reader {
    lane: Arc<Lane>,
    head: u64,
    head_told: u64,
    tail_seen: u64,
}

impl Reader {
    pub(crate) fn new(lane: Arc<Lane>) -> Reader {
        Reader { lane, head: 0, head_told: 0, tail_seen: 0 }
    }

    /// Gives the slots that were read back.
    fn tell(&mut self) {
        self.head_told = self.head;
        self.lane.index(HEAD).store(self.head, Release);
    }
}

impl Receiver for Reader {
    #[inline(always)]
    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        if self.head == self.tail_seen {
            self.tell();
            while self.head == self.tail_seen {
                std::hint::spin_loop();
                self.tail_seen = self.lane.index(TAIL).load(Acquire);
            }
        }
        let slot = self.lane.slot(self.head);
        // SAFETY: by I1 the slot is the reader's until the head has moved past it; the length is cut to the slot.
        let result = unsafe {
            let len = (slot.cast::<u64>().read() as usize).min(self.lane.stride - 8);
            read(std::slice::from_raw_parts(slot.add(8), len))
        };
        self.head += 1;
        if self.head - self.head_told >= (self.lane.slots / 8).max(1) {
            self.tell();
        }
        result
    }
}

/// Both directions.
pub(crate) struct End {
    writer: Writer,
    reader: Reader,
}

impl End {
    pub(crate) fn new(out: Arc<Lane>, back: Arc<Lane>) -> End {
        End { writer: Writer::new(out), reader: Reader::new(back) }
    }
}

impl Sender for End {
    #[inline(always)]
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        self.writer.send(len, fill);
    }
}

impl Receiver for End {
    #[inline(always)]
    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        self.reader.receive(read)
    }
}
