//! What a scenario ends with.

use std::fmt;

/// A scenario's result.
pub type Outcome<T = ()> = Result<T, Failure>;

/// What was seen instead of what was expected.
pub struct Failure(String);

impl Failure {
    /// Says it in words.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// Puts in front where it happened.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self(text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns a [`Failure`] with its file and line unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::Failure::new(format!($($what)+)).at(format_args!("{}:{}", file!(), line!())));
        }
    };
}
