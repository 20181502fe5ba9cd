//! By which binding mail leaves: the `[egress.…]` sections of the configuration, made ready to be asked for every
//! message.
//!
//! A message says the same of itself for all its recipients ([`Marks`]); its binding follows from that, from the
//! recipient's domain, and, within a group, from the message's id. So a message that waits in the spool gets the same
//! binding again after a restart, and nothing of the choice needs to be stored.

use crate::domain::canonical_name;
use config::{Config, DEFAULT_BINDING, DomainSet};
use foldhash::fast::{FixedState, RandomState};
use message::{Address, Content, Message, MessageId, Priority, Tenant};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::sync::Arc;

/// Octets at the beginning of a message in which header fields are looked for.
pub const HEAD_BYTES_MAX: usize = 64 << 10;

/// The identity by which mail leaves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Egress {
    /// The binding.
    pub binding: Arc<str>,
    /// The group that it was chosen from.
    pub group: Option<Arc<str>>,
}

/// Names an [`Egress`] towards the [`Chooser`] that chose it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EgressId(pub(crate) u32);

/// The sections of one generation of the configuration.
#[derive(Debug)]
pub struct Chooser {
    /// The first is the binding `default`.
    egresses: Vec<Egress>,
    /// Those that were asked for by name.
    named: HashMap<Egress, EgressId, RandomState>,
    rules: Vec<Rule>,
    /// Rules whose senders are all exact names, by sender.
    by_sender: HashMap<Box<str>, Vec<u32>, RandomState>,
    /// Of the others, those that ask for tenants, by tenant.
    by_tenant: HashMap<Box<str>, Vec<u32>, RandomState>,
    /// All others.
    general: Vec<u32>,
    /// Header fields that rules ask for; the one that names the tenant is the first, if any rule asks for tenants.
    fields: Vec<Box<str>>,
    has_tenants: bool,
    /// Tenants with a share of their own.
    shares: HashSet<Tenant, RandomState>,
    /// Places in `fields` of those that name the priority, the first of which counts.
    priority_fields: Vec<usize>,
}

#[derive(Debug)]
struct Rule {
    sender: DomainSet,
    recipient: DomainSet,
    /// Places in `fields`, and the value it must have.
    header: Vec<(usize, Option<Box<str>>)>,
    tenant: Vec<String>,
    target: Target,
}

/// Bindings that share what a rule takes.
#[derive(Debug)]
struct Target {
    first: u32,
    /// Up to each binding, its own weight included.
    weights: Vec<u64>,
}

/// What a message says of itself, as far as rules ask for it.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// The domain of the reverse-path; empty for `<>`.
    sender: Box<str>,
    tenant: Box<str>,
    fields: SmallVec<[Option<Box<str>>; 2]>,
    priority: Priority,
    share: Tenant,
    chance: u64,
}

impl Marks {
    /// The priority that the message asks for.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Whose share of a queue it takes.
    pub fn tenant(&self) -> Tenant {
        self.share
    }
}

impl Default for Chooser {
    fn default() -> Self {
        Self {
            egresses: vec![Egress { binding: DEFAULT_BINDING.into(), group: None }],
            named: HashMap::default(),
            rules: vec![],
            by_sender: HashMap::default(),
            by_tenant: HashMap::default(),
            general: vec![],
            fields: vec![],
            has_tenants: false,
            shares: HashSet::default(),
            priority_fields: vec![],
        }
    }
}

impl Chooser {
    /// The sections of `config`.
    pub fn new(config: &Config) -> Self {
        let shares = config.tenants.iter().map(|tenant| Tenant::named(&tenant.name)).collect();
        let mut chooser = Self { shares, ..Self::default() };
        if !config.tenants.is_empty() || config.egress.iter().any(|egress| !egress.tenant.is_empty()) {
            chooser.has_tenants = true;
            chooser.fields.push((&*config.server.tenant_header).into());
        }
        chooser.priority_fields = config.server.priority_header.iter().map(|name| chooser.field(name)).collect();
        for (number, egress) in (0..).zip(&config.egress) {
            let header = egress.header.iter().map(|test| (chooser.field(&test.name), test.value.clone())).collect();
            let target = match (&egress.binding.0, &egress.binding_group.0) {
                (_, Some(group)) => chooser.group(config, group),
                (Some(binding), None) => chooser.alone(binding),
                (None, None) => chooser.alone(DEFAULT_BINDING),
            };
            let rule = Rule {
                sender: egress.sender.clone(),
                recipient: egress.recipient.clone(),
                header,
                tenant: egress.tenant.clone(),
                target,
            };
            chooser.file(number, &rule);
            chooser.rules.push(rule);
        }
        chooser
    }

    /// The place of a header field in `fields`.
    fn field(&mut self, name: &str) -> usize {
        self.fields.iter().position(|known| known.eq_ignore_ascii_case(name)).unwrap_or_else(|| {
            self.fields.push(name.into());
            self.fields.len() - 1
        })
    }

    fn alone(&mut self, binding: &str) -> Target {
        let first = self.egresses.len() as u32;
        self.egresses.push(Egress { binding: binding.into(), group: None });
        Target { first, weights: vec![1] }
    }

    fn group(&mut self, config: &Config, name: &str) -> Target {
        let Some(group) = config.binding_group(name) else { return self.alone(DEFAULT_BINDING) };
        let first = self.egresses.len() as u32;
        let mut sum = 0;
        let mut weights = Vec::with_capacity(group.members.len());
        for (binding, weight) in &group.members {
            sum += u64::from(*weight);
            weights.push(sum);
            self.egresses.push(Egress { binding: binding.clone(), group: Some(group.name.clone()) });
        }
        Target { first, weights }
    }

    /// Puts a rule where it is found by what it asks for.
    fn file(&mut self, number: u32, rule: &Rule) {
        let exact = |pattern: &str| !pattern.starts_with(['*', '/']);
        let mut senders = rule.sender.patterns().peekable();
        if senders.peek().is_some() && rule.sender.patterns().all(exact) {
            for sender in senders {
                let sender = sender.strip_suffix('.').unwrap_or(sender).to_ascii_lowercase();
                self.by_sender.entry(sender.into()).or_default().push(number);
            }
        } else if rule.tenant.is_empty() {
            self.general.push(number);
        } else {
            for tenant in &rule.tenant {
                self.by_tenant.entry(tenant.to_ascii_lowercase().into()).or_default().push(number);
            }
        }
    }

    /// Whether header fields are asked for, so that [`Chooser::marks`] needs the head of a message.
    pub fn reads_head(&self) -> bool {
        !self.fields.is_empty()
    }

    /// The identity that an answer names.
    pub fn egress(&self, id: EgressId) -> &Egress {
        &self.egresses[id.0 as usize]
    }

    /// The name of an identity, which need not be one that a rule chooses.
    pub fn id_of(&mut self, egress: &Egress) -> EgressId {
        if let Some(id) = self.named.get(egress) {
            return *id;
        }
        let id = EgressId(self.egresses.len() as u32);
        self.egresses.push(egress.clone());
        self.named.insert(egress.clone(), id);
        id
    }

    /// What a message says of itself. `head` is the beginning of its content, see [`head`]; without it no header field
    /// is found.
    pub fn marks(&self, message: &Message, head: &[u8]) -> Marks {
        if self.rules.is_empty() && self.fields.is_empty() {
            return Marks::default();
        }
        let sender: Box<str> = message.envelope.sender.as_ref().map_or(Cow::Borrowed(""), folded_domain).into();
        let fields = if self.fields.is_empty() { SmallVec::new() } else { find_fields(head, &self.fields) };
        let named = fields.first().and_then(Option::as_deref).filter(|_| self.has_tenants);
        let tenant: Box<str> = tenant(message.envelope.sender.as_ref(), named).into();
        let named = self.priority_fields.iter().find_map(|&place| fields.get(place)?.as_deref());
        let priority = named.and_then(Priority::parse).unwrap_or_default();
        let share = Some(Tenant::named(&tenant)).filter(|share| self.shares.contains(share)).unwrap_or_default();
        Marks { sender, tenant, fields, priority, share, chance: chance(message.id) }
    }

    /// By which identity mail with these marks leaves for a recipient.
    pub fn choose(&self, marks: &Marks, recipient: &Address) -> EgressId {
        if self.rules.is_empty() {
            return EgressId::default();
        }
        let recipient = folded_domain(recipient);
        let by_sender = self.by_sender.get(&marks.sender).map_or(&[][..], Vec::as_slice);
        let by_tenant = self.by_tenant.get(&marks.tenant).map_or(&[][..], Vec::as_slice);
        let mut lists = [by_sender, by_tenant, self.general.as_slice()];
        // The rule that stands first in the file decides, whichever list it is in.
        while let Some((number, list)) =
            (0..lists.len()).filter_map(|list| lists[list].first().map(|&number| (number, list))).min()
        {
            lists[list] = &lists[list][1..];
            let rule = &self.rules[number as usize];
            if rule.holds(marks, &recipient) {
                return rule.target.pick(marks.chance);
            }
        }
        EgressId::default()
    }
}

impl Rule {
    fn holds(&self, marks: &Marks, recipient: &str) -> bool {
        let in_set = |set: &DomainSet, domain: &str| set.patterns().next().is_none() || set.contains(domain);
        let is = |(place, value): &(usize, Option<Box<str>>)| match (marks.fields.get(*place), value) {
            (Some(Some(found)), Some(value)) => found.eq_ignore_ascii_case(value),
            (Some(Some(_)), None) => true,
            _ => false,
        };
        in_set(&self.sender, &marks.sender)
            && in_set(&self.recipient, recipient)
            && (self.header.is_empty() || self.header.iter().any(is))
            && (self.tenant.is_empty() || self.tenant.iter().any(|tenant| tenant.eq_ignore_ascii_case(&marks.tenant)))
    }
}

impl Target {
    fn pick(&self, chance: u64) -> EgressId {
        let sum = self.weights.last().copied().unwrap_or(1).max(1);
        let place = self.weights.partition_point(|&weight| weight <= chance % sum);
        EgressId(self.first + place as u32)
    }
}

/// Whose mail it is, in lower case: who the header field names, or else the domain of the reverse-path.
pub fn tenant<'a>(sender: Option<&'a Address>, named: Option<&str>) -> Cow<'a, str> {
    match named.filter(|named| !named.is_empty()) {
        Some(named) => Cow::Owned(named.to_ascii_lowercase()),
        None => sender.map_or(Cow::Borrowed(""), folded_domain),
    }
}

/// Where among the weights of a group a message falls.
fn chance(id: MessageId) -> u64 {
    FixedState::default().hash_one(id)
}

/// The domain of an address in lower-case A-labels, as far as it can be.
fn folded_domain(address: &Address) -> Cow<'_, str> {
    let domain = address.domain_text();
    if domain.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) && !domain.ends_with('.') {
        return Cow::Borrowed(domain);
    }
    canonical_name(domain).map_or_else(|| Cow::Owned(domain.to_ascii_lowercase()), Cow::Owned)
}

/// The beginning of a content that is in memory, up to the end of its header or [`HEAD_BYTES_MAX`]; `None` if it is in
/// the spool only, where the caller has to read it.
pub fn head(content: &Content) -> Option<Cow<'_, [u8]>> {
    const END: &[u8] = b"\r\n\r\n";
    let Content::Resident(body) = content else { return None };
    let mut gathered = Cow::Borrowed(&[][..]);
    for slice in body.slices() {
        let room = HEAD_BYTES_MAX - gathered.len();
        let part = &slice[..slice.len().min(room)];
        // An end that lies across two slices is found when the second has been added.
        let unseen = gathered.len().saturating_sub(END.len() - 1);
        if gathered.is_empty() {
            gathered = Cow::Borrowed(part);
        } else {
            gathered.to_mut().extend_from_slice(part);
        }
        if gathered.len() == HEAD_BYTES_MAX || gathered[unseen..].windows(END.len()).any(|window| window == END) {
            break;
        }
    }
    Some(gathered)
}

/// The first field of each name, unfolded and without white space around it (RFC 5322 section 2.2.3).
pub fn find_fields(head: &[u8], names: &[Box<str>]) -> SmallVec<[Option<Box<str>>; 2]> {
    let mut found: SmallVec<[Option<Box<str>>; 2]> = SmallVec::from_elem(None, names.len());
    let mut lines = head.split(|&octet| octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).peekable();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            break;
        }
        let place = line.iter().position(|&octet| octet == b':').and_then(|colon| {
            let name = line[..colon].trim_ascii_end();
            names.iter().position(|wanted| name.eq_ignore_ascii_case(wanted.as_bytes())).map(|place| (place, colon))
        });
        let mut value = place.map(|(_, colon)| line[colon + 1..].to_vec());
        while let Some(more) = lines.next_if(|line| line.starts_with(b" ") || line.starts_with(b"\t")) {
            if let Some(value) = &mut value {
                value.extend_from_slice(more);
            }
        }
        if let (Some((place, _)), Some(value)) = (place, value)
            && found[place].is_none()
        {
            found[place] = Some(String::from_utf8_lossy(value.trim_ascii()).into());
        }
    }
    found
}
