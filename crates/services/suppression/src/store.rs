//! The list's writer: one thread that has the [`Keeper`], and the handles through which others ask it for changes.
//!
//! Event loops hand changes over and never wait; commands are called back when a change is durable and seen.

use crate::address::Key;
use crate::batch::Batch;
use crate::entry::{Entry, Label, Reason, Scope, Second};
use crate::keeper::{Changes, Keeper, WriteError};
use crate::list::List;
use message::{Address, UnixMicros};
use policy::{Cause, MailClass, Suppress, Suppressed, SuppressedBy};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Changes that may wait for the thread.
const QUEUE_MAX: usize = 64;
/// So long may changes wait to be shown that need not be shown at once.
const LATER: Duration = Duration::from_secs(1);
/// The thread looks up so often when nothing is asked.
const IDLE: Duration = Duration::from_secs(60);

/// When changes are to be durable and seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// Before the answer.
    Now,
    /// Within about a second, together with others: for imports, and for changes that come by themselves.
    Later,
}

/// Called on the writer's thread with what became of a change. Must not block.
pub type Done = Box<dyn FnOnce(Result<Changes, WriteError>) + Send>;

enum Task {
    Change { batch: Batch, publish: Publish, now: Second, done: Option<Done> },
    Remove { key: Box<Key>, now: Second, done: Done },
    Compact { now: Second, done: Done },
    Stop,
}

/// A handle of the list: to ask it, and to have it changed. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Store {
    list: Arc<List>,
    sender: SyncSender<Task>,
    lost: Arc<AtomicU64>,
}

/// The thread; dropping it stops it when all that was asked has been done.
pub struct Writer {
    sender: SyncSender<Task>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    /// Starts the thread. `trouble` hears, on it, of what nobody waits for.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn start(keeper: Keeper, trouble: impl Fn(&WriteError) + Send + 'static) -> std::io::Result<(Self, Writer)> {
        let list = keeper.list().clone();
        let (sender, tasks) = sync_channel(QUEUE_MAX);
        let thread =
            std::thread::Builder::new().name("suppression".into()).spawn(move || work(keeper, &tasks, &trouble))?;
        let store = Self { list, sender: sender.clone(), lost: Arc::default() };
        Ok((store, Writer { sender, thread: Some(thread) }))
    }

    /// The list.
    pub fn list(&self) -> &Arc<List> {
        &self.list
    }

    /// Makes changes. `done` hears of them at once if they cannot be handed over.
    pub fn change(&self, batch: Batch, publish: Publish, now: Second, done: Done) {
        self.ask(Task::Change { batch, publish, now, done: Some(done) });
    }

    /// Removes an address from every scope.
    pub fn remove(&self, key: &Key, now: Second, done: Done) {
        self.ask(Task::Remove { key: Box::new(key.clone()), now, done });
    }

    /// Writes the base file anew.
    pub fn compact(&self, now: Second, done: Done) {
        self.ask(Task::Compact { now, done });
    }

    fn ask(&self, task: Task) {
        let refused = match self.sender.try_send(task) {
            Ok(()) => return,
            Err(TrySendError::Full(task)) => (task, WriteError::Busy),
            Err(TrySendError::Disconnected(task)) => (task, WriteError::Closed),
        };
        match refused {
            (Task::Change { done: Some(done), .. } | Task::Remove { done, .. } | Task::Compact { done, .. }, error) => {
                done(Err(error));
            }
            (Task::Change { done: None, .. } | Task::Stop, _) => {
                self.lost.fetch_add(1, Relaxed);
            }
        }
    }

    /// Changes that came by themselves and found no room in the queue; whoever brought them brings them again with the
    /// next bounce.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // If the thread is gone, it needs no telling; if it panicked, that has been told on standard error.
        let _ = self.sender.send(Task::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(mut keeper: Keeper, tasks: &Receiver<Task>, trouble: &impl Fn(&WriteError)) {
    let mut pending: Option<(Instant, Second)> = None;
    loop {
        let wait = pending.map_or(IDLE, |(since, _)| LATER.saturating_sub(since.elapsed()));
        let stop = match tasks.recv_timeout(wait) {
            Ok(Task::Stop) | Err(RecvTimeoutError::Disconnected) => true,
            Ok(task) => {
                let now = carry_out(&mut keeper, task, trouble);
                pending = keeper.has_pending().then(|| (pending.map_or_else(Instant::now, |(since, _)| since), now));
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
        };
        if let Some((since, now)) = pending
            && (stop || since.elapsed() >= LATER)
        {
            if let Err(error) = keeper.publish(now) {
                trouble(&error);
            }
            pending = None;
        }
        if stop {
            return;
        }
    }
}

/// Does one thing; gives the time at which it was asked.
fn carry_out(keeper: &mut Keeper, task: Task, trouble: &impl Fn(&WriteError)) -> Second {
    let now = match task {
        Task::Change { batch, publish, now, done } => {
            let made = change(keeper, &batch, publish, now);
            match (done, made) {
                (Some(done), made) => done(made),
                (None, Err(error)) => trouble(&error),
                (None, Ok(_)) => {}
            }
            now
        }
        Task::Remove { key, now, done } => {
            let earlier = keeper.publish(now);
            done(earlier.and_then(|_| {
                let batch = keeper.removals(&key);
                change(keeper, &batch, Publish::Now, now)
            }));
            now
        }
        Task::Compact { now, done } => {
            done(keeper.compact(now).map(|()| Changes::default()));
            now
        }
        Task::Stop => Second(0),
    };
    if keeper.wants_compaction()
        && let Err(error) = keeper.compact(now)
    {
        trouble(&error);
    }
    now
}

fn change(keeper: &mut Keeper, batch: &Batch, publish: Publish, now: Second) -> Result<Changes, WriteError> {
    keeper.write(batch)?;
    if publish == Publish::Now || keeper.is_due() { keeper.publish(now) } else { Ok(Changes::default()) }
}

impl Suppressed for Store {
    fn suppressed(&self, recipient: &Address, mail: &MailClass<'_>, at: UnixMicros) -> Option<SuppressedBy> {
        let hit = self.list.find(&Key::of(recipient), mail.tenant, mail.kind, Second::from(at))?;
        Some(match hit.reason {
            Reason::Bounce(_) => SuppressedBy::Bounce,
            Reason::Complaint => SuppressedBy::Complaint,
            Reason::Unsubscribe => SuppressedBy::Unsubscribe,
            Reason::Manual => SuppressedBy::Operator,
        })
    }
}

impl Suppress for Store {
    fn suppress(&self, address: &Address, mail: &MailClass<'_>, cause: Cause, at: UnixMicros) {
        let now = Second::from(at);
        let source = match cause {
            Cause::Bounce { .. } => "bounce",
            Cause::Complaint => "feedback",
            Cause::Unsubscribe => "unsubscribe",
        };
        let reason = match cause {
            Cause::Bounce { class } => Reason::Bounce(class),
            Cause::Complaint => Reason::Complaint,
            Cause::Unsubscribe => Reason::Unsubscribe,
        };
        let tenant = match mail.tenant.map(Label::new).transpose() {
            Ok(tenant) => tenant,
            // No entry can have such a tenant, and one for everybody would stop mail of others.
            Err(_) => {
                self.lost.fetch_add(1, Relaxed);
                return;
            }
        };
        let entry = Entry {
            key: Key::of(address),
            scope: Scope { tenant, kind: mail.kind },
            reason,
            source: Label::new(source).expect("the words above are short names"),
            added: now,
            expires: None,
        };
        let mut batch = Batch::new();
        batch.put(&entry);
        self.ask(Task::Change { batch, publish: Publish::Later, now, done: None });
    }
}
