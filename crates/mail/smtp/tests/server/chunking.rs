//! BDAT (RFC 3030): exact octets, and chunks that nobody wants.

use crate::talk::Talk;
use message::BodyType;
use smtp::server::{Decision, Refusal};

#[test]
fn chunks_make_one_message() {
    let mut talk = Talk::greeted();
    talk.begin();
    assert_eq!(talk.codes("BDAT 6\r\n.\r\nQUIBDAT 0\r\nBDAT 3\r\nT\r\nBDAT 0 LAST\r\n"), "250 250 250 250");
    assert_eq!(talk.stored[0].content, b".\r\nQUIT\r\n");
    talk.begin();
    assert_eq!(talk.codes("BDAT 1\r\nxBDAT 1\r\n\rBDAT 1 last\r\n\n"), "250 250 250");
    assert_eq!(talk.stored[1].content, b"x\r\n");
    talk.begin();
    assert_eq!(talk.codes("BDAT 0 LAST\r\nNOOP\r\n"), "250 250");
    assert_eq!(talk.stored[2].content, b"");
}

#[test]
fn octet_by_octet() {
    let mut talk = Talk::greeted();
    talk.begin();
    talk.say_slowly("BDAT 9\r\n.\r\nDATA\r\nBDAT 5 LAST\r\n\r\n.\r\n");
    assert_eq!(talk.stored[0].content, b".\r\nDATA\r\n\r\n.\r\n");
}

#[test]
fn a_refused_chunk_is_swallowed_and_not_run() {
    let mut talk = Talk::greeted();
    let chunk = "MAIL FROM:<s@b>\r\nRCPT TO:<t@b>\r\n";
    let command = format!("BDAT {}\r\n{chunk}", chunk.len());
    assert_eq!(talk.codes(&command), "503");
    talk.say("MAIL FROM:<a@b>\r\n");
    talk.recipient_answer = Some(Decision::Refuse(Refusal::new(550, "5.7.1 relaying denied")));
    assert_eq!(talk.codes(format!("RCPT TO:<x@y>\r\n{command}")), "550 554");
    assert_eq!(talk.codes("RCPT TO:<c@d>\r\n"), "250");
    talk.content_answer = Some(Decision::Refuse(Refusal::new(451, "4.3.1 memory")));
    assert_eq!(talk.codes(&command), "451");
    assert_eq!(talk.codes("RSET\r\nNOOP\r\n"), "250 250");
    assert!(talk.stored.is_empty());
}

#[test]
fn sizes_that_are_none_end_the_session() {
    for size in ["-1", "x", "", "1 FIRST", "0x10", "1 LAST LAST"] {
        let mut talk = Talk::greeted();
        talk.begin();
        assert_eq!(talk.codes(format!("BDAT {size}\r\nMAIL FROM:<s@b>\r\n")), "501", "{size}");
        assert!(talk.is_closed());
    }
}

#[test]
fn a_huge_chunk_is_refused_at_once() {
    for size in ["18446744073709551615", "9999999999999999999999999"] {
        let mut talk = Talk::greeted();
        talk.begin();
        assert_eq!(talk.codes(format!("BDAT {size} LAST\r\n")), "552");
        assert!(talk.is_closed());
    }
}

#[test]
fn a_chunk_over_the_limit_is_refused_behind_its_octets() {
    let mut talk = Talk::greeted_with(|rules| rules.message_bytes_max = 1024);
    talk.begin();
    assert_eq!(talk.codes(format!("BDAT 1000\r\n{}", "x".repeat(1000))), "250");
    assert_eq!(talk.codes("BDAT 25 LAST\r\nMAIL FROM:<smuggledx@b>\r"), "");
    assert_eq!(talk.codes("\n"), "552");
    assert_eq!(talk.abandoned, 1);
    talk.begin();
    assert_eq!(talk.codes(format!("BDAT 1024 LAST\r\n{}", "x".repeat(1024))), "250");
    talk.begin();
    // What was pipelined behind it is refused like it (RFC 3030 §4.2).
    assert_eq!(talk.codes(format!("BDAT 1025\r\n{}BDAT 4 LAST\r\nabcd", "x".repeat(1025))), "552 503");
    assert_eq!(talk.stored.len(), 1);
}

#[test]
fn reset_between_chunks_drops_them() {
    let mut talk = Talk::greeted();
    for command in ["RSET", "EHLO x"] {
        talk.begin();
        assert_eq!(talk.codes(format!("BDAT 3\r\nx\r\n{command}\r\n")), "250 250");
    }
    assert_eq!(talk.abandoned, 2);
    talk.begin();
    assert_eq!(
        talk.codes("BDAT 3\r\nx\r\nDATA\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nNOOP\r\n"),
        "250 503 503 503 250"
    );
    assert_eq!(talk.codes("BDAT 3 LAST\r\ny\r\n"), "250");
    assert_eq!(talk.stored[0].content, b"x\r\ny\r\n");
}

#[test]
fn binary_content_is_kept_to_the_octet_and_text_is_not() {
    let mut talk = Talk::greeted();
    assert_eq!(talk.codes("MAIL FROM:<a@b> BODY=BINARYMIME\r\nRCPT TO:<c@d>\r\nDATA\r\n"), "250 250 503");
    talk.say("BDAT 8 LAST\r\n");
    assert_eq!(talk.codes(b"\r\n.\n\r\0\xff\r"), "250");
    assert_eq!(talk.stored[0].content, b"\r\n.\n\r\0\xff\r");
    assert_eq!(talk.stored[0].envelope.body_type, BodyType::Binary);
    for text in ["a\nb", "a\rb", "ab\r"] {
        talk.begin();
        assert_eq!(talk.codes(format!("BDAT 3 LAST\r\n{text}")), "550", "{}", text.escape_debug());
        assert_eq!(talk.stored.len(), 1);
    }
}
