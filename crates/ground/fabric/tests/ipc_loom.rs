//! Every interleaving of the words by which two processes share windows and wake each other:
//! `RUSTFLAGS="--cfg loom" cargo test -p fabric --release --test ipc_loom`.
//!
//! Each test says which weakened orderings it was seen to fail with; "lost" names loom's report of a deadlock (everyone asleep), "race" its report
//! of two unordered accesses of a byte. The socket is modelled by a lock: it wakes, and orders no more than the system calls do.
#![cfg(loom)]

use fabric::ipc::{PeerSleep, PeerWants, SleepWord, Wants};
use fabric::memory::Memory;
use fabric::sync::atomic::{AtomicUsize, Ordering};
use fabric::sync::{Arc, Mutex};
use fabric::tli::{RxWindow, TxWindow};
use fabric::wire::{END, WINDOW_HEADER, WindowHeader};
use loom::sync::Condvar;
use loom::thread;

fn explore(preemptions: Option<usize>, scene: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(scene);
}

/// The socket: bytes that wait, and who waits for them. A ring stays until it is taken.
#[derive(Default)]
struct Socket {
    rings: Mutex<usize>,
    rung: Condvar,
}

impl Socket {
    fn ring(&self) {
        *self.rings.lock().unwrap() += 1;
        self.rung.notify_all();
    }

    /// Sleeps until there is a ring; leaves it there.
    fn sleep(&self) {
        let mut rings = self.rings.lock().unwrap();
        while *rings == 0 {
            rings = self.rung.wait(rings).unwrap();
        }
    }

    fn take(&self) {
        *self.rings.lock().unwrap() = 0;
    }
}

/// A sleep word and the other side's view of it.
fn sleep_word() -> (SleepWord, PeerSleep, Memory) {
    let word = Memory::private(8);
    // SAFETY: the memory is new.
    (unsafe { SleepWord::new(word.clone()) }, PeerSleep::new(word.clone()), word)
}

const MESSAGE: usize = 16;

fn header(sequence: u64) -> WindowHeader {
    WindowHeader { flags: 0, used: 0, messages: 0, sequence, crc32c: 0, epoch: 0 }
}

fn commit(window: &mut TxWindow, byte: u8) {
    window.body_mut(MESSAGE).fill(byte);
    window.commit(MESSAGE, MESSAGE as u64);
}

/// Reads messages and sleeps in between, until it has read `count`.
fn read_and_sleep(window: &mut RxWindow, own: &SleepWord, socket: &Socket, count: u8) {
    let mut read = 0;
    let look = |window: &mut RxWindow, read: &mut u8| {
        while window.word() == MESSAGE as u64 {
            *read += 1;
            assert!(window.body(MESSAGE).iter().all(|byte| byte == read));
            window.advance(MESSAGE);
        }
        *read == count
    };
    while !look(window, &mut read) {
        own.arm();
        if !look(window, &mut read) {
            socket.sleep();
        }
        own.disarm();
        socket.take();
    }
}

/// A reader that sleeps misses no message, when the writer looks at its word by [`TxWindow::peer_sleeps`].
///
/// Fails (lost) when the fence is missing in `TxWindow::peer_sleeps` or in `SleepWord::arm`, and when `arm` makes no new value; fails (race) when the
/// store in `commit` or the load of the word is Relaxed.
#[test]
fn a_reader_that_sleeps_misses_no_message() {
    explore(Some(3), || {
        let memory = Memory::private(WINDOW_HEADER + 2 * MESSAGE + 8);
        let (own, _, word) = sleep_word();
        // SAFETY: the memory is new, and written by this window alone.
        let mut window = unsafe { TxWindow::lease(memory.clone(), 0, Some(word)) };
        // SAFETY: committed messages stay as they are.
        let mut reading = unsafe { RxWindow::shared(memory, 0, true) };
        let socket = Arc::new(Socket::default());
        let bell = Arc::clone(&socket);
        let writer = thread::spawn(move || {
            let mut rung = 0;
            for byte in 1..=2 {
                commit(&mut window, byte);
                let asleep = window.peer_sleeps();
                if asleep & 1 == 1 && asleep != rung {
                    rung = asleep;
                    bell.ring();
                }
            }
        });
        read_and_sleep(&mut reading, &own, &socket, 2);
        writer.join().unwrap();
    });
}

/// The same, when the writer asks [`PeerSleep::must_ring`], as tethers do.
///
/// Fails (lost) when the fence is missing in `PeerSleep::must_ring` or in `SleepWord::arm`, and when `arm` makes no new value (`SLEEP` left out).
#[test]
fn who_asks_whether_to_ring_loses_no_sleeper() {
    explore(Some(3), || {
        let memory = Memory::private(WINDOW_HEADER + 2 * MESSAGE + 8);
        let (own, peer, _) = sleep_word();
        // SAFETY: the memory is new, and written by this window alone.
        let mut window = unsafe { TxWindow::lease(memory.clone(), 0, None) };
        // SAFETY: committed messages stay as they are.
        let mut reading = unsafe { RxWindow::shared(memory, 0, true) };
        let socket = Arc::new(Socket::default());
        let bell = Arc::clone(&socket);
        let writer = thread::spawn(move || {
            for byte in 1..=2 {
                commit(&mut window, byte);
                if peer.must_ring() {
                    bell.ring();
                }
            }
        });
        read_and_sleep(&mut reading, &own, &socket, 2);
        writer.join().unwrap();
    });
}

/// Two threads of the other process ring for what each has done; one ring for both is enough, and none is too few.
///
/// Fails (lost) when the fence is missing in `must_ring` or in `arm`, and when `arm` makes no new value.
#[test]
fn two_who_ring_wake_for_both() {
    explore(Some(2), || {
        let (own, peer, _) = sleep_word();
        let (socket, peer) = (Arc::new(Socket::default()), Arc::new(peer));
        let done: Vec<_> = (0..2).map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let threads: Vec<_> = done
            .iter()
            .map(|done| {
                let (done, socket, peer) = (Arc::clone(done), Arc::clone(&socket), Arc::clone(&peer));
                thread::spawn(move || {
                    done.store(1, Ordering::Relaxed);
                    if peer.must_ring() {
                        socket.ring();
                    }
                })
            })
            .collect();
        let all = || done.iter().all(|done| done.load(Ordering::Relaxed) == 1);
        while !all() {
            own.arm();
            if !all() {
                socket.sleep();
            }
            own.disarm();
            socket.take();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Two threads of one process sleep on a link: the ring stays until both are up, so it wakes both.
///
/// Fails (lost) when the ring is taken by whoever gets up first, and when the fence is missing in `must_ring` or in `arm`.
#[test]
fn a_ring_wakes_both_who_sleep() {
    explore(Some(2), || {
        let (own, peer, _) = sleep_word();
        let (own, socket) = (Arc::new(own), Arc::new(Socket::default()));
        let done = Arc::new(AtomicUsize::new(0));
        let sleeper = |own: &SleepWord, socket: &Socket, done: &AtomicUsize| {
            while done.load(Ordering::Relaxed) == 0 {
                own.arm();
                if done.load(Ordering::Relaxed) == 0 {
                    socket.sleep();
                }
                if own.disarm() == 0 {
                    socket.take();
                } else {
                    thread::yield_now();
                }
            }
        };
        let other = {
            let (own, socket, done) = (Arc::clone(&own), Arc::clone(&socket), Arc::clone(&done));
            thread::spawn(move || sleeper(&own, &socket, &done))
        };
        let bell = Arc::clone(&socket);
        let ringer = {
            let done = Arc::clone(&done);
            thread::spawn(move || {
                done.store(1, Ordering::Relaxed);
                if peer.must_ring() {
                    bell.ring();
                }
            })
        };
        sleeper(&own, &socket, &done);
        ringer.join().unwrap();
        other.join().unwrap();
    });
}

/// A sender that waits for a free window is rung by the receiver that gives one back, though that rings only who says that it waits.
///
/// Fails (lost) when the fence is missing in `Wants::want` or in `PeerWants::waits_for`.
#[test]
fn who_waits_for_a_window_is_rung_when_one_comes_back() {
    explore(Some(3), || {
        let (own, peer, _) = sleep_word();
        let word = Memory::private(8);
        // SAFETY: the memory is new.
        let mut wants = unsafe { Wants::new(word.clone()) };
        let (wanted, disposed) = (PeerWants::new(word), Arc::new(AtomicUsize::new(0)));
        let socket = Arc::new(Socket::default());
        let receiver = {
            let (socket, disposed) = (Arc::clone(&socket), Arc::clone(&disposed));
            thread::spawn(move || {
                disposed.store(1, Ordering::Release);
                if wanted.waits_for(2) && peer.must_ring() {
                    socket.ring();
                }
            })
        };
        let free = || disposed.load(Ordering::Acquire) == 1;
        // As `Outlet::take` does.
        let mut take = || {
            free() || {
                wants.want(2);
                free()
            }
        };
        // The first attempt comes after `arm`, so that its fence does not stand in for that of `want`.
        own.arm();
        while !take() {
            socket.sleep();
            own.disarm();
            socket.take();
            own.arm();
        }
        receiver.join().unwrap();
    });
}

/// A window is written anew only after its reader has given it back, and the reader takes no word of one use for one of the next.
///
/// Fails (race) when the store of `disposed` here is Relaxed, or those of the window; fails (assertion: an old message) when `TxWindow::begin`
/// publishes the sequence first.
#[test]
fn a_window_is_used_again_after_it_was_given_back() {
    explore(Some(2), || {
        let memory = Memory::private(WINDOW_HEADER + MESSAGE + 8);
        let disposed = Arc::new(AtomicUsize::new(0));
        let given_back = Arc::clone(&disposed);
        let shared = memory.clone();
        let reader = thread::spawn(move || {
            for sequence in 1..=2_u64 {
                // SAFETY: committed messages stay as they are until the window is given back.
                let mut window = unsafe { RxWindow::shared(shared.clone(), 0, true) };
                while window.sequence() != sequence {
                    thread::yield_now();
                }
                loop {
                    match window.word() {
                        0 => thread::yield_now(),
                        END => break,
                        _ => {
                            assert!(window.body(MESSAGE).iter().all(|byte| u64::from(*byte) == sequence));
                            window.advance(MESSAGE);
                        }
                    }
                }
                assert_eq!(window.position(), WINDOW_HEADER + MESSAGE, "each use has one message");
                given_back.store(sequence as usize, Ordering::Release);
            }
        });
        for sequence in 1..=2_u64 {
            while disposed.load(Ordering::Acquire) as u64 + 1 != sequence {
                thread::yield_now();
            }
            // SAFETY: the reader has given back the use before.
            let mut window = unsafe { TxWindow::lease(memory.clone(), 0, None) };
            // SAFETY: the reader waits for the sequence.
            unsafe { window.begin(&header(sequence)) };
            commit(&mut window, sequence as u8);
            window.end();
        }
        reader.join().unwrap();
    });
}
