//! `fabric cat`: standard input to a channel, and the channel to standard output, both at once.
//!
//! A message without frames says that nothing more comes that way; a side ends when it has said so and was told so. Reading and writing block, each on
//! a thread of its own.

use std::io::{self, Read, Write};
use std::thread;

use fabric::Message;
use fabric::channel::{Channel, Deadline, FlushError, Loss, ReceiveError, Receiver, Reconnect, Sender};
use fabric::queue::{Full, Priority, QueueKind};
use fabric::tli::{Providers, Reason};
use fabric::wire::{FRAME_HEADER, MESSAGE_HEADER};

use crate::cli::{CatArgs, Way};
use crate::failure::Failure;
use crate::opening::{Watch, all_read, open};

/// The most that is read from standard input at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that wait while the peer is behind.
const CHUNKS_MAX: usize = 64;

pub(crate) fn cat(providers: &Providers, args: &CatArgs) -> Result<(), Failure> {
    let watch = Watch::new();
    let (channel, mut receiver) = open(providers, &watch, &args.channel, Reconnect::Never)?;
    let mut sender =
        channel.sender(QueueKind::MultiBounded { capacity: CHUNKS_MAX, full: Full::Block }, Priority::Normal);
    let sending = match args.only {
        Some(Way::Receive) => {
            sender.post(Message::new(), Deadline::Never)?;
            None
        }
        Some(Way::Send) | None => Some(thread::spawn(move || send(&mut sender))),
    };
    let sink: &mut dyn Write = if args.only == Some(Way::Send) { &mut io::sink() } else { &mut io::stdout().lock() };
    let heard = receive(&mut receiver, sink)?;
    if let Some(sending) = sending
        && heard == Heard::End
    {
        sending.join().map_err(|_| Failure::new("the thread that reads standard input has panicked"))??;
    }
    close(&channel, &mut receiver, heard)
}

/// How the other way ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// The peer said that nothing more comes.
    End,
    /// It closed the channel, and wants nothing more either.
    Closed,
}

fn send(sender: &mut Sender) -> Result<(), Failure> {
    let mut input = io::stdin().lock();
    let mut chunk = vec![0; CHUNK_BYTES.min(sender.message_bytes_max() - MESSAGE_HEADER - FRAME_HEADER) & !7];
    loop {
        let len = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::caused("reading standard input", &error)),
        };
        sender.post_with(len, |place| place.copy_from_slice(&chunk[..len]), Deadline::Never)?;
    }
    Ok(sender.post(Message::new(), Deadline::Never)?)
}

fn receive(receiver: &mut Receiver, sink: &mut dyn Write) -> Result<Heard, Failure> {
    loop {
        let written = receiver.receive_with(Deadline::Never, |message| {
            if message.frames() == 0 {
                return Ok(Some(Heard::End));
            }
            for (_, frame) in message.each_frame() {
                match frame.as_bytes() {
                    Some(bytes) => sink.write_all(bytes)?,
                    None => sink.write_all(&frame.to_vec())?,
                }
            }
            sink.flush()?;
            Ok(None)
        });
        match written {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(heard))) => return Ok(heard),
            Ok(Err(error)) => {
                let error: io::Error = error;
                return Err(Failure::caused("writing standard output", &error));
            }
            Err(ReceiveError::PeerGone(Loss { gone, .. })) if gone.reason == Reason::Closed => {
                return Ok(Heard::Closed);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn close(channel: &Channel, receiver: &mut Receiver, heard: Heard) -> Result<(), Failure> {
    // Tells the peer that its last message was read. What else comes is of no interest.
    let _ = receiver.try_receive();
    match channel.close(Deadline::Never) {
        // It had said that it has all that it wants.
        Err(FlushError::PeerGone(loss)) if heard == Heard::End && loss.gone.reason == Reason::Closed => Ok(()),
        flushed => all_read(channel, flushed),
    }
}
