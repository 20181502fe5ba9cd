//! When to try again: the retry formula, and the random numbers of the room. Pure functions of their arguments.

use crate::{Retries, RetryPolicy};
use message::{MessageId, UnixMicros};
use std::time::Duration;

/// What follows a transient failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, not before this moment; or the expiration, if that comes first.
    Again(UnixMicros),
    /// Nothing: no attempt or no time is left.
    GiveUp,
}

impl RetryPolicy {
    /// The wait after the n-th failure, without its random part.
    pub fn delay(&self, failures: u16) -> Duration {
        let doublings = u32::from(failures.saturating_sub(1)).min(31);
        self.interval.saturating_mul(1 << doublings).min(self.interval_max)
    }

    /// When a message received at `received` is given up.
    pub fn expires(&self, received: UnixMicros) -> UnixMicros {
        received.after(self.age_max.map_or(self.expiration, |age| age.min(self.expiration)))
    }

    /// What follows the failure of attempt number `attempts` at `now`. `chance` is a random number.
    pub fn next(&self, received: UnixMicros, attempts: u16, chance: u64, now: UnixMicros) -> Next {
        let expires = self.expires(received);
        if now >= expires || matches!(self.retries, Retries::AtMost(most) if attempts > most) {
            return Next::GiveUp;
        }
        let due = now.after(self.spread(self.delay(attempts), chance));
        match self.retries {
            Retries::Auto if due >= expires => Next::GiveUp,
            Retries::Auto | Retries::Unlimited | Retries::AtMost(_) => Next::Again(due.min(expires)),
        }
    }

    /// `delay`, shortened or lengthened by up to the jitter.
    fn spread(&self, delay: Duration, chance: u64) -> Duration {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        let width = micros / 100 * u64::from(self.jitter_percent.min(100));
        let offset = fraction(chance, width.saturating_mul(2));
        Duration::from_micros((micros - width).saturating_add(offset))
    }
}

/// Where `chance` lies between 0 and `width`, both included.
fn fraction(chance: u64, width: u64) -> u64 {
    ((u128::from(chance) * (u128::from(width) + 1)) >> 64) as u64
}

/// A seeded source of random numbers (SplitMix64): spread matters here, secrecy does not.
#[derive(Debug)]
pub(crate) struct Dice {
    seed: u64,
    rolls: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, rolls: 0 }
    }

    /// The next number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.rolls = self.rolls.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.seed ^ self.rolls)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        fraction(self.roll(), bound as u64 - 1) as usize
    }

    /// The number that belongs to this attempt of this message: the same for all its recipients.
    pub(crate) fn of_attempt(&self, id: MessageId, attempts: u16) -> u64 {
        mix(mix(self.seed ^ id.0 as u64 ^ (id.0 >> 64) as u64) ^ u64::from(attempts))
    }

    /// `duration`, lengthened at random by up to a quarter.
    pub(crate) fn lengthen(&mut self, duration: Duration) -> Duration {
        let quarter = duration / 4;
        duration + Duration::from_micros(fraction(self.roll(), quarter.as_micros() as u64))
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts_within(policy: &RetryPolicy) -> Vec<u64> {
        let mut now = UnixMicros::from_seconds(1_000_000);
        let received = now;
        let mut at = vec![0];
        while let Next::Again(due) = policy.next(received, at.len() as u16, 0, now) {
            if due >= policy.expires(received) || at.len() > 100 {
                break;
            }
            now = due;
            at.push(received.until(now).as_secs());
        }
        at
    }

    #[test]
    fn published_schedule() {
        let day = RetryPolicy { jitter_percent: 0, ..RetryPolicy::default() };
        assert_eq!(attempts_within(&day), [0, 1200, 3600, 8400, 18000, 37200, 75600]);
        let week = RetryPolicy { expiration: Duration::from_secs(604_800), ..day.clone() };
        assert_eq!(attempts_within(&week).len(), 19);
        let thrice = RetryPolicy { retries: Retries::AtMost(3), ..day.clone() };
        assert_eq!(attempts_within(&thrice), [0, 1200, 3600, 8400]);
        let none = RetryPolicy { retries: Retries::AtMost(0), ..day.clone() };
        assert_eq!(attempts_within(&none), [0]);
        let fixed = RetryPolicy { interval_max: day.interval, retries: Retries::AtMost(2), ..day };
        assert_eq!(attempts_within(&fixed), [0, 1200, 2400]);
    }

    #[test]
    fn auto_gives_up_when_the_next_attempt_would_come_too_late() {
        let received = UnixMicros::from_seconds(1_000_000);
        let now = received.after(Duration::from_secs(75_600));
        let mut policy = RetryPolicy { jitter_percent: 0, ..RetryPolicy::default() };
        assert_eq!(policy.next(received, 7, 0, now), Next::GiveUp);
        policy.retries = Retries::Unlimited;
        assert!(matches!(policy.next(received, 7, 0, now), Next::Again(_)));
        assert_eq!(policy.next(received, 7, 0, policy.expires(received)), Next::GiveUp);
    }

    #[test]
    fn jitter_reaches_both_ends_and_no_further() {
        let policy = RetryPolicy { interval: Duration::from_secs(100), jitter_percent: 10, ..RetryPolicy::default() };
        let spread = |chance| policy.spread(policy.delay(1), chance);
        assert_eq!(spread(0), Duration::from_secs(90));
        assert_eq!(spread(u64::MAX), Duration::from_secs(110));
        assert_eq!(policy.delay(0), policy.delay(1));
        assert_eq!(policy.delay(u16::MAX), policy.interval_max);
    }

    #[test]
    fn dice_repeat_with_the_seed_and_cover_their_range() {
        let (mut one, mut two) = (Dice::new(7), Dice::new(7));
        let mut seen = [false; 6];
        for _ in 0..200 {
            let roll = one.below(6);
            assert_eq!(roll, two.below(6));
            seen[roll] = true;
        }
        assert_eq!(seen, [true; 6]);
        let id = MessageId(0x1234);
        assert_eq!(one.of_attempt(id, 2), two.of_attempt(id, 2));
        assert_ne!(one.of_attempt(id, 2), one.of_attempt(id, 3));
    }
}
