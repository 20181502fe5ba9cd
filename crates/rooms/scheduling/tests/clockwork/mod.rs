//! A scheduler on a clock that the test winds.

use message::{Agent, Container, Dial, MessageId, Queued, StoreKey, UnixMicros, Work};
use scheduling::{Limits, Permits, Scheduler};
use std::sync::Arc;
use std::time::Duration;

pub const START: UnixMicros = UnixMicros::from_seconds(1_700_000_000);

pub struct Clockwork {
    pub scheduler: Scheduler,
    pub permits: Arc<Permits>,
    pub now: UnixMicros,
    pub limits: Arc<Limits>,
    keys: u64,
}

pub fn site(name: &str, agent: Agent) -> Arc<Container> {
    Arc::new(Container { name: name.into(), binding: "default".into(), options: name.into(), agent })
}

#[allow(dead_code, reason = "not every scenario needs every step")]
impl Clockwork {
    pub fn new(limits: Limits, permits: Arc<Permits>) -> Self {
        let scheduler = Scheduler::new(Arc::clone(&permits), 42, START);
        Self { scheduler, permits, now: START, limits: Arc::new(limits), keys: 0 }
    }

    /// A new message with that many recipients, all for one container.
    pub fn message(&mut self, container: &Arc<Container>, recipients: u16) -> StoreKey {
        self.keys += 1;
        for recipient in 0..recipients {
            self.enqueue(container, self.queued(self.keys, recipient));
        }
        StoreKey(self.keys)
    }

    pub fn queued(&self, key: u64, recipient: u16) -> Queued {
        Queued {
            key: StoreKey(key),
            id: MessageId(u128::from(key)),
            recipient,
            attempts: 0,
            received: self.now,
            not_before: UnixMicros(0),
            message: None,
        }
    }

    pub fn enqueue(&mut self, container: &Arc<Container>, queued: Queued) {
        let limits = Arc::clone(&self.limits);
        self.scheduler.enqueue(container, queued, self.now, |_| limits).unwrap();
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    /// Everything that wants a connection now.
    pub fn dial_all(&mut self) -> Vec<Dial> {
        let mut dials = vec![];
        while let Some(dial) = self.scheduler.poll_dial(self.now) {
            dials.push(dial);
        }
        dials
    }

    /// Turns until nothing is left to do at this moment.
    pub fn settle(&mut self) -> Vec<Dial> {
        let mut dials = self.dial_all();
        while self.scheduler.poll_wake(self.now) == Some(Duration::ZERO) {
            let more = self.dial_all();
            if more.is_empty() && self.scheduler.poll_wake(self.now) == Some(Duration::ZERO) && self.expiring() {
                break;
            }
            dials.extend(more);
        }
        dials
    }

    /// Whether expired mail waits to be reported.
    fn expiring(&self) -> bool {
        let summary = self.scheduler.summary();
        summary.expired > 0
    }
}
