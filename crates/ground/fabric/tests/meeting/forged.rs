//! A peer that is written by hand: it speaks the introduction of `ipc:` in its own bytes, without the library, and so can lie in each of them.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

pub(crate) const WELCOME: &[u8] = b"PHFWELCO";
pub(crate) const ALL_SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// A hello, field by field.
#[derive(Clone, Copy)]
pub(crate) struct Hello {
    pub(crate) versions: (u16, u16),
    pub(crate) epoch: u32,
    pub(crate) flags: u32,
    pub(crate) memory_bytes: u64,
    /// Bytes and count, as in all of these.
    pub(crate) urgent: (u32, u32),
    pub(crate) bulk: (u32, u32),
    pub(crate) returns: u32,
    pub(crate) leases: u32,
    pub(crate) arena: (u32, u32),
}

/// Words and windows of the honest hello's memory.
pub(crate) mod place {
    pub(crate) const SLEEP: usize = 2048;
    pub(crate) const WANTS: usize = 2048 + 128;
    pub(crate) const RETURNED: usize = 2048 + 256;
    pub(crate) const URGENT_DISPOSED: usize = 2048 + 512;
    pub(crate) const BULK_DISPOSED: usize = 2048 + 1024;
    pub(crate) const BULK_READ: usize = BULK_DISPOSED + 128;
    pub(crate) const BULK_FINISHED: usize = BULK_DISPOSED + 256;
    pub(crate) const RETURNS: usize = 4096;
    pub(crate) const URGENT: usize = 8192;
    pub(crate) const BULK: usize = 12288;
}

impl Hello {
    /// Two urgent windows of 256 bytes, four bulk ones of 512, four leases, no arena: all true.
    pub(crate) fn honest() -> Self {
        Self {
            versions: (1, 1),
            epoch: 77,
            flags: 0,
            memory_bytes: 16384,
            urgent: (256, 2),
            bulk: (512, 4),
            returns: 4,
            leases: 4,
            arena: (0, 0),
        }
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut bytes = b"PHFHELLO".to_vec();
        bytes.extend(self.versions.0.to_le_bytes());
        bytes.extend(self.versions.1.to_le_bytes());
        for word in [self.epoch, self.flags, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.memory_bytes.to_le_bytes());
        let (urgent, bulk, arena) = (self.urgent, self.bulk, self.arena);
        for word in [urgent.0, urgent.1, bulk.0, bulk.1, self.returns, self.leases, arena.0, arena.1] {
            bytes.extend(word.to_le_bytes());
        }
        bytes
    }
}

/// Memory that the forger keeps a writable mapping of.
pub(crate) struct Pages {
    pub(crate) file: OwnedFd,
    base: NonNull<u8>,
    size: usize,
}

impl Pages {
    pub(crate) fn new(size: usize, seals: SealFlags) -> Self {
        let file =
            rustix::fs::memfd_create(c"forged", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a file");
        rustix::fs::ftruncate(&file, size as u64).expect("it grows");
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, of an address that the system chooses.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), size, prot, MapFlags::SHARED, &file, 0) };
        let base = NonNull::new(base.expect("mapped").cast()).expect("not at 0");
        rustix::fs::fcntl_add_seals(&file, seals).expect("sealed");
        Self { file, base, size }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.size);
        // SAFETY: an aligned word of the mapping, which lives as long as `self`; all reach it by atomics.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(at).cast()) }
    }

    pub(crate) fn set(&self, at: usize, word: u64) {
        self.word(at).store(word, Ordering::Release);
    }

    /// Publishes window `n` of the bulk lane as an honest peer would, with that sequence.
    pub(crate) fn publish(&self, n: u64, sequence: u64) {
        let at = place::BULK + (n % 4) as usize * 512;
        self.set(at + 32, 0);
        self.set(at, u64::from(u32::from_le_bytes(*b"PHF1")) | 1 << 32 | 32 << 48);
        self.set(at + 8, 0);
        self.set(at + 24, 77 << 32);
        self.set(at + 16, sequence);
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody refers to it any more.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.size) };
    }
}

// SAFETY: all reach the memory by atomics.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

pub(crate) fn socket() -> OwnedFd {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a socket")
}

pub(crate) fn dial(path: &Path) -> OwnedFd {
    let socket = socket();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).expect("short")).expect("somebody listens");
    socket
}

pub(crate) fn listen(path: &Path) -> OwnedFd {
    let socket = socket();
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).expect("short")).expect("free");
    rustix::net::listen(&socket, 8).expect("it listens");
    socket
}

pub(crate) fn say(socket: &OwnedFd, bytes: &[u8], files: &[BorrowedFd<'_>]) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(files)));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
}

/// The next datagram and its files; nothing when the other side has closed, or says nothing for as long as `time`.
pub(crate) fn hear(socket: &OwnedFd, time: Duration) -> (Vec<u8>, Vec<OwnedFd>) {
    super::wait(&[socket.as_fd()], time);
    let mut bytes = [0; 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let heard = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::DONTWAIT);
    let len = heard.map_or(0, |heard| heard.bytes);
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(found) = message {
            files.extend(found);
        }
    }
    (bytes[..len].to_vec(), files)
}

/// Introduces a forger that tells the truth so far: its socket, and what it heard. `drive` polls the other side.
pub(crate) fn introduce(path: &Path, hello: &Hello, pages: &Pages, mut drive: impl FnMut()) -> OwnedFd {
    let socket = dial(path);
    say(&socket, &hello.pack(), &[pages.file.as_fd()]).expect("said");
    drive();
    let (heard, files) = hear(&socket, super::PATIENCE);
    assert!(heard.starts_with(b"PHFHELLO") && !files.is_empty());
    say(&socket, WELCOME, &[]).expect("said");
    socket
}
