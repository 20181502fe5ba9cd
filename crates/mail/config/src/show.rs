//! `show-config`: what a scope resolves to, each value with where it comes from.

use std::fmt;

use crate::config::{Config, DEFAULT_BINDING, Explanation, Origin, explanation};
use crate::options::{DomainStanza, Stanza};

/// There is no such scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownScope {
    /// As asked for.
    pub scope: String,
    /// Scopes that exist, for the message.
    pub known: Vec<String>,
}

impl fmt::Display for UnknownScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no scope `{}`; there are {}", self.scope, self.known.join(", "))?;
        f.write_str(" and domain.NAME, binding.NAME/domain.NAME, binding_group.NAME/binding.NAME/domain.NAME")
    }
}

impl std::error::Error for UnknownScope {}

/// Scopes that a message names.
const KNOWN_MAX: usize = 20;

/// A question about the fall-back chain.
struct Asked<'s> {
    domain: &'s str,
    binding: &'s str,
    group: Option<&'s str>,
}

impl Config {
    /// Lines `name = value   # from file:12 [domain."*.example"]`, or `# default`. Without a scope: every section, and of
    /// the scopes that fall back what each of them sets. With one (`server`, `listener.mx`, `domain.example.org`,
    /// `binding.a/domain.example.org`, `binding_group.g/binding.a`): what it resolves to.
    ///
    /// # Errors
    /// There is no such scope.
    pub fn show_config(&self, scope: Option<&str>) -> Result<String, UnknownScope> {
        let Some(scope) = scope else { return Ok(self.show_everything()) };
        if let Some(section) = self.shown.iter().find(|section| section.header == scope) {
            let lines = section.lines.iter().map(|line| explanation(line, self.header_of(line.link, &section.header)));
            return Ok(self.write_lines(lines));
        }
        match self.asked(scope) {
            Some(asked) => Ok(self.write_lines(self.explain(asked.domain, asked.binding, asked.group).into_iter())),
            None => Err(self.unknown_scope(scope)),
        }
    }

    fn show_everything(&self) -> String {
        let mut out = String::new();
        for section in &self.shown {
            out.push_str(&format!("[{}]\n", section.header));
            let lines = section.lines.iter().map(|line| explanation(line, self.header_of(line.link, &section.header)));
            out.push_str(&self.write_lines(lines));
            out.push('\n');
        }
        for scoped in &self.scopes.stanzas {
            out.push_str(&format!("[{}]\n", scoped.header));
            let set = DomainStanza::explain(&[&scoped.stanza]);
            out.push_str(&self.write_lines(set.iter().map(|line| explanation(line, Some(&scoped.header)))));
            if let Some(group) = self.group_of(&scoped.header) {
                out.push_str(&group);
            }
            out.push('\n');
        }
        out
    }

    /// The members of a group, as a comment: they are no options of the fall-back chain.
    fn group_of(&self, header: &str) -> Option<String> {
        let group = self.binding_group(header.strip_prefix("binding_group.")?)?;
        let members: Vec<String> = group.members.iter().map(|(name, weight)| format!("{name} ×{weight}")).collect();
        Some(format!("# members: {}\n", members.join(", ")))
    }

    /// The header of a link in a chain of one stanza and the defaults.
    fn header_of<'h>(&self, link: usize, header: &'h str) -> Option<&'h str> {
        (link == 0).then_some(header)
    }

    fn write_lines(&self, lines: impl Iterator<Item = Explanation>) -> String {
        let mut out = String::new();
        for line in lines {
            let setting = format!("{} = {}", line.option, line.value);
            match line.origin {
                Origin::Default => out.push_str(&format!("{setting:<40}   # default\n")),
                Origin::File { line, scope } => {
                    out.push_str(&format!("{setting:<40}   # from {}:{line} [{scope}]\n", self.file));
                }
            }
        }
        out
    }

    /// Reads `binding_group.g/binding.a/domain.example.org`; each part may be missing, and existing things only.
    fn asked<'s>(&self, scope: &'s str) -> Option<Asked<'s>> {
        let mut asked = Asked { domain: "", binding: "", group: None };
        let mut rest = scope;
        if let Some((name, after)) = part(rest, "binding_group.") {
            self.binding_group(name)?;
            asked.group = Some(name);
            rest = after;
        }
        if let Some((name, after)) = part(rest, "binding.") {
            self.bindings.iter().find(|binding| &***binding == name)?;
            asked.binding = name;
            rest = after;
        }
        if let Some(name) = rest.strip_prefix("domain.").filter(|name| !name.is_empty()) {
            asked.domain = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
            rest = "";
        }
        if rest.is_empty() && asked.group.is_none() && asked.binding.is_empty() {
            asked.binding = DEFAULT_BINDING;
        }
        (rest.is_empty() && !scope.is_empty()).then_some(asked)
    }

    fn unknown_scope(&self, scope: &str) -> UnknownScope {
        let bindings = self.bindings.iter().map(|binding| format!("binding.{binding}"));
        let groups = self.binding_groups.iter().map(|group| format!("binding_group.{}", group.name));
        let known = self.shown.iter().map(|section| section.header.clone()).chain(bindings).chain(groups);
        UnknownScope { scope: scope.to_owned(), known: known.take(KNOWN_MAX).collect() }
    }
}

/// A part of a scope with this prefix, and what follows the slash behind it.
fn part<'s>(scope: &'s str, prefix: &str) -> Option<(&'s str, &'s str)> {
    let rest = scope.strip_prefix(prefix)?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}
