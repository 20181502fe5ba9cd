//! Stopping: what is under way ends, nothing begins, and what does not end in time goes back.

use crate::bench::{Bench, message, on_a_bench};
use crate::peer::{Peer, usual};
use std::time::Duration;

#[test]
fn a_transaction_under_way_ends_and_nothing_more_begins() {
    let peer = Peer::start(&["PIPELINING"], |command: &str| {
        if command == "content" {
            std::thread::sleep(Duration::from_millis(150));
        }
        None
    });
    on_a_bench("", move |bench| async move {
        let container = Bench::smtp(peer.address);
        for _ in 0..10 {
            bench.put(&container, message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
        }
        bench.delivery.work_came();
        bench.until(|_| peer.seen().commands.iter().any(|command| command == "DATA")).await;
        bench.delivery.drain(Duration::from_secs(10)).await;
        let delivered = bench.count("D");
        assert!((1..=2).contains(&delivered), "{delivered} delivered");
        assert_eq!(peer.seen().messages.len(), delivered, "nothing goes out twice or untold");
        assert_eq!(bench.work.borrow().waiting(), 10 - delivered);
        bench.until(|_| peer.seen().commands.last().is_some_and(|command| command == "QUIT")).await;
    });
}

#[test]
fn what_hangs_is_cut_off_and_goes_back() {
    let peer = Peer::start(&[], |command: &str| {
        if command.starts_with("MAIL") {
            std::thread::sleep(Duration::from_secs(3));
        }
        None
    });
    on_a_bench("", move |bench| async move {
        bench.put(&Bench::smtp(peer.address), message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
        bench.delivery.work_came();
        bench.until(|_| peer.seen().commands.iter().any(|command| command.starts_with("MAIL"))).await;
        bench.delivery.drain(Duration::from_millis(50)).await;
        bench.until(|bench| bench.work.borrow().open() == 0).await;
        assert_eq!(bench.work.borrow().waiting(), 1);
    });
}

#[test]
fn idle_connections_end_at_once() {
    let peer = Peer::start(&["PIPELINING"], usual);
    on_a_bench("idle_timeout = \"1h\"", move |bench| async move {
        bench.put(&Bench::smtp(peer.address), message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
        bench.delivery.work_came();
        bench.until_rows("D", 1).await;
        bench.delivery.drain(Duration::from_secs(10)).await;
        assert_eq!(bench.count("closed Done"), 1);
    });
}
