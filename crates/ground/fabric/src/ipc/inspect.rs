//! A look at the links of a running process, read-only and without its help: for tools.
//!
//! A process keeps the file of each link's memory open; whoever may look at its descriptors (the same user, or root) can map it read-only. It shows
//! one side of each link: what that process sent as `taken`, and what it received as `disposed` and `messages_read`. All of it is as that process wrote it.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};

use super::address::{Place, dial};
use super::layout::{self, Layout};
use super::memory::{Own, check_sealed, map};
use super::sleep;
use super::socket::credentials;
use crate::memory::Memory;
use crate::tli::{Lane, WindowSettings};
use crate::uri::Uri;

const MAGIC: u64 = u64::from_le_bytes(*b"PHFLINK1");
/// Words of the head: magic, epoch, urgent bytes and count, bulk bytes and count, returns, length of the label.
const WORDS: usize = 8;
const PEER_PID: usize = layout::HEAD.start + WORDS * 8;
const PEER_EPOCH: usize = PEER_PID + 8;
const LABEL: usize = PEER_EPOCH + 8;
const LABEL_MAX: usize = 512;

const _: () = assert!(LABEL + LABEL_MAX <= layout::HEAD.end);

/// One side of a link, as it stood when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkView {
    /// The process whose side it is.
    pub pid: u32,
    /// The process at the other end, as far as it can be seen from there.
    pub peer_pid: Option<u32>,
    /// The path of the socket, or the label of an inherited one.
    pub label: String,
    /// Tells links apart; the other side has it as `peer_epoch`.
    pub epoch: u32,
    /// The other side's epoch.
    pub peer_epoch: u32,
    /// Threads that sleep on the link now.
    pub sleepers: u16,
    /// How often any went to sleep.
    pub sleeps: u64,
    /// Leases given back to the other side so far.
    pub leases_returned: u64,
    /// The lane of small windows.
    pub urgent: LaneView,
    /// The usual lane.
    pub bulk: LaneView,
}

/// One lane of a [`LinkView`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneView {
    /// Size of a window for sending, in bytes.
    pub window_bytes: usize,
    /// Windows for sending.
    pub windows: usize,
    /// Windows taken for sending so far. Less what the other side has `disposed`, they are in use.
    pub taken: u64,
    /// Whether nothing more will be sent.
    pub finished: bool,
    /// Windows received and disposed of so far.
    pub disposed: u64,
    /// Messages received and read so far.
    pub messages_read: u64,
}

/// All links of a process.
///
/// # Errors
/// When there is no such process, or it may not be looked at.
pub fn inspect(pid: u32) -> io::Result<Vec<LinkView>> {
    let mut views = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        // A descriptor that was closed meanwhile is none of ours.
        let ours = fs::read_link(&path)
            .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"/memfd:fabric-link"));
        if !ours {
            continue;
        }
        let Ok(file) = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { continue };
        let size = rustix::fs::fstat(&file)?.st_size;
        let Ok(size) = usize::try_from(size) else { continue };
        if check_sealed(file.as_fd(), size as u64).is_err() {
            continue;
        }
        if let Ok(memory) = map(&file, size) {
            views.extend(view(pid, &memory));
        }
    }
    Ok(views)
}

/// The links that the listener at an address has.
///
/// # Errors
/// When the address is wrong or inherited, nobody listens there, or its process may not be looked at.
pub fn inspect_at(uri: &Uri) -> io::Result<Vec<LinkView>> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let Place::Path(path) = Place::parse(uri).map_err(|error| wrong(error.to_string()))? else {
        return Err(wrong(format!("{uri}: an inherited socket has no place to look at; name the process")));
    };
    // To the listener it is a visitor who leaves again.
    let listener = credentials(dial(&path)?.as_fd())?;
    let mut views = inspect(listener.pid)?;
    views.retain(|view| view.label == path.display().to_string());
    Ok(views)
}

fn view(pid: u32, memory: &Memory) -> Option<LinkView> {
    if memory.len() < layout::HEAD.end {
        return None;
    }
    let mut words = [0; WORDS];
    for (n, word) in words.iter_mut().enumerate() {
        *word = memory.load(layout::HEAD.start + n * 8);
    }
    let [magic, epoch, urgent_bytes, urgent_count, bulk_bytes, bulk_count, returns, label_len] = words;
    let windows = |bytes: u64, count: u64| WindowSettings { bytes: bytes as usize, count: count as usize };
    let (urgent, bulk) = (windows(urgent_bytes, urgent_count), windows(bulk_bytes, bulk_count));
    // Its bound is generous; what counts is that the parts make up the whole, below.
    let layout = Layout::new(urgent, bulk, usize::try_from(returns).ok()?, usize::MAX)?;
    if magic != MAGIC || layout.bytes() != memory.len() || label_len > LABEL_MAX as u64 {
        return None;
    }
    let mut label = vec![0; label_len as usize];
    memory.copy_out(LABEL, &mut label);
    let peer_pid = memory.load(PEER_PID) as u32;
    let (sleepers, sleeps) = sleep::parts(memory.load(layout::SLEEP));
    let lane = |lane: Lane| LaneView {
        window_bytes: layout.windows(lane).bytes,
        windows: layout.windows(lane).count,
        taken: memory.load(layout::taken(lane)),
        finished: memory.load(layout::finished(lane)) != 0,
        disposed: memory.load(layout::disposed(lane)),
        messages_read: memory.load(layout::read(lane)),
    };
    Some(LinkView {
        pid,
        peer_pid: (peer_pid != 0).then_some(peer_pid),
        label: String::from_utf8_lossy(&label).into_owned(),
        epoch: epoch as u32,
        peer_epoch: memory.load(PEER_EPOCH) as u32,
        sleepers,
        sleeps,
        leases_returned: memory.load(layout::RETURNED),
        urgent: lane(Lane::Urgent),
        bulk: lane(Lane::Bulk),
    })
}

/// The head of a new memory.
pub(super) fn head(own: &Own, label: &str) -> Vec<u8> {
    let label = &label.as_bytes()[..label.len().min(LABEL_MAX)];
    let (urgent, bulk) = (own.layout.windows(Lane::Urgent), own.layout.windows(Lane::Bulk));
    let numbers = [urgent.bytes, urgent.count, bulk.bytes, bulk.count, own.layout.returns(), label.len()];
    let words = [MAGIC, u64::from(own.epoch)].into_iter().chain(numbers.map(|number| number as u64)).chain([0, 0]);
    words.flat_map(u64::to_le_bytes).chain(label.iter().copied()).collect()
}

/// The peers have met: their names are added.
pub(super) fn met(own: &Own, peer_pid: u32, peer_epoch: u32) {
    own.set(PEER_PID, u64::from(peer_pid));
    own.set(PEER_EPOCH, u64::from(peer_epoch));
}
