//! `posthaste shaping …`: rule files are validated, explained and tried on recorded outcomes; `list` and `clear` are the
//! console's.

use crate::cli::ShapingCommand;
use crate::failure::Failure;
use crate::remote;
use message::UnixMicros;
use serde_json::{Value, json};
use shaping::{
    Action, AttemptOutcome, Decision, Event, Mode, Reduction, Rule, RuleEffect, Rules, Shaper, ShaperSettings, Source,
    Subject, Threshold, WHOLE, duration_text, stage_of_phase, value_text,
};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name that stands for the server's own rules.
const STARTER: &str = "starter";
/// Longest line of a log, octets.
const LINE_MAX: usize = 1 << 20;

/// Runs one of the tools.
pub(crate) fn run(command: &ShapingCommand) -> Result<(), Failure> {
    match command {
        ShapingCommand::List { server } => remote::ask(server, &["shaping".into(), "list".into()]),
        ShapingCommand::Clear { site, binding, server } => {
            let words = ["shaping", "clear", site].map(str::to_owned).into_iter().chain(binding.clone());
            remote::ask(server, &words.collect::<Vec<_>>())
        }
        ShapingCommand::Check { files } => {
            let rules = load(files)?;
            println!("{} rules, valid", rules.len());
            Ok(())
        }
        ShapingCommand::Explain { domain, rules, site, binding, tenant } => {
            let rules = if rules.is_empty() { load(&[PathBuf::from(STARTER)])? } else { load(rules)? };
            let domain = domain.to_ascii_lowercase();
            let site = site.as_deref().unwrap_or(&domain).to_ascii_lowercase();
            explain(&rules, &Subject { domain: &domain, site: &site, binding, tenant });
            Ok(())
        }
        ShapingCommand::Simulate { paths, json } => {
            let (log, files) = paths.split_last().ok_or_else(|| Failure::new("no log to simulate with"))?;
            simulate(load(files)?, log, if *json { Form::Json } else { Form::Text })
        }
    }
}

fn load(files: &[PathBuf]) -> Result<Rules, Failure> {
    let mut texts = vec![];
    for file in files.iter().filter(|file| file.as_os_str() != STARTER) {
        let name = file.display().to_string();
        let text =
            std::fs::read_to_string(file).map_err(|error| Failure::caused(format!("cannot read {name}"), &error))?;
        texts.push((file, name, text));
    }
    let sources = files.iter().map(|file| match texts.iter().find(|(path, _, _)| *path == file) {
        Some((_, name, text)) => Source { name, text },
        None => Rules::starter(),
    });
    Rules::parse(&sources.collect::<Vec<_>>()).map_err(|errors| {
        eprintln!("{errors}");
        Failure::silent()
    })
}

fn explain(rules: &Rules, subject: &Subject<'_>) {
    let mut none = true;
    for rule in rules.about(subject) {
        none = false;
        let dry = if rule.effect == RuleEffect::DryRun { ", dry run" } else { "" };
        println!("{} ({}:{}, priority {}{dry})", rule.name, rule.origin.0, rule.origin.1, rule.priority);
        println!("  when    {}", threshold_text(rule));
        if let Some(text) = &rule.replies.text {
            println!("  text    {text}");
        }
        for action in &rule.actions {
            println!("  does    {}", action_text(action));
        }
    }
    if none {
        println!("no rule is about {}", subject.domain);
    }
}

fn threshold_text(rule: &Rule) -> String {
    let scope = rule.scope.word();
    match rule.threshold {
        Threshold::Immediate if rule.warm_up().is_some() => format!("at every delivery, for a {scope}"),
        Threshold::Immediate => format!("at once, for a {scope}"),
        Threshold::Count { count, period } => format!("{count} in {}, for a {scope}", duration_text(period)),
        Threshold::Share { permille, period, at_least } => {
            let (whole, tenth) = (permille / 10, permille % 10);
            let period = duration_text(period);
            format!("{whole}.{tenth}% of at least {at_least} attempts in {period}, for a {scope}")
        }
    }
}

fn action_text(action: &Action) -> String {
    match action {
        Action::Suspend(lasts) => format!("suspends for {}", duration_text(*lasts)),
        Action::Connections(reduction) => format!("connections {}", reduction_text(reduction)),
        Action::Rate(reduction) => format!("rate {}", reduction_text(reduction)),
        Action::Set(option, value, lasts) => {
            format!("sets {} to {} for {}", option.word(), value_text(*option, *value), duration_text(*lasts))
        }
        Action::Rewrite(rewrite) => format!("takes the reply for {rewrite}"),
        Action::WarmUp(warm_up) => {
            let (first, last) = (warm_up.days.first().unwrap_or(&0), warm_up.days.last().unwrap_or(&0));
            format!("warms up over {} days, from {first} to {last} messages a day", warm_up.days.len())
        }
    }
}

fn reduction_text<T: std::fmt::Display>(reduction: &Reduction<T>) -> String {
    match reduction {
        Reduction::Factor { factor, floor, recovery } => format!(
            "to {}% of what they are, not below {floor}; back by {}% every {}",
            percent(*factor),
            percent(recovery.step),
            duration_text(recovery.every)
        ),
        Reduction::To { value, lasts } => format!("to {value} for {}", duration_text(*lasts)),
    }
}

fn percent(part: u32) -> f64 {
    f64::from(part) * 100.0 / f64::from(WHOLE)
}

/// How decisions are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// Tells what rules would have decided. The log has one outcome a line, in order of time: `{"at": 1800000000.5,
/// "domain": "gmail.com", "site": "…", "binding": "a", "tenant": "…", "phase": "body", "code": 421, "text": "…",
/// "count": 1}`; `at` (seconds), `domain` and `code` are needed.
fn simulate(rules: Rules, log: &Path, form: Form) -> Result<(), Failure> {
    let name = log.display();
    let file = std::fs::File::open(log).map_err(|error| Failure::caused(format!("cannot read {name}"), &error))?;
    let mut reader = BufReader::new(file);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let settings = ShaperSettings { mode: Mode::DryRun, ..ShaperSettings::default() };
    let mut shaper = Shaper::new(Arc::new(rules), settings);
    let mut line = vec![];
    let (mut number, mut bad, mut outcomes) = (0_u64, 0_u64, 0_u64);
    loop {
        line.clear();
        let read = std::io::Read::take(&mut reader, LINE_MAX as u64).read_until(b'\n', &mut line);
        if read.map_err(|error| Failure::caused(format!("cannot read {name}"), &error))? == 0 {
            break;
        }
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match observe(&mut shaper, &line) {
            Ok(decisions) => {
                outcomes += 1;
                for decision in decisions {
                    print(&mut out, &decision, form)?;
                }
            }
            Err(message) => {
                bad += 1;
                eprintln!("{name}:{number}: {message}");
            }
        }
    }
    out.flush().map_err(|error| Failure::caused("cannot print", &error))?;
    eprintln!("{outcomes} outcomes, {} decisions, {bad} bad lines", shaper.counts().told);
    if bad > 0 { Err(Failure::silent()) } else { Ok(()) }
}

/// One line of a log.
fn observe(shaper: &mut Shaper, line: &[u8]) -> Result<Vec<Decision>, String> {
    let row: Value = serde_json::from_slice(line).map_err(|error| format!("not a JSON object: {error}"))?;
    let text = |key: &str| row[key].as_str().unwrap_or("");
    let lower = |key: &str| text(key).to_ascii_lowercase();
    let seconds = row["at"].as_f64().filter(|seconds| (0.0..1e12).contains(seconds));
    let at = UnixMicros((seconds.ok_or("`at` is not a number of seconds since 1970")? * 1e6) as u64);
    let code = row["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (200..600).contains(code)).ok_or("`code` is not a reply code from 200 to 599")?;
    let (domain, mut site, binding, tenant) = (lower("domain"), lower("site"), text("binding"), text("tenant"));
    if domain.is_empty() {
        return Err("`domain` is missing".to_owned());
    }
    if site.is_empty() {
        site.clone_from(&domain);
    }
    let stage = match text("phase") {
        "" => message::Stage::Unknown,
        word => stage_of_phase(word).ok_or_else(|| format!("`phase` \"{word:.20}\" is none of the phases of rules"))?,
    };
    let outcome = match code {
        ..400 => AttemptOutcome::Delivered,
        code => AttemptOutcome::Failed { stage, code, text: text("text") },
    };
    let weight = row["count"].as_u64().map_or(1, |count| u32::try_from(count).unwrap_or(u32::MAX)).max(1);
    let subject = Subject { domain: &domain, site: &site, binding, tenant };
    let mut decisions: Vec<Decision> = std::iter::from_fn(|| shaper.poll_ended(at)).collect();
    decisions.extend(shaper.observe(at, &Event { subject, outcome, weight }).decisions);
    Ok(decisions)
}

fn print(out: &mut impl std::io::Write, decision: &Decision, form: Form) -> Result<(), Failure> {
    let result = match form {
        Form::Text => writeln!(out, "{:.3} {decision}", decision.at.0 as f64 / 1e6),
        Form::Json => writeln!(out, "{}", row(decision)),
    };
    result.map_err(|error| Failure::caused("cannot print", &error))
}

/// A decision for programs.
fn row(decision: &Decision) -> Value {
    let evidence = decision.evidence.as_ref().map(|evidence| {
        json!({
            "matched": evidence.matched, "tried": evidence.tried, "domain": evidence.domain, "code": evidence.code,
            "text": evidence.text,
        })
    });
    json!({
        "at": decision.at.0 as f64 / 1e6, "rule": &*decision.rule, "effect": decision.effect.word(),
        "scope": decision.scope.kind.word(), "site": decision.scope.site, "binding": decision.scope.binding,
        "tenant": decision.scope.tenant, "change": decision.change.to_string(), "evidence": evidence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shaper() -> Shaper {
        let rules = load(&[PathBuf::from(STARTER)]).unwrap_or_else(|_| panic!("the server's own rules are sound"));
        Shaper::new(Arc::new(rules), ShaperSettings { mode: Mode::DryRun, ..ShaperSettings::default() })
    }

    fn told(shaper: &mut Shaper, at: u32) -> Vec<String> {
        let line = json!({
            "at": f64::from(at), "domain": "GMAIL.com", "binding": "a", "code": 421, "phase": "body",
            "text": "4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address.",
        });
        let decisions = observe(shaper, line.to_string().as_bytes()).expect("a sound line");
        decisions.iter().map(|decision| row(decision)["change"].to_string()).collect()
    }

    #[test]
    fn recorded_outcomes_are_decided_upon() {
        let mut shaper = shaper();
        assert!(told(&mut shaper, 1_800_000_000).is_empty());
        assert!(told(&mut shaper, 1_800_000_001).is_empty());
        let changes = told(&mut shaper, 1_800_000_002);
        assert_eq!(changes[0], "\"connections 100% to 50%\"");
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        let mut shaper = shaper();
        for (line, message) in [
            ("x", "not a JSON object"),
            ("[]", "`at` is not"),
            ("{\"at\": 1}", "`code` is not"),
            ("{\"at\": 1, \"code\": 421}", "`domain` is missing"),
            ("{\"at\": 1, \"code\": 421, \"domain\": \"a\", \"phase\": \"b\"}", "`phase` \"b\""),
        ] {
            let error = observe(&mut shaper, line.as_bytes()).expect_err(line);
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
