//! `Sender`: posts into one input queue.

use std::sync::{Mutex, MutexGuard, TryLockError};

use fabric::channel::{Deadline, PostError, Refusal};
use pyo3::prelude::*;

use crate::error::{in_use, of_post, value};
use crate::message::{self, Message};
use crate::wait::{Step, deadline, until};

/// Whether a full queue makes its senders wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    Wait,
    Say,
}

/// See fabric.pyi.
#[pyclass(frozen, module = "fabric")]
pub(crate) struct Sender {
    sender: Mutex<::fabric::channel::Sender>,
    when_full: WhenFull,
}

impl Sender {
    pub(crate) fn new(sender: ::fabric::channel::Sender, when_full: WhenFull) -> Self {
        Self { sender: Mutex::new(sender), when_full }
    }

    fn sender(&self) -> PyResult<MutexGuard<'_, ::fabric::channel::Sender>> {
        match self.sender.try_lock() {
            Ok(sender) => Ok(sender),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(in_use("the sender")),
        }
    }
}

fn post(
    sender: &mut ::fabric::channel::Sender,
    message: ::fabric::Message,
    tag: Option<u64>,
    deadline: Deadline,
) -> Result<(), PostError> {
    match tag {
        None => sender.post(message, deadline),
        Some(tag) => sender.post_tagged(message, tag, deadline),
    }
}

/// What became of a message, and the message, if it was not taken.
type Posted = (PyResult<()>, Option<::fabric::Message>);

impl Sender {
    fn post_within(&self, py: Python<'_>, message: ::fabric::Message, tag: Option<u64>, deadline: Deadline) -> Posted {
        let mut sender = match self.sender() {
            Ok(sender) => sender,
            Err(error) => return (Err(error), Some(message)),
        };
        // Never waits, so the interpreter need not be let go of.
        let Err(error) = post(&mut sender, message, tag, Deadline::Now) else { return (Ok(()), None) };
        if error.why != Refusal::Busy || self.when_full == WhenFull::Say || deadline == Deadline::Now {
            return (Err(of_post(py, &error)), Some(*error.message));
        }
        let (sender, mut kept) = (&mut *sender, Some(error.message));
        let result = until(py, deadline, |step| {
            let Some(message) = kept.take() else { return Step::Done(Ok(())) };
            let Err(mut error) = post(sender, *message, tag, step) else { return Step::Done(Ok(())) };
            kept = Some(std::mem::take(&mut error.message));
            if error.why == Refusal::Busy { Step::Late(Err(error)) } else { Step::Done(Err(error)) }
        });
        let result = result.and_then(|result| result.map_err(|error| of_post(py, &error)));
        (result, kept.map(|message| *message))
    }
}

#[pymethods]
impl Sender {
    /// Posts bytes or a message.
    #[pyo3(signature = (data, *, tag = None, timeout = None))]
    fn post(&self, py: Python<'_>, data: &Bound<'_, PyAny>, tag: Option<u64>, timeout: Option<f64>) -> PyResult<()> {
        let deadline = deadline(timeout)?;
        let message = message::of(data)?;
        let (posted, back) = self.post_within(py, message, tag, deadline);
        if let (Some(back), Ok(message)) = (back, data.cast::<Message>()) {
            // It was not taken, and is as it was.
            *message.get().inner() = back;
        }
        posted
    }

    /// A further producer of the same queue.
    fn another(&self) -> PyResult<Self> {
        let another = self.sender()?.another().ok_or_else(|| value("this queue has one producer"))?;
        Ok(Self::new(another, self.when_full))
    }

    /// The longest message that this queue takes, encoded, in bytes.
    #[getter]
    fn message_bytes_max(&self) -> PyResult<usize> {
        Ok(self.sender()?.message_bytes_max())
    }
}
