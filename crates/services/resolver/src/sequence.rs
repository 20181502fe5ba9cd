//! Numbers that nobody outside can guess: query ids (RFC 5452 §9.2). SipHash-2-4 of a counter under a secret key; the key
//! comes from outside, so a simulation repeats itself and a server takes it from the system's random source.

/// The secret behind a resolver's query ids: 128 bits that must come from the system's random source in production.
#[derive(Clone, Copy)]
pub struct SequenceKey(pub [u64; 2]);

/// An endless sequence of numbers under a key.
pub(crate) struct Sequence {
    key: SequenceKey,
    drawn: u64,
}

impl Sequence {
    pub(crate) const fn new(key: SequenceKey) -> Self {
        Self { key, drawn: 0 }
    }

    /// The next number.
    pub(crate) fn draw(&mut self) -> u64 {
        let number = siphash(self.key.0, self.drawn);
        self.drawn += 1;
        number
    }

    /// A sequence of its own for one task, so that tasks need no lock to draw.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(SequenceKey([self.draw(), self.draw()]))
    }
}

/// SipHash-2-4 of eight octets, little endian (Aumasson and Bernstein, 2012).
fn siphash(key: [u64; 2], message: u64) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    for word in [message, 8 << 56] {
        v[3] ^= word;
        rounds(&mut v, 2);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    rounds(&mut v, 4);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn rounds(v: &mut [u64; 4], count: usize) {
    for _ in 0..count {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authors_vector_holds() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(siphash(key, 0x0706_0504_0302_0100), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn forks_differ_and_repeat_with_the_key() {
        let draws = || {
            let mut parent = Sequence::new(SequenceKey([1, 2]));
            let (mut first, mut second) = (parent.fork(), parent.fork());
            (first.draw(), second.draw(), first.draw())
        };
        let (a, b, c) = draws();
        assert!(a != b && a != c && b != c);
        assert_eq!(draws(), (a, b, c));
    }
}
