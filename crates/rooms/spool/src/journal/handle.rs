//! The journal as one event loop sees it: requests go into lanes, the loop's pump brings completions back.
//!
//! ```text
//!  store() ─ seat ─► lane ─┐                          ┌─► waiters ─► store() completes
//!  store() ─ seat ─► lane ─┴─ Pump: one ring a turn ──┤
//!                                     writer ─► lane ─┘   one wake-up of the loop a batch
//! ```
//! A [`JournalSeat`] is sent to its loop and there becomes a [`JournalHandle`] and a [`Pump`], which the loop must run:
//! without it nothing completes. Budget a message: one push into a ring, one seat, one local wake-up; no lock, no
//! allocation.

use super::shared::Shared;
use super::slots::{ChunkAt, SlotKey};
use super::stream::JournalStream;
use super::volume::{Completion, Mail, Request, Stored, Ticket};
use super::waiters::Waiters;
use crate::read_gate::ReadGate;
use engine::Pool;
use fabric::{Doorbell, LaneReceiver, LaneSender, Ringer, Slice, doorbell};
use message::{Content, Message, MessageId, Outcome, Spool, SpoolStream, StoreError, StoreKey};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

/// A loop's place at the journal, before it is on its loop.
pub struct JournalSeat {
    port: u16,
    bell: Doorbell,
    stopping: Arc<AtomicBool>,
    doors: Vec<(LaneSender<Request>, Arc<Shared>)>,
    completions: Vec<LaneReceiver<Completion>>,
}

impl JournalSeat {
    pub(super) fn new(port: u16, stopping: Arc<AtomicBool>) -> Self {
        let (_, bell) = doorbell();
        Self { port, bell, stopping, doors: Vec::new(), completions: Vec::new() }
    }

    pub(super) fn ringer(&self) -> Ringer {
        self.bell.ringer()
    }

    pub(super) fn add(
        &mut self,
        lane: LaneSender<Request>,
        completions: LaneReceiver<Completion>,
        shared: Arc<Shared>,
    ) {
        self.doors.push((lane, shared));
        self.completions.push(completions);
    }

    /// To be called on the loop. `swap_in` reads messages back. The pump must be spawned there.
    pub fn take(self, swap_in: Pool) -> (JournalHandle, Pump) {
        let doors = self.doors.into_iter().map(|(lane, shared)| Door {
            lane: RefCell::new(lane),
            shared,
            rung: Cell::new(true),
        });
        let inner = Rc::new(Inner {
            port: self.port,
            doors: doors.collect(),
            waiters: Waiters::default(),
            pump: RefCell::new(None),
            reads: ReadGate::new(swap_in),
            stopping: self.stopping,
            ended: Cell::new(false),
        });
        let pump = Pump { inner: Rc::clone(&inner), bell: self.bell, completions: self.completions };
        (JournalHandle { inner }, pump)
    }
}

/// The journal on one event loop. Cheap to clone.
#[derive(Clone)]
pub struct JournalHandle {
    pub(super) inner: Rc<Inner>,
}

pub(super) struct Inner {
    port: u16,
    doors: Box<[Door]>,
    waiters: Waiters,
    pump: RefCell<Option<Waker>>,
    reads: ReadGate,
    stopping: Arc<AtomicBool>,
    /// The pump is at its end.
    ended: Cell<bool>,
}

/// The way to one volume.
struct Door {
    lane: RefCell<LaneSender<Request>>,
    shared: Arc<Shared>,
    /// Nothing was sent since the writer's bell was rung.
    rung: Cell<bool>,
}

impl Inner {
    /// The volume of a message.
    pub(super) fn volume_of(&self, id: MessageId) -> u8 {
        (u64::from(crate::spread(id)) % self.doors.len() as u64) as u8
    }

    pub(super) fn shared(&self, volume: u8) -> Option<&Arc<Shared>> {
        self.doors.get(volume as usize).map(|door| &door.shared)
    }

    /// Sends, and has the pump ring the writer at the end of the loop's turn.
    pub(super) fn send(&self, volume: u8, request: Request) {
        let Some(door) = self.doors.get(volume as usize) else { return };
        door.lane.borrow_mut().send(request);
        if door.rung.replace(false)
            && let Some(pump) = &*self.pump.borrow()
        {
            pump.wake_by_ref();
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.ended.get() || self.stopping.load(Ordering::Acquire)
    }

    /// Sends `mail` and gives the future of its completion.
    pub(super) fn submit(self: &Rc<Self>, volume: u8, mail: impl FnOnce(Ticket) -> Mail) -> Waiting {
        let seat = self.waiters.sit();
        self.send(volume, Request::Mail(mail(Ticket { port: self.port, seat })));
        Waiting { inner: Rc::clone(self), volume, seat, state: WaitState::Sitting }
    }

    /// Takes back what was stored for nobody.
    fn take_back(&self, volume: u8, stored: Stored) {
        match stored {
            Stored::Message(key) => self.send(volume, Request::Forget { key: SlotKey::of(key).1 }),
            Stored::Chunk(chunk) => self.abandon(volume, vec![chunk]),
        }
    }

    pub(super) fn abandon(&self, volume: u8, chunks: Vec<ChunkAt>) {
        if !chunks.is_empty() {
            self.send(volume, Request::Abandon { chunks });
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WaitState {
    Sitting,
    Over,
}

/// Completes when the writer has answered. Dropped before, what was stored is taken back.
pub(super) struct Waiting {
    inner: Rc<Inner>,
    volume: u8,
    seat: u32,
    state: WaitState,
}

impl Future for Waiting {
    type Output = Result<Stored, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = self.inner.waiters.poll(self.seat, cx);
        if result.is_ready() {
            self.state = WaitState::Over;
        }
        result
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.state == WaitState::Sitting
            && let Some(stored) = self.inner.waiters.leave(self.seat)
        {
            self.inner.take_back(self.volume, stored);
        }
    }
}

impl Spool for JournalHandle {
    type Stream = JournalStream;

    async fn store(&self, message: Arc<Message>) -> Result<StoreKey, StoreError> {
        let inner = &self.inner;
        if inner.is_stopping() {
            return Err(StoreError::Stopping);
        }
        let volume = inner.volume_of(message.id);
        let Some(shared) = inner.shared(volume) else { return Err(StoreError::Failed) };
        if message.size() > u64::from(shared.options.large_message_bytes) {
            return self.store_large(message).await;
        }
        let waiting = inner.submit(volume, |ticket| Mail::Message { message, ticket });
        match waiting.await? {
            Stored::Message(key) => Ok(key),
            Stored::Chunk(_) => Err(StoreError::Failed),
        }
    }

    fn stream(&self, id: MessageId) -> JournalStream {
        JournalStream::new(Rc::clone(&self.inner), id)
    }

    fn outcome(&self, key: StoreKey, recipient: u16, outcome: Outcome) {
        let (volume, key) = SlotKey::of(key);
        self.inner.send(volume, Request::Outcome { key, recipient, outcome });
    }

    async fn fetch(&self, key: StoreKey) -> Result<Arc<Message>, StoreError> {
        let (volume, key) = SlotKey::of(key);
        let shared = Arc::clone(self.inner.shared(volume).ok_or(StoreError::Missing)?);
        self.inner.reads.run(move || shared.fetch(key)).await
    }

    async fn read(&self, key: StoreKey, offset: u64, max: usize) -> Result<Slice, StoreError> {
        let (volume, key) = SlotKey::of(key);
        let shared = Arc::clone(self.inner.shared(volume).ok_or(StoreError::Missing)?);
        self.inner.reads.run(move || shared.read_content(key, offset, max)).await
    }
}

impl JournalHandle {
    /// A message in windows that is too large for one record goes the way of a stream.
    async fn store_large(&self, message: Arc<Message>) -> Result<StoreKey, StoreError> {
        let mut stream = self.stream(message.id);
        if let Content::Resident(body) = &message.content {
            for slice in body.slices() {
                stream.append(slice.clone()).await?;
            }
        }
        stream.commit(message).await
    }
}

/// Brings completions to the loop's waiters and rings the writers. Ends when the journal is closed.
pub struct Pump {
    inner: Rc<Inner>,
    bell: Doorbell,
    completions: Vec<LaneReceiver<Completion>>,
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        {
            let mut pump = this.inner.pump.borrow_mut();
            if !pump.as_ref().is_some_and(|pump| pump.will_wake(cx.waker())) {
                *pump = Some(cx.waker().clone());
            }
        }
        while this.bell.poll_wait(cx).is_ready() {
            this.bring();
        }
        this.ring();
        if this.completions.iter().all(LaneReceiver::is_closed) {
            this.inner.ended.set(true);
            this.inner.waiters.complete_all(StoreError::Stopping);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Pump {
    fn bring(&mut self) {
        for (volume, lane) in self.completions.iter_mut().enumerate() {
            let inner = &self.inner;
            lane.drain(usize::MAX, |completion| {
                if let Some(stored) = inner.waiters.complete(completion.ticket.seat, completion.result) {
                    inner.take_back(volume as u8, stored);
                }
            });
        }
    }

    fn ring(&self) {
        for door in &self.inner.doors {
            let mut lane = door.lane.borrow_mut();
            if lane.overflow_len() > 0 {
                lane.flush();
                lane.ring();
            }
            if !door.rung.replace(true) {
                lane.ring();
            }
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        // Whoever still waits would wait for ever.
        self.inner.ended.set(true);
        self.inner.waiters.complete_all(StoreError::Stopping);
    }
}
