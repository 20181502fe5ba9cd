//! The tasks that store reports, and what waits for them.
//!
//! A report that cannot be stored is tried again until the room drains; then it is dropped, and because its recipients
//! were never noted as failed, they are tried and reported after the next start.

use crate::leased::Leased;
use crate::report::Due;
use crate::room::Room;
use crate::settling::{Trial, expired};
use crate::{Inject as _, Neighbours};
use config::DomainOptions;
use message::dsn::Action;
use message::{Container, Enhanced, Message, MessageId, Stage, StoreKey, Verdict, Work};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Reports stored at the same time, so that they share a commit of the spool.
pub(crate) const REPORTERS: usize = 16;
/// With so many reports waiting, nothing more is leased.
const WAITING_MAX: usize = 1_024;
/// How long a report rests that could not be stored.
const AGAIN: Duration = Duration::from_secs(5);
/// So often it is tried before an expired recipient goes back to its queue.
const TRIES: u32 = 3;

/// A report about recipients of one message.
#[derive(Debug)]
pub(crate) struct ReportJob {
    pub(crate) key: StoreKey,
    pub(crate) message: Arc<Message>,
    pub(crate) dues: Vec<Due>,
}

/// Recipients whose time ran out in the queue; their message may have to be fetched.
pub(crate) struct Expired<N: Neighbours> {
    pub(crate) container: Arc<Container>,
    pub(crate) leased: Leased<N>,
}

enum Job<N: Neighbours> {
    Report(ReportJob),
    Expired(Expired<N>),
}

/// What waits for the reporters of a loop.
pub(crate) struct Reports<N: Neighbours> {
    waiting: RefCell<VecDeque<Job<N>>>,
    busy: Cell<usize>,
    bell: Notify,
    emptied: Notify,
}

impl<N: Neighbours> Default for Reports<N> {
    fn default() -> Self {
        Self { waiting: RefCell::default(), busy: Cell::new(0), bell: Notify::new(), emptied: Notify::new() }
    }
}

impl<N: Neighbours> Reports<N> {
    /// Whether more work may be leased that could end in reports.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.borrow().len() < WAITING_MAX
    }

    pub(crate) fn push(&self, job: ReportJob) {
        self.put(Job::Report(job));
    }

    pub(crate) fn push_expired(&self, expired: Expired<N>) {
        self.put(Job::Expired(expired));
    }

    fn put(&self, job: Job<N>) {
        self.waiting.borrow_mut().push_back(job);
        self.bell.notify_one();
    }

    /// Waits until every report is stored.
    pub(crate) async fn emptied(&self) {
        while self.busy.get() > 0 || !self.waiting.borrow().is_empty() {
            self.emptied.notified().await;
        }
    }

    async fn next(&self) -> Job<N> {
        loop {
            let job = self.waiting.borrow_mut().pop_front();
            if let Some(job) = job {
                return job;
            }
            self.bell.notified().await;
        }
    }
}

/// One reporter; runs for as long as the room.
pub(crate) async fn run<N: Neighbours>(room: Rc<Room<N>>) {
    loop {
        let job = room.reports.next().await;
        room.reports.busy.set(room.reports.busy.get() + 1);
        match job {
            Job::Report(job) => report(&room, &job).await,
            Job::Expired(expired) => report_expired(&room, expired).await,
        }
        room.reports.busy.set(room.reports.busy.get() - 1);
        room.reports.emptied.notify_one();
    }
}

async fn report<N: Neighbours>(room: &Rc<Room<N>>, job: &ReportJob) {
    while store(room, job).await.is_err() {
        if room.is_draining() {
            return;
        }
        room.context.timers().sleep(AGAIN).await;
    }
    for due in job.dues.iter().filter(|due| due.action == Action::Failed) {
        room.note_failed(job.key, due.recipient);
    }
}

/// The report was not stored.
struct NotStored;

async fn store<N: Neighbours>(room: &Rc<Room<N>>, job: &ReportJob) -> Result<(), NotStored> {
    let message = room.compose(job).await.map_err(|_| NotStored)?;
    room.inject.inject(Arc::new(message)).await.map_err(|_| NotStored)?;
    room.counters.reports.add(1);
    Ok(())
}

/// As [`report`], but the recipients are still in the queue, so that they can go back there if nothing helps.
async fn report_expired<N: Neighbours>(room: &Rc<Room<N>>, expired_job: Expired<N>) {
    let Expired { container, leased } = expired_job;
    let key = leased.key;
    let options = room.site(&container).options.clone();
    let Some(mut leased) = leased.with_message().await else { return };
    let Some(message) = leased.message().cloned() else { return };
    let reply = expired();
    let due = |recipient| Due {
        recipient,
        action: Action::Failed,
        status: Enhanced(5, 4, 7),
        remote: None,
        reply: Some(reply.clone()),
        tried: room.unix(),
        retried_until: None,
    };
    let dues: Vec<Due> = leased.recipients().iter().map(|leased| due(leased.recipient)).collect();
    let wanted = wanted(&dues, &message, &options);
    if !wanted.is_empty() {
        let job = ReportJob { key, message: message.clone(), dues: wanted };
        for tries in 1.. {
            match store(room, &job).await {
                Ok(()) => break,
                // Dropping the lease gives it back untried.
                Err(NotStored) if tries == TRIES || room.is_draining() => return,
                Err(NotStored) => room.context.timers().sleep(AGAIN).await,
            }
        }
    }
    while let Some(recipient) = leased.pop() {
        room.work.borrow_mut().attempted(recipient.entry, Verdict::Permanent, room.unix());
        let trial = Trial {
            container: &container,
            connection: MessageId::NONE,
            peer: None,
            stage: Stage::NotConnected,
            sent: 0,
            reply: &reply,
        };
        room.tell_permanent(&message, recipient.recipient, recipient.attempts, &trial);
        room.note_failed(key, recipient.recipient);
    }
}

fn wanted(dues: &[Due], message: &Message, options: &DomainOptions) -> Vec<Due> {
    dues.iter().filter(|due| due.is_wanted(message, options)).cloned().collect()
}
