//! A queue pair: one reliable connection to one queue pair of a peer.

use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use super::abi::{
    self, AhAttr, Gid, GlobalRoute, Qp, QpAttr, QpCap, QpInitAttr, RecvWr, SendWr, Sge, access, opcode, qp_mask, qps,
    send_flags,
};
use super::{Completions, Domain, Region, VerbsError};

/// Bytes that are taken over when work is posted, so that they need no registered memory.
pub(crate) const INLINE_BYTES: usize = 32;

/// The time after which an unanswered packet is sent again: 4.096 µs · 2^14, 67 ms.
const TIMEOUT: u8 = 14;
/// How often that is done before the connection counts as broken.
const RETRIES: u8 = 7;
/// A peer that has no buffer posted is tried again for ever: it is alive, for its tether stands.
const RETRIES_UNREADY: u8 = 7;
/// The wait before that, as the verbs count it: 80 µs.
const UNREADY_WAIT: u8 = 6;
/// Routers a packet may pass.
const HOPS: u8 = 64;

/// How a queue pair is made.
pub(crate) struct PairSettings {
    /// Port of the adapter.
    pub(crate) port: u8,
    /// Pieces of work in the send queue, at most.
    pub(crate) sends: usize,
    /// Buffers in the receive queue, at most.
    pub(crate) receives: usize,
}

/// How to reach a peer's queue pair.
pub(crate) struct Route {
    /// Our port, and the place of our address in its table.
    pub(crate) from: (u8, u8),
    /// The peer's address.
    pub(crate) gid: Gid,
    /// The peer's local identifier; 0 on Ethernet.
    pub(crate) lid: u16,
    /// Packet size, as the verbs count it.
    pub(crate) mtu: u8,
    /// The number of its queue pair.
    pub(crate) number: u32,
    /// The first packet number that it sends.
    pub(crate) packet_theirs: u32,
    /// The first packet number that we send.
    pub(crate) packet_ours: u32,
}

/// A piece of work for the send queue.
pub(crate) enum Work<'a> {
    /// Bytes of a region into the next buffer that the peer has posted. `id` comes back with the completion.
    Send { id: u64, region: &'a Region, start: usize, len: usize },
    /// A few bytes into the peer's region, taken over when the work is posted. It is completed without a word.
    Write { bytes: &'a [u8; INLINE_BYTES], address: u64, key: u32 },
    /// As `Write`, and the peer gets a completion of its own, which uses up a buffer that it has posted.
    WriteAndTell { id: u64, bytes: &'a [u8; INLINE_BYTES], address: u64, key: u32 },
}

/// A queue pair.
pub(crate) struct Pair {
    domain: Arc<Domain>,
    _sent: Arc<Completions>,
    _received: Arc<Completions>,
    qp: NonNull<Qp>,
}

// SAFETY: by V6.
unsafe impl Send for Pair {}
// SAFETY: by V6.
unsafe impl Sync for Pair {}

impl Pair {
    /// A queue pair that may be given buffers to receive into, and that the peer may write through.
    pub(crate) fn new(
        domain: Arc<Domain>,
        sent: Arc<Completions>,
        received: Arc<Completions>,
        settings: &PairSettings,
    ) -> Result<Self, VerbsError> {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let mut attributes = QpInitAttr {
            qp_context: null_mut(),
            send_cq: sent.as_ptr(),
            recv_cq: received.as_ptr(),
            srq: null_mut(),
            cap: QpCap {
                max_send_wr: count(settings.sends),
                max_recv_wr: count(settings.receives),
                max_send_sge: 1,
                max_recv_sge: 1,
                max_inline_data: INLINE_BYTES as u32,
            },
            qp_type: abi::QPT_RC,
            sq_sig_all: 0,
        };
        // SAFETY: by V2 domain and queues live, and the pair holds them for as long as it lives.
        let qp = unsafe { (domain.adapter.library.create_qp)(domain.pd.as_ptr(), &raw mut attributes) };
        let qp = NonNull::new(qp).ok_or_else(|| VerbsError::last("make an RDMA queue pair"))?;
        let pair = Self { domain, _sent: sent, _received: received, qp };
        let attributes = QpAttr {
            qp_state: qps::INIT,
            port_num: settings.port,
            qp_access_flags: access::REMOTE_WRITE as u32,
            ..QpAttr::default()
        };
        pair.modify(attributes, qp_mask::STATE | qp_mask::PKEY_INDEX | qp_mask::PORT | qp_mask::ACCESS_FLAGS)?;
        Ok(pair)
    }

    /// Its number, by which the peer addresses it.
    pub(crate) fn number(&self) -> u32 {
        // SAFETY: by V1 and V2.
        unsafe { self.qp.as_ref().qp_num }
    }

    /// Connects it to the peer's.
    pub(crate) fn connect(&self, route: &Route) -> Result<(), VerbsError> {
        let (port_num, sgid_index) = route.from;
        let attributes = QpAttr {
            qp_state: qps::RTR,
            path_mtu: route.mtu.into(),
            dest_qp_num: route.number,
            rq_psn: route.packet_theirs,
            max_dest_rd_atomic: 1,
            min_rnr_timer: UNREADY_WAIT,
            ah_attr: AhAttr {
                grh: GlobalRoute { dgid: route.gid, sgid_index, hop_limit: HOPS, ..GlobalRoute::default() },
                dlid: route.lid,
                is_global: 1,
                port_num,
                ..AhAttr::default()
            },
            ..QpAttr::default()
        };
        self.modify(
            attributes,
            qp_mask::STATE
                | qp_mask::AV
                | qp_mask::PATH_MTU
                | qp_mask::DEST_QPN
                | qp_mask::RQ_PSN
                | qp_mask::MAX_DEST_RD_ATOMIC
                | qp_mask::MIN_RNR_TIMER,
        )?;
        let attributes = QpAttr {
            qp_state: qps::RTS,
            sq_psn: route.packet_ours,
            timeout: TIMEOUT,
            retry_cnt: RETRIES,
            rnr_retry: RETRIES_UNREADY,
            max_rd_atomic: 1,
            ..QpAttr::default()
        };
        self.modify(
            attributes,
            qp_mask::STATE
                | qp_mask::SQ_PSN
                | qp_mask::TIMEOUT
                | qp_mask::RETRY_CNT
                | qp_mask::RNR_RETRY
                | qp_mask::MAX_QP_RD_ATOMIC,
        )
    }

    /// Gives the pair a buffer to receive into: the whole of `region` from `start` on, `len` bytes.
    ///
    /// # Safety
    /// V4: nobody reads or writes these bytes until the completion `id` was taken or the pair is gone. V3: the region lives at least as long as the
    /// pair.
    pub(crate) unsafe fn post_receive(
        &self,
        id: u64,
        region: &Region,
        start: usize,
        len: usize,
    ) -> Result<(), VerbsError> {
        let mut stretch = stretch(region, start, len);
        let mut work = RecvWr { wr_id: id, next: null_mut(), sg_list: &raw mut stretch, num_sge: 1 };
        let mut bad = null_mut();
        // SAFETY: by V1 and V2; the work request is copied before the function returns, the buffer is the caller's promise.
        VerbsError::check("post an RDMA receive", unsafe {
            (self.domain.adapter.post_recv)(self.qp.as_ptr(), &raw mut work, &raw mut bad)
        })
    }

    /// Posts `work`, all of it in one call of the driver.
    ///
    /// # Safety
    /// V3: the bytes of a [`Work::Send`] stay as they are until its completion was taken or the pair is gone, and its region lives at least as long
    /// as the pair.
    pub(crate) unsafe fn post<const N: usize>(&self, work: [Work<'_>; N]) -> Result<(), VerbsError> {
        let mut stretches = [Sge { addr: 0, length: 0, lkey: 0 }; N];
        let mut requests: [SendWr; N] = std::array::from_fn(|_| empty());
        for ((request, stretch), work) in requests.iter_mut().zip(&mut stretches).zip(&work) {
            fill(request, stretch, work);
        }
        let first = requests.as_mut_ptr();
        for at in 1..N {
            // SAFETY: `at` and the one before it lie in the array, which nothing else refers to now.
            unsafe { (*first.add(at - 1)).next = first.add(at) };
        }
        let mut bad = null_mut();
        // SAFETY: by V1 and V2; requests and inline bytes are copied before the function returns, other bytes are the caller's promise.
        VerbsError::check("post an RDMA send", unsafe {
            (self.domain.adapter.post_send)(self.qp.as_ptr(), first, &raw mut bad)
        })
    }

    fn modify(&self, mut attributes: QpAttr, mask: i32) -> Result<(), VerbsError> {
        let operation = match attributes.qp_state {
            qps::INIT => "prepare an RDMA queue pair",
            qps::RTR => "connect an RDMA queue pair to its peer",
            _ => "start an RDMA queue pair",
        };
        // SAFETY: by V1 and V2.
        VerbsError::check(operation, unsafe {
            (self.domain.adapter.library.modify_qp)(self.qp.as_ptr(), &raw mut attributes, mask)
        })
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // SAFETY: by V2 it was made here and is destroyed once; the adapter stops its work before the function returns.
        unsafe { (self.domain.adapter.library.destroy_qp)(self.qp.as_ptr()) };
    }
}

fn empty() -> SendWr {
    SendWr {
        wr_id: 0,
        next: null_mut(),
        sg_list: null_mut(),
        num_sge: 1,
        opcode: opcode::SEND,
        send_flags: 0,
        imm_data: 0,
        remote_addr: 0,
        rkey: 0,
        rest: [0; 9],
    }
}

/// Writes `work` as the driver reads it.
fn fill(request: &mut SendWr, place: &mut Sge, work: &Work<'_>) {
    match *work {
        Work::Send { id, region, start, len } => {
            *place = stretch(region, start, len);
            request.wr_id = id;
            request.send_flags = send_flags::SIGNALED;
        }
        Work::Write { bytes, address, key } => {
            *place = inline(bytes);
            request.opcode = opcode::RDMA_WRITE;
            request.send_flags = send_flags::INLINE;
            (request.remote_addr, request.rkey) = (address, key);
        }
        Work::WriteAndTell { id, bytes, address, key } => {
            *place = inline(bytes);
            request.wr_id = id;
            request.opcode = opcode::RDMA_WRITE_WITH_IMM;
            request.send_flags = send_flags::INLINE | send_flags::SIGNALED;
            (request.remote_addr, request.rkey) = (address, key);
        }
    }
    request.sg_list = place;
}

fn stretch(region: &Region, start: usize, len: usize) -> Sge {
    let memory = region.memory();
    assert!(start <= memory.len() && len <= memory.len() - start, "{len} bytes from {start} of {}", memory.len());
    let length = u32::try_from(len).expect("a window is shorter than 4 GiB");
    Sge { addr: memory.as_ptr().expose_provenance() as u64 + start as u64, length, lkey: region.local_key() }
}

fn inline(bytes: &[u8; INLINE_BYTES]) -> Sge {
    Sge { addr: bytes.as_ptr().expose_provenance() as u64, length: INLINE_BYTES as u32, lkey: 0 }
}
