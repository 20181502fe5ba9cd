//! The event loops: one operating system thread each, with a tokio current-thread runtime for tasks that stay.
//!
//! The binary starts them once ([`Loops::start_each`]) and hands each its part (listeners, ring ends, its share of the
//! scheduler). Loops share nothing that changes; other threads reach a loop through [`LoopRemote::dispatch`], which is
//! for rare things (a new configuration, a console command), never for messages.

use std::{
    fmt,
    future::poll_fn,
    io,
    panic::Location,
    pin::{Pin, pin},
    sync::{Arc, mpsc as sync_mpsc},
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, LocalOptions, LocalRuntime},
    sync::{mpsc, oneshot, watch},
};

use crate::{
    clock::Clock,
    context::{LoopContext, Parts, Task, TaskEnd},
    gauge::Gauges,
    heartbeat::{Heartbeat, Site, TaskKind},
    memory::Accounts,
    rng::Rng,
};

/// How many dispatched closures wait for a loop before it is called busy.
const DISPATCHED_MAX: usize = 1024;

/// What all loops have in common.
#[derive(Clone, Debug, Default)]
pub struct LoopOptions {
    /// Time; the default is the machine's.
    pub clock: Clock,
    /// Memory accounts; each loop gets a shard.
    pub accounts: Accounts,
    /// Counters and gauges; each loop gets a shard.
    pub gauges: Gauges,
    /// Seeds the loops' generators; `None` asks the kernel.
    pub seed: Option<u64>,
}

/// The running loops. Dropping this ends them without a wait.
#[derive(Debug)]
pub struct Loops {
    phase: watch::Sender<Phase>,
    threads: Vec<thread::JoinHandle<LoopEnd>>,
    remotes: Vec<LoopRemote>,
    heartbeats: Vec<Arc<Heartbeat>>,
    /// Says nothing; it closes when the last thread ends.
    alive: sync_mpsc::Receiver<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Stopping,
    Aborted,
}

/// How a loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopEnd {
    /// Its main future returned.
    Finished,
    /// It was aborted, or [`Loops`] was dropped.
    Aborted,
    /// Its main future panicked.
    Panicked,
}

/// A loop could not be started; those that had been are ended again.
#[derive(Debug)]
pub struct StartError {
    /// Which one.
    pub loop_index: usize,
    /// What the operating system said.
    pub source: io::Error,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start event loop {}", self.loop_index)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// What a loop has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopFigures {
    /// Which loop.
    pub index: usize,
    /// Polls of tasks.
    pub polls: u64,
    /// Tasks started.
    pub spawned: u64,
    /// Tasks that exist.
    pub live: u64,
    /// Tasks that panicked.
    pub panics: u64,
    /// Polls that the stall watcher found too long.
    pub stalls: u64,
}

impl Loops {
    /// Starts `count` loops (0: one per core) with default options; each runs its own `main`.
    ///
    /// # Errors
    /// See [`StartError`].
    #[track_caller]
    pub fn start<M, F>(count: usize, main: M) -> Result<Loops, StartError>
    where
        M: Fn(LoopContext) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let count = if count == 0 { cores() } else { count };
        Loops::start_each(LoopOptions::default(), vec![(); count], move |context, ()| main(context))
    }

    /// Starts one loop for each of `inputs` and hands it over. A loop ends when its `main` returns; tasks that are
    /// still there are dropped then, so `main` waits for those that matter (`context.root().ended()`).
    ///
    /// # Errors
    /// See [`StartError`].
    #[track_caller]
    pub fn start_each<T, M, F>(options: LoopOptions, inputs: Vec<T>, main: M) -> Result<Loops, StartError>
    where
        T: Send + 'static,
        M: Fn(LoopContext, T) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let site = Site { kind: TaskKind("main"), location: Location::caller() };
        let count = inputs.len();
        let (phase, _) = watch::channel(Phase::Running);
        let (alive_sender, alive) = sync_mpsc::channel();
        let mut loops = Loops { phase, threads: vec![], remotes: vec![], heartbeats: vec![], alive };
        let mut seeds = match options.seed {
            Some(seed) => Rng::from_seed(seed),
            None => Rng::from_os().map_err(|source| StartError { loop_index: 0, source })?,
        };
        for (index, input) in inputs.into_iter().enumerate() {
            let (sender, inbox) = mpsc::channel(DISPATCHED_MAX);
            let (started_sender, started) = sync_mpsc::channel();
            let heartbeat = Arc::<Heartbeat>::default();
            let frame = Frame { index, count, options: options.clone(), rng: seeds.fork(), heartbeat };
            loops.heartbeats.push(frame.heartbeat.clone());
            loops.remotes.push(LoopRemote { index, sender });
            let (phase, main, alive) = (loops.phase.subscribe(), main.clone(), alive_sender.clone());
            let body = move || {
                let _alive = alive;
                let runtime = match build_runtime() {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        // The starter waits for this very message.
                        let _ = started_sender.send(Err(error));
                        return LoopEnd::Aborted;
                    }
                };
                let _ = started_sender.send(Ok(()));
                runtime.block_on(async move {
                    let context = frame.into_context();
                    let task = context.spawn_member(site, main(context.clone(), input), ());
                    serve(context, inbox, phase, task).await
                })
            };
            let spawned = thread::Builder::new().name(format!("loop-{index}")).spawn(body);
            let thread = spawned.map_err(|source| StartError { loop_index: index, source })?;
            loops.threads.push(thread);
            let outcome = started.recv().unwrap_or_else(|_| Err(io::Error::other("thread ended before it began")));
            outcome.map_err(|source| StartError { loop_index: index, source })?;
        }
        Ok(loops)
    }

    /// How many loops there are.
    pub fn count(&self) -> usize {
        self.remotes.len()
    }

    /// A way to reach a loop from other threads.
    ///
    /// # Panics
    /// If there is no loop of this index.
    pub fn remote(&self, index: usize) -> LoopRemote {
        self.remotes[index].clone()
    }

    /// Every loop's remote, in order.
    pub fn remotes(&self) -> &[LoopRemote] {
        &self.remotes
    }

    /// Asks every loop to stop: `context.root().stopped()` is ready everywhere. Ending is up to each `main`.
    pub fn stop(&self) {
        self.phase.send_if_modified(|phase| {
            let running = *phase == Phase::Running;
            if running {
                *phase = Phase::Stopping;
            }
            running
        });
    }

    /// Ends every loop at its next turn; what its tasks were doing is dropped.
    pub fn abort(&self) {
        self.phase.send_replace(Phase::Aborted);
    }

    /// Waits until every loop has ended by itself.
    pub fn join(mut self) -> Vec<LoopEnd> {
        self.collect()
    }

    /// Stops the loops, waits up to `grace` for them to end, then aborts those that have not. A loop that blocks in
    /// a single poll is waited for without limit.
    pub fn shutdown(mut self, grace: Duration) -> Vec<LoopEnd> {
        self.stop();
        let deadline = Instant::now() + grace;
        // Nothing is ever sent: this returns when the last thread has dropped its end, or at the deadline.
        let _ = self.alive.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        self.abort();
        self.collect()
    }

    fn collect(&mut self) -> Vec<LoopEnd> {
        self.threads.drain(..).map(|thread| thread.join().unwrap_or(LoopEnd::Panicked)).collect()
    }

    /// What each loop has done so far.
    pub fn figures(&self) -> Vec<LoopFigures> {
        let figures = self.heartbeats.iter().enumerate().map(|(index, heartbeat)| {
            let ended = heartbeat.ended.get();
            let spawned = heartbeat.spawned.get();
            LoopFigures {
                index,
                polls: heartbeat.read().polls(),
                spawned,
                live: spawned.saturating_sub(ended),
                panics: heartbeat.panics.get(),
                stalls: heartbeat.stalls().get(),
            }
        });
        figures.collect()
    }

    pub(crate) fn heartbeats(&self) -> &[Arc<Heartbeat>] {
        &self.heartbeats
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Runs one loop on the calling thread until `main` returns: for tests, benches and small tools.
///
/// # Errors
/// See [`StartError`].
///
/// # Panics
/// If `main` panics.
#[track_caller]
pub fn run_here<M, F>(options: LoopOptions, main: M) -> Result<F::Output, StartError>
where
    M: FnOnce(LoopContext) -> F,
    F: Future + 'static,
    F::Output: 'static,
{
    let site = Site { kind: TaskKind("main"), location: Location::caller() };
    let failed = |source| StartError { loop_index: 0, source };
    let runtime = build_runtime().map_err(failed)?;
    let rng = options.seed.map_or_else(Rng::from_os, |seed| Ok(Rng::from_seed(seed))).map_err(failed)?;
    let frame = Frame { index: 0, count: 1, options, rng, heartbeat: Arc::default() };
    let outcome = runtime.block_on(async {
        let context = frame.into_context();
        let main = context.spawn_member(site, main(context.clone()), ());
        let driver = drive_timers(&context);
        let outcome = main.await;
        driver.abort();
        outcome
    });
    Ok(outcome.expect("the main future of a loop on this thread panicked, and its panic goes on here"))
}

/// One loop per core that this process may use.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn build_runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default())
}

/// What a loop's thread needs to make its context.
struct Frame {
    index: usize,
    count: usize,
    options: LoopOptions,
    rng: Rng,
    heartbeat: Arc<Heartbeat>,
}

impl Frame {
    fn into_context(self) -> LoopContext {
        LoopContext::new(Parts {
            index: self.index,
            loops: self.count,
            clock: self.options.clock,
            rng: self.rng,
            accounts: self.options.accounts.shard(),
            gauges: self.options.gauges.shard(),
            heartbeat: self.heartbeat,
        })
    }
}

type Dispatched = Box<dyn FnOnce(&LoopContext) + Send>;

fn drive_timers(context: &LoopContext) -> Task<()> {
    let timers = context.timers().clone();
    context.spawn(TaskKind("timers"), async move { timers.drive().await })
}

/// The frame around a loop's `main`: timers, dispatched closures, and the phase that all loops share.
async fn serve(
    context: LoopContext,
    mut inbox: mpsc::Receiver<Dispatched>,
    mut phase: watch::Receiver<Phase>,
    mut main: Task<()>,
) -> LoopEnd {
    drive_timers(&context).detach();
    let receiver = context.clone();
    let dispatched = async move {
        while let Some(job) = inbox.recv().await {
            let context = receiver.clone();
            // A task of its own, so that a panic costs this job only. It is counted; there is nobody else to tell.
            let _ = receiver.spawn(TaskKind("dispatched job"), async move { job(&context) }).await;
        }
    };
    context.spawn(TaskKind("dispatched"), dispatched).detach();
    let mut aborted = pin!(async {
        loop {
            match *phase.borrow_and_update() {
                Phase::Running => {}
                Phase::Stopping => context.root().stop(),
                Phase::Aborted => return,
            }
            if phase.changed().await.is_err() {
                return;
            }
        }
    });
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = Pin::new(&mut main).poll(cx) {
            return Poll::Ready(match outcome {
                Ok(()) => LoopEnd::Finished,
                Err(TaskEnd::Aborted) => LoopEnd::Aborted,
                Err(TaskEnd::Panicked) => LoopEnd::Panicked,
            });
        }
        aborted.as_mut().poll(cx).map(|()| LoopEnd::Aborted)
    })
    .await
}

/// A loop as other threads reach it.
#[derive(Clone)]
pub struct LoopRemote {
    index: usize,
    sender: mpsc::Sender<Dispatched>,
}

/// Why a closure was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DispatchError {
    /// Too many wait already; try again later.
    Busy,
    /// The loop has ended.
    Ended,
}

impl fmt::Display for DispatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DispatchError::Busy => write!(f, "event loop has {DISPATCHED_MAX} closures waiting"),
            DispatchError::Ended => f.write_str("event loop has ended"),
        }
    }
}

impl std::error::Error for DispatchError {}

impl LoopRemote {
    /// Which loop this is.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Has the loop run `job`, after those dispatched before. A panic costs this job only, and is counted.
    ///
    /// # Errors
    /// See [`DispatchError`]; `job` is then dropped.
    pub fn dispatch(&self, job: impl FnOnce(&LoopContext) + Send + 'static) -> Result<(), DispatchError> {
        self.sender.try_send(Box::new(job)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => DispatchError::Busy,
            mpsc::error::TrySendError::Closed(_) => DispatchError::Ended,
        })
    }

    /// Has the loop answer a question.
    ///
    /// # Errors
    /// See [`DispatchError`]; `Ended` also if the loop ends before it answers.
    pub async fn ask<T, Q>(&self, question: Q) -> Result<T, DispatchError>
    where
        T: Send + 'static,
        Q: FnOnce(&LoopContext) -> T + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        self.dispatch(move |context| {
            // Nobody listens any more if the asker was dropped.
            let _ = sender.send(question(context));
        })?;
        answer.await.map_err(|_| DispatchError::Ended)
    }
}

impl fmt::Debug for LoopRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopRemote").field("index", &self.index).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        rc::Rc,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn each_loop_is_a_named_thread_with_its_own_input() {
        let (sender, receiver) = sync_mpsc::channel();
        let loops = Loops::start_each(LoopOptions::default(), vec![10, 20], move |context, input| {
            let sender = sender.clone();
            async move {
                let name = thread::current().name().map(str::to_owned);
                sender.send((context.index(), context.loops(), input, name)).unwrap();
            }
        })
        .unwrap();
        assert_eq!(loops.join(), [LoopEnd::Finished; 2]);
        let mut seen: Vec<_> = receiver.iter().collect();
        seen.sort();
        assert_eq!(seen, [(0, 2, 10, Some("loop-0".to_owned())), (1, 2, 20, Some("loop-1".to_owned()))]);
    }

    #[test]
    fn a_stop_is_seen_and_main_may_finish_its_work() {
        let finished = Arc::new(AtomicUsize::new(0));
        let counter = finished.clone();
        let loops = Loops::start(2, move |context| {
            let counter = counter.clone();
            async move {
                context.root().stopped().await;
                context.timers().sleep(Duration::from_millis(20)).await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
        assert_eq!(loops.shutdown(Duration::from_secs(20)), [LoopEnd::Finished; 2]);
        assert_eq!(finished.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_main_that_does_not_stop_is_aborted_after_the_grace() {
        let loops = Loops::start(1, |context| async move { context.timers().off().wait().await }).unwrap();
        assert_eq!(loops.shutdown(Duration::from_millis(20)), [LoopEnd::Aborted]);
    }

    #[test]
    fn a_panic_costs_its_task_only_and_is_counted() {
        let loops = Loops::start(1, |context| async move {
            let task = context.spawn(TaskKind("bad"), async { panic!("on purpose") });
            assert_eq!(task.await, Err::<(), _>(TaskEnd::Panicked));
            let good = context.spawn(TaskKind("good"), async { 5 });
            assert_eq!(good.await, Ok(5));
            context.root().stopped().await;
        })
        .unwrap();
        while loops.figures()[0].panics == 0 {
            thread::yield_now();
        }
        loops.stop();
        assert_eq!(loops.join(), [LoopEnd::Finished]);
        let loops = Loops::start(1, |_| async { panic!("on purpose") }).unwrap();
        assert_eq!(loops.join(), [LoopEnd::Panicked]);
    }

    #[test]
    fn other_threads_reach_a_loop() {
        let loops = Loops::start(2, |context| async move { context.root().stopped().await }).unwrap();
        let remote = loops.remote(1);
        let index = run_here(LoopOptions::default(), {
            let remote = remote.clone();
            |_| async move { remote.ask(LoopContext::index).await }
        });
        assert_eq!(index.unwrap(), Ok(1));
        remote.dispatch(|_| panic!("on purpose")).unwrap();
        let (sender, receiver) = sync_mpsc::channel();
        remote.dispatch(move |context| sender.send(context.index()).unwrap()).unwrap();
        assert_eq!((receiver.recv(), loops.figures()[1].panics), (Ok(1), 1));
        loops.shutdown(Duration::from_secs(20));
        assert_eq!(remote.dispatch(|_| {}), Err(DispatchError::Ended));
    }

    #[test]
    fn tasks_need_not_be_send_and_ended_ones_are_not_live() {
        let output = run_here(LoopOptions { seed: Some(1), ..LoopOptions::default() }, |context| async move {
            let shared = Rc::new(std::cell::Cell::new(1));
            let theirs = shared.clone();
            context.spawn(TaskKind("adder"), async move { theirs.set(theirs.get() + 1) }).await.unwrap();
            let aborted = context.spawn(TaskKind("sleeper"), std::future::pending::<()>());
            context.yield_now().await;
            aborted.abort();
            assert_eq!(aborted.await, Err(TaskEnd::Aborted));
            (shared.get(), context.random(), context.fork_rng().next_u64())
        });
        let (shared, random, forked) = output.unwrap();
        assert_eq!(shared, 2);
        let mut same = Rng::from_seed(1);
        assert_eq!((random, forked), (same.next_u64(), same.fork().next_u64()));
    }

    #[test]
    fn a_finished_task_is_no_longer_live() {
        let loops = Loops::start(1, |context| async move {
            for _ in 0..10 {
                context.spawn(TaskKind("short"), async {}).await.unwrap();
            }
            context.root().stopped().await;
        })
        .unwrap();
        // main, timers and dispatched remain of 13.
        while (loops.figures()[0].spawned, loops.figures()[0].live) != (13, 3) {
            thread::yield_now();
        }
        assert!(loops.figures()[0].polls >= 13);
    }
}
