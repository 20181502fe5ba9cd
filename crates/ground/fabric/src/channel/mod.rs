//! Channels: conversations of two peers over one or more transports.
//!
//! ```text
//!  Sender (one for each input queue)                                            Receiver
//!     │ post: nothing queued, room? ──────── straight into the window ──┐          ▲ receive: straight from the window,
//!     └──► queue ─► Pump: Scheduler, Outgoing ──────────────────────────┴─► link ──┤ or from a receive queue
//!                    ▲ taken by posters, or by turns                               │ (Intake, Inbox)
//!                  Shared: turns, wake-ups ◄── service thread, or whoever waits ───┘
//! ```
//!
//! A message goes over every transport of the channel, encoded once for each. What was posted before a peer is there waits in its queue; what a
//! dead peer may not have read is counted as in doubt ([`Loss`]), and the rest goes to its successor.

mod bell;
mod deadline;
mod error;
mod inbox;
mod intake;
mod outgoing;
mod pace;
mod pump;
mod raw;
mod receiver;
mod sender;
mod shared;
mod turn;
mod view;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread;

pub use deadline::Deadline;
pub use error::{FlushError, Loss, PostError, ReceiveError, Refusal};
pub use raw::{RawChannel, RawReceived, RawWindow};
pub use receiver::Receiver;
pub use sender::Sender;
pub use view::{EachFrame, FrameView, MessageView, Received, ReceivedFrame};

use crate::arena::Arena;
use crate::filter::{Filters, Resources};
use crate::message::Message;
use crate::queue::{self, BYTES_MAX, Priority, QueueKind, ReceiveKind, Weights};
use crate::tli::{Connector, LinkSettings, OpenError, Provider, Providers, Role, Trust, WindowSettings};
use crate::uri::Uri;
use crate::window::Window;
use crate::wire::{DESCRIPTOR, FRAME_HEADER, message_bytes_max};
use inbox::Inbox;
use pump::Pump;
use shared::{Drives, Parts, Phase, Shared};

/// How a thread waits for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// It looks without end, and uses its core for it: the least latency.
    Busy,
    /// It looks this many times, then sleeps.
    SpinThenPark {
        /// Looks before the sleep.
        spins: u32,
    },
    /// It sleeps at once.
    Park,
}

impl Default for Waiting {
    /// 500 looks, about as long as a wake-up takes.
    fn default() -> Self {
        Self::SpinThenPark { spins: 500 }
    }
}

/// Who looks for peers, collects what comes back, and sends what had to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Progress {
    /// A thread of the channel's own, asleep unless there is something to do.
    #[default]
    Service,
    /// Whoever waits in a call, and [`Channel::progress`], which an event loop calls when [`Channel::each_readiness`] says so.
    Caller,
}

/// Whether a channel looks for another peer when one is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reconnect {
    /// Another peer may come.
    #[default]
    Always,
    /// The first peer of each transport is the last.
    Never,
}

/// Makes a [`Channel`].
pub struct ChannelBuilder {
    name: String,
    transports: Vec<Transport>,
    providers: Providers,
    filters: Filters,
    filter_resources: Resources,
    settings: LinkSettings,
    receive: Option<ReceiveKind>,
    receive_bytes: usize,
    weights: Weights,
    waiting: Waiting,
    progress: Progress,
    reconnect: Reconnect,
}

/// One transport asked for.
enum Transport {
    Uri(String, Role),
    /// A connector made elsewhere; the second says whether it lends slices of the arena.
    Made(Box<dyn Connector>, Lends),
}

/// What a transport can lend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lends {
    /// Nothing: all is copied.
    Nothing,
    /// Slices of the channel's arena.
    Arena,
    /// Any slice.
    Any,
}

impl Channel {
    /// Begins a channel.
    pub fn builder() -> ChannelBuilder {
        ChannelBuilder {
            name: String::new(),
            transports: Vec::new(),
            providers: Providers::linked(),
            filters: Filters::none(),
            filter_resources: Resources::default(),
            settings: LinkSettings::default(),
            receive: None,
            receive_bytes: BYTES_MAX,
            weights: Weights::default(),
            waiting: Waiting::default(),
            progress: Progress::default(),
            reconnect: Reconnect::default(),
        }
    }
}

impl ChannelBuilder {
    /// Names it, for errors and tools; otherwise it is called by its first address.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds a transport that waits at `uri` for its peer.
    #[must_use]
    pub fn listen(mut self, uri: impl Into<String>) -> Self {
        self.transports.push(Transport::Uri(uri.into(), Role::Listen));
        self
    }

    /// Adds a transport that goes to the peer at `uri`, which need not be there yet.
    #[must_use]
    pub fn connect(mut self, uri: impl Into<String>) -> Self {
        self.transports.push(Transport::Uri(uri.into(), Role::Connect));
        self
    }

    /// Looks for transports here instead of among those that were linked in.
    #[must_use]
    pub fn providers(mut self, providers: Providers) -> Self {
        self.providers = providers;
        self
    }

    /// Puts filters between the channel and every transport that is given by address, in front of those that its address names by `?filter=`.
    #[must_use]
    pub fn filters(mut self, filters: Filters) -> Self {
        self.filters = filters;
        self
    }

    /// What filters that are named by addresses write to: traces and counters.
    #[must_use]
    pub fn filter_resources(mut self, resources: Resources) -> Self {
        self.filter_resources = resources;
        self
    }

    /// Adds a transport whose connector was made elsewhere: with a filter, from a module, over an inherited socket.
    #[must_use]
    pub fn transport(mut self, connector: Box<dyn Connector>, lends: Lends) -> Self {
        self.transports.push(Transport::Made(connector, lends));
        self
    }

    /// Windows for sending: their size bounds messages, their number how far the peer may lag behind.
    #[must_use]
    pub fn windows(mut self, bytes: usize, count: usize) -> Self {
        self.settings.bulk = WindowSettings { bytes, count };
        self
    }

    /// Windows of the urgent lane: their size bounds messages of critical priority.
    #[must_use]
    pub fn urgent_windows(mut self, bytes: usize, count: usize) -> Self {
        self.settings.urgent = WindowSettings { bytes, count };
        self
    }

    /// The largest window and how many of them a peer may send.
    #[must_use]
    pub fn accept(mut self, bytes: usize, count: usize) -> Self {
        self.settings.accept = WindowSettings { bytes, count };
        self
    }

    /// Windows that frames may refer to. An arena may serve several channels.
    #[must_use]
    pub fn arena(mut self, arena: Arc<Arena>) -> Self {
        self.settings.arena = Some(arena);
        self
    }

    /// What the peer may be assumed to do.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.settings.trust = trust;
        self
    }

    /// Users that may be peers besides root and one's own.
    #[must_use]
    pub fn users(mut self, users: Vec<u32>) -> Self {
        self.settings.users = users;
        self
    }

    /// Receives through a queue instead of straight from the windows, with at most `bytes` in it.
    #[must_use]
    pub fn receive_queue(mut self, kind: ReceiveKind, bytes: usize) -> Self {
        self.receive = Some(kind);
        self.receive_bytes = bytes;
        self
    }

    /// How the five sharing priorities share.
    #[must_use]
    pub fn weights(mut self, weights: Weights) -> Self {
        self.weights = weights;
        self
    }

    /// How receiving threads wait.
    #[must_use]
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }

    /// Who makes the channel's progress.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Whether another peer may come after the first.
    #[must_use]
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// Opens it. The peer need not be there.
    ///
    /// # Errors
    /// When an address is wrong or taken, a setting is over a transport's limit, or the system refuses.
    pub fn open(self) -> Result<(Channel, Receiver), OpenError> {
        let mut name = self.name;
        let (mut connectors, mut lends) = (Vec::new(), Lends::Any);
        for transport in self.transports {
            let (connector, can_lend) = match transport {
                Transport::Made(connector, lends) => (connector, lends),
                Transport::Uri(text, role) => {
                    let (uri, filters) =
                        self.filters.clone().with_options(&Uri::parse(&text)?, &self.filter_resources)?;
                    let provider = self.providers.find(&uri)?;
                    let settings = LinkSettings { role, ..self.settings.clone() };
                    check_limits(provider, &uri, &settings)?;
                    let lends = match provider.capabilities(&uri).shares_memory {
                        true if uri.scheme() == "inproc" => Lends::Any,
                        true => Lends::Arena,
                        false => Lends::Nothing,
                    };
                    if name.is_empty() {
                        name = text;
                    }
                    (filters.wrap(&uri, &settings, provider.open(&uri, &settings)?), lends)
                }
            };
            lends = least(lends, can_lend);
            connectors.push(connector);
        }
        let (inbox, reader) = match self.receive {
            None => (None, None),
            Some(kind) => {
                let (writer, reader) = queue::receive(kind, self.receive_bytes);
                (Some(Inbox::new(writer)), Some(reader))
            }
        };
        let parts = Parts {
            limits: [message_bytes_max(self.settings.bulk.bytes), message_bytes_max(self.settings.urgent.bytes)],
            reconnects: self.reconnect == Reconnect::Always,
            pump: Pump::new(name.clone(), self.weights),
            connectors,
            inbox,
            name: name.clone(),
        };
        let system = |operation| move |source| OpenError::System { uri: name, operation, source };
        let shared = Arc::new(Shared::new(parts).map_err(system.clone()("eventfd"))?);
        let (service, drives) = if self.progress == Progress::Service {
            let served = Arc::clone(&shared);
            let builder = thread::Builder::new().name("fabric".to_owned()).stack_size(256 << 10);
            (Some(builder.spawn(move || served.serve()).map_err(system("spawn a thread"))?), Drives::No)
        } else {
            shared.turn_now();
            (None, Drives::Yes)
        };
        let (arena, waiting) = (self.settings.arena, self.waiting);
        let core = Arc::new(Core { shared, arena, waiting, drives, lends, service });
        let receiver = match reader {
            None => Receiver::direct(Arc::clone(&core)),
            Some(reader) => Receiver::queued(Arc::clone(&core), reader),
        };
        Ok((Channel { core }, receiver))
    }
}

fn least(one: Lends, other: Lends) -> Lends {
    match (one, other) {
        (Lends::Nothing, _) | (_, Lends::Nothing) => Lends::Nothing,
        (Lends::Arena, _) | (_, Lends::Arena) => Lends::Arena,
        _ => Lends::Any,
    }
}

fn check_limits(provider: &dyn Provider, uri: &Uri, settings: &LinkSettings) -> Result<(), OpenError> {
    let limits = provider.limits(uri)?;
    for (setting, asked, limit) in [
        ("bytes of a window", settings.bulk.bytes.max(settings.urgent.bytes), limits.window_bytes_max),
        ("number of windows", settings.bulk.count.max(settings.urgent.count), limits.windows_max),
    ] {
        if asked > limit {
            return Err(OpenError::OverLimit { setting, asked, limit });
        }
    }
    Ok(())
}

/// What every handle of a channel holds; when the last is gone, the channel is closed.
struct Core {
    shared: Arc<Shared>,
    arena: Option<Arc<Arena>>,
    waiting: Waiting,
    drives: Drives,
    lends: Lends,
    service: Option<thread::JoinHandle<()>>,
}

impl Core {
    /// Bytes of a message's encoding when all is lent that can be.
    fn bytes_when_lent(&self, message: &Message) -> usize {
        let lendable = |slice: &crate::Slice| match self.lends {
            Lends::Nothing => false,
            Lends::Any => true,
            Lends::Arena => self.arena.as_ref().is_some_and(|arena| arena.locate(slice).is_some()),
        };
        let saved = message.each_frame().filter(|frame| frame.slice.is_some_and(lendable));
        message.encoded_bytes()
            - saved.map(|frame| frame.bytes.len().saturating_sub(DESCRIPTOR + FRAME_HEADER)).sum::<usize>()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.shared.set_phase(Phase::Closed);
        self.shared.pump().finish();
        self.shared.stop();
        // It ends at once, and with it go addresses and files: whoever drops the last handle may end the process. (A task that is dropped by its
        // waker may drop it on the service thread itself.)
        if let Some(service) = self.service.take().filter(|service| service.thread().id() != thread::current().id()) {
            // It does not panic; if it did, nothing is left to be done.
            let _ = service.join();
        }
    }
}

/// A conversation with a peer. Clones are handles of the same channel.
#[derive(Clone)]
pub struct Channel {
    core: Arc<Core>,
}

impl Channel {
    /// A new input queue with at most `bytes` in it, and its sender. One queue a thread is the fast way.
    pub fn sender_with(&self, kind: QueueKind, priority: Priority, bytes: usize) -> Sender {
        let (writer, reader) = queue::input(kind, bytes);
        let senders = Arc::new(());
        self.core.shared.pump().add_queue(reader, priority, Arc::clone(&senders));
        Sender::new(Arc::clone(&self.core), writer, priority, senders)
    }

    /// A new input queue of the usual byte budget, and its sender.
    pub fn sender(&self, kind: QueueKind, priority: Priority) -> Sender {
        self.sender_with(kind, priority, BYTES_MAX)
    }

    /// The channel's name.
    pub fn name(&self) -> &str {
        &self.core.shared.name
    }

    /// A window to be filled and sent by reference ([`Message::push_shared`]); `None` while all are in use, or without an arena. When none is free, it
    /// looks once for those that peers have given back.
    pub fn take_window(&self) -> Option<Window> {
        let arena = self.core.arena.as_ref()?;
        arena.take().or_else(|| {
            let shared = &self.core.shared;
            shared.advance(&mut shared.pump());
            arena.take()
        })
    }

    /// Where the channel stands.
    pub fn state(&self) -> State {
        let shared = &self.core.shared;
        if shared.phase() != Phase::Open {
            return State::Closed;
        }
        let pump = shared.pump();
        if !pump.outgoing.is_empty() {
            return State::Up { peers: pump.outgoing.iter().map(|link| link.tether.peer().clone()).collect() };
        }
        if let Some(why) = shared.fault() {
            return State::Failed { why };
        }
        match pump.last_loss() {
            Some(loss) => State::Lost(loss.clone()),
            None => State::Looking,
        }
    }

    /// Waits until peers have read everything that was posted.
    ///
    /// # Errors
    /// When that was not so by the deadline, or the peer is gone and none is looked for.
    pub fn flush(&self, deadline: Deadline) -> Result<(), FlushError> {
        let shared = &self.core.shared;
        shared.help_pump();
        let mut gone = None;
        let done = shared.wait_until(deadline, || {
            let mut pump = shared.pump();
            shared.advance(&mut pump);
            if shared.orphaned.load(std::sync::atomic::Ordering::Acquire) && pump.outgoing.is_empty() {
                gone = pump.last_loss().cloned();
                return true;
            }
            !shared.is_pending() && pump.is_drained()
        });
        if let Some(loss) = gone {
            return Err(FlushError::PeerGone(loss));
        }
        if done {
            return Ok(());
        }
        let pump = shared.pump();
        Err(FlushError::TimedOut { channel: shared.name.clone(), queued: pump.queued(), unread: pump.unread() })
    }

    /// Takes nothing more, sends what was taken, waits until peers have read it or `linger` has passed, and closes.
    ///
    /// # Errors
    /// When not everything was read; the channel is closed all the same.
    pub fn close(&self, linger: Deadline) -> Result<(), FlushError> {
        let shared = &self.core.shared;
        shared.set_phase(Phase::Closing);
        let flushed = self.flush(linger);
        shared.set_phase(Phase::Closed);
        shared.pump().finish();
        flushed
    }

    /// Makes what progress there is to make, without waiting.
    pub fn progress(&self) {
        self.core.shared.turn_now();
    }

    /// Runs `use_it` with every descriptor that an event loop has to watch for readability so that it knows when to call [`Self::progress`]; they
    /// change when peers come and go, so ask again after each call. For channels of [`Progress::Caller`].
    pub fn each_readiness(&self, use_it: impl FnMut(BorrowedFd<'_>)) {
        self.core.shared.each_readiness(use_it);
    }

    /// What the channel counted.
    pub fn stats(&self) -> Stats {
        // Before the pump: who fills the inbox may need that.
        let received = self.core.shared.inbox.as_ref().map(Inbox::counts);
        let pump = self.core.shared.pump();
        Stats {
            sent_messages: pump.messages,
            sent_bytes: pump.bytes,
            queued_messages: pump.queued(),
            unread_messages: pump.unread(),
            links: pump.outgoing.len(),
            links_lost: pump.lost_links,
            queue_received: received,
        }
    }
}

/// Where a channel stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No peer was there yet.
    Looking,
    /// Peers are there.
    Up {
        /// Who.
        peers: Vec<crate::tli::Peer>,
    },
    /// The last peer is gone.
    Lost(Loss),
    /// A transport gave up.
    Failed {
        /// Why.
        why: String,
    },
    /// It was closed here.
    Closed,
}

/// What a channel counted since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Messages laid into windows.
    pub sent_messages: u64,
    /// Their encoded bytes.
    pub sent_bytes: u64,
    /// Messages that wait in input queues.
    pub queued_messages: usize,
    /// Messages on their way that peers may not have read.
    pub unread_messages: u64,
    /// Links that stand.
    pub links: usize,
    /// Links that were lost.
    pub links_lost: u64,
    /// Messages and bytes that went into the receive queue, if there is one.
    pub queue_received: Option<(u64, u64)>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}
