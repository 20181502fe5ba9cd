//! `Received`, a message, and `Frame`, a view of which shows its bytes where they lie.

use std::ffi::c_int;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pyo3::exceptions::PyIndexError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::value;
use crate::message::kind_name;
use crate::window::{Access, fill_view};

/// See fabric.pyi.
#[pyclass(frozen, module = "fabric")]
pub(crate) struct Received(Mutex<Option<Arc<::fabric::channel::Received>>>);

impl Received {
    pub(crate) fn new(received: ::fabric::channel::Received) -> Self {
        Self(Mutex::new(Some(Arc::new(received))))
    }

    fn message(&self) -> PyResult<Arc<::fabric::channel::Received>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone().ok_or_else(|| value("the message was released"))
    }
}

#[pymethods]
impl Received {
    #[getter]
    fn kind(&self) -> PyResult<&'static str> {
        Ok(kind_name(self.message()?.kind()))
    }

    #[getter]
    fn correlation(&self) -> PyResult<u64> {
        Ok(self.message()?.correlation())
    }

    #[getter]
    fn timestamp(&self) -> PyResult<Option<u64>> {
        Ok(self.message()?.extension().map(|(timestamp, _)| timestamp))
    }

    #[getter]
    fn tag(&self) -> PyResult<Option<u64>> {
        Ok(self.message()?.extension().map(|(_, tag)| tag))
    }

    /// Lets go of it; frames that are still held keep what they show.
    fn release(&self) {
        let released = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(released);
    }

    fn __len__(&self) -> PyResult<usize> {
        Ok(self.message()?.frames().len())
    }

    fn __getitem__(&self, number: isize) -> PyResult<Frame> {
        let message = self.message()?;
        let frames = message.frames().len();
        let place = if number < 0 { number + frames as isize } else { number };
        let place = usize::try_from(place).ok().filter(|place| *place < frames);
        let number = place.ok_or_else(|| PyIndexError::new_err(format!("frame {number} of {frames}")))?;
        Ok(Frame { message, number, copy: OnceLock::new() })
    }

    /// All bytes of all frames, copied.
    fn __bytes__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let message = self.message()?;
        match message.frames() {
            // One copy for the usual message. (Without bytes here the frame may lie in a window of the peer's.)
            [_] if !message.bytes().is_empty() => Ok(PyBytes::new(py, message.bytes())),
            _ => Ok(PyBytes::new(py, &message.to_vec())),
        }
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(&self, _kind: &Bound<'_, PyAny>, _value: &Bound<'_, PyAny>, _trace: &Bound<'_, PyAny>) {
        self.release();
    }

    fn __repr__(&self) -> String {
        match self.message() {
            Ok(message) => {
                format!("<fabric.Received {} of {} frames>", kind_name(message.kind()), message.frames().len())
            }
            Err(_) => "<fabric.Received, released>".to_owned(),
        }
    }
}

/// See fabric.pyi.
#[pyclass(frozen, module = "fabric")]
pub(crate) struct Frame {
    message: Arc<::fabric::channel::Received>,
    number: usize,
    /// Of a window that its peer could change.
    copy: OnceLock<Vec<u8>>,
}

impl Frame {
    fn bytes(&self) -> &[u8] {
        let frame = &self.message.frames()[self.number];
        match &frame.bytes {
            ::fabric::tli::Borrowed::Slice(slice) => slice,
            ::fabric::tli::Borrowed::Remote(remote) => match remote.trusted() {
                Some(bytes) => bytes,
                None => self.copy.get_or_init(|| remote.to_vec()),
            },
        }
    }
}

#[pymethods]
impl Frame {
    /// The sender's number for its form.
    #[getter]
    fn schema(&self) -> u16 {
        self.message.frames()[self.number].schema
    }

    /// Whether the bytes lie in a window of the peer's.
    #[getter]
    fn lent(&self) -> bool {
        matches!(self.message.frames()[self.number].bytes, ::fabric::tli::Borrowed::Remote(_))
    }

    fn __len__(&self) -> usize {
        match &self.message.frames()[self.number].bytes {
            ::fabric::tli::Borrowed::Slice(slice) => slice.len(),
            ::fabric::tli::Borrowed::Remote(remote) => remote.len(),
        }
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.bytes())
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let bytes = slf.get().bytes();
        // SAFETY: P1: the frame keeps the message, and nobody changes its bytes, or the copy.
        unsafe { fill_view(slf.as_any(), bytes.as_ptr(), bytes.len(), Access::Read, view, flags) }
    }
}
