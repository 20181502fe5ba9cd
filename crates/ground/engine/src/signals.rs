//! The signals that steer a server, as a stream on one loop.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
};

use tokio::signal::unix::{Signal as Source, SignalKind, signal};

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: drain and end.
    Terminate,
    /// SIGINT: Ctrl-C on a terminal.
    Interrupt,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: open the logs again.
    Reopen,
}

/// Catches the four signals from now on; they no longer end the process, not even once this is dropped.
#[derive(Debug)]
pub struct Signals {
    sources: [(Signal, Source); 4],
}

impl Signals {
    /// Starts to catch. On a loop; the binary does so on loop 0.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn new() -> io::Result<Signals> {
        let source = |meaning, kind| Ok::<_, io::Error>((meaning, signal(kind)?));
        let sources = [
            source(Signal::Terminate, SignalKind::terminate())?,
            source(Signal::Interrupt, SignalKind::interrupt())?,
            source(Signal::Reload, SignalKind::hangup())?,
            source(Signal::Reopen, SignalKind::user_defined1())?,
        ];
        Ok(Signals { sources })
    }

    /// Waits for the next one. Several of one kind may come as one; the most urgent kind comes first.
    pub async fn next(&mut self) -> Signal {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Like [`Signals::next`], for a task that waits for other things too.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Signal> {
        for (meaning, source) in &mut self.sources {
            if let Poll::Ready(Some(())) = source.poll_recv(context) {
                return Poll::Ready(*meaning);
            }
        }
        Poll::Pending
    }
}
