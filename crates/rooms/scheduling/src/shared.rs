//! What queues of all event loops share: connection limits and throttles, each belonging to the section of the
//! configuration that declares it. `posthaste` makes one [`Shared`] a server; schedulers meet its parts in their limits.
//!
//! The registry is asked when limits are made, never on the way of a message; what it hands out are counters without
//! locks.

use crate::{Permits, Throttle};
use config::{Config, DomainOptions, Rate};
use message::Container;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A limit or throttle, and the section that declares it.
#[derive(Debug)]
pub struct Share<T> {
    /// As its header is written: `binding.news`.
    pub section: Arc<str>,
    /// What all share that take the value from there.
    pub what: Arc<T>,
}

/// What the queues with the same options share with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// Connections at the same time.
    pub connections: Option<Share<Permits>>,
    /// Connections in a time.
    pub connection_rate: Option<Share<Throttle>>,
    /// Recipients in a time.
    pub message_rate: Option<Share<Throttle>>,
}

impl<T> Clone for Share<T> {
    fn clone(&self) -> Self {
        Self { section: self.section.clone(), what: self.what.clone() }
    }
}

/// Whether they are the same, not whether they are alike.
impl<T> PartialEq for Share<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.what, &other.what)
    }
}

impl<T> Eq for Share<T> {}

/// All of a server; see the module.
#[derive(Debug, Default)]
pub struct Shared {
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    connections: HashMap<Arc<str>, Arc<Permits>>,
    connection_rates: HashMap<Arc<str>, Arc<Throttle>>,
    message_rates: HashMap<Arc<str>, Arc<Throttle>>,
}

impl Shared {
    /// A registry without anything.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What a container shares by these options, which are those that `config` gives it.
    pub fn shares(&self, config: &Config, container: &Container, options: &DomainOptions) -> Shares {
        let section = |option| {
            let group = container.group.as_deref();
            config.declaring_section(&container.options, &container.binding, group, option).map(Arc::<str>::from)
        };
        let mut shares = Shares::default();
        if options.shared_max_connections > 0
            && let Some(section) = section("shared_max_connections")
        {
            let max = options.shared_max_connections;
            let made = || Permits::new(max, 0);
            let what = self.registry().connections.entry(section.clone()).or_insert_with(made).clone();
            what.set(max, 0);
            shares.connections = Some(Share { section, what });
        }
        if options.connection_rate.is_limit() {
            let section = section("connection_rate");
            shares.connection_rate = section
                .map(|section| Self::throttle(&mut self.registry().connection_rates, section, options.connection_rate));
        }
        if options.message_rate.is_limit() {
            let section = section("message_rate");
            shares.message_rate = section
                .map(|section| Self::throttle(&mut self.registry().message_rates, section, options.message_rate));
        }
        shares
    }

    fn throttle(known: &mut HashMap<Arc<str>, Arc<Throttle>>, section: Arc<str>, rate: Rate) -> Share<Throttle> {
        let what = known.entry(section.clone()).or_insert_with(|| Throttle::new(rate)).clone();
        what.set(rate);
        Share { section, what }
    }

    /// Forgets what no limits hold any more: sections that a new configuration has not.
    pub fn forget_unused(&self) {
        let mut registry = self.registry();
        registry.connections.retain(|_, known| Arc::strong_count(known) > 1);
        registry.connection_rates.retain(|_, known| Arc::strong_count(known) > 1);
        registry.message_rates.retain(|_, known| Arc::strong_count(known) > 1);
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Each change is one insertion: a panic between two leaves nothing half done.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Standing;
    use message::Agent;

    const TEXT: &str = "\
[domain.\"*\"]
message_rate = \"10/s\"
[binding.a]
shared_max_connections = 2
[binding.b]
[binding.b.domain.\"*.example\"]
message_rate = \"5/s\"
connection_rate = \"1/m\"
";

    fn shares(shared: &Shared, config: &Config, domain: &str, binding: &str) -> Shares {
        let (name, binding) = (Arc::<str>::from(domain), Arc::<str>::from(binding));
        let container = Container { options: name.clone(), name, binding, group: None, agent: Agent::Mx };
        shared.shares(config, &container, &config.domain_options(domain, &container.binding, None))
    }

    #[test]
    fn the_declaring_section_is_what_is_shared() {
        let (shared, config) = (Shared::new(), Config::parse("test", TEXT).expect("a configuration"));
        let [one, two] = ["one.test", "two.test"].map(|domain| shares(&shared, &config, domain, "a"));
        assert_eq!(one, two);
        let connections = one.connections.expect("a limit");
        assert_eq!(&*connections.section, "binding.a");
        let held: Vec<_> = (0..3).map_while(|_| connections.what.take(Standing::Further)).collect();
        assert_eq!(held.len(), 2);
        assert_eq!(&*one.message_rate.clone().expect("a throttle").section, "domain.\"*\"");

        let [plain, special] = ["x.test", "x.example"].map(|domain| shares(&shared, &config, domain, "b"));
        assert_eq!(plain.message_rate, one.message_rate);
        assert_ne!(special.message_rate, one.message_rate);
        assert_eq!((plain.connections, plain.connection_rate), (None, None));
        assert_eq!(&*special.connection_rate.expect("a throttle").section, "binding.b.domain.\"*.example\"");
    }

    #[test]
    fn a_new_configuration_changes_what_is_shared_and_forgets_what_is_gone() {
        let shared = Shared::new();
        let old = Config::parse("test", TEXT).expect("a configuration");
        let before = shares(&shared, &old, "one.test", "a");
        let text = TEXT.replace("shared_max_connections = 2", "shared_max_connections = 1");
        let new = Config::parse("test", &text).expect("a configuration");
        let after = shares(&shared, &new, "one.test", "a");
        assert_eq!(before.connections, after.connections, "connections that are open still count");
        let connections = after.connections.clone().expect("a limit");
        let held = (connections.what.take(Standing::Further), connections.what.take(Standing::Further));
        assert!(held.0.is_some() && held.1.is_none());
        drop((before, after, held, connections));
        shared.forget_unused();
        assert_eq!(shared.registry().connections.len(), 0);
        assert_eq!(shared.registry().message_rates.len(), 0);
    }
}
