//! Who gets the next connection: two lines of containers that take turns, and the permits of the server.
//!
//! A connection costs one and a turn gives one, so deficit round robin is plain round robin here: whoever got a
//! connection goes to the end of the line. Containers without any have a line of their own, which has eight turns for
//! one of the other and may use the reserve of permits: a few large sites never hold up one that has none, and a
//! stream of new ones never holds up the large.

use crate::gates::Entry;
use crate::queue::Place;
use crate::scheduler::{PermitState, Scheduler};
use crate::sites::SeatAtSite;
use crate::{Permit, Standing};
use message::{Attempted, Closing, Container, Dial, Entrance, Lease, UnixMicros, Verdict, Work};
use std::sync::Arc;
use std::time::Duration;

/// Containers that one call may find to have changed their mind.
const LOOKS_MAX: usize = 64;
/// Containers that get their first connection before one that wants more has its turn.
const FIRSTS_IN_ROW_MAX: u32 = 8;
/// How often to ask for a permit that another event loop may have given back.
const PERMIT_POLL: Duration = Duration::from_millis(100);

/// Open connections by number.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Connection {
    queue: u32,
    /// Whether it was told to go.
    leaving: bool,
    /// Held until the connection ends, or the scheduler: the server's, and that of a shared limit.
    _permits: (Permit, Option<Permit>),
    /// Where it leads, when that is known. It stays so whatever becomes of its container.
    seat: Option<SeatAtSite>,
    /// Whether it has nothing under way and nothing to do.
    is_idle: bool,
    /// Whether it stands among the idle connections of its site; that list may have older numbers, too.
    is_listed: bool,
    /// Whether it works for another container than it was last told.
    has_moved: bool,
}

impl Connections {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// For which container a connection works.
    pub(crate) fn queue(&self, connection: u32) -> Option<u32> {
        Some(self.slots.get(connection as usize)?.as_ref()?.queue)
    }

    /// Holds the connection's place at the site that it is opened to.
    pub(crate) fn enter(&mut self, connection: u32, seat: SeatAtSite) {
        if let Some(own) = self.slot(connection) {
            own.seat = Some(seat);
        }
    }

    /// Where a connection leads.
    pub(crate) fn seat(&self, connection: u32) -> Option<&SeatAtSite> {
        self.slots.get(connection as usize)?.as_ref()?.seat.as_ref()
    }

    /// Notes whether a connection is idle; says whether it is to be listed as such and is not yet.
    pub(crate) fn set_idle(&mut self, connection: u32, is_idle: bool) -> bool {
        let Some(own) = self.slot(connection) else { return false };
        own.is_idle = is_idle;
        is_idle && !std::mem::replace(&mut own.is_listed, true)
    }

    /// A connection's number was taken from the list; says whether it is idle.
    pub(crate) fn unlist_idle(&mut self, connection: u32) -> bool {
        self.slot(connection).is_some_and(|own| std::mem::replace(&mut own.is_listed, false) && own.is_idle)
    }

    /// Whether a connection counts on being in the list.
    pub(crate) fn is_listed_idle(&self, connection: u32) -> bool {
        self.slots.get(connection as usize).and_then(Option::as_ref).is_some_and(|own| own.is_listed)
    }

    /// Lets a connection work for another container.
    pub(crate) fn move_to(&mut self, connection: u32, queue: u32) {
        if let Some(own) = self.slot(connection) {
            (own.queue, own.is_idle, own.has_moved) = (queue, false, true);
        }
    }

    fn slot(&mut self, connection: u32) -> Option<&mut Connection> {
        self.slots.get_mut(connection as usize)?.as_mut()
    }

    fn open(&mut self, connection: Connection) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = Some(connection);
                number
            }
            None => {
                self.slots.push(Some(connection));
                self.slots.len() as u32 - 1
            }
        }
    }

    /// Ends a connection, which gives its permit back; names its container, and says whether it was told to go.
    fn close(&mut self, connection: u32) -> Option<(u32, bool)> {
        let ended = self.slots.get_mut(connection as usize)?.take()?;
        self.free.push(connection);
        Some((ended.queue, ended.leaving))
    }

    /// Marks a connection as told to go; says whether it was not before.
    fn send_away(&mut self, connection: u32) -> bool {
        let found = self.slots.get_mut(connection as usize).and_then(Option::as_mut);
        found.is_some_and(|connection| !std::mem::replace(&mut connection.leaving, true))
    }

    pub(crate) fn is_leaving(&self, connection: u32) -> bool {
        let found = self.slots.get(connection as usize).and_then(Option::as_ref);
        found.is_some_and(|connection| connection.leaving)
    }
}

impl Work for Scheduler {
    fn poll_dial(&mut self, now: UnixMicros) -> Option<Dial> {
        self.tend_due(now);
        self.permit = PermitState::Unknown;
        let order = if self.firsts_in_row < FIRSTS_IN_ROW_MAX {
            [Standing::First, Standing::Further]
        } else {
            [Standing::Further, Standing::First]
        };
        order.into_iter().find_map(|standing| self.dial(standing, now))
    }

    fn poll_wake(&mut self, now: UnixMicros) -> Option<Duration> {
        // Whoever was moved to another container learns of it when it is offered work.
        if !self.expired.is_empty() || std::mem::take(&mut self.has_moved) {
            return Some(Duration::ZERO);
        }
        let dial = match (self.first.is_empty() && self.further.is_empty(), self.permit) {
            (true, _) => None,
            (false, PermitState::Unknown) => Some(Duration::ZERO),
            (false, PermitState::Missing) => Some(PERMIT_POLL),
        };
        let tend = self.agenda.first().map(|(at, _)| now.until(UnixMicros(at)));
        match (dial, tend) {
            (Some(dial), Some(tend)) => Some(dial.min(tend)),
            (dial, tend) => dial.or(tend),
        }
    }

    fn lease(&mut self, connection: u32, recipients_max: usize, now: UnixMicros) -> Option<Lease> {
        let lease = self.lease_next(connection, recipients_max, now);
        if lease.is_some() {
            self.connections.set_idle(connection, false);
        }
        lease
    }

    fn rests(&mut self, connection: u32) {
        self.list_idle(connection);
    }

    fn enter(&mut self, connection: u32, site: &Arc<str>, way: u64, now: UnixMicros) -> Entrance {
        self.enter_site(connection, site, way, now)
    }

    fn moved(&mut self, connection: u32) -> Option<Arc<Container>> {
        let own = self.connections.slot(connection)?;
        let q = std::mem::take(&mut own.has_moved).then_some(own.queue)?;
        self.queues.get(q).map(|queue| queue.container.clone())
    }

    fn keeps(&mut self, connection: u32) -> bool {
        let Some(q) = self.connections.queue(connection) else { return true };
        let queue = &mut self.queues[q];
        if queue.connections - queue.leaving > queue.connections_max() && self.connections.send_away(connection) {
            queue.leaving += 1;
        }
        !self.connections.is_leaving(connection)
    }

    fn attempted(&mut self, entry: u32, verdict: Verdict, now: UnixMicros) -> Attempted {
        self.give_back(entry, verdict, now)
    }

    fn closed(&mut self, connection: u32, closing: Closing, now: UnixMicros) {
        let Some((q, left)) = self.connections.close(connection) else {
            debug_assert!(false, "connection {connection} closed twice");
            return;
        };
        self.permit = PermitState::Unknown;
        let queue = &mut self.queues[q];
        queue.connections -= 1;
        queue.leaving -= u32::from(left);
        if let Some(pause) = queue.on_closed(closing, now) {
            queue.pause(closing, now, now.after(self.dice.lengthen(pause)));
        }
        if queue.connections == 0 {
            self.unlist(q, now); // It stood among those that have one.
        }
        self.room_at_gate(q, now);
        self.consider(q, now);
        let wake = self.queues[q].wake_for_active(now);
        self.agenda.hurry(q, wake);
        self.rest(q, now);
    }

    fn poll_expired(&mut self, now: UnixMicros) -> Option<(Arc<Container>, Lease)> {
        if self.expired.is_empty() {
            self.tend_due(now);
        }
        self.report_expired()
    }
}

impl Scheduler {
    /// Puts a container into line if it wants a connection and does not stand there yet.
    pub(crate) fn consider(&mut self, q: u32, now: UnixMicros) {
        let queue = &mut self.queues[q];
        if queue.listed.is_some() || !queue.wants(now) {
            return;
        }
        if queue.connections == 0 {
            queue.listed = Some(Place::First);
            self.first.push_back(&mut self.queues, q);
        } else {
            queue.listed = Some(Place::Further);
            self.further.push_back(&mut self.queues, q);
        }
    }

    /// Takes a container out of the line it stands in, if any.
    pub(crate) fn unlist(&mut self, q: u32, now: UnixMicros) {
        match self.queues[q].listed.take() {
            Some(Place::First) => self.first.remove(&mut self.queues, q),
            Some(Place::Further) => self.further.remove(&mut self.queues, q),
            Some(Place::Gate) => self.leave_gate(q, now),
            None => {}
        }
    }

    /// Opens a connection for the first container of a line that still wants it, if there are permits. They are taken in
    /// one order, those that can be given back before those that cannot: the shared limit, the server's, the throttle.
    fn dial(&mut self, standing: Standing, now: UnixMicros) -> Option<Dial> {
        for _ in 0..LOOKS_MAX {
            let q = match standing {
                Standing::First => self.first.head(),
                Standing::Further => self.further.head(),
            };
            let queue = self.queues.get(q)?;
            if !queue.wants(now) {
                self.pass_over(q, now);
                continue;
            }
            if self.take_idle(q, now) {
                self.pass_over(q, now);
                self.consider(q, now);
                continue;
            }
            let shared = match self.enter_gate(q) {
                Entry::Free => None,
                Entry::Let(permit) => Some(permit),
                Entry::Full => {
                    self.unlist(q, now);
                    self.wait_at_gate(q, now);
                    continue;
                }
            };
            let Some(permit) = self.permits.take(standing) else {
                self.permit = PermitState::Missing;
                return None;
            };
            if !self.queues[q].may_dial(now) {
                self.pass_over(q, now);
                continue;
            }
            self.firsts_in_row = match standing {
                Standing::First => self.firsts_in_row.saturating_add(1),
                Standing::Further => 0,
            };
            return Some(self.open(q, (permit, shared), now));
        }
        None
    }

    /// A container leaves its line and is looked after when it may want to be back.
    fn pass_over(&mut self, q: u32, now: UnixMicros) {
        self.unlist(q, now);
        let wake = self.queues[q].wake_for_active(now);
        self.agenda.hurry(q, wake);
    }

    fn open(&mut self, q: u32, permits: (Permit, Option<Permit>), now: UnixMicros) -> Dial {
        self.unlist(q, now);
        let queue = &mut self.queues[q];
        queue.connections += 1;
        queue.moved_at = now;
        let container = Arc::clone(&queue.container);
        let connection = self.connections.open(Connection {
            queue: q,
            leaving: false,
            _permits: permits,
            seat: None,
            is_idle: false,
            is_listed: false,
            has_moved: false,
        });
        self.consider(q, now);
        let wake = self.queues[q].wake_for_active(now);
        self.agenda.hurry(q, wake);
        Dial { container, connection }
    }
}
