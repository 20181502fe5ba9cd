//! Sites: containers whose mail goes to the same hosts in the same way. They have their connections, their slow start and
//! their pauses in common, on all event loops, and a connection of one that is idle serves another of its loop.
//!
//! ```text
//!  a.example ─┐                                  ┌─ connections, at most max_connections
//!  b.example ─┼─► {mx1,mx2}.host.example ────────┼─ ramp: two at first, one more for each delivery
//!  c.example ─┘    (by one binding)              └─ pause after a failure
//! ```
//! Which hosts a container has is known when its first connection has asked the DNS: [`message::Work::enter`] is told then.
//! What loops share are counters without locks; the registry is asked once a connection.

use crate::scheduler::Scheduler;
use crate::{Limits, Ramp};
use fabric::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use message::{Entrance, UnixMicros};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Connections that a site may have before any delivery.
const RAMP_START: u32 = 2;
/// How often a container asks for a connection to its site that another loop may have given back.
pub(crate) const SITE_POLL: Duration = Duration::from_millis(250);
/// Idle connections of a site that are remembered beyond those that exist.
const IDLE_SLACK: usize = 64;
/// How long the hosts of a container are taken for what they were.
const WAY_HOLDS: Duration = Duration::from_secs(60);
/// Sites in the registry between two looks for those that are gone.
const REGISTRY_SWEEP: usize = 1024;

/// The sites of a server. `posthaste` makes one and gives it to every scheduler.
#[derive(Debug, Default)]
pub struct Sites {
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    known: HashMap<Key, Weak<Site>>,
    sweep_at: usize,
}

/// Name, binding, binding group.
type Key = (Arc<str>, Arc<str>, Option<Arc<str>>);

/// What the containers of a site by one binding share.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: Arc<str>,
    taken: AtomicU32,
    /// Connections that its deliveries have earned.
    ramp: AtomicU32,
    /// Pauses since a host was reached.
    failures: AtomicU32,
    paused_until: AtomicU64,
}

/// One connection's place at the site that it leads to, and in which way; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct SeatAtSite {
    site: Arc<Site>,
    way: u64,
}

impl SeatAtSite {
    /// Names the site among those of which there are connections.
    fn address(&self) -> usize {
        Arc::as_ptr(&self.site).addr()
    }
}

/// Where a container's mail goes, as its last look at the DNS said.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) site: Arc<Site>,
    way: u64,
    /// When that was.
    pub(crate) at: UnixMicros,
}

impl Sites {
    /// None yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The site of this key, made if no container has it.
    fn get(&self, key: Key) -> Arc<Site> {
        // A panic leaves nothing half done: each change is one insertion.
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(site) = registry.known.get(&key).and_then(Weak::upgrade) {
            return site;
        }
        if registry.known.len() >= registry.sweep_at {
            registry.known.retain(|_, site| site.strong_count() > 0);
            registry.sweep_at = registry.known.len() * 2 + REGISTRY_SWEEP;
        }
        let site = Arc::new(Site {
            name: key.0.clone(),
            taken: AtomicU32::new(0),
            ramp: AtomicU32::new(RAMP_START),
            failures: AtomicU32::new(0),
            paused_until: AtomicU64::new(0),
        });
        registry.known.insert(key, Arc::downgrade(&site));
        site
    }
}

// Relaxed throughout: each number stands for itself, no other memory is published with it.
impl Site {
    /// How many connections a container with these limits lets the site have now.
    pub(crate) fn max(&self, limits: &Limits) -> u32 {
        let straight = limits.ramp == Ramp::Straight && self.failures.load(Ordering::Relaxed) == 0;
        if straight { limits.max_connections } else { self.ramp.load(Ordering::Relaxed).min(limits.max_connections) }
    }

    /// Connections now.
    pub(crate) fn connections(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn has_room(&self, limits: &Limits) -> bool {
        self.connections() < self.max(limits)
    }

    pub(crate) fn paused_until(&self) -> UnixMicros {
        UnixMicros(self.paused_until.load(Ordering::Relaxed))
    }

    fn take(self: &Arc<Self>, way: u64, limits: &Limits) -> Option<SeatAtSite> {
        let max = self.max(limits);
        let more = |taken| (taken < max).then(|| taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| SeatAtSite { site: Arc::clone(self), way })
    }

    /// A host answered for a recipient.
    pub(crate) fn on_reached(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.paused_until.store(0, Ordering::Relaxed);
        }
    }

    /// A delivery earns one connection more.
    pub(crate) fn on_delivered(&self, limits: &Limits) {
        self.on_reached();
        let most = limits.max_connections.max(1);
        let more = |ramp| (ramp < most).then(|| ramp + 1);
        // An error is that there are as many already.
        let _ = self.ramp.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Pauses in a row so far.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// No host could be reached, or one asked us to come back later: the whole site waits, and begins slowly again.
    /// Containers that fail together are one failure.
    pub(crate) fn on_failed(&self, now: UnixMicros, until: UnixMicros) {
        self.ramp.store(self.connections().max(1), Ordering::Relaxed);
        if now >= self.paused_until() {
            self.failures.fetch_add(1, Ordering::Relaxed);
            self.paused_until.store(until.0, Ordering::Relaxed);
        }
    }
}

impl Drop for SeatAtSite {
    fn drop(&mut self) {
        self.site.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Scheduler {
    /// The sites of the server, instead of those of this scheduler alone.
    pub fn share_sites(&mut self, sites: Arc<Sites>) {
        self.sites = sites;
    }

    /// See [`message::Work::enter`].
    pub(crate) fn enter_site(&mut self, connection: u32, name: &Arc<str>, way: u64, now: UnixMicros) -> Entrance {
        let Some(q) = self.connections.queue(connection) else { return Entrance::Open };
        let container = &self.queues[q].container;
        let site = self.sites.get((name.clone(), container.binding.clone(), container.group.clone()));
        let former = self.queues[q].way.replace(Way { site: site.clone(), way, at: now });
        if let Some(former) = former.filter(|former| !Arc::ptr_eq(&former.site, &site)) {
            self.purge_idle(Arc::as_ptr(&former.site).addr());
        }
        if now < site.paused_until() {
            return Entrance::Shut;
        }
        if self.take_idle(q, now) {
            return Entrance::Spared;
        }
        match site.take(way, &self.queues[q].limits) {
            Some(seat) => {
                self.connections.enter(connection, seat);
                Entrance::Open
            }
            None => Entrance::Shut,
        }
    }

    /// A connection has nothing to do: others of its site may have it, unless its own container has mail.
    pub(crate) fn list_idle(&mut self, connection: u32) {
        let Some(q) = self.connections.queue(connection) else { return };
        let Some(site) = self.connections.seat(connection).map(SeatAtSite::address) else { return };
        let is_idle = self.queues[q].active.is_empty();
        if !self.connections.set_idle(connection, is_idle) {
            return;
        }
        let list = self.idle_at.entry(site).or_default();
        list.push(connection);
        if list.len() > self.connections.len() + IDLE_SLACK {
            self.purge_idle(site);
        }
    }

    /// Gives a container an idle connection on this loop that leads where its mail goes; says whether there was one.
    pub(crate) fn take_idle(&mut self, q: u32, now: UnixMicros) -> bool {
        // Its hosts may be others by now: then a dial, which asks the DNS, comes first.
        let known = self.queues[q].way.as_ref().filter(|way| now < way.at.after(WAY_HOLDS));
        let Some((site, way)) = known.map(|way| (Arc::as_ptr(&way.site).addr(), way.way)) else { return false };
        while let Some(connection) = self.idle_at.get_mut(&site).and_then(Vec::pop) {
            let is_idle = self.connections.unlist_idle(connection);
            let Some(from) = self.connections.queue(connection).filter(|_| is_idle) else { continue };
            let fits = from != q
                && !self.connections.is_leaving(connection)
                && self.connections.seat(connection).is_some_and(|seat| (seat.address(), seat.way) == (site, way))
                && self.queues[from].limits.shares.connections == self.queues[q].limits.shares.connections;
            if fits {
                self.move_connection(connection, from, q, now);
                return true;
            }
        }
        false
    }

    fn move_connection(&mut self, connection: u32, from: u32, to: u32, now: UnixMicros) {
        self.connections.move_to(connection, to);
        self.queues[from].connections -= 1;
        self.queues[to].connections += 1;
        self.queues[to].moved_at = now;
        self.has_moved = true;
        if self.queues[from].connections == 0 {
            self.unlist(from, now); // It stood among those that have one.
        }
        self.consider(from, now);
        self.rest(from, now);
    }

    /// Forgets idle connections of a site that are gone; to be called when a container goes.
    pub(crate) fn purge_idle(&mut self, site: usize) {
        let Some(mut list) = self.idle_at.remove(&site) else { return };
        list.sort_unstable();
        list.dedup();
        list.retain(|&connection| {
            let leads_there = self.connections.seat(connection).is_some_and(|seat| seat.address() == site);
            leads_there && self.connections.is_listed_idle(connection)
        });
        if !list.is_empty() {
            self.idle_at.insert(site, list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(sites: &Sites, name: &str) -> Arc<Site> {
        sites.get((name.into(), "default".into(), None))
    }

    #[test]
    fn a_site_starts_slowly_and_grows_with_deliveries() {
        let (sites, limits) = (Sites::new(), Limits { max_connections: 4, ..Limits::default() });
        let one = site(&sites, "mx.example");
        let mut held: Vec<_> = (0..9).map_while(|_| one.take(0, &limits)).collect();
        assert_eq!(held.len(), 2);
        assert!(!site(&sites, "mx.example").has_room(&limits), "it is one, wherever it is asked for");
        for _ in 0..9 {
            one.on_delivered(&limits);
        }
        held.extend((0..9).map_while(|_| one.take(0, &limits)));
        assert_eq!(held.len(), 4, "never more than max_connections");
        assert!(site(&sites, "other.example").has_room(&limits));
        drop(held);
        one.on_failed(UnixMicros(5), UnixMicros(10));
        one.on_failed(UnixMicros(5), UnixMicros(20));
        assert_eq!((one.failures(), one.paused_until(), one.max(&limits)), (1, UnixMicros(10), 1));
        let straight = Limits { ramp: Ramp::Straight, ..limits };
        assert_eq!(one.max(&straight), 1, "also for those that do not start slowly");
        one.on_reached();
        assert_eq!((one.failures(), one.paused_until(), one.max(&straight)), (0, UnixMicros(0), 4));
    }

    #[test]
    fn a_site_that_nobody_has_is_forgotten() {
        let (sites, limits) = (Sites::new(), Limits::default());
        site(&sites, "mx.example").on_delivered(&limits);
        assert_eq!(site(&sites, "mx.example").max(&limits), 2);
        for n in 0..REGISTRY_SWEEP * 4 {
            site(&sites, &n.to_string());
        }
        assert!(sites.registry.lock().unwrap().known.len() <= REGISTRY_SWEEP * 2);
    }
}
