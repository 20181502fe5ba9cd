//! One generation of the configuration as a loop uses it: the router's questions and the containers' limits.

use config::Config;
use message::{Container, Tenant};
use routing::{Egress, Router};
use scheduling::{Limits, Shared, Weights};
use std::collections::HashMap;
use std::sync::Arc;

/// What the limits of a container depend on: its domain, its binding, its group.
type LimitsKey = (Arc<str>, Arc<str>, Option<Arc<str>>);

/// A generation on one loop, with what was asked of it before.
pub(crate) struct Generation {
    pub(crate) config: Arc<Config>,
    pub(crate) router: Router<Config>,
    /// Limits and throttles of all loops.
    pub(crate) shared: Arc<Shared>,
    limits: HashMap<LimitsKey, Arc<Limits>>,
}

/// Limits that are remembered; beyond it all are forgotten and asked for again.
const LIMITS_MAX: usize = 100_000;

impl Generation {
    /// A loop's view of `config`.
    pub(crate) fn new(config: Arc<Config>, shared: Arc<Shared>) -> Self {
        let router = Router::new(config.clone());
        Self { config, router, shared, limits: HashMap::new() }
    }

    /// The limits of a container; the same options give the same `Arc` as long as they are remembered.
    pub(crate) fn limits(&mut self, container: &Container) -> Arc<Limits> {
        let key = (container.options.clone(), container.binding.clone(), container.group.clone());
        if let Some(limits) = self.limits.get(&key) {
            return limits.clone();
        }
        if self.limits.len() >= LIMITS_MAX {
            self.limits.clear();
        }
        let options = self.config.domain_options(&container.options, &container.binding, container.group.as_deref());
        let shares = self.shared.shares(&self.config, container, &options);
        let limits = Arc::new(Limits { shares, ..Limits::from(&*options) });
        self.limits.insert(key, limits.clone());
        limits
    }

    /// How tenants share the containers.
    pub(crate) fn weights(&self) -> Weights {
        self.config.tenants.iter().map(|tenant| (Tenant::named(&tenant.name), tenant.weight)).collect()
    }

    /// Whether the configuration still has this identity.
    pub(crate) fn has(&self, egress: &Egress) -> bool {
        match &egress.group {
            Some(group) => {
                let group = self.config.binding_group(group);
                group.is_some_and(|group| group.members.iter().any(|(binding, _)| *binding == egress.binding))
            }
            None => self.config.bindings.contains(&egress.binding),
        }
    }
}
