//! One event loop's end of the record: formats rows into buffers and hands full ones to the writers.

use crate::writer::Inlet;
use crate::{audit, ec, reject};
use bounce::Classifier;
use message::{Event, EventSink};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// The layout of a log's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// Main log: R, D, T, P, O.
    Ec,
    /// Bounce log: B, T.
    Bounce,
    /// Log of complaints: F.
    Feedback,
    /// Reject log.
    Reject,
    /// The decisions of traffic shaping: S.
    Shaping,
}

/// How the time of a row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Timestamps {
    /// Ten digits.
    #[default]
    Seconds,
    /// Sixteen digits.
    Micros,
}

/// Which kinds of events have rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// Receptions.
    pub receptions: bool,
    /// Deliveries.
    pub deliveries: bool,
    /// Failures for now.
    pub transient: bool,
    /// Failures for good.
    pub permanent: bool,
    /// Failures that came back as messages.
    pub out_of_band: bool,
    /// Complaints.
    pub complaints: bool,
    /// Refused clients.
    pub rejections: bool,
}

impl Default for Kinds {
    fn default() -> Self {
        Self {
            receptions: true,
            deliveries: true,
            transient: true,
            permanent: true,
            out_of_band: true,
            complaints: true,
            rejections: true,
        }
    }
}

impl Kinds {
    fn include(self, event: &Event<'_>) -> bool {
        match event {
            Event::Received { .. } => self.receptions,
            Event::Delivered { .. } => self.deliveries,
            Event::Transient { .. } => self.transient,
            Event::Permanent { .. } => self.permanent,
            Event::Returned(_) => self.out_of_band,
            Event::Complained(_) => self.complaints,
            Event::Rejected(_) => self.rejections,
            // No log goes without: what an operator did can be asked for.
            Event::Operated(_) => true,
            // Each is told, in the one log that has rows for them.
            Event::Shaped(_) => true,
        }
    }
}

/// A log to write.
#[derive(Clone, Debug)]
pub struct LogSpec {
    /// Its name in the configuration.
    pub name: String,
    /// Its layout.
    pub format: RowFormat,
    /// Its file.
    pub path: std::path::PathBuf,
    /// How times are written.
    pub timestamps: Timestamps,
    /// Which events are written.
    pub kinds: Kinds,
    /// Time between two heartbeat rows; zero: none.
    pub heartbeat: Duration,
    /// Octets that may wait for the disk.
    pub buffer_bytes: usize,
}

impl LogSpec {
    /// A log with the defaults: seconds, all events, a heartbeat a minute, 4 MiB.
    pub fn new(name: &str, format: RowFormat, path: std::path::PathBuf) -> Self {
        Self {
            name: name.into(),
            format,
            path,
            timestamps: Timestamps::default(),
            kinds: Kinds::default(),
            heartbeat: Duration::from_secs(60),
            buffer_bytes: 4 << 20,
        }
    }
}

/// A buffer is handed over when it holds this much.
pub(crate) const BUFFER_BYTES: usize = 16 * 1024;

struct Log {
    format: RowFormat,
    timestamps: Timestamps,
    kinds: Kinds,
    buffer: Vec<u8>,
    rows: u32,
    inlet: Inlet,
}

/// Formats the events of one loop. Call [`Recorder::flush`] a few times a second.
pub struct Recorder {
    logs: RefCell<Vec<Log>>,
    classifier: RefCell<Arc<Classifier>>,
}

impl Recorder {
    pub(crate) fn new<'a>(logs: impl Iterator<Item = (&'a LogSpec, Inlet)>, classifier: Arc<Classifier>) -> Self {
        let logs = logs.map(|(&LogSpec { format, timestamps, kinds, .. }, inlet)| Log {
            format,
            timestamps,
            kinds,
            buffer: Vec::new(),
            rows: 0,
            inlet,
        });
        Self { logs: RefCell::new(logs.collect()), classifier: RefCell::new(classifier) }
    }

    /// Rows of bounce logs have the classes of this one from now on.
    pub fn set_classifier(&self, classifier: Arc<Classifier>) {
        self.classifier.replace(classifier);
    }

    /// Hands over what has gathered.
    pub fn flush(&self) {
        self.logs.borrow_mut().iter_mut().for_each(Log::hand_over);
    }
}

impl EventSink for Recorder {
    fn event(&self, event: &Event<'_>) {
        for log in self.logs.borrow_mut().iter_mut().filter(|log| log.kinds.include(event)) {
            let before = log.buffer.len();
            if log.buffer.capacity() == 0 {
                log.buffer.reserve(BUFFER_BYTES + 1024);
            }
            match log.format {
                RowFormat::Ec => ec::main_row(&mut log.buffer, event, log.timestamps),
                RowFormat::Bounce => ec::bounce_row(&mut log.buffer, event, log.timestamps, &self.classifier.borrow()),
                RowFormat::Feedback => ec::feedback_row(&mut log.buffer, event, log.timestamps),
                RowFormat::Reject => reject::reject_row(&mut log.buffer, event, log.timestamps),
                RowFormat::Shaping => audit::shaping_row(&mut log.buffer, event, log.timestamps),
            }
            log.rows += u32::from(log.buffer.len() > before);
            if log.buffer.len() >= BUFFER_BYTES {
                log.hand_over();
            }
        }
    }
}

impl Log {
    fn hand_over(&mut self) {
        if self.rows > 0 {
            self.inlet.send(std::mem::take(&mut self.buffer), self.rows);
            self.rows = 0;
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}
