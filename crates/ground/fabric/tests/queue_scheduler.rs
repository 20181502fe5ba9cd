//! The scheduler: who is served, how much, and in which order.
#![cfg(not(loom))]

use fabric::queue::{PRIORITIES, Priority, QUANTUM_BYTES, Scheduler, Weights};
use proptest::prelude::*;

const FIVE: [Priority; 5] = [Priority::Highest, Priority::High, Priority::Normal, Priority::Low, Priority::Lowest];

/// Serves `picks` messages of the sizes that `size` gives for each queue, and counts bytes by queue.
fn serve(scheduler: &mut Scheduler, picks: usize, queues: usize, mut size: impl FnMut(usize) -> usize) -> Vec<u64> {
    let mut sent = vec![0; queues];
    for _ in 0..picks {
        let queue = scheduler.pick(|_| true).expect("all are ready");
        let bytes = size(queue);
        scheduler.charge(queue, bytes);
        sent[queue] += bytes as u64;
    }
    sent
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Under saturation the five share bytes by weight, whatever the sizes of their messages.
    #[test]
    fn shares_are_within_two_percent_of_the_weights(
        weights in prop::array::uniform5(1..20_u32),
        sizes in prop::array::uniform5(prop_oneof![200..1_000_usize, 1_000..40_000_usize]),
    ) {
        let mut scheduler = Scheduler::new(Weights::new(weights).expect("none is 0"));
        FIVE.into_iter().enumerate().for_each(|(queue, priority)| scheduler.add(queue, priority));
        let mut sent = [0_u64; 5];
        // So many that one turn and one message are a percent of a share at most.
        let turn = |queue: usize| (weights[queue] * QUANTUM_BYTES) as usize;
        while (0..5).any(|queue| sent[queue] < 120 * turn(queue).max(sizes[queue]) as u64) {
            let queue = scheduler.pick(|_| true).expect("all are ready");
            scheduler.charge(queue, sizes[queue]);
            sent[queue] += sizes[queue] as u64;
        }
        let total: u64 = sent.iter().sum();
        let weight_total: u32 = weights.iter().sum();
        for queue in 0..5 {
            let share = sent[queue] as f64 / total as f64;
            let due = f64::from(weights[queue]) / f64::from(weight_total);
            prop_assert!((share / due - 1.0).abs() < 0.02, "{:?}: {share} of {due}", FIVE[queue]);
        }
    }

    /// Whatever is ready, the pick is ready, is critical if any is, and is idle only if nothing else is ready.
    #[test]
    fn the_order_of_the_classes_holds(
        priorities in prop::collection::vec(0..7_usize, 1..20),
        rounds in prop::collection::vec((any::<u32>(), 1..50_000_usize), 1..200),
    ) {
        let mut scheduler = Scheduler::new(Weights::default());
        priorities.iter().enumerate().for_each(|(queue, &priority)| scheduler.add(queue, PRIORITIES[priority]));
        for (mask, bytes) in rounds {
            let ready = |queue: usize| mask & 1 << queue != 0;
            let best = (0..priorities.len()).filter(|&queue| ready(queue)).map(|queue| priorities[queue]).min();
            match (scheduler.pick(ready), best) {
                (None, None) => {}
                (Some(queue), Some(best)) => {
                    prop_assert!(ready(queue));
                    prop_assert_eq!(priorities[queue] == 0, best == 0);
                    prop_assert_eq!(priorities[queue] == 6, best == 6);
                    scheduler.charge(queue, bytes);
                }
                (picked, best) => prop_assert!(false, "picked {picked:?} where the best is {best:?}"),
            }
        }
    }

    /// Queues come and go; those that stay keep their turns.
    #[test]
    fn queues_of_a_priority_take_turns(leaving in 0..5_usize, at in 0..20_usize) {
        let mut scheduler = Scheduler::new(Weights::default());
        (0..5).for_each(|queue| scheduler.add(queue, Priority::Normal));
        let picks: Vec<_> = (0..at).map(|_| scheduler.pick(|_| true)).collect();
        prop_assert_eq!(picks, (0..at).map(|n| Some(n % 5)).collect::<Vec<_>>());
        scheduler.remove(leaving);
        let mut rest: Vec<usize> = (0..4).map(|_| scheduler.pick(|_| true).expect("four are left")).collect();
        let next_due = (0..5).map(|n| (at + n) % 5).find(|&queue| queue != leaving);
        prop_assert_eq!(rest.first().copied(), next_due);
        rest.sort_unstable();
        prop_assert_eq!(rest, (0..5).filter(|&queue| queue != leaving).collect::<Vec<_>>());
    }
}

#[test]
fn nobody_of_the_five_starves() {
    let mut scheduler = Scheduler::new(Weights::default());
    FIVE.into_iter().enumerate().for_each(|(queue, priority)| scheduler.add(queue, priority));
    // A round is 31 quanta of 4 KiB; within two of them everyone is served, however large the messages of the others.
    let sent = serve(&mut scheduler, 62 * 4, 5, |_| 1024);
    assert!(sent.iter().all(|&bytes| bytes > 0), "{sent:?}");
    assert_eq!(sent, [128 << 10, 64 << 10, 32 << 10, 16 << 10, 8 << 10]);
}

#[test]
fn a_message_larger_than_many_turns_is_paid_back() {
    let mut scheduler = Scheduler::new(Weights::default());
    scheduler.add(0, Priority::Highest);
    scheduler.add(1, Priority::Lowest);
    // The lowest sends 1 MiB at a time, 256 of its turns; meanwhile the highest sends 16 times as much.
    let sent = serve(&mut scheduler, 200_000, 2, |queue| [1024, 1 << 20][queue]);
    let ratio = sent[0] as f64 / sent[1] as f64;
    assert!((ratio / 16.0 - 1.0).abs() < 0.1, "{ratio}");
}

#[test]
fn an_idle_priority_saves_nothing_up() {
    let mut scheduler = Scheduler::new(Weights::default());
    scheduler.add(0, Priority::Highest);
    scheduler.add(1, Priority::High);
    for _ in 0..10_000 {
        let queue = scheduler.pick(|queue| queue == 1).expect("it is ready");
        scheduler.charge(queue, 1024);
    }
    // One turn of the highest, then the other is served: not ten thousand messages' worth.
    let first =
        (0..200).take_while(|_| scheduler.pick(|_| true).inspect(|&queue| scheduler.charge(queue, 1024)) == Some(0));
    assert!(first.count() <= 64);
}

#[test]
fn nothing_is_picked_where_nothing_is_ready() {
    let mut scheduler = Scheduler::new(Weights::default());
    assert_eq!(scheduler.pick(|_| true), None);
    PRIORITIES.into_iter().enumerate().for_each(|(queue, priority)| scheduler.add(queue, priority));
    assert_eq!(scheduler.pick(|_| false), None);
    (0..7).for_each(|queue| scheduler.remove(queue));
    assert_eq!(scheduler.pick(|_| true), None);
}

#[test]
fn a_weight_of_zero_is_named() {
    let refused = Weights::new([1, 1, 0, 1, 1]).expect_err("one is 0");
    assert_eq!(refused.to_string(), "priority Normal has weight 0 and would starve; the least is 1");
}
