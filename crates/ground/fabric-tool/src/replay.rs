//! `fabric replay`: the messages of a recording, once more over a channel or as lines.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fabric::Message;
use fabric::channel::{Channel, Deadline, Reconnect};
use fabric::filter::{CaptureReader, Captured, Direction, ReadError, Record};
use fabric::queue::{Full, Priority, QueueKind};
use fabric::tli::{Lane, Providers};

use crate::cli::{ChannelArgs, ReplayArgs, Taken};
use crate::failure::Failure;
use crate::opening::{Watch, all_read, open};

/// Messages that wait while the peer is behind.
const MESSAGES_MAX: usize = 256;
/// How long the peer may take to read the rest.
const LINGER: Duration = Duration::from_secs(10);
/// Payload bytes of a message that are printed.
const SHOWN_BYTES: usize = 32;

type Reader = CaptureReader<BufReader<File>>;

pub(crate) fn replay(providers: &Providers, args: &ReplayArgs) -> Result<(), Failure> {
    let wrong = |error: &dyn std::error::Error| Failure::caused(args.file.display(), error);
    let file = File::open(&args.file).map_err(|error| wrong(&error))?;
    let reader = CaptureReader::new(BufReader::new(file)).map_err(|error| wrong(&error))?;
    let Some(uri) = &args.target.uri else { return print(reader, args) };
    let watch = Watch::new();
    let channel = ChannelArgs { uri: uri.clone(), listen: args.target.listen, window_bytes: None, windows: None };
    let (channel, _receiver) = open(providers, &watch, &channel, Reconnect::Never)?;
    let told = send(reader, args, &channel)?;
    all_read(&channel, channel.close(Deadline::after(LINGER)))?;
    eprintln!("{told}");
    Ok(())
}

/// What became of the messages of a recording.
#[derive(Default)]
struct Told {
    sent: u64,
    erased: u64,
    incomplete: u64,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} messages sent", self.sent)?;
        if self.erased > 0 {
            write!(f, ", {} not: their bytes were not recorded, since their sender asked for erasure", self.erased)?;
        }
        if self.incomplete > 0 {
            write!(f, ", {} not: bytes that were lent are missing", self.incomplete)?;
        }
        Ok(())
    }
}

fn send(mut reader: Reader, args: &ReplayArgs, channel: &Channel) -> Result<Told, Failure> {
    let kind = QueueKind::MultiBounded { capacity: MESSAGES_MAX, full: Full::Block };
    let mut lanes = [Priority::Normal, Priority::Critical].map(|priority| channel.sender(kind, priority));
    let mut told = Told::default();
    let mut first: Option<(Instant, u64)> = None;
    while let Some(record) = next(&mut reader, &args.file)? {
        let Some((lane, message)) = to_send(&record, args.direction, &args.file, &mut told)? else { continue };
        if !args.at_once {
            let (begun, begun_ns) = *first.get_or_insert((Instant::now(), record.time_ns));
            let due = begun + Duration::from_nanos(record.time_ns.saturating_sub(begun_ns));
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        lanes[lane as usize].post(message, Deadline::Never)?;
        told.sent += 1;
    }
    Ok(told)
}

/// The message of a record, when it is one that is wanted and whole.
fn to_send(record: &Record, taken: Taken, file: &Path, told: &mut Told) -> Result<Option<(Lane, Message)>, Failure> {
    let Captured::Message { direction, lane, erased, .. } = &record.captured else { return Ok(None) };
    let wanted = match taken {
        Taken::Both => true,
        Taken::Out => *direction == Direction::Out,
        Taken::In => *direction == Direction::In,
    };
    if !wanted {
        return Ok(None);
    }
    if *erased {
        told.erased += 1;
        return Ok(None);
    }
    let message = record.captured.message();
    let message =
        message.map_err(|bad| Failure::new(format!("{}: record {}: {bad}", file.display(), record.number)))?;
    told.incomplete += u64::from(message.is_none());
    Ok(message.map(|message| (*lane, message)))
}

/// The next record. A recording that was cut short ends there, with a word on it.
fn next(reader: &mut Reader, file: &Path) -> Result<Option<Record>, Failure> {
    match reader.advance() {
        Ok(record) => Ok(record),
        Err(ReadError::CutShort { at }) => {
            eprintln!("{}: it was cut short within the record at offset {at}", file.display());
            Ok(None)
        }
        Err(error) => Err(Failure::caused(file.display(), &error)),
    }
}

fn print(mut reader: Reader, args: &ReplayArgs) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let started = reader.started_ns();
    let mut write = |line: String| writeln!(out, "{line}").map_err(|error| Failure::caused("standard output", &error));
    write(format!("{}: begun {}.{:09}", reader.uri(), started / 1_000_000_000, started % 1_000_000_000))?;
    while let Some(record) = next(&mut reader, &args.file)? {
        let seconds = record.time_ns.saturating_sub(started) as f64 / 1e9;
        write(format!("{:>7} {seconds:>12.6} {}", record.number, describe(&record.captured)))?;
    }
    Ok(())
}

fn describe(captured: &Captured) -> String {
    let (direction, lane, erased) = match captured {
        Captured::Met { peer } => return format!("met {peer}"),
        Captured::Gone { reason } => return reason.clone(),
        Captured::Full => return "the size limit was reached".to_owned(),
        Captured::Message { direction, lane, erased, .. } => (direction, lane, *erased),
    };
    let direction = if *direction == Direction::Out { "out" } else { "in" };
    let lane = if *lane == Lane::Bulk { "bulk" } else { "urgent" };
    let what = match captured.message() {
        Ok(Some(message)) => {
            let first = message.frame(0).unwrap_or_default();
            let shown = first[..first.len().min(SHOWN_BYTES)].escape_ascii();
            let more = if first.len() > SHOWN_BYTES { "…" } else { "" };
            let bytes = if erased { "erased".to_owned() } else { format!("\"{shown}{more}\"") };
            let (kind, correlation) = (message.kind(), message.correlation());
            format!("{kind:?} {correlation}, {} frames, {} bytes, {bytes}", message.frames(), message.payload_bytes())
        }
        Ok(None) => "bytes that were lent are missing".to_owned(),
        Err(bad) => bad.to_string(),
    };
    format!("{direction:<3} {lane:<6} {what}")
}
