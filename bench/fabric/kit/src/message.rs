//! What a message holds, and the two traits that a row implements for its library.
//!
//! The first word of a payload is its sequence number with two marks in the highest bits: where the measurement starts and where it ends.

/// Sends messages through one library.
pub trait Sender {
    /// Sends one message of `len` bytes. `fill` writes all of them; it is called once, on the memory that travels if the library lends it.
    fn send(&mut self, len: usize, fill: impl FnOnce(&mut [u8]));

    /// Nothing follows for now: what the library holds back must go.
    fn flush(&mut self) {}
}

/// Receives messages through one library.
pub trait Receiver {
    /// The sender exists and waits: libraries that bind late do it here.
    fn prepare(&mut self) {}

    /// Waits for one message and lends its bytes to `read`.
    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> T;
}

/// Set in the first word of the first message that counts.
pub const START: u64 = 1 << 62;
/// Set in the first word of the last message.
pub const LAST: u64 = 1 << 63;
const SEQUENCE: u64 = START - 1;

/// A warm buffer from which messages are written.
///
/// Its first word is the one that is expected next and was written a message ago: a word written just before the copy would stall it, and every copy of
/// the copy, at a place that differs from library to library.
pub struct Payload {
    source: Vec<u8>,
    next: u64,
}

impl Payload {
    /// Payloads of up to `size` bytes.
    pub fn new(size: usize) -> Payload {
        assert!(size >= 8, "a payload holds at least its sequence number");
        let mut payload = Payload { source: vec![0x5a; size], next: 0 };
        payload.expect(0);
        payload
    }

    /// Writes every byte of `target`, `word` in front.
    #[inline(always)]
    pub fn fill(&mut self, target: &mut [u8], word: u64) {
        if word != self.next {
            self.expect(word);
        }
        target.copy_from_slice(&self.source[..target.len()]);
        self.expect(word.wrapping_add(1));
    }

    #[inline(always)]
    fn expect(&mut self, word: u64) {
        self.next = word;
        self.source[..8].copy_from_slice(&word.to_le_bytes());
    }
}

/// Reads every byte of a message; returns its first word.
#[inline(always)]
pub fn read(bytes: &[u8]) -> u64 {
    std::hint::black_box(sum(bytes));
    u64::from_le_bytes(bytes[..8].try_into().expect("a slice of eight"))
}

/// The sequence number of a first word.
#[inline(always)]
pub fn sequence(word: u64) -> u64 {
    word & SEQUENCE
}

/// A sum of all bytes, eight at a time, in eight columns so that the additions do not wait for one another.
#[inline(always)]
fn sum(bytes: &[u8]) -> u64 {
    let mut columns = [0u64; 8];
    let mut blocks = bytes.chunks_exact(64);
    for block in &mut blocks {
        for (column, word) in columns.iter_mut().zip(block.chunks_exact(8)) {
            *column = column.wrapping_add(u64::from_le_bytes(word.try_into().expect("a chunk of eight")));
        }
    }
    let rest = blocks.remainder().iter().fold(0u64, |sum, byte| sum.wrapping_add(u64::from(*byte)));
    columns.iter().fold(rest, |sum, column| sum.wrapping_add(*column))
}

#[cfg(test)]
mod tests {
    use super::{LAST, Payload, read, sequence, sum};

    #[test]
    fn every_byte_counts() {
        let mut bytes = vec![0u8; 200];
        let nothing = sum(&bytes);
        for place in 0..bytes.len() {
            bytes[place] = 1;
            assert_ne!(sum(&bytes), nothing, "byte {place}");
            bytes[place] = 0;
        }
    }

    #[test]
    fn marks_do_not_touch_the_sequence() {
        let mut bytes = [0u8; 16];
        Payload::new(16).fill(&mut bytes, 7 | LAST);
        let word = read(&bytes);
        assert_eq!((sequence(word), word & LAST), (7, LAST));
    }
}
