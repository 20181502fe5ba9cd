//! Why a command of the command line failed, as the operator reads it.

use std::error::Error;

/// A failed command: what to print, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// A sentence for standard error; exit code 1.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1 }
    }

    /// What failed, and the chain of its causes.
    pub(crate) fn caused(what: impl Into<String>, error: &dyn Error) -> Self {
        let mut text = what.into();
        let mut cause = Some(error);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self { text, code: 1 }
    }

    /// Everything was said already; exit code 1.
    pub(crate) fn silent() -> Self {
        Self { text: String::new(), code: 1 }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
