//! The files store as one event loop sees it.

use super::clerk::News;
use super::layout::Paths;
use super::{Shared, refused, remove};
use crate::disk::{Access, DiskFile, write_all_at};
use crate::journal::SlotKey;
use crate::read_gate::ReadGate;
use engine::Pool;
use fabric::{LaneSender, Slice};
use message::{Body, Message, MessageId, Outcome, Spool, SpoolStream, StoreError, StoreKey};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// A loop's place at the store, before it is on its loop.
pub struct FilesSeat {
    shared: Arc<Shared>,
    lane: LaneSender<News>,
}

impl FilesSeat {
    pub(super) fn new(shared: Arc<Shared>, lane: LaneSender<News>) -> Self {
        Self { shared, lane }
    }

    /// To be called on the loop. `swap_in` reads messages back, `swap_out` writes them.
    pub fn take(self, swap_in: Pool, swap_out: Pool) -> FilesHandle {
        let lane = RefCell::new(self.lane);
        let inner = Inner { shared: self.shared, lane, reads: ReadGate::new(swap_in), writes: ReadGate::new(swap_out) };
        FilesHandle { inner: Rc::new(inner) }
    }
}

/// The files store on one event loop. Cheap to clone.
#[derive(Clone)]
pub struct FilesHandle {
    inner: Rc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    lane: RefCell<LaneSender<News>>,
    reads: ReadGate,
    writes: ReadGate,
}

impl Inner {
    fn tell(&self, news: News) {
        let mut lane = self.lane.borrow_mut();
        lane.send(news);
        lane.ring();
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }
}

/// Whether somebody still waits for a message that is being stored.
#[derive(Clone, Copy, Default)]
enum Asker {
    #[default]
    Waits,
    /// Gone: what is stored is to be removed again.
    Left,
    /// The store has it.
    Stored(SlotKey),
}

/// Takes a message back when its future is dropped before it said that it is stored.
struct Claim {
    inner: Rc<Inner>,
    asker: Option<Arc<Mutex<Asker>>>,
}

impl Claim {
    fn new(inner: &Rc<Inner>) -> (Self, Arc<Mutex<Asker>>) {
        let asker = Arc::new(Mutex::new(Asker::Waits));
        (Self { inner: Rc::clone(inner), asker: Some(Arc::clone(&asker)) }, asker)
    }

    fn settle(mut self) {
        self.asker = None;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(asker) = &self.asker else { return };
        let before = std::mem::replace(&mut *asker.lock().unwrap_or_else(PoisonError::into_inner), Asker::Left);
        if let Asker::Stored(key) = before {
            self.inner.tell(News::Forget { key });
        }
    }
}

/// In the pool: notes that the message is stored, or takes it back if nobody waits any more.
fn conclude(shared: &Shared, asker: &Mutex<Asker>, key: SlotKey) -> StoreKey {
    let mut asker = asker.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*asker, Asker::Left) {
        let id = shared.table().forget(key);
        id.into_iter().for_each(|id| remove(&*shared.disk, &Paths::new(&shared.base, id)));
    } else {
        *asker = Asker::Stored(key);
    }
    key.store_key(0)
}

impl Spool for FilesHandle {
    type Stream = FilesStream;

    async fn store(&self, message: Arc<Message>) -> Result<StoreKey, StoreError> {
        if self.inner.is_stopping() {
            return Err(StoreError::Stopping);
        }
        let (claim, asker) = Claim::new(&self.inner);
        let shared = Arc::clone(&self.inner.shared);
        let job = move || shared.store(&message).map(|key| conclude(&shared, &asker, key));
        let result = self.inner.writes.run(job).await;
        claim.settle();
        result
    }

    fn stream(&self, id: MessageId) -> FilesStream {
        let paths = Paths::new(&self.inner.shared.base, id);
        FilesStream {
            inner: Rc::clone(&self.inner),
            paths,
            file: None,
            gathered: Body::new(),
            written: 0,
            crc: 0,
            state: StreamState::Open,
        }
    }

    fn outcome(&self, key: StoreKey, recipient: u16, outcome: Outcome) {
        self.inner.tell(News::Outcome { key: SlotKey::of(key).1, recipient, outcome });
    }

    async fn fetch(&self, key: StoreKey) -> Result<Arc<Message>, StoreError> {
        let shared = Arc::clone(&self.inner.shared);
        self.inner.reads.run(move || shared.fetch(SlotKey::of(key).1)).await
    }

    async fn read(&self, key: StoreKey, offset: u64, max: usize) -> Result<Slice, StoreError> {
        let shared = Arc::clone(&self.inner.shared);
        self.inner.reads.run(move || shared.read(SlotKey::of(key).1, offset, max)).await
    }
}

/// A large message on its way into its file.
pub struct FilesStream {
    inner: Rc<Inner>,
    paths: Paths,
    file: Option<Arc<dyn DiskFile>>,
    gathered: Body,
    written: u64,
    crc: u32,
    state: StreamState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StreamState {
    Open,
    /// The message exists, or nothing is left of it.
    Over,
}

/// Octets gathered before they are written.
const GATHER_BYTES: u64 = 256 << 10;

impl FilesStream {
    /// Writes what is gathered; one write at a time.
    async fn write(&mut self) -> Result<(), StoreError> {
        let body = std::mem::take(&mut self.gathered);
        let (shared, file, path) = (Arc::clone(&self.inner.shared), self.file.clone(), self.paths.content.clone());
        let (offset, crc, len) = (self.written, self.crc, body.len());
        let job = move || {
            let write = || {
                let file = file.map_or_else(|| shared.disk.open(&path, Access::CreateNew), Ok)?;
                let (mut at, mut crc) = (offset, crc);
                for slice in body.slices() {
                    write_all_at(&*file, slice, at)?;
                    at += slice.len() as u64;
                    crc = crc32c::crc32c_append(crc, slice);
                }
                Ok((file, crc))
            };
            write().map_err(|error: std::io::Error| refused(&error))
        };
        let (file, crc) = self.inner.writes.run(job).await?;
        (self.file, self.crc) = (Some(file), crc);
        self.written += len;
        Ok(())
    }
}

impl SpoolStream for FilesStream {
    async fn append(&mut self, slice: Slice) -> Result<(), StoreError> {
        if self.inner.is_stopping() {
            return Err(StoreError::Stopping);
        }
        self.gathered.push(slice);
        if self.gathered.len() >= GATHER_BYTES { self.write().await } else { Ok(()) }
    }

    async fn commit(mut self, message: Arc<Message>) -> Result<StoreKey, StoreError> {
        if self.inner.is_stopping() {
            return Err(StoreError::Stopping);
        }
        if !self.gathered.is_empty() || self.file.is_none() {
            self.write().await?;
        }
        let (claim, asker) = Claim::new(&self.inner);
        let (shared, file, crc, paths) =
            (Arc::clone(&self.inner.shared), self.file.clone(), self.crc, self.paths.clone());
        self.state = StreamState::Over;
        let job = move || {
            let synced = file.as_ref().map_or(Ok(()), |file| file.sync()).map_err(|error| refused(&error));
            let committed = synced.and_then(|()| shared.commit(&message, crc, &paths));
            committed.inspect_err(|_| remove(&*shared.disk, &paths)).map(|key| conclude(&shared, &asker, key))
        };
        let result = self.inner.writes.run(job).await;
        claim.settle();
        result
    }
}

impl Drop for FilesStream {
    fn drop(&mut self) {
        if self.state == StreamState::Open {
            self.inner.tell(News::Discard { paths: Box::new(self.paths.clone()) });
        }
    }
}
