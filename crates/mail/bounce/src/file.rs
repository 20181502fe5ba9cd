//! Rule files: TOML to rules, each fault with its place. Called when a classifier is made; goes on after a fault, so that
//! one run reports all of them. Knows nothing of matching, and opens no file: the caller has its text.

use crate::class::{CLASSES, Class};
use crate::error::{ErrorList, RuleError, nearest, quoted};
use crate::rule::{CodePattern, Conditions, DomainPattern, Origin, Phrase, Place, Rule, StatusPattern};
use crate::said::Phase;
use regex::bytes::{Regex, RegexBuilder};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// Octets of a rule file that are read.
pub const FILE_MAX: usize = 1 << 20;
/// Elements of one list of a rule.
const LIST_MAX: usize = 256;
/// Octets of a rule's name.
const NAME_MAX: usize = 64;
/// Octets of a regular expression, and of what it compiles to.
const REGEX_MAX: usize = 500;
const REGEX_COMPILED_MAX: usize = 128 * 1024;
/// The priority of a rule that gives none.
const PRIORITY: u8 = 50;

const KEYS: [&str; 12] =
    ["class", "priority", "code", "status", "phase", "domain", "any", "all", "none", "regex", "note", "disabled"];

type Key<'t> = Spanned<DeString<'t>>;
type Value<'t> = Spanned<DeValue<'t>>;

/// What a rule file says of one name.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// Here is a rule.
    Rule(Box<Rule>),
    /// The built-in rule of this name is not to be used.
    Disabled { name: Box<str>, place: Place },
}

impl Entry {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Rule(rule) => &rule.name,
            Self::Disabled { name, .. } => name,
        }
    }

    pub(crate) fn place(&self) -> &Place {
        match self {
            Self::Rule(rule) => &rule.place,
            Self::Disabled { place, .. } => place,
        }
    }
}

/// Reads a file's text. What has no fault is returned beside the faults, in the order of the file.
pub(crate) fn read(file: &str, text: &str, origin: Origin) -> (Vec<Entry>, Vec<RuleError>) {
    let mut faults = ErrorList::new(file, text);
    if text.len() > FILE_MAX {
        faults.add(0, "", format!("the file has {} octets; {FILE_MAX} are the most", text.len()));
        return (Vec::new(), faults.finish());
    }
    let (document, broken) = DeTable::parse_recoverable(text);
    for error in &broken {
        faults.add(error.span().map_or(0, |span| span.start), "", error.message().to_owned());
    }
    let mut entries: Vec<(usize, Entry)> = Vec::new();
    for (key, value) in document.get_ref() {
        match (&**key.get_ref(), value.get_ref()) {
            ("rule", DeValue::Table(rules)) => {
                for (name, value) in rules {
                    let mut reader = Reader { faults: &mut faults, origin, object: String::new() };
                    entries.extend(reader.entry(name, value).map(|entry| (name.span().start, entry)));
                }
            }
            ("rule", _) => faults.add(key.span().start, "", "rules are sections: write [rule.NAME]".to_owned()),
            (other, _) => {
                let message = format!("unknown section `{}`; rules are sections [rule.NAME]", quoted(other));
                faults.add(key.span().start, "", message);
            }
        }
    }
    entries.sort_by_key(|(at, _)| *at);
    (entries.into_iter().map(|(_, entry)| entry).collect(), faults.finish())
}

/// Reads one section.
struct Reader<'f, 't> {
    faults: &'f mut ErrorList<'t>,
    origin: Origin,
    /// `rule.NAME`, for faults.
    object: String,
}

/// Keys of a section that belong to no condition.
#[derive(Default)]
struct Head {
    class: Option<Class>,
    priority: Option<u8>,
    disabled: bool,
}

impl Reader<'_, '_> {
    fn entry(&mut self, name: &Key<'_>, value: &Value<'_>) -> Option<Entry> {
        let at = name.span().start;
        let text = name.get_ref();
        self.object = format!("rule.{}", quoted(text));
        let letter = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > NAME_MAX || !text.bytes().all(letter) {
            self.fault(at, "", format!("a rule's name has 1 to {NAME_MAX} letters, digits, `-`, `_` and `.`"));
            return None;
        }
        let DeValue::Table(table) = value.get_ref() else {
            self.fault(at, "", format!("a rule is a section: write [rule.{text}]"));
            return None;
        };
        let place = self.faults.place(at);
        let before = self.faults.len();
        let (head, when) = self.section(table);
        if head.disabled {
            self.check_disabled(at, table.len());
            return (self.faults.len() == before).then(|| Entry::Disabled { name: (&**text).into(), place });
        }
        self.check_conditions(at, &when);
        if head.class.is_none() && !table.iter().any(|(key, _)| key.get_ref() == "class") {
            self.fault(at, "", "the rule has no `class`".into());
        }
        let class = head.class?;
        let priority = head.priority.unwrap_or(PRIORITY);
        let rule = Rule { name: (&**text).into(), class, place, origin: self.origin, priority, when };
        (self.faults.len() == before).then(|| Entry::Rule(Box::new(rule)))
    }

    fn section(&mut self, table: &DeTable<'_>) -> (Head, Conditions) {
        let (mut head, mut when) = (Head::default(), Conditions::default());
        for (key, value) in table {
            let name = &**key.get_ref();
            match name {
                "class" => head.class = self.one(name, value, Reader::class),
                "priority" => head.priority = self.priority(value),
                "disabled" => head.disabled = self.disabled(value),
                "note" => drop(self.text(name, value)),
                "code" => when.codes = self.list(name, value, Reader::code),
                "status" => when.statuses = self.list(name, value, Reader::status),
                "phase" => self.list(name, value, Reader::phase).into_iter().for_each(|phase| when.phases.add(phase)),
                "domain" => when.domains = self.list(name, value, Reader::domain),
                "any" => when.any = self.list(name, value, Reader::phrase),
                "all" => when.all = self.list(name, value, Reader::phrase),
                "none" => when.none = self.list(name, value, Reader::phrase),
                "regex" => when.regex = self.one(name, value, Reader::regex),
                other => {
                    let proposal = nearest(other, KEYS).map_or(String::new(), |key| format!("; did you mean `{key}`?"));
                    self.fault(key.span().start, &quoted(other), format!("unknown key{proposal}"));
                }
            }
        }
        (head, when)
    }

    fn fault(&mut self, at: usize, key: &str, message: String) {
        let object = if key.is_empty() { format!("[{}]", self.object) } else { format!("[{}] {key}", self.object) };
        self.faults.add(at, &object, message);
    }

    /// A value's text; a number counts as its digits.
    fn text(&mut self, key: &str, value: &Value<'_>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) if key == "code" => Some(number.as_str().to_owned()),
            other => {
                self.fault(value.span().start, key, format!("a string is needed, not {}", other.type_str()));
                None
            }
        }
    }

    fn one<T>(&mut self, key: &str, value: &Value<'_>, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(key, value)?;
        parse(&text).map_err(|message| self.fault(value.span().start, key, message)).ok()
    }

    /// A list; a single value is a list of one.
    fn list<T: PartialEq>(&mut self, key: &str, value: &Value<'_>, parse: fn(&str) -> Result<T, String>) -> Vec<T> {
        let DeValue::Array(elements) = value.get_ref() else {
            return self.one(key, value, parse).into_iter().collect();
        };
        if elements.is_empty() || elements.len() > LIST_MAX {
            let message = format!("the list has {} elements; 1 to {LIST_MAX} are right", elements.len());
            self.fault(value.span().start, key, message);
            return Vec::new();
        }
        let mut list = Vec::with_capacity(elements.len());
        for element in elements.iter() {
            match self.one(key, element, parse) {
                Some(parsed) if list.contains(&parsed) => {
                    self.fault(element.span().start, key, "the list has this twice".into());
                }
                parsed => list.extend(parsed),
            }
        }
        list
    }

    fn priority(&mut self, value: &Value<'_>) -> Option<u8> {
        let number = value.get_ref().as_integer().and_then(|number| number.as_str().parse().ok());
        if number.is_none_or(|number| number > 100) {
            self.fault(
                value.span().start,
                "priority",
                "a number from 0 to 100 is needed; higher is asked earlier".into(),
            );
        }
        number
    }

    fn disabled(&mut self, value: &Value<'_>) -> bool {
        let flag = value.get_ref().as_bool();
        if flag != Some(true) {
            self.fault(value.span().start, "disabled", "only `true` is of use; leave the key out otherwise".into());
        }
        flag == Some(true)
    }

    fn class(text: &str) -> Result<Class, String> {
        Class::named(text).ok_or_else(|| {
            let proposal = nearest(text, CLASSES.map(|row| row.name));
            let proposal = proposal.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
            format!("there is no class `{}`{proposal}", quoted(text))
        })
    }

    fn code(text: &str) -> Result<CodePattern, String> {
        CodePattern::parse(text).ok_or_else(|| {
            format!("`{}` is no reply code; write 550, or \"5\" for all that begin with 5", quoted(text))
        })
    }

    fn status(text: &str) -> Result<StatusPattern, String> {
        StatusPattern::parse(text)
            .ok_or_else(|| format!("`{}` is no status code; write \"5.1.1\", or \"5.1.*\"", quoted(text)))
    }

    fn phase(text: &str) -> Result<Phase, String> {
        Phase::ALL.into_iter().find(|phase| phase.name() == text).ok_or_else(|| {
            let names = Phase::ALL.map(Phase::name);
            let proposal = nearest(text, names).map_or(String::new(), |name| format!("; did you mean `{name}`?"));
            format!("there is no phase `{}`{proposal}; there are {}", quoted(text), names.join(", "))
        })
    }

    fn domain(text: &str) -> Result<DomainPattern, String> {
        DomainPattern::parse(text)
            .ok_or_else(|| format!("`{}` is no domain; write \"example.org\" or \"*.example.org\"", quoted(text)))
    }

    fn phrase(text: &str) -> Result<Phrase, String> {
        Phrase::parse(text)
    }

    fn regex(text: &str) -> Result<Regex, String> {
        if text.len() > REGEX_MAX {
            return Err(format!("the expression has {} octets; {REGEX_MAX} are the most", text.len()));
        }
        let built = RegexBuilder::new(text)
            .unicode(false)
            .size_limit(REGEX_COMPILED_MAX)
            .dfa_size_limit(REGEX_COMPILED_MAX)
            .build();
        let regex = built.map_err(|error| {
            let text = error.to_string();
            let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            format!("no regular expression: {}", last.trim().trim_start_matches("error: "))
        })?;
        if regex.is_match(b"") {
            return Err("the expression matches the empty text, and so every reply".into());
        }
        if text.chars().any(|letter| letter.is_ascii_uppercase()) && !text.contains('\\') && !text.contains("(?i") {
            return Err("replies are read in lower case; the expression has capital letters".into());
        }
        Ok(regex)
    }

    fn check_disabled(&mut self, at: usize, keys: usize) {
        if keys > 1 {
            self.fault(at, "", "a rule that is disabled has no other keys".into());
        }
        if self.origin == Origin::BuiltIn {
            self.fault(at, "", "a built-in rule that is not used is removed instead".into());
        }
    }

    /// Conditions that can never hold together, or that hold always.
    fn check_conditions(&mut self, at: usize, when: &Conditions) {
        let phrases = when.any.len() + when.all.len();
        if phrases + when.codes.len() + when.statuses.len() + when.domains.len() == 0 {
            self.fault(at, "", "the rule has no condition and would take every reply".into());
        }
        if phrases == 0 && (when.regex.is_some() || !when.none.is_empty()) {
            let message = "`regex` and `none` need `any` or `all` beside them: words that make the rule worth asking";
            self.fault(at, "", message.into());
        }
        let classes: Vec<u8> = when.codes.iter().map(|code| code.class()).collect();
        let reachable = |status: &StatusPattern| status.class().is_none_or(|class| classes.contains(&class));
        if !classes.is_empty() && !when.statuses.is_empty() && !when.statuses.iter().any(reachable) {
            self.fault(at, "", "`code` and `status` contradict each other: their first digits differ".into());
        }
        for none in &when.none {
            let all = when.all.iter().find(|phrase| phrase.implies(none));
            let every = when.any.iter().all(|phrase| phrase.implies(none)).then(|| when.any.first()).flatten();
            if let Some(phrase) = all.or(every) {
                self.fault(at, "", format!("contradiction: \"{phrase}\" is wanted and \"{none}\" must not be there"));
            }
        }
    }
}
