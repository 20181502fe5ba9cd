//! Signals reach the loop that asked for them.

use engine::{LoopOptions, Signal, Signals, run_here};
use rustix::process::{Signal as Number, getpid, kill_process};

#[test]
fn the_four_signals_arrive_with_their_meaning() {
    let seen = run_here(LoopOptions::default(), |_| async {
        let mut signals = Signals::new().unwrap();
        let mut seen = Vec::new();
        for number in [Number::HUP, Number::USR1, Number::INT, Number::TERM] {
            kill_process(getpid(), number).unwrap();
            seen.push(signals.next().await);
        }
        seen
    });
    assert_eq!(seen.unwrap(), [Signal::Reload, Signal::Reopen, Signal::Interrupt, Signal::Terminate]);
}
