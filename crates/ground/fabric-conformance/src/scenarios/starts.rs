//! Peers start in any order, and come back.

use std::time::Duration;

use fabric::channel::{Channel, State};
use fabric::queue::{Priority, QueueKind};
use fabric::tli::Reason;

use super::{expect_end, expect_numbers};
use crate::failure::Outcome;
use crate::payload;
use crate::roles::{self, await_state};
use crate::scene::{SOON, Scene};

/// Who listens may start first or last, and who posts need not wait for anybody.
pub(super) fn start_in_either_order(scene: &Scene) -> Outcome {
    const COUNT: u64 = 50;
    for delay in [0, 30, 250] {
        for (scene_listens, scene_first) in [(true, true), (true, false), (false, true), (false, false)] {
            let uri = scene.uri();
            let open = || {
                let builder = Channel::builder();
                if scene_listens { builder.listen(&uri).open() } else { builder.connect(&uri).open() }
            };
            let start = || {
                let side = if scene_listens { "connect" } else { "listen" };
                scene.peer(roles::SEND, &uri).with("count", COUNT).with("side", side).start()
            };
            let wait = || std::thread::sleep(Duration::from_millis(delay));
            let ((_channel, mut receiver), peer) = if scene_first {
                let opened = open()?;
                wait();
                (opened, start()?)
            } else {
                let peer = start()?;
                wait();
                (open()?, peer)
            };
            expect_numbers(&mut receiver, 0, COUNT).map_err(|failure| {
                failure.at(format_args!("listens {scene_listens}, first {scene_first}, {delay} ms"))
            })?;
            expect_end(&mut receiver, &Reason::Closed)?;
            peer.finish()?;
        }
    }
    Ok(())
}

/// A receiver comes and goes: what was posted while nobody was there arrives at the next.
pub(super) fn restarted_receiver(scene: &Scene) -> Outcome {
    const BATCH: u64 = 200;
    let uri = scene.uri();
    let (channel, mut receiver) = scene.builder(&uri).open()?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    let mut next = 0;
    for round in 0..u64::from(scene.rounds(6)) {
        for number in next..next + BATCH {
            sender.post(payload::numbered(number, 200), SOON.into())?;
        }
        let side = scene.peer(roles::RECEIVE, &uri).with("first", next).with("count", BATCH * 2);
        let mut peer = side.start()?;
        peer.expect("up")?;
        next += BATCH;
        for number in next..next + BATCH {
            sender.post(payload::numbered(number, 200), SOON.into())?;
        }
        next += BATCH;
        ensure!(peer.hear_numbers("received")? == [BATCH * 2], "round {round}: not all were received");
        peer.expect("enough")?;
        let loss = expect_end(&mut receiver, &Reason::Closed)?;
        ensure!(loss.in_doubt == 0, "round {round}: {} messages in doubt though all were read", loss.in_doubt);
        await_state(&channel, "the loss", |state| matches!(state, State::Lost(_)))?;
        peer.finish()?;
    }
    Ok(())
}

/// A sender comes and goes: all of each arrives, and between two the end is told.
pub(super) fn restarted_sender(scene: &Scene) -> Outcome {
    const BATCH: u64 = 300;
    let uri = scene.uri();
    let (_channel, mut receiver) = scene.builder(&uri).open()?;
    for round in 0..u64::from(scene.rounds(6)) {
        let peer = scene.peer(roles::SEND, &uri).with("first", round * BATCH).with("count", BATCH).start()?;
        expect_numbers(&mut receiver, round * BATCH, (round + 1) * BATCH)?;
        expect_end(&mut receiver, &Reason::Closed)?;
        peer.finish()?;
    }
    Ok(())
}
