//! The provider of `rdma:`, registered at link time.

use std::sync::Arc;

use fabric::tli::{Capabilities, Connector, Limits, LinkSettings, OpenError, PROVIDERS, Provider, Unavailable};
use fabric::uri::{Uri, UriError};
use linkme::distributed_slice;

use crate::address::Address;
use crate::candidate::Terms;
use crate::connector::RdmaConnector;
use crate::link::CAPABILITIES;
use crate::verbs::{Adapter, Library, names, open_all};

/// Bytes of a window at most, where the adapter takes as much.
const WINDOW_BYTES_MAX: usize = 1 << 30;
/// Windows of a direction at most, where the adapter takes as many.
const WINDOWS_MAX: usize = 4096;

#[distributed_slice(PROVIDERS)]
static RDMA: &dyn Provider = &Rdma;

/// The transport over RDMA adapters.
struct Rdma;

impl Provider for Rdma {
    fn scheme(&self) -> &'static str {
        "rdma"
    }

    fn name(&self) -> &'static str {
        "rdma (ibverbs)"
    }

    fn available(&self) -> Result<(), Unavailable> {
        match names(&Library::load()?)[..] {
            [] => Err(Unavailable("this machine has no RDMA adapter".into())),
            _ => Ok(()),
        }
    }

    fn limits(&self, uri: &Uri) -> Result<Limits, UriError> {
        let address = Address::parse(uri)?;
        Ok(limits(&adapters_for(&address).unwrap_or_default()))
    }

    fn capabilities(&self, _uri: &Uri) -> Capabilities {
        CAPABILITIES
    }

    fn open(&self, uri: &Uri, settings: &LinkSettings) -> Result<Box<dyn Connector>, OpenError> {
        let address = Address::parse(uri)?;
        let adapters = adapters_for(&address).map_err(|Unavailable(lacking)| OpenError::Unavailable { lacking })?;
        let limits = limits(&adapters);
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
        Ok(Box::new(RdmaConnector::new(Terms { address, settings: settings.clone(), adapters })?))
    }
}

/// What all of `adapters` can carry.
fn limits(adapters: &[Arc<Adapter>]) -> Limits {
    let all = Limits { window_bytes_max: WINDOW_BYTES_MAX, windows_max: WINDOWS_MAX, leases_max: 0 };
    adapters.iter().fold(all, |limits, adapter| Limits {
        window_bytes_max: limits.window_bytes_max.min(adapter.message_bytes_max()),
        windows_max: limits.windows_max.min(adapter.windows_max()),
        leases_max: 0,
    })
}

/// The adapters that an address may mean.
fn adapters_for(address: &Address) -> Result<Vec<Arc<Adapter>>, Unavailable> {
    let library = Library::load()?;
    let adapters = open_all(library, address.device.as_deref());
    if !adapters.is_empty() {
        return Ok(adapters);
    }
    let names = names(&library).join(", ");
    Err(Unavailable(match (&address.device, names.as_str()) {
        (_, "") => "this machine has no RDMA adapter".into(),
        (Some(device), _) => {
            format!("no RDMA adapter is called {device}, or it cannot be opened; there are: {names}")
        }
        (None, _) => format!("no RDMA adapter can be opened; there are: {names}"),
    }))
}
