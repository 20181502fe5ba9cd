//! How an event becomes evidence, and evidence a decision. Part of the engine.

use crate::adjustment::{Adjustment, Cause, Offered};
use crate::decision::{Change, Decision, Effect, Evidence, Part, excerpt};
use crate::event::{AttemptOutcome, Event, Observed};
use crate::quantity::Threshold;
use crate::ramp::Ramp;
use crate::rule::{Action, Further, Reduction, Rule, WarmUp};
use crate::scope::{ScopeKind, ScopeRef};
use crate::shaper::{Mode, Proof, Shaper};
use crate::table::Key;
use crate::window::{Buckets, Meter, Window};
use message::{Enhanced, Stage, UnixMicros};
use smallvec::SmallVec;
use std::sync::Arc;

/// What one event has done already, and by which rule: a lower rule does not do it again.
type Done = SmallVec<[(Part, ScopeKind, Arc<str>); 4]>;

/// A failure as rules see it.
#[derive(Clone, Copy)]
struct Failure<'a> {
    stage: Stage,
    code: u16,
    enhanced: Option<Enhanced>,
    text: &'a str,
}

/// How much speaks for a rule.
#[derive(Clone, Copy)]
struct Amount {
    matched: u32,
    tried: Option<u32>,
}

impl Shaper {
    /// Takes note of an attempt, or of several that went alike.
    ///
    /// Rules are tried from the highest priority to the lowest, and in the order of the files among equals. Each one that
    /// fires does what it has to, unless a rule before it has just done the same to the same scope, or a standing value
    /// is of a higher priority: then its decision is told as overruled. A standing value of the same or a lower priority
    /// is replaced, be the new one looser or tighter. A factor always tightens.
    pub fn observe(&mut self, now: UnixMicros, event: &Event<'_>) -> Observed {
        let mut observed = Observed::default();
        if self.mode == Mode::Off || !event.subject.is_bounded() {
            return observed;
        }
        let rules = Arc::clone(&self.rules);
        let failure = Failure::of(event);
        let mut candidates = rules.candidates(&event.subject);
        if failure.is_none() {
            candidates = candidates.and(rules.successes());
        }
        let (mut done, mut metered) = (Done::new(), SmallVec::<[ScopeKind; 4]>::new());
        for number in candidates.numbers() {
            let (rule, tag) = (rules.get(number), self.tags[number]);
            let meant = rule.audience.has(event.subject.binding, event.subject.tenant);
            let (true, Some(scope)) = (meant, event.subject.scope(rule.scope)) else { continue };
            if let Some(warm_up) = rule.warm_up() {
                if failure.is_none() {
                    self.warm(now, rule, warm_up, Key { tag, scope }, event.weight, &mut observed);
                }
                continue;
            }
            if measures(rule) && !metered.contains(&rule.scope) {
                metered.push(rule.scope);
                self.meter(now, scope, event.weight);
            }
            let matching = failure.filter(|it| rule.replies.matches(it.stage, it.code, it.enhanced, it.text));
            self.rewrite(now, rule, scope, matching, event, &mut observed);
            if let Some(amount) = self.weigh(now, rule, Key { tag, scope }, matching.is_some(), event.weight) {
                let last = matching.expect("only a reply that matches is enough");
                let evidence = evidence(rule, event, last, amount);
                self.fire(now, rule, scope, &evidence, &mut done, &mut observed);
            }
            if matching.is_some() && rule.further == Further::Stop {
                break;
            }
        }
        observed
    }

    /// Counts a delivery of a young binding.
    fn warm(
        &mut self,
        now: UnixMicros,
        rule: &Rule,
        warm_up: &WarmUp,
        key: Key<'_>,
        weight: u32,
        observed: &mut Observed,
    ) {
        let birth = self.birth(key.scope.binding);
        let place = self.ramps.touch(key, || Ramp::new(warm_up, birth, now));
        let reached = self.ramps.get_mut(place.slot).and_then(|ramp| ramp.add(warm_up, now, weight));
        let Some(reached) = reached else { return };
        let change = Change::WarmUpReached { day: reached.day + 1, cap: reached.cap, until: reached.until };
        self.tell(now, rule, key.scope, change, None, None, observed);
    }

    fn meter(&mut self, now: UnixMicros, scope: ScopeRef<'_>, weight: u32) {
        let place = self.meters.touch(Key { tag: 0, scope }, || Meter::new(now));
        if let Some(meter) = self.meters.get_mut(place.slot) {
            meter.add(now, weight);
        }
    }

    /// The pace of a scope's messages, a day.
    fn pace(&self, now: UnixMicros, scope: ScopeRef<'_>) -> u64 {
        let meter = self.meters.find(Key { tag: 0, scope }).and_then(|slot| self.meters.get(slot));
        meter.map_or(0, |meter| meter.per_day(now))
    }

    fn rewrite(
        &mut self,
        now: UnixMicros,
        rule: &Rule,
        scope: ScopeRef<'_>,
        matching: Option<Failure<'_>>,
        event: &Event<'_>,
        observed: &mut Observed,
    ) {
        let rewrite = rule.actions.iter().find_map(|action| match action {
            Action::Rewrite(rewrite) => Some(*rewrite),
            _ => None,
        });
        let (Some(rewrite), Some(failure), None) = (rewrite, matching, observed.rewrite) else { return };
        if !rewrite.changes(failure.code) {
            return;
        }
        if self.is_applied(rule) {
            observed.rewrite = Some(rewrite);
        }
        let amount = Amount { matched: event.weight, tried: None };
        let evidence = Evidence { threshold: Threshold::Immediate, ..evidence(rule, event, failure, amount) };
        self.tell(now, rule, scope, Change::Rewritten(rewrite), Some(evidence), None, observed);
    }

    /// Counts for a rule in a scope; says how much there was if it is enough, and begins anew then.
    fn weigh(&mut self, now: UnixMicros, rule: &Rule, key: Key<'_>, matches: bool, weight: u32) -> Option<Amount> {
        let shares = matches!(rule.threshold, Threshold::Share { .. });
        let fires = rule.actions.iter().any(|action| !matches!(action, Action::Rewrite(_)));
        if !(matches || shares) || !fires {
            return None;
        }
        let place = self.evidence.touch(key, || Proof::new(rule.threshold));
        self.counts.evidence_evicted += u64::from(place.evicted.is_some());
        let proof = self.evidence.get_mut(place.slot)?;
        let cools = now < proof.quiet_until && proof.quiet_until <= now.after(rule.cool_down);
        if cools {
            return None;
        }
        let amount = proof.add(now, rule.threshold, matches, weight)?;
        *proof = Proof { quiet_until: now.after(rule.cool_down), ..Proof::new(rule.threshold) };
        Some(amount)
    }

    /// Does what a rule has to, action by action.
    fn fire(
        &mut self,
        now: UnixMicros,
        rule: &Rule,
        scope: ScopeRef<'_>,
        evidence: &Evidence,
        done: &mut Done,
        observed: &mut Observed,
    ) {
        let pace = if measures(rule) { self.pace(now, scope) } else { 0 };
        for action in &rule.actions {
            let Some(part) = part_of(action) else { continue };
            let cause = Cause { rule: rule.name.clone(), priority: rule.priority };
            let before = done.iter().find(|(other, kind, _)| *other == part && *kind == scope.kind);
            let (change, by) = match before.map(|(_, _, by)| by.clone()) {
                // Tried on a copy, to tell what it would have been.
                Some(by) => {
                    let standing = if self.is_applied(rule) { &self.live } else { &self.shadow };
                    let mut copy = standing.get(scope).cloned().unwrap_or_default();
                    let Some((change, _)) = act(&mut copy, action, now, pace, cause) else { continue };
                    (change, Some(by))
                }
                None => {
                    let ledger = if self.is_applied(rule) { &mut self.live } else { &mut self.shadow };
                    let (offered, evicted) =
                        ledger.change(scope, now, |adjustment| act(adjustment, action, now, pace, cause));
                    if let Some((name, _)) = evicted {
                        self.tell(now, rule, name.borrowed(), Change::Evicted, None, None, observed);
                    }
                    done.push((part, scope.kind, rule.name.clone()));
                    let Some(offered) = offered else { continue };
                    offered
                }
            };
            self.tell(now, rule, scope, change, Some(evidence.clone()), by, observed);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a record, and where it goes")]
    fn tell(
        &mut self,
        now: UnixMicros,
        rule: &Rule,
        scope: ScopeRef<'_>,
        change: Change,
        evidence: Option<Evidence>,
        overruled_by: Option<Arc<str>>,
        observed: &mut Observed,
    ) {
        let effect = match overruled_by {
            Some(by) => Effect::Overruled(by),
            None if self.is_applied(rule) => Effect::Applied,
            None => Effect::DryRun,
        };
        match effect {
            Effect::Applied => self.counts.applied += 1,
            Effect::DryRun | Effect::Overruled(_) => self.counts.told += 1,
        }
        let scope = scope.to_name();
        observed.decisions.push(Decision { at: now, rule: rule.name.clone(), scope, change, effect, evidence });
    }
}

impl<'a> Failure<'a> {
    fn of(event: &Event<'a>) -> Option<Self> {
        match event.outcome {
            AttemptOutcome::Delivered => None,
            AttemptOutcome::Failed { stage, code, text } => {
                let first = text.split([' ', '\n']).next().unwrap_or("");
                // As RFC 2034 §4 has it, the class agrees with the code.
                let enhanced = Enhanced::parse(first).filter(|status| u16::from(status.0) == code / 100);
                Some(Self { stage, code, enhanced, text })
            }
        }
    }
}

impl Proof {
    pub(crate) fn new(threshold: Threshold) -> Self {
        let shares = matches!(threshold, Threshold::Share { .. });
        Self { matched: Window::new(threshold), tried: shares.then(Box::default), quiet_until: UnixMicros(0) }
    }

    /// Counts, and says how much there is if it is enough.
    fn add(&mut self, now: UnixMicros, threshold: Threshold, matches: bool, weight: u32) -> Option<Amount> {
        match threshold {
            Threshold::Immediate => matches.then_some(Amount { matched: weight, tried: None }),
            Threshold::Count { count, period } => {
                let matched = self.matched.add(now, period, weight);
                // Eight are remembered exactly; more than that is enough for whoever asks for no more.
                let matched = matched.max(weight);
                (matched >= count).then_some(Amount { matched, tried: None })
            }
            Threshold::Share { permille, period, at_least } => {
                let tried: &mut Buckets = self.tried.get_or_insert_default();
                tried.add(now, period, weight);
                let tried = tried.count(now, period);
                let matched = self.matched.add(now, period, if matches { weight } else { 0 });
                let share = u64::from(matched) * 1_000 >= u64::from(permille) * u64::from(tried);
                let enough = matches && tried >= at_least && share;
                enough.then_some(Amount { matched, tried: Some(tried) })
            }
        }
    }
}

fn evidence(rule: &Rule, event: &Event<'_>, last: Failure<'_>, amount: Amount) -> Evidence {
    Evidence {
        matched: amount.matched,
        tried: amount.tried,
        threshold: rule.threshold,
        domain: event.subject.domain.into(),
        stage: last.stage,
        code: last.code,
        text: excerpt(last.text),
    }
}

/// Whether a rule needs to know the pace of messages.
fn measures(rule: &Rule) -> bool {
    rule.actions.iter().any(|action| matches!(action, Action::Rate(Reduction::Factor { .. })))
}

/// Which part of an adjustment an action changes.
fn part_of(action: &Action) -> Option<Part> {
    match action {
        Action::Suspend(_) => Some(Part::Suspension),
        Action::Connections(Reduction::Factor { .. }) => Some(Part::ConnectionShare),
        Action::Connections(Reduction::To { .. }) => Some(Part::ConnectionLimit),
        Action::Rate(Reduction::Factor { .. }) => Some(Part::RateShare),
        Action::Rate(Reduction::To { .. }) => Some(Part::RateLimit),
        Action::Set(option, _, _) => Some(Part::Option(*option)),
        Action::Rewrite(_) | Action::WarmUp(_) => None,
    }
}

/// Does one action, if it is one that leaves something standing.
fn act(adjustment: &mut Adjustment, action: &Action, now: UnixMicros, pace: u64, cause: Cause) -> Option<Offered> {
    Some(match action {
        Action::Suspend(lasts) => adjustment.suspend(now, *lasts, cause),
        Action::Connections(Reduction::Factor { factor, floor, recovery }) => {
            adjustment.reduce_connections(now, *factor, *floor, *recovery, cause)
        }
        Action::Connections(Reduction::To { value, lasts }) => adjustment.limit_connections(now, *value, *lasts, cause),
        Action::Rate(Reduction::Factor { factor, floor, recovery }) => {
            adjustment.reduce_rate(now, (*factor, pace), *floor, *recovery, cause)
        }
        Action::Rate(Reduction::To { value, lasts }) => adjustment.limit_rate(now, *value, *lasts, cause),
        Action::Set(option, value, lasts) => adjustment.set(now, (*option, *value), *lasts, cause),
        Action::Rewrite(_) | Action::WarmUp(_) => return None,
    })
}
