//! Replies of a next hop.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    for reply in smtp::reply::read_all(input).0 {
        assert!(!reply.text.contains([char::from(0), char::from(13)]));
    }
});
