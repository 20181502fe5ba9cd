//! Windows that go by reference, raw channels, erasing, and waiting as a task.

use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::{Duration, Instant};

use fabric::arena::Arena;
use fabric::channel::{Channel, Deadline, PostError, RawChannel, ReceiveError, Received, Refusal};
use fabric::queue::{Full, Priority, QueueKind};
use fabric::tli::{Erase, Reason, Trust};
use fabric::{Message, Slice};

use crate::failure::{Failure, Outcome};
use crate::payload;
use crate::roles;
use crate::scene::{SOON, Scene};
use crate::stage::{PATIENCE, Role, Stage};

pub(super) const ROLES: &[Role] = &[KEEP, RAW];

/// Receives window frames, keeps `keep=` of them at a time, and lets go of them in another order; erases them with `erase=1`.
pub(super) const KEEP: Role = Role { name: "keep", run: keep };

/// Reads raw windows and ships each back, turned round.
const RAW: Role = Role { name: "raw", run: raw };

pub(super) const ARENA_WINDOW: usize = 16 << 10;

/// A window of the arena, filled with what follows from `number`; waits for a free one.
pub(super) fn filled(channel: &Channel, number: u64, len: usize) -> Outcome<Slice> {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(mut window) = channel.take_window() {
            return window.copy_in(&payload::bytes(number, len)).ok_or_else(|| Failure::new("a window has no room"));
        }
        ensure!(Instant::now() < deadline, "no window comes back");
        channel.progress();
        thread::sleep(Duration::from_micros(100));
    }
}

/// A numbered message with a window frame behind the number.
pub(super) fn with_window(number: u64, slice: Slice) -> Message {
    let mut message = Message::copied(&number.to_le_bytes());
    message.push_shared(slice);
    message
}

/// The number of a message with a window frame, which must hold what follows from it.
pub(super) fn check_window(received: &Received) -> Outcome<u64> {
    let number = received.frame(0).map(|frame| frame.to_vec()).unwrap_or_default();
    let number = u64::from_le_bytes(number.try_into().map_err(|_| Failure::new("the first frame is no number"))?);
    let bytes = received.frame(1).ok_or_else(|| Failure::new(format!("message {number} has one frame")))?.to_vec();
    ensure!(
        bytes == payload::bytes(number, bytes.len()),
        "the window of message {number} holds other bytes than were sent"
    );
    Ok(number)
}

/// Waits until no window of the arena is in use.
pub(super) fn await_whole(channel: &Channel, arena: &Arena) -> Outcome {
    let deadline = Instant::now() + SOON;
    while arena.stats().live > 0 {
        ensure!(Instant::now() < deadline, "{} windows of the arena do not come back", arena.stats().live);
        channel.progress();
        // What came back is collected when there is something to do.
        let _ = channel.flush(Deadline::Now);
        thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

fn keep(stage: &Stage) -> Outcome {
    let (channel, mut receiver) = stage.builder()?.open()?;
    let (keep, erase): (usize, u8) = (stage.argument("keep")?, stage.argument_or("erase", 0)?);
    let mut kept: Vec<Received> = Vec::new();
    let (mut count, mut random) = (0, payload::Random::new(1));
    while let Ok(received) = receiver.receive(PATIENCE.into()) {
        let number = check_window(&received)?;
        ensure!(number == count, "message {number} comes where {count} is next");
        count += 1;
        stage.say(format_args!("kept {number}"));
        kept.push(received);
        if kept.len() > keep {
            let released = kept.swap_remove(random.below(kept.len() as u64) as usize);
            check_window(&released)?;
            if erase == 1 {
                for frame in released.into_frames() {
                    if let fabric::tli::Borrowed::Remote(remote) = frame.bytes {
                        remote.erase();
                    }
                }
            }
        }
    }
    // What is still held is still whole.
    for received in &kept {
        check_window(received)?;
    }
    drop(kept);
    stage.say(format_args!("received {count}"));
    channel.close(Deadline::Now).or(Ok(()))
}

/// Window frames arrive whole over every transport; where memory is shared they go by reference, elsewhere by copy.
pub(super) fn window_frames(scene: &Scene) -> Outcome {
    frames_with(scene, Trust::Hostile, 300)
}

/// More messages than the arena has windows, each kept for a while, with both kinds of trust.
pub(super) fn leases_come_back(scene: &Scene) -> Outcome {
    frames_with(scene, Trust::Hostile, 2000)?;
    frames_with(scene, Trust::Same, 2000)
}

fn frames_with(scene: &Scene, trust: Trust, count: u64) -> Outcome {
    let uri = scene.uri();
    let arena = Arc::new(Arena::new(ARENA_WINDOW, 6)?);
    let (channel, receiver) = scene.builder(&uri).arena(Arc::clone(&arena)).trust(trust).open()?;
    let named = if trust == Trust::Same { "same" } else { "hostile" };
    let mut peer = scene.peer(KEEP, &uri).with("keep", 3).with("trust", named).start()?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    for number in 0..count {
        let slice = filled(&channel, number, 600 + roles::length(number, ARENA_WINDOW as u64 - 600))?;
        sender.post(with_window(number, slice), SOON.into())?;
        if number % 64 == 0 {
            peer.so_far();
        }
    }
    // The peer keeps the last ones until we are gone.
    channel.close(SOON.into())?;
    drop((sender, receiver));
    let last = peer.rest().pop().unwrap_or_default();
    ensure!(last == format!("received {count}"), "the peer ends with {last:?} of {count} messages");
    peer.finish()?;
    drop(channel);
    let deadline = Instant::now() + SOON;
    while arena.stats().live > 0 {
        ensure!(Instant::now() < deadline, "{} windows are still in use", arena.stats().live);
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A lease that its reader erases is zeroed before its window is used again.
pub(super) fn erased_leases(scene: &Scene) -> Outcome {
    let uri = scene.uri();
    let arena = Arc::new(Arena::new(ARENA_WINDOW, 1)?);
    let (channel, _receiver) = scene.builder(&uri).arena(Arc::clone(&arena)).open()?;
    let mut peer = scene.peer(KEEP, &uri).with("keep", 0).with("erase", 1).start()?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    for number in 0..20 {
        let slice = filled(&channel, number, ARENA_WINDOW / 2)?;
        sender.post(with_window(number, slice), SOON.into())?;
        peer.expect(&format!("kept {number}"))?;
        await_whole(&channel, &arena)?;
        let mut window = channel.take_window().ok_or_else(|| Failure::new("the window is not free"))?;
        ensure!(window.spare().iter().all(|byte| *byte == 0), "round {number}: the window was not zeroed");
    }
    channel.close(SOON.into())?;
    ensure!(peer.hear_numbers("received")? == [20], "not all were received");
    peer.finish()
}

/// Messages that ask to be erased arrive as others do.
pub(super) fn erased_messages(scene: &Scene) -> Outcome {
    const COUNT: u64 = 300;
    let uri = scene.uri();
    let (channel, _receiver) = scene.builder(&uri).windows(8 << 10, 4).open()?;
    let mut peer = scene.peer(roles::RECEIVE, &uri).start()?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    for number in 0..COUNT {
        let message = payload::numbered(number, roles::length(number, 3000));
        sender.post(if number % 2 == 0 { message.erased() } else { message }, SOON.into())?;
    }
    channel.close(SOON.into())?;
    peer.expect("up")?;
    ensure!(peer.hear_numbers("received")? == [COUNT], "not all were received");
    peer.expect("closed")?;
    peer.finish()
}

fn raw(stage: &Stage) -> Outcome {
    let (channel, receiver) = stage.builder()?.open()?;
    let mut raw = RawChannel::new(channel, receiver);
    loop {
        let mut bytes = match raw.receive(PATIENCE.into()) {
            Ok(window) => window.to_vec(),
            Err(ReceiveError::PeerGone(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        bytes.reverse();
        let mut window = raw.take(PATIENCE.into())?;
        let place = window.bytes_mut().map_err(|loss| Failure::new(loss.to_string()))?;
        place[..bytes.len()].copy_from_slice(&bytes);
        window.ship(bytes.len(), Erase::Keep).map_err(|loss| Failure::new(loss.to_string()))?;
    }
}

/// Windows filled in place and read in place, nothing queued.
pub(super) fn raw_windows(scene: &Scene) -> Outcome {
    let uri = scene.uri();
    let (channel, receiver) = scene.builder(&uri).windows(8 << 10, 4).open()?;
    let mut raw = RawChannel::new(channel, receiver);
    let early = raw.take(Duration::from_millis(20).into()).map(|_| ());
    ensure!(matches!(&early, Err(PostError { why: Refusal::Busy, .. })), "without a peer, take ends with {early:?}");
    let peer = scene.peer(RAW, &uri).with("window", 8 << 10).with("windows", 4).start()?;
    let size = raw.window_bytes();
    ensure!(size > 8000 && size < 8 << 10, "a window of 8 KiB takes {size} bytes");
    for round in 0..300_u64 {
        let len = [0, 1, size, roles::length(round, size as u64)][round as usize % 4];
        let bytes = payload::bytes(round, len);
        // A window that is taken and dropped is there for the next.
        drop(raw.take(SOON.into())?);
        let mut window = raw.take(SOON.into())?;
        let place = window.bytes_mut().map_err(|loss| Failure::new(loss.to_string()))?;
        ensure!(place.len() == size, "a window of {} bytes is taken", place.len());
        place[..len].copy_from_slice(&bytes);
        let erase = if round % 2 == 0 { Erase::Zero } else { Erase::Keep };
        window.ship(len, erase).map_err(|loss| Failure::new(loss.to_string()))?;
        let back = raw.receive(SOON.into())?;
        ensure!(back.len() == len, "a window of {len} bytes comes back with {}", back.len());
        ensure!(back.to_vec().iter().rev().eq(&bytes), "round {round}: other bytes come back");
        if let Some(place) = back.as_bytes() {
            ensure!(place.iter().rev().eq(&bytes), "round {round}: other bytes lie there");
        }
    }
    drop(raw);
    peer.finish()
}

/// Tasks wait for messages and for room.
pub(super) fn futures(scene: &Scene) -> Outcome {
    const COUNT: u64 = 2000;
    let uri = scene.uri();
    let (channel, mut receiver) = scene.builder(&uri).windows(4096, 4).open()?;
    let peer = scene.peer(roles::ECHO, &uri).start()?;
    let mut sender = channel.sender(QueueKind::MultiBounded { capacity: 4, full: Full::Block }, Priority::Normal);
    let poster = thread::spawn(move || {
        for number in 0..COUNT {
            block_on(sender.post_async(payload::numbered(number, 500)))??;
        }
        Outcome::Ok(sender)
    });
    for number in 0..COUNT {
        let received = block_on(receiver.receive_async())??;
        ensure!(payload::number_of(received.bytes())? == number, "another message than {number} comes back");
        if number == COUNT / 2 {
            // Nobody takes anything for a while: the poster's task waits for room.
            thread::sleep(Duration::from_millis(50));
        }
    }
    let mut sender = poster.join().expect("it does not panic")?;
    let late = block_on(async {
        sender.post_async(payload::numbered(COUNT, 0)).await?;
        Outcome::Ok(receiver.receive_async().await?)
    })??;
    ensure!(payload::number_of(late.bytes())? == COUNT, "another message comes back");
    channel.close(SOON.into())?;
    let mut after = block_on(receiver.receive_async())?;
    if matches!(&after, Err(ReceiveError::PeerGone(loss)) if loss.gone.reason == Reason::Left) {
        after = block_on(receiver.receive_async())?;
    }
    ensure!(matches!(after, Err(ReceiveError::Closed { .. })), "after close, a task gets {after:?}");
    peer.finish()
}

/// Runs a future on this thread; fails when it is not done in time.
fn block_on<F: Future>(future: F) -> Outcome<F::Output> {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let deadline = Instant::now() + SOON;
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return Ok(result);
        }
        ensure!(Instant::now() < deadline, "a task was never woken");
        thread::park_timeout(SOON);
    }
}
