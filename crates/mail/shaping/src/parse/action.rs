//! What a rule does: the keys `suspend`, `connections`, `rate`, `set`, `rewrite` and `warm_up`.

use crate::parse::Bounds;
use crate::quantity::{DURATION_MAX, Rate, excerpt};
use crate::report::{Report, Section, bounded_duration, integer};
use crate::rule::{Action, Recovery, Reduction, Rewrite, ShapedOption, WarmUp};
use std::time::Duration;
use toml::de::DeValue;

/// A tenth of the whole.
const STEP: u32 = 100_000;
const EVERY: Duration = Duration::from_secs(300);
/// Most days of a ramp.
const DAYS_MAX: usize = 366;

/// All actions of a rule, in a fixed order.
pub(crate) fn read(section: &mut Section<'_>, bounds: &Bounds, report: &mut Report<'_>) -> Vec<Action> {
    let mut actions = vec![];
    if let Some((lasts, _)) = section.duration(report, "suspend", bounds.suspend_max) {
        actions.push(Action::Suspend(lasts));
    }
    if let Some(table) = section.table(report, "connections") {
        actions.extend(connections(table, bounds, report).map(Action::Connections));
    }
    if let Some(table) = section.table(report, "rate") {
        actions.extend(rate(table, bounds, report).map(Action::Rate));
    }
    if let Some(table) = section.table(report, "set") {
        actions.extend(settings(table, report));
    }
    let rewrite = section.parsed(report, "rewrite", |text| match text {
        "transient" => Ok(Rewrite::ToTransient),
        "permanent" => Ok(Rewrite::ToPermanent),
        _ => Err(format!("\"{}\" is neither \"transient\" nor \"permanent\"", excerpt(text))),
    });
    actions.extend(rewrite.map(|(rewrite, _)| Action::Rewrite(rewrite)));
    if let Some(table) = section.table(report, "warm_up") {
        actions.extend(warm_up(table, report).map(Action::WarmUp));
    }
    actions
}

/// What `connections` and `rate` have in common.
enum Way {
    Factor(u32, Recovery),
    To(Duration),
}

fn connections(mut table: Section<'_>, bounds: &Bounds, report: &mut Report<'_>) -> Option<Reduction<u32>> {
    let range = (i64::from(bounds.connections_floor), i64::from(u32::MAX));
    let to = table.integer(report, "to", range).map(|(number, _)| number as u32);
    let floor = table.integer(report, "floor", range).map(|(number, _)| number as u32);
    let way = way(table, to.is_some(), floor.is_some(), report)?;
    Some(match way {
        Way::Factor(factor, recovery) => {
            Reduction::Factor { factor, floor: floor.unwrap_or(bounds.connections_floor), recovery }
        }
        Way::To(lasts) => Reduction::To { value: to?, lasts },
    })
}

fn rate(mut table: Section<'_>, bounds: &Bounds, report: &mut Report<'_>) -> Option<Reduction<Rate>> {
    let read = |text: &str| match Rate::parse(text)? {
        rate if rate < bounds.rate_floor => {
            Err(format!("\"{}\" is below the floor of all rates, \"{}\"", excerpt(text), bounds.rate_floor))
        }
        rate => Ok(rate),
    };
    let to = table.parsed(report, "to", read).map(|(rate, _)| rate);
    let floor = table.parsed(report, "floor", read).map(|(rate, _)| rate);
    let way = way(table, to.is_some(), floor.is_some(), report)?;
    Some(match way {
        Way::Factor(factor, recovery) => {
            Reduction::Factor { factor, floor: floor.unwrap_or(bounds.rate_floor), recovery }
        }
        Way::To(lasts) => Reduction::To { value: to?, lasts },
    })
}

/// `factor` with `step` and `every`, or `to` with `for`: one of the two.
fn way(mut table: Section<'_>, to: bool, floor: bool, report: &mut Report<'_>) -> Option<Way> {
    let factor = table.fraction(report, "factor");
    let step = table.fraction(report, "step");
    let every = table.duration(report, "every", DURATION_MAX).map(|(every, _)| every);
    let lasts = table.duration(report, "for", DURATION_MAX).map(|(lasts, _)| lasts);
    let (has_factor, has_to) = (table.has("factor"), table.has("to"));
    let (at, object) = (table.at, table.object.clone());
    let mut wrong = |message: &str| report.error(at, &object, message);
    let relative = table.has("step") || table.has("every") || floor;
    let way = match (has_factor, has_to) {
        (true, true) => {
            wrong("both `factor` and `to`; a limit goes to a share or to a number");
            None
        }
        (false, false) => {
            wrong("neither `factor` nor `to`; write { factor = 0.5 } or { to = 5, for = \"1h\" }");
            None
        }
        (true, false) if lasts.is_some() => {
            wrong("`for` goes with `to`; a factor comes back by `step` and `every`");
            None
        }
        (true, false) => {
            let recovery = Recovery { step: step.unwrap_or(STEP), every: every.unwrap_or(EVERY) };
            factor.map(|factor| Way::Factor(factor, recovery))
        }
        (false, true) if relative => {
            wrong("`floor`, `step` and `every` go with `factor`; a number stays for its time");
            None
        }
        (false, true) if lasts.is_none() => {
            wrong("`to` without `for` would never end; write for = \"1h\"");
            None
        }
        (false, true) => lasts.filter(|_| to).map(Way::To),
    };
    table.finish(report);
    way
}

fn settings(mut table: Section<'_>, report: &mut Report<'_>) -> Vec<Action> {
    let lasts = table.duration(report, "for", DURATION_MAX).map(|(lasts, _)| lasts);
    if !table.has("for") {
        report.error(table.at, &table.object, "without `for` it would never end; write for = \"1h\"");
    }
    let mut values = vec![];
    for option in ShapedOption::ALL {
        let Some(value) = table.value(option.word()) else { continue };
        match setting(option, value.get_ref()) {
            Ok(number) => values.push((option, number)),
            Err(message) => table.wrong(report, value.span().start, option.word(), message),
        }
    }
    if !ShapedOption::ALL.iter().any(|option| table.has(option.word())) {
        let words = ShapedOption::ALL.map(ShapedOption::word).join(", ");
        report.error(table.at, &table.object, format!("no option to set; there are {words}"));
    }
    table.finish(report);
    let Some(lasts) = lasts else { return vec![] };
    values.into_iter().map(|(option, value)| Action::Set(option, value, lasts)).collect()
}

fn setting(option: ShapedOption, value: &DeValue<'_>) -> Result<u32, String> {
    let (min, max) = option.range();
    match value.as_str() {
        Some(text) if option.is_duration() => {
            let max = Duration::from_secs(u64::from(max));
            bounded_duration(text, max).map(|value| value.as_secs() as u32)
        }
        _ => integer(value, (i64::from(min), i64::from(max))).map(|number| number as u32),
    }
}

/// `days`, or `first`, `factor` and `count`.
fn warm_up(mut table: Section<'_>, report: &mut Report<'_>) -> Option<WarmUp> {
    let since = since(&mut table, report);
    let (listed, formula) = (table.has("days"), table.has("first") || table.has("growth") || table.has("count"));
    let days = match (listed, formula) {
        (true, false) => listed_days(&mut table, report),
        (false, true) => formula_days(&mut table, report),
        _ => {
            let message = "write either days = [50, 100, …] or first = 50, growth = 1.5 and count = 30";
            report.error(table.at, &table.object, message);
            None
        }
    };
    for key in ["days", "first", "growth", "count"] {
        table.value(key);
    }
    table.finish(report);
    Some(WarmUp { days: days?.into(), since })
}

fn listed_days(table: &mut Section<'_>, report: &mut Report<'_>) -> Option<Vec<u32>> {
    let value = table.value("days")?;
    let at = value.span().start;
    let Some(list) = value.get_ref().as_array() else {
        table.wrong(report, at, "days", "not a list of numbers");
        return None;
    };
    if list.is_empty() || list.len() > DAYS_MAX {
        table.wrong(report, at, "days", format_args!("a ramp has 1 to {DAYS_MAX} days"));
        return None;
    }
    let mut days: Vec<u32> = vec![];
    for item in list.iter() {
        match integer(item.get_ref(), (1, i64::from(u32::MAX))) {
            Ok(number) if days.last().is_some_and(|last| number < i64::from(*last)) => {
                table.wrong(report, item.span().start, "days", format_args!("{number} is below the day before"));
                return None;
            }
            Ok(number) => days.push(number as u32),
            Err(message) => {
                table.wrong(report, item.span().start, "days", message);
                return None;
            }
        }
    }
    Some(days)
}

fn formula_days(table: &mut Section<'_>, report: &mut Report<'_>) -> Option<Vec<u32>> {
    let first = table.integer(report, "first", (1, i64::from(u32::MAX)));
    let count = table.integer(report, "count", (1, DAYS_MAX as i64));
    let growth = table.value("growth").and_then(|value| {
        let number = value.get_ref().as_float().and_then(|float| float.as_str().parse::<f64>().ok());
        let sound = number.filter(|number| (1.0..=10.0).contains(number));
        if sound.is_none() {
            table.wrong(report, value.span().start, "growth", "not a number from 1.0 to 10.0");
        }
        sound
    });
    for key in ["first", "growth", "count"] {
        if !table.has(key) {
            report.error(table.at, &table.object, format!("`{key}` is missing"));
        }
    }
    let (first, count, growth) = (first?.0 as f64, count?.0, growth?);
    // A conversion of a float saturates.
    Some((0..count).map(|day| (first * growth.powi(day as i32)) as u32).collect())
}

/// A TOML date as days since 1970-01-01.
fn since(table: &mut Section<'_>, report: &mut Report<'_>) -> Option<u32> {
    let value = table.value("since")?;
    let date = value.get_ref().as_datetime().filter(|moment| moment.time.is_none()).and_then(|moment| moment.date);
    let days = date.filter(|date| (1970..=2100).contains(&date.year)).map(|date| {
        let (year, month, day) = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
        days_since_epoch(year, month, day)
    });
    if days.is_none() {
        table.wrong(report, value.span().start, "since", "not a date from 1970 to 2100; write since = 2026-11-01");
    }
    days
}

/// Days of the Gregorian calendar, years counted from March so that the leap day is the last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> u32 {
    let years = if month > 2 { year } else { year - 1 };
    let month = (month + 9) % 12;
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (month * 306 + 5) / 10 + day - 1;
    (days - 719_468) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar() {
        for (date, days) in [((1970, 1, 1), 0), ((1970, 3, 1), 59), ((2000, 2, 29), 11_016), ((2026, 11, 25), 20_782)] {
            assert_eq!(days_since_epoch(date.0, date.1, date.2), days, "{date:?}");
        }
    }
}
