//! What senders are told, and when the spool hears of it.

use crate::bench::{Bench, message, on_a_bench};
use crate::peer::{Peer, at, usual};
use message::{Agent, Content, Message, Notify, Queued, Reply, Return, StoreKey, UnixMicros};
use std::sync::Arc;

const REFUSED: &str = "550 5.1.1 no such user\r\n";

fn text(message: &Message) -> String {
    let Content::Resident(body) = &message.content else { panic!("reports are resident") };
    String::from_utf8(body.to_vec()).expect("a text")
}

#[test]
fn a_failure_is_noted_only_when_its_report_is_stored() {
    let peer = Peer::start(&[], at("RCPT", REFUSED));
    on_a_bench("", move |bench| async move {
        let mut two = message(Some("s@a.example"), &["r0@b.example", "r1@b.example"], b"Subject: x\r\n\r\nbody\r\n");
        two.envelope.envid = Some("E+2B1".into());
        two.envelope.recipients[1].orcpt = Some("rfc822;o@c.example".into());
        bench.put(&Bench::smtp(peer.address), two);
        bench.delivery.work_came();
        bench.until_rows("0.1 failed", 1).await;
        assert!(bench.place("P 0") < bench.place("report to s@a.example"));
        assert!(bench.place("report to s@a.example") < bench.place("0.0 failed"));
        let reports = bench.inject.reports.borrow();
        assert_eq!(reports.len(), 1, "one for both recipients");
        let report = text(&reports[0]);
        let wanted = [
            "Reporting-MTA: dns; us.example\r\n",
            "Original-Envelope-Id: E+1\r\n",
            "Final-Recipient: rfc822; r0@b.example\r\n",
            "Final-Recipient: rfc822; r1@b.example\r\n",
            "Original-Recipient: rfc822; o@c.example\r\n",
            "Status: 5.1.1\r\n",
            "Remote-MTA: dns; [127.0.0.1]\r\n",
            "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n",
            "Received: by us\r\nSubject: x\r\n",
        ];
        for line in wanted {
            assert!(report.contains(line), "{line} in {report}");
        }
        assert!(!report.contains("\r\nbody\r\n"));
        assert_eq!(bench.names.read(&bench.gauges).reports, 1);
    });
}

#[test]
fn nobody_is_told_who_did_not_want_to_be() {
    let peer = Peer::start(&[], at("RCPT", REFUSED));
    on_a_bench("", move |bench| async move {
        let container = Bench::smtp(peer.address);
        bench.put(&container, message(None, &["r@b.example"], b"x\r\n"));
        for notify in [Notify::Never, Notify::On { success: true, failure: false, delay: true }] {
            let mut one = message(Some("s@a.example"), &["r@b.example"], b"x\r\n");
            one.envelope.recipients[0].notify = notify;
            bench.put(&container, one);
        }
        bench.delivery.work_came();
        bench.until_rows("2.0 failed", 1).await;
        assert_eq!((bench.count("0.0 failed"), bench.count("report")), (1, 0));
    });
}

#[test]
fn a_whole_message_comes_back_if_asked_for() {
    let peer = Peer::start(&["DSN"], at("RCPT", REFUSED));
    on_a_bench("", move |bench| async move {
        let mut one = message(Some("s@a.example"), &["r@b.example"], b"Subject: x\r\n\r\nbody\r\n");
        one.envelope.ret = Some(Return::Full);
        bench.put(&Bench::smtp(peer.address), one);
        bench.delivery.work_came();
        bench.until_rows("0.0 failed", 1).await;
        assert!(text(&bench.inject.reports.borrow()[0]).contains("\r\n\r\nbody\r\n"));
    });
}

#[test]
fn how_much_comes_back_is_bounded() {
    let peer = Peer::start(&["DSN"], at("RCPT", REFUSED));
    on_a_bench("", move |bench| async move {
        let container = Bench::smtp(peer.address);
        let content = |lines: usize| [b"Subject: x\r\n\r\n".to_vec(), b"0123456789abcd\r\n".repeat(lines)].concat();
        let asks = |content: &[u8]| {
            let mut one = message(Some("s@a.example"), &["r@b.example"], content);
            one.envelope.ret = Some(Return::Full);
            one
        };
        // 256 KiB is the limit, wherever the content is.
        bench.put_spooled(&container, asks(b""), content(10_000));
        bench.put_spooled(&container, asks(b""), content(20_000));
        bench.put(&container, asks(&content(20_000)));
        bench.delivery.work_came();
        for failed in ["0.0 failed", "1.0 failed", "2.0 failed"] {
            bench.until_rows(failed, 1).await;
        }
        let texts: Vec<String> = bench.inject.reports.borrow().iter().map(|report| text(report)).collect();
        let mut lines: Vec<usize> = texts.iter().map(|text| text.matches("0123456789abcd\r\n").count()).collect();
        lines.sort_unstable();
        assert_eq!(lines, [0, 0, 10_000]);
        assert!(texts.iter().all(|text| text.contains("Received: by us\r\nSubject: x\r\n")));
    });
}

#[test]
fn an_expired_recipient_is_told_of_its_last_attempt() {
    let peer = Peer::start(&[], at("RCPT", "450 4.2.1 busy\r\n"));
    on_a_bench("", move |bench| async move {
        bench.work.borrow_mut().expires = true;
        bench.put(&Bench::smtp(peer.address), message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
        bench.delivery.work_came();
        bench.until_rows("0.0 failed", 1).await;
        assert_eq!(bench.count("P 0 5 0 554 5.4.7 [internal] exceeded max time without delivery"), 1);
        let report = text(&bench.inject.reports.borrow()[0]);
        assert!(report.contains("Status: 5.4.7\r\n") && report.contains("smtp; 450 4.2.1 busy\r\n"), "{report}");
    });
}

#[test]
fn what_expired_in_the_queue_is_fetched_and_reported() {
    on_a_bench("", |bench| async move {
        bench.put_expired(&Bench::container(Agent::Mx), message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
        bench.delivery.work_came();
        bench.until_rows("0.0 failed", 1).await;
        assert!(bench.place("report to s@a.example") < bench.place("0.0 failed"));
        assert_eq!(bench.count("P 0 0 0 554 5.4.7 [internal]"), 1);
    });
}

#[test]
fn a_success_is_told_where_the_next_hop_does_not() {
    for (extensions, reports) in [(&["DSN"][..], 0), (&[], 1)] {
        let peer = Peer::start(extensions, usual);
        on_a_bench("", move |bench| async move {
            let container = Bench::smtp(peer.address);
            let mut asks = message(Some("s@a.example"), &["r@b.example"], b"x\r\n");
            asks.envelope.recipients[0].notify = Notify::On { success: true, failure: true, delay: false };
            bench.put(&container, asks);
            bench.put(&container, message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
            bench.delivery.work_came();
            bench.until_rows("D", 2).await;
            bench.until_rows("report", reports).await;
            bench.delivery.drain(std::time::Duration::from_secs(5)).await;
            assert_eq!(bench.count("report"), reports);
            if reports == 1 {
                assert!(text(&bench.inject.reports.borrow()[0]).contains("Action: relayed\r\n"));
            }
        });
    }
}

#[test]
fn a_delay_is_told_once() {
    let peer = Peer::start(&[], at("RCPT", "450 4.2.1 busy\r\n"));
    on_a_bench("generate_delay_dsn = true", move |bench| async move {
        let container = Bench::smtp(peer.address);
        // Received in 1970, and queued twice: the second attempt is silent.
        let mut late = message(Some("s@a.example"), &["r@b.example"], b"Subject: x\r\n\r\nbody\r\n");
        late.envelope.ret = Some(Return::Full);
        for _ in 0..2 {
            bench.put(&container, late.clone());
        }
        bench.delivery.work_came();
        bench.until_rows("1.0 deferred", 1).await;
        bench.until_rows("report", 1).await;
        bench.delivery.drain(std::time::Duration::from_secs(5)).await;
        assert_eq!(bench.count("report"), 1);
        let report = text(&bench.inject.reports.borrow()[0]);
        assert!(report.contains("Action: delayed\r\nStatus: 4.2.1\r\n") && report.contains("Will-Retry-Until: "));
        assert!(!report.contains("\r\nbody\r\n"), "RET is for failures (RFC 3461 section 4.3)");
        assert_eq!(bench.count("0.0 failed"), 0);
    });
}

#[test]
fn what_routing_refused_is_reported() {
    on_a_bench("", |bench| async move {
        let refused = Arc::new(message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
        let queued = Queued {
            key: StoreKey(9),
            id: refused.id,
            recipient: 0,
            attempts: 0,
            received: UnixMicros(0),
            not_before: UnixMicros(0),
            priority: message::Priority::Normal,
            tenant: message::Tenant::OTHERS,
            message: None,
        };
        bench.delivery.refuse(refused, queued, Reply::new(550, "5.1.2 [internal] no route"));
        bench.until_rows("9.0 failed", 1).await;
        assert!(bench.place("P 0 0 0 550 5.1.2") < bench.place("report to s@a.example"));
    });
}

#[test]
fn a_report_that_finds_no_room_is_not_lost() {
    let peer = Peer::start(&[], at("RCPT", REFUSED));
    on_a_bench("", move |bench| async move {
        bench.inject.refusals.set(1_000_000);
        bench.put(&Bench::smtp(peer.address), message(Some("s@a.example"), &["r@b.example"], b"x\r\n"));
        bench.delivery.work_came();
        bench.until_rows("P", 1).await;
        bench.until(|bench| bench.inject.refusals.get() < 1_000_000).await;
        bench.delivery.drain(std::time::Duration::from_millis(50)).await;
        assert_eq!(bench.count("0.0 failed"), 0, "it is tried again after a restart");
    });
}
