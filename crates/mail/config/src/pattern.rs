//! Domain patterns: an exact name, `*.suffix`, `/regex/`, `*`, and maps from them. Used for `relay_domains` and for the
//! stanzas of domains.
//!
//! A look-up hashes the name and each of its suffixes once, tries the expressions in order, and allocates nothing when
//! the name is in lower case. Exact beats suffix (longest first) beats expression (first declared) beats `*`.

use std::borrow::Cow;
use std::collections::HashMap;

use regex_lite::{Regex, RegexBuilder};

use crate::error::{Problem, quoted};
use crate::toml::Item;
use crate::value::{Kind, OptionValue, is_domain, toml_string};

/// Bytes that one compiled expression may take.
const EXPRESSION_BYTES_MAX: usize = 256 << 10;
/// Longest name that is given to an expression, which costs its length times the name's.
const EXPRESSION_INPUT_MAX: usize = 255;

const NOTATION: &str = "\"example.org\", \"*.example.org\", \"/regex/\" or \"*\"";

/// One pattern.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    /// Lower case, without a final dot.
    Exact(String),
    /// The part after `*.`, lower case.
    Suffix(String),
    Expression(Box<Regex>),
    Any,
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Pattern, Problem> {
        if text == "*" {
            return Ok(Pattern::Any);
        }
        if let Some(rest) = text.strip_prefix('/') {
            let Some(expression) = rest.strip_suffix('/').filter(|expression| !expression.is_empty()) else {
                return Err(Problem::new(format!("the expression \"{}\" does not end with /", quoted(text))));
            };
            return RegexBuilder::new(expression)
                .size_limit(EXPRESSION_BYTES_MAX)
                .build()
                .map(|regex| Pattern::Expression(Box::new(regex)))
                .map_err(|fault| Problem::new(format!("\"{}\" is not an expression: {fault}", quoted(text))));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if let Some(suffix) = name.strip_prefix("*.").filter(|suffix| is_domain(suffix) && !suffix.starts_with('[')) {
            return Ok(Pattern::Suffix(suffix.to_owned()));
        }
        if is_domain(&name) {
            return Ok(Pattern::Exact(name));
        }
        let problem = Problem::new(format!("\"{}\" is not a domain pattern; write {NOTATION}", quoted(text)));
        if !text.is_ascii() {
            return Err(Problem::new(format!(
                "\"{}\" is not in ASCII; write the domain's A-labels (xn--…)",
                quoted(text)
            )));
        }
        let stripped = name.trim_start_matches(['.', '*', '@']);
        Err(problem.propose((stripped.len() < name.len() && is_domain(stripped)).then(|| format!("*.{stripped}"))))
    }
}

/// A map from patterns. Values are small: an index or nothing.
#[derive(Clone, Debug)]
pub(crate) struct DomainMap<T> {
    exact: HashMap<String, T>,
    suffixes: HashMap<String, T>,
    expressions: Vec<(Regex, T)>,
    any: Option<T>,
}

impl<T> Default for DomainMap<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), suffixes: HashMap::new(), expressions: Vec::new(), any: None }
    }
}

impl<T: Copy> DomainMap<T> {
    /// Adds a pattern. If an equal one is there it stays, and its value is returned.
    pub(crate) fn insert(&mut self, pattern: Pattern, value: T) -> Option<T> {
        let (map, name) = match pattern {
            Pattern::Exact(name) => (&mut self.exact, name),
            Pattern::Suffix(name) => (&mut self.suffixes, name),
            Pattern::Expression(regex) => {
                // Equal expressions are equal TOML keys, which the caller has found out already.
                self.expressions.push((*regex, value));
                return None;
            }
            Pattern::Any => {
                let old = self.any;
                self.any = old.or(Some(value));
                return old;
            }
        };
        if let Some(old) = map.get(&name) {
            return Some(*old);
        }
        map.insert(name, value);
        None
    }

    /// Calls `found` with the value of each matching pattern, best first, until it returns `true`.
    pub(crate) fn visit(&self, domain: &str, mut found: impl FnMut(T) -> bool) {
        let name = folded(domain);
        if self.exact.get(name.as_ref()).is_some_and(|value| found(*value)) {
            return;
        }
        if !self.suffixes.is_empty() {
            let mut rest = name.as_ref();
            while let Some((_, suffix)) = rest.split_once('.') {
                if self.suffixes.get(suffix).is_some_and(|value| found(*value)) {
                    return;
                }
                rest = suffix;
            }
        }
        if name.len() <= EXPRESSION_INPUT_MAX {
            for (regex, value) in &self.expressions {
                if regex.is_match(&name) && found(*value) {
                    return;
                }
            }
        }
        if let Some(value) = self.any {
            found(value);
        }
    }
}

impl<T: Copy> DomainMap<T> {
    /// Calls `with` with every value.
    pub(crate) fn each(&self, mut with: impl FnMut(T)) {
        let expressions = self.expressions.iter().map(|(_, value)| value);
        self.exact.values().chain(self.suffixes.values()).chain(expressions).chain(&self.any).for_each(|it| with(*it));
    }
}

/// Lower case, without a final dot.
fn folded(domain: &str) -> Cow<'_, str> {
    let name = domain.strip_suffix('.').unwrap_or(domain);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// A set of domains, given by patterns.
#[derive(Clone, Debug, Default)]
pub struct DomainSet {
    map: DomainMap<()>,
    /// As written.
    patterns: Vec<String>,
}

impl DomainSet {
    /// Whether a domain, in A-labels, is in the set. `*.example.org` matches names below `example.org`, not that name.
    #[must_use]
    pub fn contains(&self, domain: &str) -> bool {
        let mut matched = false;
        self.map.visit(domain, |()| {
            matched = true;
            true
        });
        matched
    }

    /// Whether every domain is in the set.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.map.any.is_some()
    }

    /// The patterns as written.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(String::as_str)
    }

    fn add(&mut self, text: &str) -> Result<(), Problem> {
        self.map.insert(Pattern::parse(text)?, ());
        self.patterns.push(text.to_owned());
        Ok(())
    }
}

/// Equal when written alike.
impl PartialEq for DomainSet {
    fn eq(&self, other: &DomainSet) -> bool {
        self.patterns == other.patterns
    }
}

impl OptionValue for DomainSet {
    const KIND: Kind = Kind::list("domain pattern", NOTATION);

    fn from_item(item: &Item) -> Result<Self, Problem> {
        let mut set = DomainSet::default();
        match item {
            Item::List(elements) => {
                for element in elements {
                    let Item::Text(text) = &element.value else {
                        return Err(crate::value::wrong_type(&Self::KIND, &element.value).at(element.at));
                    };
                    set.add(text).map_err(|problem| problem.at(element.at))?;
                }
            }
            Item::Text(text) => set.add(text)?,
            other => return Err(crate::value::wrong_type(&Self::KIND, other)),
        }
        Ok(set)
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        let mut set = DomainSet::default();
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).try_for_each(|part| set.add(part))?;
        Ok(set)
    }

    fn to_toml(&self) -> String {
        let patterns: Vec<String> = self.patterns.iter().map(|pattern| toml_string(pattern)).collect();
        format!("[{}]", patterns.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(patterns: &[&str], domain: &str) -> Vec<usize> {
        let mut map = DomainMap::default();
        for (index, pattern) in patterns.iter().enumerate() {
            map.insert(Pattern::parse(pattern).unwrap(), index);
        }
        let mut found = Vec::new();
        map.visit(domain, |index| {
            found.push(index);
            false
        });
        found
    }

    #[test]
    fn exact_then_longest_suffix_then_expressions_then_any() {
        let patterns = ["*", "/org$/", "*.org", "*.example.org", "/^mx/", "mx.example.org"];
        assert_eq!(order(&patterns, "MX.Example.Org."), [5, 3, 2, 1, 4, 0]);
        assert_eq!(order(&patterns, "example.org"), [2, 1, 0]);
        assert_eq!(order(&patterns, "org"), [1, 0]);
        assert_eq!(order(&patterns, ""), [0]);
    }

    #[test]
    fn a_suffix_matches_whole_labels_below_it() {
        assert_eq!(order(&["*.b.c"], "a.b.c"), [0]);
        assert_eq!(order(&["*.b.c"], "x.a.b.c"), [0]);
        assert!(order(&["*.b.c"], "b.c").is_empty());
        assert!(order(&["*.b.c"], "ab.c").is_empty());
    }

    #[test]
    fn bad_patterns_are_refused() {
        for text in ["", "*.", "**", "a*.b", "/", "//", "/(/", "/a", "bücher.example", "a b", "*.*.org", "*.[::1]"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        assert!(Pattern::parse("/((a{1000}){1000}){1000}/").is_err());
        assert!(Pattern::parse("*example.org").unwrap_err().message.ends_with("did you mean `*.example.org`?"));
        assert!(Pattern::parse("@example.org").unwrap_err().message.ends_with("did you mean `*.example.org`?"));
        assert!(matches!(Pattern::parse("[192.0.2.1]"), Ok(Pattern::Exact(_))));
    }

    #[test]
    fn an_equal_pattern_is_found_whatever_its_case() {
        let mut map = DomainMap::default();
        assert_eq!(map.insert(Pattern::parse("Example.org").unwrap(), 1), None);
        assert_eq!(map.insert(Pattern::parse("example.ORG.").unwrap(), 2), Some(1));
    }

    #[test]
    fn a_set_knows_its_members() {
        let set = DomainSet::from_text("example.org, *.example.net, /^x[0-9]+\\.test$/").unwrap();
        for inside in ["example.org", "EXAMPLE.ORG", "a.example.net", "x12.test"] {
            assert!(set.contains(inside), "{inside}");
        }
        for outside in ["a.example.org", "example.net", "x.test", "badexample.org", ""] {
            assert!(!set.contains(outside), "{outside}");
        }
        assert!(!set.is_everything());
    }
}
