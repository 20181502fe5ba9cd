//! A file of shaping rules.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = shaping::Rules::parse(&[shaping::Source { name: "fuzz", text }]);
});
