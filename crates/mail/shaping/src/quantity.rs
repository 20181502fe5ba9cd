//! Durations, rates and thresholds as a rule file writes them: `"30m"`, `"100/1m"`, `"3/1h"`, `"5%/10m"`. Pure text to
//! typed values; whoever calls knows the place in the file.

use std::fmt;
use std::time::Duration;

/// Units with their seconds, largest first. A text names them in this order, each once.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
/// The longest period or duration that a rule may name.
pub const DURATION_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Most events that a threshold may ask for.
pub const COUNT_MAX: u32 = 1_000_000;
/// Most messages a day that a rate may name: 100,000 a second.
const PER_DAY_MAX: u64 = 100_000 * 86_400;
const SECONDS_PER_DAY: u64 = 86_400;

/// How many messages may leave in a time, kept as messages a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    per_day: u64,
}

/// When the replies that match a rule are enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// The first one.
    Immediate,
    /// So many within a period. Exact for counts up to 8, else blind to at most the oldest eighth of the period.
    Count {
        /// At least 1.
        count: u32,
        /// 1 s to 30 days.
        period: Duration,
    },
    /// So large a share of all attempts within a period.
    Share {
        /// Tenths of a percent, 1 to 1000.
        permille: u16,
        /// 1 s to 30 days.
        period: Duration,
        /// Fewer attempts than this in the period prove nothing.
        at_least: u32,
    },
}

impl Rate {
    /// `messages` a day; at least 1.
    pub fn per_day(messages: u64) -> Self {
        Self { per_day: messages.clamp(1, PER_DAY_MAX) }
    }

    /// Messages a day.
    pub fn messages_per_day(self) -> u64 {
        self.per_day
    }

    /// The time between two messages at this rate.
    pub fn interval(self) -> Duration {
        Duration::from_nanos(SECONDS_PER_DAY * 1_000_000_000 / self.per_day)
    }

    /// Reads `"100/1m"`; `"100"` is a second's.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{}\" is not a rate; write \"100/1m\"", excerpt(text));
        let (count, period) = match text.split_once('/') {
            Some((count, period)) => (count, duration(period).ok_or_else(wrong)?),
            None => (text, Duration::from_secs(1)),
        };
        let count: u64 = count.parse().map_err(|_| wrong())?;
        let per_day = count.checked_mul(SECONDS_PER_DAY).map(|messages| messages / period.as_secs().max(1));
        match per_day {
            Some(per_day @ 1..=PER_DAY_MAX) => Ok(Self { per_day }),
            Some(0) => Err(format!("\"{}\" is less than one message a day", excerpt(text))),
            _ => Err(format!("\"{}\" is more than 100000 messages a second", excerpt(text))),
        }
    }
}

impl fmt::Display for Rate {
    /// In the shortest unit that gives a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().rev().find(|(_, seconds)| (self.per_day * seconds).is_multiple_of(SECONDS_PER_DAY));
        let (name, seconds) = unit.copied().unwrap_or(("d", SECONDS_PER_DAY));
        write!(f, "{}/1{name}", self.per_day * seconds / SECONDS_PER_DAY)
    }
}

impl Threshold {
    /// Reads `"immediately"`, `"3/1h"` or `"5%/10m"`; a share takes `at_least` as it is.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn parse(text: &str, at_least: u32) -> Result<Self, String> {
        if text == "immediately" {
            return Ok(Self::Immediate);
        }
        let wrong =
            || format!("\"{}\" is not a threshold; write \"immediately\", \"3/1h\" or \"5%/10m\"", excerpt(text));
        let (amount, period) = text.split_once('/').ok_or_else(wrong)?;
        let period = duration(period).ok_or_else(wrong)?;
        if period.is_zero() || period > DURATION_MAX {
            return Err(format!("\"{}\": a period is from 1s to 30d", excerpt(text)));
        }
        if let Some(percent) = amount.strip_suffix('%') {
            let permille = tenths(percent).ok_or_else(wrong)?;
            if permille == 0 || permille > 1000 {
                return Err(format!("\"{}\" can never be reached; a share is from 0.1% to 100%", excerpt(text)));
            }
            return Ok(Self::Share { permille, period, at_least });
        }
        let count: u32 = amount.parse().map_err(|_| wrong())?;
        match count {
            0 => Err(format!("\"{}\" would always hold; a count is at least 1", excerpt(text))),
            1..=COUNT_MAX => Ok(Self::Count { count, period }),
            _ => Err(format!("\"{}\" can never be reached; a count is at most {COUNT_MAX}", excerpt(text))),
        }
    }
}

/// Reads `"30m"` or `"1d12h"`; `None` for anything else.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0_u64;
    let mut units = UNITS.as_slice();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        let place = units.iter().position(|(name, _)| name.starts_with(unit))?;
        total = total.checked_add(number.checked_mul(units[place].1)?)?;
        units = &units[place + 1..];
        rest = &rest[digits + unit.len_utf8()..];
    }
    Some(Duration::from_secs(total))
}

/// A duration as [`duration`] reads it, whole seconds.
pub fn duration_text(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in UNITS {
        if rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

/// `"2.5"` as 25.
fn tenths(text: &str) -> Option<u16> {
    let (whole, tenth) = text.split_once('.').unwrap_or((text, "0"));
    let digit = |text: &str| text.len() == 1 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digit(tenth) || whole.is_empty() || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u16 = whole.parse().ok()?;
    whole.checked_mul(10)?.checked_add(tenth.parse().ok()?)
}

/// The first characters of a text that a message repeats, without control characters.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    text.chars().take(CHARACTERS_MAX).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("30m", 1_800), ("1d12h", 129_600), ("1h1s", 3_601)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration_text(Duration::from_secs(129_601)), "1d12h1s");
        for text in ["", "5", "m", "5x", "5m5m", "5m1h", "-5m", "5 m", "99999999999999999999d", "5é"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn rates_are_read_and_written() {
        for (text, written) in
            [("100/1m", "100/1m"), ("5", "5/1s"), ("60/1m", "1/1s"), ("36/1h", "36/1h"), ("7/1d", "7/1d")]
        {
            assert_eq!(Rate::parse(text).unwrap().to_string(), written);
        }
        for text in ["", "0/1h", "1/2d", "x/1h", "5/", "-1/1h", "100001/1s", "99999999999999999/1s"] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
        assert_eq!(Rate::parse("2/1s").unwrap().interval(), Duration::from_millis(500));
    }

    #[test]
    fn thresholds_that_always_or_never_hold_are_refused() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(Threshold::parse("3/1h", 9), Ok(Threshold::Count { count: 3, period: hour }));
        let share = Threshold::Share { permille: 25, period: hour, at_least: 9 };
        assert_eq!(Threshold::parse("2.5%/1h", 9), Ok(share));
        assert_eq!(Threshold::parse("immediately", 9), Ok(Threshold::Immediate));
        for text in ["", "3", "0/1h", "3/0s", "3/31d", "2000000/1h", "0%/1h", "101%/1h", "1.23%/1h", "x%/1h", "3/1y"] {
            assert!(Threshold::parse(text, 9).is_err(), "{text}");
        }
    }
}
