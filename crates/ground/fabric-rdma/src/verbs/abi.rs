//! The structures of libibverbs, as its header for `libibverbs.so.1` lays them out (invariant V1 of the crate). [`super::library`] and the objects
//! use them; nothing else does.
//!
//! Only fields that are used have their names; the rest of a structure is padding of the right size. The sizes and offsets asserted below were
//! printed by a C program from rdma-core's own header, version 44; the library keeps them for as long as its name ends in `.1`.

use std::ffi::{c_int, c_uint, c_void};
use std::mem::{offset_of, size_of};

/// `struct ibv_device`: reached by functions only.
#[repr(C)]
pub(crate) struct Device {
    _opaque: [u8; 0],
}

/// `struct ibv_pd`: reached by functions only.
#[repr(C)]
pub(crate) struct Pd {
    _opaque: [u8; 0],
}

/// `struct ibv_context`, of which the table of data path functions is read.
#[repr(C)]
pub(crate) struct Context {
    pub(crate) device: *mut Device,
    pub(crate) ops: ContextOps,
}

pub(crate) type PollCq = unsafe extern "C" fn(*mut Cq, c_int, *mut Wc) -> c_int;
pub(crate) type ReqNotifyCq = unsafe extern "C" fn(*mut Cq, c_int) -> c_int;
pub(crate) type PostSend = unsafe extern "C" fn(*mut Qp, *mut SendWr, *mut *mut SendWr) -> c_int;
pub(crate) type PostRecv = unsafe extern "C" fn(*mut Qp, *mut RecvWr, *mut *mut RecvWr) -> c_int;

/// `struct ibv_context_ops`: what the header's inline functions call.
#[repr(C)]
pub(crate) struct ContextOps {
    _before_poll_cq: [*mut c_void; 11],
    pub(crate) poll_cq: Option<PollCq>,
    pub(crate) req_notify_cq: Option<ReqNotifyCq>,
    _before_post_send: [*mut c_void; 12],
    pub(crate) post_send: Option<PostSend>,
    pub(crate) post_recv: Option<PostRecv>,
    _rest: [*mut c_void; 5],
}

/// `struct ibv_mr`.
#[repr(C)]
pub(crate) struct Mr {
    _before: [*mut c_void; 3],
    _length: usize,
    _handle: u32,
    pub(crate) lkey: u32,
    pub(crate) rkey: u32,
}

/// `struct ibv_comp_channel`.
#[repr(C)]
pub(crate) struct CompChannel {
    _context: *mut c_void,
    pub(crate) fd: c_int,
}

/// `struct ibv_cq`: reached by functions only.
#[repr(C)]
pub(crate) struct Cq {
    _opaque: [u8; 0],
}

/// `struct ibv_qp`.
#[repr(C)]
pub(crate) struct Qp {
    _before: [*mut c_void; 6],
    _handle: u32,
    pub(crate) qp_num: u32,
}

/// `struct ibv_qp_cap`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct QpCap {
    pub(crate) max_send_wr: u32,
    pub(crate) max_recv_wr: u32,
    pub(crate) max_send_sge: u32,
    pub(crate) max_recv_sge: u32,
    pub(crate) max_inline_data: u32,
}

/// `IBV_QPT_RC`: a reliable connection.
pub(crate) const QPT_RC: c_int = 2;

/// `struct ibv_qp_init_attr`.
#[repr(C)]
pub(crate) struct QpInitAttr {
    pub(crate) qp_context: *mut c_void,
    pub(crate) send_cq: *mut Cq,
    pub(crate) recv_cq: *mut Cq,
    pub(crate) srq: *mut c_void,
    pub(crate) cap: QpCap,
    pub(crate) qp_type: c_int,
    pub(crate) sq_sig_all: c_int,
}

/// `struct ibv_global_route`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct GlobalRoute {
    /// Two words in C, so aligned as they are.
    pub(crate) dgid: Gid,
    pub(crate) flow_label: u32,
    pub(crate) sgid_index: u8,
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
}

/// `union ibv_gid`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Gid(pub(crate) [u8; 16]);

/// `struct ibv_ah_attr`: where a peer is.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct AhAttr {
    pub(crate) grh: GlobalRoute,
    pub(crate) dlid: u16,
    pub(crate) sl: u8,
    pub(crate) src_path_bits: u8,
    pub(crate) static_rate: u8,
    pub(crate) is_global: u8,
    pub(crate) port_num: u8,
}

/// `struct ibv_qp_attr`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct QpAttr {
    pub(crate) qp_state: c_int,
    pub(crate) cur_qp_state: c_int,
    pub(crate) path_mtu: c_int,
    pub(crate) path_mig_state: c_int,
    pub(crate) qkey: u32,
    pub(crate) rq_psn: u32,
    pub(crate) sq_psn: u32,
    pub(crate) dest_qp_num: u32,
    pub(crate) qp_access_flags: c_uint,
    pub(crate) cap: QpCap,
    pub(crate) ah_attr: AhAttr,
    pub(crate) alt_ah_attr: AhAttr,
    pub(crate) pkey_index: u16,
    pub(crate) alt_pkey_index: u16,
    pub(crate) en_sqd_async_notify: u8,
    pub(crate) sq_draining: u8,
    pub(crate) max_rd_atomic: u8,
    pub(crate) max_dest_rd_atomic: u8,
    pub(crate) min_rnr_timer: u8,
    pub(crate) port_num: u8,
    pub(crate) timeout: u8,
    pub(crate) retry_cnt: u8,
    pub(crate) rnr_retry: u8,
    pub(crate) alt_port_num: u8,
    pub(crate) alt_timeout: u8,
    pub(crate) rate_limit: u32,
}

/// States of a queue pair.
pub(crate) mod qps {
    pub(crate) const INIT: i32 = 1;
    pub(crate) const RTR: i32 = 2;
    pub(crate) const RTS: i32 = 3;
}

/// Which fields of [`QpAttr`] a call sets.
pub(crate) mod qp_mask {
    pub(crate) const STATE: i32 = 1;
    pub(crate) const ACCESS_FLAGS: i32 = 1 << 3;
    pub(crate) const PKEY_INDEX: i32 = 1 << 4;
    pub(crate) const PORT: i32 = 1 << 5;
    pub(crate) const AV: i32 = 1 << 7;
    pub(crate) const PATH_MTU: i32 = 1 << 8;
    pub(crate) const TIMEOUT: i32 = 1 << 9;
    pub(crate) const RETRY_CNT: i32 = 1 << 10;
    pub(crate) const RNR_RETRY: i32 = 1 << 11;
    pub(crate) const RQ_PSN: i32 = 1 << 12;
    pub(crate) const MAX_QP_RD_ATOMIC: i32 = 1 << 13;
    pub(crate) const MIN_RNR_TIMER: i32 = 1 << 15;
    pub(crate) const SQ_PSN: i32 = 1 << 16;
    pub(crate) const MAX_DEST_RD_ATOMIC: i32 = 1 << 17;
    pub(crate) const DEST_QPN: i32 = 1 << 20;
}

/// What an adapter may do with registered memory.
pub(crate) mod access {
    pub(crate) const LOCAL_WRITE: i32 = 1;
    pub(crate) const REMOTE_WRITE: i32 = 2;
}

/// `struct ibv_sge`: a stretch of registered memory.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Sge {
    pub(crate) addr: u64,
    pub(crate) length: u32,
    pub(crate) lkey: u32,
}

/// Operations of [`SendWr`].
pub(crate) mod opcode {
    pub(crate) const RDMA_WRITE: i32 = 0;
    pub(crate) const RDMA_WRITE_WITH_IMM: i32 = 1;
    pub(crate) const SEND: i32 = 2;
}

/// Flags of [`SendWr`].
pub(crate) mod send_flags {
    pub(crate) const SIGNALED: u32 = 2;
    pub(crate) const INLINE: u32 = 8;
}

/// `struct ibv_send_wr`.
#[repr(C)]
pub(crate) struct SendWr {
    pub(crate) wr_id: u64,
    pub(crate) next: *mut SendWr,
    pub(crate) sg_list: *mut Sge,
    pub(crate) num_sge: c_int,
    pub(crate) opcode: c_int,
    pub(crate) send_flags: c_uint,
    /// In network byte order.
    pub(crate) imm_data: u32,
    pub(crate) remote_addr: u64,
    pub(crate) rkey: u32,
    pub(crate) rest: [u64; 9],
}

/// `struct ibv_recv_wr`.
#[repr(C)]
pub(crate) struct RecvWr {
    pub(crate) wr_id: u64,
    pub(crate) next: *mut RecvWr,
    pub(crate) sg_list: *mut Sge,
    pub(crate) num_sge: c_int,
}

/// `struct ibv_wc`: a completed piece of work.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Wc {
    pub(crate) wr_id: u64,
    pub(crate) status: c_int,
    pub(crate) opcode: c_int,
    pub(crate) vendor_err: u32,
    pub(crate) byte_len: u32,
    pub(crate) imm_data: u32,
    pub(crate) qp_num: u32,
    pub(crate) src_qp: u32,
    pub(crate) wc_flags: c_uint,
    pub(crate) pkey_index: u16,
    pub(crate) slid: u16,
    pub(crate) sl: u8,
    pub(crate) dlid_path_bits: u8,
}

/// Values of [`Wc::status`]; all others are failures too.
pub(crate) mod wc_status {
    pub(crate) const SUCCESS: i32 = 0;
    /// The peer sent more than the buffer holds.
    pub(crate) const LOC_LEN_ERR: i32 = 1;
}

/// Values of [`Wc::opcode`] on the receiving side.
pub(crate) mod wc_opcode {
    pub(crate) const RECV: i32 = 128;
    pub(crate) const RECV_RDMA_WITH_IMM: i32 = 129;
}

/// `struct ibv_port_attr`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct PortAttr {
    pub(crate) state: c_int,
    pub(crate) max_mtu: c_int,
    pub(crate) active_mtu: c_int,
    pub(crate) gid_tbl_len: c_int,
    pub(crate) port_cap_flags: u32,
    pub(crate) max_msg_sz: u32,
    pub(crate) bad_pkey_cntr: u32,
    pub(crate) qkey_viol_cntr: u32,
    pub(crate) pkey_tbl_len: u16,
    pub(crate) lid: u16,
    pub(crate) sm_lid: u16,
    pub(crate) rest: [u8; 10],
    pub(crate) port_cap_flags2: u16,
    /// Room for what newer libraries may add.
    pub(crate) spare: [u32; 16],
}

/// `IBV_PORT_ACTIVE`.
pub(crate) const PORT_ACTIVE: c_int = 4;

/// `struct ibv_device_attr`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct DeviceAttr {
    _before: [u64; 14],
    pub(crate) max_qp_wr: c_int,
    _device_cap_flags: c_uint,
    _max_sge: [c_int; 2],
    _max_cq: c_int,
    pub(crate) max_cqe: c_int,
    _rest: [u32; 22],
    _max_pkeys: u16,
    _local_ca_ack_delay: u8,
    pub(crate) phys_port_cnt: u8,
    _padding: u32,
}

impl DeviceAttr {
    /// Zeroes.
    pub(crate) const fn zeroed() -> Self {
        Self {
            _before: [0; 14],
            max_qp_wr: 0,
            _device_cap_flags: 0,
            _max_sge: [0; 2],
            _max_cq: 0,
            max_cqe: 0,
            _rest: [0; 22],
            _max_pkeys: 0,
            _local_ca_ack_delay: 0,
            phys_port_cnt: 0,
            _padding: 0,
        }
    }
}

const _: () = assert!(size_of::<SendWr>() == 128 && offset_of!(SendWr, opcode) == 28);
const _: () = assert!(offset_of!(SendWr, imm_data) == 36 && offset_of!(SendWr, remote_addr) == 40);
const _: () = assert!(offset_of!(SendWr, rkey) == 48);
const _: () = assert!(size_of::<RecvWr>() == 32 && size_of::<Sge>() == 16);
const _: () = assert!(size_of::<Wc>() == 48 && offset_of!(Wc, wc_flags) == 36);
const _: () = assert!(size_of::<QpAttr>() == 144 && offset_of!(QpAttr, cap) == 36 && offset_of!(QpAttr, ah_attr) == 56);
const _: () = assert!(offset_of!(QpAttr, alt_ah_attr) == 88 && offset_of!(QpAttr, pkey_index) == 120);
const _: () = assert!(offset_of!(QpAttr, alt_port_num) == 133 && offset_of!(QpAttr, rate_limit) == 136);
const _: () = assert!(size_of::<AhAttr>() == 32 && size_of::<GlobalRoute>() == 24 && size_of::<QpCap>() == 20);
const _: () = assert!(size_of::<QpInitAttr>() == 64 && offset_of!(QpInitAttr, cap) == 32);
const _: () = assert!(offset_of!(QpInitAttr, sq_sig_all) == 56);
const _: () = assert!(offset_of!(PortAttr, spare) == 52 && offset_of!(PortAttr, lid) == 34);
const _: () = assert!(size_of::<DeviceAttr>() == 232 && offset_of!(DeviceAttr, max_qp_wr) == 112);
const _: () = assert!(offset_of!(DeviceAttr, max_cqe) == 132 && offset_of!(DeviceAttr, phys_port_cnt) == 227);
const _: () = assert!(size_of::<ContextOps>() == 256 && offset_of!(ContextOps, poll_cq) == 88);
const _: () = assert!(offset_of!(ContextOps, req_notify_cq) == 96 && offset_of!(ContextOps, post_send) == 200);
const _: () = assert!(offset_of!(ContextOps, post_recv) == 208 && offset_of!(Context, ops) == 8);
const _: () = assert!(offset_of!(Mr, lkey) == 36 && offset_of!(Mr, rkey) == 40);
const _: () = assert!(offset_of!(Qp, qp_num) == 52 && offset_of!(CompChannel, fd) == 8);
