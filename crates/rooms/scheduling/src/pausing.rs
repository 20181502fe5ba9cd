//! How long a container opens no connection after one that came to nothing, and why.
//!
//! Failures of hosts make longer and longer pauses, and at last delay the mail as a whole. What is not the hosts' fault
//! (the way out, the DNS, a limit) makes pauses of its own, which forget nothing of the hosts.

use crate::Limits;
use message::{Closing, UnixMicros};
use std::time::Duration;

/// After one failure to connect more than the last time.
const UNREACHABLE_S: [u64; 8] = [2, 10, 30, 60, 120, 300, 600, 900];
/// The proxy could not be used, or the DNS did not answer: it is known within a minute when it does.
const UNANSWERED_S: [u64; 6] = [2, 5, 10, 20, 30, 60];
/// All hosts are full: other loops give room back without a word.
const FULL_MS: [u64; 5] = [100, 200, 500, 1_000, 2_000];

/// Why a container opens no connection for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pause {
    /// Its hosts could not be reached, or asked us to come back later.
    #[default]
    Unreachable,
    /// They could not be reached for so long that its mail is delayed as a whole.
    Delayed,
    /// The proxy of its binding could not be used.
    NoExit,
    /// The DNS does not say who its hosts are.
    Unresolved,
    /// Every host has as many connections as it may have.
    HostsFull,
}

/// After how much failing a container's mail is delayed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GiveUp {
    /// Times in a row that no host could be reached; `None` for any number.
    pub failures: Option<u32>,
    /// For how long; `None` for any time.
    pub after: Option<Duration>,
}

impl Default for GiveUp {
    fn default() -> Self {
        Self { failures: Some(50), after: Some(Duration::from_secs(900)) }
    }
}

/// What failed since the last success.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Failing {
    /// Failures of hosts in a row.
    pub(crate) failures: u32,
    /// When the first of them was.
    since: UnixMicros,
    /// Pauses in a row for which hosts are not to blame.
    waits: u32,
    pub(crate) why: Pause,
}

impl Failing {
    /// A host was reached.
    pub(crate) fn on_reached(&mut self) {
        *self = Self::default();
    }

    /// A connection came to nothing. Gives how long to pause; the caller lengthens that at random. [`Closing::Done`] is
    /// no failure.
    pub(crate) fn pause(&mut self, closing: Closing, limits: &Limits, now: UnixMicros) -> Option<Duration> {
        let interval = limits.retry.interval;
        match closing {
            Closing::Done => None,
            Closing::NoExit => Some(self.wait(Pause::NoExit, &UNANSWERED_S, Duration::from_secs).min(interval)),
            Closing::Unresolved => Some(self.wait(Pause::Unresolved, &UNANSWERED_S, Duration::from_secs).min(interval)),
            Closing::HostsFull => Some(self.wait(Pause::HostsFull, &FULL_MS, Duration::from_millis)),
            Closing::Rebuffed | Closing::Unreachable => {
                // Who asked us to come back later can be reached: that is one step less.
                let first = usize::from(closing == Closing::Unreachable);
                let step = (self.failures as usize + first).min(UNREACHABLE_S.len() - 1);
                if self.since == UnixMicros(0) {
                    self.since = now;
                }
                self.failures = self.failures.saturating_add(1);
                self.waits = 0;
                let gives_up = closing == Closing::Unreachable && self.gives_up(&limits.give_up, now);
                self.why = if gives_up { Pause::Delayed } else { Pause::Unreachable };
                Some(if gives_up { interval } else { Duration::from_secs(UNREACHABLE_S[step]).min(interval) })
            }
        }
    }

    fn gives_up(&self, limit: &GiveUp, now: UnixMicros) -> bool {
        limit.failures.is_some_and(|most| self.failures >= most)
            || limit.after.is_some_and(|after| self.since.until(now) >= after)
    }

    /// One step further in `steps`; from the first if another thing was waited for before.
    fn wait(&mut self, why: Pause, steps: &[u64], unit: fn(u64) -> Duration) -> Duration {
        if self.why != why {
            self.waits = 0;
        }
        self.why = why;
        let step = (self.waits as usize).min(steps.len() - 1);
        self.waits = self.waits.saturating_add(1);
        unit(steps[step])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RetryPolicy;

    fn limits(give_up: GiveUp, interval_s: u64) -> Limits {
        let retry = RetryPolicy { interval: Duration::from_secs(interval_s), ..RetryPolicy::default() };
        Limits { retry, give_up, ..Limits::default() }
    }

    const NEVER: GiveUp = GiveUp { failures: None, after: None };

    #[test]
    fn hosts_that_cannot_be_reached_delay_all_mail_after_so_many_failures() {
        let limits = limits(GiveUp { failures: Some(3), after: None }, 5_000);
        let (mut failing, now) = (Failing::default(), UnixMicros::from_seconds(1_000));
        let pauses: Vec<_> = (0..5).filter_map(|_| failing.pause(Closing::Unreachable, &limits, now)).collect();
        assert_eq!(pauses.iter().map(Duration::as_secs).collect::<Vec<_>>(), [10, 30, 5_000, 5_000, 5_000]);
        assert_eq!(failing.why, Pause::Delayed);
        failing.on_reached();
        assert_eq!(failing.pause(Closing::Unreachable, &limits, now), Some(Duration::from_secs(10)));
        assert_eq!(failing.why, Pause::Unreachable);
    }

    #[test]
    fn or_after_so_long() {
        let limits = limits(GiveUp { failures: None, after: Some(Duration::from_secs(900)) }, 5_000);
        let mut failing = Failing::default();
        let at = |second: u64| UnixMicros::from_seconds(1_000 + second);
        assert_eq!(failing.pause(Closing::Unreachable, &limits, at(0)), Some(Duration::from_secs(10)));
        assert_eq!(failing.pause(Closing::Unreachable, &limits, at(899)), Some(Duration::from_secs(30)));
        assert_eq!(failing.pause(Closing::Unreachable, &limits, at(900)), Some(Duration::from_secs(5_000)));
        // Who asks us to come back later can be reached.
        assert_eq!(failing.pause(Closing::Rebuffed, &limits, at(901)), Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_proxy_or_the_dns_is_asked_within_a_minute_and_no_host_is_blamed() {
        for (closing, why) in [(Closing::NoExit, Pause::NoExit), (Closing::Unresolved, Pause::Unresolved)] {
            let (mut failing, now) = (Failing::default(), UnixMicros::from_seconds(1_000));
            let limits = limits(GiveUp { failures: Some(1), after: Some(Duration::ZERO) }, 1_200);
            let pauses: Vec<_> = (0..7).filter_map(|_| failing.pause(closing, &limits, now)).collect();
            assert_eq!(pauses.iter().map(Duration::as_secs).collect::<Vec<_>>(), [2, 5, 10, 20, 30, 60, 60]);
            assert_eq!((failing.failures, failing.why), (0, why));
        }
    }

    #[test]
    fn full_hosts_are_asked_soon() {
        let (mut failing, now) = (Failing::default(), UnixMicros::from_seconds(1_000));
        let limits = limits(NEVER, 1_200);
        failing.pause(Closing::NoExit, &limits, now);
        let pauses: Vec<_> = (0..6).filter_map(|_| failing.pause(Closing::HostsFull, &limits, now)).collect();
        assert_eq!(pauses.iter().map(Duration::as_millis).collect::<Vec<_>>(), [100, 200, 500, 1_000, 2_000, 2_000]);
    }

    #[test]
    fn without_a_limit_it_is_tried_for_ever() {
        let (mut failing, limits) = (Failing::default(), limits(NEVER, 1_200));
        for round in 0..500 {
            let pause = failing.pause(Closing::Unreachable, &limits, UnixMicros::from_seconds(round * 1_000));
            assert!(pause <= Some(Duration::from_secs(900)), "{round}");
        }
        assert_eq!(failing.why, Pause::Unreachable);
    }
}
