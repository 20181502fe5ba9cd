//! One domain container on one binding: its mail, its connections, and what it may and wants to do next.
//!
//! The scheduler owns it; nothing here reaches other containers. Times at which it wants to be looked after are
//! microseconds since the epoch, `u64::MAX` is never.

use crate::active::Active;
use crate::delayed::Delayed;
use crate::line::{Links, NONE};
use crate::pausing::Failing;
use crate::shaping::{Shaping, Tightness};
use crate::sites::{SITE_POLL, Site, Way};
use crate::{Flow, Limits, Ramp, Throttle};
use config::closed_until;
use message::{Agent, Closing, Container, UnixMicros};
use std::sync::Arc;
use std::time::Duration;

/// Connections that a container may have before any delivery.
const RAMP_START: u32 = 2;
/// Recipients that justify one connection.
const RECIPIENTS_PER_CONNECTION: u32 = 4;
/// When mail waits this long and no connection takes any, nor is opened, one more is tried.
const STALL: Duration = Duration::from_secs(2);
/// Connections to files: more would only wait for the same disk.
const MAILDIR_CONNECTIONS_MAX: u32 = 8;
/// A domain container on a binding.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) container: Arc<Container>,
    pub(crate) limits: Arc<Limits>,
    /// Tells this container from others that had or will have its slot.
    pub(crate) serial: u32,
    pub(crate) active: Active,
    pub(crate) delayed: Delayed,
    /// Delayed entries that the operator sent on their way before their time.
    pub(crate) flushed: Delayed,
    /// Entries in `delayed` and `flushed`.
    pub(crate) delayed_len: u32,
    /// Entries with connections.
    pub(crate) leased: u32,
    /// Entries that are too old and not settled yet.
    pub(crate) expired: u32,
    pub(crate) connections: u32,
    /// Connections that its deliveries have earned.
    ramp: u32,
    /// What came to nothing since a host was reached.
    pub(crate) failing: Failing,
    /// Where its mail goes, once a connection has asked the DNS.
    pub(crate) way: Option<Way>,
    /// The operator's word on this container.
    pub(crate) flow: Flow,
    /// The operator's word on containers like it.
    pub(crate) suspended_until: UnixMicros,
    /// In which line for connections it stands.
    pub(crate) listed: Option<Place>,
    pub(crate) links: Links,
    /// No new connection before.
    pub(crate) paused_until: UnixMicros,
    /// When the connection that it booked at a throttle may be opened.
    pub(crate) dial_booked: Option<UnixMicros>,
    /// When the transaction that it booked at a throttle may begin.
    pub(crate) lease_booked: Option<UnixMicros>,
    /// When something last happened: a dial, a lease, the first arrival, or the end of all mail.
    pub(crate) moved_at: UnixMicros,
    pub(crate) sweep: Sweep,
    /// What traffic shaping makes of its limits; mostly nothing.
    pub(crate) shaping: Option<Box<Tightness>>,
    /// Connections that were told to go.
    pub(crate) leaving: u32,
    /// Deliveries that traffic shaping has not been told of.
    pub(crate) delivered: u32,
}

/// What keeps all mail of a container from leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing.
    None,
    /// Its route.
    Held,
    /// Its options.
    Options,
    /// Its options, at this time.
    Curfew { until: UnixMicros },
    /// The operator; `u64::MAX` is until told otherwise.
    Operator { until: UnixMicros },
    /// Traffic shaping.
    Shaped { until: UnixMicros },
}

/// A line in which a container waits for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// With those that have no connection.
    First,
    /// With those that want one more.
    Further,
    /// With those that share a limit which is reached.
    Gate,
}

/// The search of an active line for entries that are too old.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep {
    /// The next entry to look at, or [`NONE`] between two sweeps.
    pub(crate) cursor: u32,
    /// No active entry that was looked at, or came since, was received before.
    pub(crate) oldest: UnixMicros,
    /// No new sweep before: its cost is spread over time.
    pub(crate) not_before: UnixMicros,
}

impl Sweep {
    pub(crate) const IDLE: Self = Self { cursor: NONE, oldest: UnixMicros(u64::MAX), not_before: UnixMicros(0) };
}

impl Queue {
    pub(crate) fn new(container: Arc<Container>, limits: Arc<Limits>, now: UnixMicros) -> Self {
        Self {
            container,
            limits,
            serial: 0,
            active: Active::EMPTY,
            delayed: Delayed::EMPTY,
            flushed: Delayed::EMPTY,
            delayed_len: 0,
            leased: 0,
            expired: 0,
            connections: 0,
            ramp: RAMP_START,
            failing: Failing::default(),
            way: None,
            flow: Flow::Flowing,
            suspended_until: UnixMicros(0),
            listed: None,
            links: Links::FREE,
            paused_until: UnixMicros(0),
            dial_booked: None,
            lease_booked: None,
            moved_at: now,
            sweep: Sweep::IDLE,
            shaping: None,
            leaving: 0,
            delivered: 0,
        }
    }

    /// The site that it belongs to, when that is known.
    pub(crate) fn site(&self) -> Option<&Arc<Site>> {
        self.way.as_ref().map(|way| &way.site)
    }

    /// Its next connection asks for its hosts again, whoever has an idle one. It stays with its site until then.
    pub(crate) fn forget_way(&mut self) {
        if let Some(way) = &mut self.way {
            way.at = UnixMicros(0);
        }
    }

    /// Whether no entry belongs to it.
    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty() && self.delayed_len == 0 && self.leased == 0 && self.expired == 0
    }

    /// Whether mail may leave.
    pub(crate) fn flows(&self, now: UnixMicros) -> bool {
        self.rest(now) == Rest::None
    }

    /// What keeps all mail of the container from leaving.
    pub(crate) fn rest(&self, now: UnixMicros) -> Rest {
        if self.container.agent == Agent::Hold {
            return Rest::Held;
        }
        if self.flow == Flow::Suspended {
            return Rest::Operator { until: UnixMicros(u64::MAX) };
        }
        if self.suspended_until > now {
            return Rest::Operator { until: self.suspended_until };
        }
        if self.limits.flow == Flow::Suspended {
            return Rest::Options;
        }
        if let Some(until) = self.shaping.as_ref().and_then(|shaping| shaping.rests_until(now)) {
            return Rest::Shaped { until };
        }
        match closed_until(&self.limits.curfew, now.seconds()) {
            Some(seconds) => Rest::Curfew { until: UnixMicros::from_seconds(seconds) },
            None => Rest::None,
        }
    }

    /// When an entry received then is too old. What is held is held for as long as the route says so.
    pub(crate) fn expires(&self, received: UnixMicros) -> UnixMicros {
        match self.container.agent {
            Agent::Hold => self.limits.retry.age_max.map_or(UnixMicros(u64::MAX), |age| received.after(age)),
            _ => self.limits.retry.expires(received),
        }
    }

    /// Most connections that it may ever have.
    pub(crate) fn connections_max(&self) -> u32 {
        let most = match self.container.agent {
            Agent::Mx | Agent::Smtp(_) | Agent::Lmtp(_) | Agent::LmtpUnix(_) => u32::MAX,
            Agent::Maildir(_) => MAILDIR_CONNECTIONS_MAX,
            Agent::Discard => 1,
            Agent::Hold => 0,
        };
        let shaped = self.shaping().map_or(u32::MAX, |shaping| shaping.max_connections);
        most.min(self.limits.max_connections).min(shaped)
    }

    /// What traffic shaping asks for.
    pub(crate) fn shaping(&self) -> Option<&Shaping> {
        self.shaping.as_ref().map(|tightness| &tightness.shaping)
    }

    /// Whether it wants, and by its own limits may have, one more connection.
    pub(crate) fn wants(&self, now: UnixMicros) -> bool {
        now >= self.not_before() && self.connections < self.goal(now) && !self.site_is_full()
    }

    /// Whether it wants one more and its site may have none.
    pub(crate) fn waits_for_site(&self, now: UnixMicros) -> bool {
        now >= self.not_before() && self.site_is_full() && self.connections < self.goal(now)
    }

    fn site_is_full(&self) -> bool {
        self.site().is_some_and(|site| !site.has_room(&self.limits))
    }

    /// No new connection before, by what came of the last ones of the container or its site.
    pub(crate) fn rests_until(&self) -> UnixMicros {
        self.site().map_or(self.paused_until, |site| self.paused_until.max(site.paused_until()))
    }

    /// Nothing is sent before: it pauses, or waits for what it booked.
    fn not_before(&self) -> UnixMicros {
        let shaped = self.shaping.as_ref().and_then(|shaping| shaping.booked());
        let booked = self.dial_booked.max(self.lease_booked).max(shaped).unwrap_or(UnixMicros(0));
        self.rests_until().max(booked)
    }

    /// How many connections its mail justifies.
    fn goal(&self, now: UnixMicros) -> u32 {
        if self.active.is_empty() || !self.flows(now) {
            return 0;
        }
        let load = self.active.len().saturating_add(self.leased);
        let goal = match self.limits.ramp {
            Ramp::Straight if self.failing.failures == 0 => load,
            Ramp::Straight => load.min(self.ramp),
            Ramp::Gradual => {
                let stalled = now >= self.moved_at.after(STALL);
                let by_load = load.div_ceil(RECIPIENTS_PER_CONNECTION);
                by_load.max(if stalled { self.connections + 1 } else { 0 }).min(self.ramp)
            }
        };
        goal.min(self.connections_max())
    }

    /// When its active mail wants attention, if nothing happens before.
    pub(crate) fn wake_for_active(&self, now: UnixMicros) -> u64 {
        if self.active.is_empty() {
            return u64::MAX;
        }
        // A connection that idles takes what was booked, whether or not another may be opened.
        let shaped = self.shaping.as_ref().and_then(|shaping| shaping.booked());
        let booked = self.lease_booked.max(shaped).filter(|&at| at > now).map_or(u64::MAX, |at| at.0);
        let rested = match self.rest(now) {
            Rest::Operator { until } | Rest::Curfew { until } | Rest::Shaped { until } => until.0,
            Rest::None | Rest::Held | Rest::Options => u64::MAX,
        };
        self.sweep_at(now).0.min(self.dial_at(now)).min(booked).min(rested)
    }

    /// When to look, or look on, for entries that are too old.
    pub(crate) fn sweep_at(&self, now: UnixMicros) -> UnixMicros {
        match self.sweep.cursor {
            NONE => self.expires(self.sweep.oldest).max(self.sweep.not_before),
            _ => now,
        }
    }

    /// When it may come to want a connection by the mere passing of time.
    fn dial_at(&self, now: UnixMicros) -> u64 {
        if self.listed.is_some() || !self.flows(now) || self.connections >= self.connections_max() {
            return u64::MAX;
        }
        let not_before = self.not_before();
        if not_before > now {
            return not_before.0;
        }
        if self.waits_for_site(now) {
            return now.after(SITE_POLL).0;
        }
        let stalls_at = self.moved_at.after(STALL);
        let may_grow = self.limits.ramp == Ramp::Gradual && self.connections < self.ramp;
        if may_grow && stalls_at > now { stalls_at.0 } else { u64::MAX }
    }

    /// Whether the throttle on its connections lets one through now; else it has booked a moment for it.
    pub(crate) fn may_dial(&mut self, now: UnixMicros) -> bool {
        let throttle = self.limits.shares.connection_rate.as_ref();
        take_or_book(&mut self.dial_booked, throttle.map(|share| &*share.what), now)
    }

    /// Whether the throttle on its mail lets a transaction through now; else it has booked a moment for it.
    pub(crate) fn may_lease(&mut self, now: UnixMicros) -> bool {
        // What shaping lets through stays so until the other throttle does, too: nothing is taken in vain.
        if !self.shaping.as_mut().is_none_or(|shaping| shaping.lets_through(now)) {
            return false;
        }
        let throttle = self.limits.shares.message_rate.as_ref();
        take_or_book(&mut self.lease_booked, throttle.map(|share| &*share.what), now)
    }

    /// A next hop answered for a recipient: it can be reached.
    pub(crate) fn on_reached(&mut self) {
        self.failing.on_reached();
        if let Some(site) = self.site() {
            site.on_reached();
        }
    }

    /// A delivery earns one connection more.
    pub(crate) fn on_delivered(&mut self) {
        self.failing.on_reached();
        if let Some(site) = self.site() {
            site.on_delivered(&self.limits);
        }
        self.ramp = self.ramp.saturating_add(1).min(self.connections_max().max(1));
    }

    /// A connection ended, `connections` does not count it any more. Returns how long to pause; the caller lengthens
    /// that at random.
    pub(crate) fn on_closed(&mut self, closing: Closing, now: UnixMicros) -> Option<Duration> {
        match closing {
            Closing::Done => {
                if self.connections == 0 && self.active.is_empty() {
                    self.ramp = RAMP_START;
                }
                return None;
            }
            Closing::Rebuffed | Closing::Unreachable => self.ramp = self.connections.max(1),
            // The hosts have no part in it.
            Closing::NoExit | Closing::Unresolved | Closing::HostsFull => {}
        }
        let of_site = matches!(closing, Closing::Rebuffed | Closing::Unreachable);
        if now < if of_site { self.rests_until() } else { self.paused_until } {
            return None; // Connections that were opened together fail together: that is one failure.
        }
        if let Some(site) = self.site() {
            self.failing.failures = self.failing.failures.max(site.failures());
        }
        self.failing.pause(closing, &self.limits, now)
    }

    /// The operator does not want to wait: the pause of the container, and of its site, is over.
    pub(crate) fn end_pause(&mut self) {
        self.paused_until = UnixMicros(0);
        if let Some(site) = self.site() {
            site.on_reached();
        }
    }

    /// Opens no connection until then; nor does its site, if its hosts are why.
    pub(crate) fn pause(&mut self, closing: Closing, now: UnixMicros, until: UnixMicros) {
        self.paused_until = until;
        if let (Closing::Rebuffed | Closing::Unreachable, Some(site)) = (closing, self.site()) {
            site.on_failed(now, until);
        }
    }
}

fn take_or_book(booked: &mut Option<UnixMicros>, throttle: Option<&Throttle>, now: UnixMicros) -> bool {
    let Some(throttle) = throttle else { return true };
    match *booked {
        Some(at) if at <= now => {
            *booked = None;
            true
        }
        Some(_) => false,
        None if throttle.take(now) => true,
        None => {
            *booked = Some(throttle.book(now));
            false
        }
    }
}
