//! An answer of a name server.
#![no_main]
use policy::DnsName;
use resolver::{Question, RecordKind, parse_response};
libfuzzer_sys::fuzz_target!(|packet: &[u8]| {
    let name = DnsName::parse("example.org").expect("a plain name");
    let _ = parse_response(packet, 7, &Question::new(&name, RecordKind::Mx));
});
