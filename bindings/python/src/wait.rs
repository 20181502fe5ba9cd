//! Waiting detached from the interpreter, in steps, so that signals are heard.

use std::time::Duration;

use fabric::channel::Deadline;
use pyo3::prelude::*;

use crate::error::value;

/// How long a wait goes on between two looks for signals.
const STEP: Duration = Duration::from_millis(100);

/// What a timeout in seconds is; `None` is for ever.
pub(crate) fn deadline(timeout: Option<f64>) -> PyResult<Deadline> {
    let Some(seconds) = timeout else { return Ok(Deadline::Never) };
    if seconds.is_nan() || seconds < 0.0 {
        return Err(value(format!("a timeout of {seconds} seconds; None waits without end")));
    }
    // Longer than fits is for ever.
    Ok(match Duration::try_from_secs_f64(seconds) {
        Ok(Duration::ZERO) => Deadline::Now,
        Ok(time) => Deadline::after(time),
        Err(_) => Deadline::Never,
    })
}

/// Calls `attempt`, detached, with deadlines of a step each, until it says something or `deadline` is over; what it said last.
pub(crate) fn until<R: Send>(
    py: Python<'_>,
    deadline: Deadline,
    mut attempt: impl FnMut(Deadline) -> Step<R> + Send,
) -> PyResult<R> {
    loop {
        let step = match deadline.left() {
            Some(left) if left < STEP => deadline,
            _ => Deadline::after(STEP),
        };
        match py.detach(|| attempt(step)) {
            Step::Done(result) => return Ok(result),
            Step::Late(result) if deadline.is_over() => return Ok(result),
            Step::Late(_) => py.check_signals()?,
        }
    }
}

/// What an attempt came to.
pub(crate) enum Step<R> {
    /// It is over.
    Done(R),
    /// Its step is over; this is the result if there is no further one.
    Late(R),
}
