//! Windows, slices, rings and lanes against plain models, operation by operation.
#![cfg(not(loom))]

use std::collections::{BTreeSet, VecDeque};

use fabric::{Slice, Window, WindowPool, doorbell, lane, ring};
use proptest::prelude::*;

/// Small enough that windows fill up and slices often touch.
const WINDOW_BYTES: usize = 16;
const KEEP: usize = 2;

#[derive(Debug, Clone)]
enum WindowStep {
    Take,
    LeaveWindow,
    Rewind,
    CopyIn(Vec<u8>),
    Fill(usize, u8),
    FromVec(Vec<u8>),
    Clone(usize),
    Part(usize, usize, usize),
    SplitTo(usize, usize),
    Advance(usize, usize),
    Join(usize, usize),
    Drop(usize),
}

fn window_step() -> impl Strategy<Value = WindowStep> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..6);
    let at = any::<usize>;
    prop_oneof![
        2 => Just(WindowStep::Take),
        1 => Just(WindowStep::LeaveWindow),
        1 => Just(WindowStep::Rewind),
        5 => bytes().prop_map(WindowStep::CopyIn),
        3 => (0..6_usize, any::<u8>()).prop_map(|(n, byte)| WindowStep::Fill(n, byte)),
        1 => bytes().prop_map(WindowStep::FromVec),
        2 => at().prop_map(WindowStep::Clone),
        2 => (at(), at(), at()).prop_map(|(i, start, end)| WindowStep::Part(i, start, end)),
        3 => (at(), at()).prop_map(|(i, n)| WindowStep::SplitTo(i, n)),
        2 => (at(), at()).prop_map(|(i, n)| WindowStep::Advance(i, n)),
        4 => (at(), at()).prop_map(|(i, j)| WindowStep::Join(i, j)),
        4 => at().prop_map(WindowStep::Drop),
    ]
}

/// A slice and what it must be: its bytes, and where they lie (which use of which window, at which offset).
struct Expected {
    slice: Slice,
    lease: u32,
    start: usize,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct WindowModel {
    window: Option<Window>,
    window_lease: u32,
    filled: usize,
    leases: u32,
    taken: u64,
    slices: Vec<Expected>,
    /// Leases of memory that belongs to no pool.
    unpooled: BTreeSet<u32>,
}

impl WindowModel {
    fn lease(&mut self) -> u32 {
        self.leases += 1;
        self.leases
    }

    fn expect(&mut self, slice: Slice, lease: u32, start: usize, bytes: Vec<u8>) {
        self.slices.push(Expected { slice, lease, start, bytes });
    }

    fn step(&mut self, pool: &WindowPool, step: WindowStep) {
        match step {
            WindowStep::Take => {
                self.window = Some(pool.take());
                self.window_lease = self.lease();
                self.filled = 0;
                self.taken += 1;
            }
            WindowStep::LeaveWindow => self.window = None,
            WindowStep::Rewind => self.rewind(),
            WindowStep::CopyIn(bytes) => self.copy_in(bytes),
            WindowStep::Fill(n, byte) => self.fill(n, byte),
            WindowStep::FromVec(bytes) => {
                let lease = self.lease();
                self.unpooled.insert(lease);
                self.expect(Slice::from_vec(bytes.clone()), lease, 0, bytes);
            }
            WindowStep::Join(i, j) => self.join(i, j),
            WindowStep::Clone(i)
            | WindowStep::Part(i, ..)
            | WindowStep::SplitTo(i, _)
            | WindowStep::Advance(i, _)
            | WindowStep::Drop(i) => {
                if !self.slices.is_empty() {
                    let i = i % self.slices.len();
                    self.step_slice(i, step);
                }
            }
        }
    }

    fn step_slice(&mut self, i: usize, step: WindowStep) {
        let Expected { slice, lease, start, bytes } = &mut self.slices[i];
        let made = match step {
            WindowStep::Clone(_) => (slice.clone(), *start, bytes.clone()),
            WindowStep::Part(_, a, b) => {
                let (a, b) = (a % (bytes.len() + 1), b % (bytes.len() + 1));
                let range = a.min(b)..a.max(b);
                (slice.slice(range.clone()), *start + range.start, bytes[range].to_vec())
            }
            WindowStep::SplitTo(_, n) => {
                let n = n % (bytes.len() + 1);
                let rest = bytes.split_off(n);
                let head = (slice.split_to(n), *start, std::mem::replace(bytes, rest));
                *start += n;
                head
            }
            WindowStep::Advance(_, n) => {
                let n = n % (bytes.len() + 1);
                slice.advance(n);
                bytes.drain(..n);
                *start += n;
                return;
            }
            _ => {
                self.slices.swap_remove(i);
                return;
            }
        };
        let lease = *lease;
        self.expect(made.0, lease, made.1, made.2);
    }

    fn rewind(&mut self) {
        let Some(window) = &mut self.window else { return };
        let sole = !self.slices.iter().any(|kept| kept.lease == self.window_lease && !kept.bytes.is_empty());
        assert_eq!(window.try_rewind(), sole);
        if sole {
            self.filled = 0;
        }
    }

    fn copy_in(&mut self, bytes: Vec<u8>) {
        let Some(window) = &mut self.window else { return };
        match window.copy_in(&bytes) {
            Some(slice) => {
                let start = self.filled;
                self.filled += bytes.len();
                let lease = self.window_lease;
                self.expect(slice, lease, start, bytes);
            }
            None => assert!(self.filled + bytes.len() > WINDOW_BYTES, "refused though there was room"),
        }
    }

    fn fill(&mut self, n: usize, byte: u8) {
        let Some(window) = &mut self.window else { return };
        let n = n.min(window.room());
        // All of the spare part, to see that no slice changes.
        window.spare().fill(byte);
        let slice = window.fill(n);
        let start = self.filled;
        self.filled += n;
        let lease = self.window_lease;
        self.expect(slice, lease, start, vec![byte; n]);
    }

    fn join(&mut self, i: usize, j: usize) {
        if self.slices.is_empty() {
            return;
        }
        let (i, j) = (i % self.slices.len(), j % self.slices.len());
        let next = &self.slices[j];
        let (next_slice, next_lease, next_start, next_bytes) =
            (next.slice.clone(), next.lease, next.start, next.bytes.clone());
        let this = &mut self.slices[i];
        let touches = this.lease == next_lease && this.start + this.bytes.len() == next_start;
        let joins = this.bytes.is_empty() || next_bytes.is_empty() || touches;
        assert_eq!(this.slice.try_join(&next_slice), joins);
        if this.bytes.is_empty() && !next_bytes.is_empty() {
            (this.lease, this.start) = (next_lease, next_start);
        }
        if joins {
            this.bytes.extend_from_slice(&next_bytes);
        }
    }

    fn check(&self, pool: &WindowPool) {
        for kept in &self.slices {
            assert_eq!(&kept.slice[..], &kept.bytes[..]);
            assert_eq!((kept.slice.len(), kept.slice.is_empty()), (kept.bytes.len(), kept.bytes.is_empty()));
        }
        if let Some(window) = &self.window {
            assert_eq!((window.filled(), window.room()), (self.filled, WINDOW_BYTES - self.filled));
        }
        let held = self.slices.iter().filter(|kept| !kept.bytes.is_empty()).map(|kept| kept.lease);
        let held: BTreeSet<u32> = held.chain(self.window.as_ref().map(|_| self.window_lease)).collect();
        let stats = pool.stats();
        assert_eq!(stats.live, held.difference(&self.unpooled).count());
        assert_eq!(stats.taken_total, self.taken);
        assert!(stats.free <= KEEP);
        assert_eq!(stats.bytes(), (stats.live + stats.free) * WINDOW_BYTES);
    }
}

#[derive(Debug, Clone)]
enum QueueStep {
    Push(usize),
    Pop(usize),
    Drain(usize),
    Flush,
}

fn queue_step() -> impl Strategy<Value = QueueStep> {
    prop_oneof![
        (0..9_usize).prop_map(QueueStep::Push),
        (0..9_usize).prop_map(QueueStep::Pop),
        (0..9_usize).prop_map(QueueStep::Drain),
        Just(QueueStep::Flush),
    ]
}

proptest! {
    #[test]
    fn windows_and_slices_match_plain_vectors(steps in prop::collection::vec(window_step(), 1..80)) {
        let pool = WindowPool::new(WINDOW_BYTES, KEEP);
        let mut model = WindowModel::default();
        for step in steps {
            model.step(&pool, step);
            model.check(&pool);
        }
        drop(model);
        prop_assert_eq!(pool.stats().live, 0);
    }

    #[test]
    fn a_ring_matches_a_bounded_queue(slots in 1..9_usize, steps in prop::collection::vec(queue_step(), 1..80)) {
        let (mut producer, mut consumer) = ring(slots);
        let mut model = VecDeque::new();
        let mut numbers = 0_u32..;
        for step in steps {
            match step {
                QueueStep::Push(n) => {
                    for value in numbers.by_ref().take(n) {
                        let pushed = producer.push(Box::new(value));
                        prop_assert_eq!(pushed.is_ok(), model.len() < slots);
                        if pushed.is_ok() {
                            model.push_back(value);
                        }
                    }
                }
                QueueStep::Pop(n) => {
                    for _ in 0..n {
                        prop_assert_eq!(consumer.pop().map(|value| *value), model.pop_front());
                    }
                }
                QueueStep::Drain(max) => {
                    let mut read = Vec::new();
                    let count = consumer.drain(max, |value| read.push(*value));
                    prop_assert_eq!(count, read.len());
                    let expected: Vec<u32> = model.drain(..model.len().min(max)).collect();
                    prop_assert_eq!(read, expected);
                }
                QueueStep::Flush => {}
            }
            prop_assert_eq!((producer.len(), consumer.len(), consumer.is_empty()), (model.len(), model.len(), model.is_empty()));
        }
        drop(producer);
        prop_assert_eq!(consumer.is_closed(), model.is_empty());
    }

    #[test]
    fn a_lane_loses_nothing_and_keeps_order(slots in 1..9_usize, steps in prop::collection::vec(queue_step(), 1..80)) {
        let (ringer, mut bell) = doorbell();
        let (mut sender, mut receiver) = lane(slots, ringer);
        let (mut sent, mut read) = (0_u32, Vec::new());
        for step in steps {
            match step {
                QueueStep::Push(n) => {
                    for _ in 0..n {
                        sender.send(sent);
                        sent += 1;
                    }
                    sender.ring();
                }
                QueueStep::Pop(n) => read.extend((0..n).map_while(|_| receiver.pop())),
                QueueStep::Drain(max) => {
                    let ready = receiver.len();
                    prop_assert_eq!(receiver.drain(max, |value| read.push(value)), ready.min(max));
                }
                QueueStep::Flush => {
                    let left = sender.flush();
                    prop_assert_eq!(left, sender.overflow_len());
                    prop_assert!(left == 0 || sender.ring_len() == slots);
                }
            }
            prop_assert_eq!(read.len() + receiver.len() + sender.overflow_len(), sent as usize);
            prop_assert!(!receiver.is_closed());
        }
        drop(sender);
        prop_assert_eq!(bell.wait_thread(None), fabric::Rang::Rung);
        prop_assert_eq!(receiver.is_empty(), read.len() == sent as usize);
        while receiver.drain(3, |value| read.push(value)) == 3 {}
        prop_assert!(receiver.is_closed());
        prop_assert!(read.into_iter().eq(0..sent));
    }
}
