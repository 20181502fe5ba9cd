//! Roles that several scenarios give to their peers.

use std::time::Duration;

use fabric::Message;
use fabric::channel::{Channel, ReceiveError, Receiver, State};
use fabric::queue::{Priority, QueueKind};
use fabric::tli::Reason;

use crate::failure::Outcome;
use crate::payload;
use crate::stage::{PATIENCE, Role, Stage};

/// All of them.
pub(crate) const ROLES: &[Role] = &[SEND, RECEIVE, ECHO, COLLECT];

/// Posts `count=` numbered messages from `first=` on, of up to `bytes=` bytes, and closes. With `go=1` it waits to be told before it posts, with
/// `stay=1` before it closes. Says `up` when its peer is there, `posted COUNT` when all was read.
pub const SEND: Role = Role { name: "send", run: send };

/// Receives numbered messages in order from `first=` on, `count=` of them or until its peer is gone. Waits to be told before, with `go=1`, and `pace=`
/// microseconds after each. Says `up`, then `received COUNT`, and how it ended.
pub const RECEIVE: Role = Role { name: "receive", run: receive };

/// Sends back what comes, until its peer is gone.
pub const ECHO: Role = Role { name: "echo", run: echo };

/// Says `got NUMBER LENGTH` for every numbered message until its peer is gone. Waits to be told before, with `go=1`.
pub const COLLECT: Role = Role { name: "collect", run: collect };

/// How many bytes message `number` has behind its number, when they are at most `max`.
pub fn length(number: u64, max: u64) -> usize {
    payload::Random::new(number).below(max + 1) as usize
}

/// Waits until the channel has a peer.
///
/// # Errors
/// When none comes.
pub fn await_peer(channel: &Channel) -> Outcome {
    await_state(channel, "a peer", |state| matches!(state, State::Up { .. }))
}

/// Waits until the channel's state is as it should be.
///
/// # Errors
/// When that does not happen.
pub fn await_state(channel: &Channel, wanted: &str, is: impl Fn(&State) -> bool) -> Outcome {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        channel.progress();
        let state = channel.state();
        if is(&state) {
            return Ok(());
        }
        ensure!(
            std::time::Instant::now() < deadline,
            "{} waited for {wanted} in vain and is {state:?}",
            channel.name()
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// One word for the end of a channel.
pub fn ending(error: &ReceiveError) -> &'static str {
    match error {
        ReceiveError::TimedOut { .. } => "silence",
        ReceiveError::PeerGone(loss) => match loss.gone.reason {
            Reason::Closed => "closed",
            Reason::Died => "died",
            Reason::Violation(_) => "violation",
            Reason::System { .. } => "system",
            Reason::Left => "left",
        },
        ReceiveError::Closed { .. } => "over",
        ReceiveError::Failed { .. } => "failed",
    }
}

fn send(stage: &Stage) -> Outcome {
    let (channel, _receiver) = stage.builder()?.open()?;
    let (first, count): (u64, u64) = (stage.argument_or("first", 0)?, stage.argument("count")?);
    let bytes = stage.argument_or("bytes", 300)?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    await_peer(&channel)?;
    stage.say("up");
    if stage.argument_or("go", 0)? == 1 {
        stage.await_line("go")?;
    }
    for number in first..first + count {
        sender.post(payload::numbered(number, length(number, bytes)), PATIENCE.into())?;
    }
    channel.flush(PATIENCE.into())?;
    stage.say(format_args!("posted {count}"));
    if stage.argument_or("stay", 0)? == 1 {
        stage.await_line("close")?;
    }
    Ok(channel.close(PATIENCE.into())?)
}

fn receive(stage: &Stage) -> Outcome {
    let (channel, mut receiver) = stage.builder()?.open()?;
    let (first, count): (u64, u64) = (stage.argument_or("first", 0)?, stage.argument_or("count", u64::MAX)?);
    let pace = Duration::from_micros(stage.argument_or("pace", 0)?);
    await_peer(&channel)?;
    stage.say("up");
    if stage.argument_or("go", 0)? == 1 {
        stage.await_line("go")?;
    }
    let mut received = 0;
    let end = loop {
        if received == count {
            break "enough";
        }
        match receive_number(&mut receiver) {
            Ok(number) => ensure!(
                number? == first + received,
                "after {received} messages comes another than {}",
                first + received
            ),
            Err(error) => break ending(&error),
        }
        received += 1;
        if !pace.is_zero() {
            std::thread::sleep(pace);
        }
    };
    stage.say(format_args!("received {received}"));
    stage.say(end);
    // What was read is to be known there before we go.
    drop(receiver);
    channel.close(PATIENCE.into()).or_else(|error| if end == "enough" { Err(error.into()) } else { Ok(()) })
}

/// The next message's number.
fn receive_number(receiver: &mut Receiver) -> Result<Outcome<u64>, ReceiveError> {
    receiver.receive_with(PATIENCE.into(), |message| payload::number_of(message.bytes()))
}

fn echo(stage: &Stage) -> Outcome {
    let (channel, mut receiver) = stage.builder()?.open()?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    loop {
        match receiver.receive_with(PATIENCE.into(), |message| Message::copied(message.bytes())) {
            Ok(message) => sender.post(message, PATIENCE.into())?,
            Err(ReceiveError::PeerGone(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn collect(stage: &Stage) -> Outcome {
    let (channel, mut receiver) = stage.builder()?.open()?;
    await_peer(&channel)?;
    stage.say("up");
    if stage.argument_or("go", 0)? == 1 {
        stage.await_line("go")?;
    }
    loop {
        let got = receiver.receive_with(PATIENCE.into(), |message| {
            let bytes = message.to_vec();
            payload::number_of(&bytes).map(|number| (number, bytes.len()))
        });
        match got {
            Ok(got) => {
                let (number, len) = got?;
                stage.say(format_args!("got {number} {len}"));
            }
            Err(error) => {
                stage.say(ending(&error));
                return Ok(());
            }
        }
    }
}
