//! The provider of scheme `ipc`, and how sockets that were handed over are opened.

use std::os::fd::{BorrowedFd, OwnedFd};

use linkme::distributed_slice;

use super::address::Place;
use super::dialer::{Dialer, Inherited};
use super::listener::{Listener, Peers};
use super::terms::{CAPABILITIES, Terms};
use super::{LEASES_MAX, WINDOW_BYTES_MAX, WINDOWS_MAX};
use crate::tli::{Capabilities, Connector, Limits, LinkSettings, OpenError, PROVIDERS, Provider, Role};
use crate::uri::{Uri, UriError};

struct Ipc;

#[distributed_slice(PROVIDERS)]
static IPC: &'static dyn Provider = &Ipc;

impl Provider for Ipc {
    fn scheme(&self) -> &'static str {
        "ipc"
    }

    fn name(&self) -> &'static str {
        "ipc (shared memory)"
    }

    fn limits(&self, uri: &Uri) -> Result<Limits, UriError> {
        Place::parse(uri)?;
        Ok(Limits { window_bytes_max: WINDOW_BYTES_MAX, windows_max: WINDOWS_MAX, leases_max: LEASES_MAX })
    }

    fn capabilities(&self, _uri: &Uri) -> Capabilities {
        CAPABILITIES
    }

    fn open(&self, uri: &Uri, settings: &LinkSettings) -> Result<Box<dyn Connector>, OpenError> {
        Ok(match (Place::parse(uri)?, settings.role) {
            (Place::Inherited(number), _) => {
                let socket = duplicate(number).map_err(|source| OpenError::System {
                    uri: uri.to_string(),
                    operation: "take the inherited socket",
                    source,
                })?;
                Box::new(Inherited::new(socket, settings, uri.as_str())?)
            }
            (Place::Path(path), Role::Listen) => Box::new(Listener::at(uri, &path, settings, Peers::One)?),
            (Place::Path(path), Role::Connect) => {
                Box::new(Dialer::new(Terms::new(uri.as_str(), settings)?.labelled(&path), path))
            }
        })
    }
}

/// A descriptor of our own for an inherited number. The number itself stays open, as nobody here can know who else uses it.
fn duplicate(number: i32) -> std::io::Result<OwnedFd> {
    // SAFETY: the number is used for one call only, which says so when it is no descriptor.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(inherited, 0)?)
}

/// Opens a connected socket, one of a [`super::pair`]; `label` names it in errors and tools. One end listens, the other connects.
///
/// # Errors
/// When it is no Unix socket of sequenced packets, or the settings are over the limits.
pub fn connector(socket: OwnedFd, settings: &LinkSettings, label: &str) -> Result<Box<dyn Connector>, OpenError> {
    Ok(Box::new(Inherited::new(socket, settings, label)?))
}
