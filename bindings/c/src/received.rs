//! `fabric_received`, a message that C keeps, and `fabric_view`, one that is lent for the length of a callback. Both are looked at by the same calls.

use fabric::channel::{MessageView, Received};

use crate::border::{Code, ErrorBuffer, Fault, bytes_mut, call, give, need};

/// A received message, never changed; any number of calls may read it.
pub(crate) struct ReceivedHandle(Received);

impl ReceivedHandle {
    pub(crate) fn new(received: Received) -> *mut Self {
        Box::into_raw(Box::new(Self(received)))
    }

    /// Lends it.
    ///
    /// # Safety
    /// C1.
    unsafe fn lend<R>(
        received: *const Self,
        use_it: impl FnOnce(&MessageView<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        need(received, "received")?;
        // SAFETY: by C1 it is alive, and it is never written.
        unsafe { &(*received).0 }.lend(|view| use_it(&view))
    }
}

/// What a callback gets: a pointer to one lives on the stack of the call that lends it.
pub(crate) struct ViewHandle<'a>(pub(crate) MessageView<'a>);

/// `fabric_info`.
#[repr(C)]
pub(crate) struct InfoOut {
    kind: i32,
    flags: u32,
    frames: u32,
    extended: u32,
    correlation: u64,
    timestamp_ns: u64,
    tag: u64,
    payload_bytes: u64,
}

impl InfoOut {
    fn of(view: &MessageView<'_>) -> Self {
        let (timestamp_ns, tag) = view.extension().unwrap_or_default();
        Self {
            // The header counts from 0, the wire from 1.
            kind: view.kind() as i32 - 1,
            flags: view.flags().into(),
            frames: view.frames() as u32,
            extended: view.extension().is_some().into(),
            correlation: view.correlation(),
            timestamp_ns,
            tag,
            payload_bytes: view.each_frame().map(|(_, frame)| frame.len() as u64).sum(),
        }
    }
}

/// `fabric_frame`.
#[repr(C)]
pub(crate) struct FrameOut {
    /// NULL for bytes that a peer that is not trusted can change.
    data: *const u8,
    length: usize,
    schema: u16,
}

fn frame(view: &MessageView<'_>, number: usize) -> Result<FrameOut, Fault> {
    let Some((schema, frame)) = view.each_frame().nth(number) else { return Err(no_frame(view, number)) };
    let data = frame.as_bytes().map_or(std::ptr::null(), <[u8]>::as_ptr);
    Ok(FrameOut { data, length: frame.len(), schema })
}

fn no_frame(view: &MessageView<'_>, number: usize) -> Fault {
    Fault::misuse(format!("frame {number} of a message of {}", view.frames()))
}

/// Copies a frame, or all of them behind each other. How many bytes; over `into`, nothing is copied.
fn copy(view: &MessageView<'_>, number: Option<usize>, into: &mut [u8]) -> Result<usize, (usize, Fault)> {
    let all = match number {
        None => view.to_vec(),
        Some(number) => match view.each_frame().nth(number) {
            None => return Err((0, no_frame(view, number))),
            Some((_, frame)) => match frame.as_bytes() {
                Some(bytes) => return copy_bytes(bytes, into),
                None => frame.to_vec(),
            },
        },
    };
    copy_bytes(&all, into)
}

pub(crate) fn copy_bytes(bytes: &[u8], into: &mut [u8]) -> Result<usize, (usize, Fault)> {
    let (length, size) = (bytes.len(), into.len());
    let Some(place) = into.get_mut(..length) else {
        let text = format!("{length} bytes do not fit a buffer of {size}");
        return Err((length, Fault::new(Code::TooLarge, text).with_limit(size)));
    };
    place.copy_from_slice(bytes);
    Ok(length)
}

/// Tells how many bytes there were, whether they were copied or not.
///
/// # Safety
/// C3.
pub(crate) unsafe fn give_copied(length: *mut usize, copied: Result<usize, (usize, Fault)>) -> Result<(), Fault> {
    let (there, result) = match copied {
        Ok(there) => (there, Ok(())),
        Err((there, fault)) => (there, Err(fault)),
    };
    // SAFETY: C3.
    unsafe { give(length, "length", there) }?;
    result
}

/// # Safety
/// C1 of views: it is given to a callback, and used before that returns.
unsafe fn view<'a>(view: *const ViewHandle<'a>) -> Result<&'a MessageView<'a>, Fault> {
    need(view, "view")?;
    // SAFETY: as the caller promises; it is never written.
    Ok(unsafe { &(*view).0 })
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_received_free(received: *mut ReceivedHandle) {
    // SAFETY: C1: made by `ReceivedHandle::new`, and given to no other call any more.
    unsafe {
        call(std::ptr::null_mut(), || {
            if !received.is_null() {
                drop(Box::from_raw(received));
            }
            Ok(())
        })
    };
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_received_info(
    received: *const ReceivedHandle,
    info: *mut InfoOut,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe { call(error, || give(info, "info", ReceivedHandle::lend(received, |view| Ok(InfoOut::of(view)))?)) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_received_frame(
    received: *const ReceivedHandle,
    number: usize,
    place: *mut FrameOut,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3, C6: the bytes lie in memory that the message keeps.
    unsafe { call(error, || give(place, "frame", ReceivedHandle::lend(received, |view| frame(view, number))?)) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_received_copy(
    received: *const ReceivedHandle,
    number: usize,
    buffer: *mut u8,
    size: usize,
    length: *mut usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C2, C3.
    unsafe {
        call(error, || {
            let into = bytes_mut(buffer, size, "buffer")?;
            let copied = ReceivedHandle::lend(received, |view| Ok(copy(view, which(number), into)))?;
            give_copied(length, copied)
        })
    }
}

/// `FABRIC_ALL_FRAMES` is all of them.
fn which(number: usize) -> Option<usize> {
    (number != usize::MAX).then_some(number)
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_view_info(
    lent: *const ViewHandle<'_>,
    info: *mut InfoOut,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe { call(error, || give(info, "info", InfoOut::of(view(lent)?))) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_view_frame(
    lent: *const ViewHandle<'_>,
    number: usize,
    place: *mut FrameOut,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3, C6: the bytes stay until the callback returns.
    unsafe { call(error, || give(place, "frame", frame(view(lent)?, number)?)) }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_view_copy(
    lent: *const ViewHandle<'_>,
    number: usize,
    buffer: *mut u8,
    size: usize,
    length: *mut usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C2, C3.
    unsafe {
        call(error, || {
            let into = bytes_mut(buffer, size, "buffer")?;
            give_copied(length, copy(view(lent)?, which(number), into))
        })
    }
}
