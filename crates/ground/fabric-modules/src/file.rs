//! The file of a module: who may have written it, and a copy of its bytes that nobody can change.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use crate::load::LoadError;

/// Bytes of a module at most.
const MODULE_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a signature file at most; minisign's have about 300.
const SIGNATURE_BYTES_MAX: u64 = 8 << 10;
/// Permission to write for group and others.
const OTHERS_WRITE: u32 = 0o022;
/// Who may write in the directory may remove their own files only.
const STICKY: u32 = 0o1000;

/// A copy of a module in sealed memory.
pub(crate) struct Sealed {
    /// The memory, from which it is opened.
    pub(crate) file: OwnedFd,
    /// What is in it, to be verified.
    pub(crate) bytes: Vec<u8>,
}

/// Checks file and directories, and copies the file into memory that cannot be written any more.
pub(crate) fn sealed_copy(path: &Path) -> Result<Sealed, LoadError> {
    check_directories(path)?;
    let file = open(path)?;
    check_owner_and_mode(path, &file.metadata().map_err(|source| open_error(path, source))?)?;
    let bytes = read_up_to(path, file, MODULE_BYTES_MAX)?;
    let memory = |source: io::Error| LoadError::Memory { path: path.to_owned(), source };
    let sealed = seal(&bytes).map_err(memory)?;
    // Read back: what is verified is what was sealed, whatever happened to the memory before.
    let sealed = File::from(sealed);
    let mut bytes = vec![0; bytes.len()];
    sealed.read_exact_at(&mut bytes, 0).map_err(memory)?;
    if sealed.metadata().map_err(memory)?.len() != bytes.len() as u64 {
        return Err(memory(io::Error::other("its length changed while it was copied")));
    }
    Ok(Sealed { file: sealed.into(), bytes })
}

/// The text of the module's signature.
pub(crate) fn signature(path: &Path) -> Result<String, LoadError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    let name = PathBuf::from(name);
    let file = match open(&name) {
        Err(LoadError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(LoadError::Unsigned { path: path.to_owned() });
        }
        other => other?,
    };
    let bytes = read_up_to(&name, file, SIGNATURE_BYTES_MAX)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn open(path: &Path) -> Result<File, LoadError> {
    // NONBLOCK: a pipe in the place of a module must not hold us up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => Ok(file.into()),
        Err(rustix::io::Errno::LOOP) => Err(LoadError::SymbolicLink { path: path.to_owned() }),
        Err(errno) => Err(open_error(path, errno.into())),
    }
}

fn open_error(path: &Path, source: io::Error) -> LoadError {
    LoadError::Open { path: path.to_owned(), source }
}

fn read_up_to(path: &Path, file: File, limit: u64) -> Result<Vec<u8>, LoadError> {
    if !file.metadata().map_err(|source| open_error(path, source))?.is_file() {
        return Err(LoadError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| open_error(path, source))?;
    if bytes.len() as u64 > limit {
        return Err(LoadError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Every directory on the way to the file, so that nobody but root and this user can put another file in its place. A directory like `/tmp`, whose
/// sticky bit keeps people from each other's files, is let pass.
fn check_directories(path: &Path) -> Result<(), LoadError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = parent.canonicalize().map_err(|source| open_error(path, source))?;
    for directory in parent.ancestors() {
        let metadata = std::fs::symlink_metadata(directory).map_err(|source| open_error(directory, source))?;
        if metadata.mode() & STICKY == 0 {
            check_mode(directory, &metadata)?;
        }
        check_owner(directory, &metadata)?;
    }
    Ok(())
}

fn check_owner_and_mode(path: &Path, metadata: &std::fs::Metadata) -> Result<(), LoadError> {
    check_mode(path, metadata)?;
    check_owner(path, metadata)
}

fn check_mode(path: &Path, metadata: &std::fs::Metadata) -> Result<(), LoadError> {
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err(LoadError::Writable { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    Ok(())
}

fn check_owner(path: &Path, metadata: &std::fs::Metadata) -> Result<(), LoadError> {
    let user = rustix::process::geteuid().as_raw();
    if !may_own(metadata.uid(), user) {
        return Err(LoadError::Owner { path: path.to_owned(), owner: metadata.uid(), user });
    }
    Ok(())
}

/// Whether what belongs to `owner` may be loaded by a process of `user`.
fn may_own(owner: u32, user: u32) -> bool {
    owner == 0 || owner == user
}

fn seal(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create(c"fabric-module", flags | MemfdFlags::NOEXEC_SEAL)
        // Kernels before 6.3 do not know the flag.
        .or_else(|_| rustix::fs::memfd_create(c"fabric-module", flags))?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_oneself_may_own_a_module_and_nobody_else() {
        assert!(may_own(0, 1000) && may_own(1000, 1000) && may_own(0, 0));
        assert!(!may_own(1001, 1000) && !may_own(1000, 0));
    }

    #[test]
    fn what_was_sealed_cannot_be_written_cut_or_grown() {
        let file = File::from(seal(b"module").expect("memory"));
        (&file).write_all(b"x").expect_err("sealed against writing");
        file.write_all_at(b"x", 0).expect_err("sealed against writing");
        file.set_len(0).expect_err("sealed against shrinking");
        file.set_len(100).expect_err("sealed against growing");
        let again =
            File::options().write(true).open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)));
        if let Ok(again) = again {
            again.write_all_at(b"x", 0).expect_err("sealed against writing by any way");
        }
    }
}
