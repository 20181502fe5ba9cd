//! The classifier: all rules compiled into one automaton. Asked for each failed reply by the record, and for each piece of a
//! bounce message by `message.rs`.
//!
//! ```text
//!  reply ─► Plain ─► one pass of the automaton ─► phrases found ─► rules these phrases belong to, in their order
//!                                                                     └─► the first whose conditions hold
//!           no rule: the status code, then the three digits
//! ```
//! Cost: linear in the octets looked at (1 KiB), plus the conditions of the rules whose phrases were found. A regular
//! expression is tried only for a rule whose phrases are there, and is linear in the text.

use crate::class::Class;
use crate::error::{RuleError, nearest};
use crate::file::{Entry, read};
use crate::plain::Plain;
use crate::rule::{Origin, Phrase, Rule};
use crate::said::Said;
use crate::status::{class_of_code, class_of_status};
use aho_corasick::automaton::Automaton as _;
use aho_corasick::{Anchored, MatchKind, StartKind, dfa::DFA};
use message::Enhanced;
use std::collections::HashMap;

/// Rules of a classifier, ours and the operator's.
pub const RULES_MAX: usize = 2048;
/// Different phrases of a classifier.
pub const PHRASES_MAX: usize = 4096;
/// Octets of all phrases: the automaton has about one state for each.
const PHRASE_OCTETS_MAX: usize = 64 * 1024;
/// Rules without phrases, which are asked for every reply.
const UNPHRASED_MAX: usize = 64;

const BUILT_IN: &str = include_str!("rules.toml");
/// The name of our own rules' file in places.
const BUILT_IN_NAME: &str = "built-in";

/// A set of small numbers.
#[derive(Clone)]
struct Bits<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Bits<WORDS> {
    fn set(&mut self, bit: u16) {
        self.0[usize::from(bit) / 64] |= 1 << (bit % 64);
    }

    fn has(&self, bit: u16) -> bool {
        self.0[usize::from(bit) / 64] & (1 << (bit % 64)) != 0
    }

    /// The members, in order.
    fn members(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(word, bits)| {
            let mut left = *bits;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(word * 64 + bit)
            })
        })
    }
}

type PhraseSet = Bits<{ PHRASES_MAX / 64 }>;
type RuleSet = Bits<{ RULES_MAX / 64 }>;

/// Rules, compiled. Immutable: a changed file makes a new one.
pub struct Classifier {
    /// In the order in which they are asked.
    rules: Vec<Rule>,
    /// The numbers of each rule's phrases.
    wanted: Vec<Wanted>,
    phrases: Vec<Phrase>,
    /// For each phrase the rules that are worth asking when it is found.
    triggers: Vec<Vec<u16>>,
    /// Rules without phrases.
    always: RuleSet,
    automaton: DFA,
}

/// A rule's phrases by number.
#[derive(Default)]
struct Wanted {
    any: Vec<u16>,
    all: Vec<u16>,
    none: Vec<u16>,
}

/// What a reply means, and why.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'c> {
    /// The class.
    pub class: Class,
    /// What it follows from.
    pub reason: Reason<'c>,
}

/// What a class follows from.
#[derive(Clone, Copy, Debug)]
pub enum Reason<'c> {
    /// A rule holds.
    Rule(&'c Rule),
    /// No rule; the enhanced status code.
    Status(Enhanced),
    /// No rule and no status code; the three digits.
    Code(u16),
    /// There was nothing to go by.
    Nothing,
}

/// What the classifier saw, for people.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The text as rules see it.
    pub text: String,
    /// The phrases of the rule that were found in it.
    pub phrases: Vec<String>,
}

impl Classifier {
    /// The rules that are built in.
    pub fn new() -> Self {
        let (entries, errors) = read(BUILT_IN_NAME, BUILT_IN, Origin::BuiltIn);
        debug_assert!(errors.is_empty(), "{errors:#?}");
        Self::compile(entries).expect("the built-in rules have no fault; a test compiles them")
    }

    /// The built-in rules with an operator's: a rule of the same name takes the place of ours, `disabled` removes it, and
    /// others are asked before ours. `file` is the name that errors show.
    ///
    /// # Errors
    /// Every fault of the text, by place.
    pub fn with_rules(file: &str, text: &str) -> Result<Self, Vec<RuleError>> {
        Self::with_files(&[(file, text)])
    }

    /// As [`Classifier::with_rules`], with several files; rules of an earlier one are asked before those of a later.
    ///
    /// # Errors
    /// Every fault of the texts, by file and place.
    pub fn with_files(files: &[(&str, &str)]) -> Result<Self, Vec<RuleError>> {
        let (own, _) = read(BUILT_IN_NAME, BUILT_IN, Origin::BuiltIn);
        let (mut theirs, mut errors) = (Vec::new(), Vec::new());
        for (file, text) in files {
            let (entries, faults) = read(file, text, Origin::Operator);
            theirs.extend(entries);
            errors.extend(faults);
        }
        errors.extend(named_twice(&theirs));
        let mut ours: HashMap<Box<str>, Entry> = HashMap::new();
        for entry in own {
            if let Entry::Rule(rule) = &entry {
                ours.insert(rule.name.clone(), entry);
            }
        }
        for entry in &theirs {
            match entry {
                Entry::Rule(rule) => drop(ours.remove(&rule.name)),
                Entry::Disabled { name, place } => {
                    if ours.remove(name).is_none() {
                        let proposal = nearest(name, ours.keys().map(|name| &**name));
                        let proposal = proposal.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
                        let message = format!("there is no built-in rule of this name to disable{proposal}");
                        errors.push(RuleError { place: place.clone(), object: format!("[rule.{name}]"), message });
                    }
                }
            }
        }
        let mut ours: Vec<Entry> = ours.into_values().collect();
        ours.sort_by_key(|entry| (entry.place().line, entry.place().column));
        let entries = theirs.into_iter().chain(ours).collect();
        let file_of = |error: &RuleError| files.iter().position(|(file, _)| *file == &*error.place.file);
        match (Self::compile(entries), errors.is_empty()) {
            (Ok(classifier), true) => Ok(classifier),
            (Ok(_), false) => Err(errors),
            (Err(more), _) => {
                errors.extend(more);
                errors.sort_by_key(|error| (file_of(error), error.place.line, error.place.column));
                Err(errors)
            }
        }
    }

    fn compile(entries: Vec<Entry>) -> Result<Self, Vec<RuleError>> {
        let rules = entries.into_iter().filter_map(|entry| match entry {
            Entry::Rule(rule) => Some(*rule),
            Entry::Disabled { .. } => None,
        });
        let mut rules: Vec<Rule> = rules.collect();
        // Stable: rules that are alike in this stay in the order of their files and places.
        rules.sort_by_key(|rule| (!rule.is_domain_specific(), u8::MAX - rule.priority, rule.origin));
        let mut errors = repeated(&rules);
        errors.extend(excess(&rules));
        let mut numbers = Numbers::default();
        let wanted: Vec<Wanted> = rules.iter().map(|rule| numbers.wanted(rule)).collect();
        let octets: usize = numbers.phrases.iter().map(|phrase| phrase.text.len()).sum();
        if numbers.phrases.len() > PHRASES_MAX || octets > PHRASE_OCTETS_MAX {
            let message = format!(
                "with this file there are {} phrases of {octets} octets; {PHRASES_MAX} and {PHRASE_OCTETS_MAX} are the most",
                numbers.phrases.len()
            );
            errors.extend(blame(&rules, message));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let phrases = numbers.phrases;
        let automaton = DFA::builder()
            .match_kind(MatchKind::Standard)
            .start_kind(StartKind::Unanchored)
            .prefilter(false)
            .build(phrases.iter().map(|phrase| phrase.text.as_bytes()))
            .map_err(|error| blame(&rules, error.to_string()).into_iter().collect::<Vec<_>>())?;
        let (triggers, always) = triggers(&wanted, &phrases);
        Ok(Self { rules, wanted, phrases, triggers, always, automaton })
    }

    /// The rules, in the order in which they are asked.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The class of what was said.
    pub fn classify(&self, said: &Said<'_>) -> Verdict<'_> {
        let plain = Plain::new(said.text);
        match self.holding(said, plain.as_bytes()).0 {
            Some(rule) => Verdict { class: rule.class, reason: Reason::Rule(rule) },
            None => by_codes(said),
        }
    }

    /// What the classifier saw of `said`, and what `verdict` came from.
    pub fn explain(&self, said: &Said<'_>) -> Explanation {
        let plain = Plain::new(said.text);
        let (rule, found) = self.holding(said, plain.as_bytes());
        let index = rule.and_then(|rule| self.rules.iter().position(|candidate| std::ptr::eq(candidate, rule)));
        let numbers = index.map(|index| &self.wanted[index]).into_iter();
        let numbers = numbers.flat_map(|wanted| wanted.any.iter().chain(&wanted.all));
        let found = numbers.filter(|number| found.has(**number));
        let phrases = found.map(|number| self.phrases[usize::from(*number)].to_string()).collect();
        Explanation { text: String::from_utf8_lossy(plain.as_bytes()).into_owned(), phrases }
    }

    /// The first rule that holds, and the phrases found.
    fn holding(&self, said: &Said<'_>, text: &[u8]) -> (Option<&Rule>, PhraseSet) {
        let mut found = Bits([0; PHRASES_MAX / 64]);
        let mut candidates = self.always.clone();
        self.search(text, &mut found, &mut candidates);
        let rule = candidates.members().find(|index| self.holds(*index, said, text, &found));
        (rule.map(|index| &self.rules[index]), found)
    }

    /// One pass over the text: every phrase in it, and the rules that these are of.
    fn search(&self, text: &[u8], found: &mut PhraseSet, candidates: &mut RuleSet) {
        let automaton = &self.automaton;
        let Ok(mut state) = automaton.start_state(Anchored::No) else { return };
        for (at, octet) in text.iter().enumerate() {
            state = automaton.next_state(Anchored::No, state, *octet);
            if !automaton.is_special(state) || !automaton.is_match(state) {
                continue;
            }
            for index in 0..automaton.match_len(state) {
                let number = automaton.match_pattern(state, index).as_usize();
                let phrase = &self.phrases[number];
                let end = at + 1;
                let bit = number as u16;
                if !found.has(bit) && phrase.fits(text, end - phrase.text.len(), end) {
                    found.set(bit);
                    self.triggers[number].iter().for_each(|rule| candidates.set(*rule));
                }
            }
        }
    }

    fn holds(&self, index: usize, said: &Said<'_>, text: &[u8], found: &PhraseSet) -> bool {
        let (rule, wanted) = (&self.rules[index], &self.wanted[index]);
        let has = |number: &u16| found.has(*number);
        wanted.all.iter().all(has)
            && (wanted.any.is_empty() || wanted.any.iter().any(has))
            && !wanted.none.iter().any(has)
            && rule.when.admits(said)
            && rule.when.regex.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

impl Default for Classifier {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Classifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Classifier")
            .field("rules", &self.rules.len())
            .field("phrases", &self.phrases.len())
            .finish_non_exhaustive()
    }
}

fn by_codes(said: &Said<'_>) -> Verdict<'static> {
    let status = said
        .status
        .and_then(|status| Some(Verdict { class: class_of_status(status)?, reason: Reason::Status(status) }));
    let code = || {
        said.code.and_then(|code| Some(Verdict { class: class_of_code(code, said.phase)?, reason: Reason::Code(code) }))
    };
    status.or_else(code).unwrap_or(Verdict { class: Class::Undetermined, reason: Reason::Nothing })
}

/// Gives each different phrase a number.
#[derive(Default)]
struct Numbers {
    phrases: Vec<Phrase>,
    known: HashMap<Phrase, u16>,
}

impl Numbers {
    fn wanted(&mut self, rule: &Rule) -> Wanted {
        let when = &rule.when;
        Wanted { any: self.numbers(&when.any), all: self.numbers(&when.all), none: self.numbers(&when.none) }
    }

    fn numbers(&mut self, phrases: &[Phrase]) -> Vec<u16> {
        phrases.iter().map(|phrase| self.number(phrase)).collect()
    }

    /// Past the bound numbers repeat; the caller sees the count and refuses.
    fn number(&mut self, phrase: &Phrase) -> u16 {
        if let Some(number) = self.known.get(phrase) {
            return *number;
        }
        let number = self.phrases.len().min(PHRASES_MAX) as u16;
        self.phrases.push(phrase.clone());
        self.known.insert(phrase.clone(), number);
        number
    }
}

/// Which rules a phrase makes worth asking: those with it in `any`, and those without `any` of whose `all` it is the longest.
fn triggers(wanted: &[Wanted], phrases: &[Phrase]) -> (Vec<Vec<u16>>, RuleSet) {
    let mut triggers = vec![Vec::new(); phrases.len()];
    let len = |phrase: &&u16| phrases[usize::from(**phrase)].text.len();
    let mut always = Bits([0; RULES_MAX / 64]);
    for (index, wanted) in wanted.iter().enumerate() {
        let rule = index as u16;
        if !wanted.any.is_empty() {
            wanted.any.iter().for_each(|phrase| triggers[usize::from(*phrase)].push(rule));
        } else if let Some(phrase) = wanted.all.iter().max_by_key(len) {
            triggers[usize::from(*phrase)].push(rule);
        } else {
            always.set(rule);
        }
    }
    (triggers, always)
}

/// Rules of different files with one name. Within a file the format itself knows no such thing.
fn named_twice(entries: &[Entry]) -> Vec<RuleError> {
    let mut first: HashMap<&str, &Entry> = HashMap::new();
    let mut errors = Vec::new();
    for entry in entries {
        let (name, place) = (entry.name(), entry.place());
        let earlier = *first.entry(name).or_insert(entry);
        if !std::ptr::eq(earlier, entry) {
            let message = format!("there is a rule of this name at {} already", earlier.place());
            errors.push(RuleError { place: place.clone(), object: format!("[rule.{name}]"), message });
        }
    }
    errors
}

/// Rules that can never hold because one with the same conditions is asked before them.
fn repeated(rules: &[Rule]) -> Vec<RuleError> {
    let mut first: HashMap<String, &Rule> = HashMap::new();
    let mut errors = Vec::new();
    for rule in rules {
        let earlier = *first.entry(rule.when.fingerprint()).or_insert(rule);
        if !std::ptr::eq(earlier, rule) && earlier.origin == rule.origin {
            let verb = if earlier.class == rule.class { "repeats" } else { "contradicts" };
            let message = format!(
                "the rule {verb} [rule.{}] on line {}: the same conditions, which are asked first",
                earlier.name, earlier.place.line
            );
            let object = format!("[rule.{}]", rule.name);
            errors.push(RuleError { place: rule.place.clone(), object, message });
        }
    }
    errors
}

/// Too many rules.
fn excess(rules: &[Rule]) -> Vec<RuleError> {
    let unphrased: Vec<&Rule> =
        rules.iter().filter(|rule| rule.when.any.is_empty() && rule.when.all.is_empty()).collect();
    let mut errors = Vec::new();
    if rules.len() > RULES_MAX {
        errors
            .extend(blame(rules, format!("with this file there are {} rules; {RULES_MAX} are the most", rules.len())));
    }
    if let Some(rule) = unphrased.get(UNPHRASED_MAX) {
        let message = format!(
            "there are {} rules without `any` and `all`, which cost time for every reply; {UNPHRASED_MAX} are the most",
            unphrased.len()
        );
        errors.push(RuleError { place: rule.place.clone(), object: format!("[rule.{}]", rule.name), message });
    }
    errors
}

/// A fault of all rules together, at the place of the operator's last.
fn blame(rules: &[Rule], message: String) -> Option<RuleError> {
    let last = rules.iter().filter(|rule| rule.origin == Origin::Operator).max_by_key(|rule| rule.place.line);
    let rule = last.or(rules.last())?;
    Some(RuleError { place: rule.place.clone(), object: String::new(), message })
}
