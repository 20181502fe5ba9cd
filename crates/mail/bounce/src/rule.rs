//! One rule: when it holds, and which class follows. Made by the reader of rule files, asked by the classifier.

use crate::class::Class;
use crate::plain::{Plain, is_word};
use crate::said::{Phase, Said};
use message::Enhanced;
use regex::bytes::Regex;
use std::fmt;
use std::sync::Arc;

/// A rule of a rule file.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(crate) name: Box<str>,
    pub(crate) class: Class,
    pub(crate) place: Place,
    pub(crate) origin: Origin,
    /// Higher is asked earlier.
    pub(crate) priority: u8,
    pub(crate) when: Conditions,
}

/// Where a rule stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name as the caller gave it; `built-in` for ours.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

/// Whose rule it is; the operator's are asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    Operator,
    BuiltIn,
}

/// What must be so. Empty lists ask nothing; of a list, one element is enough, but for `all` and `none`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) codes: Vec<CodePattern>,
    pub(crate) statuses: Vec<StatusPattern>,
    pub(crate) phases: Phases,
    pub(crate) domains: Vec<DomainPattern>,
    pub(crate) any: Vec<Phrase>,
    pub(crate) all: Vec<Phrase>,
    pub(crate) none: Vec<Phrase>,
    pub(crate) regex: Option<Regex>,
}

impl Rule {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The class that follows.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Where it stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether it holds for certain domains or hosts only. Such rules are asked before all others.
    pub fn is_domain_specific(&self) -> bool {
        !self.when.domains.is_empty()
    }
}

impl Conditions {
    /// Whether everything but the phrases allows it.
    pub(crate) fn admits(&self, said: &Said<'_>) -> bool {
        self.phases.admit(said.phase)
            && (self.codes.is_empty() || self.codes.iter().any(|pattern| pattern.has(code_of(said))))
            && (self.statuses.is_empty()
                || said.status.is_some_and(|status| self.statuses.iter().any(|pattern| pattern.has(status))))
            && (self.domains.is_empty()
                || self.domains.iter().any(|pattern| pattern.has(said.domain) || pattern.has(said.host)))
    }

    /// What makes two rules the same, as text.
    pub(crate) fn fingerprint(&self) -> String {
        let mut lists = [
            self.codes.iter().map(|c| format!("{c:?}")).collect::<Vec<_>>(),
            self.statuses.iter().map(|s| format!("{s:?}")).collect(),
            self.domains.iter().map(|d| format!("{d:?}")).collect(),
            self.any.iter().map(ToString::to_string).collect(),
            self.all.iter().map(ToString::to_string).collect(),
            self.none.iter().map(ToString::to_string).collect(),
        ];
        lists.iter_mut().for_each(|list| list.sort());
        format!("{lists:?} {:?} {:?}", self.phases, self.regex.as_ref().map(Regex::as_str))
    }
}

/// The digits of a reply. A bare status code counts as the first of its hundred, and a bare text as a failure for good.
fn code_of(said: &Said<'_>) -> u16 {
    said.code.unwrap_or_else(|| said.status.map_or(500, |status| u16::from(status.0) * 100))
}

/// `550`, or `55` and `5` for all that begin so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodePattern {
    from: u16,
    to: u16,
}

impl CodePattern {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.len() <= 3 && text.bytes().all(|octet| octet.is_ascii_digit());
        let number: u16 = digits.then(|| text.parse().ok()).flatten()?;
        let width = [0, 100, 10, 1][text.len()];
        matches!(text.as_bytes().first(), Some(b'2'..=b'5'))
            .then_some(Self { from: number * width, to: number * width + width - 1 })
    }

    pub(crate) fn has(self, code: u16) -> bool {
        (self.from..=self.to).contains(&code)
    }

    /// The first digit of the codes it has.
    pub(crate) fn class(self) -> u8 {
        (self.from / 100) as u8
    }
}

/// `5.1.1` with `*` for any number in each place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatusPattern(Option<u8>, Option<u16>, Option<u16>);

impl StatusPattern {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('.').collect();
        let [class, subject, detail] = parts.as_slice() else { return None };
        let filled = [*class, *subject, *detail].map(|part| if part == "*" { "4" } else { part }).join(".");
        let Enhanced(one, two, three) = Enhanced::parse(&filled)?;
        Some(Self((*class != "*").then_some(one), (*subject != "*").then_some(two), (*detail != "*").then_some(three)))
    }

    pub(crate) fn has(self, status: Enhanced) -> bool {
        let Enhanced(class, subject, detail) = status;
        self.0.is_none_or(|wanted| wanted == class)
            && self.1.is_none_or(|wanted| wanted == subject)
            && self.2.is_none_or(|wanted| wanted == detail)
    }

    /// The class it wants, if it wants one.
    pub(crate) fn class(self) -> Option<u8> {
        self.0
    }
}

/// The phases of a rule as a set of bits; none named is every phase of a delivery and of reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Phases(u16);

impl Phases {
    pub(crate) fn add(&mut self, phase: Phase) {
        self.0 |= 1 << phase as u8;
    }

    pub(crate) fn has(self, phase: Phase) -> bool {
        self.0 & (1 << phase as u8) != 0
    }

    fn admit(self, phase: Option<Phase>) -> bool {
        match phase {
            Some(phase @ (Phase::Subject | Phase::Body)) => self.has(phase),
            Some(phase) => self.0 == 0 || self.has(phase),
            None => self.0 == 0,
        }
    }
}

/// `example.org`, or `*.example.org` for all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DomainPattern {
    Exact(Box<str>),
    Below(Box<str>),
}

impl DomainPattern {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let (below, name) = match lower.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, lower.as_str()),
        };
        let letter = |octet: u8| octet.is_ascii_alphanumeric() || octet >= 0x80 || octet == b'-' || octet == b'_';
        let sound = name.len() <= 253 && name.split('.').all(|label| !label.is_empty() && label.bytes().all(letter));
        match (sound, below) {
            (false, _) => None,
            (true, true) => Some(Self::Below(format!(".{name}").into())),
            (true, false) => Some(Self::Exact(name.into())),
        }
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.eq_ignore_ascii_case(name),
            Self::Below(suffix) => {
                let start = name.len().checked_sub(suffix.len());
                start.is_some_and(|start| name.as_bytes()[start..].eq_ignore_ascii_case(suffix.as_bytes()))
            }
        }
    }
}

/// Words that must stand in the text, whole; `*` at an end lets the word go on there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Phrase {
    /// In the form of [`Plain`].
    pub(crate) text: Box<str>,
    pub(crate) open_start: bool,
    pub(crate) open_end: bool,
}

/// Fewest octets of a phrase: less would match nearly everything.
pub(crate) const PHRASE_MIN: usize = 3;
/// Most octets of a phrase.
pub(crate) const PHRASE_MAX: usize = 120;

impl Phrase {
    /// Reads a phrase; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let open_start = text.starts_with('*');
        let inner = text.strip_prefix('*').unwrap_or(text);
        let open_end = inner.ends_with('*');
        let inner = inner.strip_suffix('*').unwrap_or(inner);
        if inner.contains('*') {
            return Err("`*` stands at the ends of a phrase only; split it into two phrases of `all`".into());
        }
        if inner.len() > PHRASE_MAX {
            return Err(format!("the phrase has {} octets; {PHRASE_MAX} are the most", inner.len()));
        }
        let plain = Plain::new(inner.as_bytes());
        let plain =
            std::str::from_utf8(plain.as_bytes()).map_err(|_| "the phrase is cut within a letter".to_owned())?;
        if plain != inner.to_ascii_lowercase() {
            return Err(format!(
                "replies are read without status codes, `<`, `>`, `\"`, doubled blanks and addresses (each is `@`); \
                 write \"{}\"",
                plain.escape_debug()
            ));
        }
        if plain.len() < PHRASE_MIN {
            return Err(format!("the phrase is shorter than {PHRASE_MIN} octets and would be found nearly everywhere"));
        }
        Ok(Self { text: plain.into(), open_start, open_end })
    }

    /// Whether its edges fit where it was found: `text[start..end]` is the phrase.
    pub(crate) fn fits(&self, text: &[u8], start: usize, end: usize) -> bool {
        let phrase = self.text.as_bytes();
        let edge = |inner: Option<&u8>, outer: Option<&u8>| match (inner, outer) {
            (Some(inner), Some(outer)) => !(is_word(*inner) && is_word(*outer)),
            _ => true,
        };
        let before = start.checked_sub(1).and_then(|before| text.get(before));
        (self.open_start || edge(phrase.first(), before)) && (self.open_end || edge(phrase.last(), text.get(end)))
    }

    /// Whether every text with `self` has `other`, too.
    pub(crate) fn implies(&self, other: &Phrase) -> bool {
        let text = self.text.as_bytes();
        text.windows(other.text.len()).enumerate().any(|(start, window)| {
            let end = start + other.text.len();
            let inside = (start > 0 || !self.open_start || other.open_start)
                && (end < text.len() || !self.open_end || other.open_end);
            window == other.text.as_bytes() && inside && other.fits(text, start, end)
        })
    }
}

impl fmt::Display for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = |open: bool| if open { "*" } else { "" };
        write!(f, "{}{}{}", star(self.open_start), self.text, star(self.open_end))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_statuses() {
        assert!(CodePattern::parse("5").unwrap().has(599));
        assert!(CodePattern::parse("45").unwrap().has(459));
        assert!(!CodePattern::parse("45").unwrap().has(460));
        assert!(CodePattern::parse("550").unwrap().has(550));
        for bad in ["", "6", "5500", "x", "+5", "05"] {
            assert_eq!(CodePattern::parse(bad), None, "{bad}");
        }
        assert!(StatusPattern::parse("*.1.1").unwrap().has(Enhanced(4, 1, 1)));
        assert!(!StatusPattern::parse("5.7.*").unwrap().has(Enhanced(5, 1, 1)));
        for bad in ["5.1", "3.1.1", "5.x.1", "5.1.1.1", "**.1.1"] {
            assert_eq!(StatusPattern::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn domains() {
        let below = DomainPattern::parse("*.Example.org").unwrap();
        assert!(below.has("mx.example.ORG") && !below.has("example.org") && !below.has("badexample.org"));
        let below = DomainPattern::parse("*.ü.org").unwrap();
        assert!(!below.has("üx.org") && below.has("a.ü.org"));
        assert!(DomainPattern::parse("example.org").unwrap().has("EXAMPLE.org"));
        for bad in ["", "*", "*.", "a..b", "a b"] {
            assert_eq!(DomainPattern::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn phrases_are_whole_words() {
        let phrase = Phrase::parse("full").unwrap();
        assert!(phrase.fits(b"is full.", 3, 7));
        assert!(!phrase.fits(b"is fully", 3, 7));
        let open = Phrase::parse("block*").unwrap();
        assert!(open.fits(b"is blocked", 3, 8));
        assert!(!open.fits(b"unblocked", 2, 7));
        for bad in ["", "ab", "a*b*c", "two  blanks", "<x>abc", &"x".repeat(121), "user a@b unknown"] {
            assert!(Phrase::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_phrase_may_imply_another() {
        let phrase = |text| Phrase::parse(text).unwrap();
        assert!(phrase("user unknown here").implies(&phrase("unknown")));
        assert!(!phrase("user unknown").implies(&phrase("know")));
        assert!(!phrase("block*").implies(&phrase("block")));
        assert!(phrase("block").implies(&phrase("block*")));
    }
}
