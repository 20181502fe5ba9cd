//! Input queues: their bounds, what they do when they are full, and replacement by tag.

use std::time::{Duration, Instant};

use fabric::channel::{Channel, Deadline, Progress, Refusal, Sender};
use fabric::queue::{Full, Priority, QueueKind};

use crate::failure::{Failure, Outcome};
use crate::payload;
use crate::roles;
use crate::scene::{SOON, Scene};

/// A channel without a service thread, so that queues keep what is put into them until somebody drives it; a message that no peer takes stands in front
/// of all others.
fn plugged(scene: &Scene, uri: &str) -> Outcome<(Channel, fabric::channel::Receiver)> {
    let (channel, receiver) = scene.builder(uri).progress(Progress::Caller).open()?;
    let mut plug = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    plug.post(payload::numbered(0xffff << 32, 0), Deadline::Now)?;
    channel.progress();
    Ok((channel, receiver))
}

/// What arrives of each queue when the peer comes.
fn arrivals(scene: &Scene, uri: &str, channel: &Channel, queues: usize) -> Outcome<Vec<Vec<u64>>> {
    let mut peer = scene.peer(roles::COLLECT, uri).start()?;
    channel.close(SOON.into())?;
    peer.expect("up")?;
    let mut arrived = vec![Vec::new(); queues];
    loop {
        let line = peer.hear()?;
        if line == "closed" {
            break;
        }
        let number = line.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
        let number = number.ok_or_else(|| Failure::new(format!("the peer says {line:?}")))?;
        if number >> 32 < queues as u64 {
            arrived[(number >> 32) as usize].push(number & 0xffff_ffff);
        }
    }
    peer.finish()?;
    Ok(arrived)
}

/// Posts `0..count` and says which were refused as busy.
fn post_all(sender: &mut Sender, queue: usize, count: u64, deadline: Duration) -> Outcome<Vec<u64>> {
    let mut refused = Vec::new();
    for number in 0..count {
        match sender.post(payload::numbered((queue as u64) << 32 | number, 0), deadline.into()) {
            Ok(()) => {}
            Err(error) if error.why == Refusal::Busy => refused.push(number),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(refused)
}

pub(super) fn input_queue_bounds(scene: &Scene) -> Outcome {
    const WAIT: Duration = Duration::from_millis(30);
    let uri = scene.uri();
    let (channel, _receiver) = plugged(scene, &uri)?;
    let bounded = |full| QueueKind::MultiBounded { capacity: 4, full };
    // Kind, which of ten are refused, which arrive, how many the queue says that it discarded.
    let cases: [(QueueKind, Vec<u64>, Vec<u64>, u64); 6] = [
        (QueueKind::MonoUnbounded, vec![], (0..10).collect(), 0),
        (QueueKind::MultiUnbounded, vec![], (0..10).collect(), 0),
        (bounded(Full::Refuse), (4..10).collect(), (0..4).collect(), 0),
        (bounded(Full::Block), (4..10).collect(), (0..4).collect(), 0),
        (bounded(Full::DiscardOldest), vec![], (6..10).collect(), 6),
        (bounded(Full::DiscardNewest), vec![], (0..4).collect(), 6),
    ];
    let mut senders = Vec::new();
    for (queue, (kind, refused, _, discarded)) in cases.iter().enumerate() {
        let mut sender = channel.sender(*kind, Priority::Normal);
        let before = Instant::now();
        let found = post_all(&mut sender, queue, 10, WAIT)?;
        let waited = before.elapsed();
        ensure!(found == *refused, "{kind:?} refuses {found:?} of ten, not {refused:?}");
        let waits = *kind == bounded(Full::Block);
        ensure!(waits == (waited >= WAIT * 6), "{kind:?} takes {waited:?} for ten messages");
        ensure!(sender.stats().discarded == *discarded, "{kind:?} counts {:?}", sender.stats());
        senders.push(sender);
    }
    // The unbounded kinds are bounded by bytes.
    let budget = channel.sender_with(QueueKind::MonoUnbounded, Priority::Normal, 100_000);
    let taken = fill_with_bytes(budget, cases.len())?;
    ensure!((80..=110).contains(&taken), "a queue of 100,000 bytes takes {taken} messages of 1,000 bytes");
    let arrived = arrivals(scene, &uri, &channel, cases.len() + 1)?;
    for ((kind, _, expected, _), found) in cases.iter().zip(&arrived) {
        ensure!(found == expected, "of {kind:?} arrive {found:?}, not {expected:?}");
    }
    ensure!(
        arrived[cases.len()].iter().copied().eq(0..taken),
        "of the queue of bytes arrive {:?}",
        arrived[cases.len()]
    );
    Ok(())
}

fn fill_with_bytes(mut sender: Sender, queue: usize) -> Outcome<u64> {
    for number in 0..1000 {
        match sender.post(payload::numbered((queue as u64) << 32 | number, 992), Deadline::Now) {
            Ok(()) => {}
            Err(error) if error.why == Refusal::Busy => return Ok(number),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(1000)
}

/// Kind, tags of the messages that are posted, which of them are refused, which arrive.
type Tagged = (QueueKind, &'static [u64], &'static [u64], &'static [u64]);

pub(super) fn tagged_messages_replace(scene: &Scene) -> Outcome {
    let uri = scene.uri();
    let (channel, _receiver) = plugged(scene, &uri)?;
    let bounded = |full| QueueKind::MultiBoundedTagged { capacity: 2, full };
    let cases: [Tagged; 5] = [
        // Each replaces the one of its tag, in that one's place.
        (QueueKind::MultiUnboundedTagged, &[7, 8, 9, 8, 7, 8], &[], &[4, 5, 2]),
        (bounded(Full::DiscardOldest), &[1, 2, 3, 2], &[], &[3, 2]),
        (bounded(Full::DiscardNewest), &[1, 2, 3, 1], &[], &[3, 1]),
        (bounded(Full::Refuse), &[1, 2, 3, 2], &[2], &[0, 3]),
        (bounded(Full::Block), &[1, 2, 3, 1], &[2], &[3, 1]),
    ];
    let mut senders = Vec::new();
    for (queue, (kind, tags, refused, _)) in cases.iter().enumerate() {
        let mut sender = channel.sender(*kind, Priority::Normal);
        let mut found = Vec::new();
        for (number, tag) in (0..).zip(*tags) {
            let message = payload::numbered((queue as u64) << 32 | number, 0);
            match sender.post_tagged(message, *tag, Duration::from_millis(30).into()) {
                Ok(()) => {}
                Err(error) if error.why == Refusal::Busy => found.push(number),
                Err(error) => return Err(error.into()),
            }
        }
        ensure!(found == *refused, "{kind:?} refuses {found:?}, not {refused:?}");
        senders.push(sender);
    }
    let arrived = arrivals(scene, &uri, &channel, cases.len())?;
    for ((kind, _, _, expected), found) in cases.iter().zip(&arrived) {
        ensure!(found == expected, "of {kind:?} arrive {found:?}, not {expected:?}");
    }
    Ok(())
}
