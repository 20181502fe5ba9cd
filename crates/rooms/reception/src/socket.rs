//! A session's connection: reads into the loop's window, writes with a limit in time.

use crate::intake::Intake;
use engine::{Stream, Timer, Waiting};
use fabric::Slice;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Why a session goes on.
#[derive(Debug)]
pub(crate) enum Wake {
    /// The client sent these.
    Octets(Slice),
    /// The client will send no more.
    End,
    /// The connection is gone.
    Broken,
    /// The timer fired.
    Deadline,
    /// The server is stopping.
    Stop,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) stream: Stream,
    pub(crate) timer: Timer,
    /// `None` once it has been told.
    pub(crate) stopped: Option<Waiting>,
}

/// The connection cannot be written to.
#[derive(Debug)]
pub(crate) struct Unwritable;

/// How long a client that was sent away may take to notice.
const LINGER: Duration = Duration::from_secs(2);
/// Octets that it may still send meanwhile.
const LINGER_BYTES: usize = 1 << 20;

impl Socket {
    /// Waits for the client, the timer or the end of the server.
    pub(crate) async fn wait(&mut self, intake: &RefCell<Intake>) -> Wake {
        poll_fn(|context| self.poll_wake(intake, context)).await
    }

    fn poll_wake(&mut self, intake: &RefCell<Intake>, context: &mut Context<'_>) -> Poll<Wake> {
        // First, as a client that never stops sending is always readable.
        if let Some(Poll::Ready(())) = self.stopped.as_mut().map(|stopped| Pin::new(stopped).poll(context)) {
            self.stopped = None;
            return Poll::Ready(Wake::Stop);
        }
        match intake.borrow_mut().poll_read(&mut self.stream, context) {
            Poll::Ready(Ok(octets)) if octets.is_empty() => return Poll::Ready(Wake::End),
            Poll::Ready(Ok(octets)) => return Poll::Ready(Wake::Octets(octets)),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => context.waker().wake_by_ref(),
            Poll::Ready(Err(_)) => return Poll::Ready(Wake::Broken),
            Poll::Pending => {}
        }
        self.timer.poll_fired(context).map(|()| Wake::Deadline)
    }

    /// Writes all of `out` and empties it. Nothing is read meanwhile, so that a client that does not read cannot send.
    pub(crate) async fn send(&mut self, out: &mut Vec<u8>, timeout: Duration) -> Result<(), Unwritable> {
        let mut sent = 0;
        while sent < out.len() {
            match self.stream.try_write(&out[sent..]) {
                Ok(0) => return Err(Unwritable),
                Ok(written) => sent += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.timer.reset_after(timeout);
                    match self.timer.limit(self.stream.writable()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return Err(Unwritable),
                        Err(_) => {
                            // Nobody reads: the kernel need not keep what it has.
                            let _ = self.stream.reset_when_dropped();
                            return Err(Unwritable);
                        }
                    }
                }
                Err(_) => return Err(Unwritable),
            }
        }
        out.clear();
        Ok(())
    }

    /// Lets the last reply arrive: closing while octets of the client are unread would reset the connection.
    pub(crate) async fn linger(&mut self, intake: &RefCell<Intake>) {
        if self.stream.shutdown_write().is_err() {
            return;
        }
        self.timer.reset_after(LINGER);
        let mut read = 0;
        while let Wake::Octets(octets) = self.wait(intake).await {
            read += octets.len();
            if read > LINGER_BYTES {
                break;
            }
        }
    }
}
