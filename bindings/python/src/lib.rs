//! The fabric for Python: the module `fabric`. `fabric.pyi` is its page: every class is explained there.
//!
//! ```text
//!  memoryview(window) ─► memory of the channel's arena ─ fill ─► Slice ─ post ─► peer        nothing is copied where the transport shares memory
//!  memoryview(frame)  ◄─ memory of the message, or the peer's window, if it is trusted
//! ```
//!
//! Nothing here waits with the interpreter attached: a call looks once, and then waits detached, coming back ten times a second for signals. Nothing
//! that the fabric drops on its own threads waits for the interpreter: references to Python's objects are given back later, by PyO3.
//!
//! Budget of a call on top of the crate's: one lock without contention, the conversion of its arguments, and one object for what is received.
//!
//! Invariants, cited by number:
//! - **P1** A view of bytes holds a reference to the object that it was made of (`PyBuffer_FillInfo`), and that object keeps the memory: a frame its
//!   message, a slice its count, a window itself.
//! - **P2** A window is filled, and let go of, only while no view of it is alive; so nobody writes bytes that were filled.
//! - **P3** A `bytes` object never changes, so its bytes can be read without the interpreter for as long as there is a reference to it.

mod channel;
mod error;
mod message;
mod received;
mod receiver;
mod sender;
mod wait;
mod window;

// Brings `tcp:` and `vsock:`.
use fabric_net as _;

use pyo3::prelude::*;

/// Channels of messages and windows between threads, processes and machines.
#[pymodule]
#[pyo3(name = "fabric")]
fn add_all(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<channel::Channel>()?;
    module.add_class::<sender::Sender>()?;
    module.add_class::<receiver::Receiver>()?;
    module.add_class::<message::Message>()?;
    module.add_class::<received::Received>()?;
    module.add_class::<received::Frame>()?;
    module.add_class::<window::Window>()?;
    module.add_class::<window::Slice>()?;
    module.add_function(wrap_pyfunction!(schemes, module)?)?;
    error::add(module)
}

/// The schemes of the transports that are there.
#[pyfunction]
fn schemes() -> Vec<&'static str> {
    ::fabric::tli::schemes()
}
