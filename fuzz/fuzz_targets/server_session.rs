//! A whole session of a client, any octets in any portions.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    smtp::server::exercise_session(input);
});
