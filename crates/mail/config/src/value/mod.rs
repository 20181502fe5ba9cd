//! The types of values: how each is written in the file, read, shown and measured. Used by the option table; the types
//! themselves are what the rooms read. Nothing here knows the name of an option.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::error::{Problem, quoted};
use crate::toml::Item;

mod address;
mod age;
mod duration;
mod egress_proxy;
mod header;
mod keyword;
mod name;
mod network;
mod rate;
mod route;
mod size;
mod window;

pub use address::{BindAddress, TcpAddress};
pub use age::BindingAge;
pub use duration::parse_duration;
pub use egress_proxy::{AddressList, EgressProxy, Login};
pub use header::{HeaderName, HeaderTest, OptionalName};
pub use keyword::{
    AddHeader, ConnectionRamp, Durability, EarlyTalker, IntakeAction, Ipv6Use, LineEndings, LogEvent, LogFormat,
    Protocol, ProxyProtocol, ShapingMode, Store, SuppressedKind, SuppressionAction, SuppressionCause,
};
pub(crate) use name::is_domain;
pub use name::{HostName, Mailbox, MarkPrefix, OptionalDomain};
pub use network::{Network, NetworkSet};
pub use rate::Rate;
pub use route::{LmtpTarget, RetryLimit, Route};
pub use size::{Bytes, MemoryAmount, Percent};
pub use window::{WeekWindow, closed_until};

pub use crate::pattern::DomainSet;

/// How a type of value is named and written.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// "duration", "size", …
    pub name: &'static str,
    /// What is right: the end of "write …".
    pub notation: &'static str,
    /// The words of an enumeration with their meaning; empty for other types.
    pub words: &'static [(&'static str, &'static str)],
    /// Whether it is a list of these.
    pub list: bool,
}

impl Kind {
    pub(crate) const fn new(name: &'static str, notation: &'static str) -> Kind {
        Kind { name, notation, words: &[], list: false }
    }

    pub(crate) const fn list(name: &'static str, notation: &'static str) -> Kind {
        Kind { name, notation, words: &[], list: true }
    }
}

/// A type that an option may have.
pub(crate) trait OptionValue: Sized + Clone {
    /// Its name and notation.
    const KIND: Kind;

    /// Reads the value of a key.
    fn from_item(item: &Item) -> Result<Self, Problem> {
        match item {
            Item::Text(text) => Self::from_text(text),
            other => Err(wrong_type(&Self::KIND, other)),
        }
    }

    /// Reads the inside of a string, a default or the end of a range.
    fn from_text(text: &str) -> Result<Self, Problem>;

    /// As it would be written in the file.
    fn to_toml(&self) -> String;

    /// A number that ranges compare; `None` for types without order.
    fn measure(&self) -> Option<u64> {
        None
    }
}

/// "expected a duration, found the boolean true; write …"
pub(crate) fn wrong_type(kind: &Kind, item: &Item) -> Problem {
    Problem::new(format!("expected {}, found {}; write {}", with_article(kind.name), item.describe(), kind.notation))
}

/// "…is not a duration; write …"
pub(crate) fn malformed(kind: &Kind, text: &str) -> Problem {
    Problem::new(format!("\"{}\" is not {}; write {}", quoted(text), with_article(kind.name), kind.notation))
}

fn with_article(name: &str) -> String {
    let article = if name.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {name}")
}

/// A TOML basic string.
pub(crate) fn toml_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(control))),
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}

impl OptionValue for u32 {
    const KIND: Kind = Kind::new("count", "a whole number such as 100, without quotes");

    fn from_item(item: &Item) -> Result<Self, Problem> {
        match item {
            Item::Integer(number) => u32::try_from(*number)
                .map_err(|_| Problem::new(format!("{number} is out of range; write 0 to {}", u32::MAX))),
            Item::Text(text) => Err(wrong_type(&Self::KIND, item).propose(u32::from_text(text).ok())),
            other => Err(wrong_type(&Self::KIND, other)),
        }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        text.parse().map_err(|_| malformed(&Self::KIND, text))
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }

    fn measure(&self) -> Option<u64> {
        Some(u64::from(*self))
    }
}

impl OptionValue for bool {
    const KIND: Kind = Kind::new("boolean", "true or false, without quotes");

    fn from_item(item: &Item) -> Result<Self, Problem> {
        match item {
            Item::Boolean(value) => Ok(*value),
            Item::Text(text) => Err(wrong_type(&Self::KIND, item).propose(bool::from_text(text).ok())),
            other => Err(wrong_type(&Self::KIND, other)),
        }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            _ => Err(malformed(&Self::KIND, text)),
        }
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl OptionValue for String {
    const KIND: Kind = Kind::new("name", "a string such as \"pool-a\"");

    fn from_text(text: &str) -> Result<Self, Problem> {
        if text.is_empty() {
            return Err(Problem::new(format!("a name is empty; write {}", Self::KIND.notation)));
        }
        Ok(text.to_owned())
    }

    fn to_toml(&self) -> String {
        toml_string(self)
    }
}

impl OptionValue for PathBuf {
    const KIND: Kind = Kind::new("path", "a string such as \"/var/spool/posthaste\"");

    fn from_text(text: &str) -> Result<Self, Problem> {
        if text.is_empty() || text.contains('\0') {
            return Err(malformed(&Self::KIND, text));
        }
        Ok(PathBuf::from(text))
    }

    fn to_toml(&self) -> String {
        toml_string(&self.to_string_lossy())
    }
}

impl OptionValue for IpAddr {
    const KIND: Kind = Kind::new("address", "an IP address such as \"192.0.2.1\" or \"2001:db8::1\"");

    fn from_text(text: &str) -> Result<Self, Problem> {
        text.parse().map_err(|_| malformed(&Self::KIND, text))
    }

    fn to_toml(&self) -> String {
        toml_string(&self.to_string())
    }
}

/// A list, or one element without brackets.
impl<T: OptionValue> OptionValue for Vec<T> {
    const KIND: Kind = Kind { name: T::KIND.name, notation: T::KIND.notation, words: T::KIND.words, list: true };

    fn from_item(item: &Item) -> Result<Self, Problem> {
        match item {
            Item::List(elements) => {
                elements.iter().map(|element| T::from_item(&element.value).map_err(|p| p.at(element.at))).collect()
            }
            single => Ok(vec![T::from_item(single)?]),
        }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(T::from_text).collect()
    }

    fn to_toml(&self) -> String {
        let elements: Vec<String> = self.iter().map(T::to_toml).collect();
        format!("[{}]", elements.join(", "))
    }
}
