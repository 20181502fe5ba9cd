//! What one event loop does for traffic shaping: it tells the desk what was delivered, and brings to its queues what
//! holds for them. Called from the loop's upkeep, a few times a second; all of it in bounded steps.

use crate::events::Events;
use crate::shaping_desk::{Changed, Desk, Held, Placed, is_remote, site};
use crate::shard::Shard;
use delivery::Terms;
use message::{Agent, Container, Event, EventSink as _, Failing, Shaped, ShapedBy, UnixMicros, Verdict};
use scheduling::{Limits, Shaping};
use shaping::{Decision, ShapedOption};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Containers told of, or asked for, while the desk is locked.
const BATCH: usize = 256;
/// Places for containers that one step of a search looks at.
const PLACES: u32 = 1024;
/// Shortest time between two searches for containers of sites that changed.
const SEARCH_GAP: Duration = Duration::from_millis(500);
/// How often a container is looked at whose remaining messages are counted.
const COUNTED_GAP: Duration = Duration::from_secs(1);

/// A loop's memory of what it brought to its queues.
pub(crate) struct Following {
    pub(crate) desk: Arc<Desk>,
    /// The last change of the desk that it has followed.
    seen: Cell<u64>,
    searched: Cell<UnixMicros>,
    /// Containers for which something holds, and when that changes by itself.
    shaped: RefCell<HashMap<Arc<Container>, UnixMicros>>,
}

impl Following {
    pub(crate) fn new(desk: Arc<Desk>) -> Self {
        Self { desk, seen: Cell::new(0), searched: Cell::new(UnixMicros(0)), shaped: RefCell::default() }
    }
}

impl Events {
    /// What a failure is to be taken for, by the rules of traffic shaping.
    pub(crate) fn judge(&self, failing: &Failing<'_>) -> Verdict {
        let (verdict, decisions) = self.desk.judge(failing);
        self.audit(&decisions);
        verdict
    }

    /// A row of the shaping log for each decision.
    pub(crate) fn audit(&self, decisions: &[Decision]) {
        for decision in decisions {
            let change = decision.change.to_string();
            let evidence = decision.evidence.as_ref().map(|evidence| ShapedBy {
                matched: evidence.matched,
                tried: evidence.tried,
                domain: &evidence.domain,
                stage: evidence.stage,
                code: evidence.code,
                text: &evidence.text,
            });
            let scope = &decision.scope;
            self.event(&Event::Shaped(Shaped {
                at: decision.at,
                rule: &decision.rule,
                effect: decision.effect.word(),
                scope: scope.kind.word(),
                site: &scope.site,
                binding: &scope.binding,
                tenant: &scope.tenant,
                change: &change,
                evidence,
            }));
        }
    }
}

impl Shard {
    /// Tells and asks the desk what is to be told and asked now.
    pub(crate) async fn follow_shaping(self: &Rc<Self>) {
        self.tell_delivered().await;
        if self.context.index() == 0 {
            let ended = self.following.desk.poll_ended(self.unix());
            self.events.audit(&ended);
        }
        let now = self.unix();
        if self.following.searched.get().until(now) >= SEARCH_GAP {
            let mut seen = self.following.seen.get();
            let changed = self.following.desk.changed_since(&mut seen);
            self.following.seen.set(seen);
            if !matches!(changed, Changed::Nothing) {
                self.following.searched.set(now);
                self.search(&changed).await;
            }
        }
        self.refresh_due(now).await;
    }

    /// The sums of what was delivered since the last time.
    async fn tell_delivered(self: &Rc<Self>) {
        loop {
            let mut sums: Vec<(Placed, u32)> = vec![];
            while sums.len() < BATCH {
                let delivered = self.scheduler.borrow_mut().poll_delivered();
                let Some((container, count)) = delivered else { break };
                if is_remote(&container) {
                    sums.push((self.placed(container), count));
                }
            }
            if sums.is_empty() || self.following.desk.is_off() {
                return;
            }
            let is_full = sums.len() == BATCH;
            let decisions = self.following.desk.on_delivered(self.unix(), &sums);
            self.events.audit(&decisions);
            if !self.following.desk.is_idle() {
                // Their site is known now, if it was not before; and they have less left to send.
                self.shape(&sums.into_iter().map(|(placed, _)| placed).collect::<Vec<_>>());
            }
            if !is_full {
                return;
            }
            self.context.yield_now().await;
        }
    }

    /// Brings to the containers of sites that changed what holds for them now.
    async fn search(self: &Rc<Self>, changed: &Changed) {
        let mut from = Some(0);
        while let Some(at) = from {
            let (containers, next) = self.scheduler.borrow().containers_at(at, PLACES);
            from = next;
            let placed = containers.into_iter().map(|container| self.placed(container));
            let meant: Vec<Placed> = placed.filter(|placed| is_meant(changed, placed)).collect();
            for batch in meant.chunks(BATCH) {
                self.shape(batch);
            }
            self.context.yield_now().await;
        }
        self.ring();
    }

    /// Looks at the containers whose time has come.
    async fn refresh_due(self: &Rc<Self>, now: UnixMicros) {
        let due: Vec<Arc<Container>> = {
            let shaped = self.following.shaped.borrow();
            shaped.iter().filter(|(_, at)| **at <= now).map(|(container, _)| container.clone()).collect()
        };
        if due.is_empty() {
            return;
        }
        for batch in due.chunks(BATCH) {
            self.shape(&batch.iter().map(|container| self.placed(container.clone())).collect::<Vec<_>>());
            self.context.yield_now().await;
        }
        self.ring();
    }

    /// The same for a container that is new.
    pub(crate) fn shape_new(&self, container: &Arc<Container>) {
        if !self.following.desk.is_idle() {
            self.shape(&[self.placed(container.clone())]);
        }
    }

    /// All that holds is looked at again: the configuration has changed.
    pub(crate) fn reshape(&self) {
        self.following.shaped.borrow_mut().values_mut().for_each(|at| *at = UnixMicros(0));
    }

    /// A container with what its mail exchangers are called, if delivery knows.
    pub(crate) fn placed(&self, container: Arc<Container>) -> Placed {
        let site = if container.agent == Agent::Mx { self.site_name(&container) } else { None };
        (container, site)
    }

    /// Brings to containers what holds for them now.
    fn shape(&self, placed: &[Placed]) {
        if placed.is_empty() {
            return;
        }
        let now = self.unix();
        let held = self.following.desk.held(now, placed);
        for ((container, _), held) in placed.iter().zip(held) {
            let (shaping, terms, next) = match held {
                None => (None, Terms::default(), None),
                Some(held) => {
                    let limits = self.generation.borrow_mut().limits(container);
                    let leased = self.scheduler.borrow().leased(container);
                    let (shaping, terms) = tightened(&limits, held, leased, now);
                    let next = shaping.until;
                    (Some(shaping), terms, Some(next))
                }
            };
            let is_there = self.scheduler.borrow_mut().shape(container, shaping, now);
            let mut shaped = self.following.shaped.borrow_mut();
            let before = match next.filter(|_| is_there) {
                Some(next) => shaped.insert(container.clone(), next),
                None => shaped.remove(container),
            };
            if before.is_some() || terms != Terms::default() {
                self.set_terms(container, if is_there { terms } else { Terms::default() });
            }
        }
    }
}

fn is_meant(changed: &Changed, (container, exchangers): &Placed) -> bool {
    match changed {
        Changed::Nothing => false,
        Changed::Everything => true,
        // Whose exchangers are not known may be meant: the desk remembers more than the loop.
        Changed::Sites(_) if container.agent == Agent::Mx && exchangers.is_none() => true,
        Changed::Sites(sites) => sites.contains(site(container, exchangers.as_deref())),
    }
}

/// What holds for a container, as its queue and its connections understand it.
fn tightened(limits: &Limits, held: Held, leased: u32, now: UnixMicros) -> (Shaping, Terms) {
    let Held { adjustments, throttles } = held;
    let seconds = |option| adjustments.option(option).map(|seconds| Duration::from_secs(u64::from(seconds)));
    let allowance = adjustments.allowance.map(|left| u32::try_from(left).unwrap_or(u32::MAX).saturating_sub(leased));
    let counted = allowance.map(|_| now.after(COUNTED_GAP));
    let shaping = Shaping {
        suspended_until: adjustments.suspended_until.unwrap_or(UnixMicros(0)),
        allowance,
        max_connections: adjustments.connections(limits.max_connections),
        max_recipients_per_batch: adjustments.option(ShapedOption::MaxRecipientsPerBatch).unwrap_or(u32::MAX),
        retry_interval: seconds(ShapedOption::RetryInterval),
        retry_interval_max: seconds(ShapedOption::MaxRetryInterval),
        rates: throttles.into_iter().collect(),
        until: adjustments.changes_at.into_iter().chain(counted).min().unwrap_or(UnixMicros(u64::MAX)),
    };
    let terms = Terms {
        deliveries_max: adjustments.option(ShapedOption::MaxDeliveriesPerConnection),
        idle_timeout: seconds(ShapedOption::IdleTimeout),
    };
    (shaping, terms)
}
