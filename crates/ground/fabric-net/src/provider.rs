//! The providers of `tcp:` and `vsock:`, each once by plain calls and once by io_uring; registered at link time.

use std::time::Instant;

use fabric::tli::{Capabilities, Connector, Limits, LinkSettings, OpenError, PROVIDERS, Provider, Role, Unavailable};
use fabric::uri::{Uri, UriError};
use linkme::distributed_slice;
use socket2::{Domain, Socket, Type};

use crate::address::Address;
use crate::dialer::Dialer;
use crate::hello::{WINDOW_BYTES_MAX, WINDOWS_MAX};
use crate::link::Engine;
use crate::listener::Listener;
use crate::ring;
use crate::visit::Host;

/// Plain calls are taken before io_uring where both are there.
const EPOLL_RANK: i32 = 10;

/// One scheme by one engine.
struct Net {
    scheme: &'static str,
    name: &'static str,
    engine: Engine,
}

#[distributed_slice(PROVIDERS)]
static TCP_EPOLL: &dyn Provider = &Net { scheme: "tcp", name: "tcp (epoll)", engine: Engine::Epoll };
#[distributed_slice(PROVIDERS)]
static TCP_URING: &dyn Provider = &Net { scheme: "tcp", name: "tcp (io_uring)", engine: Engine::Uring };
#[distributed_slice(PROVIDERS)]
static VSOCK_EPOLL: &dyn Provider = &Net { scheme: "vsock", name: "vsock (epoll)", engine: Engine::Epoll };
#[distributed_slice(PROVIDERS)]
static VSOCK_URING: &dyn Provider = &Net { scheme: "vsock", name: "vsock (io_uring)", engine: Engine::Uring };

const LIMITS: Limits = Limits { window_bytes_max: WINDOW_BYTES_MAX, windows_max: WINDOWS_MAX, leases_max: 0 };

impl Provider for Net {
    fn scheme(&self) -> &'static str {
        self.scheme
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn rank(&self) -> i32 {
        match self.engine {
            Engine::Epoll => EPOLL_RANK,
            Engine::Uring => 0,
        }
    }

    fn via(&self) -> &'static str {
        self.engine.via()
    }

    fn available(&self) -> Result<(), Unavailable> {
        if self.scheme == "vsock" {
            Socket::new(Domain::VSOCK, Type::STREAM, None)
                .map_err(|error| Unavailable(format!("virtual sockets (AF_VSOCK) of the kernel: {error}")))?;
        }
        match self.engine {
            Engine::Epoll => Ok(()),
            Engine::Uring => ring::probe().map_err(Unavailable),
        }
    }

    fn limits(&self, uri: &Uri) -> Result<Limits, UriError> {
        Address::parse(uri).map(|_| LIMITS)
    }

    fn capabilities(&self, _uri: &Uri) -> Capabilities {
        Capabilities::default()
    }

    fn open(&self, uri: &Uri, settings: &LinkSettings) -> Result<Box<dyn Connector>, OpenError> {
        let address = Address::parse(uri)?;
        let sizes = [("window bytes", settings.bulk.bytes), ("urgent window bytes", settings.urgent.bytes)];
        let counts = [("windows", settings.bulk.count), ("urgent windows", settings.urgent.count)];
        let limited = sizes.map(|it| (it, LIMITS.window_bytes_max)).into_iter();
        for ((setting, asked), limit) in limited.chain(counts.map(|it| (it, LIMITS.windows_max))) {
            if asked > limit {
                return Err(OpenError::OverLimit { setting, asked, limit });
            }
        }
        // TLS keeps its own buffers between the windows and the socket: requests in rings would gain nothing.
        let engine = if address.tls.is_some() { Engine::Epoll } else { self.engine };
        let host = Host::new(address, settings, engine)?;
        Ok(match settings.role {
            Role::Listen => Box::new(Listener::open(host)?),
            Role::Connect => Box::new(Dialer::open(host, Instant::now())?),
        })
    }
}
