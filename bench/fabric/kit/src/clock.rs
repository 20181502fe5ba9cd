//! Time: a cheap tick counter for round trips of 200 ns, and the processor time of this process.

use std::time::{Duration, Instant};

/// Reads the processor's own counter, which costs less than a hundredth of the shortest round trip; where there is none, the system's clock.
pub struct Ticks {
    origin: Instant,
    nanoseconds_each: f64,
}

impl Ticks {
    /// Compares the counter with the system's clock for 20 ms.
    pub fn calibrated() -> Ticks {
        let mut ticks = Ticks { origin: Instant::now(), nanoseconds_each: 1.0 };
        let (start, first) = (Instant::now(), ticks.now());
        while start.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let counted = ticks.now() - first;
        ticks.nanoseconds_each = start.elapsed().as_nanos() as f64 / counted as f64;
        ticks
    }

    /// The counter now.
    #[inline(always)]
    pub fn now(&self) -> u64 {
        #[cfg(target_arch = "x86_64")]
        {
            let _ = self.origin;
            // SAFETY: the instruction reads a register and has no precondition.
            unsafe { core::arch::x86_64::_rdtsc() }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self.origin.elapsed().as_nanos() as u64
        }
    }

    /// Nanoseconds of a difference of two readings.
    pub fn nanoseconds(&self, difference: u64) -> f64 {
        difference as f64 * self.nanoseconds_each
    }
}

/// User and system time that this process has used so far, all its threads together.
pub fn cpu_time() -> Duration {
    // SAFETY: an all-zero `rusage` is a valid value of a structure of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live, writable structure of the right type.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// Memory of this process that is in use now, shared memory that it has touched included.
///
/// # Panics
/// Where the system has no `/proc`.
pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("a system with /proc");
    let pages: u64 =
        text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("the second number is the resident pages");
    pages * 4096
}

/// The value below which `share` of the sorted values lie.
///
/// # Panics
/// When there are no values.
pub fn quantile(sorted: &[u64], share: f64) -> u64 {
    assert!(!sorted.is_empty(), "no values were measured");
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}
