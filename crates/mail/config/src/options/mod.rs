//! The option table: every option of the configuration, once.
//!
//! A row is one line in a [`section!`] block: name, type, default, then what limits it (`range`, `scopes`, `restart`,
//! `later`); the comment above it is its documentation. From the rows come the typed structs that the rooms read, the
//! parser, the checks, the defaults, "did you mean", `show-config` and `docs/options.md`. To add an option, add a row.
//!
//! A row's type says how its value is written; types live in `value/`. Nothing else knows the names of options, apart
//! from the derived defaults that `assemble.rs` fills in.

use crate::error::Problem;
use crate::toml::Item;
use crate::value::{Kind, OptionValue};

mod bounce;
mod domain;
mod egress;
mod listener;
mod log;
mod machine;
mod server;
mod shaping;
mod suppression;

pub use bounce::{BounceOptions, FeedbackOptions};
pub use domain::{BindingGroupOptions, DomainOptions};
pub use egress::{EgressOptions, TenantOptions};
pub use listener::ListenerOptions;
pub use log::LogOptions;
pub use machine::{EngineOptions, MemoryOptions, PoolOptions, ResolverOptions, SpoolOptions};
pub use server::{ConsoleOptions, PolicyOptions, ServerOptions};
pub use shaping::ShapingOptions;
pub use suppression::{AutoSuppressionOptions, SuppressionOptions};

pub(crate) use bounce::{BounceStanza, FeedbackStanza};
pub(crate) use domain::{BindingGroupStanza, DomainStanza};
pub(crate) use egress::{EgressStanza, TenantStanza};
pub(crate) use listener::ListenerStanza;
pub(crate) use log::LogStanza;
pub(crate) use machine::{EngineStanza, MemoryStanza, PoolStanza, ResolverStanza, SpoolStanza};
pub(crate) use server::{ConsoleStanza, PolicyStanza, ServerStanza};
pub(crate) use shaping::ShapingStanza;
pub(crate) use suppression::{AutoSuppressionStanza, SuppressionStanza};

/// One row of the option table.
#[derive(Clone, Copy, Debug)]
pub struct OptionRow {
    /// The key in the file.
    pub name: &'static str,
    /// How its value is written.
    pub kind: Kind,
    /// Default and limits.
    pub spec: Spec,
    /// What it does, one paragraph.
    pub documentation: &'static str,
}

/// Default and limits of one option, built by a chain that starts with `default` or `derived`.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The value when no stanza sets the option.
    pub default: DefaultValue,
    /// Smallest and largest value, in the option's own notation.
    pub range: Option<(&'static str, &'static str)>,
    /// Where the option may stand, for those with a fall-back order.
    pub scopes: Scopes,
    /// When a changed value takes effect.
    pub change: Change,
    /// Why the option has no effect yet, if so. It is then accepted with a warning.
    pub later: Option<&'static str>,
}

/// Where the value of an option comes from when no stanza sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// This text, in the option's own notation.
    Fixed(&'static str),
    /// From other options or the machine, as the text says.
    Derived(&'static str),
}

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// With the next reload.
    Reload,
    /// With the next start.
    Restart,
}

/// The stanzas in which an option of the domain table may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// `[domain."…"]`, alone or inside a binding or a binding group.
    pub const DOMAIN: Scopes = Scopes(1);
    /// `[binding.…]`, alone or inside a binding group.
    pub const BINDING: Scopes = Scopes(2);
    /// `[binding_group.…]`.
    pub const BINDING_GROUP: Scopes = Scopes(4);
    /// Everywhere.
    pub const ALL: Scopes = Scopes(7);

    /// These and those.
    #[must_use]
    pub const fn or(self, other: Scopes) -> Scopes {
        Scopes(self.0 | other.0)
    }

    /// Whether any of `other` is among these.
    #[must_use]
    pub const fn contains(self, other: Scopes) -> bool {
        self.0 & other.0 != 0
    }
}

/// A section of the file with its rows.
#[derive(Clone, Copy, Debug)]
pub struct SectionRows {
    /// As its header is written: `listener.NAME`.
    pub header: &'static str,
    /// What it is for.
    pub documentation: &'static str,
    /// Its options.
    pub rows: &'static [OptionRow],
}

/// The option table, section by section, in the order of the documentation.
#[must_use]
pub fn option_table() -> [SectionRows; 19] {
    fn rows<S: Stanza>(header: &'static str) -> SectionRows {
        SectionRows { header, documentation: S::DOCUMENTATION, rows: S::ROWS }
    }
    [
        rows::<ServerStanza>("server"),
        rows::<EngineStanza>("engine"),
        rows::<PoolStanza>("pool.NAME"),
        rows::<SpoolStanza>("spool"),
        rows::<MemoryStanza>("memory"),
        rows::<ResolverStanza>("resolver"),
        rows::<ListenerStanza>("listener.NAME"),
        rows::<DomainStanza>("domain.\"PATTERN\""),
        rows::<BindingGroupStanza>("binding_group.NAME"),
        rows::<EgressStanza>("egress.NAME"),
        rows::<TenantStanza>("tenant.NAME"),
        rows::<LogStanza>("log.NAME"),
        rows::<PolicyStanza>("policy"),
        rows::<BounceStanza>("bounce"),
        rows::<FeedbackStanza>("feedback"),
        rows::<SuppressionStanza>("suppression"),
        rows::<ShapingStanza>("shaping"),
        rows::<AutoSuppressionStanza>("auto_suppression.NAME"),
        rows::<ConsoleStanza>("console"),
    ]
}

const fn spec(default: DefaultValue) -> Spec {
    Spec { default, range: None, scopes: Scopes::ALL, change: Change::Reload, later: None }
}

/// A row with a fixed default, in the option's own notation.
pub(crate) const fn default(text: &'static str) -> Spec {
    spec(DefaultValue::Fixed(text))
}

/// A row whose default is filled in by `assemble.rs`; the text says from what.
pub(crate) const fn derived(text: &'static str) -> Spec {
    spec(DefaultValue::Derived(text))
}

impl Spec {
    /// Smallest and largest value, both allowed.
    pub(crate) const fn range(mut self, min: &'static str, max: &'static str) -> Spec {
        self.range = Some((min, max));
        self
    }

    /// Where the option may stand.
    pub(crate) const fn scopes(mut self, scopes: Scopes) -> Spec {
        self.scopes = scopes;
        self
    }

    /// A change needs a restart.
    pub(crate) const fn restart(mut self) -> Spec {
        self.change = Change::Restart;
        self
    }

    /// Accepted, checked, and without effect in this release.
    pub(crate) const fn later(mut self, why: &'static str) -> Spec {
        self.later = Some(why);
        self
    }
}

/// Where a value stands. Line 0 is the built-in default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u32,
    /// Byte offset of the value, which fits: texts are bounded.
    pub(crate) at: u32,
}

/// A value that a stanza sets, and the place that says so.
#[derive(Clone, Debug)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// An option of a stanza. Boxed, because most stanzas set few options and there may be many stanzas.
pub(crate) type Slot<T> = Option<Box<Setting<T>>>;

impl<T> Setting<T> {
    pub(crate) fn built_in(value: T) -> Slot<T> {
        Some(Box::new(Setting { value, place: Place::default() }))
    }
}

/// One option as a chain of stanzas resolves it.
#[derive(Clone, Debug)]
pub(crate) struct Explained {
    pub(crate) row: &'static OptionRow,
    pub(crate) value: String,
    /// Which link of the chain gave the value.
    pub(crate) link: usize,
    pub(crate) line: u32,
}

/// What one stanza of a section sets: every option may be absent. Generated by [`section!`].
pub(crate) trait Stanza: Default + Clone {
    /// The struct with every option resolved.
    type Options;
    /// The rows, in the order of the documentation.
    const ROWS: &'static [OptionRow];
    /// The section's own documentation.
    const DOCUMENTATION: &'static str;

    /// Reads one value; `None` if the section has no such option.
    fn set(&mut self, name: &str, item: &Item, place: Place) -> Option<Result<(), Problem>>;
    /// The place that set the option, if one did.
    fn place_of(&self, name: &str) -> Option<Place>;
    /// A stanza that sets every option with a fixed default.
    fn defaults() -> Self;
    /// The first link that sets an option gives its value; the last link sets them all.
    fn resolve(chain: &[&Self]) -> Self::Options;
    /// As [`Stanza::resolve`], in words.
    fn explain(chain: &[&Self]) -> Vec<Explained>;
}

/// Reads a value and checks its range.
pub(crate) fn read<T: OptionValue>(row: &OptionRow, item: &Item) -> Result<T, Problem> {
    let value = match (T::from_item(item), row.spec.range, item) {
        (Ok(value), ..) => value,
        (Err(_), Some((min, max)), Item::Integer(number)) => {
            return Err(Problem::new(format!("{number} is out of range; write {min} to {max}")));
        }
        (Err(problem), ..) => return Err(problem),
    };
    let (Some((min, max)), Some(measure)) = (row.spec.range, value.measure()) else { return Ok(value) };
    let bound = |text: &str| T::from_text(text).ok().and_then(|bound| bound.measure());
    let below = bound(min).is_some_and(|min| measure < min);
    let above = bound(max).is_some_and(|max| measure > max);
    if below || above {
        return Err(Problem::new(format!("{} is out of range; write {min} to {max}", value.to_toml())));
    }
    Ok(value)
}

/// The value of a fixed default. Every row's default is read by a test, so it cannot fail at run time.
pub(crate) fn built_in<T: OptionValue>(row: &OptionRow) -> Slot<T> {
    match row.spec.default {
        DefaultValue::Fixed(text) => T::from_text(text).ok().and_then(Setting::built_in),
        DefaultValue::Derived(_) => None,
    }
}

/// Declares one section: the public struct of resolved options, the stanza behind it, and its rows.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])+
        $options:ident from $stanza:ident {
            $( $(#[doc = $doc:literal])+ $name:ident : $ty:ty = $spec:expr; )+
        }
    ) => {
        $(#[doc = $section_doc])+
        #[derive(Clone, Debug)]
        pub struct $options {
            $( $(#[doc = $doc])+ pub $name: $ty, )+
        }

        /// What one stanza sets.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct $stanza {
            $( pub(crate) $name: $crate::options::Slot<$ty>, )+
        }

        impl $crate::options::Stanza for $stanza {
            type Options = $options;
            const ROWS: &'static [$crate::options::OptionRow] = &[
                $( $crate::options::OptionRow {
                    name: stringify!($name),
                    kind: <$ty as $crate::value::OptionValue>::KIND,
                    spec: $spec,
                    documentation: concat!($($doc, "\n"),+),
                }, )+
            ];
            const DOCUMENTATION: &'static str = concat!($($section_doc, "\n"),+);

            fn set(
                &mut self,
                name: &str,
                item: &$crate::toml::Item,
                place: $crate::options::Place,
            ) -> Option<Result<(), $crate::error::Problem>> {
                let row = Self::ROWS.iter().find(|row| row.name == name)?;
                match name {
                    $( stringify!($name) => Some($crate::options::read(row, item).map(|value| {
                        self.$name = Some(Box::new($crate::options::Setting { value, place }));
                    })), )+
                    _ => None,
                }
            }

            fn place_of(&self, name: &str) -> Option<$crate::options::Place> {
                match name {
                    $( stringify!($name) => self.$name.as_ref().map(|setting| setting.place), )+
                    _ => None,
                }
            }

            fn defaults() -> Self {
                let mut rows = Self::ROWS.iter();
                Self {
                    $( $name: rows.next().and_then($crate::options::built_in), )+
                }
            }

            fn resolve(chain: &[&Self]) -> $options {
                $options {
                    $( $name: chain
                        .iter()
                        .find_map(|stanza| stanza.$name.as_ref())
                        .expect("the last link sets every option; a test resolves the defaults of every section")
                        .value
                        .clone(), )+
                }
            }

            fn explain(chain: &[&Self]) -> Vec<$crate::options::Explained> {
                let mut rows = Self::ROWS.iter();
                let mut lines = Vec::with_capacity(Self::ROWS.len());
                $(
                    let row = rows.next().expect("one row per field");
                    let found = chain.iter().enumerate().find_map(|(link, s)| Some((link, s.$name.as_ref()?)));
                    if let Some((link, setting)) = found {
                        let value = $crate::value::OptionValue::to_toml(&setting.value);
                        lines.push($crate::options::Explained { row, value, link, line: setting.place.line });
                    }
                )+
                lines
            }
        }
    };
}
pub(crate) use section;
