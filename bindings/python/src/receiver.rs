//! `Receiver`: takes messages, one by one or by iteration.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, TryLockError};

use fabric::channel::{Deadline, ReceiveError};
use fabric::tli::Reason;
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;

use crate::error::{in_use, of_receive, value};
use crate::received::Received;
use crate::wait::{Step, deadline, until};

/// See fabric.pyi.
#[pyclass(frozen, module = "fabric")]
pub(crate) struct Receiver(Mutex<::fabric::channel::Receiver>);

impl Receiver {
    pub(crate) fn new(receiver: ::fabric::channel::Receiver) -> Self {
        Self(Mutex::new(receiver))
    }

    fn receiver(&self) -> PyResult<MutexGuard<'_, ::fabric::channel::Receiver>> {
        match self.0.try_lock() {
            Ok(receiver) => Ok(receiver),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(in_use("the receiver")),
        }
    }

    fn take(&self, py: Python<'_>, deadline: Deadline) -> PyResult<Result<Received, ReceiveError>> {
        let mut receiver = self.receiver()?;
        // Never waits, so the interpreter need not be let go of.
        match receiver.try_receive() {
            Ok(Some(received)) => return Ok(Ok(Received::new(received))),
            Ok(None) => {}
            Err(error) => return Ok(Err(error)),
        }
        let receiver = &mut *receiver;
        let taken = until(py, deadline, move |step| match receiver.receive(step) {
            Err(error @ ReceiveError::TimedOut { .. }) => Step::Late(Err(error)),
            result => Step::Done(result),
        })?;
        Ok(taken.map(Received::new))
    }
}

#[pymethods]
impl Receiver {
    /// Waits for a message.
    #[pyo3(signature = (timeout = None))]
    fn receive(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Received> {
        self.take(py, deadline(timeout)?)?.map_err(|error| of_receive(py, &error))
    }

    /// A message if one is there.
    fn try_receive(&self, py: Python<'_>) -> PyResult<Option<Received>> {
        let taken = self.receiver()?.try_receive();
        taken.map(|taken| taken.map(Received::new)).map_err(|error| of_receive(py, &error))
    }

    /// A further consumer of the same queue.
    fn another(&self) -> PyResult<Self> {
        let another = self.receiver()?.another().ok_or_else(|| value("this channel has one consumer"))?;
        Ok(Self::new(another))
    }

    /// A descriptor for event loops.
    fn fileno(&self) -> PyResult<RawFd> {
        Ok(self.receiver()?.descriptor()?.as_raw_fd())
    }

    /// Whether something is there already.
    fn about_to_wait(&self) -> PyResult<bool> {
        Ok(self.receiver()?.about_to_wait()?)
    }

    /// The wait is over.
    fn awake(&self) -> PyResult<()> {
        self.receiver()?.awake();
        Ok(())
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Received> {
        self.take(py, Deadline::Never)?.map_err(|error| match &error {
            ReceiveError::Closed { .. } => PyStopIteration::new_err(()),
            ReceiveError::PeerGone(loss) if matches!(loss.gone.reason, Reason::Closed | Reason::Left) => {
                PyStopIteration::new_err(())
            }
            error => of_receive(py, error),
        })
    }
}
