//! What runs on one event loop, from its first task to its last.

use crate::automatic::Automatic;
use crate::events::{Events, LoopEvents};
use crate::failure::Failure;
use crate::generation::Generation;
use crate::handing::Lanes;
use crate::intake::Intake;
use crate::ledger::Ledger;
use crate::server::{Bound, Common, Job, loop_pid};
use crate::shard::{Injector, Onwards, Parts, Shard};
use crate::store::{Seat, StoreHandle};
use config::Config;
use delivery::{Delivery, Neighbours};
use engine::{InheritedSocket, Listener, LoopContext, MemoryMonitor, TaskKind};
use fabric::{Doorbell, WindowPool};
use message::{IdSource, UnixMicros};
use reception::Reception;
use record::Recorder;
use scheduling::{ResidentLimits, Scheduler};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// What a loop is given at its start.
pub(crate) struct Seeds {
    pub(crate) config: Arc<Config>,
    pub(crate) common: Common,
    pub(crate) seat: Seat,
    pub(crate) bell: Doorbell,
    pub(crate) lanes: Lanes,
    pub(crate) listeners: Vec<Bound>,
    pub(crate) jobs: UnboundedReceiver<Job>,
    pub(crate) recorder: Recorder,
    pub(crate) ready: Sender<Result<(), Failure>>,
    /// Tasks that only one loop of a server has.
    pub(crate) once: Option<(resolver::Driver, MemoryMonitor)>,
}

/// Octets of an intake window.
const WINDOW_BYTES: usize = 64 << 10;
/// Free windows that a loop keeps.
const WINDOWS_KEPT: usize = 64;

/// Runs one loop until it is asked to stop and has drained.
pub(crate) async fn run(context: LoopContext, seeds: Seeds) {
    let Seeds { config, common, seat, bell, lanes, listeners, mut jobs, recorder, ready, once } = seeds;
    if let Some((driver, monitor)) = once {
        context.spawn(TaskKind("resolver"), driver.run()).detach();
        context.spawn(TaskKind("memory"), monitor.run(context.clone(), Duration::from_secs(1))).detach();
    }
    let shard = match shard(&context, &config, &common, seat, lanes.out, recorder) {
        Ok(shard) => shard,
        Err(failure) => {
            // Whoever waits for the start hears why; if it is gone, so is the server.
            let _ = ready.send(Err(failure));
            return;
        }
    };
    let delivery = match deliver(&shard, &common, &config) {
        Ok(delivery) => delivery,
        Err(failure) => {
            let _ = ready.send(Err(failure));
            return;
        }
    };
    shard.attach(delivery.clone());
    let reception = receive(&shard, &common, &config);
    shard.attach_reception(reception.clone());
    let _ = ready.send(listen(&reception, listeners));
    drop(ready);
    context.spawn(TaskKind("lanes"), shard.clone().take_over(bell, lanes.into)).detach();
    context.spawn(TaskKind("upkeep"), shard.clone().tend()).detach();
    context.spawn(TaskKind("intake"), shard.clone().read_returns()).detach();
    let mut stopped = context.root().stopped();
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            // When nobody can send any more, only the stop is waited for.
            Some(job) = jobs.recv() => job(&shard),
        }
    }
    let grace = shard.generation.borrow().config.server.drain_timeout;
    reception.drain(grace).await;
    delivery.drain(grace / 2).await;
    // What was delivered meanwhile counts, too.
    shard.follow_shaping().await;
    shard.events.recorder.flush();
    shard.events.automatic.flush();
    shard.detach();
}

fn shard(
    context: &LoopContext,
    config: &Arc<Config>,
    common: &Common,
    seat: Seat,
    lanes: Vec<fabric::LaneSender<crate::handing::Handed>>,
    recorder: Recorder,
) -> Result<Rc<Shard>, Failure> {
    let pool = |name: &str| common.pools.get(name).ok_or_else(|| Failure::new(format!("there is no pool {name}")));
    let spool: StoreHandle = seat.take(context, pool(engine::SWAP_IN)?, pool(engine::SWAP_OUT)?);
    let now = UnixMicros(context.clock().unix().0);
    let mut scheduler = Scheduler::new(common.permits.clone(), context.random(), now);
    scheduler.share_sites(common.sites.clone());
    let messages = config.server.max_resident_messages / context.loops() as u32;
    scheduler.set_resident_limits(ResidentLimits { messages, ..ResidentLimits::default() });
    let generation = Generation::new(config.clone(), common.shared.clone());
    scheduler.set_weights(generation.weights());
    let intake = Intake::new(common.intakes.counters(context.gauges()));
    let added = intake.counters.suppressed.clone();
    let automatic = Automatic::new(common.suppression.clone(), common.tally.clone(), config, &common.bouncing, added);
    Ok(Rc::new(Shard::new(Parts {
        context: context.clone(),
        generation,
        scheduler,
        spool,
        events: Events { recorder, observer: common.observer.clone(), automatic, desk: common.desk.clone() },
        lanes,
        pressure: common.pressure.clone(),
        windows: WindowPool::new(WINDOW_BYTES, WINDOWS_KEPT),
        ledger: Ledger::new(common.memory),
        suppression: common.suppression.clone(),
        redirections: common.redirections.clone(),
        bouncing: common.bouncing.clone(),
        intake,
        cpu: pool(engine::CPU)?,
    })))
}

/// The types that delivery meets here.
pub(crate) struct Here;

impl Neighbours for Here {
    type Work = Scheduler;
    type Spool = StoreHandle;
    type Resolver = resolver::Resolver;
    type Events = LoopEvents;
    type Inject = Injector;
}

/// This server's delivery on one loop.
pub(crate) type LoopDelivery = Delivery<Here>;

fn deliver(shard: &Rc<Shard>, common: &Common, config: &Arc<Config>) -> Result<LoopDelivery, Failure> {
    let context = &shard.context;
    let pool = common.pools.get(engine::IO).ok_or_else(|| Failure::new("there is no pool io"))?;
    let parts = delivery::Parts {
        context: context.clone(),
        work: shard.scheduler.clone(),
        spool: shard.spool.clone(),
        resolver: common.resolver.clone(),
        events: LoopEvents(shard.events.clone()),
        inject: Injector(shard.clone()),
        pool,
        descriptors: common.descriptors.clone(),
        counters: common.deliveries.counters(context.gauges()),
        own: common.own.clone(),
        hosts: common.hosts.clone(),
        // Serial numbers from the other half, so that they never meet those of reception.
        ids: IdSource::new(loop_pid(context.index()), common.origin ^ 0x8000_0000),
    };
    Ok(Delivery::start(parts, config))
}

/// This server's reception on one loop.
pub(crate) type LoopReception = Reception<StoreHandle, LoopEvents, Onwards>;

fn receive(shard: &Rc<Shard>, common: &Common, config: &Config) -> Rc<LoopReception> {
    let context = &shard.context;
    let parts = reception::Parts {
        context: context.clone(),
        spool: shard.spool.clone(),
        events: LoopEvents(shard.events.clone()),
        onward: Onwards(shard.clone()),
        admissions: common.admissions.clone(),
        descriptors: common.descriptors.clone(),
        pressure: common.pressure.clone(),
        counters: common.receptions.counters(context.gauges()),
        suppressed: Rc::new(common.suppression.clone()),
        windows: shard.windows().clone(),
        ids: IdSource::new(loop_pid(context.index()), common.origin),
    };
    Rc::new(Reception::new(parts, config))
}

fn listen(reception: &LoopReception, listeners: Vec<Bound>) -> Result<(), Failure> {
    for (name, socket) in listeners {
        let listener = match socket {
            InheritedSocket::Tcp(socket) => Listener::from_tcp(socket),
            InheritedSocket::Unix(socket) => Listener::from_unix(socket),
            InheritedSocket::Other(_) => continue,
        };
        let listener = listener.map_err(|error| Failure::caused(format!("[listener.{name}]"), &error))?;
        let task = reception.serve(&name, listener);
        task.map_err(|error| Failure::caused(format!("[listener.{name}]"), &error))?.detach();
    }
    Ok(())
}
