//! The bare checked lane: a framed commit log. A record is visible the moment its first word is stored, every header is checked before use, and
//! both sides may sleep.
//!
//! ```text
//!  record: │ bytes u32 │ frames u16 │ kind u8 │ flags u8 │ id u64 │ frame length u64 │ data, padded to 8 │ next first word, zero │
//! ```
//!
//! # Invariants
//!
//! - **L1** Bytes from the head to the tail are the reader's, the rest but one cache line is the writer's; a record becomes the reader's by the
//!   release store of its first word, after the word behind it was cleared.
//! - **L2** A lane has one writer and one reader.
//! - **L3** A header is read once; the copy is checked, and only the copy is used.
//! - **L4** A side that wants to sleep says so, fences all processes, and looks again; the other side stores, then looks whether someone sleeps.

use crate::wake::{fence_everywhere, register_fence};
use kit::region::{Region, futex_wait, futex_wake};
use kit::{Receiver, Sender};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, compiler_fence};

const WRITER_SLEEPS: usize = 0;
const HEAD: usize = 128;
const READER_SLEEPS: usize = 192;
const DATA: usize = 4096;
const HEADER: u64 = 16;
const FRAME_HEADER: u64 = 8;
const KIND_DATA: u64 = 1 << 48;
const KIND_PAD: u64 = 0xff << 48;
const ONE_FRAME: u64 = 1 << 32;
const FRAMES_MAX: u64 = 64;

/// The memory of one direction.
pub(crate) struct Lane {
    region: Region,
    bytes: u64,
}

impl Lane {
    pub(crate) fn new(bytes: usize) -> Arc<Lane> {
        assert!(bytes.is_power_of_two());
        Arc::new(Lane { region: Region::new(DATA + bytes), bytes: bytes as u64 })
    }

    #[inline(always)]
    fn at(&self, position: u64) -> *mut u8 {
        self.region.at(DATA + (position & (self.bytes - 1)) as usize)
    }

    /// The first word of a record.
    #[inline(always)]
    fn word(&self, position: u64) -> &AtomicU64 {
        // SAFETY: positions are multiples of eight, and the mask keeps them inside the region, which lives as long as `self`.
        unsafe { &*self.at(position).cast::<AtomicU64>() }
    }

    /// The half of a first word that changes when the record is published: a futex.
    #[inline(always)]
    fn futex(&self, position: u64) -> &AtomicU32 {
        // SAFETY: as in `word`; the low half of a little-endian word is at its address, and is not zero once published.
        unsafe { &*self.at(position).cast::<AtomicU32>() }
    }

    fn head(&self) -> &AtomicU64 {
        self.region.word64(HEAD)
    }
}

/// The sending side.
pub(crate) struct Writer {
    lane: Arc<Lane>,
    tail: u64,
    head_seen: u64,
    id: u64,
    spins: u32,
}

impl Writer {
    pub(crate) fn new(lane: Arc<Lane>, spins: u32) -> Writer {
        register_fence();
        Writer { lane, tail: 0, head_seen: 0, id: 0, spins }
    }

    #[cold]
    fn wait_for_room(&mut self, bytes: u64) {
        let sleeps = self.lane.region.word32(WRITER_SLEEPS);
        let mut looked = 0;
        loop {
            let head = self.lane.head().load(Acquire);
            assert!(head <= self.tail && head >= self.head_seen, "the reader's head is out of range");
            self.head_seen = head;
            if self.tail + bytes + 64 - head <= self.lane.bytes {
                return;
            }
            looked += 1;
            if looked < self.spins.max(1) {
                std::hint::spin_loop();
                continue;
            }
            sleeps.store(1, Relaxed);
            fence_everywhere(); // L4; partner: the compiler fence of `Reader::tell`
            if self.lane.head().load(Acquire) == head {
                futex_wait(self.lane.region.word32(HEAD), head as u32);
            }
            sleeps.store(0, Relaxed);
        }
    }

    /// Makes a record the reader's, and wakes it if it sleeps.
    #[inline(always)]
    fn publish(&self, word: u64) {
        self.lane.word(self.tail).store(word, Release);
        compiler_fence(SeqCst); // L4; partner: `fence_everywhere` of `Reader::wait`
        if self.lane.region.word32(READER_SLEEPS).load(Relaxed) != 0 {
            futex_wake(self.lane.futex(self.tail));
        }
    }
}

impl Sender for Writer {
    #[inline(always)]
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        let need = HEADER + FRAME_HEADER + (len as u64).next_multiple_of(8);
        loop {
            let room = self.lane.bytes - (self.tail & (self.lane.bytes - 1));
            let take = if room < need { room } else { need };
            if self.tail + take + 64 - self.head_seen > self.lane.bytes {
                self.wait_for_room(take);
            }
            self.lane.word(self.tail + take).store(0, Relaxed); // ordered before the next record by `publish`
            if room < need {
                self.publish(room | KIND_PAD);
                self.tail += room;
                continue;
            }
            let record = self.lane.at(self.tail);
            // SAFETY: by L1 these `need` bytes are the writer's until `publish`, and they do not wrap.
            unsafe {
                record.add(8).cast::<u64>().write(self.id);
                record.add(16).cast::<u64>().write(len as u64);
                fill(std::slice::from_raw_parts_mut(record.add(24), len));
            }
            self.publish(need | ONE_FRAME | KIND_DATA);
            self.id += 1;
            self.tail += need;
            return;
        }
    }
}

/// The receiving side.
pub(crate) struct Reader {
    lane: Arc<Lane>,
    head: u64,
    head_told: u64,
    id: u64,
    spins: u32,
}

impl Reader {
    pub(crate) fn new(lane: Arc<Lane>, spins: u32) -> Reader {
        register_fence();
        Reader { lane, head: 0, head_told: 0, id: 0, spins }
    }

    /// Gives the bytes that were read back, and wakes the writer if it sleeps.
    #[inline(always)]
    fn tell(&mut self) {
        self.head_told = self.head;
        self.lane.head().store(self.head, Release);
        compiler_fence(SeqCst); // L4; partner: `fence_everywhere` of `Writer::wait_for_room`
        if self.lane.region.word32(WRITER_SLEEPS).load(Relaxed) != 0 {
            futex_wake(self.lane.region.word32(HEAD));
        }
    }

    #[cold]
    fn wait(&mut self) -> u64 {
        if self.head_told != self.head {
            self.tell();
        }
        let sleeps = self.lane.region.word32(READER_SLEEPS);
        let mut looked = 0;
        loop {
            let word = self.lane.word(self.head).load(Acquire);
            if word != 0 {
                return word;
            }
            looked += 1;
            if looked < self.spins.max(1) {
                std::hint::spin_loop();
                continue;
            }
            sleeps.store(1, Relaxed);
            fence_everywhere(); // L4; partner: the compiler fence of `Writer::publish`
            if self.lane.word(self.head).load(Acquire) == 0 {
                futex_wait(self.lane.futex(self.head), 0);
            }
            sleeps.store(0, Relaxed);
        }
    }

    /// Checks a record of `total` bytes at the head; returns where the last frame's data begin and how long they are.
    #[inline(always)]
    fn check(&self, total: u64, word: u64) -> (u64, u64) {
        let frames = word >> 32 & 0xffff;
        assert!(total >= HEADER + FRAME_HEADER && word & KIND_PAD == KIND_DATA, "not a data record");
        assert!(frames > 0 && frames <= FRAMES_MAX, "a record of {frames} frames");
        // SAFETY: by L1 and the caller's check `total` bytes from the head on are the reader's; both words lie inside them (L3).
        let id = unsafe { self.lane.at(self.head + 8).cast::<u64>().read_volatile() };
        assert_eq!(id, self.id, "a record is missing");
        let (mut offset, mut len) = (HEADER, 0);
        for frame in 1..=frames {
            assert!(offset + FRAME_HEADER <= total, "a frame header outside its record");
            // SAFETY: as above.
            len = unsafe { self.lane.at(self.head + offset).cast::<u64>().read_volatile() } & 0xffff_ffff;
            let next = offset + FRAME_HEADER + len.next_multiple_of(8);
            assert!(next <= total && (frame < frames || next == total), "a frame outside its record");
            if frame < frames {
                offset = next;
            }
        }
        (offset + FRAME_HEADER, len)
    }
}

impl Receiver for Reader {
    #[inline(always)]
    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T {
        loop {
            let mut word = self.lane.word(self.head).load(Acquire);
            if word == 0 {
                word = self.wait();
            }
            let total = word & 0xffff_ffff;
            let room = self.lane.bytes - (self.head & (self.lane.bytes - 1));
            assert!(total > 0 && total <= room && total.is_multiple_of(8), "a record of {total} bytes");
            if word & KIND_PAD == KIND_PAD {
                self.head += total;
                continue;
            }
            let (offset, len) = self.check(total, word);
            // SAFETY: `check` has found these bytes inside the record, which by L1 is the reader's until `tell`.
            let result = read(unsafe { std::slice::from_raw_parts(self.lane.at(self.head + offset), len as usize) });
            self.id += 1;
            self.head += total;
            if self.head - self.head_told >= self.lane.bytes / 8 {
                self.tell();
            }
            return result;
        }
    }
}

/// Both directions.
pub(crate) struct End {
    writer: Writer,
    reader: Reader,
}

impl End {
    pub(crate) fn new(out: Arc<Lane>, back: Arc<Lane>, spins: u32) -> End {
        End { writer: Writer::new(out, spins), reader: Reader::new(back, spins) }
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
