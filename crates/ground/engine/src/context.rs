//! A loop as its tasks see it: spawning, time, chance and the loop's own cells.

use std::{
    cell::RefCell,
    fmt,
    panic::Location,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use tokio::task::JoinHandle;

use crate::{
    clock::Clock,
    gauge::GaugeShard,
    heartbeat::{Heartbeat, Site, Sites, TaskKind, Watched},
    memory::AccountShard,
    rng::Rng,
    scope::{ScopeNode, ScopeRef},
    timers::Timers,
};

/// The loop on which the caller runs. Clones are one pointer; it never leaves its thread.
#[derive(Clone)]
pub struct LoopContext {
    shared: Rc<Shared>,
}

struct Shared {
    index: usize,
    loops: usize,
    clock: Clock,
    timers: Timers,
    rng: RefCell<Rng>,
    accounts: AccountShard,
    gauges: GaugeShard,
    heartbeat: Arc<Heartbeat>,
    sites: RefCell<Sites>,
    root: Rc<ScopeNode>,
}

/// What a new context is made of.
pub(crate) struct Parts {
    pub(crate) index: usize,
    pub(crate) loops: usize,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) accounts: AccountShard,
    pub(crate) gauges: GaugeShard,
    pub(crate) heartbeat: Arc<Heartbeat>,
}

impl LoopContext {
    pub(crate) fn new(parts: Parts) -> LoopContext {
        let Parts { index, loops, clock, rng, accounts, gauges, heartbeat } = parts;
        let shared = Shared {
            index,
            loops,
            timers: Timers::new(clock.clone()),
            clock,
            rng: RefCell::new(rng),
            accounts,
            gauges,
            heartbeat,
            sites: RefCell::default(),
            root: ScopeNode::root(),
        };
        LoopContext { shared: Rc::new(shared) }
    }

    /// Which loop this is, from 0.
    pub fn index(&self) -> usize {
        self.shared.index
    }

    /// How many loops there are.
    pub fn loops(&self) -> usize {
        self.shared.loops
    }

    /// Monotonic time now.
    pub fn now(&self) -> Instant {
        self.shared.clock.now()
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// The loop's timers.
    pub fn timers(&self) -> &Timers {
        &self.shared.timers
    }

    /// 64 random bits, not secret.
    pub fn random(&self) -> u64 {
        self.shared.rng.borrow_mut().next_u64()
    }

    /// A generator of the caller's own.
    pub fn fork_rng(&self) -> Rng {
        self.shared.rng.borrow_mut().fork()
    }

    /// The loop's cells of the memory accounts.
    pub fn accounts(&self) -> &AccountShard {
        &self.shared.accounts
    }

    /// The loop's cells of counters and gauges.
    pub fn gauges(&self) -> &GaugeShard {
        &self.shared.gauges
    }

    /// The scope of the whole loop: it stops when the loops are told to. Scopes of listeners are its children.
    pub fn root(&self) -> ScopeRef {
        ScopeRef::of(self.clone(), self.shared.root.clone())
    }

    /// Starts a task on this loop that belongs to no scope and ends with the loop. Most tasks belong to a
    /// [`crate::Scope`]. `kind` and the caller's line name it where it blocks the loop.
    #[track_caller]
    pub fn spawn<F>(&self, kind: TaskKind, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.spawn_member(Site { kind, location: Location::caller() }, future, ())
    }

    pub(crate) fn spawn_member<F, M>(&self, site: Site, future: F, membership: M) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
        M: 'static,
    {
        let number = self.shared.sites.borrow_mut().number(&self.shared.heartbeat, site);
        let watched = Watched::new(future, number, self.shared.heartbeat.clone(), membership);
        Task { handle: tokio::task::spawn_local(watched) }
    }

    /// Lets the loop's other tasks run first.
    pub async fn yield_now(&self) {
        tokio::task::yield_now().await;
    }
}

impl fmt::Debug for LoopContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopContext").field("index", &self.shared.index).finish_non_exhaustive()
    }
}

/// A running task. Await it for its result, or drop it and the task runs on.
#[derive(Debug)]
#[must_use = "dropping it detaches the task: say so with `.detach()`"]
pub struct Task<T> {
    handle: JoinHandle<T>,
}

/// Why a task gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEnd {
    /// Somebody aborted it, or its scope or loop ended.
    Aborted,
    /// It panicked; the panic cost this task only and was counted.
    Panicked,
}

impl fmt::Display for TaskEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TaskEnd::Aborted => "task was aborted",
            TaskEnd::Panicked => "task panicked",
        })
    }
}

impl std::error::Error for TaskEnd {}

impl<T> Task<T> {
    /// Drops the task's future at its next await; does nothing to a task that has ended.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Lets the task run without anybody waiting for it.
    pub fn detach(self) {}

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    pub(crate) fn abort_handle(&self) -> tokio::task::AbortHandle {
        self.handle.abort_handle()
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskEnd>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle)
            .poll(context)
            .map(|joined| joined.map_err(|error| if error.is_panic() { TaskEnd::Panicked } else { TaskEnd::Aborted }))
    }
}
