//! Descriptors: raised as far as allowed at start, then handed out as seats so that the server refuses before it runs out.
//!
//! A part is kept for delivery, the journal and the console, whatever clients do. The budget is one atomic word that is
//! touched when a connection comes or goes, never for a message.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What [`raise_descriptor_limit`] found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// The soft limit at start; `u64::MAX` is none.
    pub before: u64,
    /// The soft limit now: the hard limit.
    pub now: u64,
}

/// Raises the process's soft limit of open descriptors (RLIMIT_NOFILE) to its hard limit.
///
/// # Errors
/// Those of `setrlimit`; the limit is then what it was.
pub fn raise_descriptor_limit() -> io::Result<DescriptorLimit> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (before, now) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    if before < now {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(DescriptorLimit { before, now })
}

/// How many descriptors are kept from sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Connections of delivery: these always find a seat; beyond them delivery takes what sessions leave.
    pub delivery: u32,
    /// Files of the journal and the logs.
    pub journal: u32,
    /// The console, DNS sockets, listeners and what libraries open.
    pub console: u32,
}

impl Reserve {
    /// For a process of `total` descriptors: a fiftieth for delivery, and at most 160 and 256 for the others.
    pub fn of(total: u64) -> Reserve {
        let total = u32::try_from(total).unwrap_or(u32::MAX);
        Reserve { delivery: total / 50, journal: (total / 16).min(160), console: (total / 16).min(256) }
    }
}

/// The budget of a process. Cheap to clone; all clones are one budget.
#[derive(Clone)]
pub struct Descriptors {
    budget: Arc<Budget>,
}

#[derive(Debug)]
struct Budget {
    /// For sessions and delivery together.
    seats: u32,
    delivery_reserve: u32,
    reserve: Reserve,
    total: u64,
    /// Sessions in the upper half, deliveries in the lower, so that both are decided in one step.
    taken: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Session,
    Delivery,
}

const SESSION: u64 = 1 << 32;
const DELIVERY: u64 = 1;

impl Holder {
    fn unit(self) -> u64 {
        match self {
            Holder::Session => SESSION,
            Holder::Delivery => DELIVERY,
        }
    }
}

fn split(taken: u64) -> (u64, u64) {
    (taken >> 32, taken & (SESSION - 1))
}

impl Descriptors {
    /// A budget of `total` descriptors of which `reserve` is kept. What is open already counts to the reserves.
    pub fn new(total: u64, reserve: Reserve) -> Descriptors {
        let kept = u64::from(reserve.journal) + u64::from(reserve.console);
        let seats = u32::try_from(total.saturating_sub(kept)).unwrap_or(u32::MAX);
        let delivery_reserve = reserve.delivery.min(seats);
        let budget = Budget { seats, delivery_reserve, reserve, total, taken: AtomicU64::new(0) };
        Descriptors { budget: Arc::new(budget) }
    }

    /// A seat for an incoming session; `None` if the server has to refuse it (421).
    pub fn try_session(&self) -> Option<Seat> {
        self.take(Holder::Session)
    }

    /// A seat for an outgoing connection.
    pub fn try_delivery(&self) -> Option<Seat> {
        self.take(Holder::Delivery)
    }

    /// Relaxed throughout: the word counts, it publishes nothing else.
    fn take(&self, holder: Holder) -> Option<Seat> {
        let budget = &self.budget;
        let seat = |taken: u64| budget.admits(holder, taken).then(|| taken + holder.unit());
        budget.taken.fetch_update(Relaxed, Relaxed, seat).ok()?;
        Some(Seat { budget: budget.clone(), holder })
    }

    /// Sessions that hold a seat.
    pub fn sessions(&self) -> u64 {
        split(self.budget.taken.load(Relaxed)).0
    }

    /// Outgoing connections that hold a seat.
    pub fn deliveries(&self) -> u64 {
        split(self.budget.taken.load(Relaxed)).1
    }

    /// The most sessions there can be at one time.
    pub fn sessions_max(&self) -> u32 {
        self.budget.seats - self.budget.delivery_reserve
    }

    /// Descriptors of the process.
    pub fn total(&self) -> u64 {
        self.budget.total
    }

    /// What is kept from sessions.
    pub fn reserve(&self) -> Reserve {
        self.budget.reserve
    }
}

impl Budget {
    fn admits(&self, holder: Holder, taken: u64) -> bool {
        let (seats, reserve) = (u64::from(self.seats), u64::from(self.delivery_reserve));
        let (sessions, deliveries) = split(taken);
        match holder {
            Holder::Session => sessions + deliveries.max(reserve) < seats,
            // The reserve needs no test of its own: sessions never take the last seats of it.
            Holder::Delivery => sessions + deliveries < seats,
        }
    }
}

impl fmt::Debug for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.budget.fmt(f)
    }
}

impl fmt::Display for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reserve { delivery, journal, console } = self.budget.reserve;
        let (total, sessions) = (self.total(), self.sessions_max());
        write!(f, "{total} descriptors: {sessions} for sessions, {delivery} reserved for delivery, ")?;
        write!(f, "{journal} for the journal and logs, {console} for the console and the rest")
    }
}

/// The right to one descriptor; it returns when dropped.
#[derive(Debug)]
#[must_use = "a dropped seat is free again"]
pub struct Seat {
    budget: Arc<Budget>,
    holder: Holder,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.holder.unit(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVE: Reserve = Reserve { delivery: 3, journal: 2, console: 1 };

    fn seats(mut take: impl FnMut() -> Option<Seat>) -> Vec<Seat> {
        std::iter::from_fn(&mut take).collect()
    }

    #[test]
    fn sessions_leave_the_reserves_alone() {
        let budget = Descriptors::new(16, RESERVE);
        let sessions = seats(|| budget.try_session());
        assert_eq!((sessions.len(), budget.sessions_max(), budget.sessions()), (10, 10, 10));
        let deliveries = seats(|| budget.try_delivery());
        assert_eq!((deliveries.len(), budget.deliveries()), (3, 3));
        drop(sessions);
        assert_eq!(budget.sessions(), 0);
        assert!(budget.try_session().is_some());
    }

    #[test]
    fn delivery_takes_what_sessions_leave() {
        let budget = Descriptors::new(16, RESERVE);
        let deliveries = seats(|| budget.try_delivery());
        assert_eq!(deliveries.len(), 13);
        assert!(budget.try_session().is_none());
        drop(deliveries);
        assert_eq!(seats(|| budget.try_session()).len(), 10);
    }

    #[test]
    fn a_budget_smaller_than_its_reserves_takes_nobody() {
        let budget = Descriptors::new(2, RESERVE);
        assert!(budget.try_session().is_none() && budget.try_delivery().is_none());
        assert_eq!(Descriptors::new(5, RESERVE).sessions_max(), 0);
    }

    #[test]
    fn threads_never_take_more_than_there_is() {
        let budget = Descriptors::new(106, RESERVE);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let held = seats(|| budget.try_session());
                        assert!(held.len() <= 100 && budget.sessions() <= 100);
                    }
                });
            }
        });
        assert_eq!((budget.sessions(), budget.deliveries()), (0, 0));
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_descriptor_limit().unwrap();
        assert!(limit.before <= limit.now);
        assert_eq!(raise_descriptor_limit().unwrap(), DescriptorLimit { before: limit.now, now: limit.now });
        let text = Descriptors::new(20_000, Reserve::of(20_000)).to_string();
        assert!(text.starts_with("20000 descriptors: 19184 for sessions, 400 reserved for delivery"), "{text}");
    }
}
