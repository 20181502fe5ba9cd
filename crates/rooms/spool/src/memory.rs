//! The store without a disk: messages live as long as the process. For tests, and for mail that may be lost.
//!
//! All loops share one table behind one lock, held for a few instructions and never across anything slow. A message
//! keeps its windows until its last recipient is settled; how much that may be is the reception's memory limit.

use crate::journal::record::Place;
use crate::journal::{Large, SlotKey, Slots};
use fabric::Slice;
use foldhash::{HashMap, HashMapExt};
use message::{Body, Content, Message, MessageId, Outcome, Spool, SpoolStream, StoreError, StoreKey};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store in memory.
#[derive(Clone, Default)]
pub struct Memory {
    table: Arc<Mutex<Table>>,
}

struct Table {
    slots: Slots,
    messages: HashMap<u32, Arc<Message>>,
}

impl Default for Table {
    fn default() -> Self {
        Self { slots: Slots::new(), messages: HashMap::new() }
    }
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The store as an event loop sees it; may be made on any thread and sent there.
    pub fn handle(&self) -> MemoryHandle {
        MemoryHandle { store: self.clone() }
    }

    /// Messages held.
    pub fn messages(&self) -> u64 {
        u64::from(self.lock().slots.len())
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, message: Arc<Message>) -> StoreKey {
        let mut table = self.lock();
        let recipients = message.envelope.recipients.len() as u16;
        let key = table.slots.insert(Place { serial: 1, offset8: 0 }, 0, recipients, None::<Large>);
        table.messages.insert(key.slot, message);
        key.store_key(0)
    }

    fn get(&self, key: StoreKey) -> Result<Arc<Message>, StoreError> {
        let table = self.lock();
        let (_, key) = SlotKey::of(key);
        table.slots.get(key).and_then(|_| table.messages.get(&key.slot)).cloned().ok_or(StoreError::Missing)
    }
}

/// See [`Memory::handle`].
#[derive(Clone)]
pub struct MemoryHandle {
    store: Memory,
}

impl Spool for MemoryHandle {
    type Stream = MemoryStream;

    async fn store(&self, message: Arc<Message>) -> Result<StoreKey, StoreError> {
        Ok(self.store.insert(message))
    }

    fn stream(&self, _id: MessageId) -> MemoryStream {
        MemoryStream { store: self.store.clone(), body: Body::new() }
    }

    fn outcome(&self, key: StoreKey, recipient: u16, outcome: Outcome) {
        let (_, key) = SlotKey::of(key);
        let mut table = self.store.lock();
        table.slots.settle(key, recipient, outcome);
        if table.slots.get(key).is_some_and(|slot| slot.remaining == 0) {
            table.slots.remove(key);
            table.messages.remove(&key.slot);
        }
    }

    async fn fetch(&self, key: StoreKey) -> Result<Arc<Message>, StoreError> {
        self.store.get(key)
    }

    async fn read(&self, key: StoreKey, mut offset: u64, max: usize) -> Result<Slice, StoreError> {
        let message = self.store.get(key)?;
        let Content::Resident(body) = &message.content else { return Err(StoreError::Missing) };
        for slice in body.slices() {
            let len = slice.len() as u64;
            if offset < len {
                let start = offset as usize;
                return Ok(slice.slice(start..start.saturating_add(max).min(slice.len())));
            }
            offset -= len;
        }
        Ok(Slice::empty())
    }
}

/// A large message on its way into memory.
pub struct MemoryStream {
    store: Memory,
    body: Body,
}

impl SpoolStream for MemoryStream {
    async fn append(&mut self, slice: Slice) -> Result<(), StoreError> {
        self.body.push(slice);
        Ok(())
    }

    async fn commit(self, message: Arc<Message>) -> Result<StoreKey, StoreError> {
        let message = Arc::unwrap_or_clone(message);
        Ok(self.store.insert(Arc::new(Message { content: Content::Resident(self.body), ..message })))
    }
}
