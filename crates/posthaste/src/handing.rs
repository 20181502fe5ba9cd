//! Recipients on their way to the event loop that owns their container.

use fabric::{LaneReceiver, LaneSender, Ringer, lane};
use message::{Container, Queued};
use std::hash::BuildHasher as _;
use std::sync::Arc;

/// A recipient and its queue.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) container: Arc<Container>,
    pub(crate) queued: Queued,
}

/// Places in a lane's ring; what does not fit waits with the sender, in order.
const SLOTS: usize = 1024;

/// Which of `loops` event loops owns a container: always the same within a process.
pub(crate) fn owner(container: &Container, loops: usize) -> usize {
    let hasher = foldhash::fast::FixedState::default();
    (hasher.hash_one((&*container.name, &*container.binding)) % loops.max(1) as u64) as usize
}

/// One loop's ends of all lanes.
pub(crate) struct Lanes {
    /// By receiving loop.
    pub(crate) out: Vec<LaneSender<Handed>>,
    /// By sending loop.
    pub(crate) into: Vec<LaneReceiver<Handed>>,
}

/// A lane from each loop to each loop; `ringers` are the receivers' bells.
pub(crate) fn lanes(ringers: &[Ringer]) -> Vec<Lanes> {
    let mut all: Vec<Lanes> = ringers.iter().map(|_| Lanes { out: vec![], into: vec![] }).collect();
    for from in 0..ringers.len() {
        for (to, ringer) in ringers.iter().enumerate() {
            let (sender, receiver) = lane(SLOTS, ringer.clone());
            all[from].out.push(sender);
            all[to].into.push(receiver);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use message::Agent;

    #[test]
    fn containers_spread_over_the_loops_and_stay_where_they_are() {
        let container = |n: u32| Container {
            name: format!("d{n}.example").into(),
            binding: "default".into(),
            group: None,
            options: "*".into(),
            agent: Agent::Mx,
        };
        let mut counts = [0; 4];
        for n in 0..4000 {
            let loop_index = owner(&container(n), 4);
            assert_eq!(loop_index, owner(&container(n), 4));
            counts[loop_index] += 1;
        }
        assert!(counts.iter().all(|&count| (800..1200).contains(&count)), "{counts:?}");
    }
}
