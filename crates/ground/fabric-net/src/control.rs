//! Control frames: how far the reader is, a question for that, and the end. They travel between windows on the same connection. It is pure.
//!
//! ```text
//! control  magic "PHC1" u32 | kind u8 | 0 u8 | bytes u16 | bulk: windows disposed of u64, messages read u64 |
//!          urgent: windows disposed of u64, messages read u64 | epoch u32 | CRC-32C of all before u32                          48 bytes
//! ```
//!
//! All counts are totals since the introduction, so that a frame makes earlier ones superfluous. A reader returns a window's credit by counting it
//! as disposed of. `messages read` may lag behind: it is told with the credits, before sleeping, and when asked for.

/// Bytes of a control frame.
pub(crate) const CONTROL_BYTES: usize = 48;
/// `"PHC1"`.
pub(crate) const CONTROL_MAGIC: u32 = u32::from_le_bytes(*b"PHC1");

/// What a control frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ControlKind {
    /// How far its sender has read.
    Progress = 1,
    /// As `Progress`; and its sender waits to be told when all that it has shipped is read.
    Ask = 2,
    /// As `Progress`; and no window follows.
    Finish = 3,
}

/// How far the reader of a lane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LaneProgress {
    pub(crate) disposed: u64,
    pub(crate) read: u64,
}

/// How far the reader of both is: bulk, urgent.
pub(crate) type Progress = [LaneProgress; 2];

/// A control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) kind: ControlKind,
    pub(crate) progress: Progress,
    pub(crate) epoch: u32,
}

impl Control {
    pub(crate) fn pack(&self) -> [u8; CONTROL_BYTES] {
        let mut bytes = [0; CONTROL_BYTES];
        bytes[0..4].copy_from_slice(&CONTROL_MAGIC.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[6..8].copy_from_slice(&(CONTROL_BYTES as u16).to_le_bytes());
        for (index, lane) in self.progress.iter().enumerate() {
            let at = 8 + 16 * index;
            bytes[at..at + 8].copy_from_slice(&lane.disposed.to_le_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&lane.read.to_le_bytes());
        }
        bytes[40..44].copy_from_slice(&self.epoch.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..44]);
        bytes[44..48].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads one whose magic was seen. What is wrong with it, else.
    pub(crate) fn parse(bytes: &[u8; CONTROL_BYTES]) -> Result<Self, &'static str> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if usize::from(bytes[6]) | usize::from(bytes[7]) << 8 != CONTROL_BYTES {
            return Err("a control frame of another length");
        }
        if crc32c::crc32c(&bytes[..44]) != word(44) {
            return Err("a control frame with a wrong checksum");
        }
        let kind = match bytes[4] {
            1 => ControlKind::Progress,
            2 => ControlKind::Ask,
            3 => ControlKind::Finish,
            _ => return Err("a control frame of unknown kind"),
        };
        let lane = |at| LaneProgress { disposed: long(at), read: long(at + 8) };
        Ok(Self { kind, progress: [lane(8), lane(24)], epoch: word(40) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_parsed_and_damage_is_seen() {
        let lane = |disposed, read| LaneProgress { disposed, read };
        let control = Control { kind: ControlKind::Ask, progress: [lane(1, 1 << 40), lane(3, 4)], epoch: 9 };
        assert_eq!(Control::parse(&control.pack()), Ok(control));
        for at in 4..CONTROL_BYTES {
            let mut bytes = control.pack();
            bytes[at] ^= 0x40;
            Control::parse(&bytes).expect_err("damaged");
        }
    }
}
