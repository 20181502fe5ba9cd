//! Durations: `"20m"`, `"1d12h"`, `"500ms"`, or a whole number of seconds.

use std::time::Duration;

use super::{Kind, OptionValue, malformed, toml_string, wrong_type};
use crate::error::Problem;
use crate::toml::Item;

/// Units with their milliseconds, largest first. A text names them in this order, each once.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl OptionValue for Duration {
    const KIND: Kind =
        Kind::new("duration", "\"20m\", \"1d12h\", \"500ms\" (units w d h m s ms) or a number of seconds");

    fn from_item(item: &Item) -> Result<Self, Problem> {
        match item {
            Item::Integer(seconds) => u64::try_from(*seconds)
                .ok()
                .filter(|seconds| seconds.checked_mul(1000).is_some())
                .map(Duration::from_secs)
                .ok_or_else(|| Problem::new(format!("{seconds} is not a duration; write {}", Self::KIND.notation))),
            Item::Text(text) => Self::from_text(text),
            other => Err(wrong_type(&Self::KIND, other)),
        }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        milliseconds(text).map(Duration::from_millis).ok_or_else(|| {
            let lacks_unit = !text.is_empty() && text.len() < 10 && text.bytes().all(|byte| byte.is_ascii_digit());
            malformed(&Self::KIND, text).propose(lacks_unit.then(|| format!("{text}s")))
        })
    }

    fn to_toml(&self) -> String {
        let mut rest = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return toml_string("0s");
        }
        let mut text = String::new();
        for (unit, size) in UNITS {
            // Weeks are read and never written: "7d" is easier to compare with "10d".
            if unit != "w" && rest >= size {
                text.push_str(&format!("{}{unit}", rest / size));
                rest %= size;
            }
        }
        toml_string(&text)
    }

    fn measure(&self) -> Option<u64> {
        Some(u64::try_from(self.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Reads a duration as options are written: `20m`, `1d12h`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    milliseconds(text).map(Duration::from_millis)
}

fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    let mut units = UNITS.as_slice();
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let letters = rest[digits..].find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len() - digits);
        let unit = &rest[digits..digits + letters];
        let place = units.iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(units[place].1)?)?;
        units = &units[place + 1..];
        rest = &rest[digits + letters..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notations_are_read_and_written_back() {
        for (text, ms) in [("20m", 1_200_000), ("1d12h", 129_600_000), ("500ms", 500), ("1s500ms", 1500), ("0s", 0)] {
            let duration = Duration::from_text(text).unwrap();
            assert_eq!(duration.as_millis(), ms, "{text}");
            assert_eq!(duration.to_toml(), format!("\"{text}\""));
        }
        assert_eq!(Duration::from_text("2w").unwrap().to_toml(), "\"14d\"");
        assert_eq!(Duration::from_item(&Item::Integer(90)).unwrap(), Duration::from_secs(90));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "m", "20", "20 m", "12h1d", "1h1h", "-1s", "1.5h", "20M", "99999999999999999999s", "1ä"] {
            assert!(Duration::from_text(text).is_err(), "{text}");
        }
        assert!(Duration::from_item(&Item::Integer(-1)).is_err());
        assert!(Duration::from_item(&Item::Integer(i64::MAX)).is_err());
        assert!(Duration::from_text("20").unwrap_err().message.ends_with("did you mean `20s`?"));
    }
}
