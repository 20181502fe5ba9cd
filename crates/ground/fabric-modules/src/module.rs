//! A loaded module as a provider of its scheme.

use std::ffi::CString;
use std::fmt;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use fabric::tli::{Capabilities, Connector, Limits, LinkSettings, OpenError, Provider, Role, Unavailable};
use fabric::{Uri, UriError};

use crate::connector::{ModuleConnector, open_error};
use crate::load::{LoadError, Loaded, load};
use crate::signature::TrustedKeys;
use crate::table::{ADDRESS, KNOWS_USER, OK, REGISTERS_MEMORY, RawLimits, RawSettings, Text};

/// A module that was verified and loaded; it stays loaded until the process ends. Give it to [`fabric::tli::Providers::with`].
pub struct Module {
    loaded: Loaded,
}

impl Module {
    /// Loads the module at `path`, when a key of `keys` has signed exactly its bytes and nobody but root and this user could have put it there.
    ///
    /// # Errors
    /// Says which check it did not pass.
    pub fn load(path: &Path, keys: &TrustedKeys) -> Result<Arc<Self>, LoadError> {
        Ok(Arc::new(Self { loaded: load(path, keys)? }))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            knows_user: self.loaded.capabilities & KNOWS_USER != 0,
            registers_memory: self.loaded.capabilities & REGISTERS_MEMORY != 0,
            ..Capabilities::default()
        }
    }
}

impl Provider for Module {
    fn scheme(&self) -> &str {
        &self.loaded.scheme
    }

    fn name(&self) -> &str {
        &self.loaded.name
    }

    /// `?via=module`.
    fn via(&self) -> &str {
        "module"
    }

    fn available(&self) -> Result<(), Unavailable> {
        let mut why = Text::new();
        // SAFETY: C1, C2; `why` is ours.
        match unsafe { (self.loaded.functions.available)(&raw mut why) } {
            OK => Ok(()),
            _ => Err(Unavailable(why.read())),
        }
    }

    fn limits(&self, uri: &Uri) -> Result<Limits, UriError> {
        let text = c_text(uri)?;
        let (mut limits, mut why) = (RawLimits::default(), Text::new());
        // SAFETY: C1, C2; the text ends with a zero byte, and the rest is ours.
        let status = unsafe { (self.loaded.functions.limits)(text.as_ptr(), &raw mut limits, &raw mut why) };
        if status != OK {
            return Err(uri.wrong(why.read(), "what the module expects there"));
        }
        // Windows are named by 32 bits in the format.
        let bytes = limits.window_bytes_max.min(1 << 31) as usize & !7;
        let windows = usize::try_from(limits.windows_max).unwrap_or(usize::MAX);
        Ok(Limits { window_bytes_max: bytes, windows_max: windows, leases_max: 0 })
    }

    fn capabilities(&self, _uri: &Uri) -> Capabilities {
        self.capabilities()
    }

    fn open(&self, uri: &Uri, settings: &LinkSettings) -> Result<Box<dyn Connector>, OpenError> {
        let limits = self.limits(uri)?;
        for (setting, asked, limit) in [
            ("bytes of a window", settings.bulk.bytes.max(settings.urgent.bytes), limits.window_bytes_max),
            ("number of windows", settings.bulk.count.max(settings.urgent.count), limits.windows_max),
        ] {
            if asked > limit {
                return Err(OpenError::OverLimit { setting, asked, limit });
            }
        }
        let text = c_text(uri)?;
        let raw = raw_settings(settings);
        let (mut connector, mut why) = (ptr::null_mut(), Text::new());
        // SAFETY: C1, C2; all arguments live through the call.
        let status =
            unsafe { (self.loaded.functions.open)(text.as_ptr(), &raw const raw, &raw mut connector, &raw mut why) };
        match status {
            OK if !connector.is_null() => {}
            ADDRESS => return Err(uri.wrong(why.read(), "what the module expects there").into()),
            status => return Err(open_error(uri.as_str(), "open of the module", status, &why)),
        }
        // SAFETY: the module has just given us this connector.
        Ok(Box::new(unsafe { ModuleConnector::new(self.loaded.functions, connector, uri, self.capabilities()) }))
    }
}

fn c_text(uri: &Uri) -> Result<CString, UriError> {
    CString::new(uri.as_str()).map_err(|_| uri.wrong("\\0", "an address without zero bytes"))
}

fn raw_settings(settings: &LinkSettings) -> RawSettings {
    RawSettings {
        size: size_of::<RawSettings>() as u32,
        role: match settings.role {
            Role::Listen => 0,
            Role::Connect => 1,
        },
        bulk_bytes: settings.bulk.bytes.next_multiple_of(8) as u64,
        bulk_count: settings.bulk.count as u64,
        urgent_bytes: settings.urgent.bytes.next_multiple_of(8) as u64,
        urgent_count: settings.urgent.count as u64,
        accept_bytes: settings.accept.bytes as u64,
        accept_count: settings.accept.count as u64,
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("scheme", &self.loaded.scheme).finish_non_exhaustive()
    }
}
