//! Why a command failed, as its user reads it.

use std::error::Error;
use std::fmt;

/// A failed command: what to print. The exit status is 1; mistakes in the command line itself are clap's, with status 2.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A sentence.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What failed, and why.
    pub(crate) fn caused(what: impl fmt::Display, error: &dyn Error) -> Self {
        Self(format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
