//! How long an operation may wait.

use std::time::{Duration, Instant};

/// Until when an operation may wait. Every operation that can wait takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// Not at all.
    Now,
    /// Until this moment.
    At(Instant),
    /// For ever.
    Never,
}

impl Deadline {
    /// This long from now on; longer than the clock reaches is for ever.
    pub fn after(time: Duration) -> Self {
        Instant::now().checked_add(time).map_or(Self::Never, Self::At)
    }

    /// What is left: `None` is for ever, zero is over.
    pub fn left(self) -> Option<Duration> {
        match self {
            Self::Now => Some(Duration::ZERO),
            Self::At(moment) => Some(moment.saturating_duration_since(Instant::now())),
            Self::Never => None,
        }
    }

    /// Whether it has passed.
    pub fn is_over(self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// The earlier of this and `other`.
    #[must_use]
    pub fn earlier(self, other: Option<Instant>) -> Self {
        match (self, other) {
            (Self::Now, _) => Self::Now,
            (Self::At(one), Some(two)) => Self::At(one.min(two)),
            (Self::Never, Some(two)) => Self::At(two),
            (deadline, None) => deadline,
        }
    }
}

impl From<Duration> for Deadline {
    fn from(time: Duration) -> Self {
        Self::after(time)
    }
}
