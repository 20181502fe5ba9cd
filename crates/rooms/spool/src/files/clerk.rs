//! The thread that writes down outcomes: what came from the loops, then again what came meanwhile.
//!
//! A message with several outcomes in one batch is written once. An outcome that cannot be written for want of room or
//! by a failing disk stands in memory; after a restart that recipient would be tried again.

use super::layout::Paths;
use super::{Shared, remove};
use crate::journal::SlotKey;
use fabric::{Doorbell, LaneReceiver};
use message::Outcome;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What a loop tells.
pub(super) enum News {
    /// A recipient was delivered, failed or deferred.
    Outcome { key: SlotKey, recipient: u16, outcome: Outcome },
    /// The message was stored for nobody.
    Forget { key: SlotKey },
    /// Content that will never be a message.
    Discard { paths: Box<Paths> },
}

/// See the module.
pub(super) struct Clerk {
    shared: Arc<Shared>,
    bell: Doorbell,
    lanes: Vec<LaneReceiver<News>>,
}

impl Clerk {
    pub(super) fn new(shared: Arc<Shared>, bell: Doorbell, lanes: Vec<LaneReceiver<News>>) -> Self {
        Self { shared, bell, lanes }
    }

    pub(super) fn run(mut self) {
        loop {
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            if self.work() == 0 {
                if stopping {
                    return;
                }
                self.bell.wait_thread(Some(Duration::from_secs(1)));
            }
        }
    }

    /// One batch; says how much came.
    fn work(&mut self) -> usize {
        let mut news = Vec::new();
        for lane in &mut self.lanes {
            lane.drain(4096, |item| news.push(item));
        }
        let count = news.len();
        let mut changed = BTreeSet::new();
        let mut gone = Vec::new();
        for item in news {
            self.apply(item, &mut changed, &mut gone);
        }
        for (slot, generation) in changed {
            // What fails here was said above: the outcome stands in memory only.
            let _ = self.shared.rewrite(SlotKey { slot, generation });
        }
        let mut directories = BTreeSet::<PathBuf>::new();
        for paths in gone {
            remove(&*self.shared.disk, &paths);
            directories.insert(paths.directory);
        }
        for directory in directories {
            let _ = self.shared.disk.sync_directory(&directory);
        }
        count
    }

    fn apply(&self, item: News, changed: &mut BTreeSet<(u32, u32)>, gone: &mut Vec<Paths>) {
        let mut table = self.shared.table();
        let key = match item {
            News::Outcome { key, recipient, outcome } => {
                if table.slots.settle(key, recipient, outcome).is_none() {
                    return;
                }
                if table.slots.get(key).is_some_and(|slot| slot.remaining > 0) {
                    changed.insert((key.slot, key.generation));
                    return;
                }
                key
            }
            News::Forget { key } => key,
            News::Discard { paths } => return gone.push(*paths),
        };
        changed.remove(&(key.slot, key.generation));
        gone.extend(table.forget(key).map(|id| Paths::new(&self.shared.base, id)));
    }
}
