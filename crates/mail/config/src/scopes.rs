//! The scopes of outgoing mail and their fall-back order, option by option. Written by `assemble.rs`, asked by the rooms
//! through [`crate::Config::domain_options`].
//!
//! Most specific first:
//! 1. `[binding_group.G.binding.B.domain."P"]`
//! 2. `[binding.B.domain."P"]`
//! 3. `[binding_group.G.domain."P"]`
//! 4. `[binding_group.G.binding.B]`
//! 5. `[binding.B]`
//! 6. `[binding_group.G]`
//! 7. `[domain."P"]`, of which `[domain."*"]` is the last
//! 8. the built-in default
//!
//! Within one of these places an exact name beats a suffix (longest first), which beats an expression (first declared),
//! which beats `*`.

use std::collections::HashMap;

use crate::options::{DomainOptions, DomainStanza, Explained, Stanza};
use crate::pattern::DomainMap;

/// Number of a stanza.
pub(crate) type StanzaIndex = u32;

/// A stanza with the header it stands under.
#[derive(Clone, Debug)]
pub(crate) struct ScopedStanza {
    /// As written: `binding.a.domain."*.example"`.
    pub(crate) header: String,
    pub(crate) stanza: DomainStanza,
    /// Offset of the header.
    pub(crate) at: usize,
}

/// A binding, alone or in a group: its own options and those of the domains inside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct BindingScope {
    /// `None` if only domains stand inside it.
    pub(crate) own: Option<StanzaIndex>,
    pub(crate) domains: DomainMap<StanzaIndex>,
}

/// A binding group.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupScope {
    pub(crate) own: Option<StanzaIndex>,
    pub(crate) domains: DomainMap<StanzaIndex>,
    pub(crate) bindings: HashMap<String, BindingScope>,
}

/// All scopes.
#[derive(Clone, Debug)]
pub(crate) struct DomainScopes {
    pub(crate) stanzas: Vec<ScopedStanza>,
    pub(crate) defaults: DomainStanza,
    pub(crate) domains: DomainMap<StanzaIndex>,
    pub(crate) bindings: HashMap<String, BindingScope>,
    pub(crate) groups: HashMap<String, GroupScope>,
}

impl DomainScopes {
    pub(crate) fn new() -> DomainScopes {
        DomainScopes {
            stanzas: Vec::new(),
            defaults: DomainStanza::defaults(),
            domains: DomainMap::default(),
            bindings: HashMap::new(),
            groups: HashMap::new(),
        }
    }

    /// The stanzas that apply, most specific first, without the defaults.
    pub(crate) fn chain(&self, domain: &str, binding: &str, group: Option<&str>) -> Vec<StanzaIndex> {
        let mut chain = Vec::new();
        let alone = self.bindings.get(binding);
        let group = group.and_then(|name| self.groups.get(name));
        let member = group.and_then(|group| group.bindings.get(binding));
        let matching = |domains: &DomainMap<StanzaIndex>| {
            let mut found = Vec::new();
            domains.visit(domain, |index| {
                found.push(index);
                false
            });
            found
        };
        chain.extend(member.into_iter().flat_map(|member| matching(&member.domains)));
        chain.extend(alone.into_iter().flat_map(|alone| matching(&alone.domains)));
        chain.extend(group.into_iter().flat_map(|group| matching(&group.domains)));
        chain.extend(member.and_then(|member| member.own));
        chain.extend(alone.and_then(|alone| alone.own));
        chain.extend(group.and_then(|group| group.own));
        chain.extend(matching(&self.domains));
        chain
    }

    /// The options that apply.
    pub(crate) fn resolve(&self, domain: &str, binding: &str, group: Option<&str>) -> DomainOptions {
        let chain = self.chain(domain, binding, group);
        DomainStanza::resolve(&self.links(&chain))
    }

    /// The options that apply, each with the header of the stanza that gives it; `None` is the default.
    pub(crate) fn explain(&self, domain: &str, binding: &str, group: Option<&str>) -> Vec<(Explained, Option<&str>)> {
        let chain = self.chain(domain, binding, group);
        let header = |link: usize| chain.get(link).map(|index| self.stanza(*index).header.as_str());
        let explained = DomainStanza::explain(&self.links(&chain));
        explained.into_iter().map(|line| (header(line.link), line)).map(|(header, line)| (line, header)).collect()
    }

    /// The header of the stanza that gives an option; `None` is the default.
    pub(crate) fn declaring_section(
        &self,
        domain: &str,
        binding: &str,
        group: Option<&str>,
        option: &str,
    ) -> Option<&str> {
        let chain = self.chain(domain, binding, group);
        let declares = |index: &StanzaIndex| self.stanza(*index).stanza.place_of(option).is_some();
        chain.into_iter().find(declares).map(|index| self.stanza(index).header.as_str())
    }

    pub(crate) fn stanza(&self, index: StanzaIndex) -> &ScopedStanza {
        &self.stanzas[index as usize]
    }

    fn links(&self, chain: &[StanzaIndex]) -> Vec<&DomainStanza> {
        chain.iter().map(|index| &self.stanza(*index).stanza).chain([&self.defaults]).collect()
    }
}
