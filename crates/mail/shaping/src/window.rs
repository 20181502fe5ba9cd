//! Estimators of constant size: how often something happened lately. The engine keeps one a rule and scope.
//!
//! ```text
//!  buckets:  |  7  |  6  |  5  |  4  |  3  |  2  |  1  | now… |      a period is eight of them
//! ```
//!
//! Time may stand still or go back; what then lies in the future counts as now, unless it lies more than a period ahead:
//! such a past never happened, and the count begins anew.

use crate::quantity::Threshold;
use message::UnixMicros;
use std::time::Duration;

/// Buckets of a period, and events that are remembered exactly.
pub(crate) const SLOTS: usize = 8;

/// How many events there were in the last period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// The moments of the last eight events.
    Recent([u64; SLOTS]),
    /// Counts of eight parts of the period.
    Buckets(Buckets),
}

/// Counts of the eight last parts of a period: what they hold is never older than the period, and what is younger than
/// seven eighths of it is never missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Buckets {
    pub(crate) counts: [u32; SLOTS],
    /// The number of the youngest part since the epoch.
    pub(crate) head: u64,
}

impl Window {
    /// An empty one for a threshold.
    pub(crate) fn new(threshold: Threshold) -> Self {
        match threshold {
            Threshold::Count { count, .. } if count as usize > SLOTS => Self::Buckets(Buckets::default()),
            Threshold::Share { .. } => Self::Buckets(Buckets::default()),
            Threshold::Immediate | Threshold::Count { .. } => Self::Recent([0; SLOTS]),
        }
    }

    /// Notes `weight` events and says how many there were in the last `period`.
    pub(crate) fn add(&mut self, now: UnixMicros, period: Duration, weight: u32) -> u32 {
        match self {
            Self::Recent(moments) => {
                for _ in 0..weight.min(SLOTS as u32) {
                    let oldest = moments.iter_mut().min().expect("there are eight");
                    *oldest = now.0;
                }
                let after = now.0.saturating_sub(micros(period));
                let before = now.0.saturating_add(micros(period));
                moments.iter().filter(|moment| (after + 1..=before).contains(moment)).count() as u32
            }
            Self::Buckets(buckets) => {
                buckets.add(now, period, weight);
                buckets.count(now, period)
            }
        }
    }
}

impl Buckets {
    /// Notes `weight` events.
    pub(crate) fn add(&mut self, now: UnixMicros, period: Duration, weight: u32) {
        let part = part(now, period);
        if self.head.saturating_sub(part) > SLOTS as u64 {
            *self = Self { head: part, ..Self::default() };
        }
        if part > self.head {
            let passed = part - self.head;
            for step in 1..=passed.min(SLOTS as u64) {
                self.counts[slot(self.head + step)] = 0;
            }
            if passed > SLOTS as u64 {
                self.counts = [0; SLOTS];
            }
            self.head = part;
        }
        let count = &mut self.counts[slot(self.head)];
        *count = count.saturating_add(weight);
    }

    /// Events in the last `period`.
    pub(crate) fn count(&self, now: UnixMicros, period: Duration) -> u32 {
        let part = part(now, period).max(self.head);
        let passed = part - self.head;
        let alive = (SLOTS as u64).saturating_sub(passed);
        (0..alive).fold(0, |sum: u32, age| sum.saturating_add(self.counts[slot(self.head.wrapping_sub(age))]))
    }
}

/// How fast messages went, for a rate that is to be a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meter {
    buckets: Buckets,
    began: UnixMicros,
}

/// What a meter looks back on.
const METER_PERIOD: Duration = Duration::from_secs(120);
/// A meter younger than this says what its messages would be if they had taken so long.
const METER_AGE_MIN: Duration = Duration::from_secs(10);

impl Meter {
    pub(crate) fn new(now: UnixMicros) -> Self {
        Self { buckets: Buckets::default(), began: now }
    }

    pub(crate) fn add(&mut self, now: UnixMicros, weight: u32) {
        self.buckets.add(now, METER_PERIOD, weight);
    }

    /// Messages a day at the pace of the last two minutes.
    pub(crate) fn per_day(&self, now: UnixMicros) -> u64 {
        // The eight parts reach back seven and a piece of the eighth.
        let width = micros(METER_PERIOD) / SLOTS as u64;
        let reach = Duration::from_micros(width * (SLOTS as u64 - 1) + now.0 % width);
        let span = self.began.until(now).clamp(METER_AGE_MIN, reach.max(METER_AGE_MIN));
        u64::from(self.buckets.count(now, METER_PERIOD)) * 86_400_000 / (span.as_millis() as u64)
    }
}

fn micros(period: Duration) -> u64 {
    u64::try_from(period.as_micros()).unwrap_or(u64::MAX)
}

fn part(now: UnixMicros, period: Duration) -> u64 {
    now.0 / (micros(period) / SLOTS as u64).max(1)
}

fn slot(part: u64) -> usize {
    (part % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: u64 = 1_800_000_000_000_000;

    /// Events of the model that are younger than `age` micros.
    fn younger(events: &[(u64, u32)], now: u64, age: u64) -> u64 {
        events.iter().filter(|(at, _)| *at > now.saturating_sub(age)).map(|(_, weight)| u64::from(*weight)).sum()
    }

    proptest! {
        #[test]
        fn buckets_hold_nothing_older_and_miss_nothing_younger(
            steps in prop::collection::vec((0_u64..3_000_000_000, 1_u32..50), 1..200),
            period in 1_u64..100_000,
        ) {
            let (mut window, mut events, mut now) = (Buckets::default(), vec![], START);
            let period_micros = period * 1_000_000;
            for (step, weight) in steps {
                now += step;
                events.push((now, weight));
                window.add(UnixMicros(now), Duration::from_secs(period), weight);
                let told = u64::from(window.count(UnixMicros(now), Duration::from_secs(period)));
                prop_assert!(told <= younger(&events, now, period_micros));
                prop_assert!(told >= younger(&events, now, period_micros / 8 * 7));
            }
        }

        #[test]
        fn few_events_are_counted_exactly(
            steps in prop::collection::vec(0_u64..3_000_000_000, 1..200),
            period in 1_u64..100_000,
        ) {
            let threshold = Threshold::Count { count: 3, period: Duration::from_secs(period) };
            let (mut window, mut events, mut now) = (Window::new(threshold), vec![], START);
            for step in steps {
                now += step;
                events.push((now, 1));
                let told = window.add(UnixMicros(now), Duration::from_secs(period), 1);
                prop_assert_eq!(u64::from(told), younger(&events, now, period * 1_000_000).min(8));
            }
        }

        #[test]
        fn any_times_and_weights_are_survived(
            steps in prop::collection::vec((1..=u64::MAX, any::<u32>()), 1..50),
            count in 1_u32..20,
        ) {
            let period = Duration::from_secs(60);
            let mut window = Window::new(Threshold::Count { count, period });
            let mut meter = Meter::new(UnixMicros(START));
            for (now, weight) in steps {
                prop_assert!(window.add(UnixMicros(now), period, weight) >= weight.min(1));
                meter.add(UnixMicros(now), weight);
                meter.per_day(UnixMicros(now));
            }
        }
    }

    #[test]
    fn a_clock_that_goes_back_a_little_loses_nothing() {
        let period = Duration::from_secs(60);
        for count in [3, 30] {
            let mut window = Window::new(Threshold::Count { count, period });
            window.add(UnixMicros(START), period, 1);
            assert_eq!(window.add(UnixMicros(START - 30_000_000), period, 1), 2, "{count}");
            assert_eq!(window.add(UnixMicros(START - 3_600_000_000), period, 1), 1, "{count}");
        }
    }

    #[test]
    fn a_meter_tells_the_pace() {
        let mut meter = Meter::new(UnixMicros(START));
        for second in 0..600 {
            meter.add(UnixMicros(START + second * 1_000_000), 10);
        }
        let told = meter.per_day(UnixMicros(START + 599_000_000));
        let pace = 10 * 86_400;
        assert!((pace * 95 / 100..=pace * 105 / 100).contains(&told), "{told}");
        assert_eq!(meter.per_day(UnixMicros(START + 800_000_000)), 0);
    }
}
