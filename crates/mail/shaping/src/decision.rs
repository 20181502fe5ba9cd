//! What the engine decided, and why: one record for every change, applied or not, for the log and for simulations.

use crate::quantity::{Rate, Threshold, duration_text};
use crate::rule::{Rewrite, ShapedOption, WHOLE};
use crate::scope::ScopeName;
use message::{Stage, UnixMicros};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Octets of a reply's text that a record keeps.
pub const EXCERPT_MAX: usize = 200;

/// One change, or one that would have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When.
    pub at: UnixMicros,
    /// The rule that decided; empty for an operator.
    pub rule: Arc<str>,
    /// For whom.
    pub scope: ScopeName,
    /// What changes.
    pub change: Change,
    /// Whether it was done.
    pub effect: Effect,
    /// What it rests on; `None` for what time or an operator did.
    pub evidence: Option<Evidence>,
}

/// Whether a decision was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It was.
    Applied,
    /// It was only told, since the rule or the server runs dry.
    DryRun,
    /// A standing value of this rule, whose priority is higher, was left as it is.
    Overruled(Arc<str>),
}

/// What a decision rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Replies that matched within the period.
    pub matched: u32,
    /// Attempts within the period, where a share of them counts.
    pub tried: Option<u32>,
    /// What was enough.
    pub threshold: Threshold,
    /// The domain of the last reply.
    pub domain: Box<str>,
    /// Where in the conversation it came.
    pub stage: Stage,
    /// Its code.
    pub code: u16,
    /// The start of its text, at most [`EXCERPT_MAX`] octets, in one line.
    pub text: Box<str>,
}

/// What changes: the old value and the new, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing leaves.
    Suspended {
        /// Until when it had been suspended.
        old: Option<UnixMicros>,
        /// Until when it is.
        until: UnixMicros,
    },
    /// A share of the connections, in millionths. Comes back in steps.
    ConnectionShare {
        /// The share before.
        old: u32,
        /// The share now.
        new: u32,
    },
    /// A number of connections.
    ConnectionLimit {
        /// The number before.
        old: Option<u32>,
        /// The number now.
        new: u32,
        /// Until when.
        until: UnixMicros,
    },
    /// A share of the pace that messages had. Comes back in steps.
    RateShare {
        /// The pace before.
        old: Rate,
        /// The limit now.
        new: Rate,
    },
    /// A rate.
    RateLimit {
        /// The limit before.
        old: Option<Rate>,
        /// The limit now.
        new: Rate,
        /// Until when.
        until: UnixMicros,
    },
    /// An option's value.
    OptionSet {
        /// Which option.
        option: ShapedOption,
        /// The value before, if a rule had set it.
        old: Option<u32>,
        /// The value now.
        new: u32,
        /// Until when.
        until: UnixMicros,
    },
    /// A reply is taken for another kind of failure.
    Rewritten(Rewrite),
    /// As many messages as a young address may send on this day have left.
    WarmUpReached {
        /// The day of its age, from 1.
        day: u32,
        /// Messages on that day.
        cap: u32,
        /// When the next day begins.
        until: UnixMicros,
    },
    /// Time has ended it.
    Ended(Part),
    /// An operator has ended everything.
    Lifted,
    /// The table was full and this was the least recently changed entry: everything about the scope ended.
    Evicted,
}

/// A part of what is adjusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The suspension.
    Suspension,
    /// The share of connections, which is whole again.
    ConnectionShare,
    /// The number of connections.
    ConnectionLimit,
    /// The share of the pace, which is whole again.
    RateShare,
    /// The rate.
    RateLimit,
    /// An option.
    Option(ShapedOption),
    /// What a young address may send today.
    WarmUp,
}

impl fmt::Display for Decision {
    /// `rule google-ip-rate, binding-site a gmail.com: connections 100% to 50% (3 in 10m: 421 4.7.28 …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.rule {
            "" => write!(f, "operator, {}: {}", self.scope, self.change)?,
            rule => write!(f, "rule {rule}, {}: {}", self.scope, self.change)?,
        }
        if let Some(evidence) = &self.evidence {
            write!(f, " ({evidence})")?;
        }
        match &self.effect {
            Effect::Applied => Ok(()),
            Effect::DryRun => f.write_str(" [dry run]"),
            Effect::Overruled(by) => write!(f, " [overruled by {by}]"),
        }
    }
}

impl Effect {
    /// The word in log rows.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::DryRun => "dry-run",
            Self::Overruled(_) => "overruled",
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.matched)?;
        if let Some(tried) = self.tried {
            write!(f, " of {tried}")?;
        }
        if let Threshold::Count { period, .. } | Threshold::Share { period, .. } = self.threshold {
            write!(f, " in {}", duration_text(period))?;
        }
        write!(f, ": {} {}", self.code, self.text)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspended { old: None, until } => write!(f, "suspended until {}", until.seconds()),
            Self::Suspended { old: Some(old), until } => {
                write!(f, "suspended until {} instead of {}", until.seconds(), old.seconds())
            }
            Self::ConnectionShare { old, new } => write!(f, "connections {} to {}", Percent(*old), Percent(*new)),
            Self::ConnectionLimit { old, new, until } => {
                write!(f, "connections {} to {new} until {}", Limit(old.as_ref()), until.seconds())
            }
            Self::RateShare { old, new } => write!(f, "rate {old} to {new}"),
            Self::RateLimit { old, new, until } => {
                write!(f, "rate {} to {new} until {}", Limit(old.as_ref()), until.seconds())
            }
            Self::OptionSet { option, old, new, until } => {
                let old = old.map(|old| value_text(*option, old));
                let new = value_text(*option, *new);
                write!(f, "{} {} to {new} until {}", option.word(), Limit(old.as_ref()), until.seconds())
            }
            Self::Rewritten(rewrite) => write!(f, "taken for {rewrite}"),
            Self::WarmUpReached { day, cap, until } => {
                write!(f, "warm-up day {day}: {cap} messages reached, suspended until {}", until.seconds())
            }
            Self::Ended(part) => write!(f, "{part} ended"),
            Self::Lifted => f.write_str("lifted"),
            Self::Evicted => f.write_str("evicted, since the table is full"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspension => f.write_str("suspension"),
            Self::ConnectionShare => f.write_str("share of connections"),
            Self::ConnectionLimit => f.write_str("limit of connections"),
            Self::RateShare => f.write_str("share of the rate"),
            Self::RateLimit => f.write_str("limit of the rate"),
            Self::Option(option) => f.write_str(option.word()),
            Self::WarmUp => f.write_str("warm-up"),
        }
    }
}

/// An option's value as the configuration writes it.
pub fn value_text(option: ShapedOption, value: u32) -> String {
    if option.is_duration() { duration_text(Duration::from_secs(u64::from(value))) } else { value.to_string() }
}

/// The start of a reply's text in one line.
pub(crate) fn excerpt(text: &str) -> Box<str> {
    let start = &text[..text.floor_char_boundary(EXCERPT_MAX)];
    start.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect::<String>().into()
}

/// Millionths as a percentage.
pub(crate) struct Percent(pub(crate) u32);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (u64::from(self.0) * 1_000 + u64::from(WHOLE) / 2) / u64::from(WHOLE);
        match tenths % 10 {
            0 => write!(f, "{}%", tenths / 10),
            tenth => write!(f, "{}.{tenth}%", tenths / 10),
        }
    }
}

/// A limit or none.
struct Limit<'a, T>(Option<&'a T>);

impl<T: fmt::Display> fmt::Display for Limit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => limit.fmt(f),
            None => f.write_str("as configured"),
        }
    }
}
