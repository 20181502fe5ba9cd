//! Named thread pools for work that blocks: files, scans, passwords, compression.
//!
//! ```text
//!  loop ── run(job) ──► [ queue, bounded, first come first served ] ──► threads "swap-in-0", "swap-in-1", …
//!       ◄── Job<T> (a future) ◄──────────────────────────────────────── result, or the news that the job panicked
//! ```
//!
//! A job costs one allocation and two short turns of the pool's lock; it is therefore for work of 20 µs and more.
//! A full pool answers [`Busy`] at once: it never makes a loop wait. Threads are started when jobs first need them.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    job::{Job, JobCell, JobPanicked, RunJob, wait_here},
    statistics::PoolStatistics,
};

/// The pool that reads messages back from disk.
pub const SWAP_IN: &str = "swap-in";
/// The pool that writes messages to disk.
pub const SWAP_OUT: &str = "swap-out";
/// The pool for computation.
pub const CPU: &str = "cpu";
/// The pool for other input and output.
pub const IO: &str = "io";
/// The most threads of one pool.
pub const POOL_THREADS_MAX: usize = 1024;

/// The pools of a server. Cheap to clone; all clones are one registry.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    pools: Arc<Mutex<Vec<Pool>>>,
}

/// Why a pool could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateError {
    /// There is a pool of this name; resize that.
    Exists {
        /// The name.
        name: String,
    },
    /// The number of threads is zero or above [`POOL_THREADS_MAX`].
    Threads {
        /// What was asked for.
        threads: usize,
    },
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CreateError::Exists { name } => write!(f, "pool {name} exists"),
            CreateError::Threads { threads } => write!(f, "a pool has 1 to {POOL_THREADS_MAX} threads, not {threads}"),
        }
    }
}

impl std::error::Error for CreateError {}

impl Pools {
    /// No pools yet.
    pub fn new() -> Pools {
        Pools::default()
    }

    /// Makes a pool of up to `threads` threads; `backlog` jobs may wait beyond those that run.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub fn create(&self, name: &str, threads: usize, backlog: usize) -> Result<Pool, CreateError> {
        let mut pools = self.lock();
        if pools.iter().any(|pool| pool.name() == name) {
            return Err(CreateError::Exists { name: name.to_owned() });
        }
        let pool = Pool::new(name, threads, backlog)?;
        pools.push(pool.clone());
        Ok(pool)
    }

    /// The pool of this name.
    pub fn get(&self, name: &str) -> Option<Pool> {
        self.lock().iter().find(|pool| pool.name() == name).cloned()
    }

    /// What every pool has done, in the order of their making.
    pub fn statistics(&self) -> Vec<PoolStatistics> {
        self.lock().iter().map(Pool::statistics).collect()
    }

    /// Closes every pool and waits until the jobs they hold have run.
    pub fn close(&self) {
        let pools = self.lock().clone();
        pools.iter().for_each(Pool::close);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One pool. Cheap to clone; all clones are one pool. It closes when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Pool {
    owner: Arc<Owner>,
}

/// Threads hold the shared part only, so that the last user's drop is seen.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.begin_close();
    }
}

struct Shared {
    name: String,
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    queue: VecDeque<Queued>,
    /// How many threads there shall be at most.
    threads: usize,
    backlog: usize,
    started: usize,
    active: usize,
    closed: bool,
    next_thread: usize,
    handles: Vec<thread::JoinHandle<()>>,
    tally: PoolTally,
}

struct Queued {
    job: Arc<dyn RunJob>,
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct PoolTally {
    since: Instant,
    completed: u64,
    panicked: u64,
    refused: u64,
    ran: Duration,
    waited: Duration,
    waited_max: Duration,
}

impl PoolTally {
    fn new(since: Instant) -> PoolTally {
        let (ran, waited, waited_max) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        PoolTally { since, completed: 0, panicked: 0, refused: 0, ran, waited, waited_max }
    }
}

/// The pool takes no job now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The backlog is full.
    Full,
    /// The pool is closed.
    Closed,
    /// There is no thread, and the operating system gives none.
    NoThread,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Busy::Full => "backlog of the thread pool is full",
            Busy::Closed => "thread pool is closed",
            Busy::NoThread => "thread pool cannot start a thread",
        })
    }
}

impl std::error::Error for Busy {}

/// Why [`Pool::run_blocking`] gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunError {
    /// It was not taken.
    Busy(Busy),
    /// It panicked.
    Panicked,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Busy(busy) => busy.fmt(f),
            RunError::Panicked => JobPanicked.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

impl Pool {
    /// A pool that is in no registry.
    ///
    /// # Errors
    /// [`CreateError::Threads`].
    pub fn new(name: &str, threads: usize, backlog: usize) -> Result<Pool, CreateError> {
        check_threads(threads)?;
        let state = State {
            queue: VecDeque::new(),
            threads,
            backlog,
            started: 0,
            active: 0,
            closed: false,
            next_thread: 0,
            handles: Vec::new(),
            tally: PoolTally::new(Instant::now()),
        };
        let shared = Shared { name: name.to_owned(), state: Mutex::new(state), work: Condvar::new() };
        Ok(Pool { owner: Arc::new(Owner { shared: Arc::new(shared) }) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.owner.shared.name
    }

    /// Queues `job` and returns a future of its result. The job runs even if the future is dropped.
    ///
    /// # Errors
    /// See [`Busy`]; the job is then dropped without having run.
    pub fn run<T, F>(&self, job: F) -> Result<Job<T>, Busy>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let cell = Arc::new(JobCell::new(job));
        self.submit(cell.clone())?;
        Ok(Job::of(cell))
    }

    /// Runs `job` in the pool and waits for its result. Never on an event loop: it blocks the calling thread.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run_blocking<T, F>(&self, job: F) -> Result<T, RunError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let job = self.run(job).map_err(RunError::Busy)?;
        wait_here(job).map_err(|JobPanicked| RunError::Panicked)
    }

    fn submit(&self, job: Arc<dyn RunJob>) -> Result<(), Busy> {
        let shared = &self.owner.shared;
        let mut state = shared.lock();
        if state.closed {
            return Err(Busy::Closed);
        }
        let outstanding = state.queue.len() + state.active;
        if outstanding >= state.threads + state.backlog {
            state.tally.refused += 1;
            return Err(Busy::Full);
        }
        // A sleeping thread takes the job, unless all that sleep have one waiting for them already.
        if outstanding >= state.started
            && state.started < state.threads
            && shared.start_thread(&mut state).is_err()
            && state.started == 0
        {
            state.tally.refused += 1;
            return Err(Busy::NoThread);
        }
        state.queue.push_back(Queued { job, since: Instant::now() });
        drop(state);
        shared.work.notify_one();
        Ok(())
    }

    /// Changes the number of threads and the backlog while jobs run. Surplus threads end after their present job;
    /// jobs that wait stay, even above a smaller backlog.
    ///
    /// # Errors
    /// [`CreateError::Threads`].
    pub fn resize(&self, threads: usize, backlog: usize) -> Result<(), CreateError> {
        check_threads(threads)?;
        let shared = &self.owner.shared;
        let mut state = shared.lock();
        (state.threads, state.backlog) = (threads, backlog);
        while state.started < threads && state.active + state.queue.len() > state.started {
            if shared.start_thread(&mut state).is_err() {
                break;
            }
        }
        drop(state);
        shared.work.notify_all();
        Ok(())
    }

    /// What it has done since it was made or its statistics were reset.
    pub fn statistics(&self) -> PoolStatistics {
        let state = self.owner.shared.lock();
        let tally = state.tally;
        PoolStatistics {
            name: self.name().to_owned(),
            concurrency: state.threads,
            backlog: state.backlog,
            invocations: tally.completed,
            panicked: tally.panicked,
            refused: tally.refused,
            queued: state.queue.len(),
            active: state.active,
            idle: state.started.saturating_sub(state.active),
            ran: tally.ran,
            waited: tally.waited,
            waited_max: tally.waited_max,
            observed: tally.since.elapsed(),
        }
    }

    /// Starts the statistics anew.
    pub fn reset_statistics(&self) {
        self.owner.shared.lock().tally = PoolTally::new(Instant::now());
    }

    /// Takes no more jobs, runs those it holds, and waits for its threads to end. Not from one of its own jobs.
    pub fn close(&self) {
        self.owner.shared.begin_close();
        loop {
            let handles = std::mem::take(&mut self.owner.shared.lock().handles);
            if handles.is_empty() {
                return;
            }
            for handle in handles {
                // A thread of a pool catches its jobs' panics; there is no other outcome to tell.
                let _ = handle.join();
            }
        }
    }
}

fn check_threads(threads: usize) -> Result<(), CreateError> {
    if (1..=POOL_THREADS_MAX).contains(&threads) { Ok(()) } else { Err(CreateError::Threads { threads }) }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let shared = self.clone();
        let name = format!("{}-{}", self.name, state.next_thread);
        let handle = thread::Builder::new().name(name).spawn(move || shared.serve())?;
        state.started += 1;
        state.next_thread += 1;
        state.handles.retain(|handle| !handle.is_finished());
        state.handles.push(handle);
        Ok(())
    }

    /// The life of one thread.
    fn serve(&self) {
        let mut state = self.lock();
        while state.started <= state.threads {
            let Some(Queued { job, since }) = state.queue.pop_front() else {
                if state.closed {
                    break;
                }
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.active += 1;
            drop(state);
            let begun = Instant::now();
            let outcome = job.run();
            let ran = begun.elapsed();
            let waited = begun.saturating_duration_since(since);
            state = self.lock();
            state.active -= 1;
            state.tally.note(outcome, waited, ran);
            drop(state);
            job.publish();
            drop(job);
            state = self.lock();
        }
        state.started -= 1;
        drop(state);
        // The wake-up that ended this thread may have been meant for a job.
        self.work.notify_one();
    }
}

impl PoolTally {
    fn note(&mut self, outcome: Result<(), JobPanicked>, waited: Duration, ran: Duration) {
        self.completed += 1;
        self.panicked += u64::from(outcome.is_err());
        self.ran += ran;
        self.waited += waited;
        self.waited_max = self.waited_max.max(waited);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    /// A job that says when it runs and then waits to be let go.
    fn gate() -> (impl FnOnce() + Send + 'static, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (running_sender, running) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let job = move || {
            running_sender.send(()).unwrap();
            released.recv().unwrap();
        };
        (job, running, release)
    }

    #[test]
    fn a_job_gives_its_result_to_a_future_and_to_a_thread() {
        let pool = Pool::new(CPU, 2, 8).unwrap();
        assert_eq!(pool.run_blocking(|| 6 * 7), Ok(42));
        let (name, there) = (thread::current().id(), pool.run(|| thread::current().id()).unwrap());
        assert_ne!(wait_here(there), Ok(name));
        let name = pool.run_blocking(|| thread::current().name().map(str::to_owned)).unwrap().unwrap();
        assert!(name.starts_with("cpu-"), "{name}");
    }

    #[test]
    fn a_loop_waits_for_jobs_without_blocking() {
        let sum = crate::run_here(crate::LoopOptions::default(), |_| async {
            let pool = Pool::new(IO, 2, 100).unwrap();
            let jobs: Vec<Job<u64>> = (0..100).map(|n| pool.run(move || n).unwrap()).collect();
            let mut sum = 0;
            for job in jobs {
                sum += job.await.unwrap();
            }
            sum
        });
        assert_eq!(sum.unwrap(), 4950);
    }

    #[test]
    fn a_full_backlog_is_a_value_and_counted() {
        let pool = Pool::new("small", 1, 1).unwrap();
        let (job, running, release) = gate();
        let first = pool.run(job).unwrap();
        running.recv().unwrap();
        let second = pool.run(|| ()).unwrap();
        assert_eq!(pool.run(|| ()).unwrap_err(), Busy::Full);
        let full = pool.statistics();
        assert_eq!((full.active, full.idle, full.queued, full.refused), (1, 0, 1, 1));
        release.send(()).unwrap();
        assert_eq!((wait_here(first), wait_here(second)), (Ok(()), Ok(())));
        assert_eq!(pool.statistics().invocations, 2);
    }

    #[test]
    fn one_thread_runs_jobs_in_the_order_of_their_arrival() {
        let pool = Pool::new("fifo", 1, 1000).unwrap();
        let (sender, order) = mpsc::channel();
        let (job, running, release) = gate();
        let first = pool.run(job).unwrap();
        running.recv().unwrap();
        let jobs: Vec<_> = (0..100)
            .map(|n| {
                let sender = sender.clone();
                pool.run(move || sender.send(n).unwrap()).unwrap()
            })
            .collect();
        release.send(()).unwrap();
        wait_here(first).unwrap();
        jobs.into_iter().for_each(|job| wait_here(job).unwrap());
        drop(sender);
        assert_eq!(order.iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_costs_its_job_only() {
        let pool = Pool::new("frail", 1, 8).unwrap();
        assert_eq!(pool.run_blocking(|| panic!("on purpose")), Err::<(), _>(RunError::Panicked));
        assert_eq!(pool.run_blocking(|| 1), Ok(1));
        let statistics = pool.statistics();
        assert_eq!((statistics.invocations, statistics.panicked), (2, 1));
        assert_eq!(statistics.active + statistics.idle, 1);
    }

    #[test]
    fn a_pool_grows_while_jobs_wait() {
        let pool = Pool::new("grow", 1, 8).unwrap();
        let (first, first_running, first_release) = gate();
        let (second, second_running, second_release) = gate();
        let jobs = [pool.run(first).unwrap(), pool.run(second).unwrap()];
        first_running.recv().unwrap();
        assert_eq!(pool.statistics().queued, 1);
        pool.resize(2, 8).unwrap();
        second_running.recv().unwrap();
        assert_eq!(pool.statistics().active, 2);
        first_release.send(()).unwrap();
        second_release.send(()).unwrap();
        jobs.into_iter().for_each(|job| wait_here(job).unwrap());
    }

    #[test]
    fn a_pool_shrinks_without_losing_a_job() {
        let pool = Pool::new("shrink", 4, 1000).unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let jobs: Vec<_> = (0..400)
            .map(|_| {
                let ran = ran.clone();
                pool.run(move || ran.fetch_add(1, Ordering::Relaxed)).unwrap()
            })
            .collect();
        pool.resize(1, 1000).unwrap();
        for job in jobs {
            wait_here(job).unwrap();
        }
        assert_eq!(ran.load(Ordering::Relaxed), 400);
        while pool.statistics().active + pool.statistics().idle > 1 {
            thread::yield_now();
        }
        assert_eq!(pool.run_blocking(|| 1), Ok(1));
    }

    #[test]
    fn closing_runs_what_waits_and_takes_nothing_new() {
        let pools = Pools::new();
        let pool = pools.create(SWAP_OUT, 2, 100).unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..50 {
            let ran = ran.clone();
            drop(pool.run(move || ran.fetch_add(1, Ordering::Relaxed)).unwrap());
        }
        pools.close();
        assert_eq!(ran.load(Ordering::Relaxed), 50);
        assert_eq!(pool.run(|| ()).unwrap_err(), Busy::Closed);
        assert_eq!(pool.statistics().active + pool.statistics().idle, 0);
    }

    #[test]
    fn dropping_the_last_handle_ends_the_threads() {
        let pool = Pool::new("gone", 2, 10).unwrap();
        pool.run_blocking(|| ()).unwrap();
        let threads = Arc::downgrade(&pool.owner.shared);
        drop(pool);
        while threads.strong_count() > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_registry_holds_each_name_once() {
        let pools = Pools::new();
        pools.create(SWAP_IN, 1, 1).unwrap();
        assert_eq!(pools.create(SWAP_IN, 1, 1).unwrap_err(), CreateError::Exists { name: SWAP_IN.to_owned() });
        assert_eq!(pools.create("none", 0, 1).unwrap_err(), CreateError::Threads { threads: 0 });
        assert_eq!(
            pools.get(SWAP_IN).unwrap().resize(POOL_THREADS_MAX + 1, 1),
            Err(CreateError::Threads { threads: 1025 })
        );
        assert!(pools.get("none").is_none());
        assert_eq!(pools.statistics().len(), 1);
    }
}
