//! What the console answers: the commands of an operator, from one table.

use crate::failure::Failure;
use crate::server::Server;
use crate::why::{self, wait};
use crate::{queue_desk, run, shaping_console, suppressing, suppression_desk};
use console::{Answer, Caller, Command, Commands};
use delivery::SourceRow;
use message::UnixMicros;
use scheduling::{ContainerRow, EntryPlace, EntryRow, Selector, Summary, Suspension};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;
use tokio::sync::Notify;

/// Every command; help is written from it.
const TABLE: &[Command] = &[
    Command { usage: "help", about: "These commands." },
    Command { usage: "summary", about: "Sessions, queues, connections and counts in one view." },
    Command { usage: "queue summary", about: "The queues, largest first, and what each waits for." },
    Command { usage: "queue show [DOMAIN] [LIMIT]", about: "Recipients of one container, or of all." },
    Command {
        usage: "queue why DOMAIN [BINDING]",
        about: "The one permit, suspension, throttle or failure that holds a queue, who says so, and when it is looked at again.",
    },
    queue_desk::TABLE[0],
    queue_desk::TABLE[1],
    queue_desk::TABLE[2],
    queue_desk::TABLE[3],
    queue_desk::TABLE[4],
    queue_desk::TABLE[5],
    queue_desk::TABLE[6],
    queue_desk::TABLE[7],
    queue_desk::TABLE[8],
    queue_desk::TABLE[9],
    Command { usage: "queue suspensions", about: "What rests by an operator's word." },
    Command { usage: "sources", about: "Source addresses that fail, and how long each is left aside." },
    Command { usage: "threads stats", about: "The thread pools." },
    Command { usage: "pool resize NAME THREADS [BACKLOG]", about: "Changes a pool while it runs." },
    Command { usage: "memory", about: "Memory by type, and of the process." },
    Command { usage: "loops", about: "The event loops: tasks, polls, stalls." },
    Command { usage: "spool", about: "The store: messages, segments, health." },
    Command { usage: "dns stats", about: "The resolver's counters." },
    suppression_desk::TABLE[0],
    suppression_desk::TABLE[1],
    suppression_desk::TABLE[2],
    suppression_desk::TABLE[3],
    suppression_desk::TABLE[4],
    suppression_desk::TABLE[5],
    suppression_desk::TABLE[6],
    suppression_desk::TABLE[7],
    suppression_desk::TABLE[8],
    shaping_console::TABLE[0],
    shaping_console::TABLE[1],
    Command { usage: "returns", about: "What came back: bounces, complaints, marks; and who was suppressed for it." },
    Command { usage: "logs", about: "Rows written and dropped." },
    Command { usage: "reopen logs", about: "Opens the log files anew." },
    Command { usage: "reload", about: "Reads the configuration again." },
    Command { usage: "version", about: "Which release this is." },
    Command { usage: "pid", about: "The process id." },
    Command { usage: "shutdown", about: "Drains and ends, as SIGTERM does." },
];

/// Answers one server's operators.
pub(crate) struct Operator {
    server: Rc<Server>,
    file: Option<PathBuf>,
    generation: Cell<u64>,
    shutdown: Notify,
}

impl Operator {
    /// For `server`, whose configuration is in `file`.
    pub(crate) fn new(server: Rc<Server>, file: Option<PathBuf>) -> Rc<Self> {
        Rc::new(Self { server, file, generation: Cell::new(0), shutdown: Notify::new() })
    }

    /// Binds the console socket; one that cannot be had is said on standard error, and mail goes on.
    pub(crate) fn bind(&self) -> Option<console::Socket> {
        let path = self.server.config().console.socket.clone();
        let bound = console::Socket::bind(&path);
        bound.inspect_err(|error| eprintln!("console socket {}: {error}", path.display())).ok()
    }

    /// Completes when an operator asks for the end.
    pub(crate) async fn shutdown_asked(&self) {
        self.shutdown.notified().await;
    }

    /// Reads the configuration again; a bad one changes nothing.
    pub(crate) fn reload(&self) -> Answer {
        let Some(file) = &self.file else { return Answer::refused("the built-in configuration has nothing to reload") };
        let generation = self.generation.get() + 1;
        match run::load_generation(file, generation) {
            Ok(config) => {
                self.generation.set(generation);
                match self.server.reload(config) {
                    Ok(notes) => Answer::done(
                        format!("configuration {} is in effect{notes}", file.display()),
                        json!({ "generation": generation }),
                    ),
                    Err(failure) => Answer::refused(format!("reload failed, nothing changed: {failure}")),
                }
            }
            Err(failure) => Answer::refused(format!("reload failed, nothing changed: {failure}")),
        }
    }

    async fn carry_out(&self, words: &[&str], caller: Caller) -> Result<Answer, Failure> {
        if let ["queue", command, rest @ ..] = words
            && let Some(answer) = queue_desk::answer(&self.server, command, rest, caller, now()).await
        {
            return answer;
        }
        Ok(match words {
            ["help"] => {
                Answer::done(console::help(TABLE), json!(TABLE.iter().map(|row| row.usage).collect::<Vec<_>>()))
            }
            ["version"] => Answer::done(env!("CARGO_PKG_VERSION"), json!(env!("CARGO_PKG_VERSION"))),
            ["pid"] => Answer::done(std::process::id().to_string(), json!(std::process::id())),
            ["summary"] => self.server.summary().await?,
            ["queue", "summary"] | ["mailq"] => queues(&self.server.containers().await?, self.server.totals().await?),
            ["queue", "show"] => self.show(None, 100).await?,
            ["queue", "show", domain] => self.show(Some(domain), 100).await?,
            ["queue", "show", domain, limit] => match limit.parse() {
                Ok(limit) => self.show((*domain != "all").then_some(*domain), limit).await?,
                Err(_) => Answer::refused(format!("`{limit}` is no number of recipients")),
            },
            ["queue", "why", domain, binding @ ..] if binding.len() < 2 => {
                let binding = binding.first().copied();
                why::answer(domain, &self.server.why(domain, binding).await?, &self.server.config(), now())
            }
            ["queue", "suspensions"] => suspensions(&self.server.suspensions().await?),
            ["sources"] => sources(&self.server.sources().await?),
            ["threads", "stats"] => self.server.threads(),
            ["pool", "resize", name, rest @ ..] => self.resize(name, rest),
            ["memory"] => self.server.memory(),
            ["loops"] => self.server.loops(),
            ["spool"] => self.server.spool(),
            ["dns", "stats"] => self.server.dns(),
            ["shaping", rest @ ..] => self.server.shaping(now(), rest),
            ["suppression", rest @ ..] => self.suppression(rest).await,
            ["returns"] => self.server.returns(),
            ["logs"] => self.server.logs(),
            ["reopen", "logs"] => {
                self.server.reopen_logs();
                Answer::done("log files are opened anew", Value::Null)
            }
            ["reload"] => self.reload(),
            ["shutdown"] => {
                self.shutdown.notify_one();
                Answer::done("shutting down", Value::Null)
            }
            other => Answer::refused(format!("no command `{}`; `help` lists them", other.join(" "))),
        })
    }

    async fn suppression(&self, words: &[&str]) -> Answer {
        match self.server.common.suppression.store() {
            Some(store) => suppression_desk::answer(store, suppressing::now(), words).await,
            None => Answer::refused("the suppression list could not be opened; standard error said why at the start"),
        }
    }

    fn resize(&self, name: &str, rest: &[&str]) -> Answer {
        let numbers: Option<Vec<usize>> = rest.iter().map(|word| word.parse().ok()).collect();
        match numbers.as_deref() {
            Some([threads]) => self.server.resize(name, *threads, None),
            Some([threads, backlog]) => self.server.resize(name, *threads, Some(*backlog)),
            _ => Answer::refused("usage: pool resize NAME THREADS [BACKLOG]"),
        }
    }

    async fn show(&self, domain: Option<&str>, limit: usize) -> Result<Answer, Failure> {
        let entries = self.server.entries(domain.map(str::to_owned), limit).await?;
        let mut text = String::new();
        for (container, entry) in &entries {
            let _ = writeln!(text, "{}", entry_line(container, entry));
        }
        let value = entries.iter().map(|(container, entry)| {
            json!({
                "container": container, "id": entry.id.nth(entry.recipient).to_string(), "full_id": entry.id.full(),
                "recipient": entry.recipient, "attempts": entry.attempts, "place": place(entry),
                "received": entry.received.seconds(), "not_before": not_before(entry),
            })
        });
        Ok(Answer::done(text.trim_end(), Value::Array(value.collect())))
    }
}

impl Commands for Operator {
    async fn answer(&self, words: Vec<String>, caller: Caller) -> Answer {
        let words: Vec<&str> = match words.split_first() {
            // Addresses and header fields may have spaces, and rows have line ends.
            Some((first, [_, ..])) if matches!(&**first, "suppression" | "queue") => {
                words.iter().map(String::as_str).collect()
            }
            _ => words.iter().flat_map(|word| word.split_whitespace()).collect(),
        };
        self.carry_out(&words, caller).await.unwrap_or_else(|failure| Answer::refused(failure.to_string()))
    }
}

fn place(entry: &EntryRow) -> &'static str {
    match entry.place {
        EntryPlace::Active => "active",
        EntryPlace::Delayed { .. } => "delayed",
    }
}

/// Seconds since the epoch before which the recipient is not tried; 0 if it may be tried now.
fn not_before(entry: &EntryRow) -> u64 {
    match entry.place {
        EntryPlace::Active => 0,
        EntryPlace::Delayed { until } => until.seconds(),
    }
}

fn entry_line(container: &str, entry: &EntryRow) -> String {
    let id = entry.id.nth(entry.recipient);
    let (attempts, place) = (entry.attempts, place(entry));
    format!("[{place}/{container}] {id} Created: {} Attempts: {attempts}", entry.received.seconds())
}

/// A selector as people read it.
pub(crate) fn selected(selector: &Selector) -> String {
    let word = |name: &Option<std::sync::Arc<str>>| name.as_deref().unwrap_or("all").to_owned();
    format!("{}/{}", word(&selector.binding), word(&selector.domain))
}

/// How many suspensions end when what a selector means is resumed.
pub(crate) fn suspensions_of(selector: &Selector, all: &[Suspension]) -> usize {
    all.iter().filter(|suspension| selector.includes(&suspension.selector)).count()
}

fn suspensions(all: &[Suspension]) -> Answer {
    let until = |suspension: &Suspension| (suspension.until.0 < u64::MAX).then(|| suspension.until.seconds());
    let line = |suspension: &Suspension| {
        let end = until(suspension).map_or("until resumed".into(), |seconds| format!("until {seconds}"));
        format!("{} {end}", selected(&suspension.selector))
    };
    let value = all.iter().map(|suspension| {
        let Selector { domain, binding, .. } = &suspension.selector;
        json!({ "domain": domain.as_deref(), "binding": binding.as_deref(), "until": until(suspension) })
    });
    Answer::done(all.iter().map(line).collect::<Vec<_>>().join("\n"), Value::Array(value.collect()))
}

fn sources(all: &[(usize, SourceRow)]) -> Answer {
    let aside = |row: &SourceRow| row.aside_for.map(|left| left.as_secs() + 1);
    let line = |(index, row): &(usize, SourceRow)| {
        let state = aside(row).map_or("in use".into(), |seconds| format!("left aside for {seconds} s"));
        format!("loop {index} {}: {} failures in a row, {state}", row.address, row.failures)
    };
    let value = all.iter().map(|(index, row)| {
        json!({ "loop": index, "address": row.address.to_string(), "failures": row.failures, "aside_s": aside(row) })
    });
    Answer::done(all.iter().map(line).collect::<Vec<_>>().join("\n"), Value::Array(value.collect()))
}

/// The time of day.
pub(crate) fn now() -> UnixMicros {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

fn queues(rows: &[ContainerRow], total: Summary) -> Answer {
    let mut text = format!("{:32} {:>9} {:>9} {:>6}  {}\n", "Binding/Domain", "AQ", "DQ", "C", "state");
    for row in rows {
        let ContainerRow { container, active, delayed, connections, .. } = row;
        let name = format!("{}/{}", container.binding, container.name);
        let site = row.site.as_ref().map_or(String::new(), |site| format!("; site {site}"));
        let state = wait(&row.wait);
        let _ = writeln!(text, "{name:32} {active:>9} {delayed:>9} {connections:>6}  {state}{site}");
    }
    let _ = write!(text, "{:32} {:>9} {:>9} {:>6}", "Total", total.active, total.delayed, total.connections);
    let value: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "binding": &*row.container.binding, "domain": &*row.container.name, "aq": row.active, "dq": row.delayed,
                "connections": row.connections, "site": row.site.as_deref(), "wait": wait(&row.wait),
            })
        })
        .collect();
    let total = json!({ "active": total.active, "delayed": total.delayed, "leased": total.leased, "containers": total.containers });
    Answer::done(text, json!({ "queues": value, "total": total }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page of the commands, from their table.
    fn page() -> String {
        let mut page = String::from(
            "# Operator commands\n\nTyped at `posthaste console`, or given to it as words; `--json` prints for programs. The socket is\n\
             `[console] socket`, mode 0600. This page is written from the command table: `UPDATE_EXPECTED=1 cargo test -p posthaste`.\n\n\
             | command | what it does |\n|---|---|\n",
        );
        for Command { usage, about } in TABLE {
            page.push_str(&format!("| `{}` | {about} |\n", usage.replace('|', "\\|")));
        }
        page
    }

    #[test]
    fn the_page_of_commands_is_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/console.md");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, page(), "run UPDATE_EXPECTED=1 cargo test -p posthaste");
    }
}
