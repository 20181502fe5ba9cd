//! How channels end: by closing with linger, by dropping, with a peer that does not come back.

use std::time::Duration;

use fabric::channel::{Deadline, ReceiveError, Reconnect, Refusal, State};
use fabric::queue::{Priority, QueueKind, ReceiveFull, ReceiveKind};
use fabric::tli::Reason;

use super::{expect_closed_here, expect_end, expect_numbers, next_number};
use crate::failure::Outcome;
use crate::payload;
use crate::roles::{self, await_state};
use crate::scene::{SOON, Scene};

/// All that was taken is read; nothing is taken or received after.
pub(super) fn close_lingers(scene: &Scene) -> Outcome {
    const COUNT: u64 = 3000;
    let uri = scene.uri();
    let (channel, mut receiver) = scene.builder(&uri).windows(16 << 10, 4).open()?;
    let mut peer = scene.peer(roles::RECEIVE, &uri).with("pace", 20).start()?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    for number in 0..COUNT {
        sender.post(payload::numbered(number, 500), SOON.into())?;
    }
    channel.close(SOON.into())?;
    let refused = sender.post(payload::numbered(COUNT, 0), Deadline::Now);
    ensure!(matches!(&refused, Err(error) if error.why == Refusal::Closed), "post after close ends with {refused:?}");
    expect_closed_here(&mut receiver)?;
    ensure!(channel.state() == State::Closed, "after close it is {:?}", channel.state());
    peer.expect("up")?;
    ensure!(peer.hear_numbers("received")? == [COUNT], "not all {COUNT} were received");
    peer.expect("closed")?;
    // A second close has nothing to do.
    channel.close(SOON.into())?;
    peer.finish()?;
    drop((channel, receiver, sender));
    scene.check_folder()
}

/// Without a close, nothing is waited for; the peer sees the end, after some of what was posted.
pub(super) fn dropping_ends(scene: &Scene) -> Outcome {
    let uri = scene.uri();
    let (channel, receiver) = scene.builder(&uri).open()?;
    let mut peer = scene.peer(roles::RECEIVE, &uri).start()?;
    peer.expect("up")?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    for number in 0..1000 {
        sender.post(payload::numbered(number, 100), SOON.into())?;
    }
    drop((channel, receiver));
    // The sender is a handle, too.
    sender.post(payload::numbered(1000, 100), SOON.into())?;
    drop(sender);
    let received = peer.hear_numbers("received")?[0];
    ensure!(received <= 1001, "{received} messages were received");
    peer.expect("closed")?;
    peer.finish()?;
    scene.check_folder()
}

/// With [`Reconnect::Never`], the first peer is the last: all that it sent arrives, then its end, then the channel's.
pub(super) fn no_reconnection(scene: &Scene) -> Outcome {
    const COUNT: u64 = 500;
    let small = ReceiveKind::MonoBounded { capacity: 5, full: ReceiveFull::HoldBack };
    for kind in [None, Some(small), Some(ReceiveKind::MultiUnbounded)] {
        let uri = scene.uri();
        let builder = scene.builder(&uri).reconnect(Reconnect::Never);
        let builder = match kind {
            Some(kind) => builder.receive_queue(kind, 1 << 20),
            None => builder,
        };
        let (channel, mut receiver) = builder.open()?;
        let peer = scene.peer(roles::SEND, &uri).with("count", COUNT).start()?;
        expect_numbers(&mut receiver, 0, COUNT).map_err(|failure| failure.at(format_args!("{kind:?}")))?;
        expect_end(&mut receiver, &Reason::Closed)?;
        peer.finish()?;
        let end = receiver.receive(SOON.into());
        ensure!(
            matches!(end, Err(ReceiveError::Closed { .. })),
            "{kind:?}: after the only peer, receive ends with {end:?}"
        );
        let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
        let refused = sender.post(payload::numbered(0, 0), SOON.into());
        ensure!(
            matches!(&refused, Err(error) if matches!(error.why, Refusal::PeerGone(_))),
            "{kind:?}: after the only peer, post ends with {refused:?}"
        );
    }
    Ok(())
}

/// Looking, up, lost, up again, closed.
pub(super) fn states_are_told(scene: &Scene) -> Outcome {
    let uri = scene.uri();
    let (channel, mut receiver) = scene.builder(&uri).open()?;
    ensure!(channel.state() == State::Looking, "without a peer it is {:?}", channel.state());
    for round in 0..2 {
        let mut peer = scene.peer(roles::SEND, &uri).with("count", 1).with("stay", 1).start()?;
        peer.expect("up")?;
        await_state(&channel, "a peer", |state| matches!(state, State::Up { peers } if peers.len() == 1))?;
        if let (State::Up { peers }, "ipc") = (channel.state(), scene.scheme().name()) {
            ensure!(peers[0].pid == peer.pid(), "the peer is {:?}, process {:?}", peers[0], peer.pid());
        }
        ensure!(next_number(&mut receiver)? == 0, "the first message is another");
        peer.expect_while_idle("posted 1", &mut receiver)?;
        peer.say("close")?;
        let loss = expect_end(&mut receiver, &Reason::Closed)?;
        ensure!(loss.channel == channel.name(), "the loss is of channel {}", loss.channel);
        await_state(&channel, "the loss", |state| matches!(state, State::Lost(_)))?;
        ensure!(channel.stats().links_lost == round + 1, "{} links are counted as lost", channel.stats().links_lost);
        peer.finish()?;
    }
    channel.close(Duration::from_secs(1).into())?;
    ensure!(channel.state() == State::Closed, "after close it is {:?}", channel.state());
    Ok(())
}
