//! Typed memory accounts: who holds how much, counted per thread and summed on read.
//!
//! A room registers a type by name ("reception:session", "spool:index") and charges what it holds. A [`Charge`] gives
//! back in its destructor. Charging and giving back on the own thread are plain loads and stores on a line that no other
//! thread writes; only a [`SharedCharge`], which may be dropped anywhere, gives back with one atomic addition.
//! Accounts say what the server *meant* to hold; [`crate::MemoryMonitor`] says what the process holds.

use std::{
    fmt,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::tally::Tally;

/// How many types there can be.
pub const MEMORY_TYPES_MAX: usize = 512;

/// The registry of all accounts. Cheap to clone; all clones are one registry.
#[derive(Clone, Default)]
pub struct Accounts {
    inner: Arc<Mutex<Registry>>,
}

#[derive(Default)]
struct Registry {
    types: Vec<TypeRecord>,
    shards: Vec<Arc<[Account]>>,
}

#[derive(Clone)]
struct TypeRecord {
    name: Arc<str>,
    /// Bytes of each object, if all are of one size.
    object_bytes: Option<u64>,
}

/// A registered type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryType(u16);

/// One type's cells on one thread.
#[derive(Debug, Default)]
struct Account {
    objects: Tally,
    bytes: Tally,
    objects_peak: Tally,
    bytes_peak: Tally,
    /// Objects ever charged.
    charged: Tally,
    /// Given back by other threads; these two have many writers.
    objects_returned: Tally,
    bytes_returned: Tally,
}

/// Why a type could not be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// There are [`MEMORY_TYPES_MAX`] types already.
    Full,
    /// The name is taken by a type whose objects have another size.
    OtherSize,
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterError::Full => write!(f, "all {MEMORY_TYPES_MAX} memory types are taken"),
            RegisterError::OtherSize => f.write_str("memory type is registered with another object size"),
        }
    }
}

impl std::error::Error for RegisterError {}

/// One type, summed over all threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// The registered name.
    pub name: Arc<str>,
    /// Bytes of each object; `None` if they vary.
    pub object_bytes: Option<u64>,
    /// Objects that are held.
    pub objects: u64,
    /// The sum of each thread's highest `objects`: at least the highest number held at one time.
    pub objects_peak: u64,
    /// Objects ever charged.
    pub charged: u64,
    /// Bytes that are held.
    pub bytes: u64,
    /// The sum of each thread's highest `bytes`.
    pub bytes_peak: u64,
}

impl Accounts {
    /// An empty registry.
    pub fn new() -> Accounts {
        Accounts::default()
    }

    /// Registers a type whose objects vary in size; the same name gives the same type.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub fn register(&self, name: &str) -> Result<MemoryType, RegisterError> {
        self.register_record(name, None)
    }

    /// Registers a type whose objects all have `object_bytes` bytes.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub fn register_fixed(&self, name: &str, object_bytes: u64) -> Result<MemoryType, RegisterError> {
        self.register_record(name, Some(object_bytes))
    }

    fn register_record(&self, name: &str, object_bytes: Option<u64>) -> Result<MemoryType, RegisterError> {
        let mut registry = self.lock();
        let known = registry.types.iter().position(|record| &*record.name == name);
        let index = match known {
            Some(index) if registry.types[index].object_bytes == object_bytes => index,
            Some(_) => return Err(RegisterError::OtherSize),
            None if registry.types.len() == MEMORY_TYPES_MAX => return Err(RegisterError::Full),
            None => {
                registry.types.push(TypeRecord { name: name.into(), object_bytes });
                registry.types.len() - 1
            }
        };
        Ok(MemoryType(u16::try_from(index).expect("MEMORY_TYPES_MAX fits 16 bits")))
    }

    /// Cells for the calling thread. A thread takes one and keeps it.
    pub fn shard(&self) -> AccountShard {
        let cells: Arc<[Account]> = (0..MEMORY_TYPES_MAX).map(|_| Account::default()).collect();
        self.lock().shards.push(cells.clone());
        AccountShard { cells: Rc::new(cells) }
    }

    /// One type's sums.
    pub fn row(&self, kind: MemoryType) -> AccountRow {
        self.lock().row(usize::from(kind.0))
    }

    /// All types, in the order of their registration.
    pub fn rows(&self) -> Vec<AccountRow> {
        let registry = self.lock();
        (0..registry.types.len()).map(|index| registry.row(index)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn row(&self, index: usize) -> AccountRow {
        let TypeRecord { name, object_bytes } = self.types[index].clone();
        let mut row =
            AccountRow { name, object_bytes, objects: 0, objects_peak: 0, charged: 0, bytes: 0, bytes_peak: 0 };
        for account in self.shards.iter().map(|shard| &shard[index]) {
            // Returns are read first: a charge is counted before it can come back. Relaxed reads may still mix two
            // moments, so the difference stops at zero.
            let (objects_returned, bytes_returned) = (account.objects_returned.get(), account.bytes_returned.get());
            row.objects += account.objects.get().saturating_sub(objects_returned);
            row.bytes += account.bytes.get().saturating_sub(bytes_returned);
            row.objects_peak += account.objects_peak.get();
            row.bytes_peak += account.bytes_peak.get();
            row.charged += account.charged.get();
        }
        row
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registry = self.lock();
        f.debug_struct("Accounts")
            .field("types", &registry.types.len())
            .field("shards", &registry.shards.len())
            .finish()
    }
}

/// One thread's cells. It stays on its thread, so that every cell has one writer.
#[derive(Clone, Debug)]
pub struct AccountShard {
    cells: Rc<Arc<[Account]>>,
}

impl AccountShard {
    /// Charges one object of `bytes` bytes.
    pub fn charge(&self, kind: MemoryType, bytes: usize) -> Charge {
        self.take(kind, 1, bytes);
        Charge { shard: self.clone(), kind, objects: 1, bytes }
    }

    /// Charges without a guard; the caller gives the same back on this thread.
    pub fn take(&self, kind: MemoryType, objects: usize, bytes: usize) {
        self.cells[usize::from(kind.0)].take(objects as u64, bytes as u64);
    }

    /// Gives back what [`AccountShard::take`] charged.
    pub fn give(&self, kind: MemoryType, objects: usize, bytes: usize) {
        let account = &self.cells[usize::from(kind.0)];
        account.objects.sub(objects as u64);
        account.bytes.sub(bytes as u64);
    }
}

impl Account {
    fn take(&self, objects: u64, bytes: u64) {
        self.objects.add(objects);
        self.charged.add(objects);
        self.bytes.add(bytes);
        self.objects_peak.raise_to(self.objects.get().wrapping_sub(self.objects_returned.get()));
        self.bytes_peak.raise_to(self.bytes.get().wrapping_sub(self.bytes_returned.get()));
    }
}

/// Bytes charged to a type, given back when dropped. It stays on its thread.
#[derive(Debug)]
pub struct Charge {
    shard: AccountShard,
    kind: MemoryType,
    objects: u8,
    bytes: usize,
}

const _: () = assert!(size_of::<Charge>() <= 24);

impl Charge {
    /// What is charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The object has grown or shrunk to `bytes`.
    pub fn resize(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        match bytes.checked_sub(before) {
            Some(more) => self.shard.take(self.kind, 0, more),
            None => self.shard.give(self.kind, 0, before - bytes),
        }
    }

    /// A charge that may move to other threads, for an object that does.
    pub fn into_shared(mut self) -> SharedCharge {
        let shared = SharedCharge { cells: (*self.shard.cells).clone(), kind: self.kind, bytes: self.bytes };
        // What is dropped here gives nothing back.
        (self.objects, self.bytes) = (0, 0);
        shared
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shard.give(self.kind, usize::from(self.objects), self.bytes);
    }
}

/// Bytes charged on one thread and given back on any.
#[derive(Debug)]
pub struct SharedCharge {
    cells: Arc<[Account]>,
    kind: MemoryType,
    bytes: usize,
}

impl SharedCharge {
    /// What is charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for SharedCharge {
    fn drop(&mut self) {
        let account = &self.cells[usize::from(self.kind.0)];
        account.objects_returned.add_from_anywhere(1);
        account.bytes_returned.add_from_anywhere(self.bytes as u64);
    }
}

/// Prints accounts as the console's `memory` does: types of fixed size first, those of varying size below.
#[derive(Debug)]
pub struct MemoryTable<'a>(pub &'a [AccountRow]);

impl fmt::Display for MemoryTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|row| row.name.len()).max().unwrap_or(0).max(4);
        let header = ["buf size", "active", "peak", "allocd objects", "current bytes"];
        writeln!(
            f,
            "{:<width$} {:>10} {:>10} {:>10} {:>16} {:>16}",
            "type", header[0], header[1], header[2], header[3], header[4]
        )?;
        for row in self.0 {
            let Some(object_bytes) = row.object_bytes else { continue };
            let AccountRow { name, objects, objects_peak, charged, bytes, .. } = row;
            writeln!(
                f,
                "{name:<width$} {object_bytes:>10} {objects:>10} {objects_peak:>10} {charged:>16} {bytes:>16}"
            )?;
        }
        writeln!(f)?;
        writeln!(f, "{:<width$} {:>16} {:>16}", "type", "current bytes", "peak bytes")?;
        for row in self.0.iter().filter(|row| row.object_bytes.is_none()) {
            writeln!(f, "{:<width$} {:>16} {:>16}", row.name, row.bytes, row.bytes_peak)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(accounts: &Accounts, kind: MemoryType) -> (u64, u64, u64) {
        let row = accounts.row(kind);
        (row.objects, row.bytes, row.bytes_peak)
    }

    #[test]
    fn a_charge_gives_back_when_dropped_and_the_peak_stays() {
        let accounts = Accounts::new();
        let kind = accounts.register("test:body").unwrap();
        let shard = accounts.shard();
        let mut first = shard.charge(kind, 100);
        let second = shard.charge(kind, 50);
        assert_eq!(figures(&accounts, kind), (2, 150, 150));
        first.resize(300);
        assert_eq!(figures(&accounts, kind), (2, 350, 350));
        first.resize(10);
        drop(second);
        assert_eq!((first.bytes(), figures(&accounts, kind)), (10, (1, 10, 350)));
        drop(first);
        assert_eq!(figures(&accounts, kind), (0, 0, 350));
        assert_eq!((accounts.row(kind).objects_peak, accounts.row(kind).charged), (2, 2));
    }

    #[test]
    fn a_shared_charge_comes_back_from_another_thread() {
        let accounts = Accounts::new();
        let kind = accounts.register("test:body").unwrap();
        let shard = accounts.shard();
        let away = shard.charge(kind, 100).into_shared();
        assert_eq!(figures(&accounts, kind), (1, 100, 100));
        std::thread::spawn(move || drop(away)).join().unwrap();
        assert_eq!(figures(&accounts, kind), (0, 0, 100));
        // What was given back elsewhere does not count in the next peak.
        let _next = shard.charge(kind, 60);
        assert_eq!(figures(&accounts, kind), (1, 60, 100));
    }

    #[test]
    fn threads_are_summed_and_outlived() {
        let accounts = Accounts::new();
        let kind = accounts.register("test:index").unwrap();
        std::thread::scope(|scope| {
            for bytes in [10, 20, 30] {
                let accounts = &accounts;
                scope.spawn(move || accounts.shard().take(kind, 1, bytes));
            }
        });
        assert_eq!(figures(&accounts, kind), (3, 60, 60));
    }

    #[test]
    fn a_name_is_one_type_and_the_registry_is_bounded() {
        let accounts = Accounts::new();
        let kind = accounts.register_fixed("type 0", 64).unwrap();
        assert_eq!(accounts.register_fixed("type 0", 64), Ok(kind));
        assert_eq!(accounts.register_fixed("type 0", 65), Err(RegisterError::OtherSize));
        for n in 1..MEMORY_TYPES_MAX {
            accounts.register(&format!("type {n}")).unwrap();
        }
        assert_eq!(accounts.register("one more"), Err(RegisterError::Full));
    }

    #[test]
    fn the_table_shows_fixed_types_above_and_varying_ones_below() {
        let accounts = Accounts::new();
        let (entry, body) =
            (accounts.register_fixed("queue:entry", 96).unwrap(), accounts.register("spool:body").unwrap());
        let shard = accounts.shard();
        shard.take(entry, 2, 192);
        shard.give(entry, 1, 96);
        shard.take(body, 1, 4096);
        let table = MemoryTable(&accounts.rows()).to_string();
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["queue:entry", "96", "1", "2", "2", "96"]);
        assert!(lines[2].is_empty());
        assert_eq!(lines[4], ["spool:body", "4096", "4096"]);
    }
}
