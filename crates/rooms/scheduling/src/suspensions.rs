//! What the operator stopped: rules about containers, those that exist and those that will. They are kept until they end,
//! are resumed, or the process ends; suspensions that outlive it stand in the configuration.

use crate::scheduler::Scheduler;
use message::{Container, UnixMicros};
use std::sync::Arc;

/// Suspensions that a scheduler keeps at most.
pub const SUSPENSIONS_MAX: usize = 10_000;

/// Which containers are meant; what is not named may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The container's name, or the domain or pattern whose options hold for it.
    pub domain: Option<Arc<str>>,
    /// The binding.
    pub binding: Option<Arc<str>>,
    /// The binding group.
    pub group: Option<Arc<str>>,
}

/// Containers that rest by an operator's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspension {
    /// Which.
    pub selector: Selector,
    /// Until when; `u64::MAX` is until they are resumed.
    pub until: UnixMicros,
}

/// There are [`SUSPENSIONS_MAX`] suspensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySuspensions;

impl std::fmt::Display for TooManySuspensions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there are {SUSPENSIONS_MAX} suspensions already; resume some, or suspend a binding as a whole")
    }
}

impl std::error::Error for TooManySuspensions {}

impl Selector {
    /// Whether a container is meant.
    pub fn selects(&self, container: &Container) -> bool {
        let is = |asked: &Option<Arc<str>>, found: &str| asked.as_deref().is_none_or(|asked| asked == found);
        let domain = self.domain.as_deref();
        domain.is_none_or(|domain| domain == &*container.name || domain == &*container.options)
            && is(&self.binding, &container.binding)
            && self.group.as_deref().is_none_or(|group| container.group.as_deref() == Some(group))
    }

    /// Whether everything that `other` means is meant.
    pub fn includes(&self, other: &Selector) -> bool {
        let is = |own: &Option<Arc<str>>, other: &Option<Arc<str>>| own.is_none() || own == other;
        is(&self.domain, &other.domain) && is(&self.binding, &other.binding) && is(&self.group, &other.group)
    }
}

impl Scheduler {
    /// Lets containers rest until a moment, or with `u64::MAX` until they are resumed. Holds at once for containers
    /// that come; [`Scheduler::apply_suspensions`] brings it to those that exist.
    ///
    /// # Errors
    /// [`TooManySuspensions`]; nothing has changed then.
    pub fn suspend(
        &mut self,
        selector: Selector,
        until: UnixMicros,
        now: UnixMicros,
    ) -> Result<(), TooManySuspensions> {
        self.suspensions.retain(|suspension| suspension.until > now && suspension.selector != selector);
        if self.suspensions.len() >= SUSPENSIONS_MAX {
            return Err(TooManySuspensions);
        }
        self.suspensions.push(Suspension { selector, until });
        Ok(())
    }

    /// Ends all suspensions of what is selected; says how many those were. [`Scheduler::apply_suspensions`] has to
    /// follow.
    pub fn resume(&mut self, selector: &Selector) -> usize {
        let before = self.suspensions.len();
        self.suspensions.retain(|suspension| !selector.includes(&suspension.selector));
        before - self.suspensions.len()
    }

    /// What rests by an operator's word.
    pub fn suspensions(&self) -> &[Suspension] {
        &self.suspensions
    }

    /// Brings suspensions to up to `slots` places for containers, from 0 or where the step before ended; says where to
    /// go on.
    pub fn apply_suspensions(&mut self, from: u32, slots: u32, now: UnixMicros) -> Option<u32> {
        let end = from.saturating_add(slots).min(self.queues.slots());
        for q in from..end {
            let Some(queue) = self.queues.get(q) else { continue };
            let until = self.suspended_until(&queue.container, now);
            if until != queue.suspended_until {
                self.queues[q].suspended_until = until;
                self.agenda.hurry(q, now.0);
            }
        }
        (end < self.queues.slots()).then_some(end)
    }

    /// Until when a container rests by an operator's word; 0 if it does not.
    pub(crate) fn suspended_until(&self, container: &Container, now: UnixMicros) -> UnixMicros {
        let mine = self.suspensions.iter().filter(|suspension| suspension.selector.selects(container));
        mine.map(|suspension| suspension.until).filter(|&until| until > now).max().unwrap_or(UnixMicros(0))
    }
}
