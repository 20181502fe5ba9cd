//! A disk in memory for the crash tests: what is not synced can be lost or torn, calls can fail, and all of it follows
//! from a seed.
//!
//! The model of a power cut: each sector (512 octets) written since the last sync of its file is on the disk or not, by
//! chance; a name made or removed since the last sync of its directory may not be. A crash in the middle of a call
//! leaves any part of the call done, and every later call fails.

use crate::disk::{Access, Disk, DiskFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

/// Numbers by chance, from a seed.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678_9ABC_DEF1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True in `percent` of a hundred cases.
    pub(super) fn hits(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Default)]
struct Data {
    /// What a reader sees.
    current: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// The power goes in the middle of this call, counted from now.
    pub(super) cut_after: Option<u64>,
    /// These calls of `sync`, counted from now, fail, and lose their sectors.
    pub(super) failing_syncs: BTreeSet<u64>,
    /// Writes are short in this percentage of cases.
    pub(super) short_writes: u64,
    /// Bytes of files that there is room for.
    pub(super) room: Option<u64>,
    /// Every write and sync fails.
    pub(super) dead: bool,
}

struct World {
    files: BTreeMap<PathBuf, Arc<Mutex<Data>>>,
    /// Names that are not durable yet: made, or removed with what they named.
    made: BTreeSet<PathBuf>,
    removed: BTreeMap<PathBuf, Arc<Mutex<Data>>>,
    faults: Faults,
    calls: u64,
    syncs: u64,
    is_cut: bool,
    chance: Chance,
}

/// See the module.
#[derive(Clone)]
pub(super) struct SimDisk(Arc<Mutex<World>>);

impl SimDisk {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World {
            files: BTreeMap::new(),
            made: BTreeSet::new(),
            removed: BTreeMap::new(),
            faults: Faults::default(),
            calls: 0,
            syncs: 0,
            is_cut: false,
            chance: Chance::new(seed),
        })))
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        let mut world = self.0.lock().unwrap();
        (world.faults, world.calls, world.syncs) = (faults, 0, 0);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.0.lock().unwrap().is_cut
    }

    /// The machine starts again after a power cut.
    pub(super) fn power_cut(&self) {
        let mut world = self.0.lock().unwrap();
        let world = &mut *world;
        for (path, data) in std::mem::take(&mut world.removed) {
            if world.chance.hits(50) {
                world.files.entry(path).or_insert(data);
            }
        }
        for path in std::mem::take(&mut world.made) {
            if world.chance.hits(50) {
                world.files.remove(&path);
            }
        }
        for data in world.files.values() {
            data.lock().unwrap().lose(&mut world.chance);
        }
        world.restart();
    }

    /// The process was killed; the kernel keeps what it was given.
    pub(super) fn kill(&self) {
        self.0.lock().unwrap().restart();
    }

    pub(super) fn names(&self, directory: &Path) -> Vec<PathBuf> {
        let world = self.0.lock().unwrap();
        world.files.keys().filter(|path| path.parent() == Some(directory)).cloned().collect()
    }
}

impl World {
    fn restart(&mut self) {
        (self.faults, self.is_cut) = (Faults::default(), false);
    }

    /// Counts a call that changes something; says whether it is carried out in full, in part or not at all.
    fn step(&mut self) -> Step {
        if self.is_cut || self.faults.dead {
            return Step::Fails;
        }
        self.calls += 1;
        if self.faults.cut_after == Some(self.calls) {
            self.is_cut = true;
            return Step::Breaks;
        }
        Step::Works
    }
}

enum Step {
    Works,
    /// Some of it is done, and the power is gone.
    Breaks,
    Fails,
}

fn broken() -> io::Error {
    io::Error::other("the simulated disk is gone")
}

impl Data {
    fn lose(&mut self, chance: &mut Chance) {
        for sector in std::mem::take(&mut self.dirty) {
            if chance.hits(50) {
                self.settle(sector);
            }
        }
        self.current = self.durable.clone();
    }

    fn settle(&mut self, sector: usize) {
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(self.current.len());
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[start..end].copy_from_slice(&self.current[start..end]);
    }
}

struct SimFile {
    disk: SimDisk,
    data: Arc<Mutex<Data>>,
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.0.lock().unwrap();
        let exists = world.files.contains_key(path);
        match access {
            Access::CreateNew if exists => return Err(io::ErrorKind::AlreadyExists.into()),
            Access::Read | Access::Write if !exists => return Err(io::ErrorKind::NotFound.into()),
            Access::CreateNew | Access::Replace => {
                if !matches!(world.step(), Step::Works) {
                    return Err(broken());
                }
                if !exists {
                    world.files.insert(path.to_path_buf(), Arc::default());
                    world.made.insert(path.to_path_buf());
                } else {
                    *world.files[path].lock().unwrap() = Data::default();
                }
            }
            Access::Read | Access::Write => {}
        }
        Ok(Arc::new(SimFile { disk: self.clone(), data: Arc::clone(&world.files[path]) }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        Ok(self.names(directory).into_iter().map(name).collect())
    }

    fn create_directory(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut world = self.0.lock().unwrap();
        if !matches!(world.step(), Step::Works) {
            return Err(broken());
        }
        world.made.retain(|path| path.parent() != Some(directory));
        world.removed.retain(|path, _| path.parent() != Some(directory));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock().unwrap();
        if !matches!(world.step(), Step::Works) {
            return Err(broken());
        }
        let data = world.files.remove(path).ok_or(io::ErrorKind::NotFound)?;
        if !world.made.remove(path) {
            world.removed.insert(path.to_path_buf(), data);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.0.lock().unwrap();
        let data = world.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.files.insert(to.to_path_buf(), data);
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut world = self.disk.0.lock().unwrap();
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let step = world.step();
        match step {
            Step::Fails => return Err(broken()),
            // Whole sectors: a page is not written back while the kernel copies into it.
            Step::Breaks => bytes.truncate(world.chance.below(bytes.len() as u64 + 1) as usize / SECTOR * SECTOR),
            Step::Works if bytes.len() > SECTOR && world.faults.short_writes > 0 => {
                let percent = world.faults.short_writes;
                if world.chance.hits(percent) {
                    bytes.truncate(SECTOR + world.chance.below((bytes.len() - SECTOR) as u64) as usize);
                }
            }
            Step::Works => {}
        }
        let end = offset as usize + bytes.len();
        let used: u64 = world
            .files
            .values()
            .filter(|data| !Arc::ptr_eq(data, &self.data))
            .map(|data| data.lock().unwrap().current.len() as u64)
            .sum();
        let mut data = self.data.lock().unwrap();
        if end > data.current.len() {
            if world.faults.room.is_some_and(|room| used + end as u64 > room) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            data.current.resize(end, 0);
        }
        data.current[offset as usize..end].copy_from_slice(&bytes);
        if !bytes.is_empty() {
            data.dirty.extend(offset as usize / SECTOR..=(end - 1) / SECTOR);
        }
        if matches!(step, Step::Breaks) { Err(broken()) } else { Ok(bytes.len()) }
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let data = self.data.lock().unwrap();
        let from = data.current.get(offset as usize..).unwrap_or(&[]);
        let n = from.len().min(into.len());
        into[..n].copy_from_slice(&from[..n]);
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.0.lock().unwrap();
        let step = world.step();
        world.syncs += 1;
        let fails = world.faults.failing_syncs.contains(&world.syncs);
        let mut data = self.data.lock().unwrap();
        match step {
            Step::Fails => Err(broken()),
            Step::Works if !fails => {
                for sector in std::mem::take(&mut data.dirty) {
                    data.settle(sector);
                }
                let len = data.current.len();
                data.durable.resize(len, 0);
                Ok(())
            }
            _ => {
                // As Linux does it: the pages are clean afterwards, whatever reached the disk.
                for sector in std::mem::take(&mut data.dirty) {
                    if world.chance.hits(50) {
                        data.settle(sector);
                    }
                }
                Err(broken())
            }
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.data.lock().unwrap().current.len() as u64)
    }
}
