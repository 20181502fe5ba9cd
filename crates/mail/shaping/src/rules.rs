//! A set of rules, ready to be asked "which of you are about this domain?" in a few look-ups. Made by `parse`, shared by
//! the engines of all loops.

use crate::parse::parse;
use crate::report::RuleErrors;
use crate::rule::{NamePattern, Rule};
use crate::scope::Subject;
use foldhash::fast::FixedState;
use std::collections::HashMap;

/// Most rules of a set.
pub const RULES_MAX: usize = 512;
const WORDS: usize = RULES_MAX / 64;
const _: () = assert!(RULES_MAX.is_multiple_of(64));

/// The rules that come with the server.
const STARTER: &str = include_str!("../rules/starter.toml");

/// A file of rules.
#[derive(Clone, Copy, Debug)]
pub struct Source<'t> {
    /// Its name, for messages.
    pub name: &'t str,
    /// Its text.
    pub text: &'t str,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// From the highest priority to the lowest.
    rules: Vec<Rule>,
    domains: NameIndex,
    sites: NameIndex,
    everybody: RuleBits,
    successes: RuleBits,
    warm_ups: RuleBits,
}

/// Some of the rules, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleBits([u64; WORDS]);

/// Rules by the names that they are about.
#[derive(Clone, Debug, Default)]
struct NameIndex {
    exact: HashMap<Box<str>, RuleBits, FixedState>,
    /// By what follows the first dot of `*.example.org`.
    below: HashMap<Box<str>, RuleBits, FixedState>,
}

impl Rules {
    /// Reads files of rules; what a later file says of names in `disable` holds for the earlier ones.
    ///
    /// # Errors
    /// All that is wrong in any of them.
    pub fn parse(sources: &[Source<'_>]) -> Result<Self, RuleErrors> {
        parse(sources).map(Self::new)
    }

    /// The rules that come with the server, as a file.
    pub fn starter() -> Source<'static> {
        Source { name: "starter", text: STARTER }
    }

    /// `rules` has at most [`RULES_MAX`].
    pub(crate) fn new(mut rules: Vec<Rule>) -> Self {
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
        let mut set = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            if rule.is_about_everybody() {
                set.everybody.insert(number);
            }
            for pattern in &rule.audience.domains {
                set.domains.insert(pattern, number);
            }
            for pattern in &rule.audience.sites {
                set.sites.insert(pattern, number);
            }
            if rule.counts_successes() {
                set.successes.insert(number);
            }
            if rule.warm_up().is_some() {
                set.warm_ups.insert(number);
            }
        }
        set.rules = rules;
        set
    }

    /// The rules in the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules that are about a subject, in the order in which they are tried.
    pub fn about<'a>(&'a self, subject: &'a Subject<'_>) -> impl Iterator<Item = &'a Rule> {
        let numbers = self.candidates(subject).numbers();
        numbers.map(|number| &self.rules[number]).filter(|rule| rule.audience.has(subject.binding, subject.tenant))
    }

    pub(crate) fn get(&self, number: usize) -> &Rule {
        &self.rules[number]
    }

    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.rules.iter().position(|rule| &*rule.name == name)
    }

    /// The rules about a subject's domain or site; bindings and tenants are not looked at.
    pub(crate) fn candidates(&self, subject: &Subject<'_>) -> RuleBits {
        let mut found = self.everybody;
        self.domains.collect(subject.domain, &mut found);
        self.sites.collect(subject.site, &mut found);
        found
    }

    /// Those that need to know of successes.
    pub(crate) fn successes(&self) -> RuleBits {
        self.successes
    }

    pub(crate) fn warm_ups(&self) -> RuleBits {
        self.warm_ups
    }
}

impl RuleBits {
    fn insert(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == [0; WORDS]
    }

    /// In ascending order.
    pub(crate) fn numbers(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits.checked_sub(1)?;
                Some(word * 64 + bit)
            })
        })
    }
}

impl NameIndex {
    fn insert(&mut self, pattern: &NamePattern, number: usize) {
        match pattern {
            NamePattern::Any | NamePattern::Prefix(_) => {} // `everybody`; domains have no prefixes.
            NamePattern::Exact(name) => self.exact.entry(name.clone()).or_default().insert(number),
            NamePattern::Below(end) => self.below.entry(end[1..].into()).or_default().insert(number),
        }
    }

    fn collect(&self, name: &str, found: &mut RuleBits) {
        if let Some(rules) = self.exact.get(name) {
            found.add(rules);
        }
        if self.below.is_empty() {
            return;
        }
        let mut rest = name;
        while let Some((_, end)) = rest.split_once('.') {
            if let Some(rules) = self.below.get(end) {
                found.add(rules);
            }
            rest = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Rules {
        Rules::parse(&[Source { name: "test", text }]).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn names(rules: &Rules, domain: &str, site: &str, binding: &str, tenant: &str) -> String {
        let subject = Subject { domain, site, binding, tenant };
        rules.about(&subject).map(|rule| rule.name.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rules_are_found_by_domain_site_binding_and_tenant() {
        let rules = rules(
            r#"
            [provider.p]
            domains = ["a.example", "*.b.example"]
            sites = ["*.mx.example"]
            [[rule]]
            name = "low"
            provider = "p"
            codes = ["4xx"]
            suspend = "1h"
            priority = -1
            [[rule]]
            name = "all"
            codes = ["421"]
            connections = { factor = 0.5 }
            [[rule]]
            name = "pool"
            domains = ["a.example"]
            bindings = ["pool-*", "x"]
            tenants = ["acme"]
            codes = ["421"]
            suspend = "1h"
            priority = 7
            "#,
        );
        assert_eq!(names(&rules, "a.example", "a.example", "x", ""), "all low");
        assert_eq!(names(&rules, "a.example", "a.example", "pool-9", "acme"), "pool all low");
        assert_eq!(names(&rules, "b.example", "b.example", "x", ""), "all");
        assert_eq!(names(&rules, "c.d.b.example", "z", "x", ""), "all low");
        assert_eq!(names(&rules, "z.example", "in.mx.example", "x", ""), "all low");
        assert_eq!(names(&rules, "z.example", "mx.example", "x", ""), "all");
    }

    #[test]
    fn bits_come_back_in_order() {
        let mut bits = RuleBits::default();
        for number in [511, 0, 63, 64, 130] {
            bits.insert(number);
        }
        assert_eq!(bits.numbers().collect::<Vec<_>>(), [0, 63, 64, 130, 511]);
        assert!(RuleBits::default().is_empty() && !bits.is_empty());
    }

    #[test]
    fn the_starter_set_is_sound() {
        let rules = Rules::parse(&[Rules::starter()]).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(rules.len() >= 30, "{}", rules.len());
    }
}
