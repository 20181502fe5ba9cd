//! `Message`, to be sent, and what may be appended or posted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fabric::wire::{FRAMES_MAX, Kind};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::value;
use crate::window::Slice;

/// From this size on, `bytes` are referred to instead of copied.
const REFER_FROM: usize = 4096;

/// The kinds by name.
const KINDS: [(&str, Kind); 7] = [
    ("data", Kind::Data),
    ("request", Kind::Request),
    ("response", Kind::Response),
    ("cancel", Kind::Cancel),
    ("gap", Kind::Gap),
    ("ping", Kind::Ping),
    ("pong", Kind::Pong),
];

/// What a name stands for; `what` and the names go into the error.
pub(crate) fn named<T: Copy>(what: &str, name: &str, of: &[(&str, T)]) -> PyResult<T> {
    of.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = of.iter().map(|(known, _)| *known).collect();
        value(format!("{what} {name:?}, known are {}", known.join(", ")))
    })
}

/// The name of a kind.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    KINDS.iter().find(|(_, known)| *known == kind).map_or("?", |(name, _)| name)
}

/// A `bytes` object as memory of a frame.
struct Referred {
    _owner: Py<PyBytes>,
    data: *const u8,
    len: usize,
}

// SAFETY: P3; the reference is given back by PyO3 on whatever thread.
unsafe impl Send for Referred {}
// SAFETY: as above; shared, it is only read.
unsafe impl Sync for Referred {}

impl AsRef<[u8]> for Referred {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: P3, and there is a reference.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// Appends a frame of anything that has bytes.
fn append(message: &mut ::fabric::Message, data: &Bound<'_, PyAny>) -> PyResult<()> {
    if message.frames() == FRAMES_MAX {
        return Err(value(format!("a message has at most {FRAMES_MAX} frames")));
    }
    if let Ok(slice) = data.cast::<Slice>() {
        message.push_shared(slice.get().0.clone());
        return Ok(());
    }
    if let Ok(bytes) = data.cast::<PyBytes>() {
        let here = bytes.as_bytes();
        check_length(here.len())?;
        if here.len() < REFER_FROM {
            message.push_copy(here);
        } else {
            let (data, len) = (here.as_ptr(), here.len());
            message.push_external(Referred { _owner: bytes.clone().unbind(), data, len });
        }
        return Ok(());
    }
    let bytes = PyBuffer::<u8>::get(data)?.to_vec(data.py())?;
    check_length(bytes.len())?;
    if bytes.len() < REFER_FROM {
        message.push_copy(&bytes);
    } else {
        message.push_shared(::fabric::Slice::from_vec(bytes));
    }
    Ok(())
}

fn check_length(length: usize) -> PyResult<()> {
    if u32::try_from(length).is_err() {
        return Err(value(format!("a frame of {length} bytes, the most is {}", u32::MAX)));
    }
    Ok(())
}

/// The message of what is posted: a [`Message`], which is left empty, or one frame of bytes.
pub(crate) fn of(data: &Bound<'_, PyAny>) -> PyResult<::fabric::Message> {
    if let Ok(message) = data.cast::<Message>() {
        return Ok(std::mem::take(&mut *message.get().inner()));
    }
    let mut message = ::fabric::Message::new();
    append(&mut message, data)?;
    Ok(message)
}

/// See fabric.pyi.
#[pyclass(frozen, module = "fabric")]
pub(crate) struct Message(Mutex<::fabric::Message>);

impl Message {
    pub(crate) fn inner(&self) -> MutexGuard<'_, ::fabric::Message> {
        // Nothing below leaves it half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(::fabric::Message) -> ::fabric::Message) {
        let mut inner = self.inner();
        *inner = change(std::mem::take(&mut *inner));
    }
}

#[pymethods]
impl Message {
    #[new]
    #[pyo3(signature = (*frames, kind = "data", correlation = 0))]
    fn new(frames: Vec<Bound<'_, PyAny>>, kind: &str, correlation: u64) -> PyResult<Self> {
        let mut message = ::fabric::Message::of_kind(named("kind", kind, &KINDS)?, correlation);
        frames.iter().try_for_each(|frame| append(&mut message, frame))?;
        Ok(Self(Mutex::new(message)))
    }

    /// Appends a frame.
    #[pyo3(signature = (data, schema = 0))]
    fn append(&self, data: &Bound<'_, PyAny>, schema: u16) -> PyResult<()> {
        // A view may run Python's code, so the message is not locked meanwhile.
        let mut message = std::mem::take(&mut *self.inner());
        let appended = append(&mut message, data);
        *self.inner() = if appended.is_ok() { message.with_schema(schema) } else { message };
        appended
    }

    /// Stamps it.
    fn stamp(&self, nanoseconds: u64) {
        self.change(|message| message.with_timestamp(nanoseconds));
    }

    /// Gives it a tag that travels with it.
    fn tag(&self, tag: u64) {
        self.change(|message| message.with_tag(tag));
    }

    /// Asks that its bytes be zeroed when they have been read.
    fn erase(&self) {
        self.change(::fabric::Message::erased);
    }

    #[getter]
    fn kind(&self) -> &'static str {
        kind_name(self.inner().kind())
    }

    #[getter]
    fn correlation(&self) -> u64 {
        self.inner().correlation()
    }

    /// Bytes of its encoding.
    #[getter]
    fn encoded_bytes(&self) -> usize {
        self.inner().encoded_bytes()
    }

    fn __len__(&self) -> usize {
        self.inner().frames()
    }

    fn __repr__(&self) -> String {
        let inner = self.inner();
        format!("<fabric.Message {} of {} frames>", kind_name(inner.kind()), inner.frames())
    }
}
