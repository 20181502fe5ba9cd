//! The border between C and Rust: codes, the error buffer, handles, pointers. Every exported function goes through [`call`].

use std::any::Any;
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char};
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fabric::channel::{Deadline, FlushError, Loss, PostError, ReceiveError, Refusal};
use fabric::tli::OpenError;

/// Bytes of an error's text, its zero byte included.
const TEXT_BYTES: usize = 488;

/// `fabric_code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Code {
    Ok = 0,
    TimedOut = 1,
    Busy = 2,
    PeerGone = 3,
    Closed = 4,
    TooLarge = 5,
    Failed = 6,
    Address = 7,
    Unavailable = 8,
    Taken = 9,
    Refused = 10,
    System = 11,
    Misuse = 12,
    Panic = 13,
}

/// `fabric_error`: where a call writes what went wrong.
#[repr(C)]
pub(crate) struct ErrorBuffer {
    code: i32,
    text_length: u32,
    in_doubt: u64,
    limit: u64,
    text: [c_char; TEXT_BYTES],
}

/// What went wrong.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) text: String,
    in_doubt: u64,
    limit: u64,
}

impl Fault {
    pub(crate) fn new(code: Code, text: impl ToString) -> Self {
        Self { code, text: text.to_string(), in_doubt: 0, limit: 0 }
    }

    pub(crate) fn misuse(text: impl ToString) -> Self {
        Self::new(Code::Misuse, text)
    }

    fn panicked(payload: &(dyn Any + Send)) -> Self {
        let said = payload.downcast_ref::<&str>().copied();
        let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self::new(Code::Panic, said.unwrap_or("a panic without a text"))
    }

    pub(crate) fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit as u64;
        self
    }
}

impl From<Loss> for Fault {
    fn from(loss: Loss) -> Self {
        Self { in_doubt: loss.in_doubt, ..Self::new(Code::PeerGone, &loss) }
    }
}

impl From<PostError> for Fault {
    fn from(error: PostError) -> Self {
        let (code, limit) = match &error.why {
            Refusal::Busy => (Code::Busy, 0),
            Refusal::TooLarge { limit, .. } => (Code::TooLarge, *limit),
            Refusal::Closed => (Code::Closed, 0),
            Refusal::PeerGone(_) => (Code::PeerGone, 0),
            Refusal::Failed(_) => (Code::Failed, 0),
        };
        Self::new(code, &error).with_limit(limit)
    }
}

impl From<ReceiveError> for Fault {
    fn from(error: ReceiveError) -> Self {
        let code = match error {
            ReceiveError::TimedOut { .. } => Code::TimedOut,
            ReceiveError::PeerGone(loss) => return loss.into(),
            ReceiveError::Closed { .. } => Code::Closed,
            ReceiveError::Failed { .. } => Code::Failed,
        };
        Self::new(code, &error)
    }
}

impl From<FlushError> for Fault {
    fn from(error: FlushError) -> Self {
        match error {
            FlushError::TimedOut { unread, .. } => Self { in_doubt: unread, ..Self::new(Code::TimedOut, &error) },
            FlushError::PeerGone(loss) => loss.into(),
        }
    }
}

impl From<OpenError> for Fault {
    fn from(error: OpenError) -> Self {
        let (code, limit) = match &error {
            OpenError::Uri(_) => (Code::Address, 0),
            OpenError::Scheme { .. } | OpenError::Unavailable { .. } => (Code::Unavailable, 0),
            OpenError::OverLimit { limit, .. } => (Code::TooLarge, *limit),
            OpenError::Taken { .. } => (Code::Taken, 0),
            OpenError::Version { .. } | OpenError::User { .. } | OpenError::Refused { .. } => (Code::Refused, 0),
            OpenError::System { .. } => (Code::System, 0),
        };
        Self::new(code, &error).with_limit(limit)
    }
}

/// Runs `work` so that nothing unwinds into C, and tells C how it went.
///
/// # Safety
/// C3: `error` is NULL or can be written.
pub(crate) unsafe fn call(error: *mut ErrorBuffer, work: impl FnOnce() -> Result<(), Fault>) -> i32 {
    // What a panic leaves behind is reached through a handle only, and its entry is given back by a guard (C5).
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(Fault::panicked(&*payload)));
    let Err(fault) = result else { return Code::Ok as i32 };
    // SAFETY: the caller's promise is C3.
    if let Some(error) = unsafe { error.as_mut() } {
        error.code = fault.code as i32;
        error.in_doubt = fault.in_doubt;
        error.limit = fault.limit;
        error.text_length = copy_text(&fault.text, &mut error.text) as u32;
    }
    fault.code as i32
}

/// Copies as much of `text` as fits in front of a zero byte, whole characters only. How many bytes.
pub(crate) fn copy_text(text: &str, into: &mut [c_char]) -> usize {
    let Some(room) = into.len().checked_sub(1) else { return 0 };
    let length = text.floor_char_boundary(room);
    for (place, byte) in into.iter_mut().zip(&text.as_bytes()[..length]) {
        *place = *byte as c_char;
    }
    into[length] = 0;
    length
}

/// What C holds a pointer to: a value that one call at a time may enter (C5).
pub(crate) struct Handle<T> {
    entered: AtomicBool,
    value: UnsafeCell<T>,
}

impl<T: Send> Handle<T> {
    /// A pointer for C, to be given back to [`free`].
    pub(crate) fn new(value: T) -> *mut Self {
        Box::into_raw(Box::new(Self { entered: AtomicBool::new(false), value: UnsafeCell::new(value) }))
    }
}

/// The value behind a handle, until this is dropped.
pub(crate) struct Entered<'a, T>(&'a Handle<T>);

/// Enters a handle; `name` is for the error.
///
/// # Safety
/// C1, for as long as the result lives.
pub(crate) unsafe fn enter<'a, T: Send>(handle: *mut Handle<T>, name: &str) -> Result<Entered<'a, T>, Fault> {
    // SAFETY: by C1 it is NULL or alive; everything in it that is shared is atomic.
    let handle = unsafe { handle.as_ref() }.ok_or_else(|| null(name))?;
    // Acquire, and release when it is left: what the last call did is seen.
    if handle.entered.swap(true, Ordering::Acquire) {
        return Err(Fault::misuse(format!("{name} is in use by another call")));
    }
    Ok(Entered(handle))
}

impl<T> Deref for Entered<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by C5 this is the only call within.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Entered<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: by C5 this is the only call within, and the result borrows it exclusively.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Entered<'_, T> {
    fn drop(&mut self) {
        self.0.entered.store(false, Ordering::Release);
    }
}

/// Takes the value out of a handle and frees it. A NULL handle is nothing; one that is in use stays as it is.
///
/// # Safety
/// C1: no other call gets the handle any more.
pub(crate) unsafe fn free<T: Send>(handle: *mut Handle<T>, name: &str) -> Result<Option<T>, Fault> {
    if handle.is_null() {
        return Ok(None);
    }
    // SAFETY: by C1 it is alive.
    std::mem::forget(unsafe { enter(handle, name) }?);
    // SAFETY: by C1 it was made by `Handle::new`, and nobody else comes here; by C5 nobody is within.
    Ok(Some(unsafe { Box::from_raw(handle) }.value.into_inner()))
}

/// Writes a result.
///
/// # Safety
/// C3: `place` is NULL or can be written.
pub(crate) unsafe fn give<T>(place: *mut T, name: &str, value: T) -> Result<(), Fault> {
    if place.is_null() {
        return Err(null(name));
    }
    // SAFETY: by C3; what stood there need not be a value.
    unsafe { place.write(value) };
    Ok(())
}

/// Refuses a NULL place for a result before anything is done.
pub(crate) fn need<T>(place: *const T, name: &str) -> Result<(), Fault> {
    if place.is_null() { Err(null(name)) } else { Ok(()) }
}

/// Bytes that C owns.
///
/// # Safety
/// C2, for as long as the result is used.
pub(crate) unsafe fn bytes<'a>(data: *const u8, length: usize, name: &str) -> Result<&'a [u8], Fault> {
    check_range(data, length, name)?;
    if length == 0 {
        return Ok(&[]);
    }
    // SAFETY: by C2; not NULL and not longer than memory can be.
    Ok(unsafe { std::slice::from_raw_parts(data, length) })
}

/// Bytes that C owns and gives to be written.
///
/// # Safety
/// C2, for as long as the result is used, and the bytes hold values: C's buffers do, whatever they are.
pub(crate) unsafe fn bytes_mut<'a>(data: *mut u8, length: usize, name: &str) -> Result<&'a mut [u8], Fault> {
    check_range(data, length, name)?;
    if length == 0 {
        return Ok(&mut []);
    }
    // SAFETY: by C2; not NULL and not longer than memory can be.
    Ok(unsafe { std::slice::from_raw_parts_mut(data, length) })
}

fn check_range(data: *const u8, length: usize, name: &str) -> Result<(), Fault> {
    if data.is_null() && length > 0 {
        return Err(null(name));
    }
    if isize::try_from(length).is_err() {
        return Err(Fault::misuse(format!("{name} of {length} bytes")));
    }
    Ok(())
}

/// A text.
///
/// # Safety
/// C3.
pub(crate) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str, Fault> {
    need(text, name)?;
    // SAFETY: by C3 it ends with a zero byte.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Fault::misuse(format!("{name} is not UTF-8")))
}

fn null(name: &str) -> Fault {
    Fault::misuse(format!("{name} is NULL"))
}

/// Nanoseconds from now on; below 0 is for ever.
pub(crate) fn deadline(timeout_ns: i64) -> Deadline {
    match u64::try_from(timeout_ns) {
        Err(_) => Deadline::Never,
        Ok(0) => Deadline::Now,
        Ok(time) => Deadline::after(Duration::from_nanos(time)),
    }
}

/// A value of an enum of the header, `of` in order from 0.
pub(crate) fn pick<T: Copy>(number: i32, of: &[T], name: &str) -> Result<T, Fault> {
    let place = usize::try_from(number).ok().and_then(|number| of.get(number));
    place.copied().ok_or_else(|| Fault::misuse(format!("{name} of {number}, there are 0 to {}", of.len() - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> ErrorBuffer {
        ErrorBuffer { code: -1, text_length: 0, in_doubt: 0, limit: 0, text: [0; TEXT_BYTES] }
    }

    fn said(error: &ErrorBuffer) -> &str {
        // SAFETY: the buffer ends with a zero byte.
        unsafe { CStr::from_ptr(error.text.as_ptr()) }.to_str().unwrap()
    }

    #[test]
    fn a_panic_becomes_a_code_and_its_text() {
        let mut error = empty();
        // SAFETY: the buffer is there.
        let code = unsafe { call(&mut error, || panic!("number {}", 7)) };
        assert_eq!((code, error.code, said(&error)), (13, 13, "number 7"));
        // SAFETY: none is a buffer, too.
        assert_eq!(unsafe { call(std::ptr::null_mut(), || panic!("again")) }, 13);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut error = empty();
        // SAFETY: the buffer is there.
        unsafe { call(&mut error, || Err(Fault::misuse("ä".repeat(1000)))) };
        assert_eq!(said(&error), "ä".repeat((TEXT_BYTES - 1) / 2));
        assert_eq!(error.text_length as usize, said(&error).len());
    }

    #[test]
    fn a_handle_takes_one_call_at_a_time_and_is_left_by_a_panic() {
        let handle = Handle::new(5);
        // SAFETY: the handle is alive until it is freed.
        unsafe {
            let entered = enter(handle, "handle").unwrap();
            assert_eq!(enter(handle, "handle").err().unwrap().code, Code::Misuse);
            assert_eq!(free(handle, "handle").unwrap_err().code, Code::Misuse);
            drop(entered);
            call(std::ptr::null_mut(), || {
                let _entered = enter(handle, "handle")?;
                panic!("within");
            });
            assert_eq!(free(handle, "handle").unwrap(), Some(5));
        }
    }
}
