//! `posthaste bounce …`: the classifier for people and programs, without a server.

use crate::bouncing;
use crate::cli::{BounceCommand, RulesArgs};
use crate::failure::Failure;
use bounce::{Classifier, Examiner, Finding, FoundRecipient, Phase, Place, Reason, Rule, Said, Verdict};
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::Path;

/// Runs one of the commands.
pub(crate) fn bounce(command: &BounceCommand) -> Result<(), Failure> {
    match command {
        BounceCommand::Test { reply, domain, host, phase, rules } => test(reply, domain, host, phase.as_deref(), rules),
        BounceCommand::Classify { file, to, key, header, rules } => {
            let seal = bouncing::seal(key)?;
            let classifier = classifier(rules.rules.as_deref())?;
            let examiner = Examiner {
                seal: seal.as_ref(),
                delivered_to: to.as_deref(),
                header: header.as_deref().unwrap_or(bounce::MARK_HEADER),
                ..Examiner::new(&classifier)
            };
            let finding = examiner.examine(&message(file)?);
            println!("{}", if rules.json { finding_json(&finding).to_string() } else { finding_text(&finding) });
            Ok(())
        }
        BounceCommand::Check { file } => {
            let rules = classifier(Some(file))?.rules().iter().filter(|rule| !is_built_in(rule.place())).count();
            println!("{}: valid; {rules} rules", file.display());
            Ok(())
        }
    }
}

fn classifier(file: Option<&Path>) -> Result<Classifier, Failure> {
    bouncing::classifier(&file.map(Path::to_path_buf).into_iter().collect::<Vec<_>>())
}

fn is_built_in(place: &Place) -> bool {
    &*place.file == "built-in"
}

/// A file's octets, or standard input's; no more than count.
fn message(file: &Path) -> Result<Vec<u8>, Failure> {
    let most = bounce::MESSAGE_MAX as u64;
    let mut octets = Vec::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().lock().take(most).read_to_end(&mut octets),
        false => std::fs::File::open(file).and_then(|open| open.take(most).read_to_end(&mut octets)),
    };
    read.map_err(|error| Failure::caused(format!("cannot read {}", file.display()), &error))?;
    Ok(octets)
}

fn test(reply: &str, domain: &str, host: &str, phase: Option<&str>, rules: &RulesArgs) -> Result<(), Failure> {
    let classifier = classifier(rules.rules.as_deref())?;
    let phase = phase.map(known_phase).transpose()?;
    let (domain, host) = (domain.to_ascii_lowercase(), host.to_ascii_lowercase());
    let text = reply.replace("\\n", "\n");
    let said = Said { phase, domain: &domain, host: &host, ..Said::parse(text.as_bytes()) };
    let verdict = classifier.classify(&said);
    let explanation = classifier.explain(&said);
    let class = verdict.class;
    if rules.json {
        let value = json!({
            "class": class.name(), "number": class.number(), "kind": class.kind().name(),
            "code": said.code, "status": said.status.map(|status| status.to_string()),
            "rule": rule_of(&verdict).map(Rule::name), "place": rule_of(&verdict).map(|rule| rule.place().to_string()),
            "why": why(&verdict), "phrases": explanation.phrases, "text": explanation.text,
        });
        println!("{value}");
        return Ok(());
    }
    println!("class:   {} {} ({})", class.number(), class.name(), class.kind());
    match rule_of(&verdict) {
        Some(rule) => println!("rule:    {} at {}", rule.name(), rule.place()),
        None => println!("rule:    none"),
    }
    println!("why:     {}", why(&verdict));
    if !explanation.phrases.is_empty() {
        println!("found:   \"{}\"", explanation.phrases.join("\", \""));
    }
    println!("read as: {}", explanation.text);
    Ok(())
}

fn known_phase(name: &str) -> Result<Phase, Failure> {
    Phase::ALL.into_iter().find(|phase| phase.name() == name).ok_or_else(|| {
        Failure::new(format!("there is no phase `{name}`; there are {}", Phase::ALL.map(Phase::name).join(", ")))
    })
}

fn rule_of<'c>(verdict: &Verdict<'c>) -> Option<&'c Rule> {
    match verdict.reason {
        Reason::Rule(rule) => Some(rule),
        _ => None,
    }
}

fn why(verdict: &Verdict<'_>) -> String {
    match verdict.reason {
        Reason::Rule(rule) if rule.is_domain_specific() => "a rule for this domain or host holds".into(),
        Reason::Rule(_) => "a rule holds".into(),
        Reason::Status(status) => format!("no rule holds; the status code {status} says so"),
        Reason::Code(code) => format!("no rule holds and there is no status code; the reply code {code} says so"),
        Reason::Nothing => "no rule holds, and there is no code to go by".into(),
    }
}

fn recipient_json(found: &FoundRecipient) -> Value {
    json!({
        "action": found.action.name(), "status": found.status.map(|status| status.to_string()), "code": found.code,
        "class": found.class.name(), "number": found.class.number(), "kind": found.class.kind().name(),
        "recipient": found.recipient, "original_recipient": found.original,
        "original_from": found.source.map(bounce::Source::name), "host": found.host, "rule": found.rule,
        "reason": found.reason,
    })
}

fn finding_json(finding: &Finding) -> Value {
    let feedback = finding.feedback.as_ref().map(|feedback| {
        json!({
            "type": feedback.kind, "user_agent": feedback.user_agent, "mail_from": feedback.mail_from,
            "source_ip": feedback.source_ip, "domain": feedback.domain, "incidents": feedback.incidents,
        })
    });
    json!({
        "sort": finding.sort.name(),
        "recipients": finding.recipients.iter().map(recipient_json).collect::<Vec<_>>(),
        "id": finding.origin.as_ref().map(|origin| origin.id.to_string()),
        "forged_marks": finding.forged, "feedback": feedback, "reporter": finding.reporter,
        "envelope_id": finding.envelope_id, "message_id": finding.message_id,
    })
}

fn finding_text(finding: &Finding) -> String {
    let mut text = finding.sort.name().to_owned();
    if let Some(feedback) = &finding.feedback {
        text.push_str(&format!(" ({})", feedback.kind));
    }
    if let Some(origin) = &finding.origin {
        text.push_str(&format!(", sent as {}", origin.id));
    }
    if finding.forged > 0 {
        text.push_str(&format!(", {} forged marks", finding.forged));
    }
    for found in &finding.recipients {
        let name = found.original.as_deref().or(found.recipient.as_deref()).unwrap_or("(unknown)");
        let status = found.status.map_or(String::new(), |status| format!(" {status}"));
        let class = format!("{} {}", found.class.number(), found.class.name());
        text.push_str(&format!("\n<{}>: {}{status} {class}", plain(name), found.action.name()));
        if !found.reason.is_empty() {
            text.push_str(&format!(": {}", plain(&found.reason)));
        }
    }
    text
}

/// A text of others for a terminal: no control characters.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
