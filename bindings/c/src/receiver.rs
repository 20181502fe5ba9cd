//! `fabric_receiver`: takes messages, lends them to a callback, or copies them out.

use std::ffi::{c_int, c_void};
use std::os::fd::AsRawFd;

use fabric::channel::{Received, Receiver};

use crate::border::{Code, ErrorBuffer, Fault, Handle, bytes_mut, call, deadline, enter, free, give, need};
use crate::received::{ReceivedHandle, ViewHandle, copy_bytes, give_copied};

/// A receiver, and the message that did not fit the last buffer.
pub(crate) struct ReceiverState {
    receiver: Receiver,
    left: Option<Received>,
}

impl ReceiverState {
    pub(crate) fn new(receiver: Receiver) -> Self {
        Self { receiver, left: None }
    }

    fn take(&mut self, timeout_ns: i64) -> Result<Received, Fault> {
        match self.left.take() {
            Some(left) => Ok(left),
            None => Ok(self.receiver.receive(deadline(timeout_ns))?),
        }
    }
}

pub(crate) type ReceiverHandle = Handle<ReceiverState>;

/// Looks at a message that is lent to it.
pub(crate) type UseIt = unsafe extern "C" fn(context: *mut c_void, view: *const ViewHandle<'_>);

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_receiver_free(receiver: *mut ReceiverHandle) {
    // SAFETY: C1; there is no error buffer.
    unsafe { call(std::ptr::null_mut(), || free(receiver, "receiver").map(drop)) };
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_receiver_another(
    receiver: *mut ReceiverHandle,
    another: *mut *mut ReceiverHandle,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            need(another, "another")?;
            let further = enter(receiver, "receiver")?.receiver.another();
            let further = further.ok_or_else(|| Fault::misuse("this channel has one consumer"))?;
            give(another, "another", Handle::new(ReceiverState::new(further)))
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_receive(
    receiver: *mut ReceiverHandle,
    timeout_ns: i64,
    received: *mut *mut ReceivedHandle,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            need(received, "received")?;
            let taken = enter(receiver, "receiver")?.take(timeout_ns)?;
            give(received, "received", ReceivedHandle::new(taken))
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_receive_with(
    receiver: *mut ReceiverHandle,
    timeout_ns: i64,
    use_it: Option<UseIt>,
    context: *mut c_void,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3; by C4 the callback returns, and the view outlives it.
    unsafe {
        call(error, || {
            let use_it = use_it.ok_or_else(|| Fault::misuse("use_it is NULL"))?;
            let mut receiver = enter(receiver, "receiver")?;
            if let Some(left) = receiver.left.take() {
                left.lend(|view| use_it(context, &ViewHandle(view)));
                return Ok(());
            }
            Ok(receiver.receiver.receive_with(deadline(timeout_ns), |view| use_it(context, &ViewHandle(view)))?)
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_drain(
    receiver: *mut ReceiverHandle,
    max: usize,
    use_it: Option<UseIt>,
    context: *mut c_void,
    count: *mut usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3; by C4 the callback returns, and the view outlives it.
    unsafe {
        call(error, || {
            need(count, "count")?;
            let use_it = use_it.ok_or_else(|| Fault::misuse("use_it is NULL"))?;
            let mut receiver = enter(receiver, "receiver")?;
            let mut drained = 0;
            if max > 0
                && let Some(left) = receiver.left.take()
            {
                left.lend(|view| use_it(context, &ViewHandle(view)));
                drained = 1;
            }
            let more = receiver.receiver.drain(max - drained.min(max), |view| use_it(context, &ViewHandle(view)));
            match more {
                Ok(more) => give(count, "count", drained + more),
                // What is wrong is told again by the next call, when nothing came with it.
                Err(_) if drained > 0 => give(count, "count", drained),
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_receive_copy(
    receiver: *mut ReceiverHandle,
    timeout_ns: i64,
    buffer: *mut u8,
    size: usize,
    length: *mut usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C2, C3.
    unsafe {
        call(error, || {
            need(length, "length")?;
            let into = bytes_mut(buffer, size, "buffer")?;
            let mut receiver = enter(receiver, "receiver")?;
            let taken = receiver.take(timeout_ns)?;
            let copied = match taken.frames() {
                // The usual: bytes that lie here, copied once.
                [_] if !taken.bytes().is_empty() => copy_bytes(taken.bytes(), into),
                _ => copy_bytes(&taken.to_vec(), into),
            };
            if copied.is_err() {
                receiver.left = Some(taken);
            }
            give_copied(length, copied)
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_receiver_about_to_wait(
    receiver: *mut ReceiverHandle,
    ready: *mut c_int,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            need(ready, "ready")?;
            let mut receiver = enter(receiver, "receiver")?;
            let there = receiver.left.is_some() || receiver.receiver.about_to_wait().map_err(system)?;
            give(ready, "ready", there.into())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_receiver_awake(receiver: *mut ReceiverHandle, error: *mut ErrorBuffer) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            enter(receiver, "receiver")?.receiver.awake();
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_receiver_descriptor(
    receiver: *mut ReceiverHandle,
    descriptor: *mut c_int,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            let mut receiver = enter(receiver, "receiver")?;
            let file = receiver.receiver.descriptor().map_err(system)?.as_raw_fd();
            give(descriptor, "descriptor", file)
        })
    }
}

fn system(error: std::io::Error) -> Fault {
    Fault::new(Code::System, error)
}
