//! What the peers say to each other over the TCP connection: how they mean to send, where their queue pairs and notes are, that they are ready, that
//! they refuse, that they have finished. Pure: bytes in, checked values out.
//!
//! ```text
//!  both: Offer  (windows to send, address of the adapter)    ─► each makes its queue pairs and posts its buffers
//!  both: Plan   (queue pairs, where notes are written)       ─► each connects its queue pairs
//!  both: Ready                                               ─► windows may come
//!  either, later: Finish (windows sent, last note)     either, before: Refuse (why)
//! ```
//!
//! Each message is [`MESSAGE`] bytes, little-endian: magic u32, version u16, kind u16, then the fields in the order of the structures.

use fabric::tli::WindowSettings;

use crate::notes::Notes;
use crate::verbs::Gid;

/// Bytes of every message.
pub(crate) const MESSAGE: usize = 96;
/// The version spoken here.
pub(crate) const VERSION: u16 = 1;
/// `"PHR1"`.
const MAGIC: [u8; 4] = *b"PHR1";
/// Windows that a peer may have in a lane, so that sums stay far from overflow.
const COUNT_MAX: u64 = 1 << 20;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hello {
    /// How the peer means to send.
    Offer(Offer),
    /// Where to send to it.
    Plan(Plan),
    /// Its queue pairs are connected.
    Ready,
    /// It does not want us.
    Refuse(String),
    /// Nothing comes after so many windows of each lane. The last note goes with it, for adapters may not carry it any more.
    Finish([u64; 2], Notes),
}

/// How a peer means to send, and where its adapter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Stands in every window that it sends.
    pub(crate) epoch: u32,
    /// Its windows, bulk lane first.
    pub(crate) windows: [WindowSettings; 2],
    /// Address of its adapter.
    pub(crate) gid: Gid,
    /// Local identifier of its adapter.
    pub(crate) lid: u16,
    /// Packet size of its adapter, 1 to 5.
    pub(crate) mtu: u8,
}

/// A peer's queue pairs and notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Numbers of its queue pairs, bulk lane first.
    pub(crate) pairs: [u32; 2],
    /// First packet numbers that they send.
    pub(crate) packets: [u32; 2],
    /// Address of its memory for notes.
    pub(crate) notes_address: u64,
    /// Key to it.
    pub(crate) notes_key: u32,
}

/// Why a message is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadHello {
    /// Someone else speaks.
    Magic,
    /// Another version.
    Version(u16),
    /// A kind or a value that this version does not have.
    Value,
}

impl Hello {
    /// As it is sent.
    pub(crate) fn pack(&self) -> [u8; MESSAGE] {
        let mut bytes = Vec::with_capacity(MESSAGE);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.kind().to_le_bytes());
        match self {
            Self::Offer(offer) => offer.pack(&mut bytes),
            Self::Plan(plan) => plan.pack(&mut bytes),
            Self::Ready => {}
            Self::Refuse(why) => {
                let mut end = why.len().min(MESSAGE - bytes.len());
                while !why.is_char_boundary(end) {
                    end -= 1;
                }
                bytes.extend(&why.as_bytes()[..end]);
            }
            Self::Finish(windows, notes) => {
                windows.iter().for_each(|count| bytes.extend(count.to_le_bytes()));
                bytes.extend(notes.pack());
            }
        }
        bytes.resize(MESSAGE, 0);
        bytes.try_into().expect("resized to the length of a message")
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn parse(bytes: &[u8; MESSAGE]) -> Result<Self, BadHello> {
        let mut fields = Fields { bytes, at: 4 };
        if bytes[..4] != MAGIC {
            return Err(BadHello::Magic);
        }
        let (version, kind) = (fields.half(), fields.half());
        if version != VERSION {
            return Err(BadHello::Version(version));
        }
        match kind {
            1 => Offer::parse(&mut fields).map(Self::Offer),
            2 => Ok(Self::Plan(Plan::parse(&mut fields))),
            3 => Ok(Self::Ready),
            4 => {
                let text = bytes[fields.at..].split(|&byte| byte == 0).next().unwrap_or_default();
                Ok(Self::Refuse(String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect()))
            }
            5 => Ok(Self::Finish([fields.long(), fields.long()], Notes::parse(&fields.take()))),
            _ => Err(BadHello::Value),
        }
    }

    fn kind(&self) -> u16 {
        match self {
            Self::Offer(_) => 1,
            Self::Plan(_) => 2,
            Self::Ready => 3,
            Self::Refuse(_) => 4,
            Self::Finish(..) => 5,
        }
    }
}

impl Offer {
    fn pack(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.epoch.to_le_bytes());
        bytes.extend(self.lid.to_le_bytes());
        bytes.extend([self.mtu, 0]);
        for windows in &self.windows {
            bytes.extend((windows.bytes as u64).to_le_bytes());
            bytes.extend((windows.count as u64).to_le_bytes());
        }
        bytes.extend(self.gid.0);
    }

    fn parse(fields: &mut Fields<'_>) -> Result<Self, BadHello> {
        let (epoch, lid, mtu) = (fields.word(), fields.half(), fields.half());
        let mut windows = [WindowSettings { bytes: 0, count: 0 }; 2];
        for windows in &mut windows {
            let (bytes, count) = (fields.long(), fields.long());
            if bytes > u64::from(u32::MAX) || !bytes.is_multiple_of(8) || bytes < 64 || count == 0 || count > COUNT_MAX
            {
                return Err(BadHello::Value);
            }
            *windows = WindowSettings { bytes: bytes as usize, count: count as usize };
        }
        let mut gid = Gid::default();
        gid.0.copy_from_slice(&fields.bytes[fields.at..fields.at + 16]);
        match u8::try_from(mtu) {
            Ok(mtu @ 1..=5) => Ok(Self { epoch, windows, gid, lid, mtu }),
            _ => Err(BadHello::Value),
        }
    }
}

impl Plan {
    fn pack(&self, bytes: &mut Vec<u8>) {
        for word in self.pairs.iter().chain(&self.packets) {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.notes_address.to_le_bytes());
        bytes.extend(self.notes_key.to_le_bytes());
    }

    fn parse(fields: &mut Fields<'_>) -> Self {
        // Queue pairs and packets are numbered by 24 bits.
        let mut number = || fields.word() & 0x00ff_ffff;
        let (pairs, packets) = ([number(), number()], [number(), number()]);
        Self { pairs, packets, notes_address: fields.long(), notes_key: fields.word() }
    }
}

/// Reads fields one behind the other; all kinds of messages are shorter than [`MESSAGE`].
struct Fields<'a> {
    bytes: &'a [u8; MESSAGE],
    at: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        self.at += N;
        self.bytes[self.at - N..self.at].try_into().expect("as many bytes as asked for")
    }

    fn half(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        let windows = [WindowSettings { bytes: 4096, count: 3 }, WindowSettings { bytes: 512, count: 2 }];
        Offer { epoch: 0xdead_beef, windows, gid: Gid([7; 16]), lid: 3, mtu: 3 }
    }

    #[test]
    fn what_is_packed_is_parsed() {
        let plan = Plan { pairs: [17, 18], packets: [1, 0xff_ffff], notes_address: 1 << 40, notes_key: 9 };
        for hello in [
            Hello::Offer(offer()),
            Hello::Plan(plan),
            Hello::Ready,
            Hello::Refuse("no".into()),
            Hello::Finish([u64::MAX, 1], Notes { disposed: [1, 2], read: [3, u64::MAX] }),
        ] {
            assert_eq!(Hello::parse(&hello.pack()), Ok(hello));
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_letters() {
        let Ok(Hello::Refuse(why)) = Hello::parse(&Hello::Refuse("ä".repeat(100)).pack()) else { panic!("no reason") };
        assert_eq!(why, "ä".repeat(44));
    }

    #[test]
    fn impossible_values_are_refused() {
        let mut version = Hello::Ready.pack();
        version[4] = 2;
        assert_eq!(Hello::parse(&version), Err(BadHello::Version(2)));
        assert_eq!(Hello::parse(&[0; MESSAGE]), Err(BadHello::Magic));
        let mut kind = Hello::Ready.pack();
        kind[6] = 99;
        assert_eq!(Hello::parse(&kind), Err(BadHello::Value));
        for (bytes, count) in [(0, 1), (4095, 1), (4096, 0), (4096, usize::MAX), (1 << 33, 1)] {
            let mut offer = offer();
            offer.windows[1] = WindowSettings { bytes, count };
            assert_eq!(
                Hello::parse(&Hello::Offer(offer).pack()),
                Err(BadHello::Value),
                "{bytes} bytes, {count} windows"
            );
        }
        assert_eq!(Hello::parse(&Hello::Offer(Offer { mtu: 6, ..offer() }).pack()), Err(BadHello::Value));
    }
}
