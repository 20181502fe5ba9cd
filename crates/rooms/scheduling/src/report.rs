//! What the operator sees: numbers, containers with the reason why they wait, entries. Every answer is bounded.

use crate::entries::State;
use crate::line::NONE;
use crate::queue::{Place, Queue, Rest};
use crate::scheduler::{PermitState, Scheduler};
use crate::{Pause, Selector, Share, Throttle};
use message::{Container, MessageId, StoreKey, UnixMicros};
use std::sync::Arc;

/// Slots that one page of containers looks at.
const PAGE_SLOTS_MAX: u32 = 65_536;

/// The numbers of a scheduler; costs nothing to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Containers, those without mail included.
    pub containers: usize,
    /// Recipients that wait for a connection.
    pub active: u32,
    /// Recipients that wait for their time.
    pub delayed: u32,
    /// Recipients with a connection.
    pub leased: u32,
    /// Recipients that are too old and wait to be reported.
    pub expired: u32,
    /// Open connections, those being opened included.
    pub connections: usize,
    /// Messages in memory.
    pub resident_messages: u32,
    /// Their octets.
    pub resident_octets: u64,
}

/// Why mail of a container does not move, or that it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It has no mail.
    Empty,
    /// It moves: connections take it as fast as they can.
    Moving,
    /// A connection is about to be opened.
    Dialling,
    /// It wants a connection, and the server has as many as it may.
    NoPermit,
    /// It has as many connections as its options allow, this many.
    AtLimit(u32),
    /// Its site has as many connections as it may have now, those of all domains with the same hosts together.
    AtSiteLimit {
        /// Connections to the site.
        connections: u32,
        /// How many it may have, which grows with deliveries.
        max: u32,
    },
    /// A limit on connections that it shares is reached.
    AtSharedLimit {
        /// The section that declares the limit.
        section: Arc<str>,
        /// The limit.
        max: u32,
    },
    /// A throttle lets nothing more through for now.
    Throttled {
        /// What is throttled.
        what: Throttled,
        /// The section that declares the throttle.
        section: Arc<str>,
        /// Its turn.
        until: UnixMicros,
    },
    /// No mail is due before.
    Delayed {
        /// The next attempt.
        until: UnixMicros,
    },
    /// Its last connection came to nothing.
    Paused {
        /// The next connection.
        until: UnixMicros,
        /// What is waited for.
        why: Pause,
    },
    /// Its options stopped it.
    Suspended,
    /// It is the time of day at which its options let it rest.
    Curfew {
        /// The end.
        until: UnixMicros,
    },
    /// The operator stopped it.
    SuspendedByOperator {
        /// For how long, if not until it is resumed.
        until: Option<UnixMicros>,
    },
    /// Traffic shaping lets it rest, or has let through all that a young address may send today.
    Shaped {
        /// When that ends, or is looked at again.
        until: UnixMicros,
    },
    /// Traffic shaping lets it have no more than this many connections.
    AtShapedLimit(u32),
    /// Traffic shaping lets so many messages through in a time.
    ShapedRate {
        /// Its turn.
        until: UnixMicros,
    },
    /// Its route holds mail.
    Held,
}

/// What a throttle counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttled {
    /// Connections.
    Connections,
    /// Recipients.
    Messages,
}

/// A container as the console shows it.
#[derive(Clone, Debug)]
pub struct ContainerRow {
    /// Its name, binding and agent.
    pub container: Arc<Container>,
    /// Recipients that wait for a connection.
    pub active: u32,
    /// Recipients that wait for their time.
    pub delayed: u32,
    /// Recipients with a connection.
    pub leased: u32,
    /// Open connections.
    pub connections: u32,
    /// The name of its site, if its hosts are known.
    pub site: Option<Arc<str>>,
    /// Why it waits.
    pub wait: Wait,
    /// When it is looked at again if nothing happens before; `None` if only an event can change anything.
    pub looked_at: Option<UnixMicros>,
}

/// Some containers, and where to go on.
#[derive(Clone, Debug)]
pub struct ContainerPage {
    /// In no particular order.
    pub rows: Vec<ContainerRow>,
    /// What to ask for next; `None` at the end. A page may be empty before the end.
    pub next: Option<u32>,
}

/// Where a queued recipient is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryPlace {
    /// In the active queue.
    Active,
    /// In the delayed queue.
    Delayed {
        /// Not tried before.
        until: UnixMicros,
    },
}

/// A queued recipient as the console shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRow {
    /// The batch id.
    pub id: MessageId,
    /// The message in the spool.
    pub key: StoreKey,
    /// Which recipient of the envelope.
    pub recipient: u16,
    /// Attempts made.
    pub attempts: u16,
    /// When the message was received.
    pub received: UnixMicros,
    /// Where it is.
    pub place: EntryPlace,
}

impl Scheduler {
    /// The numbers of this event loop.
    pub fn summary(&self) -> Summary {
        Summary {
            containers: self.queues.len(),
            active: self.counts.active,
            delayed: self.counts.delayed,
            leased: self.counts.leased,
            expired: self.expired.len(),
            connections: self.connections.len(),
            resident_messages: self.residents.messages(),
            resident_octets: self.residents.octets(),
        }
    }

    /// Up to `limit` containers, from 0 or where a page before ended. Containers that come or go meanwhile may be
    /// missing or be seen; no other is missing or seen twice.
    pub fn containers(&self, from: u32, limit: usize, now: UnixMicros) -> ContainerPage {
        let slots = self.queues.slots();
        let end = from.saturating_add(PAGE_SLOTS_MAX).min(slots);
        let mut rows = vec![];
        let mut at = from.min(end);
        while at < end && rows.len() < limit {
            rows.extend(self.queues.get(at).map(|queue| self.row(at, queue, now)));
            at += 1;
        }
        ContainerPage { rows, next: (at < slots).then_some(at) }
    }

    /// The containers that a selector means, among up to `slots` places for containers, from 0 or where a page before
    /// ended.
    pub fn select(&self, selector: &Selector, from: u32, slots: u32, now: UnixMicros) -> ContainerPage {
        let end = from.saturating_add(slots).min(self.queues.slots());
        let meant = (from..end).filter_map(|at| {
            let queue = self.queues.get(at).filter(|queue| selector.selects(&queue.container))?;
            Some(self.row(at, queue, now))
        });
        ContainerPage { rows: meant.collect(), next: (end < self.queues.slots()).then_some(end) }
    }

    /// One container.
    pub fn container(&self, container: &Container, now: UnixMicros) -> Option<ContainerRow> {
        let q = self.queues.find(container)?;
        self.queues.get(q).map(|queue| self.row(q, queue, now))
    }

    fn row(&self, q: u32, queue: &Queue, now: UnixMicros) -> ContainerRow {
        ContainerRow {
            container: Arc::clone(&queue.container),
            active: queue.active.len(),
            delayed: queue.delayed_len,
            leased: queue.leased,
            connections: queue.connections,
            site: queue.site().map(|site| site.name.clone()),
            wait: self.wait(q, queue, now),
            looked_at: match (queue.listed, self.agenda.at(q)) {
                (Some(Place::First | Place::Further), _) => Some(now),
                (_, u64::MAX) => None,
                (_, at) => Some(UnixMicros(at)),
            },
        }
    }

    fn wait(&self, q: u32, queue: &Queue, now: UnixMicros) -> Wait {
        if queue.active.is_empty() {
            return match self.first_due(q) {
                _ if queue.leased > 0 => Wait::Moving,
                Some(until) => Wait::Delayed { until },
                None => Wait::Empty,
            };
        }
        match queue.rest(now) {
            Rest::None => {}
            Rest::Held => return Wait::Held,
            Rest::Options => return Wait::Suspended,
            Rest::Curfew { until } => return Wait::Curfew { until },
            Rest::Shaped { until } => return Wait::Shaped { until },
            Rest::Operator { until } => {
                return Wait::SuspendedByOperator { until: (until.0 < u64::MAX).then_some(until) };
            }
        }
        let rests_until = queue.rests_until();
        if queue.connections == 0 && now < rests_until {
            Wait::Paused { until: rests_until, why: queue.failing.why }
        } else if let Some(wait) = Self::shared_wait(queue, now) {
            wait
        } else if let Some(site) = queue.site().filter(|_| queue.waits_for_site(now)) {
            Wait::AtSiteLimit { connections: site.connections(), max: site.max(&queue.limits) }
        } else if queue.listed.is_some() {
            match self.permit {
                PermitState::Unknown => Wait::Dialling,
                PermitState::Missing => Wait::NoPermit,
            }
        } else if queue.connections >= queue.connections_max() {
            match queue.shaping().filter(|shaping| shaping.max_connections < queue.limits.max_connections) {
                Some(_) => Wait::AtShapedLimit(queue.connections_max()),
                None => Wait::AtLimit(queue.connections_max()),
            }
        } else {
            Wait::Moving
        }
    }

    /// The throttle or the shared limit that holds a container.
    fn shared_wait(queue: &Queue, now: UnixMicros) -> Option<Wait> {
        let shares = &queue.limits.shares;
        let throttled = |booked: Option<UnixMicros>, share: &Option<Share<Throttle>>, what| {
            let (until, section) = (booked.filter(|&at| at > now)?, share.as_ref()?.section.clone());
            Some(Wait::Throttled { what, section, until })
        };
        let at_gate = || {
            let share = shares.connections.as_ref().filter(|_| queue.listed == Some(Place::Gate))?;
            Some(Wait::AtSharedLimit { section: share.section.clone(), max: share.what.max() })
        };
        let shaped = queue.shaping.as_ref().and_then(|shaping| shaping.booked()).filter(|&at| at > now);
        if let Some(until) = shaped {
            return Some(Wait::ShapedRate { until });
        }
        throttled(queue.lease_booked, &shares.message_rate, Throttled::Messages)
            .or_else(|| throttled(queue.dial_booked, &shares.connection_rate, Throttled::Connections))
            .or_else(at_gate)
    }

    /// Up to `limit` recipients of a container: active ones by priority, then delayed ones, each in their order.
    pub fn entries(&self, container: &Container, limit: usize) -> Vec<EntryRow> {
        let mut rows = vec![];
        let Some(queue) = self.queues.find(container).and_then(|q| self.queues.get(q)) else { return rows };
        let mut at = queue.active.first();
        while at != NONE && rows.len() < limit {
            rows.push(self.entry_row(at));
            at = queue.active.next(&self.entries, at);
        }
        for delayed in [queue.flushed, queue.delayed] {
            let order = delayed.iter_first(&self.entries, limit - rows.len());
            rows.extend(order.into_iter().map(|index| self.entry_row(index)));
        }
        rows
    }

    pub(crate) fn entry_row(&self, index: u32) -> EntryRow {
        let entry = &self.entries[index];
        let place = match entry.state {
            State::Delayed => EntryPlace::Delayed { until: entry.due.moment(self.origin) },
            _ => EntryPlace::Active,
        };
        EntryRow {
            id: entry.id(),
            key: entry.key,
            recipient: entry.recipient,
            attempts: entry.attempts,
            received: entry.received,
            place,
        }
    }
}
