//! `fabric capture`: records a channel to a file, as its listening side, and passes everything on to the other peer if there is one.
//!
//! ```text
//!  peer ──► from: Channel with the capture filter ──► to: Channel ──► peer
//!       ◄──                                       ◄──             ◄──
//! ```
//!
//! What is passed on keeps kind, correlation, stamps and frames, but goes by the usual lane: a channel does not tell by which one a message came.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fabric::channel::{Channel, Deadline, Loss, ReceiveError, Receiver};
use fabric::filter::{Capture, Filters, Observer};
use fabric::queue::{Full, Priority, QueueKind};
use fabric::tli::{Providers, Reason};

use crate::cli::CaptureArgs;
use crate::failure::Failure;
use crate::forward::again;
use crate::opening::{Watch, builder};

/// Messages that wait while a peer is behind.
const MESSAGES_MAX: usize = 256;
/// How long a peer may take to read the rest.
const LINGER: Duration = Duration::from_secs(10);

pub(crate) fn capture(providers: &Providers, args: &CaptureArgs) -> Result<(), Failure> {
    let watch = Watch::new();
    let capture = Arc::new(Capture::create(&args.file, &args.from, args.bytes)?);
    let filters = Filters::none().observe(Arc::clone(&capture) as Arc<dyn Observer>);
    let from = builder(providers, &watch).filters(filters).listen(&args.from).open()?;
    match &args.to {
        None => drain(from)?,
        Some(uri) => relay(from, builder(providers, &watch).connect(uri).open()?)?,
    }
    capture.flush()?;
    eprintln!("{}: {} bytes, {} messages left out", args.file.display(), capture.written(), capture.omitted());
    Ok(())
}

fn drain((channel, mut receiver): (Channel, Receiver)) -> Result<(), Failure> {
    let end = loop {
        if let Err(end) = receiver.receive_with(Deadline::Never, |_| ()) {
            break end;
        }
    };
    let _ = channel.close(Deadline::Now);
    in_good_order(end)
}

/// Passes on both ways until one peer goes, then lets the other have the rest.
fn relay(from: (Channel, Receiver), to: (Channel, Receiver)) -> Result<(), Failure> {
    let (from, from_receiver) = from;
    let (to, to_receiver) = to;
    let back = {
        let from = from.clone();
        thread::spawn(move || pass_on(to_receiver, &from))
    };
    let there = pass_on(from_receiver, &to);
    let back = back.join().map_err(|_| Failure::new("the thread that passes answers back has panicked"))?;
    there.and(back)
}

/// From one channel to the other, which is closed at the end.
fn pass_on(mut receiver: Receiver, to: &Channel) -> Result<(), Failure> {
    let kind = QueueKind::MultiBounded { capacity: MESSAGES_MAX, full: Full::Block };
    let mut sender = to.sender(kind, Priority::Normal);
    let end = loop {
        match receiver.receive(Deadline::Never) {
            Ok(received) => {
                if sender.post(again(received), Deadline::Never).is_err() {
                    // The other side is gone, and says so itself.
                    return Ok(());
                }
            }
            Err(end) => break end,
        }
    };
    let _ = to.close(Deadline::after(LINGER));
    in_good_order(end)
}

fn in_good_order(end: ReceiveError) -> Result<(), Failure> {
    match end {
        ReceiveError::Closed { .. } => Ok(()),
        // Closed by the peer, or here because the other peer has gone.
        ReceiveError::PeerGone(Loss { gone, .. }) if matches!(gone.reason, Reason::Closed | Reason::Left) => Ok(()),
        error => Err(error.into()),
    }
}
