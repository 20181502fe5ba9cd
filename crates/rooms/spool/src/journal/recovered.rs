//! The messages that a restart found, read one segment's index at a time while the server already runs.
//!
//! The composition iterates and routes them. Compaction waits until the iterator is at its end or dropped, so that
//! every message is where the restart saw it.

use super::record::{AcceptMeta, Kind, Place};
use super::recovery::load_contents;
use super::segment::Contents;
use super::shared::{Shared, count};
use super::slots::{RemainingRecipient, SlotKey};
use message::{Message, StoreKey, decode_meta};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A message that was in the journal when it was opened.
#[derive(Clone, Debug)]
pub struct RecoveredMessage {
    /// Names it from now on.
    pub key: StoreKey,
    /// Its envelope; the trace is empty and the content [`message::Content::Spooled`], to be fetched when needed.
    pub message: Arc<Message>,
    /// The recipients that are still to be served; at least one.
    pub recipients: SmallVec<[RemainingRecipient; 1]>,
}

/// See the module.
#[derive(Default)]
pub struct Recovered {
    volumes: VecDeque<VolumeRecovered>,
}

struct VolumeRecovered {
    shared: Arc<Shared>,
    lookup: BTreeMap<u32, Vec<(u32, SlotKey)>>,
    segment: Option<Open>,
}

struct Open {
    contents: Contents,
    cursor: usize,
    slots: Vec<(u32, SlotKey)>,
}

impl Recovered {
    pub(crate) fn add(&mut self, shared: Arc<Shared>, lookup: BTreeMap<u32, Vec<(u32, SlotKey)>>) {
        shared.recovering.store(1, Ordering::Release);
        self.volumes.push_back(VolumeRecovered { shared, lookup, segment: None });
    }
}

impl Iterator for Recovered {
    type Item = RecoveredMessage;

    fn next(&mut self) -> Option<RecoveredMessage> {
        loop {
            if let Some(message) = self.volumes.front_mut()?.next() {
                return Some(message);
            }
            self.volumes.pop_front();
        }
    }
}

impl VolumeRecovered {
    fn next(&mut self) -> Option<RecoveredMessage> {
        loop {
            if let Some(open) = &mut self.segment {
                if let Some(message) = open.next(&self.shared) {
                    return Some(message);
                }
                self.segment = None;
            }
            let (serial, slots) = self.lookup.pop_first()?;
            let file = self.shared.index().segments.get(&serial).map(|segment| segment.file.clone());
            let Some(file) = file else { continue };
            match load_contents(&*self.shared.disk, &self.shared.directory, &file, serial) {
                Ok((contents, _)) => self.segment = Some(Open { contents, cursor: 0, slots }),
                // The messages stay in the journal, counted and unserved until the next restart.
                Err(_) => count(&self.shared.counters.read_errors, 1),
            }
        }
    }
}

impl Open {
    fn next(&mut self, shared: &Shared) -> Option<RecoveredMessage> {
        loop {
            let (offset, record) = self.contents.next_record(&mut self.cursor)?;
            if record.header.kind != Kind::Accept {
                continue;
            }
            let place = Place::new(self.contents.serial, offset);
            let Ok(at) = self.slots.binary_search_by_key(&place.offset8, |(offset8, _)| *offset8) else { continue };
            let (_, key) = self.slots[at];
            let recipients = {
                let index = shared.index();
                if index.slots.get(key).is_none_or(|slot| slot.place != place) {
                    continue;
                }
                index.slots.remaining(key)
            };
            let decoded =
                AcceptMeta::decode(&record).ok().and_then(|meta| decode_meta(record.header.id, meta.message).ok());
            match decoded {
                Some(meta) if !recipients.is_empty() => {
                    let (key, message) = (key.store_key(shared.volume), Arc::new(meta.message));
                    return Some(RecoveredMessage { key, message, recipients });
                }
                // Sound bytes that this version cannot read: a newer server wrote them. They stay where they are.
                _ => count(&shared.counters.damaged, 1),
            }
        }
    }
}

impl Drop for VolumeRecovered {
    fn drop(&mut self) {
        self.shared.recovering.store(0, Ordering::Release);
    }
}
