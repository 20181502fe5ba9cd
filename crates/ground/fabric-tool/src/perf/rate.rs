//! How many messages pass in a second: one side sends as fast as it may, the other reads.

use std::time::Instant;

use fabric::channel::Deadline;

use super::report::{Figures, Side};
use super::sides::{Ends, Poster, cpu_ns, is_payload};
use crate::cli::PerfArgs;
use crate::failure::Failure;
use crate::opening::{all_read, await_peer};

/// A tenth more, and at least one, since the clock starts behind a message.
pub(super) fn warm_up(messages: u32) -> u64 {
    u64::from(messages).div_ceil(10)
}

pub(super) fn send(ends: Ends, args: &PerfArgs) -> Result<Side, Failure> {
    await_peer(&ends.channel, ends.wait)?;
    let mut poster = Poster::new(&ends, args);
    let warm_up = warm_up(args.messages);
    for number in 0..warm_up {
        poster.post(number)?;
    }
    let cpu = cpu_ns();
    for number in warm_up..warm_up + u64::from(args.messages) {
        poster.post(number)?;
    }
    all_read(&ends.channel, ends.channel.flush(Deadline::after(ends.wait)))?;
    let cpu_ns = cpu_ns() - cpu;
    // The peer knows how many come, and may have gone.
    let _ = ends.channel.close(Deadline::Now);
    Ok(Side { cpu_ns, figures: None })
}

pub(super) fn receive(mut ends: Ends, args: &PerfArgs) -> Result<Side, Failure> {
    let (mut number, mut wrong, mut scratch) = (0, None, Vec::new());
    let mut read = |ends: &mut Ends, until: u64| -> Result<(), Failure> {
        while number < until {
            let deadline = ends.deadline();
            let right =
                ends.receiver.receive_with(deadline, |message| is_payload(&message, args, number, &mut scratch))?;
            if !right {
                wrong.get_or_insert(number);
            }
            number += 1;
        }
        Ok(())
    };
    let warm_up = warm_up(args.messages);
    read(&mut ends, warm_up)?;
    let (start, cpu) = (Instant::now(), cpu_ns());
    read(&mut ends, warm_up + u64::from(args.messages))?;
    let (time, cpu_ns) = (start.elapsed(), cpu_ns() - cpu);
    if let Some(number) = wrong {
        return Err(Failure::new(format!("message {number} did not arrive as it was sent")));
    }
    // Tells the sender that the last one was read.
    let _ = ends.receiver.try_receive();
    Ok(Side { cpu_ns, figures: Some(Figures::Rate { time }) })
}
