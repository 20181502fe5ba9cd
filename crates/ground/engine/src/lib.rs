//! Event loops, thread pools, timers, memory accounts and the calls to the operating system.
//!
//! The signatures below are the contract while the files fill (each item is re-exported from the crate root):
//!
//! ```text
//! // loops
//! Loops::start(n, |LoopContext| async {..}) -> Result<Loops, StartError>            n = 0: one per core
//! Loops::start_each(LoopOptions { clock, accounts, gauges, seed, stop_grace }, inputs: Vec<T>, |LoopContext, T| async {..})
//! loops.stop(); loops.abort(); loops.join() -> LoopsEnd; loops.shutdown(grace) -> LoopsEnd; loops.remote(i) -> LoopRemote (Send)
//! LoopRemote::dispatch(FnOnce(&LoopContext) + Send) -> Result<(), Busy>
//! LoopContext: Clone, !Send: index() loops() spawn(TaskKind("smtp session"), fut) -> Task<T> now() clock() timers() random() fork_rng()
//!              accounts() -> &AccountShard  gauges() -> &GaugeShard  root() -> &ScopeRef  yield_now()
//! Task<T>: Future<Output = Result<T, TaskEnd>>, abort(), detached by drop; TaskEnd { Aborted, Panicked }
//! StallWatch::start(&loops, StallOptions { sample_every, limit }, FnMut(Stall) + Send) ; Stall { loop_index, task_kind, location, lasted, over }
//! // timers
//! Timers::at(Instant) -> Timer; after(Duration) -> Timer; sleep(Duration) -> future
//! Timer (16 bytes): reset(Instant), clear(), deadline(), has_fired(), wait().await, limit(fut).await -> Result<T, TimedOut>
//! Wheel<T>: new(now) insert(tick, T) -> Key cancel(Key) -> Option<T> poll(now) -> Option<(Key, T)> next_wake()
//! // scopes
//! Scope::new(&LoopContext) / ScopeRef::child() -> Scope; owner: drop aborts; Deref to ScopeRef (Clone): spawn(kind, fut) -> Task<T>,
//!   stop(), abort(), is_stopping(), stopped().await, ended().await, live()
//! // pools
//! Pools::new(); create("swap-in", threads, backlog) -> Result<Pool, CreateError>; get(name); snapshot(); close()
//! Pool::run(FnOnce() -> T) -> Result<Job<T>, Busy>; Job<T>: Future<Output = Result<T, JobPanicked>>; run_blocking(f) -> Result<T, RunError>;
//!   resize(threads); statistics() -> PoolStatistics (Display in the shape of `threads stats`)
//! // clock, rng
//! Clock::system(); Clock::manual() -> (Clock, ManualClock); now() -> Instant; unix() -> UnixMicros; sleep_until(Instant).await
//! Rng::from_seed(u64), Rng::from_os(); next_u64(), below(n), between(range), fill(&mut [u8])
//! // memory
//! Accounts::new(); register(name) -> Result<MemoryType, RegisterError>; shard() -> AccountShard; rows(); table() (Display)
//! AccountShard::charge(MemoryType, bytes) -> Charge (!Send); Charge::resize(bytes); Charge::into_shared() -> SharedCharge (Send)
//! MemoryMonitor::new(MemoryLimits { goal, high_water }, Option<Arc<dyn Allocator>>); sample() -> MemoryFigures; pressure() -> PressureGauge; run(&LoopContext, every)
//! PressureGauge::now() -> Pressure { Normal, AboveGoal, AboveHighWater }
//! // gauges
//! Gauges::new(); counter(name) -> CounterId; gauge(name) -> GaugeId; shard() -> GaugeShard; GaugeShard::counter(id) -> Counter; Counter::add(n)
//! // net
//! listen(addr, &ListenOptions) -> io::Result<TcpListener (std)>; listen_unix(path, &ListenOptions); Listener::from_tcp(std)/from_unix; accept().await -> Result<Stream, AcceptError>
//! connect(&Timers, local: Option<IpAddr>, remote, timeout).await -> Result<Stream, ConnectError>; connect_unix(path)
//! Stream: readable().await, poll_readable(cx), try_read(&mut [u8]), try_write, try_writev(&[IoSlice]), write_all_vectored(&mut [IoSlice]).await, peer(), local(), shutdown_write()
//! // limits, service, usage
//! raise_descriptor_limit() -> io::Result<DescriptorLimit>; Descriptors::new(total, Reserve { delivery, journal, console }); try_session() / try_delivery() -> Option<Seat>
//! Notifier::from_env(); notify(&[Notice::Ready, ..]); watchdog_interval(); inherited_sockets() -> Result<Vec<Inherited>, ..>; Signals::new(); next().await -> Signal
//! ProcessUsage::read(), ThreadUsage::read_all()
//! ```

mod clock;
mod context;
mod gauge;
mod heartbeat;
mod limits;
mod loops;
mod memory;
mod net;
mod pools;
mod pressure;
mod rng;
mod scope;
mod service;
mod signals;
mod slots;
mod stall;
mod tally;
mod timers;
mod usage;
mod wheel;

pub use clock::{Alarm, Clock, ManualClock, UnixMicros};
pub use context::{LoopContext, Task, TaskEnd};
pub use gauge::{Counter, CounterId, GAUGES_MAX, Gauge, GaugeError, GaugeId, GaugeShard, Gauges, Reading, Value};
pub use heartbeat::TaskKind;
pub use limits::{DescriptorLimit, Descriptors, Reserve, Seat, raise_descriptor_limit};
pub use loops::{DispatchError, LoopEnd, LoopFigures, LoopOptions, LoopRemote, Loops, StartError, run_here};
pub use memory::{
    AccountRow, AccountShard, Accounts, Charge, MEMORY_TYPES_MAX, MemoryTable, MemoryType, RegisterError, SharedCharge,
};
pub use net::{
    AcceptError, ConnectError, ListenOptions, Listener, Peer, PortSharing, SLICES_PER_CALL_MAX, Sending, Stream,
    connect, connect_unix, listen, listen_each, listen_unix,
};
pub use pools::{
    Busy, CPU, CreateError, IO, Job, JobPanicked, POOL_THREADS_MAX, Pool, PoolStatistics, Pools, RunError, SWAP_IN,
    SWAP_OUT,
};
pub use pressure::{
    Allocator, AllocatorFigures, MemoryFigures, MemoryLimits, MemoryMonitor, Pressure, PressureGauge, Threshold,
};
pub use rng::Rng;
pub use scope::{Scope, ScopeRef, Waiting};
pub use service::{InheritError, Inherited, InheritedSocket, Notice, Notifier, inherited_sockets};
pub use signals::{Signal, Signals};
pub use stall::{Stall, StallOptions, StallStage, StallWatch};
pub use timers::{TICK, TimedOut, Timer, Timers};
pub use usage::{ProcessUsage, ThreadUsage, process_cpu, thread_cpu};
pub use wheel::{Key, Wheel};
