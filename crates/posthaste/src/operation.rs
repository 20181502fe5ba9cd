//! One event loop's part of an operator's operation on queues: go over what waits, in steps, and act on what is meant.
//!
//! ```text
//!  visit some entries ─► read messages, if the filter or the act needs them ─► act on each ─► let others have their turn
//!       scheduler             spool, off the loop, a bounded number at a time
//! ```
//! A step is bounded in the places that it looks at and in the recipients that it acts on, so that the loop is held for far
//! less than a millisecond. A recipient whose message cannot be read stays as it is and is counted.

use crate::filter::Filter;
use crate::redirections::Target;
use crate::shard::Shard;
use delivery::Telling;
use engine::{Pool, Task, TaskKind};
use fabric::Slice;
use message::UnixMicros;
use message::{Container, Content, Message, Outcome, Queued, Reply, Routed, Spool as _, StoreError};
use routing::HEAD_BYTES_MAX;
use scheduling::{EntryPlace, Found, VisitBounds};
use spool::RemainingRecipient;
use spool::tools::{CopyError, write_out};
use std::borrow::Cow;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// One step of a visit.
const STEP: VisitBounds = VisitBounds { places: 1024, found: 64 };
/// Messages that one loop's operation reads at a time.
const READS_MAX: usize = 16;
/// Octets of a large message that an export reads at a time, and pieces that wait to be written.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_MAX: usize = 4;
/// How long to wait when a pool or the reporters have no room.
const AGAIN: Duration = Duration::from_millis(10);

/// What an operator wants done.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) filter: Filter,
    pub(crate) act: Act,
    pub(crate) mode: Mode,
}

/// Whether it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Real,
    /// Only counted.
    DryRun,
}

/// What is done to each recipient.
#[derive(Debug)]
pub(crate) enum Act {
    /// Counted.
    Count,
    /// Shown, at most so many of each loop.
    List(usize),
    /// Made active.
    Flush,
    /// Not tried before that moment.
    Delay(UnixMicros),
    /// Given up with that reply.
    Fail(Reply, Telling),
    /// Sent another way.
    Redirect(Target),
    /// Copied into a folder.
    Export(PathBuf),
}

/// What came of it on one loop.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Recipients that are meant.
    pub(crate) matched: u64,
    /// Of those, changed, or to be changed.
    pub(crate) touched: u64,
    /// Recipients of which it cannot be told, or which could not be acted on: their message cannot be read or written.
    pub(crate) unreadable: u64,
    /// Recipients whose new way is refused; they stay.
    pub(crate) refused: u64,
    /// The longest that the loop was held by one step.
    pub(crate) step_max: Duration,
    pub(crate) rows: Vec<Listed>,
}

/// A recipient in a list.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) found: Found,
    pub(crate) sender: String,
    pub(crate) recipient: String,
    pub(crate) size: u64,
}

/// A message that was read, and the beginning of its content if that was needed.
#[derive(Clone)]
struct Read {
    message: Arc<Message>,
    head: Option<Slice>,
}

impl Act {
    fn reads_message(&self) -> bool {
        match self {
            Self::Count | Self::Flush | Self::Delay(_) => false,
            Self::List(_) | Self::Fail(..) | Self::Redirect(_) | Self::Export(_) => true,
        }
    }
}

impl Tally {
    /// Adds what came of it on another loop.
    pub(crate) fn add(&mut self, other: Tally) {
        self.matched += other.matched;
        self.touched += other.touched;
        self.unreadable += other.unreadable;
        self.refused += other.refused;
        self.step_max = self.step_max.max(other.step_max);
        self.rows.extend(other.rows);
    }

    fn is_full(&self, act: &Act) -> bool {
        matches!(act, Act::List(limit) if self.rows.len() >= *limit)
    }
}

impl Shard {
    /// Carries out an order on this loop.
    pub(crate) async fn carry_out(self: Rc<Self>, order: Arc<Order>, pool: Pool) -> Tally {
        let mut tally = Tally::default();
        let mut visit = self.scheduler.borrow().begin_visit();
        let mut found = Vec::with_capacity(STEP.found);
        while !visit.is_done() && !tally.is_full(&order.act) {
            let began = self.context.clock().now();
            self.scheduler.borrow().visit(&mut visit, &order.filter.entries, STEP, &mut found);
            self.note_step(&mut tally, began);
            if order.filter.reads_message() || order.act.reads_message() {
                for some in found.chunks(READS_MAX) {
                    self.read_and_act(&order, &pool, some, &mut tally).await;
                }
            } else {
                let began = self.context.clock().now();
                found.iter().for_each(|found| self.act_unread(&order, found, &mut tally));
                self.note_step(&mut tally, began);
            }
            if !found.is_empty() && order.mode == Mode::Real {
                self.ring();
            }
            found.clear();
            self.context.yield_now().await;
        }
        tally
    }

    fn note_step(&self, tally: &mut Tally, began: std::time::Instant) {
        tally.step_max = tally.step_max.max(self.context.clock().now().saturating_duration_since(began));
    }

    /// Acts for which the queue knows enough.
    fn act_unread(&self, order: &Order, found: &Found, tally: &mut Tally) {
        tally.matched += 1;
        let delayed = matches!(found.row.place, EntryPlace::Delayed { .. });
        let touched = match (&order.act, order.mode) {
            (Act::Flush, Mode::DryRun) => delayed,
            (Act::Flush, Mode::Real) => self.scheduler.borrow_mut().hasten_found(found, self.unix()),
            (Act::Delay(_), Mode::DryRun) => true,
            (Act::Delay(until), Mode::Real) => self.postpone(found, *until),
            _ => false,
        };
        tally.touched += u64::from(touched);
    }

    fn postpone(&self, found: &Found, until: UnixMicros) -> bool {
        let Some(until) = self.scheduler.borrow_mut().postpone_found(found, until) else { return false };
        let outcome = Outcome::Deferred { until, attempts: found.row.attempts };
        self.spool.outcome(found.row.key, found.row.recipient, outcome);
        true
    }

    async fn read_and_act(self: &Rc<Self>, order: &Arc<Order>, pool: &Pool, some: &[Found], tally: &mut Tally) {
        if matches!(order.act, Act::Fail(_, Telling::Sender)) {
            while !self.has_report_room() {
                self.context.timers().sleep(AGAIN).await;
            }
        }
        let reads = self.read_all(order, some).await;
        let mut exports = vec![];
        let began = self.context.clock().now();
        for (found, read) in some.iter().zip(reads) {
            let Some(read) = read else {
                tally.unreadable += 1;
                continue;
            };
            if !self.is_meant(order, found, &read) {
                continue;
            }
            match &order.act {
                _ if tally.is_full(&order.act) => break,
                Act::Export(folder) if order.mode == Mode::Real => {
                    exports.push(self.export(folder, found, &read, pool))
                }
                act => self.act_read(act, order, found, &read, tally),
            }
        }
        self.note_step(tally, began);
        for export in exports {
            tally.matched += 1;
            match export.await {
                Ok(Ok(())) => tally.touched += 1,
                Ok(Err(())) | Err(_) => tally.unreadable += 1,
            }
        }
    }

    /// The messages of recipients; those that come one behind the other share a read.
    async fn read_all(self: &Rc<Self>, order: &Arc<Order>, some: &[Found]) -> Vec<Option<Read>> {
        let router_reads =
            matches!(order.act, Act::Redirect(Target::Configured)) && self.generation.borrow().router.reads_head();
        let with_head = order.filter.reads_head() || router_reads;
        let mut tasks: Vec<(Option<Task<Option<Read>>>, &Found)> = vec![];
        for (place, found) in some.iter().enumerate() {
            let again = place > 0 && some[place - 1].row.key == found.row.key;
            let task = (!again).then(|| {
                let (shard, found) = (self.clone(), found.clone());
                self.context.spawn(TaskKind("operation read"), async move { shard.read(&found, with_head).await.ok() })
            });
            tasks.push((task, found));
        }
        let mut reads: Vec<Option<Read>> = Vec::with_capacity(some.len());
        for (task, _) in tasks {
            let read = match task {
                Some(task) => task.await.ok().flatten(),
                None => reads.last().cloned().flatten(),
            };
            reads.push(read);
        }
        reads
    }

    async fn read(&self, found: &Found, with_head: bool) -> Result<Read, StoreError> {
        let message = match &found.message {
            Some(message) => message.clone(),
            None => self.spool.fetch(found.row.key).await?,
        };
        let head = match routing::head(&message.content) {
            _ if !with_head => None,
            Some(Cow::Borrowed(_)) => None,
            Some(Cow::Owned(head)) => Some(Slice::from_vec(head)),
            None => Some(self.spool.read(found.row.key, 0, HEAD_BYTES_MAX).await?),
        };
        Ok(Read { message, head })
    }

    fn is_meant(&self, order: &Order, found: &Found, read: &Read) -> bool {
        let generation = self.generation.borrow();
        let tenant = &generation.config.server.tenant_header;
        order.filter.means(&read.message, found.row.recipient, &read.head(), tenant)
    }

    /// Acts that need the message; and all others, once the message has been asked whether it is meant.
    fn act_read(&self, act: &Act, order: &Order, found: &Found, read: &Read, tally: &mut Tally) {
        match act {
            Act::Count | Act::Flush | Act::Delay(_) => return self.act_unread(order, found, tally),
            Act::Export(_) => tally.touched += 1,
            Act::List(_) => tally.rows.push(listed(found, &read.message)),
            Act::Fail(..) if order.mode == Mode::DryRun => tally.touched += 1,
            Act::Fail(reply, telling) => tally.touched += u64::from(self.fail(found, read, reply, *telling)),
            Act::Redirect(target) => return self.redirect(target, order.mode, found, read, tally),
        }
        tally.matched += 1;
    }

    fn fail(&self, found: &Found, read: &Read, reply: &Reply, telling: Telling) -> bool {
        let withdrawn = self.scheduler.borrow_mut().withdraw_found(found, self.unix());
        let Some(queued) = withdrawn else { return false };
        self.give_up(&found.container, read.message.clone(), queued, reply.clone(), telling);
        true
    }

    /// Sends a recipient another way; one that goes that way already is not meant.
    fn redirect(&self, target: &Target, mode: Mode, found: &Found, read: &Read, tally: &mut Tally) {
        let routed = match target {
            Target::Configured => {
                let marks = self.generation.borrow().router.marks(&read.message, &read.head());
                self.route(&read.message, found.row.recipient, &marks)
            }
            target => self.divert(&found.container, &read.message, found.row.recipient, target),
        };
        match routed {
            Routed::Refused(_) => {
                tally.matched += 1;
                tally.refused += 1;
            }
            Routed::To(container) if container == found.container => {}
            Routed::To(container) => {
                tally.matched += 1;
                tally.touched += u64::from(match mode {
                    Mode::DryRun => true,
                    Mode::Real => self.requeue(container, found, read),
                });
            }
        }
    }

    fn requeue(&self, container: Arc<Container>, found: &Found, read: &Read) -> bool {
        let withdrawn = self.scheduler.borrow_mut().withdraw_found(found, self.unix());
        let Some(queued) = withdrawn else { return false };
        self.hand(Routed::To(container), &read.message, Queued { ..queued });
        true
    }

    fn export(
        self: &Rc<Self>,
        folder: &std::path::Path,
        found: &Found,
        read: &Read,
        pool: &Pool,
    ) -> Task<Result<(), ()>> {
        let (shard, folder, row) = (self.clone(), folder.to_owned(), found.row);
        let (message, pool) = (read.message.clone(), pool.clone());
        let writing = async move { shard.write_out(folder, row, message, pool).await };
        self.context.spawn(TaskKind("export"), writing)
    }

    /// Writes a recipient's message into a folder: blocking work is the pool's, what it writes comes in pieces.
    async fn write_out(
        &self,
        folder: PathBuf,
        row: scheduling::EntryRow,
        message: Arc<Message>,
        pool: Pool,
    ) -> Result<(), ()> {
        let (pieces, mut inlet) = tokio::sync::mpsc::channel::<Slice>(PIECES_MAX);
        let (mut alone, recipient) = ((*message).clone(), usize::from(row.recipient));
        alone.id = message.id.nth(row.recipient);
        alone.envelope.recipients = message.envelope.recipients.get(recipient).cloned().into_iter().collect();
        let not_before = match row.place {
            EntryPlace::Active => UnixMicros(0),
            EntryPlace::Delayed { until } => until,
        };
        let left = RemainingRecipient { recipient: 0, attempts: row.attempts, not_before };
        let length = message.content.len();
        let writing = Arc::new(std::sync::Mutex::new(Some(move || {
            write_out(&folder, &alone, left, |_, out| {
                let mut written = 0;
                while let Some(piece) = inlet.blocking_recv() {
                    out.write_all(&piece)?;
                    written += piece.len() as u64;
                }
                // Whoever reads gave up: half a message is none.
                if written == length { Ok(()) } else { Err(CopyError::Store(StoreError::Missing)) }
            })
        })));
        let job = loop {
            let writing = writing.clone();
            let run = move || {
                let once = writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
                once.map_or(Err(CopyError::Store(StoreError::Stopping)), |mut write| write())
            };
            match pool.run(run) {
                Ok(job) => break job,
                Err(engine::Busy::Full) => self.context.timers().sleep(AGAIN).await,
                Err(_) => return Err(()),
            }
        };
        self.send_pieces(&message, row.key, pieces).await?;
        job.await.map_err(|_| ())?.map_err(|_| ())
    }

    async fn send_pieces(
        &self,
        message: &Message,
        key: message::StoreKey,
        pieces: tokio::sync::mpsc::Sender<Slice>,
    ) -> Result<(), ()> {
        match &message.content {
            Content::Resident(body) => {
                for slice in body.slices() {
                    pieces.send(slice.clone()).await.map_err(|_| ())?;
                }
            }
            Content::Spooled { len } => {
                let mut offset = 0;
                while offset < *len {
                    let piece = self.spool.read(key, offset, PIECE_BYTES).await.map_err(|_| ())?;
                    if piece.is_empty() {
                        return Err(());
                    }
                    offset += piece.len() as u64;
                    pieces.send(piece).await.map_err(|_| ())?;
                }
            }
        }
        Ok(())
    }
}

impl Read {
    fn head(&self) -> Cow<'_, [u8]> {
        match &self.head {
            Some(head) => Cow::Borrowed(head),
            None => routing::head(&self.message.content).unwrap_or_default(),
        }
    }
}

fn listed(found: &Found, message: &Message) -> Listed {
    let recipient = message.envelope.recipients.get(usize::from(found.row.recipient));
    let mut alone = found.clone();
    alone.message = None;
    Listed {
        found: alone,
        sender: message.envelope.sender.as_ref().map_or_else(String::new, |sender| sender.as_str().into()),
        recipient: recipient.map_or_else(String::new, |recipient| recipient.address.as_str().into()),
        size: message.size(),
    }
}
