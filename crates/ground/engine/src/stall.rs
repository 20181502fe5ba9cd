//! The stall watcher: names the task and source line that held a loop for too long.
//!
//! One thread reads every loop's heartbeat word some 200 times a second. A word that stays the same while a task is
//! being polled means that this one poll is still running. The loops pay nothing for it beyond the two stores of
//! [`crate::heartbeat`]; durations are exact to about one sampling period.

use std::{
    fmt, io,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    heartbeat::{Beat, Heartbeat, Site, TaskKind},
    loops::Loops,
};

/// How closely the loops are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StallOptions {
    /// The time between two looks.
    pub sample_every: Duration,
    /// A poll that lasts longer is a stall.
    pub limit: Duration,
}

impl Default for StallOptions {
    /// A look every 5 ms, a stall over 20 ms.
    fn default() -> StallOptions {
        StallOptions { sample_every: Duration::from_millis(5), limit: Duration::from_millis(20) }
    }
}

/// A poll that holds its loop for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Which loop.
    pub loop_index: usize,
    /// What kind of task.
    pub task_kind: TaskKind,
    /// Where that task was spawned.
    pub location: &'static Location<'static>,
    /// How long the poll has lasted, or did last.
    pub lasted: Duration,
    /// Each stall is reported twice.
    pub stage: StallStage,
}

/// When a stall is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallStage {
    /// The limit has passed; the poll still runs.
    Running,
    /// The poll has ended.
    Ended,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.stage {
            StallStage::Running => "has been blocked",
            StallStage::Ended => "was blocked",
        };
        let (index, kind, place) = (self.loop_index, self.task_kind, self.location);
        let (millis, file, line) = (self.lasted.as_millis(), place.file(), place.line());
        write!(f, "loop {index} {verb} for {millis} ms by task \"{kind}\" spawned at {file}:{line}")
    }
}

/// The watching thread; dropping this ends it.
#[derive(Debug)]
pub struct StallWatch {
    ended: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl StallWatch {
    /// Watches `loops` and calls `report` from the watching thread: at once when a poll passes the limit, and again
    /// when it has ended. `report` must not block for long, or stalls are seen late.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start<R>(loops: &Loops, options: StallOptions, mut report: R) -> io::Result<StallWatch>
    where
        R: FnMut(Stall) + Send + 'static,
    {
        let ended = Arc::new(AtomicBool::new(false));
        let heartbeats = loops.heartbeats().to_vec();
        let stop = ended.clone();
        let watch = move || {
            let start = Instant::now();
            let mut observers: Vec<Observer> = heartbeats.iter().map(|_| Observer::new(start)).collect();
            while !stop.load(Relaxed) {
                thread::park_timeout(options.sample_every);
                let now = Instant::now();
                for (loop_index, (observer, heartbeat)) in observers.iter_mut().zip(&heartbeats).enumerate() {
                    let Some(sighting) = observer.handle_sample(now, heartbeat.read(), options.limit) else { continue };
                    if let Some(stall) = sighting.describe(loop_index, heartbeat) {
                        report(stall);
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("stall-watch".to_owned()).spawn(watch)?;
        Ok(StallWatch { ended, thread: Some(thread) })
    }
}

impl Drop for StallWatch {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A watcher whose `report` panicked has ended already; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// What is known of one loop. Pure: samples come in, sightings go out.
#[derive(Debug)]
struct Observer {
    beat: Beat,
    since: Instant,
    reported: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sighting {
    site: usize,
    lasted: Duration,
    stage: StallStage,
}

impl Observer {
    fn new(now: Instant) -> Observer {
        Observer { beat: Beat::default(), since: now, reported: false }
    }

    fn handle_sample(&mut self, now: Instant, beat: Beat, limit: Duration) -> Option<Sighting> {
        let lasted = now - self.since;
        if beat == self.beat {
            let site = beat.site()?;
            if self.reported || lasted <= limit {
                return None;
            }
            self.reported = true;
            return Some(Sighting { site, lasted, stage: StallStage::Running });
        }
        let ended = if self.reported { self.beat.site() } else { None };
        *self = Observer { beat, since: now, reported: false };
        ended.map(|site| Sighting { site, lasted, stage: StallStage::Ended })
    }
}

impl Sighting {
    fn describe(self, loop_index: usize, heartbeat: &Heartbeat) -> Option<Stall> {
        let Site { kind, location } = heartbeat.site(self.site)?;
        if self.stage == StallStage::Running {
            heartbeat.stalls().add(1);
        }
        Some(Stall { loop_index, task_kind: kind, location, lasted: self.lasted, stage: self.stage })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    fn samples(samples: &[(u64, Beat)]) -> Vec<Option<Sighting>> {
        let start = Instant::now();
        let mut observer = Observer::new(start);
        let sample = |&(at, beat)| observer.handle_sample(start + Duration::from_millis(at), beat, LIMIT);
        samples.iter().map(sample).collect()
    }

    #[test]
    fn one_long_poll_is_reported_once_and_again_at_its_end() {
        let long = Beat::new(7, 3);
        let seen = samples(&[(0, long), (10, long), (20, long), (25, long), (30, long), (60, Beat::new(8, 0))]);
        let running = Sighting { site: 2, lasted: Duration::from_millis(25), stage: StallStage::Running };
        let ended = Sighting { site: 2, lasted: Duration::from_millis(60), stage: StallStage::Ended };
        assert_eq!(seen, [None, None, None, Some(running), None, Some(ended)]);
    }

    #[test]
    fn many_short_polls_and_idleness_are_no_stall() {
        let busy: Vec<_> = (0..20).map(|n| (n * 15, Beat::new(n + 1, 3))).collect();
        assert!(samples(&busy).iter().all(Option::is_none));
        let idle: Vec<_> = (0..20).map(|n| (n * 15, Beat::new(1, 0))).collect();
        assert!(samples(&idle).iter().all(Option::is_none));
    }

    #[test]
    fn a_task_that_sleeps_is_named_with_its_line() {
        let (sender, stalls) = mpsc::channel();
        let loops = Loops::start(2, |context| async move { context.root().stopped().await }).unwrap();
        let _watch = StallWatch::start(&loops, StallOptions::default(), move |stall| sender.send(stall).unwrap());
        let line = line!() + 2;
        let block = |context: &crate::LoopContext| {
            context.spawn(TaskKind("sleeper"), async { thread::sleep(Duration::from_millis(60)) }).detach();
        };
        loops.remote(1).dispatch(block).unwrap();
        // Another task may be held up on a busy machine and be named as well; ours must be, twice.
        let mut mine = stalls.iter().filter(|stall| stall.task_kind == TaskKind("sleeper"));
        let (running, ended) = (mine.next().unwrap(), mine.next().unwrap());
        assert_eq!((running.stage, ended.stage), (StallStage::Running, StallStage::Ended));
        assert_eq!((running.loop_index, running.location.line()), (1, line));
        assert!(running.location.file().ends_with("stall.rs"));
        assert!(running.lasted > LIMIT, "{running}");
        assert!(ended.lasted > Duration::from_millis(35) && ended.lasted > running.lasted, "{ended}");
        assert!(loops.figures()[1].stalls >= 1);
        assert!(ended.to_string().starts_with("loop 1 was blocked for "), "{ended}");
    }
}
