//! The allocator: jemalloc, and what it holds.

use engine::{Allocator, AllocatorFigures};
use tikv_jemalloc_ctl::{epoch, stats};

#[global_allocator]
static GLOBAL: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Reads jemalloc's statistics and asks it to give pages back.
pub(crate) struct Jemalloc;

impl Allocator for Jemalloc {
    fn figures(&self) -> AllocatorFigures {
        // The numbers are kept by epoch; one that cannot be advanced shows the last.
        let _ = epoch::advance();
        let read = |figure: Result<usize, tikv_jemalloc_ctl::Error>| figure.unwrap_or(0) as u64;
        AllocatorFigures {
            allocated: read(stats::allocated::read()),
            active: read(stats::active::read()),
            resident: read(stats::resident::read()),
        }
    }

    fn purge(&self) {
        // Pages go back by themselves after jemalloc's decay time; advancing the epoch is what is safe to ask for.
        let _ = epoch::advance();
    }
}
