//! What the resolver counts, and the snapshot that a console shows (`summary`). The driver's counters live with the state
//! of the servers behind one lock that only the driver's loop and a snapshot take.

use std::net::SocketAddr;
use std::time::Duration;

use crate::RecordKind;

/// Counts for one record type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindStats {
    /// Questions put to servers; whatever the number of askers, attempts and servers.
    pub queries: u64,
    /// Of those, the ones that no server answered before the deadline.
    pub timeouts: u64,
}

/// One server's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerStats {
    /// Where it is.
    pub address: SocketAddr,
    /// Responses that belonged to a query.
    pub answered: u64,
    /// Attempts without one: silence, refusal to connect.
    pub failed: u64,
    /// Whether it is asked last for now, because its attempts failed three times running.
    pub is_down: bool,
}

/// A snapshot; counts run from the start.
///
/// Nothing is asked unnecessarily: `cache_misses` = `coalesced` + `late_hits` + `refused_busy` + the sum of `queries` +
/// questions that wait or were abandoned by their askers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResolverStats {
    /// Time from the start to the snapshot.
    pub running_for: Duration,
    /// By record type, in the order of [`RecordKind::ALL`].
    pub by_kind: [KindStats; RecordKind::ALL.len()],
    /// Questions in flight or waiting for a socket.
    pub pending: usize,
    /// Datagrams sent.
    pub udp_sent: u64,
    /// Queries sent by TCP.
    pub tcp_sent: u64,
    /// Truncated responses that led to TCP.
    pub truncated: u64,
    /// Attempts that a server left unanswered.
    pub attempts_timed_out: u64,
    /// Datagrams that were no response to the query in flight: late, forged or damaged.
    pub foreign_packets: u64,
    /// Responses of SERVFAIL, REFUSED and their kin.
    pub server_failures: u64,
    /// Responses with the right id and question that could not be read, or looped.
    pub bad_answers: u64,
    /// Questions answered from the cache.
    pub cache_hits: u64,
    /// Questions answered with an answer that was over, while no server answered.
    pub stale_hits: u64,
    /// Questions that the cache could not answer.
    pub cache_misses: u64,
    /// Questions that joined one in flight.
    pub coalesced: u64,
    /// Misses that another asker's answer overtook on the way to the driver.
    pub late_hits: u64,
    /// Questions turned away because too many waited.
    pub refused_busy: u64,
    /// Cached answers.
    pub cache_entries: usize,
    /// Octets of cached answers, estimated.
    pub cache_bytes: usize,
    /// Answers that gave way to others before their time.
    pub cache_evicted: u64,
    /// The longest time from a query to its response.
    pub response_peak: Duration,
    /// The average of those times.
    pub response_average: Duration,
    /// In the order of the configuration.
    pub servers: Vec<ServerStats>,
}

impl ResolverStats {
    /// The counts for one record type.
    pub fn of(&self, kind: RecordKind) -> KindStats {
        self.by_kind[kind.index()]
    }

    /// Questions put to servers, of all types.
    pub fn queries(&self) -> u64 {
        self.by_kind.iter().map(|kind| kind.queries).sum()
    }

    /// Questions put to servers a second, from `earlier` to this snapshot; since the start if `earlier` is the default.
    pub fn queries_per_second(&self, earlier: &Self) -> f64 {
        let span = self.running_for.saturating_sub(earlier.running_for).as_secs_f64();
        if span <= 0.0 { 0.0 } else { self.queries().saturating_sub(earlier.queries()) as f64 / span }
    }
}

/// The driver's counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) by_kind: [KindStats; RecordKind::ALL.len()],
    pub(crate) pending: usize,
    pub(crate) udp_sent: u64,
    pub(crate) tcp_sent: u64,
    pub(crate) truncated: u64,
    pub(crate) attempts_timed_out: u64,
    pub(crate) foreign_packets: u64,
    pub(crate) server_failures: u64,
    pub(crate) bad_answers: u64,
    pub(crate) coalesced: u64,
    pub(crate) late_hits: u64,
    pub(crate) refused_busy: u64,
    responses: u64,
    response_sum: Duration,
    response_peak: Duration,
}

impl Tally {
    /// A response arrived `after` its query.
    pub(crate) fn handle_response(&mut self, after: Duration) {
        self.responses += 1;
        self.response_sum += after;
        self.response_peak = self.response_peak.max(after);
    }

    pub(crate) const fn response_peak(&self) -> Duration {
        self.response_peak
    }

    pub(crate) fn response_average(&self) -> Duration {
        Duration::from_secs_f64(self.response_sum.as_secs_f64() / self.responses.max(1) as f64)
    }
}
