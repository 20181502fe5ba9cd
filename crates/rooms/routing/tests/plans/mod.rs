//! A plan of a few stanzas: exact names, `*.suffix`, `*`.

use message::{Address, Agent};
use routing::{Declared, Egress, Plan, Router};
use std::sync::Arc;

pub(crate) struct Stanzas {
    postmaster: Address,
    stanzas: Vec<(&'static str, Agent)>,
}

impl Plan for Stanzas {
    fn hostname(&self) -> &str {
        "mx1.example.org"
    }

    fn postmaster(&self) -> Option<Address> {
        Some(self.postmaster.clone())
    }

    fn declared(&self, domain: &str, _egress: &Egress) -> Declared {
        let holds = |pattern: &str| {
            pattern == domain
                || pattern == "*"
                || pattern.strip_prefix('*').is_some_and(|suffix| domain.ends_with(suffix))
        };
        let (by, agent) = self.stanzas.iter().find(|(pattern, _)| holds(pattern)).cloned().unwrap_or(("*", Agent::Mx));
        Declared { agent, port: 25, by: by.into() }
    }
}

/// A router over these stanzas; the first that matches holds.
pub(crate) fn router(stanzas: &[(&'static str, Agent)]) -> Router<Stanzas> {
    let postmaster = Address::new("root", "admin.example").expect("an address");
    Router::new(Arc::new(Stanzas { postmaster, stanzas: stanzas.to_vec() }))
}
