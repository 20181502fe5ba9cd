//! The stream decoder against arbitrary bytes and arbitrary cuts.

use fabric::tli::TxWindow;
use fabric::wire::{Kind, MessageWord};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::control::LaneProgress;

const EPOCH: u32 = 5;
const GRANTS: [Grant; 2] = [Grant { bytes: 40_000, windows: 3 }, Grant { bytes: 1024, windows: 2 }];

fn assembler() -> Assembler {
    Assembler::new(Terms { grants: GRANTS, checksums: Checksums::Crc32c, epoch: EPOCH, token: 9 })
}

/// A frame of a stream, as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Frame {
    Window { lane: usize, bytes: usize, fill: u8 },
    Control(u64),
}

fn frame() -> impl Strategy<Value = Frame> {
    let window = |lane: usize, most: usize| {
        (24..most, any::<u8>()).prop_map(move |(bytes, fill)| Frame::Window { lane, bytes: bytes & !7, fill })
    };
    prop_oneof![window(0, 39_000), window(0, 300), window(1, 900), any::<u64>().prop_map(Frame::Control)]
}

fn encode(frames: &[Frame]) -> Vec<u8> {
    let (mut bytes, mut sequences) = (Vec::new(), [0, 0]);
    for frame in frames {
        match *frame {
            Frame::Window { lane, bytes: length, fill } => {
                let mut window = TxWindow::private(GRANTS[lane].bytes, 0);
                window.body_mut(length).fill(fill);
                let word = MessageWord { length: length as u32, frames: 1, kind: Kind::Data, flags: 0 };
                window.commit(length, word.pack());
                sequences[lane] += 1;
                bytes.extend(window.shipped_with(lane as u8, sequences[lane], EPOCH, Some(crc32c::crc32c)));
            }
            Frame::Control(read) => {
                let progress = [LaneProgress { disposed: 0, read }, LaneProgress::default()];
                bytes.extend(Control { kind: ControlKind::Progress, progress, epoch: EPOCH }.pack());
            }
        }
    }
    bytes
}

/// Feeds `bytes` in pieces, takes each window out and back at once, and says what came.
fn feed(assembler: &mut Assembler, mut bytes: &[u8], pieces: &[usize]) -> (Vec<Frame>, Result<(), Violation>) {
    let mut frames = Vec::new();
    let mut pieces = pieces.iter().copied().cycle();
    while !bytes.is_empty() {
        let space = assembler.space_mut();
        assert!(!space.is_empty(), "there is always room");
        let count = pieces.next().unwrap_or(usize::MAX).clamp(1, space.len()).min(bytes.len());
        space[..count].copy_from_slice(&bytes[..count]);
        bytes = &bytes[count..];
        let took = assembler.took(count, |_, control| {
            frames.push(Frame::Control(control.progress[0].read));
            Ok(())
        });
        for (lane, grant) in GRANTS.iter().enumerate() {
            let mut out = 0;
            while let Some(window) = assembler.pop(lane) {
                out += 1;
                assert!(out <= grant.windows && window.room() + WINDOW_HEADER <= grant.bytes, "bounded");
                let (bytes, fill) = (window.room(), window.body(window.room()).first().copied().unwrap_or(0));
                assert!(window.body(bytes).iter().all(|byte| *byte == fill), "the bytes that were sent");
                frames.push(Frame::Window { lane, bytes, fill });
                assembler.dispose(lane, window);
            }
        }
        if took.is_err() {
            return (frames, took);
        }
    }
    (frames, Ok(()))
}

/// Of each kind in order; across kinds the order within one piece is not seen from outside.
fn by_kind(frames: &[Frame]) -> [Vec<Frame>; 3] {
    [0, 1, 2].map(|kind| {
        let of = |frame: &&Frame| kind == if let Frame::Window { lane, .. } = frame { *lane } else { 2 };
        frames.iter().filter(of).cloned().collect()
    })
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(1usize..40, 1..20), vec(1usize..20_000, 1..20), Just(vec![usize::MAX])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_was_sent_comes_out_wherever_the_stream_is_cut(frames in vec(frame(), 0..12), pieces in pieces()) {
        let bytes = encode(&frames);
        // No more than the credit in one piece, or the peer would be in breach.
        let pieces: Vec<_> = pieces.iter().map(|piece| (*piece).min(1500)).collect();
        let short: Vec<_> = frames.iter().filter(|frame| !matches!(frame, Frame::Window { bytes, .. } if *bytes < 700)).cloned().collect();
        let (frames, bytes) = if pieces.contains(&1500) { (short.clone(), encode(&short)) } else { (frames, bytes) };
        let (found, result) = feed(&mut assembler(), &bytes, &pieces);
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(by_kind(&found), by_kind(&frames));
    }

    #[test]
    fn damage_ends_the_stream_and_nothing_damaged_comes_out(
        frames in vec(frame(), 1..6), at in any::<prop::sample::Index>(), flip in 1u8.., pieces in pieces()
    ) {
        let mut bytes = encode(&frames);
        let at = at.index(bytes.len());
        // The header is not under the checksum; a flag of bit 2 is unknown, one of bit 1 would only change the lane.
        bytes[at] ^= flip | 2;
        let (found, _) = feed(&mut assembler(), &bytes, &pieces);
        for (found, sent) in by_kind(&found).iter().zip(by_kind(&frames)) {
            prop_assert!(found.len() <= sent.len() && *found == sent[..found.len()], "{found:?} of {sent:?}");
        }
    }

    #[test]
    fn arbitrary_bytes_never_make_it_panic(bytes in vec(any::<u8>(), 0..3000), pieces in pieces()) {
        let _ = feed(&mut assembler(), &bytes, &pieces);
    }

    #[test]
    fn arbitrary_headers_never_make_it_panic(
        words in vec((any::<bool>(), 0u8..4, 0u32..50_000, 0u64..4, any::<u32>()), 0..40), pieces in pieces()
    ) {
        let mut bytes = Vec::new();
        for (control, flags, used, sequence, noise) in words {
            let header = WindowHeader { flags, used, messages: noise, sequence, crc32c: 0, epoch: EPOCH };
            let mut packed = header.pack().to_vec();
            if control {
                packed[..4].copy_from_slice(&CONTROL_MAGIC.to_le_bytes());
            }
            packed.resize(packed.len() + noise as usize % 100, flags);
            bytes.extend(packed);
        }
        let _ = feed(&mut assembler(), &bytes, &pieces);
    }
}

#[test]
fn a_peer_that_is_never_given_back_its_windows_fills_no_more_than_its_credit() {
    let mut assembler = assembler();
    let bytes = encode(&vec![Frame::Window { lane: 0, bytes: 104, fill: 1 }; 4]);
    let space = assembler.space_mut();
    space[..bytes.len()].copy_from_slice(&bytes);
    let took = assembler.took(bytes.len(), |_, _| Ok(()));
    assert_eq!(took, Err(Violation::Link("a window for which it had no credit")));
    assert_eq!(std::iter::from_fn(|| assembler.pop(0)).count(), 3, "those before are whole");
}
