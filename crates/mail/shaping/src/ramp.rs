//! How far a young binding has come at a site: the day of its age, and what it sent on that day. The engine keeps one a
//! warm-up rule and binding × site.

use crate::rule::WarmUp;
use message::UnixMicros;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ramp {
    /// When the first day began.
    pub(crate) born: UnixMicros,
    /// The day that `sent` is of, from 0.
    pub(crate) day: u32,
    pub(crate) sent: u64,
}

/// A day's cap is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) day: u32,
    pub(crate) cap: u32,
    pub(crate) until: UnixMicros,
}

impl Ramp {
    /// One whose age is what the rule says, else what the binding's birth says, else nothing.
    pub(crate) fn new(warm_up: &WarmUp, birth: Option<UnixMicros>, now: UnixMicros) -> Self {
        let since = warm_up.since.map(|days| UnixMicros::from_seconds(u64::from(days) * DAY.as_secs()));
        let born = since.or(birth).unwrap_or(now);
        Self { born, day: 0, sent: 0 }
    }

    /// Messages left; tells when they reach the day's cap, once a day.
    pub(crate) fn add(&mut self, warm_up: &WarmUp, now: UnixMicros, weight: u32) -> Option<Reached> {
        let day = self.day_at(now);
        if day != self.day {
            (self.day, self.sent) = (day, 0);
        }
        let cap = *warm_up.days.get(day as usize)?;
        let before = self.sent;
        self.sent = before.saturating_add(u64::from(weight));
        let reached = before < u64::from(cap) && self.sent >= u64::from(cap);
        reached.then(|| Reached { day, cap, until: self.day_ends(day) })
    }

    /// How many messages may still leave today, and when the next day begins; `None` after the last day.
    pub(crate) fn left(&self, warm_up: &WarmUp, now: UnixMicros) -> Option<(u64, UnixMicros)> {
        let day = self.day_at(now);
        let cap = u64::from(*warm_up.days.get(day as usize)?);
        let sent = if day == self.day { self.sent } else { 0 };
        Some((cap.saturating_sub(sent), self.day_ends(day)))
    }

    /// A day that has been counted never comes again, whatever the clock does.
    fn day_at(&self, now: UnixMicros) -> u32 {
        let days = self.born.until(now).as_secs() / DAY.as_secs();
        u32::try_from(days).unwrap_or(u32::MAX).max(self.day)
    }

    fn day_ends(&self, day: u32) -> UnixMicros {
        self.born.after(DAY.saturating_mul(day.saturating_add(1)))
    }
}
