//! The list in memory: what event loops ask. Changed by its one [`Keeper`](crate::Keeper) only.

use crate::address::Key;
use crate::batch::Batch;
use crate::entry::{Entry, Kind, Reason, Second};
use crate::keeper::Changes;
use crate::partition::Partition;
use crate::record::Record;
use crate::table::HashKey;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// Parts of the list, each exchanged as a whole.
pub(crate) const PARTITIONS: usize = 1024;
const PARTITION_BITS: u32 = PARTITIONS.trailing_zeros();
const _: () = assert!(PARTITIONS.is_power_of_two());

/// See the module. Shared by all who ask.
#[derive(Debug)]
pub struct List {
    key: HashKey,
    partitions: Box<[ArcSwap<Partition>]>,
}

/// An entry that stops mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Why the address is on the list.
    pub reason: Reason,
    /// Since when.
    pub added: Second,
    /// Until when.
    pub expires: Option<Second>,
}

/// How large the list is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Entries; expired ones count until their place is used again.
    pub entries: u64,
    /// Octets of memory for them.
    pub octets: u64,
}

/// Where a page begins. Stays good over a restart; entries that are added behind its place will be seen, those before it
/// will not.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Cursor {
    partition: usize,
    /// The last address and scope seen there, as a record.
    after: Vec<u8>,
}

/// Some entries of the list, in no order that means anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` behind the last.
    pub next: Option<Cursor>,
}

impl List {
    pub(crate) fn new(key: HashKey) -> Self {
        let empty = Arc::new(Partition::default());
        Self { key, partitions: (0..PARTITIONS).map(|_| ArcSwap::new(empty.clone())).collect() }
    }

    pub(crate) fn hash_key(&self) -> &HashKey {
        &self.key
    }

    /// The partition of an address.
    pub(crate) fn partition_of(&self, address: &[u8]) -> usize {
        (self.key.place(address).high >> (u64::BITS - PARTITION_BITS)) as usize
    }

    pub(crate) fn partition(&self, index: usize) -> Arc<Partition> {
        self.partitions[index].load_full()
    }

    pub(crate) fn set_partition(&self, index: usize, partition: Partition) {
        self.partitions[index].store(Arc::new(partition));
    }

    /// The entry that stops mail of that kind, sent for that tenant (`None`: for nobody in particular), at `now`. Waits
    /// for nobody and allocates nothing.
    pub fn find(&self, key: &Key, tenant: Option<&str>, kind: Kind, now: Second) -> Option<Hit> {
        let place = self.key.place(key.octets());
        let partition = self.partitions[(place.high >> (u64::BITS - PARTITION_BITS)) as usize].load();
        let record = partition.find(place, key.octets(), tenant, kind, now)?;
        Some(Hit { reason: record.reason(), added: record.added, expires: record.expires })
    }

    /// Every entry of an address, in whatever scope, expired ones included.
    pub fn entries_of(&self, key: &Key) -> Vec<Entry> {
        let place = self.key.place(key.octets());
        let partition = self.partition(self.partition_of(key.octets()));
        partition.of(place, key.octets()).map(|record| record.entry()).collect()
    }

    /// At most `limit` entries from `cursor` on; `Cursor::default()` is the beginning. Looks at 1024 partitions at most,
    /// and at the entries of one before the cursor.
    pub fn page(&self, cursor: &Cursor, limit: usize) -> Page {
        let limit = limit.max(1);
        let mut entries = Vec::new();
        let mut cursor = cursor.clone();
        while cursor.partition < PARTITIONS {
            let partition = self.partition(cursor.partition);
            let after = Record::read(&cursor.after).map(|record| record.entry());
            let is_behind = |record: &Record<'_>| match Record::read(&cursor.after) {
                Some(after) => after.order(record).is_lt(),
                None => true,
            };
            let before = entries.len();
            entries.extend(partition.iter().filter(is_behind).take(limit - before).map(|record| record.entry()));
            if entries.len() == limit {
                let last = entries.last().cloned().or(after);
                let mut octets = Vec::new();
                if let Some(last) = last {
                    crate::record::put(&mut octets, &last);
                }
                return Page { entries, next: Some(Cursor { after: octets, ..cursor }) };
            }
            cursor = Cursor { partition: cursor.partition + 1, after: Vec::new() };
        }
        Page { entries, next: None }
    }

    /// How large the list is; looks at every partition's head.
    pub fn figures(&self) -> Figures {
        let all = self.partitions.iter().map(|partition| {
            let partition = partition.load();
            Figures { entries: partition.entries() as u64, octets: partition.octets() as u64 }
        });
        all.fold(Figures::default(), |sum, one| Figures {
            entries: sum.entries + one.entries,
            octets: sum.octets + one.octets,
        })
    }

    /// Makes changes seen: partition by partition, so that a reader sees none of them half.
    pub(crate) fn publish(&self, batch: &Batch, now: Second) -> Changes {
        let mut all: Vec<(usize, usize, Record<'_>)> = batch
            .records()
            .enumerate()
            .map(|(number, record)| (self.partition_of(record.address), number, record))
            .collect();
        // The newest of the same address and scope comes first and is kept.
        all.sort_unstable_by(|(a, n, one), (b, m, other)| a.cmp(b).then_with(|| one.order(other)).then(m.cmp(n)));
        all.dedup_by(|(a, _, one), (b, _, other)| a == b && one.order(other).is_eq());
        let mut changes = Changes::default();
        for of_partition in all.chunk_by(|(a, ..), (b, ..)| a == b) {
            let index = of_partition[0].0;
            let octets: Vec<u8> = of_partition.iter().flat_map(|(.., record)| record.octets).copied().collect();
            let (partition, counted) = self.partition(index).changed(&octets, &self.key, now);
            self.set_partition(index, partition);
            changes = changes + counted;
        }
        changes
    }
}

impl Cursor {
    /// As a word that commands can carry.
    pub fn to_word(&self) -> String {
        use std::fmt::Write as _;
        let mut word = format!("{}.", self.partition);
        self.after.iter().for_each(|octet| {
            let _ = write!(word, "{octet:02x}");
        });
        word
    }

    /// Reads such a word; `None` if it is none.
    pub fn from_word(word: &str) -> Option<Cursor> {
        let (partition, octets) = word.split_once('.')?;
        let octets =
            octets.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let after: Vec<u8> = octets.collect::<Option<_>>()?;
        let is_whole = after.is_empty()
            || Record::read(&after).is_some_and(|record| record.octets.len() == after.len() && record.is_sound());
        let partition = partition.parse().ok().filter(|partition| *partition <= PARTITIONS && is_whole)?;
        Some(Cursor { partition, after })
    }
}
