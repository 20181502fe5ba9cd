//! What holds for a connection at one moment: the adjustments of all scopes of a subject, taken together. Made by the
//! engine; whoever opens connections asks it with what is configured.

use crate::adjustment::Adjustment;
use crate::quantity::Rate;
use crate::rule::{ShapedOption, WHOLE};
use crate::scope::ScopeKind;
use message::UnixMicros;

/// Of several scopes the tighter value counts: the later end, the smaller number, the longer wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjustments {
    /// Nothing leaves before.
    pub suspended_until: Option<UnixMicros>,
    /// How many messages may leave before `suspended_until` would be set by a warm-up.
    pub allowance: Option<u64>,
    /// When something of this ends or comes a step nearer to the whole, if nothing else happens.
    pub changes_at: Option<UnixMicros>,
    share: u32,
    floor: u32,
    connection_limit: Option<u32>,
    /// Messages a day, by the kind of scope.
    rates: [Option<u64>; ScopeKind::ALL.len()],
    options: [Option<u32>; ShapedOption::COUNT],
}

impl Default for Adjustments {
    /// Everything as configured.
    fn default() -> Self {
        Self {
            suspended_until: None,
            allowance: None,
            changes_at: None,
            share: WHOLE,
            floor: 0,
            connection_limit: None,
            rates: [None; ScopeKind::ALL.len()],
            options: [None; ShapedOption::COUNT],
        }
    }
}

impl Adjustments {
    /// Connections at the same time, where so many are configured.
    pub fn connections(&self, configured: u32) -> u32 {
        let share = (u64::from(configured) * u64::from(self.share) / u64::from(WHOLE)) as u32;
        let reduced = share.max(self.floor).min(configured);
        self.connection_limit.map_or(reduced, |limit| limit.min(reduced))
    }

    /// The rate of messages, where this one or none is configured.
    pub fn rate(&self, configured: Option<Rate>) -> Option<Rate> {
        let adjusted = self.rates.iter().flatten().min().map(|&per_day| Rate::per_day(per_day));
        match (adjusted, configured) {
            (Some(adjusted), Some(configured)) => Some(adjusted.min(configured)),
            (adjusted, configured) => adjusted.or(configured),
        }
    }

    /// The rate of all messages of one scope of the subject together, if it is limited.
    pub fn rate_of(&self, kind: ScopeKind) -> Option<Rate> {
        self.rates[kind as usize].map(Rate::per_day)
    }

    /// The value that rules gave to an option, durations in seconds.
    pub fn option(&self, option: ShapedOption) -> Option<u32> {
        self.options[option as usize]
    }

    /// Adds what is adjusted for one more scope.
    pub(crate) fn add(&mut self, kind: ScopeKind, adjustment: &Adjustment, now: UnixMicros) {
        self.change_at(adjustment.next_change(now));
        if let Some(timed) = &adjustment.suspension {
            self.suspend(timed.until, now);
        }
        if let Some(share) = &adjustment.connection_share {
            let part = share.at(now);
            if part < self.share {
                (self.share, self.floor) = (part, u32::try_from(share.floor).unwrap_or(u32::MAX));
            }
        }
        if let Some(timed) = adjustment.connection_limit.as_ref().filter(|timed| timed.until > now) {
            self.connection_limit = Some(self.connection_limit.map_or(timed.value, |limit| limit.min(timed.value)));
        }
        if let Some(share) = adjustment.rate_share.as_ref().filter(|share| share.at(now) < WHOLE) {
            self.limit_rate(kind, share.per_day(now));
        }
        if let Some(timed) = adjustment.rate_limit.as_ref().filter(|timed| timed.until > now) {
            self.limit_rate(kind, timed.value.messages_per_day());
        }
        for (option, timed) in adjustment.options.iter().filter(|(_, timed)| timed.until > now) {
            let slot = &mut self.options[*option as usize];
            let tighter = match option {
                ShapedOption::RetryInterval | ShapedOption::MaxRetryInterval => u32::max,
                ShapedOption::MaxDeliveriesPerConnection
                | ShapedOption::MaxRecipientsPerBatch
                | ShapedOption::IdleTimeout => u32::min,
            };
            *slot = Some(slot.map_or(timed.value, |value| tighter(value, timed.value)));
        }
    }

    /// Adds a ramp: so many messages are left until then.
    pub(crate) fn allow(&mut self, left: u64, until: UnixMicros, now: UnixMicros) {
        if left == 0 {
            self.suspend(until, now);
        }
        self.change_at(Some(until));
        self.allowance = Some(self.allowance.map_or(left, |other| other.min(left)));
    }

    fn suspend(&mut self, until: UnixMicros, now: UnixMicros) {
        if until > now {
            self.suspended_until = Some(self.suspended_until.map_or(until, |other| other.max(until)));
        }
    }

    fn limit_rate(&mut self, kind: ScopeKind, per_day: u64) {
        let rate = &mut self.rates[kind as usize];
        *rate = Some(rate.map_or(per_day, |other| other.min(per_day)));
    }

    fn change_at(&mut self, at: Option<UnixMicros>) {
        self.changes_at = self.changes_at.into_iter().chain(at).min();
    }
}
