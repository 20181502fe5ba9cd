//! Against a plain model, and at every cut.

use super::*;
use proptest::prelude::*;

/// What the model and the scanner are compared by.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    content: Vec<u8>,
    /// Octets up to and with the end.
    end: Option<usize>,
    findings: Findings,
    trap: Trap,
}

/// Feeds `input` in parts of the given sizes (then the rest) until the end.
fn scan(input: &[u8], cuts: &[usize], line_endings: LineEndings) -> Outcome {
    let mut scanner = DataScanner::new(Framing::Dots, line_endings);
    let mut content = Vec::new();
    let mut at = 0;
    let mut sizes = cuts.iter().copied().chain(std::iter::repeat(usize::MAX));
    let mut end = None;
    'input: while at < input.len() {
        let size = sizes.next().unwrap_or(usize::MAX).clamp(1, input.len() - at);
        let mut part = &input[at..at + size];
        while !part.is_empty() {
            let piece = scanner.scan(part);
            assert!(piece.consumed > 0 || !piece.insert.is_empty(), "no progress");
            content.extend_from_slice(&part[piece.keep]);
            content.extend_from_slice(piece.insert);
            at += piece.consumed;
            part = &part[piece.consumed..];
            if piece.end {
                end = Some(at);
                break 'input;
            }
        }
    }
    Outcome { content, end, findings: scanner.findings(), trap: scanner.trap() }
}

/// RFC 5321 by the letter: lines end with CRLF, the end is a line with a dot, a leading dot goes.
fn model(input: &[u8]) -> (Vec<u8>, Option<usize>, Trap) {
    let starts = |i: usize| i == 0 || (i >= 2 && &input[i - 2..i] == b"\r\n");
    let dot = (0..input.len()).find(|i| starts(*i) && input[*i..].starts_with(b".\r\n"));
    let text = &input[..dot.unwrap_or(input.len())];
    let mut content = Vec::new();
    for (i, octet) in text.iter().enumerate() {
        if !(starts(i) && *octet == b'.') {
            content.push(*octet);
        }
    }
    let trap = if dot.is_some() && text.ends_with(b"\r\r\n") { Trap::Sprung } else { Trap::None };
    (content, dot.map(|i| i + 3), trap)
}

fn has_bare(content: &[u8]) -> bool {
    (0..content.len()).any(|i| match content[i] {
        b'\r' => content.get(i + 1).is_some_and(|next| *next != b'\n'),
        b'\n' => i == 0 || content[i - 1] != b'\r',
        _ => false,
    })
}

fn check(input: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let (content, end, trap) = model(input);
    let whole = &input[..end.unwrap_or(input.len())];
    let reject = scan(input, cuts, LineEndings::Reject);
    prop_assert_eq!(reject.end, end);
    prop_assert_eq!(reject.trap == Trap::Sprung && end.is_some(), trap == Trap::Sprung);
    // A CR or a dot at the very end of an unfinished text is not judged yet.
    if end.is_some() {
        prop_assert_eq!(reject.findings.bare, has_bare(whole));
        if !reject.findings.bare {
            prop_assert_eq!(&reject.content, &content);
            prop_assert_eq!(reject.findings.nul, content.contains(&0));
            prop_assert_eq!(reject.findings.eight_bit, !content.is_ascii());
            let lines: Vec<_> = content.split(|octet| *octet == b'\n').map(|line| line.trim_ascii_end()).collect();
            prop_assert_eq!(reject.findings.dots, lines.iter().any(|line| line.starts_with(b".")));
        }
    }
    let fix = scan(input, cuts, LineEndings::Fix);
    prop_assert_eq!(fix.end, end);
    prop_assert_eq!(fix.trap == Trap::Sprung && end.is_some(), trap == Trap::Sprung);
    prop_assert_eq!(fix.findings.size, fix.content.len() as u64);
    prop_assert!(!has_bare(&fix.content), "{}", fix.content.escape_ascii());
    let once = scan(input, &[], LineEndings::Fix);
    prop_assert_eq!(once, fix);
    Ok(())
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![4 => Just(b'\r'), 4 => Just(b'\n'), 4 => Just(b'.'), 3 => Just(b'a'), 1 => Just(0), 1 => Just(0xE4)];
    proptest::collection::vec(octet, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_split_agrees_with_the_model(input in octets(), cuts in proptest::collection::vec(1usize..6, 0..30)) {
        check(&input, &cuts)?;
    }

    #[test]
    fn with_an_end(mut input in octets(), cuts in proptest::collection::vec(1usize..6, 0..30)) {
        input.extend_from_slice(b"\r\n.\r\nNOOP\r\n");
        check(&input, &cuts)?;
    }
}

/// Text, form, text: the form must not end the message.
#[test]
fn forms_that_are_no_end() {
    let forms: [&[u8]; 17] = [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\r",
        b"\r.\n",
        b"\n.\r",
        b"\n\n.\n\n",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
        b"\n\r.\n\r",
        b"\r\n .\r\n",
        b"\r\n. \r\n",
        b"\x85.\x85",
    ];
    for form in forms {
        let mut input = b"text".to_vec();
        input.extend_from_slice(form);
        input.extend_from_slice(b"MAIL FROM:<smuggled@example>\r\n");
        let unfinished = input.len();
        input.extend_from_slice(b"more\r\n.\r\nNOOP\r\n");
        for cut in 1..8 {
            for line_endings in [LineEndings::Reject, LineEndings::Fix] {
                let outcome = scan(&input, &[cut; 64], line_endings);
                assert_eq!(outcome.end, Some(unfinished + 9), "{} at {cut}", form.escape_ascii());
            }
        }
    }
}

#[test]
fn the_trap_is_told() {
    assert_eq!(scan(b"a\r\r\n.\r\n", &[], LineEndings::Reject).trap, Trap::Sprung);
    assert_eq!(scan(b"a\r\r\n\r\n.\r\n", &[], LineEndings::Reject).trap, Trap::None);
    assert_eq!(scan(b"a\r\r\n.\r\n", &[1; 9], LineEndings::Fix).trap, Trap::Sprung);
}

#[test]
fn text_is_kept_in_one_piece() {
    let mut scanner = DataScanner::new(Framing::Dots, LineEndings::Reject);
    let input = b"one\r\ntwo\r\n\r\nthree\r\n.\r\nNOOP\r\n";
    let piece = scanner.scan(input);
    assert_eq!(piece, Piece { keep: 0..19, insert: b"", consumed: 22, end: true });
    assert_eq!(scanner.findings(), Findings { size: 19, longest_line: 5, ..Findings::default() });
}

#[test]
fn counted_content_has_no_dots_and_no_end() {
    let mut scanner = DataScanner::new(Framing::Counted, LineEndings::Reject);
    let input = b".\r\n..\r\n.\r\nx\r";
    assert_eq!(scanner.scan(input).keep, 0..input.len());
    assert!(scanner.findings().dots && !scanner.findings().bare);
    assert_eq!(scanner.finish(), b"");
    assert!(scanner.findings().bare);
    let mut scanner = DataScanner::new(Framing::Counted, LineEndings::Keep);
    assert_eq!(scanner.scan(b"\r\r\n\n\0.\r").keep, 0..7);
    assert_eq!(scanner.finish(), b"");
    assert!(!scanner.findings().bare && scanner.findings().nul);
}
