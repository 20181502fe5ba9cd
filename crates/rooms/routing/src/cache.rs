//! What was found out lately, by domain: two tables of bounded size. New answers go into the young one; when it is
//! full it becomes the old one, and what was not asked for in the meantime is forgotten.

use foldhash::fast::RandomState;
use message::Routed;
use std::collections::HashMap;

/// Answers by domain, as it stands in the address.
#[derive(Debug)]
pub(crate) struct Cache {
    young: HashMap<Box<str>, Routed, RandomState>,
    old: HashMap<Box<str>, Routed, RandomState>,
    /// Of each table.
    entries_max: usize,
}

impl Cache {
    /// A cache of at most `entries_max` domains.
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), entries_max: (entries_max / 2).max(1) }
    }

    /// The answer for a domain. One that the old table has moves to the young, without a copy of its name.
    pub(crate) fn get(&mut self, domain: &str) -> Option<Routed> {
        if let Some(routed) = self.young.get(domain) {
            return Some(routed.clone());
        }
        let (domain, routed) = self.old.remove_entry(domain)?;
        self.put(domain, routed.clone());
        Some(routed)
    }

    pub(crate) fn insert(&mut self, domain: &str, routed: Routed) {
        self.put(domain.into(), routed);
    }

    fn put(&mut self, domain: Box<str>, routed: Routed) {
        if self.young.len() >= self.entries_max {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(domain, routed);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use message::Reply;

    fn answer(n: u16) -> Routed {
        Routed::Refused(Reply::new(n, ""))
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_bounded() {
        let mut cache = Cache::new(100);
        cache.insert("often", answer(0));
        for n in 1..1000 {
            cache.insert(&n.to_string(), answer(n));
            assert_eq!(cache.get("often"), Some(answer(0)));
            assert!(cache.len() <= 100);
        }
        assert_eq!(cache.get("1"), None);
        assert_eq!(cache.get("999"), Some(answer(999)));
    }
}
