//! One option on its way from an entry into its stanza: unknown names, repeated options and bad values are reported here.
//! Used by `assemble.rs` only.

use std::collections::HashSet;

use crate::error::{Reporter, quoted};
use crate::options::{DomainStanza, OptionRow, Place, Scopes, Stanza, option_table};
use crate::suggest::nearest;
use crate::toml::{Item, Key};

/// One option on its way into a stanza.
pub(crate) struct Put<'a, 't> {
    pub(crate) report: &'a mut Reporter<'t>,
    pub(crate) failed: &'a mut HashSet<(String, String)>,
    pub(crate) header: &'a str,
    pub(crate) key: &'a Key,
    pub(crate) item: &'a Item,
    pub(crate) place: Place,
}

impl Put<'_, '_> {
    pub(crate) fn fill<S: Stanza>(&mut self, stanza: &mut S) {
        self.read(stanza, &[]);
    }

    pub(crate) fn fill_scoped(&mut self, stanza: &mut DomainStanza, scope: Scopes, also: &[OptionRow]) {
        let row = DomainStanza::ROWS.iter().find(|row| row.name == self.key.value);
        if row.is_some_and(|row| !row.spec.scopes.contains(scope)) {
            let message = "this option stands in [binding.NAME] or [binding_group.NAME] only, not in a domain";
            self.report.error(self.key.at, self.object(), message);
            return;
        }
        self.read(stanza, also);
    }

    fn read<S: Stanza>(&mut self, stanza: &mut S, also: &[OptionRow]) {
        let name = self.key.value.as_str();
        if let Some(first) = stanza.place_of(name) {
            let message = format!("the option is set twice; first on line {}", first.line);
            self.report.error(self.key.at, self.object(), message);
            return;
        }
        match stanza.set(name, self.item, self.place) {
            None => self.unknown(S::ROWS, also),
            Some(Err(problem)) => {
                self.report.problem(self.place.at as usize, self.object(), problem);
                self.failed.insert((self.header.to_owned(), name.to_owned()));
            }
            Some(Ok(())) => {
                let later = S::ROWS.iter().find(|row| row.name == name).and_then(|row| row.spec.later);
                if let Some(why) = later {
                    self.report.warning(self.key.at, self.object(), why);
                }
            }
        }
    }

    fn object(&self) -> String {
        format!("[{}] {}", self.header, quoted(&self.key.value))
    }

    fn unknown(&mut self, rows: &[OptionRow], also: &[OptionRow]) {
        let name = self.key.value.as_str();
        let here = rows.iter().chain(also).map(|row| row.name);
        let elsewhere = || option_table().into_iter().find(|section| section.rows.iter().any(|row| row.name == name));
        let hint = match (nearest(name, here), elsewhere()) {
            (_, Some(section)) => format!("; it is an option of [{}]", section.header),
            (Some(near), None) => format!("; did you mean `{near}`?"),
            (None, None) => String::new(),
        };
        self.report.error(self.key.at, self.object(), format!("unknown option{hint}"));
    }

    /// An option before the first section.
    pub(crate) fn outside(&mut self) {
        let name = self.key.value.as_str();
        let home = option_table().into_iter().find(|section| section.rows.iter().any(|row| row.name == name));
        let hint = home.map_or(String::new(), |section| format!("; `{name}` belongs into [{}]", section.header));
        self.report.error(self.key.at, quoted(name), format!("an option stands outside of any section{hint}"));
    }

    /// An option in `[listener]` instead of `[listener.NAME]`.
    pub(crate) fn without_name(&mut self, form: &str) {
        let message = format!("an option stands in [{}], which has no name; write [{form}]", self.header);
        self.report.error(self.key.at, self.object(), message);
    }
}
