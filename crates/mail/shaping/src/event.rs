//! What the engine is told of an attempt, and what it answers.

use crate::decision::Decision;
use crate::rule::Rewrite;
use crate::scope::Subject;
use message::Stage;

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The recipient's way.
    pub subject: Subject<'a>,
    /// How it went.
    pub outcome: AttemptOutcome<'a>,
    /// How many attempts went so; at least 1. Loops may sum up those that are alike.
    pub weight: u32,
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome<'a> {
    /// The next hop took it.
    Delivered,
    /// It did not, for now or for good, or there was no connection.
    Failed {
        /// Where in the conversation.
        stage: Stage,
        /// The reply's code, the next hop's or our own.
        code: u16,
        /// The text behind the code; rules see its first 1,024 octets.
        text: &'a str,
    },
}

/// What came of an observation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The failure is to be taken for another kind.
    pub rewrite: Option<Rewrite>,
    /// What was decided, the highest rule's first; for the log. Mostly none.
    pub decisions: Vec<Decision>,
}
