//! The lines at limits that several containers share: who waits when such a limit is reached, and who is next.
//!
//! Only the head of a line looks whether there is room, when a connection of this event loop goes and at short
//! intervals, because other loops give room back without a word. So a thousand waiting containers cost what one costs.

use crate::line::{Line, NONE};
use crate::queue::Place;
use crate::scheduler::Scheduler;
use crate::{Permit, Standing};
use message::UnixMicros;
use std::sync::Arc;
use std::time::Duration;

/// How often the head of a line asks for room that another event loop may have given back.
pub(crate) const GATE_POLL: Duration = Duration::from_millis(100);

/// What a shared limit says.
pub(crate) enum Entry {
    /// The container shares no limit.
    Free,
    /// It does, and there was room.
    Let(Permit),
    /// There is none.
    Full,
}

impl Scheduler {
    /// Takes room at the limit that a container shares.
    pub(crate) fn enter_gate(&self, q: u32) -> Entry {
        match &self.queues[q].limits.shares.connections {
            None => Entry::Free,
            Some(share) => share.what.take(Standing::Further).map_or(Entry::Full, Entry::Let),
        }
    }

    /// Puts a container, which is in no line, into that at its shared limit.
    pub(crate) fn wait_at_gate(&mut self, q: u32, now: UnixMicros) {
        let Some(gate) = self.gate(q) else { return };
        let line = self.gates.entry(gate).or_insert(Line::EMPTY);
        line.push_back(&mut self.queues, q);
        self.queues[q].listed = Some(Place::Gate);
        if self.heads_gate(q) {
            self.agenda.hurry(q, now.after(GATE_POLL).0);
        }
    }

    /// Takes a container out of the line at its shared limit; the next looks soon.
    pub(crate) fn leave_gate(&mut self, q: u32, now: UnixMicros) {
        let Some(gate) = self.gate(q) else { return };
        let Some(line) = self.gates.get_mut(&gate) else { return };
        line.remove(&mut self.queues, q);
        if line.is_empty() {
            self.gates.remove(&gate);
        } else {
            self.call_gate(gate, now);
        }
    }

    /// Lets the head of the line at this container's shared limit look whether there is room.
    pub(crate) fn room_at_gate(&mut self, q: u32, now: UnixMicros) {
        if let Some(gate) = self.gate(q) {
            self.call_gate(gate, now);
        }
    }

    fn call_gate(&mut self, gate: usize, now: UnixMicros) {
        let head = self.gates.get(&gate).map_or(NONE, |line| line.head());
        if head != NONE {
            self.agenda.hurry(head, now.0);
        }
    }

    /// If a container is next at its shared limit and there is room, it stands there no more.
    pub(crate) fn try_gate(&mut self, q: u32, now: UnixMicros) {
        if !self.heads_gate(q) {
            return;
        }
        let has_room = self.queues[q].limits.shares.connections.as_ref().is_none_or(|share| share.what.has_room());
        if has_room || !self.queues[q].wants(now) {
            self.unlist(q, now);
        }
    }

    /// Whether a container is next at its shared limit.
    pub(crate) fn heads_gate(&self, q: u32) -> bool {
        self.queues[q].listed == Some(Place::Gate)
            && self.gate(q).and_then(|gate| self.gates.get(&gate)).is_some_and(|line| line.head() == q)
    }

    /// The address of the limit: as long as a container stands in its line, its limits keep it where it is.
    fn gate(&self, q: u32) -> Option<usize> {
        let share = self.queues[q].limits.shares.connections.as_ref()?;
        Some(Arc::as_ptr(&share.what).addr())
    }
}
