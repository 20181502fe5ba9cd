//! The words of `suppression …`, carried out on a list: by the console of a running server, and by commands on the files
//! of one that does not run.

use console::{Answer, Command};
use serde_json::{Value, json};
use std::fmt::Write as _;
use suppression::{
    Batch, Changes, Cursor, Defaults, Entry, Format, Key, Kind, Label, Lines, Publish, Reason, Scope, Second, Store,
    WriteError, parse_kind, parse_reason, parse_second, write_csv_row, write_json_row,
};

/// The commands, for the console's table.
pub(crate) const TABLE: [Command; 9] = [
    Command {
        usage: "suppression add ADDRESS [tenant=T] [kind=K] [reason=R] [source=S] [expires=TIME]",
        about: "Stops mail to an address.",
    },
    Command {
        usage: "suppression remove ADDRESS [tenant=T] [kind=K]",
        about: "Takes an address off the list, from every scope if none is given.",
    },
    Command { usage: "suppression check ADDRESS [tenant=T] [kind=K]", about: "Whether mail to an address is stopped." },
    Command { usage: "suppression list [LIMIT] [CURSOR]", about: "Entries, a page at a time." },
    Command { usage: "suppression count", about: "How many entries there are, and their memory." },
    Command {
        usage: "suppression put ROWS",
        about: "Adds entries in the rows of an export, all or none; for `import`.",
    },
    Command { usage: "suppression publish", about: "Makes what was put durable and seen, now." },
    Command { usage: "suppression rows LIMIT FORMAT [CURSOR]", about: "Entries as csv or json rows; for `export`." },
    Command { usage: "suppression compact", about: "Writes the list's files anew, without what has expired." },
];

/// Entries of a page, unless asked otherwise, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 10_000;

/// Carries out the words behind `suppression`.
pub(crate) async fn answer(store: &Store, now: Second, words: &[&str]) -> Answer {
    let done = match words {
        ["add", address, rest @ ..] => add(store, now, address, rest).await,
        ["remove", address, rest @ ..] => remove(store, now, address, rest).await,
        ["check", address, rest @ ..] => check(store, now, address, rest),
        ["list"] => list(store, "", ""),
        ["list", limit] => list(store, limit, ""),
        ["list", limit, cursor] => list(store, limit, cursor),
        ["count"] => Ok(count(store)),
        ["put", rows] => put(store, now, rows).await,
        ["publish"] => publish(store, now).await,
        ["rows", limit, format] => rows(store, limit, format, ""),
        ["rows", limit, format, cursor] => rows(store, limit, format, cursor),
        ["compact"] => compact(store, now).await,
        _ => Err(console::help(&TABLE)),
    };
    done.unwrap_or_else(Answer::refused)
}

type Done = Result<Answer, String>;

/// What `name=value` words say.
#[derive(Default)]
struct Given {
    tenant: Option<Label>,
    kind: Option<Kind>,
    reason: Option<Reason>,
    source: Option<Label>,
    expires: Option<Second>,
}

impl Given {
    fn read(words: &[&str], known: &[&str]) -> Result<Self, String> {
        let mut given = Self::default();
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let label = || Label::new(value).map_err(|error| format!("{name}: {error}"));
            match name {
                _ if !known.contains(&name) => {
                    return Err(format!("`{word}` means nothing here; known are {}=…", known.join("=…, ")));
                }
                "tenant" => given.tenant = Some(label()?),
                "source" => given.source = Some(label()?),
                "kind" => given.kind = Some(parse_kind(value).map_err(|error| error.to_string())?),
                "reason" => given.reason = Some(parse_reason(value).map_err(|error| error.to_string())?),
                _ => given.expires = Some(parse_second(value).map_err(|error| error.to_string())?),
            }
        }
        Ok(given)
    }
}

fn key(address: &str) -> Result<Key, String> {
    Key::parse(address).map_err(|error| format!("{address}: {error}"))
}

async fn add(store: &Store, now: Second, address: &str, words: &[&str]) -> Done {
    let given = Given::read(words, &["tenant", "kind", "reason", "source", "expires"])?;
    let console = || Label::new("console").expect("the word is a short name");
    let entry = Entry {
        key: key(address)?,
        scope: Scope { tenant: given.tenant, kind: given.kind.unwrap_or_default() },
        reason: given.reason.unwrap_or(Reason::Manual),
        source: given.source.unwrap_or_else(console),
        added: now,
        expires: given.expires,
    };
    let mut batch = Batch::new();
    batch.put(&entry);
    let changes = change(store, batch, Publish::Now, now).await?;
    let verb = if changes.replaced > 0 { "replaced" } else { "added" };
    Ok(Answer::done(format!("{} {verb}", entry.key), json!({ "added": changes.added, "replaced": changes.replaced })))
}

async fn remove(store: &Store, now: Second, address: &str, words: &[&str]) -> Done {
    let given = Given::read(words, &["tenant", "kind"])?;
    let key = key(address)?;
    let changes = if words.is_empty() {
        let (done, told) = tokio::sync::oneshot::channel();
        // Whoever asked may be gone.
        store.remove(&key, now, Box::new(move |made| drop(done.send(made))));
        made(told.await)?
    } else {
        let mut batch = Batch::new();
        batch.remove(&key, &Scope { tenant: given.tenant, kind: given.kind.unwrap_or_default() });
        change(store, batch, Publish::Now, now).await?
    };
    match changes.removed {
        0 => Err(format!("{key} is not on the list{}", if words.is_empty() { "" } else { " in that scope" })),
        removed => Ok(Answer::done(format!("{key}: {removed} entries removed"), json!({ "removed": removed }))),
    }
}

fn check(store: &Store, now: Second, address: &str, words: &[&str]) -> Done {
    let given = Given::read(words, &["tenant", "kind"])?;
    let key = key(address)?;
    let tenant = given.tenant.as_ref().map(Label::as_str);
    let hit = store.list().find(&key, tenant, given.kind.unwrap_or_default(), now);
    let entries = store.list().entries_of(&key);
    let mut text = match hit {
        Some(hit) => format!("{key} is suppressed: {} since {}", hit.reason, hit.added),
        None => format!("{key} is not suppressed"),
    };
    entries.iter().for_each(|entry| {
        let _ = write!(text, "\n  {}", line(entry));
    });
    let rows: Vec<Value> = entries.iter().map(object).collect();
    Ok(Answer::done(text, json!({ "address": key.to_string(), "suppressed": hit.is_some(), "entries": rows })))
}

/// An entry on one line for people.
fn line(entry: &Entry) -> String {
    let mut text = format!("{} {}", entry.key, entry.reason);
    if entry.scope.kind != Kind::All {
        let _ = write!(text, " {}", entry.scope.kind.word());
    }
    if let Some(tenant) = &entry.scope.tenant {
        let _ = write!(text, " tenant={tenant}");
    }
    let _ = write!(text, " source={} added={}", entry.source, entry.added);
    if let Some(expires) = entry.expires {
        let _ = write!(text, " expires={expires}");
    }
    text
}

fn object(entry: &Entry) -> Value {
    let mut row = Vec::new();
    write_json_row(&mut row, entry).expect("a vector takes everything");
    serde_json::from_slice(&row).expect("it was written as JSON")
}

fn page(store: &Store, limit: &str, cursor: &str) -> Result<suppression::Page, String> {
    let limit = match limit {
        "" => PAGE,
        limit => limit
            .parse()
            .ok()
            .filter(|limit| (1..=PAGE_MAX).contains(limit))
            .ok_or_else(|| format!("`{limit}` is no number of entries; write 1 to {PAGE_MAX}"))?,
    };
    let cursor = match cursor {
        "" => Cursor::default(),
        cursor => Cursor::from_word(cursor)
            .ok_or_else(|| format!("`{cursor}` is no cursor; give the one that the page before ended with"))?,
    };
    Ok(store.list().page(&cursor, limit))
}

fn list(store: &Store, limit: &str, cursor: &str) -> Done {
    let page = page(store, limit, cursor)?;
    let mut lines: Vec<String> = page.entries.iter().map(line).collect();
    let next = page.next.as_ref().map(Cursor::to_word);
    if let Some(next) = &next {
        lines.push(format!("more behind {next}"));
    }
    let entries: Vec<Value> = page.entries.iter().map(object).collect();
    Ok(Answer::done(lines.join("\n"), json!({ "entries": entries, "next": next })))
}

fn rows(store: &Store, limit: &str, format: &str, cursor: &str) -> Done {
    let page = page(store, limit, cursor)?;
    let mut out = Vec::new();
    for entry in &page.entries {
        let written = match format {
            "csv" => write_csv_row(&mut out, entry),
            "json" => write_json_row(&mut out, entry),
            other => return Err(format!("`{other}` is no format; write csv or json")),
        };
        written.expect("a vector takes everything");
    }
    let rows = String::from_utf8(out).expect("rows are text");
    let next = page.next.as_ref().map(Cursor::to_word);
    Ok(Answer::done("", json!({ "rows": rows, "count": page.entries.len(), "next": next })))
}

fn count(store: &Store) -> Answer {
    let figures = store.list().figures();
    let text = format!("{} entries in {} octets; {} lost", figures.entries, figures.octets, store.lost());
    Answer::done(text, json!({ "entries": figures.entries, "octets": figures.octets, "lost": store.lost() }))
}

async fn put(store: &Store, now: Second, rows: &str) -> Done {
    let defaults = Defaults {
        reason: Reason::Manual,
        source: Label::new("import").expect("the word is a short name"),
        scope: Scope::default(),
        added: now,
    };
    let mut batch = Batch::new();
    let mut lines = Lines::new(rows.as_bytes(), Format::Csv, defaults);
    while let Some(line) = lines.next_line().map_err(|error| error.to_string())? {
        batch.put(&line.entry.map_err(|wrong| format!("row {}: {wrong}", line.number))?);
    }
    let entries = batch.len();
    change(store, batch, Publish::Later, now).await?;
    Ok(Answer::done(format!("{entries} entries put"), json!({ "entries": entries })))
}

async fn publish(store: &Store, now: Second) -> Done {
    change(store, Batch::new(), Publish::Now, now).await?;
    Ok(count(store))
}

async fn compact(store: &Store, now: Second) -> Done {
    let (done, told) = tokio::sync::oneshot::channel();
    store.compact(now, Box::new(move |made| drop(done.send(made))));
    made(told.await)?;
    Ok(count(store))
}

async fn change(store: &Store, batch: Batch, publish: Publish, now: Second) -> Result<Changes, String> {
    let (done, told) = tokio::sync::oneshot::channel();
    store.change(batch, publish, now, Box::new(move |made| drop(done.send(made))));
    made(told.await)
}

/// What the writer said; if it said nothing, it is gone.
fn made<E>(told: Result<Result<Changes, WriteError>, E>) -> Result<Changes, String> {
    let told = told.unwrap_or(Err(WriteError::Closed));
    told.map_err(|error| crate::failure::Failure::caused("nothing was changed", &error).to_string())
}
