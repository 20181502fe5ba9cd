//! What was found out lately, by domain and egress identity: two tables of bounded size. New answers go into the young one; when it is
//! full it becomes the old one, and what was not asked for in the meantime is forgotten.

use crate::egress::EgressId;
use foldhash::fast::RandomState;
use message::Routed;
use std::collections::HashMap;

/// Answers by domain, as it stands in the address, and by identity.
#[derive(Debug)]
pub(crate) struct Cache {
    young: HashMap<Box<str>, Routed, RandomState>,
    old: HashMap<Box<str>, Routed, RandomState>,
    /// Of each table.
    entries_max: usize,
    /// Where a key is put together.
    key: String,
}

impl Cache {
    /// A cache of at most `entries_max` answers.
    pub(crate) fn new(entries_max: usize) -> Self {
        let (young, old) = (HashMap::default(), HashMap::default());
        Self { young, old, entries_max: (entries_max / 2).max(1), key: String::new() }
    }

    /// The answer for a domain. One that the old table has moves to the young, without a copy of its name.
    pub(crate) fn get(&mut self, domain: &str, egress: EgressId) -> Option<Routed> {
        let key = key(&mut self.key, domain, egress);
        if let Some(routed) = self.young.get(key) {
            return Some(routed.clone());
        }
        let (domain, routed) = self.old.remove_entry(key)?;
        self.put(domain, routed.clone());
        Some(routed)
    }

    pub(crate) fn insert(&mut self, domain: &str, egress: EgressId, routed: Routed) {
        let key = key(&mut self.key, domain, egress).into();
        self.put(key, routed);
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

/// The domain itself for the first identity, which most mail has; else the domain and, behind an octet that no domain
/// has, the number of the identity.
fn key<'k>(room: &'k mut String, domain: &'k str, egress: EgressId) -> &'k str {
    if egress == EgressId::default() {
        return domain;
    }
    room.clear();
    room.push_str(domain);
    room.push('\0');
    let mut rest = egress.0;
    while rest > 0 {
        room.push(char::from(1 + (rest % 127) as u8));
        rest /= 127;
    }
    room
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
        cache.insert("often", EgressId(0), answer(0));
        for n in 1..1000 {
            cache.insert(&n.to_string(), EgressId(0), answer(n));
            assert_eq!(cache.get("often", EgressId(0)), Some(answer(0)));
            assert!(cache.len() <= 100);
        }
        assert_eq!(cache.get("1", EgressId(0)), None);
        assert_eq!(cache.get("999", EgressId(0)), Some(answer(999)));
    }

    #[test]
    fn identities_have_answers_of_their_own() {
        let mut cache = Cache::new(2000);
        for n in 0..500 {
            cache.insert("a.example", EgressId(u32::from(n)), answer(n));
        }
        for n in 0..500 {
            assert_eq!(cache.get("a.example", EgressId(u32::from(n))), Some(answer(n)));
        }
        assert_eq!(cache.get("a.example", EgressId(500)), None);
    }
}
