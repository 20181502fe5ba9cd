//! What one side opens its links with, checked once, when it is opened.

use std::path::Path;
use std::sync::Arc;

use super::hello::Hello;
use super::layout::{Layout, WINDOW_BYTES_MIN};
use super::memory::Own;
use super::socket::Credentials;
use super::{LEASES_MAX, WINDOW_BYTES_MAX, WINDOWS_MAX};
use crate::arena::Arena;
use crate::tli::{Capabilities, LinkSettings, OpenError, Trust, WindowSettings};

/// The settings of a listener or dialer.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) uri: String,
    pub(crate) accept: WindowSettings,
    pub(crate) trust: Trust,
    pub(crate) leases: usize,
    pub(crate) arena: Option<Arc<Arena>>,
    label: String,
    layout: Layout,
    users: Vec<u32>,
    own_user: u32,
}

/// What every link of this transport can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    visible_on_commit: true,
    shares_memory: true,
    knows_user: true,
    registers_memory: false,
    multicast: false,
};

impl Terms {
    pub(crate) fn new(uri: &str, settings: &LinkSettings) -> Result<Self, OpenError> {
        let within = |setting, asked, limit| match asked <= limit {
            true => Ok(asked),
            false => Err(OpenError::OverLimit { setting, asked, limit }),
        };
        let bulk_bytes = within("bytes of a bulk window", settings.bulk.bytes, WINDOW_BYTES_MAX)?;
        let urgent_bytes = within("bytes of an urgent window", settings.urgent.bytes, WINDOW_BYTES_MAX)?;
        let bulk_count = within("number of bulk windows", settings.bulk.count, WINDOWS_MAX)?;
        let urgent_count = within("number of urgent windows", settings.urgent.count, WINDOWS_MAX)?;
        let leases = within("leases", settings.leases, LEASES_MAX)?;
        let rounded = |bytes: usize, count: usize| WindowSettings {
            bytes: bytes.max(1).next_multiple_of(WINDOW_BYTES_MIN),
            count: count.max(1),
        };
        let (urgent, bulk) = (rounded(urgent_bytes, urgent_count), rounded(bulk_bytes, bulk_count));
        let layout = Layout::new(urgent, bulk, leases.next_power_of_two(), isize::MAX as usize)
            .expect("both sizes and counts are under 2^30 and 2^17, so the sum is far under 2^63");
        Ok(Self {
            uri: uri.to_owned(),
            accept: rounded(settings.accept.bytes, settings.accept.count),
            trust: settings.trust,
            leases,
            arena: settings.arena.clone(),
            label: uri.to_owned(),
            layout,
            users: settings.users.clone(),
            own_user: rustix::process::geteuid().as_raw(),
        })
    }

    /// Names the links for tools by the path at which the peers meet, however either of them spells the address.
    pub(crate) fn labelled(mut self, path: &Path) -> Self {
        self.label = path.display().to_string();
        self
    }

    /// Fresh memory for one link.
    pub(crate) fn own(&self) -> Result<Own, OpenError> {
        Own::new(self.layout, &self.label).map_err(|source| self.failed("make shared memory", source))
    }

    pub(crate) fn hello(&self, own: &Own) -> Hello {
        use crate::tli::Lane::{Bulk, Urgent};
        let arena = self.arena.as_ref().map_or(WindowSettings { bytes: 0, count: 0 }, |arena| WindowSettings {
            bytes: arena.window_bytes(),
            count: arena.count(),
        });
        Hello {
            epoch: own.epoch,
            memory_bytes: own.layout.bytes() as u64,
            urgent: own.layout.windows(Urgent),
            bulk: own.layout.windows(Bulk),
            returns: own.layout.returns() as u32,
            leases: if arena.count == 0 { 0 } else { self.leases as u32 },
            arena,
        }
    }

    /// Whether a peer of that user may be one.
    pub(crate) fn admit(&self, peer: Credentials) -> Result<(), OpenError> {
        let own = peer.user == self.own_user;
        let (may, needed) = match self.trust {
            Trust::Same => (own, format!("user {} itself, since its memory is to be trusted", self.own_user)),
            Trust::Hostile => {
                let others = self.users.iter().map(|user| format!(", {user}")).collect::<String>();
                (own || peer.user == 0 || self.users.contains(&peer.user), format!("user {}, 0{others}", self.own_user))
            }
        };
        if may {
            return Ok(());
        }
        Err(OpenError::User { uri: self.uri.clone(), peer: peer.peer().name, needed })
    }

    pub(crate) fn failed(&self, operation: &'static str, source: std::io::Error) -> OpenError {
        OpenError::System { uri: self.uri.clone(), operation, source }
    }

    pub(crate) fn refused(&self, why: impl Into<String>) -> OpenError {
        OpenError::Refused { uri: self.uri.clone(), why: why.into() }
    }

    /// The mode of the socket file: others may connect when others may be peers; the kernel says who they are.
    pub(crate) fn file_mode(&self) -> u32 {
        if self.users.is_empty() { 0o600 } else { 0o666 }
    }
}
