//! The asking side.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use super::table::{Correlation, Delivery, Table};
use super::{CallError, OUTSTANDING_MAX};
use crate::channel::{Channel, Deadline, Loss, ReceiveError, Received, Receiver, Sender};
use crate::message::Message;
use crate::queue::{Priority, QueueKind};
use crate::wire::Kind;

/// Asks the peer of a channel. Each thread has its own ([`Self::another`]).
pub struct Calls {
    sender: Sender,
    hub: Arc<Hub>,
}

/// What a [`Calls`] counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallsStats {
    /// Calls without a result.
    pub outstanding: usize,
    /// Answers that came after their call was over.
    pub late: u64,
    /// Messages that were no answers, and were dropped because the receiver is ours.
    pub strays: u64,
}

/// What all askers of a channel share.
struct Hub {
    channel: String,
    state: Mutex<State>,
    /// Held by who leads. `None`: the application receives, and passes answers on.
    receiver: Option<Mutex<Receiver>>,
    /// Sends cancels.
    cancels: Mutex<Sender>,
    /// Threads that found the lead taken, and wait for an answer or the lead.
    followers: AtomicUsize,
    late: AtomicU64,
    strays: AtomicU64,
}

struct State {
    table: Table<Waiter, Received, End>,
    /// The call of the task that the channel will wake.
    leader: Option<Correlation>,
}

/// Why a call ended without an answer.
#[derive(Debug, Clone)]
enum End {
    TimedOut,
    Unanswered,
    PeerGone(Loss),
    Closed,
    Failed(String),
}

/// Who waits for an answer.
enum Waiter {
    Thread(Thread),
    Task(Waker),
}

impl Waiter {
    fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => waker.wake(),
        }
    }
}

impl Calls {
    /// Asks over `channel`, whose receiver it takes, with normal priority. What comes and is no answer is dropped and counted.
    pub fn over(channel: &Channel, receiver: Receiver) -> Self {
        Self::build(channel, Some(receiver), Priority::Normal, OUTSTANDING_MAX)
    }

    /// Asks over `channel`, whose receiver the application keeps: it passes what it receives to [`Self::handle`], and losses to
    /// [`Self::handle_loss`].
    pub fn fed(channel: &Channel) -> Self {
        Self::build(channel, None, Priority::Normal, OUTSTANDING_MAX)
    }

    /// As [`Self::over`] or, without a receiver, [`Self::fed`], with this priority and at most `outstanding_max` calls at once.
    pub fn build(channel: &Channel, receiver: Option<Receiver>, priority: Priority, outstanding_max: usize) -> Self {
        let sender = channel.sender(QueueKind::MultiUnbounded, priority);
        let cancels = sender.another().expect("a queue of many producers has more");
        // Not a secret, only other than that of the process that was here before.
        let first_generation = RandomState::new().build_hasher().finish() as u32;
        let state = State { table: Table::new(outstanding_max, first_generation), leader: None };
        let hub = Hub {
            channel: channel.name().to_owned(),
            state: Mutex::new(state),
            receiver: receiver.map(Mutex::new),
            cancels: Mutex::new(cancels),
            followers: AtomicUsize::new(0),
            late: AtomicU64::new(0),
            strays: AtomicU64::new(0),
        };
        Self { sender, hub: Arc::new(hub) }
    }

    /// Another asker over the same channel, for another thread.
    #[must_use]
    pub fn another(&self) -> Self {
        let sender = self.sender.another().expect("a queue of many producers has more");
        Self { sender, hub: Arc::clone(&self.hub) }
    }

    /// Sends a request; waits until `deadline` for room, and the answer may come until then. Whatever kind the message has, it is sent as a request.
    ///
    /// # Errors
    /// When it was not taken, or too many calls are outstanding.
    pub fn begin(&mut self, mut request: Message, deadline: Deadline) -> Result<Call, CallError> {
        let moment = match deadline {
            Deadline::Now => Some(Instant::now()),
            Deadline::At(moment) => Some(moment),
            Deadline::Never => None,
        };
        let begun = self.hub.state().table.begin(moment);
        let Some(correlation) = begun else {
            let limit = self.hub.state().table.limit();
            return Err(CallError::TooMany { channel: self.hub.channel.clone(), limit });
        };
        request.set_kind(Kind::Request);
        request.set_correlation(correlation.0);
        // From here on the call is given up if the request is not taken.
        let mut call = Call { hub: Arc::clone(&self.hub), correlation, phase: Phase::Open };
        if let Err(error) = self.sender.post(request, deadline) {
            call.phase = Phase::Unsent;
            return Err(CallError::Post(error));
        }
        Ok(call)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When there is none.
    pub fn call(&mut self, request: Message, deadline: Deadline) -> Result<Received, CallError> {
        self.begin(request, deadline)?.wait()
    }

    /// Asks, and the task waits for the answer. It waits for room as a thread would, but only where the channel has more than its budget queued; the
    /// deadline comes when somebody calls [`Self::handle_timeout`], or waits as a thread.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn call_async(&mut self, request: Message, deadline: Deadline) -> Result<Received, CallError> {
        self.begin(request, deadline)?.await
    }

    /// Takes an answer out of what the application received; gives back what is none.
    pub fn handle(&self, received: Received) -> Option<Received> {
        self.hub.handle(received)
    }

    /// Fails all calls after the application's receiver said that a peer is gone or the channel is over; a time-out is no loss.
    pub fn handle_loss(&self, error: &ReceiveError) {
        self.hub.handle_loss(error);
    }

    /// Fails the calls whose deadline has come; says when to come again. For event loops: waiting threads do it by themselves.
    pub fn handle_timeout(&self, now: Instant) -> Option<Instant> {
        self.hub.handle_timeout(now);
        self.hub.state().table.poll_deadline()
    }

    /// What was counted.
    pub fn stats(&self) -> CallsStats {
        CallsStats {
            outstanding: self.hub.state().table.open(),
            late: self.hub.late.load(Ordering::Relaxed),
            strays: self.hub.strays.load(Ordering::Relaxed),
        }
    }
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        // The table is whole between its operations, none of which panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The receiver, if nobody else leads.
    fn try_lead(&self) -> Option<MutexGuard<'_, Receiver>> {
        match self.receiver.as_ref()?.try_lock() {
            Ok(receiver) => Some(receiver),
            // Who panicked did so in a receiver, which is whole between messages.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn handle(&self, received: Received) -> Option<Received> {
        let correlation = Correlation(received.correlation());
        let waiter = match received.kind() {
            Kind::Response => match self.state().table.handle_answer(correlation, received) {
                Delivery::Delivered(waiter) => waiter,
                Delivery::Late(_) => {
                    self.late.fetch_add(1, Ordering::Relaxed);
                    None
                }
            },
            Kind::Cancel => {
                let mut state = self.state();
                if !state.table.is_open(correlation) {
                    // The peer's cancel of a request of its own, perhaps.
                    return Some(received);
                }
                state.table.handle_failure(correlation, End::Unanswered)
            }
            _ => return Some(received),
        };
        waiter.into_iter().for_each(Waiter::wake);
        None
    }

    fn handle_loss(&self, error: &ReceiveError) {
        let end = match error {
            ReceiveError::TimedOut { .. } => return,
            ReceiveError::PeerGone(loss) => End::PeerGone(loss.clone()),
            ReceiveError::Closed { .. } => End::Closed,
            ReceiveError::Failed { why, .. } => End::Failed(why.clone()),
        };
        let waiters = self.state().table.handle_failure_of_all(&end);
        waiters.into_iter().for_each(Waiter::wake);
    }

    /// Takes over what the leader has received.
    fn handle_received(&self, received: Result<Received, ReceiveError>) {
        match received {
            Ok(received) => {
                if self.handle(received).is_some() {
                    self.strays.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => self.handle_loss(&error),
        }
    }

    fn handle_timeout(&self, now: Instant) {
        let (calls, waiters) = self.state().table.handle_timeout(now, &End::TimedOut);
        waiters.into_iter().for_each(Waiter::wake);
        calls.into_iter().for_each(|correlation| self.cancel(correlation));
    }

    /// Tells the peer that nobody waits for the answer, if there is room to.
    fn cancel(&self, correlation: Correlation) {
        let mut cancels = self.cancels.lock().unwrap_or_else(PoisonError::into_inner);
        // Without room, the peer answers in vain.
        let _ = cancels.post(Message::of_kind(Kind::Cancel, correlation.0), Deadline::Now);
    }

    /// Who led leads no more: wakes another to do it.
    fn hand_over(&self) {
        let next = {
            let mut state = self.state();
            state.leader = None;
            state.table.next_waiter(|_| true)
        };
        next.into_iter().for_each(Waiter::wake);
    }

    /// A task leads now, which does not hold the receiver: a thread that follows is better at it.
    fn hand_over_to_thread(&self) {
        if self.followers.load(Ordering::SeqCst) == 0 {
            return;
        }
        let next = self.state().table.next_waiter(|waiter| matches!(waiter, Waiter::Thread(_)));
        next.into_iter().for_each(Waiter::wake);
    }

    fn error(&self, end: End) -> CallError {
        let channel = self.channel.clone();
        match end {
            End::TimedOut => CallError::TimedOut { channel },
            End::Unanswered => CallError::Unanswered { channel },
            End::PeerGone(loss) => CallError::PeerGone(loss),
            End::Closed => CallError::Closed { channel },
            End::Failed(why) => CallError::Failed { channel, why },
        }
    }
}

/// A request that was sent. It is a `Future` of its answer; a thread waits with [`Self::wait`]. Dropping it cancels the request.
#[must_use = "dropping it cancels the request"]
pub struct Call {
    hub: Arc<Hub>,
    correlation: Correlation,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// In the table.
    Open,
    /// In the table; the peer never heard of it.
    Unsent,
    /// Its result was taken.
    Ended,
}

impl Call {
    /// Waits for the answer until the deadline of the request.
    ///
    /// # Errors
    /// When there is none.
    pub fn wait(mut self) -> Result<Received, CallError> {
        let hub = Arc::clone(&self.hub);
        loop {
            hub.handle_timeout(Instant::now());
            if let Some(result) = self.take() {
                return result;
            }
            if let Some(receiver) = hub.try_lead() {
                self.lead(receiver);
                hub.hand_over();
            } else {
                self.follow();
            }
        }
    }

    /// The name of the request, as both sides know it.
    pub fn correlation(&self) -> u64 {
        self.correlation.0
    }

    fn take(&mut self) -> Option<Result<Received, CallError>> {
        let result = self.hub.state().table.take(self.correlation)?;
        self.phase = Phase::Ended;
        Some(result.map_err(|end| self.hub.error(end)))
    }

    /// Receives for all until our own result is there, or a deadline has come.
    fn lead(&self, mut receiver: MutexGuard<'_, Receiver>) {
        loop {
            let deadline = {
                let mut state = self.hub.state();
                if !state.table.is_open(self.correlation) {
                    return;
                }
                state.table.poll_deadline().map_or(Deadline::Never, Deadline::At)
            };
            let received = receiver.receive(deadline);
            let timed_out = matches!(received, Err(ReceiveError::TimedOut { .. }));
            self.hub.handle_received(received);
            if timed_out {
                return;
            }
        }
    }

    /// Waits until the result is there, the lead is free, or our deadline has come.
    fn follow(&self) {
        self.hub.followers.fetch_add(1, Ordering::SeqCst);
        let deadline = {
            let mut state = self.hub.state();
            state.table.watch(self.correlation, Waiter::Thread(thread::current()));
            (state.table.is_open(self.correlation)).then(|| state.table.deadline(self.correlation))
        };
        // Who leads now looks for us after it has let go; if nobody does, the loop above takes the lead.
        let lead_is_free = self.hub.try_lead().is_some();
        if let (Some(deadline), false) = (deadline, lead_is_free) {
            match deadline {
                None => thread::park(),
                Some(deadline) => thread::park_timeout(deadline.saturating_duration_since(Instant::now())),
            }
        }
        self.hub.followers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Receives what is there, for all; in the end the channel will wake our task.
    fn poll_lead(&self, mut receiver: MutexGuard<'_, Receiver>, context: &mut Context<'_>) {
        while let Poll::Ready(received) = receiver.poll_receive(context) {
            let over = matches!(received, Err(ReceiveError::Closed { .. } | ReceiveError::Failed { .. }));
            self.hub.handle_received(received);
            if over || !self.hub.state().table.is_open(self.correlation) {
                return;
            }
        }
        self.hub.state().leader = Some(self.correlation);
        drop(receiver);
        self.hub.hand_over_to_thread();
    }
}

impl Future for Call {
    type Output = Result<Received, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let hub = Arc::clone(&self.hub);
        hub.handle_timeout(Instant::now());
        let mut result = self.take();
        if result.is_none() {
            hub.state().table.watch(self.correlation, Waiter::Task(context.waker().clone()));
            if let Some(receiver) = hub.try_lead() {
                self.poll_lead(receiver, context);
                result = self.take();
                if result.is_some() {
                    // We have led, if only just now.
                    hub.hand_over();
                }
            } else {
                // The answer may have come before we were put down.
                result = self.take();
            }
        } else if hub.state().leader == Some(self.correlation) {
            hub.hand_over();
        }
        result.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.phase == Phase::Ended {
            return;
        }
        let (open, leads, result) = {
            let mut state = self.hub.state();
            let (open, result) = state.table.abandon(self.correlation);
            (open, state.leader == Some(self.correlation), result)
        };
        drop(result);
        if open && self.phase == Phase::Open {
            self.hub.cancel(self.correlation);
        }
        if leads {
            self.hub.hand_over();
        }
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("channel", &self.hub.channel).finish_non_exhaustive()
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("channel", &self.hub.channel).field("correlation", &self.correlation.0).finish()
    }
}
