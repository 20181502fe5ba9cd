//! `libibverbs.so.1`, bound when the first `rdma:` address is opened, so that programs build and start where rdma-core is not installed.

use std::ffi::{CStr, c_char, c_int, c_void};

use fabric::tli::Unavailable;

use super::abi::{CompChannel, Context, Cq, Device, DeviceAttr, Mr, Pd, PortAttr, Qp, QpAttr, QpInitAttr};

const NAME: &CStr = c"libibverbs.so.1";

/// Declares the table of functions and how it is filled.
macro_rules! table {
    ($($field:ident $symbol:literal fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions that are used. Invariant **V7**: the library is never unloaded, so each stays valid.
        #[derive(Clone, Copy)]
        pub(crate) struct Library {
            $(pub(crate) $field: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Library {
            /// Binds the library.
            ///
            /// # Errors
            /// When it or one of the functions is not there.
            pub(crate) fn load() -> Result<Self, Unavailable> {
                let handle = open(NAME)?;
                Ok(Self {
                    $($field: {
                        let address = symbol(handle, $symbol)?;
                        // SAFETY: by V1 the library's function of that name has this signature, and by V7 it stays where it is.
                        unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>(address)
                        }
                    },)*
                })
            }
        }
    };
}

table! {
    get_device_list c"ibv_get_device_list" fn(*mut c_int) -> *mut *mut Device;
    free_device_list c"ibv_free_device_list" fn(*mut *mut Device);
    get_device_name c"ibv_get_device_name" fn(*mut Device) -> *const c_char;
    open_device c"ibv_open_device" fn(*mut Device) -> *mut Context;
    close_device c"ibv_close_device" fn(*mut Context) -> c_int;
    query_device c"ibv_query_device" fn(*mut Context, *mut DeviceAttr) -> c_int;
    query_port c"ibv_query_port" fn(*mut Context, u8, *mut PortAttr) -> c_int;
    alloc_pd c"ibv_alloc_pd" fn(*mut Context) -> *mut Pd;
    dealloc_pd c"ibv_dealloc_pd" fn(*mut Pd) -> c_int;
    reg_mr c"ibv_reg_mr" fn(*mut Pd, *mut c_void, usize, c_int) -> *mut Mr;
    dereg_mr c"ibv_dereg_mr" fn(*mut Mr) -> c_int;
    create_comp_channel c"ibv_create_comp_channel" fn(*mut Context) -> *mut CompChannel;
    destroy_comp_channel c"ibv_destroy_comp_channel" fn(*mut CompChannel) -> c_int;
    create_cq c"ibv_create_cq" fn(*mut Context, c_int, *mut c_void, *mut CompChannel, c_int) -> *mut Cq;
    destroy_cq c"ibv_destroy_cq" fn(*mut Cq) -> c_int;
    get_cq_event c"ibv_get_cq_event" fn(*mut CompChannel, *mut *mut Cq, *mut *mut c_void) -> c_int;
    ack_cq_events c"ibv_ack_cq_events" fn(*mut Cq, u32);
    create_qp c"ibv_create_qp" fn(*mut Pd, *mut QpInitAttr) -> *mut Qp;
    modify_qp c"ibv_modify_qp" fn(*mut Qp, *mut QpAttr, c_int) -> c_int;
    destroy_qp c"ibv_destroy_qp" fn(*mut Qp) -> c_int;
}

/// Loads the library, for ever: its drivers register handlers that must not vanish.
fn open(name: &CStr) -> Result<*mut c_void, Unavailable> {
    // SAFETY: the name is a C string; the library's constructors are rdma-core's own.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NODELETE) };
    if handle.is_null() {
        return Err(Unavailable(format!("{} is not here: {}", name.to_string_lossy(), last_error())));
    }
    Ok(handle)
}

fn symbol(handle: *mut c_void, name: &CStr) -> Result<*mut c_void, Unavailable> {
    // SAFETY: the handle is of a library that was loaded, the name is a C string.
    let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
    if address.is_null() {
        return Err(Unavailable(format!("libibverbs.so.1 has no {}: {}", name.to_string_lossy(), last_error())));
    }
    Ok(address)
}

fn last_error() -> String {
    // SAFETY: `dlerror` returns null or a string that lives until this thread calls the loader again.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "the loader gives no reason".into();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let Unavailable(lacking) = open(c"libibverbs-none.so.1").unwrap_err();
        assert!(lacking.starts_with("libibverbs-none.so.1 is not here: "), "{lacking}");
        let libc = open(c"libc.so.6").unwrap();
        let Unavailable(lacking) = symbol(libc, c"ibv_make_coffee").unwrap_err();
        assert!(lacking.starts_with("libibverbs.so.1 has no ibv_make_coffee: "), "{lacking}");
    }
}
