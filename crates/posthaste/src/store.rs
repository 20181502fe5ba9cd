//! The store that the configuration names, as one type for the rooms.

use crate::failure::Failure;
use config::Config;
use engine::{LoopContext, Pool, TaskKind};
use fabric::Slice;
use message::{Message, MessageId, Outcome, Spool, SpoolStream, StoreError, StoreKey};
use spool::{Files, FilesHandle, FilesSeat, FilesStream, Journal, JournalHandle, JournalSeat, JournalStream};
use spool::{Memory, MemoryHandle, MemoryStream, Options};
use std::sync::Arc;

/// A store that is open: keep it until the loops have ended.
pub(crate) enum Store {
    Journal(Journal),
    Files(Files),
    Memory(Memory),
}

/// A loop's place at the store, before it is on its loop.
pub(crate) enum Seat {
    Journal(JournalSeat),
    Files(FilesSeat),
    Memory(MemoryHandle),
}

/// The store on one loop.
#[derive(Clone)]
pub(crate) enum StoreHandle {
    Journal(JournalHandle),
    Files(FilesHandle),
    Memory(MemoryHandle),
}

/// A message on its way in.
pub(crate) enum StoreStream {
    Journal(JournalStream),
    Files(FilesStream),
    Memory(MemoryStream),
}

/// What was in the store when it was opened.
pub(crate) type Recovered = Box<dyn Iterator<Item = spool::RecoveredMessage> + Send>;

/// Opens the store of `config` for `loops` event loops.
pub(crate) fn open(config: &Config, loops: usize) -> Result<(Store, Vec<Seat>, Recovered), Failure> {
    match config.spool.store {
        config::Store::Journal => open_journal(config, loops),
        config::Store::Files => open_files(config, loops),
        config::Store::Memory => {
            let memory = Memory::new();
            let seats = (0..loops).map(|_| Seat::Memory(memory.handle())).collect();
            Ok((Store::Memory(memory), seats, Box::new(std::iter::empty())))
        }
    }
}

fn open_journal(config: &Config, loops: usize) -> Result<(Store, Vec<Seat>, Recovered), Failure> {
    let opened =
        Journal::open(options(config), loops).map_err(|error| Failure::caused("cannot open the spool", &error))?;
    for report in &opened.reports {
        if report.damaged > 0 {
            eprintln!(
                "spool: {} damaged places, copied to quarantine/; `posthaste spool check` names them",
                report.damaged
            );
        }
    }
    let seats = opened.seats.into_iter().map(Seat::Journal).collect();
    Ok((Store::Journal(opened.journal), seats, Box::new(opened.recovered)))
}

fn open_files(config: &Config, loops: usize) -> Result<(Store, Vec<Seat>, Recovered), Failure> {
    let [directory] = config.spool.volumes.as_slice() else {
        return Err(Failure::new("[spool] volumes: the two-file store has exactly one directory"));
    };
    let opened = Files::open(directory, loops).map_err(|error| Failure::caused("cannot open the spool", &error))?;
    let seats = opened.seats.into_iter().map(Seat::Files).collect();
    Ok((Store::Files(opened.files), seats, Box::new(opened.recovered.into_iter())))
}

/// The journal's settings.
pub(crate) fn options(config: &Config) -> Options {
    let (server, spool) = (&config.server, &config.spool);
    let durability = match server.durability {
        config::Durability::Durable => spool::Durability::Durable,
        config::Durability::Relaxed => spool::Durability::Relaxed,
        config::Durability::Memory => spool::Durability::Memory,
    };
    Options {
        durability,
        segment_bytes: u32::try_from(spool.segment_size.0).unwrap_or(1 << 31) & !4095,
        spare_segments: spool.segments_spare,
        outcome_delay: spool.outcome_flush,
        large_message_bytes: u32::try_from(server.large_message_threshold.0).unwrap_or(u32::MAX),
        compaction_live_percent: u32::from(spool.compact_below.0),
        compaction_bytes_per_second: spool.compact_rate.0,
        ..Options::new(spool.volumes.clone())
    }
}

impl Store {
    /// How the store is, one line a volume.
    pub(crate) fn figures(&self) -> String {
        match self {
            Self::Journal(journal) => {
                let volumes = journal.health().into_iter().zip(journal.figures()).enumerate();
                let line = |(n, (health, figures)): (usize, (spool::Health, spool::Figures))| {
                    format!("volume {n}: {health:?}; {figures:?}")
                };
                volumes.map(line).collect::<Vec<_>>().join("\n")
            }
            Self::Files(files) => format!("files: {} messages, {} damaged", files.messages(), files.damaged()),
            Self::Memory(memory) => format!("memory: {} messages", memory.messages()),
        }
    }
}

impl Seat {
    /// Takes the seat on its loop.
    pub(crate) fn take(self, context: &LoopContext, swap_in: Pool, swap_out: Pool) -> StoreHandle {
        match self {
            Self::Journal(seat) => {
                let (handle, pump) = seat.take(swap_in);
                context.spawn(TaskKind("journal pump"), pump).detach();
                StoreHandle::Journal(handle)
            }
            Self::Files(seat) => StoreHandle::Files(seat.take(swap_in, swap_out)),
            Self::Memory(handle) => StoreHandle::Memory(handle),
        }
    }
}

impl Spool for StoreHandle {
    type Stream = StoreStream;

    async fn store(&self, message: Arc<Message>) -> Result<StoreKey, StoreError> {
        match self {
            Self::Journal(handle) => handle.store(message).await,
            Self::Files(handle) => handle.store(message).await,
            Self::Memory(handle) => handle.store(message).await,
        }
    }

    fn stream(&self, id: MessageId) -> StoreStream {
        match self {
            Self::Journal(handle) => StoreStream::Journal(handle.stream(id)),
            Self::Files(handle) => StoreStream::Files(handle.stream(id)),
            Self::Memory(handle) => StoreStream::Memory(handle.stream(id)),
        }
    }

    fn outcome(&self, key: StoreKey, recipient: u16, outcome: Outcome) {
        match self {
            Self::Journal(handle) => handle.outcome(key, recipient, outcome),
            Self::Files(handle) => handle.outcome(key, recipient, outcome),
            Self::Memory(handle) => handle.outcome(key, recipient, outcome),
        }
    }

    async fn fetch(&self, key: StoreKey) -> Result<Arc<Message>, StoreError> {
        match self {
            Self::Journal(handle) => handle.fetch(key).await,
            Self::Files(handle) => handle.fetch(key).await,
            Self::Memory(handle) => handle.fetch(key).await,
        }
    }

    async fn read(&self, key: StoreKey, offset: u64, max: usize) -> Result<Slice, StoreError> {
        match self {
            Self::Journal(handle) => handle.read(key, offset, max).await,
            Self::Files(handle) => handle.read(key, offset, max).await,
            Self::Memory(handle) => handle.read(key, offset, max).await,
        }
    }
}

impl SpoolStream for StoreStream {
    async fn append(&mut self, slice: Slice) -> Result<(), StoreError> {
        match self {
            Self::Journal(stream) => stream.append(slice).await,
            Self::Files(stream) => stream.append(slice).await,
            Self::Memory(stream) => stream.append(slice).await,
        }
    }

    async fn commit(self, message: Arc<Message>) -> Result<StoreKey, StoreError> {
        match self {
            Self::Journal(stream) => stream.commit(message).await,
            Self::Files(stream) => stream.commit(message).await,
            Self::Memory(stream) => stream.commit(message).await,
        }
    }
}
