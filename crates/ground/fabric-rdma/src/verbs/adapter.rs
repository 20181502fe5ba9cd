//! Adapters: which there are, which port of them an address means.

use std::ffi::CStr;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use super::abi::{self, Context, DeviceAttr, Gid, PollCq, PortAttr, PostRecv, PostSend, ReqNotifyCq};
use super::{Library, VerbsError};

/// Entries of a port's table of addresses that are looked at; the kernel fills it from the front.
const GIDS_MAX: u8 = 128;
/// So many empty entries in a row are taken for the end.
const GIDS_EMPTY_MAX: u8 = 8;

/// Places in queues that are kept for notes.
const NOTES_MAX: usize = 8;

/// Where the kernel describes adapters.
const CLASS: &str = "/sys/class/infiniband";

/// A port of an adapter and one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// From 1.
    pub(crate) port: u8,
    /// Place of the address in the port's table.
    pub(crate) gid_index: u8,
    /// The address.
    pub(crate) gid: Gid,
}

/// Why no adapter serves an address.
#[derive(Debug)]
pub(crate) enum ChooseError {
    /// None has the local address.
    Unserved { local: IpAddr, known: String },
    /// The adapter has no address at all.
    Unaddressed { name: String },
    /// The port is not connected.
    Down { name: String, port: u8 },
    /// The adapter could not be asked.
    Refused(VerbsError),
}

impl fmt::Display for ChooseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unserved { local, known } => {
                write!(f, "no adapter has the address {local}; name one by ?device=, there are: {known}")
            }
            Self::Unaddressed { name } => write!(f, "the adapter {name} has no address"),
            Self::Down { name, port } => write!(f, "port {port} of the adapter {name} is down"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

/// All adapters of this machine, or the one called `wanted`, opened. One that cannot be opened is left out.
pub(crate) fn open_all(library: Library, wanted: Option<&str>) -> Vec<Arc<Adapter>> {
    let mut opened = Vec::new();
    each_device(&library, |device, name| {
        if wanted.is_none_or(|wanted| wanted == name) {
            // SAFETY: the device is of a list that lives (V2).
            opened.extend(unsafe { Adapter::open(library, device, name) }.map(Arc::new));
        }
    });
    opened
}

/// The names of this machine's adapters, as the library knows them.
pub(crate) fn names(library: &Library) -> Vec<String> {
    let mut names = Vec::new();
    each_device(library, |_, name| names.push(name.to_owned()));
    names
}

/// Shows each device to `look`. The library's list lives while it does.
fn each_device(library: &Library, mut look: impl FnMut(*mut abi::Device, &str)) {
    let mut count = 0;
    // SAFETY: by V7 the function is there; it writes the count and returns null or an array of that many devices.
    let list = unsafe { (library.get_device_list)(&raw mut count) };
    if list.is_null() {
        return;
    }
    for at in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: `at` is under the count, and the list lives until it is freed below.
        let device = unsafe { *list.add(at) };
        // SAFETY: the device is of the list; its name lives as long as it does.
        let name = unsafe { CStr::from_ptr((library.get_device_name)(device)) };
        look(device, &name.to_string_lossy());
    }
    // SAFETY: it came from `get_device_list` and is freed once.
    unsafe { (library.free_device_list)(list) };
}

/// A port that is up, and one of its addresses.
pub(crate) struct Port {
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) place: Place,
    attributes: PortAttr,
}

impl Port {
    /// The port for connections from `local`: the one that has the address, or else some port of the only adapter.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn choose(adapters: &[Arc<Adapter>], local: IpAddr) -> Result<Self, ChooseError> {
        let gid = gid_of(local);
        let chosen = adapters.iter().find_map(|adapter| Some((adapter, best(&adapter.name, Some(gid))?)));
        let (adapter, place) = match (chosen, adapters) {
            (Some(chosen), _) => chosen,
            (None, [only]) => {
                let place = best(&only.name, None);
                (only, place.ok_or_else(|| ChooseError::Unaddressed { name: only.name.clone() })?)
            }
            (None, _) => {
                let names: Vec<&str> = adapters.iter().map(|adapter| adapter.name.as_str()).collect();
                return Err(ChooseError::Unserved { local, known: names.join(", ") });
            }
        };
        let attributes = adapter.query_port(place.port).map_err(ChooseError::Refused)?;
        if attributes.state != abi::PORT_ACTIVE {
            return Err(ChooseError::Down { name: adapter.name.clone(), port: place.port });
        }
        Ok(Self { adapter: adapter.clone(), place, attributes })
    }

    /// Its local identifier; 0 on Ethernet.
    pub(crate) fn lid(&self) -> u16 {
        self.attributes.lid
    }

    /// Its packet size, as the verbs count it: 1 is 256 bytes, 5 is 4,096.
    pub(crate) fn mtu(&self) -> u8 {
        u8::try_from(self.attributes.active_mtu).unwrap_or(1)
    }
}

/// The port and entry with the address `gid`, or with any; one of the newest kind of addressing if there is one. Each entry is a file or two of the
/// kernel's, so it ends with the first that will do.
fn best(name: &str, gid: Option<Gid>) -> Option<Place> {
    let mut second = None;
    for (port, gid_index, found) in entries(name).filter(|(.., found)| gid.is_none_or(|gid| *found == gid)) {
        let place = Place { port, gid_index, gid: found };
        if is_routable(name, &place) {
            return Some(place);
        }
        second = second.or(Some(place));
    }
    second
}

/// An IP address as adapters on Ethernet have it.
fn gid_of(address: IpAddr) -> Gid {
    match address {
        IpAddr::V4(address) => Gid(address.to_ipv6_mapped().octets()),
        IpAddr::V6(address) => Gid(address.octets()),
    }
}

/// All addresses of an adapter: port, place in its table, address.
fn entries(name: &str) -> impl Iterator<Item = (u8, u8, Gid)> {
    let ports = Path::new(CLASS).join(name).join("ports");
    let numbers = std::fs::read_dir(&ports).into_iter().flatten().flatten();
    let mut numbers: Vec<u8> = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.into_iter().flat_map(move |port| {
        let folder = ports.join(format!("{port}/gids"));
        let mut empty = 0;
        let table = (0..GIDS_MAX).map_while(move |index| {
            let gid = parse_gid(&std::fs::read_to_string(folder.join(index.to_string())).ok()?)?;
            empty = if gid == Gid::default() { empty + 1 } else { 0 };
            (empty < GIDS_EMPTY_MAX).then_some((port, index, gid))
        });
        table.filter(|(.., gid)| *gid != Gid::default())
    })
}

/// Whether an address is of the kind that UDP carries (RoCE v2).
fn is_routable(name: &str, place: &Place) -> bool {
    let file = format!("{CLASS}/{name}/ports/{}/gid_attrs/types/{}", place.port, place.gid_index);
    std::fs::read_to_string(file).is_ok_and(|kind| kind.trim() == "RoCE v2")
}

/// `fe80:0000:0000:0000:5054:00ff:fe12:3456`.
fn parse_gid(text: &str) -> Option<Gid> {
    let mut gid = Gid::default();
    let mut groups = text.trim().split(':');
    for place in gid.0.chunks_exact_mut(2) {
        let group = u16::from_str_radix(groups.next()?, 16).ok()?;
        place.copy_from_slice(&group.to_be_bytes());
    }
    groups.next().is_none().then_some(gid)
}

/// An opened adapter.
pub(crate) struct Adapter {
    pub(super) library: Library,
    pub(super) context: NonNull<Context>,
    pub(super) poll_cq: PollCq,
    pub(super) req_notify_cq: ReqNotifyCq,
    pub(super) post_send: PostSend,
    pub(super) post_recv: PostRecv,
    /// `mlx5_0`, `rxe0`.
    name: String,
    device: DeviceAttr,
    message_bytes_max: usize,
}

// SAFETY: by V6 the library's objects may be used from any thread.
unsafe impl Send for Adapter {}
// SAFETY: as above.
unsafe impl Sync for Adapter {}

impl Adapter {
    /// Opens it.
    ///
    /// # Safety
    /// V2: `device` is of a list that lives.
    unsafe fn open(library: Library, device: *mut abi::Device, name: &str) -> Result<Self, VerbsError> {
        // SAFETY: the caller's promise.
        let context = unsafe { (library.open_device)(device) };
        let context = NonNull::new(context).ok_or_else(|| VerbsError::last("open the RDMA adapter"))?;
        // SAFETY: by V1 and V2 the context's table of functions lies there.
        let ops = unsafe { &context.as_ref().ops };
        let functions = (ops.poll_cq, ops.req_notify_cq, ops.post_send, ops.post_recv);
        let (Some(poll_cq), Some(req_notify_cq), Some(post_send), Some(post_recv)) = functions else {
            // SAFETY: the context was opened above and is closed once.
            unsafe { (library.close_device)(context.as_ptr()) };
            return Err(VerbsError::because("use the RDMA adapter's driver", libc::ENOSYS));
        };
        let mut adapter = Self {
            library,
            context,
            poll_cq,
            req_notify_cq,
            post_send,
            post_recv,
            name: name.to_owned(),
            device: DeviceAttr::zeroed(),
            message_bytes_max: usize::MAX,
        };
        // SAFETY: by V1 and V2.
        let result = unsafe { (library.query_device)(context.as_ptr(), &raw mut adapter.device) };
        VerbsError::check("ask the RDMA adapter", result)?;
        for port in 1..=adapter.device.phys_port_cnt {
            let bytes = adapter.query_port(port)?.max_msg_sz as usize;
            adapter.message_bytes_max = adapter.message_bytes_max.min(bytes);
        }
        Ok(adapter)
    }

    fn query_port(&self, port: u8) -> Result<PortAttr, VerbsError> {
        let mut attributes = PortAttr::default();
        // SAFETY: by V1 and V2; the structure has room for more than the library's own.
        let result = unsafe { (self.library.query_port)(self.context.as_ptr(), port, &raw mut attributes) };
        VerbsError::check("ask the RDMA adapter's port", result)?;
        Ok(attributes)
    }

    /// Windows of a lane, at most. A window and a note in front of it take two places in its send queue; completions of both lanes go to one queue.
    pub(crate) fn windows_max(&self) -> usize {
        let limit = |limit: i32| usize::try_from(limit).unwrap_or(0);
        limit(self.device.max_qp_wr).min(limit(self.device.max_cqe) / 2).saturating_sub(NOTES_MAX) / 2
    }

    /// Bytes of a message, at most.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.message_bytes_max
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        // SAFETY: by V2 it was opened, everything made from it is gone, and it is closed once.
        unsafe { (self.library.close_device)(self.context.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_sysfs_is_read() {
        let gid = parse_gid("0000:0000:0000:0000:0000:ffff:7f00:0001\n").unwrap();
        assert_eq!(gid, gid_of("127.0.0.1".parse().unwrap()));
        assert_eq!(parse_gid("0000:0000"), None);
        assert_eq!(parse_gid("0:0:0:0:0:0:0:0:0"), None);
    }
}
