//! The order of commands (RFC 5321 §4.1.4), greetings, pipelining (RFC 2920), parameters kept for the next hop.

use crate::talk::Talk;
use message::{Address, BodyType, Dots, Notify, Protocol, Return, Utf8};
use smtp::server::{Decision, Flavour, Refusal};

#[test]
fn the_greeting_names_the_host_and_ehlo_the_extensions() {
    let mut talk = Talk::new(|rules| rules.messages_max = 5);
    assert_eq!(talk.replies(), "220 mx.example.org ESMTP Posthaste\r\n");
    let reply = talk.say("EHLO client.example.net\r\n");
    let lines: Vec<_> = reply.lines().collect();
    assert_eq!(lines[0], "250-mx.example.org");
    for line in
        ["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "ENHANCEDSTATUSCODES", "DSN"]
    {
        assert!(lines.contains(&format!("250-{line}").as_str()), "{line}: {reply}");
    }
    assert_eq!(lines.last(), Some(&"250 LIMITS RCPTMAX=1000 MAILMAX=5"));
    assert_eq!(talk.say("HELO x\r\n"), "250 mx.example.org\r\n");
}

#[test]
fn a_pipelined_group_is_answered_in_order() {
    let mut talk = Talk::greeted();
    let group = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n";
    assert_eq!(talk.codes(group), "250 250 250 354");
    let reply = talk.say("Subject: x\r\n\r\ntext\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<g@h>\r\nDATA\r\n");
    assert!(reply.starts_with("250 2.0.0 OK 00/00-00001-10000000\r\n250 2.1.0 OK\r\n250 2.1.5 OK\r\n354 "), "{reply}");
    assert_eq!(talk.codes(".\r\nQUIT\r\nNOOP\r\n"), "250 221");
    assert!(talk.is_closed());
    assert_eq!(talk.stored[0].content, b"Subject: x\r\n\r\ntext\r\n");
    assert_eq!(talk.stored[0].envelope.recipients.len(), 2);
    assert_eq!(talk.stored[1].content, b"");
    assert_eq!(talk.stored[1].envelope.sender, None);
}

#[test]
fn octet_by_octet_is_the_same() {
    let mut talk = Talk::greeted();
    let reply = talk.say_slowly("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n..dot\r\nx\r\n.\r\nQUIT\r\n");
    assert_eq!(reply.matches("\r\n").count(), 5, "{reply}");
    assert_eq!(talk.stored[0].content, b".dot\r\nx\r\n");
    assert_eq!(talk.stored[0].transaction.dots(), Dots::Some);
}

#[test]
fn commands_out_of_order_are_503() {
    let mut talk = Talk::new(|_| {});
    talk.replies();
    for command in ["MAIL FROM:<a@b>", "RCPT TO:<a@b>", "DATA"] {
        assert_eq!(talk.codes(format!("{command}\r\n")), "503", "{command}");
    }
    assert_eq!(
        talk.codes("EHLO x\r\nRCPT TO:<a@b>\r\nDATA\r\nMAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\n"),
        "250 503 503 250 503"
    );
    assert_eq!(talk.codes("DATA\r\n"), "554");
    assert_eq!(talk.codes("RSET\r\nRCPT TO:<a@b>\r\n"), "250 503");
    talk.begin();
    assert_eq!(talk.codes("EHLO y\r\nRCPT TO:<a@b>\r\n"), "250 503");
    assert_eq!(talk.session.hello_name(), "y");
}

#[test]
fn commands_after_a_refused_mail_do_no_harm() {
    let mut talk = Talk::greeted();
    let codes = talk.codes("MAIL FROM:<a b@c>\r\nRCPT TO:<b@c>\r\nDATA\r\nMAIL FROM:<a@b>\r\n");
    assert_eq!(codes, "501 503 503 250");
    assert!(talk.stored.is_empty());
}

#[test]
fn small_commands() {
    let mut talk = Talk::greeted();
    assert_eq!(
        talk.codes("NOOP\r\nNOOP x\r\nVRFY a\r\nHELP\r\nRSET\r\nEXPN a\r\nETRN a\r\nSTARTTLS\r\n"),
        "250 250 252 214 250 502 502 502"
    );
    assert_eq!(talk.codes("LHLO x\r\nFOO\r\nRSET x\r\n"), "500 500 501");
}

#[test]
fn every_reply_after_ehlo_has_an_enhanced_code_of_its_class() {
    let mut talk = Talk::greeted();
    let commands =
        "NOOP\r\nVRFY x\r\nHELP\r\nFOO\r\nMAIL FROM:<>\r\nRCPT TO:<x>\r\nRCPT TO:<a@b>\r\nRSET\r\nDATA\r\nQUIT\r\n";
    let reply = talk.say(commands);
    assert_eq!(reply.lines().count(), 10);
    for line in reply.lines() {
        let enhanced =
            line[4..].split(' ').next().and_then(message::Enhanced::parse).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(enhanced.0.to_string(), line[..1], "{line}");
    }
}

#[test]
fn parameters_reach_the_envelope() {
    let mut talk = Talk::greeted();
    talk.say("MAIL FROM:<\u{fc}@b> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=id SIZE=5\r\n");
    talk.say("RCPT TO:<@relay.example:\"C d\"@E> NOTIFY=NEVER ORCPT=rfc822;c+40d\r\n");
    talk.say("DATA\r\nx\r\n.\r\n");
    let stored = &talk.stored[0];
    let envelope = &stored.envelope;
    assert_eq!(envelope.sender.as_ref().map(Address::as_str), Some("\u{fc}@b"));
    assert_eq!(
        (envelope.body_type, envelope.utf8, envelope.ret),
        (BodyType::EightBit, Utf8::Yes, Some(Return::Headers))
    );
    assert_eq!(envelope.envid.as_deref(), Some("id"));
    assert_eq!(envelope.recipients[0].address.as_str(), "\"C d\"@e");
    assert_eq!(envelope.recipients[0].notify, Notify::Never);
    assert_eq!(envelope.recipients[0].orcpt.as_deref(), Some("rfc822;c+40d"));
    assert_eq!(stored.transaction.protocol, Protocol::Utf8Smtp);
}

#[test]
fn helo_offers_nothing() {
    let mut talk = Talk::new(|_| {});
    talk.replies();
    assert_eq!(
        talk.codes("HELO x\r\nMAIL FROM:<a@b> SIZE=5\r\nMAIL FROM:<a@b>\r\nRCPT TO:<\u{fc}@b>\r\n"),
        "250 555 250 553"
    );
    assert_eq!(talk.codes("BDAT 6\r\nNOOP\r\n"), "503");
    assert_eq!(talk.session.protocol(), Protocol::Smtp);
}

#[test]
fn the_driver_decides_about_recipients() {
    let mut talk = Talk::greeted();
    talk.say("MAIL FROM:<a@b>\r\n");
    talk.recipient_answer = Some(Decision::Refuse(Refusal::new(550, "5.7.1 relaying denied")));
    assert_eq!(talk.say("RCPT TO:<x@y>\r\n"), "550 5.7.1 relaying denied\r\n");
    let refused = &talk.refused[0];
    assert_eq!(
        (refused.phase, refused.sender.as_deref(), refused.recipient.as_deref()),
        ("RCPT TO", Some("a@b"), Some("x@y"))
    );
    talk.recipient_answer = Some(Decision::Redirect(Address::parse("root@example.org").unwrap()));
    assert_eq!(talk.codes("RCPT TO:<postmaster>\r\nDATA\r\n.\r\n"), "250 354 250");
    assert_eq!(talk.stored[0].envelope.recipients[0].address.as_str(), "root@example.org");
}

#[test]
fn lmtp_answers_once_for_each_recipient() {
    let mut talk = Talk::new(|rules| rules.flavour = Flavour::Lmtp);
    assert!(talk.replies().contains("LMTP"));
    assert_eq!(talk.codes("EHLO x\r\nLHLO x\r\nMAIL FROM:<>\r\n"), "500 250 250");
    assert_eq!(
        talk.codes("RCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e>\r\nDATA\r\nx\r\n.\r\n"),
        "250 250 501 354 250 250"
    );
    assert_eq!(talk.stored[0].transaction.protocol, Protocol::Lmtp);
    talk.begin();
    assert_eq!(talk.codes("BDAT 3 LAST\r\nx\r\n"), "250");
    assert_eq!(
        talk.codes("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\na\nb\r\n.\r\n"),
        "250 250 250 354 550 550"
    );
}

#[test]
fn a_store_that_fails_is_said_and_the_session_goes_on() {
    let mut talk = Talk::greeted();
    talk.begin();
    talk.store_answer = Some(Refusal::new(452, "4.3.1 insufficient system storage"));
    assert_eq!(talk.say("DATA\r\nx\r\n.\r\n").lines().last(), Some("452 4.3.1 insufficient system storage"));
    talk.begin();
    talk.store_answer = Some(Refusal::new(421, "4.3.2 service shutting down"));
    assert_eq!(talk.codes("DATA\r\nx\r\n.\r\n"), "354 421");
    assert!(talk.is_closed() && talk.stored.is_empty());
}
