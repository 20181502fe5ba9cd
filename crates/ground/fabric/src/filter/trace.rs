//! Traces: one line for each window that was shipped or read to its end, for the meeting of peers and for the end.

use std::fmt;
use std::sync::Arc;

use super::observe::{Observer, WindowSeen};
use crate::tli::{Peer, PeerGone};

/// Where lines go: a log, standard error, a test. It is called on the thread that sends or receives, so it should be quick.
pub type TraceSink = Arc<dyn Fn(fmt::Arguments<'_>) + Send + Sync>;

/// The observer.
pub struct Trace {
    sink: TraceSink,
}

impl Trace {
    /// Traces to `sink`.
    pub fn new(sink: TraceSink) -> Self {
        Self { sink }
    }
}

impl Observer for Trace {
    fn name(&self) -> &'static str {
        "trace"
    }

    fn met(&self, uri: &str, peer: &Peer) {
        (self.sink)(format_args!("{uri}: met {peer}"));
    }

    fn window(&self, window: &WindowSeen<'_>) {
        (self.sink)(format_args!("{window}"));
    }

    fn gone(&self, uri: &str, gone: &PeerGone) {
        (self.sink)(format_args!("{uri}: {gone}"));
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}
