//! `fabric_channel`: shared by any number of threads.

use std::ffi::{c_char, c_int};
use std::os::fd::AsRawFd;

use fabric::channel::{Channel, State, Stats};
use fabric::queue::{Full, PRIORITIES, QueueKind};

use crate::border::{Code, ErrorBuffer, Fault, Handle, bytes_mut, call, copy_text, deadline, give, need, pick};
use crate::sender::SenderHandle;
use crate::window::WindowHandle;

/// Bytes of a state's text, its zero byte included.
const TEXT_BYTES: usize = 488;

/// A channel. Its own methods take it shared, so any number of calls may be within.
pub(crate) struct ChannelHandle(Channel);

impl ChannelHandle {
    pub(crate) fn new(channel: Channel) -> *mut Self {
        Box::into_raw(Box::new(Self(channel)))
    }
}

/// # Safety
/// C1, for as long as the result lives.
unsafe fn shared<'a>(channel: *const ChannelHandle) -> Result<&'a Channel, Fault> {
    need(channel, "channel")?;
    // SAFETY: by C1 it is alive, and it is never written.
    Ok(unsafe { &(*channel).0 })
}

/// `fabric_state`.
#[repr(C)]
pub(crate) struct StateOut {
    state: i32,
    peers: u32,
    in_doubt: u64,
    text: [c_char; TEXT_BYTES],
}

impl StateOut {
    pub(crate) fn of(state: &State) -> Self {
        let (number, peers, in_doubt, text) = match state {
            State::Looking => (0, 0, 0, String::new()),
            State::Up { peers } => {
                let names: Vec<_> = peers.iter().map(ToString::to_string).collect();
                (1, peers.len() as u32, 0, names.join("; "))
            }
            State::Lost(loss) => (2, 0, loss.in_doubt, loss.to_string()),
            State::Failed { why } => (3, 0, 0, why.clone()),
            State::Closed => (4, 0, 0, String::new()),
        };
        let mut out = Self { state: number, peers, in_doubt, text: [0; TEXT_BYTES] };
        copy_text(&text, &mut out.text);
        out
    }
}

/// `fabric_stats`.
#[repr(C)]
pub(crate) struct StatsOut {
    sent_messages: u64,
    sent_bytes: u64,
    queued_messages: u64,
    unread_messages: u64,
    links: u64,
    links_lost: u64,
    received_messages: u64,
    received_bytes: u64,
}

impl From<Stats> for StatsOut {
    fn from(stats: Stats) -> Self {
        let (received_messages, received_bytes) = stats.queue_received.unwrap_or_default();
        Self {
            sent_messages: stats.sent_messages,
            sent_bytes: stats.sent_bytes,
            queued_messages: stats.queued_messages as u64,
            unread_messages: stats.unread_messages,
            links: stats.links as u64,
            links_lost: stats.links_lost,
            received_messages,
            received_bytes,
        }
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_channel_free(channel: *mut ChannelHandle) {
    // SAFETY: C1: made by `ChannelHandle::new`, and given to no other call any more.
    unsafe {
        call(std::ptr::null_mut(), || {
            if !channel.is_null() {
                drop(Box::from_raw(channel));
            }
            Ok(())
        })
    };
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_channel_state(
    channel: *const ChannelHandle,
    state: *mut StateOut,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe { call(error, || give(state, "state", StateOut::of(&shared(channel)?.state()))) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_channel_stats(
    channel: *const ChannelHandle,
    stats: *mut StatsOut,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe { call(error, || give(stats, "stats", shared(channel)?.stats().into())) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_channel_flush(
    channel: *const ChannelHandle,
    timeout_ns: i64,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe { call(error, || Ok(shared(channel)?.flush(deadline(timeout_ns))?)) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_channel_close(
    channel: *const ChannelHandle,
    linger_ns: i64,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe { call(error, || Ok(shared(channel)?.close(deadline(linger_ns))?)) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_channel_progress(channel: *const ChannelHandle, error: *mut ErrorBuffer) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            shared(channel)?.progress();
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_channel_readiness(
    channel: *const ChannelHandle,
    descriptors: *mut c_int,
    capacity: usize,
    count: *mut usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1; C2 of `capacity` numbers, written one by one below; C3.
    unsafe {
        call(error, || {
            need(count, "count")?;
            if capacity > 0 {
                need(descriptors, "descriptors")?;
            }
            let mut there = 0;
            shared(channel)?.each_readiness(|descriptor| {
                if there < capacity {
                    descriptors.add(there).write(descriptor.as_raw_fd());
                }
                there += 1;
            });
            give(count, "count", there)
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_channel_sender(
    channel: *const ChannelHandle,
    queue: *const QueueIn,
    sender: *mut *mut SenderHandle,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            need(sender, "sender")?;
            need(queue, "queue")?;
            let (kind, priority, bytes) = queue.read().parse()?;
            let made = shared(channel)?.sender_with(kind, priority, bytes);
            give(sender, "sender", Handle::new(made))
        })
    }
}

/// `fabric_queue`: an input queue as it is asked for.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct QueueIn {
    kind: i32,
    priority: i32,
    full: i32,
    zero: i32,
    capacity: usize,
    bytes: usize,
}

impl QueueIn {
    fn parse(self) -> Result<(QueueKind, fabric::queue::Priority, usize), Fault> {
        let full = pick(self.full, &[Full::Block, Full::Refuse, Full::DiscardOldest, Full::DiscardNewest], "full")?;
        let capacity = self.capacity;
        if capacity == 0 && self.kind >= 3 {
            return Err(Fault::misuse("a bounded queue holds at least one message"));
        }
        let kinds = [
            QueueKind::MonoUnbounded,
            QueueKind::MultiUnbounded,
            QueueKind::MultiUnboundedTagged,
            QueueKind::MultiBounded { capacity, full },
            QueueKind::MultiBoundedTagged { capacity, full },
        ];
        let bytes = if self.bytes == 0 { fabric::queue::BYTES_MAX } else { self.bytes };
        // The header counts from the usual priority, so that a zeroed struct asks for it.
        let order = [3, 0, 1, 2, 4, 5, 6].map(|place: usize| PRIORITIES[place]);
        Ok((pick(self.kind, &kinds, "kind")?, pick(self.priority, &order, "priority")?, bytes))
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_channel_take_window(
    channel: *const ChannelHandle,
    window: *mut *mut WindowHandle,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            need(window, "window")?;
            let channel = shared(channel)?;
            let taken = channel
                .take_window()
                .ok_or_else(|| Fault::new(Code::Busy, format!("channel {}: no window is free", channel.name())))?;
            give(window, "window", Handle::new(taken))
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_schemes(text: *mut u8, size: usize, error: *mut ErrorBuffer) -> i32 {
    // SAFETY: C2, C3.
    unsafe {
        call(error, || {
            let known = fabric::tli::schemes().join(" ");
            let into = bytes_mut(text, size, "text")?;
            let needed = known.len() + 1;
            let place = into.get_mut(..needed).ok_or_else(|| {
                Fault::new(Code::TooLarge, format!("{size} bytes for a text of {needed}")).with_limit(needed)
            })?;
            place[..known.len()].copy_from_slice(known.as_bytes());
            place[known.len()] = 0;
            Ok(())
        })
    }
}
