//! How far apart the two processors are at this moment.
//!
//! A virtual machine's processors are moved about by its host: now they are two threads of one core, now they share nothing but the memory. Rates between
//! them then differ by ten, so every run says where it ran.

use crate::beside::pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Instant;

/// Round trips of one reading, and readings; the least counts, since everything else that goes on only adds.
const TRIPS: u64 = 100;
const READINGS: u64 = 10;

/// Nanoseconds of a round trip of one word between processors 0 and 1, both spinning.
pub fn core_trip_ns() -> f64 {
    let word = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            for trip in 0..TRIPS * READINGS {
                set_after(&word, 2 * trip + 1);
            }
        });
        let asking = scope.spawn(|| {
            pin(0);
            let mut best = f64::INFINITY;
            for reading in 0..READINGS {
                let start = Instant::now();
                for trip in 0..TRIPS {
                    let ours = 2 * (reading * TRIPS + trip);
                    word.store(ours + 1, Release);
                    while word.load(Acquire) != ours + 2 {
                        std::hint::spin_loop();
                    }
                }
                best = best.min(start.elapsed().as_nanos() as f64 / TRIPS as f64);
            }
            best
        });
        asking.join().expect("it has nothing to panic at")
    })
}

/// Waits for `value` and counts on.
fn set_after(word: &AtomicU64, value: u64) {
    while word.load(Acquire) != value {
        std::hint::spin_loop();
    }
    word.store(value + 1, Release);
}
