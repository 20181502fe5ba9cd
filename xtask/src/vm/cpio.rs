//! An initial RAM file system in the `newc` format of cpio, uncompressed. The kernel unpacks it and runs `/init`.

use std::collections::BTreeSet;
use std::path::Path;

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// Files and folders of the guest, in the order in which they were added.
pub(crate) struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Archive {
    /// An archive with the folders that `/init` mounts file systems on.
    pub(crate) fn new() -> Archive {
        let mut archive = Archive { bytes: Vec::new(), names: BTreeSet::new() };
        for folder in ["proc", "sys", "dev", "tmp", "run", "sbin"] {
            archive.folder(folder);
        }
        archive
    }

    /// Adds a file under a path without a leading slash, executable, with the folders above it. Added again, it is
    /// left as it was.
    pub(crate) fn file(&mut self, name: &str, content: &[u8]) {
        self.folders_above(name);
        self.entry(name, PROGRAM, content);
    }

    /// Adds a file of this machine under `name`.
    pub(crate) fn copy(&mut self, name: &str, from: &Path) -> Result<(), String> {
        let content = std::fs::read(from).map_err(|error| format!("{}: {error}", from.display()))?;
        self.file(name, &content);
        Ok(())
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, name: &str, to: &str) {
        self.folders_above(name);
        self.entry(name, LINK, to.as_bytes());
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn folders_above(&mut self, name: &str) {
        for (at, _) in name.match_indices('/') {
            self.folder(&name[..at]);
        }
    }

    fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER, &[]);
    }

    /// Header of thirteen fields of eight hexadecimal digits, name, content; name and content padded to four bytes.
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        if !self.names.insert(name.to_owned()) {
            return;
        }
        let inode = self.names.len();
        let (links, size, name_size) = (1, content.len(), name.len() + 1);
        let (user, group, time, check, device) = (0, 0, 0, 0, 0);
        let header = format!(
            "070701{inode:08x}{mode:08x}{user:08x}{group:08x}{links:08x}{time:08x}{size:08x}\
             {device:08x}{device:08x}{device:08x}{device:08x}{name_size:08x}{check:08x}"
        );
        self.bytes.extend(header.bytes());
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that `cpio --create --format=newc` writes for one small file, apart from inode and time.
    #[test]
    fn one_file_as_cpio_writes_it() {
        let mut archive = Archive { bytes: Vec::new(), names: BTreeSet::new() };
        archive.file("a", b"hello");
        let expected = "070701\
            00000001000081ed000000000000000000000001000000000000000500000000000000000000000000000000\
            0000000200000000a\0hello\0\0\0";
        assert_eq!(String::from_utf8_lossy(&archive.bytes), expected);
        archive.file("a", b"other");
        assert_eq!(archive.bytes.len(), expected.len());
    }
}
