//! `fabric ping`: round trips over messages of kind `Ping`, and the side that answers them.

use std::thread;
use std::time::{Duration, Instant};

use fabric::Message;
use fabric::channel::{Channel, Deadline, ReceiveError, Receiver, Reconnect};
use fabric::queue::{Priority, QueueKind};
use fabric::tli::{Providers, Reason};
use fabric::wire::Kind;

use crate::cli::PingArgs;
use crate::failure::Failure;
use crate::forward::again;
use crate::opening::{Watch, await_peer, open};

pub(crate) fn ping(providers: &Providers, args: &PingArgs) -> Result<(), Failure> {
    let watch = Watch::new();
    let (channel, receiver) = open(providers, &watch, &args.channel, Reconnect::Never)?;
    if args.answer { answer(&channel, receiver) } else { ask(&channel, receiver, args) }
}

/// Until the peer goes.
fn answer(channel: &Channel, mut receiver: Receiver) -> Result<(), Failure> {
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    loop {
        match receiver.receive(Deadline::Never) {
            Ok(received) if received.kind() == Kind::Ping => {
                sender.post(pong(again(received)), Deadline::Never)?;
            }
            Ok(_) => {}
            Err(ReceiveError::PeerGone(loss)) if loss.gone.reason == Reason::Closed => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The same frames as an answer.
fn pong(ping: Message) -> Message {
    let mut pong = Message::of_kind(Kind::Pong, ping.correlation());
    for number in 0..ping.frames() {
        pong.push_copy(ping.frame(number).unwrap_or_default());
    }
    pong
}

fn ask(channel: &Channel, mut receiver: Receiver, args: &PingArgs) -> Result<(), Failure> {
    let timeout = Duration::from_millis(args.timeout);
    await_peer(channel, timeout)?;
    let mut sender = channel.sender(QueueKind::MonoUnbounded, Priority::Normal);
    let payload: Vec<u8> = (0..args.size).map(|n| n as u8).collect();
    let mut times = Vec::new();
    for number in 1..=u64::from(args.count) {
        let mut message = Message::of_kind(Kind::Ping, number);
        message.push_copy(&payload);
        let asked = Instant::now();
        sender.post(message, Deadline::after(timeout))?;
        match answer_to(&mut receiver, number, Deadline::after(timeout)) {
            Ok(bytes) if bytes == payload => {
                let time = asked.elapsed();
                times.push(time);
                println!("{} bytes from {}: seq={number} time={:.1} µs", bytes.len(), channel.name(), micros(time));
            }
            Ok(_) => println!("answer {number} has other bytes than were asked with"),
            Err(ReceiveError::TimedOut { .. }) => println!("no answer to {number} within {} ms", args.timeout),
            Err(error) => return Err(error.into()),
        }
        if number < u64::from(args.count) {
            thread::sleep(Duration::from_millis(args.interval));
        }
    }
    let _ = channel.close(Deadline::after(Duration::from_secs(1)));
    summary(&times, args.count)
}

/// The answer to that ping; others that come before it are old ones.
fn answer_to(receiver: &mut Receiver, number: u64, deadline: Deadline) -> Result<Vec<u8>, ReceiveError> {
    loop {
        let received = receiver.receive(deadline)?;
        if received.kind() == Kind::Pong && received.correlation() == number {
            return Ok(received.lend(|message| message.to_vec()));
        }
    }
}

fn summary(times: &[Duration], asked: u32) -> Result<(), Failure> {
    let (Some(least), Some(most)) = (times.iter().min(), times.iter().max()) else {
        return Err(Failure::new(format!("none of {asked} pings was answered")));
    };
    let mean = times.iter().sum::<Duration>() / times.len() as u32;
    println!(
        "{asked} asked, {} answered; round trip least/mean/most {:.1}/{:.1}/{:.1} µs",
        times.len(),
        micros(*least),
        micros(mean),
        micros(*most)
    );
    if times.len() < asked as usize {
        return Err(Failure::new(format!("{} of {asked} pings were not answered", asked as usize - times.len())));
    }
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}
