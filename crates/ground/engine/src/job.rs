//! A job of a thread pool: the closure, its result and who waits for it, in one allocation.
//!
//! [`crate::Pool`] makes them and runs them; the waiter holds a [`Job`].

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread,
};

/// The job panicked; its pool goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobPanicked;

impl fmt::Display for JobPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("job panicked")
    }
}

impl std::error::Error for JobPanicked {}

/// A job, its result and who waits for it, in one allocation.
pub(crate) struct JobCell<T, F> {
    state: Mutex<JobState<T, F>>,
}

struct JobState<T, F> {
    job: Option<F>,
    unpublished: Option<Result<T, JobPanicked>>,
    result: Option<Result<T, JobPanicked>>,
    waker: Option<Waker>,
}

/// The pool's side of a job.
pub(crate) trait RunJob: Send + Sync {
    fn run(&self) -> Result<(), JobPanicked>;
    /// Shows the result to the waiter: after the job was counted, so that who has seen a result finds it counted.
    fn publish(&self);
}

/// The waiter's side of a job.
trait PollJob<T>: Send + Sync {
    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<T, JobPanicked>>;
}

impl<T, F> JobCell<T, F> {
    pub(crate) fn new(job: F) -> JobCell<T, F> {
        let state = JobState { job: Some(job), unpublished: None, result: None, waker: None };
        JobCell { state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, JobState<T, F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send, F: FnOnce() -> T + Send> RunJob for JobCell<T, F> {
    fn run(&self) -> Result<(), JobPanicked> {
        let job = self.lock().job.take().expect("a job is queued once and run once");
        // What the job had is gone with it; nobody sees it half changed.
        let result = catch_unwind(AssertUnwindSafe(job)).map_err(|_| JobPanicked);
        let outcome = result.as_ref().map(|_| ()).map_err(|panicked| *panicked);
        self.lock().unpublished = Some(result);
        outcome
    }

    fn publish(&self) {
        let mut state = self.lock();
        state.result = state.unpublished.take();
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T: Send, F: Send> PollJob<T> for JobCell<T, F> {
    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<T, JobPanicked>> {
        let mut state = self.lock();
        if let Some(result) = state.result.take() {
            return Poll::Ready(result);
        }
        if state.waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            state.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

/// The result of a job, in time. Not to be polled again once it was ready.
#[must_use = "the job runs, but its outcome is lost"]
pub struct Job<T> {
    cell: Arc<dyn PollJob<T>>,
}

impl<T: Send + 'static> Job<T> {
    pub(crate) fn of<F: Send + 'static>(cell: Arc<JobCell<T, F>>) -> Job<T> {
        Job { cell }
    }
}

impl<T> Future for Job<T> {
    type Output = Result<T, JobPanicked>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.cell.poll(context)
    }
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on a thread that may block.
pub(crate) fn wait_here<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}
