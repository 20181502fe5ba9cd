//! What one event loop holds, and how a message passes through it between the rooms.
//!
//! ```text
//!  reception ─ stored ─► Shard ─ route ─► own scheduler ──► dispatcher
//!                          └───── lane ─► the loop that owns the container
//! ```

use crate::bouncing::Bouncing;
use crate::events::Events;
use crate::following::Following;
use crate::generation::Generation;
use crate::handing::{Handed, owner};
use crate::intake::Intake;
use crate::ledger::Ledger;
use crate::main_loop::{LoopDelivery, LoopReception};
use crate::redirections::{Redirections, Target};
use crate::store::StoreHandle;
use crate::suppressing::Suppression;
use config::Config;
use engine::{LoopContext, Pool, Pressure, PressureGauge, TaskKind};
use fabric::{Doorbell, LaneReceiver, LaneSender, Slice, WindowPool};
use message::{
    Address, Container, Event, EventSink as _, Message, Queued, Reply, Routed, Spool as _, StoreError, StoreKey,
    UnixMicros,
};
use reception::Returns;
use routing::{Egress, HEAD_BYTES_MAX, Marks, Plan as _};
use scheduling::{ContainerRow, QueueFull, Scheduler};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// One event loop's part of the server.
pub(crate) struct Shard {
    pub(crate) context: LoopContext,
    pub(crate) generation: RefCell<Generation>,
    pub(crate) scheduler: Rc<RefCell<Scheduler>>,
    pub(crate) spool: StoreHandle,
    pub(crate) events: Rc<Events>,
    lanes: RefCell<Vec<LaneSender<Handed>>>,
    /// Recipients for which the scheduler had no place; they are in the spool and come again.
    late: RefCell<VecDeque<Handed>>,
    pressure: PressureGauge,
    windows: WindowPool,
    ledger: Ledger,
    suppression: Suppression,
    redirections: Arc<Redirections>,
    pub(crate) following: Following,
    pub(crate) bouncing: RefCell<Arc<Bouncing>>,
    pub(crate) intake: Intake,
    /// Reads what comes back.
    pub(crate) cpu: Pool,
    /// Both hold the shard in turn; [`Shard::detach`] cuts the circle.
    delivery: RefCell<Option<LoopDelivery>>,
    reception: RefCell<Option<Rc<LoopReception>>>,
}

/// What a shard is made of.
pub(crate) struct Parts {
    pub(crate) context: LoopContext,
    pub(crate) generation: Generation,
    pub(crate) scheduler: Scheduler,
    pub(crate) spool: StoreHandle,
    pub(crate) events: Events,
    pub(crate) lanes: Vec<LaneSender<Handed>>,
    pub(crate) pressure: PressureGauge,
    pub(crate) windows: WindowPool,
    pub(crate) ledger: Ledger,
    pub(crate) suppression: Suppression,
    pub(crate) redirections: Arc<Redirections>,
    pub(crate) bouncing: Arc<Bouncing>,
    pub(crate) intake: Intake,
    pub(crate) cpu: Pool,
}

/// Recipients moved from lanes into queues before other tasks get their turn.
const STEP: usize = 256;
/// How often a loop tends, if no log asks for more.
const TEND: Duration = Duration::from_millis(100);
/// After which time a spool that could not be read is asked again.
const READ_AGAIN: Duration = Duration::from_secs(5);
/// And at most.
const TEND_MIN: Duration = Duration::from_millis(10);

impl Shard {
    /// A shard without delivery and reception, which are attached before its first message.
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            context: parts.context,
            generation: RefCell::new(parts.generation),
            scheduler: Rc::new(RefCell::new(parts.scheduler)),
            spool: parts.spool,
            following: Following::new(parts.events.desk.clone()),
            events: Rc::new(parts.events),
            lanes: RefCell::new(parts.lanes),
            late: RefCell::default(),
            pressure: parts.pressure,
            windows: parts.windows,
            ledger: parts.ledger,
            suppression: parts.suppression,
            redirections: parts.redirections,
            bouncing: RefCell::new(parts.bouncing),
            intake: parts.intake,
            cpu: parts.cpu,
            delivery: RefCell::default(),
            reception: RefCell::default(),
        }
    }

    /// Attaches the loop's delivery.
    pub(crate) fn attach(&self, delivery: LoopDelivery) {
        delivery.set_marks(self.marker());
        *self.delivery.borrow_mut() = Some(delivery);
    }

    /// Attaches the loop's reception.
    pub(crate) fn attach_reception(&self, reception: Rc<LoopReception>) {
        *self.reception.borrow_mut() = Some(reception);
    }

    /// Lets go of delivery and reception, which hold the shard: the end of the loop.
    pub(crate) fn detach(&self) {
        self.delivery.borrow_mut().take();
        self.reception.borrow_mut().take();
    }

    /// Where this loop's reads get their windows from.
    pub(crate) fn windows(&self) -> &WindowPool {
        &self.windows
    }

    fn delivery(&self) -> Option<LoopDelivery> {
        self.delivery.borrow().clone()
    }

    /// Why a container was last given up for a while.
    pub(crate) fn last_failure(&self, container: &Container) -> Option<delivery::LastFailure> {
        self.delivery()?.last_failure(container)
    }

    /// What the mail exchangers of a container are called together.
    pub(crate) fn site_name(&self, container: &Container) -> Option<Arc<str>> {
        self.delivery.borrow().as_ref()?.site_name(container)
    }

    /// Holds a container's connections to terms.
    pub(crate) fn set_terms(&self, container: &Arc<Container>, terms: delivery::Terms) {
        if let Some(delivery) = &*self.delivery.borrow() {
            delivery.set_terms(container, terms);
        }
    }

    /// Source addresses that have failed since they last worked.
    pub(crate) fn sources(&self) -> Vec<delivery::SourceRow> {
        self.delivery().map(|delivery| delivery.sources()).unwrap_or_default()
    }

    /// Whether more recipients may be given up of which senders hear.
    pub(crate) fn has_report_room(&self) -> bool {
        self.delivery().is_none_or(|delivery| delivery.has_report_room())
    }

    /// Ends a recipient that is in no queue any more.
    pub(crate) fn give_up(
        &self,
        container: &Container,
        message: Arc<Message>,
        queued: Queued,
        reply: Reply,
        telling: delivery::Telling,
    ) {
        if let Some(delivery) = self.delivery() {
            delivery.give_up(container, message, queued, reply, telling);
        }
    }

    /// Marks outgoing mail, if there is a key.
    fn marker(&self) -> Option<Arc<dyn policy::Marks>> {
        let bouncing = self.bouncing.borrow().clone();
        bouncing.has_keys().then_some(bouncing as Arc<dyn policy::Marks>)
    }

    /// Whether reception takes mail that comes back.
    pub(crate) fn set_returns(&self, returns: Returns) {
        if let Some(reception) = &*self.reception.borrow() {
            reception.set_returns(returns);
        }
    }

    fn work_came(&self) {
        if let Some(delivery) = self.delivery() {
            delivery.work_came();
        }
    }

    /// Now, as the queues and logs count it.
    pub(crate) fn unix(&self) -> UnixMicros {
        UnixMicros(self.context.clock().unix().0)
    }

    /// A message was stored: each recipient goes to its queue.
    pub(crate) fn stored(self: &Rc<Self>, message: &Arc<Message>, key: StoreKey) {
        if let Some(marks) = self.marks(message) {
            return self.queue_all(message, key, &marks);
        }
        let (shard, message) = (self.clone(), message.clone());
        let reading = async move {
            if let Some(marks) = shard.read_marks(&message, key).await {
                shard.queue_all(&message, key, &marks);
            }
        };
        self.context.spawn(TaskKind("message head"), reading).detach();
    }

    fn queue_all(&self, message: &Arc<Message>, key: StoreKey, marks: &Marks) {
        let now = self.unix();
        for index in 0..message.envelope.recipients.len() as u16 {
            let routed = match self.return_kind(message, index) {
                Some(_) => None,
                None => Some(self.route(message, index, marks)),
            };
            let container = match &routed {
                Some(Routed::To(container)) => Some(&**container),
                Some(Routed::Refused(_)) | None => None,
            };
            self.events.event(&Event::Received { at: now, message, recipient: index, container });
            let queued = Queued {
                key,
                id: message.id,
                recipient: index,
                attempts: 0,
                received: message.reception.at,
                not_before: UnixMicros(0),
                priority: marks.priority(),
                tenant: marks.tenant(),
                message: Some(message.clone()),
            };
            match routed {
                Some(routed) => self.hand(routed, message, queued),
                None => self.take_return(queued),
            }
        }
        self.ring();
    }

    /// Mail that came back and has been read goes on as other mail.
    pub(crate) async fn pass_on(&self, message: Arc<Message>, queued: Queued) {
        let queued = Queued { message: Some(message.clone()), ..queued };
        if !self.needs_head(&message) {
            self.queue_recovered(&message, queued, b"");
        } else if let Some(head) = routing::head(&message.content) {
            self.queue_recovered(&message, queued, &head);
        } else if let Some(head) = self.read_head(queued.key).await {
            self.queue_recovered(&message, queued, &head);
        }
        self.ring();
    }

    /// A recipient that a restart found.
    pub(crate) fn recovered(self: &Rc<Self>, message: &Arc<Message>, queued: Queued) {
        // One that was passed on and failed has been read.
        if queued.attempts == 0 && self.return_kind(message, queued.recipient).is_some() {
            return self.take_return(queued);
        }
        if !self.needs_head(message) {
            return self.queue_recovered(message, queued, b"");
        }
        if let Some(head) = routing::head(&message.content) {
            return self.queue_recovered(message, queued, &head);
        }
        let (shard, message) = (self.clone(), message.clone());
        let reading = async move {
            if let Some(head) = shard.read_head(queued.key).await {
                shard.queue_recovered(&message, queued, &head);
                shard.ring();
            }
        };
        self.context.spawn(TaskKind("message head"), reading).detach();
    }

    fn queue_recovered(&self, message: &Arc<Message>, queued: Queued, head: &[u8]) {
        let marks = self.generation.borrow().router.marks(message, head);
        let routed = self.route(message, queued.recipient, &marks);
        let routed = self.redirected(routed, message, queued.recipient, head);
        self.hand(routed, message, Queued { priority: marks.priority(), tenant: marks.tenant(), ..queued });
    }

    /// Whether the way of a message that was received before depends on its header.
    fn needs_head(&self, message: &Message) -> bool {
        let received = message.reception.at;
        self.generation.borrow().router.reads_head()
            || self.redirections.rows().iter().any(|row| row.reads_head(received))
    }

    /// The way of a recipient after what operators decided for it.
    fn redirected(&self, configured: Routed, message: &Message, index: u16, head: &[u8]) -> Routed {
        let rows = self.redirections.rows();
        let mut routed = configured.clone();
        for row in rows.iter() {
            let Routed::To(container) = &routed else { break };
            let tenant = self.generation.borrow().config.server.tenant_header.clone();
            if !row.means(container, message, index, head, &tenant) {
                continue;
            }
            let next = match &row.target {
                Target::Configured => configured.clone(),
                target => self.divert(container, message, index, target),
            };
            // What is refused today goes the way that is left.
            if let Routed::To(_) = next {
                routed = next;
            }
        }
        routed
    }

    /// Where a recipient of a container goes by an operator's word.
    pub(crate) fn divert(&self, container: &Arc<Container>, message: &Message, index: u16, target: &Target) -> Routed {
        let recipient = &message.envelope.recipients[usize::from(index)].address;
        let mut generation = self.generation.borrow_mut();
        let mut egress = Egress { binding: container.binding.clone(), group: container.group.clone() };
        // The domain whose options hold, unless they are those of a pattern: it may be there by a reroute.
        let exact = !container.options.starts_with(['*', '/']);
        let domain = match target {
            Target::Domain(domain) => Some(domain),
            _ if exact => Some(&container.options),
            _ => None,
        };
        if let Target::Binding(binding) = target {
            egress = Egress { binding: binding.clone(), group: None };
            if !generation.has(&egress) {
                return Routed::To(container.clone());
            }
        }
        let id = generation.router.egress_id(&egress);
        match domain.and_then(|domain| Address::new("postmaster", domain).ok()) {
            Some(address) => generation.router.route(&address, id),
            None => generation.router.route(recipient, id),
        }
    }

    pub(crate) fn route(&self, message: &Message, index: u16, marks: &Marks) -> Routed {
        let recipient = &message.envelope.recipients[usize::from(index)];
        let failure = self.suppression.failure(&self.generation.borrow().config, &recipient.address, self.unix());
        if let Some(reply) = failure {
            return Routed::Refused(reply);
        }
        let router = &mut self.generation.borrow_mut().router;
        let egress = router.choose(marks, &recipient.address);
        router.route(&recipient.address, egress)
    }

    /// What the choice of a binding depends on; `None` if it must be read from the spool.
    fn marks(&self, message: &Message) -> Option<Marks> {
        let router = &self.generation.borrow().router;
        if !router.reads_head() {
            return Some(router.marks(message, b""));
        }
        let head = routing::head(&message.content)?;
        Some(router.marks(message, &head))
    }

    /// As [`Shard::marks`], with the head of the message from the spool. A spool that cannot be read now is asked again
    /// later: mail must not leave by an identity that is not its own. `None`: the message is gone, or the server stops.
    async fn read_marks(&self, message: &Message, key: StoreKey) -> Option<Marks> {
        let head = self.read_head(key).await?;
        Some(self.generation.borrow().router.marks(message, &head))
    }

    async fn read_head(&self, key: StoreKey) -> Option<Slice> {
        loop {
            match self.spool.read(key, 0, HEAD_BYTES_MAX).await {
                Ok(head) => return Some(head),
                Err(StoreError::Full | StoreError::Failed) => self.context.timers().sleep(READ_AGAIN).await,
                // The spool reports what is missing; what stops comes again after the next start.
                Err(StoreError::Missing | StoreError::Stopping) => return None,
            }
        }
    }

    pub(crate) fn hand(&self, routed: Routed, message: &Arc<Message>, queued: Queued) {
        match routed {
            Routed::To(container) => {
                let mut lanes = self.lanes.borrow_mut();
                let owner = owner(&container, lanes.len());
                if owner == self.context.index() {
                    drop(lanes);
                    self.enqueue(Handed { container, queued });
                } else {
                    lanes[owner].send(Handed { container, queued });
                }
            }
            Routed::Refused(reply) => {
                if let Some(delivery) = self.delivery() {
                    delivery.refuse(message.clone(), queued, reply);
                }
            }
        }
    }

    /// Rings the other loops for what was handed to them, and our own dispatcher.
    pub(crate) fn ring(&self) {
        let own = self.context.index();
        for (index, lane) in self.lanes.borrow_mut().iter_mut().enumerate() {
            if index != own {
                lane.ring();
            }
        }
        self.work_came();
    }

    fn enqueue(&self, handed: Handed) {
        let Handed { container, queued } = handed;
        let copy = Queued { message: None, ..queued.clone() };
        let mut generation = self.generation.borrow_mut();
        let mut is_new = false;
        let result = self.scheduler.borrow_mut().enqueue(&container, queued, self.unix(), |container| {
            is_new = true;
            generation.limits(container)
        });
        drop(generation);
        if is_new {
            self.shape_new(&container);
        }
        if let Err(QueueFull) = result {
            self.late.borrow_mut().push_back(Handed { container, queued: copy });
        }
    }

    /// Takes what other loops hand over, for as long as the loop runs; to be spawned once.
    pub(crate) async fn take_over(self: Rc<Self>, mut bell: Doorbell, mut lanes: Vec<LaneReceiver<Handed>>) {
        loop {
            let mut taken = 0;
            for lane in &mut lanes {
                taken += lane.drain(STEP, |handed| self.enqueue(handed));
            }
            if taken > 0 {
                self.work_came();
                self.context.yield_now().await;
            } else {
                bell.wait().await;
            }
        }
    }

    /// Log rows wait no longer than the shortest interval asked for.
    fn tend_interval(&self) -> Duration {
        let generation = self.generation.borrow();
        let asked = generation.config.logs.iter().map(|log| log.flush_interval).min();
        asked.map_or(TEND, |asked| asked.clamp(TEND_MIN, TEND))
    }

    /// A few times a second: logs, accounts, overflowing lanes, recipients without a place.
    pub(crate) async fn tend(self: Rc<Self>) {
        loop {
            self.context.timers().sleep(self.tend_interval()).await;
            self.events.recorder.flush();
            self.events.automatic.flush();
            let sessions = self.reception.borrow().as_ref().map_or(0, |reception| reception.sessions());
            let queues = self.scheduler.borrow().summary();
            self.ledger.tell(self.context.accounts(), self.windows.stats(), queues, sessions);
            if self.pressure.now() > Pressure::Normal {
                self.scheduler.borrow_mut().drop_resident();
            }
            for lane in self.lanes.borrow_mut().iter_mut() {
                lane.flush();
                lane.ring();
            }
            let late = self.late.borrow().len().min(STEP);
            for _ in 0..late {
                let handed = self.late.borrow_mut().pop_front();
                if let Some(handed) = handed {
                    self.enqueue(handed);
                }
            }
            self.follow_shaping().await;
        }
    }

    /// A new generation: routes of what comes, limits of what waits, and then, in steps, routes of what waits.
    pub(crate) fn reload(self: &Rc<Self>, config: &Arc<Config>, bouncing: &Arc<Bouncing>) {
        self.bouncing.replace(bouncing.clone());
        self.events.recorder.set_classifier(bouncing.classifier.clone());
        self.events.automatic.set_config(config, bouncing);
        let mut generation = self.generation.borrow_mut();
        let shared = generation.shared.clone();
        *generation = Generation::new(config.clone(), shared);
        self.scheduler.borrow_mut().set_weights(generation.weights());
        self.scheduler.borrow_mut().reconfigure(self.unix(), |container| generation.limits(container));
        generation.shared.forget_unused();
        drop(generation);
        if let Some(reception) = &*self.reception.borrow() {
            reception.set_config(config);
        }
        if let Some(delivery) = self.delivery() {
            delivery.set_config(config);
            delivery.set_marks(self.marker());
        }
        self.reshape();
        self.work_came();
        self.context.spawn(TaskKind("reroute"), self.clone().reroute()).detach();
    }

    /// Routes anew what waits in containers whose route is not the configured one any more, held mail above all, or whose
    /// binding is gone.
    async fn reroute(self: Rc<Self>) {
        for row in self.stale_containers() {
            let mut left = row.active as usize + row.delayed as usize;
            while left > 0 {
                let taken = self.scheduler.borrow_mut().withdraw(&row.container, left.min(STEP), self.unix());
                if taken.is_empty() {
                    break;
                }
                left -= taken.len();
                for queued in taken {
                    self.route_again(&row.container, queued).await;
                }
                self.ring();
                self.context.yield_now().await;
            }
        }
    }

    async fn route_again(&self, container: &Arc<Container>, queued: Queued) {
        let message = match &queued.message {
            Some(message) => Ok(message.clone()),
            None => self.spool.fetch(queued.key).await,
        };
        match message {
            Ok(message) => {
                let head = match routing::head(&message.content) {
                    _ if !self.needs_head(&message) => Slice::empty(),
                    Some(head) => Slice::copy_from(&head),
                    None => match self.read_head(queued.key).await {
                        Some(head) => head,
                        None => return,
                    },
                };
                self.queue_recovered(&message, queued, &head);
            }
            // It cannot be read now: it stays where it was, and delivery meets the same trouble with its own handling.
            Err(_) => self.enqueue(Handed { container: container.clone(), queued }),
        }
    }

    /// Containers whose mail would go another way today.
    fn stale_containers(&self) -> Vec<ContainerRow> {
        let (scheduler, generation, now) = (self.scheduler.borrow(), self.generation.borrow(), self.unix());
        let (mut stale, mut from) = (Vec::new(), Some(0));
        let mut known: HashMap<Egress, bool> = HashMap::new();
        while let Some(at) = from {
            let page = scheduler.containers(at, STEP, now);
            from = page.next;
            let mut is_stale = |row: &ContainerRow| {
                let container = &row.container;
                let egress = Egress { binding: container.binding.clone(), group: container.group.clone() };
                if !*known.entry(egress.clone()).or_insert_with(|| generation.has(&egress)) {
                    return true;
                }
                // The agent of an address literal is its address, which no configuration changes.
                !container.name.starts_with('[')
                    && generation.config.declared(&container.options, &egress).agent != container.agent
            };
            stale.extend(page.rows.into_iter().filter(&mut is_stale));
        }
        stale
    }
}

/// Where reception hands stored messages on.
#[derive(Clone)]
pub(crate) struct Onwards(pub(crate) Rc<Shard>);

impl reception::Onward for Onwards {
    fn stored(&self, message: Arc<Message>, key: StoreKey) {
        self.0.stored(&message, key);
    }
}

/// The way in for messages that delivery makes: stored as received mail is, then queued.
#[derive(Clone)]
pub(crate) struct Injector(pub(crate) Rc<Shard>);

impl delivery::Inject for Injector {
    async fn inject(&self, message: Arc<Message>) -> Result<(), StoreError> {
        let key = self.0.spool.store(message.clone()).await?;
        self.0.stored(&message, key);
        Ok(())
    }
}
