//! The provider of `rdma:`, registered at link time.

use fabric::tli::{Capabilities, Connector, Limits, LinkSettings, OpenError, PROVIDERS, Provider, Unavailable};
use fabric::uri::{Uri, UriError};
use linkme::distributed_slice;

use crate::address::Address;
use crate::candidate::Terms;
use crate::connector::RdmaConnector;
use crate::link::CAPABILITIES;
use crate::verbs::{Adapter, Library, Place, adapters};

/// Bytes of a window at most, where the adapter takes as much.
const WINDOW_BYTES_MAX: usize = 1 << 30;
/// Windows of a direction at most, where the adapter takes as many.
const WINDOWS_MAX: usize = 4096;

#[distributed_slice(PROVIDERS)]
static RDMA: &dyn Provider = &Rdma;

/// The transport over RDMA adapters.
struct Rdma;

impl Rdma {
    fn adapters() -> Result<(Library, Vec<String>), Unavailable> {
        let library = Library::load()?;
        let names = adapters(&library);
        if names.is_empty() {
            return Err(Unavailable("this machine has no RDMA adapter".into()));
        }
        Ok((library, names))
    }
}

impl Provider for Rdma {
    fn scheme(&self) -> &'static str {
        "rdma"
    }

    fn name(&self) -> &'static str {
        "rdma (ibverbs)"
    }

    fn available(&self) -> Result<(), Unavailable> {
        Self::adapters().map(|_| ())
    }

    fn limits(&self, uri: &Uri) -> Result<Limits, UriError> {
        let address = Address::parse(uri)?;
        let adapters = Self::adapters().ok().map(|(library, names)| opened(library, &names, &address));
        Ok(limits(adapters.iter().flatten()))
    }

    fn capabilities(&self, _uri: &Uri) -> Capabilities {
        CAPABILITIES
    }

    fn open(&self, uri: &Uri, settings: &LinkSettings) -> Result<Box<dyn Connector>, OpenError> {
        let address = Address::parse(uri)?;
        let (library, names) = Self::adapters().map_err(|Unavailable(lacking)| OpenError::Unavailable { lacking })?;
        if let Some(device) = address.device.as_ref().filter(|device| !names.contains(device)) {
            let lacking = format!("no RDMA adapter is called {device}; there are: {}", names.join(", "));
            return Err(OpenError::Unavailable { lacking });
        }
        let limits = limits(opened(library, &names, &address).iter());
        for windows in [settings.bulk, settings.urgent] {
            for (setting, asked, limit) in [
                ("bytes of a window", windows.bytes, limits.window_bytes_max),
                ("windows of a lane", windows.count, limits.windows_max),
            ] {
                if asked > limit {
                    return Err(OpenError::OverLimit { setting, asked, limit });
                }
            }
        }
        Ok(Box::new(RdmaConnector::new(Terms { address, settings: settings.clone(), library })?))
    }
}

/// The adapters that an address may mean, as far as they can be opened; those that cannot tell when they are needed.
fn opened(library: Library, names: &[String], address: &Address) -> Vec<Adapter> {
    let meant = names.iter().filter(|name| address.device.as_ref().is_none_or(|device| device == *name));
    meant.filter_map(|name| Adapter::open(library, Place::any(name)?).ok()).collect()
}

/// What all of `adapters` can carry.
fn limits<'a>(adapters: impl Iterator<Item = &'a Adapter>) -> Limits {
    let all = Limits { window_bytes_max: WINDOW_BYTES_MAX, windows_max: WINDOWS_MAX, leases_max: 0 };
    adapters.fold(all, |limits, adapter| Limits {
        window_bytes_max: limits.window_bytes_max.min(adapter.message_bytes_max()),
        windows_max: limits.windows_max.min(adapter.windows_max()),
        leases_max: 0,
    })
}
