//! Event loops, thread pools, timers, memory accounts and the calls to the operating system.
//!
//! Everything that the server needs of the machine goes through this crate, and nothing of mail is known here. Rooms
//! and services use it; it must never be used by `mail/*`, whose code takes bytes and `now` and returns effects.
//!
//! # Map
//! | noun | what it is |
//! |---|---|
//! | [`Loops`], [`LoopContext`], [`LoopRemote`] | one thread per core, each a tokio `LocalRuntime`: tasks that stay on their thread |
//! | [`Task`], [`TaskKind`] | a spawned future, with the kind and source line that name it when it blocks a loop |
//! | [`StallWatch`] | says which task held a loop for over 20 ms, when it happens and how long it was |
//! | [`Scope`], [`ScopeRef`] | a listener generation, a session, a message: ends its tasks when it ends |
//! | [`Timers`], [`Timer`], [`Wheel`] | any number of deadlines behind one wake-up a loop |
//! | [`Pools`], [`Pool`], [`Job`] | named threads for work that blocks, with bounded backlogs |
//! | [`Listener`], [`Stream`], [`connect`] | TCP and Unix sockets |
//! | [`Clock`], [`Rng`] | time and chance, both replaceable in a test |
//! | [`Accounts`], [`MemoryMonitor`], [`PressureGauge`] | who holds how much memory, and whether it is too much |
//! | [`Gauges`] | named counters, each thread on cells of its own |
//! | [`Descriptors`] | seats, so that the server refuses before descriptors run out |
//! | [`Notifier`], [`inherited_sockets`], [`Signals`] | the service manager and the operator |
//! | [`ProcessUsage`], [`ThreadUsage`] | CPU time, page faults, context switches |
//!
//! # Threads and sharing
//! What a loop uses ([`LoopContext`], [`Timer`], [`Scope`], [`Charge`], [`Counter`]) is not `Send`: the compiler keeps it on
//! its thread, and it is counted in cells that no other thread writes. What may cross threads is named so: [`LoopRemote`],
//! [`Pool`], [`SharedCharge`], [`Clock`], [`PressureGauge`], [`Descriptors`], and the registries. Nothing here is global; two
//! servers may live in one process.
//!
//! # Budget
//! No lock, no allocation and no atomic read-modify-write per message; none but the runtime's own per poll. Measured by
//! `cargo bench -p engine` on a two-core virtual machine (median of 100 samples):
//!
//! | step | cost |
//! |---|---|
//! | poll of a task that wakes itself, tokio's queue included | 26 ns, of which the watch 0.6 ns |
//! | spawn, run and end a task | 174 ns bare, 230 ns watched, 306 ns in a scope of its own |
//! | `Timer::reset` to a later deadline | 8 ns |
//! | make and drop a timer | 18 ns |
//! | wheel: insert and cancel; insert and fire among 10,000 | 9 ns; 34 ns |
//! | `Counter::add`; charge memory and give it back | 1.2 ns; 3.3 ns |
//! | `Clock::now`; `Clock::unix` | 23 ns; 27 ns |
//! | pool: a job of 64 in flight; one round trip that wakes two threads | 0.7 µs; 5 µs between busy cores, 34 µs when both must wake |
//! | `MemoryMonitor::sample`; `ProcessUsage::read` | 32 µs; 40 µs with two threads |
//!
//! An idle connection (task in a scope of its own, `Stream`, armed `Timer`, stop signal, 32 bytes of buffer) holds 1,060
//! bytes of heap; `tests/idle_session_memory.rs` keeps it below 1,280. An idle session needs no read buffer: see
//! [`Stream::poll_read`].
//!
//! # Unsafe
//! Three places, each with its proof: the pin projection of a watched future, `setsockopt` for the one option that rustix
//! and socket2 lack, and taking the descriptors of socket activation. `libc` is there for that option and for names of errors.

mod clock;
mod context;
mod gauge;
mod heartbeat;
mod job;
mod limits;
mod listener;
mod loops;
mod memory;
mod pools;
mod pressure;
mod rng;
mod scope;
mod service;
mod signals;
mod slots;
mod stall;
mod statistics;
mod stream;
mod tally;
mod timers;
mod usage;
mod wheel;

pub use clock::{Alarm, Clock, ManualClock, UnixMicros};
pub use context::{LoopContext, Task, TaskEnd};
pub use gauge::{Counter, CounterId, GAUGES_MAX, Gauge, GaugeError, GaugeId, GaugeShard, Gauges, Reading, Value};
pub use heartbeat::TaskKind;
pub use job::{Job, JobPanicked};
pub use limits::{DescriptorLimit, Descriptors, Reserve, Seat, raise_descriptor_limit};
pub use listener::{AcceptError, ListenOptions, Listener, PortSharing, Sending, listen, listen_each, listen_unix};
pub use loops::{DispatchError, LoopEnd, LoopFigures, LoopOptions, LoopRemote, Loops, StartError, run_here};
pub use memory::{
    AccountRow, AccountShard, Accounts, Charge, MEMORY_TYPES_MAX, MemoryTable, MemoryType, RegisterError, SharedCharge,
};
pub use pools::{Busy, CPU, CreateError, IO, POOL_THREADS_MAX, Pool, Pools, RunError, SWAP_IN, SWAP_OUT};
pub use pressure::{
    Allocator, AllocatorFigures, MemoryFigures, MemoryLimits, MemoryMonitor, Pressure, PressureGauge, Threshold,
};
pub use rng::Rng;
pub use scope::{Scope, ScopeRef, Waiting};
pub use service::{InheritError, Inherited, InheritedSocket, Notice, Notifier, inherited_sockets};
pub use signals::{Signal, Signals};
pub use stall::{Stall, StallOptions, StallStage, StallWatch};
pub use statistics::PoolStatistics;
pub use stream::{ConnectError, Peer, SLICES_PER_CALL_MAX, Stream, connect, connect_unix};
pub use timers::{TICK, TimedOut, Timer, Timers};
pub use usage::{ProcessUsage, ThreadUsage, process_cpu, thread_cpu};
pub use wheel::{Key, Wheel};
