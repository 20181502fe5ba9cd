//! Outbound connections, counted across event loops: those of the server, and those that share a limit.
//!
//! A permit is taken before a connection is opened and comes back when it is dropped. Nothing waits here.

use fabric::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// How many outbound connections there may be.
#[derive(Debug)]
pub struct Permits {
    taken: AtomicU32,
    max: AtomicU32,
    reserve: AtomicU32,
}

/// Who asks for a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A container without any connection: it may use the reserve.
    First,
    /// A container that wants one more.
    Further,
}

/// One outbound connection's permission; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    permits: Arc<Permits>,
}

impl Permits {
    /// `max` connections, and `reserve` beyond them for containers that have none.
    pub fn new(max: u32, reserve: u32) -> Arc<Self> {
        Arc::new(Self { taken: AtomicU32::new(0), max: AtomicU32::new(max), reserve: AtomicU32::new(reserve) })
    }

    /// Changes the limits. Connections above them stay; new ones wait until there is room.
    pub fn set(&self, max: u32, reserve: u32) {
        self.max.store(max, Ordering::Relaxed);
        self.reserve.store(reserve, Ordering::Relaxed);
    }

    /// Connections that hold a permit.
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    /// The most connections that may have one, without the reserve.
    pub fn max(&self) -> u32 {
        self.max.load(Ordering::Relaxed)
    }

    /// Whether one is free for those that have connections. Another may be faster.
    pub fn has_room(&self) -> bool {
        self.taken() < self.max()
    }

    /// A permit, if one is free for this standing.
    pub fn take(self: &Arc<Self>, standing: Standing) -> Option<Permit> {
        let max = self.max.load(Ordering::Relaxed);
        let room = match standing {
            Standing::First => max.saturating_add(self.reserve.load(Ordering::Relaxed)),
            Standing::Further => max,
        };
        // Relaxed throughout: the number is all that is shared, no other memory is published with it.
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < room).then(|| taken + 1))
            .ok()
            .map(|_| Permit { permits: Arc::clone(self) })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_for_the_first_connection_only() {
        let permits = Permits::new(2, 1);
        let further = [permits.take(Standing::Further), permits.take(Standing::Further)];
        assert!(further.iter().all(Option::is_some));
        assert!(permits.take(Standing::Further).is_none());
        let first = permits.take(Standing::First);
        assert!(first.is_some());
        assert!(permits.take(Standing::First).is_none());
        drop(further);
        assert_eq!(permits.taken(), 1);
        assert!(permits.take(Standing::Further).is_some());
    }

    #[test]
    fn lowering_the_limit_takes_nothing_away() {
        let permits = Permits::new(5, 0);
        let held: Vec<_> = (0..5).map_while(|_| permits.take(Standing::Further)).collect();
        permits.set(2, 0);
        assert_eq!((held.len(), permits.taken()), (5, 5));
        drop(held);
        assert_eq!(permits.taken(), 0);
        assert!(permits.take(Standing::First).is_some());
    }
}
