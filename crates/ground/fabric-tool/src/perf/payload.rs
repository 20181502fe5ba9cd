//! Payloads: every byte is written by the sender, and every byte is read and compared by the receiver.

/// Writes `number` over and over, in words of eight bytes.
pub(super) fn write(place: &mut [u8], number: u64) {
    let bytes = number.to_le_bytes();
    let mut words = place.chunks_exact_mut(8);
    for word in &mut words {
        word.copy_from_slice(&bytes);
    }
    let rest = words.into_remainder();
    let len = rest.len();
    rest.copy_from_slice(&bytes[..len]);
}

/// Whether these are the bytes that [`write`] writes. All are read, in eight columns that do not wait for one another.
pub(super) fn is(bytes: &[u8], number: u64) -> bool {
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("a chunk of eight"));
    let mut columns = [0u64; 8];
    let mut blocks = bytes.chunks_exact(64);
    for block in &mut blocks {
        for (column, chunk) in columns.iter_mut().zip(block.chunks_exact(8)) {
            *column |= word(chunk) ^ number;
        }
    }
    let mut words = blocks.remainder().chunks_exact(8);
    for chunk in &mut words {
        columns[0] |= word(chunk) ^ number;
    }
    let rest = words.remainder();
    columns.iter().all(|column| *column == 0) && rest == &number.to_le_bytes()[..rest.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts() {
        for len in [0, 1, 7, 8, 9, 63, 64, 65, 200, 4096] {
            let mut bytes = vec![0xee; len];
            write(&mut bytes, 0x0102_0304_0506_0708);
            assert!(is(&bytes, 0x0102_0304_0506_0708), "{len}");
            for at in 0..len {
                bytes[at] ^= 1;
                assert!(!is(&bytes, 0x0102_0304_0506_0708), "byte {at} of {len}");
                bytes[at] ^= 1;
            }
        }
    }
}
