//! The exceptions, and which of them an error of the fabric is. The text is the fabric's own.

use fabric::channel::{FlushError, Loss, PostError, ReceiveError, Refusal};
use fabric::tli::{OpenError, PeerGone as Gone};
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

create_exception!(fabric, Error, PyException);
create_exception!(fabric, TimedOut, Error);
create_exception!(fabric, Busy, Error);
create_exception!(fabric, PeerGone, Error);
create_exception!(fabric, Closed, Error);
create_exception!(fabric, TooLarge, Error);
create_exception!(fabric, Failed, Error);
create_exception!(fabric, OpenFailed, Error);
create_exception!(fabric, Refused, OpenFailed);
create_exception!(fabric, Taken, OpenFailed);
create_exception!(fabric, Unavailable, OpenFailed);
create_exception!(fabric, WrongAddress, OpenFailed);

/// Adds them to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("Error", py.get_type::<Error>())?;
    module.add("TimedOut", py.get_type::<TimedOut>())?;
    module.add("Busy", py.get_type::<Busy>())?;
    module.add("PeerGone", py.get_type::<PeerGone>())?;
    module.add("Closed", py.get_type::<Closed>())?;
    module.add("TooLarge", py.get_type::<TooLarge>())?;
    module.add("Failed", py.get_type::<Failed>())?;
    module.add("OpenFailed", py.get_type::<OpenFailed>())?;
    module.add("Refused", py.get_type::<Refused>())?;
    module.add("Taken", py.get_type::<Taken>())?;
    module.add("Unavailable", py.get_type::<Unavailable>())?;
    module.add("WrongAddress", py.get_type::<WrongAddress>())
}

/// An exception with attributes.
fn with<V: for<'py> IntoPyObject<'py>>(
    py: Python<'_>,
    error: PyErr,
    attributes: impl IntoIterator<Item = (&'static str, V)>,
) -> PyErr {
    let value = error.value(py);
    for (name, attribute) in attributes {
        if let Err(other) = value.setattr(name, attribute) {
            return other;
        }
    }
    error
}

fn gone(py: Python<'_>, text: String, gone: &Gone, in_doubt: Option<u64>) -> PyErr {
    let error = with(py, PeerGone::new_err(text), [("peer", gone.peer.clone()), ("reason", gone.reason.to_string())]);
    with(py, error, [("in_doubt", in_doubt)])
}

/// The exception for a loss.
pub(crate) fn of_loss(py: Python<'_>, loss: &Loss) -> PyErr {
    gone(py, loss.to_string(), &loss.gone, Some(loss.in_doubt))
}

/// The exception for a message that was not taken.
pub(crate) fn of_post(py: Python<'_>, error: &PostError) -> PyErr {
    let text = error.to_string();
    match &error.why {
        Refusal::Busy => Busy::new_err(text),
        Refusal::TooLarge { limit, .. } => with(py, TooLarge::new_err(text), [("limit", *limit)]),
        Refusal::Closed => Closed::new_err(text),
        Refusal::PeerGone(peer) => gone(py, text, peer, None),
        Refusal::Failed(_) => Failed::new_err(text),
    }
}

/// The exception when nothing was received.
pub(crate) fn of_receive(py: Python<'_>, error: &ReceiveError) -> PyErr {
    match error {
        ReceiveError::TimedOut { .. } => TimedOut::new_err(error.to_string()),
        ReceiveError::PeerGone(loss) => of_loss(py, loss),
        ReceiveError::Closed { .. } => Closed::new_err(error.to_string()),
        ReceiveError::Failed { .. } => Failed::new_err(error.to_string()),
    }
}

/// The exception when not all was read.
pub(crate) fn of_flush(py: Python<'_>, error: &FlushError) -> PyErr {
    match error {
        FlushError::TimedOut { .. } => TimedOut::new_err(error.to_string()),
        FlushError::PeerGone(loss) => of_loss(py, loss),
    }
}

/// The exception for a channel that cannot be opened.
pub(crate) fn of_open(py: Python<'_>, error: OpenError) -> PyErr {
    let text = error.to_string();
    match error {
        OpenError::Uri(_) => WrongAddress::new_err(text),
        OpenError::Scheme { .. } | OpenError::Unavailable { .. } => Unavailable::new_err(text),
        OpenError::OverLimit { limit, .. } => with(py, TooLarge::new_err(text), [("limit", limit)]),
        OpenError::Taken { .. } => Taken::new_err(text),
        OpenError::Version { .. } | OpenError::User { .. } | OpenError::Refused { .. } => Refused::new_err(text),
        OpenError::System { source, .. } => with(py, OpenFailed::new_err(text), [("errno", source.raw_os_error())]),
    }
}

/// An argument is wrong.
pub(crate) fn value(text: impl Into<String>) -> PyErr {
    PyValueError::new_err(text.into())
}

/// Another thread has it.
pub(crate) fn in_use(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!("{what} is in use by another thread"))
}
