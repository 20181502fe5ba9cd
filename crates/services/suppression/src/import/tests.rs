//! Good lines, bad lines, and lines that are no lines.

use super::*;
use proptest::prelude::*;

fn defaults() -> Defaults {
    Defaults {
        reason: Reason::Manual,
        source: Label::new("import").unwrap(),
        scope: Scope::default(),
        added: Second(100),
    }
}

/// Line numbers with `address reason source` or what is wrong.
fn read(format: Format, text: &[u8]) -> Vec<(u64, String)> {
    let mut lines = Lines::new(text, format, defaults());
    std::iter::from_fn(|| lines.next_line().unwrap())
        .map(|line| {
            let said = match line.entry {
                Ok(entry) => format!("{} {} {}", entry.key, entry.reason, entry.source),
                Err(wrong) => wrong.to_string(),
            };
            (line.number, said)
        })
        .collect()
}

#[test]
fn a_plain_list_of_addresses() {
    let text = b"\xef\xbb\xbfA@example.org\r\n\n  b@example.org  \nb\n";
    assert_eq!(
        read(Format::Csv, text),
        [
            (1, "a@example.org manual import".to_owned()),
            (3, "b@example.org manual import".to_owned()),
            (4, "address has no domain; write local@domain".to_owned()),
        ]
    );
}

#[test]
fn columns_by_name_in_any_order() {
    let text = b"Reason,address,expires\nbounce:10,a@b.example,2030-01-01T00:00:00Z\ncomplaint,\"\"\"x y\"\"@b.example\",\n,c@b.example\nspam,d@b.example,\n";
    let found = read(Format::Csv, text);
    assert_eq!(found[0], (2, "a@b.example bounce:10 import".to_owned()));
    assert_eq!(found[1], (3, "\"x y\"@b.example complaint import".to_owned()));
    assert_eq!(found[2], (4, "c@b.example manual import".to_owned()));
    assert!(found[3].0 == 5 && found[3].1.starts_with("`spam` is no reason"), "{found:?}");
}

#[test]
fn a_first_line_that_names_nothing() {
    let found = read(Format::Csv, b"email,reason\na@b.example\n");
    assert_eq!(
        found[0].1,
        "no column is called `email`; there are address, tenant, kind, reason, source, added, expires"
    );
    assert_eq!(found[1], (2, "a@b.example manual import".to_owned()));
    assert_eq!(read(Format::Csv, b"reason\n")[0].1, "no column is called `address`");
    assert_eq!(read(Format::Csv, b"address,address\n")[0].1, "column `address` is there twice");
}

#[test]
fn bad_lines_spoil_themselves_only() {
    let mut text = b"a@b.example,\"never closed\nb@b.example\n\xff@b.example\n".to_vec();
    text.extend(vec![b'x'; 3 * LINE_MAX + 7]);
    text.extend(b"\nc@b.example,,,,,,,too many\nd@b.example,,never\ne@b.example,t\x07\nf@b.example");
    let found = read(Format::Csv, &text);
    let said: Vec<(u64, &str)> = found.iter().map(|(number, said)| (*number, said.as_str())).collect();
    assert_eq!(
        said,
        [
            (1, "a quote is not closed"),
            (2, "b@b.example manual import"),
            (3, "line is not UTF-8"),
            (4, "line is longer than 8192 octets"),
            (5, "8 fields where there are 7 columns"),
            (6, "`never` is no kind of mail; write all, transactional or non_transactional"),
            (7, "tenant: name has a control character"),
            (8, "f@b.example manual import"),
        ]
    );
}

#[test]
fn json_objects() {
    let text = br#"{"address":"A@b.example","reason":"unsubscribe","added":5,"expires":"2030-01-01T00:00:00Z","kind":"transactional"}
{"address":"b@b.example","source":"x\u0041"}
{"address":"b@b.example","spam":1}
{"address":5}
[1]
{"reason":"manual"}
{"address":"b@b.example","added":99999999999}
"#;
    let found = read(Format::JsonLines, text);
    assert_eq!(found[0], (1, "a@b.example unsubscribe import".to_owned()));
    assert_eq!(found[1], (2, "b@b.example manual xA".to_owned()));
    assert!(found[2].1.contains("unknown field `spam`"), "{found:?}");
    assert!(found[3].1.starts_with("no such object") && found[4].1.starts_with("no such object"));
    assert_eq!(found[5].1, "no address");
    assert!(found[6].1.starts_with("`99999999999` is no time"), "{found:?}");
}

/// Lines with more of what matters than random octets have.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => "[a-zA-Z0-9.]{1,8}".prop_map(String::into_bytes),
        2 => "[\"\\\\,@ \\[\\]<>{}:İK\u{a0}ü]{1,4}".prop_map(String::into_bytes),
        2 => proptest::sample::select(vec!["@b.example", "\"a b\"@c.example", "{\"address\":\"", "\"}", "bounce:7", "\n", "\r\n", "\"\""])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..5),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Whatever is read, what comes of it is exported and imported to the same entry.
    #[test]
    fn any_octets_are_judged_and_good_lines_come_back(text in lines()) {
        for format in [Format::Csv, Format::JsonLines] {
            let mut lines = Lines::new(&text[..], format, defaults());
            while let Some(line) = lines.next_line().unwrap() {
                let Ok(entry) = line.entry else { continue };
                let (mut csv, mut json) = (Vec::new(), Vec::new());
                crate::write_csv_header(&mut csv).unwrap();
                crate::write_csv_row(&mut csv, &entry).unwrap();
                crate::write_json_row(&mut json, &entry).unwrap();
                for (octets, format) in [(csv, Format::Csv), (json, Format::JsonLines)] {
                    let again = Lines::new(&octets[..], format, defaults()).next_line().unwrap().unwrap();
                    prop_assert_eq!(again.entry.as_ref(), Ok(&entry), "{:?}", String::from_utf8_lossy(&octets));
                }
            }
        }
    }
}
