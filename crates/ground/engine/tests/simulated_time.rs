//! A loop on a manual clock: hours pass as fast as the test turns the hands.

use std::time::Duration;

use engine::{Clock, LoopOptions, TaskKind, TimedOut, UnixMicros, run_here};

#[test]
fn an_hour_of_time_outs_passes_at_once() {
    let (clock, hands) = Clock::manual(UnixMicros(0));
    let options = LoopOptions { clock, seed: Some(1), ..LoopOptions::default() };
    let outcome = run_here(options, |context| async move {
        let session = context.clone();
        let waiting = context.spawn(TaskKind("session"), async move {
            let timer = session.timers().after(Duration::from_secs(300));
            let first = timer.limit(std::future::pending::<()>()).await;
            timer.reset_after(Duration::from_secs(3300));
            timer.wait().await;
            (first, session.clock().unix().seconds())
        });
        let mut steps = 0;
        while !waiting.is_finished() {
            context.yield_now().await;
            if let Some(deadline) = hands.next_deadline() {
                hands.advance(deadline.saturating_duration_since(context.now()));
                steps += 1;
            }
        }
        (waiting.await, steps)
    });
    let (result, steps) = outcome.unwrap();
    assert_eq!(result, Ok((Err(TimedOut), 3600)));
    assert!(steps < 50, "{steps} wake-ups for two deadlines");
}
