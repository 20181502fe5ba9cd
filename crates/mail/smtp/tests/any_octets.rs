//! Any octets in any parts: what the fuzz targets do, with what proptest comes up with.

use proptest::prelude::*;
use smtp::server::{exercise_grammar, exercise_session};

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        &b"EHLO x\r\n"[..],
        b"LHLO x\r\n",
        b"HELO x\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"MAIL FROM:<> BODY=BINARYMIME SIZE=9\r\n",
        b"RCPT TO:<c@d>\r\n",
        b"RCPT TO:<postmaster> NOTIFY=NEVER\r\n",
        b"DATA\r\n",
        b"BDAT 5\r\n",
        b"BDAT 3 LAST\r\n",
        b"BDAT 9999\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"QUIT\r\n",
        b".\r\n",
        b"\r\n.\r\n",
        b"..x\r\n",
        b"\r",
        b"\n",
        b".",
        b"Received: x\r\n",
        b"\r\r\n.\r\n",
    ]);
    prop_oneof![8 => known.prop_map(<[u8]>::to_vec), 1 => prop::collection::vec(any::<u8>(), 0..20)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_session_gets_on(size in 1u8..40, choice in any::<u8>(), parts in prop::collection::vec(fragment(), 0..40)) {
        let mut input = vec![size, choice];
        parts.iter().for_each(|part| input.extend_from_slice(part));
        let messages = exercise_session(&input);
        // The same octets in one part come to the same.
        if choice & 4 == 0 && input.len() < 256 {
            input[0] = 255;
            prop_assert_eq!(exercise_session(&input), messages);
        }
    }

    #[test]
    fn addresses_can_be_written_down(line in "(MAIL FROM|RCPT TO):<(@[a-z.]{1,5}:)?[ -~ü\\x00-\\x1f]{0,12}@?[a-z.\\[\\]0-9:-]{0,9}>( [A-Z=]{0,8})?") {
        exercise_grammar(line.as_bytes());
    }
}
