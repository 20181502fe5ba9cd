//! `fabric_window`, memory of the channel's arena that C fills, and `fabric_slice`, what was filled.

use fabric::{Slice, Window};

use crate::border::{ErrorBuffer, Fault, Handle, call, enter, free, give, need};

pub(crate) type WindowHandle = Handle<Window>;

/// Counted bytes, never changed; any number of calls may read them.
pub(crate) struct SliceHandle(Slice);

impl SliceHandle {
    /// # Safety
    /// C1, for as long as the result lives.
    pub(crate) unsafe fn shared<'a>(slice: *const Self) -> Result<&'a Slice, Fault> {
        need(slice, "slice")?;
        // SAFETY: by C1 it is alive, and it is never written.
        Ok(unsafe { &(*slice).0 })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_window_spare(
    window: *mut WindowHandle,
    data: *mut *mut u8,
    room: *mut usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3. The bytes are the window's own until they are filled (C6), and nothing here refers to them meanwhile.
    unsafe {
        call(error, || {
            need(room, "room")?;
            let mut window = enter(window, "window")?;
            let spare = window.spare();
            give(room, "room", spare.len())?;
            give(data, "data", spare.as_mut_ptr())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_window_fill(
    window: *mut WindowHandle,
    length: usize,
    slice: *mut *mut SliceHandle,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3.
    unsafe {
        call(error, || {
            need(slice, "slice")?;
            let mut window = enter(window, "window")?;
            if length > window.room() {
                return Err(Fault::misuse(format!("fill {length} bytes of {}", window.room())));
            }
            let filled = Box::new(SliceHandle(window.fill(length)));
            give(slice, "slice", Box::into_raw(filled))
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_window_free(window: *mut WindowHandle) {
    // SAFETY: C1; there is no error buffer.
    unsafe { call(std::ptr::null_mut(), || free(window, "window").map(drop)) };
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_slice_bytes(
    slice: *const SliceHandle,
    data: *mut *const u8,
    length: *mut usize,
    error: *mut ErrorBuffer,
) -> i32 {
    // SAFETY: C1, C3, C6.
    unsafe {
        call(error, || {
            need(length, "length")?;
            let slice = SliceHandle::shared(slice)?;
            give(length, "length", slice.len())?;
            give(data, "data", slice.as_bytes().as_ptr())
        })
    }
}

/// See fabric.h.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fabric_slice_free(slice: *mut SliceHandle) {
    // SAFETY: C1: made by `fabric_window_fill`, and given to no other call any more.
    unsafe {
        call(std::ptr::null_mut(), || {
            if !slice.is_null() {
                drop(Box::from_raw(slice));
            }
            Ok(())
        })
    };
}
