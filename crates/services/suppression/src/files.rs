//! The list's folder: which files there are, and how one generation follows another. See `docs/formats/suppression.md`.
//!
//! A generation is a base file, which never changes, and the log of what changed since. The first has no base file.

use crate::frame::{self, HEADER};
use crate::table::HashKey;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"PHSUPP1\n";
/// Octets before the first frame.
pub(crate) const PREFACE: usize = 36;
/// The first octets of the payload of a base file's last frame.
pub(crate) const END: u32 = u32::MAX;

/// What a file of the list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Base,
    Log,
}

impl Role {
    fn octet(self) -> u8 {
        match self {
            Self::Base => b'B',
            Self::Log => b'L',
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Log => "log",
        }
    }
}

/// The path of a file.
pub(crate) fn path(folder: &Path, role: Role, generation: u32) -> PathBuf {
    folder.join(format!("{}-{generation:08}", role.word()))
}

/// Role and generation of a file of the list, by its name.
pub(crate) fn parse_name(name: &str) -> Option<(Role, u32)> {
    let (word, number) = name.split_once('-')?;
    let role = [Role::Base, Role::Log].into_iter().find(|role| role.word() == word)?;
    if number.len() == 8 { Some((role, number.parse().ok()?)) } else { None }
}

/// The first octets of a file.
pub(crate) fn preface(role: Role, generation: u32, key: &HashKey) -> [u8; PREFACE] {
    let mut octets = [0; PREFACE];
    octets[..8].copy_from_slice(&MAGIC);
    octets[8] = role.octet();
    octets[12..16].copy_from_slice(&generation.to_le_bytes());
    octets[16..32].copy_from_slice(&key.0);
    let crc = crc32c::crc32c(&octets[..32]);
    octets[32..].copy_from_slice(&crc.to_le_bytes());
    octets
}

/// The key in a file's first octets; `None` if they are not those of such a file.
pub(crate) fn read_preface(file: &mut File, role: Role, generation: u32) -> io::Result<Option<HashKey>> {
    let mut octets = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    (&*file).take(PREFACE as u64).read_to_end(&mut octets)?;
    let Some(key) = octets.get(16..32).and_then(|key| key.try_into().ok()).map(HashKey) else { return Ok(None) };
    Ok((octets == preface(role, generation, &key)).then_some(key))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A file that is being written, frame by frame.
#[derive(Debug)]
pub(crate) struct Writing {
    file: File,
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
}

impl Writing {
    /// A new file with its preface; one of that name is replaced.
    pub(crate) fn create(path: PathBuf, preface: &[u8; PREFACE]) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        file.write_all(preface)?;
        Ok(Self { file, path, length: PREFACE as u64 })
    }

    /// A file that has `length` octets of whole frames; what lies behind them is cut off.
    pub(crate) fn resume(path: PathBuf, length: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).open(&path)?;
        if file.metadata()?.len() > length {
            file.set_len(length)?;
            file.sync_data()?;
        }
        file.seek(SeekFrom::Start(length))?;
        Ok(Self { file, path, length })
    }

    /// Appends a frame. After an error the file has a part of it: see [`Writing::undo`].
    pub(crate) fn append(&mut self, payload: &[u8]) -> io::Result<()> {
        self.file.write_all(&frame::header(self.length, payload))?;
        self.file.write_all(payload)?;
        self.length += (HEADER + payload.len()) as u64;
        Ok(())
    }

    /// Cuts off what an append left that failed.
    pub(crate) fn undo(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length)).map(|_| ())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let folder = Path::new("/f");
        for (role, generation) in [(Role::Base, 0), (Role::Log, 12_345_678)] {
            let path = path(folder, role, generation);
            assert_eq!(parse_name(path.file_name().unwrap().to_str().unwrap()), Some((role, generation)));
        }
        for other in ["lock", "base-1", "base-00000001.tmp", "log-0000000x", "x-00000001"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
