//! The asker's table of outstanding calls. Pure: answers, losses and `now` come in, results and those who wait for them go out.
//!
//! Generic over the answer `R`, over who waits for it, `W`, and over why there is none, `E`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Names a call: the slot in the lower half, the generation in the upper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Correlation(pub(super) u64);

impl Correlation {
    const fn new(slot: u32, generation: u32) -> Self {
        Self(slot as u64 | (generation as u64) << 32)
    }

    const fn slot(self) -> usize {
        (self.0 & u32::MAX as u64) as usize
    }

    const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What became of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivery<W, R> {
    /// Its call has it; who waits for it is to be woken.
    Delivered(Option<W>),
    /// It names no call that waits.
    Late(R),
}

pub(super) struct Table<W, R, E> {
    slots: Vec<Slot<W, R, E>>,
    free: Vec<u32>,
    first_generation: u32,
    limit: usize,
    /// Soonest first; entries of calls that are over stay until they come up or outnumber the others.
    deadlines: BinaryHeap<Reverse<(Instant, Correlation)>>,
    open: usize,
    waiting: usize,
    /// Where to look first for someone who waits.
    next: usize,
}

struct Slot<W, R, E> {
    generation: u32,
    state: State<W, R, E>,
}

enum State<W, R, E> {
    Free,
    Open { deadline: Option<Instant>, waiter: Option<W> },
    Over(Result<R, E>),
}

impl<W, R, E: Clone> Table<W, R, E> {
    /// An empty table for `limit` calls.
    pub(super) fn new(limit: usize, first_generation: u32) -> Self {
        let limit = limit.clamp(1, u32::MAX as usize);
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            first_generation,
            limit,
            deadlines: BinaryHeap::new(),
            open: 0,
            waiting: 0,
            next: 0,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Calls that have no result yet.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Begins a call; `None` when there are too many.
    pub(super) fn begin(&mut self, deadline: Option<Instant>) -> Option<Correlation> {
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.slots.len() < self.limit => {
                self.slots.push(Slot { generation: self.first_generation, state: State::Free });
                (self.slots.len() - 1) as u32
            }
            None => return None,
        };
        let slot = &mut self.slots[number as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.state = State::Open { deadline, waiter: None };
        self.open += 1;
        let correlation = Correlation::new(number, slot.generation);
        if let Some(deadline) = deadline {
            self.deadlines.push(Reverse((deadline, correlation)));
            self.purge();
        }
        Some(correlation)
    }

    /// Drops the deadlines of calls that are over once they are the most.
    fn purge(&mut self) {
        if self.deadlines.len() > 2 * self.open + 64 {
            let mut deadlines = std::mem::take(&mut self.deadlines);
            deadlines.retain(|Reverse((_, correlation))| self.is_open(*correlation));
            self.deadlines = deadlines;
        }
    }

    fn slot(&self, correlation: Correlation) -> Option<&Slot<W, R, E>> {
        self.slots.get(correlation.slot()).filter(|slot| slot.generation == correlation.generation())
    }

    fn slot_mut(&mut self, correlation: Correlation) -> Option<&mut Slot<W, R, E>> {
        self.slots.get_mut(correlation.slot()).filter(|slot| slot.generation == correlation.generation())
    }

    /// Whether the call has no result yet.
    pub(super) fn is_open(&self, correlation: Correlation) -> bool {
        matches!(self.slot(correlation), Some(Slot { state: State::Open { .. }, .. }))
    }

    /// An answer has come.
    pub(super) fn handle_answer(&mut self, correlation: Correlation, answer: R) -> Delivery<W, R> {
        if !self.is_open(correlation) {
            return Delivery::Late(answer);
        }
        Delivery::Delivered(self.end(correlation, Ok(answer)))
    }

    /// A call has failed; gives who waits for it.
    pub(super) fn handle_failure(&mut self, correlation: Correlation, why: E) -> Option<W> {
        if self.is_open(correlation) { self.end(correlation, Err(why)) } else { None }
    }

    /// Puts the result of an open call down.
    fn end(&mut self, correlation: Correlation, result: Result<R, E>) -> Option<W> {
        let slot = self.slot_mut(correlation)?;
        let State::Open { waiter, .. } = std::mem::replace(&mut slot.state, State::Over(result)) else {
            unreachable!("the caller saw that it is open");
        };
        self.open -= 1;
        self.waiting -= usize::from(waiter.is_some());
        waiter
    }

    /// All calls have failed; gives all who wait.
    pub(super) fn handle_failure_of_all(&mut self, why: &E) -> Vec<W> {
        let open = |(number, slot): (usize, &Slot<W, R, E>)| {
            matches!(slot.state, State::Open { .. }).then(|| Correlation::new(number as u32, slot.generation))
        };
        let failed: Vec<Correlation> = self.slots.iter().enumerate().filter_map(open).collect();
        failed.into_iter().filter_map(|correlation| self.end(correlation, Err(why.clone()))).collect()
    }

    /// Fails the calls whose deadline has come; gives all who wait for them, and the calls.
    pub(super) fn handle_timeout(&mut self, now: Instant, why: &E) -> (Vec<Correlation>, Vec<W>) {
        let (mut calls, mut waiters) = (Vec::new(), Vec::new());
        while let Some(Reverse((deadline, correlation))) = self.deadlines.peek().copied() {
            let open = self.is_open(correlation);
            if open && deadline > now {
                break;
            }
            self.deadlines.pop();
            if open {
                calls.push(correlation);
                waiters.extend(self.end(correlation, Err(why.clone())));
            }
        }
        (calls, waiters)
    }

    /// When [`Self::handle_timeout`] has something to do next.
    pub(super) fn poll_deadline(&mut self) -> Option<Instant> {
        while let Some(Reverse((deadline, correlation))) = self.deadlines.peek().copied() {
            if self.is_open(correlation) {
                return Some(deadline);
            }
            self.deadlines.pop();
        }
        None
    }

    /// The result of a call, once; its slot is free for others from then on. `None` while it has none.
    pub(super) fn take(&mut self, correlation: Correlation) -> Option<Result<R, E>> {
        let slot = self.slot_mut(correlation)?;
        if !matches!(slot.state, State::Over(_)) {
            return None;
        }
        let State::Over(result) = std::mem::replace(&mut slot.state, State::Free) else {
            unreachable!("just seen");
        };
        self.free.push(correlation.slot() as u32);
        Some(result)
    }

    /// Lets go of a call; says whether it was still open. What it had comes back, to be dropped elsewhere.
    pub(super) fn abandon(&mut self, correlation: Correlation) -> (bool, Option<Result<R, E>>) {
        let Some(slot) = self.slot_mut(correlation) else { return (false, None) };
        let (open, waited, result) = match std::mem::replace(&mut slot.state, State::Free) {
            State::Free => return (false, None),
            State::Open { waiter, .. } => (true, waiter.is_some(), None),
            State::Over(result) => (false, false, Some(result)),
        };
        self.free.push(correlation.slot() as u32);
        self.open -= usize::from(open);
        self.waiting -= usize::from(waited);
        (open, result)
    }

    /// Someone waits for a call from now on; in the place of who did before.
    pub(super) fn watch(&mut self, correlation: Correlation, who: W) {
        if let Some(Slot { state: State::Open { waiter, .. }, .. }) = self.slot_mut(correlation)
            && waiter.replace(who).is_none()
        {
            self.waiting += 1;
        }
    }

    /// Someone who waits and of whom `fits` holds, to be woken; they are asked in turn.
    pub(super) fn next_waiter(&mut self, fits: impl Fn(&W) -> bool) -> Option<W> {
        if self.waiting == 0 {
            return None;
        }
        for step in 0..self.slots.len() {
            let at = (self.next + step) % self.slots.len();
            if let State::Open { waiter, .. } = &mut self.slots[at].state
                && let Some(waiter) = waiter.take_if(|waiter| fits(waiter))
            {
                self.next = at + 1;
                self.waiting -= 1;
                return Some(waiter);
            }
        }
        None
    }

    /// The deadline of a call.
    pub(super) fn deadline(&self, correlation: Correlation) -> Option<Instant> {
        match self.slot(correlation)?.state {
            State::Open { deadline, .. } => deadline,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    type Numbers = Table<u32, u32, &'static str>;

    #[test]
    fn a_late_answer_does_not_reach_the_next_call_of_the_slot() {
        let mut table = Numbers::new(1, u32::MAX);
        let first = table.begin(None).expect("there is room");
        assert!(table.begin(None).is_none(), "one call at most");
        assert_eq!(table.abandon(first), (true, None));
        let second = table.begin(None).expect("the slot is free");
        assert_eq!(first.slot(), second.slot());
        assert_eq!(table.handle_answer(first, 1), Delivery::Late(1));
        assert_eq!(table.handle_answer(second, 2), Delivery::Delivered(None));
        assert_eq!(table.handle_answer(second, 3), Delivery::Late(3), "the second answer of a call is late");
        assert_eq!(table.take(second), Some(Ok(2)));
        assert_eq!(table.take(second), None);
    }

    #[test]
    fn an_answer_from_nowhere_names_nothing() {
        let mut table = Numbers::new(4, 7);
        assert_eq!(table.handle_answer(Correlation(u64::MAX), 1), Delivery::Late(1));
        assert_eq!(table.handle_answer(Correlation(0), 1), Delivery::Late(1));
        assert_eq!(table.handle_failure(Correlation(3), "no"), None);
    }

    #[test]
    fn deadlines_fail_the_due_ones_only() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut table = Numbers::new(10, 0);
        let calls: Vec<_> = [3, 1, 2].into_iter().filter_map(|seconds| table.begin(Some(at(seconds)))).collect();
        table.watch(calls[1], 11);
        assert_eq!(table.poll_deadline(), Some(at(1)));
        assert_eq!(table.handle_timeout(at(0), &"late"), (vec![], vec![]));
        assert_eq!(table.handle_answer(calls[2], 5), Delivery::Delivered(None));
        assert_eq!(table.handle_timeout(at(2), &"late"), (vec![calls[1]], vec![11]));
        assert_eq!(table.take(calls[1]), Some(Err("late")));
        assert_eq!(table.take(calls[2]), Some(Ok(5)));
        assert_eq!((table.poll_deadline(), table.deadline(calls[0])), (Some(at(3)), Some(at(3))));
    }

    #[test]
    fn deadlines_of_calls_that_are_over_do_not_pile_up() {
        let far = Instant::now() + Duration::from_secs(3600);
        let mut table = Numbers::new(10, 0);
        for _ in 0..100_000 {
            let call = table.begin(Some(far)).expect("the slot is free");
            table.abandon(call);
        }
        assert!(table.deadlines.len() < 200, "{}", table.deadlines.len());
    }

    #[test]
    fn all_fail_at_once_and_all_who_wait_are_named() {
        let mut table = Numbers::new(10, 0);
        let calls: Vec<_> = (0..4).filter_map(|_| table.begin(None)).collect();
        table.watch(calls[0], 10);
        table.watch(calls[2], 12);
        table.handle_answer(calls[3], 3);
        assert_eq!(table.handle_failure_of_all(&"gone"), [10, 12]);
        assert_eq!(table.open(), 0);
        assert_eq!(table.take(calls[0]), Some(Err("gone")));
        assert_eq!(table.take(calls[3]), Some(Ok(3)), "what was answered before stays answered");
    }

    #[test]
    fn those_who_wait_take_turns_to_lead() {
        let mut table = Numbers::new(10, 0);
        let calls: Vec<_> = (0..3).filter_map(|_| table.begin(None)).collect();
        calls.iter().zip(10..).for_each(|(call, who)| table.watch(*call, who));
        assert_eq!(table.next_waiter(|who| *who != 10), Some(11));
        table.watch(calls[1], 11);
        assert_eq!(table.next_waiter(|_| true), Some(12));
        assert_eq!(table.next_waiter(|_| true), Some(10));
        assert_eq!(table.next_waiter(|_| true), Some(11));
        assert_eq!(table.next_waiter(|_| true), None);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Begin(Option<u8>),
        Answer(usize),
        Take(usize),
        Abandon(usize),
        Watch(usize),
        Tick(u8),
        FailAll,
    }

    fn step() -> impl Strategy<Value = Step> {
        let any_call = || any::<usize>();
        prop_oneof![
            5 => prop::option::of(any::<u8>()).prop_map(Step::Begin),
            4 => any_call().prop_map(Step::Answer),
            4 => any_call().prop_map(Step::Take),
            2 => any_call().prop_map(Step::Abandon),
            2 => any_call().prop_map(Step::Watch),
            2 => (0..40_u8).prop_map(Step::Tick),
            1 => Just(Step::FailAll),
        ]
    }

    /// A call as the plainest model sees it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Model {
        Open(Option<u64>, bool),
        Over(Result<u32, &'static str>),
        Gone,
    }

    proptest! {
        #[test]
        fn the_table_is_its_model(steps in prop::collection::vec(step(), 1..200)) {
            let start = Instant::now();
            let mut table = Numbers::new(12, 0xffff_fff0);
            let mut model: HashMap<Correlation, Model> = HashMap::new();
            let mut order: Vec<Correlation> = Vec::new();
            let mut now = 0_u64;
            for (n, step) in (0_u32..).zip(steps) {
                let pick = |at: usize| if order.is_empty() { None } else { Some(order[at % order.len()]) };
                match step {
                    Step::Begin(after) => {
                        let used = model.values().filter(|call| **call != Model::Gone).count();
                        let deadline = after.map(|after| now + u64::from(after));
                        let begun = table.begin(deadline.map(|at| start + Duration::from_secs(at)));
                        prop_assert_eq!(begun.is_some(), used < 12);
                        if let Some(call) = begun {
                            prop_assert!(model.insert(call, Model::Open(deadline, false)).is_none(), "used twice");
                            order.push(call);
                        }
                    }
                    Step::Answer(at) => if let Some(call) = pick(at) {
                        let expected = match model[&call] {
                            Model::Open(_, watched) => Delivery::Delivered(watched.then_some(call.slot() as u32)),
                            _ => Delivery::Late(n),
                        };
                        if matches!(expected, Delivery::Delivered(_)) {
                            model.insert(call, Model::Over(Ok(n)));
                        }
                        prop_assert_eq!(table.handle_answer(call, n), expected);
                    },
                    Step::Take(at) => if let Some(call) = pick(at) {
                        let expected = if let Model::Over(result) = model[&call] { Some(result) } else { None };
                        if expected.is_some() {
                            model.insert(call, Model::Gone);
                        }
                        prop_assert_eq!(table.take(call), expected);
                    },
                    Step::Abandon(at) => if let Some(call) = pick(at) {
                        let was = model.insert(call, Model::Gone);
                        prop_assert_eq!(table.abandon(call).0, matches!(was, Some(Model::Open(..))));
                    },
                    Step::Watch(at) => if let Some(call) = pick(at) {
                        table.watch(call, call.slot() as u32);
                        if let Some(Model::Open(_, watched)) = model.get_mut(&call) {
                            *watched = true;
                        }
                    },
                    Step::Tick(seconds) => {
                        now += u64::from(seconds);
                        let (mut calls, waiters) = table.handle_timeout(start + Duration::from_secs(now), &"late");
                        let due = |state: &Model| matches!(state, Model::Open(Some(at), _) if *at <= now);
                        let mut expected: Vec<_> =
                            model.iter().filter(|(_, state)| due(state)).map(|(call, _)| *call).collect();
                        let watched = expected.iter().filter(|call| matches!(model[call], Model::Open(_, true)));
                        prop_assert_eq!(waiters.len(), watched.count());
                        expected.sort_unstable();
                        calls.sort_unstable();
                        prop_assert_eq!(&calls, &expected);
                        model.extend(calls.into_iter().map(|call| (call, Model::Over(Err("late")))));
                    }
                    Step::FailAll => {
                        table.handle_failure_of_all(&"gone");
                        for state in model.values_mut().filter(|state| matches!(state, Model::Open(..))) {
                            *state = Model::Over(Err("gone"));
                        }
                    }
                }
                let open = model.values().filter(|state| matches!(state, Model::Open(..)));
                prop_assert_eq!(table.open(), open.clone().count());
                prop_assert_eq!(table.waiting, open.filter(|state| matches!(state, Model::Open(_, true))).count());
            }
        }
    }
}
