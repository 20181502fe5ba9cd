//! One end of the measured channel: opened as the command line says, with a way to post payloads and to look at them.

use std::sync::Arc;
use std::time::Duration;

use fabric::channel::{Channel, Deadline, FrameView, MessageView, PostError, Progress, Receiver, Sender, Waiting};
use fabric::queue::{Full, Priority, QueueKind};
use fabric::tli::{Providers, Trust};
use fabric::{Arena, Message, WindowPool};
use rustix::time::{ClockId, clock_gettime};

use super::{Role, payload};
use crate::cli::{Frames, PerfArgs};
use crate::failure::Failure;
use crate::opening::{Watch, builder};

/// Payloads up to this size are copied into the message; larger ones lie in a window of the sender's and are referred to.
const COPIED_MAX: usize = 128;
/// Messages that may wait in the queue while the peer is behind.
const QUEUED_MAX: usize = 256;
/// Windows of the sender's own memory or arena: few, so that they stay warm.
const OWN_WINDOWS: usize = 16;

/// An opened end.
pub(super) struct Ends {
    pub(super) channel: Channel,
    pub(super) receiver: Receiver,
    pub(super) wait: Duration,
}

impl Ends {
    pub(super) fn open(providers: &Providers, watch: &Watch, args: &PerfArgs, role: Role) -> Result<Self, Failure> {
        let size = args.size as usize;
        // A window for each large message, so that a few pass in turn; else four megabytes in all.
        let (bytes, count) = if size > 64 << 10 { ((size + 4096).next_multiple_of(4096), 8) } else { (256 << 10, 16) };
        let waiting = match (args.busy, args.park) {
            (true, _) => Waiting::Busy,
            (_, true) => Waiting::Park,
            _ => Waiting::default(),
        };
        let trust = if args.trust { Trust::Same } else { Trust::Hostile };
        let mut builder = builder(providers, watch)
            .windows(bytes, count)
            .accept(bytes.max(16 << 20), 4096)
            .waiting(waiting)
            .progress(Progress::Caller)
            .trust(trust);
        if args.frames == Frames::Window {
            let arena = Arena::new(size.max(1), OWN_WINDOWS).map_err(|error| Failure::caused("an arena", &error))?;
            builder = builder.arena(Arc::new(arena));
        }
        let builder = match role {
            Role::Listen => builder.listen(&args.uri),
            Role::Connect => builder.connect(&args.uri),
        };
        let (channel, receiver) = builder.open()?;
        Ok(Self { channel, receiver, wait: Duration::from_secs(args.wait.into()) })
    }

    pub(super) fn deadline(&self) -> Deadline {
        Deadline::after(self.wait)
    }
}

/// Makes messages and posts them.
pub(super) struct Poster {
    channel: Channel,
    sender: Sender,
    frames: Frames,
    pool: WindowPool,
    size: usize,
    wait: Duration,
}

impl Poster {
    pub(super) fn new(ends: &Ends, args: &PerfArgs) -> Self {
        let kind = QueueKind::MultiBounded { capacity: QUEUED_MAX, full: Full::Block };
        let size = args.size as usize;
        Self {
            channel: ends.channel.clone(),
            sender: ends.channel.sender(kind, Priority::Normal),
            frames: args.frames,
            pool: WindowPool::new(size.max(4096), OWN_WINDOWS),
            size,
            wait: ends.wait,
        }
    }

    /// Posts the message of that number.
    pub(super) fn post(&mut self, number: u64) -> Result<(), PostError> {
        let deadline = Deadline::after(self.wait);
        let message = match self.frames {
            Frames::Place => return self.sender.post_with(self.size, |place| payload::write(place, number), deadline),
            Frames::Copy if self.size <= COPIED_MAX => {
                let mut bytes = [0; COPIED_MAX];
                payload::write(&mut bytes[..self.size], number);
                Message::copied(&bytes[..self.size])
            }
            Frames::Copy => Message::shared(self.filled(number)),
            Frames::Window => Message::shared(self.lent(number)),
        };
        self.sender.post(message, deadline)
    }

    fn filled(&self, number: u64) -> fabric::Slice {
        let mut window = self.pool.take();
        payload::write(&mut window.spare()[..self.size], number);
        window.fill(self.size)
    }

    /// In a window of the arena, as soon as one is free; the peer gives them back as it reads.
    fn lent(&self, number: u64) -> fabric::Slice {
        let mut looks = 0u32;
        let mut window = loop {
            if let Some(window) = self.channel.take_window() {
                break window;
            }
            self.channel.progress();
            looks += 1;
            if looks.is_multiple_of(64) {
                std::thread::yield_now();
            }
        };
        payload::write(&mut window.spare()[..self.size], number);
        window.fill(self.size)
    }
}

/// Reads a payload in full and says whether it is the one of that number.
pub(super) fn is_payload(message: &MessageView<'_>, args: &PerfArgs, number: u64, scratch: &mut Vec<u8>) -> bool {
    let Some(frame) = message.frame(0) else { return false };
    if frame.len() != args.size as usize {
        return false;
    }
    match frame {
        FrameView::Bytes(bytes) => payload::is(bytes, number),
        FrameView::Slice(slice) => payload::is(slice, number),
        FrameView::Remote(remote) => match remote.trusted() {
            Some(bytes) => payload::is(bytes, number),
            None => {
                scratch.clear();
                frame.append_to(scratch);
                payload::is(scratch, number)
            }
        },
    }
}

/// Processor time of this thread in nanoseconds, the kernel's work for it included.
pub(super) fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
