//! What all tasks of the room share on one loop.

use crate::hosts::HostLimits;
use crate::idle::Idle;
use crate::reporter::Reports;
use crate::site::{Site, Sites};
use crate::sources::Sources;
use crate::{Counters, Neighbours, OwnIdentity};
use config::Config;
use engine::{Descriptors, LoopContext, Pool, ScopeRef};
use message::{
    Attempted, Container, IdSource, LeasedRecipient, MessageId, Outcome, Spool, StoreKey, UnixMicros, Verdict, Work,
};
use policy::Marks;
use smtp::client::Output;
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// Octets that one read takes at most.
const INPUT_BYTES: usize = 16 << 10;
/// A command buffer that has grown beyond this is not kept.
const OUTPUT_KEPT_BYTES: usize = 64 << 10;

pub(crate) struct Room<N: Neighbours> {
    pub(crate) context: LoopContext,
    pub(crate) work: Rc<RefCell<N::Work>>,
    pub(crate) spool: N::Spool,
    pub(crate) resolver: N::Resolver,
    pub(crate) events: N::Events,
    pub(crate) inject: N::Inject,
    pub(crate) pool: Pool,
    pub(crate) descriptors: Descriptors,
    pub(crate) counters: Counters,
    pub(crate) own: Arc<OwnIdentity>,
    pub(crate) ids: RefCell<IdSource>,
    pub(crate) config: RefCell<Arc<Config>>,
    pub(crate) sites: RefCell<Sites>,
    pub(crate) sources: Sources,
    pub(crate) hosts: Arc<HostLimits>,
    pub(crate) idle: Idle,
    pub(crate) reports: Reports<N>,
    /// Rings the dispatcher.
    pub(crate) bell: Notify,
    /// The scope of the connections: it stops when the room drains or its loop ends.
    pub(crate) connections: ScopeRef,
    /// Every connection reads into this, in one call that does not wait.
    pub(crate) input: RefCell<Box<[u8]>>,
    output: RefCell<Output>,
    /// Recipients whose senders were told of a delay.
    pub(crate) told: RefCell<HashSet<(MessageId, u16)>>,
    /// Marks what leaves, where options ask for it.
    pub(crate) marks: RefCell<Option<Arc<dyn Marks>>>,
}

impl<N: Neighbours> Room<N> {
    pub(crate) fn new(parts: crate::Parts<N>, config: &Arc<Config>, connections: ScopeRef) -> Self {
        let crate::Parts {
            context,
            work,
            spool,
            resolver,
            events,
            inject,
            pool,
            descriptors,
            counters,
            own,
            hosts,
            ids,
        } = parts;
        Self {
            context,
            work,
            spool,
            resolver,
            events,
            inject,
            pool,
            descriptors,
            counters,
            own,
            ids: RefCell::new(ids),
            config: RefCell::new(config.clone()),
            sites: RefCell::default(),
            sources: Sources::default(),
            hosts,
            idle: Idle::default(),
            reports: Reports::default(),
            bell: Notify::new(),
            connections,
            input: RefCell::new(vec![0; INPUT_BYTES].into()),
            output: RefCell::default(),
            told: RefCell::default(),
            marks: RefCell::default(),
        }
    }

    /// The wall clock.
    pub(crate) fn unix(&self) -> UnixMicros {
        UnixMicros(self.context.clock().unix().0)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.connections.is_stopping()
    }

    pub(crate) fn next_id(&self) -> MessageId {
        self.ids.borrow_mut().next(self.unix())
    }

    /// What the connections of a container share.
    pub(crate) fn site(&self, container: &Arc<Container>) -> Rc<Site> {
        let now = self.context.now();
        self.sites.borrow_mut().get(container, &self.config.borrow(), now)
    }

    /// An output buffer; to be given back by [`Room::keep_output`].
    pub(crate) fn take_output(&self) -> Output {
        self.output.take()
    }

    pub(crate) fn keep_output(&self, mut output: Output) {
        if output.commands.capacity() <= OUTPUT_KEPT_BYTES {
            output.clear();
            self.output.replace(output);
        }
    }

    /// Tells the queue a verdict, and the spool what the queue made of it. A failure is noted here only if nobody is to
    /// be told of it: see `settling`.
    pub(crate) fn give_back(&self, key: StoreKey, leased: LeasedRecipient, verdict: Verdict) -> Attempted {
        let attempted = self.work.borrow_mut().attempted(leased.entry, verdict, self.unix());
        match attempted {
            Attempted::Settled(outcome) => self.spool.outcome(key, leased.recipient, outcome),
            Attempted::Expired => self.spool.outcome(key, leased.recipient, Outcome::Failed),
            Attempted::Returned => {}
        }
        attempted
    }
}
