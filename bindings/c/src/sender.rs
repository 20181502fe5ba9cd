//! `fabric_sender`: posts into one input queue.

use fabric::channel::Sender;

use crate::border::{ErrorBuffer, Fault, Handle, bytes, call, deadline, enter, free, give, need};
use crate::message::MessageHandle;

pub(crate) type SenderHandle = Handle<Sender>;

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_sender_free(sender: *mut SenderHandle) {
    // SAFETY: C1; there is no error buffer.
    unsafe { call(std::ptr::null_mut(), || free(sender, "sender").map(drop)) };
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_sender_another(
    sender: *mut SenderHandle,
    another: *mut *mut SenderHandle,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            need(another, "another")?;
            let further = enter(sender, "sender")?.another();
            let further = further.ok_or_else(|| Fault::misuse("this queue has one producer"))?;
            give(another, "another", Handle::new(further))
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_sender_message_bytes_max(
    sender: *mut SenderHandle,
    bytes: *mut usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe { call(error, || give(bytes, "bytes", enter(sender, "sender")?.message_bytes_max())) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_post_bytes(
    sender: *mut SenderHandle,
    data: *const u8,
    length: usize,
    timeout_ns: i64,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C2, C3.
    unsafe {
        call(error, || {
            let data = bytes(data, length, "data")?;
            let fill = |place: &mut [u8]| place.copy_from_slice(data);
            Ok(enter(sender, "sender")?.post_with(data.len(), fill, deadline(timeout_ns))?)
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_post(
    sender: *mut SenderHandle,
    message: *mut MessageHandle,
    timeout_ns: i64,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe { post(sender, message, None, timeout_ns, error) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_post_tagged(
    sender: *mut SenderHandle,
    message: *mut MessageHandle,
    tag: u64,
    timeout_ns: i64,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe { post(sender, message, Some(tag), timeout_ns, error) }
}

/// Posts what is in `message`, and leaves it empty; if it was not taken, as it was.
///
/// # Safety
/// C1, C3.
unsafe fn post(
    sender: *mut SenderHandle,
    message: *mut MessageHandle,
    tag: Option<u64>,
    timeout_ns: i64,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: as our caller promises.
    unsafe {
        call(error, || {
            let mut message = enter(message, "message")?;
            let mut sender = enter(sender, "sender")?;
            let posted = std::mem::take(&mut *message);
            let done = match tag {
                None => sender.post(posted, deadline(timeout_ns)),
                Some(tag) => sender.post_tagged(posted, tag, deadline(timeout_ns)),
            };
            done.map_err(|mut refused| {
                *message = std::mem::take(&mut refused.message);
                refused.into()
            })
        })
    }
}
