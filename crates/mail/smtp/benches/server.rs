//! What the server side costs: the scanner in octets a second, a whole transaction in time.

use divan::{Bencher, black_box, counter::BytesCount};
use message::MessageId;
use smtp::grammar::{Extensions, parse_command};
use smtp::scanner::{DataScanner, Framing, LineEndings};
use smtp::server::{Decision, Event, Profile, Rules, Session};
use std::sync::Arc;
use std::time::Instant;

fn main() {
    divan::main();
}

fn text(octets: usize, columns: usize) -> Vec<u8> {
    let mut line = vec![b'x'; columns];
    line.extend_from_slice(b"\r\n");
    line.iter().copied().cycle().take(octets / line.len() * line.len()).collect()
}

#[divan::bench(args = [20, 76, 998])]
fn scan(bencher: Bencher<'_, '_>, columns: usize) {
    let text = text(64 << 10, columns);
    bencher.counter(BytesCount::new(text.len())).bench(|| {
        let mut scanner = DataScanner::new(Framing::Dots, LineEndings::Reject);
        let piece = scanner.scan(black_box(&text));
        assert_eq!(piece.consumed, text.len());
        scanner.findings().size
    });
}

#[divan::bench]
fn parse_rcpt() {
    let line = black_box(b"RCPT TO:<someone@example.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;someone@example.org");
    assert!(black_box(parse_command(line, Extensions::ALL)).is_ok());
}

/// MAIL, RCPT and DATA in one read, 4 KiB of content in the next.
#[divan::bench]
fn transaction_4k(bencher: Bencher<'_, '_>) {
    let profile = Arc::new(Profile::new(Rules::new("mx.example.org")));
    let now = Instant::now();
    let mut session = Session::new(profile, now);
    run(&mut session, now, b"");
    run(&mut session, now, b"EHLO client.example.net\r\n");
    let envelope = b"MAIL FROM:<sender@example.net> SIZE=4096\r\nRCPT TO:<someone@example.org>\r\nDATA\r\n";
    let mut content = b"From: <sender@example.net>\r\nSubject: x\r\nMessage-ID: <1@example.net>\r\n\r\n".to_vec();
    content.extend_from_slice(&text(4096, 76));
    content.extend_from_slice(b".\r\n");
    bencher.bench_local(|| {
        session.out.clear();
        run(&mut session, now, envelope);
        session.out.clear();
        assert!(run(&mut session, now, &content) > 4000);
    });
}

fn run(session: &mut Session, now: Instant, input: &[u8]) -> usize {
    let (mut at, mut kept) = (0, 0);
    loop {
        let step = session.step(now, &input[at..]);
        match step.event {
            Event::Body { keep, .. } => kept += keep.len(),
            Event::Ask => session.answer(now, Decision::Accept),
            Event::Complete(transaction) => {
                black_box(transaction);
                session.stored(now, Ok(MessageId::NONE));
            }
            Event::NeedInput => return kept,
            other => panic!("{other:?}"),
        }
        at += step.consumed;
    }
}
