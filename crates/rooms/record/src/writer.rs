//! The other end: one thread a log, which owns the file. It alone may wait for the disk.

use crate::recorder::{BUFFER_BYTES, LogSpec, Recorder, RowFormat, Timestamps};
use crate::row::Moment;
use bounce::Classifier;
use message::UnixMicros;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long the writer sleeps at most before it looks at the reopen counter.
const LOOK: Duration = Duration::from_millis(250);

struct Buffer {
    octets: Vec<u8>,
    rows: u32,
}

/// What loops and the operator share with a writer's thread. Counters only: `Relaxed` is enough, nothing is published
/// through them.
#[derive(Debug, Default)]
struct Shared {
    reopen: AtomicU32,
    rows: AtomicU64,
    dropped: AtomicU64,
    write_errors: AtomicU64,
}

/// How a log fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatistics {
    /// The log's name.
    pub name: String,
    /// Rows written since the start.
    pub rows: u64,
    /// Rows dropped, because the disk was slower than the mail or refused them.
    pub dropped: u64,
    /// Writes that failed.
    pub write_errors: u64,
}

/// A log's file could not be opened.
#[derive(Debug)]
pub struct LogOpenError {
    /// The log's name in the configuration.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

impl std::fmt::Display for LogOpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[log.{}] path: cannot open {} for appending", self.name, self.path.display())
    }
}

impl std::error::Error for LogOpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Takes buffers of one loop for one log.
pub(crate) struct Inlet {
    sender: SyncSender<Buffer>,
    shared: Arc<Shared>,
}

impl Inlet {
    /// Never waits: what the writer has no room for is dropped and counted.
    pub(crate) fn send(&self, octets: Vec<u8>, rows: u32) {
        if let Err(TrySendError::Full(buffer) | TrySendError::Disconnected(buffer)) =
            self.sender.try_send(Buffer { octets, rows })
        {
            self.shared.dropped.fetch_add(u64::from(buffer.rows), Ordering::Relaxed);
        }
    }
}

struct Log {
    spec: LogSpec,
    sender: Option<SyncSender<Buffer>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// All writers. Drop it after the recorders: it waits until their last rows are written.
pub struct LogWriters {
    logs: Vec<Log>,
    classifier: Arc<Classifier>,
}

impl LogWriters {
    /// Opens the files and starts a thread for each. The classifier gives the rows of bounce logs their class.
    ///
    /// # Errors
    /// The first file that cannot be opened.
    pub fn open(specs: Vec<LogSpec>, classifier: Arc<Classifier>) -> Result<Self, LogOpenError> {
        let mut logs = Vec::with_capacity(specs.len());
        for spec in specs {
            let failed = |source| LogOpenError { name: spec.name.clone(), path: spec.path.clone(), source };
            let file = open(&spec).map_err(failed)?;
            let (sender, receiver) = sync_channel((spec.buffer_bytes / BUFFER_BYTES).max(1));
            let shared = Arc::new(Shared::default());
            let writer = Writer { spec: spec.clone(), file: Some(file), shared: shared.clone(), told: 0 };
            let thread = std::thread::Builder::new()
                .name(format!("log-{}", spec.name))
                .spawn(move || writer.run(&receiver))
                .map_err(failed)?;
            logs.push(Log { spec, sender: Some(sender), shared, thread: Some(thread) });
        }
        Ok(Self { logs, classifier })
    }

    /// A loop's end of all logs.
    pub fn recorder(&self) -> Recorder {
        let logs = self.logs.iter().filter_map(|log| {
            let sender = log.sender.clone()?;
            Some((&log.spec, Inlet { sender, shared: log.shared.clone() }))
        });
        Recorder::new(logs, self.classifier.clone())
    }

    /// Asks every writer to open its file anew, within a quarter of a second: after the file was moved away.
    pub fn reopen(&self) {
        for log in &self.logs {
            log.shared.reopen.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How the logs fare.
    pub fn statistics(&self) -> Vec<LogStatistics> {
        let of = |log: &Log| LogStatistics {
            name: log.spec.name.clone(),
            rows: log.shared.rows.load(Ordering::Relaxed),
            dropped: log.shared.dropped.load(Ordering::Relaxed),
            write_errors: log.shared.write_errors.load(Ordering::Relaxed),
        };
        self.logs.iter().map(of).collect()
    }
}

impl Drop for LogWriters {
    fn drop(&mut self) {
        for log in &mut self.logs {
            drop(log.sender.take());
        }
        for log in &mut self.logs {
            if let Some(thread) = log.thread.take() {
                // A writer that panicked has nothing left to say.
                let _ = thread.join();
            }
        }
    }
}

fn open(spec: &LogSpec) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o644).open(&spec.path)
}

fn now(timestamps: Timestamps) -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(UnixMicros(since.as_micros() as u64), timestamps)
}

struct Writer {
    spec: LogSpec,
    file: Option<File>,
    shared: Arc<Shared>,
    /// Dropped rows that the file has been told of.
    told: u64,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Buffer>) {
        let (mut opened, mut beat) = (0, Instant::now());
        loop {
            let received = receiver.recv_timeout(LOOK);
            let reopen = self.shared.reopen.load(Ordering::Relaxed);
            if reopen != opened {
                opened = reopen;
                self.file = None;
            }
            match received {
                Ok(buffer) => self.write(&buffer.octets, u64::from(buffer.rows)),
                Err(RecvTimeoutError::Timeout) if self.file.is_none() => self.write(&[], 0),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if !self.spec.heartbeat.is_zero() && beat.elapsed() >= self.spec.heartbeat {
                beat = Instant::now();
                let at = now(self.spec.timestamps);
                let row = match self.spec.format {
                    RowFormat::Ec => format!("{at}@@@@M\n"),
                    // The third field is the type here.
                    RowFormat::Feedback => format!("{at}@@M\n"),
                    RowFormat::Bounce => format!("{at}@@@@M1\n"),
                    RowFormat::Reject => format!("{at}: Marker 1\n"),
                    RowFormat::Shaping => format!("{at}@M\n"),
                };
                self.write(row.as_bytes(), 0);
            }
        }
    }

    /// Writes rows; what cannot be written is dropped and counted, and the file is opened anew for the next.
    fn write(&mut self, octets: &[u8], rows: u64) {
        if self.file.is_none() {
            self.file = open(&self.spec).ok();
        }
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let result = match &mut self.file {
            Some(file) => file.write_all(octets),
            None => Err(std::io::ErrorKind::NotFound.into()),
        };
        match result {
            Ok(()) => {
                self.shared.rows.fetch_add(rows, Ordering::Relaxed);
                if dropped > self.told {
                    eprintln!("log {}: {} rows dropped", self.spec.path.display(), dropped - self.told);
                    self.told = dropped;
                }
            }
            Err(error) => {
                if self.shared.write_errors.fetch_add(1, Ordering::Relaxed) == 0 {
                    eprintln!("log {}: {error}; its rows are dropped and counted", self.spec.path.display());
                }
                self.shared.dropped.fetch_add(rows, Ordering::Relaxed);
                self.file = None;
            }
        }
    }
}
