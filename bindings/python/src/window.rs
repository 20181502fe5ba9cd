//! `Window`, memory that Python fills through a view, and `Slice`, what was filled.

use std::ffi::c_int;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::error::value;

/// Who may write through a view.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Makes a view of `len` bytes from `data`, kept by `owner`.
///
/// # Safety
/// P1: the bytes are there for as long as `owner` lives, or, with [`Access::Write`], may be written until the view is released. `view` is one that the
/// interpreter asked to be filled.
pub(crate) unsafe fn fill_view(
    owner: &Bound<'_, PyAny>,
    data: *const u8,
    len: usize,
    access: Access,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    let readonly = c_int::from(access == Access::Read);
    let len = ffi::Py_ssize_t::try_from(len).map_err(|_| PyBufferError::new_err("too long"))?;
    // SAFETY: the interpreter's struct, filled by the interpreter's function, which takes a reference to the owner.
    let done = unsafe { ffi::PyBuffer_FillInfo(view, owner.as_ptr(), data.cast_mut().cast(), len, readonly, flags) };
    if done == 0 { Ok(()) } else { Err(PyErr::fetch(owner.py())) }
}

/// See fabric.pyi.
#[pyclass(frozen, module = "fabric")]
pub(crate) struct Window(Mutex<Leased>);

struct Leased {
    window: Option<::fabric::Window>,
    /// Views that are alive (P2).
    views: usize,
}

impl Window {
    pub(crate) fn new(window: ::fabric::Window) -> Self {
        Self(Mutex::new(Leased { window: Some(window), views: 0 }))
    }

    fn leased(&self) -> MutexGuard<'_, Leased> {
        // Nothing below leaves it half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leased {
    fn window(&mut self) -> PyResult<&mut ::fabric::Window> {
        self.window.as_mut().ok_or_else(|| value("the window was released"))
    }

    fn unseen(&self) -> PyResult<()> {
        match self.views {
            0 => Ok(()),
            views => Err(PyBufferError::new_err(format!("{views} views of the window are alive; release them first"))),
        }
    }
}

#[pymethods]
impl Window {
    /// Bytes not yet filled.
    #[getter]
    fn room(&self) -> PyResult<usize> {
        Ok(self.leased().window()?.room())
    }

    /// Bytes filled.
    #[getter]
    fn filled(&self) -> PyResult<usize> {
        Ok(self.leased().window()?.filled())
    }

    /// Declares the next `length` bytes written.
    fn fill(&self, length: usize) -> PyResult<Slice> {
        let mut leased = self.leased();
        leased.unseen()?;
        let window = leased.window()?;
        if length > window.room() {
            return Err(value(format!("fill {length} bytes of {}", window.room())));
        }
        Ok(Slice(window.fill(length)))
    }

    /// Lets go of it.
    fn release(&self) -> PyResult<()> {
        let mut leased = self.leased();
        leased.unseen()?;
        leased.window = None;
        Ok(())
    }

    fn __len__(&self) -> PyResult<usize> {
        self.room()
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(&self, _kind: &Bound<'_, PyAny>, _value: &Bound<'_, PyAny>, _trace: &Bound<'_, PyAny>) -> PyResult<()> {
        self.release()
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let mut leased = slf.get().leased();
        let spare = leased.window()?.spare();
        let (data, len) = (spare.as_ptr(), spare.len());
        // SAFETY: by P2 these bytes are nobody else's until the view is released, and the window stays as long.
        unsafe { fill_view(slf.as_any(), data, len, Access::Write, view, flags) }?;
        leased.views += 1;
        Ok(())
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.leased().views -= 1;
    }
}

/// See fabric.pyi.
#[pyclass(frozen, module = "fabric")]
pub(crate) struct Slice(pub(crate) ::fabric::Slice);

#[pymethods]
impl Slice {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let bytes = slf.get().0.as_bytes();
        // SAFETY: P1, the slice keeps its bytes, and nobody changes them.
        unsafe { fill_view(slf.as_any(), bytes.as_ptr(), bytes.len(), Access::Read, view, flags) }
    }
}
