//! What this process holds of the system: descriptors, mappings, memory, processor time. Read from `/proc`.

use std::time::Duration;

use crate::failure::{Failure, Outcome};

/// Open descriptors.
///
/// # Errors
/// When `/proc` is not there.
pub fn descriptors() -> Outcome<usize> {
    // One of them is the listing's own.
    Ok(std::fs::read_dir("/proc/self/fd")?.count() - 1)
}

/// What each descriptor refers to, for the text of a failure.
pub fn descriptor_list() -> String {
    let names = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let names = names.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    names.map(|name| name.display().to_string()).collect::<Vec<_>>().join(" ")
}

/// Mappings of shared memory that channels made.
///
/// # Errors
/// When `/proc` is not there.
pub fn shared_mappings() -> Outcome<usize> {
    Ok(std::fs::read_to_string("/proc/self/maps")?.lines().filter(|line| line.contains("memfd:fabric")).count())
}

/// Threads.
///
/// # Errors
/// When `/proc` is not there.
pub fn threads() -> Outcome<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Resident memory in bytes.
///
/// # Errors
/// When `/proc` is not there.
pub fn resident_bytes() -> Outcome<usize> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.map(|pages| pages * rustix::param::page_size()).ok_or_else(|| Failure::new("statm is of another form"))
}

/// Processor time that this process has used.
///
/// # Errors
/// When `/proc` is not there.
pub fn processor_time() -> Outcome<Duration> {
    // Time on a processor of each thread, in nanoseconds, stands first.
    let mut total = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let nanoseconds = text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0);
        total += Duration::from_nanos(nanoseconds);
    }
    Ok(total)
}
