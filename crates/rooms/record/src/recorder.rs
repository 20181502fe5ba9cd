//! One event loop's end of the record: formats rows into buffers and hands full ones to the writers.

use crate::writer::Inlet;
use crate::{ec, reject};
use message::{Event, EventSink};
use std::cell::RefCell;

/// The layout of a log's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// Main log: R, D, T, P.
    Ec,
    /// Bounce log: B, T.
    Bounce,
    /// Reject log.
    Reject,
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
}

/// A buffer is handed over when it holds this much.
const BUFFER_BYTES: usize = 16 * 1024;

struct Log {
    format: RowFormat,
    buffer: Vec<u8>,
    rows: u32,
    inlet: Inlet,
}

/// Formats the events of one loop. Call [`Recorder::flush`] a few times a second.
pub struct Recorder {
    logs: RefCell<Vec<Log>>,
}

impl Recorder {
    pub(crate) fn new(inlets: Vec<(RowFormat, Inlet)>) -> Self {
        let logs = inlets.into_iter().map(|(format, inlet)| Log { format, buffer: Vec::new(), rows: 0, inlet });
        Self { logs: RefCell::new(logs.collect()) }
    }

    /// Hands over what has gathered.
    pub fn flush(&self) {
        self.logs.borrow_mut().iter_mut().for_each(Log::hand_over);
    }
}

impl EventSink for Recorder {
    fn event(&self, event: &Event<'_>) {
        for log in self.logs.borrow_mut().iter_mut() {
            let before = log.buffer.len();
            if log.buffer.capacity() == 0 {
                log.buffer.reserve(BUFFER_BYTES + 1024);
            }
            match log.format {
                RowFormat::Ec => ec::main_row(&mut log.buffer, event),
                RowFormat::Bounce => ec::bounce_row(&mut log.buffer, event),
                RowFormat::Reject => reject::reject_row(&mut log.buffer, event),
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
