//! Memory windows, rings and doorbells: how bytes and values pass between the threads of a program.
//!
//! Every event loop, pool and room uses it. It knows nothing of mail, of sockets or of any async runtime, and it never blocks, except where a
//! plain thread asks for that ([`Doorbell::wait_thread`]).
//!
//! ```text
//!  socket ─► Window ─fill─► Slice ─┬─► journal        one buffer, many readers, no copy
//!            (one writer)          └─► delivery       the last Slice gives the window back to its pool
//!
//!  loop A ─► LaneSender ─► ring ─► LaneReceiver ─► loop B
//!                   └──── Ringer ····► Doorbell ────┘   "look now", once per batch
//! ```
//!
//! - [`WindowPool`], [`Window`], [`Slice`]: memory that is written once and shared by reference.
//! - [`ring()`]: bounded queue of one producer and one consumer.
//! - [`doorbell()`]: wakes the task or thread that looks after any number of rings.
//! - [`lane()`]: ring, doorbell and overflow together: keeps order, loses nothing.
//! - [`sync`]: the one place that atomics and cells come from, so that loom can check them.
//!
//! # Budgets
//!
//! Uncontended, on one core of a 2020s server; an *atomic* is a locked read-modify-write or a full fence, plain loads and stores are free of charge.
//!
//! | operation | atomics | budget | measured |
//! |---|---|---|---|
//! | ring push and pop | 0 | 10 ns | 2.8 ns |
//! | ring push and drain, by hundreds | 0 | 5 ns | 1.9 ns |
//! | lane send and pop | 0 | 10 ns | 3.1 ns |
//! | [`Slice`] clone and drop | 2 | 20 ns | 3.9 ns |
//! | [`Window::fill`] and drop of the slice | 2 | 20 ns | 4.2 ns |
//! | [`WindowPool::take`] and last drop, window in the free list | 11 | 100 ns | 24 ns |
//! | the same, memory from the allocator and back | | 5 µs | 0.7 µs |
//! | [`Ringer::ring`], already rung | 1 | 10 ns | 1.8 ns |
//! | [`Ringer::ring`] and taking it, nobody asleep | 4 | 40 ns | 9 ns |
//!
//! (`cargo bench -p fabric`; two virtual CPUs of a shared server, 2026.) A lane with a room bell adds a fence to each `pop` or `drain`.
//!
//! Nothing here allocates, except a window that the free list does not hold, a [`Slice`] of its own memory, and a lane's overflow.

#[cfg(not(loom))]
pub mod arena;
#[cfg(not(loom))]
pub mod channel;
pub mod doorbell;
#[cfg(not(loom))]
pub mod filter;
#[cfg(not(loom))]
pub mod inproc;
pub mod ipc;
pub mod lane;
pub mod memory;
#[cfg(not(loom))]
pub mod message;
#[cfg(not(loom))]
pub mod publish;
pub mod queue;
#[cfg(not(loom))]
pub mod request;
pub mod ring;
pub mod sync;
pub mod tli;
#[cfg(not(loom))]
pub mod uri;
pub mod window;
pub mod wire;

mod block;
mod slice;

#[cfg(not(loom))]
pub use arena::Arena;
pub use doorbell::{Doorbell, Rang, Ringer, doorbell};
pub use lane::{LaneReceiver, LaneSender, lane, lane_with_room_bell};
#[cfg(not(loom))]
pub use message::Message;
pub use ring::{Consumer, Producer, ring};
pub use slice::Slice;
#[cfg(not(loom))]
pub use uri::{Uri, UriError};
pub use window::{PoolStats, Window, WindowPool};
