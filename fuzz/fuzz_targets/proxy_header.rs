//! The first octets of a connection through a load balancer.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = smtp::proxy::parse(input);
});
