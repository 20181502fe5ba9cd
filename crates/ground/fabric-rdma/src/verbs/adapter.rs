//! Adapters: which there are, which one an address means, and an opened one.

use std::ffi::CStr;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use super::abi::{self, Context, DeviceAttr, Gid, PollCq, PortAttr, PostRecv, PostSend, ReqNotifyCq};
use super::{Library, VerbsError};

/// Entries of a port's table of addresses that are looked at; the kernel fills it from the front.
const GIDS_MAX: usize = 128;

/// Places in queues that are kept for notes.
const NOTES_MAX: usize = 8;

/// Where the kernel describes adapters.
const CLASS: &str = "/sys/class/infiniband";

/// A port of an adapter and one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The adapter's name: `mlx5_0`, `rxe0`.
    pub(crate) name: String,
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
    /// `?device=` names none that is here.
    Unknown { wanted: String, known: String },
    /// None has the local address.
    Unserved { local: IpAddr, known: String },
    /// The adapter has no address at all.
    Unaddressed { name: String },
}

impl fmt::Display for ChooseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { wanted, known } => write!(f, "no adapter is called {wanted}; there are: {known}"),
            Self::Unserved { local, known } => {
                write!(f, "no adapter has the address {local}; name one by ?device=, there are: {known}")
            }
            Self::Unaddressed { name } => write!(f, "the adapter {name} has no address"),
        }
    }
}

/// The names of this machine's adapters, as the library knows them.
pub(crate) fn adapters(library: &Library) -> Vec<String> {
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

impl Place {
    /// The adapter for connections from `local`: the one called `wanted`, or else the one that has the address, or else the only one.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn choose(names: &[String], wanted: Option<&str>, local: IpAddr) -> Result<Self, ChooseError> {
        let known = || names.join(", ");
        if let Some(wanted) = wanted {
            if !names.iter().any(|name| name == wanted) {
                return Err(ChooseError::Unknown { wanted: wanted.to_owned(), known: known() });
            }
            return best(&[wanted.to_owned()], local)
                .or_else(|| Self::any(wanted))
                .ok_or_else(|| ChooseError::Unaddressed { name: wanted.to_owned() });
        }
        if let Some(place) = best(names, local) {
            return Ok(place);
        }
        match names {
            [only] => Self::any(only).ok_or_else(|| ChooseError::Unaddressed { name: only.clone() }),
            _ => Err(ChooseError::Unserved { local, known: known() }),
        }
    }

    /// Some port of an adapter with an address, one that routers pass if there is one.
    pub(crate) fn any(name: &str) -> Option<Self> {
        places(name).into_iter().max_by_key(|(_, routable)| *routable).map(|(place, _)| place)
    }
}

/// The port that has the address `local`, of the newest kind of addressing.
fn best(names: &[String], local: IpAddr) -> Option<Place> {
    let gid = gid_of(local);
    let places = names.iter().flat_map(|name| places(name));
    places.filter(|(place, _)| place.gid == gid).max_by_key(|(_, routable)| *routable).map(|(place, _)| place)
}

/// An IP address as adapters on Ethernet have it.
fn gid_of(address: IpAddr) -> Gid {
    match address {
        IpAddr::V4(address) => Gid(address.to_ipv6_mapped().octets()),
        IpAddr::V6(address) => Gid(address.octets()),
    }
}

/// All addresses of an adapter, with whether they are of the kind that UDP carries (RoCE v2).
fn places(name: &str) -> Vec<(Place, bool)> {
    let ports = Path::new(CLASS).join(name).join("ports");
    let numbers = std::fs::read_dir(&ports).into_iter().flatten().flatten();
    let mut numbers: Vec<u8> = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    let mut places = Vec::new();
    for port in numbers {
        let folder: PathBuf = ports.join(port.to_string());
        for index in 0..GIDS_MAX {
            let Ok(text) = std::fs::read_to_string(folder.join(format!("gids/{index}"))) else { break };
            let Some(gid) = parse_gid(&text).filter(|gid| *gid != Gid::default()) else { continue };
            let kind = std::fs::read_to_string(folder.join(format!("gid_attrs/types/{index}"))).unwrap_or_default();
            let gid_index = u8::try_from(index).expect("GIDS_MAX is under 256");
            places.push((Place { name: name.to_owned(), port, gid_index, gid }, kind.trim() == "RoCE v2"));
        }
    }
    places
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
    place: Place,
    port: PortAttr,
    work_max: usize,
    completions_max: usize,
}

// SAFETY: by V6 the library's objects may be used from any thread.
unsafe impl Send for Adapter {}
// SAFETY: as above.
unsafe impl Sync for Adapter {}

impl Adapter {
    /// Opens it.
    ///
    /// # Errors
    /// When the kernel refuses, the adapter has gone meanwhile, or its port is down.
    pub(crate) fn open(library: Library, place: Place) -> Result<Self, VerbsError> {
        let mut context = std::ptr::null_mut();
        each_device(&library, |device, name| {
            if name == place.name {
                // SAFETY: the device is of a list that lives (V2).
                context = unsafe { (library.open_device)(device) };
            }
        });
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
            place,
            port: PortAttr::default(),
            work_max: 0,
            completions_max: 0,
        };
        adapter.query()?;
        Ok(adapter)
    }

    /// Asks what the adapter and its port can do.
    fn query(&mut self) -> Result<(), VerbsError> {
        let mut device = DeviceAttr::zeroed();
        // SAFETY: by V1 and V2.
        let result = unsafe { (self.library.query_device)(self.context.as_ptr(), &raw mut device) };
        VerbsError::check("ask the RDMA adapter", result)?;
        // SAFETY: as above; the structure has room for more than the library's own.
        let result = unsafe { (self.library.query_port)(self.context.as_ptr(), self.place.port, &raw mut self.port) };
        VerbsError::check("ask the RDMA adapter's port", result)?;
        self.work_max = usize::try_from(device.max_qp_wr).unwrap_or(0);
        self.completions_max = usize::try_from(device.max_cqe).unwrap_or(0);
        if self.port.state != abi::PORT_ACTIVE {
            return Err(VerbsError::because("use the RDMA adapter's port", libc::ENETDOWN));
        }
        Ok(())
    }

    /// Which port, and its address.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The port's local identifier; 0 on Ethernet.
    pub(crate) fn lid(&self) -> u16 {
        self.port.lid
    }

    /// The port's packet size, as the verbs count it: 1 is 256 bytes, 5 is 4,096.
    pub(crate) fn mtu(&self) -> u8 {
        u8::try_from(self.port.active_mtu).unwrap_or(1)
    }

    /// Windows of a lane, at most. A window and a note in front of it take two places in its send queue; completions of both lanes go to one queue.
    pub(crate) fn windows_max(&self) -> usize {
        self.work_max.min(self.completions_max / 2).saturating_sub(NOTES_MAX) / 2
    }

    /// Bytes of a message, at most.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.port.max_msg_sz as usize
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

    #[test]
    fn an_adapter_that_is_not_here_is_named_with_those_that_are() {
        let names = ["mlx5_0".to_owned(), "mlx5_1".to_owned()];
        let error = Place::choose(&names, Some("rxe7"), "127.0.0.1".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "no adapter is called rxe7; there are: mlx5_0, mlx5_1");
        let error = Place::choose(&names, None, "127.0.0.1".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("no adapter has the address 127.0.0.1"), "{error}");
    }
}
