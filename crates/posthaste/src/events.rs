//! The events of one loop: to the logs, to the rules of automatic suppression, and to an observer if there is one.

use crate::automatic::Automatic;
use crate::server::Observer;
use crate::shaping_desk::Desk;
use message::{Event, EventSink, Failing, Verdict};
use record::Recorder;
use std::rc::Rc;
use std::sync::Arc;

/// See the module.
pub(crate) struct Events {
    pub(crate) recorder: Recorder,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Counts failures for the suppression list.
    pub(crate) automatic: Automatic,
    /// Judges failures.
    pub(crate) desk: Arc<Desk>,
}

impl EventSink for Events {
    fn event(&self, event: &Event<'_>) {
        self.recorder.event(event);
        if let Event::Permanent { attempt, reply } = event {
            self.automatic.failed(attempt, reply);
        }
        if let Some(observer) = &self.observer {
            observer.observe(event);
        }
    }

    fn verdict(&self, failing: &Failing<'_>) -> Verdict {
        self.judge(failing)
    }
}

/// The events of a loop, as rooms hold them.
#[derive(Clone)]
pub(crate) struct LoopEvents(pub(crate) Rc<Events>);

impl EventSink for LoopEvents {
    fn event(&self, event: &Event<'_>) {
        self.0.event(event);
    }

    fn verdict(&self, failing: &Failing<'_>) -> Verdict {
        self.0.verdict(failing)
    }
}
