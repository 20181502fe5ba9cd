//! `fabric_message`: an ordered list of frames, built before it is posted.

use std::ffi::c_void;

use fabric::Message;
use fabric::wire::{FRAMES_MAX, Kind};

use crate::border::{Code, ErrorBuffer, Fault, Handle, bytes, call, enter, free, give, need, pick};
use crate::window::SliceHandle;

pub(crate) type MessageHandle = Handle<Message>;

/// All kinds, in the order of the header, which is that of the wire.
pub(crate) const KINDS: [Kind; 7] =
    [Kind::Data, Kind::Request, Kind::Response, Kind::Cancel, Kind::Gap, Kind::Ping, Kind::Pong];

/// Called when the fabric needs an external frame no more.
pub(crate) type Release = unsafe extern "C" fn(context: *mut c_void, data: *const u8, length: usize);

/// Memory of the application's that a frame refers to.
struct External {
    data: *const u8,
    length: usize,
    release: Release,
    context: *mut c_void,
}

// SAFETY: C4: the bytes stay as they are until they are released, and the callback may be called on any thread, as the header says.
unsafe impl Send for External {}
// SAFETY: as above; shared, it is only read.
unsafe impl Sync for External {}

impl AsRef<[u8]> for External {
    fn as_ref(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        // SAFETY: by C2 and C4 the bytes are there and stay as they are until `release`, which is called when this is dropped; looked at for NULL.
        unsafe { std::slice::from_raw_parts(self.data, self.length) }
    }
}

impl Drop for External {
    fn drop(&mut self) {
        // SAFETY: C4.
        unsafe { (self.release)(self.context, self.data, self.length) };
    }
}

/// Refuses what [`Message`] would panic about.
fn check_room(message: &Message, length: usize) -> Result<(), Fault> {
    if message.frames() == FRAMES_MAX {
        return Err(
            Fault::new(Code::TooLarge, format!("a message has at most {FRAMES_MAX} frames")).with_limit(FRAMES_MAX)
        );
    }
    let limit = u32::MAX as usize;
    if length > limit {
        return Err(
            Fault::new(Code::TooLarge, format!("a frame of {length} bytes, the most is {limit}")).with_limit(limit)
        );
    }
    Ok(())
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_message_new(
    kind: i32,
    correlation: u64,
    message: *mut *mut MessageHandle,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C3.
    unsafe {
        call(error, || {
            need(message, "message")?;
            let kind = pick(kind, &KINDS, "kind")?;
            give(message, "message", Handle::new(Message::of_kind(kind, correlation)))
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_message_free(message: *mut MessageHandle) {
    // SAFETY: C1; there is no error buffer.
    unsafe { call(std::ptr::null_mut(), || free(message, "message").map(drop)) };
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_message_reset(
    message: *mut MessageHandle,
    kind: i32,
    correlation: u64,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            let kind = pick(kind, &KINDS, "kind")?;
            *enter(message, "message")? = Message::of_kind(kind, correlation);
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_message_push_copy(
    message: *mut MessageHandle,
    data: *const u8,
    length: usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C2, C3.
    unsafe {
        call(error, || {
            let data = bytes(data, length, "data")?;
            let mut message = enter(message, "message")?;
            check_room(&message, length)?;
            message.push_copy(data);
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_message_push_static(
    message: *mut MessageHandle,
    data: *const u8,
    length: usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3; by C2 and C4 the bytes live, unchanged, for ever.
    unsafe {
        call(error, || {
            let data: &'static [u8] = bytes(data, length, "data")?;
            let mut message = enter(message, "message")?;
            check_room(&message, length)?;
            message.push_static(data);
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_message_push_external(
    message: *mut MessageHandle,
    data: *const u8,
    length: usize,
    release: Option<Release>,
    context: *mut c_void,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C2, C3, C4.
    unsafe {
        call(error, || {
            bytes(data, length, "data")?;
            let release = release.ok_or_else(|| Fault::misuse("release is NULL"))?;
            let mut message = enter(message, "message")?;
            check_room(&message, length)?;
            message.push_external(External { data, length, release, context });
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_message_push_slice(
    message: *mut MessageHandle,
    slice: *const SliceHandle,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            let slice = SliceHandle::shared(slice)?.clone();
            let mut message = enter(message, "message")?;
            check_room(&message, slice.len())?;
            message.push_shared(slice);
            Ok(())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_message_schema(
    message: *mut MessageHandle,
    schema: u16,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe { change(message, error, |message| message.with_schema(schema)) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_message_timestamp(
    message: *mut MessageHandle,
    nanoseconds: u64,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe { change(message, error, |message| message.with_timestamp(nanoseconds)) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_message_tag(
    message: *mut MessageHandle,
    tag: u64,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe { change(message, error, |message| message.with_tag(tag)) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_message_erase(message: *mut MessageHandle, error: *mut ErrorBuffer) -> i32 {
    // SAFETY: C1, C3.
    unsafe { change(message, error, Message::erased) }
}

/// # Safety
/// C1, C3.
unsafe fn change(message: *mut MessageHandle, error: *mut ErrorBuffer, change: impl FnOnce(Message) -> Message) -> i32 {
    // SAFETY: as our caller promises.
    unsafe {
        call(error, || {
            let mut message = enter(message, "message")?;
            *message = change(std::mem::take(&mut *message));
            Ok(())
        })
    }
}
