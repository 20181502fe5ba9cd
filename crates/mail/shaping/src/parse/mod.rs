//! From the text of rule files to rules that cannot be wrong. The format is described in `docs/shaping.md`.

mod action;
mod condition;
mod rule;

pub use condition::stage_of_phase;

use crate::quantity::{DURATION_MAX, Rate, excerpt};
use crate::report::{Report, RuleErrors, Section};
use crate::rule::{Audience, Rule};
use crate::rules::{RULES_MAX, Source};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use toml::de::DeTable;

/// Longest rule file, octets.
const FILE_MAX: usize = 4 << 20;
/// The longest suspension unless `[bounds]` says otherwise.
const SUSPEND_MAX: Duration = Duration::from_secs(7 * 86_400);

/// What all rules of a file keep to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) suspend_max: Duration,
    pub(crate) connections_floor: u32,
    pub(crate) rate_floor: Rate,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { suspend_max: SUSPEND_MAX, connections_floor: 1, rate_floor: Rate::per_day(1_440) }
    }
}

/// What is gathered over all files.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    providers: HashMap<String, Audience>,
    rules: Vec<Rule>,
    names: HashMap<Arc<str>, (Arc<str>, u32)>,
}

pub(crate) fn parse(sources: &[Source<'_>]) -> Result<Vec<Rule>, RuleErrors> {
    let mut gathered = Gathered::default();
    let mut errors = vec![];
    for source in sources {
        let mut report = Report::new(source.name, source.text);
        read_file(source.text, &mut gathered, &mut report);
        report.errors.sort_by_key(|error| (error.line, error.column));
        errors.append(&mut report.errors);
    }
    if errors.is_empty() { Ok(gathered.rules) } else { Err(RuleErrors(errors)) }
}

fn read_file(text: &str, gathered: &mut Gathered, report: &mut Report<'_>) {
    if text.len() > FILE_MAX {
        report.error(0, "", format!("the file has {} octets; {FILE_MAX} are the most", text.len()));
        return;
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        report.error(error.span().map_or(0, |span| span.start), "", error.message().replace('\n', " "));
    }
    if !report.errors.is_empty() {
        return; // Whatever else is said would be an echo.
    }
    let mut top = Section::new(String::new(), 0, document.get_ref());
    let bounds = read_bounds(&mut top, report);
    disable(&mut top, gathered, report);
    read_providers(&mut top, gathered, report);
    read_rules(&mut top, &bounds, gathered, report);
    top.finish(report);
}

fn read_bounds(top: &mut Section<'_>, report: &mut Report<'_>) -> Bounds {
    let mut bounds = Bounds::default();
    let Some(mut section) = top.table(report, "bounds") else { return bounds };
    section.object = "bounds".to_owned();
    if let Some((max, _)) = section.duration(report, "suspend_max", DURATION_MAX) {
        bounds.suspend_max = max;
    }
    if let Some((floor, _)) = section.integer(report, "connections_floor", (1, i64::from(u32::MAX))) {
        bounds.connections_floor = floor as u32;
    }
    if let Some((floor, _)) = section.parsed(report, "rate_floor", Rate::parse) {
        bounds.rate_floor = floor;
    }
    section.finish(report);
    bounds
}

/// Leaves out rules of earlier files.
fn disable(top: &mut Section<'_>, gathered: &mut Gathered, report: &mut Report<'_>) {
    let names = top.strings(report, "disable");
    let gone: HashSet<&str> = names.iter().map(|(name, _)| *name).collect();
    for (name, at) in &names {
        if !gathered.names.contains_key(*name) {
            let message = format!("no earlier file has a rule \"{}\"", excerpt(name));
            top.wrong(report, *at, "disable", message);
        }
    }
    gathered.rules.retain(|rule| !gone.contains(&*rule.name));
    gathered.names.retain(|name, _| !gone.contains(&**name));
}

fn read_providers(top: &mut Section<'_>, gathered: &mut Gathered, report: &mut Report<'_>) {
    let Some(providers) = top.table(report, "provider") else { return };
    for (name, at, value) in providers.entries() {
        let object = format!("provider.{}", excerpt(name));
        let Some(table) = value.get_ref().as_table() else {
            report.error(at, &object, "not a table; write [provider.NAME]");
            continue;
        };
        let mut section = Section::new(object, at, table);
        let audience = Audience {
            domains: condition::domains(&mut section, report, "domains"),
            sites: condition::domains(&mut section, report, "sites"),
            ..Audience::default()
        };
        if !section.has("domains") && !section.has("sites") {
            report.error(at, &section.object, "neither domains nor sites; nothing would be about it");
        }
        if gathered.providers.insert(name.to_owned(), audience).is_some() {
            report.error(at, &section.object, "an earlier file has a provider of this name");
        }
        section.finish(report);
    }
}

fn read_rules(top: &mut Section<'_>, bounds: &Bounds, gathered: &mut Gathered, report: &mut Report<'_>) {
    let Some(value) = top.value("rule") else { return };
    let Some(list) = value.get_ref().as_array() else {
        report.error(value.span().start, "rule", "not a list of tables; write [[rule]]");
        return;
    };
    for item in list.iter() {
        let at = item.span().start;
        let Some(table) = item.get_ref().as_table() else {
            report.error(at, "rule", "not a table; write [[rule]]");
            continue;
        };
        let section = Section::new("rule".to_owned(), at, table);
        let Some(rule) = rule::read(section, bounds, &gathered.providers, report) else { continue };
        let origin = rule.origin.clone();
        if let Some((file, line)) = gathered.names.insert(rule.name.clone(), origin) {
            report.error(at, &format!("rule \"{}\"", rule.name), format!("{file}:{line} has a rule of this name"));
        } else if gathered.rules.len() == RULES_MAX {
            report.error(at, &format!("rule \"{}\"", rule.name), format!("there are more than {RULES_MAX} rules"));
            return;
        } else {
            gathered.rules.push(rule);
        }
    }
}
