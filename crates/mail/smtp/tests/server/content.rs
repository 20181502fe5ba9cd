//! DATA: smuggling, transparency, bare line ends, what is noted of the content.

use crate::talk::Talk;
use message::BodyType;
use smtp::scanner::LineEndings;

const SMUGGLED: &str = "MAIL FROM:<s@b>\r\nRCPT TO:<t@b>\r\nDATA\r\nsmuggled\r\n.\r\n";

/// Each of these inside of a message must not end it.
const FORMS: [&str; 17] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\r.\n",
    "\n.\r",
    "\n\n.\n\n",
    "\r\r\n.\r\n",
    "\r\n.\r\r\n",
    "\r\r\n.\r\r\n",
    "\n\r.\n\r",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\r\n. \r\n",
    "\n\r\n.\r",
];

#[test]
fn nothing_is_smuggled() {
    for form in FORMS {
        for cut in [1, 2, 3, 1000] {
            let mut talk = Talk::greeted();
            talk.begin();
            talk.say("DATA\r\n");
            let text = format!("first{form}{SMUGGLED}");
            let replies: String = text.as_bytes().chunks(cut).map(|part| talk.say(part)).collect();
            // At most the one message, with the smuggled one as its text.
            assert!(talk.stored.len() <= 1, "{}", form.escape_debug());
            for stored in &talk.stored {
                assert_eq!(stored.envelope.recipients[0].address.as_str(), "b@example.org");
            }
            assert!(!replies.contains("2.1.0"), "{}: {replies}", form.escape_debug());
        }
    }
}

#[test]
fn nothing_is_smuggled_where_line_ends_are_fixed() {
    for form in FORMS {
        let mut talk = Talk::greeted_with(|rules| rules.line_endings = LineEndings::Fix);
        talk.begin();
        let replies = talk.say(format!("DATA\r\nfirst{form}{SMUGGLED}"));
        assert!(talk.stored.len() <= 1 && !replies.contains("2.1.0"), "{}: {replies}", form.escape_debug());
    }
}

#[test]
fn the_trap_closes_the_session() {
    let mut talk = Talk::greeted();
    talk.begin();
    let reply = talk.say("DATA\r\nx\r\r\n.\r\nMAIL FROM:<s@b>\r\n");
    assert!(reply.ends_with("550 5.6.11 bare CR or LF in message, lines must end with CRLF\r\n"), "{reply}");
    assert!(talk.is_closed());
}

#[test]
fn a_bare_line_end_is_refused_at_the_real_end_and_the_session_goes_on() {
    for text in ["a\nb\r\n", "a\rb\r\n", "a\r\n\n", "\r\rx\r\n", ".\rx\r\n"] {
        let mut talk = Talk::greeted();
        talk.begin();
        assert_eq!(talk.codes("DATA\r\n"), "354");
        assert_eq!(talk.codes(text), "");
        assert_eq!(talk.codes("more\r\n.\r\n"), "550", "{}", text.escape_debug());
        talk.begin();
        assert_eq!(talk.codes("DATA\r\nfine\r\n.\r\n"), "354 250");
        assert_eq!(talk.stored[0].content, b"fine\r\n");
    }
}

#[test]
fn bare_line_ends_are_fixed_where_asked() {
    let mut talk = Talk::greeted_with(|rules| rules.line_endings = LineEndings::Fix);
    assert_eq!(talk.codes("MAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\n"), "250 250 354");
    assert_eq!(talk.codes("Subject: x\nA: b\n\none\rtwo\n.\nthree\r\n.\r\n"), "250");
    assert_eq!(talk.stored[0].content, b"Subject: x\r\nA: b\r\n\r\none\r\ntwo\r\n.\r\nthree\r\n");
    assert_eq!(talk.stored[0].transaction.header().fields, 2);
}

#[test]
fn a_command_with_a_bare_line_end_is_not_run() {
    let mut talk = Talk::greeted();
    assert_eq!(talk.codes("MAIL FROM:<a@b>\nRSET\r\n"), "500 250");
    assert_eq!(talk.codes("NOOP\rMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n"), "500 503");
}

#[test]
fn transparency() {
    let mut talk = Talk::greeted();
    talk.begin();
    assert_eq!(talk.codes("DATA\r\n..\r\n...\r\n.x\r\n \r\n..\r\n.\r\n"), "354 250");
    assert_eq!(talk.stored[0].content, b".\r\n..\r\nx\r\n \r\n.\r\n");
}

#[test]
fn nul_and_eight_bit_content_is_kept_and_told() {
    let mut talk = Talk::greeted();
    talk.begin();
    talk.say("DATA\r\n");
    assert_eq!(talk.codes(b"a\0b\xe4\r\n.\r\n"), "250");
    let stored = &talk.stored[0];
    assert_eq!(stored.content, b"a\0b\xe4\r\n");
    assert!(stored.transaction.findings().nul);
    assert_eq!(stored.envelope.body_type, BodyType::EightBit);
}

#[test]
fn half_a_message_is_none() {
    let mut talk = Talk::greeted();
    talk.begin();
    talk.say("DATA\r\nhalf a mess");
    talk.session.handle_eof();
    talk.run();
    assert!(talk.is_closed() && talk.stored.is_empty());
    assert_eq!(talk.replies(), "");
}
