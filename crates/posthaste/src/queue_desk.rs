//! The commands of `queue` that operate on mail: words in, an order to every event loop, an answer and an audit row out.

use crate::failure::Failure;
use crate::filter::Filter;
use crate::operate::{selected, suspensions_of};
use crate::operation::{Act, Listed, Mode, Order, Tally};
use crate::redirections::{Redirection, Target};
use crate::server::{Job, Server};
use config::parse_duration;
use console::{Answer, Caller, Command};
use delivery::Telling;
use engine::{Pool, TaskKind};
use message::{Address, Event, Operation, Reply, UnixMicros};
use scheduling::{ContainerRow, EntryPlace};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// The commands; `FILTER…` is explained at the first.
pub(crate) const TABLE: [Command; 10] = [
    Command {
        usage: "queue count FILTER…",
        about: "How many recipients wait. FILTER…: a DOMAIN or `all`, then a BINDING or `all`, or any of domain=D, binding=B, group=G, tenant=T, sender=A or @D or <>, recipient=A or @D, header=NAME or NAME: VALUE, older=SPAN, younger=SPAN; all that is named must hold.",
    },
    Command {
        usage: "queue list [FILTER…] [limit=N]",
        about: "Recipients that wait, with their addresses; 100 unless told.",
    },
    Command { usage: "queue flush FILTER… [dry-run]", about: "Makes delayed mail active now." },
    Command {
        usage: "queue suspend FILTER… [for=SPAN] [dry-run]",
        about: "Lets the mail of containers rest, also mail that comes later, until it is resumed, the time is over, or the server ends.",
    },
    Command { usage: "queue resume FILTER… [dry-run]", about: "Ends suspensions by an operator." },
    Command {
        usage: "queue fail FILTER… [quiet] [reply=TEXT] [dry-run]",
        about: "Gives mail up, with bounces unless quiet; for good.",
    },
    Command {
        usage: "queue reroute FILTER… [to=DOMAIN] [dry-run]",
        about: "Sends mail where the configuration says now, or where mail for another domain goes; kept over a restart.",
    },
    Command {
        usage: "queue rebind FILTER… to=BINDING [dry-run]",
        about: "Sends mail by another binding; kept over a restart.",
    },
    Command {
        usage: "queue delay FILTER… for=SPAN [dry-run]",
        about: "Tries mail no sooner than after that time; a restart keeps it if it is later than what was noted before.",
    },
    Command {
        usage: "queue export FILTER… to=FOLDER [dry-run]",
        about: "Copies mail into an empty folder on the server, two files a recipient, for `spool import`; it stays queued.",
    },
];

/// Rows of a list, unless told.
const LISTED: usize = 100;
/// And at most.
const LISTED_MAX: usize = 100_000;
/// What the sender of failed mail is told, unless told.
const FAILED: &str = "5.4.7 [internal] message failed by the operator";

/// The words of a command beside its filters.
struct Others<'w> {
    mode: Mode,
    to: Option<&'w str>,
    span: Option<Duration>,
    limit: usize,
    reply: Reply,
    telling: Telling,
}

/// Answers one of the commands of [`TABLE`]; `None` if it is none of them.
pub(crate) async fn answer(
    server: &Server,
    command: &str,
    words: &[&str],
    caller: Caller,
    now: UnixMicros,
) -> Option<Result<Answer, Failure>> {
    let flags: &[&str] = match command {
        "count" => &[],
        "list" => &["limit="],
        "flush" | "resume" => &["dry-run"],
        "suspend" | "delay" => &["for=", "dry-run"],
        "fail" => &["quiet", "reply=", "dry-run"],
        "reroute" | "rebind" | "export" => &["to=", "dry-run"],
        _ => return None,
    };
    let parsed = parse(command, words, now, flags);
    Some(match parsed {
        Err(wrong) => Ok(Answer::refused(format!("queue {command}: {wrong}"))),
        Ok((filter, others)) => run(server, command, filter, others, Asker { caller, now }).await,
    })
}

struct Asker {
    caller: Caller,
    now: UnixMicros,
}

fn parse<'w>(
    command: &str,
    words: &[&'w str],
    now: UnixMicros,
    flags: &[&str],
) -> Result<(Filter, Others<'w>), String> {
    let (filter, words) = Filter::parse(words, now, flags)?;
    let filter = if command == "list" { filter } else { filter.named()? };
    let reply = Reply::new(554, FAILED);
    let mut others = Others { mode: Mode::Real, to: None, span: None, limit: LISTED, reply, telling: Telling::Sender };
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "dry-run" => others.mode = Mode::DryRun,
            "quiet" => others.telling = Telling::Nobody,
            "to" => others.to = Some(value),
            "for" => {
                let span =
                    parse_duration(value).ok_or(format!("`for={value}`: write a duration such as 20m or 1d12h"))?;
                others.span = Some(span);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LISTED_MAX).contains(limit));
                others.limit = limit.ok_or(format!("`limit={value}`: write a number from 1 to {LISTED_MAX}"))?;
            }
            _ => others.reply = reply_of(value)?,
        }
    }
    Ok((filter, others))
}

/// `550 5.7.1 text`, or only the text.
fn reply_of(text: &str) -> Result<Reply, String> {
    let (code, rest) = match text.split_once(' ') {
        Some((code, rest)) if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()) => (code, rest),
        _ => ("554", text),
    };
    let code: u16 = code.parse().unwrap_or(554);
    let sound = (500..600).contains(&code) && !rest.is_empty() && !rest.contains(['\r', '\n']) && rest.len() <= 400;
    if sound { Ok(Reply::new(code, rest)) } else { Err(format!("`reply={text}`: write `550 5.7.1 why`")) }
}

async fn run(
    server: &Server,
    command: &str,
    filter: Filter,
    others: Others<'_>,
    asker: Asker,
) -> Result<Answer, Failure> {
    let act = match command {
        "count" => Act::Count,
        "list" => Act::List(others.limit),
        "suspend" => return suspend(server, &filter, &others, &asker).await,
        "resume" => return resume(server, &filter, &others, &asker).await,
        "flush" if filter.is_of_containers() => return flush(server, &filter, &others, &asker).await,
        "flush" => Act::Flush,
        "fail" => Act::Fail(others.reply.clone(), others.telling),
        "delay" => match others.span {
            Some(span) => Act::Delay(asker.now.after(span)),
            None => return Ok(Answer::refused("queue delay: say for how long: for=20m")),
        },
        "export" => match folder(server, &others).await {
            Ok(folder) => Act::Export(folder),
            Err(wrong) => return Ok(Answer::refused(format!("queue export: {wrong}"))),
        },
        _ => match target(server, command, others.to) {
            Ok(target) => Act::Redirect(target),
            Err(wrong) => return Ok(Answer::refused(format!("queue {command}: {wrong}"))),
        },
    };
    if let (Act::Redirect(target), Mode::Real) = (&act, others.mode) {
        let redirection = Redirection { at: asker.now, filter: filter.clone(), target: target.clone() };
        let redirections = server.common.redirections.clone();
        blocking(&pool(server)?, move || redirections.add(redirection)).await??;
    }
    let order = Arc::new(Order { filter, act, mode: others.mode });
    let tally = carry_out(server, &order).await?;
    if others.mode == Mode::Real && !matches!(order.act, Act::Count | Act::List(_)) {
        let what = others.to.map_or(command.to_owned(), |to| format!("{command} to={to}"));
        let quiet = if others.telling == Telling::Nobody { " quiet" } else { "" };
        audit(server, &asker, format!("{what}{quiet}"), &order.filter, (tally.matched, tally.touched));
    }
    Ok(match &order.act {
        Act::List(_) => list(tally.rows, others.limit),
        _ => told(command, others.mode, &tally),
    })
}

/// Lets every loop carry out an order; the sum of what came of it.
async fn carry_out(server: &Server, order: &Arc<Order>) -> Result<Tally, Failure> {
    let pool = pool(server)?;
    let mut answers = vec![];
    for jobs in &server.jobs {
        let (sender, answer) = oneshot::channel();
        let (order, pool) = (order.clone(), pool.clone());
        let job: Job = Box::new(move |shard| {
            let carrying = shard.clone().carry_out(order, pool);
            // Whoever asked may have hung up: what was begun is done all the same.
            let telling = async move { drop(sender.send(carrying.await)) };
            shard.context.spawn(TaskKind("queue operation"), telling).detach();
        });
        jobs.send(job).map_err(|_| Failure::new("the server is stopping"))?;
        answers.push(answer);
    }
    let mut sum = Tally::default();
    for answer in answers {
        sum.add(answer.await.map_err(|_| Failure::new("the server stopped before all was done"))?);
    }
    Ok(sum)
}

fn pool(server: &Server) -> Result<Pool, Failure> {
    server.common.pools.get(engine::IO).ok_or_else(|| Failure::new("there is no pool io"))
}

async fn blocking<T: Send + 'static>(pool: &Pool, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let job = pool.run(job).map_err(|busy| Failure::caused("pool io", &busy))?;
    job.await.map_err(|panicked| Failure::caused("pool io", &panicked))
}

/// Where to, of `reroute` and `rebind`.
fn target(server: &Server, command: &str, to: Option<&str>) -> Result<Target, String> {
    match (command, to) {
        ("reroute", None) => Ok(Target::Configured),
        ("reroute", Some(domain))
            if !domain.contains(char::is_whitespace) && Address::new("postmaster", domain).is_ok() =>
        {
            Ok(Target::Domain(domain.to_ascii_lowercase().into()))
        }
        ("reroute", Some(other)) => Err(format!("`to={other}` is no domain")),
        (_, Some(binding)) if server.config().bindings.iter().any(|known| **known == *binding) => {
            Ok(Target::Binding(binding.into()))
        }
        (_, Some(other)) => Err(format!("there is no [binding.{other}] in the configuration")),
        (_, None) => Err("say by which binding: to=BINDING".into()),
    }
}

/// The folder of an export, made unless nothing is to be written.
async fn folder(server: &Server, others: &Others<'_>) -> Result<PathBuf, String> {
    let folder = PathBuf::from(others.to.ok_or("say where to: to=FOLDER")?);
    if !folder.is_absolute() {
        return Err(format!("{}: write an absolute path; the server stands somewhere else", folder.display()));
    }
    if others.mode == Mode::DryRun {
        return Ok(folder);
    }
    let made = move |folder: &Path| -> Result<(), String> {
        let told = |error: std::io::Error| format!("{}: {error}", folder.display());
        std::fs::create_dir_all(folder).map_err(told)?;
        match std::fs::read_dir(folder).map_err(told)?.next() {
            None => Ok(()),
            Some(_) => Err(format!("{} is not empty; an export wants a folder of its own", folder.display())),
        }
    };
    let pool = pool(server).map_err(|failure| failure.to_string())?;
    let wanted = folder.clone();
    blocking(&pool, move || made(&wanted)).await.map_err(|failure| failure.to_string())??;
    Ok(folder)
}

/// Writes what an operator did into the logs.
fn audit(server: &Server, asker: &Asker, what: String, filter: &Filter, (matched, touched): (u64, u64)) {
    let (who, filter, at) = (asker.caller.to_string(), filter.to_string(), crate::operate::now());
    let job: Job = Box::new(move |shard| {
        use message::EventSink as _;
        let operation = Operation { at, who: &who, what: &what, filter: &filter, matched, touched };
        shard.events.event(&Event::Operated(operation));
    });
    // A server that stops writes no more rows.
    server.jobs.first().map(|jobs| jobs.send(job).ok());
}

/// Recipients that wait in containers: all of them, and those that are delayed.
fn waiting(rows: &[ContainerRow]) -> (u64, u64) {
    rows.iter().fold((0, 0), |(all, delayed), row| {
        (all + u64::from(row.active) + u64::from(row.delayed), delayed + u64::from(row.delayed))
    })
}

async fn flush(server: &Server, filter: &Filter, others: &Others<'_>, asker: &Asker) -> Result<Answer, Failure> {
    let rows = server.select(&filter.entries.selector).await?;
    let (matched, touched) = waiting(&rows);
    let mut queues = rows.len();
    if others.mode == Mode::Real {
        queues = server.flush(&filter.entries.selector).await?;
        audit(server, asker, "flush".into(), filter, (matched, touched));
    }
    let would = if others.mode == Mode::DryRun { "would be " } else { "" };
    let value = json!({
        "operation": "flush", "dry_run": others.mode == Mode::DryRun, "queues": queues, "matched": matched, "touched": touched,
    });
    Ok(Answer::done(format!("{queues} queues {would}flushed, {touched} delayed recipients"), value))
}

async fn suspend(server: &Server, filter: &Filter, others: &Others<'_>, asker: &Asker) -> Result<Answer, Failure> {
    if !filter.is_of_containers() {
        return Ok(of_containers("suspend"));
    }
    let selector = &filter.entries.selector;
    let rows = server.select(selector).await?;
    let (matched, _) = waiting(&rows);
    let would = if others.mode == Mode::DryRun { "would be" } else { "is" };
    if others.mode == Mode::Real {
        server.suspend(selector, others.span).await?;
        audit(server, asker, "suspend".into(), filter, (matched, matched));
    }
    let end = others.span.map_or("until resumed".to_owned(), |span| format!("for {} s", span.as_secs()));
    let value = json!({
        "operation": "suspend", "dry_run": others.mode == Mode::DryRun, "suspended": selected(selector),
        "queues": rows.len(), "matched": matched, "touched": matched,
    });
    let about = format!("{} {would} suspended {end}: {} queues, {matched} recipients", selected(selector), rows.len());
    Ok(Answer::done(about, value))
}

async fn resume(server: &Server, filter: &Filter, others: &Others<'_>, asker: &Asker) -> Result<Answer, Failure> {
    if !filter.is_of_containers() {
        return Ok(of_containers("resume"));
    }
    let selector = &filter.entries.selector;
    let dry = others.mode == Mode::DryRun;
    let ended = if dry {
        suspensions_of(selector, &server.suspensions().await?)
    } else {
        let ended = server.resume(selector).await?;
        audit(server, asker, "resume".into(), filter, (ended as u64, ended as u64));
        ended
    };
    let would = if dry { "would be " } else { "" };
    let value = json!({ "operation": "resume", "dry_run": dry, "suspensions": ended, "touched": ended });
    Ok(Answer::done(format!("{ended} suspensions {would}ended"), value))
}

fn of_containers(command: &str) -> Answer {
    Answer::refused(format!(
        "queue {command}: a suspension is about whole queues, named by domain, binding and group; `queue delay` lets single \
         messages wait"
    ))
}

fn told(command: &str, mode: Mode, tally: &Tally) -> Answer {
    let done = match command {
        "count" => "waiting",
        "flush" => "flushed",
        "fail" => "failed",
        "reroute" => "rerouted",
        "rebind" => "rebound",
        "delay" => "delayed",
        _ => "exported",
    };
    let Tally { matched, touched, unreadable, refused, step_max, .. } = tally;
    let would = if mode == Mode::DryRun { "would be " } else { "" };
    let mut text = match command {
        "count" => format!("{matched} recipients wait"),
        _ => format!("{touched} of {matched} recipients {would}{done}"),
    };
    if *unreadable > 0 {
        text.push_str(&format!("; {unreadable} left as they are: their message cannot be read or written"));
    }
    if *refused > 0 {
        text.push_str(&format!("; {refused} left as they are: their new way is refused"));
    }
    let value = json!({
        "operation": command, "dry_run": mode == Mode::DryRun, "matched": matched, "touched": touched,
        "unreadable": unreadable, "refused": refused, "step_max_us": step_max.as_micros() as u64,
    });
    Answer::done(text, value)
}

fn list(mut rows: Vec<Listed>, limit: usize) -> Answer {
    rows.truncate(limit);
    let until = |row: &Listed| match row.found.row.place {
        EntryPlace::Active => None,
        EntryPlace::Delayed { until } => Some(until.seconds()),
    };
    let line = |row: &Listed| {
        let (entry, container) = (&row.found.row, &row.found.container);
        let place = until(row).map_or("active".into(), |until| format!("delayed until {until}"));
        format!(
            "{} {}/{} <{}> -> <{}> {} octets, received {}, {} attempts, {place}",
            entry.id.nth(entry.recipient),
            container.binding,
            container.name,
            row.sender,
            row.recipient,
            row.size,
            entry.received.seconds(),
            entry.attempts
        )
    };
    let text: Vec<String> = rows.iter().map(line).collect();
    let value = rows.iter().map(|row| {
        let (entry, container) = (&row.found.row, &row.found.container);
        json!({
            "id": entry.id.nth(entry.recipient).to_string(), "full_id": entry.id.full(), "index": entry.recipient,
            "binding": &*container.binding, "group": container.group.as_deref(), "domain": &*container.name,
            "sender": row.sender, "recipient": row.recipient, "size": row.size, "attempts": entry.attempts,
            "received": entry.received.seconds(), "not_before": until(row),
        })
    });
    Answer::done(text.join("\n"), Value::Array(value.collect()))
}
