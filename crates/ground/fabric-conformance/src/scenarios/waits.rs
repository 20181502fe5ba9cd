//! Everything that waits ends at its deadline: not before, and not long after.

use std::time::{Duration, Instant};

use fabric::channel::{Deadline, FlushError, ReceiveError, Refusal};
use fabric::queue::{Full, Priority, QueueKind, ReceiveKind};

use super::expect_numbers;
use crate::failure::{Failure, Outcome};
use crate::payload;
use crate::roles;
use crate::scene::{SOON, Scene};

const WAIT: Duration = Duration::from_millis(80);
/// How late a busy machine may be.
const LATE: Duration = Duration::from_millis(900);

/// Runs `waits`, which must take as long as its deadline.
fn timed<R>(what: &str, wait: Duration, waits: impl FnOnce(Deadline) -> R) -> Outcome<R> {
    let before = Instant::now();
    let result = waits(if wait.is_zero() { Deadline::Now } else { wait.into() });
    let took = before.elapsed();
    ensure!(took >= wait && took <= wait + LATE, "{what} takes {took:?} where the deadline is {wait:?}");
    Ok(result)
}

pub(super) fn receiving_times_out(scene: &Scene) -> Outcome {
    for kind in [None, Some(ReceiveKind::MultiUnbounded)] {
        let uri = scene.uri();
        let builder = scene.builder(&uri);
        let builder = match kind {
            Some(kind) => builder.receive_queue(kind, 1 << 20),
            None => builder,
        };
        let (_channel, mut receiver) = builder.open()?;
        let mut peer = None;
        for there in [false, true] {
            if there {
                let mut started =
                    scene.peer(roles::SEND, &uri).with("count", 3).with("go", 1).with("stay", 1).start()?;
                started.expect("up")?;
                peer = Some(started);
            }
            for wait in [Duration::ZERO, WAIT] {
                let end = timed("receive", wait, |deadline| receiver.receive(deadline))?;
                ensure!(matches!(end, Err(ReceiveError::TimedOut { .. })), "receive ends with {end:?}");
            }
            let lent = timed("receive_with", WAIT, |deadline| receiver.receive_with(deadline, |_| ()))?;
            ensure!(matches!(lent, Err(ReceiveError::TimedOut { .. })), "receive_with ends with {lent:?}");
        }
        let mut peer = peer.ok_or_else(|| Failure::new("it was started"))?;
        peer.say("go")?;
        expect_numbers(&mut receiver, 0, 3)?;
        peer.expect_while_idle("posted 3", &mut receiver)?;
        peer.say("close")?;
        peer.finish()?;
    }
    Ok(())
}

/// Who has read everything need not come back for its peer to know.
pub(super) fn reading_is_known_at_once(scene: &Scene) -> Outcome {
    for count in [1, 3, 300] {
        let uri = scene.uri();
        let (_channel, mut receiver) = scene.builder(&uri).open()?;
        let mut peer = scene.peer(roles::SEND, &uri).with("count", count).with("stay", 1).start()?;
        expect_numbers(&mut receiver, 0, count)?;
        peer.expect("up")?;
        peer.expect(&format!("posted {count}"))?;
        peer.say("close")?;
        peer.finish()?;
    }
    Ok(())
}

pub(super) fn posting_times_out(scene: &Scene) -> Outcome {
    const BYTES: usize = 3000;
    let uri = scene.uri();
    let (channel, _receiver) = scene.builder(&uri).windows(4096, 4).open()?;
    let mut peer = scene.peer(roles::RECEIVE, &uri).with("go", 1).start()?;
    peer.expect("up")?;
    let mut sender = channel.sender(QueueKind::MultiBounded { capacity: 2, full: Full::Block }, Priority::Normal);
    let mut posted = 0;
    // The peer does not read: sooner or later all windows and the queue are full.
    let error = loop {
        ensure!(posted < 100, "{posted} messages are taken though the peer reads none");
        match sender.post(payload::numbered(posted, BYTES), WAIT.into()) {
            Ok(()) => posted += 1,
            Err(error) => break error,
        }
    };
    ensure!(error.why == Refusal::Busy, "a full queue refuses with {:?}", error.why);
    for wait in [Duration::ZERO, WAIT] {
        let end = timed("post", wait, |deadline| sender.post(payload::numbered(posted, BYTES), deadline))?;
        let Err(error) = end else { return Err(Failure::new("a full queue takes one more")) };
        ensure!(error.why == Refusal::Busy, "a full queue refuses with {:?}", error.why);
        ensure!(error.message.payload_bytes() == BYTES + 8, "another message comes back");
    }
    peer.say("go")?;
    sender.post(*error.message, SOON.into())?;
    channel.close(SOON.into())?;
    ensure!(peer.hear_numbers("received")? == [posted + 1], "not all {} were received", posted + 1);
    peer.expect("closed")?;
    peer.finish()
}

pub(super) fn flushing_times_out(scene: &Scene) -> Outcome {
    const COUNT: u64 = 200;
    let uri = scene.uri();
    let (channel, _receiver) = scene.builder(&uri).windows(4096, 4).open()?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    let mut post = |numbers: std::ops::Range<u64>| -> Outcome {
        for number in numbers {
            sender.post(payload::numbered(number, 1000), SOON.into())?;
        }
        Ok(())
    };
    post(0..COUNT)?;
    let end = timed("flush without a peer", WAIT, |deadline| channel.flush(deadline))?;
    ensure!(
        matches!(end, Err(FlushError::TimedOut { queued, .. }) if queued as u64 == COUNT),
        "flush without a peer ends with {end:?}"
    );
    let mut peer = scene.peer(roles::RECEIVE, &uri).with("go", 1).start()?;
    peer.expect("up")?;
    let end = timed("flush to one that does not read", WAIT, |deadline| channel.flush(deadline))?;
    ensure!(
        matches!(end, Err(FlushError::TimedOut { queued, unread, .. }) if queued > 0 && unread > 0 && queued as u64 + unread == COUNT),
        "flush to one that does not read ends with {end:?}"
    );
    peer.say("go")?;
    channel.flush(SOON.into())?;
    let stats = channel.stats();
    ensure!(stats.queued_messages == 0, "after a flush, {} messages are queued", stats.queued_messages);
    post(COUNT..COUNT + 5)?;
    channel.close(SOON.into())?;
    ensure!(peer.hear_numbers("received")? == [COUNT + 5], "not all were received");
    peer.expect("closed")?;
    peer.finish()
}

pub(super) fn closing_times_out(scene: &Scene) -> Outcome {
    let uri = scene.uri();
    let (channel, mut receiver) = scene.builder(&uri).windows(4096, 4).open()?;
    let mut peer = scene.peer(roles::RECEIVE, &uri).with("go", 1).start()?;
    peer.expect("up")?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    for number in 0..200 {
        sender.post(payload::numbered(number, 1000), SOON.into())?;
    }
    let end = timed("close", WAIT, |linger| channel.close(linger))?;
    ensure!(matches!(end, Err(FlushError::TimedOut { .. })), "close ends with {end:?}");
    // It is closed all the same.
    let refused = timed("post", Duration::ZERO, |deadline| sender.post(payload::numbered(0, 0), deadline))?;
    ensure!(matches!(&refused, Err(error) if error.why == Refusal::Closed), "post after close ends with {refused:?}");
    timed("receive", Duration::ZERO, |_| super::expect_closed_here(&mut receiver))??;
    peer.say("go")?;
    let received = peer.hear_numbers("received")?;
    ensure!(received.iter().all(|count| *count < 200), "all were received that could not be sent");
    peer.expect("closed")?;
    peer.finish()
}
