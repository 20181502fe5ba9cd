//! io_uring under a link: a receive that waits in the kernel, and batches that the kernel sends to their end. Reader and writer have one ring each.
//!
//! What it saves against plain calls: looking for bytes that are not there costs no system call (a completion appears in memory), and a batch that
//! finds the socket full goes on without us. Rings are used by whichever thread pumps the link, so they are made without `SINGLE_ISSUER` and
//! `DEFER_TASKRUN`, which bind a ring to one thread. A request dies with the thread that submitted it; it is then made anew.
//!
//! What was measured and left out (256 KiB over loopback, processor time of both ends, Linux 6.18): `send` and `recv` 81 µs, registered buffers on
//! either side 79 to 95 µs, `SEND_ZC` from registered buffers 137 to 168 µs, since loopback copies after all, in the receiver's time. Registered
//! windows would also take their share of `RLIMIT_MEMLOCK`, 8 MiB for all of a user's processes, from those who cannot do without: RDMA adapters.
//!
//! Invariants:
//! - **U1** The memory that a request names is held by the ring until the request's completion was taken, and for ever if that cannot be had.
//! - **U2** While a request is under way, nobody makes a reference to the bytes that it names: reader and writer, whose locks are held around every
//!   call here, ask the assembler for space and the batch for slices only when none is.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use fabric::memory::Memory;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, opcode, squeue};

use crate::assembler::{Assembler, Space};
use crate::control::CONTROL_BYTES;
use crate::stream::Stream;
use crate::writer::{Batch, SLICES};

const ENTRIES: u32 = 4;
/// How long the end of a link waits for the kernel to let go of its memory. It does so at once when the connection is broken off.
const LETTING_GO_S: u64 = 2;

/// Whether the kernel lets us have rings that can do what is needed here.
pub(crate) fn probe() -> Result<(), String> {
    let ring = IoUring::new(ENTRIES).map_err(|error| format!("io_uring_setup: {error}"))?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| format!("io_uring_register: {error}"))?;
    for (name, code) in [("recv", opcode::Recv::CODE), ("sendmsg", opcode::SendMsg::CODE)] {
        if !probe.is_supported(code) {
            return Err(format!("io_uring of this kernel cannot {name}"));
        }
    }
    if !ring.params().is_feature_ext_arg() {
        return Err("io_uring of this kernel is older than 5.11".to_owned());
    }
    Ok(())
}

/// A ring with at most one request under way.
struct Ring {
    ring: IoUring,
    stream: Arc<Stream>,
    under_way: bool,
}

impl Ring {
    fn new(stream: Arc<Stream>) -> io::Result<Self> {
        Ok(Self { ring: IoUring::new(ENTRIES)?, stream, under_way: false })
    }

    fn fd(&self) -> Fd {
        Fd(self.stream.as_fd().as_raw_fd())
    }

    /// # Safety
    /// U1 and U2 hold for the memory that `request` names.
    unsafe fn submit(&mut self, request: &squeue::Entry) -> io::Result<()> {
        debug_assert!(!self.under_way, "one request at a time");
        // SAFETY: the caller's promise.
        unsafe { self.ring.submission().push(request) }.map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))?;
        self.under_way = true;
        loop {
            match self.ring.submit() {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // The entry stays in the queue, and would be submitted with the next: the link ends here.
                    return Err(error);
                }
            }
        }
    }

    /// The result of the request under way; `WouldBlock` while it is. `None`: it was undone, with its thread.
    fn reap(&mut self) -> io::Result<Option<usize>> {
        let Some(completion) = self.ring.completion().next() else { return Err(io::ErrorKind::WouldBlock.into()) };
        self.under_way = false;
        match completion.result() {
            count @ 0.. => Ok(Some(count.unsigned_abs() as usize)),
            error if matches!(-error, libc::ECANCELED | libc::EAGAIN | libc::EINTR) => Ok(None),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }

    /// Ends the request under way by ending the connection. Whether the kernel has let go of the memory.
    fn let_go(&mut self) -> bool {
        if !self.under_way {
            return true;
        }
        self.stream.break_off();
        let timeout = Timespec::new().sec(LETTING_GO_S);
        let waited = self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout));
        waited.is_ok() && self.ring.completion().next().is_some()
    }
}

/// Receives into the space of an assembler.
pub(crate) struct ReceiveRing {
    ring: Ring,
    asked_for: usize,
    holds: Option<Memory>,
}

impl ReceiveRing {
    pub(crate) fn new(stream: Arc<Stream>) -> io::Result<Self> {
        Ok(Self { ring: Ring::new(stream)?, asked_for: 0, holds: None })
    }

    /// Bytes received and how many could have been; `WouldBlock` while the kernel waits for them.
    pub(crate) fn read(&mut self, assembler: &mut Assembler) -> io::Result<(usize, usize)> {
        loop {
            if !self.ring.under_way {
                self.begin(assembler)?;
            }
            if let Some(count) = self.ring.reap()? {
                return Ok((count, self.asked_for));
            }
        }
    }

    /// Has a request wait. An error is found by the next read.
    pub(crate) fn prime(&mut self, assembler: &mut Assembler) {
        if !self.ring.under_way {
            let _ = self.begin(assembler);
        }
    }

    fn begin(&mut self, assembler: &mut Assembler) -> io::Result<()> {
        let Space { at, len } = assembler.space();
        self.holds = Some(assembler.space_memory().0.clone());
        self.asked_for = len;
        let most = u32::try_from(len).unwrap_or(u32::MAX);
        let request = opcode::Recv::new(self.ring.fd(), at.as_ptr(), most).build();
        // SAFETY: U1: `holds` keeps the memory. U2: the assembler touches the space only in `took`, which follows the completion.
        unsafe { self.ring.submit(&request) }
    }
}

impl AsFd for ReceiveRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        borrowed(&self.ring.ring)
    }
}

impl Drop for ReceiveRing {
    fn drop(&mut self) {
        if !self.ring.let_go() {
            std::mem::forget(self.holds.take());
        }
    }
}

/// Sends batches.
pub(crate) struct SendRing {
    ring: Ring,
    request: Box<SendRequest>,
}

/// What the kernel reads while a batch is under way.
struct SendRequest {
    message: libc::msghdr,
    slices: [libc::iovec; SLICES],
    head: [u8; CONTROL_BYTES],
    holds: Vec<Memory>,
}

// SAFETY: its pointers name its own fields and the memory that `holds` keeps, both reached by any one thread at a time.
unsafe impl Send for SendRequest {}

impl SendRing {
    pub(crate) fn new(stream: Arc<Stream>) -> io::Result<Self> {
        // SAFETY: a `msghdr` of zeroes is an empty one.
        let message = unsafe { std::mem::zeroed::<libc::msghdr>() };
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let request = SendRequest {
            message,
            slices: [empty; SLICES],
            head: [0; CONTROL_BYTES],
            holds: Vec::with_capacity(SLICES),
        };
        Ok(Self { ring: Ring::new(stream)?, request: Box::new(request) })
    }

    /// How much of the batch was sent; `WouldBlock` while the kernel is at it. The same batch is to be passed until then.
    pub(crate) fn write(&mut self, batch: &Batch) -> io::Result<usize> {
        loop {
            if !self.ring.under_way {
                self.begin(batch)?;
            }
            if let Some(count) = self.ring.reap()? {
                self.request.holds.clear();
                return Ok(count);
            }
        }
    }

    fn begin(&mut self, batch: &Batch) -> io::Result<()> {
        let request = &mut *self.request;
        request.holds.clear();
        request.holds.extend(batch.memories().cloned());
        let (slices, count) = batch.slices();
        for (entry, slice) in request.slices.iter_mut().zip(&slices[..count]) {
            *entry = libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() };
        }
        if batch.has_head() {
            // The batch may move, its head with it; the copy does not.
            let head = &slices[0];
            request.head[..head.len()].copy_from_slice(head);
            request.slices[0].iov_base = request.head.as_mut_ptr().cast();
        }
        request.message.msg_iov = request.slices.as_mut_ptr();
        request.message.msg_iovlen = count;
        let flags = (libc::MSG_NOSIGNAL | libc::MSG_WAITALL).unsigned_abs();
        let entry = opcode::SendMsg::new(self.ring.fd(), &raw const request.message).flags(flags).build();
        // SAFETY: U1: the box keeps message, slices and head, `holds` the windows. U2: the kernel only reads them, and the writer changes neither
        // them nor the batch before the completion.
        unsafe { self.ring.submit(&entry) }
    }
}

impl AsFd for SendRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        borrowed(&self.ring.ring)
    }
}

impl Drop for SendRing {
    fn drop(&mut self) {
        if !self.ring.let_go() {
            let empty = SendRequest {
                // SAFETY: a `msghdr` of zeroes is an empty one.
                message: unsafe { std::mem::zeroed() },
                slices: self.request.slices,
                head: self.request.head,
                holds: Vec::new(),
            };
            std::mem::forget(std::mem::replace(&mut self.request, Box::new(empty)));
        }
    }
}

fn borrowed(ring: &IoUring) -> BorrowedFd<'_> {
    // SAFETY: the ring owns the descriptor and outlives the result.
    unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) }
}
