//! Traffic shaping of a server: the engine behind one lock, what loops are to do about its decisions, and its place on
//! disk. Loops tell it how attempts went (`following`), operators ask it (`shaping_console`).
//!
//! ```text
//!  loop 0 ─ a failure, sums of deliveries ─┐              ┌─► audit rows, by the loop that told
//!  loop 1 ─ …                              ┼─► Mutex<…> ──┼─► what holds for a container, asked by its loop
//!                                          │   Shaper     └─► state file, by a thread of its own
//! ```
//!
//! # Cost
//! For a delivered message: no lock, no allocation, one addition ([`scheduling::Scheduler::poll_delivered`]). Each loop
//! takes the lock at most a few times in a tenth of a second for what was delivered, whatever it was, and once for each
//! failed attempt, for 0.7 to 2 µs. While nothing is adjusted, no loop asks what holds.
//! Writing the state holds the lock while the octets are put together: 140 ns for each scope and each evidence, 3.5 ms at
//! the bounds.

use crate::failure::Failure;
use config::{Config, ShapingMode};
use fabric::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use message::{Agent, Container, Failing, UnixMicros, Verdict};
use scheduling::Throttle;
use shaping::{
    Adjustments, AttemptOutcome, Decision, Event, Mode, Rate, Rewrite, Rules, ScopeKind, ScopeName, Shaper,
    ShaperSettings, Source, Standing, Subject,
};
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// The name that stands for the server's own rules.
const STARTER: &str = "starter";
/// Largest file of rules, octets.
const RULES_BYTES_MAX: u64 = 4 << 20;
/// Rules and scopes whose evidence is kept: fewer than the engine could, since all are written while loops may wait.
const EVIDENCE_MAX: usize = 16_384;
/// Scopes that are adjusted, ramps, and meters, each.
const ADJUSTMENTS_MAX: usize = 8_192;
/// Changes that a loop may be behind before it looks at all its containers.
const CHANGES_MAX: usize = 1024;
/// Domains whose site is remembered; beyond it all are forgotten, and known again with their next attempt.
const HOMES_MAX: usize = 65_536;
/// Throttles that are looked through for those that nobody holds any more.
const THROTTLES_FEW: usize = 64;

/// Whose site changed since a loop last asked.
#[derive(Debug)]
pub(crate) enum Changed {
    /// Nobody's.
    Nothing,
    /// That of these sites.
    Sites(HashSet<Box<str>>),
    /// Perhaps everybody's.
    Everything,
}

/// A container, and the name of its mail exchangers if its loop knows it.
pub(crate) type Placed = (Arc<Container>, Option<Arc<str>>);

/// What holds for a container, and the throttles that go with it.
pub(crate) struct Held {
    pub(crate) adjustments: Adjustments,
    pub(crate) throttles: Vec<Arc<Throttle>>,
}

/// See the module.
pub(crate) struct Desk {
    state: Mutex<State>,
    /// Wakes the thread that writes the state.
    pub(crate) bell: Condvar,
    /// The number of the last change.
    version: AtomicU64,
    /// Nothing is adjusted for anybody: nobody needs to ask.
    idle: AtomicBool,
    off: AtomicBool,
}

pub(crate) struct State {
    pub(crate) shaper: Shaper,
    /// Sites whose adjustments changed, with the number of the change; `None` is all.
    changes: VecDeque<(u64, Option<Box<str>>)>,
    version: u64,
    /// The throttles of scopes: of a site, and of a site and a binding.
    throttles: HashMap<(Box<str>, Box<str>), Weak<Throttle>>,
    /// The sites of domains, where they are not the domain's own name.
    pub(crate) homes: HashMap<Arc<str>, Arc<str>>,
    pub(crate) saving: Saving,
}

/// How the file of the state stands to the state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Saving {
    /// Something was observed that the file does not know.
    pub(crate) is_behind: bool,
    /// Something was decided that the file does not know.
    pub(crate) is_urgent: bool,
    pub(crate) interval: Duration,
    pub(crate) ends: bool,
}

/// Reads the files of rules that a configuration names. All that is wrong with them has been printed when this fails.
pub(crate) fn load_rules(config: &Config) -> Result<Rules, Failure> {
    let mut texts = vec![];
    for name in config.shaping.rules.iter().filter(|name| *name != STARTER) {
        texts.push((name, read_rules(Path::new(name))?));
    }
    let sources = config.shaping.rules.iter().map(|name| match texts.iter().find(|(other, _)| *other == name) {
        Some((_, text)) => Source { name, text },
        None => Rules::starter(),
    });
    Rules::parse(&sources.collect::<Vec<_>>()).map_err(|errors| {
        eprintln!("{errors}");
        Failure::new("[shaping] rules: the rules are not sound; nothing of them is in effect")
    })
}

fn read_rules(file: &Path) -> Result<String, Failure> {
    let cannot = |error| Failure::caused(format!("[shaping] rules: cannot read {}", file.display()), &error);
    if std::fs::metadata(file).map_err(cannot)?.len() > RULES_BYTES_MAX {
        let octets = RULES_BYTES_MAX >> 20;
        return Err(Failure::new(format!("[shaping] rules: {} is larger than {octets} MiB", file.display())));
    }
    std::fs::read_to_string(file).map_err(cannot)
}

/// The name of a container's site: what its mail exchangers are called together, or the host of its route.
pub(crate) fn site<'a>(container: &'a Container, exchangers: Option<&'a str>) -> &'a str {
    match &container.agent {
        Agent::Mx => exchangers.unwrap_or(&container.name),
        Agent::Smtp(host) | Agent::Lmtp(host) => &host.name,
        Agent::LmtpUnix(_) | Agent::Maildir(_) | Agent::Discard | Agent::Hold => &container.name,
    }
}

/// Whether mail of a container goes to another host: what stays here proves nothing of next hops.
pub(crate) fn is_remote(container: &Container) -> bool {
    !matches!(container.agent, Agent::Maildir(_) | Agent::Discard | Agent::Hold)
}

impl Desk {
    /// A desk that has seen nothing, by a configuration.
    pub(crate) fn new(config: &Config, seed: u64) -> Result<Self, Failure> {
        let settings =
            ShaperSettings { mode: mode(config), evidence_max: EVIDENCE_MAX, adjustments_max: ADJUSTMENTS_MAX, seed };
        let mut shaper = Shaper::new(Arc::new(load_rules(config)?), settings);
        shaper.set_births(births(config));
        let saving = Saving { interval: config.shaping.state_interval, ..Saving::default() };
        let state = State {
            shaper,
            changes: VecDeque::new(),
            version: 0,
            throttles: HashMap::new(),
            homes: HashMap::new(),
            saving,
        };
        let desk = Self {
            state: Mutex::new(state),
            bell: Condvar::new(),
            version: AtomicU64::new(0),
            idle: AtomicBool::new(true),
            off: AtomicBool::new(false),
        };
        desk.settle(&desk.lock());
        Ok(desk)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // The engine's tables are changed entry by entry: a panic between two leaves nothing that cannot be read.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows another configuration's rules, which have been read; what holds stays until its end.
    pub(crate) fn reload(&self, config: &Config, rules: Rules) {
        let mut state = self.lock();
        state.shaper.replace_rules(Arc::new(rules));
        state.shaper.set_mode(mode(config));
        state.shaper.set_births(births(config));
        state.saving.interval = config.shaping.state_interval;
        state.change(None);
        self.settle(&state);
    }

    /// Brings to the counters outside of the lock what they tell of.
    pub(crate) fn settle(&self, state: &State) {
        // Relaxed: whoever sees an old value looks again within a tenth of a second, and what they guard has a lock.
        self.idle.store(state.shaper.is_idle(), Ordering::Relaxed);
        self.off.store(state.shaper.mode() == Mode::Off, Ordering::Relaxed);
        self.version.store(state.version, Ordering::Relaxed);
    }

    /// Whether nothing holds for anybody.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }

    /// Whether nothing is observed.
    pub(crate) fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    /// Takes note of a failure; says what it is to be taken for, and what was decided.
    pub(crate) fn judge(&self, failing: &Failing<'_>) -> (Verdict, Vec<Decision>) {
        let Failing { attempt, reply, verdict, site: exchangers } = failing;
        if self.is_off() || !is_remote(attempt.container) {
            return (*verdict, vec![]);
        }
        let recipient = attempt.message.envelope.recipients.get(usize::from(attempt.recipient));
        let domain = recipient.map_or("", |recipient| recipient.address.domain_text()).to_ascii_lowercase();
        let mut state = self.lock();
        if let Some(exchangers) = exchangers {
            state.learn(&attempt.container.name, exchangers);
        }
        let site = site(attempt.container, *exchangers);
        let subject = Subject { domain: &domain, site, binding: &attempt.container.binding, tenant: "" };
        let outcome = AttemptOutcome::Failed { stage: attempt.stage, code: reply.code, text: &reply.text };
        let observed = state.shaper.observe(attempt.at, &Event { subject, outcome, weight: 1 });
        self.follow(&mut state, &observed.decisions);
        let verdict = match observed.rewrite {
            Some(Rewrite::ToTransient) => Verdict::Transient,
            Some(Rewrite::ToPermanent) => Verdict::Permanent,
            None => *verdict,
        };
        (verdict, observed.decisions)
    }

    /// Takes note of deliveries, summed by container; says what was decided.
    pub(crate) fn on_delivered(&self, now: UnixMicros, sums: &[(Placed, u32)]) -> Vec<Decision> {
        let mut decisions = vec![];
        let mut state = self.lock();
        for ((container, exchangers), weight) in sums {
            if let Some(exchangers) = exchangers {
                state.learn(&container.name, exchangers);
            }
            let site = site(container, exchangers.as_deref());
            let domain = if container.agent == Agent::Mx { &container.name } else { site };
            let subject = Subject { domain, site, binding: &container.binding, tenant: "" };
            let event = Event { subject, outcome: AttemptOutcome::Delivered, weight: *weight };
            decisions.extend(state.shaper.observe(now, &event).decisions);
        }
        self.follow(&mut state, &decisions);
        decisions
    }

    /// What time has ended, for the audit.
    pub(crate) fn poll_ended(&self, now: UnixMicros) -> Vec<Decision> {
        let mut state = self.lock();
        if state.shaper.next_change().is_none_or(|at| at > now) {
            return vec![];
        }
        let ended: Vec<Decision> = std::iter::from_fn(|| state.shaper.poll_ended(now)).take(CHANGES_MAX).collect();
        self.follow(&mut state, &ended);
        ended
    }

    /// Notes what decisions change, for the loops and for the file.
    fn follow(&self, state: &mut State, decisions: &[Decision]) {
        state.saving.is_behind = true;
        if decisions.is_empty() {
            return;
        }
        for decision in decisions {
            state.change(Some(decision.scope.site.clone()));
        }
        state.saving.is_urgent = true;
        self.settle(state);
        self.bell.notify_one();
    }

    /// Whose adjustments changed since a number, which becomes the last one.
    pub(crate) fn changed_since(&self, seen: &mut u64) -> Changed {
        if self.version.load(Ordering::Relaxed) == *seen {
            return Changed::Nothing;
        }
        let state = self.lock();
        let before = std::mem::replace(seen, state.version);
        let is_whole = state.version - before <= state.changes.len() as u64;
        let news = state.changes.iter().filter(|(number, _)| *number > before).map(|(_, site)| site.clone());
        match news.collect::<Option<HashSet<_>>>() {
            // A tenant has no site.
            Some(sites) if is_whole && !sites.contains("") => Changed::Sites(sites),
            Some(_) | None => Changed::Everything,
        }
    }

    /// What holds for containers, in their order; `None` where everything is as configured.
    pub(crate) fn held(&self, now: UnixMicros, placed: &[Placed]) -> Vec<Option<Held>> {
        let mut state = self.lock();
        placed.iter().map(|(container, exchangers)| state.held(now, container, exchangers.as_deref())).collect()
    }

    /// What holds for one container, and by which rules, for people.
    pub(crate) fn standing_for(&self, now: UnixMicros, placed: &Placed) -> Vec<Standing> {
        let state = self.lock();
        let (container, exchangers) = placed;
        state.with_subject(container, exchangers.as_deref(), |subject| state.shaper.standing_for(now, subject))
    }

    /// All that holds, or would if dry runs were not dry.
    pub(crate) fn standing(&self, now: UnixMicros) -> Vec<Standing> {
        self.lock().shaper.standing(now)
    }

    /// Ends all that is adjusted for a site, or a domain's, by an operator's word: of all bindings, or of one.
    pub(crate) fn clear(&self, now: UnixMicros, site: &str, binding: Option<&str>) -> Vec<Decision> {
        let mut state = self.lock();
        let home = state.homes.get(site).cloned();
        let is_meant = |scope: &ScopeName| {
            let here = *scope.site == *site || home.as_deref().is_some_and(|home| *scope.site == *home);
            here && binding.is_none_or(|binding| scope.kind == ScopeKind::BindingSite && *scope.binding == *binding)
        };
        let scopes: HashSet<ScopeName> =
            state.shaper.standing(now).into_iter().map(|row| row.scope).filter(is_meant).collect();
        let lifted: Vec<Decision> = scopes.iter().filter_map(|scope| state.shaper.lift(now, scope)).collect();
        self.follow(&mut state, &lifted);
        lifted
    }
}

impl State {
    pub(crate) fn change(&mut self, site: Option<Box<str>>) {
        self.version += 1;
        self.changes.push_back((self.version, site));
        if self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
        }
    }

    /// Remembers the site of a domain, so that it is known before its exchangers are.
    pub(crate) fn learn(&mut self, domain: &Arc<str>, exchangers: &str) {
        if self.homes.get(domain).is_some_and(|home| **home == *exchangers) {
            return;
        }
        if self.homes.len() >= HOMES_MAX {
            self.homes.clear();
        }
        self.homes.insert(domain.clone(), exchangers.into());
    }

    fn with_subject<R>(
        &self,
        container: &Container,
        exchangers: Option<&str>,
        then: impl FnOnce(&Subject<'_>) -> R,
    ) -> R {
        let home = self.homes.get(&container.name).filter(|_| container.agent == Agent::Mx);
        let site = site(container, exchangers.or(home.map(|home| &**home)));
        let domain = if container.agent == Agent::Mx { &container.name } else { site };
        then(&Subject { domain, site, binding: &container.binding, tenant: "" })
    }

    fn held(&mut self, now: UnixMicros, container: &Container, exchangers: Option<&str>) -> Option<Held> {
        let (adjustments, site) = self.with_subject(container, exchangers, |subject| {
            let adjustments = self.shaper.effective(now, subject);
            (adjustments != Adjustments::default()).then(|| (adjustments, Box::<str>::from(subject.site)))
        })?;
        let mut throttles = vec![];
        for (kind, binding) in [(ScopeKind::Site, ""), (ScopeKind::BindingSite, &*container.binding)] {
            if let Some(rate) = adjustments.rate_of(kind) {
                throttles.push(self.throttle(site.clone(), binding.into(), rate));
            }
        }
        Some(Held { adjustments, throttles })
    }

    /// The throttle of a scope, which all loops share.
    fn throttle(&mut self, site: Box<str>, binding: Box<str>, rate: Rate) -> Arc<Throttle> {
        // One in so long: a rate of a day needs no larger numbers.
        let rate = config::Rate { count: 1, period: rate.interval() };
        let known = self.throttles.get(&(site.clone(), binding.clone())).and_then(Weak::upgrade);
        let throttle = match known {
            Some(throttle) => throttle,
            None => {
                if self.throttles.len() >= THROTTLES_FEW {
                    self.throttles.retain(|_, throttle| throttle.strong_count() > 0);
                }
                let throttle = Throttle::new(rate);
                self.throttles.insert((site, binding), Arc::downgrade(&throttle));
                throttle
            }
        };
        throttle.set(rate);
        throttle
    }
}

fn mode(config: &Config) -> Mode {
    match config.shaping.mode {
        ShapingMode::On => Mode::On,
        ShapingMode::DryRun => Mode::DryRun,
        ShapingMode::Off => Mode::Off,
    }
}

fn births(config: &Config) -> impl Iterator<Item = (Box<str>, UnixMicros)> {
    config.shaping.in_use_since.iter().map(|age| (age.binding.clone(), UnixMicros::from_seconds(age.seconds())))
}
