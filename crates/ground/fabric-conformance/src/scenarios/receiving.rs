//! Receive queues: what they do when they are full, and several receivers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fabric::channel::{Channel, ReceiveError, Receiver};
use fabric::queue::{ReceiveFull, ReceiveKind};
use fabric::tli::Reason;

use super::expect_end;
use crate::failure::{Failure, Outcome};
use crate::payload;
use crate::roles;
use crate::scene::{SOON, Scene};

const CAPACITY: usize = 10;

fn bounded(several: bool, full: ReceiveFull) -> ReceiveKind {
    match several {
        true => ReceiveKind::MultiBounded { capacity: CAPACITY, full },
        false => ReceiveKind::MonoBounded { capacity: CAPACITY, full },
    }
}

/// Waits until the channel has decoded `count` messages.
fn await_decoded(channel: &Channel, count: u64) -> Outcome {
    let deadline = Instant::now() + SOON;
    loop {
        let decoded = channel.stats().queue_received.map_or(0, |(messages, _)| messages);
        if decoded == count {
            // The last is counted just before it is put into the queue.
            std::thread::sleep(Duration::from_millis(20));
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{decoded} of {count} messages were decoded");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn numbers_there(receiver: &mut Receiver) -> Outcome<Vec<u64>> {
    let mut numbers = Vec::new();
    loop {
        match receiver.try_receive() {
            Ok(Some(received)) => numbers.push(payload::number_of(received.bytes())?),
            Ok(None) => return Ok(numbers),
            Err(error) => return Err(error.into()),
        }
    }
}

pub(super) fn receive_queue_discards(scene: &Scene) -> Outcome {
    const COUNT: u64 = 1000;
    for several in [false, true] {
        for full in [ReceiveFull::DiscardOldest, ReceiveFull::DiscardNewest] {
            let kind = bounded(several, full);
            let uri = scene.uri();
            let (channel, mut receiver) = scene.builder(&uri).receive_queue(kind, 1 << 20).open()?;
            let mut peer = scene.peer(roles::SEND, &uri).with("count", COUNT).with("stay", 1).start()?;
            peer.expect("up")?;
            peer.expect(&format!("posted {COUNT}"))?;
            await_decoded(&channel, COUNT)?;
            let found = numbers_there(&mut receiver)?;
            let expected: Vec<u64> = match full {
                ReceiveFull::DiscardOldest => (COUNT - CAPACITY as u64..COUNT).collect(),
                _ => (0..CAPACITY as u64).collect(),
            };
            ensure!(found == expected, "{kind:?} keeps {found:?}, not {expected:?}");
            peer.say("close")?;
            expect_end(&mut receiver, &Reason::Closed)?;
            peer.finish()?;
        }
    }
    Ok(())
}

/// Nothing is discarded: the peer waits, and all arrives when there is room.
pub(super) fn receive_queue_holds_back(scene: &Scene) -> Outcome {
    const COUNT: u64 = 3000;
    let kinds = [
        (bounded(false, ReceiveFull::HoldBack), 1 << 20),
        (bounded(true, ReceiveFull::HoldBack), 1 << 20),
        (ReceiveKind::MonoUnbounded, 10_000),
        (ReceiveKind::MultiUnbounded, 10_000),
    ];
    for (kind, bytes) in kinds {
        let uri = scene.uri();
        let (channel, mut receiver) = scene.builder(&uri).receive_queue(kind, bytes).open()?;
        let casting = scene.peer(roles::SEND, &uri).with("count", COUNT).with("bytes", 2000);
        let mut peer = casting.with("window", 16 << 10).with("windows", 4).start()?;
        peer.expect("up")?;
        std::thread::sleep(Duration::from_millis(100));
        let (decoded, _) = channel.stats().queue_received.unwrap_or_default();
        ensure!((1..100).contains(&decoded), "{kind:?}: {decoded} messages were decoded though nobody takes them");
        super::expect_numbers(&mut receiver, 0, COUNT).map_err(|failure| failure.at(format_args!("{kind:?}")))?;
        peer.expect(&format!("posted {COUNT}"))?;
        expect_end(&mut receiver, &Reason::Closed)?;
        peer.finish()?;
    }
    Ok(())
}

/// That a peer is gone is told in any case, also when messages are discarded.
pub(super) fn a_full_receive_queue_still_tells_of_a_loss(scene: &Scene) -> Outcome {
    const COUNT: u64 = 100;
    for full in [ReceiveFull::DiscardNewest, ReceiveFull::DiscardOldest, ReceiveFull::HoldBack] {
        let uri = scene.uri();
        let builder = scene.builder(&uri).receive_queue(bounded(false, full), 1 << 20);
        let (_channel, mut receiver) = builder.open()?;
        let mut peer = scene.peer(roles::SEND, &uri).with("count", COUNT).start()?;
        peer.expect("up")?;
        if full != ReceiveFull::HoldBack {
            peer.expect(&format!("posted {COUNT}"))?;
        }
        std::thread::sleep(Duration::from_millis(100));
        let mut numbers = Vec::new();
        let end = loop {
            match receiver.receive(Duration::from_secs(3).into()) {
                Ok(received) => numbers.push(payload::number_of(received.bytes())?),
                Err(error) => break error,
            }
        };
        ensure!(
            matches!(&end, ReceiveError::PeerGone(loss) if loss.gone.reason == Reason::Closed),
            "{full:?}: after {numbers:?} comes {end} instead of the peer's end"
        );
        ensure!(full != ReceiveFull::HoldBack || numbers.len() as u64 == COUNT, "{full:?}: only {numbers:?} arrive");
        peer.finish()?;
    }
    Ok(())
}

/// Four threads share a receive queue: each message goes to one of them, and each of them sees the order.
pub(super) fn several_receivers(scene: &Scene) -> Outcome {
    const COUNT: u64 = 10_000;
    let uri = scene.uri();
    let (_channel, mut first) = scene.builder(&uri).receive_queue(ReceiveKind::MultiUnbounded, 1 << 20).open()?;
    let mut receivers = Vec::new();
    for _ in 0..3 {
        receivers.push(first.another().ok_or_else(|| Failure::new("a queue of many consumers has one"))?);
    }
    let peer = scene.peer(roles::SEND, &uri).with("count", COUNT).with("bytes", 100).with("stay", 1).start();
    let (mut peer, total) = (peer?, Arc::new(AtomicU64::new(0)));
    let threads: Vec<_> = receivers
        .into_iter()
        .map(|mut receiver| {
            let total = Arc::clone(&total);
            std::thread::spawn(move || share_of(&mut receiver, &total, COUNT))
        })
        .collect();
    let mut all = share_of(&mut first, &total, COUNT)?;
    for thread in threads {
        all.extend(thread.join().expect("it does not panic")?);
    }
    all.sort_unstable();
    ensure!(all.iter().copied().eq(0..COUNT), "{} messages arrive, of {COUNT}, or some twice", all.len());
    peer.say("close")?;
    expect_end(&mut first, &Reason::Closed)?;
    peer.finish()
}

/// What one of several receivers gets until all together have `count`.
fn share_of(receiver: &mut Receiver, total: &AtomicU64, count: u64) -> Outcome<Vec<u64>> {
    let deadline = Instant::now() + SOON;
    let mut numbers = Vec::new();
    while total.load(Ordering::Relaxed) < count && Instant::now() < deadline {
        match receiver.receive(Duration::from_millis(50).into()) {
            Ok(received) => {
                numbers.push(payload::number_of(received.bytes())?);
                total.fetch_add(1, Ordering::Relaxed);
            }
            Err(ReceiveError::TimedOut { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(numbers.is_sorted(), "one of several receivers sees another order");
    Ok(numbers)
}
