//! Every interleaving of the wake-ups inside a link, and every stale value that the memory model permits:
//! `RUSTFLAGS="--cfg loom" cargo test -p fabric-net --release --no-default-features --test loom`.
#![cfg(loom)]

use fabric::sync::Arc;
use fabric::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

#[path = "../src/wake.rs"]
mod wake;

use wake::{Handoff, Sleepers};

/// What is read for another is either seen by its last look before the sleep, or rung for; also when a second sleeper wakes meanwhile.
///
/// Fails (slept through) without the fence of `arm`, without that of `is_any`, and with a flag in place of the count.
#[test]
fn a_sleeper_sees_what_was_read_for_it_or_is_rung() {
    loom::model(|| {
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

fn fulfil(handoff: &Handoff<u32>, mut guard: impl std::ops::DerefMut<Target = u32>) {
    *guard += u32::from(handoff.wish.take());
}

/// A wish is fulfilled by whoever holds the lock, and not forgotten between its last look and its letting go.
///
/// Fails (a wish is left) when `let_go` does not look again. The fences cannot be seen to matter here: loom's lock orders more than the real one.
#[test]
fn a_wish_is_fulfilled_whoever_holds_the_lock() {
    loom::model(|| {
        let handoff = Arc::new(Handoff::new(0));
        let work = |handoff: &Handoff<u32>, guard| {
            let mut guard = Some(guard);
            while let Some(mut held) = guard.take() {
                fulfil(handoff, &mut *held);
                guard = handoff.let_go(held);
            }
        };
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let handoff = handoff.clone();
                thread::spawn(move || {
                    if let Some(guard) = handoff.wish() {
                        work(&handoff, guard);
                    }
                })
            })
            .collect();
        work(&handoff, handoff.lock());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!handoff.wish.take(), "a wish is left");
        assert!(*handoff.lock() >= 1);
    });
}
