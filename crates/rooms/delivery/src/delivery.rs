//! The room as `posthaste` holds it.

use crate::dispatcher;
use crate::report::Due;
use crate::reporter::{self, ReportJob};
use crate::room::Room;
use crate::settling::Trial;
use crate::{Counters, HostLimits, LastFailure, Neighbours, OwnIdentity, SourceRow, Terms};
use config::Config;
use engine::{Descriptors, LoopContext, Pool, Scope, TaskKind};
use message::dsn::Action;
use message::{Agent, Container, Enhanced, IdSource, Message, MessageId, Queued, Reply, Stage};
use policy::Marks;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What a loop's delivery is made of.
pub struct Parts<N: Neighbours> {
    /// The loop.
    pub context: LoopContext,
    /// Its queues.
    pub work: Rc<RefCell<N::Work>>,
    /// Where messages are.
    pub spool: N::Spool,
    /// Where hosts are found.
    pub resolver: N::Resolver,
    /// Where attempts are told.
    pub events: N::Events,
    /// Where reports go.
    pub inject: N::Inject,
    /// Writes maildirs: blocking files.
    pub pool: Pool,
    /// Shared with the whole process.
    pub descriptors: Descriptors,
    /// This loop's numbers.
    pub counters: Counters,
    /// Shared with the whole process.
    pub own: Arc<OwnIdentity>,
    /// Shared with the whole process.
    pub hosts: Arc<HostLimits>,
    /// Ids of connections and reports: its `pid` is no other loop's.
    pub ids: IdSource,
}

/// Who hears of a recipient that is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// The sender, by a report.
    Sender,
    /// Nobody; only the logs tell.
    Nobody,
}

/// A loop's delivery. Clones are one; when the last is dropped its connections are cut off.
pub struct Delivery<N: Neighbours> {
    inner: Rc<Inner<N>>,
}

struct Inner<N: Neighbours> {
    room: Rc<Room<N>>,
    connections: Scope,
    _dispatcher: Scope,
    _reporters: Scope,
}

impl<N: Neighbours> Clone for Delivery<N> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<N: Neighbours> Delivery<N> {
    /// Starts the dispatcher and the reporters.
    pub fn start(parts: Parts<N>, config: &Arc<Config>) -> Self {
        let context = parts.context.clone();
        let (connections, dispatcher, reporters) = (Scope::new(&context), Scope::new(&context), Scope::new(&context));
        let room = Rc::new(Room::new(parts, config, connections.reference()));
        dispatcher.spawn(TaskKind("delivery dispatcher"), dispatcher::dispatch(room.clone())).detach();
        for _ in 0..reporter::REPORTERS {
            reporters.spawn(TaskKind("reporter"), reporter::run(room.clone())).detach();
        }
        Self { inner: Rc::new(Inner { room, connections, _dispatcher: dispatcher, _reporters: reporters }) }
    }

    /// Work may have come: containers are looked at now instead of when they said.
    pub fn work_came(&self) {
        self.inner.room.bell.notify_one();
    }

    /// A recipient that routing refused: it is logged, reported and noted as failed.
    pub fn refuse(&self, message: Arc<Message>, queued: Queued, reply: Reply) {
        let Some(recipient) = message.envelope.recipients.get(usize::from(queued.recipient)) else { return };
        let container = Container {
            name: recipient.address.domain_text().into(),
            binding: config::DEFAULT_BINDING.into(),
            group: None,
            options: recipient.address.domain_text().into(),
            agent: Agent::Hold,
        };
        self.give_up(&container, message, queued, reply, Telling::Sender);
    }

    /// A recipient that is given up without an attempt, and is in no queue any more: it is logged, reported if the sender is
    /// to be told and wants to be, and noted as failed.
    pub fn give_up(
        &self,
        container: &Container,
        message: Arc<Message>,
        queued: Queued,
        reply: Reply,
        telling: Telling,
    ) {
        let room = &self.inner.room;
        let trial = Trial {
            container,
            connection: MessageId::NONE,
            peer: None,
            stage: Stage::NotConnected,
            sent: 0,
            reply: &reply,
        };
        room.tell_permanent(&message, queued.recipient, queued.attempts, &trial);
        if telling == Telling::Nobody {
            return room.note_failed(queued.key, queued.recipient);
        }
        let status = reply.enhanced().unwrap_or(Enhanced(5, 0, 0));
        let due = Due {
            recipient: queued.recipient,
            action: Action::Failed,
            status,
            remote: None,
            reply: Some(reply),
            tried: room.unix(),
            retried_until: None,
        };
        let options = room.config.borrow().domain_options(&container.options, &container.binding, None);
        room.report(ReportJob { key: queued.key, message, dues: vec![due] }, &options);
    }

    /// Whether few enough reports wait that more may be asked for.
    pub fn has_report_room(&self) -> bool {
        self.inner.room.reports.has_room()
    }

    /// A new generation: connections that open from now on follow it.
    pub fn set_config(&self, config: &Arc<Config>) {
        let room = &self.inner.room;
        room.config.replace(config.clone());
        room.sites.borrow_mut().reconfigure(config);
        room.bell.notify_one();
    }

    /// Who marks what leaves from now on, where options ask for marks; without it nothing is marked.
    pub fn set_marks(&self, marks: Option<Arc<dyn Marks>>) {
        self.inner.room.marks.replace(marks);
    }

    /// Why a container was last given up for a while, unless a host has greeted since.
    pub fn last_failure(&self, container: &Container) -> Option<LastFailure> {
        self.inner.room.sites.borrow().last_failure(container)
    }

    /// What the mail exchangers of a container's domain are called together; `None` if they are not known now.
    pub fn site_name(&self, container: &Container) -> Option<Arc<str>> {
        self.inner.room.sites.borrow().name(container)
    }

    /// Holds a container's connections to terms, those that exist as well; the default are none.
    pub fn set_terms(&self, container: &Arc<Container>, terms: Terms) {
        self.inner.room.sites.borrow_mut().set_terms(container, terms);
    }

    /// Source addresses that have failed since they last worked.
    pub fn sources(&self) -> Vec<SourceRow> {
        self.inner.room.sources.rows(self.inner.room.context.now())
    }

    /// Leases nothing more, lets transactions under way end, says QUIT, and waits for all that; after `grace` it cuts
    /// off what is left. What was not decided by then is tried again after the next start.
    pub async fn drain(&self, grace: Duration) {
        let Inner { room, connections, .. } = &*self.inner;
        connections.stop();
        room.bell.notify_one();
        let timer = room.context.timers().after(grace);
        let ended = async {
            connections.ended().await;
            room.reports.emptied().await;
        };
        if timer.limit(ended).await.is_err() {
            connections.abort();
        }
    }
}
