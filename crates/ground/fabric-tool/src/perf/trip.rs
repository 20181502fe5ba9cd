//! How long a message and its answer take: one in flight, written and read at both ends.

use std::time::{Duration, Instant};

use fabric::channel::{Deadline, ReceiveError};

use super::rate::warm_up;
use super::report::{Figures, Side};
use super::sides::{Ends, Poster, cpu_ns, is_payload};
use crate::cli::PerfArgs;
use crate::failure::Failure;
use crate::opening::await_peer;

pub(super) fn ask(mut ends: Ends, args: &PerfArgs) -> Result<Side, Failure> {
    await_peer(&ends.channel, ends.wait)?;
    let mut poster = Poster::new(&ends, args);
    let warm_up = warm_up(args.messages);
    let mut times = Vec::with_capacity(args.messages as usize);
    let (mut cpu, mut scratch) = (cpu_ns(), Vec::new());
    for number in 0..warm_up + u64::from(args.messages) {
        if number == warm_up {
            times.clear();
            cpu = cpu_ns();
        }
        let asked = Instant::now();
        poster.post(number)?;
        let deadline = ends.deadline();
        let right = ends.receiver.receive_with(deadline, |message| is_payload(&message, args, number, &mut scratch))?;
        let time = asked.elapsed();
        if !right {
            return Err(Failure::new(format!("the answer to message {number} did not arrive as it was sent")));
        }
        times.push(u32::try_from(time.as_nanos()).unwrap_or(u32::MAX));
    }
    let cpu_ns = cpu_ns() - cpu;
    let _ = ends.channel.close(Deadline::after(Duration::from_secs(1)));
    Ok(Side { cpu_ns, figures: Some(Figures::trip(times)) })
}

pub(super) fn answer(mut ends: Ends, args: &PerfArgs) -> Result<Side, Failure> {
    let mut poster = Poster::new(&ends, args);
    let warm_up = warm_up(args.messages);
    let (mut cpu, mut scratch) = (cpu_ns(), Vec::new());
    for number in 0..warm_up + u64::from(args.messages) {
        if number == warm_up {
            cpu = cpu_ns();
        }
        let deadline = ends.deadline();
        let right = ends.receiver.receive_with(deadline, |message| is_payload(&message, args, number, &mut scratch))?;
        if !right {
            return Err(Failure::new(format!("message {number} did not arrive as it was sent")));
        }
        poster.post(number)?;
    }
    let cpu_ns = cpu_ns() - cpu;
    // The asker goes when it has the last answer.
    match ends.receiver.receive(ends.deadline()) {
        Ok(_) => Err(Failure::new("more messages came than were to be measured")),
        Err(ReceiveError::TimedOut { .. }) => Err(Failure::new("the asking side did not end")),
        Err(_) => Ok(Side { cpu_ns, figures: None }),
    }
}
