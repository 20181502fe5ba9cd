//! Every kind of queue against a plain model, operation by operation.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::sync::Arc;

use fabric::queue::{Full, PushError, Pushed, QueueKind, ReceiveFull, ReceiveKind, Weigh, input, receive};
use proptest::prelude::*;

/// A value with a name and a weight; the counter tells how many live.
#[derive(Debug, Clone)]
struct Value {
    number: u32,
    outside: usize,
    _live: Arc<()>,
}

impl Weigh for Value {
    fn bytes_outside(&self) -> usize {
        self.outside
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push { tag: Option<u64>, outside: usize },
    Pop,
    Peek,
    Skip,
}

fn step() -> impl Strategy<Value = Step> {
    let tag = prop_oneof![Just(None), (0..6_u64).prop_map(Some)];
    let outside = prop_oneof![3 => Just(0_usize), 1 => 1..3_000_usize];
    prop_oneof![
        6 => (tag, outside).prop_map(|(tag, outside)| Step::Push { tag, outside }),
        3 => Just(Step::Pop),
        1 => Just(Step::Peek),
        1 => Just(Step::Skip),
    ]
}

fn full() -> impl Strategy<Value = Full> {
    prop_oneof![Just(Full::Block), Just(Full::Refuse), Just(Full::DiscardOldest), Just(Full::DiscardNewest)]
}

fn kind() -> impl Strategy<Value = QueueKind> {
    prop_oneof![
        Just(QueueKind::MonoUnbounded),
        Just(QueueKind::MultiUnbounded),
        Just(QueueKind::MultiUnboundedTagged),
        (1..9_usize, full()).prop_map(|(capacity, full)| QueueKind::MultiBounded { capacity, full }),
        (1..9_usize, full()).prop_map(|(capacity, full)| QueueKind::MultiBoundedTagged { capacity, full }),
    ]
}

/// What the documentation says, in the plainest way.
struct Model {
    queued: VecDeque<(Option<u64>, u32, usize)>,
    held: Option<(u32, usize)>,
    capacity: usize,
    full: Full,
    tagged: bool,
    /// Whether looking at a value takes it out of reach.
    holds: bool,
    slot_bytes: usize,
    bytes_max: usize,
}

impl Model {
    fn new(kind: QueueKind, slot_bytes: usize, bytes_max: usize) -> Self {
        let (capacity, full, tagged) = match kind {
            QueueKind::MonoUnbounded | QueueKind::MultiUnbounded => (usize::MAX, Full::Block, false),
            QueueKind::MultiUnboundedTagged => (usize::MAX, Full::Block, true),
            QueueKind::MultiBounded { capacity, full } => (capacity, full, false),
            QueueKind::MultiBoundedTagged { capacity, full } => (capacity, full, true),
        };
        let holds = tagged || full == Full::DiscardOldest;
        Self { queued: VecDeque::new(), held: None, capacity, full, tagged, holds, slot_bytes, bytes_max }
    }

    fn bytes(&self) -> usize {
        self.queued.iter().map(|(_, _, outside)| self.slot_bytes + outside).sum()
    }

    fn has_room(&self) -> bool {
        self.queued.len() < self.capacity && self.bytes() < self.bytes_max
    }

    fn push(&mut self, tag: Option<u64>, number: u32, outside: usize) -> Option<Pushed> {
        let same = self.queued.iter_mut().find(|(queued, ..)| tag.is_some() && *queued == tag);
        if let (true, Some(same)) = (self.tagged, same) {
            *same = (tag, number, outside);
            return Some(Pushed::Replaced);
        }
        let mut pushed = Pushed::Queued;
        while !self.has_room() {
            match self.full {
                Full::Block | Full::Refuse => return None,
                Full::DiscardNewest => return Some(Pushed::DiscardedNewest),
                Full::DiscardOldest => self.queued.pop_front(),
            };
            pushed = Pushed::DiscardedOldest;
        }
        self.queued.push_back((tag, number, outside));
        Some(pushed)
    }

    fn pop(&mut self) -> Option<u32> {
        let held = self.held.take().map(|(number, _)| number);
        held.or_else(|| self.queued.pop_front().map(|(_, number, _)| number))
    }

    fn peek(&mut self) -> Option<u32> {
        if self.holds && self.held.is_none() {
            self.held = self.queued.pop_front().map(|(_, number, outside)| (number, outside));
        }
        self.held.map(|(number, _)| number).or_else(|| self.queued.front().map(|(_, number, _)| *number))
    }
}

/// What a slot of a value takes, found by pushing one.
fn slot_bytes() -> usize {
    let (writer, _reader) = input(QueueKind::MonoUnbounded, 1 << 20);
    let value = Value { number: 0, outside: 0, _live: Arc::new(()) };
    writer.push(value, None).expect("it is empty");
    writer.bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn an_input_queue_is_its_model(
        kind in kind(),
        bytes_max in prop_oneof![Just(1_usize), 500..8_000_usize, Just(1 << 20)],
        steps in prop::collection::vec(step(), 0..400),
    ) {
        let (writer, mut reader) = input(kind, bytes_max);
        let mut model = Model::new(kind, slot_bytes(), bytes_max);
        let live = Arc::new(());
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Push { tag, outside } => {
                    let pushed = writer.push(Value { number, outside, _live: Arc::clone(&live) }, tag);
                    let expected = model.push(tag, number, outside);
                    match pushed {
                        Ok(pushed) => prop_assert_eq!(Some(pushed), expected),
                        Err(refused) => {
                            prop_assert_eq!(expected, None);
                            prop_assert_eq!((refused.value.number, refused.why), (number, PushError::Full));
                        }
                    }
                }
                Step::Pop => prop_assert_eq!(reader.pop().map(|value| value.number), model.pop()),
                Step::Peek => prop_assert_eq!(reader.peek().map(|value| value.number), model.peek()),
                Step::Skip => prop_assert_eq!(reader.skip(), model.pop().is_some()),
            }
            let held = model.held.map_or(0, |(_, outside)| model.slot_bytes + outside);
            let len = model.queued.len() + usize::from(model.held.is_some());
            prop_assert_eq!((writer.len(), writer.bytes()), (model.queued.len(), model.bytes()));
            prop_assert_eq!((reader.len(), reader.bytes()), (len, model.bytes() + held));
            prop_assert_eq!((reader.is_ready(), reader.is_empty()), (len > 0, len == 0));
            prop_assert_eq!(Arc::strong_count(&live), 1 + len);
        }
        drop((writer, reader));
        prop_assert_eq!(Arc::strong_count(&live), 1, "values are left or were dropped twice");
    }

    #[test]
    fn a_receive_queue_is_its_model(
        kind in receive_kind(),
        bytes_max in prop_oneof![500..8_000_usize, Just(1 << 20)],
        steps in prop::collection::vec(step(), 0..400),
    ) {
        let (writer, mut reader) = receive(kind, bytes_max);
        let mut model = Model::new(as_input(kind), slot_bytes(), bytes_max);
        let live = Arc::new(());
        for (number, step) in (0..).zip(steps) {
            if let Step::Push { outside, .. } = step {
                let pushed = writer.push(Value { number, outside, _live: Arc::clone(&live) });
                prop_assert_eq!(pushed.ok(), model.push(None, number, outside));
            } else {
                prop_assert_eq!(reader.pop().map(|value| value.number), model.pop());
            }
            prop_assert_eq!((writer.len(), writer.bytes()), (model.queued.len(), model.bytes()));
            prop_assert_eq!(Arc::strong_count(&live), 1 + model.queued.len());
        }
        drop((writer, reader));
        prop_assert_eq!(Arc::strong_count(&live), 1, "values are left or were dropped twice");
    }
}

fn receive_kind() -> impl Strategy<Value = ReceiveKind> {
    let full =
        prop_oneof![Just(ReceiveFull::HoldBack), Just(ReceiveFull::DiscardOldest), Just(ReceiveFull::DiscardNewest)];
    prop_oneof![
        1 => Just(ReceiveKind::MonoUnbounded),
        1 => Just(ReceiveKind::MultiUnbounded),
        4 => (1..9_usize, full, any::<bool>()).prop_map(|(capacity, full, mono)| {
            if mono { ReceiveKind::MonoBounded { capacity, full } } else { ReceiveKind::MultiBounded { capacity, full } }
        }),
    ]
}

fn as_input(kind: ReceiveKind) -> QueueKind {
    let as_full = |full| match full {
        ReceiveFull::HoldBack => Full::Block,
        ReceiveFull::DiscardOldest => Full::DiscardOldest,
        ReceiveFull::DiscardNewest => Full::DiscardNewest,
    };
    match kind {
        ReceiveKind::MonoUnbounded | ReceiveKind::MultiUnbounded => QueueKind::MultiUnbounded,
        ReceiveKind::MonoBounded { capacity, full } | ReceiveKind::MultiBounded { capacity, full } => {
            QueueKind::MultiBounded { capacity, full: as_full(full) }
        }
    }
}

#[test]
fn a_queue_whose_reader_is_gone_refuses() {
    let (writer, reader) = input::<u32>(QueueKind::MultiUnbounded, 1 << 20);
    assert_eq!(writer.push(1, None), Ok(Pushed::Queued));
    assert!(!writer.is_closed());
    drop(reader);
    assert!(writer.is_closed());
    assert_eq!(writer.push(2, None).expect_err("nobody reads").why, PushError::Closed);

    let (writer, reader) = receive::<u32>(ReceiveKind::MultiUnbounded, 1 << 20);
    let mut second = reader.try_clone().expect("it may have many");
    drop(reader);
    assert_eq!(writer.push(1), Ok(Pushed::Queued));
    assert!(!second.is_closed());
    drop(writer);
    assert!(!second.is_closed(), "a value is left");
    assert_eq!(second.pop(), Some(1));
    assert!(second.is_closed());
}

#[test]
fn queues_of_one_producer_or_consumer_have_one() {
    let mono = input::<u32>(QueueKind::MonoUnbounded, 1 << 20).0;
    assert!(mono.try_clone().is_none());
    let multi = input::<u32>(QueueKind::MultiUnboundedTagged, 1 << 20).0;
    assert!(multi.try_clone().is_some());
    assert!(receive::<u32>(ReceiveKind::MonoUnbounded, 1 << 20).1.try_clone().is_none());
}

#[test]
#[should_panic(expected = "a queue holds at least one value")]
fn a_queue_for_nothing_is_refused() {
    input::<u32>(QueueKind::MultiBounded { capacity: 0, full: Full::Block }, 1 << 20);
}

#[test]
fn bounds_beyond_all_memory_cost_none() {
    let kind = QueueKind::MultiBounded { capacity: usize::MAX, full: Full::DiscardOldest };
    let (writer, mut reader) = input::<u32>(kind, usize::MAX);
    assert_eq!(writer.push(7, None), Ok(Pushed::Queued));
    assert_eq!(reader.pop(), Some(7));
    let (writer, mut reader) = receive::<u32>(ReceiveKind::MultiUnbounded, usize::MAX);
    assert_eq!(writer.push(7), Ok(Pushed::Queued));
    assert_eq!(reader.pop(), Some(7));
}
