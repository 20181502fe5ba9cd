//! Seven priorities: critical always first, five by weight, idle last.
//!
//! What waits is queued before the peer is there, so that the order in which it goes is the scheduler's alone.

use std::time::Duration;

use fabric::queue::{PRIORITIES, Priority, QueueKind, Weights};

use crate::failure::Outcome;
use crate::payload::{self, Random};
use crate::peer::Peer;
use crate::roles;
use crate::scene::{SOON, Scene};

/// What was received: queue and number, in order.
fn collected(peer: &mut Peer, count: u64) -> Outcome<Vec<(u64, u64)>> {
    (0..count).map(|_| peer.hear_numbers("got").map(|got| (got[0] >> 32, got[0] & 0xffff_ffff))).collect()
}

pub(super) fn critical_first(scene: &Scene) -> Outcome {
    const BULK: u64 = 2000;
    const CRITICAL: u64 = 20;
    let uri = scene.uri();
    let (channel, _receiver) = scene.builder(&uri).open()?;
    let mut bulk = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    let mut critical = channel.sender(QueueKind::MonoUnbounded, Priority::Critical);
    for number in 0..BULK {
        bulk.post(payload::numbered(number, 1000), SOON.into())?;
    }
    for number in 0..CRITICAL {
        critical.post(payload::numbered(1 << 32 | number, 100), SOON.into())?;
    }
    // Queued before the peer is there: they pass all that waits.
    let mut peer = scene.peer(roles::COLLECT, &uri).start()?;
    peer.expect("up")?;
    let got = collected(&mut peer, BULK + CRITICAL)?;
    let last = got.iter().rposition(|(queue, _)| *queue == 1).unwrap_or(0);
    ensure!(last < 100, "the last of {CRITICAL} critical messages comes after {last} others");
    // And while there is a peer, that is slow: past what lies in windows already.
    channel.close(SOON.into())?;
    peer.expect("closed")?;
    peer.finish()?;
    critical_passes_windows(scene)
}

/// Bulk messages fill all windows of a peer that does not read; a critical one passes them.
fn critical_passes_windows(scene: &Scene) -> Outcome {
    const BULK: u64 = 2000;
    let uri = scene.uri();
    let (channel, _receiver) = scene.builder(&uri).windows(16 << 10, 32).open()?;
    let mut peer = scene.peer(roles::COLLECT, &uri).with("go", 1).start()?;
    peer.expect("up")?;
    let mut bulk = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    let mut critical = channel.sender(QueueKind::MonoUnbounded, Priority::Critical);
    for number in 0..BULK {
        bulk.post(payload::numbered(number, 1000), SOON.into())?;
    }
    std::thread::sleep(Duration::from_millis(50));
    critical.post(payload::numbered(1 << 32, 100), SOON.into())?;
    std::thread::sleep(Duration::from_millis(50));
    peer.say("go")?;
    let got = collected(&mut peer, BULK + 1)?;
    let place = got.iter().position(|(queue, _)| *queue == 1).unwrap_or(usize::MAX);
    scene.note(format_args!("a critical message passes all but {place} of {BULK} that were posted before"));
    // A network carries one stream of bytes: what is in it comes first, and that is at most what lay in windows.
    let bound = if scene.scheme().capabilities()?.shares_memory { 64 } else { 520 };
    ensure!(place <= bound, "a critical message comes after {place} others, of which about 500 lay in windows");
    let bulk_in_order = got.iter().filter(|(queue, _)| *queue == 0).map(|(_, number)| *number).eq(0..BULK);
    ensure!(bulk_in_order, "the others are out of order");
    channel.close(SOON.into())?;
    peer.expect("closed")?;
    peer.finish()
}

pub(super) fn weights_share(scene: &Scene) -> Outcome {
    for weights in [[16, 8, 4, 2, 1], [5, 4, 3, 2, 1]] {
        share_by(scene, weights).map_err(|failure| failure.at(format_args!("weights {weights:?}")))?;
    }
    Ok(())
}

fn share_by(scene: &Scene, weights: [u32; 5]) -> Outcome {
    const EACH: u64 = 2000;
    let uri = scene.uri();
    let (channel, _receiver) = scene.builder(&uri).weights(Weights::new(weights)?).open()?;
    let mut senders: Vec<_> =
        PRIORITIES[1..6].iter().map(|priority| channel.sender(QueueKind::MonoUnbounded, *priority)).collect();
    for number in 0..EACH {
        for (queue, sender) in senders.iter_mut().enumerate() {
            sender.post(payload::numbered((queue as u64) << 32 | number, 1000), SOON.into())?;
        }
    }
    let mut peer = scene.peer(roles::COLLECT, &uri).start()?;
    peer.expect("up")?;
    let got = collected(&mut peer, EACH * 5)?;
    channel.close(SOON.into())?;
    peer.finish()?;
    // As long as none is empty.
    let mut counts = [0_u64; 5];
    for (queue, number) in got {
        ensure!(
            number == counts[queue as usize],
            "of queue {queue}, {number} comes where {} is next",
            counts[queue as usize]
        );
        counts[queue as usize] += 1;
        if counts[queue as usize] == EACH {
            break;
        }
    }
    let unit = counts[0] as f64 / f64::from(weights[0]);
    for (count, weight) in counts.iter().zip(weights) {
        let share = *count as f64 / (unit * f64::from(weight));
        ensure!((0.85..1.15).contains(&share), "messages by priority are {counts:?}");
    }
    scene.note(format_args!("weights {weights:?} give {counts:?}"));
    Ok(())
}

pub(super) fn idle_last(scene: &Scene) -> Outcome {
    const EACH: u64 = 300;
    let uri = scene.uri();
    let (channel, _receiver) = scene.builder(&uri).open()?;
    // The lowest of the five is still before idle.
    let order = [Priority::Lowest, Priority::Idle, Priority::Highest];
    for (queue, priority) in order.into_iter().enumerate() {
        let mut sender = channel.sender(QueueKind::MonoUnbounded, priority);
        for number in 0..EACH {
            sender.post(payload::numbered((queue as u64) << 32 | number, 500), SOON.into())?;
        }
    }
    let mut peer = scene.peer(roles::COLLECT, &uri).start()?;
    peer.expect("up")?;
    let got = collected(&mut peer, EACH * 3)?;
    let first = got.iter().position(|(queue, _)| *queue == 1).unwrap_or(0);
    ensure!(first as u64 == EACH * 2, "an idle message comes after {first} of {} others", EACH * 2);
    channel.close(SOON.into())?;
    peer.finish()
}

/// Two queues of each priority, filled at random: each keeps its order, and nothing is lost.
pub(super) fn each_queue_keeps_its_order(scene: &Scene) -> Outcome {
    const MESSAGES: u64 = 6000;
    let uri = scene.uri();
    let (channel, _receiver) = scene.builder(&uri).open()?;
    let mut peer = scene.peer(roles::COLLECT, &uri).start()?;
    let mut senders: Vec<_> = PRIORITIES
        .iter()
        .chain(&PRIORITIES)
        .map(|priority| channel.sender(QueueKind::MonoUnbounded, *priority))
        .collect();
    let mut posted = vec![0_u64; senders.len()];
    let mut random = Random::new(scene.seed());
    for _ in 0..MESSAGES {
        let queue = random.below(senders.len() as u64) as usize;
        let message = payload::numbered((queue as u64) << 32 | posted[queue], random.below(700) as usize);
        senders[queue].post(message, SOON.into())?;
        posted[queue] += 1;
    }
    channel.close(SOON.into())?;
    peer.expect("up")?;
    let mut next = vec![0_u64; senders.len()];
    for (queue, number) in collected(&mut peer, MESSAGES)? {
        let expected = &mut next[queue as usize];
        ensure!(number == *expected, "of queue {queue}, {number} comes where {expected} is next");
        *expected += 1;
    }
    peer.expect("closed")?;
    peer.finish()
}
