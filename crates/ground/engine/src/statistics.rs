//! What a thread pool has done, in the words of the console's `threads stats`.

use std::{fmt, time::Duration};

/// What a pool has done. `Display` prints it as the console's `threads stats` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStatistics {
    /// The pool.
    pub name: String,
    /// How many threads it may have.
    pub concurrency: usize,
    /// How many jobs may wait.
    pub backlog: usize,
    /// Jobs that have run, those that panicked included.
    pub invocations: u64,
    /// Jobs that panicked.
    pub panicked: u64,
    /// Jobs that were refused.
    pub refused: u64,
    /// Jobs that wait now.
    pub queued: usize,
    /// Threads that run a job now.
    pub active: usize,
    /// Threads that wait for one.
    pub idle: usize,
    /// The sum of the jobs' wall-clock time.
    pub ran: Duration,
    /// The sum of the time they waited in the queue.
    pub waited: Duration,
    /// The longest wait.
    pub waited_max: Duration,
    /// The time that these statistics cover.
    pub observed: Duration,
}

impl PoolStatistics {
    /// How many jobs ran at a time, averaged over time.
    pub fn average_concurrency(&self) -> f64 {
        ratio(self.ran.as_secs_f64(), self.observed.as_secs_f64())
    }

    /// Average concurrency in percent of the threads allowed.
    pub fn saturation_percent(&self) -> f64 {
        let threads = u32::try_from(self.concurrency).map_or(f64::INFINITY, f64::from);
        100.0 * ratio(self.average_concurrency(), threads)
    }

    /// Average wall-clock time of a job.
    pub fn average_run(&self) -> Duration {
        self.average(self.ran)
    }

    /// Average time of a job in the queue.
    pub fn average_wait(&self) -> Duration {
        self.average(self.waited)
    }

    fn average(&self, sum: Duration) -> Duration {
        let nanos = sum.as_nanos().checked_div(u128::from(self.invocations)).unwrap_or(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

impl fmt::Display for PoolStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let mut line = |label: &str, value: fmt::Arguments<'_>| writeln!(f, "{label:>34}: {value}");
        line("Thread pool", format_args!("{}", self.name))?;
        line("Concurrency", format_args!("{}", self.concurrency))?;
        line("Total invocations", format_args!("{}", self.invocations))?;
        line("Observed average concurrency", format_args!("{:.2}", self.average_concurrency()))?;
        line("Thread pool saturation", format_args!("{:.2} %", self.saturation_percent()))?;
        line("Average wallclock time per op", format_args!("{:.3} ms", millis(self.average_run())))?;
        line("Current thread count", format_args!("{} / [{}]", self.active, self.idle))?;
        line("Queue length", format_args!("{} of {}", self.queued, self.backlog))?;
        line("Average wait in queue", format_args!("{:.3} ms", millis(self.average_wait())))?;
        line("Longest wait in queue", format_args!("{:.3} ms", millis(self.waited_max)))?;
        line("Refused", format_args!("{}", self.refused))?;
        line("Panicked", format_args!("{}", self.panicked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_averages_over_time_and_print_one_label_a_line() {
        let statistics = PoolStatistics {
            name: "swap-in".to_owned(),
            concurrency: 20,
            backlog: 100,
            invocations: 4,
            panicked: 1,
            refused: 2,
            queued: 3,
            active: 5,
            idle: 15,
            ran: Duration::from_secs(20),
            waited: Duration::from_millis(4),
            waited_max: Duration::from_millis(3),
            observed: Duration::from_secs(10),
        };
        assert!((statistics.average_concurrency() - 2.0).abs() < 1e-9);
        assert_eq!(statistics.average_run(), Duration::from_secs(5));
        let text = statistics.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        assert_eq!(
            lines,
            [
                "Thread pool: swap-in",
                "Concurrency: 20",
                "Total invocations: 4",
                "Observed average concurrency: 2.00",
                "Thread pool saturation: 10.00 %",
                "Average wallclock time per op: 5000.000 ms",
                "Current thread count: 5 / [15]",
                "Queue length: 3 of 100",
                "Average wait in queue: 1.000 ms",
                "Longest wait in queue: 3.000 ms",
                "Refused: 2",
                "Panicked: 1",
            ]
        );
        let idle = PoolStatistics { invocations: 0, observed: Duration::ZERO, ran: Duration::ZERO, ..statistics };
        assert_eq!((idle.average_run(), idle.saturation_percent()), (Duration::ZERO, 0.0));
    }
}
