//! The durable metadata of a message: what reads back is written the same.
#![no_main]
use message::{MessageId, decode_meta, encode_meta};
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(decoded) = decode_meta(MessageId::NONE, bytes) {
        let mut again = Vec::new();
        encode_meta(&decoded.message, &mut again);
        let second = decode_meta(MessageId::NONE, &again).expect("what was written reads back");
        assert_eq!(second.message.envelope, decoded.message.envelope);
        assert_eq!(second.message.reception, decoded.message.reception);
    }
});
