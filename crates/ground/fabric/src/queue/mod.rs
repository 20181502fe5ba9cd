//! Queues: where messages wait before a channel sends them, and after it has received them. Each works by itself, too, between the threads of a
//! program.
//!
//! [`input()`] makes an input queue of any [`QueueKind`], [`receive()`] a receive queue of any [`ReceiveKind`], and the [`Scheduler`] says from
//! which of many input queues to take next. None of them ever blocks, sleeps or wakes anybody: what is full says so, and the channel waits where it
//! was told to.
//!
//! ```text
//!  thread ─► Writer ─┐                                                        ┌─► Reader ─► thread
//!  thread ─► Writer ─┴─► Line ─► Reader ─┐                                     │
//!  thread ─► Writer ───► Line ─► Reader ─┼─ Scheduler ─► encoder … decoder ─► Fan ─► Reader ─► thread
//!  thread ─► Writer ───► Tagged ► Reader ┘
//! ```
//!
//! | part | producers | consumers | how |
//! |---|---|---|---|
//! | `line` | one or many | one | segments of slots; a claim is one compare-exchange, or one store where there is one producer |
//! | `discarding` | many | one | a line whose producers may also take the oldest value out |
//! | `tagged` | many | one | a deque and an index behind a short mutex: replacing what is queued needs both at once |
//! | `fan` | one | many | segments of slots; taking is one compare-exchange and one count |
//!
//! No producer waits for another's unfinished slot: what is claimed and not yet written is invisible, as is all behind it, until it is written.
//!
//! # Budget
//!
//! Uncontended push, peek and skip of a [`Message`](crate::Message) on one thread: at most 25 ns beyond making it; no allocation but one segment of
//! 64 slots where the spare one does not do. A value moves once on its way in and once on its way out, or not at all where it is looked at and
//! skipped.
//!
//! | kind | locked instructions | push, pop of a number | push, peek, skip of a message of 64 bytes |
//! |---|---|---|---|
//! | one producer | 0 | 5.3 ns | 10 ns |
//! | many producers | 1 | 5.5 ns | 11 ns |
//! | many, the oldest is discarded | 2, 2 more for each discarded | 8.1 ns | 53 ns |
//! | tagged | 4, and a hash | 24 ns | 87 ns |
//! | receive queue, one consumer | 0 | 4.4 ns | |
//! | receive queue, many consumers | 2 | 6.7 ns | |
//!
//! A value that holds memory outside itself costs one locked instruction more on each side. Replacing by tag takes 15 ns, picking a queue and
//! charging it 3 ns. (`cargo bench -p fabric --bench queue`; two virtual CPUs of a shared server, 2026. The last two of the last column are over
//! the budget: to be looked at, a value leaves those queues first, so it moves once more.)
//!
//! # Bounds
//!
//! A queue is full when it holds `capacity` values, or memory of its byte budget or more; so one value may go over the budget, and a value larger
//! than the budget passes through an empty queue. The "unbounded" kinds have the budget alone, [`BYTES_MAX`] unless set; no queue holds more than
//! [`VALUES_MAX`] values.

mod discarding;
mod fan;
mod input;
mod line;
mod receive;
mod scheduler;
mod segments;
mod tagged;

use std::fmt;

pub use input::{Reader, Writer, input};
pub use receive::{ReceiveReader, ReceiveWriter, receive};
pub use scheduler::{QUANTUM_BYTES, Scheduler};

/// The byte budget of a queue unless set: 64 MiB.
pub const BYTES_MAX: usize = 64 << 20;

/// Values that a queue holds at most, whatever its bounds say: 16 Mi.
pub const VALUES_MAX: usize = 1 << 24;

/// The priority of an input queue, highest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Priority {
    /// Always first; starves all others while it is busy.
    Critical,
    /// The first of the five that share by weight.
    Highest,
    /// The second of the five.
    High,
    /// The third of the five, and the usual.
    #[default]
    Normal,
    /// The fourth of the five.
    Low,
    /// The last of the five.
    Lowest,
    /// Only when all else is empty.
    Idle,
}

/// All priorities, highest first.
pub const PRIORITIES: [Priority; 7] = [
    Priority::Critical,
    Priority::Highest,
    Priority::High,
    Priority::Normal,
    Priority::Low,
    Priority::Lowest,
    Priority::Idle,
];

/// How the five weighted priorities share a channel: bytes in proportion, [`Priority::Highest`] first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights([u32; 5]);

impl Weights {
    /// Shares by `weights`.
    ///
    /// # Errors
    /// When one of them is 0: its queues would starve.
    pub const fn new(weights: [u32; 5]) -> Result<Self, ZeroWeight> {
        let mut at = 0;
        while at < weights.len() {
            if weights[at] == 0 {
                return Err(ZeroWeight(PRIORITIES[at + 1]));
            }
            at += 1;
        }
        Ok(Self(weights))
    }

    /// The weights, [`Priority::Highest`] first.
    pub const fn get(self) -> [u32; 5] {
        self.0
    }
}

impl Default for Weights {
    /// 16 : 8 : 4 : 2 : 1.
    fn default() -> Self {
        Self([16, 8, 4, 2, 1])
    }
}

/// A weight of 0 was given to this priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZeroWeight(pub Priority);

impl fmt::Display for ZeroWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "priority {:?} has weight 0 and would starve; the least is 1", self.0)
    }
}

impl std::error::Error for ZeroWeight {}

/// What an input queue does when it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Full {
    /// The sender waits for room. (The queue says [`PushError::Full`], the channel waits.)
    Block,
    /// The sender is refused.
    Refuse,
    /// The oldest value gives way.
    DiscardOldest,
    /// The new value is dropped.
    DiscardNewest,
}

/// The kinds of input queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueKind {
    /// One producer, bounded by bytes alone. One queue a thread is the fast way.
    MonoUnbounded,
    /// Any number of producers, bounded by bytes alone.
    MultiUnbounded,
    /// The same, and a new value replaces the queued one of its tag, in that one's place.
    MultiUnboundedTagged,
    /// Any number of producers.
    MultiBounded {
        /// Values at most, at least 1.
        capacity: usize,
        /// What happens then.
        full: Full,
    },
    /// The same, and a new value replaces the queued one of its tag, in that one's place.
    MultiBoundedTagged {
        /// Values at most, at least 1.
        capacity: usize,
        /// What happens then.
        full: Full,
    },
}

/// What a receive queue does when it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReceiveFull {
    /// Nothing more is decoded until there is room, so that the windows run out and the peer waits.
    HoldBack,
    /// The oldest value gives way.
    DiscardOldest,
    /// The new value is dropped.
    DiscardNewest,
}

/// The kinds of receive queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReceiveKind {
    /// One consumer, bounded by bytes alone: over the budget the sender is held back.
    MonoUnbounded,
    /// One consumer.
    MonoBounded {
        /// Values at most, at least 1.
        capacity: usize,
        /// What happens then.
        full: ReceiveFull,
    },
    /// Any number of consumers, bounded by bytes alone: over the budget the sender is held back.
    MultiUnbounded,
    /// Any number of consumers.
    MultiBounded {
        /// Values at most, at least 1.
        capacity: usize,
        /// What happens then.
        full: ReceiveFull,
    },
}

/// What became of a value that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits at the end of the queue.
    Queued,
    /// It waits in the place of the value of the same tag, which is dropped.
    Replaced,
    /// It waits at the end of the queue; one or more of the oldest were dropped.
    DiscardedOldest,
    /// It was dropped.
    DiscardedNewest,
}

/// Why a value was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushError {
    /// No room at this moment.
    Full,
    /// The queue was closed by its reader.
    Closed,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the queue is full",
            Self::Closed => "the queue is closed",
        })
    }
}

impl std::error::Error for PushError {}

/// A value that was not taken, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused<T> {
    /// The value, as it was.
    pub value: T,
    /// Why.
    pub why: PushError,
}

/// Counts since the queue was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStats {
    /// Values accepted: queued or replacing.
    pub posted: u64,
    /// Values dropped because a newer one of the same tag came.
    pub replaced: u64,
    /// Values dropped because the queue was full, oldest and newest.
    pub discarded: u64,
}

/// What a queue must know of a value to keep its byte budget.
pub trait Weigh {
    /// Bytes that the value keeps from others outside itself: on the heap, in windows. Cheap, and the same each time.
    fn bytes_outside(&self) -> usize;
}

#[cfg(not(loom))]
impl Weigh for crate::Message {
    /// The payload beyond what a message holds in itself. Static frames count, too: they are as long to send.
    #[inline]
    fn bytes_outside(&self) -> usize {
        self.payload_bytes().saturating_sub(crate::message::INLINE_BYTES)
    }
}

/// The bounds of a queue.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Values at most.
    values: usize,
    /// Bytes that each value takes for its slot.
    slot_bytes: usize,
    /// Bytes at most.
    bytes: usize,
}

impl Bounds {
    /// # Panics
    /// When `capacity` is 0: such a queue would never take anything.
    fn new<T>(capacity: Option<usize>, bytes: usize) -> Self {
        assert!(capacity != Some(0), "a queue holds at least one value");
        let slot_bytes = segments::slot_bytes::<T>();
        // More slots than the budget pays for would never be used.
        let values = capacity.unwrap_or(VALUES_MAX).min(bytes.div_ceil(slot_bytes)).clamp(1, VALUES_MAX);
        Self { values, slot_bytes, bytes: bytes.max(1) }
    }

    /// Whether a queue of `len` values that hold `outside` bytes takes one more.
    #[inline]
    fn room(&self, len: usize, outside: usize) -> bool {
        len < self.values && len * self.slot_bytes + outside < self.bytes
    }

    fn bytes(&self, len: usize, outside: usize) -> usize {
        len * self.slot_bytes + outside
    }
}

/// Numbers hold nothing outside; queues of them are for tests, benches and tokens.
macro_rules! weightless {
    ($($number:ty),*) => {$(
        impl Weigh for $number {
            #[inline]
            fn bytes_outside(&self) -> usize {
                0
            }
        }
    )*};
}

weightless!(u8, u16, u32, u64, usize);
