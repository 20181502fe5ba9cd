//! Answers by question until their time is over. Pure: `now` is an argument. One shard of the whole cache; see `shards`.
//!
//! Entries lie in a dense vector under a map of questions. A hand goes round the vector: an entry that was used since the
//! hand last passed gets another round, any other gives way (the clock algorithm), so one pass of look-ups nobody repeats
//! does not sweep out what is in use. Every insertion also looks at a few entries for ones that are over, so memory
//! returns without a timer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::answer::{Answer, Outcome};
use crate::{Question, ResolverOptions};

/// What an entry costs beside its records: question, map, bookkeeping.
const ENTRY_BYTES: usize = 320;
/// Entries looked at to find one to evict; then the next one goes, used or not.
const EVICTION_STEPS_MAX: usize = 64;
/// Entries looked at on every insertion for being over.
const SWEEP_STEPS: usize = 4;
/// How long a stale answer is used before the servers are asked again (RFC 8767 §5).
const STALE_RETRY: Duration = Duration::from_secs(30);

/// How long what is kept, and how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheLimits {
    pub(crate) ttl_min: Duration,
    pub(crate) ttl_max: Duration,
    pub(crate) negative_ttl_max: Duration,
    pub(crate) failure_ttl: Duration,
    pub(crate) stale_max: Duration,
    pub(crate) entries_max: usize,
    pub(crate) bytes_max: usize,
}

impl CacheLimits {
    /// The share of one of `shards` equal parts.
    pub(crate) fn share(options: &ResolverOptions, shards: usize) -> Self {
        Self {
            ttl_min: options.ttl_min,
            ttl_max: options.ttl_max,
            negative_ttl_max: options.negative_ttl_max,
            failure_ttl: options.failure_ttl,
            stale_max: options.stale_max,
            entries_max: options.entries_max.div_ceil(shards),
            bytes_max: options.bytes_max.div_ceil(shards),
        }
    }

    fn lifetime(&self, outcome: &Outcome) -> Duration {
        let seconds = |ttl: u32| Duration::from_secs(u64::from(ttl));
        match outcome {
            Ok(Answer::Records { ttl, .. } | Answer::Alias { ttl, .. }) => {
                seconds(*ttl).clamp(self.ttl_min, self.ttl_max)
            }
            Ok(Answer::NoData { ttl: Some(ttl) } | Answer::NoDomain { ttl: Some(ttl) }) => {
                seconds(*ttl).max(self.ttl_min).min(self.negative_ttl_max)
            }
            // Without a SOA, RFC 2308 §5 wants it not cached; a few seconds keep a burst from asking once each.
            Ok(Answer::NoData { ttl: None } | Answer::NoDomain { ttl: None }) | Err(_) => self.failure_ttl,
        }
    }
}

/// What the cache knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) outcome: Outcome,
    pub(crate) expires_in: Duration,
    pub(crate) freshness: Freshness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Within its lifetime.
    Fresh,
    /// Beyond it, because no server answered (RFC 8767).
    Stale,
}

struct Entry {
    question: Arc<Question>,
    outcome: Outcome,
    bytes: usize,
    expires: Instant,
    /// Until when the answer may stand in while servers fail; not before `expires`.
    stale_until: Instant,
    freshness: Freshness,
    used: bool,
}

/// One shard.
pub(crate) struct Cache {
    limits: CacheLimits,
    index: HashMap<Arc<Question>, usize>,
    entries: Vec<Entry>,
    hand: usize,
    sweep: usize,
    bytes: usize,
    evicted: u64,
}

impl Cache {
    pub(crate) fn new(limits: CacheLimits) -> Self {
        Self { limits, index: HashMap::new(), entries: Vec::new(), hand: 0, sweep: 0, bytes: 0, evicted: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Entries that gave way to others before their time was over.
    pub(crate) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// What is known at `now`.
    pub(crate) fn lookup(&mut self, now: Instant, question: &Question) -> Option<Found> {
        let entry = &mut self.entries[*self.index.get(question)?];
        if entry.expires <= now {
            return None;
        }
        entry.used = true;
        Some(Found { outcome: entry.outcome.clone(), expires_in: entry.expires - now, freshness: entry.freshness })
    }

    /// Takes what the servers said, and gives what askers are told: a failure gives way to an older answer that may
    /// still stand in.
    pub(crate) fn insert(&mut self, now: Instant, question: &Arc<Question>, outcome: Outcome) -> Found {
        if let (Err(_), Some(&at)) = (&outcome, self.index.get(question))
            && let Some(found) = self.extend_stale(now, at)
        {
            return found;
        }
        let lifetime = self.limits.lifetime(&outcome);
        self.forget(question);
        self.sweep(now);
        let bytes = ENTRY_BYTES + question.len() + record_bytes(&outcome);
        if bytes <= self.limits.bytes_max && self.limits.entries_max > 0 {
            while self.entries.len() >= self.limits.entries_max || self.bytes + bytes > self.limits.bytes_max {
                self.evict_one(now);
            }
            let stale_for = if outcome.is_ok() { self.limits.stale_max } else { Duration::ZERO };
            self.index.insert(Arc::clone(question), self.entries.len());
            self.bytes += bytes;
            self.entries.push(Entry {
                question: Arc::clone(question),
                outcome: outcome.clone(),
                bytes,
                expires: now + lifetime,
                stale_until: now + lifetime + stale_for,
                freshness: Freshness::Fresh,
                used: false,
            });
        }
        Found { outcome, expires_in: lifetime, freshness: Freshness::Fresh }
    }

    /// Drops what is known; the next asker asks a server.
    pub(crate) fn forget(&mut self, question: &Question) {
        if let Some(&at) = self.index.get(question) {
            self.remove(at);
        }
    }

    fn extend_stale(&mut self, now: Instant, at: usize) -> Option<Found> {
        let entry = &mut self.entries[at];
        if entry.outcome.is_err() || entry.stale_until <= now {
            return None;
        }
        entry.expires = (now + STALE_RETRY).min(entry.stale_until);
        entry.freshness = Freshness::Stale;
        entry.used = true;
        Some(Found { outcome: entry.outcome.clone(), expires_in: entry.expires - now, freshness: Freshness::Stale })
    }

    fn evict_one(&mut self, now: Instant) {
        for step in 0.. {
            self.hand = if self.hand < self.entries.len() { self.hand } else { 0 };
            let entry = &mut self.entries[self.hand];
            if entry.stale_until <= now {
                self.remove(self.hand);
                return;
            }
            if !entry.used || step >= EVICTION_STEPS_MAX {
                self.evicted += 1;
                self.remove(self.hand);
                return;
            }
            entry.used = false;
            self.hand += 1;
        }
    }

    fn sweep(&mut self, now: Instant) {
        for _ in 0..SWEEP_STEPS.min(self.entries.len()) {
            if self.sweep >= self.entries.len() {
                self.sweep = 0;
            }
            match self.entries.get(self.sweep) {
                Some(entry) if entry.stale_until <= now => self.remove(self.sweep),
                _ => self.sweep += 1,
            }
        }
    }

    fn remove(&mut self, at: usize) {
        let entry = self.entries.swap_remove(at);
        self.index.remove(&entry.question);
        self.bytes -= entry.bytes;
        if let Some(moved) = self.entries.get(at) {
            self.index.insert(Arc::clone(&moved.question), at);
        }
    }
}

fn record_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Ok(Answer::Records { records, .. }) => records.bytes(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
