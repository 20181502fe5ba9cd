//! A segment of the journal.
#![no_main]
use spool::record;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = record::parse(bytes, None) {
        let _ = record.body();
    }
    let _ = record::scan(bytes, 0, 1).count();
});
