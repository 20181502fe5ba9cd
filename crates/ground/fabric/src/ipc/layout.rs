//! Where everything lies in a link's memory: control page, ring of returned leases, urgent windows, bulk windows. Pure arithmetic.

use std::ops::Range;

use crate::tli::{Lane, WindowSettings};
use crate::wire::WINDOW_HEADER;

/// Two cache lines: words of different writers, or read by different threads, are so far apart.
const LINE: usize = 128;
const PAGE: usize = 4096;

/// What stands in front of the words; for tools only.
pub(crate) const HEAD: Range<usize> = 0..2048;
/// Asleep and how often ([`super::SleepWord`]); written by any thread.
pub(crate) const SLEEP: usize = 2048;
/// What the sending thread waits for ([`want`]).
pub(crate) const WANTS: usize = SLEEP + LINE;
/// Leases given back so far; written by any thread under the lock of the ring.
pub(crate) const RETURNED: usize = SLEEP + 2 * LINE;
const LANE: [usize; 2] = [SLEEP + 4 * LINE, SLEEP + 8 * LINE];

const _: () = assert!(LANE[1] + 4 * LINE <= PAGE);

/// Bits of [`WANTS`].
pub(crate) mod want {
    use crate::tli::Lane;

    /// All that was committed to have been read.
    pub(crate) const DRAINED: u64 = 1;

    /// A free window of `lane`.
    pub(crate) const fn window(lane: Lane) -> u64 {
        match lane {
            Lane::Urgent => 2,
            Lane::Bulk => 4,
        }
    }
}

/// The place of `lane` in arrays of two.
pub(crate) const fn index(lane: Lane) -> usize {
    match lane {
        Lane::Urgent => 0,
        Lane::Bulk => 1,
    }
}

/// Windows disposed of, as receiver; written by the inlet.
pub(crate) const fn disposed(lane: Lane) -> usize {
    LANE[index(lane)]
}

/// Messages read, as receiver; written by the inlet.
pub(crate) const fn read(lane: Lane) -> usize {
    LANE[index(lane)] + LINE
}

/// 0, or 1 more than the windows that there will ever have been; written by the outlet.
pub(crate) const fn finished(lane: Lane) -> usize {
    LANE[index(lane)] + 2 * LINE
}

/// Windows taken so far, as sender; for tools. Written by the outlet.
pub(crate) const fn taken(lane: Lane) -> usize {
    LANE[index(lane)] + 3 * LINE
}

/// Sizes of one side's memory; every number was checked, so nothing here overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    windows: [WindowSettings; 2],
    returns: usize,
}

impl Layout {
    /// `None` when a window has no room for a message or more than 32 bits can count, when there is none, or when the sum is over `bytes_max`.
    pub(crate) fn new(urgent: WindowSettings, bulk: WindowSettings, returns: usize, bytes_max: usize) -> Option<Self> {
        for windows in [urgent, bulk] {
            let fits = windows.bytes >= WINDOW_BYTES_MIN && windows.bytes.is_multiple_of(WINDOW_BYTES_MIN);
            if !fits || u32::try_from(windows.bytes).is_err() || windows.count == 0 {
                return None;
            }
        }
        let sum = urgent
            .bytes
            .checked_mul(urgent.count)?
            .checked_add(bulk.bytes.checked_mul(bulk.count)?)?
            .checked_add(returns.checked_mul(8)?.checked_add(3 * PAGE)?)?;
        (sum <= bytes_max).then_some(Self { windows: [urgent, bulk], returns })
    }

    /// Size of the memory in bytes, whole pages.
    pub(crate) fn bytes(&self) -> usize {
        (self.first(Lane::Bulk) + self.windows(Lane::Bulk).bytes * self.windows(Lane::Bulk).count)
            .next_multiple_of(PAGE)
    }

    pub(crate) fn windows(&self, lane: Lane) -> WindowSettings {
        self.windows[index(lane)]
    }

    /// Capacity of the ring of returned leases.
    pub(crate) fn returns(&self) -> usize {
        self.returns
    }

    /// Where window `n` of `lane`, counted from 0 over the whole life of the link, lies.
    pub(crate) fn window(&self, lane: Lane, n: u64) -> Range<usize> {
        let WindowSettings { bytes, count } = self.windows(lane);
        let start = self.first(lane) + (n % count as u64) as usize * bytes;
        start..start + bytes
    }

    /// Where the return number `n` lies. There is one only when the ring has a capacity.
    pub(crate) fn returned(&self, n: u64) -> usize {
        PAGE + (n % self.returns as u64) as usize * 8
    }

    fn first(&self, lane: Lane) -> usize {
        let urgent = PAGE + (self.returns * 8).next_multiple_of(PAGE);
        match lane {
            Lane::Urgent => urgent,
            Lane::Bulk => {
                (urgent + self.windows(Lane::Urgent).bytes * self.windows(Lane::Urgent).count).next_multiple_of(PAGE)
            }
        }
    }
}

/// The smallest window, and what sizes are rounded up to.
pub(crate) const WINDOW_BYTES_MIN: usize = LINE;
const _: () = assert!(WINDOW_BYTES_MIN >= WINDOW_HEADER + 16);

#[cfg(test)]
mod tests {
    use super::*;

    const URGENT: WindowSettings = WindowSettings { bytes: 4096, count: 8 };

    #[test]
    fn nothing_overlaps_and_all_lies_within() {
        for (urgent, bulk, returns) in [(URGENT, WindowSettings { bytes: 384, count: 3 }, 0), (URGENT, URGENT, 1000)] {
            let layout = Layout::new(urgent, bulk, returns, usize::MAX).expect("sizes are right");
            let mut ranges = vec![HEAD, SLEEP..PAGE];
            ranges.extend((0..returns as u64).map(|n| layout.returned(n)..layout.returned(n) + 8));
            ranges.extend((0..urgent.count as u64).map(|n| layout.window(Lane::Urgent, n)));
            ranges.extend((0..bulk.count as u64).map(|n| layout.window(Lane::Bulk, n)));
            assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "{ranges:?}");
            assert!(ranges.last().expect("some").end <= layout.bytes());
            assert_eq!(layout.window(Lane::Bulk, bulk.count as u64), layout.window(Lane::Bulk, 0));
        }
    }

    #[test]
    fn no_sum_wraps_around() {
        let huge = WindowSettings { bytes: 1 << 31, count: usize::MAX / 2 };
        assert_eq!(Layout::new(URGENT, huge, 0, usize::MAX), None);
        assert_eq!(Layout::new(URGENT, URGENT, usize::MAX / 8, usize::MAX), None);
        assert_eq!(Layout::new(URGENT, URGENT, 0, 65536), None);
        for bad in [WindowSettings { bytes: 0, count: 1 }, WindowSettings { bytes: 130, count: 1 }] {
            assert_eq!(Layout::new(URGENT, bad, 0, usize::MAX), None);
        }
        assert_eq!(Layout::new(WindowSettings { bytes: 128, count: 0 }, URGENT, 0, usize::MAX), None);
    }
}
