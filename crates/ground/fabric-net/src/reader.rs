//! The receiving half of a link, under its lock: takes bytes from the connection and hands them to the assembler, whichever end asks.

use std::io;
use std::sync::Arc;

use fabric::tli::{Reason, RxWindow, Violation};

use crate::assembler::Assembler;
use crate::counters::Counters;
use crate::ring::ReceiveRing;
use crate::stream::Stream;

/// Where bytes come from.
pub(crate) enum Source {
    /// A system call each time.
    Calls(Arc<Stream>),
    /// A request that waits in the kernel.
    Ring(Box<ReceiveRing>),
}

/// Until when to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// A window is whole, or nothing is there.
    Window,
    /// Nothing is there.
    Dry,
}

/// What reading has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Brought {
    /// At least one whole window.
    pub(crate) windows: bool,
    /// Credit, or the news that something was read.
    pub(crate) progress: bool,
    /// The peer's wish to be told of progress.
    pub(crate) question: bool,
}

/// See the module.
pub(crate) struct Reader {
    // Before the assembler: what is under way in the kernel ends before its memory does.
    source: Source,
    assembler: Assembler,
    short_means_empty: bool,
    end: Option<Reason>,
}

impl Reader {
    pub(crate) fn new(source: Source, assembler: Assembler, short_means_empty: bool) -> Self {
        Self { source, assembler, short_means_empty, end: None }
    }

    /// Reads what there is. When the stream has ended, [`Self::end`] says why.
    pub(crate) fn pump(&mut self, counters: &Counters, until: Until) -> Brought {
        let mut brought = Brought::default();
        while self.end.is_none() {
            let (count, asked_for) = match self.read() {
                Ok((0, _)) => {
                    self.end = Some(self.ending(Reason::Died));
                    break;
                }
                Ok(done) => done,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.end = Some(self.ending(reason_of("receive", &error)));
                    break;
                }
            };
            let took = self.assembler.took(count, |assembler, control| {
                let grown = counters.heard(&control, [assembler.arrived(0), assembler.arrived(1)])?;
                brought.progress |= grown;
                brought.question |= control.kind == crate::control::ControlKind::Ask;
                Ok(())
            });
            if let Err(violation) = took {
                self.end = Some(Reason::Violation(violation));
            }
            brought.windows = self.assembler.has_ready();
            let dry = self.short_means_empty && count < asked_for;
            if dry || (until == Until::Window && brought.windows) {
                break;
            }
        }
        brought
    }

    /// Bytes read and how many could have been.
    fn read(&mut self) -> io::Result<(usize, usize)> {
        match &mut self.source {
            Source::Calls(stream) => {
                let space = self.assembler.space_mut();
                stream.read(space).map(|count| (count, space.len()))
            }
            Source::Ring(ring) => ring.read(&mut self.assembler),
        }
    }

    /// Makes sure that the kernel will say when bytes come, where that needs a request.
    pub(crate) fn prime(&mut self) {
        if let (Source::Ring(ring), None) = (&mut self.source, &self.end) {
            ring.prime(&mut self.assembler);
        }
    }

    /// A connection that ends after its last frame was closed in good order, whatever the system calls it.
    fn ending(&self, otherwise: Reason) -> Reason {
        if self.assembler.is_finished() { Reason::Closed } else { otherwise }
    }

    pub(crate) fn pop(&mut self, lane: usize) -> Option<RxWindow> {
        self.assembler.pop(lane)
    }

    pub(crate) fn has_ready(&self) -> bool {
        self.assembler.has_ready()
    }

    pub(crate) fn dispose(&mut self, lane: usize, window: RxWindow) -> u64 {
        self.assembler.dispose(lane, window)
    }

    /// Why nothing more comes.
    pub(crate) fn end(&self) -> Option<Reason> {
        if self.end.is_none() && self.assembler.is_finished() {
            return Some(Reason::Closed);
        }
        self.end.clone()
    }

    /// Why the connection is over, which it is not yet when the peer has only said that nothing more comes.
    pub(crate) fn broken(&self) -> Option<&Reason> {
        self.end.as_ref()
    }
}

/// What an error of the socket says of the peer.
pub(crate) fn reason_of(operation: &'static str, error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::TimedOut
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => Reason::Died,
        io::ErrorKind::InvalidData => Reason::Violation(Violation::Link("a TLS record that cannot be read")),
        _ => Reason::System { operation, errno: error.raw_os_error().unwrap_or(0) },
    }
}
