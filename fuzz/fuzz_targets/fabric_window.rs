//! A window of the fabric, as a peer may fill it: every length is checked before it is used, by the quick look as by the close one.
#![no_main]
use fabric::wire::{Descriptor, END, Frames, MessageWord, RawFrame, WINDOW_HEADER, WindowHeader};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Some(header) = input.first_chunk::<WINDOW_HEADER>()
        && let Ok(parsed) = WindowHeader::parse(header, input.len())
    {
        assert_eq!(WindowHeader::parse(&parsed.pack(), input.len()), Ok(parsed));
    }
    let mut rest = input.get(WINDOW_HEADER..).unwrap_or(&[]);
    while let Some(word) = rest.first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        if word == 0 || word == END {
            assert!(MessageWord::parse_quickly(word, rest.len()).is_none());
            break;
        }
        let parsed = MessageWord::parse(word, rest.len());
        assert_eq!(MessageWord::parse_quickly(word, rest.len()), parsed.ok());
        let Ok(message) = parsed else { break };
        assert_eq!(message.pack(), word);
        let body = &rest[8..message.length as usize];
        rest = &rest[message.length as usize..];
        let sole = message.sole_frame(body);
        let mut frames = Frames::new(message, body);
        let (mut all, mut right) = (Vec::new(), true);
        loop {
            match frames.advance() {
                Ok(Some(frame)) => all.push(frame),
                Ok(None) => break,
                Err(_) => {
                    right = false;
                    break;
                }
            }
        }
        assert!(all.len() <= usize::from(message.frames) && (!right || all.len() == usize::from(message.frames)));
        for frame in &all {
            match frame {
                RawFrame::Bytes { bytes, .. } => assert!(bytes.len() <= body.len()),
                RawFrame::Lent { descriptor, .. } => assert_eq!(Descriptor::parse(&descriptor.pack()), *descriptor),
            }
        }
        // What the quick look finds is what the close look finds.
        if let Some(sole) = sole {
            assert!(right && matches!(all[..], [RawFrame::Bytes { bytes, .. }] if bytes == sole));
        }
    }
});
