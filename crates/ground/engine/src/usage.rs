//! What the process and its threads have used: CPU time, page faults, context switches.
//!
//! For benches, the demo and the metrics. CPU time comes from the process's CPU clock, to the nanosecond; the rest is read
//! out of `/proc`, which costs some 20 µs and 10 more for each thread.

use std::{fs, io, ops::Sub, time::Duration};

use rustix::{
    thread::gettid,
    time::{ClockId, Timespec, clock_gettime},
};

/// The kernel counts user and system time in hundredths of a second (USER_HZ is 100 on every Linux).
const USER_HZ: u64 = 100;

/// What a process has used since it began, or between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessUsage {
    /// CPU time of all threads, those that have ended included.
    pub cpu: Duration,
    /// Of it, in user mode, to 10 ms.
    pub user: Duration,
    /// Of it, in the kernel, to 10 ms.
    pub system: Duration,
    /// Page faults that needed no disk.
    pub minor_faults: u64,
    /// Page faults that read from disk.
    pub major_faults: u64,
    /// Times that a living thread gave up the processor to wait.
    pub voluntary_switches: u64,
    /// Times that a living thread was put off the processor.
    pub involuntary_switches: u64,
}

/// What one thread has used since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadUsage {
    /// The thread's number.
    pub id: u32,
    /// Its name, cut to 15 bytes by the kernel.
    pub name: String,
    /// Its CPU time.
    pub cpu: Duration,
    /// The time it was ready to run and no processor was free.
    pub starved: Duration,
    /// Times that it gave up the processor to wait.
    pub voluntary_switches: u64,
    /// Times that it was put off the processor.
    pub involuntary_switches: u64,
}

impl ProcessUsage {
    /// This process until now.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn read() -> io::Result<ProcessUsage> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let mut usage = parse_stat(&stat).ok_or_else(|| unreadable("/proc/self/stat"))?;
        usage.cpu = process_cpu();
        for thread in ThreadUsage::read_all()? {
            usage.voluntary_switches += thread.voluntary_switches;
            usage.involuntary_switches += thread.involuntary_switches;
        }
        Ok(usage)
    }
}

impl Sub for ProcessUsage {
    type Output = ProcessUsage;

    /// What was used since `earlier`.
    fn sub(self, earlier: ProcessUsage) -> ProcessUsage {
        ProcessUsage {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            minor_faults: self.minor_faults.saturating_sub(earlier.minor_faults),
            major_faults: self.major_faults.saturating_sub(earlier.major_faults),
            voluntary_switches: self.voluntary_switches.saturating_sub(earlier.voluntary_switches),
            involuntary_switches: self.involuntary_switches.saturating_sub(earlier.involuntary_switches),
        }
    }
}

impl ThreadUsage {
    /// Every living thread of this process, by number.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn read_all() -> io::Result<Vec<ThreadUsage>> {
        let mut threads = Vec::new();
        for entry in fs::read_dir("/proc/self/task")? {
            let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A thread may end while we look; then it is simply not among the living.
            if let Ok(usage) = ThreadUsage::read(id) {
                threads.push(usage);
            }
        }
        threads.sort_by_key(|thread| thread.id);
        Ok(threads)
    }

    /// The calling thread.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn own() -> io::Result<ThreadUsage> {
        ThreadUsage::read(gettid().as_raw_nonzero().get().unsigned_abs())
    }

    fn read(id: u32) -> io::Result<ThreadUsage> {
        let file = |name: &str| fs::read_to_string(format!("/proc/self/task/{id}/{name}"));
        let (status, schedule) = (file("status")?, file("schedstat")?);
        let mut nanos = schedule.split_ascii_whitespace().map(str::parse);
        let mut next = || nanos.next()?.ok().map(Duration::from_nanos);
        let (cpu, starved) = next().zip(next()).ok_or_else(|| unreadable("schedstat"))?;
        let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let number = |key: &str| field(key).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(ThreadUsage {
            id,
            name: field("Name:").unwrap_or_default().to_owned(),
            cpu,
            starved,
            voluntary_switches: number("voluntary_ctxt_switches:"),
            involuntary_switches: number("nonvoluntary_ctxt_switches:"),
        })
    }
}

/// CPU time of all threads of this process. One system call.
pub fn process_cpu() -> Duration {
    duration(clock_gettime(ClockId::ProcessCPUTime))
}

/// CPU time of the calling thread. One system call.
pub fn thread_cpu() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

fn duration(time: Timespec) -> Duration {
    Duration::try_from(time).unwrap_or_default()
}

/// Fields 10, 12, 14 and 15 of proc_pid_stat(5). The name in field 2 may hold spaces and brackets.
fn parse_stat(stat: &str) -> Option<ProcessUsage> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = |number| Some(Duration::from_millis(field(number)? * 1000 / USER_HZ));
    Some(ProcessUsage {
        minor_faults: field(10)?,
        major_faults: field(12)?,
        user: ticks(14)?,
        system: ticks(15)?,
        ..ProcessUsage::default()
    })
}

fn unreadable(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{file} has another form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses CPU time until the thread's clock has moved on by `amount`.
    fn burn(amount: Duration) {
        let start = thread_cpu();
        while thread_cpu() - start < amount {}
    }

    #[test]
    fn work_shows_in_the_process_and_in_its_thread() {
        let before = ProcessUsage::read().unwrap();
        let worker = std::thread::Builder::new().name("burner (1)".to_owned());
        let own = worker.spawn(|| {
            burn(Duration::from_millis(30));
            (ThreadUsage::own().unwrap(), ThreadUsage::read_all().unwrap())
        });
        let (own, all) = own.unwrap().join().unwrap();
        assert_eq!(own.name, "burner (1)");
        assert!(own.cpu >= Duration::from_millis(25), "{own:?}");
        assert!(all.iter().any(|thread| thread.id == own.id) && all.len() >= 2);
        let used = ProcessUsage::read().unwrap() - before;
        assert!(used.cpu >= Duration::from_millis(30), "{used:?}");
    }

    #[test]
    fn touching_memory_faults() {
        let before = ProcessUsage::read().unwrap();
        let block = vec![1u8; 8 << 20];
        assert_eq!(block[block.len() - 1], 1);
        let used = ProcessUsage::read().unwrap() - before;
        assert!(used.minor_faults >= 4, "{used:?}");
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (a) b) (c) S 1 2 3 4 5 6 700 8 9 10 11 12 13 14";
        let usage = parse_stat(stat).unwrap();
        assert_eq!((usage.minor_faults, usage.major_faults), (700, 9));
        assert_eq!((usage.user, usage.system), (Duration::from_millis(110), Duration::from_millis(120)));
        assert!(parse_stat("nonsense").is_none());
    }
}
