//! One generation of the configuration: what the rooms read. Made by [`Config::parse`], never changed afterwards; a reload
//! makes another one.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use crate::assemble::assemble;
use crate::error::{ConfigError, ConfigWarning};
use crate::options::{
    AutoSuppressionOptions, BounceOptions, ConsoleOptions, DomainOptions, EgressOptions, EngineOptions, Explained,
    FeedbackOptions, ListenerOptions, LogOptions, MemoryOptions, PolicyOptions, PoolOptions, ResolverOptions,
    ServerOptions, ShapingOptions, SpoolOptions, SuppressionOptions, TenantOptions,
};
use crate::scopes::DomainScopes;

/// Options that belong to a name, as `mx` in `[listener.mx]`. The options are reached directly: `listener.max_sessions`.
#[derive(Clone, Debug)]
pub struct Named<T> {
    /// The name.
    pub name: Arc<str>,
    /// The options.
    pub options: T,
}

impl<T> Deref for Named<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.options
    }
}

/// A `[listener.NAME]`.
pub type Listener = Named<ListenerOptions>;
/// A `[log.NAME]`.
pub type Log = Named<LogOptions>;
/// An `[egress.NAME]`.
pub type Egress = Named<EgressOptions>;
/// A `[tenant.NAME]`.
pub type Tenant = Named<TenantOptions>;
/// An `[auto_suppression.NAME]`.
pub type AutoSuppression = Named<AutoSuppressionOptions>;
/// A `[pool.NAME]`.
pub type Pool = Named<PoolOptions>;

/// A `[binding_group.NAME]`: which bindings share its mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingGroup {
    /// The name.
    pub name: Arc<str>,
    /// The bindings with their weights. At least one weight is not 0.
    pub members: Vec<(Arc<str>, u32)>,
}

/// What the configuration takes from its surroundings, since it looks at nothing itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The number of the generation to make.
    pub generation: u64,
    /// The machine's name: the default of `[server] hostname`. If it is no valid name, `localhost` is used.
    pub hostname: String,
    /// The machine's name servers: the default of `[resolver] servers`.
    pub name_servers: Vec<SocketAddr>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Surroundings {
            generation: 0,
            hostname: "localhost".to_owned(),
            name_servers: vec![SocketAddr::from(([127, 0, 0, 1], 53))],
        }
    }
}

/// One generation of the configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its number, as the caller gave it.
    pub generation: u64,
    /// The file's name, as the caller gave it.
    pub file: Arc<str>,
    /// `[server]`
    pub server: ServerOptions,
    /// `[engine]`
    pub engine: EngineOptions,
    /// `[pool.NAME]`: always `swap-in`, `swap-out`, `cpu` and `io`, then the file's own.
    pub pools: Vec<Pool>,
    /// `[spool]`
    pub spool: SpoolOptions,
    /// `[memory]`
    pub memory: MemoryOptions,
    /// `[resolver]`
    pub resolver: ResolverOptions,
    /// `[listener.NAME]`, in the order of the file.
    pub listeners: Vec<Listener>,
    /// `[log.NAME]`, in the order of the file. Paths are complete.
    pub logs: Vec<Log>,
    /// `[policy]`
    pub policy: PolicyOptions,
    /// `[bounce]`
    pub bounce: BounceOptions,
    /// `[feedback]`
    pub feedback: FeedbackOptions,
    /// `[suppression]`
    pub suppression: SuppressionOptions,
    /// `[shaping]`
    pub shaping: ShapingOptions,
    /// `[auto_suppression.NAME]`, in the order of the file.
    pub auto_suppressions: Vec<AutoSuppression>,
    /// `[console]`
    pub console: ConsoleOptions,
    /// The names of the bindings: always `default`, then the file's own.
    pub bindings: Vec<Arc<str>>,
    /// `[binding_group.NAME]`, in the order of the file.
    pub binding_groups: Vec<BindingGroup>,
    /// `[egress.NAME]`, in the order of the file.
    pub egress: Vec<Egress>,
    /// `[tenant.NAME]`, in the order of the file.
    pub tenants: Vec<Tenant>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<ConfigWarning>,
    pub(crate) scopes: DomainScopes,
    /// The sections without fall-back, as `show_config` writes them.
    pub(crate) shown: Vec<ShownSection>,
}

/// A section without fall-back, in words.
#[derive(Clone, Debug)]
pub(crate) struct ShownSection {
    /// As its header is written.
    pub(crate) header: String,
    pub(crate) lines: Vec<Explained>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in, or from the surroundings.
    Default,
    /// From the file.
    File {
        /// The line.
        line: u32,
        /// The header of the section, as written: `domain."*.example"`.
        scope: String,
    },
}

/// One option of a resolved scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Its name.
    pub option: &'static str,
    /// Its value as it would be written in the file.
    pub value: String,
    /// Which scope gave it.
    pub origin: Origin,
}

/// The binding that mail has unless something gives it another.
pub const DEFAULT_BINDING: &str = "default";

impl Config {
    /// Reads a configuration. `file_name` is only shown in messages. Reports every error it finds, up to 100, in the order
    /// of the text. Takes time linear in the text, and never panics on any text.
    ///
    /// # Errors
    /// All that is wrong with the text; nothing of it is then in effect.
    pub fn parse(file_name: &str, text: &str) -> Result<Config, Vec<ConfigError>> {
        Self::parse_in(&Surroundings::default(), file_name, text)
    }

    /// As [`Config::parse`], with the machine's name, its name servers and the generation's number.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn parse_in(around: &Surroundings, file_name: &str, text: &str) -> Result<Config, Vec<ConfigError>> {
        assemble(around, file_name, text)
    }

    /// The options for mail to a domain (in A-labels) by a binding, which may have been chosen from a group. Resolving
    /// takes about a microsecond: keep the result with the queue, and ask again when the generation changes.
    #[must_use]
    pub fn domain_options(&self, domain: &str, binding: &str, group: Option<&str>) -> Arc<DomainOptions> {
        Arc::new(self.scopes.resolve(domain, binding, group))
    }

    /// As [`Config::domain_options`], in words, with the scope that gave each value.
    #[must_use]
    pub fn explain(&self, domain: &str, binding: &str, group: Option<&str>) -> Vec<Explanation> {
        let explained = self.scopes.explain(domain, binding, group);
        explained.into_iter().map(|(line, header)| explanation(&line, header)).collect()
    }

    /// The header of the section that gives an option of the domain table its value; `None` is the default.
    #[must_use]
    pub fn declaring_section(&self, domain: &str, binding: &str, group: Option<&str>, option: &str) -> Option<&str> {
        self.scopes.declaring_section(domain, binding, group, option)
    }

    /// The listener with this name.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| &*listener.name == name)
    }

    /// The binding group with this name.
    #[must_use]
    pub fn binding_group(&self, name: &str) -> Option<&BindingGroup> {
        self.binding_groups.iter().find(|group| &*group.name == name)
    }
}

pub(crate) fn explanation(line: &Explained, header: Option<&str>) -> Explanation {
    let origin = match header {
        Some(scope) if line.line > 0 => Origin::File { line: line.line, scope: scope.to_owned() },
        _ => Origin::Default,
    };
    Explanation { option: line.row.name, value: line.value.clone(), origin }
}
