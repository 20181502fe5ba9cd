//! The fabric's transport over RDMA adapters (`rdma://host:port`), through libibverbs.
//!
//! Programs link it in by naming it, `use fabric_rdma as _;`, and find it by its scheme. It never appears in any other way: it has no public items.
//! Without rdma-core it builds and links all the same, and says that the library is not here when an address is opened.
//!
//! ```text
//!   outlet                    bulk pair                      inlet
//!   window n   ── send ──►  reliable connection  ──►  buffer n mod count      one copy: by the adapters
//!   window     ── send ──►     urgent pair       ──►  buffer                  passes bulk windows on their way
//!   notes page ◄─────────  write, or write with immediate ◄── disposed, read  credits, in front of windows that go the other way
//!   TCP        ◄────────────── tether ───────────────────► TCP                introduces, finishes, tells of death
//! ```
//!
//! Each lane has a queue pair. Its receive queue holds a posted buffer for each window that the peer may have on its way, so a window always finds
//! one; what the reader has disposed of is written into a page of the writer, with an immediate when that is to wake it. A peer can write into that
//! page and nowhere else: windows come by send, into buffers that we post, and are read where they arrived, because an adapter writes only to buffers
//! that are posted. The kinds of damage left to a peer are wrong headers and wrong counters, and both are checked.
//!
//! Several adapters: the connection's local address chooses, or `?device=`; see `address.rs` for all options.
//!
//! # Budgets
//!
//! | operation | copies | allocations | system calls (adapters that are driven from user space) | locked instructions |
//! |---|---|---|---|---|
//! | take and ship a window | 0 | 0 | 0 | 2 for our lock, and the driver's |
//! | receive and dispose of a window | 0 | 0 | 0 | 6 for our locks, and the driver's |
//! | tell what was read | 0 | 0 | 0 (in front of a window: no call of its own) | 2 for our lock, and the driver's |
//! | sleep and be woken | 0 | 0 | 1 to 3 to arm, 1 to wait, 2 a ring | 0 |
//!
//! The software adapter of Linux (`rdma_rxe`) makes a system call of every post.
//!
//! # Invariants
//!
//! - **V1** Structures and functions have the layout and signatures of rdma-core's header for `libibverbs.so.1`, which its makers keep for as long as the
//!   name ends in `.1`; sizes and offsets are asserted at compile time.
//! - **V2** A handle is not null, came from the function that makes its kind, is destroyed once, in `drop`, and holds what it was made from by `Arc` or
//!   lives beside it, so that this outlives it.
//! - **V3** Memory that posted work names stays mapped and registered until the work was completed or its queue pair is destroyed, and bytes that are
//!   being sent are not written until then.
//! - **V4** A receive buffer is either posted, and then the adapter's, or not, and then the one window's that was made of it.
//! - **V5** The one page that a peer may write by itself is foreign memory: it is copied out and checked (FABRIC R2, R6).
//! - **V6** Functions of the library may be called from any thread at once, except that an object's destruction excludes other calls on it; `drop` has
//!   the only reference.
//! - **V7** The library is never unloaded.

mod address;
mod candidate;
mod connector;
mod control;
mod hello;
mod link;
mod notes;
mod provider;
mod verbs;
