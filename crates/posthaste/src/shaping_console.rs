//! The console's commands about traffic shaping: what is in force, why and until when, and its end by an operator's word.

use crate::server::Server;
use console::{Answer, Command};
use message::UnixMicros;
use serde_json::{Value, json};
use shaping::{Effect, Standing};
use std::fmt::Write as _;

/// The rows of the command table.
pub(crate) const TABLE: [Command; 2] = [
    Command {
        usage: "shaping list",
        about: "What traffic shaping has in force: for whom, what, until when, by which rule.",
    },
    Command {
        usage: "shaping clear SITE [BINDING]",
        about: "Ends what traffic shaping has in force for a site or a domain: of all bindings, or of one.",
    },
];

/// Rows told in one answer.
const TOLD_MAX: usize = 10_000;

impl Server {
    /// Answers a command whose first word is `shaping`.
    pub(crate) fn shaping(&self, now: UnixMicros, words: &[&str]) -> Answer {
        match words {
            ["list"] => list(&self.common.desk.standing(now)),
            ["clear", site, binding @ ..] if binding.len() < 2 => self.clear(now, site, binding.first().copied()),
            _ => Answer::refused("usage: shaping list | shaping clear SITE [BINDING]"),
        }
    }

    fn clear(&self, now: UnixMicros, site: &str, binding: Option<&str>) -> Answer {
        let site = site.to_ascii_lowercase();
        let lifted = self.common.desk.clear(now, &site, binding);
        if lifted.is_empty() {
            return Answer::refused(format!(
                "nothing is in force for `{site}` that can be cleared; `shaping list` tells what is, and a warm-up ends with its rule"
            ));
        }
        let scopes: Vec<String> = lifted.iter().map(|decision| decision.scope.to_string()).collect();
        if let Some(jobs) = self.jobs.first() {
            // A loop that has ended writes no log.
            let _ = jobs.send(Box::new(move |shard| shard.events.audit(&lifted)));
        }
        Answer::done(format!("cleared: {}", scopes.join(", ")), json!({ "cleared": scopes }))
    }
}

/// A line for people.
pub(crate) fn line(row: &Standing) -> String {
    let dry = if row.effect == Effect::DryRun { ", dry run" } else { "" };
    let what = match row.value.as_str() {
        "suspended" => "suspended".to_owned(),
        value => format!("{} {value}", row.part),
    };
    format!("{}: {what} until {}, by rule {}{dry}", row.scope, row.until.seconds(), row.rule)
}

/// The same for programs.
pub(crate) fn value(row: &Standing) -> Value {
    let scope = &row.scope;
    json!({
        "scope": scope.kind.word(), "site": scope.site, "binding": scope.binding, "tenant": scope.tenant,
        "part": row.part.to_string(), "value": row.value, "until": row.until.seconds(), "rule": &*row.rule,
        "effect": row.effect.word(),
    })
}

fn list(rows: &[Standing]) -> Answer {
    let mut text = String::new();
    for row in rows.iter().take(TOLD_MAX) {
        let _ = writeln!(text, "{}", line(row));
    }
    if rows.len() > TOLD_MAX {
        let _ = writeln!(text, "and {} more", rows.len() - TOLD_MAX);
    }
    Answer::done(text.trim_end(), Value::Array(rows.iter().take(TOLD_MAX).map(value).collect()))
}
