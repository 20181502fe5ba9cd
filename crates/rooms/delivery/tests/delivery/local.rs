//! Agents without a network.

use crate::bench::{Bench, message, on_a_bench};
use message::Agent;

#[test]
fn a_maildir_gets_a_file_a_recipient() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("mail/box");
    on_a_bench("", move |bench| async move {
        let container = Bench::container(Agent::Maildir(path.clone().into()));
        for n in 0..100_u128 {
            let mut two =
                message(Some("s@a.example"), &["r0@b.example", "r1@b.example"], b"Subject: x\r\n\r\nbody\r\n");
            two.id = message::MessageId(n);
            bench.put(&container, two);
        }
        let large = b"large\r\n".repeat(100_000);
        let mut spooled = message(Some("s@a.example"), &["r2@b.example"], b"");
        spooled.id = message::MessageId(100);
        bench.put_spooled(&container, spooled, large);
        bench.delivery.work_came();
        bench.until_rows("D", 201).await;
        let files: Vec<_> =
            std::fs::read_dir(path.join("new")).expect("new").map(|entry| entry.expect("an entry").path()).collect();
        assert_eq!(files.len(), 201);
        assert_eq!(std::fs::read_dir(path.join("tmp")).expect("tmp").count(), 0);
        let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).expect("a text")).collect();
        let expected = "Return-Path: <s@a.example>\nDelivered-To: r1@b.example\nReceived: by us\nSubject: x\n\nbody\n";
        assert_eq!(texts.iter().filter(|text| *text == expected).count(), 100);
        assert_eq!(texts.iter().filter(|text| text.ends_with(&"large\n".repeat(100_000))).count(), 1);
    });
}

#[test]
fn a_maildir_that_cannot_be_written_delays_the_mail() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    std::fs::write(&path, "not a directory").expect("a file");
    on_a_bench("", move |bench| async move {
        let container = Bench::container(Agent::Maildir(path.into()));
        bench.put(&container, message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
        bench.delivery.work_came();
        bench.until_rows("T 0 8 0 451 4.3.0 [internal] maildir:", 1).await;
        bench.until_rows("closed Unreachable", 1).await;
        let _keep = directory;
    });
}

#[test]
fn what_is_discarded_is_delivered() {
    on_a_bench("", |bench| async move {
        let container = Bench::container(Agent::Discard);
        for _ in 0..200 {
            bench.put_cold(&container, message(None, &["r@b.example"], b"x\r\n"));
        }
        bench.delivery.work_came();
        bench.until_rows("D", 200).await;
        assert_eq!(bench.work.borrow().open(), 0);
    });
}
