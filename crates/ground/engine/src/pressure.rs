//! Memory pressure: what the process holds against what it may hold, as one word that loops read for free.
//!
//! The monitor reads `/proc`, the control group and the allocator every few seconds. Over the *goal* the server frees
//! what it can get again (caches, resident bodies); over the *high-water mark* it also takes no new mail (451 4.3.1).
//!
//! The allocator is not forced on the users of this crate: the binary that chose one passes it as [`Allocator`].

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::context::LoopContext;

/// How tight memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Pressure {
    /// Below the goal.
    Normal = 0,
    /// Free what can be had again.
    AboveGoal = 1,
    /// Take nothing new.
    AboveHighWater = 2,
}

/// Where the pressure is read. Cheap to clone and to read: one relaxed load.
#[derive(Clone, Debug)]
pub struct PressureGauge {
    word: Arc<AtomicU8>,
}

impl PressureGauge {
    /// A gauge that shows `Normal` until somebody sets it.
    pub fn new() -> PressureGauge {
        PressureGauge { word: Arc::new(AtomicU8::new(Pressure::Normal as u8)) }
    }

    /// The pressure at the last sample.
    pub fn now(&self) -> Pressure {
        match self.word.load(Relaxed) {
            0 => Pressure::Normal,
            1 => Pressure::AboveGoal,
            _ => Pressure::AboveHighWater,
        }
    }

    /// Shows another pressure: for the monitor, and for tests of what pressure does.
    pub fn set(&self, pressure: Pressure) {
        self.word.store(pressure as u8, Relaxed);
    }
}

impl Default for PressureGauge {
    fn default() -> PressureGauge {
        PressureGauge::new()
    }
}

/// A share of the limit, or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// Of the memory that the process may use.
    Percent(u8),
    /// Of resident memory.
    Bytes(u64),
}

impl Threshold {
    /// In bytes, of a process that may use `limit`.
    pub fn bytes_of(self, limit: u64) -> u64 {
        match self {
            Threshold::Percent(percent) => {
                let share = u128::from(limit) * u128::from(percent.min(100)) / 100;
                u64::try_from(share).expect("a share of a 64-bit number fits 64 bits")
            }
            Threshold::Bytes(bytes) => bytes,
        }
    }
}

/// From where on memory is tight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// `memory_goal`.
    pub goal: Threshold,
    /// `memory_hwm`.
    pub high_water: Threshold,
}

impl Default for MemoryLimits {
    /// 90 % and 95 %.
    fn default() -> MemoryLimits {
        MemoryLimits { goal: Threshold::Percent(90), high_water: Threshold::Percent(95) }
    }
}

impl MemoryLimits {
    /// The pressure of a process that holds `resident` of `limit` bytes.
    pub fn pressure(self, resident: u64, limit: u64) -> Pressure {
        if resident > self.high_water.bytes_of(limit) {
            Pressure::AboveHighWater
        } else if resident > self.goal.bytes_of(limit) {
            Pressure::AboveGoal
        } else {
            Pressure::Normal
        }
    }
}

/// What an allocator says of itself, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocatorFigures {
    /// Handed out to the program.
    pub allocated: u64,
    /// In pages that hold something handed out.
    pub active: u64,
    /// In physical pages mapped by the allocator.
    pub resident: u64,
}

/// The allocator of the binary.
pub trait Allocator: Send + Sync {
    /// What it holds.
    fn figures(&self) -> AllocatorFigures;

    /// Gives unused pages back to the operating system.
    fn purge(&self);
}

/// What the process holds and may hold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryFigures {
    /// Resident memory of the process.
    pub resident: u64,
    /// Of it, shared with others or backed by files.
    pub shared: u64,
    /// RAM of the machine.
    pub machine: u64,
    /// The lowest limit of the control groups that the process is in, if any is set.
    pub group: Option<u64>,
    /// Of the allocator, if the binary passed one.
    pub allocator: Option<AllocatorFigures>,
}

impl MemoryFigures {
    /// What the process may use.
    pub fn limit(&self) -> u64 {
        self.group.map_or(self.machine, |group| group.min(self.machine))
    }
}

impl fmt::Display for MemoryFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permille = self.resident.saturating_mul(1000).checked_div(self.machine).unwrap_or(0);
        writeln!(f, "{:>20}: {} bytes", "RSS", self.resident)?;
        writeln!(f, "{:>20}: {}.{} %", "System RSS", permille / 10, permille % 10)?;
        writeln!(f, "{:>20}: {} bytes", "System RAM", self.machine)?;
        if let Some(group) = self.group {
            writeln!(f, "{:>20}: {group} bytes", "Control group limit")?;
        }
        if let Some(AllocatorFigures { allocated, active, resident }) = self.allocator {
            writeln!(f, "{:>20}: {allocated} bytes", "Allocated")?;
            writeln!(f, "{:>20}: {active} bytes", "Allocator active")?;
            writeln!(f, "{:>20}: {resident} bytes", "Allocator resident")?;
        }
        Ok(())
    }
}

/// Watches the memory of the process. One a process, on one loop or thread.
pub struct MemoryMonitor {
    limits: MemoryLimits,
    allocator: Option<Arc<dyn Allocator>>,
    group_limits: Vec<PathBuf>,
    gauge: PressureGauge,
}

impl MemoryMonitor {
    /// A monitor that has not looked yet; its gauge shows `Normal`.
    pub fn new(limits: MemoryLimits, allocator: Option<Arc<dyn Allocator>>) -> MemoryMonitor {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let group_limits = group_limit_files(&groups, Path::new("/sys/fs/cgroup"));
        MemoryMonitor { limits, allocator, group_limits, gauge: PressureGauge::new() }
    }

    /// Where the result is published.
    pub fn gauge(&self) -> PressureGauge {
        self.gauge.clone()
    }

    /// Other limits from now on (a new configuration).
    pub fn set_limits(&mut self, limits: MemoryLimits) {
        self.limits = limits;
    }

    /// Looks once and publishes the pressure. Over the goal the allocator is asked to give pages back first, so that
    /// pages it merely keeps do not count as need. Costs some 30 µs.
    ///
    /// # Errors
    /// `/proc` cannot be read; the gauge then keeps what it showed.
    pub fn sample(&mut self) -> io::Result<MemoryFigures> {
        let mut figures = self.figures()?;
        if self.limits.pressure(figures.resident, figures.limit()) > Pressure::Normal
            && let Some(allocator) = &self.allocator
        {
            allocator.purge();
            figures = self.figures()?;
        }
        self.gauge.set(self.limits.pressure(figures.resident, figures.limit()));
        Ok(figures)
    }

    fn figures(&self) -> io::Result<MemoryFigures> {
        let statm = fs::read_to_string("/proc/self/statm")?;
        let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "/proc/self/statm has another form");
        let (resident, shared) = parse_statm(&statm).ok_or_else(unreadable)?;
        let page = rustix::param::page_size() as u64;
        let system = rustix::system::sysinfo();
        Ok(MemoryFigures {
            resident: resident * page,
            shared: shared * page,
            machine: system.totalram.saturating_mul(u64::from(system.mem_unit)),
            group: self.group_limits.iter().filter_map(|path| read_limit(path)).min(),
            allocator: self.allocator.as_ref().map(|allocator| allocator.figures()),
        })
    }

    /// Samples every `every` until the loop's root scope stops. `/proc` is memory, so this does not block the loop.
    pub async fn run(mut self, context: LoopContext, every: Duration) {
        let timer = context.timers().after(Duration::ZERO);
        let mut stopped = context.root().stopped();
        loop {
            // A failed look keeps the last pressure and is tried again; `/proc` does not fail for good.
            let _ = self.sample();
            timer.reset_after(every);
            let stopping = std::future::poll_fn(|cx| {
                if std::pin::Pin::new(&mut stopped).poll(cx).is_ready() {
                    return std::task::Poll::Ready(true);
                }
                timer.poll_fired(cx).map(|()| false)
            });
            if stopping.await {
                return;
            }
        }
    }
}

impl fmt::Debug for MemoryMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryMonitor")
            .field("limits", &self.limits)
            .field("gauge", &self.gauge)
            .finish_non_exhaustive()
    }
}

/// Resident and shared pages out of `/proc/self/statm`.
fn parse_statm(statm: &str) -> Option<(u64, u64)> {
    let mut fields = statm.split_ascii_whitespace().skip(1).map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

/// The files that hold a limit for this process, from its own group up to the top: a parent's limit binds as well.
fn group_limit_files(groups: &str, mount: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => (mount.to_owned(), "memory.max"),
            listed if listed.split(',').any(|name| name == "memory") => (mount.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        let own = root.join(path.trim_start_matches('/'));
        files.extend(own.ancestors().take_while(|group| group.starts_with(&root)).map(|group| group.join(file)));
    }
    files
}

/// A limit in bytes; `None` for `max`, or where the group has no such file.
fn read_limit(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn pressure_rises_just_above_each_threshold() {
        let limits = MemoryLimits::default();
        assert_eq!(limits.pressure(90, 100), Pressure::Normal);
        assert_eq!(limits.pressure(91, 100), Pressure::AboveGoal);
        assert_eq!(limits.pressure(95, 100), Pressure::AboveGoal);
        assert_eq!(limits.pressure(96, 100), Pressure::AboveHighWater);
        let absolute = MemoryLimits { goal: Threshold::Bytes(10), high_water: Threshold::Percent(200) };
        assert_eq!(absolute.pressure(11, GIB), Pressure::AboveGoal);
        assert_eq!(absolute.pressure(GIB, GIB), Pressure::AboveGoal);
    }

    #[test]
    fn a_monitor_sees_this_process_and_publishes() {
        struct Own(std::sync::atomic::AtomicU8);
        impl Allocator for Own {
            fn figures(&self) -> AllocatorFigures {
                AllocatorFigures { allocated: 1, active: 2, resident: 3 }
            }
            fn purge(&self) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        let own = Arc::new(Own(AtomicU8::new(0)));
        let mut monitor = MemoryMonitor::new(MemoryLimits::default(), Some(own.clone()));
        let gauge = monitor.gauge();
        let figures = monitor.sample().unwrap();
        assert!(figures.resident > 100_000 && figures.resident < figures.limit(), "{figures:?}");
        assert_eq!(figures.allocator.unwrap().active, 2);
        assert!(figures.to_string().contains("System RSS: "), "{figures}");
        monitor.set_limits(MemoryLimits { goal: Threshold::Bytes(1), high_water: Threshold::Bytes(2) });
        monitor.sample().unwrap();
        assert_eq!((gauge.now(), own.0.load(Relaxed)), (Pressure::AboveHighWater, 1));
        monitor.set_limits(MemoryLimits { goal: Threshold::Bytes(1), high_water: Threshold::Percent(100) });
        monitor.sample().unwrap();
        assert_eq!(gauge.now(), Pressure::AboveGoal);
    }

    #[test]
    fn the_limits_of_parents_are_read_too() {
        let files = |groups| group_limit_files(groups, Path::new("/m"));
        assert_eq!(
            files("0::/a/b\n"),
            [Path::new("/m/a/b/memory.max"), Path::new("/m/a/memory.max"), Path::new("/m/memory.max")]
        );
        assert_eq!(files("0::/\n"), [Path::new("/m/memory.max")]);
        let old = "5:cpu,cpuacct:/x\n4:memory:/y\n";
        assert_eq!(
            files(old),
            [Path::new("/m/memory/y/memory.limit_in_bytes"), Path::new("/m/memory/memory.limit_in_bytes")]
        );
        assert!(files("nonsense").is_empty());
    }

    #[test]
    fn a_group_limit_lowers_what_may_be_used() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("memory.max");
        fs::write(&file, "max\n").unwrap();
        assert_eq!(read_limit(&file), None);
        fs::write(&file, "1048576\n").unwrap();
        assert_eq!(read_limit(&file), Some(1 << 20));
        let figures = MemoryFigures { resident: 1, shared: 0, machine: GIB, group: Some(1 << 20), allocator: None };
        assert_eq!(figures.limit(), 1 << 20);
        assert_eq!(MemoryFigures { group: None, ..figures }.limit(), GIB);
        assert_eq!(parse_statm("100 20 3 4 0 5 0"), Some((20, 3)));
    }

    #[test]
    fn a_running_monitor_follows_until_the_loop_stops() {
        crate::run_here(crate::LoopOptions::default(), |context| async move {
            let limits = MemoryLimits { goal: Threshold::Bytes(1), high_water: Threshold::Percent(100) };
            let monitor = MemoryMonitor::new(limits, None);
            let gauge = monitor.gauge();
            let task =
                context.spawn(crate::TaskKind("memory"), monitor.run(context.clone(), Duration::from_millis(10)));
            while gauge.now() != Pressure::AboveGoal {
                context.yield_now().await;
            }
            gauge.set(Pressure::Normal);
            while gauge.now() != Pressure::AboveGoal {
                context.timers().sleep(Duration::from_millis(10)).await;
            }
            context.root().stop();
            task.await.unwrap();
        })
        .unwrap();
    }
}
