//! Operator commands over a Unix socket: `run_dir/console.sock`.
//!
//! ```text
//!  posthaste console CMD ──► ["queue","summary"]\n ──► server ──► Commands (the composition answers)
//!                        ◄── {"ok":true,"text":…,"value":…}\n ◄──
//! ```
//! One JSON line a request, one a reply, any number on a connection. A peer that sends anything else is answered once
//! and cut off: it can end its own connection and nothing else. The socket is its owner's alone (mode 0600).
//!
//! The crate knows no command: what they are stands in [`Command`] tables that the composition passes in, and help
//! is written from the same table.

mod client;
mod server;

pub use client::{AskError, Client, ask};
pub use server::{Caller, Commands, Socket, serve};

use serde::{Deserialize, Serialize};

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether the command was carried out.
    pub ok: bool,
    /// For people; ends without a line end.
    pub text: String,
    /// For programs.
    pub value: serde_json::Value,
}

impl Answer {
    /// A command was carried out.
    pub fn done(text: impl Into<String>, value: serde_json::Value) -> Self {
        Self { ok: true, text: text.into(), value }
    }

    /// A command was refused; the text says why and what would be right.
    pub fn refused(text: impl Into<String>) -> Self {
        Self { ok: false, text: text.into(), value: serde_json::Value::Null }
    }
}

/// A row of the command table.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its words, with arguments in capitals: `queue show DOMAIN`.
    pub usage: &'static str,
    /// What it does, one sentence.
    pub about: &'static str,
}

/// The help text of a command table.
pub fn help(table: &[Command]) -> String {
    let width = table.iter().map(|command| command.usage.len()).max().unwrap_or(0);
    let line = |command: &Command| format!("{:width$}  {}", command.usage, command.about);
    table.iter().map(line).collect::<Vec<_>>().join("\n")
}
