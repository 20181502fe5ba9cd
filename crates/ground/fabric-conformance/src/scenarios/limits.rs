//! Messages of every shape arrive whole; those over the limit are refused, and the limit is named.

use fabric::Message;
use fabric::channel::{Refusal, Sender};
use fabric::queue::{Priority, QueueKind};
use fabric::tli::Reason;

use super::expect_end;
use crate::failure::{Failure, Outcome};
use crate::payload::Shape;
use crate::roles;
use crate::scene::{SOON, Scene};
use crate::stage::{PATIENCE, Role, Stage};

pub(super) const ROLES: &[Role] = &[SHAPES];

/// Posts `count=` messages of random shapes.
const SHAPES: Role = Role { name: "shapes", run: shapes };

const WINDOW: usize = 64 << 10;

fn shapes(stage: &Stage) -> Outcome {
    let (channel, _receiver) = stage.builder()?.open()?;
    let (seed, count) = (stage.argument("seed")?, stage.argument("count")?);
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    stage.say(format_args!("limit {}", sender.message_bytes_max()));
    for number in 0..count {
        let message = Shape::random(seed, number, sender.message_bytes_max()).message();
        sender.post(message, PATIENCE.into())?;
    }
    Ok(channel.close(PATIENCE.into())?)
}

/// Frames of any number and size, with and without time stamps.
pub(super) fn atomicity(scene: &Scene) -> Outcome {
    const COUNT: u64 = 600;
    let uri = scene.uri();
    let (_channel, mut receiver) = scene.builder(&uri).open()?;
    let mut peer = scene.peer(SHAPES, &uri).with("count", COUNT).with("window", WINDOW).start()?;
    let limit = peer.hear_numbers("limit")?[0] as usize;
    ensure!(limit > WINDOW - 100 && limit < WINDOW, "a window of {WINDOW} bytes takes messages of {limit}");
    for number in 0..COUNT {
        let expected = Shape::random(scene.seed(), number, limit);
        let found = receiver.receive_with(SOON.into(), |message| Shape::of(&message))?;
        ensure!(
            found == expected,
            "message {number} of {} frames arrives as another (of {} frames)",
            expected.frames.len(),
            found.frames.len()
        );
    }
    expect_end(&mut receiver, &Reason::Closed)?;
    peer.finish()
}

/// The longest message goes, one longer by a byte does not, in both lanes.
pub(super) fn too_large(scene: &Scene) -> Outcome {
    let uri = scene.uri();
    let (channel, _receiver) = scene.builder(&uri).windows(16 << 10, 8).urgent_windows(4 << 10, 4).open()?;
    let mut peer = scene.peer(roles::COLLECT, &uri).start()?;
    peer.expect("up")?;
    for (priority, window) in [(Priority::Normal, 16 << 10), (Priority::Critical, 4 << 10)] {
        let mut sender = channel.sender(QueueKind::MonoUnbounded, priority);
        let limit = sender.message_bytes_max();
        ensure!(limit > window - 100 && limit < window, "a window of {window} bytes takes messages of {limit}");
        // Message header and frame header.
        let payload = limit - 24;
        sender.post(crate::payload::numbered(1, payload - 8), SOON.into())?;
        ensure!(peer.hear_numbers("got")? == [1, payload as u64], "the longest message does not arrive");
        refused(&mut sender, payload + 1, limit, channel.name())?;
        refused(&mut sender, 1 << 20, limit, channel.name())?;
        let filled = sender.post_with(payload + 1, |_| (), SOON.into());
        ensure!(
            matches!(&filled, Err(error) if matches!(error.why, Refusal::TooLarge { limit: named, .. } if named == limit)),
            "a message that is filled in place and over the limit ends with {filled:?}"
        );
    }
    channel.close(SOON.into())?;
    peer.expect("closed")?;
    peer.finish()
}

fn refused(sender: &mut Sender, payload: usize, limit: usize, channel: &str) -> Outcome {
    let message = Message::copied(&vec![7; payload]);
    let encoded = message.encoded_bytes();
    let Err(error) = sender.post(message, SOON.into()) else {
        return Err(Failure::new(format!("a message of {encoded} bytes is taken where {limit} are the limit")));
    };
    ensure!(
        error.why == Refusal::TooLarge { bytes: encoded, limit },
        "{encoded} bytes are refused with {:?}",
        error.why
    );
    ensure!(error.message.payload_bytes() == payload, "another message comes back");
    let text = error.to_string();
    ensure!(
        text.contains(&limit.to_string()) && text.contains(channel),
        "the error does not name limit and channel: {text}"
    );
    Ok(())
}
