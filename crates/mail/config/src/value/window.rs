//! Windows of the week: `"22:00-06:00"`, `"sat-sun 00:00-24:00"`, in UTC.

use std::fmt;

use super::{Kind, OptionValue, malformed, toml_string};
use crate::error::Problem;

/// A span of the day on some days of the week, in UTC. One that ends before it begins goes on into the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeekWindow {
    /// Bit 0 is Monday.
    days: u8,
    /// Minutes since midnight, below 1440.
    from: u16,
    /// Minutes since midnight, at most 1440.
    to: u16,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const ALL_DAYS: u8 = 0b111_1111;
const DAY_SECONDS: u64 = 86_400;
const WEEK_SECONDS: u64 = 7 * DAY_SECONDS;
/// The epoch began on a Thursday.
const EPOCH_DAY: u64 = 3;

impl WeekWindow {
    /// When the window ends that is open at this moment; both in seconds since the epoch. `None` if it is not open.
    #[must_use]
    pub fn open_until(self, seconds: u64) -> Option<u64> {
        let in_week = (seconds + EPOCH_DAY * DAY_SECONDS) % WEEK_SECONDS;
        let (from, length) = (u64::from(self.from) * 60, self.length_seconds());
        (0..7).filter(|day| self.days & (1 << day) != 0).find_map(|day| {
            let since = (in_week + WEEK_SECONDS - (day * DAY_SECONDS + from)) % WEEK_SECONDS;
            (since < length).then(|| seconds + (length - since))
        })
    }

    fn length_seconds(self) -> u64 {
        let minutes = if self.to > self.from { self.to - self.from } else { self.to + 1440 - self.from };
        u64::from(minutes) * 60
    }

    fn parse(text: &str) -> Option<WeekWindow> {
        let (days, span) = match text.trim().split_once(' ') {
            Some((days, span)) => (parse_days(days)?, span.trim()),
            None => (ALL_DAYS, text.trim()),
        };
        let (from, to) = span.split_once('-')?;
        let (from, to) = (parse_minutes(from)?, parse_minutes(to)?);
        (from < 1440).then_some(WeekWindow { days, from, to })
    }
}

/// When windows that touch each other end, counted from this moment; `None` if none is open. At most one week.
#[must_use]
pub fn closed_until(windows: &[WeekWindow], seconds: u64) -> Option<u64> {
    let mut at = seconds;
    while let Some(end) = windows.iter().filter_map(|window| window.open_until(at)).max() {
        at = end;
        if at - seconds >= WEEK_SECONDS {
            break;
        }
    }
    (at > seconds).then_some(at)
}

fn parse_days(text: &str) -> Option<u8> {
    let day = |name: &str| DAYS.iter().position(|day| *day == name);
    match text.split_once('-') {
        None => day(text).map(|day| 1 << day),
        Some((first, last)) => {
            let (first, last) = (day(first)?, day(last)?);
            let count = (last + 7 - first) % 7 + 1;
            Some((0..count).fold(0, |days, n| days | 1 << ((first + n) % 7)))
        }
    }
}

fn parse_minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number =
        |text: &str| (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok());
    let (hours, minutes): (u16, u16) = (number(hours)??, number(minutes)??);
    (minutes < 60 && hours * 60 + minutes <= 1440).then_some(hours * 60 + minutes)
}

impl fmt::Display for WeekWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != ALL_DAYS {
            // Days follow each other, perhaps across Sunday.
            let has = |day: usize| self.days & (1 << (day % 7)) != 0;
            let first = (0..7).find(|&day| has(day) && !has(day + 6)).unwrap_or(0);
            let count = (0..7).take_while(|n| has(first + n)).count();
            let last = (first + count - 1) % 7;
            match count {
                1 => write!(f, "{} ", DAYS[first])?,
                _ => write!(f, "{}-{} ", DAYS[first], DAYS[last])?,
            }
        }
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, self.to / 60, self.to % 60)
    }
}

impl OptionValue for WeekWindow {
    const KIND: Kind = Kind::new("window of the week", "\"22:00-06:00\" or \"sat-sun 00:00-24:00\", in UTC");

    fn from_text(text: &str) -> Result<Self, Problem> {
        Self::parse(text).ok_or_else(|| malformed(&Self::KIND, text))
    }

    fn to_toml(&self) -> String {
        toml_string(&self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monday, 1 January 2024, 00:00 UTC.
    const MONDAY: u64 = 1_704_067_200;
    const HOUR: u64 = 3600;

    fn window(text: &str) -> WeekWindow {
        WeekWindow::from_text(text).unwrap()
    }

    #[test]
    fn windows_are_read_and_written_back() {
        for text in ["22:00-06:00", "sat-sun 00:00-24:00", "mon 08:30-17:00", "fri-mon 20:00-20:00"] {
            assert_eq!(window(text).to_string(), text);
        }
        assert_eq!(window("mon-sun 00:00-01:00").to_string(), "00:00-01:00");
        for bad in ["", "22:00", "24:00-06:00", "22:00-24:01", "22:60-23:00", "2:00-6:00", "xyz 01:00-02:00", "mon-"] {
            assert!(WeekWindow::from_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_window_is_open_from_its_start_to_before_its_end() {
        let night = window("22:00-06:00");
        assert_eq!(night.open_until(MONDAY), Some(MONDAY + 6 * HOUR));
        assert_eq!(night.open_until(MONDAY + 6 * HOUR), None);
        assert_eq!(night.open_until(MONDAY + 22 * HOUR - 1), None);
        assert_eq!(night.open_until(MONDAY + 22 * HOUR), Some(MONDAY + 30 * HOUR));
        let sunday = window("sun 23:00-01:00");
        assert_eq!(sunday.open_until(MONDAY + HOUR / 2), Some(MONDAY + HOUR), "it began on Sunday");
        assert_eq!(sunday.open_until(MONDAY + 24 * HOUR + HOUR / 2), None);
    }

    #[test]
    fn windows_that_touch_are_one() {
        let weekend = [window("fri 18:00-24:00"), window("sat-sun 00:00-24:00")];
        let friday = MONDAY + 4 * 24 * HOUR + 18 * HOUR;
        assert_eq!(closed_until(&weekend, friday - 1), None);
        assert_eq!(closed_until(&weekend, friday), Some(MONDAY + 7 * 24 * HOUR));
        let always = closed_until(&[window("00:00-24:00")], MONDAY + 5);
        assert!(always.is_some_and(|end| end - MONDAY >= WEEK_SECONDS));
        assert_eq!(closed_until(&[], MONDAY), None);
    }
}
