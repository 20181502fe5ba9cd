//! A server: its parts put together, started and stopped. Two can live in one process.
//!
//! Start: folders, store, logs, resolver, listeners, then the loops. Stop, in this order, each step for a reason:
//! 1. reception drains: nothing new is accepted, what is under way is finished or told 421;
//! 2. delivery drains: what was sent is waited for, so that a stop repeats nothing;
//! 3. the loops end, and with them their recorders and store handles;
//! 4. the store closes: outcomes of step 2 become durable;
//! 5. the logs close, with the rows of all that.

use crate::bouncing::Bouncing;
use crate::failure::Failure;
use crate::handing::lanes;
use crate::main_loop::{self, Seeds};
use crate::redirections::Redirections;
use crate::shaping_desk::{self, Desk};
use crate::shaping_state::{self, Saver};
use crate::shard::Shard;
use crate::store::{self, Recovered, Store};
use crate::suppressing::Suppression;
use config::{BindAddress, Config, LogEvent, LogFormat, Protocol, ShapingMode};
use engine::{
    Accounts, DescriptorLimit, Descriptors, Gauges, Inherited, InheritedSocket, ListenOptions, LoopOptions, Loops,
    MemoryLimits, MemoryMonitor, Pools, PressureGauge, Reserve, Sending, StallOptions, StallWatch,
};
use fabric::doorbell;
use message::{Event, Queued};
use record::{Kinds, LogSpec, LogWriters, RowFormat, Timestamps};
use resolver::Resolver;
use scheduling::{Permits, Shared};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Sees every event of a server, on the loop where it happens.
pub(crate) trait Observer: Send + Sync {
    /// Something happened.
    fn observe(&self, event: &Event<'_>);
}

/// What a start may be given beside the configuration.
#[derive(Default)]
pub(crate) struct StartOptions {
    /// Sockets of the service manager.
    pub(crate) inherited: Vec<Inherited>,
    /// Who sees the events.
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

/// Something to be done on a loop with its shard.
pub(crate) type Job = Box<dyn FnOnce(&Rc<Shard>) + Send>;

/// What all loops of a server share.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) permits: Arc<Permits>,
    /// Limits and throttles that queues of all loops share.
    pub(crate) shared: Arc<Shared>,
    pub(crate) admissions: reception::Admissions,
    pub(crate) descriptors: Descriptors,
    pub(crate) pressure: PressureGauge,
    pub(crate) pools: Pools,
    pub(crate) resolver: Resolver,
    pub(crate) receptions: reception::Names,
    pub(crate) deliveries: delivery::Names,
    pub(crate) own: Arc<delivery::OwnIdentity>,
    /// Queues of all loops that go to the same hosts.
    pub(crate) sites: Arc<scheduling::Sites>,
    /// Connections to each host of all loops.
    pub(crate) hosts: Arc<delivery::HostLimits>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) memory: crate::ledger::Types,
    pub(crate) suppression: Suppression,
    /// What operators decided about the way of mail that waits.
    pub(crate) redirections: Arc<Redirections>,
    /// Traffic shaping.
    pub(crate) desk: Arc<Desk>,
    /// Of the start: a loop has the present one.
    pub(crate) bouncing: Arc<Bouncing>,
    pub(crate) intakes: crate::intake::Names,
    /// What rules have counted for the suppression list.
    pub(crate) tally: Arc<Mutex<suppression::Tally>>,
    /// Differs with every start: part of every id.
    pub(crate) origin: u32,
}

/// A running server.
pub(crate) struct Server {
    config: RefCell<Arc<Config>>,
    pub(crate) jobs: Vec<tokio::sync::mpsc::UnboundedSender<Job>>,
    pub(crate) common: Common,
    pub(crate) accounts: Accounts,
    pub(crate) gauges: Gauges,
    pub(crate) started: std::time::Instant,
    pub(crate) loops: Loops,
    pub(crate) store: Store,
    pub(crate) logs: Arc<LogWriters>,
    recovery: Option<JoinHandle<()>>,
    stall: StallWatch,
    memory: MemoryLimits,
    /// The suppression list's thread, which ends with the server.
    _suppression: Option<suppression::Writer>,
    /// Writes the state of traffic shaping, a last time when it is dropped.
    shaping: Saver,
}

impl Server {
    /// Starts everything; returns when the listeners accept.
    pub(crate) fn start(config: Arc<Config>, options: StartOptions) -> Result<Self, Failure> {
        let bouncing = Bouncing::load(&config)?;
        prepare_folders(&config)?;
        let count = loop_count(&config);
        let (store, seats, recovered) = store::open(&config, count)?;
        let logs = LogWriters::open(log_specs(&config), bouncing.classifier.clone())
            .map_err(|error| Failure::caused("cannot open a log", &error))?;
        let (gauges, accounts) = (Gauges::new(), Accounts::new());
        let (suppression, suppression_writer) = Suppression::open(&config)?;
        let (desk, shaping) = shaping_state::open(&config)?;
        let (common, driver, monitor) =
            common(&config, &gauges, &accounts, options.observer, (suppression, bouncing), desk)?;
        let bells: Vec<_> = (0..count).map(|_| doorbell()).collect();
        let ringers: Vec<_> = bells.iter().map(|(ringer, _)| ringer.clone()).collect();
        let mut listeners = bind(&config, options.inherited, count)?;
        let (ready, readiness) = mpsc::channel();
        let (mut jobs, mut inputs) = (Vec::new(), Vec::new());
        let mut once = Some((driver, monitor));
        for (((seat, (_, bell)), lanes), listeners) in
            seats.into_iter().zip(bells).zip(lanes(&ringers)).zip(listeners.drain(..))
        {
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            jobs.push(sender);
            inputs.push(Seeds {
                config: config.clone(),
                common: common.clone(),
                seat,
                bell,
                lanes,
                listeners,
                jobs: receiver,
                recorder: logs.recorder(),
                ready: ready.clone(),
                once: once.take(),
            });
        }
        drop(ready);
        let loop_options = LoopOptions { accounts: accounts.clone(), gauges: gauges.clone(), ..LoopOptions::default() };
        let loops = Loops::start_each(loop_options, inputs, main_loop::run)
            .map_err(|error| Failure::caused("cannot start the event loops", &error))?;
        let limit = config.engine.stall_warning;
        let stall =
            StallWatch::start(&loops, StallOptions { limit, ..StallOptions::default() }, |stall| eprintln!("{stall}"))
                .map_err(|error| Failure::caused("cannot start the stall watch", &error))?;
        for _ in 0..count {
            readiness.recv().map_err(|_| Failure::new("an event loop ended while it started"))??;
        }
        let recovery = recover(recovered, jobs.clone())?;
        Ok(Self {
            memory: memory_limits(&config),
            config: RefCell::new(config),
            jobs,
            common,
            accounts,
            gauges,
            started: std::time::Instant::now(),
            loops,
            store,
            logs: Arc::new(logs),
            recovery: Some(recovery),
            stall,
            _suppression: suppression_writer,
            shaping,
        })
    }

    /// The generation in effect.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// What the server may hold, one line for the start.
    pub(crate) fn limits(&self, limit: DescriptorLimit) -> String {
        let (descriptors, config) = (&self.common.descriptors, self.config());
        format!(
            "{} event loops; {} descriptors, of which {} for client sessions; at most {} outbound connections",
            self.loops.count(),
            limit.now,
            descriptors.sessions_max(),
            config.server.max_connections_out
        )
    }

    /// Puts a new generation into effect. Says what needs a restart.
    pub(crate) fn reload(&self, config: Arc<Config>) -> Result<String, Failure> {
        let bouncing = Bouncing::load(&config)?;
        let notes = restart_notes(&self.config(), &config);
        let rules = shaping_desk::load_rules(&config)?;
        self.common.desk.reload(&config, rules);
        self.common.permits.set(config.server.max_connections_out, config.server.reserve_connections_out);
        for pool in &config.pools {
            if let Some(running) = self.common.pools.get(&pool.name) {
                running
                    .resize(pool.threads as usize, pool.backlog as usize)
                    .map_err(|error| Failure::caused(format!("pool {}", pool.name), &error))?;
            }
        }
        for jobs in &self.jobs {
            let (config, bouncing) = (config.clone(), bouncing.clone());
            // A loop that has ended needs no configuration.
            let _ = jobs.send(Box::new(move |shard| shard.reload(&config, &bouncing)));
        }
        *self.config.borrow_mut() = config;
        Ok(notes)
    }

    /// Opens the log files anew.
    pub(crate) fn reopen_logs(&self) {
        self.logs.reopen();
    }

    /// The memory limits in effect.
    pub(crate) fn memory_limits(&self) -> MemoryLimits {
        self.memory
    }

    /// Drains and ends; see the module.
    pub(crate) fn stop(mut self) {
        let drain = self.config().server.drain_timeout;
        if let Some(recovery) = self.recovery.take() {
            self.jobs.clear();
            // It ends when it finds the loops gone; a panic there has been told on standard error.
            self.loops.stop();
            let _ = recovery.join();
        }
        drop(self.stall);
        // Reception has its own deadline, delivery half of it again; then whatever still hangs is ended.
        self.loops.shutdown(drain * 2 + Duration::from_secs(15));
        drop(self.shaping);
        drop(self.store);
        drop(self.logs);
    }
}

fn prepare_folders(config: &Config) -> Result<(), Failure> {
    let server = &config.server;
    for folder in [&server.data_dir, &server.log_dir, &server.run_dir] {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::caused(format!("cannot create {}", folder.display()), &error))?;
    }
    Ok(())
}

fn loop_count(config: &Config) -> usize {
    match config.engine.loops {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count as usize,
    }
}

fn memory_limits(config: &Config) -> MemoryLimits {
    let threshold = |amount: config::MemoryAmount| match amount {
        config::MemoryAmount::Percent(percent) => match config.memory.limit.0 {
            0 => engine::Threshold::Percent(percent.0),
            limit => engine::Threshold::Bytes(limit / 100 * u64::from(percent.0)),
        },
        config::MemoryAmount::Bytes(bytes) => engine::Threshold::Bytes(bytes.0),
    };
    MemoryLimits { goal: threshold(config.memory.goal), high_water: threshold(config.memory.high_water) }
}

type Built = (Common, resolver::Driver, MemoryMonitor);

fn common(
    config: &Config,
    gauges: &Gauges,
    accounts: &Accounts,
    observer: Option<Arc<dyn Observer>>,
    (suppression, bouncing): (Suppression, Arc<Bouncing>),
    desk: Arc<Desk>,
) -> Result<Built, Failure> {
    let pools = Pools::new();
    for pool in &config.pools {
        pools
            .create(&pool.name, pool.threads as usize, pool.backlog as usize)
            .map_err(|error| Failure::caused(format!("[pool.{}]", pool.name), &error))?;
    }
    let limit = engine::raise_descriptor_limit()
        .map_err(|error| Failure::caused("cannot read the limit of open descriptors", &error))?;
    let mut rng =
        engine::Rng::from_os().map_err(|error| Failure::caused("the kernel gives no random numbers", &error))?;
    let key = resolver::SequenceKey([rng.next_u64(), rng.next_u64()]);
    let (resolver, driver) = Resolver::new(resolver_options(config), key);
    let monitor = MemoryMonitor::new(memory_limits(config), Some(Arc::new(crate::allocator::Jemalloc)));
    let registered = |error: engine::GaugeError| Failure::caused("cannot register counters", &error);
    let common = Common {
        shared: Shared::new(),
        permits: Permits::new(config.server.max_connections_out, config.server.reserve_connections_out),
        admissions: reception::Admissions::new(),
        descriptors: Descriptors::new(limit.now, Reserve::of(limit.now)),
        pressure: monitor.gauge(),
        pools,
        resolver,
        receptions: reception::Names::register(gauges).map_err(registered)?,
        deliveries: delivery::Names::register(gauges).map_err(registered)?,
        own: Arc::new(own_identity(config)),
        sites: scheduling::Sites::new(),
        hosts: delivery::HostLimits::new(),
        observer,
        memory: crate::ledger::Types::register(accounts)
            .map_err(|error| Failure::caused("cannot register memory types", &error))?,
        suppression,
        redirections: Arc::new(Redirections::open(
            config.server.data_dir.join("redirections.jsonl"),
            crate::operate::now(),
        )?),
        desk,
        bouncing,
        intakes: crate::intake::Names::register(gauges).map_err(registered)?,
        tally: Arc::default(),
        origin: rng.next_u64() as u32 & 0xFFFF_0000 | config.server.node,
    };
    Ok((common, driver, monitor))
}

fn resolver_options(config: &Config) -> resolver::ResolverOptions {
    let options = &config.resolver;
    resolver::ResolverOptions {
        servers: options.servers.iter().map(|address| address.0).collect(),
        timeout: options.timeout,
        attempts: options.attempts,
        ttl_min: options.min_ttl,
        ttl_max: options.max_ttl,
        negative_ttl_max: options.negative_max_ttl,
        entries_max: options.cache_entries as usize,
        // Each has a socket of its own, from the reserve of descriptors.
        exchanges_max: 128,
        ..resolver::ResolverOptions::default()
    }
}

/// Names and addresses at which we are reached: mail must not be sent to them.
fn own_identity(config: &Config) -> delivery::OwnIdentity {
    let addresses = config.listeners.iter().flat_map(|listener| &listener.bind).filter_map(|bind| match bind {
        BindAddress::Ip(address) => Some(*address),
        BindAddress::Unix(_) => None,
    });
    delivery::OwnIdentity::new(config.server.hostname.as_ref(), addresses.collect())
}

fn log_specs(config: &Config) -> Vec<LogSpec> {
    let spec = |log: &config::Log| {
        let format = match log.format {
            LogFormat::Ec => RowFormat::Ec,
            LogFormat::Bounce => RowFormat::Bounce,
            LogFormat::Feedback => RowFormat::Feedback,
            LogFormat::Reject => RowFormat::Reject,
            LogFormat::Shaping => RowFormat::Shaping,
        };
        let has = |event| log.events.is_empty() || log.events.contains(&event);
        LogSpec {
            timestamps: if log.hires_timestamp { Timestamps::Micros } else { Timestamps::Seconds },
            kinds: Kinds {
                receptions: has(LogEvent::Reception),
                deliveries: has(LogEvent::Delivery),
                transient: has(LogEvent::Transient),
                permanent: has(LogEvent::Permanent),
                out_of_band: has(LogEvent::OutOfBand),
                complaints: has(LogEvent::Complaint),
                rejections: has(LogEvent::Rejection),
            },
            heartbeat: log.heartbeat,
            buffer_bytes: usize::try_from(log.buffer.0).unwrap_or(usize::MAX),
            ..LogSpec::new(&log.name, format, log.path.clone())
        }
    };
    let mut specs: Vec<LogSpec> = config.logs.iter().map(spec).collect();
    if config.shaping.mode != ShapingMode::Off && !config.logs.iter().any(|log| log.format == LogFormat::Shaping) {
        // No decision is without a record.
        let path = config.server.log_dir.join("shapinglog.ec");
        specs.push(LogSpec { heartbeat: Duration::ZERO, ..LogSpec::new("shaping", RowFormat::Shaping, path) });
    }
    specs
}

/// A listening socket for one loop, and the listener whose terms it has.
pub(crate) type Bound = (Arc<str>, InheritedSocket);

/// Binds every SMTP and LMTP listener for each loop; an inherited socket of a listener's name replaces its addresses.
fn bind(config: &Config, mut inherited: Vec<Inherited>, loops: usize) -> Result<Vec<Vec<Bound>>, Failure> {
    let mut bound: Vec<Vec<Bound>> = (0..loops).map(|_| Vec::new()).collect();
    for listener in &config.listeners {
        if !matches!(listener.protocol, Protocol::Smtp | Protocol::Lmtp | Protocol::Submission) {
            continue;
        }
        let failed = |what: String| move |error: std::io::Error| Failure::caused(what, &error);
        let own: Vec<_> = inherited.extract_if(.., |socket| *socket.name == *listener.name).collect();
        for (n, socket) in own.iter().enumerate() {
            // One socket serves all loops: they accept from the same queue.
            for place in &mut bound {
                let copy = try_clone(&socket.socket)
                    .map_err(failed(format!("[listener.{}] inherited socket {n}", listener.name)))?;
                place.push((listener.name.clone(), copy));
            }
        }
        if !own.is_empty() {
            continue;
        }
        let options = ListenOptions {
            backlog: u16::try_from(listener.backlog).unwrap_or(u16::MAX),
            sending: if listener.nodelay { Sending::Immediate } else { Sending::Collected },
            ..ListenOptions::default()
        };
        for address in &listener.bind {
            let failed = failed(format!("[listener.{}] cannot listen on {address}", listener.name));
            match address {
                BindAddress::Ip(ip) => {
                    let sockets = engine::listen_each(*ip, &options, loops).map_err(failed)?;
                    for (place, socket) in bound.iter_mut().zip(sockets) {
                        place.push((listener.name.clone(), InheritedSocket::Tcp(socket)));
                    }
                }
                BindAddress::Unix(path) => {
                    let socket = engine::listen_unix(path, 0o666).map_err(failed)?;
                    bound[0].push((listener.name.clone(), InheritedSocket::Unix(socket)));
                }
            }
        }
    }
    Ok(bound)
}

fn try_clone(socket: &InheritedSocket) -> std::io::Result<InheritedSocket> {
    match socket {
        InheritedSocket::Tcp(socket) => socket.try_clone().map(InheritedSocket::Tcp),
        InheritedSocket::Unix(socket) => socket.try_clone().map(InheritedSocket::Unix),
        InheritedSocket::Other(_) => Err(std::io::Error::other("it is no listening socket")),
    }
}

/// Recipients handed to a loop at once.
const RECOVERED_STEP: usize = 512;
/// Steps of recovered recipients that may wait with one loop.
const RECOVERED_AHEAD: usize = 4;

/// Queues what was in the store, on a thread of its own, while the server already works.
fn recover(
    recovered: Recovered,
    jobs: Vec<tokio::sync::mpsc::UnboundedSender<Job>>,
) -> Result<JoinHandle<()>, Failure> {
    let feed = move || {
        let (done, dones) = mpsc::sync_channel::<()>(RECOVERED_AHEAD);
        let mut step = Vec::with_capacity(RECOVERED_STEP);
        let mut next = 0;
        let mut flush = |step: &mut Vec<_>| {
            let batch: Vec<(Arc<message::Message>, Queued)> = std::mem::take(step);
            let (done, target) = (done.clone(), next % jobs.len());
            next += 1;
            let job: Job = Box::new(move |shard| {
                batch.into_iter().for_each(|(message, queued)| shard.recovered(&message, queued));
                shard.ring();
                // Whoever waits for it may be gone.
                let _ = done.try_send(());
            });
            // A bounded number ahead, so that memory is not filled twice; a loop that ended drops the job.
            jobs[target].send(job).is_ok() && dones.recv_timeout(Duration::from_secs(10)).is_ok()
        };
        for found in recovered {
            for recipient in &found.recipients {
                step.push((
                    found.message.clone(),
                    Queued {
                        key: found.key,
                        id: found.message.id,
                        recipient: recipient.recipient,
                        attempts: recipient.attempts,
                        received: found.message.reception.at,
                        not_before: recipient.not_before,
                        // Known when its message has been looked at.
                        priority: message::Priority::Normal,
                        tenant: message::Tenant::OTHERS,
                        message: None,
                    },
                ));
            }
            if step.len() >= RECOVERED_STEP && !flush(&mut step) {
                return;
            }
        }
        flush(&mut step);
    };
    std::thread::Builder::new()
        .name("recovery".into())
        .spawn(feed)
        .map_err(|error| Failure::caused("cannot start the recovery thread", &error))
}

/// What of a new generation waits for a restart.
fn restart_notes(old: &Config, new: &Config) -> String {
    let binds = |config: &Config| {
        config.listeners.iter().map(|listener| (listener.name.clone(), listener.bind.clone())).collect::<Vec<_>>()
    };
    let logs = |config: &Config| log_specs(config).into_iter().map(|log| log.path).collect::<Vec<_>>();
    let mut notes = Vec::new();
    if binds(old) != binds(new) {
        notes.push("addresses of listeners");
    }
    if logs(old) != logs(new) {
        notes.push("files of logs");
    }
    if old.suppression.folder != new.suppression.folder {
        notes.push("folder of the suppression list");
    }
    if old.shaping.state != new.shaping.state {
        notes.push("state file of traffic shaping");
    }
    if old.spool.volumes != new.spool.volumes || old.engine.loops != new.engine.loops {
        notes.push("spool and engine");
    }
    if notes.is_empty() { String::new() } else { format!("; these wait for a restart: {}", notes.join(", ")) }
}

/// A heading for ids of a loop: its number in the place of a process id.
pub(crate) fn loop_pid(index: usize) -> u16 {
    (index as u16).wrapping_add(1)
}
