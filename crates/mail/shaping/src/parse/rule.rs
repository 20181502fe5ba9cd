//! One `[[rule]]`: its own keys, and what must not stand together.

use crate::parse::{Bounds, action, condition};
use crate::quantity::{DURATION_MAX, Threshold, excerpt};
use crate::report::{Report, Section};
use crate::rule::{Action, Audience, Further, Replies, Rewrite, Rule, RuleEffect};
use crate::scope::ScopeKind;
use std::collections::HashMap;
use std::time::Duration;

/// Longest name, octets.
const RULE_NAME_MAX: usize = 64;
const COOL_DOWN: Duration = Duration::from_secs(60);
/// Fewer attempts than this prove no share.
const AT_LEAST: i64 = 100;
/// Whose rules need a confirmation.
const EVERYTHING: &str = "everything";

pub(crate) fn read(
    mut section: Section<'_>,
    bounds: &Bounds,
    providers: &HashMap<String, Audience>,
    report: &mut Report<'_>,
) -> Option<Rule> {
    let errors = report.errors.len();
    let name = read_name(&mut section, report)?;
    section.object = format!("rule \"{name}\"");
    let audience = read_audience(&mut section, providers, report);
    let replies = condition::replies(&mut section, report);
    let threshold = read_threshold(&mut section, report);
    let actions = action::read(&mut section, bounds, report);
    let rule = Rule {
        origin: (report.file.clone(), report.line(section.at)),
        name: name.into(),
        priority: section.integer(report, "priority", (-1_000_000, 1_000_000)).map_or(0, |(number, _)| number as i32),
        audience,
        replies,
        threshold,
        scope: read_scope(&mut section, report),
        cool_down: section.duration(report, "cool_down", DURATION_MAX).map_or(COOL_DOWN, |(time, _)| time),
        actions,
        effect: match section.flag(report, "dry_run") {
            Some(true) => RuleEffect::DryRun,
            Some(false) | None => RuleEffect::Applied,
        },
        further: match section.flag(report, "stop") {
            Some(true) => Further::Stop,
            Some(false) | None => Further::Pass,
        },
    };
    let confirmed = read_confirmation(&mut section, report);
    if report.errors.len() == errors {
        check(&rule, confirmed, &section, report);
    }
    section.finish(report);
    (report.errors.len() == errors).then_some(rule)
}

fn read_name(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<String> {
    if !section.has("name") {
        report.error(section.at, &section.object, "a rule without a name cannot be told of; write name = \"…\"");
        return None;
    }
    let sound = |text: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (!text.is_empty() && text.len() <= RULE_NAME_MAX && text.bytes().all(letter))
            .then(|| text.to_owned())
            .ok_or_else(|| format!("\"{}\" is not up to {RULE_NAME_MAX} letters, digits, - _ and .", excerpt(text)))
    };
    section.parsed(report, "name", sound).map(|(name, _)| name)
}

fn read_audience(
    section: &mut Section<'_>,
    providers: &HashMap<String, Audience>,
    report: &mut Report<'_>,
) -> Audience {
    let mut audience = Audience {
        domains: condition::domains(section, report, "domains"),
        sites: condition::domains(section, report, "sites"),
        bindings: condition::labels(section, report, "bindings"),
        tenants: condition::labels(section, report, "tenants"),
    };
    let Some((name, at)) = section.string(report, "provider") else { return audience };
    match providers.get(name) {
        Some(provider) => {
            audience.domains.extend_from_slice(&provider.domains);
            audience.sites.extend_from_slice(&provider.sites);
        }
        None => section.wrong(report, at, "provider", format_args!("there is no [provider.{}]", excerpt(name))),
    }
    audience
}

fn read_threshold(section: &mut Section<'_>, report: &mut Report<'_>) -> Threshold {
    let at_least = section.integer(report, "at_least", (1, i64::from(u32::MAX)));
    let attempts = at_least.map_or(AT_LEAST, |(number, _)| number) as u32;
    let threshold = section.parsed(report, "when", |text| Threshold::parse(text, attempts));
    let threshold = threshold.map_or(Threshold::Immediate, |(threshold, _)| threshold);
    if let (Some((_, at)), Threshold::Immediate | Threshold::Count { .. }) = (at_least, threshold) {
        section.wrong(report, at, "at_least", "goes with a share only, as in when = \"5%/10m\"");
    }
    threshold
}

fn read_scope(section: &mut Section<'_>, report: &mut Report<'_>) -> ScopeKind {
    let word = section.parsed(report, "scope", |text| {
        let words = ScopeKind::ALL.map(ScopeKind::word).join(", ");
        ScopeKind::from_word(text).ok_or_else(|| format!("\"{}\" is none of {words}", excerpt(text)))
    });
    word.map_or(ScopeKind::BindingSite, |(kind, _)| kind)
}

/// Whether a rule that suspends everything is meant.
enum Confirmation {
    Given,
    Missing,
}

fn read_confirmation(section: &mut Section<'_>, report: &mut Report<'_>) -> Confirmation {
    let word = section.parsed(report, "confirm", |text| match text {
        EVERYTHING => Ok(()),
        _ => Err(format!("\"{}\" confirms nothing; write \"{EVERYTHING}\"", excerpt(text))),
    });
    if word.is_some() { Confirmation::Given } else { Confirmation::Missing }
}

/// What must not stand together.
fn check(rule: &Rule, confirmed: Confirmation, section: &Section<'_>, report: &mut Report<'_>) {
    let mut wrong = |message: String| report.error(section.at, &section.object, message);
    if rule.actions.is_empty() {
        wrong("it does nothing; write suspend, connections, rate, set, rewrite or warm_up".to_owned());
        return;
    }
    if rule.warm_up().is_some() {
        let counts = section.has("when") || !rule.replies.is_any();
        if counts || rule.actions.len() > 1 {
            wrong(
                "a warm-up holds for every message; replies, thresholds and other actions need another rule".to_owned(),
            );
        }
        if rule.scope != ScopeKind::BindingSite {
            wrong("a warm-up is of a binding at a site; leave out `scope`".to_owned());
        }
        return;
    }
    if rule.replies.is_any() && !matches!(rule.threshold, Threshold::Share { .. }) {
        wrong(
            "it counts every failure; write codes, enhanced, phase or text, or a share as in when = \"5%/10m\""
                .to_owned(),
        );
    }
    let suspends = rule.actions.iter().any(|action| matches!(action, Action::Suspend(_)));
    if suspends && rule.is_about_everybody() && matches!(confirmed, Confirmation::Missing) {
        wrong(format!(
            "it would suspend every domain; write domains, sites or provider, or confirm = \"{EVERYTHING}\" if it is meant"
        ));
    }
    check_rewrite(rule, &mut wrong);
}

/// A rewrite of replies that are so already, or of whatever comes.
fn check_rewrite(rule: &Rule, wrong: &mut impl FnMut(String)) {
    let rewrite = rule.actions.iter().find_map(|action| match action {
        Action::Rewrite(rewrite) => Some(*rewrite),
        _ => None,
    });
    let Some(rewrite) = rewrite else { return };
    let (word, class, needed) = match rewrite {
        Rewrite::ToTransient => ("transient", 4, 5),
        Rewrite::ToPermanent => ("permanent", 5, 4),
    };
    let Replies { codes, enhanced, text, .. } = &rule.replies;
    let classes: Vec<u16> = match (codes.is_empty(), enhanced.is_empty()) {
        (true, true) => vec![],
        (true, false) => enhanced.iter().map(|status| u16::from(status.class)).collect(),
        (false, _) => codes.iter().map(|codes| codes.first / 100).collect(),
    };
    if !classes.is_empty() && classes.iter().all(|other| *other == class) {
        wrong(format!("replies of class {class} are {word} already; rewrite those of class {needed}"));
    }
    if rewrite == Rewrite::ToPermanent
        && text.is_none()
        && enhanced.is_empty()
        && codes.iter().all(|c| c.first != c.last)
    {
        wrong("it would give up all mail of a class of replies; write enhanced or text".to_owned());
    }
    if rule.actions.len() == 1 && !matches!(rule.threshold, Threshold::Immediate) {
        wrong("a rewrite is done for every reply that matches; leave out `when`".to_owned());
    }
}
