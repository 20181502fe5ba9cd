//! Settings of a store.

use crate::journal::OpenError;
use std::path::PathBuf;
use std::time::Duration;

/// When a message counts as stored. From strong to weak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Durability {
    /// When it is on stable storage (`fdatasync`): survives a power cut.
    #[default]
    Durable,
    /// When it is written; synced within `sync_delay`. Survives the end of the process; a power cut may lose up to that
    /// much time.
    Relaxed,
    /// When it is written; synced only when a segment is complete or the server stops. Survives the end of the process;
    /// a power cut may lose what the kernel has not written back, half a minute as a rule.
    Memory,
}

/// Free segments with which mail can go on: one to be written, one that is left for outcomes and compaction.
pub(crate) const FREE_FOR_MAIL: usize = 2;

/// Settings of the journal.
#[derive(Clone, Debug)]
pub struct Options {
    /// One directory for each volume; messages stripe over them by id.
    pub volumes: Vec<PathBuf>,
    /// When a message counts as stored.
    pub durability: Durability,
    /// Bytes of a segment: a multiple of 4 KiB. 64 MiB.
    pub segment_bytes: u32,
    /// Most bytes of segment files in a volume. No bound but the disk's by default.
    pub volume_bytes_max: u64,
    /// Segments kept free ahead of need; the last of them is for outcomes and compaction alone. 2.
    pub spare_segments: u32,
    /// Free segments beyond this are removed. 64.
    pub free_segments_max: u32,
    /// Most bytes of one commit. 8 MiB.
    pub batch_bytes_max: u32,
    /// An outcome is durable after this time at the latest. 50 ms.
    pub outcome_delay: Duration,
    /// Time between syncs under [`Durability::Relaxed`]. 1 s.
    pub sync_delay: Duration,
    /// A message above this is stored in chunks. 1 MiB.
    pub large_message_bytes: u32,
    /// Octets of a chunk, and so the piece in which large messages are best read. 256 KiB.
    pub chunk_bytes: u32,
    /// Octets of one stream that wait for the disk. 2 MiB.
    pub stream_bytes_in_flight: u32,
    /// A sealed segment of which less than this percentage counts is compacted. 25.
    pub compaction_live_percent: u32,
    /// Pace of compaction. 8 MiB/s.
    pub compaction_bytes_per_second: u64,
    /// A segment is not compacted before this time after it was sealed. 5 s.
    pub compaction_delay: Duration,
}

impl Options {
    /// The defaults, with these volumes.
    pub fn new(volumes: Vec<PathBuf>) -> Self {
        Self {
            volumes,
            durability: Durability::Durable,
            segment_bytes: 64 << 20,
            volume_bytes_max: u64::MAX,
            spare_segments: 2,
            free_segments_max: 64,
            batch_bytes_max: 8 << 20,
            outcome_delay: Duration::from_millis(50),
            sync_delay: Duration::from_secs(1),
            large_message_bytes: 1 << 20,
            chunk_bytes: 256 << 10,
            stream_bytes_in_flight: 2 << 20,
            compaction_live_percent: 25,
            compaction_bytes_per_second: 8 << 20,
            compaction_delay: Duration::from_secs(5),
        }
    }

    /// Refuses what cannot work, and brings the sizes within what a segment can hold.
    ///
    /// # Errors
    /// [`OpenError::Volumes`], [`OpenError::SegmentBytes`].
    pub(crate) fn fitted(mut self) -> Result<Self, OpenError> {
        if self.volumes.is_empty() || self.volumes.len() > 256 {
            return Err(OpenError::Volumes { volumes: self.volumes.len() });
        }
        let bytes = self.segment_bytes;
        if !bytes.is_multiple_of(4096) || !(64 << 10..=1 << 31).contains(&bytes) {
            return Err(OpenError::SegmentBytes { bytes });
        }
        self.large_message_bytes = self.large_message_bytes.clamp(1, bytes / 8);
        self.chunk_bytes = self.chunk_bytes.clamp(4096, bytes / 8);
        self.batch_bytes_max = self.batch_bytes_max.max(4096);
        self.spare_segments = self.spare_segments.max(FREE_FOR_MAIL as u32);
        self.free_segments_max = self.free_segments_max.max(self.spare_segments + 1);
        Ok(self)
    }
}
