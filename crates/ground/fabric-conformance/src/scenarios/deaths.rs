//! Peers are killed with SIGKILL at random instants, or stopped.
//!
//! What must hold: the survivor learns of it within [`LATEST`]; of its own messages, those that neither the dead peer nor its successor has read are
//! among the last [`Loss::in_doubt`] that were sent; of the dead one's messages it gets a beginning without a gap; nothing comes twice; the next peer
//! is served; descriptors, mappings and threads are as many as before, and no file is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fabric::arena::Arena;
use fabric::channel::{Channel, Deadline, Loss, ReceiveError, Receiver, Refusal, Sender};
use fabric::queue::{Full, Priority, QueueKind};
use fabric::tli::Reason;

use super::windows::{ARENA_WINDOW, KEEP, await_whole, check_window, filled, with_window};
use super::{expect_end, next_number};
use crate::failure::{Failure, Outcome};
use crate::payload::{self, Random};
use crate::peer::Peer;
use crate::resources;
use crate::roles::{self, await_peer};
use crate::scene::{SOON, Scene};
use crate::stage::{PATIENCE, Role, Stage};

pub(super) const ROLES: &[Role] = &[FATED, LEND];

/// How late a survivor may learn of a death.
const LATEST: Duration = Duration::from_secs(1);
/// Random deaths come within this time after the peers have met.
const LIFE_US: u64 = 4000;

/// Lives until it is killed. With `sends=1` it posts numbered messages from 0 on; with `reads=1` it says the number of each message that it reads, before
/// the sender can know.
const FATED: Role = Role { name: "fated", run: fated };

fn fated(stage: &Stage) -> Outcome {
    let (channel, mut receiver) = stage.builder()?.open()?;
    await_peer(&channel)?;
    stage.say("up");
    let posts = if stage.argument_or("sends", 0)? == 1 {
        let sender = channel.sender(QueueKind::MultiBounded { capacity: 64, full: Full::Block }, Priority::Normal);
        let stop = Arc::new(AtomicBool::new(false));
        Some((Arc::clone(&stop), thread::spawn(move || post_until(&stop, sender))))
    } else {
        None
    };
    while stage.argument_or("reads", 0)? == 1 {
        let read = receiver.receive_with(PATIENCE.into(), |message| {
            // Said first: once this returns, the sender may be told that it was read.
            payload::number_of(message.bytes()).map(|number| stage.say(number))
        });
        match read {
            Ok(said) => said?,
            Err(ReceiveError::PeerGone(_)) => break,
            Err(error) => return Err(error.into()),
        }
    }
    match posts {
        Some((_, posts)) if stage.argument_or("reads", 0)? == 0 => posts.join().expect("it does not panic").map(|_| ()),
        Some((stop, posts)) => {
            stop.store(true, Ordering::Relaxed);
            posts.join().expect("it does not panic").map(|_| ())
        }
        None => Ok(()),
    }
}

/// Posts numbered messages until told to stop; says how many were taken.
fn post_until(stop: &AtomicBool, mut sender: Sender) -> Outcome<u64> {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let message = payload::numbered(number, roles::length(number, 300));
        match sender.post(message, Duration::from_millis(50).into()) {
            Ok(()) => number += 1,
            Err(error) if error.why == Refusal::Busy => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(number)
}

/// What dies and how.
struct Plan {
    peer_listens: bool,
    peer_sends: bool,
    peer_reads: bool,
}

/// The receiver dies; it connects.
pub(super) fn killed_receiver(scene: &Scene) -> Outcome {
    Plan { peer_listens: false, peer_sends: false, peer_reads: true }.play(scene)
}

/// The receiver dies, and it was the one that listened.
pub(super) fn killed_listener(scene: &Scene) -> Outcome {
    Plan { peer_listens: true, peer_sends: false, peer_reads: true }.play(scene)
}

/// The sender dies.
pub(super) fn killed_sender(scene: &Scene) -> Outcome {
    Plan { peer_listens: false, peer_sends: true, peer_reads: false }.play(scene)
}

/// Messages go both ways when one side dies.
pub(super) fn killed_while_both_send(scene: &Scene) -> Outcome {
    Plan { peer_listens: false, peer_sends: true, peer_reads: true }.play(scene)
}

/// A death that the survivor saw: when, and after how many messages of the dead one.
struct Seen {
    moment: Instant,
    loss: Loss,
    received: u64,
}

/// Receives on a thread: each peer's messages must begin at 0 and have no gap.
fn watch(mut receiver: Receiver) -> mpsc::Receiver<Outcome<Seen>> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut next = 0;
        loop {
            let seen = match receiver.receive_with(Deadline::Never, |message| payload::number_of(message.bytes())) {
                Ok(Ok(number)) if number == next => {
                    next += 1;
                    continue;
                }
                Ok(Ok(number)) => {
                    Err(Failure::new(format!("of a peer's messages, {number} comes where {next} is next")))
                }
                Ok(Err(failure)) => Err(failure),
                Err(ReceiveError::PeerGone(loss)) => {
                    Ok(Seen { moment: Instant::now(), loss, received: std::mem::take(&mut next) })
                }
                Err(_) => return,
            };
            let over = seen.is_err();
            if tell.send(seen).is_err() || over {
                return;
            }
        }
    });
    told
}

/// What was measured over all rounds.
#[derive(Default)]
struct Tally {
    delays: Vec<Duration>,
    in_doubt: u64,
    lost: u64,
    received: u64,
    read: u64,
}

impl Tally {
    fn say(mut self, scene: &Scene) {
        self.delays.sort_unstable();
        let at = |part: usize| {
            self.delays.get((self.delays.len().saturating_sub(1)) * part / 100).copied().unwrap_or_default()
        };
        scene.note(format_args!(
            "{} deaths, seen after {:?} (median), {:?} (p99), {:?} (latest); {} messages read there, {} here, {} lost of {} in doubt",
            self.delays.len(),
            at(50),
            at(99),
            at(100),
            self.read,
            self.received,
            self.lost,
            self.in_doubt
        ));
    }
}

impl Plan {
    fn play(&self, scene: &Scene) -> Outcome {
        let uri = scene.uri();
        let builder =
            if self.peer_listens { Channel::builder().name("survivor").connect(&uri) } else { scene.builder(&uri) };
        let (channel, receiver) = builder.windows(16 << 10, 8).open()?;
        let deaths = watch(receiver);
        let stop = Arc::new(AtomicBool::new(false));
        let poster = self.peer_reads.then(|| {
            let sender = channel.sender(QueueKind::MultiBounded { capacity: 64, full: Full::Block }, Priority::Normal);
            let stop = Arc::clone(&stop);
            thread::spawn(move || post_until(&stop, sender))
        });
        let mut random = Random::new(scene.seed());
        let (mut tally, mut last, mut baseline) = (Tally::default(), None, None);
        for round in 0..scene.rounds(25) {
            last = self
                .round(scene, &uri, &mut random, &deaths, last, &mut tally)
                .map_err(|failure| failure.at(format_args!("round {round}")))?;
            if round == 2 {
                baseline = Some(held()?);
            }
        }
        if let Some(baseline) = baseline {
            await_held(baseline)?;
        }
        let peer = self.last_peer(scene, &uri, last)?;
        stop.store(true, Ordering::Relaxed);
        if let Some(poster) = poster {
            poster.join().expect("it does not panic")?;
        }
        channel.close(SOON.into())?;
        if let Some(peer) = peer {
            peer.finish()?;
        }
        tally.say(scene);
        // The watching thread ends with the channel, and lets go of it.
        while deaths.recv_timeout(SOON).is_ok() {}
        drop(channel);
        scene.check_folder()
    }

    fn start(&self, scene: &Scene, uri: &str) -> Outcome<Peer> {
        let side = if self.peer_listens { "listen" } else { "connect" };
        let peer = scene.peer(FATED, uri).with("side", side);
        let mut peer =
            peer.with("sends", u8::from(self.peer_sends)).with("reads", u8::from(self.peer_reads)).start()?;
        peer.expect("up")?;
        Ok(peer)
    }

    /// One life and death. `last` is the number that the one before read last, and what was in doubt then.
    fn round(
        &self,
        scene: &Scene,
        uri: &str,
        random: &mut Random,
        deaths: &mpsc::Receiver<Outcome<Seen>>,
        mut last: Option<(u64, u64)>,
        tally: &mut Tally,
    ) -> Outcome<Option<(u64, u64)>> {
        let mut peer = self.start(scene, uri)?;
        thread::sleep(Duration::from_micros(random.below(LIFE_US)));
        let moment = peer.kill()?;
        let seen = deaths.recv_timeout(SOON).map_err(|_| Failure::new("the survivor never learns of the death"))??;
        ensure!(seen.loss.gone.reason == Reason::Died, "the killed peer ends with {}", seen.loss.gone.reason);
        let delay = seen.moment.saturating_duration_since(moment);
        ensure!(delay <= LATEST, "the death is seen after {delay:?}");
        tally.delays.push(delay);
        tally.in_doubt += seen.loss.in_doubt;
        tally.received += seen.received;
        let mut read = None;
        for line in peer.rest() {
            let number = line.parse().map_err(|_| Failure::new(format!("the peer says {line:?}")))?;
            check_next(number, read, last, tally)?;
            read = Some(number);
            tally.read += 1;
        }
        // Who died before it read anything leaves its own doubt on top.
        last = match (read, last) {
            (Some(number), _) => Some((number, seen.loss.in_doubt)),
            (None, Some((number, doubt))) => Some((number, doubt + seen.loss.in_doubt)),
            (None, None) => None,
        };
        Ok(last)
    }

    /// The last peer is not killed, and goes on where the others stopped.
    fn last_peer(&self, scene: &Scene, uri: &str, last: Option<(u64, u64)>) -> Outcome<Option<Peer>> {
        if !self.peer_reads {
            return Ok(None);
        }
        let side = if self.peer_listens { "listen" } else { "connect" };
        let mut peer = scene.peer(roles::COLLECT, uri).with("side", side).start()?;
        peer.expect("up")?;
        let first = peer.hear_numbers("got")?[0];
        check_next(first, None, last, &mut Tally::default())?;
        Ok(Some(peer))
    }
}

/// `number` may come next, after `read` of the same peer or the last of the one before.
fn check_next(number: u64, read: Option<u64>, last: Option<(u64, u64)>, tally: &mut Tally) -> Outcome {
    match (read, last) {
        (Some(read), _) => ensure!(number == read + 1, "message {number} is read after {read}"),
        (None, Some((last, doubt))) => {
            ensure!(number > last, "message {number} is read twice: {last} was, by the one before");
            let lost = number - last - 1;
            ensure!(lost <= doubt, "{lost} messages after {last} are lost, and {doubt} are in doubt");
            tally.lost += lost;
        }
        (None, None) => {}
    }
    Ok(())
}

/// Descriptors, mappings and threads.
type Held = (usize, usize, usize);

fn held() -> Outcome<Held> {
    Ok((resources::descriptors()?, resources::shared_mappings()?, resources::threads()?))
}

/// Waits until no more is held than before.
fn await_held(before: Held) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let now = held()?;
        if now.0 <= before.0 && now.1 <= before.1 && now.2 <= before.2 {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "descriptors, mappings and threads were {before:?} and are {now:?}: {}",
            resources::descriptor_list()
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// The peer has leases of all windows of the arena when it dies: they come back.
pub(super) fn killed_while_it_holds_windows(scene: &Scene) -> Outcome {
    const WINDOWS: u64 = 8;
    let uri = scene.uri();
    let arena = Arc::new(Arena::new(ARENA_WINDOW, WINDOWS as usize)?);
    let (channel, mut receiver) = scene.builder(&uri).arena(Arc::clone(&arena)).open()?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    let mut baseline = None;
    for round in 0..scene.rounds(15) {
        let mut peer = scene.peer(KEEP, &uri).with("keep", 100).start()?;
        for number in 0..WINDOWS {
            let slice = filled(&channel, number, ARENA_WINDOW)?;
            sender.post(with_window(number, slice), SOON.into())?;
        }
        ensure!(channel.take_window().is_none(), "round {round}: a window is free that is lent");
        for number in 0..WINDOWS {
            peer.expect(&format!("kept {number}"))?;
        }
        peer.kill()?;
        expect_end(&mut receiver, &Reason::Died)?;
        await_whole(&channel, &arena).map_err(|failure| failure.at(format_args!("round {round}")))?;
        match baseline {
            None => baseline = Some(held()?),
            Some(baseline) => await_held(baseline)?,
        }
    }
    Ok(())
}

/// Lends its windows, and then waits for its end.
const LEND: Role = Role { name: "lend", run: lend };

fn lend(stage: &Stage) -> Outcome {
    let count: u64 = stage.argument("count")?;
    let arena = Arc::new(Arena::new(ARENA_WINDOW, count as usize)?);
    let (channel, _receiver) = stage.builder()?.arena(arena).open()?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    for number in 0..count {
        let slice = filled(&channel, number, ARENA_WINDOW)?;
        sender.post(with_window(number, slice), PATIENCE.into())?;
    }
    stage.await_line("never said")
}

/// We hold leases of the peer's windows when it dies: they stay as they are until we let go, and then nothing is left of it.
pub(super) fn killed_while_its_windows_are_held(scene: &Scene) -> Outcome {
    const WINDOWS: u64 = 8;
    let uri = scene.uri();
    let (_channel, mut receiver) = scene.builder(&uri).open()?;
    let mut baseline = None;
    for round in 0..scene.rounds(15) {
        let mut peer = scene.peer(LEND, &uri).with("count", WINDOWS).start()?;
        let mut kept = Vec::new();
        for number in 0..WINDOWS {
            let received = receiver.receive(SOON.into())?;
            ensure!(check_window(&received)? == number, "round {round}: another message than {number} comes");
            kept.push(received);
        }
        peer.kill()?;
        expect_end(&mut receiver, &Reason::Died)?;
        for received in &kept {
            check_window(received).map_err(|failure| failure.at(format_args!("round {round}, after the death")))?;
        }
        drop(kept);
        match baseline {
            None => baseline = Some(held()?),
            Some(baseline) => await_held(baseline)?,
        }
    }
    Ok(())
}

/// A peer that stands still holds up its own channel and no other, and goes on where it was.
pub(super) fn frozen_peer(scene: &Scene) -> Outcome {
    let (uri, other) = (scene.uri(), scene.uri());
    let (channel, _receiver) = scene.builder(&uri).windows(8 << 10, 4).open()?;
    let (busy, mut back) = scene.builder(&other).open()?;
    let mut frozen = scene.peer(roles::RECEIVE, &uri).start()?;
    let _echo = scene.peer(roles::ECHO, &other).start()?;
    frozen.expect("up")?;
    let mut sender = channel.sender(QueueKind::MultiBounded { capacity: 4, full: Full::Block }, Priority::Normal);
    let mut others = busy.sender(QueueKind::MonoUnbounded, Priority::Normal);
    let mut posted = 0;
    for round in 0..5 {
        frozen.freeze()?;
        loop {
            match sender.post(payload::numbered(posted, 700), Duration::from_millis(50).into()) {
                Ok(()) => posted += 1,
                Err(error) if error.why == Refusal::Busy => break,
                Err(error) => return Err(Failure::from(error).at(format_args!("round {round}"))),
            }
            ensure!(posted < 1_000_000, "a peer that stands still takes {posted} messages");
        }
        for number in 0..200 {
            others.post(payload::numbered(number, 100), SOON.into())?;
            ensure!(next_number(&mut back)? == number, "another message than {number} comes back");
        }
        frozen.thaw()?;
        channel.flush(SOON.into())?;
    }
    channel.close(SOON.into())?;
    ensure!(frozen.hear_numbers("received")? == [posted], "not all {posted} were received");
    frozen.expect("closed")?;
    frozen.finish()
}
