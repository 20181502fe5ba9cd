//! Sizes and parts: `"50MiB"`, `"10MB"`, a whole number of bytes; `"25%"`.

use super::{Kind, OptionValue, malformed, toml_string, wrong_type};
use crate::error::Problem;
use crate::toml::Item;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A part of a whole, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(pub u8);

/// An amount of memory, as bytes or as a part of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryAmount {
    /// So much.
    Bytes(Bytes),
    /// This part of `[memory] limit`.
    Percent(Percent),
}

impl MemoryAmount {
    /// The amount in bytes, of a limit in bytes.
    #[must_use]
    pub fn of(self, limit: Bytes) -> Bytes {
        match self {
            MemoryAmount::Bytes(bytes) => bytes,
            MemoryAmount::Percent(Percent(part)) => Bytes(limit.0 / 100 * u64::from(part)),
        }
    }
}

const UNITS: [(&str, u64); 11] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("KB", 1_000),
    ("kiB", 1 << 10),
    ("B", 1),
];

impl OptionValue for Bytes {
    const KIND: Kind = Kind::new("size", "\"50MiB\", \"10MB\", \"4KiB\" or a number of bytes");

    fn from_item(item: &Item) -> Result<Self, Problem> {
        match item {
            Item::Integer(number) => u64::try_from(*number)
                .map(Bytes)
                .map_err(|_| Problem::new(format!("{number} is not a size; write {}", Self::KIND.notation))),
            Item::Text(text) => Self::from_text(text),
            other => Err(wrong_type(&Self::KIND, other)),
        }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        let read = || {
            let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
            let number: u64 = text[..digits].parse().ok()?;
            let unit = text[digits..].trim_start();
            let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
            number.checked_mul(*size).map(Bytes)
        };
        read().ok_or_else(|| malformed(&Self::KIND, text).propose(with_unit(text)))
    }

    fn to_toml(&self) -> String {
        let exact = UNITS.iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size));
        match exact {
            Some((unit, size)) => toml_string(&format!("{}{unit}", self.0 / size)),
            None => toml_string("0B"),
        }
    }

    fn measure(&self) -> Option<u64> {
        Some(self.0)
    }
}

/// "50M" and "50m" probably mean "50MiB".
fn with_unit(text: &str) -> Option<String> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[number.len()..].to_ascii_lowercase().as_str() {
        "" => "B",
        "k" | "kb" | "kib" => "KiB",
        "m" | "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        "t" | "tb" | "tib" => "TiB",
        _ => return None,
    };
    let plain = !number.is_empty() && number.len() < 10 && number.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| format!("{number}{unit}"))
}

impl OptionValue for Percent {
    const KIND: Kind = Kind::new("percentage", "\"25%\" or a number from 0 to 100");

    fn from_item(item: &Item) -> Result<Self, Problem> {
        match item {
            Item::Integer(number) => Self::from_text(&format!("{number}%")),
            Item::Text(text) => Self::from_text(text),
            other => Err(wrong_type(&Self::KIND, other)),
        }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        let part = text.strip_suffix('%').and_then(|number| number.trim_end().parse().ok());
        part.filter(|part| *part <= 100).map(Percent).ok_or_else(|| malformed(&Self::KIND, text))
    }

    fn to_toml(&self) -> String {
        toml_string(&format!("{}%", self.0))
    }

    fn measure(&self) -> Option<u64> {
        Some(u64::from(self.0))
    }
}

impl OptionValue for MemoryAmount {
    const KIND: Kind = Kind::new("size or percentage", "\"90%\", \"4GiB\" or a number of bytes");

    fn from_item(item: &Item) -> Result<Self, Problem> {
        match item {
            Item::Integer(_) => Bytes::from_item(item).map(MemoryAmount::Bytes),
            Item::Text(text) => Self::from_text(text),
            other => Err(wrong_type(&Self::KIND, other)),
        }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        let percent = || Percent::from_text(text).map(MemoryAmount::Percent);
        let bytes = || Bytes::from_text(text).map(MemoryAmount::Bytes);
        percent().or_else(|_| bytes()).map_err(|_| malformed(&Self::KIND, text).propose(with_unit(text)))
    }

    fn to_toml(&self) -> String {
        match self {
            MemoryAmount::Bytes(bytes) => bytes.to_toml(),
            MemoryAmount::Percent(percent) => percent.to_toml(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_back() {
        for (text, bytes) in [("50MiB", 50 << 20), ("10MB", 10_000_000), ("4KiB", 4096), ("500B", 500), ("0B", 0)] {
            assert_eq!(Bytes::from_text(text).unwrap().0, bytes, "{text}");
            assert_eq!(Bytes::from_text(text).unwrap().to_toml(), format!("\"{text}\""));
        }
        assert_eq!(Bytes::from_item(&Item::Integer(4097)).unwrap().to_toml(), "\"4097B\"");
        for text in ["", "MiB", "1.5MiB", "-1B", "99999999999TiB", "50M", "5 0MiB", "1é"] {
            assert!(Bytes::from_text(text).is_err(), "{text}");
        }
        assert!(Bytes::from_text("50M").unwrap_err().message.ends_with("did you mean `50MiB`?"));
    }

    #[test]
    fn parts_end_at_a_hundred() {
        assert_eq!(Percent::from_text("100%").unwrap(), Percent(100));
        for text in ["101%", "-1%", "5", "%", "1e1%"] {
            assert!(Percent::from_text(text).is_err(), "{text}");
        }
        assert_eq!(MemoryAmount::from_text("90%").unwrap().of(Bytes(1000)), Bytes(900));
        assert_eq!(MemoryAmount::from_text("4KiB").unwrap().of(Bytes(1000)), Bytes(4096));
    }
}
