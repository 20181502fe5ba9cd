//! From sections to a generation: every entry goes into the stanza it belongs to, derived defaults are filled in, checks
//! across options run, and the typed options come out. Called by `Config::parse` only.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::check;
use crate::config::{BindingGroup, Config, DEFAULT_BINDING, Named, ShownSection, Surroundings};
use crate::error::{ConfigError, Reporter};
use crate::locate::{PATH_PARTS_MAX, Spot};
use crate::options::{
    AutoSuppressionStanza, BindingGroupStanza, BounceStanza, ConsoleStanza, EgressStanza, EngineStanza, FeedbackStanza,
    ListenerStanza, LogStanza, MemoryStanza, Place, PolicyStanza, PoolStanza, ResolverStanza, Scopes, ServerStanza,
    Setting, ShapingStanza, SpoolStanza, Stanza, SuppressionStanza, TenantStanza,
};
use crate::put::Put;
use crate::scopes::{DomainScopes, StanzaIndex};
use crate::toml::{Entry, Item, Key, sections, written};
use crate::value::{HostName, LogFormat, Mailbox, Store, TcpAddress};

/// The pools that always exist.
const POOLS: [&str; 4] = ["swap-in", "swap-out", "cpu", "io"];

/// A stanza with the name behind its section's word.
#[derive(Clone, Debug)]
pub(crate) struct NamedStanza<S> {
    pub(crate) name: String,
    pub(crate) header: String,
    /// Offset of the section, or of the first entry that made it.
    pub(crate) at: usize,
    pub(crate) stanza: S,
}

/// The stanzas of one kind of named section, in the order of the text.
#[derive(Debug, Default)]
pub(crate) struct NamedStanzas<S> {
    pub(crate) list: Vec<NamedStanza<S>>,
    index: HashMap<String, usize>,
}

impl<S: Stanza> NamedStanzas<S> {
    pub(crate) fn get(&self, name: &str) -> Option<&NamedStanza<S>> {
        self.index.get(name).map(|index| &self.list[*index])
    }

    pub(crate) fn find_or_make(&mut self, path: &[Key]) -> usize {
        let name = path.last().map(|key| key.value.clone()).unwrap_or_default();
        let next = self.list.len();
        let index = *self.index.entry(name.clone()).or_insert(next);
        if index == next {
            let at = path.first().map_or(0, |key| key.at);
            self.list.push(NamedStanza { name, header: written(path), at, stanza: S::default() });
        }
        index
    }
}

/// A configuration in the making.
pub(crate) struct Assembly<'t> {
    pub(crate) report: Reporter<'t>,
    server: ServerStanza,
    engine: EngineStanza,
    pub(crate) spool: SpoolStanza,
    pub(crate) memory: MemoryStanza,
    pub(crate) resolver: ResolverStanza,
    policy: PolicyStanza,
    pub(crate) bounce: BounceStanza,
    feedback: FeedbackStanza,
    suppression: SuppressionStanza,
    pub(crate) shaping: ShapingStanza,
    console: ConsoleStanza,
    pub(crate) pools: NamedStanzas<PoolStanza>,
    pub(crate) listeners: NamedStanzas<ListenerStanza>,
    pub(crate) logs: NamedStanzas<LogStanza>,
    pub(crate) groups: NamedStanzas<BindingGroupStanza>,
    pub(crate) egress: NamedStanzas<EgressStanza>,
    pub(crate) tenants: NamedStanzas<TenantStanza>,
    pub(crate) auto_suppressions: NamedStanzas<AutoSuppressionStanza>,
    pub(crate) scopes: DomainScopes,
    /// Stanzas with a pattern, by header.
    pub(crate) patterns: HashMap<String, StanzaIndex>,
    /// Options whose value could not be read: header and name. They are not missing as well.
    pub(crate) failed: HashSet<(String, String)>,
}

/// Reads a text into a generation.
pub(crate) fn assemble(around: &Surroundings, file: &str, text: &str) -> Result<Config, Vec<ConfigError>> {
    let mut assembly = Assembly::new(Reporter::new(file, text));
    for section in sections(text, &mut assembly.report) {
        assembly.section(&section.path, &section.entries);
    }
    let config = assembly.resolve(around, file);
    check::across(&mut assembly, &config);
    let mut errors = assembly.report.errors;
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.position);
        return Err(errors);
    }
    let mut warnings = assembly.report.warnings;
    warnings.sort_by_key(|warning| warning.position);
    Ok(Config { warnings, scopes: assembly.scopes, ..config })
}

impl<'t> Assembly<'t> {
    fn new(report: Reporter<'t>) -> Self {
        Self {
            report,
            server: ServerStanza::default(),
            engine: EngineStanza::default(),
            spool: SpoolStanza::default(),
            memory: MemoryStanza::default(),
            resolver: ResolverStanza::default(),
            policy: PolicyStanza::default(),
            bounce: BounceStanza::default(),
            feedback: FeedbackStanza::default(),
            suppression: SuppressionStanza::default(),
            shaping: ShapingStanza::default(),
            console: ConsoleStanza::default(),
            pools: NamedStanzas::default(),
            listeners: NamedStanzas::default(),
            logs: NamedStanzas::default(),
            groups: NamedStanzas::default(),
            egress: NamedStanzas::default(),
            tenants: NamedStanzas::default(),
            auto_suppressions: NamedStanzas::default(),
            scopes: DomainScopes::new(),
            patterns: HashMap::new(),
            failed: HashSet::new(),
        }
    }

    /// Takes one section; inline tables come here as well.
    fn section(&mut self, path: &[Key], entries: &[Entry]) {
        if path.is_empty() {
            self.entries(None, path, entries);
        } else if let Some(spot) = self.locate(path) {
            self.entries(Some(spot), path, entries);
        }
    }

    fn entries(&mut self, spot: Option<Spot>, path: &[Key], entries: &[Entry]) {
        let header = written(path);
        for entry in entries {
            if self.report.is_full() {
                return;
            }
            let Some((option, inner)) = entry.keys.split_last() else { continue };
            if let Item::Table(inside) = &entry.item {
                let path: Vec<Key> = path.iter().chain(&entry.keys).cloned().collect();
                if path.len() <= PATH_PARTS_MAX + 2 {
                    self.section(&path, inside);
                } else {
                    self.report.error(option.at, format!("[{header}]"), "nothing is nested this deep");
                }
                continue;
            }
            if inner.is_empty() {
                self.option(spot, &header, option, entry);
                continue;
            }
            let path: Vec<Key> = path.iter().chain(inner).cloned().collect();
            if let Some(spot) = self.locate(&path) {
                self.option(Some(spot), &written(&path), option, entry);
            }
        }
    }

    /// Puts one option into its stanza.
    fn option(&mut self, spot: Option<Spot>, header: &str, key: &Key, entry: &Entry) {
        let at = u32::try_from(entry.at).unwrap_or(u32::MAX);
        let place = Place { line: self.report.line(entry.at), at };
        let report = &mut self.report;
        let mut put = Put { report, failed: &mut self.failed, header, key, item: &entry.item, place };
        match spot {
            None => put.outside(),
            Some(Spot::Parent(form)) => put.without_name(form),
            Some(Spot::Server) => put.fill(&mut self.server),
            Some(Spot::Engine) => put.fill(&mut self.engine),
            Some(Spot::Spool) => put.fill(&mut self.spool),
            Some(Spot::Memory) => put.fill(&mut self.memory),
            Some(Spot::Resolver) => put.fill(&mut self.resolver),
            Some(Spot::Policy) => put.fill(&mut self.policy),
            Some(Spot::Bounce) => put.fill(&mut self.bounce),
            Some(Spot::Feedback) => put.fill(&mut self.feedback),
            Some(Spot::Suppression) => put.fill(&mut self.suppression),
            Some(Spot::Shaping) => put.fill(&mut self.shaping),
            Some(Spot::AutoSuppression(index)) => put.fill(&mut self.auto_suppressions.list[index].stanza),
            Some(Spot::Console) => put.fill(&mut self.console),
            Some(Spot::Pool(index)) => put.fill(&mut self.pools.list[index].stanza),
            Some(Spot::Listener(index)) => put.fill(&mut self.listeners.list[index].stanza),
            Some(Spot::Log(index)) => put.fill(&mut self.logs.list[index].stanza),
            Some(Spot::Egress(index)) => put.fill(&mut self.egress.list[index].stanza),
            Some(Spot::Tenant(index)) => put.fill(&mut self.tenants.list[index].stanza),
            Some(Spot::Domain(index, scope)) => {
                put.fill_scoped(&mut self.scopes.stanzas[index as usize].stanza, scope, &[]);
            }
            Some(Spot::Group(group, index)) => {
                if BindingGroupStanza::ROWS.iter().any(|row| row.name == key.value) {
                    put.fill(&mut self.groups.list[group].stanza);
                } else {
                    let stanza = &mut self.scopes.stanzas[index as usize].stanza;
                    put.fill_scoped(stanza, Scopes::BINDING_GROUP, BindingGroupStanza::ROWS);
                }
            }
        }
    }

    /// Makes the typed options, derived defaults included. The scopes and warnings are moved in at the end.
    fn resolve(&mut self, around: &Surroundings, file: &str) -> Config {
        let mut shown = Vec::new();
        let mut defaults = ServerStanza::defaults();
        let hostname = self.server.hostname.as_ref().map(|setting| setting.value.clone());
        let hostname = hostname.or_else(|| HostName::parse(&around.hostname)).unwrap_or_else(localhost);
        defaults.hostname = Setting::built_in(hostname.clone());
        defaults.postmaster = Mailbox::parse(&format!("postmaster@{hostname}")).and_then(Setting::built_in);
        let server = show("server", &self.server, &defaults, &mut shown);
        let engine = show("engine", &self.engine, &EngineStanza::defaults(), &mut shown);
        let pools = self.resolve_pools(&mut shown);

        let mut defaults = SpoolStanza::defaults();
        let is_journal = self.spool.store.as_ref().is_none_or(|setting| setting.value == Store::Journal);
        let volume = server.data_dir.join(if is_journal { "journal" } else { "spool" });
        defaults.volumes = Setting::built_in(vec![volume]);
        let spool = show("spool", &self.spool, &defaults, &mut shown);
        let memory = show("memory", &self.memory, &MemoryStanza::defaults(), &mut shown);

        let mut defaults = ResolverStanza::defaults();
        defaults.servers = Setting::built_in(around.name_servers.iter().copied().map(TcpAddress).collect());
        let resolver = show("resolver", &self.resolver, &defaults, &mut shown);

        let mut defaults = ListenerStanza::defaults();
        defaults.banner_hostname = Setting::built_in(hostname.clone());
        let listeners = show_named(&self.listeners, &defaults, &mut shown);
        let logs = self.resolve_logs(&server.log_dir, &mut shown);
        let egress = show_named(&self.egress, &EgressStanza::defaults(), &mut shown);
        let tenants = show_named(&self.tenants, &TenantStanza::defaults(), &mut shown);
        let policy = show("policy", &self.policy, &PolicyStanza::defaults(), &mut shown);
        let bounce = show("bounce", &self.bounce, &BounceStanza::defaults(), &mut shown);
        let feedback = show("feedback", &self.feedback, &FeedbackStanza::defaults(), &mut shown);
        let mut defaults = SuppressionStanza::defaults();
        defaults.folder = Setting::built_in(server.data_dir.join("suppression"));
        let suppression = show("suppression", &self.suppression, &defaults, &mut shown);
        let mut defaults = ShapingStanza::defaults();
        defaults.state = Setting::built_in(server.data_dir.join("shaping.state"));
        let shaping = show("shaping", &self.shaping, &defaults, &mut shown);
        let auto_suppressions = show_named(&self.auto_suppressions, &AutoSuppressionStanza::defaults(), &mut shown);
        let mut defaults = ConsoleStanza::defaults();
        defaults.socket = Setting::built_in(server.run_dir.join("console.sock"));
        let console = show("console", &self.console, &defaults, &mut shown);

        self.scopes.defaults.ehlo = Setting::built_in(hostname);
        Config {
            generation: around.generation,
            file: Arc::from(file),
            server,
            engine,
            pools,
            spool,
            memory,
            resolver,
            listeners,
            logs,
            policy,
            bounce,
            feedback,
            suppression,
            shaping,
            auto_suppressions,
            console,
            bindings: self.resolve_bindings(),
            binding_groups: self.resolve_groups(),
            egress,
            tenants,
            warnings: Vec::new(),
            scopes: DomainScopes::new(),
            shown,
        }
    }

    fn resolve_pools(&mut self, shown: &mut Vec<ShownSection>) -> Vec<Named<<PoolStanza as Stanza>::Options>> {
        let defaults = PoolStanza::defaults();
        let own = self.pools.list.iter().filter(|pool| !POOLS.contains(&pool.name.as_str()));
        let built_in = POOLS.iter().map(|pool| {
            let set = self.pools.get(pool).map(|set| set.stanza.clone());
            ((*pool).to_owned(), set.unwrap_or_default())
        });
        let all = built_in.chain(own.map(|pool| (pool.name.clone(), pool.stanza.clone())));
        all.map(|(pool, stanza)| name(&pool, show(&format!("pool.{pool}"), &stanza, &defaults, shown))).collect()
    }

    fn resolve_logs(
        &mut self,
        log_dir: &std::path::Path,
        shown: &mut Vec<ShownSection>,
    ) -> Vec<Named<<LogStanza as Stanza>::Options>> {
        let mut logs = Vec::with_capacity(self.logs.list.len());
        for log in &self.logs.list {
            let mut defaults = LogStanza::defaults();
            let file = match log.stanza.format.as_ref().map_or(LogFormat::Ec, |setting| setting.value) {
                LogFormat::Ec => "mainlog.ec",
                LogFormat::Bounce => "bouncelog.ec",
                LogFormat::Feedback => "fbllog.ec",
                LogFormat::Reject => "rejectlog.ec",
                LogFormat::Shaping => "shapinglog.ec",
            };
            defaults.path = Setting::built_in(PathBuf::from(file));
            let mut options = show(&log.header, &log.stanza, &defaults, shown);
            options.path = log_dir.join(&options.path);
            logs.push(name(&log.name, options));
        }
        logs
    }

    fn resolve_bindings(&self) -> Vec<Arc<str>> {
        let mut names: Vec<(usize, &str)> = self
            .scopes
            .bindings
            .iter()
            .filter(|(binding, _)| *binding != DEFAULT_BINDING)
            .map(|(binding, scope)| (scope.own.map_or(usize::MAX, |own| self.scopes.stanza(own).at), binding.as_str()))
            .collect();
        names.sort_unstable();
        std::iter::once(DEFAULT_BINDING).chain(names.into_iter().map(|(_, binding)| binding)).map(Arc::from).collect()
    }

    fn resolve_groups(&self) -> Vec<BindingGroup> {
        let members = |stanza: &BindingGroupStanza| {
            let bindings = stanza.bindings.as_ref().map(|setting| setting.value.as_slice()).unwrap_or_default();
            let weights = stanza.weights.as_ref().map(|setting| setting.value.as_slice()).unwrap_or_default();
            let weight = |place: usize| weights.get(place).copied().unwrap_or(1);
            bindings.iter().enumerate().map(|(place, binding)| (Arc::from(binding.as_str()), weight(place))).collect()
        };
        let group = |group: &NamedStanza<BindingGroupStanza>| BindingGroup {
            name: Arc::from(group.name.as_str()),
            members: members(&group.stanza),
        };
        self.groups.list.iter().map(group).collect()
    }
}

fn localhost() -> HostName {
    HostName::parse("localhost").expect("localhost is a host name")
}

fn name<T>(name: &str, options: T) -> Named<T> {
    Named { name: Arc::from(name), options }
}

/// Resolves a section without fall-back and keeps it for `show_config`.
fn show<S: Stanza>(header: &str, stanza: &S, defaults: &S, shown: &mut Vec<ShownSection>) -> S::Options {
    let chain = [stanza, defaults];
    shown.push(ShownSection { header: header.to_owned(), lines: S::explain(&chain) });
    S::resolve(&chain)
}

/// As [`show`], for every section of a word.
fn show_named<S: Stanza>(
    stanzas: &NamedStanzas<S>,
    defaults: &S,
    shown: &mut Vec<ShownSection>,
) -> Vec<Named<S::Options>> {
    let list = stanzas.list.iter();
    list.map(|named| name(&named.name, show(&named.header, &named.stanza, defaults, shown))).collect()
}
