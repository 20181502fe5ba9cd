//! What one loop's rooms hold in memory, told to the accounts a few times a second: the loops count for themselves, the
//! console sums.

use engine::{AccountShard, Accounts, MemoryType, RegisterError};
use scheduling::Summary;
use std::cell::Cell;

/// The types of memory that the composition tells of. Modules register theirs beside them, at run time.
#[derive(Clone, Copy)]
pub(crate) struct Types {
    windows: MemoryType,
    entries: MemoryType,
    bodies: MemoryType,
    sessions: MemoryType,
}

impl Types {
    /// Registers them; again is the same.
    pub(crate) fn register(accounts: &Accounts) -> Result<Self, RegisterError> {
        Ok(Self {
            windows: accounts.register("reception:windows")?,
            entries: accounts.register("scheduling:entries")?,
            bodies: accounts.register("scheduling:bodies")?,
            sessions: accounts.register("reception:sessions")?,
        })
    }
}

/// One line of the ledger: what was told last.
#[derive(Default)]
struct Line(Cell<(usize, usize)>);

impl Line {
    fn tell(&self, shard: &AccountShard, kind: MemoryType, objects: usize, bytes: usize) {
        let (objects_before, bytes_before) = self.0.replace((objects, bytes));
        shard.give(kind, objects_before, bytes_before);
        shard.take(kind, objects, bytes);
    }
}

/// One loop's ledger.
pub(crate) struct Ledger {
    types: Types,
    windows: Line,
    entries: Line,
    bodies: Line,
    sessions: Line,
}

/// Octets of a queued recipient, with its share of every structure.
const ENTRY_BYTES: usize = 64;
/// Octets of an idle session: its task and state.
const SESSION_BYTES: usize = 2_488;

impl Ledger {
    /// An empty ledger.
    pub(crate) fn new(types: Types) -> Self {
        let [windows, entries, bodies, sessions] = Default::default();
        Self { types, windows, entries, bodies, sessions }
    }

    /// Tells the accounts what there is now.
    pub(crate) fn tell(&self, shard: &AccountShard, windows: fabric::PoolStats, queues: Summary, sessions: u32) {
        let of = |count: u32| count as usize;
        let entries = of(queues.active) + of(queues.delayed) + of(queues.leased);
        self.windows.tell(shard, self.types.windows, windows.live + windows.free, windows.bytes());
        self.entries.tell(shard, self.types.entries, entries, entries * ENTRY_BYTES);
        self.bodies.tell(shard, self.types.bodies, of(queues.resident_messages), queues.resident_octets as usize);
        self.sessions.tell(shard, self.types.sessions, of(sessions), of(sessions) * SESSION_BYTES);
    }
}
