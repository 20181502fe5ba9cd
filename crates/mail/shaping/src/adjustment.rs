//! What is adjusted for one scope, as rules left it and as time lets it come back. Kept in a `Ledger`; pure.
//!
//! A limit that was reduced by a factor is a share of what is configured. A further reduction multiplies it, every quiet
//! step adds to it, and at the whole it is gone: additive increase, multiplicative decrease. All else stands until a
//! moment and then is gone.

use crate::decision::{Change, Part};
use crate::quantity::Rate;
use crate::rule::{Recovery, ShapedOption, WHOLE};
use message::UnixMicros;
use std::sync::Arc;
use std::time::Duration;

/// Which rule left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) rule: Arc<str>,
    pub(crate) priority: i32,
}

/// A value that stands until a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timed<T> {
    pub(crate) value: T,
    pub(crate) until: UnixMicros,
    pub(crate) cause: Cause,
}

/// A part of the whole that comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Millionths at `since`.
    pub(crate) part: u32,
    pub(crate) since: UnixMicros,
    pub(crate) recovery: Recovery,
    /// Connections, or messages a day, that remain in any case.
    pub(crate) floor: u64,
    /// What the whole is, messages a day; connections have what is configured.
    pub(crate) whole: u64,
    pub(crate) cause: Cause,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Adjustment {
    pub(crate) suspension: Option<Timed<()>>,
    pub(crate) connection_share: Option<Share>,
    pub(crate) connection_limit: Option<Timed<u32>>,
    pub(crate) rate_share: Option<Share>,
    pub(crate) rate_limit: Option<Timed<Rate>>,
    pub(crate) options: Vec<(ShapedOption, Timed<u32>)>,
}

/// A change, and the rule that kept it from being made.
pub(crate) type Offered = (Change, Option<Arc<str>>);

impl Share {
    /// Millionths now; the whole when it has come back.
    pub(crate) fn at(&self, now: UnixMicros) -> u32 {
        let passed = self.since.until(now).as_micros() / self.recovery.every.as_micros().max(1);
        let gained = u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(u64::from(self.recovery.step));
        u64::from(self.part).saturating_add(gained).min(u64::from(WHOLE)) as u32
    }

    /// The moment of the next step; now if it has come back.
    pub(crate) fn next_step(&self, now: UnixMicros) -> UnixMicros {
        if self.at(now) == WHOLE {
            return now;
        }
        let every = self.recovery.every.as_micros().max(1);
        let passed = self.since.until(now).as_micros() / every;
        let next = (passed + 1).saturating_mul(every);
        self.since.after(Duration::from_micros(u64::try_from(next).unwrap_or(u64::MAX)))
    }

    /// Messages a day now.
    pub(crate) fn per_day(&self, now: UnixMicros) -> u64 {
        let part = u128::from(self.whole) * u128::from(self.at(now)) / u128::from(WHOLE);
        u64::try_from(part).unwrap_or(u64::MAX).max(self.floor)
    }
}

/// Puts a value in place of another, unless a rule of higher priority left that one.
fn offer<T: Copy>(
    slot: &mut Option<Timed<T>>,
    new: Timed<T>,
    now: UnixMicros,
) -> (Option<(T, UnixMicros)>, Option<Arc<str>>) {
    let standing = slot.as_ref().filter(|old| old.until > now);
    let old = standing.map(|old| (old.value, old.until));
    if let Some(higher) = standing.filter(|old| old.cause.priority > new.cause.priority) {
        return (old, Some(higher.cause.rule.clone()));
    }
    *slot = Some(new);
    (old, None)
}

impl Adjustment {
    pub(crate) fn suspend(&mut self, now: UnixMicros, lasts: Duration, cause: Cause) -> Offered {
        let until = now.after(lasts);
        let (old, by) = offer(&mut self.suspension, Timed { value: (), until, cause }, now);
        (Change::Suspended { old: old.map(|(_, until)| until), until }, by)
    }

    pub(crate) fn limit_connections(&mut self, now: UnixMicros, new: u32, lasts: Duration, cause: Cause) -> Offered {
        let until = now.after(lasts);
        let (old, by) = offer(&mut self.connection_limit, Timed { value: new, until, cause }, now);
        (Change::ConnectionLimit { old: old.map(|(value, _)| value), new, until }, by)
    }

    pub(crate) fn limit_rate(&mut self, now: UnixMicros, new: Rate, lasts: Duration, cause: Cause) -> Offered {
        let until = now.after(lasts);
        let (old, by) = offer(&mut self.rate_limit, Timed { value: new, until, cause }, now);
        (Change::RateLimit { old: old.map(|(value, _)| value), new, until }, by)
    }

    pub(crate) fn set(
        &mut self,
        now: UnixMicros,
        (option, new): (ShapedOption, u32),
        lasts: Duration,
        cause: Cause,
    ) -> Offered {
        let until = now.after(lasts);
        let place = self.options.iter().position(|(other, _)| *other == option);
        let mut slot = place.map(|place| self.options.swap_remove(place).1);
        let (old, by) = offer(&mut slot, Timed { value: new, until, cause }, now);
        self.options.extend(slot.map(|timed| (option, timed)));
        (Change::OptionSet { option, old: old.map(|(value, _)| value), new, until }, by)
    }

    /// A factor always tightens, whoever's it is; how it comes back is up to the last.
    pub(crate) fn reduce_connections(
        &mut self,
        now: UnixMicros,
        factor: u32,
        floor: u32,
        recovery: Recovery,
        cause: Cause,
    ) -> Offered {
        let old = self.connection_share.as_ref().map_or(WHOLE, |share| share.at(now));
        let new = times(old, factor);
        let floor = u64::from(floor);
        self.connection_share = Some(Share { part: new, since: now, recovery, floor, whole: 0, cause });
        (Change::ConnectionShare { old, new }, None)
    }

    /// `measured` is the pace, messages a day; it is the whole until the share has come back.
    pub(crate) fn reduce_rate(
        &mut self,
        now: UnixMicros,
        (factor, measured): (u32, u64),
        floor: Rate,
        recovery: Recovery,
        cause: Cause,
    ) -> Offered {
        let floor = floor.messages_per_day();
        let standing = self.rate_share.as_ref().filter(|share| share.at(now) < WHOLE);
        let (old, whole) = standing.map_or((WHOLE, measured.max(floor)), |share| (share.at(now), share.whole));
        let before = standing.map_or(whole, |share| share.per_day(now));
        let share = Share { part: times(old, factor), since: now, recovery, floor, whole, cause };
        let change = Change::RateShare { old: Rate::per_day(before), new: Rate::per_day(share.per_day(now)) };
        self.rate_share = Some(share);
        (change, None)
    }

    /// The next moment at which something changes by itself.
    pub(crate) fn next_change(&self, now: UnixMicros) -> Option<UnixMicros> {
        let ends = [
            self.suspension.as_ref().map(|timed| timed.until),
            self.connection_limit.as_ref().map(|timed| timed.until),
            self.rate_limit.as_ref().map(|timed| timed.until),
            self.connection_share.as_ref().map(|share| share.next_step(now)),
            self.rate_share.as_ref().map(|share| share.next_step(now)),
        ];
        let options = self.options.iter().map(|(_, timed)| timed.until);
        ends.into_iter().flatten().chain(options).min()
    }

    /// Takes out one part whose time is over, and says whose it was.
    pub(crate) fn take_ended(&mut self, now: UnixMicros) -> Option<(Part, Cause)> {
        let over = |share: &mut Share| share.at(now) == WHOLE;
        let ended = None
            .or_else(|| self.suspension.take_if(|timed| timed.until <= now).map(|t| (Part::Suspension, t.cause)))
            .or_else(|| {
                self.connection_limit.take_if(|timed| timed.until <= now).map(|t| (Part::ConnectionLimit, t.cause))
            })
            .or_else(|| self.rate_limit.take_if(|timed| timed.until <= now).map(|t| (Part::RateLimit, t.cause)))
            .or_else(|| self.connection_share.take_if(over).map(|share| (Part::ConnectionShare, share.cause)))
            .or_else(|| self.rate_share.take_if(over).map(|share| (Part::RateShare, share.cause)));
        if ended.is_some() {
            return ended;
        }
        let place = self.options.iter().position(|(_, timed)| timed.until <= now)?;
        let (option, timed) = self.options.swap_remove(place);
        Some((Part::Option(option), timed.cause))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// A part of a part, at least a millionth.
fn times(part: u32, factor: u32) -> u32 {
    ((u64::from(part) * u64::from(factor) / u64::from(WHOLE)) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cause(rule: &str, priority: i32) -> Cause {
        Cause { rule: rule.into(), priority }
    }

    fn at(seconds: u64) -> UnixMicros {
        UnixMicros::from_seconds(1_000_000 + seconds)
    }

    const RECOVERY: Recovery = Recovery { step: 100_000, every: Duration::from_secs(60) };

    #[test]
    fn a_share_halves_and_comes_back_in_steps() {
        let mut adjustment = Adjustment::default();
        for expected in [500_000, 250_000] {
            let (change, _) = adjustment.reduce_connections(at(0), 500_000, 1, RECOVERY, cause("r", 0));
            assert_eq!(change, Change::ConnectionShare { old: expected * 2, new: expected });
        }
        let share = |adjustment: &Adjustment, now| adjustment.connection_share.as_ref().map(|share| share.at(now));
        assert_eq!(share(&adjustment, at(59)), Some(250_000));
        assert_eq!(share(&adjustment, at(60)), Some(350_000));
        assert_eq!(adjustment.next_change(at(60)), Some(at(120)));
        assert_eq!(adjustment.take_ended(at(479)), None);
        assert_eq!(adjustment.take_ended(at(480)).map(|(part, _)| part), Some(Part::ConnectionShare));
        assert!(adjustment.is_empty());
    }

    #[test]
    fn the_higher_priority_stands_and_equals_replace() {
        let hour = Duration::from_secs(3_600);
        let mut adjustment = Adjustment::default();
        adjustment.suspend(at(0), hour * 4, cause("high", 5));
        let (_, by) = adjustment.suspend(at(1), hour * 9, cause("low", 4));
        assert_eq!(by.as_deref(), Some("high"));
        let (change, by) = adjustment.suspend(at(1), hour, cause("equal", 5));
        assert_eq!(by, None);
        assert_eq!(change, Change::Suspended { old: Some(at(4 * 3_600)), until: at(3_601) });
        let (_, by) = adjustment.suspend(at(3_601), hour, cause("low", 4));
        assert_eq!(by, None, "what has ended stands in nobody's way");
    }

    #[test]
    fn a_rate_is_a_part_of_the_pace_that_was() {
        let mut adjustment = Adjustment::default();
        let floor = Rate::per_day(1_440);
        let (change, _) = adjustment.reduce_rate(at(0), (500_000, 864_000), floor, RECOVERY, cause("r", 0));
        assert_eq!(change, Change::RateShare { old: Rate::per_day(864_000), new: Rate::per_day(432_000) });
        // The pace is lower now because it was reduced; the whole stays what it was.
        let (change, _) = adjustment.reduce_rate(at(1), (500_000, 400_000), floor, RECOVERY, cause("r", 0));
        assert_eq!(change, Change::RateShare { old: Rate::per_day(432_000), new: Rate::per_day(216_000) });
        for _ in 0..40 {
            adjustment.reduce_rate(at(1), (500_000, 1), floor, RECOVERY, cause("r", 0));
        }
        assert_eq!(adjustment.rate_share.as_ref().map(|share| share.per_day(at(1))), Some(1_440));
    }

    proptest! {
        #[test]
        fn nothing_outlives_its_end(
            actions in prop::collection::vec((0_u8..6, 1_u64..5_000, 1_u32..WHOLE, -3_i32..3), 1..30),
        ) {
            let mut adjustment = Adjustment::default();
            let mut now = 0;
            for (what, time, number, priority) in actions {
                now += time % 500;
                let (lasts, cause) = (Duration::from_secs(time), cause("r", priority));
                match what {
                    0 => adjustment.suspend(at(now), lasts, cause),
                    1 => adjustment.limit_connections(at(now), number, lasts, cause),
                    2 => adjustment.limit_rate(at(now), Rate::per_day(u64::from(number)), lasts, cause),
                    3 => adjustment.set(at(now), (ShapedOption::IdleTimeout, number), lasts, cause),
                    4 => adjustment.reduce_connections(at(now), number, 1, RECOVERY, cause),
                    _ => adjustment.reduce_rate(at(now), (number, 9_999), Rate::per_day(1), RECOVERY, cause),
                };
            }
            let mut steps = 0;
            while let Some(next) = adjustment.next_change(at(now)) {
                prop_assert!(next >= at(now) || steps == 0);
                now = now.max(next.seconds() - 1_000_000);
                while adjustment.take_ended(at(now)).is_some() {}
                steps += 1;
                prop_assert!(steps < 100);
            }
            prop_assert!(adjustment.is_empty());
            prop_assert!(now <= 500 * 30 + 5_000);
        }
    }
}
