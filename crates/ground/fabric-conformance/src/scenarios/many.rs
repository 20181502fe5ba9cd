//! Many channels, many windows, several transports of one channel.

use std::time::{Duration, Instant};

use fabric::channel::{Channel, Deadline, Progress, Receiver, Refusal, Sender, State};
use fabric::queue::{Full, Priority, QueueKind};
use fabric::tli::Reason;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{expect_numbers, next_number};
use crate::failure::{Failure, Outcome};
use crate::payload;
use crate::resources;
use crate::roles::{self, await_peer, await_state};
use crate::scene::{SOON, Scene};
use crate::stage::{PATIENCE, Role, Stage};

pub(super) const ROLES: &[Role] = &[MANY];

/// Opens a channel to each of `uris=`, sends back `echoes=` messages of each, and goes when told.
const MANY: Role = Role { name: "many", run: many };

const WINDOW: usize = 4096;

type Ends = (Channel, Receiver, Sender);

fn open_many(builders: impl Iterator<Item = Outcome<fabric::channel::ChannelBuilder>>) -> Outcome<Vec<Ends>> {
    let open = |builder: Outcome<fabric::channel::ChannelBuilder>| {
        let builder = builder?.windows(WINDOW, 4).urgent_windows(WINDOW, 2).progress(Progress::Caller);
        let (channel, receiver) = builder.open()?;
        let sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
        Ok((channel, receiver, sender))
    };
    builders.map(open).collect()
}

/// Drives all channels until `done` says so of each.
fn drive(ends: &mut [Ends], what: &str, mut done: impl FnMut(usize, &mut Ends) -> Outcome<bool>) -> Outcome {
    let deadline = Instant::now() + SOON * 2;
    let mut left: Vec<usize> = (0..ends.len()).collect();
    while !left.is_empty() {
        let mut still = Vec::new();
        for number in left {
            ends[number].0.progress();
            if !done(number, &mut ends[number])? {
                still.push(number);
            }
        }
        left = still;
        ensure!(Instant::now() < deadline, "{} of {} channels have not {what}", left.len(), ends.len());
    }
    Ok(())
}

fn many(stage: &Stage) -> Outcome {
    let uris: String = stage.argument("uris")?;
    let echoes: u64 = stage.argument("echoes")?;
    let mut ends = open_many(uris.split(',').map(|uri| stage.builder_at(uri)))?;
    drive(&mut ends, "met", |_, (channel, ..)| Ok(matches!(channel.state(), State::Up { .. })))?;
    stage.say("up");
    let mut counts = vec![0; ends.len()];
    drive(&mut ends, "echoed", |number, (_, receiver, sender)| {
        if let Some(received) = receiver.try_receive()? {
            sender.post(fabric::Message::copied(received.bytes()), Deadline::Now)?;
            counts[number] += 1;
        }
        Ok(counts[number] == echoes)
    })?;
    // What was posted is sent by whoever drives the channel, and nobody else does.
    drive(&mut ends, "flushed", |_, (channel, ..)| Ok(channel.flush(Deadline::Now).is_ok()))?;
    stage.await_line("one more")?;
    let (channel, _, sender) = ends.last_mut().ok_or_else(|| Failure::new("there are channels"))?;
    sender.post(payload::numbered(4711, 0), PATIENCE.into())?;
    channel.flush(PATIENCE.into())?;
    stage.await_line("close")?;
    Ok(())
}

/// A thousand channels in one process, driven by one loop: they all carry messages, cost a few descriptors each, and nothing while they are idle.
pub(super) fn many_channels(scene: &Scene) -> Outcome {
    const CHANNELS: usize = 1000;
    const ECHOES: u64 = 3;
    let before = (resources::descriptors()?, resources::resident_bytes()?);
    let uris: Vec<String> = (0..CHANNELS).map(|_| scene.uri()).collect();
    let mut ends = open_many(uris.iter().map(|uri| Ok(scene.builder(uri))))?;
    let mut peer = scene.peer(MANY, &uris[0]).with("uris", uris.join(",")).with("echoes", ECHOES).start()?;
    drive(&mut ends, "met", |_, (channel, ..)| Ok(matches!(channel.state(), State::Up { .. })))?;
    for (number, (.., sender)) in (0..).zip(&mut ends) {
        for echo in 0..ECHOES {
            sender.post(payload::numbered(number << 8 | echo, 100), Deadline::Now)?;
        }
    }
    let mut counts = vec![0; CHANNELS];
    drive(&mut ends, "got all back", |number, (_, receiver, _)| {
        if let Some(received) = receiver.try_receive()? {
            let found = payload::number_of(received.bytes())?;
            ensure!(found == (number as u64) << 8 | counts[number], "channel {number} gets {found:#x}");
            counts[number] += 1;
        }
        Ok(counts[number] == ECHOES)
    })?;
    peer.expect("up")?;
    // The peer's input and output are pipes, where it is a process.
    let pipes = if scene.scheme().joins_processes() { 2 } else { 0 };
    let held = (resources::descriptors()? - before.0 - pipes, resources::resident_bytes()?.saturating_sub(before.1));
    let shared = if scene.scheme().joins_processes() { 1 } else { 2 };
    scene.note(format_args!(
        "a channel holds {:.1} descriptors and {} KiB",
        held.0 as f64 / (CHANNELS * shared) as f64,
        (held.1 / (CHANNELS * shared)) >> 10
    ));
    ensure!(held.0 <= CHANNELS * shared * 10, "{CHANNELS} channels hold {} descriptors", held.0);
    ensure!(held.1 <= (CHANNELS * shared) << 18, "{CHANNELS} channels hold {} bytes", held.1);
    idle_then_woken(scene, &mut ends, &mut peer)?;
    drop(ends);
    peer.say("close")?;
    peer.finish()?;
    let left = resources::descriptors()?;
    ensure!(left <= before.0 + 4, "{} descriptors are left: {}", left - before.0, resources::descriptor_list());
    scene.check_folder()
}

/// All channels wait in one poll, which uses no processor until a message comes.
fn idle_then_woken(scene: &Scene, ends: &mut [Ends], peer: &mut crate::peer::Peer) -> Outcome {
    const IDLE: Duration = Duration::from_millis(400);
    let begun = resources::processor_time()?;
    let woken = wait_for_any(ends, IDLE)?;
    let used = resources::processor_time()?.saturating_sub(begun);
    scene.note(format_args!("{} idle channels use {used:?} of a processor in {IDLE:?}, woken {woken}", ends.len()));
    ensure!(used < IDLE / 4, "idle channels use {used:?} in {IDLE:?}");
    peer.say("one more")?;
    let deadline = Instant::now() + SOON;
    let last = ends.len() - 1;
    loop {
        if let Some(received) = ends[last].1.try_receive()? {
            ensure!(payload::number_of(received.bytes())? == 4711, "another message wakes the loop");
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "nothing wakes the loop");
        wait_for_any(ends, Duration::from_millis(200))?;
        ends[last].0.progress();
    }
}

/// Waits as an event loop does: whoever is about to sleep says so, and sleeps on every descriptor. Returns whether something woke it.
fn wait_for_any(ends: &mut [Ends], time: Duration) -> Outcome<bool> {
    let mut asleep = Vec::new();
    for (number, (_, receiver, _)) in ends.iter_mut().enumerate() {
        if !receiver.about_to_wait()? {
            asleep.push(number);
        }
    }
    let woken = asleep.len() < ends.len() || {
        let mut owned = Vec::new();
        for (channel, ..) in ends.iter() {
            channel.each_readiness(|fd| owned.push(fd.try_clone_to_owned()));
        }
        let owned = owned.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut fds: Vec<_> = owned.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let time = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
        poll(&mut fds, Some(&time))? > 0
    };
    asleep.into_iter().for_each(|number| ends[number].1.awake());
    Ok(woken)
}

/// Channels with service threads that have nothing to do use no processor.
pub(super) fn idle_channels_use_no_processor(scene: &Scene) -> Outcome {
    const CHANNELS: usize = 100;
    const IDLE: Duration = Duration::from_millis(1000);
    let uris: Vec<String> = (0..CHANNELS).map(|_| scene.uri()).collect();
    let mut ends = Vec::new();
    for uri in &uris {
        let (channel, receiver) = scene.builder(uri).windows(WINDOW, 4).urgent_windows(WINDOW, 2).open()?;
        let sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
        ends.push((channel, receiver, sender));
    }
    let mut peer = scene.peer(MANY, &uris[0]).with("uris", uris.join(",")).with("echoes", 1).start()?;
    for (channel, ..) in &ends {
        await_peer(channel)?;
    }
    peer.expect("up")?;
    for (.., sender) in &mut ends {
        sender.post(payload::numbered(1, 10), SOON.into())?;
    }
    for (_, receiver, _) in &mut ends {
        next_number(receiver)?;
    }
    let begun = resources::processor_time()?;
    std::thread::sleep(IDLE);
    let used = resources::processor_time()?.saturating_sub(begun);
    scene.note(format_args!("{CHANNELS} idle channels with service threads use {used:?} of a processor in {IDLE:?}"));
    ensure!(used < IDLE / 20, "{CHANNELS} idle channels use {used:?} in {IDLE:?}");
    peer.say("one more")?;
    ensure!(next_number(&mut ends[CHANNELS - 1].1)? == 4711, "another message comes");
    peer.say("close")?;
    peer.finish()
}

/// Four thousand windows lie filled on their way to one that does not read, and all arrive.
pub(super) fn many_windows(scene: &Scene) -> Outcome {
    const WINDOWS: usize = 4096;
    let uri = scene.uri();
    let (channel, _receiver) = scene.builder(&uri).windows(WINDOW, WINDOWS).open()?;
    let mut peer = scene.peer(roles::RECEIVE, &uri).with("go", 1).start()?;
    peer.expect("up")?;
    let mut sender = channel.sender(QueueKind::MultiBounded { capacity: 1, full: Full::Block }, Priority::Normal);
    let mut posted = 0;
    loop {
        match sender.post(payload::numbered(posted, 3900), Duration::from_millis(500).into()) {
            Ok(()) => posted += 1,
            Err(error) if error.why == Refusal::Busy => break,
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(posted >= 4000, "{posted} windows are on their way where {WINDOWS} were asked for");
    ensure!(posted <= WINDOWS as u64 + 2, "{posted} messages are on their way in {WINDOWS} windows");
    peer.say("go")?;
    channel.close(SOON.into())?;
    ensure!(peer.hear_numbers("received")? == [posted], "not all {posted} were received");
    peer.expect("closed")?;
    peer.finish()
}

/// One channel over two transports of different kinds: each message goes over both.
pub(super) fn two_transports(scene: &Scene) -> Outcome {
    const COUNT: u64 = 2000;
    let (uri, inside) = (scene.uri(), format!("inproc:second-{}", std::process::id()));
    let (channel, _receiver) = scene.builder(&uri).listen(&inside).open()?;
    let (_other, mut near) = Channel::builder().connect(&inside).open()?;
    let mut far = scene.peer(roles::RECEIVE, &uri).start()?;
    far.expect("up")?;
    await_state(&channel, "both peers", |state| matches!(state, State::Up { peers } if peers.len() == 2))?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    let poster = std::thread::spawn(move || {
        for number in 0..COUNT {
            sender.post(payload::numbered(number, roles::length(number, 900)), SOON.into())?;
        }
        Outcome::Ok(())
    });
    expect_numbers(&mut near, 0, COUNT)?;
    poster.join().expect("it does not panic")?;
    channel.close(SOON.into())?;
    super::expect_end(&mut near, &Reason::Closed)?;
    ensure!(far.hear_numbers("received")? == [COUNT], "not all {COUNT} were received over {}", scene.scheme());
    far.expect("closed")?;
    far.finish()
}

/// One channel at two addresses of the same kind: what each of two peers sends arrives, in its order, and both get what is posted.
pub(super) fn two_addresses_at_once(scene: &Scene) -> Outcome {
    const COUNT: u64 = 3000;
    let (first, second) = (scene.uri(), scene.uri());
    let (channel, mut receiver) = scene.builder(&first).listen(&second).open()?;
    let peers = [(&first, 0), (&second, 1_u64 << 32)].map(|(uri, from)| {
        scene.peer(roles::SEND, uri).with("first", from).with("count", COUNT).with("stay", 1).start()
    });
    let mut next = [0, 0];
    for _ in 0..COUNT * 2 {
        let number = next_number(&mut receiver)?;
        let (from, number) = ((number >> 32) as usize, number & 0xffff_ffff);
        ensure!(number == next[from], "of peer {from}, {number} comes where {} is next", next[from]);
        next[from] += 1;
    }
    let State::Up { peers: names } = channel.state() else {
        return Err(Failure::new(format!("with two peers it is {:?}", channel.state())));
    };
    ensure!(names.len() == 2, "the peers are {names:?}");
    // One goes, the other stays.
    let [one, two] = peers;
    let (mut one, mut two) = (one?, two?);
    one.say("close")?;
    super::expect_end(&mut receiver, &Reason::Closed)?;
    one.finish()?;
    ensure!(matches!(channel.state(), State::Up { peers } if peers.len() == 1), "the other peer is gone, too");
    two.say("close")?;
    super::expect_end(&mut receiver, &Reason::Closed)?;
    two.finish()
}
