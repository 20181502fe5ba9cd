//! Reads the list's folder at the start: the newest generation whole, a torn end of its log cut off, anything else that
//! is wrong told with file and offset.

use crate::batch::Batch;
use crate::entry::Second;
use crate::files::{self, END, PREFACE, Role, Writing, parse_name, path, read_preface};
use crate::frame::{Frames, Next};
use crate::keeper::{OpenReport, PENDING_MAX};
use crate::list::{List, PARTITIONS};
use crate::partition::Partition;
use crate::record::{Record, records};
use crate::table::{ARENA_MAX, HashKey};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Why the list cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has it open.
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The system refused.
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what was once written.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, octets from its beginning.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { folder } => write!(
                f,
                "suppression list {} is open in another process; ask the server that runs, or stop it first",
                folder.display()
            ),
            Self::File { path, .. } => write!(f, "suppression list: {}", path.display()),
            Self::Damaged { path, offset, what } => write!(
                f,
                "suppression list: {} is damaged at offset {offset}: {what}; restore the file, or move the folder away \
                 and import an export",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Locked { .. } | Self::Damaged { .. } => None,
        }
    }
}

/// The list as the folder has it.
pub(crate) struct Loaded {
    pub(crate) list: List,
    pub(crate) generation: u32,
    pub(crate) log: Writing,
    pub(crate) base_octets: u64,
    pub(crate) report: OpenReport,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::File { path: path.to_owned(), source }
}

fn damaged(path: &Path, offset: u64, what: &'static str) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), offset, what }
}

/// Loads the newest generation; a folder without one gets its first, with `seed` as the key of its hash.
pub(crate) fn load(folder: &Path, seed: [u8; 16], now: Second) -> Result<Loaded, OpenError> {
    let generation = newest(folder)?;
    let base_path = path(folder, Role::Base, generation);
    let log_path = path(folder, Role::Log, generation);
    if generation == 0 && !log_path.exists() {
        begin(folder, &log_path, &HashKey(seed)).map_err(failed(&log_path))?;
    }
    let mut log = File::open(&log_path).map_err(failed(&log_path))?;
    let key = read_preface(&mut log, Role::Log, generation).map_err(failed(&log_path))?;
    let key = key.ok_or_else(|| damaged(&log_path, 0, "it does not begin as a log of this generation"))?;
    let list = List::new(key);
    let mut base_octets = 0;
    if generation > 0 {
        base_octets = load_base(&base_path, generation, &list)?;
    }
    let mut report = OpenReport::default();
    let length = load_log(&log_path, log, &list, now, &mut report)?;
    let log = Writing::resume(log_path.clone(), length).map_err(failed(&log_path))?;
    report.entries = list.figures().entries;
    Ok(Loaded { list, generation, log, base_octets, report })
}

/// The newest generation; what others left is removed.
fn newest(folder: &Path) -> Result<u32, OpenError> {
    let names: Vec<String> = std::fs::read_dir(folder)
        .map_err(failed(folder))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let bases = names.iter().filter_map(|name| parse_name(name)).filter(|(role, _)| *role == Role::Base);
    let generation = bases.map(|(_, generation)| generation).max().unwrap_or(0);
    for name in names {
        let is_left_over = match parse_name(&name) {
            Some((_, other)) => other != generation,
            None => name.ends_with(".tmp"),
        };
        if is_left_over {
            let path = folder.join(name);
            std::fs::remove_file(&path).map_err(failed(&path))?;
        }
    }
    Ok(generation)
}

/// The first log, which exists only with its whole preface.
fn begin(folder: &Path, log: &Path, key: &HashKey) -> io::Result<()> {
    let temporary = log.with_extension("tmp");
    Writing::create(temporary.clone(), &files::preface(Role::Log, 0, key))?.sync()?;
    std::fs::rename(temporary, log)?;
    files::sync_folder(folder)
}

/// Reads a base file; gives its length.
fn load_base(path: &Path, generation: u32, list: &List) -> Result<u64, OpenError> {
    let mut file = File::open(path).map_err(failed(path))?;
    let key = read_preface(&mut file, Role::Base, generation).map_err(failed(path))?;
    if key != Some(*list.hash_key()) {
        return Err(damaged(path, 0, "it does not begin as the base file of its log"));
    }
    let mut frames = Frames::new(file, PREFACE as u64).map_err(failed(path))?;
    let mut entries = 0;
    loop {
        let (at, payload) = match frames.next().map_err(failed(path))? {
            Next::Frame(at, payload) => (at, payload),
            Next::Broken(at) => return Err(damaged(path, at, "a checksum is wrong, or the end is missing")),
            Next::End => {
                return Err(damaged(path, std::fs::metadata(path).map_or(0, |file| file.len()), "its end is missing"));
            }
        };
        let Some((number, octets)) = payload.split_first_chunk() else {
            return Err(damaged(path, at, "a frame says nothing"));
        };
        match u32::from_le_bytes(*number) {
            END if octets == u64::to_le_bytes(entries) => break,
            END => return Err(damaged(path, at, "it has not the number of entries that it should have")),
            partition => {
                let index = partition as usize;
                if index >= PARTITIONS || !is_partition(octets, index, list) {
                    return Err(damaged(path, at, "a partition's entries are not in their order and place"));
                }
                let partition = Partition::new(octets.to_vec(), list.hash_key());
                entries += partition.entries() as u64;
                list.set_partition(index, partition);
            }
        }
    }
    match frames.next().map_err(failed(path))? {
        Next::End => Ok(std::fs::metadata(path).map_or(0, |file| file.len())),
        Next::Frame(at, _) | Next::Broken(at) => Err(damaged(path, at, "something stands behind its end")),
    }
}

/// Whether octets are sound entries of one partition in order.
fn is_partition(octets: &[u8], index: usize, list: &List) -> bool {
    let mut last: Option<Record<'_>> = None;
    let mut length = 0;
    for (_, record) in records(octets) {
        let is_next = last.is_none_or(|last| last.order(&record).is_lt());
        if !is_next || !record.is_sound() || record.is_removal() || list.partition_of(record.address) != index {
            return false;
        }
        length += record.octets.len();
        last = Some(record);
    }
    length == octets.len() && length <= ARENA_MAX
}

/// Reads a log into the list; gives the length of its whole frames.
fn load_log(path: &Path, file: File, list: &List, now: Second, report: &mut OpenReport) -> Result<u64, OpenError> {
    let length = file.metadata().map_err(failed(path))?.len();
    let mut frames = Frames::new(file, PREFACE as u64).map_err(failed(path))?;
    let mut pending = Batch::new();
    let whole = loop {
        match frames.next().map_err(failed(path))? {
            Next::Frame(at, octets) => {
                let (mut read, mut count) = (0, 0);
                for (_, record) in records(&octets).take_while(|(_, record)| record.is_sound()) {
                    read += record.octets.len();
                    count += 1;
                }
                if read != octets.len() {
                    return Err(damaged(path, at, "a change cannot be read"));
                }
                pending.append(&Batch::from_records(octets, count));
                report.changes += count as u64;
                if pending.len() >= PENDING_MAX {
                    list.publish(&pending, now);
                    pending.clear();
                }
            }
            Next::End => break length,
            Next::Broken(at) if frames.has_frame_behind(at).map_err(failed(path))? => {
                return Err(damaged(path, at, "a checksum is wrong, and whole frames follow"));
            }
            Next::Broken(at) => {
                report.torn_octets = length - at;
                break at;
            }
        }
    };
    list.publish(&pending, now);
    Ok(whole)
}
