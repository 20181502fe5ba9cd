//! The table of containers, and how one is found.
//!
//! A router hands out the same `Arc` for the same destination again and again: a small table by address finds the
//! container without hashing its names. What it does not know is found by value.

use crate::Limits;
use crate::line::{Linked, Links};
use crate::queue::Queue;
use foldhash::fast::RandomState;
use message::{Container, UnixMicros};
use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

const RECENT_SLOTS: usize = 1024;
const _: () = assert!(RECENT_SLOTS.is_power_of_two());

/// All containers of a scheduler.
#[derive(Debug)]
pub(crate) struct Queues {
    slots: Vec<Option<Box<Queue>>>,
    free: Vec<u32>,
    by_value: HashMap<Arc<Container>, u32, RandomState>,
    /// Holds each `Arc`, so that its address means nothing else meanwhile.
    recent: Vec<Option<Recent>>,
    serial: u32,
}

#[derive(Clone, Debug)]
struct Recent {
    container: Arc<Container>,
    index: u32,
    serial: u32,
}

impl Queues {
    pub(crate) fn new() -> Self {
        Self { slots: vec![], free: vec![], by_value: HashMap::default(), recent: vec![None; RECENT_SLOTS], serial: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_value.len()
    }

    /// Numbers below this may be in use.
    pub(crate) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Queue> {
        self.slots.get(index as usize)?.as_deref()
    }

    /// The container of that value.
    pub(crate) fn find(&self, container: &Container) -> Option<u32> {
        self.by_value.get(container).copied()
    }

    /// The container of that value, made if there is none.
    pub(crate) fn find_or_add(
        &mut self,
        container: &Arc<Container>,
        limits: impl FnOnce(&Container) -> Arc<Limits>,
        now: UnixMicros,
    ) -> u32 {
        let place = (Arc::as_ptr(container).addr() / align_of::<Recent>() / 8) % RECENT_SLOTS;
        if let Some(recent) = &self.recent[place]
            && Arc::ptr_eq(&recent.container, container)
            && self.get(recent.index).is_some_and(|queue| queue.serial == recent.serial)
        {
            return recent.index;
        }
        let index = match self.find(container) {
            Some(index) => index,
            None => self.add(Queue::new(Arc::clone(container), limits(container), now)),
        };
        let serial = self[index].serial;
        self.recent[place] = Some(Recent { container: Arc::clone(container), index, serial });
        index
    }

    fn add(&mut self, mut queue: Queue) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        queue.serial = self.serial;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.by_value.insert(Arc::clone(&queue.container), index);
        self.slots[index as usize] = Some(Box::new(queue));
        index
    }

    /// Removes a container that has neither mail nor connections.
    pub(crate) fn remove(&mut self, index: u32) {
        if let Some(queue) = self.slots[index as usize].take() {
            self.by_value.remove(&queue.container);
            self.free.push(index);
        }
    }
}

/// Every number that an entry, a connection or a line holds is in use: a container goes after all of them.
const IN_USE: &str = "a container outlives what refers to it";

impl Index<u32> for Queues {
    type Output = Queue;

    fn index(&self, index: u32) -> &Queue {
        self.slots[index as usize].as_deref().expect(IN_USE)
    }
}

impl IndexMut<u32> for Queues {
    fn index_mut(&mut self, index: u32) -> &mut Queue {
        self.slots[index as usize].as_deref_mut().expect(IN_USE)
    }
}

impl Linked for Queues {
    fn links(&mut self, index: u32) -> &mut Links {
        &mut self[index].links
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use message::Agent;

    fn container(name: &str) -> Arc<Container> {
        Arc::new(Container {
            name: name.into(),
            binding: "b".into(),
            group: None,
            options: name.into(),
            agent: Agent::Mx,
        })
    }

    #[test]
    fn equal_containers_are_one_and_a_reused_slot_is_another() {
        let mut queues = Queues::new();
        let limits = Arc::new(Limits::default());
        let find =
            |queues: &mut Queues, container: &_| queues.find_or_add(container, |_| Arc::clone(&limits), UnixMicros(0));
        let (one, same, other) = (container("one"), container("one"), container("other"));
        let index = find(&mut queues, &one);
        assert_eq!(find(&mut queues, &same), index);
        assert_eq!(find(&mut queues, &one), index);
        queues.remove(index);
        assert_eq!(find(&mut queues, &other), index);
        assert_ne!(find(&mut queues, &one), index);
        assert_eq!(queues.len(), 2);
    }
}
