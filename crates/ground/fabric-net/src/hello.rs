//! The introduction: what both sides say first, and what they agree on. It is pure; connectors send and read the bytes.
//!
//! ```text
//! hello    magic "PHH1" u32 | bytes u16 | version min u16 | version max u16 | window format u8 | flags u8 | epoch u32          16 bytes
//!          bulk: window bytes u32, windows u32 | urgent: window bytes u32, windows u32                                         16
//!          accepted: window bytes u32, windows u32 | bytes out at once, in each lane u64                                       16
//!          0, 12 bytes | CRC-32C of all before u32                                                                             16
//! ```
//!
//! Who connects speaks first; who listens answers when it takes the visitor, so that a visitor that was not taken never believes that it was.
//! Both then compute the same [`Agreement`] from the two hellos. The first 10 bytes stay as they are in every version, so that both sides can name
//! the versions of both.

use std::fmt;

use fabric::tli::{LinkSettings, WindowSettings};
use fabric::wire;

/// Bytes of a hello.
pub const HELLO_BYTES: usize = 64;
/// `"PHH1"`.
pub const HELLO_MAGIC: u32 = u32::from_le_bytes(*b"PHH1");
/// The oldest version of the conversation that is spoken here.
pub const VERSION_MIN: u16 = 1;
/// The newest one.
pub const VERSION_MAX: u16 = 1;
/// Bytes of windows of one lane that a peer may have on the way to us and unread here, whatever else is agreed; at least two windows.
pub const BYTES_OUT_MAX: u64 = 64 << 20;
/// The largest window of a network transport.
pub const WINDOW_BYTES_MAX: usize = 64 << 20;
/// The most windows of a lane.
pub const WINDOWS_MAX: usize = 1 << 16;
const WINDOW_BYTES_MIN: usize = 64;
const CRC_FLAG: u8 = 1;

/// Whether windows carry a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// None: TLS or the network is trusted.
    Off,
    /// CRC-32C.
    Crc32c,
}

/// What a side says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The oldest and the newest version that it speaks.
    pub versions: (u16, u16),
    /// Whether the windows that it sends carry a checksum.
    pub checksums: Checksums,
    /// Stands in all that it sends on this connection; random, never 0.
    pub epoch: u32,
    /// The windows that it would like to send.
    pub bulk: WindowSettings,
    /// As above, of the urgent lane.
    pub urgent: WindowSettings,
    /// The largest windows that it takes, and how many of a lane at once.
    pub accept: WindowSettings,
    /// Bytes of windows of a lane that may be on the way to it at once.
    pub bytes_out: u64,
}

/// Why bytes are no hello that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadHello {
    /// Something else speaks there.
    Stranger,
    /// No common version.
    Version {
        /// The newest version of the other.
        theirs: u16,
    },
    /// Its windows have another format.
    Format {
        /// Theirs.
        theirs: u8,
    },
    /// The bytes are damaged.
    Checksum,
    /// A value that no side of this version sends.
    Value(&'static str),
}

/// Windows of one lane in one direction, as agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Size of a window at most.
    pub bytes: usize,
    /// Windows that may be out at once.
    pub windows: usize,
}

/// What two hellos amount to; lanes are in the order bulk, urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// What this side may send.
    pub send: [Grant; 2],
    /// What the other side may.
    pub receive: [Grant; 2],
}

/// Why two hellos do not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disagreement {
    /// We want to send larger windows than the peer takes.
    OursTooLarge {
        /// Ours, in bytes.
        window: usize,
        /// What the peer takes.
        limit: usize,
    },
    /// The peer wants to send larger windows than we take.
    TheirsTooLarge {
        /// Theirs, in bytes.
        window: usize,
        /// What we take.
        limit: usize,
    },
}

impl Hello {
    /// What a side with these settings says.
    pub fn new(settings: &LinkSettings, checksums: Checksums, epoch: u32) -> Self {
        Self {
            versions: (VERSION_MIN, VERSION_MAX),
            checksums,
            epoch,
            bulk: settings.bulk,
            urgent: settings.urgent,
            accept: settings.accept,
            bytes_out: BYTES_OUT_MAX,
        }
    }

    /// As it is sent.
    pub fn pack(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[0..4].copy_from_slice(&HELLO_MAGIC.to_le_bytes());
        bytes[4..6].copy_from_slice(&(HELLO_BYTES as u16).to_le_bytes());
        bytes[6..8].copy_from_slice(&self.versions.0.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.versions.1.to_le_bytes());
        bytes[10] = wire::VERSION;
        bytes[11] = if self.checksums == Checksums::Crc32c { CRC_FLAG } else { 0 };
        bytes[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        for (index, windows) in [self.bulk, self.urgent, self.accept].into_iter().enumerate() {
            let at = 16 + 8 * index;
            bytes[at..at + 4].copy_from_slice(&saturated(windows.bytes).to_le_bytes());
            bytes[at + 4..at + 8].copy_from_slice(&saturated(windows.count).to_le_bytes());
        }
        bytes[40..48].copy_from_slice(&self.bytes_out.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads what the other side says.
    ///
    /// # Errors
    /// Why it cannot be answered.
    pub fn parse(bytes: &[u8; HELLO_BYTES]) -> Result<Self, BadHello> {
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if word(0) != HELLO_MAGIC {
            return Err(BadHello::Stranger);
        }
        let versions = (half(6), half(8));
        if versions.0 > VERSION_MAX || versions.1 < VERSION_MIN || versions.0 > versions.1 {
            return Err(BadHello::Version { theirs: versions.1 });
        }
        if usize::from(half(4)) != HELLO_BYTES {
            return Err(BadHello::Value("a hello of another length"));
        }
        if crc32c::crc32c(&bytes[..60]) != word(60) {
            return Err(BadHello::Checksum);
        }
        if bytes[10] != wire::VERSION {
            return Err(BadHello::Format { theirs: bytes[10] });
        }
        if bytes[11] & !CRC_FLAG != 0 {
            return Err(BadHello::Value("a flag that is not known"));
        }
        let windows = |at| WindowSettings { bytes: word(at) as usize, count: word(at + 4) as usize };
        let hello = Self {
            versions,
            checksums: if bytes[11] == CRC_FLAG { Checksums::Crc32c } else { Checksums::Off },
            epoch: word(12),
            bulk: windows(16),
            urgent: windows(24),
            accept: windows(32),
            bytes_out: u64::from(word(40)) | u64::from(word(44)) << 32,
        };
        if hello.epoch == 0 {
            return Err(BadHello::Value("an epoch of 0"));
        }
        for windows in [hello.bulk, hello.urgent] {
            if !(WINDOW_BYTES_MIN..=WINDOW_BYTES_MAX).contains(&windows.bytes) || !windows.bytes.is_multiple_of(8) {
                return Err(BadHello::Value("a window size out of range"));
            }
            if !(1..=WINDOWS_MAX).contains(&windows.count) {
                return Err(BadHello::Value("a number of windows out of range"));
            }
        }
        Ok(hello)
    }

    /// What it and the other side's hello amount to.
    ///
    /// # Errors
    /// When a window is larger than its reader takes.
    pub fn agree(&self, theirs: &Self) -> Result<Agreement, Disagreement> {
        for ours in [self.bulk, self.urgent] {
            if ours.bytes > theirs.accept.bytes {
                return Err(Disagreement::OursTooLarge { window: ours.bytes, limit: theirs.accept.bytes });
            }
        }
        for windows in [theirs.bulk, theirs.urgent] {
            if windows.bytes > self.accept.bytes {
                return Err(Disagreement::TheirsTooLarge { window: windows.bytes, limit: self.accept.bytes });
            }
        }
        Ok(Agreement {
            send: [grant(self.bulk, theirs), grant(self.urgent, theirs)],
            receive: [grant(theirs.bulk, self), grant(theirs.urgent, self)],
        })
    }
}

fn grant(windows: WindowSettings, reader: &Hello) -> Grant {
    let affordable = usize::try_from(reader.bytes_out.min(BYTES_OUT_MAX)).unwrap_or(usize::MAX) / windows.bytes;
    Grant { bytes: windows.bytes, windows: windows.count.min(reader.accept.count).min(affordable.max(2)).max(1) }
}

fn saturated(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

impl fmt::Display for BadHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger => f.write_str("it does not speak the fabric's protocol"),
            Self::Version { theirs } => write!(f, "it speaks version {theirs}, this side {VERSION_MAX}"),
            Self::Format { theirs } => {
                write!(f, "its windows have format {theirs}, those of this side {}", wire::VERSION)
            }
            Self::Checksum => f.write_str("its introduction arrived damaged"),
            Self::Value(what) => write!(f, "its introduction has {what}"),
        }
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OursTooLarge { window, limit } => {
                write!(f, "this side's windows of {window} bytes are over the peer's limit of {limit}")
            }
            Self::TheirsTooLarge { window, limit } => {
                write!(f, "the peer's windows of {window} bytes are over this side's limit of {limit}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello() -> Hello {
        Hello::new(&LinkSettings::default(), Checksums::Crc32c, 7)
    }

    #[test]
    fn what_is_packed_is_parsed() {
        assert_eq!(Hello::parse(&hello().pack()), Ok(hello()));
    }

    #[test]
    fn a_newer_version_is_named_whatever_else_it_says() {
        let mut bytes = [0xee; HELLO_BYTES];
        bytes[..10].copy_from_slice(&hello().pack()[..10]);
        bytes[6..10].copy_from_slice(&[2, 0, 5, 0]);
        assert_eq!(Hello::parse(&bytes), Err(BadHello::Version { theirs: 5 }));
    }

    #[test]
    fn both_sides_agree_on_the_same() {
        let (mut ours, mut theirs) = (hello(), hello());
        ours.bulk.count = 100;
        theirs.accept.count = 10;
        theirs.bulk = WindowSettings { bytes: 16 << 20, count: 50 };
        let (here, there) = (ours.agree(&theirs).expect("they fit"), theirs.agree(&ours).expect("they fit"));
        assert_eq!((here.send, here.receive), (there.receive, there.send));
        assert_eq!(here.send[0].windows, 10, "as many as the reader takes");
        assert_eq!(here.receive[0].windows, 4, "as many as lie in 64 MiB");
    }

    #[test]
    fn windows_over_the_limit_are_named_on_both_sides() {
        let (ours, mut theirs) = (hello(), hello());
        theirs.accept.bytes = 4096;
        assert_eq!(ours.agree(&theirs), Err(Disagreement::OursTooLarge { window: 256 << 10, limit: 4096 }));
        assert_eq!(theirs.agree(&ours), Err(Disagreement::TheirsTooLarge { window: 256 << 10, limit: 4096 }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_it_takes_is_in_bounds(
            noise in proptest::collection::vec((0usize..60, any::<u8>()), 0..12)
        ) {
            let mut bytes = hello().pack();
            noise.iter().for_each(|(at, byte)| bytes[*at] = *byte);
            let sum = crc32c::crc32c(&bytes[..60]);
            bytes[60..].copy_from_slice(&sum.to_le_bytes());
            if let Ok(theirs) = Hello::parse(&bytes)
                && let Ok(agreed) = hello().agree(&theirs) {
                for grant in agreed.receive {
                    prop_assert!(grant.windows >= 1 && grant.windows <= 4096);
                    prop_assert!(grant.windows <= 2 || (grant.windows * grant.bytes) as u64 <= BYTES_OUT_MAX);
                }
            }
        }
    }
}
