//! A scheduler on a clock that the test winds.

use message::{Agent, Container, Dial, MessageId, Queued, StoreKey, UnixMicros, Work};
use scheduling::{Limits, Permits, Scheduler};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const START: UnixMicros = UnixMicros::from_seconds(1_700_000_000);

#[allow(dead_code, reason = "not every scenario looks at everything")]
pub(crate) struct Clockwork {
    pub(crate) scheduler: Scheduler,
    pub(crate) permits: Arc<Permits>,
    pub(crate) now: UnixMicros,
    pub(crate) limits: Arc<Limits>,
    keys: u64,
}

pub(crate) fn site(name: &str, agent: Agent) -> Arc<Container> {
    Arc::new(Container { name: name.into(), binding: "default".into(), group: None, options: name.into(), agent })
}

#[allow(dead_code, reason = "not every scenario needs every step")]
impl Clockwork {
    pub(crate) fn new(limits: Limits, permits: Arc<Permits>) -> Self {
        let scheduler = Scheduler::new(Arc::clone(&permits), 42, START);
        Self { scheduler, permits, now: START, limits: Arc::new(limits), keys: 0 }
    }

    /// A new message with that many recipients, all for one container.
    pub(crate) fn message(&mut self, container: &Arc<Container>, recipients: u16) -> StoreKey {
        self.keys += 1;
        for recipient in 0..recipients {
            self.enqueue(container, self.queued(self.keys, recipient));
        }
        StoreKey(self.keys)
    }

    pub(crate) fn queued(&self, key: u64, recipient: u16) -> Queued {
        Queued {
            key: StoreKey(key),
            id: MessageId(u128::from(key)),
            recipient,
            attempts: 0,
            received: self.now,
            not_before: UnixMicros(0),
            priority: message::Priority::Normal,
            tenant: message::Tenant::OTHERS,
            message: None,
        }
    }

    pub(crate) fn enqueue(&mut self, container: &Arc<Container>, queued: Queued) {
        let limits = Arc::clone(&self.limits);
        self.scheduler.enqueue(container, queued, self.now, |_| limits).expect("room");
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    /// Everything that wants a connection now.
    pub(crate) fn dial_all(&mut self) -> Vec<Dial> {
        let mut dials = vec![];
        while let Some(dial) = self.scheduler.poll_dial(self.now) {
            dials.push(dial);
        }
        dials
    }

    /// Turns until nothing is left to do at this moment, or expired mail is to be reported.
    pub(crate) fn settle(&mut self) -> Vec<Dial> {
        let mut dials = vec![];
        loop {
            dials.extend(self.dial_all());
            if self.scheduler.poll_wake(self.now) != Some(Duration::ZERO) || self.scheduler.summary().expired > 0 {
                return dials;
            }
        }
    }
}
