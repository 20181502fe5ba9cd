//! Runs two sides of a row beside each other: two processes or two threads, each on its processor.
//!
//! The loops call it. A side that panics ends its process; the other is ended by its alarm.

use crate::RUN_SECONDS_MAX;
use crate::region::{Region, futex_wait, futex_wake};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

/// Where the two sides run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Two processes, this one on processor 0, the child on processor 1.
    Processes,
    /// Two processes, wherever the kernel likes: for libraries with threads of their own.
    ProcessesUnpinned,
    /// Two threads, on processors 0 and 1.
    Threads,
    /// Threads wherever the kernel likes: for more of them than there are processors.
    ThreadsUnpinned,
}

/// What the two sides know of each other: how far they are, and what the other side's figures are.
#[derive(Clone)]
pub struct Gate(Arc<Region>);

/// How far a run is. Each is set by one side and awaited by the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Stage {
    /// The side beside this one has its channel.
    Ready = 1,
    /// The measurement may begin.
    Go = 2,
    /// Everything has arrived: the channel may be closed.
    Done = 3,
}

impl Gate {
    /// A gate before any stage.
    #[expect(clippy::new_without_default, reason = "it maps memory")]
    pub fn new() -> Gate {
        Gate(Arc::new(Region::new(4096)))
    }

    /// Tells the other side.
    pub fn reach(&self, stage: Stage) {
        self.0.word32(0).store(stage as u32, Release);
        futex_wake(self.0.word32(0));
    }

    /// Waits for the other side.
    pub fn wait(&self, stage: Stage) {
        loop {
            let now = self.0.word32(0).load(Acquire);
            if now >= stage as u32 {
                return;
            }
            futex_wait(self.0.word32(0), now);
        }
    }

    /// Leaves a figure for the other side in one of 64 places; before the next stage.
    pub fn leave(&self, place: usize, value: u64) {
        assert!(place < 64);
        self.0.word64(64 + place * 8).store(value, Release);
    }

    /// What was left in that place.
    pub fn left(&self, place: usize) -> u64 {
        assert!(place < 64);
        self.0.word64(64 + place * 8).load(Acquire)
    }
}

/// Runs `there` beside `here` and returns what `here` returned, after both have ended.
pub fn beside<T>(place: Place, here: impl FnOnce() -> T, there: impl FnOnce() + Send) -> T {
    match place {
        Place::Threads | Place::ThreadsUnpinned => std::thread::scope(|scope| {
            scope.spawn(|| {
                settle(place, 1);
                there();
            });
            settle(place, 0);
            here()
        }),
        Place::Processes | Place::ProcessesUnpinned => {
            let child = fork(|| {
                settle(place, 1);
                there();
            });
            settle(place, 0);
            let result = here();
            reap(child);
            result
        }
    }
}

/// A child process, by its number.
#[derive(Clone, Copy, Debug)]
pub struct Child(libc::pid_t);

impl Child {
    /// Ends it at once, as a crash would.
    pub fn kill(self) {
        // SAFETY: the number is of a child that has not been reaped: `reap` takes its `Child` by value after this.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }

    /// Its process number.
    pub fn number(self) -> i32 {
        self.0
    }
}

/// Starts a child that runs `work` and ends. It dies with its parent and by its own alarm.
pub fn fork(work: impl FnOnce()) -> Child {
    // SAFETY: by K3 the process has one thread, so nothing in the child is locked by a thread that is gone.
    let number = unsafe { libc::fork() };
    assert!(number >= 0, "fork: {}", std::io::Error::last_os_error());
    if number == 0 {
        // SAFETY: the call takes integers only.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        limit_time();
        work();
        // SAFETY: ends the process without running the parent's exit handlers.
        unsafe { libc::_exit(0) };
    }
    Child(number)
}

/// Waits until the child has ended.
pub fn reap(child: Child) {
    // SAFETY: a null status is allowed; the child is ours.
    unsafe { libc::waitpid(child.0, std::ptr::null_mut(), 0) };
}

/// Lets the kernel end this process after [`RUN_SECONDS_MAX`]. An alarm is not inherited by children: each sets its own.
pub fn limit_time() {
    // SAFETY: the call takes an integer only; the default action of the signal ends the process.
    unsafe { libc::alarm(RUN_SECONDS_MAX) };
}

/// Asks for real-time priority; where that is not permitted, the run goes on without.
pub fn hurry() {
    let priority = libc::sched_param { sched_priority: 10 };
    // SAFETY: the structure is live and of the right type.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &priority) };
}

/// Pins the calling thread to a processor.
pub fn pin(processor: usize) {
    // SAFETY: an all-zero set is a valid value; `CPU_SET` writes inside it for the small numbers used here.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        set
    };
    // SAFETY: the set is live and its size is given. On a machine with one processor this fails and the thread stays.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
}

fn settle(place: Place, processor: usize) {
    if matches!(place, Place::Processes | Place::Threads) {
        pin(processor);
    }
}
