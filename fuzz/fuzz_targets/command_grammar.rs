//! One command line of a client.
#![no_main]
libfuzzer_sys::fuzz_target!(|line: &[u8]| smtp::server::exercise_grammar(line));
