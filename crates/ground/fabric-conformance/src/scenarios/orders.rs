//! Everything arrives, whole, once, in the order in which it was posted.

use fabric::queue::{Priority, QueueKind};
use fabric::tli::{Reason, Trust};

use super::{expect_end, expect_numbers, next_number};
use crate::failure::Outcome;
use crate::payload;
use crate::roles;
use crate::scene::{SOON, Scene};

pub(super) fn order(scene: &Scene) -> Outcome {
    order_with(scene, Trust::Hostile)
}

/// Both sides read messages where they lie.
pub(super) fn order_trusted(scene: &Scene) -> Outcome {
    order_with(scene, Trust::Same)
}

fn order_with(scene: &Scene, trust: Trust) -> Outcome {
    const COUNT: u64 = 20_000;
    let uri = scene.uri();
    let (_channel, mut receiver) = scene.builder(&uri).trust(trust).open()?;
    let named = if trust == Trust::Same { "same" } else { "hostile" };
    let peer = scene.peer(roles::SEND, &uri).with("count", COUNT).with("trust", named).start()?;
    expect_numbers(&mut receiver, 0, COUNT)?;
    let loss = expect_end(&mut receiver, &Reason::Closed)?;
    ensure!(loss.in_doubt == 0, "{} messages in doubt where none was sent", loss.in_doubt);
    peer.finish()
}

/// One message to and fro, then many at once in both directions.
pub(super) fn both_ways(scene: &Scene) -> Outcome {
    const ONE_BY_ONE: u64 = 500;
    const AT_ONCE: u64 = 20_000;
    let uri = scene.uri();
    let (channel, mut receiver) = scene.builder(&uri).open()?;
    let peer = scene.peer(roles::ECHO, &uri).start()?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    for number in 0..ONE_BY_ONE {
        sender.post(payload::numbered(number, roles::length(number, 2000)), SOON.into())?;
        let back = next_number(&mut receiver)?;
        ensure!(back == number, "{back} comes back for {number}");
    }
    let poster = std::thread::spawn(move || {
        for number in 0..AT_ONCE {
            sender.post(payload::numbered(number, roles::length(number, 400)), SOON.into())?;
        }
        Outcome::Ok(())
    });
    expect_numbers(&mut receiver, 0, AT_ONCE)?;
    poster.join().expect("it does not panic")?;
    channel.close(SOON.into())?;
    peer.finish()
}

/// Several threads post into one queue: each one's messages keep their order, and none is lost.
pub(super) fn several_senders(scene: &Scene) -> Outcome {
    const SENDERS: u64 = 4;
    const EACH: u64 = 3000;
    let uri = scene.uri();
    let (channel, _receiver) = scene.builder(&uri).open()?;
    let mut peer = scene.peer(roles::COLLECT, &uri).start()?;
    let first = channel.sender(QueueKind::MultiUnbounded, Priority::Normal);
    let mut threads = Vec::new();
    for thread in 0..SENDERS {
        let mut sender = first.another().ok_or_else(|| crate::Failure::new("a queue of many producers has one"))?;
        threads.push(std::thread::spawn(move || {
            for number in 0..EACH {
                sender.post(payload::numbered(thread << 32 | number, 50), SOON.into())?;
            }
            Outcome::Ok(())
        }));
    }
    for thread in threads {
        thread.join().expect("it does not panic")?;
    }
    channel.close(SOON.into())?;
    peer.expect("up")?;
    let mut next = [0; SENDERS as usize];
    for _ in 0..SENDERS * EACH {
        let got = peer.hear_numbers("got")?[0];
        let (thread, number) = ((got >> 32) as usize, got & 0xffff_ffff);
        ensure!(number == next[thread], "of sender {thread}, {number} comes where {} is next", next[thread]);
        next[thread] += 1;
    }
    peer.expect("closed")?;
    peer.finish()
}

/// The receiver is slow: the sender is held back, memory stays bounded, nothing is lost.
pub(super) fn slow_receiver(scene: &Scene) -> Outcome {
    const COUNT: u64 = 1500;
    const BYTES: usize = 8000;
    const CAPACITY: usize = 10;
    const WINDOWS: usize = 4;
    let uri = scene.uri();
    let (channel, _receiver) = scene.builder(&uri).windows(16 << 10, WINDOWS).open()?;
    let mut peer = scene.peer(roles::RECEIVE, &uri).with("pace", 50).with("go", 1).start()?;
    peer.expect("up")?;
    let kind = QueueKind::MultiBounded { capacity: CAPACITY, full: fabric::queue::Full::Block };
    let mut sender = channel.sender(kind, Priority::Normal);
    let mut told = false;
    for number in 0..COUNT {
        let message = payload::numbered(number, BYTES);
        if let Err(error) =
            sender.post(message, std::time::Duration::from_millis(if told { 30_000 } else { 300 }).into())
        {
            ensure!(!told, "message {number}: {error}");
            // Two messages a window; what lies in the peer's windows, the queue and the hand is all.
            let bound = WINDOWS * 2 + CAPACITY + 2;
            ensure!(
                number as usize <= bound,
                "{number} messages are on their way to one that does not read; {bound} are room"
            );
            let stats = channel.stats();
            ensure!(
                stats.queued_messages <= CAPACITY + 1,
                "{} messages wait in a queue for {CAPACITY}",
                stats.queued_messages
            );
            told = true;
            peer.say("go")?;
            sender.post(*error.message, SOON.into())?;
        }
    }
    ensure!(told, "{COUNT} messages were taken though the peer read none");
    channel.close(SOON.into())?;
    ensure!(peer.hear_numbers("received")? == [COUNT], "not all were received");
    peer.expect("closed")?;
    peer.finish()
}
