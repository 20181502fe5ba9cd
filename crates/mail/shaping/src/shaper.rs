//! The engine: outcomes of attempts go in, decisions come out, and whoever opens a connection asks what holds. One a
//! server or one a loop; pure, `now` is passed in, nothing waits.
//!
//! ```text
//!  observe ──► rules about the subject ──► evidence a rule and scope ──enough?──► ledger ──► decisions
//!                                                                                    │
//!  effective ◄───────────────────────────────────────────────────────────────────────┘
//! ```

use crate::adjustment::Adjustment;
use crate::decision::{Change, Decision, Effect, Part, Percent, value_text};
use crate::effective::Adjustments;
use crate::ledger::Ledger;
use crate::quantity::Rate;
use crate::ramp::Ramp;
use crate::rule::{Rule, RuleEffect, WHOLE};
use crate::rules::Rules;
use crate::scope::{ScopeKind, ScopeName, Subject};
use crate::table::{Key, Table};
use crate::window::{Buckets, Meter, Window};
use message::UnixMicros;
use std::collections::HashMap;
use std::sync::Arc;

/// Whether rules are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is observed.
    Off,
    /// Decisions are told and nothing is done.
    DryRun,
    /// Decisions are told and done.
    #[default]
    On,
}

/// Bounds and seed of a [`Shaper`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShaperSettings {
    /// Whether rules are followed.
    pub mode: Mode,
    /// Rules × scopes whose evidence is kept; beyond it the least recently seen is forgotten. About 300 octets each.
    pub evidence_max: usize,
    /// Scopes that are adjusted, ramps and meters, each; beyond it the least recently changed ends. About 700 octets
    /// each.
    pub adjustments_max: usize,
    /// Keeps others from choosing names that collide.
    pub seed: u64,
}

/// What a shaper holds and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShaperCounts {
    /// Rules × scopes with evidence.
    pub evidence: usize,
    /// Scopes that are adjusted.
    pub adjustments: usize,
    /// Bindings × sites that are warming up.
    pub ramps: usize,
    /// Evidence that was forgotten for want of room.
    pub evidence_evicted: u64,
    /// Decisions that were done.
    pub applied: u64,
    /// Decisions that were only told.
    pub told: u64,
}

/// Something that holds, for a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// For whom.
    pub scope: ScopeName,
    /// What.
    pub part: Part,
    /// What it is now: `50%`, `5`, `100/1m`, …
    pub value: String,
    /// When it ends or changes by itself.
    pub until: UnixMicros,
    /// The rule that left it.
    pub rule: Arc<str>,
    /// Whether it is done or told: [`Effect::Applied`] or [`Effect::DryRun`].
    pub effect: Effect,
}

/// See the module.
#[derive(Debug)]
pub struct Shaper {
    pub(crate) rules: Arc<Rules>,
    /// The tag of each rule's evidence and ramps, by its number.
    pub(crate) tags: Vec<u32>,
    next_tag: u32,
    pub(crate) mode: Mode,
    pub(crate) evidence: Table<Proof>,
    pub(crate) meters: Table<Meter>,
    pub(crate) ramps: Table<Ramp>,
    pub(crate) live: Ledger,
    pub(crate) shadow: Ledger,
    pub(crate) counts: ShaperCounts,
    births: HashMap<Box<str>, UnixMicros>,
}

/// What speaks for a rule in one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) matched: Window,
    /// All attempts, where a share counts.
    pub(crate) tried: Option<Box<Buckets>>,
    pub(crate) quiet_until: UnixMicros,
}

impl Default for ShaperSettings {
    fn default() -> Self {
        Self { mode: Mode::On, evidence_max: 65_536, adjustments_max: 16_384, seed: 0 }
    }
}

impl Shaper {
    /// A shaper that has seen nothing.
    pub fn new(rules: Arc<Rules>, settings: ShaperSettings) -> Self {
        let ShaperSettings { mode, evidence_max, adjustments_max, seed } = settings;
        let mut shaper = Self {
            rules: Arc::default(),
            tags: vec![],
            next_tag: 0,
            mode,
            evidence: Table::new(evidence_max, seed),
            meters: Table::new(adjustments_max, seed),
            ramps: Table::new(adjustments_max, seed),
            live: Ledger::new(adjustments_max, seed),
            shadow: Ledger::new(adjustments_max, seed),
            counts: ShaperCounts::default(),
            births: HashMap::new(),
        };
        shaper.replace_rules(rules);
        shaper
    }

    /// The rules that are followed.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// Whether rules are followed.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Follows rules or not. What is adjusted already holds until its end, but not while the mode is another than
    /// [`Mode::On`].
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Follows other rules. Evidence of a rule is kept if its name, threshold and scope are the same; what is adjusted
    /// stays until its end.
    pub fn replace_rules(&mut self, rules: Arc<Rules>) {
        let same = |a: &Rule, b: &Rule| a.threshold == b.threshold && a.scope == b.scope;
        let before: HashMap<&str, (&Rule, u32)> =
            self.rules.iter().zip(&self.tags).map(|(rule, tag)| (&*rule.name, (rule, *tag))).collect();
        let mut tags = vec![];
        for rule in rules.iter() {
            let kept = before.get(&*rule.name).filter(|(old, _)| same(old, rule)).map(|(_, tag)| *tag);
            tags.push(kept.unwrap_or(self.next_tag));
            self.next_tag += u32::from(kept.is_none());
        }
        (self.rules, self.tags) = (rules, tags);
    }

    /// Since when bindings send. Warm-ups that begin from now on, and name no day of their own, count from there; of a
    /// binding that is not named, from its first delivery.
    pub fn set_births(&mut self, births: impl IntoIterator<Item = (Box<str>, UnixMicros)>) {
        self.births = births.into_iter().collect();
    }

    pub(crate) fn birth(&self, binding: &str) -> Option<UnixMicros> {
        self.births.get(binding).copied()
    }

    /// Whether nothing is adjusted for anybody, nor may be without an observation.
    pub fn is_idle(&self) -> bool {
        self.mode != Mode::On || self.live.len() == 0 && self.rules.warm_ups().is_empty()
    }

    /// What holds for a subject. Changes nothing; a few look-ups, and none where nothing is adjusted.
    pub fn effective(&self, now: UnixMicros, subject: &Subject<'_>) -> Adjustments {
        let mut adjustments = Adjustments::default();
        if self.mode != Mode::On {
            return adjustments;
        }
        if self.live.len() > 0 {
            for scope in ScopeKind::ALL.into_iter().filter_map(|kind| subject.scope(kind)) {
                if let Some(adjustment) = self.live.get(scope) {
                    adjustments.add(scope.kind, adjustment, now);
                }
            }
        }
        if !self.rules.warm_ups().is_empty() && subject.is_bounded() {
            self.add_ramps(now, subject, &mut adjustments);
        }
        adjustments
    }

    fn add_ramps(&self, now: UnixMicros, subject: &Subject<'_>, adjustments: &mut Adjustments) {
        for number in self.rules.candidates(subject).and(self.rules.warm_ups()).numbers() {
            let rule = self.rules.get(number);
            let applies = self.is_applied(rule) && rule.audience.has(subject.binding, subject.tenant);
            let (Some(warm_up), true, Some(scope)) = (rule.warm_up(), applies, subject.scope(rule.scope)) else {
                continue;
            };
            let found = self.ramps.find(Key { tag: self.tags[number], scope }).and_then(|slot| self.ramps.get(slot));
            let ramp = found.copied().unwrap_or_else(|| Ramp::new(warm_up, self.birth(subject.binding), now));
            if let Some((left, until)) = ramp.left(warm_up, now) {
                adjustments.allow(left, until, now);
            }
        }
    }

    /// When to call [`Shaper::poll_ended`] again, and when what is effective changes if nothing else happens: the end of
    /// a suspension, a step of a recovery. The days of warm-ups are not among them: [`Adjustments::suspended_until`]
    /// tells.
    pub fn next_change(&self) -> Option<UnixMicros> {
        self.live.next_change().into_iter().chain(self.shadow.next_change()).min()
    }

    /// The record of something that time has ended, if there is one; in bounded steps. What is effective does not wait
    /// for this call.
    pub fn poll_ended(&mut self, now: UnixMicros) -> Option<Decision> {
        let (ended, effect) = match self.live.poll_ended(now) {
            Some(ended) => (Some(ended), Effect::Applied),
            None => (self.shadow.poll_ended(now), Effect::DryRun),
        };
        let (scope, part, cause) = ended?;
        Some(Decision { at: now, rule: cause.rule, scope, change: Change::Ended(part), effect, evidence: None })
    }

    /// Ends everything that is adjusted for a scope, on an operator's word; `None` if nothing is. The evidence stays.
    pub fn lift(&mut self, now: UnixMicros, scope: &ScopeName) -> Option<Decision> {
        let was_dry = self.shadow.remove(scope.borrowed()).is_some();
        let effect = match self.live.remove(scope.borrowed()) {
            Some(_) => Effect::Applied,
            None if was_dry => Effect::DryRun,
            None => return None,
        };
        let change = Change::Lifted;
        Some(Decision { at: now, rule: "".into(), scope: scope.clone(), change, effect, evidence: None })
    }

    /// All that holds, and all that would if dry runs were not dry; at most as many scopes as the settings allow. Only while
    /// the mode is `On` does anything hold.
    pub fn standing(&self, now: UnixMicros) -> Vec<Standing> {
        let mut rows = vec![];
        let live = if self.mode == Mode::On { Effect::Applied } else { Effect::DryRun };
        for (ledger, effect) in [(&self.live, live), (&self.shadow, Effect::DryRun)] {
            for (scope, adjustment) in ledger.iter() {
                rows_of(scope, adjustment, now, &effect, &mut rows);
            }
        }
        for (_, tag, scope, ramp) in self.ramps.iter() {
            let number = self.tags.iter().position(|&other| other == tag);
            let Some((rule, warm_up)) =
                number.map(|number| self.rules.get(number)).and_then(|rule| Some((rule, rule.warm_up()?)))
            else {
                continue;
            };
            if let Some((left, until)) = ramp.left(warm_up, now) {
                let effect = if self.is_applied(rule) { Effect::Applied } else { Effect::DryRun };
                let (value, rule) = (format!("{left} messages left"), rule.name.clone());
                rows.push(Standing { scope: scope.clone(), part: Part::WarmUp, value, until, rule, effect });
            }
        }
        rows
    }

    /// The scopes that are adjusted, the least recently changed first.
    pub fn adjusted(&self) -> impl Iterator<Item = &ScopeName> {
        self.live.iter().map(|(scope, _)| scope)
    }

    /// What holds for a subject, and by which rule. What would hold if dry runs were not dry is not among it.
    pub fn standing_for(&self, now: UnixMicros, subject: &Subject<'_>) -> Vec<Standing> {
        let mut rows = vec![];
        if self.mode != Mode::On {
            return rows;
        }
        for scope in ScopeKind::ALL.into_iter().filter_map(|kind| subject.scope(kind)) {
            if let Some(adjustment) = self.live.get(scope) {
                rows_of(&scope.to_name(), adjustment, now, &Effect::Applied, &mut rows);
            }
        }
        self.add_warm_up_rows(now, subject, &mut rows);
        rows
    }

    fn add_warm_up_rows(&self, now: UnixMicros, subject: &Subject<'_>, rows: &mut Vec<Standing>) {
        for number in self.rules.candidates(subject).and(self.rules.warm_ups()).numbers() {
            let rule = self.rules.get(number);
            let applies = self.is_applied(rule) && rule.audience.has(subject.binding, subject.tenant);
            let (Some(warm_up), true, Some(scope)) = (rule.warm_up(), applies, subject.scope(rule.scope)) else {
                continue;
            };
            let found = self.ramps.find(Key { tag: self.tags[number], scope }).and_then(|slot| self.ramps.get(slot));
            if let Some((left, until)) = found.and_then(|ramp| ramp.left(warm_up, now)) {
                let (value, rule, effect) = (format!("{left} messages left"), rule.name.clone(), Effect::Applied);
                rows.push(Standing { scope: scope.to_name(), part: Part::WarmUp, value, until, rule, effect });
            }
        }
    }

    /// What is held and was done.
    pub fn counts(&self) -> ShaperCounts {
        ShaperCounts {
            evidence: self.evidence.len(),
            adjustments: self.live.len(),
            ramps: self.ramps.len(),
            ..self.counts
        }
    }

    /// Whether what the rule decides is done.
    pub(crate) fn is_applied(&self, rule: &Rule) -> bool {
        self.mode == Mode::On && rule.effect == RuleEffect::Applied
    }
}

fn rows_of(scope: &ScopeName, adjustment: &Adjustment, now: UnixMicros, effect: &Effect, rows: &mut Vec<Standing>) {
    let mut row = |part, value: String, until, rule: &Arc<str>| {
        rows.push(Standing { scope: scope.clone(), part, value, until, rule: rule.clone(), effect: effect.clone() });
    };
    if let Some(timed) = adjustment.suspension.as_ref().filter(|timed| timed.until > now) {
        row(Part::Suspension, "suspended".to_owned(), timed.until, &timed.cause.rule);
    }
    if let Some(share) = adjustment.connection_share.as_ref().filter(|share| share.at(now) < WHOLE) {
        row(Part::ConnectionShare, Percent(share.at(now)).to_string(), share.next_step(now), &share.cause.rule);
    }
    if let Some(timed) = adjustment.connection_limit.as_ref().filter(|timed| timed.until > now) {
        row(Part::ConnectionLimit, timed.value.to_string(), timed.until, &timed.cause.rule);
    }
    if let Some(share) = adjustment.rate_share.as_ref().filter(|share| share.at(now) < WHOLE) {
        let rate = Rate::per_day(share.per_day(now));
        row(Part::RateShare, rate.to_string(), share.next_step(now), &share.cause.rule);
    }
    if let Some(timed) = adjustment.rate_limit.as_ref().filter(|timed| timed.until > now) {
        row(Part::RateLimit, timed.value.to_string(), timed.until, &timed.cause.rule);
    }
    for (option, timed) in adjustment.options.iter().filter(|(_, timed)| timed.until > now) {
        row(Part::Option(*option), value_text(*option, timed.value), timed.until, &timed.cause.rule);
    }
}
