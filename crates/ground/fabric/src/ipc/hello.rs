//! What two sides say to each other before they share memory, one datagram each. Pure: bytes in, checked values out.
//!
//! ```text
//! hello    "PHFHELLO" | version min u16 | version max u16     so far it is the same in every version there will ever be
//!          | epoch u32 | flags u32 | 0 u32 | memory bytes u64 | urgent bytes u32, count u32 | bulk bytes u32, count u32
//!          | returns u32 | leases u32 | arena window bytes u32, count u32
//! welcome  "PHFWELCO"
//! refuse   "PHFREFUS" | why u32 | version min u16 | version max u16 | text, at most 256 bytes
//! ```

use crate::tli::WindowSettings;

/// The versions of the introduction spoken here, the least and the greatest.
pub(crate) const VERSIONS: (u16, u16) = (1, 1);
/// The longest datagram of an introduction.
pub(crate) const DATAGRAM_MAX: usize = 512;

const HELLO: &[u8; 8] = b"PHFHELLO";
const WELCOME: &[u8; 8] = b"PHFWELCO";
const REFUSE: &[u8; 8] = b"PHFREFUS";
const HELLO_BYTES: usize = 64;
const TEXT_MAX: usize = 256;

/// Flags that must be understood: the lower half.
const FLAGS_CRITICAL: u32 = 0xffff;

/// One datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Saying {
    Hello(Hello),
    Welcome,
    Refuse(Refusal),
    /// A hello of a peer that speaks none of our versions; its least and greatest.
    OtherVersion(u16, u16),
    /// Nothing that a peer says.
    Nonsense(&'static str),
}

/// What one side brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Stands in every window header of that side.
    pub(crate) epoch: u32,
    /// Size of its memory.
    pub(crate) memory_bytes: u64,
    pub(crate) urgent: WindowSettings,
    pub(crate) bulk: WindowSettings,
    /// Capacity of its ring of returned leases.
    pub(crate) returns: u32,
    /// Leases that it has out at most.
    pub(crate) leases: u32,
    /// Its arena; count 0: none.
    pub(crate) arena: WindowSettings,
}

/// Why a side will not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) why: Why,
    /// The refusing side's versions.
    pub(crate) versions: (u16, u16),
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Why {
    Version = 1,
    User = 2,
    Other = 3,
}

impl Hello {
    pub(crate) fn pack(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..8].copy_from_slice(HELLO);
        bytes[8..10].copy_from_slice(&VERSIONS.0.to_le_bytes());
        bytes[10..12].copy_from_slice(&VERSIONS.1.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.memory_bytes.to_le_bytes());
        let words = [
            self.urgent.bytes as u32,
            self.urgent.count as u32,
            self.bulk.bytes as u32,
            self.bulk.count as u32,
            self.returns,
            self.leases,
            self.arena.bytes as u32,
            self.arena.count as u32,
        ];
        for (place, word) in bytes[32..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn parse(bytes: &[u8]) -> Saying {
        if bytes.len() < 12 {
            return Saying::Nonsense("half a hello");
        }
        let (least, greatest) = (half(bytes, 8), half(bytes, 10));
        if least > VERSIONS.1 || greatest < VERSIONS.0 {
            return Saying::OtherVersion(least, greatest);
        }
        if bytes.len() < HELLO_BYTES {
            return Saying::Nonsense("half a hello");
        }
        if word(bytes, 16) & FLAGS_CRITICAL != 0 {
            return Saying::Nonsense("a hello with flags that must be understood and are not");
        }
        let windows = |at| WindowSettings { bytes: word(bytes, at) as usize, count: word(bytes, at + 4) as usize };
        Saying::Hello(Self {
            epoch: word(bytes, 12),
            memory_bytes: u64::from(word(bytes, 24)) | u64::from(word(bytes, 28)) << 32,
            urgent: windows(32),
            bulk: windows(40),
            returns: word(bytes, 48),
            leases: word(bytes, 52),
            arena: windows(56),
        })
    }
}

impl Refusal {
    pub(crate) fn new(why: Why, text: String) -> Self {
        Self { why, versions: VERSIONS, text }
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut bytes = REFUSE.to_vec();
        bytes.extend_from_slice(&(self.why as u32).to_le_bytes());
        bytes.extend_from_slice(&self.versions.0.to_le_bytes());
        bytes.extend_from_slice(&self.versions.1.to_le_bytes());
        bytes.extend(self.text.bytes().take(TEXT_MAX));
        bytes
    }

    fn parse(bytes: &[u8]) -> Saying {
        if bytes.len() < 16 {
            return Saying::Nonsense("half a refusal");
        }
        let why = match word(bytes, 8) {
            1 => Why::Version,
            2 => Why::User,
            _ => Why::Other,
        };
        let text = bytes[16..].iter().take(TEXT_MAX).map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '?',
        });
        Saying::Refuse(Self { why, versions: (half(bytes, 12), half(bytes, 14)), text: text.collect() })
    }
}

impl Saying {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        match bytes.first_chunk::<8>() {
            Some(HELLO) => Hello::parse(bytes),
            Some(WELCOME) => Self::Welcome,
            Some(REFUSE) => Refusal::parse(bytes),
            _ => Self::Nonsense("what is no introduction"),
        }
    }
}

/// The datagram that ends an introduction well.
pub(crate) const fn welcome() -> &'static [u8] {
    WELCOME
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            epoch: 7,
            memory_bytes: 1 << 33,
            urgent: WindowSettings { bytes: 4096, count: 8 },
            bulk: WindowSettings { bytes: 1 << 18, count: 16 },
            returns: 64,
            leases: 63,
            arena: WindowSettings { bytes: 65536, count: 5 },
        }
    }

    #[test]
    fn what_is_packed_is_parsed() {
        assert_eq!(Saying::parse(&hello().pack()), Saying::Hello(hello()));
        assert_eq!(Saying::parse(welcome()), Saying::Welcome);
        let refusal = Refusal::new(Why::User, "user 7 may not".to_owned());
        assert_eq!(Saying::parse(&refusal.pack()), Saying::Refuse(refusal));
    }

    #[test]
    fn another_version_is_known_by_its_first_bytes_alone() {
        let mut bytes = hello().pack();
        bytes[8..12].copy_from_slice(&[2, 0, 9, 0]);
        assert_eq!(Saying::parse(&bytes[..12]), Saying::OtherVersion(2, 9));
        bytes[8] = 1;
        assert_eq!(Saying::parse(&bytes), Saying::Hello(hello()), "version 1 is common to both");
    }

    #[test]
    fn no_bytes_are_too_few_and_none_are_trusted() {
        let whole = hello().pack();
        for len in 0..whole.len() {
            assert!(matches!(Saying::parse(&whole[..len]), Saying::Nonsense(_)), "{len}");
        }
        let mut flagged = whole;
        flagged[16] = 1;
        assert!(matches!(Saying::parse(&flagged), Saying::Nonsense(_)));
        let mut rude = Refusal::new(Why::Other, "x\n\u{1b}[2J".to_owned()).pack();
        rude.extend_from_slice(&[0xff; 600]);
        let Saying::Refuse(read) = Saying::parse(&rude) else { panic!("a refusal") };
        assert!(read.text.starts_with("x??[2J") && read.text.len() == TEXT_MAX);
    }
}
