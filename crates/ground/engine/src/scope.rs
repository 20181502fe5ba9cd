//! Scopes: a listener generation, a session or a message owns its tasks, and ends them when it ends.
//!
//! ```text
//!  root of the loop ─┬─ listener generation 4 ─┬─ session ── message
//!                    └─ generation 5           └─ session
//!   stop()   asks: `stopped()` is ready here and below; tasks finish what they are at
//!   abort()  kills: futures here and below are dropped at their next await
//!   ended()  waits until the last task here and below is gone
//! ```
//!
//! [`Scope`] is the owner: dropping it aborts. [`ScopeRef`] is what tasks hold. Everything stays on one loop.

use std::{
    cell::{Cell, RefCell},
    panic::Location,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
};

use tokio::task::AbortHandle;

use crate::{
    context::{LoopContext, Task},
    heartbeat::{Site, TaskKind},
    slots::Slots,
};

/// The owner of a scope. Dropping it aborts every task of the scope and of its children.
#[derive(Debug)]
#[must_use = "dropping a scope aborts its tasks"]
pub struct Scope {
    reference: ScopeRef,
}

/// A scope as its tasks see it: to spawn, to stop, to wait. It keeps nothing alive and aborts nothing when dropped.
#[derive(Clone, Debug)]
pub struct ScopeRef {
    context: LoopContext,
    node: Rc<ScopeNode>,
}

#[derive(Debug)]
pub(crate) struct ScopeNode {
    state: Cell<State>,
    /// Tasks here and below.
    live: Cell<u32>,
    parent: Option<Parent>,
    children: RefCell<Slots<Weak<ScopeNode>>>,
    tasks: RefCell<Slots<Option<AbortHandle>>>,
    waiters: RefCell<Slots<(Event, Option<Waker>)>>,
}

#[derive(Debug)]
struct Parent {
    node: Rc<ScopeNode>,
    place: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Running,
    Stopping,
    Aborted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Stop,
    End,
}

impl Scope {
    /// A scope right below the loop's root.
    pub fn new(context: &LoopContext) -> Scope {
        context.root().child()
    }

    /// A reference for the tasks.
    pub fn reference(&self) -> ScopeRef {
        self.reference.clone()
    }
}

impl std::ops::Deref for Scope {
    type Target = ScopeRef;

    fn deref(&self) -> &ScopeRef {
        &self.reference
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.reference.abort();
    }
}

impl ScopeRef {
    pub(crate) fn of(context: LoopContext, node: Rc<ScopeNode>) -> ScopeRef {
        ScopeRef { context, node }
    }

    /// The loop on which it lives.
    pub fn context(&self) -> &LoopContext {
        &self.context
    }

    /// A scope below this one. It stops and is aborted with this one, and is born so if this one is.
    pub fn child(&self) -> Scope {
        let node = Rc::new_cyclic(|own| {
            let place = self.node.children.borrow_mut().insert(own.clone());
            ScopeNode::new(self.node.state.get(), Some(Parent { node: self.node.clone(), place }))
        });
        Scope { reference: ScopeRef { context: self.context.clone(), node } }
    }

    /// Starts a task in this scope. In a scope that was aborted it ends before its first poll.
    #[track_caller]
    pub fn spawn<F>(&self, kind: TaskKind, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let site = Site { kind, location: Location::caller() };
        let place = self.node.tasks.borrow_mut().insert(None);
        let membership = Membership::new(self.node.clone(), place);
        let task = self.context.spawn_member(site, future, membership);
        if let Some(slot) = self.node.tasks.borrow_mut().get_mut(place) {
            *slot = Some(task.abort_handle());
        }
        if self.node.state.get() == State::Aborted {
            task.abort();
        }
        task
    }

    /// Asks the tasks here and below to finish. Nothing is killed.
    pub fn stop(&self) {
        self.node.raise(State::Stopping);
    }

    /// Drops the tasks here and below at their next await. A task that aborts its own scope runs on until then.
    pub fn abort(&self) {
        self.node.raise(State::Aborted);
    }

    /// Whether somebody has asked this scope to stop, or aborted it.
    pub fn is_stopping(&self) -> bool {
        self.node.state.get() >= State::Stopping
    }

    /// Ready once this scope is asked to stop. Make it once and poll it again and again; it may outlive the caller.
    pub fn stopped(&self) -> Waiting {
        Waiting { node: self.node.clone(), event: Event::Stop, place: None }
    }

    /// Ready once no task is left here and below. A task must not wait for the end of a scope it belongs to.
    pub fn ended(&self) -> Waiting {
        Waiting { node: self.node.clone(), event: Event::End, place: None }
    }

    /// How many tasks there are here and below.
    pub fn live(&self) -> u32 {
        self.node.live.get()
    }
}

impl ScopeNode {
    pub(crate) fn root() -> Rc<ScopeNode> {
        Rc::new(ScopeNode::new(State::Running, None))
    }

    fn new(state: State, parent: Option<Parent>) -> ScopeNode {
        ScopeNode {
            state: Cell::new(state),
            live: Cell::new(0),
            parent,
            children: RefCell::new(Slots::new()),
            tasks: RefCell::new(Slots::new()),
            waiters: RefCell::new(Slots::new()),
        }
    }

    /// Brings this scope and all below to `state`, never back. No borrow is held while a waker or an abort runs.
    fn raise(&self, state: State) {
        if self.state.get() >= state {
            return;
        }
        self.state.set(state);
        self.wake(Event::Stop);
        if state == State::Aborted {
            let tasks: Vec<AbortHandle> = self.tasks.borrow().iter().flatten().cloned().collect();
            tasks.iter().for_each(AbortHandle::abort);
        }
        let children: Vec<Rc<ScopeNode>> = self.children.borrow().iter().filter_map(Weak::upgrade).collect();
        children.iter().for_each(|child| child.raise(state));
    }

    fn wake(&self, event: Event) {
        let waiters = self.waiters.borrow();
        let wakers: Vec<Waker> =
            waiters.iter().filter(|(what, _)| *what == event).filter_map(|(_, waker)| waker.clone()).collect();
        drop(waiters);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn has_come(&self, event: Event) -> bool {
        match event {
            Event::Stop => self.state.get() >= State::Stopping,
            Event::End => self.live.get() == 0,
        }
    }

    /// This scope and all above it, innermost first.
    fn chain(&self) -> impl Iterator<Item = &ScopeNode> {
        std::iter::successors(Some(self), |node| node.parent.as_ref().map(|parent| &*parent.node))
    }
}

impl Drop for ScopeNode {
    fn drop(&mut self) {
        if let Some(parent) = &self.parent {
            parent.node.children.borrow_mut().remove(parent.place);
        }
    }
}

/// A task's place in its scope; dropped with the task's future.
#[derive(Debug)]
struct Membership {
    node: Rc<ScopeNode>,
    place: u32,
}

impl Membership {
    fn new(node: Rc<ScopeNode>, place: u32) -> Membership {
        node.chain().for_each(|scope| scope.live.set(scope.live.get() + 1));
        Membership { node, place }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let handle = self.node.tasks.borrow_mut().remove(self.place);
        drop(handle);
        for scope in self.node.chain() {
            scope.live.set(scope.live.get() - 1);
            if scope.live.get() == 0 {
                scope.wake(Event::End);
            }
        }
    }
}

/// Waits for a scope to be stopped or to have ended.
#[derive(Debug)]
pub struct Waiting {
    node: Rc<ScopeNode>,
    event: Event,
    place: Option<u32>,
}

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.node.has_come(self.event) {
            return Poll::Ready(());
        }
        let place = match self.place {
            Some(place) => place,
            None => self.node.waiters.borrow_mut().insert((self.event, None)),
        };
        self.place = Some(place);
        let mut waiters = self.node.waiters.borrow_mut();
        if let Some((_, waker)) = waiters.get_mut(place)
            && waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let waiter = self.node.waiters.borrow_mut().remove(place);
            drop(waiter);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::{LoopOptions, TaskEnd, run_here};

    const KIND: TaskKind = TaskKind("test");

    fn on_a_loop<F: Future<Output = ()> + 'static>(body: impl FnOnce(LoopContext) -> F + 'static) {
        let limited = |context: LoopContext| async move {
            let limit = context.timers().after(std::time::Duration::from_secs(20));
            let outcome = limit.limit(body(context.clone())).await;
            // A lost wake-up shows here even if the last poll, at the limit, finds everything done.
            assert!(outcome.is_ok() && !limit.has_fired(), "the test hangs");
        };
        run_here(LoopOptions::default(), limited).unwrap();
    }

    /// Counts the futures that were dropped.
    struct Dropped(Rc<Cell<u32>>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    fn sleeper(dropped: &Rc<Cell<u32>>) -> impl Future<Output = ()> + 'static {
        let guard = Dropped(dropped.clone());
        async move {
            let _guard = guard;
            pending::<()>().await;
        }
    }

    #[test]
    fn dropping_a_scope_ends_its_tasks_and_those_below() {
        on_a_loop(|context| async move {
            let dropped = Rc::new(Cell::new(0));
            let scope = Scope::new(&context);
            let child = scope.child();
            scope.spawn(KIND, sleeper(&dropped)).detach();
            child.spawn(KIND, sleeper(&dropped)).detach();
            child.spawn(KIND, sleeper(&dropped)).detach();
            context.yield_now().await;
            assert_eq!((scope.live(), child.live(), context.root().live(), dropped.get()), (3, 2, 3, 0));
            let root = context.root();
            drop(scope);
            root.ended().await;
            assert_eq!((dropped.get(), root.live(), child.live()), (3, 0, 0));
        });
    }

    #[test]
    fn dropping_a_child_leaves_its_parent_alone() {
        on_a_loop(|context| async move {
            let dropped = Rc::new(Cell::new(0));
            let scope = Scope::new(&context);
            scope.spawn(KIND, sleeper(&dropped)).detach();
            let child = scope.child();
            child.spawn(KIND, sleeper(&dropped)).detach();
            context.yield_now().await;
            let below = child.reference();
            drop(child);
            below.ended().await;
            assert_eq!((dropped.get(), scope.live()), (1, 1));
            drop(below);
            assert_eq!(scope.node.children.borrow().iter().count(), 0);
        });
    }

    #[test]
    fn stop_asks_and_the_tasks_finish_themselves() {
        on_a_loop(|context| async move {
            let scope = Scope::new(&context);
            let child = scope.child();
            let theirs = child.reference();
            let task = child.spawn(KIND, async move {
                theirs.stopped().await;
                theirs.context().yield_now().await;
                "finished"
            });
            context.yield_now().await;
            assert!(!child.is_stopping() && !task.is_finished());
            scope.stop();
            assert!(child.is_stopping() && scope.child().is_stopping());
            scope.ended().await;
            assert_eq!(task.await, Ok("finished"));
            assert_eq!(child.node.waiters.borrow().iter().count(), 0);
        });
    }

    #[test]
    fn a_task_of_an_aborted_scope_never_runs() {
        on_a_loop(|context| async move {
            let scope = Scope::new(&context);
            scope.abort();
            let ran = Rc::new(Cell::new(false));
            let theirs = ran.clone();
            assert_eq!(scope.spawn(KIND, async move { theirs.set(true) }).await, Err(TaskEnd::Aborted));
            assert!(!ran.get() && scope.live() == 0);
        });
    }

    #[test]
    fn a_session_may_own_the_scope_it_runs_in() {
        on_a_loop(|context| async move {
            let dropped = Rc::new(Cell::new(0));
            let generation = Scope::new(&context);
            let session = generation.child();
            let reference = session.reference();
            let helper = sleeper(&dropped);
            let body = async move {
                session.spawn(KIND, helper).detach();
                session.context().yield_now().await;
            };
            reference.spawn(KIND, body).await.unwrap();
            generation.ended().await;
            assert_eq!(dropped.get(), 1);
        });
    }

    #[test]
    fn a_task_that_panics_leaves_its_scope_whole() {
        on_a_loop(|context| async move {
            let scope = Scope::new(&context);
            assert_eq!(scope.spawn(KIND, async { panic!("on purpose") }).await, Err::<(), _>(TaskEnd::Panicked));
            scope.ended().await;
            assert_eq!(scope.spawn(KIND, async { 3 }).await, Ok(3));
        });
    }

    #[test]
    fn twenty_thousand_children_come_and_go_in_place() {
        on_a_loop(|context| async move {
            let scope = Scope::new(&context);
            for _ in 0..20_000 {
                let child = scope.child();
                drop(child);
            }
            let first = scope.child();
            assert_eq!(first.node.parent.as_ref().unwrap().place, 0);
        });
    }
}
