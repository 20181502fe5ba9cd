//! Says from which input queue to take next: critical queues first, then five priorities that share by weight, then idle ones.
//!
//! The channel's pump asks it for each message. It is pure: it knows queues by number, and whether they have something by asking.
//!
//! The five share *bytes*, by a round robin with debts: a priority whose turn begins is given [`QUANTUM_BYTES`] times its weight and keeps the turn
//! until it has spent them or has nothing to send. The last message of a turn may spend more than is left; the debt is kept for the turns that
//! follow. What is not spent is lost, so that nobody saves up while idle. Within a priority the queues take turns message by message.

use super::{PRIORITIES, Priority, Weights};

/// Bytes that weight 1 gives for a turn.
pub const QUANTUM_BYTES: u32 = 4 << 10;

/// Of the seven priorities, those that share by weight.
const SHARING: std::ops::Range<usize> = 1..6;

/// The queues of a channel and whose turn it is.
#[derive(Debug)]
pub struct Scheduler {
    /// By priority, highest first.
    groups: [Group; PRIORITIES.len()],
    /// By number of the queue: its priority.
    priorities: Vec<Option<Priority>>,
    weights: Weights,
    /// Which of the sharing groups has the turn.
    turn: usize,
}

/// The queues of one priority.
#[derive(Debug, Default)]
struct Group {
    queues: Vec<usize>,
    /// Place in `queues` to look at first.
    next: usize,
    /// Bytes that may yet be sent in this turn; debts are below 0.
    left: i64,
}

impl Group {
    /// The place of the first queue, from the one whose turn it is, that is ready.
    #[inline]
    fn find(&self, ready: &mut impl FnMut(usize) -> bool) -> Option<usize> {
        let (before, from) = self.queues.split_at(self.next);
        let behind = from.iter().position(|&queue| ready(queue)).map(|place| place + self.next);
        behind.or_else(|| before.iter().position(|&queue| ready(queue)))
    }

    /// Takes the queue at `place`, and makes it the last to be looked at next time.
    #[inline]
    fn take(&mut self, place: usize) -> usize {
        self.next = if place + 1 == self.queues.len() { 0 } else { place + 1 };
        self.queues[place]
    }

    #[inline]
    fn pick(&mut self, ready: &mut impl FnMut(usize) -> bool) -> Option<usize> {
        let place = self.find(ready)?;
        Some(self.take(place))
    }
}

impl Scheduler {
    /// Without queues.
    pub fn new(weights: Weights) -> Self {
        Self { groups: Default::default(), priorities: Vec::new(), weights, turn: SHARING.start }
    }

    /// Changes the weights from the next turn on.
    pub fn set_weights(&mut self, weights: Weights) {
        self.weights = weights;
    }

    /// Adds a queue under a number. Small numbers are best: memory grows with the largest.
    ///
    /// # Panics
    /// When the number is in use.
    pub fn add(&mut self, queue: usize, priority: Priority) {
        if self.priorities.len() <= queue {
            self.priorities.resize(queue + 1, None);
        }
        assert!(self.priorities[queue].is_none(), "queue {queue} is scheduled twice");
        self.priorities[queue] = Some(priority);
        self.groups[priority as usize].queues.push(queue);
    }

    /// Removes a queue; one that is not there is none to remove.
    pub fn remove(&mut self, queue: usize) {
        let Some(priority) = self.priorities.get_mut(queue).and_then(Option::take) else { return };
        let group = &mut self.groups[priority as usize];
        let place = group.queues.iter().position(|&it| it == queue).expect("a queue is in the group of its priority");
        group.queues.remove(place);
        if place < group.next {
            group.next -= 1;
        }
        if group.next == group.queues.len() {
            group.next = 0;
        }
    }

    /// The queue to take from next, among those that are `ready`; `None` when none is. Asks about each queue at most twice.
    #[inline]
    pub fn pick(&mut self, mut ready: impl FnMut(usize) -> bool) -> Option<usize> {
        let critical = self.groups[Priority::Critical as usize].pick(&mut ready);
        critical
            .or_else(|| self.pick_sharing(&mut ready))
            .or_else(|| self.groups[Priority::Idle as usize].pick(&mut ready))
    }

    #[inline]
    fn pick_sharing(&mut self, ready: &mut impl FnMut(usize) -> bool) -> Option<usize> {
        // Whose turn it is goes on, usually.
        let group = &mut self.groups[self.turn];
        if group.left > 0
            && let Some(queue) = group.pick(ready)
        {
            return Some(queue);
        }
        self.next_turn(ready)
    }

    /// Ends the turn and goes round, as often as it takes until someone who has something to send is out of debt.
    fn next_turn(&mut self, ready: &mut impl FnMut(usize) -> bool) -> Option<usize> {
        let mut places = [None; PRIORITIES.len()];
        let mut rounds = i64::MAX;
        for at in SHARING {
            places[at] = self.groups[at].find(ready);
            if places[at].is_some() {
                // Whole rounds after which it could still not send.
                rounds = rounds.min(-self.groups[at].left.min(0) / self.quantum(at));
            }
        }
        if rounds == i64::MAX {
            return None;
        }
        // Unspent bytes are lost.
        for at in SHARING {
            self.groups[at].left = (self.groups[at].left + rounds * self.quantum(at)).min(0);
        }
        loop {
            self.turn = if self.turn + 1 == SHARING.end { SHARING.start } else { self.turn + 1 };
            let quantum = self.quantum(self.turn);
            let group = &mut self.groups[self.turn];
            match places[self.turn] {
                None => group.left = (group.left + quantum).min(0),
                Some(place) => {
                    group.left += quantum;
                    if group.left > 0 {
                        return Some(group.take(place));
                    }
                }
            }
        }
    }

    fn quantum(&self, group: usize) -> i64 {
        i64::from(self.weights.get()[group - SHARING.start]) * i64::from(QUANTUM_BYTES)
    }

    /// Charges the priority of `queue` for a message of `bytes` that was taken from it.
    #[inline]
    pub fn charge(&mut self, queue: usize, bytes: usize) {
        let Some(priority) = self.priorities.get(queue).copied().flatten() else { return };
        let group = &mut self.groups[priority as usize];
        // A message weighs something, lest a turn have no end. (A length fits i64: it is one of memory.)
        group.left = group.left.saturating_sub(bytes.max(1) as i64);
    }
}
