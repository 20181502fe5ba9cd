//! A module's connector: polls until the peers have met, and makes a link of what the module gives.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::time::{Duration, Instant};

use fabric::Uri;
use fabric::tli::{Attempt, Capabilities, Connector, OpenError};

use crate::link;
use crate::table::{ADDRESS, Functions, NONE, OK, REFUSED, SYSTEM, TAKEN, Text};

/// Invariant **C3**: `connector` is one that the module gave and that was not freed; it is freed once, when this is dropped.
pub(crate) struct ModuleConnector {
    functions: Functions,
    connector: *mut c_void,
    uri: String,
    capabilities: Capabilities,
}

// SAFETY: by the rules of threads (C1) any one thread at a time may call; `&self` reaches `connector_fd` only.
unsafe impl Send for ModuleConnector {}

impl ModuleConnector {
    /// # Safety
    /// C3.
    pub(crate) unsafe fn new(
        functions: Functions,
        connector: *mut c_void,
        uri: &Uri,
        capabilities: Capabilities,
    ) -> Self {
        Self { functions, connector, uri: uri.to_string(), capabilities }
    }
}

impl Connector for ModuleConnector {
    fn poll(&mut self, now: Instant) -> Result<Attempt, OpenError> {
        let (mut link, mut again_ns, mut why) = (ptr::null_mut(), 0, Text::new());
        // SAFETY: C1 to C3; the other arguments are ours.
        let status = unsafe { (self.functions.poll)(self.connector, &raw mut link, &raw mut again_ns, &raw mut why) };
        match status {
            // SAFETY: the module has just given us this link.
            OK if !link.is_null() => Ok(Attempt::Met(unsafe { link::link(self.functions, link, self.capabilities) })),
            NONE => {
                let again = (again_ns != 0).then(|| now + Duration::from_nanos(again_ns));
                Ok(Attempt::Waiting { again })
            }
            status => Err(open_error(&self.uri, "poll of the module", status, &why)),
        }
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: C1 to C3.
        let fd = unsafe { (self.functions.connector_fd)(self.connector) };
        // SAFETY: by C1 the descriptor is open while the connector lives, to which the result is bound.
        (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }
}

impl Drop for ModuleConnector {
    fn drop(&mut self) {
        // SAFETY: C3: this is the one time.
        unsafe { (self.functions.connector_free)(self.connector) };
    }
}

/// What a status of `open` or `poll` that is neither success nor patience means.
pub(crate) fn open_error(uri: &str, operation: &'static str, status: c_int, why: &Text) -> OpenError {
    let uri = uri.to_owned();
    match status {
        TAKEN => OpenError::Taken { uri },
        REFUSED | ADDRESS => OpenError::Refused { uri, why: why.read() },
        status if status < SYSTEM => {
            let source = io::Error::from_raw_os_error(SYSTEM.saturating_sub(status));
            OpenError::System { uri, operation, source }
        }
        status => OpenError::Refused { uri, why: format!("{operation} returned {status}, which it may not") },
    }
}
