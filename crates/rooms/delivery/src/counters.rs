//! Numbers of the room: each loop counts on cells of its own, the console reads the sums.

use engine::{Counter, CounterId, Gauge, GaugeError, GaugeId, GaugeShard, Gauges};

/// The registered names of a server's delivery.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    connections: GaugeId,
    connections_total: CounterId,
    unreachable: CounterId,
    proxy_failures: CounterId,
    delivered: CounterId,
    transient: CounterId,
    permanent: CounterId,
    reports: CounterId,
    missing: CounterId,
    lookups: CounterId,
    lookups_failed: CounterId,
}

impl Names {
    /// Registers them; again is the same.
    ///
    /// # Errors
    /// See [`GaugeError`].
    pub fn register(gauges: &Gauges) -> Result<Names, GaugeError> {
        Ok(Names {
            connections: gauges.gauge("delivery_connections")?,
            connections_total: gauges.counter("delivery_connections_total")?,
            unreachable: gauges.counter("delivery_unreachable_total")?,
            proxy_failures: gauges.counter("delivery_proxy_failures_total")?,
            delivered: gauges.counter("delivery_delivered_total")?,
            transient: gauges.counter("delivery_transient_total")?,
            permanent: gauges.counter("delivery_permanent_total")?,
            reports: gauges.counter("delivery_reports_total")?,
            missing: gauges.counter("delivery_missing_total")?,
            lookups: gauges.counter("delivery_lookups_total")?,
            lookups_failed: gauges.counter("delivery_lookups_failed_total")?,
        })
    }

    /// A loop's part.
    pub fn counters(&self, shard: &GaugeShard) -> Counters {
        Counters {
            connections: shard.gauge(self.connections),
            connections_total: shard.counter(self.connections_total),
            unreachable: shard.counter(self.unreachable),
            proxy_failures: shard.counter(self.proxy_failures),
            delivered: shard.counter(self.delivered),
            transient: shard.counter(self.transient),
            permanent: shard.counter(self.permanent),
            reports: shard.counter(self.reports),
            missing: shard.counter(self.missing),
            lookups: shard.counter(self.lookups),
            lookups_failed: shard.counter(self.lookups_failed),
        }
    }

    /// The sums over all loops.
    pub fn read(&self, gauges: &Gauges) -> Figures {
        Figures {
            connections: u64::try_from(gauges.read_gauge(self.connections)).unwrap_or(0),
            connections_total: gauges.read_counter(self.connections_total),
            unreachable: gauges.read_counter(self.unreachable),
            proxy_failures: gauges.read_counter(self.proxy_failures),
            delivered: gauges.read_counter(self.delivered),
            transient: gauges.read_counter(self.transient),
            permanent: gauges.read_counter(self.permanent),
            reports: gauges.read_counter(self.reports),
            missing: gauges.read_counter(self.missing),
            lookups: gauges.read_counter(self.lookups),
            lookups_failed: gauges.read_counter(self.lookups_failed),
        }
    }
}

/// The numbers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Connections to next hops now.
    pub connections: u64,
    /// Connections to next hops since the start.
    pub connections_total: u64,
    /// Times no host of a container could be reached.
    pub unreachable: u64,
    /// Times the proxy of a binding could not be used.
    pub proxy_failures: u64,
    /// Recipients delivered.
    pub delivered: u64,
    /// Attempts that failed for now.
    pub transient: u64,
    /// Recipients failed for good.
    pub permanent: u64,
    /// Reports stored.
    pub reports: u64,
    /// Recipients whose message the spool had no more.
    pub missing: u64,
    /// Plans asked of the resolver.
    pub lookups: u64,
    /// Of those, the ones without an answer.
    pub lookups_failed: u64,
}

/// One loop's part of the numbers.
#[derive(Clone, Debug)]
pub struct Counters {
    pub(crate) connections: Gauge,
    pub(crate) connections_total: Counter,
    pub(crate) unreachable: Counter,
    pub(crate) proxy_failures: Counter,
    pub(crate) delivered: Counter,
    pub(crate) transient: Counter,
    pub(crate) permanent: Counter,
    pub(crate) reports: Counter,
    pub(crate) missing: Counter,
    pub(crate) lookups: Counter,
    pub(crate) lookups_failed: Counter,
}
