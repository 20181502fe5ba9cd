//! The fabric: messages and windows of memory between threads, processes and machines.
//!
//! A library by itself, used by the mail server and by whoever needs fast queues. It knows nothing of mail or of any async runtime, and blocks only where
//! a caller says until when. `docs/fabric-guide.md` says what to choose, `docs/formats/fabric.md` what goes over the wire.
//!
//! # Layers
//!
//! ```text
//!  application      post ─────────────┐            receive        take ─ fill ─ ship / receive       publish · call, answer
//!                                     │               ▲                    (raw)                     [`publish`] [`request`]
//!  [`channel`]      Sender ─► queue ─► Pump         Receiver           RawChannel
//!  [`queue`]                  7 kinds │ Scheduler     ▲ ReceiveReader, 4 kinds
//!                                     ▼ encoder       │ decoder
//!  [`tli`]          Outlet: take, ship, lend        Inlet: receive, dispose, borrow     Tether: ring, look, death
//!                       │ filters                     ▲ [`filter`]
//!  transports       [`inproc`] · [`ipc`] · tcp, vsock (`fabric-net`) · rdma (`fabric-rdma`) · signed modules (`fabric-modules`)
//!                       │                             ▲
//!  memory           TxWindow ─────── [`wire`] ──── RxWindow        [`Window`], [`Slice`] of an [`Arena`] or a [`WindowPool`]
//!                                  [`memory`]
//!  ground           [`ring()`] · [`lane()`] · [`doorbell()`] · [`sync`]
//! ```
//!
//! Calls go down by window, not by message: between two windows a channel lays messages into memory and reads them there. Each layer can be used without
//! those above it: the event loops of the mail server use the ground alone.
//!
//! - [`Channel`](channel::Channel), [`Message`]: the usual door. [`channel::RawChannel`]: windows only.
//! - [`WindowPool`], [`Window`], [`Slice`]: memory that is written once and shared by reference. [`Arena`]: such memory that peers can map.
//! - [`ring()`]: bounded queue of one producer and one consumer. [`lane()`]: ring, doorbell and overflow together: keeps order, loses nothing.
//! - [`doorbell()`]: wakes the task or thread that looks after any number of rings.
//!
//! # Memory ordering
//!
//! All atomics come from [`sync`], so that loom checks what follows (`tests/loom.rs`, `tests/queue_loom.rs`; each was seen to fail with its ordering
//! weakened). There are three arguments, used again and again.
//!
//! **1. Publication: one store makes whole what lies behind it.** The writer fills memory by plain stores and then stores one word with release; the reader
//! loads that word with acquire, and what it finds behind it is complete. Whoever dies in between has published nothing.
//!
//! | word | published by it | taken back by |
//! |---|---|---|
//! | the first word of a message ([`wire`]) | its body, and the zero behind it | `disposed` of its window |
//! | the sequence in a window's header | the header, and the zero of its first message | `disposed` |
//! | the tail of a ring, the state of a queue's slot | the value in the slot | the head, the slot's next state |
//! | `returned` of `ipc:` | the entry in the ring of returned leases | the entry is used again when its lease is lent again |
//! | `read`, `disposed` | that the reader has left those bytes (release), so that the writer (acquire) may write them again | |
//!
//! A word has one writer, or is changed by compare-exchange alone. Counts only grow, so a reader that sees an old one waits longer than it must and never does
//! harm.
//!
//! **2. Wake-ups: store, full fence, load, on both sides.** Who is about to sleep says so, fences, and looks once more at everything that could have come; who has
//! published something fences, and looks whether someone sleeps. Of the two looks at least one sees the other's store (in every order of the two fences), so
//! nobody sleeps beside something that is there. Release and acquire do not suffice: each side reads what the other writes, and both reads could come
//! before both writes.
//!
//! | something came | someone sleeps | where |
//! |---|---|---|
//! | a message, a window | the peer's `sleep` word | [`TxWindow::peer_sleeps`](tli::TxWindow::peer_sleeps), [`ipc::PeerSleep`] with [`ipc::SleepWord`] |
//! | a window given back, messages read | `wants` of the peer | `ipc`: inlet and outlet |
//! | a value in a ring or lane | the doorbell's state | [`Doorbell`] and [`Ringer`] |
//! | a message in a queue, a turn's result | the driver, the waiting receiver or poster | `channel::shared`, W1 to W3 |
//!
//! A sleep has a number, and a ring is for that number: who was rung once need not be rung again, and a ring that comes late wakes in vain at worst.
//!
//! **3. The last one out.** Counts of holders ([`Slice`], windows, handles) are raised relaxed, since who raises has one already; they are lowered with
//! release, and who lowers the last acquires: all that others read or wrote lies before what it does with the memory.
//!
//! What another *process* writes is never ordered by our promises alone. Each word of a peer is copied once, the copy is checked, and the copy is used; bytes that
//! it can still write are copied out by instructions that the compiler does not see into ([`memory`], M2), and no reference to them exists.
//!
//! # Budgets
//!
//! Uncontended, on one core of a 2020s server; an *atomic* is a locked read-modify-write or a full fence, plain loads and stores are free of charge.
//! Those of channels, queues and transports stand in their modules.
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
//! The ground allocates nothing, except a window that the free list does not hold, a [`Slice`] of its own memory, and a lane's overflow.

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

/// The guide's examples, run with the tests of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/fabric-guide.md")]
pub struct Guide;
