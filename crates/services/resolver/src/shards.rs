//! The cache as all event loops share it: shards, each behind a lock that is held for one look-up. Nothing is awaited
//! and nothing is called out under a lock.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::answer::Outcome;
use crate::cache::{Cache, CacheLimits, Found, Freshness};
use crate::{Question, ResolverOptions};

const SHARDS: usize = 16;
const _: () = assert!(SHARDS.is_power_of_two());

/// What the cache was good for; summed over shards.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CacheTally {
    pub(crate) hits: u64,
    pub(crate) stale_hits: u64,
    pub(crate) misses: u64,
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) evicted: u64,
}

struct Shard {
    cache: Cache,
    tally: CacheTally,
}

/// All shards.
pub(crate) struct Shards {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

impl Shards {
    pub(crate) fn new(options: &ResolverOptions) -> Self {
        let limits = CacheLimits::share(options, SHARDS);
        let shard = || Mutex::new(Shard { cache: Cache::new(limits), tally: CacheTally::default() });
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: RandomState::new() }
    }

    /// An asker's look-up; counted.
    pub(crate) fn lookup(&self, now: Instant, question: &Question) -> Option<Found> {
        let mut shard = self.shard(question);
        let found = shard.cache.lookup(now, question);
        match &found {
            Some(Found { freshness: Freshness::Fresh, .. }) => shard.tally.hits += 1,
            Some(Found { freshness: Freshness::Stale, .. }) => shard.tally.stale_hits += 1,
            None => shard.tally.misses += 1,
        }
        found
    }

    /// The driver's second look after a miss; not counted here.
    pub(crate) fn lookup_again(&self, now: Instant, question: &Question) -> Option<Found> {
        self.shard(question).cache.lookup(now, question)
    }

    pub(crate) fn insert(&self, now: Instant, question: &Arc<Question>, outcome: Outcome) -> Found {
        self.shard(question).cache.insert(now, question, outcome)
    }

    pub(crate) fn forget(&self, question: &Question) {
        self.shard(question).cache.forget(question);
    }

    pub(crate) fn tally(&self) -> CacheTally {
        let mut sum = CacheTally::default();
        for shard in &self.shards {
            let shard = unpoisoned(shard);
            sum.hits += shard.tally.hits;
            sum.stale_hits += shard.tally.stale_hits;
            sum.misses += shard.tally.misses;
            sum.entries += shard.cache.len();
            sum.bytes += shard.cache.bytes();
            sum.evicted += shard.cache.evicted();
        }
        sum
    }

    fn shard(&self, question: &Question) -> MutexGuard<'_, Shard> {
        let at = self.hasher.hash_one(question) as usize & (SHARDS - 1);
        unpoisoned(&self.shards[at])
    }
}

/// A shard whose holder panicked is still a whole cache: every method leaves it consistent or does not return.
fn unpoisoned(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
