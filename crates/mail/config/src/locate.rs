//! From the path of a section to the stanza it means. Part of `assemble.rs`'s work; makes the stanza when it is new.

use crate::assemble::Assembly;
use crate::error::quoted;
use crate::options::{DomainStanza, Scopes};
use crate::pattern::{DomainMap, Pattern};
use crate::scopes::{ScopedStanza, StanzaIndex};
use crate::suggest::nearest;
use crate::toml::{Key, written, written_part};

/// The stanza that a path means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spot {
    /// A word that only makes sense with a name behind it: `[listener]`.
    Parent(&'static str),
    Server,
    Engine,
    Spool,
    Memory,
    Resolver,
    Policy,
    Bounce,
    Feedback,
    Suppression,
    Shaping,
    Console,
    AutoSuppression(usize),
    Pool(usize),
    Listener(usize),
    Log(usize),
    Egress(usize),
    Tenant(usize),
    /// A stanza of the fall-back chain, and which options may stand in it.
    Domain(StanzaIndex, Scopes),
    /// A binding group: its own options and those that fall back.
    Group(usize, StanzaIndex),
}

/// The first words of paths.
const WORDS: [&str; 20] = [
    "server",
    "engine",
    "pool",
    "spool",
    "memory",
    "resolver",
    "listener",
    "domain",
    "binding",
    "binding_group",
    "egress",
    "tenant",
    "log",
    "policy",
    "bounce",
    "feedback",
    "suppression",
    "shaping",
    "auto_suppression",
    "console",
];
/// Longest name of a pool, listener, log, binding, group or tenant in bytes.
const NAME_MAX: usize = 64;
/// Parts of the deepest path: `binding_group.G.binding.B.domain."P"`.
pub(crate) const PATH_PARTS_MAX: usize = 6;

impl Assembly<'_> {
    /// Finds or makes the stanza. `None`: the path means nothing, which has been reported.
    pub(crate) fn locate(&mut self, path: &[Key]) -> Option<Spot> {
        let parts: Vec<&str> = path.iter().map(|key| key.value.as_str()).collect();
        match parts.as_slice() {
            ["server"] => Some(Spot::Server),
            ["engine"] => Some(Spot::Engine),
            ["spool"] => Some(Spot::Spool),
            ["memory"] => Some(Spot::Memory),
            ["resolver"] => Some(Spot::Resolver),
            ["policy"] => Some(Spot::Policy),
            ["bounce"] => Some(Spot::Bounce),
            ["feedback"] => Some(Spot::Feedback),
            ["suppression"] => Some(Spot::Suppression),
            ["shaping"] => Some(Spot::Shaping),
            ["auto_suppression"] => Some(Spot::Parent("auto_suppression.NAME")),
            ["console"] => Some(Spot::Console),
            ["pool"] => Some(Spot::Parent("pool.NAME")),
            ["listener"] => Some(Spot::Parent("listener.NAME")),
            ["log"] => Some(Spot::Parent("log.NAME")),
            ["egress"] => Some(Spot::Parent("egress.NAME")),
            ["tenant"] => Some(Spot::Parent("tenant.NAME")),
            ["binding"] => Some(Spot::Parent("binding.NAME")),
            ["binding_group"] => Some(Spot::Parent("binding_group.NAME")),
            ["domain"] | [.., "domain"] if self.is_domain_parent(&parts) => Some(Spot::Parent("domain.\"PATTERN\"")),
            ["binding_group", _, "binding"] => Some(Spot::Parent("binding.NAME")),
            ["pool", _] => self.checked_name(path).then(|| Spot::Pool(self.pools.find_or_make(path))),
            ["listener", _] => self.checked_name(path).then(|| Spot::Listener(self.listeners.find_or_make(path))),
            ["log", _] => self.checked_name(path).then(|| Spot::Log(self.logs.find_or_make(path))),
            ["egress", _] => self.checked_name(path).then(|| Spot::Egress(self.egress.find_or_make(path))),
            ["tenant", _] => self.checked_name(path).then(|| Spot::Tenant(self.tenants.find_or_make(path))),
            ["auto_suppression", _] => {
                self.checked_name(path).then(|| Spot::AutoSuppression(self.auto_suppressions.find_or_make(path)))
            }
            ["domain", ..] | ["binding" | "binding_group", _, ..] => self.locate_scope(path),
            _ => {
                self.report_unknown(path);
                None
            }
        }
    }

    fn is_domain_parent(&self, parts: &[&str]) -> bool {
        matches!(
            parts,
            ["domain"]
                | ["binding", _, "domain"]
                | ["binding_group", _, "domain"]
                | ["binding_group", _, "binding", _, "domain"]
        )
    }

    /// The stanzas of the fall-back chain.
    fn locate_scope(&mut self, path: &[Key]) -> Option<Spot> {
        let parts: Vec<&str> = path.iter().map(|key| key.value.as_str()).collect();
        match parts.as_slice() {
            ["domain", _] => self.locate_pattern(path),
            ["binding", name] if self.checked_name(path) => {
                let scope = self.scopes.bindings.entry((*name).to_owned()).or_default();
                let index = *scope.own.get_or_insert_with(|| add_stanza(&mut self.scopes.stanzas, path));
                Some(Spot::Domain(index, Scopes::BINDING))
            }
            ["binding_group", name] if self.checked_name(path) => {
                let scope = self.scopes.groups.entry((*name).to_owned()).or_default();
                let index = *scope.own.get_or_insert_with(|| add_stanza(&mut self.scopes.stanzas, path));
                Some(Spot::Group(self.groups.find_or_make(path), index))
            }
            ["binding_group", group, "binding", name] => {
                if !(self.checked_name(&path[..2]) && self.checked_name(path)) {
                    return None;
                }
                let scope = self.scopes.groups.entry((*group).to_owned()).or_default();
                let scope = scope.bindings.entry((*name).to_owned()).or_default();
                let index = *scope.own.get_or_insert_with(|| add_stanza(&mut self.scopes.stanzas, path));
                Some(Spot::Domain(index, Scopes::BINDING))
            }
            ["binding" | "binding_group", _, "domain", _] => {
                self.checked_name(&path[..2]).then(|| self.locate_pattern(path)).flatten()
            }
            ["binding_group", _, "binding", _, "domain", _] => {
                let named = self.checked_name(&path[..2]) && self.checked_name(&path[..4]);
                named.then(|| self.locate_pattern(path)).flatten()
            }
            ["binding", _] | ["binding_group", _] => None,
            _ => {
                self.report_unknown(path);
                None
            }
        }
    }

    /// The stanza of a path that ends with a pattern.
    fn locate_pattern(&mut self, path: &[Key]) -> Option<Spot> {
        let key = path.last()?;
        let header = written(path);
        if let Some(index) = self.patterns.get(&header) {
            return Some(Spot::Domain(*index, Scopes::DOMAIN));
        }
        let pattern = match Pattern::parse(&key.value) {
            Ok(pattern) => pattern,
            Err(problem) => {
                self.report.problem(key.at, format!("[{header}]"), problem);
                return None;
            }
        };
        let index = add_stanza(&mut self.scopes.stanzas, path);
        if let Some(first) = self.container(path).insert(pattern, index) {
            let first = self.scopes.stanza(first);
            let (line, other) = (self.report.line(first.at), first.header.clone());
            let message = format!("the same domain has a section on line {line}: [{other}]");
            self.report.error(key.at, format!("[{header}]"), message);
        }
        self.patterns.insert(header, index);
        Some(Spot::Domain(index, Scopes::DOMAIN))
    }

    /// The map that the pattern at the end of a path belongs to.
    fn container(&mut self, path: &[Key]) -> &mut DomainMap<StanzaIndex> {
        let name = |place: usize| path.get(place).map(|key| key.value.clone()).unwrap_or_default();
        match path.len() {
            4 if path[0].value == "binding" => &mut self.scopes.bindings.entry(name(1)).or_default().domains,
            4 => &mut self.scopes.groups.entry(name(1)).or_default().domains,
            6 => {
                let group = self.scopes.groups.entry(name(1)).or_default();
                &mut group.bindings.entry(name(3)).or_default().domains
            }
            _ => &mut self.scopes.domains,
        }
    }

    /// Whether the last part of a path can name something.
    fn checked_name(&mut self, path: &[Key]) -> bool {
        let Some(key) = path.last() else { return false };
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let sound = !key.value.is_empty() && key.value.len() <= NAME_MAX && key.value.bytes().all(letter);
        if !sound {
            let message =
                format!("\"{}\" is not a name; write up to {NAME_MAX} letters, digits, - _ and .", quoted(&key.value));
            self.report.error(key.at, format!("[{}]", written(path)), message);
        }
        sound
    }

    fn report_unknown(&mut self, path: &[Key]) {
        let Some(first) = path.first() else { return };
        let parts: Vec<&str> = path.iter().map(|key| key.value.as_str()).collect();
        let object = format!("[{}]", written(&path[..path.len().min(PATH_PARTS_MAX)]));
        let Some(word) = WORDS.iter().find(|word| **word == first.value) else {
            let proposal = nearest(&first.value, WORDS).map_or(String::new(), |word| {
                let rest: String = path[1..].iter().map(|key| format!(".{}", written_part(&key.value))).collect();
                format!("; did you mean `[{word}{rest}]`?")
            });
            self.report.error(first.at, object, format!("unknown section{proposal}"));
            return;
        };
        let domain = parts.iter().position(|part| *part == "domain");
        if let Some(start) = domain.filter(|start| parts.len() > start + 2 && parts.len() <= PATH_PARTS_MAX + 2) {
            let pattern = parts[start + 1..].join(".");
            let message = format!(
                "a domain pattern with dots needs quotes; did you mean `[{}.\"{}\"]`?",
                written(&path[..=start]),
                quoted(&pattern)
            );
            self.report.error(path[start + 1].at, object, message);
            return;
        }
        let inside = match *word {
            "binding" => "a binding has sections [binding.NAME.domain.\"PATTERN\"] only".to_owned(),
            "binding_group" => "a binding group has sections [binding_group.NAME.domain.\"PATTERN\"] and \
                                [binding_group.NAME.binding.NAME] only"
                .to_owned(),
            "pool" | "listener" | "log" | "egress" | "tenant" | "auto_suppression" => {
                format!("[{word}.NAME] has no sections inside")
            }
            single => format!("[{single}] has no sections inside"),
        };
        self.report.error(path.get(1).unwrap_or(first).at, object, inside);
    }
}

fn add_stanza(stanzas: &mut Vec<ScopedStanza>, path: &[Key]) -> StanzaIndex {
    let index = StanzaIndex::try_from(stanzas.len()).expect("a stanza takes more than a byte of a bounded text");
    let at = path.first().map_or(0, |key| key.at);
    stanzas.push(ScopedStanza { header: written(path), stanza: DomainStanza::default(), at });
    index
}
