//! Since when a binding sends.

use super::{Kind, OptionValue, malformed, toml_string};
use crate::error::Problem;

/// Most days of a month, from January; February has 28 but in leap years.
const MONTH_DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// A binding, and the first day on which its addresses sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BindingAge {
    /// The binding's name.
    pub binding: Box<str>,
    /// The day as written: `2026-11-01`.
    day: Box<str>,
    /// The day, counted from 1970-01-01.
    pub days: u32,
}

impl BindingAge {
    /// The first second of the day, since 1970-01-01, UTC.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        u64::from(self.days) * 86_400
    }
}

/// Days from 1970-01-01 to a date such as `2026-11-01`.
fn days(text: &str) -> Option<u32> {
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<u32>().ok();
    let digits = text.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if text.len() != 10 || !digits {
        return None;
    }
    let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
    let is_leap = |year: u32| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let length = |month: u32| MONTH_DAYS[month as usize - 1] + u32::from(month == 2 && is_leap(year));
    if year < 1970 || !(1..=12).contains(&month) || !(1..=length(month)).contains(&day) {
        return None;
    }
    let years: u32 = (1970..year).map(|year| 365 + u32::from(is_leap(year))).sum();
    Some(years + (1..month).map(length).sum::<u32>() + day - 1)
}

impl OptionValue for BindingAge {
    const KIND: Kind = Kind::new("binding and day", "the binding and the day, such as \"news 2026-11-01\"");

    fn from_text(text: &str) -> Result<Self, Problem> {
        let parts = text.split_once(' ').and_then(|(binding, day)| Some((binding, day, days(day)?)));
        match parts {
            Some((binding, day, days)) if !binding.is_empty() => {
                Ok(BindingAge { binding: binding.into(), day: day.into(), days })
            }
            Some(_) | None => Err(malformed(&Self::KIND, text)),
        }
    }

    fn to_toml(&self) -> String {
        toml_string(&format!("{} {}", self.binding, self.day))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_day_of_the_calendar() {
        let days = |text| BindingAge::from_text(text).ok().map(|age| age.days);
        assert_eq!(days("a 1970-01-01"), Some(0));
        assert_eq!(days("a 2000-03-01"), Some(11_017));
        assert_eq!(days("a 2026-11-01"), Some(20_758));
        for bad in ["", "a", "2026-11-01", " 2026-11-01", "a 2026-02-29", "a 2026-13-01", "a 26-11-01", "a 2026-11-1x"]
        {
            assert_eq!(days(bad), None, "{bad}");
        }
        assert_eq!(days("a 2024-02-29"), Some(19_782));
    }
}
