//! Connections to each address of a host, counted across event loops. `posthaste` makes one [`HostLimits`] a server; a
//! connection asks it when it knows which host it goes to, the last of all permits ([`crate`]).
//!
//! A lock a dial, never one a message; held for one look into a table that has an entry for each host connected to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The section that declares the limit, and the host.
type Key = (Arc<str>, IpAddr);

/// See the module.
#[derive(Debug, Default)]
pub struct HostLimits {
    taken: Mutex<HashMap<Key, u32>>,
}

/// One connection's permission; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct HostPermit {
    limits: Arc<HostLimits>,
    key: Key,
}

impl HostLimits {
    /// No connections yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A permit for one more connection to `host`, if there are fewer than `max` by the limit of this section.
    pub(crate) fn take(self: &Arc<Self>, section: &Arc<str>, host: IpAddr, max: u32) -> Option<HostPermit> {
        let key = (section.clone(), host.to_canonical());
        let mut taken = self.taken();
        let count = taken.entry(key.clone()).or_insert(0);
        if *count >= max {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(HostPermit { limits: self.clone(), key })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Key, u32>> {
        // Each change is one number: a panic between two leaves nothing half done.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HostPermit {
    fn drop(&mut self) {
        let mut taken = self.limits.taken();
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_count_for_a_section_and_a_host_and_leave_nothing_behind() {
        let limits = HostLimits::new();
        let (news, shop): (Arc<str>, Arc<str>) = ("binding.news".into(), "binding.shop".into());
        let host = |last| IpAddr::from([192, 0, 2, last]);
        let held: Vec<_> = (0..3).map_while(|_| limits.take(&news, host(1), 2)).collect();
        assert_eq!(held.len(), 2);
        assert!(limits.take(&news, "::ffff:192.0.2.1".parse().unwrap(), 2).is_none(), "the same host");
        let others = [limits.take(&news, host(2), 2), limits.take(&shop, host(1), 2)];
        assert!(others.iter().all(Option::is_some));
        drop((held, others));
        assert!(limits.taken().is_empty());
    }

    #[test]
    fn threads_never_have_more_than_the_limit() {
        let limits = HostLimits::new();
        let section: Arc<str> = "domain.\"*\"".into();
        let now = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if let Some(permit) = limits.take(&section, IpAddr::from([192, 0, 2, 1]), 3) {
                            let holders = now.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                            assert!(holders <= 3, "{holders} hold one of three");
                            now.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                            drop(permit);
                        }
                    }
                });
            }
        });
        assert!(limits.taken().is_empty());
    }
}
