//! Waiting lines whose links lie in the things that wait: joining, leaving and jumping the line allocate nothing.
//!
//! Used for the entries of a container and for containers that want a connection. A thing waits in at most one line at
//! a time; whose line that is, the owner of the thing knows.

/// No thing.
pub(crate) const NONE: u32 = u32::MAX;

/// The neighbours of a thing in its line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    pub(crate) before: u32,
    pub(crate) behind: u32,
}

impl Links {
    pub(crate) const FREE: Self = Self { before: NONE, behind: NONE };
}

/// A table of things that can wait in line.
pub(crate) trait Linked {
    /// The links of a thing.
    fn links(&mut self, index: u32) -> &mut Links;
}

/// A line; all its things are in one table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    head: u32,
    tail: u32,
    len: u32,
}

impl Line {
    pub(crate) const EMPTY: Self = Self { head: NONE, tail: NONE, len: 0 };

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first thing, or [`NONE`].
    pub(crate) fn head(&self) -> u32 {
        self.head
    }

    pub(crate) fn push_back(&mut self, things: &mut impl Linked, index: u32) {
        *things.links(index) = Links { before: self.tail, behind: NONE };
        match self.tail {
            NONE => self.head = index,
            tail => things.links(tail).behind = index,
        }
        self.tail = index;
        self.len += 1;
    }

    pub(crate) fn push_front(&mut self, things: &mut impl Linked, index: u32) {
        *things.links(index) = Links { before: NONE, behind: self.head };
        match self.head {
            NONE => self.tail = index,
            head => things.links(head).before = index,
        }
        self.head = index;
        self.len += 1;
    }

    /// Takes out a thing, which must be in this line.
    pub(crate) fn remove(&mut self, things: &mut impl Linked, index: u32) {
        let Links { before, behind } = std::mem::replace(things.links(index), Links::FREE);
        match before {
            NONE => self.head = behind,
            before => things.links(before).behind = behind,
        }
        match behind {
            NONE => self.tail = before,
            behind => things.links(behind).before = before,
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Linked for [Links; 4] {
        fn links(&mut self, index: u32) -> &mut Links {
            &mut self[index as usize]
        }
    }

    fn order(line: &Line, things: &mut [Links; 4]) -> Vec<u32> {
        let mut at = line.head();
        let mut order = vec![];
        while at != NONE {
            order.push(at);
            at = things.links(at).behind;
        }
        order
    }

    #[test]
    fn joins_leaves_and_jumps() {
        let mut things = [Links::FREE; 4];
        let mut line = Line::EMPTY;
        line.push_back(&mut things, 0);
        line.push_back(&mut things, 1);
        line.push_front(&mut things, 2);
        line.push_back(&mut things, 3);
        assert_eq!(order(&line, &mut things), [2, 0, 1, 3]);
        line.remove(&mut things, 0);
        line.remove(&mut things, 3);
        line.remove(&mut things, 2);
        assert_eq!((order(&line, &mut things), line.len()), (vec![1], 1));
        line.remove(&mut things, 1);
        line.push_front(&mut things, 3);
        line.push_back(&mut things, 0);
        assert_eq!(order(&line, &mut things), [3, 0]);
    }
}
