//! The C table of a module, as `include/fabric_module.h` has it, and its check.
//!
//! Invariants:
//! - **C1** The bytes of a module were signed by a trusted key, and its maker promises what `fabric_module.h` says: of addresses, of threads, of what
//!   returns when, of who may touch a window when. Everything here relies on it.
//! - **C2** A [`Functions`] exists only for a table of our size and version with no function missing. A module is never unloaded, so its functions
//!   and texts live for ever.

use std::ffi::{CStr, c_char, c_int, c_void};

/// The version spoken here: `FABRIC_MODULE_VERSION`.
pub(crate) const VERSION: u32 = 1;

pub(crate) const OK: c_int = 0;
pub(crate) const NONE: c_int = 1;
pub(crate) const CLOSED: c_int = -1;
pub(crate) const DIED: c_int = -2;
pub(crate) const VIOLATION: c_int = -3;
pub(crate) const ADDRESS: c_int = -4;
pub(crate) const TAKEN: c_int = -5;
pub(crate) const REFUSED: c_int = -6;
/// Under this: minus `errno`.
pub(crate) const SYSTEM: c_int = -1000;

pub(crate) const KNOWS_USER: u32 = 1;
pub(crate) const REGISTERS_MEMORY: u32 = 2;

/// `struct fabric_text`.
#[repr(C)]
pub(crate) struct Text {
    bytes: [u8; 256],
}

impl Text {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; 256] }
    }

    /// Up to the zero byte, or all of it when there is none.
    pub(crate) fn read(&self) -> String {
        until_zero(&self.bytes)
    }
}

pub(crate) fn until_zero(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// `struct fabric_limits`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct RawLimits {
    pub(crate) window_bytes_max: u64,
    pub(crate) windows_max: u64,
}

/// `struct fabric_settings`.
#[repr(C)]
pub(crate) struct RawSettings {
    pub(crate) size: u32,
    pub(crate) role: u32,
    pub(crate) bulk_bytes: u64,
    pub(crate) bulk_count: u64,
    pub(crate) urgent_bytes: u64,
    pub(crate) urgent_count: u64,
    pub(crate) accept_bytes: u64,
    pub(crate) accept_count: u64,
}

/// `struct fabric_window`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawWindow {
    pub(crate) bytes: *mut u8,
    pub(crate) size: u64,
    pub(crate) used: u64,
    pub(crate) token: u64,
}

impl RawWindow {
    pub(crate) fn empty() -> Self {
        Self { bytes: std::ptr::null_mut(), size: 0, used: 0, token: 0 }
    }
}

/// `struct fabric_peer`.
#[repr(C)]
pub(crate) struct RawPeer {
    pub(crate) name: [u8; 128],
    pub(crate) pid: i64,
    pub(crate) user: i64,
}

/// What stands at the front of every version of the table.
#[repr(C)]
pub(crate) struct Head {
    pub(crate) size: u32,
    pub(crate) version: u32,
}

/// The table's functions, in its order: one list makes the C structure and the checked one.
macro_rules! table {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// `struct fabric_module`.
        #[repr(C)]
        pub(crate) struct Table {
            pub(crate) head: Head,
            pub(crate) scheme: *const c_char,
            pub(crate) name: *const c_char,
            pub(crate) capabilities: u32,
            reserved: u32,
            $($name: Option<unsafe extern "C" fn($($argument),*) $(-> $result)?>,)*
        }

        /// A table without gaps (C2).
        #[derive(Clone, Copy)]
        pub(crate) struct Functions {
            $(pub(crate) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Table {
            /// The functions, or the name of the first that is missing.
            pub(crate) fn functions(&self) -> Result<Functions, &'static str> {
                Ok(Functions { $($name: self.$name.ok_or(stringify!($name))?,)* })
            }
        }
    };
}

table! {
    available: fn(*mut Text) -> c_int;
    limits: fn(*const c_char, *mut RawLimits, *mut Text) -> c_int;
    open: fn(*const c_char, *const RawSettings, *mut *mut c_void, *mut Text) -> c_int;
    poll: fn(*mut c_void, *mut *mut c_void, *mut u64, *mut Text) -> c_int;
    connector_fd: fn(*mut c_void) -> c_int;
    connector_free: fn(*mut c_void);
    take: fn(*mut c_void, u32, *mut RawWindow) -> c_int;
    ship: fn(*mut c_void, u32, *const RawWindow) -> c_int;
    progress: fn(*mut c_void) -> c_int;
    drained: fn(*mut c_void) -> c_int;
    read_by_peer: fn(*mut c_void, u32) -> u64;
    finish: fn(*mut c_void);
    receive: fn(*mut c_void, u32, *mut RawWindow) -> c_int;
    dispose: fn(*mut c_void, u32, *const RawWindow);
    read: fn(*mut c_void, u32, u64);
    link_fd: fn(*mut c_void) -> c_int;
    look: fn(*mut c_void) -> c_int;
    arm: fn(*mut c_void);
    disarm: fn(*mut c_void);
    ring: fn(*mut c_void);
    peer: fn(*mut c_void, *mut RawPeer);
    cut: fn(*mut c_void);
    link_free: fn(*mut c_void);
}

/// A text of the table; `None` for a null pointer.
///
/// # Safety
/// C1 and C2: `text` is null or ends with a zero byte, and lives for ever.
pub(crate) unsafe fn text(text: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
