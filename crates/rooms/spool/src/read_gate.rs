//! Reads of one event loop in the swap-in pool: bounded in number, the rest wait on the loop in order.
//!
//! Used by the handles of the stores that have a disk. A pool that is full of other people's work is no reason to fail
//! while reads of ours are under way: the next one starts when one of those ends.

use engine::Pool;
use message::StoreError;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Reads of one loop that run or wait in the pool.
const READS_MAX: u32 = 64;

/// See the module.
pub(crate) struct ReadGate {
    pool: Pool,
    running: Cell<u32>,
    waiting: RefCell<VecDeque<Waker>>,
}

impl ReadGate {
    pub(crate) fn new(pool: Pool) -> Self {
        Self { pool, running: Cell::new(0), waiting: RefCell::default() }
    }

    /// Runs `job` in the pool.
    ///
    /// # Errors
    /// Those of the job; `Failed` when the pool takes nothing and nothing of ours is under way, or the job panicked;
    /// `Stopping` when the pool is closed.
    pub(crate) async fn run<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, StoreError> + Clone + Send + 'static,
    {
        loop {
            if self.running.get() < READS_MAX {
                match self.pool.run(job.clone()) {
                    Ok(running) => {
                        let place = Place::take(self);
                        let result = running.await;
                        drop(place);
                        return result.unwrap_or(Err(StoreError::Failed));
                    }
                    Err(engine::Busy::Closed) => return Err(StoreError::Stopping),
                    Err(_) if self.running.get() == 0 => return Err(StoreError::Failed),
                    Err(_) => {}
                }
            }
            self.turn().await;
        }
    }

    /// Waits until a read of ours has ended.
    async fn turn(&self) {
        let mut queued = false;
        poll_fn(|cx| {
            if queued {
                return Poll::Ready(());
            }
            queued = true;
            self.waiting.borrow_mut().push_back(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A read under way.
struct Place<'a>(&'a ReadGate);

impl<'a> Place<'a> {
    fn take(gate: &'a ReadGate) -> Self {
        gate.running.set(gate.running.get() + 1);
        Self(gate)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        let next = self.0.waiting.borrow_mut().pop_front();
        next.into_iter().for_each(Waker::wake);
    }
}
