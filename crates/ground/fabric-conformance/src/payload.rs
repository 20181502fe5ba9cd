//! Messages whose content follows from a number, so that a receiver knows what must be in them.

use fabric::Message;
use fabric::channel::MessageView;

use crate::failure::{Failure, Outcome};

/// A small generator of pseudo-random numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Begins at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number under `end`; 0 for 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.draw() % end }
    }
}

/// `len` bytes that follow from `number`.
pub fn bytes(number: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(number ^ 0x5bd1_e995);
    let mut bytes = vec![0; len];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.draw().to_le_bytes()[..chunk.len()]);
    }
    bytes
}

/// A message of one frame: `number`, then `len` bytes that follow from it.
pub fn numbered(number: u64, len: usize) -> Message {
    let mut frame = number.to_le_bytes().to_vec();
    frame.extend_from_slice(&bytes(number, len));
    Message::copied(&frame)
}

/// The number of a [`numbered`] message.
///
/// # Errors
/// When any byte is another.
pub fn number_of(frame: &[u8]) -> Outcome<u64> {
    let (number, rest) = frame
        .split_first_chunk::<8>()
        .ok_or_else(|| Failure::new(format!("a message of {} bytes, too short for its number", frame.len())))?;
    let number = u64::from_le_bytes(*number);
    ensure!(rest == bytes(number, rest.len()), "message {number} with {} bytes has others than were sent", rest.len());
    Ok(number)
}

/// A message of any shape that a seed and a number make: what is to be sent, and what is to be received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Schema and bytes of each frame.
    pub frames: Vec<(u16, Vec<u8>)>,
    /// Correlation.
    pub correlation: u64,
    /// Time stamp and tag.
    pub extension: Option<(u64, u64)>,
}

impl Shape {
    /// Of at most `bytes_max` bytes, encoded.
    pub fn random(seed: u64, number: u64, bytes_max: usize) -> Self {
        let mut random = Random::new(seed ^ number.wrapping_mul(0x0123_4567_89ab_cdef));
        let count = match random.below(4) {
            0 => random.below(65),
            1 => 0,
            _ => 1 + random.below(4),
        };
        let extension = (random.below(3) == 0).then(|| (random.draw(), random.draw()));
        let mut left = bytes_max.saturating_sub(16 + if extension.is_some() { 16 } else { 0 });
        let mut frames = Vec::new();
        for index in 0..count {
            let Some(room) = left.checked_sub(8) else { break };
            let len = match random.below(6) {
                // All that is left, now and then.
                0 if index + 1 == count => room & !7,
                1 => 0,
                2 => random.below(room as u64 + 1) as usize & !7,
                _ => random.below(300.min(room as u64 + 1)) as usize,
            };
            let len = len.min(room & !7);
            left = room - len.next_multiple_of(8);
            frames.push((random.draw() as u16, bytes(random.draw(), len)));
        }
        Self { frames, correlation: random.draw(), extension }
    }

    /// The message, its frames put in by turns of all ways.
    pub fn message(&self) -> Message {
        let mut message = Message::of_kind(fabric::wire::Kind::Data, self.correlation);
        for (index, (schema, bytes)) in self.frames.iter().enumerate() {
            match index % 3 {
                0 => message.push_copy(bytes),
                1 => message.push_external(bytes.clone()),
                _ => message.push_shared(fabric::Slice::copy_from(bytes)),
            }
            message = message.with_schema(*schema);
        }
        match self.extension {
            Some((timestamp, tag)) => message.with_timestamp(timestamp).with_tag(tag),
            None => message,
        }
    }

    /// What was received.
    pub fn of(view: &MessageView<'_>) -> Self {
        let frames = view.each_frame().map(|(schema, frame)| (schema, frame.to_vec())).collect();
        Self { frames, correlation: view.correlation(), extension: view.extension() }
    }
}
