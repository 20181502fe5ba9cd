//! A rule: whom it is about, which replies it counts, when they are enough, and what happens then. Made by `parse`, read
//! by the engine and by whoever explains a rule; the checks are in `parse`, so that a `Rule` cannot be wrong.

use crate::quantity::{Rate, Threshold};
use crate::scope::ScopeKind;
use message::{Enhanced, Stage};
use regex::Regex;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// All of a thing, where shares of it are counted in millionths.
pub const WHOLE: u32 = 1_000_000;
/// Octets of a reply's text that patterns see; what follows is not looked at.
pub const TEXT_MAX: usize = 1_024;

/// See the module.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Unique among the rules of a set.
    pub name: Arc<str>,
    /// The name of the file that it stands in, and its line.
    pub origin: (Arc<str>, u32),
    /// Rules are tried from the highest to the lowest, and in the order of the files among equals. Default 0.
    pub priority: i32,
    /// Whom it is about.
    pub audience: Audience,
    /// Which replies count.
    pub replies: Replies,
    /// How many of them are enough.
    pub threshold: Threshold,
    /// What the actions act on, and what is counted apart.
    pub scope: ScopeKind,
    /// After it fired it neither counts nor fires for this long, scope by scope.
    pub cool_down: Duration,
    /// What happens. At least one.
    pub actions: Vec<Action>,
    /// Whether what it decides is done.
    pub effect: RuleEffect,
    /// Whether lower rules see a reply that this one matches.
    pub further: Further,
}

/// Whether the decisions of a rule are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleEffect {
    /// They are.
    Applied,
    /// They are only told: `dry_run = true`.
    DryRun,
}

/// Whether lower rules see a reply that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Further {
    /// They do.
    Pass,
    /// They do not: `stop = true`.
    Stop,
}

/// Whom a rule is about: a domain or site of the lists, from a binding and for a tenant of the lists. An empty list of
/// bindings or tenants is all of them; empty lists of domains and sites are everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Patterns of domain names: a name, `*.name` or `*`.
    pub domains: Vec<NamePattern>,
    /// Patterns of site names.
    pub sites: Vec<NamePattern>,
    /// Patterns of bindings: a name, `prefix*` or `*`.
    pub bindings: Vec<NamePattern>,
    /// Patterns of tenants.
    pub tenants: Vec<NamePattern>,
}

/// A name or a set of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// `*`
    Any,
    /// This name.
    Exact(Box<str>),
    /// `*.example.org`: names that end with the text, which starts with a dot.
    Below(Box<str>),
    /// `pool-*`: names that start with the text.
    Prefix(Box<str>),
}

/// Which replies a rule counts: those that meet each condition that is given.
#[derive(Clone, Debug)]
pub struct Replies {
    /// Bits by [`Stage::number`]; 0 is any stage.
    pub stages: u32,
    /// Codes or classes of codes; none is any failure.
    pub codes: Vec<CodePattern>,
    /// Enhanced status codes; none is any, even no code at all.
    pub enhanced: Vec<EnhancedPattern>,
    /// A pattern of the text, without regard to case.
    pub text: Option<Regex>,
}

/// `421`, `45x` or `4xx`: the codes from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodePattern {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

/// `4.7.28`, `4.7.*` or `4.*.*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnhancedPattern {
    /// 4 or 5.
    pub class: u8,
    /// The subject, or any.
    pub subject: Option<u16>,
    /// The detail, or any.
    pub detail: Option<u16>,
}

/// What a rule does when it fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing leaves for this long.
    Suspend(Duration),
    /// Fewer connections.
    Connections(Reduction<u32>),
    /// Fewer messages a time.
    Rate(Reduction<Rate>),
    /// An option of the domain has this value for a while. Durations are in seconds.
    Set(ShapedOption, u32, Duration),
    /// The reply is taken for another kind of failure. Done for every reply that matches, whatever the threshold.
    Rewrite(Rewrite),
    /// Daily caps by age.
    WarmUp(WarmUp),
}

/// How a limit goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction<T> {
    /// To a share of what it is now, and back up in steps.
    Factor {
        /// Millionths, below the whole.
        factor: u32,
        /// Never below this.
        floor: T,
        /// How it comes back.
        recovery: Recovery,
    },
    /// To a number, for a while.
    To {
        /// The number.
        value: T,
        /// For how long.
        lasts: Duration,
    },
}

/// Additive increase: so many millionths of the whole, so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Millionths, at least 1.
    pub step: u32,
    /// At least 1 s.
    pub every: Duration,
}

/// Options that a rule may set for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ShapedOption {
    /// Deliveries on one connection.
    MaxDeliveriesPerConnection = 0,
    /// Recipients in one transaction.
    MaxRecipientsPerBatch = 1,
    /// The wait after the first transient failure, seconds.
    RetryInterval = 2,
    /// The longest wait, seconds.
    MaxRetryInterval = 3,
    /// How long a connection without work is kept, seconds.
    IdleTimeout = 4,
}

/// What a reply is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Try again later, though the next hop said never.
    ToTransient,
    /// Give up, though the next hop said later.
    ToPermanent,
}

/// A ramp for young addresses: how many messages a binding may deliver to a site on each day of its age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmUp {
    /// The cap of each day; after the last there is none. At least one, none below the one before.
    pub days: Arc<[u32]>,
    /// The day that age is counted from, as days since 1970-01-01; without it the first delivery of the binding to the
    /// site.
    pub since: Option<u32>,
}

impl ShapedOption {
    /// How many there are.
    pub const COUNT: usize = 5;
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::MaxDeliveriesPerConnection,
        Self::MaxRecipientsPerBatch,
        Self::RetryInterval,
        Self::MaxRetryInterval,
        Self::IdleTimeout,
    ];

    /// The option's name in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::MaxDeliveriesPerConnection => "max_deliveries_per_connection",
            Self::MaxRecipientsPerBatch => "max_recipients_per_batch",
            Self::RetryInterval => "retry_interval",
            Self::MaxRetryInterval => "max_retry_interval",
            Self::IdleTimeout => "idle_timeout",
        }
    }

    /// Whether its value is a time.
    pub const fn is_duration(self) -> bool {
        matches!(self, Self::RetryInterval | Self::MaxRetryInterval | Self::IdleTimeout)
    }

    /// The values that the configuration would take, too.
    pub const fn range(self) -> (u32, u32) {
        const THIRTY_DAYS: u32 = 30 * 86_400;
        match self {
            Self::MaxDeliveriesPerConnection => (1, u32::MAX),
            Self::MaxRecipientsPerBatch => (1, 100_000),
            Self::RetryInterval | Self::MaxRetryInterval => (1, THIRTY_DAYS),
            Self::IdleTimeout => (0, 3_600),
        }
    }
}

impl Rule {
    /// Whether it is about every domain there is.
    pub fn is_about_everybody(&self) -> bool {
        let Audience { domains, sites, .. } = &self.audience;
        domains.is_empty() && sites.is_empty() || [domains, sites].iter().any(|list| list.contains(&NamePattern::Any))
    }

    /// How long evidence counts.
    pub fn period(&self) -> Option<Duration> {
        match self.threshold {
            Threshold::Immediate => None,
            Threshold::Count { period, .. } | Threshold::Share { period, .. } => Some(period),
        }
    }

    /// The ramp, if it is one.
    pub fn warm_up(&self) -> Option<&WarmUp> {
        self.actions.iter().find_map(|action| match action {
            Action::WarmUp(warm_up) => Some(warm_up),
            _ => None,
        })
    }

    /// Whether it needs to know of every attempt, not of failures only.
    pub(crate) fn counts_successes(&self) -> bool {
        let measures = |action: &Action| matches!(action, Action::Rate(Reduction::Factor { .. }) | Action::WarmUp(_));
        matches!(self.threshold, Threshold::Share { .. }) || self.actions.iter().any(measures)
    }
}

impl NamePattern {
    /// Whether a name is one of those.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => name == &**text,
            Self::Below(text) => name.ends_with(&**text),
            Self::Prefix(text) => name.starts_with(&**text),
        }
    }
}

impl Audience {
    /// Whether mail from this binding for this tenant is meant; nobody's mail matches no list of tenants.
    pub fn has(&self, binding: &str, tenant: &str) -> bool {
        let among = |list: &[NamePattern], name: &str| list.is_empty() || list.iter().any(|item| item.matches(name));
        among(&self.bindings, binding) && among(&self.tenants, tenant)
    }
}

impl Replies {
    /// Whether a reply counts. `enhanced` is what its text starts with; of the text the first [`TEXT_MAX`] octets are
    /// looked at.
    pub fn matches(&self, stage: Stage, code: u16, enhanced: Option<Enhanced>, text: &str) -> bool {
        (self.stages == 0 || self.stages & (1 << stage.number()) != 0)
            && (self.codes.is_empty() || self.codes.iter().any(|codes| (codes.first..=codes.last).contains(&code)))
            && (self.enhanced.is_empty()
                || enhanced.is_some_and(|status| self.enhanced.iter().any(|pattern| pattern.matches(status))))
            && self.text.as_ref().is_none_or(|pattern| pattern.is_match(start_of(text)))
    }

    /// Whether every failure counts.
    pub fn is_any(&self) -> bool {
        self.stages == 0 && self.codes.is_empty() && self.enhanced.is_empty() && self.text.is_none()
    }
}

impl Rewrite {
    /// Whether a failure with this code is not so already.
    pub(crate) fn changes(self, code: u16) -> bool {
        match self {
            Self::ToTransient => code / 100 == 5,
            Self::ToPermanent => code / 100 == 4,
        }
    }
}

impl EnhancedPattern {
    fn matches(self, status: Enhanced) -> bool {
        self.class == status.0
            && self.subject.is_none_or(|subject| subject == status.1)
            && self.detail.is_none_or(|detail| detail == status.2)
    }
}

/// What patterns see of a text.
fn start_of(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(text) => f.write_str(text),
            Self::Below(text) => write!(f, "*{text}"),
            Self::Prefix(text) => write!(f, "{text}*"),
        }
    }
}

impl fmt::Display for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToTransient => "transient",
            Self::ToPermanent => "permanent",
        })
    }
}
