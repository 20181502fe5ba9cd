//! How often something happened to an address within a time, for rules that put addresses on the list by themselves. Pure:
//! the caller brings the time. In memory only, and bounded: of very many addresses those that were counted longest ago are
//! forgotten.

use crate::address::Key;
use crate::entry::Second;
use smallvec::SmallVec;
use std::collections::HashMap;

/// Addresses of each half of the memory: the newer half, and the one before it.
const HALF_MAX: usize = 65_536;

/// What is counted: a rule, and an address.
type What = (Box<str>, Box<[u8]>);
/// The last times, oldest first.
type Times = SmallVec<[u32; 4]>;

/// See the module.
#[derive(Debug, Default)]
pub struct Tally {
    newer: HashMap<What, Times>,
    older: HashMap<What, Times>,
}

/// What a count came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// As often as was asked for; the count begins anew.
    Enough,
    /// Not yet.
    Less,
}

impl Tally {
    /// The most that can be counted to.
    pub const COUNT_MAX: usize = 16;

    /// Something happened to an address at `at`, by a rule that wants `count` of it within `period` seconds. Times that go
    /// back, as a clock that is set does, count as now.
    pub fn count(&mut self, rule: &str, key: &Key, count: usize, period: u32, at: Second) -> Counted {
        let count = count.clamp(1, Self::COUNT_MAX);
        if count == 1 {
            return Counted::Enough;
        }
        let what: What = (rule.into(), key.octets().into());
        let mut times = self.newer.remove(&what).or_else(|| self.older.remove(&what)).unwrap_or_default();
        let now = times.last().map_or(at.0, |last| at.0.max(*last));
        times.push(now);
        times.retain(|time| now - *time <= period);
        if times.len() >= count {
            return Counted::Enough;
        }
        if self.newer.len() >= HALF_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(what, times);
        Counted::Less
    }

    /// Addresses that are being counted.
    pub fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    #[test]
    fn so_many_within_the_period_and_then_anew() {
        let mut tally = Tally::default();
        let mut at = |rule: &str, address: &str, second| tally.count(rule, &key(address), 3, 100, Second(second));
        assert_eq!(at("a", "joe@x.test", 1000), Counted::Less);
        assert_eq!(at("a", "JOE@x.test", 1050), Counted::Less);
        // The first is too old by now.
        assert_eq!(at("a", "joe@x.test", 1101), Counted::Less);
        assert_eq!(at("b", "joe@x.test", 1102), Counted::Less, "another rule");
        assert_eq!(at("a", "jim@x.test", 1102), Counted::Less, "another address");
        assert_eq!(at("a", "joe@x.test", 1150), Counted::Enough);
        assert_eq!(at("a", "joe@x.test", 1151), Counted::Less);
        // A clock that is set back.
        assert_eq!(at("a", "joe@x.test", 5), Counted::Less);
        assert_eq!(at("a", "joe@x.test", 5), Counted::Enough);
        assert_eq!(tally.count("c", &key("joe@x.test"), 1, 0, Second(0)), Counted::Enough);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_are_kept() {
        let mut tally = Tally::default();
        for n in 0..3 * HALF_MAX {
            tally.count("a", &key(&format!("u{n}@x.test")), 2, 1000, Second(1));
        }
        assert!(tally.len() <= 2 * HALF_MAX);
        let last = format!("u{}@x.test", 3 * HALF_MAX - 1);
        assert_eq!(tally.count("a", &key(&last), 2, 1000, Second(2)), Counted::Enough);
        assert_eq!(tally.count("a", &key("u0@x.test"), 2, 1000, Second(2)), Counted::Less);
    }
}
