//! The one task of a loop that opens connections. It works in bounded steps and then lets the others run.

use crate::Neighbours;
use crate::dial;
use crate::leased::Leased;
use crate::local;
use crate::reporter::Expired;
use crate::room::Room;
use engine::TaskKind;
use message::{Agent, Dial, Work};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Connections opened, and expired leases taken, in one step.
const STEP: usize = 64;
/// How often to look for a descriptor, or for room among the reports, when there is none.
const SHORTAGE_POLL: Duration = Duration::from_millis(50);
/// With more idle connections than this, they are not asked for more often than every [`OFFER_EVERY`].
const IDLE_FEW: usize = 64;
const OFFER_EVERY: Duration = Duration::from_millis(5);
/// How often unused sites are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Runs until the room drains.
pub(crate) async fn dispatch<N: Neighbours>(room: Rc<Room<N>>) {
    let mut dispatcher = Dispatcher { room, offered: None, forgotten: None };
    let timer = dispatcher.room.context.timers().off();
    while !dispatcher.room.is_draining() {
        let wait = dispatcher.step();
        let room = &dispatcher.room;
        match wait {
            Some(Duration::ZERO) => room.context.yield_now().await,
            Some(wait) => {
                timer.reset_after(wait);
                // Either way it is time to look again.
                let _ = timer.limit(room.bell.notified()).await;
            }
            None => room.bell.notified().await,
        }
    }
}

struct Dispatcher<N: Neighbours> {
    room: Rc<Room<N>>,
    offered: Option<Instant>,
    forgotten: Option<Instant>,
}

impl<N: Neighbours> Dispatcher<N> {
    /// Does what is to be done now, up to a bound; says how long nothing needs doing.
    fn step(&mut self) -> Option<Duration> {
        let now = self.room.context.now();
        self.forget(now);
        let offer = self.offer(now);
        let dial = self.dial();
        let expire = self.expire();
        let unix = self.room.unix();
        let work = self.room.work.borrow_mut().poll_wake(unix);
        // A shortage is waited out, whatever the queues want at once.
        let work = match (work, dial) {
            (Some(wait), Step::Short) => Some(wait.max(SHORTAGE_POLL)),
            (wait, _) => wait,
        };
        let steps = [dial, expire].map(|step| match step {
            Step::More => Some(Duration::ZERO),
            Step::Short => Some(SHORTAGE_POLL),
            Step::Done => None,
        });
        steps.into_iter().chain([offer, work]).flatten().min()
    }

    /// Offers work to idle connections, which costs a look at each; says when to do it if not now.
    fn offer(&mut self, now: Instant) -> Option<Duration> {
        let idle = self.room.idle.len();
        let next = self.offered.map(|at| at + OFFER_EVERY).filter(|&next| idle > IDLE_FEW && next > now);
        if let Some(next) = next {
            return Some(next - now);
        }
        if idle > 0 {
            self.room.idle.offer(&mut *self.room.work.borrow_mut(), self.room.unix());
            self.offered = Some(now);
        }
        None
    }

    fn dial(&self) -> Step {
        for _ in 0..STEP {
            if !self.room.reports.has_room() {
                return Step::Short;
            }
            let Some(seat) = self.room.descriptors.try_delivery() else { return Step::Short };
            let dial = self.room.work.borrow_mut().poll_dial(self.room.unix());
            let Some(dial) = dial else { return Step::Done };
            self.open(dial, seat);
        }
        Step::More
    }

    fn open(&self, dial: Dial, seat: engine::Seat) {
        let (room, connections) = (self.room.clone(), &self.room.connections);
        match dial.container.agent {
            Agent::Mx | Agent::Smtp(_) | Agent::Lmtp(_) | Agent::LmtpUnix(_) => {
                connections.spawn(TaskKind("delivery connection"), dial::run(room, dial, seat)).detach();
            }
            Agent::Maildir(_) | Agent::Discard | Agent::Hold => {
                connections.spawn(TaskKind("local delivery"), local::run(room, dial, seat)).detach();
            }
        }
    }

    fn expire(&self) -> Step {
        for _ in 0..STEP {
            if !self.room.reports.has_room() {
                return Step::Short;
            }
            let expired = self.room.work.borrow_mut().poll_expired(self.room.unix());
            let Some((container, lease)) = expired else { return Step::Done };
            self.room.reports.push_expired(Expired { container, leased: Leased::new(&self.room, lease) });
        }
        Step::More
    }

    fn forget(&mut self, now: Instant) {
        if self.forgotten.is_none_or(|at| now >= at + FORGET_EVERY) {
            self.forgotten = Some(now);
            self.room.sites.borrow_mut().forget_unused(now);
        }
    }
}

#[derive(Clone, Copy)]
enum Step {
    /// There is more to do.
    More,
    /// There is more to do, and something is missing for it.
    Short,
    Done,
}
