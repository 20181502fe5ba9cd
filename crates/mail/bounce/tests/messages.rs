//! Whole messages that came back: reports of several mailers, bounces in plain text, complaints, answering machines.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use bounce::{Action, Class, Classifier, Examiner, Finding, Seal, Sort, Source};
use message::{Address, Enhanced, MessageId};

const KEY: &[u8] = b"0123456789abcdef";

fn examine(message: &str) -> Finding {
    let (classifier, seal) = (Classifier::new(), Seal::new(&[KEY]).unwrap());
    let examiner = Examiner { seal: Some(&seal), ..Examiner::new(&classifier) };
    let finding = examiner.examine(message.as_bytes());
    // Line ends do not matter.
    let again = examiner.examine(message.replace('\n', "\r\n").as_bytes());
    assert_eq!((finding.sort, &finding.recipients), (again.sort, &again.recipients));
    finding
}

/// A report with this status part and this returned header section.
fn report(to: &str, status: &str, returned: &str) -> String {
    format!(
        "Return-Path: <>\nFrom: Mail Delivery System <MAILER-DAEMON@mx.example.org>\nTo: {to}\n\
         Subject: Undelivered Mail Returned to Sender\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"B/1=mx\"\n\n\
         This is a MIME-encapsulated message.\n\n--B/1=mx\nContent-Type: text/plain; charset=us-ascii\n\n\
         I'm sorry to have to inform you.\n\n--B/1=mx\nContent-Description: Delivery report\n\
         Content-Type: message/delivery-status\n\n{status}\n--B/1=mx\nContent-Type: text/rfc822-headers\n\n{returned}\n--B/1=mx--\n"
    )
}

const TWO: &str = "Reporting-MTA: dns; mx.example.org\nX-Queue-ID: 4F1\nOriginal-Envelope-Id: env-7\n\
    Arrival-Date: Wed, 25 Nov 2026 08:00:00 +0000\n\n\
    Final-Recipient: rfc822; joe@example.org\nOriginal-Recipient: rfc822;joe+2Bnews@example.com\nAction: failed\nStatus: 5.1.1\n\
    Remote-MTA: dns; mx2.example.org\nDiagnostic-Code: smtp; 550 5.1.1 <joe@example.org>: Recipient\n    address rejected: User\n    unknown\n\n\
    Final-Recipient: rfc822; <jim@example.org>\nAction: delayed (will retry)\nStatus: 4.2.2 (mailbox full)\n\
    Diagnostic-Code: smtp; 452 4.2.2 Mailbox full\n\n\
    Final-Recipient: rfc822; ann@example.org\nAction: relayed\nStatus: 2.0.0\n";

#[test]
fn a_report_with_several_recipients_and_folded_fields() {
    let finding = examine(&report("news@example.net", TWO, "Message-ID: <m1@example.net>\nTo: all@example.net\n"));
    assert_eq!(finding.sort, Sort::DeliveryReport);
    assert_eq!(finding.reporter.as_deref(), Some("mx.example.org"));
    assert_eq!(finding.envelope_id.as_deref(), Some("env-7"));
    assert_eq!(finding.message_id.as_deref(), Some("<m1@example.net>"));
    let [joe, jim, ann] = finding.recipients.as_slice() else { panic!("{finding:#?}") };
    assert_eq!((joe.action, joe.status, joe.code), (Action::Failed, Some(Enhanced(5, 1, 1)), Some(550)));
    assert_eq!((joe.class, joe.rule.as_deref()), (Class::InvalidRecipient, Some("user-unknown")));
    assert_eq!(joe.recipient.as_deref(), Some("joe@example.org"));
    assert_eq!((joe.original.as_deref(), joe.source), (Some("joe+news@example.com"), Some(Source::OriginalRecipient)));
    assert_eq!(joe.reason, "550 5.1.1 <joe@example.org>: Recipient address rejected: User unknown");
    assert_eq!(joe.host.as_deref(), Some("mx2.example.org"));
    assert_eq!((jim.action, jim.class), (Action::Delayed, Class::MailboxFull));
    assert_eq!((jim.original.as_deref(), jim.source), (Some("jim@example.org"), Some(Source::FinalRecipient)));
    assert_eq!((ann.action, ann.class), (Action::Relayed, Class::Undetermined));
}

#[test]
fn fields_may_be_missing_or_run_together() {
    let run_together = "Reporting-MTA: dns; mx\nFinal-Recipient: rfc822; a@example.org\nStatus: 5.2.2\n\
        Final-Recipient: b@example.org\nDiagnostic-Code: smtp; 421 4.7.0 greylisted\n";
    let finding = examine(&report("x@example.net", run_together, ""));
    let [a, b] = finding.recipients.as_slice() else { panic!("{finding:#?}") };
    assert_eq!((a.action, a.class), (Action::Failed, Class::MailboxFull));
    assert_eq!((b.action, b.class, b.status), (Action::Delayed, Class::TransientFailure, Some(Enhanced(4, 7, 0))));
    let empty = examine(&report("x@example.net", "Reporting-MTA: dns; mx\n", ""));
    assert_eq!((empty.sort, empty.recipients[0].class), (Sort::DeliveryReport, Class::NoRecipient));
    let to = examine(&report("x@example.net", "Action: failed\n", "To: only@example.org\n"));
    assert_eq!(to.recipients[0].source, Some(Source::ReturnedTo));
    assert_eq!(to.recipients[0].class, Class::GenericBounce);
}

#[test]
fn a_status_part_of_another_type_or_encoding_is_found() {
    let odd =
        report("x@example.net", TWO, "").replace("message/delivery-status\n\nReporting", "text/plain\n\nReporting");
    assert_eq!(examine(&odd).recipients.len(), 3);
    let plain = "Final-Recipient: rfc822; joe@example.org\nAction: failed\nStatus: 5.1.1\n";
    let encoded = "RmluYWwtUmVjaXBpZW50OiByZmM4MjI7IGpvZUBleGFtcGxlLm9yZwpBY3Rpb246IGZhaWxl\nZApTdGF0dXM6IDUuMS4xCg==";
    let base64 = report("x@example.net", encoded, "")
        .replace("message/delivery-status\n", "message/delivery-status\nContent-Transfer-Encoding: base64\n");
    assert_eq!(examine(&base64).recipients, examine(&report("x@example.net", plain, "")).recipients);
    let forwarded = format!(
        "From: joe@example.net\nSubject: Fwd\nContent-Type: multipart/mixed; boundary=out\n\n--out\n\nsee below\n--out\n\
         Content-Type: message/rfc822\n\n{}\n--out--\n",
        report("x@example.net", plain, "")
    );
    assert_eq!(examine(&forwarded).sort, Sort::DeliveryReport);
}

#[test]
fn our_marks_say_who_it_was_and_forged_ones_do_not() {
    let seal = Seal::new(&[KEY]).unwrap();
    let (id, joe) = (MessageId::new(1_700_000_000, 1, 2, 3), Address::parse("joe.original@example.com").unwrap());
    let path = seal.return_path("bounce", "return.example.net", id, &joe).unwrap();
    let status = "Final-Recipient: rfc822; alias@elsewhere.example\nAction: failed\nStatus: 5.1.1\n";
    let finding = examine(&report(path.as_str(), status, ""));
    let found = &finding.recipients[0];
    assert_eq!((found.original.as_deref(), found.source), (Some("joe.original@example.com"), Some(Source::ReturnPath)));
    assert_eq!(found.recipient.as_deref(), Some("alias@elsewhere.example"));
    assert_eq!(finding.origin.unwrap().id.to_string(), id.to_string());

    let header = format!("To: list@example.net\nX-Posthaste-Mark: {}\n", seal.header(id, &joe));
    let finding = examine(&report("x@example.net", status, &header));
    assert_eq!(finding.recipients[0].source, Some(Source::Header));

    let forger = Seal::new(&[b"some other key here"]).unwrap();
    let path = forger.return_path("bounce", "return.example.net", id, &joe).unwrap();
    let finding = examine(&report(path.as_str(), status, ""));
    assert_eq!((finding.forged, finding.origin), (1, None));
    assert_eq!(finding.recipients[0].original.as_deref(), Some("alias@elsewhere.example"));
}

#[test]
fn a_mark_that_is_too_old_counts_for_nothing() {
    let (classifier, seal) = (Classifier::new(), Seal::new(&[KEY]).unwrap());
    let (id, joe) = (MessageId::new(1_700_000_000, 1, 2, 3), Address::parse("joe.original@example.com").unwrap());
    let path = seal.return_path("b", "return.example.net", id, &joe).unwrap();
    let status = "Final-Recipient: rfc822; alias@elsewhere.example\nAction: failed\nStatus: 5.1.1\n";
    let header = format!("To: list@example.net\nX-Posthaste-Mark: {}\n", seal.header(id, &joe));
    for message in [report(path.as_str(), status, ""), report("x@example.net", status, &header)] {
        let message = message.replace('\n', "\r\n");
        let examine = |marks_since| {
            let examiner = Examiner { seal: Some(&seal), marks_since, ..Examiner::new(&classifier) };
            examiner.examine(message.as_bytes())
        };
        assert!(examine(1_700_000_000).origin.is_some());
        let finding = examine(1_700_000_001);
        assert_eq!((finding.origin, finding.stale, finding.forged), (None, 1, 0));
        assert_eq!(finding.recipients[0].original.as_deref(), Some("alias@elsewhere.example"));
    }
}

#[test]
fn bounces_in_plain_text() {
    let qmail = "Return-Path: <>\nFrom: MAILER-DAEMON@mail.example.org\nSubject: failure notice\n\n\
        Hi. This is the mail program at mail.example.org.\nI could not deliver your message to the following addresses.\n\n\
        <joe@example.org>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n\
        <jim@example.org>:\n192.0.2.7 failed after I sent the message.\nRemote host said: 552 5.2.2 mailbox is over quota\n\n\
        --- Below this line is a copy of the message.\n\nMessage-ID: <m2@example.net>\nTo: joe@example.org\n\ntext <ann@example.org>: hello\n";
    let finding = examine(qmail);
    assert_eq!(finding.sort, Sort::TextBounce);
    assert_eq!(finding.message_id.as_deref(), Some("<m2@example.net>"));
    let [joe, jim] = finding.recipients.as_slice() else { panic!("{finding:#?}") };
    assert_eq!((joe.class, joe.status), (Class::InvalidRecipient, Some(Enhanced(5, 1, 1))));
    assert_eq!((jim.class, jim.code), (Class::MailboxFull, Some(552)));

    let exim = "X-Failed-Recipients: joe@example.org\nFrom: Mail Delivery System <Mailer-Daemon@mx.example.net>\n\
        Subject: Mail delivery failed: returning message to sender\n\nThis message was created automatically.\n\n\
        A message that you sent could not be delivered to one or more of its\nrecipients. The following address(es) failed:\n\n\
        \x20 joe@example.org\n    host mx.example.org [192.0.2.7]\n    SMTP error from remote mail server after RCPT TO:<joe@example.org>:\n\
        \x20   550 5.7.1 blocked using zen.spamhaus.org\n\n------ This is a copy of the message, including all the headers. ------\n\nTo: joe@example.org\n";
    let finding = examine(exim);
    let [joe] = finding.recipients.as_slice() else { panic!("{finding:#?}") };
    assert_eq!((joe.class, joe.code, joe.status), (Class::SpamBlock, Some(550), Some(Enhanced(5, 7, 1))));

    let nobody =
        "From: postmaster@example.org\nSubject: Undeliverable: hello\nReturn-Path: <>\n\nYour message was lost.\n";
    let finding = examine(nobody);
    assert_eq!((finding.sort, finding.recipients[0].class), (Sort::TextBounce, Class::NoRecipient));

    let late = "From: mailer-daemon@example.org\nSubject: Warning: could not send message for past 4 hours\n\n\
        <joe@example.org>... Deferred: Connection timed out with mx.example.org.\n";
    assert_eq!(examine(late).recipients[0].action, Action::Delayed);
}

#[test]
fn complaints() {
    let seal = Seal::new(&[KEY]).unwrap();
    let (id, joe) = (MessageId::new(1_700_000_000, 1, 2, 3), Address::parse("joe@example.com").unwrap());
    let arf = |returned: &str| {
        format!(
            "From: fbl@provider.example\nTo: complaints@example.net\nSubject: complaint about message\n\
             Content-Type: multipart/report; report-type=feedback-report; boundary=\"f\"\n\n--f\nContent-Type: text/plain\n\n\
             This is an email abuse report.\n\n--f\nContent-Type: message/feedback-report\n\nFeedback-Type: Abuse\nUser-Agent: SomeFBL/1.0\n\
             Version: 1\nOriginal-Mail-From: <news@example.net>\nSource-IP: 192.0.2.25\nIncidents: 3\nReported-Domain: example.net\n\n\
             --f\nContent-Type: message/rfc822\n\nFrom: news@example.net\nTo: <redacted>\n{returned}Subject: offers\n\nhello\n\n--f--\n"
        )
    };
    let finding = examine(&arf(&format!("X-Posthaste-Mark: {}\n", seal.header(id, &joe))));
    let feedback = finding.feedback.as_ref().unwrap();
    assert_eq!((finding.sort, feedback.kind.as_str(), feedback.incidents), (Sort::Feedback, "abuse", 3));
    assert_eq!(feedback.mail_from.as_deref(), Some("news@example.net"));
    assert_eq!(finding.recipients[0].original.as_deref(), Some("joe@example.com"));
    assert_eq!(finding.recipients[0].source, Some(Source::Header));
    let path = seal.return_path("b", "example.net", id, &joe).unwrap();
    let finding = examine(&arf(&format!("Return-Path: <{path}>\n")));
    assert_eq!(finding.recipients[0].source, Some(Source::ReturnPath));
    let finding = examine(&arf(""));
    assert_eq!((finding.recipients.len(), finding.recipients[0].original.as_deref()), (1, None));
}

#[test]
fn machines_and_people_are_told_apart() {
    let mail =
        |head: &str, body: &str| format!("From: Joe <joe@example.org>\nTo: news@example.net\n{head}\n\n{body}\n");
    for (head, body, sort) in [
        ("Subject: Out of Office: hello", "I am away.", Sort::AutoReply),
        ("Subject: =?utf-8?B?QWJ3ZXNlbmhlaXRzbm90aXo=?=", "Bin weg.", Sort::AutoReply),
        ("Subject: Re: hello\nAuto-Submitted: auto-replied (vacation)", "text", Sort::AutoReply),
        ("Subject: Re: hello\nX-Autoreply: yes", "text", Sort::AutoReply),
        ("Subject: Re: hello", "This is an automated response to your message.", Sort::AutoReply),
        ("Subject: please confirm your message to Joe", "text", Sort::ChallengeResponse),
        ("Subject: Re: hello", "Click the link below to verify that you are human.", Sort::ChallengeResponse),
        ("Subject: Unsubscribe", "", Sort::Unsubscribe),
        ("Subject: subscribe", "", Sort::Subscribe),
        ("Subject: Re: offers", "Thanks, I like the blue one.", Sort::Mail),
        ("Subject: meeting\nAuto-Submitted: no", "See you.", Sort::Mail),
    ] {
        let finding = examine(&mail(head, body));
        assert_eq!(finding.sort, sort, "{head}");
        if sort != Sort::Mail {
            assert_eq!(finding.recipients[0].recipient.as_deref(), Some("joe@example.org"));
        }
    }
    let receipt = "From: joe@example.org\nSubject: Read\n\
        Content-Type: multipart/report; report-type=disposition-notification; boundary=r\n\n--r\n\nread\n--r\n\
        Content-Type: message/disposition-notification\n\nDisposition: manual-action/MDN-sent-manually; displayed\n\n--r--\n";
    assert_eq!(examine(receipt).sort, Sort::AutoReply);
}

#[test]
fn hostile_messages_end() {
    let start = std::time::Instant::now();
    let nested = "Content-Type: message/rfc822\n\n".repeat(40_000);
    let parts = format!(
        "Content-Type: multipart/mixed; boundary=b\n\n{}",
        "--b\nContent-Type: multipart/x; boundary=c\n\n".repeat(25_000)
    );
    let fields = format!("Content-Type: message/delivery-status\n\n{}", "Status: 5.1.1\n".repeat(75_000));
    let lines = format!("From: mailer-daemon@x\nSubject: failure notice\n\n{}", "<a@b>:\n".repeat(150_000));
    let addresses = format!("From: mailer-daemon@x\nTo: {}\n\n", "a+1x@b,".repeat(150_000));
    let classifier = Classifier::new();
    for message in [&nested, &parts, &fields, &lines, &addresses] {
        let finding = Examiner::new(&classifier).examine(message.as_bytes());
        assert!(finding.recipients.len() <= bounce::RECIPIENTS_MAX);
    }
    // Five messages of a MiB; a busy machine takes a second, quadratic reading would take hours.
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
