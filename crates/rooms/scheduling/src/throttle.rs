//! A throttle: so many in a time, for everything on all event loops that shares it.
//!
//! It is the generic cell rate algorithm on one number, the moment at which the next one is due if all came evenly.
//! Whoever comes too early does not poll: it *books* the next free moment and comes back then, so that ten thousand
//! queues at one throttle are served in the order in which they came, and each is woken once.

use config::Rate;
use fabric::sync::atomic::{AtomicU64, Ordering};
use message::UnixMicros;
use std::sync::Arc;

/// What may come at once after a rest, as a share of a second.
const BURST_PER_SECOND: u64 = 10;
/// A moment further ahead than this can only come from a clock that was set back: the throttle begins anew.
const AHEAD_MAX_NS: u64 = 30 * 86_400 * 1_000_000_000;

/// See the module.
#[derive(Debug)]
pub struct Throttle {
    /// Between two, nanoseconds.
    interval_ns: AtomicU64,
    /// By how much one may be early, nanoseconds.
    tolerance_ns: AtomicU64,
    /// When the next is due, nanoseconds since the epoch.
    due_ns: AtomicU64,
}

impl Throttle {
    /// A throttle that has rested.
    pub fn new(rate: Rate) -> Arc<Self> {
        let throttle =
            Self { interval_ns: AtomicU64::new(0), tolerance_ns: AtomicU64::new(0), due_ns: AtomicU64::new(0) };
        throttle.set(rate);
        Arc::new(throttle)
    }

    /// Changes the rate. What was booked stays booked.
    pub fn set(&self, rate: Rate) {
        let period_ns = u64::try_from(rate.period.as_nanos()).unwrap_or(u64::MAX);
        let interval_ns = period_ns / u64::from(rate.count.max(1));
        let burst = (1_000_000_000 / BURST_PER_SECOND).checked_div(interval_ns).unwrap_or(1).max(1);
        // Relaxed throughout: each number stands for itself, and no other memory is published with it.
        self.interval_ns.store(interval_ns, Ordering::Relaxed);
        self.tolerance_ns.store(interval_ns * (burst - 1), Ordering::Relaxed);
    }

    /// Takes one now, if that is not too early.
    pub fn take(&self, now: UnixMicros) -> bool {
        let now_ns = now.0.saturating_mul(1000);
        let latest = now_ns.saturating_add(self.tolerance_ns.load(Ordering::Relaxed));
        self.advance(now_ns, 1, |due_ns| due_ns <= latest).is_some()
    }

    /// Books the next free moment, which is not before `now`.
    pub fn book(&self, now: UnixMicros) -> UnixMicros {
        let now_ns = now.0.saturating_mul(1000);
        let due_ns = self.advance(now_ns, 1, |_| true).unwrap_or(now_ns);
        let early_ns = self.tolerance_ns.load(Ordering::Relaxed);
        UnixMicros(due_ns.saturating_sub(early_ns).max(now_ns).div_ceil(1000))
    }

    /// Takes `count` more that go along with one that was let through; they are made up for by those that follow.
    pub fn charge(&self, count: u32, now: UnixMicros) {
        if count > 0 {
            self.advance(now.0.saturating_mul(1000), count, |_| true);
        }
    }

    /// Moves the due moment on by so many, if `may` allows it at the moment that is due now; gives that.
    fn advance(&self, now_ns: u64, count: u32, may: impl Fn(u64) -> bool) -> Option<u64> {
        let interval_ns = self.interval_ns.load(Ordering::Relaxed).saturating_mul(u64::from(count));
        let effective = |due_ns: u64| {
            let is_sane = due_ns <= now_ns.saturating_add(AHEAD_MAX_NS);
            if is_sane { due_ns.max(now_ns) } else { now_ns }
        };
        self.due_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due_ns| {
                let due_ns = effective(due_ns);
                may(due_ns).then(|| due_ns.saturating_add(interval_ns))
            })
            .ok()
            .map(effective)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const START: u64 = 1_700_000_000_000_000;

    fn throttle(count: u32, period_ms: u64) -> Arc<Throttle> {
        Throttle::new(Rate { count, period: Duration::from_millis(period_ms) })
    }

    #[test]
    fn one_a_second_is_one_a_second() {
        let throttle = throttle(1, 1000);
        let taken: Vec<u64> = (0..5000).filter(|ms| throttle.take(UnixMicros(START + ms * 1000))).collect();
        assert_eq!(taken, [0, 1000, 2000, 3000, 4000]);
    }

    #[test]
    fn a_high_rate_lets_a_tenth_of_a_second_through_at_once() {
        let throttle = throttle(1000, 1000);
        let now = UnixMicros(START);
        assert_eq!((0..1000).filter(|_| throttle.take(now)).count(), 100);
        assert!(throttle.take(UnixMicros(START + 1000)));
        assert!(!throttle.take(UnixMicros(START + 1000)));
    }

    #[test]
    fn a_batch_is_made_up_for() {
        let throttle = throttle(10, 1000);
        assert!(throttle.take(UnixMicros(START)));
        throttle.charge(9, UnixMicros(START));
        assert!(!throttle.take(UnixMicros(START + 999_999)));
        assert!(throttle.take(UnixMicros(START + 1_000_000)));
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nothing_for_good() {
        let throttle = throttle(1, 1000);
        assert!(throttle.take(UnixMicros(2 * START)));
        assert!(throttle.take(UnixMicros(START)));
    }

    proptest! {
        /// Whatever is taken, booked and charged in whatever order: in no span of time are there more than its share
        /// and one burst.
        #[test]
        fn no_span_has_more_than_its_share(
            count in 1_u32..500,
            period_ms in 1_u64..5000,
            steps in proptest::collection::vec((0_u64..200_000, any::<bool>()), 1..300),
        ) {
            let throttle = throttle(count, period_ms);
            let (mut now, mut passed) = (START, Vec::new());
            for (wait, books) in steps {
                now += wait;
                if books {
                    let at = throttle.book(UnixMicros(now));
                    prop_assert!(at.0 >= now);
                    passed.push(at.0);
                } else if throttle.take(UnixMicros(now)) {
                    passed.push(now);
                }
            }
            passed.sort_unstable();
            let rate = f64::from(count) / (period_ms as f64 * 1000.0);
            let burst = (rate * 100_000.0).max(1.0);
            for (from, &start) in passed.iter().enumerate() {
                for (to, &end) in passed.iter().enumerate().skip(from) {
                    let share = (end - start) as f64 * rate + burst + 0.5;
                    prop_assert!((to - from) as f64 + 1.0 <= share + 0.5, "{} in {} us", to - from + 1, end - start);
                }
            }
        }

        /// What is booked is booked in the order of asking, and as close together as the rate allows.
        #[test]
        fn bookings_are_served_in_order(count in 1_u32..1000, bookings in 1_usize..200) {
            let throttle = throttle(count, 1000);
            let at: Vec<u64> = (0..bookings).map(|_| throttle.book(UnixMicros(START)).0).collect();
            prop_assert!(at.is_sorted());
            let span_us = (bookings as f64 / f64::from(count)) * 1e6;
            prop_assert!((at[bookings - 1] - START) as f64 <= span_us + 1.0);
        }
    }
}
