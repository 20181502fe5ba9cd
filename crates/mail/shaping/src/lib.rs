//! Traffic shaping that reacts: rules on what next hops reply decide how much mail leaves, and where to, for a while.
//!
//! ```text
//!  rule files ──► Rules ──┐
//!                         ▼
//!  outcomes ────────► Shaper ──► decisions ──► log
//!                         ▲
//!                         └── effective? ── whoever opens connections
//! ```
//!
//! `posthaste` makes a [`Shaper`], tells it how attempts went, and asks it what holds before a connection is opened. It is
//! pure: `now` and the seed of its hashes are arguments, and it must never wait, open, read or write anything.
//!
//! - [`Rules`] come from TOML; what is unknown, contradicts itself or cannot happen is an error with its place.
//! - Evidence is counted per rule and scope in constant memory; the least recently used makes room.
//! - What was reduced comes back in steps, what was set ends by itself; nothing stands for ever.
//! - Every change is a [`Decision`]: rule, evidence, old value, new value, until when. Dry runs tell it and do nothing.
//!
//! # Budgets
//!
//! | what | budget |
//! |---|---|
//! | [`Shaper::effective`], nothing adjusted | 25 ns |
//! | [`Shaper::effective`], others adjusted, this one not | 50 ns |
//! | [`Shaper::effective`], adjusted in two scopes | 200 ns |
//! | [`Shaper::observe`] of a delivery that rates and shares count | 600 ns |
//! | [`Shaper::observe`] of a failure against the rules of a large provider | 2 µs |
//! | evidence of a rule and scope | 300 octets |

mod adjustment;
mod decision;
mod effective;
mod event;
mod ledger;
mod observing;
mod parse;
mod quantity;
mod ramp;
mod report;
mod rule;
mod rules;
mod scope;
mod shaper;
mod state;
mod table;
mod window;

pub use decision::{Change, Decision, EXCERPT_MAX, Effect, Evidence, Part, value_text};
pub use effective::Adjustments;
pub use event::{AttemptOutcome, Event, Observed};
pub use parse::stage_of_phase;
pub use quantity::{COUNT_MAX, DURATION_MAX, Rate, Threshold, duration, duration_text};
pub use report::{RuleError, RuleErrors};
pub use rule::{
    Action, Audience, CodePattern, EnhancedPattern, Further, NamePattern, Recovery, Reduction, Replies, Rewrite, Rule,
    RuleEffect, ShapedOption, TEXT_MAX, WHOLE, WarmUp,
};
pub use rules::{RULES_MAX, Rules, Source};
pub use scope::{NAME_MAX, ScopeKind, ScopeName, Subject};
pub use shaper::{Mode, Shaper, ShaperCounts, ShaperSettings, Standing};
pub use state::{Imported, StateError};
