//! Message, batch and connection ids: 128 bits inside, `AA/BB-PPPPP-TTTTTTTT` in logs.
//!
//! ```text
//!  127      96 95   80 79     64 63    32 31     0
//!  │ seconds  │ pid   │ counter │ origin │ serial │
//! ```
//! The first three parts are what the printed form shows. `counter` is the low half of `serial`; `origin` is random
//! for each process start, so that ids stay unique across restarts and nodes although the printed form repeats after
//! 65,536 ids of one loop in one second.

use std::fmt;
use std::str::FromStr;

/// The id of a message, a batch (one SMTP transaction) or a connection. Orders by time of making.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MessageId(pub u128);

/// What the printed form of an id holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LegacyId {
    /// Low 32 bits of the seconds since the epoch.
    pub seconds: u32,
    /// The event loop's number, in the place of a process id.
    pub pid: u16,
    /// Low 16 bits of the loop's counter.
    pub counter: u16,
}

/// Makes ids; each event loop owns one, with a `pid` of its own.
#[derive(Debug)]
pub struct IdSource {
    pid: u16,
    origin: u32,
    serial: u32,
}

impl IdSource {
    /// `origin` must be random for each start of the process.
    pub fn new(pid: u16, origin: u32) -> Self {
        Self { pid, origin, serial: 0 }
    }

    /// The next id. `now` need not be monotonic: the serial number alone keeps ids of one source apart.
    pub fn next(&mut self, now: crate::UnixMicros) -> MessageId {
        self.next_block(now, 1)
    }

    /// The first of `count` ids that follow each other; the others are `first.nth(1)` and so on.
    pub fn next_block(&mut self, now: crate::UnixMicros, count: u16) -> MessageId {
        let serial = self.serial;
        self.serial = serial.wrapping_add(u32::from(count.max(1)));
        MessageId::new(now.seconds() as u32, self.pid, self.origin, serial)
    }
}

impl MessageId {
    /// "No id", printed as `00/00-00000-00000000`.
    pub const NONE: Self = Self(0);

    /// Puts an id together from its parts.
    pub const fn new(seconds: u32, pid: u16, origin: u32, serial: u32) -> Self {
        let counter = serial as u16;
        Self(
            (seconds as u128) << 96
                | (pid as u128) << 80
                | (counter as u128) << 64
                | (origin as u128) << 32
                | serial as u128,
        )
    }

    /// The id `n` places behind this one in a block from [`IdSource::next_block`]: a recipient's own id.
    pub const fn nth(self, n: u16) -> Self {
        let serial = (self.0 as u32).wrapping_add(n as u32);
        let legacy = self.legacy();
        Self::new(legacy.seconds, legacy.pid, (self.0 >> 32) as u32, serial)
    }

    /// The parts that the printed form shows.
    pub const fn legacy(self) -> LegacyId {
        LegacyId { seconds: (self.0 >> 96) as u32, pid: (self.0 >> 80) as u16, counter: (self.0 >> 64) as u16 }
    }

    /// All 128 bits as 32 hexadecimal digits: what the spool tools print.
    pub fn full(self) -> String {
        format!("{:032x}", self.0)
    }

    /// Parses what [`MessageId::full`] printed.
    pub fn parse_full(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.is_ascii() || text.starts_with('+') {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

/// The digits of `value`, least significant first.
const fn reversed_hex<const N: usize>(value: u32) -> [u8; N] {
    let mut text = [0; N];
    let mut i = 0;
    while i < N {
        text[i] = b"0123456789ABCDEF"[(value >> (4 * i) & 15) as usize];
        i += 1;
    }
    text
}

fn from_reversed_hex(text: &[u8]) -> Option<u32> {
    let mut value = 0;
    for &digit in text.iter().rev() {
        value = value << 4 | (digit as char).to_digit(16)?;
    }
    Some(value)
}

impl LegacyId {
    /// The 20 bytes of the printed form.
    pub const fn text(self) -> [u8; 20] {
        let mut out = *b"00/00-00000-00000000";
        let counter = reversed_hex::<4>(self.counter as u32);
        let seconds = reversed_hex::<8>(self.seconds);
        out[0] = counter[0];
        out[1] = counter[1];
        out[3] = counter[2];
        out[4] = counter[3];
        let mut pid = self.pid;
        let mut i = 5;
        while i > 0 {
            i -= 1;
            out[6 + i] = b'0' + (pid % 10) as u8;
            pid /= 10;
        }
        let mut i = 0;
        while i < 8 {
            out[12 + i] = seconds[i];
            i += 1;
        }
        out
    }
}

impl fmt::Display for LegacyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

/// The text is not of the form `AA/BB-PPPPP-TTTTTTTT`.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLegacyId;

impl FromStr for LegacyId {
    type Err = BadLegacyId;

    fn from_str(text: &str) -> Result<Self, BadLegacyId> {
        let b: &[u8; 20] = text.as_bytes().try_into().map_err(|_| BadLegacyId)?;
        if b[2] != b'/' || b[5] != b'-' || b[11] != b'-' {
            return Err(BadLegacyId);
        }
        let counter = from_reversed_hex(&[b[0], b[1], b[3], b[4]]).ok_or(BadLegacyId)?;
        let seconds = from_reversed_hex(&b[12..]).ok_or(BadLegacyId)?;
        let pid = &text[6..11];
        if !pid.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(BadLegacyId);
        }
        let pid = pid.parse().map_err(|_| BadLegacyId)?;
        Ok(Self { seconds, pid, counter: counter as u16 })
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.legacy().fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:08x}", self.legacy(), self.0 as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnixMicros;

    #[test]
    fn published_samples() {
        let text = |seconds, pid, counter| LegacyId { seconds, pid, counter }.to_string();
        assert_eq!(text(1_254_219_116, 2001, 0), "00/00-02001-C6DD1CA4");
        assert_eq!(text(1_070_244_212, 18426, 0xD13B), "B3/1D-18426-471AACF3");
        assert_eq!(MessageId::NONE.to_string(), "00/00-00000-00000000");
    }

    #[test]
    fn printed_form_reads_back() {
        for (seconds, pid, counter) in [(0, 0, 0), (u32::MAX, 65535, 65535), (1_236_672_125, 1, 0x1234)] {
            let id = LegacyId { seconds, pid, counter };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for bad in ["", "00/00-0200x-C6DD1CA4", "00/00-99999-C6DD1CA4", "0000-02001-C6DD1CA44", "00/00-02001-G6DD1CA4"]
        {
            assert_eq!(bad.parse::<LegacyId>(), Err(BadLegacyId), "{bad}");
        }
    }

    #[test]
    fn a_block_reserves_what_nth_names() {
        let mut source = IdSource::new(7, 0xABCD);
        let now = UnixMicros::from_seconds(1_700_000_000);
        let first = source.next_block(now, 3);
        let next = source.next(now);
        assert_eq!(first.nth(3), next);
        assert_eq!(first.nth(0), first);
        assert_eq!(MessageId::parse_full(&next.full()), Some(next));
        assert_eq!(MessageId::parse_full("+0000000000000000000000000000001"), None);
    }

    #[test]
    fn ids_of_one_second_stay_apart_past_65536() {
        let mut source = IdSource::new(1, 1);
        let now = UnixMicros::from_seconds(5);
        let first = source.next(now);
        for _ in 0..65_535 {
            source.next(now);
        }
        let wrapped = source.next(now);
        assert_eq!(first.legacy(), wrapped.legacy());
        assert_ne!(first, wrapped);
    }
}
