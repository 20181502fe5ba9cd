//! Why a queue does not move, in words and as JSON: the one thing that holds it, the section that says so, and when it
//! is looked at again. Used by the console's `queue` commands.

use crate::queues::Explained;
use crate::shaping_console;
use config::Config;
use console::Answer;
use message::{Container, UnixMicros};
use scheduling::{ContainerRow, Pause, Throttled, Wait};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Containers told in one answer.
const TOLD_MAX: usize = 100;

/// Why a queue does not move.
pub(crate) fn wait(wait: &Wait) -> String {
    match wait {
        Wait::Empty => "empty".into(),
        Wait::Moving => "moving".into(),
        Wait::Dialling => "opening a connection".into(),
        Wait::NoPermit => "waits for one of the server's connections: max_connections_out".into(),
        Wait::AtLimit(max) => format!("as many connections as its options allow: max_connections = {max}"),
        Wait::AtSiteLimit { connections, max } => {
            format!(
                "its site has {connections} connections and may have {max} now, which deliveries raise to max_connections"
            )
        }
        Wait::AtSharedLimit { section, max } => {
            format!("as many connections as [{section}] allows in all: shared_max_connections = {max}")
        }
        Wait::Throttled { what: Throttled::Connections, section, until } => {
            format!("connection_rate of [{section}], next connection at {}", until.seconds())
        }
        Wait::Throttled { what: Throttled::Messages, section, until } => {
            format!("message_rate of [{section}], next transaction at {}", until.seconds())
        }
        Wait::Delayed { until } => format!("delayed until {}", until.seconds()),
        Wait::Paused { until, why } => format!("{}, next connection at {}", pause(*why), until.seconds()),
        Wait::Suspended => "suspended by its options".into(),
        Wait::Curfew { until } => format!("curfew until {}", until.seconds()),
        Wait::SuspendedByOperator { until: None } => "suspended by the operator until resumed".into(),
        Wait::SuspendedByOperator { until: Some(until) } => {
            format!("suspended by the operator until {}", until.seconds())
        }
        Wait::Shaped { until } => format!("traffic shaping lets it rest, until {}", until.seconds()),
        Wait::AtShapedLimit(max) => format!("as many connections as traffic shaping allows: {max}"),
        Wait::ShapedRate { until } => format!("rate of traffic shaping, next transaction at {}", until.seconds()),
        Wait::Held => "held by its route".into(),
    }
}

/// What a container that opens no connection waits for.
fn pause(why: Pause) -> &'static str {
    match why {
        Pause::Unreachable => "unreachable",
        Pause::Delayed => "unreachable for so long that its mail is delayed as a whole",
        Pause::NoExit => "the proxy of its binding cannot be used",
        Pause::Unresolved => "held until the DNS answers",
        Pause::HostsFull => "every host has as many connections as it may have",
    }
}

/// The option whose value holds the queue, if it is one.
fn option_of(wait: &Wait) -> Option<&'static str> {
    match wait {
        Wait::AtLimit(_) | Wait::AtSiteLimit { .. } => Some("max_connections"),
        Wait::Suspended => Some("suspend"),
        Wait::Curfew { .. } => Some("curfew"),
        Wait::Held => Some("route"),
        Wait::Delayed { .. } => Some("retry_interval"),
        Wait::Paused { why: Pause::Unreachable, .. } => Some("retry_interval"),
        Wait::Paused { why: Pause::Delayed, .. } => Some("connect_timeout_to_delay"),
        Wait::Paused { why: Pause::NoExit, .. } => Some("egress_proxy"),
        Wait::Paused { why: Pause::HostsFull, .. } => Some("max_connections_per_host"),
        Wait::Paused { why: Pause::Unresolved, .. } => None,
        Wait::AtSharedLimit { .. } | Wait::Throttled { .. } => None,
        Wait::Shaped { .. } | Wait::AtShapedLimit(_) | Wait::ShapedRate { .. } => None,
        Wait::Empty | Wait::Moving | Wait::Dialling | Wait::NoPermit | Wait::SuspendedByOperator { .. } => None,
    }
}

/// The section that gives a container the option which holds it.
fn section<'c>(config: &'c Config, container: &Container, wait: &Wait) -> Option<(&'static str, Option<&'c str>)> {
    let option = option_of(wait)?;
    let group = container.group.as_deref();
    Some((option, config.declaring_section(&container.options, &container.binding, group, option)))
}

/// The answer to `queue why`.
pub(crate) fn answer(domain: &str, all: &[Explained], config: &Config, now: UnixMicros) -> Answer {
    if all.is_empty() {
        return Answer::refused(format!("no queue for `{domain}`: it has no mail here, or the binding is another"));
    }
    let (mut text, mut values) = (String::new(), Vec::new());
    for explained in all.iter().take(TOLD_MAX) {
        tell(&mut text, explained, config, now);
        values.push(value(explained, config));
    }
    if all.len() > TOLD_MAX {
        let _ = writeln!(text, "and {} more; name the binding", all.len() - TOLD_MAX);
    }
    Answer::done(text.trim_end(), Value::Array(values))
}

fn tell(text: &mut String, explained: &Explained, config: &Config, now: UnixMicros) {
    let Explained { row, failure, shaping } = explained;
    let ContainerRow { container, active, delayed, leased, connections, .. } = row;
    let _ = writeln!(
        text,
        "{}/{}: {active} active, {delayed} delayed, {leased} with {connections} connections",
        container.binding, container.name
    );
    if let Some(site) = &row.site {
        let _ = writeln!(text, "  site: {site}");
    }
    let said = match section(config, container, &row.wait) {
        Some((option, Some(section))) => format!(" ({option} of [{section}])"),
        Some((option, None)) => format!(" ({option}, default)"),
        None => String::new(),
    };
    let _ = writeln!(text, "  holds it: {}{said}", wait(&row.wait));
    let _ = match row.looked_at {
        Some(at) if at > now => {
            writeln!(text, "  looked at again: in {} s, at {}", now.until(at).as_secs_f32().ceil(), at.seconds())
        }
        Some(_) => writeln!(text, "  looked at again: now"),
        None => writeln!(text, "  looked at again: when something happens to it"),
    };
    for standing in shaping {
        let _ = writeln!(text, "  traffic shaping: {}", shaping_console::line(standing));
    }
    if let Some(failure) = failure {
        let peer = failure.peer.map_or(String::new(), |peer| format!(" of {peer}"));
        let ago = failure.at.until(now).as_secs();
        let _ = writeln!(text, "  last failure{peer}, {ago} s ago: {}", failure.reply);
    }
}

fn value(explained: &Explained, config: &Config) -> Value {
    let Explained { row, failure, shaping } = explained;
    let said = section(config, &row.container, &row.wait);
    json!({
        "binding": &*row.container.binding, "group": row.container.group.as_deref(), "domain": &*row.container.name,
        "aq": row.active, "dq": row.delayed, "leased": row.leased, "connections": row.connections,
        "site": row.site.as_deref(), "wait": wait(&row.wait), "option": said.map(|(option, _)| option), "section": said.and_then(|(_, section)| section),
        "looked_at": row.looked_at.map(UnixMicros::seconds),
        "shaping": shaping.iter().map(shaping_console::value).collect::<Vec<_>>(),
        "last_failure": failure.as_ref().map(|failure| json!({
            "at": failure.at.seconds(), "reply": failure.reply.to_string(), "peer": failure.peer.map(|peer| peer.to_string()),
        })),
    })
}
