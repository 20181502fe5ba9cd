//! A file of addresses that get no mail, as CSV and as JSON lines: what is read is exported and read to the same.
#![no_main]
use suppression::{Defaults, Format, Label, Lines, Reason, Scope, Second, write_json_row};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let defaults = Defaults {
        reason: Reason::Manual,
        source: Label::new("fuzz").expect("a short name"),
        scope: Scope::default(),
        added: Second(0),
    };
    for format in [Format::Csv, Format::JsonLines] {
        let mut lines = Lines::new(text, format, defaults.clone());
        while let Some(line) = lines.next_line().expect("a slice can be read") {
            let Ok(entry) = line.entry else { continue };
            let mut row = Vec::new();
            write_json_row(&mut row, &entry).expect("a vector takes everything");
            let again = Lines::new(&row[..], Format::JsonLines, defaults.clone()).next_line();
            assert_eq!(again.expect("a slice can be read").map(|line| line.entry), Some(Ok(entry)));
        }
    }
});
