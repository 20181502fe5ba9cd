//! What is made of an adapter: a protection domain, registered memory, completion queues and the descriptor that tells of completions.

use std::ffi::c_int;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use fabric::memory::Memory;

use super::abi::{CompChannel, Cq, Mr, Pd, Wc, access};
use super::{Adapter, VerbsError};

/// A protection domain: its queue pairs reach its registered memory, and no other. Each link has its own, so that the key to one link's memory is of
/// no use to another's peer.
pub(crate) struct Domain {
    pub(super) adapter: Arc<Adapter>,
    pub(super) pd: NonNull<Pd>,
}

// SAFETY: by V6.
unsafe impl Send for Domain {}
// SAFETY: by V6.
unsafe impl Sync for Domain {}

impl Domain {
    pub(crate) fn new(adapter: Arc<Adapter>) -> Result<Arc<Self>, VerbsError> {
        // SAFETY: by V2 the context is open.
        let pd = unsafe { (adapter.library.alloc_pd)(adapter.context.as_ptr()) };
        let pd = NonNull::new(pd).ok_or_else(|| VerbsError::last("make an RDMA protection domain"))?;
        Ok(Arc::new(Self { adapter, pd }))
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: by V2 everything made in it is gone, and it is freed once.
        unsafe { (self.adapter.library.dealloc_pd)(self.pd.as_ptr()) };
    }
}

/// Who reaches a region besides this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Our adapter, for work that we post.
    Adapter,
    /// The peer too, which may write into it at any time.
    Peer,
}

/// Memory registered with the adapter, and pinned.
pub(crate) struct Region {
    domain: Arc<Domain>,
    mr: NonNull<Mr>,
    memory: Memory,
}

// SAFETY: by V6.
unsafe impl Send for Region {}
// SAFETY: by V6.
unsafe impl Sync for Region {}

impl Region {
    /// Registers `memory`. V5: what the peer may write is [`fabric::memory::Origin::Foreign`], so that nobody makes references to it.
    ///
    /// # Panics
    /// When `reach` and the memory's origin disagree.
    pub(crate) fn register(domain: Arc<Domain>, memory: Memory, reach: Reach) -> Result<Self, VerbsError> {
        use fabric::memory::Origin;
        let (flags, origin) = match reach {
            Reach::Adapter => (access::LOCAL_WRITE, Origin::Own),
            Reach::Peer => (access::LOCAL_WRITE | access::REMOTE_WRITE, Origin::Foreign),
        };
        assert_eq!(memory.origin(), origin, "memory that a peer may write is foreign, other is not");
        let address = memory.as_ptr().cast_mut().cast();
        // SAFETY: by V2 the domain lives, and `memory` keeps the bytes mapped until the region is dropped (V3).
        let mr = unsafe { (domain.adapter.library.reg_mr)(domain.pd.as_ptr(), address, memory.len(), flags) };
        let mr = NonNull::new(mr).ok_or_else(|| VerbsError::last("register memory with the RDMA adapter"))?;
        Ok(Self { domain, mr, memory })
    }

    /// The memory.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The key for work that we post.
    pub(crate) fn local_key(&self) -> u32 {
        // SAFETY: by V1 and V2.
        unsafe { self.mr.as_ref().lkey }
    }

    /// The key for the peer's.
    pub(crate) fn remote_key(&self) -> u32 {
        // SAFETY: by V1 and V2.
        unsafe { self.mr.as_ref().rkey }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: by V2 it was registered and is given up once; by V3 no work names it any more.
        unsafe { (self.domain.adapter.library.dereg_mr)(self.mr.as_ptr()) };
    }
}

/// The descriptor that becomes readable when an armed completion queue gets an entry.
pub(crate) struct Bell {
    adapter: Arc<Adapter>,
    channel: NonNull<CompChannel>,
}

// SAFETY: by V6.
unsafe impl Send for Bell {}
// SAFETY: by V6.
unsafe impl Sync for Bell {}

impl Bell {
    pub(crate) fn new(adapter: Arc<Adapter>) -> Result<Arc<Self>, VerbsError> {
        // SAFETY: by V2 the context is open.
        let channel = unsafe { (adapter.library.create_comp_channel)(adapter.context.as_ptr()) };
        let channel = NonNull::new(channel).ok_or_else(|| VerbsError::last("make an RDMA completion channel"))?;
        let bell = Self { adapter, channel };
        rustix::fs::fcntl_setfl(bell.as_fd(), rustix::fs::OFlags::NONBLOCK).map_err(|error| VerbsError {
            operation: "make the RDMA completion channel non-blocking",
            source: error.into(),
        })?;
        Ok(Arc::new(bell))
    }

    /// Takes all rings that have come; each is acknowledged at once, so that queues can be destroyed.
    pub(crate) fn drain(&self) {
        loop {
            let (mut cq, mut context) = (null_mut(), null_mut());
            // SAFETY: by V2 the channel lives; the function writes both only when it returns 0.
            let result =
                unsafe { (self.adapter.library.get_cq_event)(self.channel.as_ptr(), &raw mut cq, &raw mut context) };
            if result != 0 {
                return;
            }
            // SAFETY: the event names a queue of this channel. It lives: a link drains its bell only while it has its queues (V2).
            unsafe { (self.adapter.library.ack_cq_events)(cq, 1) };
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: by V1 and V2 the descriptor is the channel's, open until `self` is dropped.
        unsafe { BorrowedFd::borrow_raw(self.channel.as_ref().fd) }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        // SAFETY: by V2 its queues are gone, for they hold it, and it is destroyed once.
        unsafe { (self.adapter.library.destroy_comp_channel)(self.channel.as_ptr()) };
    }
}

/// A completion queue.
pub(crate) struct Completions {
    bell: Arc<Bell>,
    cq: NonNull<Cq>,
}

// SAFETY: by V6.
unsafe impl Send for Completions {}
// SAFETY: by V6.
unsafe impl Sync for Completions {}

impl Completions {
    /// Room for `entries`.
    pub(crate) fn new(bell: Arc<Bell>, entries: usize) -> Result<Arc<Self>, VerbsError> {
        let entries = c_int::try_from(entries).unwrap_or(c_int::MAX);
        let adapter = &bell.adapter;
        // SAFETY: by V2 context and channel live.
        let cq = unsafe {
            (adapter.library.create_cq)(adapter.context.as_ptr(), entries, null_mut(), bell.channel.as_ptr(), 0)
        };
        let cq = NonNull::new(cq).ok_or_else(|| VerbsError::last("make an RDMA completion queue"))?;
        Ok(Arc::new(Self { bell, cq }))
    }

    /// The queue, for a queue pair that holds `self`.
    pub(super) fn as_ptr(&self) -> *mut Cq {
        self.cq.as_ptr()
    }

    /// Takes what was completed, as much as `into` holds; says how much that was.
    pub(crate) fn poll(&self, into: &mut [Wc]) -> Result<usize, VerbsError> {
        let room = c_int::try_from(into.len()).unwrap_or(c_int::MAX);
        // SAFETY: by V1 and V2; `into` has room for as many entries as are asked for.
        let count = unsafe { (self.bell.adapter.poll_cq)(self.cq.as_ptr(), room, into.as_mut_ptr()) };
        usize::try_from(count).map_err(|_| VerbsError::because("poll an RDMA completion queue", libc::EIO))
    }

    /// From now on the next entry rings the bell.
    pub(crate) fn arm(&self) -> Result<(), VerbsError> {
        // SAFETY: by V1 and V2.
        VerbsError::check("arm an RDMA completion queue", unsafe {
            (self.bell.adapter.req_notify_cq)(self.cq.as_ptr(), 0)
        })
    }
}

impl Drop for Completions {
    fn drop(&mut self) {
        // SAFETY: by V2 its queue pairs are gone, for they hold it, all its events were acknowledged, and it is destroyed once.
        unsafe { (self.bell.adapter.library.destroy_cq)(self.cq.as_ptr()) };
    }
}
