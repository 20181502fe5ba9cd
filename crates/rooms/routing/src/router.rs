//! The router: one recipient in, one container or refusal out.

use crate::cache::Cache;
use crate::domain::{canonical_literal, canonical_name, is_own_address, is_own_name, literal_address};
use crate::egress::{Chooser, Egress, EgressId, Marks};
use crate::plan::{Declared, Plan};
use foldhash::fast::RandomState;
use message::{Address, Agent, Container, Domain, Host, Message, Reply, Routed};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Domains that a router remembers.
pub const CACHED_DOMAINS_MAX: usize = 16_384;

/// Finds the containers of recipients for one event loop and one generation of the configuration.
#[derive(Debug)]
pub struct Router<P> {
    plan: Arc<P>,
    chooser: Chooser,
    postmaster: Option<Address>,
    cache: Cache,
    /// Containers of routes: at most one for each stanza and binding.
    routes: HashSet<Arc<Container>, RandomState>,
}

/// What a domain is, once its text has been understood.
enum Destination {
    Name,
    Address(IpAddr),
}

impl<P: Plan> Router<P> {
    /// A router that remembers nothing yet.
    pub fn new(plan: Arc<P>) -> Self {
        Self {
            postmaster: plan.postmaster(),
            chooser: plan.chooser(),
            plan,
            cache: Cache::new(CACHED_DOMAINS_MAX),
            routes: HashSet::default(),
        }
    }

    /// Whether the choice of bindings depends on header fields, so that [`Router::marks`] needs the head of a message.
    pub fn reads_head(&self) -> bool {
        self.chooser.reads_head()
    }

    /// What the choice of a binding depends on, once a message; `head` is the beginning of its content
    /// ([`crate::head`]), and may be empty unless [`Router::reads_head`].
    pub fn marks(&self, message: &Message, head: &[u8]) -> Marks {
        self.chooser.marks(message, head)
    }

    /// By which identity a recipient's mail leaves.
    pub fn choose(&self, marks: &Marks, recipient: &Address) -> EgressId {
        self.chooser.choose(marks, recipient)
    }

    /// Names an identity to [`Router::route`], also one that no rule chooses.
    pub fn egress_id(&mut self, egress: &Egress) -> EgressId {
        self.chooser.id_of(egress)
    }

    /// Where a recipient goes by an identity. The same domain, in whatever spelling, gives the same `Arc` while it is
    /// remembered.
    pub fn route(&mut self, recipient: &Address, egress: EgressId) -> Routed {
        match recipient.domain() {
            Domain::Name(_) | Domain::Literal(_) => self.route_domain(recipient.domain_text(), egress),
            Domain::None if recipient.local_part().eq_ignore_ascii_case("postmaster") => {
                match self.postmaster.clone() {
                    Some(postmaster) if postmaster.domain() != Domain::None => {
                        self.route_domain(postmaster.domain_text(), egress)
                    }
                    Some(_) | None => refused(553, "5.1.3 nowhere to send mail for postmaster"),
                }
            }
            Domain::None => refused(553, "5.1.3 recipient address has no domain"),
        }
    }

    fn route_domain(&mut self, domain: &str, egress: EgressId) -> Routed {
        if let Some(routed) = self.cache.get(domain, egress) {
            return routed;
        }
        let routed = match understand(domain) {
            Ok((_, canonical)) if canonical != domain => self.route_domain(&canonical, egress),
            Ok((destination, canonical)) => self.decide(destination, canonical, egress),
            Err(reply) => Routed::Refused(reply),
        };
        self.cache.insert(domain, egress, routed.clone());
        routed
    }

    /// The container of a domain that is not remembered; `name` is its one spelling.
    fn decide(&mut self, destination: Destination, name: String, egress: EgressId) -> Routed {
        let egress = self.chooser.egress(egress).clone();
        let Declared { agent, port, by } = self.plan.declared(&name, &egress);
        let agent = match (agent, destination) {
            (Agent::Mx, Destination::Name) if is_own_name(&name, self.plan.hostname()) => return loops(&name),
            (Agent::Mx, Destination::Address(own)) if is_own_address(own) || name == self.plan.hostname() => {
                return loops(&name);
            }
            (Agent::Mx, Destination::Name) => Agent::Mx,
            (Agent::Mx, Destination::Address(address)) => Agent::Smtp(Host { name: address.to_string().into(), port }),
            (agent, _) => return Routed::To(self.route_container(agent, by, egress)),
        };
        let (name, Egress { binding, group }) = (Arc::<str>::from(name), egress);
        Routed::To(Arc::new(Container { options: Arc::clone(&name), name, binding, group, agent }))
    }

    /// The container that all domains of a stanza with a fixed route share.
    fn route_container(&mut self, agent: Agent, by: Arc<str>, egress: Egress) -> Arc<Container> {
        let Egress { binding, group } = egress;
        let container = Container { name: route_name(&agent).into(), binding, group, options: by, agent };
        if let Some(known) = self.routes.get(&container) {
            return Arc::clone(known);
        }
        let container = Arc::new(container);
        self.routes.insert(Arc::clone(&container));
        container
    }
}

/// What a domain is and its one spelling, or why it cannot be one.
fn understand(domain: &str) -> Result<(Destination, String), Reply> {
    let Some(literal) = domain.strip_prefix('[') else {
        let name =
            canonical_name(domain).ok_or_else(|| Reply::new(553, "5.1.2 malformed domain in recipient address"))?;
        return Ok((Destination::Name, name));
    };
    let address = literal
        .strip_suffix(']')
        .and_then(literal_address)
        .ok_or_else(|| Reply::new(553, "5.1.2 malformed address literal in recipient address"))?;
    Ok((Destination::Address(address), canonical_literal(address)))
}

/// A route as it stands in the configuration; the name of its container.
fn route_name(agent: &Agent) -> String {
    match agent {
        Agent::Mx => "mx".to_owned(),
        Agent::Smtp(host) => format!("smtp://{}", authority(host)),
        Agent::Lmtp(host) => format!("lmtp://{}", authority(host)),
        Agent::LmtpUnix(path) => format!("lmtp:{}", path.display()),
        Agent::Maildir(path) => format!("maildir:{}", path.display()),
        Agent::Discard => "discard:".to_owned(),
        Agent::Hold => "hold:".to_owned(),
    }
}

/// Host and port; an IPv6 address goes into brackets.
fn authority(host: &Host) -> String {
    if host.name.contains(':') {
        format!("[{}]:{}", host.name, host.port)
    } else {
        format!("{}:{}", host.name, host.port)
    }
}

fn refused(code: u16, text: &str) -> Routed {
    Routed::Refused(Reply::new(code, text))
}

/// RFC 3463: X.4.6, a routing loop.
fn loops(domain: &str) -> Routed {
    Routed::Refused(Reply::new(554, &format!("5.4.6 mail for {domain} loops back to myself")))
}
