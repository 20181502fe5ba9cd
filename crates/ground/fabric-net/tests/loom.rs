//! The interleavings of the wake-up inside a link, and every stale value that the memory model permits:
//! `RUSTFLAGS="--cfg loom" cargo test -p fabric-net --release --no-default-features --test loom`.
#![cfg(loom)]

use fabric::sync::Arc;
use fabric::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

#[path = "../src/wake.rs"]
#[expect(dead_code, reason = "the handoff is tried by threads, beside its code: loom does not try a lock that is held")]
mod wake;

use wake::Sleepers;

/// Three threads, of which a running one is interrupted three times at most: all interleavings would take hours.
fn explore(scene: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(scene);
}

/// What is read for another is either seen by its last look before the sleep, or rung for; also when a second sleeper wakes meanwhile.
///
/// Fails (slept through) without the fence of `arm`, without that of `is_any`, and with a flag in place of the count.
#[test]
fn a_sleeper_sees_what_was_read_for_it_or_is_rung() {
    explore(|| {
        let sleepers = Arc::new(Sleepers::new());
        let (found, rung) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let reader = {
            let (sleepers, found, rung) = (sleepers.clone(), found.clone(), rung.clone());
            thread::spawn(move || {
                found.store(1, Ordering::Release);
                if sleepers.is_any() {
                    rung.store(true, Ordering::Release);
                }
            })
        };
        let other = {
            let sleepers = sleepers.clone();
            thread::spawn(move || {
                sleepers.arm();
                sleepers.disarm();
            })
        };
        sleepers.arm();
        let seen = found.load(Ordering::Acquire) == 1;
        reader.join().unwrap();
        other.join().unwrap();
        assert!(seen || rung.load(Ordering::Acquire), "slept through");
    });
}
