//! A thousand links made and ended in one process: no descriptor, no mapping, no file is left. Alone in its file, since it counts what the process holds.
#![cfg(not(loom))]

mod meeting;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use fabric::arena::Arena;
use fabric::tli::{Borrowed, Lane, LinkSettings, Role};
use meeting::forged::{ALL_SEALS, Hello, Pages, dial, introduce, say};
use meeting::*;
use rustix::fs::SealFlags;

#[test]
fn a_thousand_links_leave_nothing_behind() {
    let place = Place::new("leaks");
    let arena = Arc::new(Arena::new(4096, 2).unwrap());
    let with_arena = |role| LinkSettings { arena: Some(Arc::clone(&arena)), ..settings(role) };
    let mut listener = open(&place.uri(), &with_arena(Role::Listen));
    let mut dialer = open(&place.uri(), &with_arena(Role::Connect));
    let unsealed = Pages::new(16384, SealFlags::empty());
    let forged = Pages::new(16384, ALL_SEALS);
    let mut before = None;
    for n in 0..1000 {
        match n % 5 {
            // Refused, with files in its hands.
            0 => {
                let visitor = dial(&place.socket());
                say(&visitor, &Hello::honest().pack(), &[unsealed.file.as_fd(), unsealed.file.as_fd()]).unwrap();
                listener.poll(Instant::now()).unwrap();
                assert!(listener.turned_away().is_some());
            }
            // Gone in the midst of it.
            1 => {
                let visitor = dial(&place.socket());
                say(&visitor, &Hello::honest().pack(), &[forged.file.as_fd()]).unwrap();
                listener.poll(Instant::now()).unwrap();
                drop(visitor);
                listener.poll(Instant::now()).unwrap();
            }
            // Cut off for a violation, with files in the socket.
            2 => {
                let socket = introduce(&place.socket(), &Hello::honest(), &forged, || {
                    listener.poll(Instant::now()).unwrap();
                });
                let mut link = meet_alone(&mut *listener);
                say(&socket, b"!", &[forged.file.as_fd(), forged.file.as_fd()]).unwrap();
                link.tether.look().unwrap();
                forged.publish(0, 99);
                link.inlet.receive(Lane::Bulk).unwrap_err();
                forged.publish(0, 0);
            }
            // Used, with leases and windows out at the end.
            _ => {
                let (mut a, mut b) = meet(&mut *listener, &mut *dialer);
                let lent = arena.take().unwrap().copy_in(b"lent").unwrap();
                let descriptor = a.outlet.lend(&lent).unwrap().unwrap();
                let Borrowed::Remote(remote) = b.inlet.borrow(descriptor).unwrap() else { panic!("another's") };
                let window = a.outlet.take(Lane::Bulk).unwrap().unwrap();
                let read = b.inlet.receive(Lane::Bulk).unwrap().unwrap();
                drop(a);
                drop(b);
                assert_eq!(remote.to_vec(), b"lent");
                drop((window, read, remote));
            }
        }
        // After a few of each kind, everything that is kept for good is there.
        if n == 50 {
            before = Some(held());
        }
    }
    assert_eq!(held(), before.unwrap());
    assert_eq!(arena.stats().live, 0);
    drop((listener, dialer));
    assert_eq!(std::fs::read_dir(place.dir()).unwrap().count(), 0);
}
