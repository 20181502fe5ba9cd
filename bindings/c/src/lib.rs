//! The fabric for C. `include/fabric.h` is its page: every function is explained there, and only there.
//!
//! ```text
//!  C program ── fabric_post(sender, …) ─► call: pointers looked at, handle entered, panics caught ─► crate `fabric`
//!            ◄─ code, and text in the caller's fabric_error ──────────────────────────────────────
//! ```
//!
//! Nothing here keeps state of its own: a handle is a box around a value of the crate, and what went wrong is written into a buffer of the caller's.
//!
//! Budget on top of the crate's own: one locked instruction for entering a handle, no allocation but for handles themselves, no system call.
//!
//! Invariants, cited by number; the first four are the caller's to keep, as the header says:
//! - **C1** A handle is NULL or was made by this library as that kind of handle and has not been freed. A call that frees it is the last to get it.
//! - **C2** Bytes given by pointer and length can be read, or written where the header says so, and nobody else writes them during the call.
//! - **C3** Pointers for results are NULL or can be written. Texts end with a zero byte.
//! - **C4** Callbacks return, and do so by `return`. What is given to `fabric_message_push_external` or `_push_static` stays as it is until it is
//!   released, or for ever.
//! - **C5** A handle is entered by one call at a time (`border::Handle`): a second one is refused, whether it comes from another thread or from a
//!   callback. So a call has the value behind it to itself.
//! - **C6** What C borrows from a handle (a frame, a window) lies in memory that the value behind it keeps until the handle is freed or the header's
//!   call ends the loan.

mod border;
mod channel;
mod message;
mod options;
mod raw;
mod received;
mod receiver;
mod sender;
mod window;

// Brings `tcp:` and `vsock:`.
use fabric_net as _;

/// The version of the header that this library keeps to.
pub const ABI: u32 = 1;

/// See fabric.h.
#[unsafe(no_mangle)]
pub extern "C" fn fabric_abi() -> u32 {
    ABI
}
