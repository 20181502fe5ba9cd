//! Rates: `"100/s"`, `"6000/m"`, `"50000/h"`, `"10/5s"`, or `"none"`.

use std::time::Duration;

use super::{Kind, OptionValue, malformed, toml_string, wrong_type};
use crate::error::Problem;
use crate::toml::Item;

/// So many in a period; none is any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many; 0 is any number.
    pub count: u32,
    /// In which time; at least a millisecond.
    pub period: Duration,
}

impl Rate {
    /// Any number.
    pub const NONE: Rate = Rate { count: 0, period: Duration::from_secs(1) };

    /// Whether there is a limit.
    #[must_use]
    pub const fn is_limit(self) -> bool {
        self.count > 0
    }
}

/// Longest period.
const PERIOD_MAX: Duration = Duration::from_secs(30 * 86_400);

impl OptionValue for Rate {
    const KIND: Kind = Kind::new("rate", "\"100/s\", \"6000/m\", \"50000/h\", \"10/5s\" or \"none\"");

    fn from_item(item: &Item) -> Result<Self, Problem> {
        match item {
            Item::Text(text) => Self::from_text(text),
            Item::Integer(count) => Err(wrong_type(&Self::KIND, item).propose(Some(format!("\"{count}/s\"")))),
            other => Err(wrong_type(&Self::KIND, other)),
        }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        if text == "none" {
            return Ok(Rate::NONE);
        }
        let problem = || malformed(&Self::KIND, text);
        let (count, period) = text.split_once('/').ok_or_else(problem)?;
        let count = count.trim().parse().ok().filter(|&count| count > 0).ok_or_else(problem)?;
        let period = period.trim();
        // A unit alone is one of it.
        let whole = if period.starts_with(|letter: char| letter.is_ascii_digit()) { "" } else { "1" };
        let period = Duration::from_text(&format!("{whole}{period}")).map_err(|_| problem())?;
        if period.is_zero() || period > PERIOD_MAX {
            return Err(problem());
        }
        Ok(Rate { count, period })
    }

    fn to_toml(&self) -> String {
        if !self.is_limit() {
            return toml_string("none");
        }
        let period = self.period.to_toml();
        let period = period.trim_matches('"');
        let unit = match period {
            "1ms" | "1s" | "1m" | "1h" | "1d" => &period[1..],
            other => other,
        };
        toml_string(&format!("{}/{unit}", self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written_back() {
        for (text, count, period_ms, written) in [
            ("100/s", 100, 1000, "100/s"),
            ("6000/1m", 6000, 60_000, "6000/m"),
            ("50 / h", 50, 3_600_000, "50/h"),
            ("10/5s", 10, 5000, "10/5s"),
            ("1/1m30s", 1, 90_000, "1/1m30s"),
            ("7/w", 7, 604_800_000, "7/7d"),
        ] {
            let rate = Rate::from_text(text).unwrap();
            assert_eq!((rate.count, rate.period), (count, Duration::from_millis(period_ms)), "{text}");
            assert_eq!(rate.to_toml(), format!("\"{written}\""));
            assert_eq!(Rate::from_text(written).unwrap(), rate);
        }
        assert_eq!(Rate::from_text("none").unwrap(), Rate::NONE);
        assert_eq!(Rate::NONE.to_toml(), "\"none\"");
        for bad in ["", "100", "/s", "0/s", "-1/s", "1/0s", "1/x", "1/31d", "1/s/s", "99999999999/s"] {
            assert!(Rate::from_text(bad).is_err(), "{bad}");
        }
    }
}
