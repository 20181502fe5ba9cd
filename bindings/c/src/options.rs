//! `fabric_options`: what a channel is to be, until it is opened.

use std::ffi::c_char;
use std::sync::Arc;

use fabric::Arena;
use fabric::channel::{Channel, ChannelBuilder, Progress, Receiver, Reconnect, Waiting};
use fabric::queue::{ReceiveFull, ReceiveKind, Weights};
use fabric::tli::Trust;

use crate::border::{Code, ErrorBuffer, Fault, Handle, call, enter, free, give, need, pick, text};
use crate::channel::ChannelHandle;
use crate::raw::{RawHandle, RawState};
use crate::receiver::{ReceiverHandle, ReceiverState};

/// A builder, and what must be known of it beside.
pub(crate) struct Options {
    builder: ChannelBuilder,
    users: Vec<u32>,
    /// Raw channels receive without one.
    has_receive_queue: bool,
}

pub(crate) type OptionsHandle = Handle<Options>;

/// Applies a change to the builder.
fn change(options: &mut Options, change: impl FnOnce(ChannelBuilder) -> ChannelBuilder) {
    options.builder = change(std::mem::replace(&mut options.builder, Channel::builder()));
}

impl Options {
    fn open(self) -> Result<(Channel, Receiver), Fault> {
        Ok(self.builder.users(self.users).open()?)
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_options_new(options: *mut *mut OptionsHandle, error: *mut ErrorBuffer) -> i32 {
    // SAFETY: C3.
    unsafe {
        call(error, || {
            need(options, "options")?;
            let fresh = Options { builder: Channel::builder(), users: Vec::new(), has_receive_queue: false };
            give(options, "options", Handle::new(fresh))
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_options_free(options: *mut OptionsHandle) {
    // SAFETY: C1; there is no error buffer.
    unsafe { call(std::ptr::null_mut(), || free(options, "options").map(drop)) };
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_options_name(
    options: *mut OptionsHandle,
    name: *const c_char,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            let name = text(name, "name")?;
            change(&mut *enter(options, "options")?, |builder| builder.name(name));
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_options_listen(
    options: *mut OptionsHandle,
    uri: *const c_char,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            let uri = text(uri, "uri")?;
            change(&mut *enter(options, "options")?, |builder| builder.listen(uri));
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_options_connect(
    options: *mut OptionsHandle,
    uri: *const c_char,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            let uri = text(uri, "uri")?;
            change(&mut *enter(options, "options")?, |builder| builder.connect(uri));
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_options_windows(
    options: *mut OptionsHandle,
    lane: i32,
    bytes: usize,
    count: usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            let lanes = [ChannelBuilder::windows, ChannelBuilder::urgent_windows, ChannelBuilder::accept];
            let set = pick(lane, &lanes, "lane")?;
            // The least that holds a header, a word and an empty message.
            if bytes < 64 || count == 0 {
                return Err(Fault::misuse(format!("{count} windows of {bytes} bytes, the least is 1 of 64")));
            }
            change(&mut *enter(options, "options")?, |builder| set(builder, bytes, count));
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_options_arena(
    options: *mut OptionsHandle,
    window_bytes: usize,
    count: usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            // More would not fit an address space, and rounding up to pages must not wrap around.
            if window_bytes > u32::MAX as usize - (64 << 10) {
                return Err(Fault::misuse(format!("windows of {window_bytes} bytes, the most is 4 GiB less 64 KiB")));
            }
            let mut options = enter(options, "options")?;
            let arena = Arena::new(window_bytes, count).map_err(|error| {
                Fault::new(Code::System, format!("an arena of {count} windows of {window_bytes} bytes: {error}"))
            })?;
            change(&mut options, |builder| builder.arena(Arc::new(arena)));
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_options_trust(
    options: *mut OptionsHandle,
    trust: i32,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            let trust = pick(trust, &[Trust::Hostile, Trust::Same], "trust")?;
            change(&mut *enter(options, "options")?, |builder| builder.trust(trust));
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_options_user(
    options: *mut OptionsHandle,
    user: u32,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            enter(options, "options")?.users.push(user);
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_options_receive_queue(
    options: *mut OptionsHandle,
    kind: i32,
    capacity: usize,
    full: i32,
    bytes: usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            let fulls = [ReceiveFull::HoldBack, ReceiveFull::DiscardOldest, ReceiveFull::DiscardNewest];
            let full = pick(full, &fulls, "full")?;
            if capacity == 0 && matches!(kind, 1 | 3) {
                return Err(Fault::misuse("a bounded queue holds at least one message"));
            }
            let kinds = [
                ReceiveKind::MonoUnbounded,
                ReceiveKind::MonoBounded { capacity, full },
                ReceiveKind::MultiUnbounded,
                ReceiveKind::MultiBounded { capacity, full },
            ];
            let kind = pick(kind, &kinds, "kind")?;
            let mut options = enter(options, "options")?;
            options.has_receive_queue = true;
            let bytes = if bytes == 0 { fabric::queue::BYTES_MAX } else { bytes };
            change(&mut options, |builder| builder.receive_queue(kind, bytes));
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_options_weights(
    options: *mut OptionsHandle,
    weights: *const [u32; 5],
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C2 of five numbers, C3.
    unsafe {
        call(error, || {
            need(weights, "weights")?;
            let weights = Weights::new(weights.read()).map_err(Fault::misuse)?;
            change(&mut *enter(options, "options")?, |builder| builder.weights(weights));
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_options_waiting(
    options: *mut OptionsHandle,
    waiting: i32,
    spins: u32,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            let waits = [Waiting::SpinThenPark { spins }, Waiting::Busy, Waiting::Park];
            let waiting = pick(waiting, &waits, "waiting")?;
            change(&mut *enter(options, "options")?, |builder| builder.waiting(waiting));
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_options_progress(
    options: *mut OptionsHandle,
    progress: i32,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            let progress = pick(progress, &[Progress::Service, Progress::Caller], "progress")?;
            change(&mut *enter(options, "options")?, |builder| builder.progress(progress));
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_options_reconnect(
    options: *mut OptionsHandle,
    reconnect: i32,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            let reconnect = pick(reconnect, &[Reconnect::Always, Reconnect::Never], "reconnect")?;
            change(&mut *enter(options, "options")?, |builder| builder.reconnect(reconnect));
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_channel_open(
    options: *mut OptionsHandle,
    channel: *mut *mut ChannelHandle,
    receiver: *mut *mut ReceiverHandle,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1 (the options are freed here), C3.
    unsafe {
        call(error, || {
            need(options, "options")?;
            need(channel, "channel")?;
            need(receiver, "receiver")?;
            let Some(options) = free(options, "options")? else { return Ok(()) };
            let (opened, receiving) = options.open()?;
            give(channel, "channel", ChannelHandle::new(opened))?;
            give(receiver, "receiver", Handle::new(ReceiverState::new(receiving)))
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_raw_open(
    options: *mut OptionsHandle,
    raw: *mut *mut RawHandle,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1 (the options are freed here), C3.
    unsafe {
        call(error, || {
            need(options, "options")?;
            need(raw, "raw")?;
            let Some(options) = free(options, "options")? else { return Ok(()) };
            if options.has_receive_queue {
                return Err(Fault::misuse("a raw channel receives without a queue"));
            }
            let (channel, receiver) = options.open()?;
            give(raw, "raw", Handle::new(RawState::new(channel, receiver)))
        })
    }
}
